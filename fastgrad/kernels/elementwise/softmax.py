"""The row kernels of softmax: ``exp(z - max) / sum``, and ``y * (g - g . y)``.

A vector holds elements of one wide row. Narrow rows would leave most of it empty, and each would
wait for its own sums. So dozens to a thousand of them are interleaved in a buffer, where a vector
holds one element of many rows (two outputs, forward, float32: 0.7 instead of 4.2 ns an element).
Sums have the order of `reductions` in both cases.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.elementwise.reductions import LANES, row_dot, row_max, row_sum
from fastgrad.kernels.elementwise.rows import BACKWARD, CHUNK, FORWARD, INTERLEAVE, padding, strip
from fastgrad.kernels.elementwise.vector_math import build as vector_math
from fastgrad.kernels.product.interleave import CAPACITY, MOVE, WIDEST
from fastgrad.kernels.toolchain.compile import assemble, external, inlined, kernel
from fastgrad.kernels.toolchain.intrinsics import fma, select
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    copy_elements,
    greatest,
    least,
    round_up,
    scratch,
    shift,
    zero_vector,
)


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``forward_softmax`` and ``backward_y_softmax`` for one dtype."""
    return assemble(dtype_name, softmax_kernels(dtype_name), INTERLEAVE)


def softmax_kernels(dtype_name: str) -> dict[str, Any]:
    """Return softmax's row kernels: exp(z - max) / sum, and y * (g - g . y)."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    LOWEST = np.dtype(dtype_name).type(-np.inf)
    padded, exponentials = padding(dtype_name), exponentials_of_rows(dtype_name)
    exp = exponential_of_difference(dtype_name)
    difference, begin, finish = exp.difference, exp.begin, exp.finish

    BUFFER = CAPACITY * STRIP
    interleave = external("interleave", dtype_name, MOVE)
    deinterleave = external("deinterleave", dtype_name, MOVE)

    @kernel
    def fold(terms: Any, n: int, rows: int) -> None:
        """Write each row's sum of n float64 terms to column 0, in the order of `reductions`.

        The zeros of empty lanes are left out: they only make a sum of -0.0 positive. For a dot
        product nothing changes: if all products vanish there, no g is zero, and ``g - dot`` is g.
        """
        half = LANES // 2  # no less than WIDEST
        while half > 1:
            half //= 2
            for j in range(half):
                one, other = shift(terms, j * rows), shift(terms, (j + half) * rows)
                if j + half < n:
                    for r in range(rows):
                        one[r] = one[r] + other[r]

    @kernel
    def columns(z_at: int, y_at: int, m: int, n: int) -> None:
        """Take as many contiguous rows at a time as a buffer holds."""
        before, low = scratch(BUFFER, dtype), scratch(BUFFER, dtype)
        top, terms = scratch(BUFFER, dtype), scratch(BUFFER, types.float64)
        most = CAPACITY // n * STRIP
        for start in range(0, m, most):
            rows = least(most, m - start)
            interleave(z_at + start * n * size, address_of(before), n, rows)
            for r in range(rows):
                top[r] = select(before[r] == before[r], before[r], LOWEST)
            for j in range(1, n):
                column = shift(before, j * rows)
                for r in range(rows):
                    top[r] = select(column[r] > top[r], column[r], top[r])
            for j in range(n):
                first, second = shift(before, j * rows), shift(low, j * rows)
                for r in range(rows):
                    d, error = difference(first[r], top[r])
                    first[r], second[r] = begin(d, error)
            for i in range(n * rows):
                before[i] = finish(before[i], low[i])
            for i in range(n * rows):
                terms[i] = types.float64(before[i])
            fold(terms, n, rows)
            for r in range(rows):
                top[r] = dtype(1.0 / terms[r])
            for j in range(n):
                column = shift(before, j * rows)
                for r in range(rows):
                    column[r] = column[r] * top[r]
            deinterleave(address_of(before), y_at + start * n * size, n, rows)

    @kernel
    def columns_backward(g_at: int, y_at: int, out_at: int, m: int, n: int) -> None:
        given, saved = scratch(BUFFER, dtype), scratch(BUFFER, dtype)
        dot, terms = scratch(BUFFER, dtype), scratch(BUFFER, types.float64)
        most = CAPACITY // n * STRIP
        for start in range(0, m, most):
            rows = least(most, m - start)
            at = start * n * size
            interleave(g_at + at, address_of(given), n, rows)
            interleave(y_at + at, address_of(saved), n, rows)
            for i in range(n * rows):
                terms[i] = fma(types.float64(given[i]), types.float64(saved[i]), 0.0)
            fold(terms, n, rows)
            for r in range(rows):
                dot[r] = dtype(terms[r])
            for j in range(n):
                one, other = shift(given, j * rows), shift(saved, j * rows)
                for r in range(rows):
                    one[r] = other[r] * (one[r] - dot[r])
            deinterleave(address_of(given), out_at + at, n, rows)

    @kernel
    def wide_rows(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        after, other, rest = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            z = as_pointer(z_at + row * z_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            top = row_max(z, n)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                source, target = shift(z, j), shift(y, j)
                ragged = count & (STRIP - 1)
                if ragged:
                    padded(rest, source, count)
                    source, target = rest, rest
                for i in range(round_up(count, STRIP)):
                    d, low = difference(source[i], top)
                    after[i], other[i] = begin(d, low)
                for i in range(round_up(count, STRIP)):
                    target[i] = finish(after[i], other[i])
                if ragged:
                    copy_elements(shift(y, j), rest, count)
            scale = dtype(1.0 / row_sum(y, n))
            for j in range(n):
                y[j] = y[j] * scale

    @kernel
    def narrow_rows(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        """Take as many rows at a time as the buffers hold: one pass of exp for all of them."""
        before, low, factor = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        group = CHUNK // greatest(n, 1)
        for start in range(0, m, group):
            rows = least(group, m - start)
            exponentials(z_at + start * z_row * size, z_row, rows, n, before, low, factor)
            for row in range(rows):
                factor[row] = dtype(1.0 / row_sum(shift(before, row * n), n))
            for row in range(rows):
                values = shift(before, row * n)
                y = as_pointer(y_at + (start + row) * y_row * size, dtype)
                scale = factor[row]
                for j in range(n):
                    y[j] = values[j] * scale

    def forward(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        if 0 < n <= WIDEST and z_row == n and y_row == n:
            done = m & -STRIP
            columns(z_at, y_at, done, n)
            m, z_at, y_at = m - done, z_at + done * n * size, y_at + done * n * size
        if 2 * n <= CHUNK:
            narrow_rows(z_at, z_row, y_at, y_row, m, n)
        else:
            wide_rows(z_at, z_row, y_at, y_row, m, n)

    def backward_y(
        g_at: int, g_row: int, y_at: int, y_row: int, out_at: int, out_row: int, m: int, n: int
    ) -> None:
        if 0 < n <= WIDEST and g_row == n and y_row == n and out_row == n:
            done = m & -STRIP
            columns_backward(g_at, y_at, out_at, done, n)
            m, at = m - done, done * n * size
            g_at, y_at, out_at = g_at + at, y_at + at, out_at + at
        for row in range(m):
            g = as_pointer(g_at + row * g_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            out = as_pointer(out_at + row * out_row * size, dtype)
            dot = dtype(row_dot(g, y, n))
            for j in range(n):
                out[j] = y[j] * (g[j] - dot)

    return {"forward_softmax": (FORWARD, forward), "backward_y_softmax": (BACKWARD, backward_y)}


def exponentials_of_rows(dtype_name: str) -> Any:
    """Return ``exponentials(z_at, z_row, m, n, result, low, top)`` for m * n <= CHUNK elements.

    It leaves each row's greatest element in `top`, and ``exp(z - top)`` times `scale` in `result`,
    row after row; `low` is a buffer.
    """
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    exp = exponential_of_difference(dtype_name)
    difference, begin, finish = exp.difference, exp.begin, exp.finish

    @kernel
    def exponentials(
        z_at: int, z_row: int, m: int, n: int, result: Any, low: Any, top: Any
    ) -> None:
        whole = n & (STRIP - 1) == 0
        if m * n & (STRIP - 1):
            zero_vector(shift(result, m * n & -STRIP), STRIP)
            zero_vector(shift(low, m * n & -STRIP), STRIP)
        for row in range(m):
            top[row] = row_max(as_pointer(z_at + row * z_row * size, dtype), n)
        for row in range(m):
            z = as_pointer(z_at + row * z_row * size, dtype)
            most, first, second = top[row], shift(result, row * n), shift(low, row * n)
            if whole:
                for j in range(n):
                    d, error = difference(z[j], most)
                    first[j], second[j] = begin(d, error)
            else:
                for j in range(n):
                    first[j], second[j] = difference(z[j], most)
        if not whole:
            for i in range(round_up(m * n, STRIP)):
                result[i], low[i] = begin(result[i], low[i])
        for i in range(round_up(m * n, STRIP)):
            result[i] = finish(result[i], low[i])

    return exponentials


def exponential_of_difference(dtype_name: str) -> SimpleNamespace:
    """Return exp(a - b) for a <= b in steps: ``finish(*begin(*difference(a, b))) / scale``.

    The rounding error of the difference is carried along: without it that error, up to half an
    ULP of the difference, is an error of |a - b| / 2 ULP in the result. TwoDiff: Knuth, TAOCP
    4.2.2. The power of two `scale` keeps what `finish` returns from being subnormal.
    """
    m = vector_math(dtype_name)

    @inlined
    def difference(a: Any, b: Any) -> Any:
        d = a - b
        back = d - a
        return d, (a - (d - back)) - (b + back)

    return SimpleNamespace(
        difference=difference,
        begin=m.exp_sum_parts,
        finish=m.exp_sum_of,
        scale=m.exp_scale,
    )
