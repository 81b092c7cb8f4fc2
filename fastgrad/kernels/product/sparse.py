"""Products with a sparse matrix whose rows are lists of entries: indices, ascending, and values.

A *matrix* here is a row of words: `starts` is where the place of a row's first entry is stored,
`step` words before that of the next row, and behind it the place after its last one; `wide` says
whether these numbers have 64 bits or 32, `wide_indices` the same of the indices.

Entries that are not stored take no part. The others are summed as in a dense product: chains of
fused multiply-adds over blocks of PRODUCTS indices, in ascending order, each from zero, the blocks
added up in order. So the result has the bits of the dense one (but for the sign of a zero, and
unless a missing entry meets an infinity), however the entries are stored, cut or shared.

``sparse_gradient`` is ``x.T @ g``: the entries of some features are collected, few enough to stay
in L2, sorted by feature (a counting sort keeps the samples' order), and each row of the result is
written once for every CHUNK_ROWS samples. Adding to it sample by sample would read and write it
for every entry: 2,000 x 50,000 with 0.1 % filled, 100 outputs, takes half the time.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.product.dot import CHAINS
from fastgrad.kernels.product.sparse_rows import ADD_ROWS
from fastgrad.kernels.product.sparse_table import (
    CHECKED,
    CHUNK_ROWS,
    ENTRIES,
    FEATURES,
    INDEX,
    LENGTH,
    ORDER,
    STARTS,
)
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.intrinsics import fma
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    clear,
    greatest,
    least,
    scratch,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK, PRODUCTS

# n d length | starts wide | indices wide | result: mistake, place, whether all ascend
SPARSE_CHECK = types.void(*([types.intp] * 8))
# count buckets | keys wide | order or 0 | places of the buckets, order
SPARSE_SORT = types.void(*([types.intp] * 7))
# n k | starts step wide | indices wide values | w row panel | bias | y row | z row | activation
SPARSE_FORWARD = types.void(*([types.intp] * 16))
# n k | starts step wide | indices wide values | g row | first last feature | gw row | add | space
SPARSE_GRADIENT = types.void(*([types.intp] * 15))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of this unit for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    # Bytes of outputs that are computed before the activation passes over their rows.
    IN_CACHE, AT_ONCE = 16 * 1024, 256  # and rows
    PLACES = 2 * AT_ONCE
    NARROW = 4  # outputs for which sorting entries takes longer (1 output: 1.2 ms, not 0.5)
    add_rows = external("add_rows", dtype_name, ADD_ROWS)

    @kernel
    def number(at: int, i: int, wide: int) -> int:
        """Return number i of those at an address, of 64 or of 32 bits."""
        if wide:
            return as_pointer(at, types.int64)[i]
        return types.int64(as_pointer(at, types.int32)[i])

    def check(
        n: int, d: int, length: int, starts: int, wide: int, indices: int, wide_indices: int,
        result: int,
    ) -> None:  # fmt: skip
        found = as_pointer(result, types.intp)
        found[0], found[1], found[2] = CHECKED, 0, 1
        if number(starts, 0, wide) != 0:
            found[0] = STARTS
            return
        before, ascend = 0, 1
        for i in range(n):
            end = number(starts, i + 1, wide)
            if end < before:
                found[0], found[1] = ORDER, i + 1
                return
            before = end
        if before > length:
            found[0], found[1] = LENGTH, before
            return
        end = 0
        for i in range(n):
            p, end, last = end, number(starts, i + 1, wide), -1
            while p < end:
                index = number(indices, p, wide_indices)
                if index < 0 or index >= d:
                    found[0], found[1] = INDEX, p
                    return
                if index <= last:
                    ascend = 0
                last = index
                p += 1
        found[2] = ascend

    def sort(
        count: int, buckets: int, keys: int, wide: int, before: int, places: int, order: int
    ) -> None:
        """Order entries by key, those of equal keys as they are, or as in the order `before`."""
        ends, out = as_pointer(places, types.intp), as_pointer(order, types.intp)
        for b in range(buckets + 2):
            ends[b] = 0
        for i in range(count):
            ends[number(keys, i, wide) + 2] += 1
        for b in range(buckets):
            ends[b + 2] += ends[b + 1]
        for i in range(count):
            entry = i
            if before != 0:
                entry = as_pointer(before, types.intp)[i]
            key = number(keys, entry, wide) + 1
            out[ends[key]] = entry
            ends[key] += 1

    @kernel
    def single_output(
        at: int, wide: int, values_at: int, first: int, end: int, w_at: int, y_at: int
    ) -> None:
        """Write the dot product of one row, summed as that of a single output: see `dot`."""
        sums, values = scratch(CHAINS, dtype), as_pointer(values_at, dtype)
        w, y = as_pointer(w_at, dtype), as_pointer(y_at, dtype)
        y[0], p = dtype(0), first
        while p < end:
            index = number(at, p, wide)
            product, block = values[p] * w[index], index // PRODUCTS
            p += 1
            if p == end or number(at, p, wide) // PRODUCTS != block:  # the only one of its block
                y[0] = y[0] + product
                continue
            for i in range(CHAINS):
                sums[i] = dtype(0)
            sums[index & (CHAINS - 1)] = product
            while p < end:
                index = number(at, p, wide)
                if index // PRODUCTS != block:
                    break
                chain = index & (CHAINS - 1)
                sums[chain] = fma(values[p], w[index], sums[chain])
                p += 1
            half = CHAINS // 2
            while half > 0:
                for i in range(half):
                    sums[i] = sums[i] + sums[i + half]
                half //= 2
            y[0] = y[0] + sums[0]

    def forward(
        n: int, k: int, starts: int, step: int, wide: int, indices: int, wide_indices: int,
        values: int, w: int, w_row: int, w_panel: int, bias: int,
        y: int, z: int, row: int, activation: int,
    ) -> None:  # fmt: skip
        """Write ``y = act(x @ w + b)``: rows of w as they are (a panel of 0), or packed."""
        width, panel = (w_row, w_panel) if w_panel != 0 else (greatest(k, 1), 0)
        rows = least(greatest(IN_CACHE // (greatest(k, 1) * size), 1), AT_ONCE)
        target, shifts = z if z != 0 else y, as_pointer(bias, dtype)
        places, index_step = scratch(PLACES, types.intp), 2 if wide_indices else 1
        for begun in range(0, n, rows):
            m, out = least(rows, n - begun), target + begun * row * size
            for i in range(m):
                at = (begun + i) * step
                first, end = number(starts, at, wide), number(starts, at + 1, wide)
                places[2 * i], places[2 * i + 1] = first, end
                if k == 1:
                    single_output(
                        indices, wide_indices, values, first, end, w, out + i * row * size
                    )  # fmt: skip
            if k > 1:
                block = w
                for j in range(0, k, width):
                    add_rows(
                        m, address_of(places), 2, indices, index_step, values, block, w_row,
                        out + j * size, row, least(width, k - j), 1,
                    )  # fmt: skip
                    block += panel * size
            if bias != 0:
                for i in range(m):
                    sums = as_pointer(out + i * row * size, dtype)
                    for j in range(k):
                        sums[j] = sums[j] + shifts[j]
            if activation != 0:
                call_address(activation, (out, row, y + begun * row * size, row, m, k))

    @kernel
    def seek(indices: int, wide: int, first: int, end: int, feature: int) -> int:
        """Return the place of a row's first entry that is not below `feature`."""
        while first < end:
            middle = (first + end) // 2
            if number(indices, middle, wide) < feature:
                first = middle + 1
            else:
                end = middle
        return first

    @kernel
    def narrow_gradient(
        n: int, k: int, starts: int, step: int, wide: int, indices: int, wide_indices: int,
        values: int, g: int, g_row: int, first_feature: int, last_feature: int,
        gw: int, add: int, space: int,
    ) -> None:  # fmt: skip
        """Do what `gradient` does for few outputs, without sorting entries.

        Sums of a block of samples are kept for so many features that they stay in cache; a second
        visit of the entries adds each to the result, and clears it: a feature's next entry adds 0.
        """
        sums = as_pointer(space + 8 * (FEATURES + 2 + ENTRIES), dtype)
        reached = as_pointer(space + 8 * (FEATURES + 2 + 2 * ENTRIES), types.intp)
        every, totals = as_pointer(values, dtype), as_pointer(gw, dtype)
        most = least(ENTRIES // k, last_feature - first_feature)
        clear(address_of(sums), most * k * size)
        if add == 0:
            clear(gw + first_feature * k * size, (last_feature - first_feature) * k * size)
        for block in range(0, n, BATCH_BLOCK):
            m = least(BATCH_BLOCK, n - block)
            here = starts + block * step * (8 if wide else 4)
            for i in range(m):
                p, end = number(here, i * step, wide), number(here, i * step + 1, wide)
                if first_feature > 0:
                    p = seek(indices, wide_indices, p, end, first_feature)
                reached[i] = p
            for feature in range(first_feature, last_feature, greatest(most, 1)):
                width = least(most, last_feature - feature)
                for i in range(m):
                    p, end = reached[i], number(here, i * step + 1, wide)
                    row = as_pointer(g + (block + i) * g_row * size, dtype)
                    while p < end:
                        index = number(indices, p, wide_indices) - feature
                        if index >= width:
                            break
                        value = every[p]
                        for j in range(k):
                            sums[index * k + j] = fma(value, row[j], sums[index * k + j])
                        p += 1
                for i in range(m):
                    p, end = reached[i], number(here, i * step + 1, wide)
                    while p < end:
                        index = number(indices, p, wide_indices) - feature
                        if index >= width:
                            break
                        for j in range(k):
                            place = (feature + index) * k + j
                            totals[place] = totals[place] + sums[index * k + j]
                            sums[index * k + j] = dtype(0)
                        p += 1
                    reached[i] = p

    def gradient(
        n: int, k: int, starts: int, step: int, wide: int, indices: int, wide_indices: int,
        values: int, g: int, g_row: int, first_feature: int, last_feature: int,
        gw: int, add: int, space: int,
    ) -> None:  # fmt: skip
        """Write, or add, rows `first_feature` to `last_feature` of x.T @ g, contiguous rows."""
        if 0 < k <= NARROW:
            narrow_gradient(
                n, k, starts, step, wide, indices, wide_indices, values, g, g_row,
                first_feature, last_feature, gw, add, space,
            )  # fmt: skip
            return
        ends = as_pointer(space, types.intp)
        samples = as_pointer(space + 8 * (FEATURES + 2), types.int32)
        chosen = as_pointer(space + 8 * (FEATURES + 2 + ENTRIES), dtype)
        reached = as_pointer(space + 8 * (FEATURES + 2 + 2 * ENTRIES), types.intp)
        every = as_pointer(values, dtype)
        for chunk in range(0, greatest(n, 1), CHUNK_ROWS):
            m = least(CHUNK_ROWS, n - chunk)
            here = starts + chunk * step * (8 if wide else 4)
            left = 0
            for i in range(m):
                p, end = number(here, i * step, wide), number(here, i * step + 1, wide)
                if first_feature > 0:
                    p = seek(indices, wide_indices, p, end, first_feature)
                reached[i] = p
                left += end - p
            feature, most = first_feature, FEATURES
            # As many features as have half of the entries that there is room for, on average.
            if left > ENTRIES // 2:
                some = (last_feature - first_feature) * (ENTRIES // 2) // left
                most = least(greatest(some, 1), FEATURES)
            while feature < last_feature:
                width = least(most, last_feature - feature)
                while True:
                    for q in range(width + 2):
                        ends[q] = 0
                    count = 0
                    for i in range(m):
                        p, end = reached[i], number(here, i * step + 1, wide)
                        while p < end:
                            index = number(indices, p, wide_indices) - feature
                            if index >= width:
                                break
                            ends[index + 2] += 1
                            count += 1
                            p += 1
                    if count <= ENTRIES:
                        break
                    width = (width + 1) // 2
                for q in range(width):
                    ends[q + 2] += ends[q + 1]
                for i in range(m):
                    p, end = reached[i], number(here, i * step + 1, wide)
                    while p < end:
                        index = number(indices, p, wide_indices) - feature
                        if index >= width:
                            break
                        place = ends[index + 1]
                        ends[index + 1] = place + 1
                        samples[place], chosen[place] = i, every[p]
                        p += 1
                    reached[i] = p
                add_rows(
                    width, address_of(ends), 1, address_of(samples), 1, address_of(chosen),
                    g + chunk * g_row * size, g_row, gw + feature * k * size, k, k,
                    chunk == 0 and add == 0,
                )  # fmt: skip
                feature += width

    functions: dict[str, tuple[Any, Any]] = {
        "sparse_check": (SPARSE_CHECK, check),
        "sparse_sort": (SPARSE_SORT, sort),
        "sparse_forward": (SPARSE_FORWARD, forward),
        "sparse_gradient": (SPARSE_GRADIENT, gradient),
    }
    return assemble(dtype_name, functions)
