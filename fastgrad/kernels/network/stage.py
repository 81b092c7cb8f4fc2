"""What the stages of all kinds of layers share.

A kind has a forward and a backward stage, C functions ``stage(row, run)`` whose addresses are in
the plan's row: `row` is the layer's row of the plan (`plan_table`), `run` has the rest
(`run_table`). Both process one block of samples, in contiguous rows as wide as the layer; only the
x of the first layer may have any strides. Some kinds have a third stage, which packs new weights.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import (
    as_pointer,
    copy_elements,
    read_shared,
    word,
    write_shared,
)

STAGE = types.void(types.intp, types.intp)  # row, run
yield_processor = types.ExternalFunction("sched_yield", types.intc())


def turns(dtype_name: str) -> Any:
    """Return the kernel that adds a piece of a gradient when it is its block's turn."""
    dtype = getattr(types, dtype_name)

    @kernel
    def add_in_turn(run: int, piece: int, whole: int, part: int, count: int) -> None:
        """Add a piece of a block's gradient when those of all blocks before have been added."""
        added, block = word(word(run, now.JOB), at.PIECES) + 8 * piece, word(run, now.BLOCK)
        total, some = as_pointer(whole, dtype), as_pointer(part, dtype)
        while read_shared(added) < block:
            yield_processor()
        if word(run, now.OPENS):
            copy_elements(total, some, count)
        else:
            for i in range(count):
                total[i] += some[i]
        write_shared(added, block + 1)

    return add_in_turn
