"""Packing and blocking around the micro-kernel: ``C (m, n) = A (m, k) @ B (k, n)``, any strides.

B is used unpacked if its rows are contiguous and few. Otherwise it is read as one stream, from
zero-padded panels of NR columns. If its rows are contiguous, the first tile that reads them packs
them (to `b_pack`); other rows, and large ones, are packed before (`pack_b`). A is read through its
strides; blocks of it are packed only if a row or column step would leave a page and enough columns
share the work.

Sums of more than PRODUCTS products are made of blocks, added up in C: the panels of a block are in
L1, and so is C. No other blocking changes a bit of the result.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.product import transpose
from fastgrad.kernels.product.microkernel import ADD
from fastgrad.kernels.product.thin import MOST_COLUMNS
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    copy_elements,
    copy_vector,
    greatest,
    least,
    scratch,
    shift,
)
from fastgrad.kernels.toolchain.target import BEYOND_L2, PRODUCTS
from fastgrad.kernels.toolchain.target import tile as tile_for

# Every argument is one word: sizes, strides in elements, addresses.
# m k | a row col step | b row next pack | c row | mode bias columns
PANEL = types.void(*([types.intp] * 15))
# m n k | a row col | b row | c | add bias
THIN = types.void(*([types.intp] * 11))
# n k | a col | b row | c | blocks, c block
GEMV = types.void(*([types.intp] * 9))
# m n k | a row col | b row panel pack | c row | mode bias workspace
GEMM = types.void(*([types.intp] * 15))
# k n | b row col | packed
PACK_B = types.void(*([types.intp] * 6))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the C functions ``gemm`` and ``pack_b`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    MR, AR, NR, KC, MC, FEW = tile.mr, tile.ar, tile.nr, tile.kc, tile.mc, tile.few
    lanes, FULL = tile.lanes, min(MOST_COLUMNS, tile.lanes)
    HALF = min(MOST_COLUMNS, tile.lanes // 2)
    panel = external("panel", dtype_name, PANEL)
    thin = external("thin", dtype_name, THIN)
    gemv = external("gemv", dtype_name, GEMV)
    pack_whole = external("pack_b", dtype_name, PACK_B)
    PACK_A_COLUMNS = tile.pack_a_columns
    PACK_A_STEP = 1024  # bytes of a step along A from which on packing A pays
    # From this many columns on it pays if the rows of A are contiguous: 256x784x256 is 2 % slower
    # with packed rows, 128x256x256 4 % and in float64 7 %; 512x1024x1024 is not.
    PACK_A_ROWS = 64 * NR
    # But rows this many bytes apart share one set of L1: a tile with more rows than the set has
    # ways evicts its own lines (512x1024x1024 float32 with AVX-512: 89 % of the peak, packed 98 %).
    SAME_SET, WAYS = 4096, 8

    # From this many columns on, `gemv` computes a row, or each row of an outer product, faster.
    WIDE, WIDE_OUTER = 3 * lanes, 16 * lanes
    AT_ONCE = 16 * 1024 // size  # columns whose sums are in L1
    NARROW, SPLIT_K = AT_ONCE // 4, 4  # of fewer, the sums of several blocks

    # Rows after the last whole group of lanes that `thin` takes, in copies, too: the tile has one
    # chain for each of them.
    ENOUGH_ROWS = lanes // 2 + 1
    GROUP, HELD = lanes * PRODUCTS, lanes * MOST_COLUMNS

    # MR rows of A are some whole squares and a rest.
    squares = MR // lanes * lanes
    transpose_square = transpose.build(lanes, lanes)
    transpose_rest = transpose.build(lanes, MR - squares or lanes)

    @kernel
    def pack_a(m: int, k: int, a: Any, a_row: int, a_col: int, out: Any) -> None:
        """Copy groups of MR rows so that a step of k is AR adjacent elements, MR of them used."""
        whole = m // MR * MR if a_row == 1 and a_col != 1 else 0
        for p in range(k if whole > 0 else 0):
            for i in range(0, whole, MR):  # adjacent lines are read at once
                copy_vector(shift(out, i // MR * AR * k + p * AR), shift(a, p * a_col + i), MR)
        for i0 in range(whole, m, MR):
            block, source = shift(out, i0 // MR * AR * k), shift(a, i0 * a_row)
            start = 0
            if m - i0 >= MR and a_col == 1:
                start = k // lanes * lanes
                for p in range(0, start, lanes):
                    at, place = shift(source, p), shift(block, p * AR)
                    for r in range(0, squares, lanes):
                        transpose_square(shift(at, r * a_row), a_row, shift(place, r), AR)
                    if squares < MR:
                        at, place = shift(at, squares * a_row), shift(place, squares)
                        transpose_rest(at, a_row, place, AR)
            for p in range(start, k):
                for i in range(least(MR, m - i0)):
                    block[p * AR + i] = source[i * a_row + p * a_col]

    @kernel
    def thin_rows(
        n: int, k: int, a: int, a_row: int, a_col: int, rows: int, b: int, b_row: int, c: int,
        bias: int,
    ) -> None:  # fmt: skip
        """A group of rows for `thin`, of more than one block; or of `rows` contiguous ones only."""
        space = scratch(GROUP, dtype)
        for p in range(0, k, PRODUCTS):
            count = least(PRODUCTS, k - p)
            at, at_row = a + p * a_col * size, a_row
            if rows != 0:  # the last row replaces those that do not exist
                for r in range(lanes):
                    source = as_pointer(at + least(r, rows - 1) * a_row * size, dtype)
                    copy_elements(shift(space, r * count), source, count)
                at, at_row = address_of(space), count
            thin(
                lanes, n, count, at, at_row, a_col, b + p * b_row * size, b_row, c,
                0 if p == 0 else ADD, bias if p + count == k else 0,
            )  # fmt: skip

    @kernel
    def row_product(
        n: int, k: int, a: int, a_col: int, b: int, b_row: int, c: int, mode: int, bias: int
    ) -> None:
        """One row of C = A @ B, for unpacked rows of B."""
        space = scratch(AT_ONCE, dtype)
        for start in range(0, n, AT_ONCE):
            width = least(AT_ONCE, n - start)
            row, at = as_pointer(c + start * size, dtype), b + start * size
            p = 0
            while p < k:
                blocks = least(SPLIT_K if n <= NARROW else 1, (k - p) // PRODUCTS)
                into_row = blocks <= 1 and p == 0 and mode == 0
                gemv(
                    width, least(PRODUCTS, k - p), a + p * a_col * size, a_col,
                    at + p * b_row * size, b_row, address_of(row if into_row else space),
                    blocks, NARROW,
                )  # fmt: skip
                for q in range(0 if into_row else greatest(blocks, 1)):
                    sums = shift(space, q * NARROW)
                    if p == 0 and q == 0 and mode == 0:
                        copy_elements(row, sums, width)
                    else:
                        for j in range(width):
                            row[j] = row[j] + sums[j]
                p += greatest(blocks, 1) * PRODUCTS
            if bias != 0:
                shifts = as_pointer(bias + start * size, dtype)
                for j in range(width):
                    row[j] = row[j] + shifts[j]

    def gemm(
        m: int, n: int, k: int, a: int, a_row: int, a_col: int, b: int, b_row: int, b_panel: int,
        b_pack: int, c: int, c_row: int, mode: int, bias: int, workspace: int,
    ) -> None:  # fmt: skip
        if m <= FEW:
            b_pack = 0
        short = n <= FULL and k <= FULL and a_row == k and a_col == 1
        straight = c_row == n and (a_col == 1 or a_row == 1)
        if (n <= HALF or short) and m >= ENOUGH_ROWS and mode == 0 and straight:
            if b_pack != 0:
                pack_whole(k, n, b, b_row, 1, b_pack)
                b, b_row, b_pack = b_pack, NR, 0
            done = m & -lanes
            if k <= PRODUCTS and done > 0:
                thin(done, n, k, a, a_row, a_col, b, b_row, c, 0, bias)
            elif done > 0:
                for i in range(0, done, lanes):
                    row = c + i * n * size
                    thin_rows(n, k, a + i * a_row * size, a_row, a_col, 0, b, b_row, row, bias)
            m, a, c = m - done, a + done * a_row * size, c + done * c_row * size
            if m >= ENOUGH_ROWS and a_col == 1 and k >= 4 * lanes:
                held = scratch(HELD, dtype)
                thin_rows(n, k, a, a_row, a_col, m, b, b_row, address_of(held), bias)
                copy_elements(as_pointer(c, dtype), held, m * n)
                return
        outer = k == 1 and n >= WIDE_OUTER
        if outer and m > 0 and b_pack != 0:  # the caller reads it there next; here it is one row
            pack_whole(k, n, b, b_row, 1, b_pack)
            b_pack = 0
        if outer or (m == 1 and n >= WIDE and k > 0 and b_pack == 0 and b_panel == NR):
            for i in range(m):
                row_product(
                    n, k, a + i * a_row * size, a_col, b, b_row, c + i * c_row * size, mode, bias
                )
            return
        step = greatest(abs(a_row), abs(a_col)) * size
        evicting = MR > WAYS and step % SAME_SET == 0
        enough = PACK_A_ROWS if a_col == 1 and not evicting else PACK_A_COLUMNS
        # An A that no L2 holds is packed for more than one panel (12288x209 columns float64, 20
        # outputs: 5.5 to 4.2 ms). Callers that might bring one have the workspace.
        distant = a_row == 1 and n > NR and m * k * size >= BEYOND_L2
        pack_rows = (n >= enough or distant) and m >= MR and step >= PACK_A_STEP
        # For MC rows or more a separate pass packs such a B (512x1024x1024 float64 4 %; at half as
        # many bytes a first tile is as good, for 48 rows 14 % better).
        if b_pack != 0 and m >= MC and k * n * size >= BEYOND_L2:
            pack_whole(k, n, b, b_row, 1, b_pack)
            b, b_row, b_panel, b_pack = b_pack, NR, k * NR, 0
        stream = m * k >= 8192  # there is time to prefetch the next panel of a packed B
        for pc in range(0, greatest(k, 1), KC):
            kc = least(KC, k - pc)
            b_block = b + pc * b_row * size
            for ic in range(0, m, MC):
                mc = least(MC, m - ic)
                block = a + (ic * a_row + pc * a_col) * size
                row, col, group = a_row, a_col, MR * a_row
                if pack_rows:
                    source = as_pointer(block, dtype)
                    pack_a(mc, kc, source, a_row, a_col, as_pointer(workspace, dtype))
                    block = workspace
                    row, col, group = 1, AR, AR * kc
                at, at_row, at_panel, to = b_block, b_row, b_panel, b_pack
                if b_pack != 0:
                    to += pc * NR * size
                    if ic != 0:
                        at, at_row, at_panel, to = to, NR, k * NR, 0
                prefetches = stream and (to != 0 or at_panel != NR)
                for j in range(0, n, NR):
                    at_j, out = at + j // NR * at_panel * size, c + (ic * c_row + j) * size
                    for p in range(0, greatest(kc, 1), PRODUCTS):
                        count = least(PRODUCTS, kc - p)
                        last = pc + p + count == k
                        following = at_panel if p + count == kc else (p + count) * at_row
                        panel(
                            mc, count, block + p * col * size, row, col, group,
                            at_j + p * at_row * size, at_row,
                            at_j + following * size if prefetches else 0,
                            to + (j * k + p * NR) * size if to != 0 else 0,
                            out, c_row, mode if pc + p == 0 else ADD,
                            bias + j * size if bias != 0 and last else 0, least(NR, n - j),
                        )  # fmt: skip

    def pack_b(k: int, n: int, b_at: int, b_row: int, b_col: int, out_at: int) -> None:
        b = as_pointer(b_at, dtype)
        out = as_pointer(out_at, dtype)
        whole = n // NR * NR
        if b_col == 1:
            # A few panels at a time: each read is some adjacent lines, and the write streams,
            # often a power of two apart, do not evict each other.
            for j0 in range(0, whole, 4 * NR):
                stop = least(j0 + 4 * NR, whole)
                for p in range(k):
                    source, target = shift(b, p * b_row), shift(out, p * NR)
                    for j in range(j0, stop, NR):
                        copy_vector(shift(target, j * k), shift(source, j), NR)
        else:
            for j0 in range(0, whole, NR):
                source, target = shift(b, j0 * b_col), shift(out, j0 * k)
                start = 0
                if b_row == 1:
                    start = k // lanes * lanes
                    for p in range(0, start, lanes):
                        for j in range(0, NR, lanes):
                            at, place = shift(source, p + j * b_col), shift(target, p * NR + j)
                            transpose_square(at, b_col, place, NR)
                for p in range(start, k):
                    for j in range(NR):
                        target[p * NR + j] = source[p * b_row + j * b_col]
        if whole < n:
            source, target = shift(b, whole * b_col), shift(out, whole * k)
            for p in range(k):
                for j in range(NR):
                    value = dtype(0)
                    if j < n - whole:
                        value = source[p * b_row + j * b_col]
                    target[p * NR + j] = value

    return assemble(dtype_name, {"gemm": (GEMM, gemm), "pack_b": (PACK_B, pack_b)})
