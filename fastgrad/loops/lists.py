"""Arrays to lists of Python floats and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastgrad.arrays import Array

Row = list[float]  # the features of one sample


def feature_axis(samples: str) -> int:
    """Return the axis of a sample's features."""
    return 0 if samples == "columns" else -1


def to_rows(array: Array, axis: int = -1) -> list[Row]:
    """Return a list of the vectors along ``axis``, each a list of Python floats."""
    if array.ndim == 0:
        return [[float(array)]]
    moved = np.moveaxis(array, axis, -1)
    count, length = math.prod(moved.shape[:-1]), moved.shape[-1]
    rows: list[Row] = moved.astype(np.float64).reshape(count, length).tolist()
    return rows


def from_rows(
    rows: list[Row], shape: tuple[int, ...], dtype: np.dtype[Any], axis: int = -1
) -> Array:
    """Undo `to_rows`: return an array of this shape and dtype."""
    with np.errstate(all="ignore"):  # rounding to float32 may give inf; that is the right answer
        flat = np.array(rows, dtype=np.float64).astype(dtype)
    if len(shape) == 0:
        return flat.reshape(())
    moved = list(shape)
    length = moved.pop(axis)
    return np.ascontiguousarray(np.moveaxis(flat.reshape(*moved, length), -1, axis))
