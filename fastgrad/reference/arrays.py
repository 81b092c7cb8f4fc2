"""What goes in and out: dtypes, shapes, ``out=``, and the texts of errors.

They name the function, the argument, its shape or dtype, and what would be right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NATIVE = (np.dtype(np.float32), np.dtype(np.float64))


# ---- dtypes ------------------------------------------------------------------------------------


def is_real(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of this dtype are taken: real numbers of at most 8 bytes."""
    return dtype.kind in "fiub" and dtype.itemsize <= 8


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
