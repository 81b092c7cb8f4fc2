"""Row reductions in a fixed order: max, sum, dot.

Element j goes to lane ``j % 16``; the sixteen lanes are then combined as a tree. Sixteen is
part of the result's definition, whatever the processor's vector width, so the bits are too.
Sums run in float64 also for float32, where products of two elements are exact.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def _constant_vector(value: float, element: Any) -> Any:
    return ir.Constant(ir.VectorType(element, LANES), [ir.Constant(element, value)] * LANES)


def _masked_load(builder: Any, pointer: Any, mask: Any, element: Any, fill: float) -> Any:
    vector = ir.VectorType(element, LANES)
    name, size = ("f32", 4) if element == ir.FloatType() else ("f64", 8)
    load = builder.module.declare_intrinsic(
        f"llvm.masked.load.v{LANES}{name}.p0",
        fnty=ir.FunctionType(vector, [vector.as_pointer(), I32, mask.type, vector]),
    )
    target = builder.bitcast(pointer, vector.as_pointer())
    return builder.call(load, [target, I32(size), mask, _constant_vector(fill, element)])


def _first_lanes(builder: Any, count: Any) -> Any:
    """Return the mask of the first `count` lanes."""
    lanes = ir.VectorType(I64, LANES)
    spread = ir.Constant(lanes, ir.Undefined)
    spread = builder.insert_element(spread, count, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, LANES), None)
    spread = builder.shuffle_vector(spread, spread, zeros)
    return builder.icmp_unsigned("<", ir.Constant(lanes, list(range(LANES))), spread)


def _fold(builder: Any, vector: Any, combine: Any) -> Any:
    """Combine the lanes pairwise: lane i with lane i + half, until one is left."""
    width = LANES
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
        vector = combine(builder, *halves)
    return builder.extract_element(vector, I32(0))


def _reduction(
    builder: Any, pointers: list[Any], n: Any, start: float, wide: bool, step: Any, combine: Any
) -> Any:
    """Write the loop over whole vectors, the masked rest and the fold; return the scalar."""
    element = pointers[0].type.pointee
    kind = ir.DoubleType() if wide else element
    function = builder.function
    whole = builder.and_(n, I64(-LANES))
    before = builder.block
    loop, after, tail, done = (function.append_basic_block() for _ in range(4))
    initial = _constant_vector(start, kind)

    def advance(acc: Any, loads: list[Any]) -> Any:
        if kind != element:
            loads = [builder.fpext(v, ir.VectorType(kind, LANES)) for v in loads]
        return step(builder, acc, *loads)

    vector = ir.VectorType(element, LANES)
    size = 4 if element == ir.FloatType() else 8
    builder.cbranch(builder.icmp_signed(">", whole, I64(0)), loop, after)
    builder.position_at_end(loop)
    i, acc = builder.phi(I64), builder.phi(ir.VectorType(kind, LANES))
    at = [builder.bitcast(builder.gep(p, [i]), vector.as_pointer()) for p in pointers]
    new = advance(acc, [builder.load(p, align=size) for p in at])
    following = builder.add(i, I64(LANES))
    for phi, first, later in ((i, I64(0), following), (acc, initial, new)):
        phi.add_incoming(first, before)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, whole), loop, after)

    builder.position_at_end(after)
    acc = builder.phi(ir.VectorType(kind, LANES))
    acc.add_incoming(initial, before)
    acc.add_incoming(new, loop)
    rest = builder.sub(n, whole)
    builder.cbranch(builder.icmp_signed(">", rest, I64(0)), tail, done)
    builder.position_at_end(tail)
    mask = _first_lanes(builder, rest)
    fill = start if combine is step else 0.0
    loads = [_masked_load(builder, builder.gep(p, [whole]), mask, element, fill) for p in pointers]
    last = advance(acc, loads)
    builder.branch(done)

    builder.position_at_end(done)
    result = builder.phi(ir.VectorType(kind, LANES))
    result.add_incoming(acc, after)
    result.add_incoming(last, tail)
    return _fold(builder, result, combine)


def _add(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


def _greater(builder: Any, a: Any, b: Any) -> Any:
    # A NaN in b is passed over: whatever uses the maximum meets the NaN itself.
    return builder.select(builder.fcmp_ordered(">", b, a), b, a)


def _multiply_add(builder: Any, acc: Any, a: Any, b: Any) -> Any:
    fma = builder.module.declare_intrinsic(
        f"llvm.fma.v{LANES}f64", fnty=ir.FunctionType(acc.type, [acc.type] * 3)
    )
    return builder.call(fma, [a, b, acc])


@intrinsic
def row_max(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Return the greatest of n elements (NaN passed over, -inf where there is none)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, [args[0]], args[1], -math.inf, False, _greater, _greater)

    return pointer.dtype(pointer, types.intp), codegen


@intrinsic
def row_sum(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Return the float64 sum of n elements."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, [args[0]], args[1], 0.0, True, _add, _add)

    return types.float64(pointer, types.intp), codegen


@intrinsic
def row_dot(typingctx: Any, a: Any, b: Any, n: Any) -> Any:
    """Return the float64 sum of n products."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _reduction(builder, args[:2], args[2], 0.0, True, _multiply_add, _add)

    return types.float64(a, b, types.intp), codegen
