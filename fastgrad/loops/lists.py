"""Arrays to lists of Python floats and back, and the checks of arrays on both ways.

Errors name the function, the argument, its shape or dtype, and what would be right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Row = list[float]  # the features of one sample


# ---- what goes in ------------------------------------------------------------------------------


def is_real(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of this dtype are taken: real numbers of at most 8 bytes."""
    return dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8)


def result_dtype(*arrays: Array) -> np.dtype[Any]:
    """Return the dtype of a result: NumPy's promotion, but float64 where there are no floats."""
    floating = False
    for array in arrays:
        if not is_real(array.dtype):
            raise TypeError(f"{array.dtype} is not supported; use float16, float32 or float64")
        floating = floating or array.dtype.kind == "f"
    if not floating:
        return np.dtype(np.float64)
    return np.result_type(*[array.dtype for array in arrays])


def check_same_shape(function: str, arrays: dict[str, Array]) -> None:
    """Raise unless all arrays, by the names of their arguments, have the shape of the first."""
    first = next(iter(arrays))
    shape = arrays[first].shape
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(
                f"{function}: {first} has shape {shape} but {name} has shape {array.shape}: they "
                "need the same shape"
            )


def check_samples(function: str, name: str, array: Array, samples: str) -> None:
    """Raise unless ``samples`` is known and can be the rows or columns of ``array``."""
    if samples not in ("rows", "columns"):
        raise ValueError(f"{function}: samples is {samples!r}; give 'rows' or 'columns'")
    if array.ndim == 0:
        raise ValueError(f"{function}: {name} has shape (): it needs at least one axis")
    if samples == "columns" and array.ndim > 2:
        raise ValueError(f"{function}: {name} has shape {array.shape}; columns take (d, n) or (d,)")


# ---- to lists and back -------------------------------------------------------------------------


def feature_axis(samples: str) -> int:
    """Return the axis along which the features of a sample lie."""
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


# ---- out ---------------------------------------------------------------------------------------


def check_out(
    function: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *inputs: Array | None
) -> None:
    """Raise unless a result of this shape and dtype can be written to ``out``."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: out is a {type(out).__name__}: give a NumPy array")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{function}: out has shape {out.shape} and dtype {out.dtype}: "
            f"it needs shape {shape} and dtype {dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only")
    for array in inputs:
        if array is not None and np.shares_memory(out, array):
            raise ValueError(f"{function}: out shares memory with an input")


def deliver(
    function: str, result: Array, out: Array | None, *inputs: Array | None, add: bool = False
) -> Array:
    """Return ``result``, written to or added to ``out`` where there is one."""
    if out is None:
        return result
    check_out(function, out, result.shape, result.dtype, *inputs)
    with np.errstate(all="ignore"):
        if add:
            out += result
        else:
            out[...] = result
    return out
