"""Derivatives by differences, to compare analytic ones with.

A difference needs a step. Let ``eps`` be the relative rounding error of the numbers `f` returns,
and ``s = max(1, |x|)``. These steps balance the error of the formula and that of the arithmetic:

=============  =================================  =================  =====================
method         derivative                         step ``h``         error, about
=============  =================================  =================  =====================
``"central"``  ``(f(x + h) - f(x - h)) / 2h``     ``s eps**(1/3)``   ``h**2 + eps / h``
``"forward"``  ``(f(x + h) - f(x)) / h``          ``s eps**(1/2)``   ``h + eps / h``
``"complex"``  ``imag(f(x + ih)) / h``            ``s 1e-30``        ``eps``
=============  =================================  =================  =====================

``eps`` is that of the dtype `f` returns, unless what `noise` measures is 32 times as large: a
Python float from a float32 network has the digits of float32. Such an `f` may round its argument
to float32, so it is evaluated only at points that float32 can represent.

The complex step subtracts nothing, so it is exact to rounding; but `f` must be plain NumPy without
``abs``, ``maximum`` or the like, and fastgrad's own functions take no complex numbers.
At a kink (relu at 0) no difference is right: check gradients away from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_choice, check_number
from fastgrad.arrays import Array, as_array
from fastgrad.gradcheck.noise import ignores_argument, measured_noise, scales, unit_of

__all__ = ["Function", "deriv", "jacobian", "numerical_grad"]

METHODS = ("central", "forward", "complex")
COMPLEX_STEP = 1e-30
# Relative noise from which f is assumed to compute in float32: 1/2000 of eps of float32.
COARSE = 2.0**-34


def deriv(func: Callable[[Array], ArrayLike], x: ArrayLike, delta: float = 1e-3) -> Any:
    """Return the derivative of an elementwise function by a central difference.

    Parameters
    ----------
    func : callable
        Takes an array of any shape and returns one of the same shape. It is given private float64
        copies, which it may change.
    x : array_like
        Where to differentiate.
    delta : float
        Half the distance of the two points; the error is about ``delta**2 / 6 * func'''(x)``.

    Returns
    -------
    ndarray or float
        float64, of the shape of `x`.

    Raises
    ------
    ValueError
        If `delta` is not a positive number, or `func` is not elementwise.
    TypeError
        If `x` is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.deriv(np.square, [1.0, 2.0, 3.0]).round(6).tolist()
    [2.0, 4.0, 6.0]
    """
    delta = _check_delta("deriv", delta)
    point = _float64(as_array("deriv", "x", x))
    with np.errstate(all="ignore"):
        above, below = point + delta, point - delta
    if np.any((above == below) & np.isfinite(point)):
        raise ValueError(_vanished("deriv", delta, point))
    y_above, y_below = (
        _float64(as_array("deriv", "func(x)", func(p.copy()))) for p in (above, below)
    )
    for y in (y_above, y_below):
        if y.shape != point.shape:
            raise ValueError(
                f"deriv: func returned shape {y.shape} for x of shape {point.shape}: "
                "it must be elementwise"
            )
    with np.errstate(all="ignore"):
        # The points' true distance: x + delta and x - delta are rounded.
        return (y_above - y_below) / (above - below)


def numerical_grad(
    f: Callable[[Array], Any],
    x: ArrayLike,
    *,
    delta: float | None = None,
    method: str = "central",
) -> Array:
    """Return the gradient of a scalar function, one entry of `x` at a time.

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x` and returns one number. It is given a private float64
        (complex128 for the complex step) copy of `x` each time.
    x : array_like
        Where to differentiate; never written.
    delta : float, optional
        The step, the same for all entries. By default that of the module's table; choosing it
        takes a dozen values of `f` near `x`, some more if `f` is not exact.
    method : {"central", "forward", "complex"}
        See the module's table.

    Returns
    -------
    ndarray
        float64, of the shape of `x`.

    Raises
    ------
    ValueError
        If `f` does not return one number, or not a complex one for the complex step; if it
        ignores its argument, as a function does that reads a global array; if `delta` is not
        positive or too small to change `x`; if `method` is unknown.
    TypeError
        If `x` is not of real numbers, or is more than one array.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.numerical_grad(lambda x: np.sum(x**2), [[1.0, 2.0]]).round(6).tolist()
    [[2.0, 4.0]]
    >>> fg.numerical_grad(lambda x: np.sum(np.exp(x)), [0.0, 1.0], method="complex").tolist()
    [1.0, 2.718281828459045]
    """
    return _differences("numerical_grad", f, x, delta, method, scalar=True)


def jacobian(
    f: Callable[[Array], ArrayLike],
    x: ArrayLike,
    *,
    delta: float | None = None,
    method: str = "central",
) -> Array:
    """Return ``dy/dx`` of a function ``y = f(x)`` from arrays to arrays.

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x` and returns one of any shape, always the same. It is
        given a private float64 (complex128 for the complex step) copy of `x` each time.
    x : array_like
        Where to differentiate; never written.
    delta, method
        As for `numerical_grad`.

    Returns
    -------
    ndarray
        float64, of shape ``y.shape + x.shape``.

    Raises
    ------
    ValueError
        If `f` does not always return one shape, and complex numbers for the complex step; if it
        ignores its argument; if `delta` is not positive or too small to change `x`; if `method`
        is unknown.
    TypeError
        If `x`, or what `f` returns, is not of real numbers, or `x` is more than one array.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.jacobian(lambda x: np.array([x[0] + x[1], x[0] * x[1]]), [2.0, 3.0]).round(6).tolist()
    [[1.0, 1.0], [3.0, 2.0]]
    """
    return _differences("jacobian", f, x, delta, method)


# -- shared -----------------------------------------------------------------------------------


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
        The same, relative: ``eps`` of the module's table.
    coarse : bool
        Whether it computes in float32 or worse, whatever dtype it returns.
    """

    def __init__(
        self, caller: str, f: Callable[[Array], Any], x: ArrayLike, scalar: bool = False
    ) -> None:
        self.caller, self._f, self._scalar, self._whole = caller, f, scalar, True
        self.point = _float64(one_array(caller, "x", x))
        found = self._real(f(self.point.copy()))
        self.unit = self.eps = unit_of(found.dtype)
        self.y = _float64(found)  # a copy, here and below: f may return a buffer of its own
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
        return self._same_shape(_float64(self._real(self._f(x))))

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
                rounded = _float64(self.point.astype(np.float32))
            if np.isfinite(rounded).all() and np.any(rounded != self.point):
                self.point = rounded
                self.y = self(rounded.copy())

    def step(self, method: str) -> float:
        """Return the step of the module's table for ``s = 1``."""
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


def check_method(caller: str, delta: float | None, method: str) -> float | None:
    """Return `delta` as a float, or None; raise for a bad one and for an unknown method."""
    check_choice(caller, "method", method, METHODS)
    return None if delta is None else _check_delta(caller, delta)


def one_array(caller: str, name: str, value: Any) -> Array:
    """Return `value` as an array of real numbers; raise if it is several arrays."""
    several = isinstance(value, dict)
    if isinstance(value, list | tuple) and any(isinstance(v, np.ndarray | dict) for v in value):
        several = len({np.shape(v) for v in value}) > 1 or isinstance(value[0], dict)
    if several:
        raise TypeError(
            f"{caller}: {name} is a {type(value).__name__} of arrays: give one array, so check "
            "each with the others fixed, or join them, "
            "np.concatenate([np.ravel(a) for a in arrays]), and let f take them apart"
        )
    return as_array(caller, name, value)


def _differences(
    caller: str,
    func: Callable[[Array], Any],
    x: ArrayLike,
    delta: float | None,
    method: str,
    scalar: bool = False,
) -> Array:
    """Return ``dy/dx`` of shape ``y.shape + x.shape``."""
    delta = check_method(caller, delta, method)
    f = Function(caller, func, x, scalar)
    if delta is None and method != "complex":
        f.measure()
    step = f.step(method) if delta is None else delta
    result = np.empty((*f.y.shape, *f.point.shape))
    for index in np.ndindex(f.point.shape):
        column = (..., *index)
        here = float(f.point[index])
        h = step if delta is not None else step * max(1.0, abs(here))
        if method == "complex":
            result[column] = f.complex_slope(index, h)
            continue
        below = here - h if method == "central" else here
        above = here + h
        if f.coarse:
            below, above = float(np.float32(below)), float(np.float32(above))
        if above == below and np.isfinite(here):
            raise ValueError(_vanished(f.caller, h, f.point))
        y_above = f.at(index, above)
        y_below = f.at(index, below) if method == "central" else f.y
        with np.errstate(all="ignore"):
            result[column] = (y_above - y_below) / (above - below)
    if result.size and not result.any():
        f.check_used()
    return result


def _float64(array: Array) -> Array:
    """Return a copy in float64; a signalling NaN becomes a quiet one, without a warning."""
    with np.errstate(all="ignore"):
        return array.astype(np.float64)


def _moved(point: Array, index: tuple[int, ...], value: complex) -> Array:
    """Return a copy of `point` with one entry replaced."""
    copy = point.copy()
    copy[index] = value
    return copy


def _check_delta(function: str, delta: float) -> float:
    step = check_number(function, "delta", delta)
    if not 0 < step < np.inf:
        raise ValueError(f"{function}: delta is {delta}: give a positive number")
    return step


def _vanished(function: str, delta: float, point: Array) -> str:
    return (
        f"{function}: delta is {delta} but x reaches {np.abs(point).max():g}, "
        "where adding it changes nothing: give a larger delta"
    )
