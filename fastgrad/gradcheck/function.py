"""A function at a point: its values, checked, and how exactly it computes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array
from fastgrad.gradcheck.noise import ignores_argument, measured_noise, scales, unit_of

__all__ = ["COMPLEX_STEP", "Function", "float64", "one_array", "private", "several_arrays"]

COMPLEX_STEP = 1e-30
# Relative noise from which f is assumed to compute in float32: 1/2000 of eps of float32.
COARSE = 2.0**-34


class Function:
    """A function at a point: its values, checked, and how exact they are.

    Attributes
    ----------
    point, y : ndarray
        float64: where it is differentiated, and its value there.
    unit : float
        eps of the dtype it returns.
    noise : ndarray
        The rounding error of y, root mean square; until `measure` that of its dtype.
    eps : float
        The same, relative: ``eps`` of the table in `differences`.
    coarse : bool
        Whether it computes in float32 or worse, whatever dtype it returns.
    """

    def __init__(
        self, caller: str, f: Callable[[Array], Any], x: ArrayLike, scalar: bool = False
    ) -> None:
        self.caller, self._f, self._scalar, self._whole = caller, f, scalar, True
        self.point = float64(one_array(caller, "x", x))
        found = self._real(f(self.point.copy()))
        self.unit = self.eps = unit_of(found.dtype)
        self.y = float64(found)  # a copy, here and below: f may return a buffer of its own
        self.noise = np.zeros_like(self.y)
        self.coarse = False

    @property
    def rough(self) -> bool:
        """Whether its numbers have the digits of float32 or less, or their dtype does."""
        return self.coarse or self.unit > COARSE

    @classmethod
    def like(cls, other: Function, f: Callable[[Array], Any], point: Array) -> Function:
        """Return a function of a part of the argument of `other`, at the same place.

        Its value and rounding are known; it may ignore its argument.
        """
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        made._f, made.point, made._whole = f, point, False
        return made

    def ray(self, direction: Array) -> Function:
        """Return the function of one number t, ``f(x + t * direction)``, at t = 0."""
        return Function.like(self, lambda t: self._f(self.point + t * direction), np.zeros(()))

    def __call__(self, x: Array) -> Array:
        """Return ``f(x)`` for a private `x`, as float64."""
        return self._same_shape(float64(self._real(self._f(x))))

    def at(self, index: tuple[int, ...], value: float) -> Array:
        """Return f where one entry of the point has another value."""
        return self(_moved(self.point, index, value))

    def complex_slope(self, index: tuple[int, ...], step: float) -> Array:
        """Return the derivative with respect to one entry by the complex step."""
        point = self.point.astype(np.complex128)
        y = self._f(_moved(point, index, complex(point[index].real, step)))
        moved = self._one(np.asarray(y) if np.iscomplexobj(y) else as_array(self.caller, "f(x)", y))
        if moved.dtype.kind != "c":
            self.check_used()
            raise ValueError(
                f"{self.caller}: f returned dtype {moved.dtype} for a complex argument: "
                "method='complex' needs an f that keeps complex numbers"
            )
        self.eps = max(self.eps, unit_of(moved.dtype))
        slope: Array = self._same_shape(moved).imag / step
        return slope

    def check_used(self) -> None:
        """Raise ValueError if f does not depend on its argument."""
        if self._whole and ignores_argument(self, self.point, self.y):
            raise ValueError(
                f"{self.caller}: f ignores its argument: it returns the same for any. It is given "
                "changed copies of x, and x itself is never written: let f compute with its "
                "argument, not with an array from outside"
            )

    def measure(self) -> None:
        """Measure how exact f is; if not more exact than float32, round the point to float32."""
        self.noise = measured_noise(self, self.point, self.y, self.unit)
        if not np.isfinite(self.y).all():
            return
        noise, size = (float(np.max(np.abs(a), initial=0.0)) for a in (self.noise, self.y))
        if noise > COARSE * size:  # or y is near a root: then compare with how far f moves
            size = max(size, self._reach())
        if noise <= 32 * self.unit * size:
            return
        self.eps = min(noise / size, 2.0**-6) if size else 2.0**-6
        self.coarse = self.eps > COARSE
        if self.coarse:
            with np.errstate(all="ignore"):
                rounded = float64(self.point.astype(np.float32))
            if np.isfinite(rounded).all() and np.any(rounded != self.point):
                self.point = rounded
                self.y = self(rounded.copy())

    def step(self, method: str) -> float:
        """Return the step of the table in `differences` for ``s = 1``."""
        powers = {"central": 1 / 3, "forward": 1 / 2}
        return float(self.eps ** powers[method]) if method in powers else COMPLEX_STEP

    def _reach(self) -> float:
        """Return how far f moves over a sixteenth of the scale of x, or 0 if f fails there."""
        step = scales(self.point) / 16
        with suppress(Exception), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            moves = [np.abs(self(self.point + turn * step) - self.y) for turn in (1, -1)]
            return float(np.nan_to_num(moves, nan=0.0, posinf=0.0).max(initial=0.0))
        return 0.0

    def _real(self, y: Any) -> Array:
        if self._scalar and np.iscomplexobj(y):
            self._one(np.asarray(y))
        return self._one(as_array(self.caller, "f(x)", y))

    def _one(self, y: Array) -> Array:
        if not self._scalar:
            return y
        if y.size != 1:
            raise ValueError(
                f"{self.caller}: f returned shape {y.shape}: it must return one number "
                "(jacobian differentiates arrays)"
            )
        return y.reshape(())

    def _same_shape(self, moved: Array) -> Array:
        if moved.shape != self.y.shape:
            raise ValueError(
                f"{self.caller}: f returned shape {moved.shape} after {self.y.shape}: "
                "it must return one shape whatever x is"
            )
        return moved


def several_arrays(value: Any) -> bool:
    """Return whether a value is a dict, or a list or tuple of arrays that do not make one."""
    if isinstance(value, list | tuple) and any(isinstance(v, np.ndarray | dict) for v in value):
        return len({np.shape(v) for v in value}) > 1 or isinstance(value[0], dict)
    return isinstance(value, dict)


def one_array(caller: str, name: str, value: Any) -> Array:
    """Return `value` as an array of real numbers; raise if it is several arrays."""
    if several_arrays(value):
        raise TypeError(
            f"{caller}: {name} is a {type(value).__name__} of arrays: give one array, so check "
            "each with the others fixed, or join them, "
            "np.concatenate([np.ravel(a) for a in arrays]), and let f take them apart"
        )
    return as_array(caller, name, value)


def private(array: Array) -> Array:
    """Return a copy that others may write to: of integers in float64, or nothing could be added."""
    return array.copy() if array.dtype.kind == "f" else array.astype(np.float64)


def float64(array: Array) -> Array:
    """Return a copy in float64; a signalling NaN becomes a quiet one, without a warning."""
    with np.errstate(all="ignore"):
        return array.astype(np.float64)


def _moved(point: Array, index: tuple[int, ...], value: complex) -> Array:
    """Return a copy of `point` with one entry replaced."""
    copy = point.copy()
    copy[index] = value
    return copy
