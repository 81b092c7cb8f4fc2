"""One dense layer over a block of rows, forward and backward: what `dense` and the networks share.

Everything is phrased in the row layout: n samples x d inputs, w (d, k), output (n, k). The
column layout is the same problem on transposed views, so it needs no code. All arguments are
words: sizes, strides in elements, addresses; an address of 0 stands for what is not wanted, a
panel of 0 for the contiguous weights of a single output.

Forward:  a few rows of ``x @ w + b`` are finished, then the activation passes over them while
they are still in L1 or L2.

Backward, without ``grad_x = grad_z @ w.T``, which is a plain product: at most BATCH_BLOCK samples,
whose part of a gradient is one chain: ``grad_w = x.T @ grad_z``, column sums of ``grad_z`` for
``grad_b``.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.product.gemm import GEMM, PACK_B
from fastgrad.kernels.product.microkernel import ADD
from fastgrad.kernels.product.single_output import SINGLE_OUTPUT
from fastgrad.kernels.product.thin import MOST_COLUMNS
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    greatest,
    least,
    scratch,
    shift,
)
from fastgrad.kernels.toolchain.target import tile as tile_for

# n d k | x row col | w row col panel pack | bias | y row | z row | activation | workspace
LAYER_FORWARD = types.void(*([types.intp] * 18))
# m d k | grad_z row | x row col | grad_w row col | grad_b | add | one | workspaces of A and B
LAYER_BACKWARD = types.void(*([types.intp] * 16))
# m n k | a row col | b row col | c row col | mode | workspaces of A and B
MULTIPLY = types.void(*([types.intp] * 15))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``layer_forward``, ``layer_backward`` and ``multiply``."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    MR, NR, MC, DIRECT_B = tile.mr, tile.nr, tile.mc, tile.direct_b
    gemm = external("gemm", dtype_name, GEMM)
    pack_b = external("pack_b", dtype_name, PACK_B)
    single_output = external("single_output", dtype_name, SINGLE_OUTPUT)
    LANES, LAST = tile.lanes, tile.lanes - 1
    # A part of a transposed product, on the stack: 8 KiB.
    TRANSPOSED_ROWS, TRANSPOSED_COLUMNS = 16, 4 * NR
    TRANSPOSED = TRANSPOSED_ROWS * TRANSPOSED_COLUMNS
    # A part of a packed operand that stays in L2.
    PACKED_BYTES = 256 * 1024
    # Bytes of outputs that are computed before the activation passes over their rows.
    FORWARD_BLOCK_BYTES = 64 * 1024

    def multiply(
        m: int, n: int, k: int, a: int, a_row: int, a_col: int, b: int, b_row: int, b_col: int,
        c: int, c_row: int, c_col: int, mode: int, a_space: int, b_space: int,
    ) -> None:  # fmt: skip
        """C = A @ B where C has a unit stride in one of its two directions."""
        # For a single row and a transposed B, B.T is the A of a thin product, and nothing is packed
        # (1x784x100, grad_x: 12 to 7 us).
        one = m == 1 and b_col != 1 and c_col == 1 and mode == 0
        if c_col != 1 or one:  # C.T = B.T @ A.T: the same chains, stored transposed
            m, n = n, m
            a, a_row, a_col, b, b_row, b_col = b, b_col, b_row, a, a_col, a_row
            c_row = c_col
        if one:
            b_col, b_space = 1, 0  # a single column
        panel, pack = NR, b_space if k * n * size > DIRECT_B else 0
        if b_col != 1:
            # Few rows read each panel once or twice: it is packed before, in L2, not in memory.
            columns = greatest(PACKED_BYTES // greatest(k * size, 1) // NR, 1) * NR
            while m <= MC and n > columns:
                pack_b(k, columns, b, b_row, b_col, b_space)
                gemm(
                    m, columns, k, a, a_row, a_col, b_space, NR, k * NR, 0, c, c_row, mode, 0,
                    a_space,
                )  # fmt: skip
                n, b, c = n - columns, b + columns * b_col * size, c + columns * size
            pack_b(k, n, b, b_row, b_col, b_space)
            b, b_row, panel, pack = b_space, NR, k * NR, 0
        gemm(m, n, k, a, a_row, a_col, b, b_row, panel, pack, c, c_row, mode, 0, a_space)

    product = kernel(multiply)  # the same, for callers in this unit

    @kernel
    def mostly_empty(m: int, n: int) -> bool:
        """Return whether vectors along n columns hold less than vectors along m rows would."""
        return n <= TRANSPOSED_ROWS and (m + LAST) // LANES * n < (n + LAST) // LANES * m

    @kernel
    def transposed_product(
        m: int, n: int, k: int, a: int, a_row: int, a_col: int, b: int, b_row: int, b_col: int,
        c: int, c_row: int, add: int, bias: int, a_space: int, b_space: int,
    ) -> None:  # fmt: skip
        """C = A @ B of few columns, as C.T = B.T @ A.T: the same chains, in fuller vectors."""
        space = scratch(TRANSPOSED, dtype)
        out, shifts = as_pointer(c, dtype), as_pointer(bias, dtype)
        for start in range(0, m, TRANSPOSED_COLUMNS):
            count = least(TRANSPOSED_COLUMNS, m - start)
            product(
                n, count, k, b, b_col, b_row, a + start * a_row * size, a_col, a_row,
                address_of(space), count, 1, 0, a_space, b_space,
            )  # fmt: skip
            for i in range(count):
                row = shift(out, (start + i) * c_row)
                for j in range(n):
                    value = space[j * count + i]
                    if add:
                        value = row[j] + value
                    elif bias != 0:
                        value = value + shifts[j]
                    row[j] = value

    def layer_forward(
        n: int, d: int, k: int, x: int, x_row: int, x_col: int,
        w: int, w_row: int, w_col: int, w_panel: int, w_pack: int, bias: int,
        y: int, y_row: int, z: int, z_row: int, activation: int, a_space: int,
    ) -> None:  # fmt: skip
        target, target_row = (z, z_row) if z != 0 else (y, y_row)
        rows = greatest(MC, FORWARD_BLOCK_BYTES // (greatest(k, 1) * size) // MR * MR)
        for i in range(0, n, rows):
            m = least(rows, n - i)
            block, out = target + i * target_row * size, y + i * y_row * size
            # A packed w is read as plain rows: one panel.
            transposed = w_col == 1 and x_row == 1 and MOST_COLUMNS < k <= NR and mostly_empty(m, k)
            if w_panel == 0:
                single_output(
                    m, d, x + i * x_row * size, x_row, x_col, w, block, target_row, bias
                )  # fmt: skip
            elif w_col != 1:  # for a single sample
                product(1, k, d, x, 0, x_col, w, w_row, w_col, block, k, 1, 0, a_space, 0)
                outputs, shifts = as_pointer(block, dtype), as_pointer(bias, dtype)
                if bias != 0:
                    for j in range(k):
                        outputs[j] = outputs[j] + shifts[j]
            elif transposed:
                transposed_product(
                    m, k, d, x + i * x_row * size, x_row, x_col, w, w_row, 1,
                    block, target_row, 0, bias, a_space, 0,
                )  # fmt: skip
            else:
                gemm(
                    m, k, d, x + i * x_row * size, x_row, x_col, w, w_row, w_panel, w_pack,
                    block, target_row, 0, bias, a_space,
                )  # fmt: skip
            if w_pack != 0 and not transposed:
                w, w_row, w_panel, w_pack = w_pack, NR, d * NR, 0
            if activation != 0:
                call_address(activation, (block, target_row, out, y_row, m, k))

    def layer_backward(
        m: int, d: int, k: int, dz: int, dz_row: int, x: int, x_row: int, x_col: int,
        gw: int, gw_row: int, gw_col: int, gb: int, add: int, one: int, a_space: int, b_space: int,
    ) -> None:  # fmt: skip
        mode = ADD if add else 0
        if gb != 0:  # column sums are ones @ grad_z: the same chains, the same tile
            gemm(1, k, m, one, 0, 0, dz, dz_row, NR, 0, gb, 0, mode, 0, a_space)
        if gw == 0:
            return
        if k == 1 and gw_row == 1:  # a contiguous column is a row
            gw_col = 0
        if gw_col == 1 and mostly_empty(d, k):
            transposed_product(
                d, k, m, x, x_col, x_row, dz, dz_row, 1, gw, gw_row, add, 0, a_space, b_space
            )
        else:
            product(
                d, k, m, x, x_col, x_row, dz, dz_row, 1, gw, gw_row, gw_col,
                mode, a_space, b_space,
            )  # fmt: skip

    return assemble(
        dtype_name,
        {
            "layer_forward": (LAYER_FORWARD, layer_forward),
            "layer_backward": (LAYER_BACKWARD, layer_backward),
            "multiply": (MULTIPLY, multiply),
        },
    )
