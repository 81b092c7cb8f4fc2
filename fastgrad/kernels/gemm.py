"""Packing and blocking around the micro-kernel: ``C (m, n) = A (m, k) @ B (k, n)``, any strides.

B is used where it lies if its rows are contiguous and few, else packed once into panels of
NR columns (`pack_b`), zero-padded, so that the tile reads it as one stream. A is read through
its strides; blocks of it are packed only where a row or column step would leave a page
behind and enough columns share the work.

Blocking never changes a bit: every block along k continues the chains of the one before.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.compile import assemble, external, kernel
from fastgrad.kernels.microkernel import CHAIN
from fastgrad.kernels.pointers import as_pointer, copy_vector, greatest, least, shift
from fastgrad.kernels.target import tile as tile_for

# Every argument is one word: sizes, strides in elements, addresses.
# m k | a row col step | b row | c row | mode bias columns
PANEL = types.void(*([types.intp] * 13))
# m n k | a row col | b row panel | c row | mode bias workspace
GEMM = types.void(*([types.intp] * 14))
# k n | b row col | packed
PACK_B = types.void(*([types.intp] * 6))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the C functions ``gemm`` and ``pack_b`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    MR, NR, KC, MC, NC = tile.mr, tile.nr, tile.kc, tile.mc, tile.nc
    panel = external("panel", dtype_name, PANEL)
    # Packing A pays from about this many columns on, where its steps are this wide (bytes).
    PACK_A_COLUMNS = 8 * NR
    PACK_A_STEP = 1024

    @kernel
    def pack_a(m: int, k: int, a: Any, a_row: int, a_col: int, out: Any) -> None:
        for i0 in range(0, m, MR):
            block = shift(out, i0 * k)
            source = shift(a, i0 * a_row)
            if m - i0 >= MR:
                for p in range(k):
                    for i in range(MR):
                        block[p * MR + i] = source[i * a_row + p * a_col]
            else:
                for p in range(k):
                    for i in range(m - i0):
                        block[p * MR + i] = source[i * a_row + p * a_col]

    def gemm(
        m: int, n: int, k: int, a: int, a_row: int, a_col: int, b: int, b_row: int, b_panel: int,
        c: int, c_row: int, mode: int, bias: int, workspace: int,
    ) -> None:  # fmt: skip
        step = greatest(abs(a_row), abs(a_col)) * size
        pack = n >= PACK_A_COLUMNS and m >= MR and step >= PACK_A_STEP
        for jc in range(0, n, NC):
            j_end = least(jc + NC, n)
            for pc in range(0, greatest(k, 1), KC):
                kc = least(KC, k - pc)
                block_mode = mode if pc == 0 else CHAIN
                block_bias = bias if pc + KC >= k else 0
                for ic in range(0, m, MC):
                    mc = least(MC, m - ic)
                    block = a + (ic * a_row + pc * a_col) * size
                    row, col, group = a_row, a_col, MR * a_row
                    if pack:
                        source = as_pointer(block, dtype)
                        pack_a(mc, kc, source, a_row, a_col, as_pointer(workspace, dtype))
                        block = workspace
                        row, col, group = 1, MR, MR * kc
                    for j in range(jc, j_end, NR):
                        panel(
                            mc, kc, block, row, col, group,
                            b + ((j // NR) * b_panel + pc * b_row) * size, b_row,
                            c + (ic * c_row + j) * size, c_row,
                            block_mode, block_bias + j * size if block_bias else 0,
                            least(NR, j_end - j),
                        )  # fmt: skip

    def pack_b(k: int, n: int, b_at: int, b_row: int, b_col: int, out_at: int) -> None:
        b = as_pointer(b_at, dtype)
        out = as_pointer(out_at, dtype)
        for j0 in range(0, n, NR):
            columns = least(NR, n - j0)
            source = shift(b, j0 * b_col)
            block = shift(out, j0 * k)
            if columns == NR and b_col == 1:
                for p in range(k):
                    copy_vector(shift(block, p * NR), shift(source, p * b_row), NR)
            elif columns == NR:
                for p in range(k):
                    for j in range(NR):
                        block[p * NR + j] = source[p * b_row + j * b_col]
            else:
                for p in range(k):
                    for j in range(columns):
                        block[p * NR + j] = source[p * b_row + j * b_col]
                    for j in range(columns, NR):
                        block[p * NR + j] = dtype(0)

    return assemble(dtype_name, {"gemm": (GEMM, gemm), "pack_b": (PACK_B, pack_b)})
