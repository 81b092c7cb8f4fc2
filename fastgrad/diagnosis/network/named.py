"""A mistake with its place: what the search finds, and how equal finds are kept together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastgrad.arrays import Array

__all__ = ["EQUALLY", "ROUNDING", "UNEXPLAINED", "Named", "Option", "best", "merged"]

UNEXPLAINED = 10.0  # the cost of an array that no mistake explains
EQUALLY = 30.0  # two rows fit equally well if their differences are within this factor
ROUNDING = 1e-13  # or both below this


@dataclass(frozen=True)
class Named:
    """A mistake at a place, and how near its numbers are to the script's."""

    kind: str
    step: str  # loss, input, activation: the main line; weights, bias: one array; "w", "b", forward
    layer: int
    sentence: str
    apart: float  # relative difference of what it predicts
    cost: float = 1.0


@dataclass(frozen=True)
class Option:
    """One explanation of a layer: a slot for each mistake, with all rows that fit equally."""

    slots: tuple[tuple[Named, ...], ...]
    cost: float
    grad_z: Array
    grad: Array  # da
    error: Array | None = None  # of grad_z; None: relatively that of the right way
    lost: bool = False


def best(found: list[Named]) -> tuple[Named, ...]:
    """Return the cheapest, and of those the ones that fit best."""
    lowest = min(n.cost for n in found)
    near = sorted((n for n in found if n.cost <= lowest + 0.01), key=lambda n: n.apart)
    limit = max(EQUALLY * near[0].apart, ROUNDING)
    kinds: dict[str, Named] = {}
    for n in near:
        if n.apart <= limit:
            kinds.setdefault(n.sentence, n)
    return tuple(kinds.values())


def merged(options: list[Option]) -> list[Option]:
    """Return the options, those with one dz and the same number of mistakes in one."""
    found: list[Option] = []
    for option in sorted(options, key=lambda o: o.cost):
        for i, other in enumerate(found):
            if (
                len(option.slots) == len(other.slots) == 1
                and abs(option.cost - other.cost) < 0.01
                and option.grad_z.shape == other.grad_z.shape
                and np.allclose(option.grad_z, other.grad_z, rtol=1e-9, atol=0.0)
            ):
                slot = best([*other.slots[0], *option.slots[0]])
                found[i] = replace(other, slots=(slot,))
                break
        else:
            found.append(option)
    return found
