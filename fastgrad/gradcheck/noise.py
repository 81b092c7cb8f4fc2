"""How exactly a function computes: the rounding in its values, measured.

A float says nothing about how it was made: the loss of a float32 network is a Python float with
seven right digits. So the function is evaluated at equally spaced points close together, as in
Moré and Wild (*Estimating computational noise*, SIAM Journal on Scientific Computing 33, 2011).
There a smooth function is almost a polynomial, whose sixth differences vanish; the sixth
differences of independent errors of size ``e`` are ``e * sqrt(924)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad.arrays import Array

__all__ = ["TOLD", "gradient_rounding", "ignores_argument", "measured_noise", "scales", "unit_of"]

ORDER, COMBINATIONS = 6, 924.0  # 924 = (12 choose 6)
POINTS = 10
# Relative to the scale of x: some units in the last place of float32, so that f sees each step
# even if it rounds its argument; the sixth power leaves 2e-38 of the sixth derivative. Where f is
# constant over these points, it is too coarse or too flat for them, and larger steps are used.
SPACINGS = (2.0**-24, 2.0**-16, 2.0**-9)
# Odd: an f that sums in float32 would be exact at round numbers. Integers: an argument that
# float32 can represent moves to others that it can.
ODD = np.array([5.0, -7.0, 3.0, -5.0, 7.0, 3.0, -3.0, 5.0, -3.0, -5.0, 7.0, -7.0, -5.0])
# The root mean square error of rounding, in eps of the number: uniform over at most one eps.
ROUNDED = 0.3
# The largest tolerance, relative to the largest entry. A gradient of zeros, or a doubled one, has
# ten times this error.
TOLD = 0.1


def gradient_rounding(unit: float, coarse: bool) -> float:
    """Return how exact a gradient is relative to its largest entry: a hundred roundings of `unit`.

    If its function is `coarse`, these are roundings of float32 at least.
    """
    if coarse:
        unit = max(unit, float(np.finfo(np.float32).eps))
    return min(max(1e-8, 100.0 * unit), TOLD / 4)


def scales(point: Array) -> Array:
    """Return for each entry a power of two that is at least 1 and about as large as the entry."""
    exponents = np.frexp(np.where(np.isfinite(point), point, 0.0))[1]
    sizes: Array = np.ldexp(1.0, np.clip(exponents, 0, 1000))
    return sizes


def unit_of(dtype: np.dtype[Any]) -> float:
    """Return eps of a floating-point dtype, that of float64 for others."""
    return float(np.finfo(dtype if dtype.kind in "fc" else np.float64).eps)


def measured_noise(f: Callable[[Array], Array], point: Array, y: Array, unit: float) -> Array:
    """Return the root mean square error of rounding in each number that `f` returns near a point.

    Parameters
    ----------
    f : callable
        It maps float64 arrays to float64 arrays of one shape.
    point, y : ndarray
        Where to measure, and ``f(point)``.
    unit : float
        eps of the dtype that `f` returns: no number in it is more exact.

    Returns
    -------
    ndarray
        Of the shape of y. It is 0 where y is not finite.
    """
    with np.errstate(all="ignore"):
        least = np.where(np.isfinite(y), ROUNDED * unit * np.abs(y), 0.0)
    if not point.size or not y.size:
        return least
    direction = np.resize(ODD, point.shape) * scales(point)
    for spacing in SPACINGS:
        found, moved = _along(f, point, spacing * direction)
        if moved or not np.isfinite(found).any():
            break
    noise = np.fmax(least, found)
    if np.any(noise > 32 * least):
        # A kink between the points looks like noise; the other side does not have the same kink.
        noise = np.fmax(least, np.fmin(noise, _along(f, point, -spacing * direction)[0]))
    return noise


def _along(f: Callable[[Array], Array], point: Array, step: Array) -> tuple[Array, bool]:
    """Return the noise at points beside `point`, not at it, and whether f changed there."""
    with np.errstate(all="ignore"):
        values = np.stack([f(point + k * step) for k in range(1, POINTS + 1)])
        differences = np.diff(values, n=ORDER, axis=0)
        noise = np.sqrt(np.mean(differences**2, axis=0) / COMBINATIONS)
    return noise, bool(np.any(values != values[0]))


def ignores_argument(f: Callable[[Array], Array], point: Array, y: Array) -> bool:
    """Return whether `f` gives `y` even far away and for NaN."""
    if not point.size or not np.isfinite(y).all():
        return False
    step = scales(point)
    probes = (point + step, point - step, point + 0.37 * step, np.full_like(point, np.nan))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # f may warn about such numbers
        try:
            return all(np.array_equal(f(probe), y) for probe in probes)
        except Exception:
            return False  # f has read its argument
