"""What runs over the blocks of a job share: packing its weights, and rows side by side."""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.stage import yield_processor
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import (
    as_pointer,
    call_address,
    copy_elements,
    fetch_add,
    read_shared,
    read_word,
    word,
)

FIRST, ROW = 8 * at.HEADER, 8 * at.LAYER  # bytes to the first layer's row, and from row to row


@kernel
def pack_weights(run: int, plan: int, first: int) -> None:
    """Pack the weights of a step from layer `first` on.

    Alone, or each thread takes layers that no other has.
    """
    job, layers = word(run, now.JOB), word(plan, at.LAYERS)
    shared = word(job, at.SHARED)
    i = first + (fetch_add(job + 8 * at.PACKING, 1) if shared else 0)
    while i < layers:
        row = plan + FIRST + i * ROW
        stage = word(row, at.PACK)
        if stage != 0:
            call_address(stage, (row, run))
        if shared:
            fetch_add(job + 8 * at.PACKED, 1)
            i = first + fetch_add(job + 8 * at.PACKING, 1)
        else:
            i += 1
    while shared and read_shared(job + 8 * at.PACKED) < layers - first:
        yield_processor()


def row_taker(dtype_name: str) -> Any:
    """Return the kernel that puts samples side by side."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8

    @kernel
    def take_rows(
        order: int, first: int, m: int, n: int, a: int, a_row: int, a_col: int, out: int
    ) -> None:
        """Copy m rows of n elements, those in `order` or the next ones, to adjacent rows."""
        for i in range(m):
            row = first + i
            if order != 0:
                row = read_word(order + 8 * row)
            source = as_pointer(a + row * a_row * size, dtype)
            target = as_pointer(out + i * n * size, dtype)
            if a_col == 1 and n >= 32:
                copy_elements(target, source, n)
            else:
                for j in range(n):
                    target[j] = source[j * a_col]

    return take_rows
