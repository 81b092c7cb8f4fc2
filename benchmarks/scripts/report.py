"""The tables of ``python -m benchmarks.scripts``, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from typing import NamedTuple

import numpy as np

from fastgrad.terminal import duration, factor

from ..timing import Pair

__all__ = ["Alone", "Peers", "Row", "mean", "of_optimizers", "of_peers", "of_scripts"]


class Row(NamedTuple):
    """A script, measured: `least` are the seconds of its products alone at the machine's peak."""

    name: str
    bar: float
    pair: Pair
    least: float


class Alone(NamedTuple):
    """An optimizer alone: `least` are the seconds of reading and writing what it must."""

    name: str
    bar: float
    pair: Pair
    least: float


class Peers(NamedTuple):
    """A script beside peers: fastgrad's seconds, and each peer's ratio or NaN."""

    name: str
    seconds: float
    ratios: dict[str, float]


def mean(ratios: Iterable[float]) -> float:
    """Return the geometric mean of what is not NaN."""
    logs = [float(np.log(ratio)) for ratio in ratios if ratio == ratio]
    return float(np.exp(np.mean(logs))) if logs else nan


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def of_scripts(rows: Sequence[Row]) -> str:
    """Return the table of steps, with their geometric mean."""
    header = ["step", "by hand", "fastgrad", "times as fast", "at least", "products alone", ""]
    body = []
    for row in rows:
        hand, ratio = row.pair.theirs.median, row.pair.ratio.median
        most = f"{duration(row.least)}, {factor(hand / row.least)}"
        body.append([row.name, duration(hand), duration(row.pair.ours.median), factor(ratio),
                     factor(row.bar), most, "" if ratio >= row.bar else "MISSED"])  # fmt: skip
    total = factor(mean(row.pair.ratio.median for row in rows))
    return table(header, [*body, ["*geometric mean*", "", "", total, "", "", ""]])


def of_optimizers(rows: Sequence[Alone]) -> str:
    """Return the table of optimizers alone."""
    header = ["350,000 float32 in 12 arrays", "by hand", "fastgrad", "times as fast", "at least",
              "memory alone", "fastgrad over that", ""]  # fmt: skip
    body = []
    for row in rows:
        hand, own, ratio = row.pair.theirs.median, row.pair.ours.median, row.pair.ratio.median
        body.append([row.name, duration(hand), duration(own), factor(ratio), factor(row.bar),
                     duration(row.least), factor(own / row.least),
                     "" if ratio >= row.bar else "MISSED"])  # fmt: skip
    return table(header, body)


def of_peers(rows: Sequence[Peers], names: Sequence[str]) -> str:
    """Return the table beside peers: how many times as long as fastgrad each takes."""
    body = []
    for row in rows:
        cells = [factor(row.ratios[name]) if row.ratios[name] == row.ratios[name] else ""
                 for name in names]  # fmt: skip
        body.append([row.name, duration(row.seconds), *cells])
    means = [factor(mean(row.ratios[name] for row in rows)) for name in names]
    header = ["times as long as fastgrad", "fastgrad", *names]
    return table(header, [*body, ["*geometric mean*", "", *means]])
