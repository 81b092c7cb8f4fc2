"""Optimizers: their settings, and the table by which the compiled loop applies them.

The formulas are PyTorch's, computed in the network's dtype; scalars such as ``lr / (1 - beta1**t)``
are computed in float64 and then rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_number
from fastgrad.arrays import Array
from fastgrad.kernels.network import plan_table as at

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class Memory(NamedTuple):
    """What an optimizer remembers of the steps before."""

    vectors: list[Array]  # of the parameters' shape and dtype
    powers: list[float]  # Adam's betas to the number of steps

    def copy(self) -> Memory:
        """Return a copy."""
        return Memory([vector.copy() for vector in self.vectors], list(self.powers))


class Optimizer:
    """What all optimizers share: checks of their settings, and their table."""

    kernel = ""

    def _settings(self) -> dict[int, float]:
        raise NotImplementedError

    def _remembers(self) -> int:
        """Return how many vectors a step needs of the ones before."""
        raise NotImplementedError

    def begin(self, size: int, dtype: str) -> Memory:
        """Return what there is to remember before the first step of `size` parameters."""
        return Memory([np.zeros(size, dtype) for _ in range(self._remembers())], [1.0, 1.0])

    def table(self, memory: Memory, dtype: str) -> Array:
        """Return the kernel's table; it refers to the vectors of `memory`, and has its powers."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        table = np.zeros(at.OPTIMIZER)
        for index, value in self._settings().items():
            table[index] = value
        table[at.POWERS] = memory.powers
        addresses = table.view(np.int64)
        for index, vector in zip((at.FIRST, at.SECOND), memory.vectors, strict=False):
            addresses[index] = vector.ctypes.data
        addresses[at.STEP] = LIBRARY.address("update", self.kernel, dtype)
        return table

    def _check(self, **bounds: tuple[float, float]) -> None:
        """Raise unless each named setting is a number from its first bound to below its second."""
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                kind = type(self).__name__
                check_number(kind, name, number)
                positive = name in ("lr", "eps")
                if not low <= number < high or (positive and number == 0):
                    rule = "positive" if positive else "at least 0"
                    rule += "" if high == math.inf else f" and below {high:g}"
                    raise ValueError(f"{kind}: {name} is {value!r}: it must be finite and {rule}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay if asked for.

    ``g += weight_decay * p; v = momentum * v + g; p -= lr * v``, or with `nesterov`
    ``p -= lr * (g + momentum * v)``; v starts at zero.

    Parameters
    ----------
    lr : float
        Learning rate, positive.
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Look ahead along v (Sutskever et al., ICML 2013, as PyTorch writes it).
    weight_decay : float
        Not negative.

    Raises
    ------
    TypeError, ValueError
        For a setting outside of these.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    kernel = "update_sgd"

    def __post_init__(self) -> None:
        self._check(lr=(0, math.inf), momentum=(0, 1), weight_decay=(0, math.inf))
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0")

    def _settings(self) -> dict[int, float]:
        return {
            at.RATE: self.lr,
            at.MOMENTUM: self.momentum,
            at.NESTEROV: bool(self.nesterov),
            at.DECAY: self.weight_decay,
        }

    def _remembers(self) -> int:
        return 1 if self.momentum else 0


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay as part of the gradient.

    ``g += weight_decay * p; m = b1 * m + (1 - b1) * g; v = b2 * v + (1 - b2) * g**2;``
    ``p -= lr / (1 - b1**t) * m / (sqrt(v / (1 - b2**t)) + eps)`` in step t = 1, 2, ...

    Parameters
    ----------
    lr : float
        Learning rate, positive.
    betas : tuple of two floats
        Decay of the running means of g and of its square, each from 0 to below 1.
    eps : float
        Positive.
    weight_decay : float
        Not negative.

    Raises
    ------
    TypeError, ValueError
        For a setting outside of these.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.Adam().betas
    (0.9, 0.999)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    kernel = "update_adam"
    decoupled = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}: give two numbers")
        object.__setattr__(self, "betas", tuple(betas))
        self._check(lr=(0, math.inf), betas=(0, 1), eps=(0, math.inf), weight_decay=(0, math.inf))

    def _settings(self) -> dict[int, float]:
        return {
            at.RATE: self.lr,
            at.BETA1: self.betas[0],
            at.BETA2: self.betas[1],
            at.EPS: self.eps,
            at.DECAY: self.weight_decay,
            at.DECOUPLED: self.decoupled,
        }

    def _remembers(self) -> int:
        return 2


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` whose gradient has no decay in it.

    Parameters
    ----------
    lr : float
        Learning rate, positive.
    betas : tuple of two floats
        Decay of the running means of g and of its square, each from 0 to below 1.
    eps : float
        Positive.
    weight_decay : float
        Not negative; 0.01 by default.

    Raises
    ------
    TypeError, ValueError
        For a setting outside of these.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.AdamW(lr=0.01).weight_decay
    0.01
    """

    weight_decay: float = 1e-2
    decoupled = True
