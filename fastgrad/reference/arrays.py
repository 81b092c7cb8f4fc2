"""What goes in and out: dtypes, shapes, ``out=``, and the texts of errors.

They name the function, the argument, its shape or dtype, and what would be right.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

NATIVE = (np.dtype(np.float32), np.dtype(np.float64))
HALF = np.dtype(np.float16)


# ---- dtypes ------------------------------------------------------------------------------------


def is_real(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of this dtype are taken: real numbers of at most 8 bytes."""
    return dtype.kind in "fiub" and dtype.itemsize <= 8


def promote(*arrays: Array) -> np.dtype[Any]:
    """Return what NumPy promotes ``arrays`` to; where none has floats, float64."""
    dtype = arrays[0].dtype
    if dtype in NATIVE and all(a.dtype is dtype for a in arrays):
        return dtype
    for a in arrays:
        if not is_real(a.dtype):
            raise TypeError(f"dtype {a.dtype} is not supported: give float16, 32, 64, int or bool")
    if not any(a.dtype.kind == "f" for a in arrays):
        return NATIVE[1]
    return np.result_type(*(a.dtype for a in arrays))


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: float16 is too coarse for anything but storage."""
    return NATIVE[0] if dtype == HALF else dtype


def as_floats(*values: ArrayLike) -> tuple[list[Array], np.dtype[Any]]:
    """Return the values as arrays of one working dtype, and the dtype of the result."""
    arrays = [np.asarray(v) for v in values]
    dtype = promote(*arrays)
    work = working_dtype(dtype)
    return [a if a.dtype is work else a.astype(work) for a in arrays], dtype


# ---- shapes -----------------------------------------------------------------------------------


def check_same_shape(function: str, first: str, a: Array, second: str, b: Array) -> None:
    """Raise unless two arrays have one shape."""
    # NumPy would broadcast (n, 1) against (n,) to (n, n): a classic silent mistake.
    if a.shape != b.shape:
        raise ValueError(
            f"{function}: {first} has shape {a.shape} but {second} has shape {b.shape}: "
            "they need the same shape"
        )


def check_samples(function: str, name: str, array: Array, samples: str) -> None:
    """Raise unless ``samples`` is known and ``array`` can hold samples in that layout."""
    if samples != "rows" and samples != "columns":
        raise ValueError(f"{function}: samples is {samples!r}; give 'rows' or 'columns'")
    if array.ndim == 0:
        raise ValueError(f"{function}: {name} has shape (): it needs at least one axis")
    if array.ndim > 2 and samples == "columns":
        raise ValueError(f"{function}: {name} has shape {array.shape}; columns take (d, n) or (d,)")


def as_rows(array: Array, samples: str = "rows") -> Array:
    """Return a view (samples, features): a vector is one sample, leading axes are merged."""
    if samples == "columns":
        array = array.T  # a vector stays what it is
    if array.ndim == 2:
        return array
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


# ---- out ---------------------------------------------------------------------------------------


def check_out(
    function: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *inputs: Array | None
) -> None:
    """Raise unless ``out`` can take a result: exact shape and dtype, writeable, no overlap."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: out is a {type(out).__name__}: give a NumPy array")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{function}: out has shape {out.shape} and dtype {out.dtype}: "
            f"it needs shape {shape} and dtype {dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only")
    if any(a is not None and np.shares_memory(out, a) for a in inputs):
        raise ValueError(f"{function}: out shares memory with an input")
