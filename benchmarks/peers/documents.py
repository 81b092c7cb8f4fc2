"""The tables of README.md and docs/performance.md, written in place between their marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .report import Row, losing, markdown

__all__ = ["PEERS", "put_between", "write"]

PEERS = ("numpy", "torch", "jax", "autograd", "sklearn")
MARKS = (
    "<!-- peers: written by `python -m benchmarks.peers --documents` -->",
    "<!-- end of table -->",
)
# Rows of the long table that the first screen leaves out.
ONLY_THERE = re.compile(
    r"\| (softmax 32x16x16, layer|(tanh 256x784x256|gelu 4096x64x64|relu 100000x3x2), layer \| "
    r"float64|\*geometric mean, (?!layers forward \+ backward|networks))"
)


def write(rows: Sequence[Row], about: dict[str, Any], seconds: float, root: Path) -> None:
    """Write the tables and what they were measured on into both documents under `root`."""
    table, _, lost = markdown(rows).partition("\n\n")
    short = "\n".join(line for line in table.splitlines() if not ONLY_THERE.match(line))
    machine, minutes = _machine(about), max(1, round(seconds / 60))
    timed = sum(len(row.ratios) for row in rows)
    put_between(MARKS, root / "docs" / "performance.md", f"{machine}\n\n{table}\n\n{lost}")
    put_between(
        MARKS,
        root / "README.md",
        f"{short}\n\nMedians of a peer's time over fastgrad's. {machine} From one run of\n"
        f"`python -m benchmarks.peers --documents` ({minutes} minutes, after `pip install "
        '".[peers]"`), which compares\nresults first. Peers get arrays of their own kind, prepared '
        f"beforehand. In {len(losing(rows))} of {timed:,} comparisons a\npeer was faster: "
        "[docs/performance.md](docs/performance.md) names them, and what limits them.",
    )


def _machine(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    threads = "One thread" if about["threads"] == 1 else f"{about['threads']} threads"
    return (
        f"{threads} of {about['processor']}, Python {about['python']}, {versions};\nNumPy on "
        f"{about['BLAS']}."
    )


def put_between(marks: tuple[str, str], path: Path, text: str) -> None:
    """Put the text between the marks of a document."""
    start, end = marks
    before, found, rest = path.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"benchmarks: {path} has no {start} ... {end}")
    path.write_text(f"{before}{start}\n{text.strip()}\n{end}{after}")
