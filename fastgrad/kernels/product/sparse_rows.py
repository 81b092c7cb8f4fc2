"""Rows of a sparse matrix, times a dense one: a row's sums stay in registers.

Blocks of products (`sparse`) begin wherever a row's indices say. A branch that asks for each
entry whether one has begun is mispredicted as often as not, and holds up the loads of the rows
after it, which are far apart in memory: here both answers are computed, and a mask chooses.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import PRODUCTS, host
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import I32, VectorWriter, new_module
from fastgrad.kernels.units import symbol

# m | starts step | indices step values | b row | c row k | fresh
ADD_ROWS = types.void(*([types.intp] * 12))
_WORDS = [I64, POINTER, I64, POINTER, I64, POINTER, POINTER, I64, POINTER, I64, I64, I64]
AHEAD = 8
LINE = 64


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``add_rows`` for one dtype.

    ``add_rows(m, starts, start_step, indices, step, values, b, b_row, c, c_row, k, fresh)`` adds
    the products of m rows and the matrix B to C, whose rows have k elements and start from zero if
    `fresh`. `starts` holds where the entries of a row begin, behind it where they end; the next
    row's are `start_step` further. Indices have 32 bits and are `step` apart: 2 where they have 64,
    of which the upper ones are zeros.
    """
    module, lanes = new_module(), tile_for(dtype).lanes
    writer = VectorWriter(module, dtype, lanes)
    # Each vector of C has two sums: of the blocks that have ended, and of the one that has not.
    most = 13 if host().vector_registers == 32 else 5
    panels = [_panel(writer, vectors) for vectors in range(most, 0, -1)]
    kind = ir.FunctionType(ir.VoidType(), _WORDS)
    function = ir.Function(module, kind, symbol("add_rows", dtype))
    m, starts, start_step, *rows, b, b_row, c, c_row, k, fresh = function.args
    entry, group, panel, end, done = map(
        function.append_basic_block, ("entry", "group", "panel", "end", "done")
    )
    writer.b_ = builder = ir.IRBuilder(entry)
    vectors = builder.sdiv(builder.add(k, I64(lanes - 1)), I64(lanes))
    times = builder.sdiv(builder.add(vectors, I64(most - 1)), I64(most))
    times = builder.select(builder.icmp_signed(">", times, I64(1)), times, I64(1))
    width = builder.sdiv(builder.add(vectors, builder.sub(times, I64(1))), times)
    columns = builder.mul(width, I64(lanes))
    # Rows of B that do not fit in registers are in L1 when their next columns are read.
    at_once = builder.select(builder.icmp_signed("==", times, I64(1)), m, I64(1))
    any_ = builder.and_(*(builder.icmp_signed(">", size, I64(0)) for size in (m, k)))
    builder.cbranch(any_, group, done)
    (i,) = outer = writer.begin_loop(group, entry, [I64(0)])
    start = memory_ir.element(writer.b_, I64, starts, writer.b_.mul(i, start_step))
    out = writer.at(c, writer.b_.mul(i, c_row))
    writer.b_.branch(panel)
    (j,) = inner = writer.begin_loop(panel, group, [I64(0)])
    builder = writer.b_
    left = builder.sub(k, j)
    left, chosen = builder.select(builder.icmp_signed("<", left, columns), left, columns), panels[0]
    for count, some in zip(range(most - 1, 0, -1), panels[1:], strict=True):
        fits = builder.icmp_signed("<=", left, I64(count * lanes))
        chosen = builder.select(fits, some, chosen)
    places = [writer.at(b, j), b_row, writer.at(out, j), c_row, left, fresh]
    memory_ir.call(builder, kind, chosen, [at_once, start, start_step, *rows, *places])
    following = builder.add(j, columns)
    again = builder.icmp_signed("<", following, k)
    writer.end_loop(again, inner, [following], panel, end)
    writer.b_ = builder = ir.IRBuilder(end)
    following = builder.add(i, at_once)
    again = builder.icmp_signed("<", following, m)
    writer.end_loop(again, outer, [following], group, done)
    ir.IRBuilder(done).ret_void()
    return str(module)


