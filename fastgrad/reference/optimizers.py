"""Gradient descent in plain NumPy: SGD, Adam and AdamW as PyTorch defines them.

An optimizer is only its settings. What the method remembers (momentum, moments, the number of
steps) is a `Memory`; ``start(params)`` begins with an empty one, ``start(params, memory)`` goes on.
Both return a function ``step(grad)`` that changes ``params`` and the memory in place, and uses
``grad`` as scratch space.

With p the parameters and g their gradient, everything is computed in the dtype of p; scalars such
as ``lr / (1 - beta1**t)`` are Python floats, which NumPy rounds to that dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .arrays import Array

__all__ = ["SGD", "Adam", "AdamW", "Memory", "Optimizer"]

Step = Callable[[Array], None]


@dataclass
class Memory:
    """What a method remembers from step to step."""

    first: Array  # momentum, or the mean of gradients
    second: Array  # the mean of their squares; unused by SGD
    steps: int = 0


class Optimizer:
    """What all optimizers are: settings that `start` a training."""

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``, which changes ``params`` in place and uses up ``grad``."""
        raise NotImplementedError

    @staticmethod
    def begin(params: Array) -> Memory:
        """Return what there is to remember before the first step."""
        return Memory(np.zeros_like(params), np.zeros_like(params))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay if asked for.

    ``g += weight_decay * p``; ``v = momentum * v + g``; ``p -= lr * v``, or with ``nesterov``
    ``p -= lr * (g + momentum * v)``. v starts at zero.

    Parameters
    ----------
    lr : float
        Learning rate, positive.
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Look ahead along v; needs momentum.
    weight_decay : float
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import SGD
    >>> p = np.array([1.0, 2.0])
    >>> step = SGD(lr=0.5, momentum=0.5).start(p)
    >>> step(np.array([1.0, 0.0]))
    >>> step(np.array([0.0, 1.0]))
    >>> p.tolist()
    [0.25, 1.5]
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check("SGD", "lr", self.lr, positive=True)
        _check("SGD", "momentum", self.momentum, below=1.0)
        _check("SGD", "weight_decay", self.weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov is True but momentum is 0: give a positive momentum")

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        memory = self.begin(params) if memory is None else memory
        velocity = memory.first if self.momentum else None
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params, velocity  # changed in place
            if self.weight_decay:
                grad += np.multiply(params, self.weight_decay, out=scratch)
            if velocity is not None:
                velocity *= self.momentum
                velocity += grad
                if self.nesterov:
                    grad += np.multiply(velocity, self.momentum, out=scratch)
                else:
                    grad = velocity
            params -= np.multiply(grad, self.lr, out=scratch)

        return step


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay as part of the gradient.

    ``g += weight_decay * p``; ``m = b1 * m + (1 - b1) * g``; ``v = b2 * v + (1 - b2) * g**2``;
    ``p -= lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`` in step t = 1, 2, ...
    m and v start at zero.

    Parameters
    ----------
    lr : float
        Learning rate, positive.
    betas : tuple of two floats
        b1 and b2, each from 0 to below 1.
    eps : float
        Positive.
    weight_decay : float
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import Adam
    >>> p = np.array([1.0, 2.0])
    >>> step = Adam(lr=0.125).start(p)
    >>> step(np.array([1e-3, -1e3]))
    >>> p.round(4).tolist()
    [0.875, 2.125]
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}: give two numbers")
        object.__setattr__(self, "betas", tuple(betas))
        _check(name, "lr", self.lr, positive=True)
        _check(name, "betas[0]", self.betas[0], below=1.0)
        _check(name, "betas[1]", self.betas[1], below=1.0)
        _check(name, "eps", self.eps, positive=True)
        _check(name, "weight_decay", self.weight_decay)

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        beta1, beta2 = self.betas
        kept = self.begin(params) if memory is None else memory
        mean, square = kept.first, kept.second
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params, mean, square, scratch  # changed in place
            kept.steps += 1
            t = kept.steps
            self._decay(params, grad, scratch)
            mean *= beta1
            mean += np.multiply(grad, 1 - beta1, out=scratch)
            square *= beta2
            grad *= grad
            grad *= 1 - beta2
            square += grad

            np.sqrt(square, out=scratch)
            scratch /= math.sqrt(1 - beta2**t)
            scratch += self.eps
            np.multiply(mean, self.lr / (1 - beta1**t), out=grad)
            grad /= scratch
            params -= grad

        return step

    def _decay(self, params: Array, grad: Array, scratch: Array) -> None:
        if self.weight_decay:
            grad += np.multiply(params, self.weight_decay, out=scratch)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` whose gradient has no decay in it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import AdamW
    >>> p = np.array([1.0, 2.0])
    >>> step = AdamW(lr=0.125, weight_decay=1.0).start(p)
    >>> step(np.array([0.0, 0.0]))
    >>> p.tolist()
    [0.875, 1.75]
    """

    weight_decay: float = 1e-2

    def _decay(self, params: Array, grad: Array, scratch: Array) -> None:
        params *= 1 - self.lr * self.weight_decay


def _check(
    optimizer: str, name: str, value: Any, positive: bool = False, below: float = math.inf
) -> None:
    """Raise unless ``value`` is a number from 0 (above it if ``positive``) to ``below``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{optimizer}: {name} is a {type(value).__name__}: give a number")
    number = float(value)
    if not 0 <= number < below or (positive and number == 0):
        rule = "positive" if positive else "at least 0"
        rule += f" and below {below:g}" if below < math.inf else ""
        raise ValueError(f"{optimizer}: {name} is {value!r}: it must be finite and {rule}")
