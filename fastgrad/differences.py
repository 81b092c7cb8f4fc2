"""Derivatives by differences, to hold analytic ones against.

A difference needs a step. With ``eps`` the rounding of the numbers `f` returns and ``s`` for
``max(1, |x|)``, the steps that balance the error of the formula against that of the arithmetic are

=============  =================================  =================  =====================
method         derivative                         step ``h``         error, about
=============  =================================  =================  =====================
``"central"``  ``(f(x + h) - f(x - h)) / 2h``     ``s eps**(1/3)``   ``h**2 + eps / h``
``"forward"``  ``(f(x + h) - f(x)) / h``          ``s eps**(1/2)``   ``h + eps / h``
``"complex"``  ``imag(f(x + ih)) / h``            ``s 1e-30``        ``eps``
=============  =================================  =================  =====================

The complex step subtracts nothing, so it is exact to rounding; but `f` must be plain NumPy without
``abs``, ``maximum`` or the like, and fastgrad's own functions take no complex numbers.
At a kink (relu at 0) no difference is right: check gradients away from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, check_choice, check_number

__all__ = ["deriv", "jacobian", "numerical_grad", "scalar_differences"]

METHODS = ("central", "forward", "complex")
COMPLEX_STEP = 1e-30


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
        The step, the same for all entries. By default that of the module's table, with the
        ``eps`` of the dtype that `f` returns.
    method : {"central", "forward", "complex"}
        See the module's table.

    Returns
    -------
    ndarray
        float64, of the shape of `x`.

    Raises
    ------
    ValueError
        If `f` does not return one number, or not a complex one for the complex step; if `delta`
        is not positive or too small to change `x`; if `method` is unknown.
    TypeError
        If `x` is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.numerical_grad(lambda x: np.sum(x**2), [[1.0, 2.0]]).round(6).tolist()
    [[2.0, 4.0]]
    >>> fg.numerical_grad(lambda x: np.sum(np.exp(x)), [0.0, 1.0], method="complex").tolist()
    [1.0, 2.718281828459045]
    """
    return scalar_differences("numerical_grad", f, x, delta, method)[1]


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
        If `f` does not keep to one shape, or to complex numbers for the complex step; if `delta`
        is not positive or too small to change `x`; if `method` is unknown.
    TypeError
        If `x`, or what `f` returns, is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.jacobian(lambda x: np.array([x[0] + x[1], x[0] * x[1]]), [2.0, 3.0]).round(6).tolist()
    [[1.0, 1.0], [3.0, 2.0]]
    """
    return _differences("jacobian", f, x, delta, method)[1]


# -- what they share --------------------------------------------------------------------------


def _differences(
    function: str, f: Callable[[Array], Any], x: ArrayLike, delta: float | None, method: str
) -> tuple[Array, Array, float]:
    """Return ``f(x)``, ``dy/dx`` of shape ``y.shape + x.shape``, and its typical relative error."""
    check_choice(function, "method", method, METHODS)
    if delta is not None:
        delta = _check_delta(function, delta)
    point = _float64(as_array(function, "x", x))

    def numbers(x: Array) -> Array:
        return _float64(as_array(function, "f(x)", f(x)))

    found = as_array(function, "f(x)", f(point.copy()))
    eps = float(np.finfo(found.dtype if found.dtype.kind == "f" else np.float64).eps)
    step = {"central": eps ** (1 / 3), "forward": eps**0.5, "complex": COMPLEX_STEP}[method]
    if delta is not None:
        step = delta
    error = {"central": step * step + eps / step, "forward": step + eps / step, "complex": eps}[
        method
    ]

    y = _float64(found)  # a copy, here and below: f may return a buffer of its own
    result = np.empty((*y.shape, *point.shape))

    def same_shape(moved: Array) -> Array:
        if moved.shape != y.shape:
            raise ValueError(
                f"{function}: f returned shape {moved.shape} after {y.shape}: "
                "it must return one shape whatever x is"
            )
        return moved

    for index in np.ndindex(point.shape):
        here = float(point[index])
        h = step if delta is not None else step * max(1.0, abs(here))
        column = (..., *index)
        if method == "complex":
            moved = np.asarray(f(_moved(point.astype(np.complex128), index, complex(here, h))))
            if moved.dtype.kind != "c":
                raise ValueError(
                    f"{function}: f returned dtype {moved.dtype} for a complex argument: "
                    "method='complex' needs an f that keeps complex numbers"
                )
            result[column] = same_shape(moved).imag / h
            continue
        below = here - h if method == "central" else here
        above = here + h
        if above == below and np.isfinite(here):
            raise ValueError(_vanished(function, h, point))
        y_above = same_shape(numbers(_moved(point, index, above)))
        y_below = y
        if method == "central":
            y_below = same_shape(numbers(_moved(point, index, below)))
        with np.errstate(all="ignore"):
            result[column] = (y_above - y_below) / (above - below)
    return y, result, error


def scalar_differences(
    function: str, f: Callable[[Array], Any], x: ArrayLike, delta: float | None, method: str
) -> tuple[float, Array, float]:
    """Return the number ``f(x)``, its gradient, and the gradient's typical relative error."""

    def number(x: Array) -> Any:
        y = f(x)
        y = np.asarray(y) if np.iscomplexobj(y) else as_array(function, "f(x)", y)
        if y.size != 1:
            raise ValueError(
                f"{function}: f returned shape {y.shape}: it must return one number "
                "(jacobian differentiates arrays)"
            )
        return y.reshape(())

    value, gradient, error = _differences(function, number, x, delta, method)
    return float(value), gradient, error


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
