"""What came out, as text: the table, geometric means, cells where a peer wins, README's rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from fastgrad.terminal import duration, factor, table

from ..timing import Spread
from .implementations import PEERS
from .workloads import Cell

__all__ = ["Row", "losing", "markdown", "means", "report", "rows_of"]


@dataclass
class Row:
    """A cell with what is known about it, by peer."""

    cell: Cell
    ours: dict[str, float] = field(default_factory=dict)  # seconds, measured beside each peer
    ratios: dict[str, Spread] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why a peer was not timed
    wrong: list[str] = field(default_factory=list)  # the peers whose results disagree

    @property
    def seconds(self) -> float | None:
        """Our time: the median over the peers it was measured beside."""
        return statistics.median(self.ours.values()) if self.ours else None

    def best(self, among: Iterable[str] | None = None) -> tuple[str, float] | None:
        """Return the fastest peer and how many times as long as ours it takes."""
        names = self.ratios if among is None else [n for n in among if n in self.ratios]
        found = [(name, self.ratios[name].median) for name in names]
        return min(found, key=lambda pair: pair[1], default=None)


def rows_of(cells: Iterable[Cell], records: Iterable[dict[str, Any]]) -> list[Row]:
    """Return a row per cell from what the workers wrote."""
    rows = {cell: Row(cell) for cell in cells}
    for record in records:
        row, peer = rows[Cell(**record["cell"])], record["peer"]
        if record["status"] == "timed":
            row.ours[peer] = record["ours"][0]
            row.ratios[peer] = Spread(*record["ratio"])
        elif record["status"] in ("wrong", "failed"):
            row.reasons[peer] = record["reason"]
            if record["status"] == "wrong":
                row.wrong.append(peer)
    return list(rows.values())


def peers_of(rows: Iterable[Row]) -> list[str]:
    """Return the peers that were timed somewhere, in the order of the table of peers."""
    timed = {peer for row in rows for peer in row.ratios}
    return [name for name in PEERS if name in timed]


def means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return geometric means of the ratios by group and peer; "best" is each cell's best peer."""
    found: dict[str, dict[str, float]] = {}
    for group, members in _groups(rows):
        ratios = {peer: [r.ratios[peer].median for r in members if peer in r.ratios]
                  for peer in peers_of(members)}  # fmt: skip
        ratios["best"] = [best[1] for row in members if (best := row.best())]
        found[group] = {peer: statistics.geometric_mean(v) for peer, v in ratios.items() if v}
    return found


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for key, members in groupby(rows, key=lambda row: row.cell.workload):
        of_workload = list(members)
        modes = list(dict.fromkeys(row.cell.mode for row in of_workload))
        for mode in modes:
            name = f"{key} {mode}" if len(modes) > 1 else key
            yield name, [row for row in of_workload if row.cell.mode == mode]


def losing(rows: Iterable[Row]) -> list[tuple[Row, str, Spread]]:
    """Return every cell and peer that is faster than fastgrad, the worst first."""
    found = [(row, peer, spread) for row in rows for peer, spread in row.ratios.items()
             if spread.median < 1]  # fmt: skip
    return sorted(found, key=lambda item: item[2].median)


# -- text --------------------------------------------------------------------------------------


def report(rows: Sequence[Row]) -> str:
    """Return table, means, losses and refusals."""
    parts = [_table(rows), _means(rows), _losing(rows), _refused(rows)]
    return "\n\n".join(part for part in parts if part)


def _table(rows: Sequence[Row]) -> str:
    tried = {peer for row in rows for peer in (*row.ratios, *row.reasons)}
    peers = [name for name in PEERS if name in tried]
    header = ["workload", "shape", "dtype", "what", "fastgrad", *(PEERS[p].title for p in peers)]
    lines: list[list[str] | None] = []
    for _, group in groupby(rows, key=lambda row: (row.cell.workload, row.cell.shape)):
        lines.append(None)
        for row in group:
            c = row.cell
            ratios = [_ratio(row, peer) for peer in peers]
            lines.append([c.name, c.shape, c.dtype, c.mode, duration(row.seconds), *ratios])
    return table(header, lines[1:], left=4)


