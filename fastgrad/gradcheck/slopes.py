"""The slope of a function along one entry, with a bound for its error and for a kink's jump.

Values at ``x - 2h, x - h, x, x + h, x + 2h`` give two slopes of each kind: ``D(h)`` and ``D(2h)``
to both sides, ``R`` to the right, ``L`` to the left. If ``e`` is the rounding of the values, the
error of ``D(h)`` is at most about

    ``8 e / h  +  |D(2h) - D(h)|  +  |K| / 2``,      ``K = 2 (R(h) - L(h)) - (R(2h) - L(2h))``

The second term is three times the error where f is smooth. There K is of third order in h; where
the slope jumps by J at ``x + t`` it is ``J (1 - 1.5 t/h)``, and the two terms together are never
less than the error ``J/2 (1 - t/h)``. At a kink, and only there, K stays as h gets smaller.

`Line.best` tries steps until the bound is small: smaller ones near a kink or where f curves,
larger ones where noise dominates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.function import COMPLEX_STEP, Function
from fastgrad.gradcheck.noise import ROUNDED, scales

__all__ = ["Slope", "Slopes", "find_slopes", "slope_along"]

# Times the root mean square. The error of D(h) is 0.7 e / h, so this is eleven times that.
SURE = 8.0
SMALLEST, SMALLEST_COARSE, LARGEST = 2.0**-40, 2.0**-20, 0.5  # steps, relative to the scale of x
RATIO = 8.0  # between one step and the next
TINY = float(np.finfo(np.float64).smallest_subnormal)
LOST = 1e-290  # a smaller gradient drowns in subnormal numbers, and counts as zero


class Slope(NamedTuple):
    """The slope found with one step."""

    value: float
    error: float  # its bound
    left: float
    right: float
    jump: float  # K above
    noise: float  # the part of the error that is rounding
    step: float
    move: float  # how far f moves within a step, per step

    @property
    def kinked(self) -> bool:
        """Whether K is more than rounding, and most of the error."""
        return abs(self.jump) > 5 * self.noise and abs(self.jump) >= 0.5 * self.error


class Line:
    """A function along one entry of its argument."""

    def __init__(self, f: Function, index: tuple[int, ...], scale: float, forward: bool) -> None:
        self._f, self._index, self._forward = f, index, forward
        self._here, self._scale = float(f.point[index]), scale
        self._y, self._noise = float(f.y), float(f.noise)
        self._smallest = scale * (SMALLEST_COARSE if f.coarse else SMALLEST)

    def slope(self, h: float) -> Slope:
        """Return the slope with this step."""
        points = [self._here + k * h for k in (-2, -1, 1, 2)]
        if self._f.coarse:
            points = [float(np.float32(p)) for p in points]
        values = [float(self._f.at(self._index, p)) for p in points]
        with np.errstate(all="ignore"):
            return self._of(h, np.array(points), np.array(values))

    def _of(self, h: float, points: Array, values: Array) -> Slope:
        y = self._y
        finite = np.isfinite(values)
        size = np.abs(values[finite]).max(initial=0.0)
        noise = SURE * max(self._noise, ROUNDED * self._f.unit * size, TINY) / h
        left2, left, right, right2 = (values - y) / (points - self._here)
        both = (values[2] - values[1]) / (points[2] - points[1])
        both2 = (values[3] - values[0]) / (points[3] - points[0])
        jump = 2 * (right - left) - (right2 - left2)
        jump = float(jump) if np.isfinite(jump) else 0.0  # f's domain ends here
        if self._forward:
            value, change = right, 2 * abs(right2 - right)
            noise *= 2  # two values over h, not 2h: the error of R(h) is 1.4 e / h
        else:
            value, change = both, abs(both2 - both)
        if not np.isfinite(change):
            change = 0.0
        error = noise + change + abs(jump) / 2
        moves = np.abs([left, right])
        move = float(moves[np.isfinite(moves)].max(initial=0.0))
        return Slope(
            float(value), float(error), float(left), float(right), jump, float(noise), h, move
        )

    def best(self, first: Slope, goal: float) -> tuple[Slope, bool]:
        """Return the slope with the least error bound, and whether there is a kink at x.

        Parameters
        ----------
        first : Slope
            Where to begin.
        goal : float
            An error that is small enough.
        """
        best = last = first
        kink: Slope | None = None
        tried = [first]
        h = first.step / RATIO
        # Smaller steps, while rounding allows: a step avoids a kink near x only if it is shorter
        # than the distance to the kink.
        while best.error > goal and h >= self._smallest:
            hidden = 2 * RATIO * last.noise >= best.error
            if hidden and not (self._f.rough and len(tried) < 3):
                break
            slope = self.slope(h)
            tried.append(slope)
            if 10 * slope.noise < abs(last.jump):  # else rounding hides the jump
                stays = abs(slope.jump) >= 0.25 * abs(last.jump)
                kink = slope if last.kinked and slope.kinked and stays else None
            best = min(best, slope, key=_bound)
            last, h = slope, h / RATIO
        if kink is not None:
            return kink, True
        h = first.step * RATIO
        while best.error > goal and best.noise > 0.1 * best.error and h <= LARGEST * self._scale:
            slope = self.slope(h)
            if _bound(slope) >= _bound(best):
                break
            best, h = slope, h * RATIO
        return _widened(best, tried), False


def _widened(best: Slope, tried: list[Slope]) -> Slope:
    """Return a slope whose error covers what smaller steps say.

    Many kinks within a step may cancel in K and in D(2h) - D(h), not in slopes of smaller steps.
    A third of the bound of rounding is four times its root mean square.
    """
    error = best.error
    for slope in tried:
        gap = abs(slope.value - best.value)
        if slope.step < best.step and gap > slope.noise / 3:
            error = max(error, gap + slope.noise)
    return best._replace(error=error)


def _bound(slope: Slope) -> float:
    return slope.error if np.isfinite(slope.value) else np.inf


class Slopes(NamedTuple):
    """The slopes of all entries, in arrays of the shape of x."""

    value: Array
    error: Array
    left: Array
    right: Array
    noise: Array
    move: Array
    kinked: Array

    def scale(self) -> float:
        """Return the size of the gradient: its largest entry, or how far f moves per step."""
        sizes = np.abs(np.append(self.value, self.move))
        return float(sizes[np.isfinite(sizes)].max(initial=LOST))

    def put(self, index: tuple[int, ...], slope: Slope, kinked: bool = False) -> None:
        """Keep the slope of an entry."""
        for name in self._fields[:-1]:
            getattr(self, name)[index] = getattr(slope, name)
        self.kinked[index] = kinked
        if kinked:  # any slope between the two is right
            self.value[index] = (slope.left + slope.right) / 2
            self.error[index] = slope.noise + abs(slope.right - slope.left) / 2


def slope_along(f: Function, direction: Array, goal: float) -> Slope:
    """Return the slope of f along a direction, whose entries are of the size of 1.

    Parameters
    ----------
    f : Function
        Measured, of one number.
    direction : ndarray
        Of the shape of the point.
    goal : float
        An error that is small enough.
    """
    line = Line(f.ray(direction), (), 1.0, forward=False)
    # All entries move at once, the square root of their number as far as one: a compromise between
    # the least error of the formula and that of the arithmetic, from which `best` goes on.
    shorter = max(1.0, float(np.count_nonzero(direction))) ** -0.25
    first = line.slope(2.0 ** round(math.log2(f.step("central") * shorter)))
    return line.best(first, goal)[0]


def find_slopes(
    f: Function,
    analytic: Array,
    delta: float | None,
    method: str,
    rtol: float,
    indices: Iterable[tuple[int, ...]] | None = None,
) -> Slopes:
    """Return the slope of each entry, found with more steps where it is in doubt.

    Parameters
    ----------
    f : Function
        Measured, of one number.
    analytic : ndarray
        float64, of the shape of the point: an entry that differs from it is looked at again.
    delta : float or None
        The one step to take; None for those of the module.
    method : {"central", "forward", "complex"}
        The complex step gives the values; central differences still look for kinks.
    rtol : float
        The error to ignore, relative to the largest entry.
    indices : iterable of tuples of int, optional
        The entries to look at, all by default. Those of the others are NaN.
    """
    shape = f.point.shape
    kinked = np.zeros(shape, bool)
    found = Slopes(**{name: np.full(shape, np.nan) for name in Slopes._fields[:-1]}, kinked=kinked)
    sizes, forward, exact = scales(f.point), method == "forward", method == "complex"
    # A power of two: x + h is a number of float32 if x is.
    step = 2.0 ** round(math.log2(f.step("forward" if forward else "central")))
    lines: dict[tuple[int, ...], tuple[Line, Slope]] = {}
    for index in np.ndindex(shape) if indices is None else indices:
        size = float(sizes[index])
        line = Line(f, index, size, forward)
        slope = line.slope(step * size if delta is None or exact else delta)
        lines[index] = line, slope
        if exact:
            value = float(f.complex_slope(index, COMPLEX_STEP if delta is None else delta))
            rounding = 16 * f.eps * max(abs(value), slope.move)
            slope = slope._replace(value=value, error=rounding, noise=rounding)
        found.put(index, slope)
    if lines and not np.nan_to_num(found.move).any():
        f.check_used()
    if delta is not None and not exact:
        return found
    with np.errstate(all="ignore"):
        scale = found.scale()
        apart = np.abs(analytic - found.value)
        allowed = found.error + rtol * (scale + np.abs(found.value))
        plain_error = (apart > 10 * allowed) & (apart > 100 * found.error)
        vague = found.error > np.minimum(10 * found.noise + 1e-6 * scale, 0.1 * scale)
        again = ~plain_error & (vague | ~(apart <= allowed))
    for index, (line, first) in lines.items():
        if again[index] or first.kinked:
            slope, at_kink = line.best(first, rtol * scale)
            if at_kink or not exact:
                found.put(index, slope, at_kink)
    return found
