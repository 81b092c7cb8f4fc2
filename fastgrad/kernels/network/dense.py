"""The stages of a dense layer, ``activation(x @ w + b)``, in a network.

The arithmetic is in `layer`; this file decides how a network stores its weights. Rows store w
(d, k): the forward product reads it in this order, but ``grad_x = grad_z @ w.T`` reads it
transposed; columns store w (k, d), so there it is the reverse. Transposed weights are packed in
every step, and so are large others: a single thread packs them when it first reads them.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.layer import LAYER_BACKWARD, LAYER_FORWARD, MULTIPLY
from fastgrad.kernels.network.stage import STAGE, turns
from fastgrad.kernels.product.gemm import GEMM, PACK_B
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import least, word
from fastgrad.kernels.toolchain.target import tile as tile_for


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the three stages for one dtype."""
    size = getattr(types, dtype_name).bitwidth // 8
    NR = tile_for(dtype_name).nr
    gemm = external("gemm", dtype_name, GEMM)
    layer_forward = external("layer_forward", dtype_name, LAYER_FORWARD)
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    multiply = external("multiply", dtype_name, MULTIPLY)
    pack_b = external("pack_b", dtype_name, PACK_B)
    add_in_turn = turns(dtype_name)

    def pack(row: int, run: int) -> None:
        """Pack the weights that products read transposed, or also the others.

        A single thread packs the others when it first reads them, except single panels: they are
        packed now, because they are also read in another way (`layer.transposed_product`).
        """
        job, weights, columns = (
            word(run, now.JOB), word(run, now.WEIGHTS), word(word(run, now.PLAN), at.COLUMNS),
        )  # fmt: skip
        as_they_lie, backward = word(job, at.SHARED), word(job, at.OUT) == 0
        d, k = word(row, at.INPUTS), word(row, at.OUTPUTS)
        w = word(run, now.PARAMS) + word(row, at.PARAMETERS) * size
        w_row, w_col = (1, d) if columns else (k, 1)
        packed, transposed = word(row, at.W_PACKED), word(row, at.WT_PACKED)
        if packed != 0 and (columns or as_they_lie or k <= NR):
            pack_b(d, k, w, w_row, w_col, weights + packed)
        if transposed != 0 and backward and (not columns or as_they_lie):
            pack_b(k, d, w, w_col, w_row, weights + transposed)

    @kernel
    def operand(
        w: int, row: int, steps: int, packed: int, reads: bool
    ) -> tuple[int, int, int, int]:
        """Return address, row, panel and pack of weights at `w` as the B of a product.

        With a place `packed`, they are there, unless this product `reads` them first.
        """
        if packed == 0 or reads:
            return w, row, NR, packed
        return packed, NR, steps * NR, 0

    def forward(row: int, run: int) -> None:
        plan, params, fresh = word(run, now.PLAN), word(run, now.PARAMS), word(run, now.FRESH)
        columns, m = word(plan, at.COLUMNS), word(run, now.SAMPLES)
        d, k = word(row, at.INPUTS), word(row, at.OUTPUTS)
        lies, packed = params + word(row, at.PARAMETERS) * size, word(row, at.W_PACKED)
        b = word(row, at.B)
        w, w_row, w_panel, w_pack = operand(
            lies, k, d, word(run, now.WEIGHTS) + packed if packed != 0 else 0,
            fresh and not columns and k > NR,
        )  # fmt: skip
        w_col = 1
        if k == 1:
            w_panel = 0
        elif m == 1 and fresh and columns:  # nothing is packed for a single sample
            w, w_row, w_col, w_pack = lies, 1, d, 0
        layer_forward(
            m, d, k, word(run, now.X), word(run, now.X_ROW), word(run, now.X_COL),
            w, w_row, w_col, w_panel, w_pack, params + b * size if b >= 0 else 0,
            word(run, now.Y), k, word(run, now.Z), k, word(run, now.ACTIVATION),
            word(run, now.SPACE) + word(plan, at.A_SPACE),
        )  # fmt: skip

    @kernel
    def gradients(row: int, run: int, g: int, a_space: int, b_space: int) -> None:
        """Add a block's part of the gradients of w and b: at once, or piece by piece in turn."""
        plan, m, space = word(run, now.PLAN), word(run, now.SAMPLES), word(run, now.SPACE)
        columns, d, k = word(plan, at.COLUMNS), word(row, at.INPUTS), word(row, at.OUTPUTS)
        x, x_row, x_col = word(run, now.X), word(run, now.X_ROW), word(run, now.X_COL)
        one, sums, b = space + at.ONE, word(run, now.SUMS), word(row, at.B)
        gw, gb = sums + word(row, at.PARAMETERS) * size, sums + b * size if b >= 0 else 0
        if not word(run, now.IN_TURN):
            layer_backward(
                m, d, k, g, k, x, x_row, x_col,
                gw, 1 if columns else k, d if columns else 1, gb, word(run, now.ADDS),
                one, a_space, b_space,
            )  # fmt: skip
            return
        piece, lines = word(row, at.FIRST_PIECE), word(row, at.PIECE)
        part = space + word(plan, at.PARTIAL)
        if gb != 0:
            layer_backward(
                m, d, k, g, k, x, x_row, x_col, 0, 0, 0, part, 0, one, a_space, b_space
            )  # fmt: skip
            add_in_turn(run, piece, gb, part, k)
        height, width = (k, d) if columns else (d, k)
        for line in range(0, height, lines):
            count = least(lines, height - line)
            if columns:
                layer_backward(
                    m, d, count, g + line * size, k, x, x_row, x_col,
                    part, 1, d, 0, 0, one, a_space, b_space,
                )  # fmt: skip
            else:
                layer_backward(
                    m, count, k, g, k, x + line * x_col * size, x_row, x_col,
                    part, k, 1, 0, 0, one, a_space, b_space,
                )  # fmt: skip
            piece += 1
            add_in_turn(run, piece, gw + line * width * size, part, count * width)

    def backward(row: int, run: int) -> None:
        plan, space, fresh = word(run, now.PLAN), word(run, now.SPACE), word(run, now.FRESH)
        g, grad_x = word(run, now.GRAD), word(run, now.GRAD_X)
        a_space, b_space = space + word(plan, at.A_SPACE), space + word(plan, at.B_SPACE)
        if grad_x != 0:
            columns, m = word(plan, at.COLUMNS), word(run, now.SAMPLES)
            d, k = word(row, at.INPUTS), word(row, at.OUTPUTS)
            w = word(run, now.PARAMS) + word(row, at.PARAMETERS) * size
            packed = word(row, at.WT_PACKED)
            wt, wt_row, wt_panel, wt_pack = operand(
                w, d, k, word(run, now.WEIGHTS) + packed if packed != 0 else 0, fresh and columns
            )  # fmt: skip
            if m == 1 and fresh and not columns:
                multiply(1, d, k, g, k, 1, w, 1, k, grad_x, d, 1, 0, a_space, b_space)
            else:
                gemm(m, d, k, g, k, 1, wt, wt_row, wt_panel, wt_pack, grad_x, d, 0, 0, a_space)
        if word(run, now.SUMS) != 0:
            gradients(row, run, g, a_space, b_space)

    functions = {"forward": forward, "backward": backward, "pack": pack}
    return assemble(
        dtype_name, {f"stage_{name}_dense": (STAGE, made) for name, made in functions.items()}
    )
