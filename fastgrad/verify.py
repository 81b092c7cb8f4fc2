"""Is this gradient right? Derivatives by differences, to hold analytic ones against.

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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, check_choice, check_number

__all__ = ["GradReport", "check_grad", "deriv", "jacobian", "numerical_grad"]

METHODS = ("central", "forward", "complex")
COMPLEX_STEP = 1e-30


def deriv(func: Callable[[Array], ArrayLike], x: ArrayLike, delta: float = 1e-3) -> Any:
    """Return the derivative of an elementwise function by a central difference.

    Parameters
    ----------
    func : callable
        Takes an array of any shape and returns one of the same shape.
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
    point = as_array("deriv", "x", x).astype(np.float64)
    with np.errstate(all="ignore"):
        above, below = point + delta, point - delta
    if np.any((above == below) & np.isfinite(point)):
        raise ValueError(_vanished("deriv", delta, point))
    y_above, y_below = (
        as_array("deriv", "func(x)", func(p)).astype(np.float64) for p in (above, below)
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
    return _scalar_differences("numerical_grad", f, x, delta, method)[1]


def jacobian(
    f: Callable[[Array], ArrayLike],
    x: ArrayLike,
    *,
    delta: float | None = None,
    method: str = "central",
) -> Array:
    """Return ``dy/dx`` of a function ``y = f(x)`` from arrays to arrays.

    Parameters are those of `numerical_grad`, but `f` may return an array of any one shape.

    Returns
    -------
    ndarray
        float64, of shape ``y.shape + x.shape``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.jacobian(lambda x: np.array([x[0] + x[1], x[0] * x[1]]), [2.0, 3.0]).round(6).tolist()
    [[1.0, 1.0], [3.0, 2.0]]
    """
    return _differences("jacobian", f, x, delta, method)[1]


@dataclass(frozen=True, repr=False, eq=False)
class GradReport:
    """What `check_grad` found. True if the gradient is right; print it to read it.

    Attributes
    ----------
    ok : bool
        Whether every entry of the gradient is within its tolerance.
    max_abs, max_rel : float
        The largest difference, and the largest one divided by the larger of the two values.
    worst_index : tuple of int
        Where the difference is largest in units of the tolerance; None for an empty gradient.
    analytic, numerical, tolerance : ndarray
        The gradient given, that of differences, and how far apart they may be.
    rtol, atol : float
        ``tolerance = atol + rtol * abs(numerical)``.
    method : str
        The kind of difference.
    """

    ok: bool
    max_abs: float
    max_rel: float
    worst_index: tuple[int, ...] | None
    analytic: Array
    numerical: Array
    tolerance: Array
    rtol: float
    atol: float
    method: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        wrong = int(np.sum(~_right(self.analytic, self.numerical, self.tolerance)))
        size = self.analytic.size
        verdict = f"ok, {size} entries" if self.ok else f"FAIL, {wrong} of {size} entries"
        head = f"gradient check ({self.method} differences): {verdict}"
        if self.worst_index is None:
            return head
        i = self.worst_index
        analytic, numerical = self.analytic[i], self.numerical[i]
        with np.errstate(all="ignore"):
            difference = abs(analytic - numerical)
        return (
            f"{head}\n"
            f"  worst entry  {list(i)}\n"
            f"  analytic     {analytic:.10g}\n"
            f"  numerical    {numerical:.10g}\n"
            f"  difference   {difference:.2g}, allowed {self.tolerance[i]:.2g}"
        )


def check_grad(
    f: Callable[[Array], Any],
    grad: ArrayLike | Callable[[Array], ArrayLike],
    x: ArrayLike,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    delta: float | None = None,
    method: str = "central",
) -> GradReport:
    """Compare a gradient with differences of the function it belongs to.

    Parameters
    ----------
    f : callable
        Takes an array and returns one number; as for `numerical_grad`. The step follows the
        dtype of that number: for a network in float32, whose loss is a Python float, check
        ``lambda p: np.float32(net.value_and_grad(p, x, target)[0])``.
    grad : array_like or callable
        The gradient at `x`, or a function that returns it for (a copy of) `x`.
    x : array_like
        Where to compare.
    rtol, atol : float, optional
        An entry is right if it differs by at most ``atol + rtol * abs(numerical)``. By default
        100 times the error in the module's table plus the rounding of the gradient's own dtype,
        but at most a tenth: for `atol` times the largest of 1, ``|f(x)|`` and the gradient's
        entries. For a function far below 1, give an `atol`.
    delta, method
        As for `numerical_grad`.

    Returns
    -------
    GradReport
        True if all entries are right. NaN and inf never are.

    Raises
    ------
    ValueError
        If the gradient's shape is not that of `x`, a tolerance is negative, and where
        `numerical_grad` raises it.
    TypeError
        If `x` or the gradient is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> bool(fg.check_grad(lambda x: np.sum(x**2), 2 * x, x))
    True
    >>> print(fg.check_grad(lambda x: np.sum(x**3), 3 * x, x, rtol=0, atol=1e-6))
    gradient check (central differences): FAIL, 2 of 4 entries
      worst entry  [1, 1]
      analytic     9
      numerical    27
      difference   18, allowed 1e-06
    """
    function = "check_grad"
    for name, tol in (("rtol", rtol), ("atol", atol)):
        if tol is not None and not check_number(function, name, tol) >= 0:
            raise ValueError(f"{function}: {name} is {tol}: give a number >= 0")
    point = as_array(function, "x", x)
    if callable(grad):
        grad = grad(point.copy() if point.dtype.kind == "f" else point.astype(np.float64))
    analytic = as_array(function, "grad", grad)
    if analytic.shape != point.shape:
        raise ValueError(
            f"{function}: grad has shape {analytic.shape} but x has shape {point.shape}: "
            "they need the same shape"
        )
    value, numerical, error = _scalar_differences(function, f, point, delta, method)

    if analytic.dtype.kind == "f":
        error += float(np.finfo(analytic.dtype).eps)
    analytic = analytic.astype(np.float64)
    part = min(100.0 * error, 0.1)
    rtol = part if rtol is None else float(rtol)
    if atol is None:
        sizes = np.abs(np.append(numerical, value))
        atol = part * float(sizes[np.isfinite(sizes)].max(initial=1.0))

    with np.errstate(all="ignore"):
        difference = np.abs(analytic - numerical)
        tolerance = atol + rtol * np.abs(numerical)
        larger = np.maximum(np.abs(analytic), np.abs(numerical))
        relative = np.divide(difference, larger, out=np.zeros_like(larger), where=larger != 0)
        badness = difference / np.maximum(tolerance, np.finfo(np.float64).tiny)
    worst = None
    if analytic.size:
        flat = np.nan_to_num(badness, nan=np.inf).argmax()
        worst = tuple(int(i) for i in np.unravel_index(flat, analytic.shape))
    return GradReport(
        ok=bool(np.all(_right(analytic, numerical, tolerance))),
        max_abs=float(difference.max(initial=0.0)),
        max_rel=float(relative.max(initial=0.0)),
        worst_index=worst,
        analytic=analytic,
        numerical=numerical,
        tolerance=tolerance,
        rtol=float(rtol),
        atol=float(atol),
        method=method,
    )


def _right(analytic: Array, numerical: Array, tolerance: Array) -> Array:
    """Return which entries are within their tolerance; none that is not finite is."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(analytic) & np.isfinite(numerical)
        right: Array = finite & (np.abs(analytic - numerical) <= tolerance)
    return right


# -- differences -------------------------------------------------------------------------------


def _differences(
    function: str, f: Callable[[Array], Any], x: ArrayLike, delta: float | None, method: str
) -> tuple[Array, Array, float]:
    """Return ``f(x)``, ``dy/dx`` of shape ``y.shape + x.shape``, and its typical relative error."""
    check_choice(function, "method", method, METHODS)
    if delta is not None:
        delta = _check_delta(function, delta)
    point = as_array(function, "x", x).astype(np.float64)

    def numbers(x: Array) -> Array:
        return as_array(function, "f(x)", f(x)).astype(np.float64)

    found = as_array(function, "f(x)", f(point.copy()))
    eps = float(np.finfo(found.dtype if found.dtype.kind == "f" else np.float64).eps)
    step = {"central": eps ** (1 / 3), "forward": eps**0.5, "complex": COMPLEX_STEP}[method]
    if delta is not None:
        step = delta
    error = {"central": step * step + eps / step, "forward": step + eps / step, "complex": eps}[
        method
    ]

    y = found.astype(np.float64)  # a copy, here and below: f may return a buffer of its own
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


def _scalar_differences(
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
