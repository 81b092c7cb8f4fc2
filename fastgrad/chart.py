"""A bar chart of `fastgrad compare`, for a slide. The only file that imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgrad.compare import Result, geometric_means

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
    settings = {"font.size": 13, "text.color": INK, "xtick.color": INK, "ytick.color": INK}
    with pyplot.rc_context(settings):
        figure, panels = pyplot.subplots(
            len(dtypes), 1, figsize=(13.33, 2.3 + 2.6 * len(dtypes)), sharex=True, sharey=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        figure.get_layout_engine().set(rect=(0.015, 0.02, 0.97, 0.95), hspace=0.06)
        for panel, dtype in zip(panels[:, 0], dtypes, strict=True):
            _panel(panel, [r for r in results if r.case.dtype == dtype], names)
            panel.set_title(dtype, loc="left", fontweight="bold", pad=10)
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8,
            frameon=False, handlelength=1.0, columnspacing=1.4,
        )  # fmt: skip
        figure.suptitle(_headline(results), x=0.02, ha="left", fontsize=22, fontweight="bold")
        figure.text(0.02, 0.012, footnote, ha="left", fontsize=10, color=GREY)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _headline(results: Sequence[Result]) -> str:
    means = geometric_means(results)
    mean = means["layers" if "layers" in means else "networks"]["numpy"]
    return f"fastgrad: {mean:.1f} times as fast as NumPy (geometric mean)"


def _panel(axes: Any, results: Sequence[Result], names: Sequence[str]) -> None:
    """Draw one group of bars per shape, and one for the networks."""
    ratios = [r.speedup("numpy") or 1.0 for r in results]
    size = 11 if len(results) < 30 else 8 if len(results) < 60 else 6
    x, previous = -1.0, None
    ticks: dict[str, list[float]] = {}
    for r, ratio in zip(results, ratios, strict=True):
        group = "notebooks' networks" if r.case.is_net else f"{r.case.shape}\n{r.case.source}"
        x += 1 if group == previous else 2
        previous = group
        ticks.setdefault(group, []).append(x)
        bar: dict[str, Any] = {"color": GREY}
        if not r.case.is_net:
            cycle, colour = divmod(names.index(r.case.name), len(COLOURS))
            bar = {"color": COLOURS[colour], "hatch": "//" * cycle, "edgecolor": "white"}
            if len(ticks) == 1:
                bar["label"] = r.case.name
        # From 1, the speed of NumPy, up or down.
        axes.bar(x, ratio - 1, bottom=1, width=0.88, linewidth=0, **bar)
        text = f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
        axes.annotate(
            text, (x, max(ratio, 1)), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=size,
        )  # fmt: skip
        if r.case.is_net:
            letter = r.case.name[-1]
            axes.annotate(
                letter, (x, 1), xytext=(0, 3), textcoords="offset points",
                ha="center", va="bottom", fontsize=size, color="white", fontweight="bold",
            )  # fmt: skip
    axes.set_xticks([sum(at) / len(at) for at in ticks.values()], list(ticks))
    axes.set_xlim(0, x + 1)
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(1.0, *ratios), 1.3 * max(axes.get_ylim()[1] / 1.3, *ratios))
    low, high = (round(math.log2(limit)) for limit in axes.get_ylim())
    powers = [2.0**i for i in range(low, high + 1)]
    axes.set_yticks(powers, [f"{power:g}x" for power in powers])
    axes.minorticks_off()
    axes.axhline(1, color=INK, linewidth=1.5)
    axes.annotate(
        "NumPy", (1, 1), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center",
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