def _ratio(row: Row, peer: str) -> str:
    """Return the ratio with its quartiles."""
    if peer in row.reasons:
        return "WRONG" if peer in row.wrong else "failed"
    if peer not in row.ratios:
        return "-"
    median, low, high = (factor(value)[:-1] for value in row.ratios[peer])
    return f"{median}x ({low}-{high})"


def _means(rows: Sequence[Row]) -> str:
    found = means(rows)
    names = [*peers_of(rows), "best"]
    titles = [*(PEERS[p].title for p in names[:-1]), "best of each cell"]
    lines = [[group, *(factor(of.get(name)) for name in names)] for group, of in found.items()]
    return "Geometric means of the peers' times over fastgrad's\n\n" + table(
        ["workload", *titles], lines
    )


def _losing(rows: Sequence[Row]) -> str:
    timed = sum(len(row.ratios) for row in rows)
    lost = losing(rows)
    if not lost:
        return f"No peer is faster than fastgrad in any of {timed} comparisons."
    lines = [[row.cell.label, PEERS[peer].title, f"{s.median:.2f}x ({s.p25:.2f}-{s.p75:.2f})"]
             for row, peer, s in lost]  # fmt: skip
    sure = sum(spread.p75 < 1 for _, _, spread in lost)
    title = f"A peer is faster in {len(lost)} of {timed} comparisons, in {sure} beyond the spread"
    return f"{title}\n\n" + table(["cell", "peer", "its time over fastgrad's"], lines, left=2)


def _refused(rows: Sequence[Row]) -> str:
    lines = [f"  {row.cell.label}, {PEERS[peer].title}: {reason}"
             for row in rows for peer, reason in row.reasons.items()]  # fmt: skip
    return "\n".join(["Not timed:", *lines]) if lines else ""


# -- the table of docs/performance.md ----------------------------------------------------------

SHOWN_LAYERS = {"tanh": ("1x8x8", "32x64x64", "256x784x256"), "gelu": ("4096x64x64",),
                 "softmax": ("32x16x16",), "relu": ("512x1024x1024", "100000x3x2")}  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of docs/performance.md: some layers, networks, training, means, losses.

    Each row's fastest peer is bold.
    """
    shown = [row for row in rows if row.seconds is not None and _is_shown(row.cell)]
    peers = peers_of(rows)
    titles = [PEERS[peer].title for peer in peers]
    lines = [f"| times as long as fastgrad | | fastgrad | {' | '.join(titles)} |"]
    lines.append("|---|---|---:|" + "---:|" * len(peers))
    for row in shown:
        best = row.best()
        cells = []
        for peer in peers:
            text = factor(row.ratios[peer].median) if peer in row.ratios else ""
            cells.append(f"**{text}**" if best and peer == best[0] else text)
        name = f"{row.cell.name} {row.cell.shape}, {row.cell.mode.replace('both', 'layer')}"
        lines.append(
            f"| {name} | {row.cell.dtype} | {duration(row.seconds)} | {' | '.join(cells)} |"
        )
    for group, of in means(rows).items():
        count = sum(1 for name, members in _groups(rows) if name == group for _ in members)
        cells = [factor(of[peer]) if peer in of else "" for peer in peers]
        group = group.replace("both", "forward + backward")
        lines.append(f"| *geometric mean, {group} ({count})* | | | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _lost(rows)]) + "\n"


def _lost(rows: Sequence[Row]) -> str:
    """Return a sentence, and a line for each cell that a peer wins, with its quartiles."""
    timed, lost = sum(len(row.ratios) for row in rows), losing(rows)
    sure = sum(spread.p75 < 1 for _, _, spread in lost)
    sentence = f"A peer is faster in {len(lost)} of {timed:,} comparisons"
    if not lost:
        return f"{sentence}."
    named = [f"- {row.cell.label} ({PEERS[peer].title} {s.median:.2f}x, {s.p25:.2f}-{s.p75:.2f})"
             for row, peer, s in lost]  # fmt: skip
    return "\n".join([f"{sentence}, in {sure} beyond the spread of the samples (quartiles):", "",
                      *named])  # fmt: skip


def _is_shown(cell: Cell) -> bool:
    if cell.workload == "layers":
        return cell.mode == "both" and cell.shape in SHOWN_LAYERS.get(cell.name, ())
    return cell.workload != "activations"
