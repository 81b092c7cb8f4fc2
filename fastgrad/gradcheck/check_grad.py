"""Is this gradient right? `check_grad` compares it with finite differences (`differences`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_number
from fastgrad.arrays import Array
from fastgrad.gradcheck.differences import (
    Function,
    check_method,
    deriv,
    jacobian,
    numerical_grad,
    one_array,
)
from fastgrad.gradcheck.finding import Finding
from fastgrad.gradcheck.noise import unit_of
from fastgrad.gradcheck.slopes import Slopes, find_slopes

__all__ = ["GradReport", "check_grad", "deriv", "jacobian", "numerical_grad"]

# The largest tolerance, relative to the largest entry. A gradient of zeros, or a doubled one, has
# ten times this error.
TOLD = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class GradReport:
    """What `check_grad` found. True if the gradient is right; print it to read it.

    Attributes
    ----------
    state : {"ok", "wrong", "inconclusive"}
        Inconclusive: no entry is known to be wrong, but an error could be too small to see.
    ok : bool
        Whether every entry of the gradient is within its tolerance and differences can tell.
    max_abs, max_rel : float
        The largest difference, and the largest one divided by the larger of the two values.
    worst_index : tuple of int
        Where the difference is largest in units of the tolerance; None for an empty gradient.
    analytic, numerical, tolerance : ndarray
        The gradient given, that of differences, and how far apart they may be.
    error : ndarray
        How far off the numerical gradient itself may be.
    wrong, doubtful : ndarray
        Which entries are wrong, and which ones differences cannot decide.
    kinks : tuple
        The entries at a kink of f: ``(index, slope to the left, slope to the right)``.
    rtol, atol : float
        ``tolerance = atol + rtol * abs(numerical)``, plus the error unless `atol` was given.
    findings : tuple of Finding
        What is wrong, in words; empty if nothing is known to be.
    noise : float
        The rounding of the numbers f returns, root mean square, as measured.
    method : str
        The kind of difference.

    Examples
    --------
    >>> import fastgrad as fg
    >>> report = fg.check_grad(lambda x: (x**2).sum(), [2.0, 5.0], [1.0, 2.0])
    >>> report.ok, report.state, report.worst_index, round(report.max_abs, 6)
    (False, 'wrong', (1,), 1.0)
    """

    state: str
    ok: bool
    max_abs: float
    max_rel: float
    worst_index: tuple[int, ...] | None
    analytic: Array
    numerical: Array
    tolerance: Array
    error: Array
    wrong: Array
    doubtful: Array
    kinks: tuple[tuple[tuple[int, ...], float, float], ...]
    rtol: float
    atol: float
    noise: float
    method: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, in words; empty unless `state` is "wrong"."""
        if self.state != "wrong" or self.worst_index is None:
            return ()
        i, size = self.worst_index, self.analytic.size
        return (
            Finding(
                "grad",
                "wrong entries",
                None,
                f"{int(self.wrong.sum())} of {size} entries differ from {self.method} differences; "
                f"the worst is {list(i)}: {self.analytic[i]:.10g} for {self.numerical[i]:.10g}.",
                "fg.diagnose(f, x, grad) looks for the mistake.",
            ),
        )

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        size = self.analytic.size
        verdict = {
            "ok": f"ok, {size} entries",
            "wrong": f"FAIL, {int(self.wrong.sum())} of {size} entries",
            "inconclusive": f"INCONCLUSIVE, {int(self.doubtful.sum())} of {size} entries",
        }[self.state]
        head = f"gradient check ({self.method} differences): {verdict}"
        if self.worst_index is None:
            return head
        i = self.worst_index
        analytic, numerical = self.analytic[i], self.numerical[i]
        with np.errstate(all="ignore"):
            difference = abs(analytic - numerical)
        lines = [
            head,
            f"  worst entry  {list(i)}",
            f"  analytic     {analytic:.10g}",
            f"  numerical    {numerical:.10g}",
            f"  difference   {difference:.2g}, allowed {self.tolerance[i]:.2g}",
        ]
        if self.state == "inconclusive" and self.doubtful.sum() > len(self.kinks):
            lines += self._doubt()
        lines += [
            f"  kink         at {list(index)}: the slope is {left:.4g} to the left, {right:.4g} to "
            "the right"
            for index, left, right in self.kinks[:3]
        ]
        if len(self.kinks) > 3:
            lines.append(f"  kink         at {len(self.kinks) - 3} more entries")
        return "\n".join(lines)

    def _doubt(self) -> list[str]:
        """Return why differences cannot decide."""
        kinks = {index for index, _, _ in self.kinks}
        entries = [tuple(map(int, i)) for i in np.argwhere(self.doubtful)]
        i = max((e for e in entries if e not in kinks), key=lambda e: self.error[e])
        largest = np.abs(self.numerical[np.isfinite(self.numerical)]).max(initial=0.0)
        return [
            f"  in doubt     entry {list(i)}: differences know it to {self.error[i]:.2g} only, as "
            f"f is exact to {self.noise:.2g};",
            f"               the largest entry is {largest:.2g}, and a wrong one would not show",
        ]


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

    The rounding of `f` is measured first, so a float32 network, whose loss is a Python float, is
    checked like any other function. Each entry is differentiated with two steps; their difference
    and the rounding of `f` bound the error. Where the bound is large, or the gradient is not
    within it, more steps are tried. This takes four values of `f` for an entry, up to forty for
    one in doubt, and two dozen for the rounding.

    Parameters
    ----------
    f : callable
        Takes an array and returns one number; as for `numerical_grad`.
    grad : array_like or callable
        The gradient at `x`, or a function that returns it for (a copy of) `x`.
    x : array_like
        Where to compare.
    rtol, atol : float, optional
        An entry is right if it differs by at most ``atol + rtol * abs(numerical)``. By default
        `rtol` is 1e-8, or 1.2e-5 where the gradient or `f` has the digits of float32, and `atol`
        that times the largest entry, plus the error bound of the entry's own difference.
    delta, method
        As for `numerical_grad`; with a `delta` no other step is tried.

    Returns
    -------
    GradReport
        True if all entries are right; NaN and inf never are. Inconclusive, which counts as False,
        where differences cannot decide: at a kink of `f`, and where the tolerance would be more
        than a tenth of the largest entry; with an `atol`, where the error bound is larger than
        the tolerance.

    Raises
    ------
    ValueError
        If the gradient's shape is not that of `x`, a tolerance is negative, and where
        `numerical_grad` raises it.
    TypeError
        If `x` or the gradient is not of real numbers, or is more than one array.

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
    >>> print(fg.check_grad(lambda x: np.abs(x).sum(), [1.0, 0.0], [2.0, 0.0]))
    gradient check (central differences): INCONCLUSIVE, 1 of 2 entries
      worst entry  [0]
      analytic     1
      numerical    1
      difference   0, allowed 2e-08
      kink         at [1]: the slope is -1 to the left, 1 to the right
    """
    function = "check_grad"
    for name, tol in (("rtol", rtol), ("atol", atol)):
        if tol is not None and not check_number(function, name, tol) >= 0:
            raise ValueError(f"{function}: {name} is {tol}: give a number >= 0")
    delta = check_method(function, delta, method)
    point = one_array(function, "x", x)
    if callable(grad):
        grad = grad(point.copy() if point.dtype.kind == "f" else point.astype(np.float64))
    analytic = one_array(function, "grad", grad)
    if analytic.shape != point.shape:
        raise ValueError(
            f"{function}: grad has shape {analytic.shape} but x has shape {point.shape}: "
            "they need the same shape"
        )
    func = Function(function, f, point, scalar=True)
    func.measure()
    unit = unit_of(analytic.dtype)
    if func.coarse:
        unit = max(unit, float(np.finfo(np.float32).eps))
    small = min(max(1e-8, 100.0 * unit), TOLD / 4)  # of the largest entry
    with np.errstate(all="ignore"):
        analytic = analytic.astype(np.float64)
    found = find_slopes(func, analytic, delta, method, small)
    return _report(analytic, found, small, rtol, atol, float(func.noise), method)


def _report(
    analytic: Array,
    found: Slopes,
    small: float,
    rtol: float | None,
    atol: float | None,
    noise: float,
    method: str,
) -> GradReport:
    """Return the verdict on each entry and on all."""
    numerical, error, scale = found.value, found.error, found.scale()
    rtol = small if rtol is None else float(rtol)
    with np.errstate(all="ignore"):
        difference = np.abs(analytic - numerical)
        if atol is None:
            atol = small * scale
            tolerance = limit = atol + rtol * np.abs(numerical) + error
            doubtful = limit > TOLD * scale
        else:
            atol = float(atol)
            tolerance = atol + rtol * np.abs(numerical)
            limit = tolerance + error
            doubtful = (error > tolerance) | (difference > tolerance)
        wrong = ~_right(analytic, numerical, limit)
        doubtful = (doubtful | found.kinked) & ~wrong
        larger = np.maximum(np.abs(analytic), np.abs(numerical))
        relative = np.divide(difference, larger, out=np.zeros_like(larger), where=larger != 0)
        badness = difference / np.maximum(tolerance, np.finfo(np.float64).tiny)
    worst = None
    if analytic.size:
        flat = np.nan_to_num(badness, nan=np.inf).argmax()
        worst = tuple(int(i) for i in np.unravel_index(flat, analytic.shape))
    state = "wrong" if wrong.any() else "inconclusive" if doubtful.any() else "ok"
    kinks = [tuple(map(int, index)) for index in np.argwhere(found.kinked)]
    return GradReport(
        state=state,
        ok=state == "ok",
        max_abs=float(difference.max(initial=0.0)),
        max_rel=float(relative.max(initial=0.0)),
        worst_index=worst,
        analytic=analytic,
        numerical=numerical,
        tolerance=tolerance,
        error=error,
        wrong=wrong,
        doubtful=doubtful,
        kinks=tuple((i, float(found.left[i]) + 0.0, float(found.right[i]) + 0.0) for i in kinks),
        rtol=rtol,
        atol=atol,
        noise=noise,
        method=method,
    )


def _right(analytic: Array, numerical: Array, tolerance: Array) -> Array:
    """Return which entries are finite and within their tolerance."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(analytic) & np.isfinite(numerical)
        right: Array = finite & (np.abs(analytic - numerical) <= tolerance)
    return right
