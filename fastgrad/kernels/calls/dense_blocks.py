"""One dense layer on raw memory, forward and backward: its workspace, and the batch in blocks.

Backward takes BATCH_BLOCK rows at a time: it writes ``grad_z = grad_y * act'`` to a workspace, and
uses it while it is in cache. The workspace does not grow with the batch.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import free, workspace
from fastgrad.kernels.network.layer import LAYER_BACKWARD, LAYER_FORWARD, MULTIPLY
from fastgrad.kernels.product.gemm import GEMM, PACK_B
from fastgrad.kernels.product.split_k import BLOCKS, MOST_ROWS
from fastgrad.kernels.toolchain.compile import external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    greatest,
    least,
    read_word,
    round_up,
    scratch,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK, BEYOND_L2
from fastgrad.kernels.toolchain.target import tile as tile_for

# m n k | a row col block | b row block | c row col | sums | add
SPLIT_K = types.void(*([types.intp] * 15))
# Words of an activation's record, an int64 array (see `activations.Activation.record`).
FORWARD, FORWARD_KEEPING, BACKWARD = 0, 8, 16


def passes(dtype_name: str) -> tuple[Any, Any]:
    """Return ``forward`` and ``backward``, for callers in the same unit.

    Both return whether there was memory for the workspace.
    """
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    LANES = tile.lanes
    NR, A_PACK, PACK_A_COLUMNS = tile.nr, tile.a_pack, tile.pack_a_columns
    DIRECT_B, FEW = tile.direct_b, tile.few
    # Bytes of workspace on the stack: malloc and free cost small layers 0.1 us a call.
    ON_STACK = 16 * 1024
    # Bytes of weights packed at a time: packing 64 MiB into new memory at each call took longer
    # than their product with 64 samples.
    MOST_PACKED = 8 * 1024 * 1024
    # Bytes of weights too large for any L2, and of grad_z kept while such weights are read.
    LARGE_W, LARGE_Z = 1024 * 1024, 4 * 1024 * 1024
    # Samples of a single output at a time: blocks of the batch that are computed independently.
    MANY = 64 * BATCH_BLOCK
    gemm = external("gemm", dtype_name, GEMM)
    layer_forward = external("layer_forward", dtype_name, LAYER_FORWARD)
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    multiply = external("multiply", dtype_name, MULTIPLY)
    split_k = external("split_k", dtype_name, SPLIT_K)
    pack_b = external("pack_b", dtype_name, PACK_B)

    @kernel
    def copy(m: int, n: int, a: int, a_row: int, a_col: int, out: int) -> None:
        """Copy a strided block to contiguous rows."""
        source, target = as_pointer(a, dtype), as_pointer(out, dtype)
        for i in range(m):
            for j in range(n):
                target[i * n + j] = source[i * a_row + j * a_col]

    @kernel
    def four_blocks(
        d: int, k: int, dz: int, dz_row: int, x: int, x_row: int, x_col: int,
        gw: int, gw_row: int, gw_col: int, gb: int, add: int, one: int,
    ) -> None:  # fmt: skip
        """Sum over the samples of BLOCKS blocks: `layer_backward` for each of them."""
        x_block, dz_block = BATCH_BLOCK * x_row, BATCH_BLOCK * dz_row
        if gw != 0 and k <= MOST_ROWS and x_col == 1:  # the transpose, and sums of grad_z.T's rows
            split_k(
                k, d, BATCH_BLOCK, dz, 1, dz_row, dz_block, x, x_row, x_block,
                gw, gw_col, gw_row, gb, add,
            )  # fmt: skip
            return
        if gw != 0:
            split_k(
                d, k, BATCH_BLOCK, x, x_col, x_row, x_block, dz, dz_row, dz_block,
                gw, gw_row, gw_col, 0, add,
            )  # fmt: skip
        if gb != 0:
            split_k(1, k, BATCH_BLOCK, one, 0, 0, 0, dz, dz_row, dz_block, gb, 0, 1, 0, add)

    @kernel
    def forward(
        n: int, d: int, k: int, x: int, x_row: int, x_col: int, w: int, w_row: int, w_col: int,
        bias: int, bias_step: int, y: int, y_row: int, z: int, z_row: int, record: int,
        single: bool,
    ) -> bool:  # fmt: skip
        direct = n == 1 or single or (w_col == 1 and (n <= FEW or d * k * size <= DIRECT_B))
        b_bytes = 0 if direct else d * round_up(k, NR) * size
        if single and w_row != 1:
            b_bytes = round_up(d * size, 64)
        width = k  # columns at a time
        if b_bytes > MOST_PACKED and not single:
            width = greatest(MOST_PACKED // (d * NR * size) * NR, NR)
            b_bytes = d * width * size
        bias_bytes = round_up(k * size, 64) if bias != 0 and bias_step != 1 else 0
        distant = k > NR and n * d * size >= BEYOND_L2
        a_bytes = A_PACK if k >= PACK_A_COLUMNS or distant else 0
        wanted = a_bytes + b_bytes + bias_bytes + 64
        space = near = address_of(scratch(ON_STACK, types.char))
        if wanted > ON_STACK:
            space = workspace(wanted)
        if space == 0:
            return False
        a_space = round_up(space, 64)
        if bias_bytes:
            copy(1, k, bias, 0, bias_step, a_space + a_bytes + b_bytes)
            bias = a_space + a_bytes + b_bytes
        activation = read_word(record + (FORWARD_KEEPING if z != 0 else FORWARD))
        for j in range(0, greatest(k, 1), greatest(width, 1)):
            columns = least(width, k - j)
            b, b_row, b_col, panel = w + j * w_col * size, w_row, w_col, NR
            pack = 0 if direct else a_space + a_bytes
            if single:
                panel = 0
                if w_row != 1:
                    b = a_space + a_bytes
                    copy(1, d, w, 0, w_row, b)
            elif not direct and w_col != 1:
                pack_b(d, columns, b, w_row, w_col, pack)
                b, b_row, panel, pack, b_col = pack, NR, d * NR, 0, 1
            layer_forward(
                n, d, columns, x, x_row, x_col, b, b_row, b_col, panel, pack,
                bias + j * size if bias != 0 else 0, y + j * size, y_row,
                z + j * size if z != 0 else 0, z_row, activation if width == k else 0, a_space,
            )  # fmt: skip
        if width != k and activation != 0:
            target, target_row = (z, z_row) if z != 0 else (y, y_row)
            call_address(activation, (target, target_row, y, y_row, n, k))
        if space != near:
            free(space)
        return True

    @kernel
    def backward(
        n: int, d: int, k: int, g: int, g_row: int, g_col: int,
        x: int, x_row: int, x_col: int, w: int, w_row: int, w_col: int,
        saved: int, saved_row: int, record: int,
        gx: int, gx_row: int, gx_col: int, gw: int, gw_row: int, gw_col: int,
        gb: int, gz: int, gz_row: int, accumulate: int, x_mode: int,
    ) -> bool:  # fmt: skip
        activation = read_word(record + BACKWARD)
        in_place = activation == 0 and g_col == 1 and gz == 0
        # Samples at a time. Large weights pass through the caches once for grad_x and once for
        # grad_w of several blocks of the batch, not twice for each block: `gemm` adds up the
        # products of these blocks while a part of grad_w is in cache (600x900x700 and
        # 512x1024x1024, float32: both gradients 8 to 10 %).
        chunk = BATCH_BLOCK
        side = n >= BLOCKS * BATCH_BLOCK and d < LANES and k < LANES
        side = side and (d <= MOST_ROWS or (k <= MOST_ROWS and x_col == 1))
        step = BATCH_BLOCK  # samples whose part of grad_w is one call
        if k == 1 and x_col == 1 and not side:
            chunk = step = MANY
        elif side:
            chunk *= BLOCKS
        elif d * k * size >= LARGE_W:
            chunk *= greatest(LARGE_Z // (BATCH_BLOCK * k * size), 1)
            step = chunk
        most = least(chunk, n)
        block = least(step, n)
        z_bytes = 0 if in_place or gz != 0 else round_up(most * k * size, 64)
        # w.T for grad_x is packed once; what the blocks pack (grad_z, or x and grad_z the
        # other way round) shares the rest.
        packs_w = gx != 0 and gx_col == 1 and (n != 1 or x_mode != 0)
        wt_bytes = round_up(k * round_up(d, NR) * size, 64) if packs_w else 0
        widest = round_up(greatest(greatest(d, k), 1), NR)
        b_bytes = round_up(greatest(block * widest, k * round_up(most, NR)) * size, 64)
        columns = greatest(greatest(d, k), most)  # of any product, or more
        a_bytes = A_PACK if columns >= PACK_A_COLUMNS else 0
        wanted = a_bytes + z_bytes + wt_bytes + b_bytes + 128
        space = near = address_of(scratch(ON_STACK, types.char))
        if wanted > ON_STACK:
            space = workspace(wanted)
        if space == 0:
            return False
        one = round_up(space, 64)
        as_pointer(one, dtype)[0] = dtype(1)
        a_space = one + 64
        z_space = a_space + a_bytes
        wt = z_space + z_bytes
        b_space = wt + wt_bytes
        wt_row, wt_panel, wt_pack = NR, k * NR, 0
        if wt_bytes and w_row != 1:
            pack_b(k, d, w, w_col, w_row, wt)
        elif wt_bytes:  # its first tile packs it
            wt, wt_row, wt_panel, wt_pack = w, w_col, NR, wt
        for i in range(0, greatest(n, 1), chunk):
            m = least(chunk, n - i)
            dz, dz_row = g + i * g_row * size, g_row
            if not in_place:
                source, source_row = dz, g_row
                dz, dz_row = (gz + i * gz_row * size, gz_row) if gz != 0 else (z_space, k)
                if g_col != 1 or activation == 0:
                    whole = g_col == 1 and g_row == k and dz_row == k
                    rows, width = (1, m * k) if whole else (m, k)
                    for r in range(rows):
                        at = dz + r * dz_row * size
                        copy(1, width, source + r * g_row * size, 0, g_col, at)
                    source, source_row = dz, dz_row
                if activation != 0:
                    call_address(
                        activation,
                        (source, source_row, saved + i * saved_row * size, saved_row,
                         dz, dz_row, m, k),
                    )  # fmt: skip
            out = gx + i * gx_row * size
            if gx != 0 and not wt_bytes:
                multiply(
                    m, d, k, dz, dz_row, 1, w, w_col, w_row, out, gx_row, gx_col,
                    x_mode, a_space, b_space,
                )  # fmt: skip
            elif gx != 0:
                gemm(
                    m, d, k, dz, dz_row, 1, wt, wt_row, wt_panel, wt_pack, out, gx_row,
                    x_mode, 0, a_space,
                )  # fmt: skip
                if wt_pack != 0:
                    wt, wt_row, wt_panel, wt_pack = wt_pack, NR, k * NR, 0
            start = 0
            if side and m == chunk:
                start = m
                four_blocks(
                    d, k, dz, dz_row, x + i * x_row * size, x_row, x_col,
                    gw, gw_row, gw_col, gb, 1 if accumulate or i > 0 else 0, one,
                )  # fmt: skip
            for j in range(start, greatest(m, 1), step):
                layer_backward(
                    least(step, m - j), d, k, dz + j * dz_row * size, dz_row,
                    x + (i + j) * x_row * size, x_row, x_col,
                    gw, gw_row, gw_col, gb, 1 if accumulate or i + j > 0 else 0, one,
                    a_space, b_space,
                )  # fmt: skip
        if space != near:
            free(space)
        return True

    return forward, backward
