"""Dropout of a hidden layer's outputs while a network trains, and of their gradient.

``drop_block(row, run, source, target)`` is called by the plan with the outputs of a block of
samples, and on the way back with their gradient, which it overwrites. The elements are those that
``fg.dropout_forward(y, rate, seed, step, layer=...)`` drops of the whole batch's outputs, samples
in rows: a block begins at the place of its first sample, so neither blocks nor threads matter.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.elementwise.philox import DROP
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.toolchain.compile import assemble, external
from fastgrad.kernels.toolchain.pointers import as_pointer, word
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

DROP_BLOCK = types.void(*[types.intp] * 4)


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``drop_block`` for one dtype."""
    drop = external("drop", dtype_name, DROP)

    def drop_block(row: int, run: int, source: int, target: int) -> None:
        """Write what stays of a block, scaled, and 0 for the rest; source may be target."""
        job, k = word(run, now.JOB), word(row, at.OUTPUTS)
        per_batch = (word(job, at.BATCH) + BATCH_BLOCK - 1) // BATCH_BLOCK
        first = word(run, now.BLOCK) % word(job, at.PASS) % per_batch * BATCH_BLOCK
        drop(
            word(run, now.SAMPLES) * k, source, target, first * k, word(job, at.SEED),
            word(job, at.FIRST_STEP) + word(job, at.STEPS), word(row, at.NUMBER),
            word(row, at.THRESHOLD), as_pointer(row, types.float64)[at.SCALE],
        )  # fmt: skip

    return assemble(dtype_name, {"drop_block": (DROP_BLOCK, drop_block)})
