"""Row reductions in a fixed order: max, sum, sum of absolute values, dot.

Element j goes to lane ``j % 16``; the sixteen lanes are then combined as a tree. Sixteen is part of
the result's definition, so the bits do not depend on the processor's vector width. Sums of float32
are computed in float64, where products of two elements are exact.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgrad.kernels.toolchain.memory_ir import I64
from fastgrad.kernels.toolchain.vector_ir import I32, VectorWriter

LANES = 16


def _fold(sums: VectorWriter, vector: Any, combine: Any) -> Any:
    """Combine the lanes pairwise: lane i with lane i + half, until one is left."""
    builder, width = sums.b_, LANES
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(
                vector,
                vector,
                ir.Constant(ir.VectorType(I32, width), list(range(start, start + width))),
            )
            for start in (0, width)
        ]
        vector = combine(sums, *halves)
    return builder.extract_element(vector, I32(0))


def _reduction(
    builder: Any, dtype: Any, pointers: list[Any], n: Any, start: float, wide: bool, step: Any,
    combine: Any,
) -> Any:  # fmt: skip
    """Write the loop over whole vectors, the masked rest and the fold; return the scalar."""
    terms = VectorWriter(builder.module, dtype.name, LANES)
    sums = VectorWriter(builder.module, "float64" if wide else dtype.name, LANES)
    terms.b_ = sums.b_ = builder
    function = builder.function
    whole = builder.and_(n, I64(-LANES))
    before = builder.block
    loop, after, tail, done = (function.append_basic_block() for _ in range(4))
    initial = sums.constant(start)

    def advance(acc: Any, loads: list[Any]) -> Any:
        if terms.vector != sums.vector:
            loads = [builder.fpext(v, sums.vector) for v in loads]
        return step(sums, acc, *loads)

    builder.cbranch(builder.icmp_signed(">", whole, I64(0)), loop, after)
    builder.position_at_end(loop)
    i, acc = builder.phi(I64), builder.phi(sums.vector)
    new = advance(acc, [terms.load(p, i) for p in pointers])
    following = builder.add(i, I64(LANES))
    for phi, first, later in ((i, I64(0), following), (acc, initial, new)):
        phi.add_incoming(first, before)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, whole), loop, after)

    builder.position_at_end(after)
    acc = builder.phi(sums.vector)
    acc.add_incoming(initial, before)
    acc.add_incoming(new, loop)
    rest = builder.sub(n, whole)
    builder.cbranch(builder.icmp_signed(">", rest, I64(0)), tail, done)
    builder.position_at_end(tail)
    mask = terms.first_lanes(rest)
    fill = start if combine is step else 0.0
    last = advance(acc, [terms.load_lanes(mask, p, whole, fill) for p in pointers])
    builder.branch(done)

    builder.position_at_end(done)
    result = builder.phi(sums.vector)
    result.add_incoming(acc, after)
    result.add_incoming(last, tail)
    return _fold(sums, result, combine)


def _add(sums: VectorWriter, a: Any, b: Any) -> Any:
    return sums.b_.fadd(a, b)


def _greater(sums: VectorWriter, a: Any, b: Any) -> Any:
    # A NaN in b is ignored: whatever uses the maximum reads the NaN itself.
    return sums.b_.select(sums.b_.fcmp_ordered(">", b, a), b, a)


def _add_size(sums: VectorWriter, acc: Any, a: Any) -> Any:
    negative = sums.b_.fcmp_ordered("<", a, sums.constant(0.0))
    return sums.b_.fadd(acc, sums.b_.select(negative, sums.b_.fneg(a), a))


def _multiply_add(sums: VectorWriter, acc: Any, a: Any, b: Any) -> Any:
    return sums.multiply_add(a, b, acc)


@intrinsic
def row_max(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Return the greatest of n elements (NaN ignored, -inf where there is none)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(
            builder, pointer.dtype, [args[0]], args[1], -math.inf, False, _greater, _greater
        )

    return pointer.dtype(pointer, types.intp), codegen


@intrinsic
def row_sum(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Return the float64 sum of n elements."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, pointer.dtype, [args[0]], args[1], 0.0, True, _add, _add)

    return types.float64(pointer, types.intp), codegen


@intrinsic
def row_sum_of_sizes(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Return the float64 sum of the absolute values of n elements."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, pointer.dtype, [args[0]], args[1], 0.0, True, _add_size, _add)

    return types.float64(pointer, types.intp), codegen


@intrinsic
def row_dot(typingctx: Any, a: Any, b: Any, n: Any) -> Any:
    """Return the float64 sum of n products."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, a.dtype, args[:2], args[2], 0.0, True, _multiply_add, _add)

    return types.float64(a, b, types.intp), codegen
