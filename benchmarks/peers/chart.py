"""A bar chart of the ratios, for a slide. The only file here that needs matplotlib."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .implementations import PEERS
from .report import Row, means, peers_of

__all__ = ["draw", "panels_of"]

# Okabe and Ito's colours, distinct to colour-blind eyes: a peer keeps its own.
COLOURS = dict(
    zip(PEERS, ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"), strict=True)
)
INK, GREY, LINE = "#222222", "#767676", "#e4e4e4"
BARS = "Bars: a peer's time over fastgrad's, from 1 (as fast as fastgrad); above is slower."

# Peer's ratio by group of bars, by panel.
Groups = dict[str, dict[str, float]]


def panels_of(rows: Sequence[Row]) -> dict[str, Groups]:
    """Return what to draw: layers by shape, in geometric means; all networks and training."""
    layers: dict[str, list[Row]] = {}
    others: Groups = {}
    for row in rows:
        cell = row.cell
        if not row.ratios:
            continue
        if cell.workload == "layers" and cell.mode == "both":
            layers.setdefault(cell.shape.replace("x", "×"), []).append(row)
        elif cell.workload in ("networks", "training"):
            what = "Adam epoch\n" if cell.workload == "training" else ""
            name = f"{what}{cell.name}\n{cell.shape}"
            others[name] = {peer: spread.median for peer, spread in row.ratios.items()}
    panels: dict[str, Groups] = {}
    if layers:
        count = max(map(len, layers.values()))
        title = "One layer, forward + backward, by samples × inputs × outputs"
        panels[title + (f" (geometric means of {count})" if count > 1 else "")] = {
            shape: _geometric(members) for shape, members in layers.items()
        }
    if others:
        panels["Whole networks, loss + gradient (width/batch) and epochs of training"] = others
    return panels


def _geometric(rows: Sequence[Row]) -> dict[str, float]:
    return {
        peer: statistics.geometric_mean(r.ratios[peer].median for r in rows if peer in r.ratios)
        for peer in peers_of(rows)
    }


def draw(rows: Sequence[Row], path: str | Path, footnote: str) -> None:
    """Write the chart; the suffix of `path` decides the format."""
    import matplotlib

    matplotlib.use("Agg")  # no window, whatever the user's settings are
    from matplotlib import pyplot

    panels = panels_of(rows)
    ratios = [
        ratio for groups in panels.values() for of in groups.values() for ratio in of.values()
    ]
    if not ratios:
        raise SystemExit("nothing to draw: no layer forward and backward, network or training")
    settings: Any = {"font.size": 12, "text.color": INK, "xtick.color": INK, "ytick.color": INK}
    with pyplot.rc_context(settings):
        height = 1.9 + 2.8 * len(panels)
        figure, axes = pyplot.subplots(len(panels), 1, figsize=(13.33, height), squeeze=False)
        figure.subplots_adjust(
            left=0.055, right=0.945, top=1 - 1.5 / height, bottom=1.35 / height, hspace=0.52
        )
        for panel, (title, groups) in zip(axes[:, 0], panels.items(), strict=True):
            _panel(panel, groups)
            panel.set_title(title, loc="left", fontweight="bold", fontsize=13, pad=8)
        figure.text(0.02, 1 - 0.55 / height, _headline(rows), fontsize=21, fontweight="bold")
        handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[p]) for p in peers_of(rows)]
        figure.legend(
            handles, [PEERS[p].title for p in peers_of(rows)], loc="upper left", ncols=len(PEERS),
            bbox_to_anchor=(0.012, 1 - 0.64 / height), frameon=False, handlelength=1.0,
            columnspacing=1.4, fontsize=13,
        )  # fmt: skip
        small = textwrap.fill(footnote, 190)
        figure.text(0.02, 0.14 / height, f"{BARS}\n{small}", fontsize=9.5, color=GREY, va="bottom")
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _headline(rows: Sequence[Row]) -> str:
    """Return the means over the best peer, of what was measured."""
    found = means(rows)
    names = {"layers both": "layers", "layers": "layers", "networks": "networks",
             "training": "training"}  # fmt: skip
    parts = [f"{names[group]} {of['best']:.1f}x" for group, of in found.items() if group in names]
    return f"fastgrad vs the fastest peer: {', '.join(parts)}"


def _panel(axes: Any, groups: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a group of bars for each shape or network."""
    ratios = [ratio for of in groups.values() for ratio in of.values()]
    low, high = 0.92 * min(1.0, *ratios, 1.0), 1.6 * max(2.0, *ratios, 2.0)
    bars = sum(map(len, groups.values())) + len(groups)
    size = 10 if bars < 45 else 8.5 if bars < 65 else 7.5
    x, ticks = 0.0, []
    for of in groups.values():
        ticks.append(x + (len(of) + 1) / 2)
        for peer, ratio in of.items():
            x += 1
            # From 1, as fast as fastgrad, up or down.
            axes.bar(x, ratio - 1, bottom=1, width=0.9, linewidth=0, color=COLOURS[peer])
            text = (
                f"{ratio:.0f}"
                if ratio >= 9.95
                else f"{ratio:.1f}"
                if ratio >= 1
                else f"{ratio:.2f}"
            )
            axes.annotate(
                text, (x, max(ratio, 1)), xytext=(0, 2), textcoords="offset points", ha="center",
                va="bottom", fontsize=size, fontweight="normal" if ratio >= 1 else "bold",
            )  # fmt: skip
        x += 1
    axes.set_xticks(ticks, list(groups))
    axes.tick_params(length=0)
    axes.tick_params("x", labelsize=11 if len(groups) < 8 else 9.5)
    axes.set_xlim(0, x)
    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    step = 1 if high < 70 else 2
    first = math.ceil(math.log2(low) / step) * step
    powers = [2.0**i for i in range(first, math.floor(math.log2(high)) + 1, step)]
    axes.set_yticks(powers, [f"{power:g}x" for power in powers])
    axes.minorticks_off()
    axes.axhline(1, color=INK, linewidth=1.5)
    axes.annotate(
        "fastgrad", (1, 1), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", fontsize=11,
    )  # fmt: skip
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
