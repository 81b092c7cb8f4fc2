"""Gradient descent one parameter at a time: SGD, Adam and AdamW as PyTorch defines them.

Every formula is in Python floats, so the moments are float64; a parameter is rounded to its dtype
once per step. An optimizer is only its settings: ``start(params, memory)`` returns ``step(grad)``,
which changes ``params`` and its ``memory`` in place; without one it begins afresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .lists import Array, Row

__all__ = ["SGD", "Adam", "AdamW", "Memory", "Optimizer"]

Step = Callable[[Array], None]


class Memory:
    """What a method remembers: two numbers per parameter, and how many steps it has made."""

    def __init__(self, size: int) -> None:
        self.m = [0.0] * size
        self.v = [0.0] * size
        self.t = 0


class Optimizer:
    """What all optimizers are: settings that `start` a training."""

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``, which changes ``params`` in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay if asked for.

    ``g += weight_decay * p``; ``v = momentum * v + g``; ``p -= lr * v``, or with ``nesterov``
    ``p -= lr * (g + momentum * v)``. v starts at zero.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import SGD
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
        _require_number("SGD", "lr", self.lr, 0.0, math.inf, zero=False)
        _require_number("SGD", "momentum", self.momentum, 0.0, 1.0)
        _require_number("SGD", "weight_decay", self.weight_decay, 0.0, math.inf)
        if self.nesterov and not self.momentum > 0:
            raise ValueError("SGD: nesterov is True but momentum is 0: give a positive momentum")

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        velocity = (memory or Memory(len(params))).m

        def step(grad: Array) -> None:
            p = params.tolist()
            for i, g in enumerate(grad.tolist()):
                g += self.weight_decay * p[i]
                velocity[i] = self.momentum * velocity[i] + g
                direction = g + self.momentum * velocity[i] if self.nesterov else velocity[i]
                p[i] -= self.lr * direction
            _write(params, p)

        return step


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay as part of the gradient.

    ``g += weight_decay * p``; ``m = b1 * m + (1 - b1) * g``; ``v = b2 * v + (1 - b2) * g**2``;
    ``p -= lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`` in step t = 1, 2, ...

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import Adam
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
        if type(betas) not in (tuple, list) or len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}: give two numbers")
        object.__setattr__(self, "betas", (betas[0], betas[1]))
        _require_number(name, "lr", self.lr, 0.0, math.inf, zero=False)
        for i in range(2):
            _require_number(name, f"betas[{i}]", self.betas[i], 0.0, 1.0)
        _require_number(name, "eps", self.eps, 0.0, math.inf, zero=False)
        _require_number(name, "weight_decay", self.weight_decay, 0.0, math.inf)

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        return self._descend(params, memory or Memory(len(params)), self.weight_decay, 0.0)

    def _descend(
        self, params: Array, memory: Memory, decay_in_gradient: float, decay_of_params: float
    ) -> Step:
        b1, b2 = self.betas
        m, v = memory.m, memory.v

        def step(grad: Array) -> None:
            memory.t += 1
            t = memory.t
            p = params.tolist()
            for i, g in enumerate(grad.tolist()):
                g += decay_in_gradient * p[i]
                p[i] *= 1.0 - self.lr * decay_of_params
                m[i] = b1 * m[i] + (1.0 - b1) * g
                v[i] = b2 * v[i] + (1.0 - b2) * (g * g)
                root = math.sqrt(v[i]) / math.sqrt(1.0 - b2**t)
                p[i] -= self.lr / (1.0 - b1**t) * m[i] / (root + self.eps)
            _write(params, p)

        return step


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` whose gradient has no decay in it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import AdamW
    >>> p = np.array([1.0, 2.0])
    >>> step = AdamW(lr=0.125, weight_decay=1.0).start(p)
    >>> step(np.array([0.0, 0.0]))
    >>> p.tolist()
    [0.875, 1.75]
    """

    weight_decay: float = 1e-2

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        return self._descend(params, memory or Memory(len(params)), 0.0, self.weight_decay)


def _write(params: Array, values: Row) -> None:
    with np.errstate(all="ignore"):  # rounding to float32 may give inf; that is the right answer
        params[:] = values


def _require_number(
    optimizer: str, name: str, value: Any, low: float, high: float, zero: bool = True
) -> None:
    """Raise unless ``value`` is a number, ``low <= value < high``, and not 0 unless ``zero``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{optimizer}: {name} is a {type(value).__name__}: give a number")
    if low <= float(value) < high and (zero or value != 0):
        return
    rule = "at least 0" if zero else "positive"
    if high < math.inf:
        rule += f" and below {high:g}"
    raise ValueError(f"{optimizer}: {name} is {value!r}: it must be finite and {rule}")
