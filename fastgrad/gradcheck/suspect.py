"""An array's gradient that may be wrong, with what is known of the right one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastgrad.arrays import Array
from fastgrad.gradcheck.measured import Measured
from fastgrad.gradcheck.sizes import Sizes

__all__ = ["Relation", "Suspect", "listed"]


class Relation(NamedTuple):
    """An explanation of one wrong array."""

    kind: str
    evidence: str
    hint: str
    number: float | None = None  # the factor, or the penalty's


@dataclass
class Suspect:
    """One array's gradient: as it was given, and what was measured."""

    name: str  # grads['dW1']
    param: str  # params['W1']
    given: Array  # float64
    point: Array  # the parameter
    measured: Measured
    sizes: Sizes
    full: bool  # whether every entry was measured
    others: list[Suspect] = field(default_factory=list, repr=False)  # all arrays but this one

    @property
    def wrong(self) -> bool:
        """Whether it is not the right gradient."""
        return self.measured.ratio(self.given) > 1

    def fits(self, array: Array) -> bool:
        """Return whether `array` is the right gradient, and there is anything to compare."""
        return self.measured.telling(array) > 0 and self.measured.ratio(array) <= 1

    def exactness(self, array: Array) -> str:
        """Return how near `array` is to the right gradient, for a sentence."""
        where = "largest entry" if self.measured.values.size else "size"
        return f"to {max(self.measured.apart(array), 1e-16):.1g} of its {where}"

    def at(self, array: Array) -> Array:
        """Return the entries that were measured."""
        entries: Array = array.ravel()[self.measured.entries]
        return entries


def listed(items: Sequence[object]) -> str:
    """Return items for a sentence, the first four if they are many."""
    shown, more = ", ".join(map(str, items[:4])), len(items) - 4
    return f"{shown} and {more} more" if more > 0 else shown
