"""What `check_grad` says about a gradient: on one array, and on the arrays of a tree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.finding import Finding
from fastgrad.gradcheck.measured import Measured
from fastgrad.gradcheck.noise import TOLD
from fastgrad.gradcheck.relations import explained
from fastgrad.gradcheck.sizes import Sizes
from fastgrad.gradcheck.slopes import Slopes
from fastgrad.gradcheck.suspect import Suspect

__all__ = ["GradReport", "joined", "judged"]


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
    point : ndarray
        Where it was compared.
    parts : dict of str to GradReport
        Of a tree: the report on each array, by its name: ``grad['dW1']``. Then `analytic` and its
        like are vectors of all arrays' entries, one after the other. Empty for one array.

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
    point: Array
    parts: dict[str, GradReport] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, in words; empty unless `state` is "wrong"."""
        if self.parts:
            return tuple(
                replace(found, array=name)
                for name, part in self.parts.items()
                for found in part.findings
            )
        if self.state != "wrong" or self.worst_index is None:
            return ()
        seen = np.flatnonzero(~np.isnan(self.error))
        none = np.empty(0)
        values, errors = self.numerical.ravel()[seen], self.tolerance.ravel()[seen]
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        measured = Measured(
            self.analytic.shape, seen, values, errors, np.empty((0, self.analytic.size)), none,
            none, 0.0, largest,
        )  # fmt: skip
        sizes = Sizes((n, f"axis {i} of x") for i, n in enumerate(self.point.shape))
        full = seen.size == self.analytic.size
        suspect = Suspect("grad", "x", self.analytic, self.point, measured, sizes, full)
        relation = explained(suspect)
        return (Finding("grad", relation.kind, None, relation.evidence, relation.hint),)

    def _count(self) -> int:
        """Return how many entries were compared."""
        return self.analytic.size - int(np.isnan(self.error).sum())

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        size = self._count()
        verdict = {
            "ok": f"ok, {size} entries",
            "wrong": f"FAIL, {int(self.wrong.sum())} of {size} entries",
            "inconclusive": f"INCONCLUSIVE, {int(self.doubtful.sum())} of {size} entries",
        }[self.state]
        head = f"gradient check ({self.method} differences): {verdict}"
        if size < self.analytic.size:
            head += f", drawn from {self.analytic.size}"
        if self.parts:
            wrong = [(name, repr(p)) for name, p in self.parts.items() if not p.ok]
            return "\n".join([head, *(f"{name}: {p.partition(': ')[2]}" for name, p in wrong)])
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


def joined(parts: dict[str, GradReport]) -> GradReport:
    """Return the report on a tree."""
    reports = list(parts.values())

    def vector(name: str) -> Array:
        return np.concatenate([getattr(r, name).ravel() for r in reports])

    starts = np.cumsum([0, *(r.analytic.size for r in reports)])
    flat = {
        name: vector(name)
        for name in ("analytic", "numerical", "tolerance", "error", "wrong", "doubtful", "point")
    }

    def place(i: int, index: tuple[int, ...]) -> tuple[int, ...]:
        return (int(starts[i]) + int(np.ravel_multi_index(index, reports[i].analytic.shape)),)

    with np.errstate(all="ignore"):
        badness = np.abs(flat["analytic"] - flat["numerical"]) / flat["tolerance"]
    badness[np.isnan(badness)] = np.where(np.isnan(flat["error"]), -1.0, np.inf)[np.isnan(badness)]
    states = {r.state for r in reports}
    state = next((s for s in ("wrong", "inconclusive") if s in states), "ok")
    return GradReport(
        state=state,
        ok=state == "ok",
        max_abs=max(r.max_abs for r in reports),
        max_rel=max(r.max_rel for r in reports),
        worst_index=(int(badness.argmax()),) if badness.size else None,
        kinks=tuple((place(i, k[0]), *k[1:]) for i, r in enumerate(reports) for k in r.kinks),
        rtol=reports[0].rtol,
        atol=max(r.atol for r in reports),
        noise=reports[0].noise,
        method=reports[0].method,
        parts=parts,
        **flat,
    )


def judged(
    analytic: Array,
    found: Slopes,
    small: float,
    rtol: float | None,
    atol: float | None,
    noise: float,
    method: str,
    point: Array,
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
        seen = ~np.isnan(error)  # the entries that were looked at
        wrong = ~_right(analytic, numerical, limit) & seen
        doubtful = (doubtful | found.kinked) & ~wrong
        larger = np.maximum(np.abs(analytic), np.abs(numerical))
        relative = np.divide(difference, larger, out=np.zeros_like(larger), where=larger != 0)
        badness = difference / np.maximum(tolerance, np.finfo(np.float64).tiny)
    worst = None
    if analytic.size:
        flat = np.where(seen, np.nan_to_num(badness, nan=np.inf), -1.0).argmax()
        worst = tuple(int(i) for i in np.unravel_index(flat, analytic.shape))
    state = "wrong" if wrong.any() else "inconclusive" if doubtful.any() else "ok"
    kinks = [tuple(map(int, index)) for index in np.argwhere(found.kinked)]
    return GradReport(
        state=state,
        ok=state == "ok",
        max_abs=float(difference[seen].max(initial=0.0)),
        max_rel=float(relative[seen].max(initial=0.0)),
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
        point=point,
    )


def _right(analytic: Array, numerical: Array, tolerance: Array) -> Array:
    """Return which entries are finite and within their tolerance."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(analytic) & np.isfinite(numerical)
        right: Array = finite & (np.abs(analytic - numerical) <= tolerance)
    return right
