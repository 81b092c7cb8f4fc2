"""The norm of gradients, as clipping needs it: the sum of squares, in float64, in a fixed order.

Squares are summed in the order of `reductions`, in blocks of BLOCK elements; the sums of blocks are
added in order.
"""

from __future__ import annotations

from typing import Any

from fastgrad.kernels.elementwise.reductions import row_dot
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import as_pointer, least

BLOCK = 4096
# Outside of these limits a sum of squares may have overflowed or lost bits: scale first.
LARGEST, SMALLEST = 1e300, 1e-280


def squares_of(dtype: Any) -> Any:
    """Return ``squares(address, count)``, the sum of the squares of elements of this dtype."""
    size = dtype.bitwidth // 8

    @kernel
    def squares(at: int, count: int) -> float:
        total = 0.0
        for first in range(0, count, BLOCK):
            part = as_pointer(at + first * size, dtype)
            total += row_dot(part, part, least(BLOCK, count - first))
        return total

    return squares


def scale_of(dtype: Any) -> Any:
    """Return ``scale(address, count, factor)``, which multiplies elements of this dtype."""

    @kernel
    def scale(at: int, count: int, factor: float) -> None:
        values, by = as_pointer(at, dtype), dtype(factor)
        for i in range(count):
            values[i] *= by

    return scale
