"""Schedules: learning rates that depend on the step, for an optimizer's `lr`.

Any callable of the step works too; the first step is 0. These can be compared and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastgrad.arguments import check_count, check_limit

__all__ = ["cosine", "step", "warmup"]


@dataclass(frozen=True)
class cosine:
    """From `lr` down to `end` along half a cosine over `steps` steps, then constant at `end`.

    ``end + (lr - end) * (1 + cos(pi * t / steps)) / 2`` (Loshchilov and Hutter, ICLR 2017).

    Parameters
    ----------
    lr : float
        Not negative.
    steps : int
        Positive.
    end : float
        Not negative.

    Examples
    --------
    >>> import fastgrad as fg
    >>> rate = fg.schedules.cosine(0.1, steps=100)
    >>> [round(rate(t), 3) for t in (0, 50, 100, 1000)]
    [0.1, 0.05, 0.0, 0.0]
    """

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        check_limit("cosine", "lr", self.lr)
        check_limit("cosine", "end", self.end)
        check_count("cosine", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """Return the rate of a step."""
        part = min(step, self.steps) / self.steps
        return self.end + (self.lr - self.end) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class step:
    """`lr`, multiplied by `factor` after each `every` steps.

    Parameters
    ----------
    lr : float
        Not negative.
    every : int
        Positive.
    factor : float
        Not negative.

    Examples
    --------
    >>> import fastgrad as fg
    >>> rate = fg.schedules.step(1.0, every=10, factor=0.5)
    >>> [rate(t) for t in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_limit("step", "lr", self.lr)
        check_limit("step", "factor", self.factor)
        check_count("step", "every", self.every)

    def __call__(self, step: int) -> float:
        """Return the rate of a step."""
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class warmup:
    """Rise linearly over the first `steps`: ``(t + 1) / steps`` times what `then` gives.

    Parameters
    ----------
    then : float or callable
        The rate, or another schedule, of all steps from the first.
    steps : int
        Positive.

    Examples
    --------
    >>> import fastgrad as fg
    >>> rate = fg.schedules.warmup(0.1, steps=4)
    >>> [rate(t) for t in (0, 1, 3, 4)]
    [0.025, 0.05, 0.1, 0.1]
    >>> opt = fg.Adam(lr=fg.schedules.warmup(fg.schedules.cosine(1e-3, 10_000), steps=100))
    """

    then: float | Callable[[int], float]
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.then):
            check_limit("warmup", "then", self.then)
        check_count("warmup", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """Return the rate of a step."""
        rate = self.then(step) if callable(self.then) else self.then
        return rate * min(1.0, (step + 1) / self.steps)
