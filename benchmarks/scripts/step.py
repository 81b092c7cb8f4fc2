"""One step of a script, by hand and with fastgrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Params", "Step"]

Array = NDArray[Any]
Params = dict[str, Array]


class Step(NamedTuple):
    """A step, how fast it is to be, and what shows that both do the same.

    `by_hand` and `ours` each do one whole step on parameters of their own and return these.
    """

    name: str
    bar: float  # at least this many times as fast as by hand
    by_hand: Callable[[], Params]
    ours: Callable[[], Params]

    def agrees(self, steps: int = 3) -> bool:
        """Return whether the parameters are the same, up to rounding, after some steps."""
        for _ in range(steps):
            expected, got = self.by_hand(), self.ours()
        rtol = 1e-9 if next(iter(got.values())).dtype == np.float64 else 1e-3
        return all(
            np.abs(got[name] - value).max() <= rtol * np.abs(value).max()
            for name, value in expected.items()
        )
