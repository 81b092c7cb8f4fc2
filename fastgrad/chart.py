"""A bar chart of `fastgrad compare`, for a slide. The only file that imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgrad.compare import Result, geometric_means
from fastgrad.tables import factor

__all__ = ["draw"]

# Okabe and Ito's colours: distinct to colour-blind eyes and on a projector.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
INK, GREY = "#222222", "#8a8a8a"


def draw(results: Sequence[Result], path: str | Path, footnote: str) -> None:
    """Write the speed-ups over NumPy as bars, a panel per dtype, a group per shape.

    Parameters
    ----------
    results : sequence of Result
        What `run_case` returned.
    path : str or Path
        Where to; the suffix decides the format.
    footnote : str
        What it was measured on.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window, whatever the user's settings are
    from matplotlib import pyplot

    dtypes = list(dict.fromkeys(r.case.dtype for r in results))
    names = list(dict.fromkeys(r.case.name for r in results if not r.case.is_net))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    settings = {"font.size": 13, "font.family": "sans-serif", "text.color": INK}
    settings |= {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with pyplot.rc_context(settings):
        figure, panels = pyplot.subplots(
            len(dtypes), 1, figsize=(13.33, 1.9 + 2.8 * len(dtypes)), sharex=True, sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for panel, dtype in zip(panels[:, 0], dtypes, strict=True):
            _panel(panel, [r for r in results if r.case.dtype == dtype], colours)
            panel.set_title(dtype, loc="left", fontsize=14, fontweight="bold", pad=8)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=min(8, len(labels)),
                      frameon=False, handlelength=1.0, columnspacing=1.3)  # fmt: skip
        figure.suptitle(_headline(results), x=0.012, ha="left", fontsize=21, fontweight="bold")
        figure.supxlabel(footnote, x=0.012, ha="left", fontsize=10.5, color=GREY)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _headline(results: Sequence[Result]) -> str:
    means = geometric_means(results)
    group = "layers" if "layers" in means else "networks"
    return f"fastgrad: {factor(means[group]['numpy'])} the speed of NumPy"


def _panel(axes: Any, results: Sequence[Result], colours: dict[str, str]) -> None:
    """Draw one group of bars per shape, and one for the networks."""
    groups: dict[str, list[Result]] = {}
    for r in results:
        groups.setdefault("networks" if r.case.is_net else r.case.shape, []).append(r)
    x, ticks, labelled = 0.0, [], set()
    highest = max(r.speedup("numpy") or 0.0 for r in results)
    small = 8.5 if len(results) > 40 else 11
    for group in groups.values():
        start = x
        for r in group:
            name, height = r.case.name, r.speedup("numpy") or 0.0
            label = name if name in colours and name not in labelled else None
            labelled.add(name)
            axes.bar(x, height, width=0.86, color=colours.get(name, GREY), label=label)
            text = f"{height:.0f}" if height >= 9.95 else f"{height:.1f}"
            axes.text(x, height * 1.03, text, ha="center", va="bottom", fontsize=small, color=INK)
            x += 1
        ticks.append((start + x - 1) / 2)
        x += 1
    axes.set_xticks(ticks, list(groups))
    axes.set_xlim(-1, x - 1)
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(0.5, *(0.8 * (r.speedup("numpy") or 1.0) for r in results)), highest * 1.5)
    powers = [2**i for i in range(math.ceil(math.log2(highest)) + 1)]
    axes.set_yticks(powers, [f"{p}x" for p in powers])
    axes.minorticks_off()
    axes.axhline(1, color=INK, linewidth=1.2)
    axes.annotate("NumPy", (1, 1), xycoords=("axes fraction", "data"), xytext=(6, 0),
                  textcoords="offset points", va="center")  # fmt: skip
    axes.tick_params(length=0)
    axes.grid(axis="y", color="#e2e2e2", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
