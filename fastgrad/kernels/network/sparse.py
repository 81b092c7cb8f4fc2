"""The stages of a network's first layer if x is sparse: ``activation(x @ w + b)``, in rows.

What the plan takes for a sample's x are two words: the places of its first entry, and behind its
last one. They are adjacent in `indptr`, whose words rows overlap in, so nothing is copied unless
samples are shuffled: then the plan copies these words. Indices and values stay where they are.

Threads that add a gradient in pieces add the entries themselves in turn, not sums of their own:
most rows of the gradient have no entry in a block.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.layer import LAYER_BACKWARD
from fastgrad.kernels.network.stage import STAGE, turns, yield_processor
from fastgrad.kernels.product.sparse import SPARSE_FORWARD, SPARSE_GRADIENT
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import least, read_shared, word, write_shared


def build(dtype_name: str) -> str:
    """Return the LLVM IR of both stages for one dtype."""
    size = getattr(types, dtype_name).bitwidth // 8
    sparse_forward = external("sparse_forward", dtype_name, SPARSE_FORWARD)
    sparse_gradient = external("sparse_gradient", dtype_name, SPARSE_GRADIENT)
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    add_in_turn = turns(dtype_name)

    def forward(row: int, run: int) -> None:
        job, params, b = word(run, now.JOB), word(run, now.PARAMS), word(row, at.B)
        k = word(row, at.OUTPUTS)
        sparse_forward(
            word(run, now.SAMPLES), k, word(run, now.X), word(run, now.X_ROW) * size // 8, 1,
            word(job, at.INDICES), word(job, at.WIDE), word(job, at.VALUES),
            params + word(row, at.PARAMETERS) * size, k, 0, params + b * size if b >= 0 else 0,
            word(run, now.Y), word(run, now.Z), k, word(run, now.ACTIVATION),
        )  # fmt: skip

    @kernel
    def weights(row: int, run: int, first: int, end: int, add: int) -> None:
        """Write, or add, the gradient of some rows of w."""
        job, k = word(run, now.JOB), word(row, at.OUTPUTS)
        sparse_gradient(
            word(run, now.SAMPLES), k, word(run, now.X), word(run, now.X_ROW) * size // 8, 1,
            word(job, at.INDICES), word(job, at.WIDE), word(job, at.VALUES),
            word(run, now.GRAD), k, first, end,
            word(run, now.SUMS) + word(row, at.PARAMETERS) * size, add,
            word(run, now.SPACE) + word(row, at.ENTRIES_SPACE),
        )  # fmt: skip

    def backward(row: int, run: int) -> None:
        plan, job, space = word(run, now.PLAN), word(run, now.JOB), word(run, now.SPACE)
        m, g, sums, b = (
            word(run, now.SAMPLES), word(run, now.GRAD), word(run, now.SUMS), word(row, at.B),
        )  # fmt: skip
        d, k, in_turn = word(row, at.FEATURES), word(row, at.OUTPUTS), word(run, now.IN_TURN)
        gb, part = sums + b * size if b >= 0 else 0, space + word(plan, at.PARTIAL)
        piece = word(row, at.FIRST_PIECE)
        if gb != 0:
            layer_backward(
                m, 0, k, g, k, 0, 0, 0, 0, 0, 0, part if in_turn else gb,
                0 if in_turn else word(run, now.ADDS), space + at.ONE,
                space + word(plan, at.A_SPACE), space + word(plan, at.B_SPACE),
            )  # fmt: skip
        if not in_turn:
            weights(row, run, 0, d, word(run, now.ADDS))
            return
        if gb != 0:
            add_in_turn(run, piece, gb, part, k)
        block, lines = word(run, now.BLOCK), word(row, at.PIECE)
        for first in range(0, d, lines):
            piece += 1
            added = word(job, at.PIECES) + 8 * piece
            while read_shared(added) < block:
                yield_processor()
            weights(row, run, first, least(first + lines, d), 0 if word(run, now.OPENS) else 1)
            write_shared(added, block + 1)

    return assemble(
        dtype_name,
        {"stage_forward_sparse": (STAGE, forward), "stage_backward_sparse": (STAGE, backward)},
    )
