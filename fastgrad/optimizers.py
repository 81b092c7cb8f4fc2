"""Optimizers: what each is set to and remembers, and the table its compiled step reads.

The formulas are PyTorch's, computed in the network's dtype; scalars such as ``lr / (1 - beta1**t)``
are computed in float64 and then rounded.

To add one
----------
``fastgrad/optimizers.py``
    Its class: the settings and their bounds, the name of its kernel, what that is given and what
    it remembers. A row of OPTIMIZERS.
``fastgrad/kernels/network/update.py``
    Its kernel: one step over the flat vector.
``fastgrad/reference/optimizers.py``, ``fastgrad/loops/optimizers.py``
    Its step in NumPy, and in plain loops.
``fastgrad/__init__.py`` and those of ``reference`` and ``loops``
    Its name, to make it public.

``tests/test_training.py``, ``tests/twins.py``
    Settings to try it with. The compiled steps are held against formulas written out there, and
    against the twins'; those against `torch.optim`.
``benchmarks/networks.py`` times what OPTIMIZERS holds.

``tests/test_architecture.py`` names the place that is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastgrad.arguments import check_number
from fastgrad.arrays import Array

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer"]


class Memory(NamedTuple):
    """What an optimizer remembers of the steps before."""

    vectors: list[Array]  # of the parameters' shape and dtype
    powers: list[float]  # of settings, to the number of steps

    def copy(self) -> Memory:
        """Return a copy."""
        return Memory([vector.copy() for vector in self.vectors], list(self.powers))


class Optimizer:
    """What all optimizers share: checks of their settings, and the table their kernel reads.

    A table is 64-bit words: the address of the kernel, which the loop calls; then what the kernel
    reads by its place, all in the order in which the class declares it: the settings, the powers,
    which it multiplies at each step, and the addresses of the vectors.
    """

    kernel: ClassVar[str]  # update_KERNEL in kernels/network/update.py
    settings: ClassVar[tuple[str, ...]]  # attributes that the kernel is given, as float64
    powers: ClassVar[int] = 0  # of how many settings it keeps the power to the number of steps

    def vectors(self) -> tuple[str, ...]:
        """Return the names of the vectors that a step needs of the ones before."""
        raise NotImplementedError

    def begin(self, size: int, dtype: str) -> Memory:
        """Return what there is to remember before the first step of `size` parameters."""
        return Memory([np.zeros(size, dtype) for _ in self.vectors()], [1.0] * self.powers)

    def table(self, memory: Memory, dtype: str) -> Array:
        """Return the kernel's table; it refers to the vectors of `memory`, and has its powers."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        numbers = [*self._numbers(), *memory.powers]
        table = np.zeros(1 + len(numbers) + len(memory.vectors))
        table[1 : 1 + len(numbers)] = numbers
        addresses = table.view(np.int64)
        addresses[0] = LIBRARY.address(f"update.{self.kernel}", f"update_{self.kernel}", dtype)
        addresses[1 + len(numbers) :] = [vector.ctypes.data for vector in memory.vectors]
        return table

    def powers_of(self, table: Array) -> list[float]:
        """Return the powers in a table, after the steps that were made by it."""
        first = 1 + len(self._numbers())
        return table[first : first + self.powers].tolist()  # type: ignore[no-any-return]

    def _numbers(self) -> list[float]:
        """Return the settings' values, a pair's one after the other."""
        values = [getattr(self, name) for name in self.settings]
        return [float(x) for v in values for x in (v if isinstance(v, tuple) else (v,))]

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
    kernel = "sgd"
    settings = ("lr", "momentum", "nesterov", "weight_decay")

    def __post_init__(self) -> None:
        self._check(lr=(0, math.inf), momentum=(0, 1), weight_decay=(0, math.inf))
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0")

    def vectors(self) -> tuple[str, ...]:
        """Return the velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()


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
    kernel = "adam"
    settings = ("lr", "betas", "eps", "weight_decay", "decoupled")
    powers = 2  # of the betas
    decoupled = False  # whether weights decay by themselves, not through the gradient

    def __post_init__(self) -> None:
        name = type(self).__name__
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}: give two numbers")
        object.__setattr__(self, "betas", tuple(betas))
        self._check(lr=(0, math.inf), betas=(0, 1), eps=(0, math.inf), weight_decay=(0, math.inf))

    def vectors(self) -> tuple[str, ...]:
        """Return the running means of the gradient and of its square."""
        return "mean", "square"


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


OPTIMIZERS = {kind.__name__: kind for kind in (SGD, Adam, AdamW)}
