"""Rows of a matrix of any strides, copied to contiguous memory."""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.product import transpose
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import as_pointer, copy_elements, greatest, least, shift
from fastgrad.kernels.toolchain.target import tile

ROOM = 2048  # elements that a copy of some rows fills: 16 KiB, half of L1


def build(dtype_name: str) -> tuple[Any, Any, Any]:
    """Return ``gather(source, row, col, m, n, target)`` and two functions that size its target.

    It copies m rows of n elements from a matrix of any strides. ``rows_at_once(m, n, multiple)`` is
    how many of them to copy at a time: all, or a multiple of `multiple`, a power of two. `target`
    has room for ``room(rows, n)`` bytes.
    """
    dtype, lanes = getattr(types, dtype_name), tile(dtype_name).lanes
    size = dtype.bitwidth // 8
    transpose_some = transpose.build_some(lanes)

    @kernel
    def gather(source_at: int, row: int, col: int, m: int, n: int, target_at: int) -> None:
        source, target = as_pointer(source_at, dtype), as_pointer(target_at, dtype)
        if col == 1:
            for r in range(m):
                copy_elements(shift(target, r * n), shift(source, r * row), n)
        elif row == 1 and m >= lanes:
            # Squares write whole vectors, past the end of a row: what follows it is written
            # later, so rows go up and places within them go down.
            j = (n - 1) // lanes * lanes
            while j >= 0:
                for start in range(0, m, lanes):
                    r = least(start, m - lanes)
                    at, place = shift(source, r + j * col), shift(target, r * n + j)
                    transpose_some(at, col, least(lanes, n - j), place, n)
                j -= lanes
        else:
            for r in range(m):
                at, place = shift(source, r * row), shift(target, r * n)
                for j in range(n):
                    place[j] = at[j * col]

    @kernel
    def rows_at_once(m: int, n: int, multiple: int) -> int:
        step = greatest(lanes, multiple)
        return least(m, step * greatest(1, ROOM // (n * step)))

    @kernel
    def room(rows: int, n: int) -> int:
        return (rows * n + lanes) * size

    return gather, rows_at_once, room
