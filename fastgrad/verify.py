"""Is this gradient right? `check_grad` holds it against `differences`, which are here, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, check_number
from fastgrad.differences import deriv, jacobian, numerical_grad, scalar_differences

__all__ = ["GradReport", "check_grad", "deriv", "jacobian", "numerical_grad"]


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

    Examples
    --------
    >>> import fastgrad as fg
    >>> report = fg.check_grad(lambda x: (x**2).sum(), [2.0, 5.0], [1.0, 2.0])
    >>> report.ok, report.worst_index, round(report.max_abs, 6)
    (False, (1,), 1.0)
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
        100 times the error in the table of `fastgrad.differences` plus the rounding of the
        gradient's own dtype, but at most a tenth: for `atol` times the largest of 1, ``|f(x)|``
        and the gradient's entries. For a function far below 1, give an `atol`.
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
    value, numerical, error = scalar_differences(function, f, point, delta, method)

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
