"""The picture of a diagnosis. Of this package, only this file imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad.arrays import Array

if TYPE_CHECKING:
    from fastgrad.diagnosis.report import ArrayVerdict

__all__ = ["draw"]

FLOOR, TOP = 1e-12, 1.0  # of the colours: relative differences, in powers of ten
COLUMNS = 4  # panels beside each other
COLOURS = {"ok": "#222222", "wrong": "#b00020", "inconclusive": "#8a6d00"}


def draw(title: str, arrays: Sequence[ArrayVerdict]) -> Any:
    """Return a figure with a heat map of each array's relative difference.

    Parameters
    ----------
    title : str
        Stands above the panels.
    arrays : sequence of ArrayVerdict
        Those without `relative` differences get an empty panel.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "Diagnosis.plot: there is no matplotlib here: pip install 'fastgrad[plot]'; "
            "print(report) says the same in words"
        ) from None
    across = min(COLUMNS, max(1, len(arrays)))
    down = max(1, -(-len(arrays) // across))
    figure = Figure(figsize=(1.2 + 3.0 * across, 1.0 + 2.8 * down), layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    image = None
    for panel, array in zip(panels, arrays, strict=False):
        panel.set_title(
            f"{array.name} {array.shape}", fontsize=9, color=COLOURS.get(array.verdict, "#222222")
        )
        shown = _as_image(array)
        panel.set_facecolor("#cccccc")
        panel.set_xticks([])
        panel.set_yticks([])
        if shown.size:
            image = panel.imshow(
                shown, norm=LogNorm(FLOOR, TOP), cmap="magma", aspect="auto", interpolation="none"
            )
    for panel in panels[len(arrays) :]:
        panel.axis("off")
    if image is not None:
        figure.colorbar(image, ax=list(panels), label="difference / largest entry", extend="both")
    return figure


def _as_image(array: ArrayVerdict) -> Array:
    """Return the relative differences as a matrix, without rows and columns not looked at."""
    if array.relative is None:
        return np.empty((0, 0))
    values = np.asarray(array.relative, np.float64)
    shape = values.shape
    matrix = values.reshape(shape[0] if values.ndim > 1 else 1, -1) if values.size else values
    if matrix.ndim != 2:
        return np.empty((0, 0))
    seen = ~np.isnan(matrix)
    matrix = matrix[seen.any(axis=1)][:, seen.any(axis=0)]
    # Zero has no logarithm, and infinity no colour.
    return np.clip(matrix, FLOOR, TOP)
