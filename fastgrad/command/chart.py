"""A bar chart of `fastgrad compare`, for a slide. Only this file imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgrad.command.compare import Result, geometric_means

__all__ = ["draw"]

# Okabe and Ito's colours, with violet for black: colour-blind people can tell them apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7A5195")
BARS = "Bars: NumPy's time over fastgrad's. Shapes: samples x inputs x outputs."
INK, GREY = "#222222", "#8a8a8a"


def draw(results: Sequence[Result], path: str | Path, footnote: str) -> None:
    """Write the speed-ups over NumPy as bars, a panel per dtype, a group per shape.

    Parameters
    ----------
    results : sequence of Result
        What `run_case` returned.
    path : str or Path
        The file to write; its suffix decides the format.
    footnote : str
        What the measurement ran on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")  # never opens a window, whatever the user's settings
    from matplotlib import pyplot

    dtypes = list(dict.fromkeys(r.case.dtype for r in results))
    names = list(dict.fromkeys(r.case.name for r in results if not r.case.is_net))
    ratios = [_ratio(r) for r in results]
    limits = 0.95 * min(1.0, *ratios), 1.4 * max(1.5, *ratios)
    settings: Any = {"font.size": 13, "text.color": INK, "xtick.color": INK, "ytick.color": INK}
    with pyplot.rc_context(settings):
        height = 2.4 + 2.55 * len(dtypes)
        figure, panels = pyplot.subplots(
            len(dtypes), 1, figsize=(13.33, height), sharex=True, sharey=True, squeeze=False
        )
        top, bottom = 1 - 1.6 / height, 1.15 / height
        figure.subplots_adjust(left=0.05, right=0.935, top=top, bottom=bottom, hspace=0.28)
        for panel, dtype in zip(panels[:, 0], dtypes, strict=True):
            _panel(panel, [r for r in results if r.case.dtype == dtype], names, limits)
            panel.set_title(dtype, loc="left", fontweight="bold", pad=8)
        figure.text(0.02, 1 - 0.6 / height, _headline(results), fontsize=24, fontweight="bold")
        if names:
            figure.legend(
                *panels[0, 0].get_legend_handles_labels(), loc="upper left", ncols=13,
                bbox_to_anchor=(0.012, 1 - 0.68 / height), frameon=False, handlelength=1.0,
                columnspacing=1.2, fontsize=13 if len(names) < 9 else 10.5,
            )  # fmt: skip
        figure.text(0.02, 0.15 / height, f"{BARS}\n{footnote}", fontsize=10, color=GREY)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _ratio(result: Result) -> float:
    ratio = result.speedup("numpy")
    assert ratio is not None
    return ratio


def _headline(results: Sequence[Result]) -> str:
    means = geometric_means(results)
    mean = means["layers" if "layers" in means else "networks"]["numpy"]
    return f"fastgrad: {mean:.1f} times as fast as NumPy (geometric mean)"


def _panel(
    axes: Any, results: Sequence[Result], names: Sequence[str], limits: tuple[float, float]
) -> None:
    """Draw one group of bars per shape, and one for the networks."""
    size = 11 if len(results) < 30 else 8 if len(results) < 50 else 6.5
    x, previous = -1.0, None
    ticks: dict[str, list[float]] = {}
    for r in results:
        ratio = _ratio(r)
        group = f"{'networks' if r.case.is_net else r.case.shape}\n{r.case.source}"
        x += 1 if group == previous else 2
        previous = group
        ticks.setdefault(group, []).append(x)
        bar: dict[str, Any] = {"color": GREY}
        if not r.case.is_net:
            cycle, colour = divmod(names.index(r.case.name), len(COLOURS))
            bar = {"color": COLOURS[colour], "hatch": "//" * cycle, "edgecolor": "white"}
            if len(ticks) == 1:
                bar["label"] = r.case.name
        # Up or down from 1, the speed of NumPy.
        axes.bar(x, ratio - 1, bottom=1, width=0.88, linewidth=0, **bar)
        text = f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
        if len(results) > 80:  # no room
            text = ""
        elif r.case.is_net:
            text = f"{r.case.name.removeprefix('net-')}\n{text}"
        axes.annotate(
            text, (x, max(ratio, 1)), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=size,
        )  # fmt: skip
    axes.set_xticks([sum(at) / len(at) for at in ticks.values()], list(ticks))
    axes.tick_params(length=0)
    axes.tick_params("x", labelsize=13 if len(ticks) < 9 else 10)
    axes.set_xlim(0, x + 1)
    axes.set_yscale("log", base=2)
    low, high = limits
    axes.set_ylim(low, high)
    powers = [2.0**i for i in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    axes.set_yticks(powers, [f"{power:g}x" for power in powers])
    axes.minorticks_off()
    axes.axhline(1, color=INK, linewidth=1.5)
    axes.annotate(
        "NumPy", (1, 1), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center",
    )  # fmt: skip
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
