"""Row kernels: one activation's forward and backward passes over a block of rows.

A row kernel is a C function that the dense layer and the networks reach through its address,
so a new activation compiles these few loops and nothing else. All take m rows x n columns,
row strides in elements, contiguous columns, and may work in place:

``forward(z, z_row, y, y_row, m, n)``                              y = act(z)
``backward_z(g, g_row, z, z_row, out, out_row, m, n)``             out = g * act'(z)
``backward_y(g, g_row, y, y_row, out, out_row, m, n)``             the same, act' from y

Where act' is no function of y, a layer computes it on the way forward, which has most of what
both need (gelu float64: 3.4 ns an element, not 2.9 and again 3.0):

``forward_and_slope(z, z_row, y, y_row, m, n)``                    y = act(z), z = act'(z)
``backward_slope(g, g_row, s, s_row, out, out_row, m, n)``         out = g * s

Results pass through a buffer that nothing else points to: LLVM sees that no store can change
a load and writes vector code, in place or not. The rest of a row is padded and goes through
the same loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.compile import assemble, inlined, kernel
from fastgrad.kernels.formulas import Formula, formulas
from fastgrad.kernels.pointers import (
    as_pointer,
    copy_elements,
    greatest,
    least,
    round_up,
    scratch,
    shift,
    zeroed,
)
from fastgrad.kernels.reductions import row_dot, row_max, row_sum
from fastgrad.kernels.target import tile
from fastgrad.kernels.vector_math import Staged
from fastgrad.kernels.vector_math import build as vector_math

FORWARD = types.void(*([types.intp] * 6))
BACKWARD = types.void(*([types.intp] * 8))
# Elements a buffer holds: long enough that a pass's start-up is nothing, small enough (2 KiB)
# that the copy out of it stays in L1.
CHUNK = 256
INTERLEAVE = 4  # vectors side by side in a loop


def strip(dtype_name: str) -> int:
    """Return the elements of a step of a vector loop: passes cover whole ones."""
    return INTERLEAVE * tile(dtype_name).lanes


def build(dtype_name: str, activation: str) -> str:
    """Return the LLVM IR of the row kernels that layers need of one activation."""
    if activation == "softmax":
        return assemble(dtype_name, softmax_kernels(dtype_name), INTERLEAVE)
    formula = formulas(dtype_name)[activation]
    forward: dict[str, Any] = {"forward": forward_kernel(dtype_name, formula.value)}
    if formula.from_output is not None:
        backward = {"backward_y": backward_kernel(dtype_name, formula.from_output)}
    else:
        forward["forward_and_slope"] = forward_and_slope_kernel(dtype_name, formula)
        itself = inlined(lambda slope: slope)
        backward = {"backward_slope": backward_kernel(dtype_name, itself)}
    return assemble(
        dtype_name,
        {f"{kind}_{activation}": (FORWARD, kernel) for kind, kernel in forward.items()}
        | {f"{kind}_{activation}": (BACKWARD, kernel) for kind, kernel in backward.items()},
        INTERLEAVE,
    )


def steps_of(function: Any) -> tuple[int, Any, Any]:
    """Return how many parts a `Staged` function has (0: it is a plain scalar), and its steps."""
    if isinstance(function, Staged):
        return function.count, function.parts, function.finish
    return 0, function, function


def forward_kernel(dtype_name: str, value: Any) -> Any:
    """Return the forward row kernel of a scalar (or `Staged`) function."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    parts, first, finish = steps_of(value)

    def forward(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        if z_row == n and y_row == n:
            m, n = 1, m * n
        rest, after = zeroed(CHUNK, dtype), scratch(CHUNK, dtype)
        other = scratch(CHUNK, dtype)
        for row in range(m):
            z = as_pointer(z_at + row * z_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                source = shift(z, j)
                if count & (STRIP - 1):
                    copy_elements(rest, source, count)
                    source = rest
                # Branches on `parts` are decided when this is compiled. In a helper of their own,
                # inlined, the loops are slower (sigmoid float32 0.69 ns, not 0.47).
                if parts == 0:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(source[i])
                elif parts == 1:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        after[i] = finish(source[i], after[i])
                else:
                    for i in range(round_up(count, STRIP)):
                        after[i], other[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        after[i] = finish(source[i], after[i], other[i])
                copy_elements(shift(y, j), after, count)

    return forward


def forward_and_slope_kernel(dtype_name: str, formula: Formula) -> Any:
    """Return the row kernel ``y = act(z), z = act'(z)`` of two `Staged` functions' common parts."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    parts, first, finish = steps_of(formula.value)
    parts_of_slope, first_of_slope, finish_slope = steps_of(formula.derivative)
    assert parts == parts_of_slope and first is first_of_slope

    def forward(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        if z_row == n and y_row == n:
            m, n = 1, m * n
        rest, values = zeroed(CHUNK, dtype), scratch(CHUNK, dtype)
        after, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            z = as_pointer(z_at + row * z_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                source = shift(z, j)
                if count & (STRIP - 1):
                    copy_elements(rest, source, count)
                    source = rest
                if parts == 1:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        values[i] = finish(source[i], after[i])
                        after[i] = finish_slope(source[i], after[i])
                else:
                    for i in range(round_up(count, STRIP)):
                        after[i], other[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        values[i] = finish(source[i], after[i], other[i])
                        after[i] = finish_slope(source[i], after[i], other[i])
                copy_elements(shift(y, j), values, count)
                copy_elements(shift(z, j), after, count)

    return forward


def backward_kernel(dtype_name: str, slope: Any) -> Any:
    """Return the row kernel ``out = g * slope(s)`` of a scalar (or `Staged`) function."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    parts, first, finish = steps_of(slope)

    def backward(
        g_at: int, g_row: int, s_at: int, s_row: int, out_at: int, out_row: int, m: int, n: int
    ) -> None:
        if g_row == n and s_row == n and out_row == n:
            m, n = 1, m * n
        g_rest, s_rest = zeroed(CHUNK, dtype), zeroed(CHUNK, dtype)
        after, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            g = as_pointer(g_at + row * g_row * size, dtype)
            s = as_pointer(s_at + row * s_row * size, dtype)
            out = as_pointer(out_at + row * out_row * size, dtype)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                given, saved = shift(g, j), shift(s, j)
                if count & (STRIP - 1):
                    copy_elements(g_rest, given, count)
                    copy_elements(s_rest, saved, count)
                    given, saved = g_rest, s_rest
                if parts == 0:
                    for i in range(round_up(count, STRIP)):
                        after[i] = given[i] * first(saved[i])
                elif parts == 1:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(saved[i])
                    for i in range(round_up(count, STRIP)):
                        after[i] = given[i] * finish(saved[i], after[i])
                else:
                    for i in range(round_up(count, STRIP)):
                        after[i], other[i] = first(saved[i])
                    for i in range(round_up(count, STRIP)):
                        after[i] = given[i] * finish(saved[i], after[i], other[i])
                copy_elements(shift(out, j), after, count)

    return backward


def softmax_kernels(dtype_name: str) -> dict[str, Any]:
    """Return softmax's row kernels: exp(z - max) / sum, and y * (g - g . y)."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    begin, finish = difference_exponential(dtype_name)

    @kernel
    def wide_row(z: Any, y: Any, n: int) -> None:
        rest, after = zeroed(CHUNK, dtype), scratch(CHUNK, dtype)
        other = scratch(CHUNK, dtype)
        top = row_max(z, n)
        for j in range(0, n, CHUNK):
            count = least(CHUNK, n - j)
            source = shift(z, j)
            if count & (STRIP - 1):
                copy_elements(rest, source, count)
                source = rest
            for i in range(round_up(count, STRIP)):
                after[i], other[i] = begin(source[i], top)
            for i in range(round_up(count, STRIP)):
                after[i] = finish(after[i], other[i])
            copy_elements(shift(y, j), after, count)
        scale = dtype(1.0 / row_sum(y, n))
        for j in range(n):
            y[j] = y[j] * scale

    @kernel
    def narrow_rows(z: Any, z_row: int, y: Any, y_row: int, m: int, n: int) -> None:
        """Softmax of m rows whose m * n elements fit the buffers: one pass of exp for all."""
        before, tops, after = zeroed(CHUNK, dtype), zeroed(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            source, start = shift(z, row * z_row), row * n
            top = row_max(source, n)
            for j in range(n):
                before[start + j] = source[j]
                tops[start + j] = top
        for i in range(round_up(m * n, STRIP)):
            after[i], tops[i] = begin(before[i], tops[i])
        for i in range(round_up(m * n, STRIP)):
            after[i] = finish(after[i], tops[i])
        for row in range(m):
            values, target = shift(after, row * n), shift(y, row * y_row)
            scale = dtype(1.0 / row_sum(values, n))
            for j in range(n):
                target[j] = values[j] * scale

    def forward(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        group = CHUNK // greatest(n, 1)
        for row in range(0, m, greatest(group, 1)):
            z = as_pointer(z_at + row * z_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            if group > 1:
                narrow_rows(z, z_row, y, y_row, least(group, m - row), n)
            else:
                wide_row(z, y, n)

    def backward_y(
        g_at: int, g_row: int, y_at: int, y_row: int, out_at: int, out_row: int, m: int, n: int
    ) -> None:
        after = scratch(CHUNK, dtype)
        for row in range(m):
            g = as_pointer(g_at + row * g_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            out = as_pointer(out_at + row * out_row * size, dtype)
            dot = dtype(row_dot(g, y, n))
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                given, saved = shift(g, j), shift(y, j)
                for i in range(count):
                    after[i] = saved[i] * (given[i] - dot)
                copy_elements(shift(out, j), after, count)

    return {"forward_softmax": (FORWARD, forward), "backward_y_softmax": (BACKWARD, backward_y)}


def difference_exponential(dtype_name: str) -> tuple[Any, Any]:
    """Return exp(a - b) for a <= b in two steps: ``finish(*begin(a, b))``.

    The rounding error of the difference is carried along: without it that error, up to half an
    ULP of the difference, is an error of |a - b| / 2 ULP in the result. TwoDiff: Knuth, TAOCP
    4.2.2.
    """
    m, zero = vector_math(dtype_name), np.dtype(dtype_name).type(0)
    parts, finish = m.exp_sum_parts, m.exp_sum_of

    @inlined
    def begin(a: Any, b: Any) -> Any:
        d = a - b
        back = d - a
        low = (a - (d - back)) - (b + back)
        return parts(d, low if low == low else zero)

    return begin, finish
