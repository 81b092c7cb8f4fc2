"""What differences know of one array's gradient: some entries, and its sums along directions.

Both are linear in the gradient. So "the right gradient is -2 times this array plus 0.1 times that
one" is tested, and the two numbers are found, without ever having the right gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastgrad.arrays import Array

__all__ = ["Fit", "Measured"]

TINY = float(np.finfo(np.float64).tiny)


class Fit(NamedTuple):
    """The best sum of some arrays times numbers."""

    numbers: tuple[float, ...]
    errors: tuple[float, ...]  # of the numbers, about
    ratio: float  # the largest difference in units of its bound: at most 1 fits


class Measured:
    """Some entries of the right gradient of an array, and its sums along directions.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    entries : ndarray of int
        Flat indices of the entries.
    values, errors : ndarray
        The entries of the right gradient there, and the bounds of their errors.
    rays : ndarray
        ``(m, size)``: directions.
    slopes, slope_errors : ndarray
        ``(m,)``: the sums of the right gradient times each direction, and their bounds.
    small : float
        The rounding of the given gradient, relative to its size.
    scale : float
        The size of the right gradient's largest entry.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        entries: Array,
        values: Array,
        errors: Array,
        rays: Array,
        slopes: Array,
        slope_errors: Array,
        small: float,
        scale: float,
    ) -> None:
        self.shape, self.entries, self.rays = shape, entries, rays
        self.values, self.errors = values, errors
        self.slopes, self.slope_errors = slopes, slope_errors
        self.small, self.scale = small, scale
        self.count = values.size + slopes.size

    def of(self, array: Array) -> Array:
        """Return what would have been measured if `array` were the right gradient."""
        flat = array.ravel()
        with np.errstate(all="ignore"):
            return np.concatenate([flat[self.entries], self.rays @ flat])

    def bounds(self, array: Array) -> Array:
        """Return how far each of these numbers may be off if `array` is right."""
        with np.errstate(all="ignore"):
            size = float(np.linalg.norm(array))
            entries = self.errors + self.small * (self.scale + np.abs(self.values))
            rays = self.slope_errors + self.small * (size + np.abs(self.slopes))
        return np.concatenate([entries, rays])

    def differences(self, array: Array) -> Array:
        """Return each number's difference in units of its bound; NaN and infinity are infinite."""
        with np.errstate(all="ignore"):
            apart = np.abs(self.of(array) - np.concatenate([self.values, self.slopes]))
            found: Array = apart / np.maximum(self.bounds(array), TINY)
        found[np.isnan(found)] = np.inf
        return found

    def ratio(self, array: Array) -> float:
        """Return the largest difference in units of its bound: at most 1 is right."""
        return float(self.differences(array).max(initial=0.0))

    def apart(self, array: Array) -> float:
        """Return how far `array` is from the right gradient, relative to its largest entry."""
        with np.errstate(all="ignore"):
            if self.values.size:
                size = np.abs(self.values).max(initial=0.0)
                worst = np.abs(array.ravel()[self.entries] - self.values).max()
            else:
                size = np.abs(self.slopes).max(initial=0.0)
                worst = np.abs(self.rays @ array.ravel() - self.slopes).max(initial=0.0)
            return float(worst / max(float(size), TINY))

    def fit(self, *arrays: Array) -> Fit | None:
        """Return the best sum of these arrays; None if too little was measured to tell."""
        none = None
        if not all(np.isfinite(a).all() for a in arrays):
            return none
        right = np.concatenate([self.values, self.slopes])
        bounds = np.maximum(self.bounds(arrays[0]), TINY)
        columns = np.stack([self.of(a) for a in arrays], axis=1) / bounds[:, None]
        telling = np.abs(columns).max(axis=1) > 1
        if np.linalg.matrix_rank(columns) < len(arrays) or telling.sum() < len(arrays):
            return none
        numbers = np.linalg.lstsq(columns, right / bounds, rcond=None)[0]
        with np.errstate(all="ignore"):
            errors = np.sqrt(np.abs(np.diag(np.linalg.pinv(columns.T @ columns))))
        total = sum(n * a for n, a in zip(numbers, arrays, strict=True))
        ratio = self.ratio(np.asarray(total))
        return Fit(tuple(map(float, numbers)), tuple(map(float, errors)), ratio)

    def telling(self, array: Array) -> int:
        """Return how many of the measured numbers are more than their bounds, for any of both."""
        right = np.concatenate([self.values, self.slopes])
        bounds = self.bounds(array)
        return int(np.count_nonzero(np.maximum(np.abs(right), np.abs(self.of(array))) > 3 * bounds))
