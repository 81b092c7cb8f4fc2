"""The bars the project has set itself, and whether a run meets them.

Those about threads, memory, start-up and the multiply-add peak are not of this command: see
`benchmarks.limits`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastgrad.terminal import factor, table

from .report import Row
from .workloads import Cell, cells

__all__ = ["BARS", "Bar", "checklist", "verdicts"]

NUMPY, TORCH, JAX = ("numpy",), ("torch", "torch.compile"), ("jax",)
ALL = (*NUMPY, *TORCH, *JAX, "autograd", "sklearn")


@dataclass(frozen=True)
class Bar:
    """So many times as fast as the best of some peers.

    Attributes
    ----------
    cells : callable
        Which cells it is about.
    peers : tuple of str
        Whose best counts.
    ratio : float
        The least ratio.
    mean : bool
        Whether the geometric mean has to reach it, or every cell.
    """

    text: str
    cells: Callable[[Cell], bool]
    peers: tuple[str, ...]
    ratio: float
    mean: bool = False


def _both(*shapes: str) -> Callable[[Cell], bool]:
    return lambda c: c.workload == "layers" and c.mode == "both" and c.shape in (shapes or c.shape)


def _named(name: str, *shapes: str) -> Callable[[Cell], bool]:
    return lambda c: c.name == name and c.shape in (shapes or c.shape)


_BEST = (*NUMPY, *TORCH, *JAX)
_SMALL, _TINY = ("1x8x8", "32x16x16"), ("4/2", "32/32")
_B = "notebook B"
BARS = (
    Bar("layers, both: geometric mean over the best of NumPy, PyTorch, JAX", _both(), _BEST, 2,
        mean=True),
    Bar("layers, both: each over the best of NumPy, PyTorch, JAX", _both(), _BEST, 1),
    Bar("layers, both, 1x8x8 and 32x16x16: each over NumPy", _both(*_SMALL), NUMPY, 5),
    Bar("layers, both, 1x8x8 and 32x16x16: each over PyTorch", _both(*_SMALL), TORCH, 30),
    Bar("notebook B 4/2 and 32/32: each over NumPy", _named(_B, *_TINY), NUMPY, 12),
    Bar("notebook B 4/2 and 32/32: each over JAX", _named(_B, *_TINY), JAX, 8),
    Bar("notebook B 64/64: over NumPy and JAX", _named(_B, "64/64"), (*NUMPY, *JAX), 3),
    Bar("notebook B 128/256, 256/1024, 64/4096: each over the best of all",
        _named(_B, "128/256", "256/1024", "64/4096"), ALL, 1.5),
    Bar("SimpleChains 24-8-2, batch 200: over NumPy", _named("SimpleChains"), NUMPY, 6),
    Bar("Adam epoch of 4-32-16-4: over PyTorch", _named("10,000 samples"), TORCH, 20),
    Bar("Adam epoch of 4-32-16-4: over NumPy", _named("10,000 samples"), NUMPY, 10),
)  # fmt: skip

# Activations alone: so many ns per element, or these ratios.
NANOSECONDS = {"float32": 0.6, "float64": 1.6}
OR_RATIOS = {"numpy": 5.0, "torch": 2.0}

# (bar, wanted, measured, verdict)
Verdict = tuple[str, str, str, str]
ELEMENTS = 4096


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Return a line per bar."""
    known = cells()
    found = [_verdict(bar, rows, sum(map(bar.cells, known))) for bar in BARS]
    return found + [_alone(dtype, rows) for dtype in NANOSECONDS]


def _verdict(bar: Bar, rows: Sequence[Row], expected: int) -> Verdict:
    wanted = f"{bar.ratio:g}x"
    best = {
        row.cell: found for row in rows if bar.cells(row.cell) and (found := row.best(bar.peers))
    }
    if not best:
        return bar.text, wanted, "-", "not measured"
    if bar.mean:
        measured = statistics.geometric_mean(ratio for _, ratio in best.values())
        text = factor(measured)
    else:
        cell, (peer, measured) = min(best.items(), key=lambda item: item[1][1])
        text = f"{factor(measured)} ({cell.label}, {peer})"
    missed = sum(ratio < bar.ratio for _, ratio in best.values())
    verdict = "met" if measured >= bar.ratio else "MISSED"
    if missed and not bar.mean and len(best) > 1:
        verdict += f" in {missed} of {len(best)}"
    if len(best) < expected:
        verdict += f"; measured {len(best)} of {expected}"
    absent = [p for p in bar.peers if p in ("numpy", "torch", "jax")
              and not any(p in row.ratios for row in rows if row.cell in best)]  # fmt: skip
    if absent:
        verdict += f"; without {', '.join(absent)}"
    return bar.text, wanted, text, verdict


def _alone(dtype: str, rows: Sequence[Row]) -> Verdict:
    """Return the verdict over sigmoid, tanh, gelu and softmax of 4096 elements."""
    limit = NANOSECONDS[dtype]
    ratios = " and ".join(f"{ratio:g}x {peer}" for peer, ratio in OR_RATIOS.items())
    text, wanted = f"activations, {ELEMENTS} of {dtype}: each", f"{limit} ns, or {ratios}"
    mine = [row for row in rows if row.cell.workload == "activations" and row.cell.dtype == dtype
            and row.ours]  # fmt: skip
    if not mine:
        return text, wanted, "-", "not measured"
    times = {row.cell.name: 1e9 * min(row.ours.values()) / ELEMENTS for row in mine}
    missed = [
        row.cell.name
        for row in mine
        if times[row.cell.name] > limit
        and not all(p in row.ratios and row.ratios[p].median >= r for p, r in OR_RATIOS.items())
    ]
    measured = ", ".join(f"{name} {time:.2f} ns" for name, time in times.items())
    verdict = f"MISSED by {', '.join(missed)}" if missed else "met"
    expected = sum(c.workload == "activations" and c.dtype == dtype for c in cells())
    if len(mine) < expected:
        verdict += f"; measured {len(mine)} of {expected}"
    return text, wanted, measured, verdict


def checklist(rows: Sequence[Row]) -> str:
    """Return the bars as a table: what was wanted, what was measured, met or missed."""
    lines = [list(verdict) for verdict in verdicts(rows)]
    return "Bars\n\n" + table(["bar", "at least", "measured (the worst)", "verdict"], lines, left=4)
