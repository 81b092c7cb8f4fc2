"""The optimizers: the settings of each, and what its kernel gets and remembers.

`fastgrad.optimizers` says how to add one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastgrad.arrays import Array
from fastgrad.optimizers.optimizer import Optimizer

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]

Rate = Any  # a number, or a callable of the step
Decay = Callable[[Any, Array], Any] | None


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum and weight decay.

    ``g += weight_decay * p; v = momentum * v + g; p -= lr * v``, or with `nesterov`
    ``p -= lr * (g + momentum * v)``; v starts at zero, and is 0 where it would be subnormal.

    Parameters
    ----------
    lr : float or callable
        Learning rate, positive; or a schedule: ``lr(step)``, at least 0; the first step is 0.
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Look ahead along v (Sutskever et al., ICML 2013, as PyTorch writes it).
    weight_decay : float
        Not negative.
    decay : callable, optional
        ``decay(key, array)``: whether an array gets `weight_decay`. By default weights do, biases
        do not: see `step`.

    Raises
    ------
    TypeError, ValueError
        For a setting outside these ranges.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    lr: Rate
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: Decay = field(default=None, repr=False)
    kernel = "sgd"
    settings = ("lr", "momentum", "nesterov", "weight_decay")

    def __post_init__(self) -> None:
        self._check_decay()
        self._check(lr=(0, math.inf), momentum=(0, 1), weight_decay=(0, math.inf))
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0")

    def vectors(self) -> tuple[str, ...]:
        """Return the velocity, if there is momentum."""
        return ("velocity",) if self.momentum else ()


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay added to the gradient.

    ``g += weight_decay * p; m = b1 * m + (1 - b1) * g; v = b2 * v + (1 - b2) * g**2;``
    ``p -= lr / (1 - b1**t) * m / (sqrt(v / (1 - b2**t)) + eps)`` in step t = 1, 2, ...
    m is 0 where it would be subnormal; v is not.

    Parameters
    ----------
    lr : float or callable
        Learning rate, positive; or a schedule: ``lr(step)``, at least 0; the first step is 0.
    betas : tuple of two floats
        Decay of the running means of g and of its square, each from 0 to below 1.
    eps : float
        Positive.
    weight_decay : float
        Not negative.
    decay : callable, optional
        ``decay(key, array)``: whether an array gets `weight_decay`. By default weights do, biases
        do not: see `step`.

    Raises
    ------
    TypeError, ValueError
        For a setting outside these ranges.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.Adam().betas
    (0.9, 0.999)
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay: Decay = field(default=None, repr=False)
    kernel = "adam"
    settings = ("lr", "betas", "eps", "weight_decay", "decoupled")
    powers = 2  # of the betas
    decoupled = False  # whether weights decay directly, not through the gradient

    def __post_init__(self) -> None:
        self._check_decay()
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

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` without decay in its gradient.

    Parameters
    ----------
    lr : float or callable
        Learning rate, positive; or a schedule: ``lr(step)``, at least 0; the first step is 0.
    betas : tuple of two floats
        Decay of the running means of g and of its square, each from 0 to below 1.
    eps : float
        Positive.
    weight_decay : float
        Not negative; 0.01 by default.
    decay : callable, optional
        ``decay(key, array)``: whether an array gets `weight_decay`. By default weights do, biases
        do not: see `step`.

    Raises
    ------
    TypeError, ValueError
        For a setting outside these ranges.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.AdamW(lr=0.01).weight_decay
    0.01
    """

    weight_decay: float = 1e-2
    decoupled = True


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6e, 2012), as in PyTorch.

    ``g += weight_decay * p; v = alpha * v + (1 - alpha) * g**2; d = g / (sqrt(v) + eps);``
    ``p -= lr * d``. If `centered`, v minus the square of the running mean of g replaces v;
    with `momentum`, ``u = momentum * u + d; p -= lr * u``. Means and u are 0 where they would be
    subnormal; v is not.

    Parameters
    ----------
    lr : float or callable
        Learning rate, positive; or a schedule: ``lr(step)``, at least 0; the first step is 0.
    alpha : float
        Decay of the running mean of g**2, from 0 to below 1.
    eps : float
        Positive.
    momentum : float
        From 0 to below 1.
    centered : bool
        Divide by an estimate of the deviation of g (Graves, arXiv:1308.0850, 2013).
    weight_decay : float
        Not negative.
    decay : callable, optional
        ``decay(key, array)``: whether an array gets `weight_decay`. By default weights do, biases
        do not: see `step`.

    Raises
    ------
    TypeError, ValueError
        For a setting outside these ranges.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.RMSprop().alpha
    0.99
    """

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0
    decay: Decay = field(default=None, repr=False)
    kernel = "rmsprop"
    settings = ("lr", "alpha", "eps", "momentum", "centered", "weight_decay")

    def __post_init__(self) -> None:
        self._check_decay()
        self._check(lr=(0, math.inf), alpha=(0, 1), eps=(0, math.inf), momentum=(0, 1))
        self._check(weight_decay=(0, math.inf))

    def vectors(self) -> tuple[str, ...]:
        """Return the running means of g**2, of g if `centered`, and the velocity if any."""
        centre = ("mean",) if self.centered else ()
        return "square", *centre, *(("velocity",) if self.momentum else ())


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011).

    ``g += weight_decay * p; s += g**2; p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)``
    in step t = 1, 2, ...; s starts at `initial_accumulator_value`.

    Parameters
    ----------
    lr : float or callable
        Learning rate, positive; or a schedule: ``lr(step)``, at least 0; the first step is 0.
    lr_decay : float
        Not negative.
    weight_decay : float
        Not negative.
    initial_accumulator_value : float
        Not negative.
    eps : float
        Positive.
    decay : callable, optional
        ``decay(key, array)``: whether an array gets `weight_decay`. By default weights do, biases
        do not: see `step`.

    Raises
    ------
    TypeError, ValueError
        For a setting outside these ranges.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.Adagrad(lr=0.1).eps
    1e-10
    """

    lr: Rate = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    decay: Decay = field(default=None, repr=False)
    kernel = "adagrad"
    settings = ("lr", "lr_decay", "weight_decay", "eps")

    def __post_init__(self) -> None:
        self._check_decay()
        self._check(lr=(0, math.inf), lr_decay=(0, math.inf), weight_decay=(0, math.inf))
        self._check(initial_accumulator_value=(0, math.inf), eps=(0, math.inf))

    def vectors(self) -> tuple[str, ...]:
        """Return the sum of squares."""
        return ("sum",)

    def first_value(self) -> float:
        """Return the first value of the sum of squares."""
        return self.initial_accumulator_value


OPTIMIZERS = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad)}
