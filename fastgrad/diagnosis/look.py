"""One array's gradient beside differences of the loss: all entries, or a draw of them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.function import Function
from fastgrad.gradcheck.measured import Measured
from fastgrad.gradcheck.noise import TOLD
from fastgrad.gradcheck.sample import directions, drawn_entries
from fastgrad.gradcheck.slopes import Slopes, find_slopes, slope_along

__all__ = ["RAYS", "Look"]

CHUNK = 16  # entries between two looks at the clock
RAYS = 3
LAST = 32  # entries that are looked at one by one when a wrong one is searched
FLOAT32 = float(np.finfo(np.float32).eps)


class Look:
    """What was found about one array.

    Parameters
    ----------
    f : Function
        The loss as a function of this array, measured.
    given : ndarray
        The gradient to judge, float64.
    small : float
        Its rounding, relative to its size.
    """

    def __init__(self, f: Function, given: Array, small: float) -> None:
        self._f, self.given, self._small = f, given, small
        # Entries that differ are looked at with more steps; if the loss is rough, all of them.
        self._expected = np.full(given.shape, np.nan) if f.rough else given
        self.slopes: Slopes | None = None
        self._rays = np.empty((0, given.size))
        self._along, self._along_errors = np.empty(0), np.empty(0)

    @property
    def full(self) -> bool:
        """Whether every entry was looked at."""
        return self.slopes is not None and not np.isnan(self.slopes.noise).any()

    def entries(self, entries: Array | None, deadline: float) -> None:
        """Look at these entries (flat indices), all if None; of some stop at the deadline."""
        if entries is None:
            self.slopes = find_slopes(self._f, self._expected, None, "central", self._small)
            return
        places = list(zip(*np.unravel_index(entries, self.given.shape), strict=True))
        for start in range(0, len(places), CHUNK):
            if start and monotonic() > deadline:
                return
            some = [tuple(int(i) for i in place) for place in places[start : start + CHUNK]]
            found = find_slopes(self._f, self._expected, None, "central", self._small, some)
            if self.slopes is None:
                self.slopes = found
                continue
            for old, new in zip(self.slopes, found, strict=True):
                for index in some:
                    old[index] = new[index]

    def along(self, draw: np.random.Generator, count: int = RAYS) -> None:
        """Look along some directions."""
        for direction in directions(draw, self.given.shape, count):
            self._add(direction)

    def _add(self, direction: Array) -> None:
        goal = self._small * float(np.linalg.norm(np.nan_to_num(self.given)))
        slope = slope_along(self._f, direction, goal)
        self._rays = np.concatenate([self._rays, direction.reshape(1, -1)])
        self._along = np.append(self._along, slope.value)
        # A float32 loss rounds each entry's step.
        moved = FLOAT32 / slope.step * float(np.linalg.norm(self.given)) if self._f.rough else 0.0
        self._along_errors = np.append(self._along_errors, slope.error + moved)

    def draw(
        self,
        draw: np.random.Generator,
        count: int,
        deadline: float,
        seen: Callable[[], None] = lambda: None,
    ) -> None:
        """Look along directions, then at entries: more of a wrong array, and at a wrong one.

        Parameters
        ----------
        draw : Generator
            The seeded draw.
        count : int
            How many entries, if the array is wrong.
        deadline : float
            When to stop, of `time.monotonic`.
        seen : callable
            Called between these steps.
        """
        self.along(draw)
        seen()
        wrong = self.measured().ratio(self.given) > 1
        self.entries(drawn_entries(draw, self.given, count if wrong else CHUNK), deadline)
        seen()
        m = self.measured()
        if wrong and m.values.size and m.differences(self.given)[: m.values.size].max() <= 1:
            self._search(draw, deadline)

    def _search(self, draw: np.random.Generator, deadline: float) -> None:
        """Halve the array until a wrong entry is found among few."""
        part = np.arange(self.given.size)
        while part.size > LAST and monotonic() < deadline:
            half = draw.permutation(part)[: part.size // 2]
            direction = np.zeros(self.given.size)
            direction[half] = directions(draw, half.shape, 1)[0]
            self._add(direction.reshape(self.given.shape))
            off = self.measured().differences(self.given)[-1] > 1
            part = half if off else np.setdiff1d(part, half)
        self.entries(part[:LAST], np.inf)

    def measured(self) -> Measured:
        """Return what is known of the right gradient."""
        shape, along = self.given.shape, (self._rays, self._along, self._along_errors)
        if self.slopes is None:
            size = float(np.linalg.norm(np.nan_to_num(self.given))) / max(1, self.given.size) ** 0.5
            empty = np.empty(0)
            return Measured(shape, np.empty(0, int), empty, empty, *along, self._small, size)
        s = self.slopes
        entries = np.flatnonzero(~np.isnan(s.noise))
        values, errors = s.value.ravel()[entries], s.error.ravel()[entries]
        return Measured(shape, entries, values, errors, *along, self._small, s.scale())

    # -- the verdict -----------------------------------------------------------------------------

    def verdict(self, whole: float) -> str:
        """Return "ok", "wrong" or "inconclusive"; `whole` is the size of the whole gradient."""
        m = self.measured()
        if m.ratio(self.given) > 1:
            return "wrong"
        # Where less than a millionth of the whole gradient could be wrong, zero is zero.
        bounds, least = m.bounds(self.given), 1e-6 * whole
        if self.full:
            limit = max(TOLD * m.scale, least)
            entries = bounds[: m.values.size]
            vague = bool(np.any(entries > limit)) and bool(self._moves(m))
        else:
            size = float(np.linalg.norm(self.given))
            limit = max(TOLD * max(size, float(np.abs(m.slopes).max())), least * size)
            vague = bool(m.slopes.size) and float(bounds[m.values.size :].min()) > limit
        return "inconclusive" if vague or self.kinks() else "ok"

    def _moves(self, m: Measured) -> bool:
        """Return whether the loss or the given gradient has anything but zeros there."""
        return bool(self.given.any() or m.values.any())

    def kinks(self) -> list[tuple[tuple[int, ...], float, float]]:
        """Return the entries at kinks, with the slopes to the left and to the right."""
        if self.slopes is None:
            return []
        s = self.slopes
        return [
            (
                tuple(int(i) for i in index),
                float(s.left[tuple(index)]),
                float(s.right[tuple(index)]),
            )
            for index in np.argwhere(s.kinked)
        ]

    def relative(self) -> Array:
        """Return each entry's difference relative to the largest entry; NaN if not looked at."""
        result = np.full(self.given.shape, np.nan)
        if self.slopes is not None:
            with np.errstate(all="ignore"):
                apart = np.abs(self.given - self.slopes.value)
                result = np.asarray(apart / max(self.slopes.scale(), 1e-290))
            result[np.isnan(result) & ~np.isnan(self.slopes.noise)] = np.inf
        return result
