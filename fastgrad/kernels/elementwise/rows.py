"""Row kernels: one activation's forward and backward passes over a block of rows.

A row kernel is a C function that the dense layer and the networks reach through its address,
so a new activation compiles these few loops and nothing else. All take m rows x n columns,
row strides in elements, contiguous columns, and may work in place:

``forward(z, z_row, y, y_row, m, n)``                              y = act(z)
``backward_z(g, g_row, z, z_row, out, out_row, m, n)``             out = g * act'(z)
``backward_y(g, g_row, y, y_row, out, out_row, m, n)``             the same, act' from y

If act' is not a function of y, a layer computes it in the forward pass, together with y, as both
share most steps (gelu float64: 3.2 ns an element; y alone takes 2.8, and act' about as much):

``forward_and_slope(z, z_row, y, y_row, m, n)``                    y = act(z), z = act'(z)
``backward_slope(g, g_row, s, s_row, out, out_row, m, n)``         out = g * s

Loops cover whole steps of several vectors and write where the result belongs: `assemble` tells
LLVM that their steps are independent, so that in place, too, they become vector code. A chunk
that ends within a step is padded and goes through buffers.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.elementwise.formulas import formulas
from fastgrad.kernels.elementwise.vector_math import Staged
from fastgrad.kernels.toolchain.compile import assemble, inlined
from fastgrad.kernels.toolchain.pointers import (
    as_pointer,
    copy_elements,
    least,
    round_up,
    scratch,
    shift,
    zero_vector,
)
from fastgrad.kernels.toolchain.target import tile

FORWARD = types.void(*([types.intp] * 6))
BACKWARD = types.void(*([types.intp] * 8))
# Elements of a buffer: enough that the start-up of a pass costs nothing, few enough (2 KiB) that
# what one pass writes there for the next stays in L1.
CHUNK = 256
INTERLEAVE = 4  # vectors side by side in a loop


def strip(dtype_name: str) -> int:
    """Return the elements of a step of a vector loop: passes cover whole ones."""
    return INTERLEAVE * tile(dtype_name).lanes


def build(dtype_name: str, activation: str) -> str:
    """Return the LLVM IR of the row kernels that layers need of one activation."""
    formula = formulas(dtype_name)[activation]
    forward: dict[str, Any] = {"forward": forward_kernel(dtype_name, formula.value)}
    if formula.from_output is not None:
        backward = {"backward_y": backward_kernel(dtype_name, formula.from_output)}
    else:
        with_slope = forward_kernel(dtype_name, formula.value, formula.derivative)
        forward["forward_and_slope"] = with_slope
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


def padding(dtype_name: str) -> Any:
    """Return ``padded(buffer, source, count)``: a copy, with zeros up to a whole step."""
    STRIP = strip(dtype_name)

    @inlined
    def padded(buffer: Any, source: Any, count: Any) -> None:
        zero_vector(shift(buffer, (count - 1) & -STRIP), STRIP)
        copy_elements(buffer, source, count)

    return padded


def forward_kernel(dtype_name: str, value: Any, slope: Any = None, parallel: bool = True) -> Any:
    """Return the row kernel ``y = value(z)``, with a slope ``y = value(z), z = slope(z)``.

    The functions are scalar ones or `Staged`, both of the same parts. With ``parallel=False`` the
    kernel is also correct if `assemble` does not compile it.
    """
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    parts, first, finish = steps_of(value)
    padded = padding(dtype_name)
    keep, finish_slope, copies = 0, finish, int(not parallel)
    if slope is not None:
        keep, finish_slope = 1, slope.finish
        assert (slope.count, slope.parts) == (parts, first)

    def forward(z_at: int, z_row: int, y_at: int, y_row: int, m: int, n: int) -> None:
        if z_row == n and y_row == n:
            m, n = 1, m * n
        after, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        rest, values = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            z = as_pointer(z_at + row * z_row * size, dtype)
            y = as_pointer(y_at + row * y_row * size, dtype)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                source, target = shift(z, j), shift(y, j)
                ragged = count & (STRIP - 1) or copies
                if ragged:
                    padded(rest, source, count)
                    source, target = rest, values
                # Branches on `parts` are decided when this is compiled. In a helper of their own,
                # inlined, the loops are slower (sigmoid float32 0.69 ns, not 0.47).
                if parts == 0:
                    for i in range(round_up(count, STRIP)):
                        target[i] = first(source[i])
                elif parts == 1:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        x, one = source[i], after[i]
                        target[i] = finish(x, one)
                        if keep:
                            source[i] = finish_slope(x, one)
                else:
                    for i in range(round_up(count, STRIP)):
                        after[i], other[i] = first(source[i])
                    for i in range(round_up(count, STRIP)):
                        x, one, two = source[i], after[i], other[i]
                        target[i] = finish(x, one, two)
                        if keep:
                            source[i] = finish_slope(x, one, two)
                if ragged:
                    copy_elements(shift(y, j), values, count)
                    if keep:
                        copy_elements(shift(z, j), rest, count)

    return forward


def backward_kernel(dtype_name: str, slope: Any, parallel: bool = True) -> Any:
    """Return the row kernel ``out = g * slope(s)`` of a scalar (or `Staged`) function."""
    dtype = getattr(types, dtype_name)
    size, STRIP = dtype.bitwidth // 8, strip(dtype_name)
    parts, first, finish = steps_of(slope)
    padded, copies = padding(dtype_name), int(not parallel)

    def backward(
        g_at: int, g_row: int, s_at: int, s_row: int, out_at: int, out_row: int, m: int, n: int
    ) -> None:
        if g_row == n and s_row == n and out_row == n:
            m, n = 1, m * n
        after, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        g_rest, s_rest, values = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for row in range(m):
            g = as_pointer(g_at + row * g_row * size, dtype)
            s = as_pointer(s_at + row * s_row * size, dtype)
            out = as_pointer(out_at + row * out_row * size, dtype)
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                given, saved, target = shift(g, j), shift(s, j), shift(out, j)
                ragged = count & (STRIP - 1) or copies
                if ragged:
                    padded(g_rest, given, count)
                    padded(s_rest, saved, count)
                    given, saved, target = g_rest, s_rest, values
                if parts == 0:
                    for i in range(round_up(count, STRIP)):
                        target[i] = given[i] * first(saved[i])
                elif parts == 1:
                    for i in range(round_up(count, STRIP)):
                        after[i] = first(saved[i])
                    for i in range(round_up(count, STRIP)):
                        target[i] = given[i] * finish(saved[i], after[i])
                else:
                    for i in range(round_up(count, STRIP)):
                        after[i], other[i] = first(saved[i])
                    for i in range(round_up(count, STRIP)):
                        target[i] = given[i] * finish(saved[i], after[i], other[i])
                if ragged:
                    copy_elements(shift(out, j), values, count)

    return backward
