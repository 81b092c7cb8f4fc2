"""One script: its step by hand and with fastgrad, and how fast the latter is to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Params", "Run", "Script", "copies", "differences", "endless", "weights"]

Array = NDArray[Any]
Params = dict[str, Array]
T = TypeVar("T")


class Run(NamedTuple):
    """A script that runs: each call of `step` is one step on parameters of its own."""

    step: Callable[[], Any]
    params: Callable[[], Mapping[str, Any]]


class Script:
    """A script, with all data that its step needs, the same for everybody who runs it.

    To add one: a subclass, and its instance in the tuple at the foot of its file.
    """

    name: str
    bar: float  # at least this many times as fast as by hand
    dtype: str = "float64"
    multiply_adds: float = 0.0  # of the products that a step cannot do without
    random = False  # whether peers draw random numbers of their own

    def by_hand(self) -> Run:
        """Return the script in NumPy, as such scripts are written."""
        raise NotImplementedError

    def ours(self) -> Run:
        """Return the same script with fastgrad's functions."""
        raise NotImplementedError

    def agrees(self, run: Run, steps: int = 3) -> bool:
        """Return whether the parameters are those by hand, up to rounding, after some steps."""
        return differences(self.by_hand(), run, steps) <= (
            1e-3 if self.dtype == "float32" else 1e-9
        )


def differences(hand: Run, other: Run, steps: int) -> float:
    """Return how far the two are apart after some steps, relative to each array's largest."""
    for _ in range(steps):
        hand.step()
        other.step()
    expected, got = hand.params(), other.params()
    apart = [
        np.abs(np.asarray(got[name]) - value).max() / np.abs(value).max()
        for name, value in expected.items()
    ]
    return float(np.max(apart))  # NaN if one is: Python's max drops it


def copies(params: Params) -> Params:
    """Return parameters of one's own."""
    return {name: p.copy() for name, p in params.items()}


def endless(batches: Sequence[T]) -> Iterator[T]:
    """Return a run's own order of the batches, over and over.

    A step on one batch over and over would learn it: slopes of zero then make moments of Adam
    subnormal, and these take 100 times as long, whoever computes them.
    """
    return cycle(batches)


def weights(sizes: Sequence[int], dtype: str, columns: bool = False) -> Params:
    """Return W1, b1, W2, ... of a network."""
    rng = np.random.default_rng(1)
    params = {}
    for i, (d, k) in enumerate(pairwise(sizes), start=1):
        shape = (k, d) if columns else (d, k)
        params[f"W{i}"] = (rng.standard_normal(shape) * np.sqrt(1 / d)).astype(dtype)
        params[f"b{i}"] = np.zeros((k, 1) if columns else k, dtype)
    return params
