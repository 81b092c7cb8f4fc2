"""Transposing small blocks in registers: squares, and narrow contiguous rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.memory_ir import I64
from fastgrad.kernels.toolchain.vector_ir import I32


def transposed(builder: Any, block: list[Any]) -> list[Any]:
    """Return the columns of a square of vectors, as vectors.

    Stage s exchanges blocks of 2**s lanes between rows 2**s apart: log2(lanes) shuffles a row
    instead of a load and a store an element.
    """
    lanes, block = len(block), list(block)
    distance = 1
    while distance < lanes:
        # Lanes to take from the pair (a, b): a's even blocks and b's, or the odd ones.
        even = [lane - distance + lanes if lane & distance else lane for lane in range(lanes)]
        odd = [lane + lanes if lane & distance else lane + distance for lane in range(lanes)]
        masks = [ir.Constant(ir.VectorType(I32, lanes), mask) for mask in (even, odd)]
        for i in range(lanes):
            if not i & distance:
                a, b = block[i], block[i + distance]
                block[i] = builder.shuffle_vector(a, b, masks[0])
                block[i + distance] = builder.shuffle_vector(a, b, masks[1])
        distance *= 2
    return block


def _picked(builder: Any, vectors: list[Any], wanted: list[tuple[int, int]]) -> Any:
    """Return the vector whose lanes are ``vectors[i][lane]`` for the pairs in `wanted`."""
    count = len(wanted)
    result = vectors[0]
    for i in range(1, len(vectors)):
        lanes = [
            count + at if source == i else (at if i == 1 else lane)
            for lane, (source, at) in enumerate(wanted)
        ]
        mask = ir.Constant(ir.VectorType(I32, count), lanes)
        result = builder.shuffle_vector(result, vectors[i], mask)
    return result


def split(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return the columns of rows of ``len(vectors)`` elements that fill the vectors."""
    n, lanes = len(vectors), vectors[0].type.count
    if n > 2 and n % 2 == 0:  # first into elements at even and at odd places
        halves = [split(builder, vectors[i : i + 2]) for i in range(0, n, 2)]
        even, odd = (split(builder, list(half)) for half in zip(*halves, strict=True))
        return [column for pair in zip(even, odd, strict=True) for column in pair]
    wanted = [[divmod(lane * n + j, lanes) for lane in range(lanes)] for j in range(n)]
    return [_picked(builder, vectors, pairs) for pairs in wanted]


def joined(builder: Any, columns: list[Any]) -> list[Any]:
    """Return the vectors that `split` made the columns of."""
    n, lanes = len(columns), columns[0].type.count
    if n > 2 and n % 2 == 0:
        halves = (joined(builder, columns[half::2]) for half in (0, 1))
        return [v for pair in zip(*halves, strict=True) for v in joined(builder, list(pair))]
    wanted = [[divmod(i * lanes + lane, n)[::-1] for lane in range(lanes)] for i in range(n)]
    return [_picked(builder, columns, pairs) for pairs in wanted]


def _write(context: Any, builder: Any, dtype: Any, source: Any, target: Any) -> None:
    """Transpose a square, in IR: from (base, offsets of its rows) to (base, step of rows)."""
    (base, steps), (place, stride), size = source, target, dtype.bitwidth // 8
    vector = ir.VectorType(context.get_value_type(dtype), len(steps))

    def at(base: Any, offset: Any) -> Any:
        return memory_ir.element(builder, vector.element, base, offset)

    block = [builder.load(at(base, step), align=size, typ=vector) for step in steps]
    for i, row in enumerate(transposed(builder, block)):
        memory_ir.store(builder, row, at(place, builder.mul(stride, I64(i))), size)


def build(lanes: int, rows: int) -> Any:
    """Return ``transpose(source, source_row, target, target_row)`` of `lanes` x `lanes` elements.

    Only the first `rows` rows of the source are read; the target's columns beyond them hold
    copies of the first. Rows are contiguous.
    """

    @intrinsic
    def transpose(
        typingctx: Any, source: Any, source_row: Any, target: Any, target_row: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            source, source_row, target, target_row = args
            steps = [builder.mul(source_row, I64(i)) for i in range(rows)]
            steps += steps[:1] * (lanes - rows)
            _write(context, builder, sig.args[0].dtype, (source, steps), (target, target_row))
            return context.get_dummy_value()

        return types.void(source, types.intp, target, types.intp), codegen

    return transpose


def build_some(lanes: int) -> Any:
    """Return ``transpose(source, source_row, rows, target, target_row)``, `rows` not a constant.

    As `build`, but the target's columns beyond `rows` hold copies of the last.
    """

    @intrinsic
    def transpose(
        typingctx: Any, source: Any, source_row: Any, rows: Any, target: Any, target_row: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            source, source_row, rows, target, target_row = args
            last = builder.sub(rows, I64(1))
            steps = []
            for i in range(lanes):
                there = builder.icmp_signed("<", I64(i), rows)
                steps.append(builder.mul(source_row, builder.select(there, I64(i), last)))
            _write(context, builder, sig.args[0].dtype, (source, steps), (target, target_row))
            return context.get_dummy_value()

        return types.void(source, types.intp, types.intp, target, types.intp), codegen

    return transpose