def _panel(writer: VectorWriter, vectors: int) -> Any:
    """Write the same function for at most so many vectors, the last of them not whole."""
    function = writer.function(f"panel{vectors}_{writer.suffix}", _WORDS)
    m, starts, start_step, indices, step, values, b, b_row, c, c_row, k, fresh = function.args
    entry, row, begin, entries, end_row, following_row, done = map(
        function.append_basic_block,
        ("entry", "row", "begin", "entries", "end_row", "following_row", "done"),
    )
    whole = (vectors - 1) * writer.lanes
    writer.b_ = builder = ir.IRBuilder(entry)
    rest = builder.sub(k, I64(whole))
    many = builder.icmp_signed(">", rest, I64(writer.lanes))
    mask = writer.first_lanes(builder.select(many, I64(writer.lanes), rest))
    anew = builder.icmp_signed("!=", fresh, I64(0))
    from_zero = writer.broadcast(anew)
    builder.cbranch(builder.icmp_signed(">", m, I64(0)), row, done)

    def load(base: Any, v: int) -> Any:
        place = v * writer.lanes
        if place < whole:
            return writer.load(base, place)
        return writer.load_lanes(mask, base, place)

    def index_at(p: Any) -> Any:
        place = memory_ir.element(builder, I32, indices, builder.mul(p, step))
        return builder.zext(builder.load(place, align=4, typ=I32), I64)

    (i,) = rows = writer.begin_loop(row, entry, [I64(0)])
    builder = writer.b_
    place = memory_ir.element(builder, I64, starts, builder.mul(i, start_step))
    first, end = (
        builder.load(memory_ir.element(builder, I64, place, q), align=8, typ=I64) for q in (0, 1)
    )
    some = builder.icmp_signed("<", first, end)
    builder.cbranch(builder.or_(some, anew), begin, following_row)

    writer.b_ = builder = ir.IRBuilder(begin)
    out = writer.at(c, builder.mul(i, c_row))
    held = [builder.select(from_zero, writer.zero, load(out, v)) for v in range(vectors)]
    zeros = [writer.zero] * vectors
    last = builder.sub(end, I64(1))
    builder.cbranch(some, entries, end_row)

    p, block, *sums = phis = writer.begin_loop(entries, begin, [first, I64(-1), *held, *zeros])
    builder = writer.b_
    index = index_at(p)
    here = builder.lshr(index, I64(PRODUCTS.bit_length() - 1))
    same = writer.broadcast(builder.icmp_signed("==", here, block))
    value, source = writer.load_broadcast(values, p), writer.at(b, builder.mul(index, b_row))
    if AHEAD:
        later = builder.add(p, I64(AHEAD))
        later = builder.select(builder.icmp_signed("<", later, last), later, last)
        asked = writer.at(b, builder.mul(index_at(later), b_row))
        for v in range(0, vectors, max(1, LINE // (writer.lanes * writer.size))):
            writer.prefetch(writer.at(asked, v * writer.lanes))
    nothing = writer.constant(-0.0)  # adding it changes no number
    after = []
    for total, chain in zip(sums[:vectors], sums[vectors:], strict=True):
        after.append(builder.fadd(total, builder.select(same, nothing, chain)))
    for v, chain in enumerate(sums[vectors:]):
        begun = builder.select(same, chain, writer.zero)
        after.append(writer.multiply_add(value, load(source, v), begun))
    following = builder.add(p, I64(1))
    again = builder.icmp_signed("<", following, end)
    writer.end_loop(again, phis, [following, here, *after], entries, end_row)

    sums = writer.join(end_row, [(begin, [*held, *zeros]), (entries, after)])
    builder = writer.b_
    for v in range(vectors):
        total = builder.fadd(sums[v], sums[vectors + v])
        place = v * writer.lanes
        if place < whole:
            writer.store(total, out, place)
        else:
            writer.store_lanes(mask, total, out, place)
    builder.branch(following_row)

    writer.b_ = builder = ir.IRBuilder(following_row)
    following = builder.add(i, I64(1))
    again = builder.icmp_signed("<", following, m)
    writer.end_loop(again, rows, [following], row, done)
    ir.IRBuilder(done).ret_void()
    return function
