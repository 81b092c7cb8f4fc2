"""Split-K: the products of four blocks of the batch at once, for one to three rows of C.

Each element of a gradient is one chain over the samples of a block: with few rows and columns a
register tile waits four cycles for every step of it. The chains of different blocks do not depend
on each other, so four blocks are computed at once, and their sums added in order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import VectorWriter, new_module
from fastgrad.kernels.units import symbol

BLOCKS = 4
MOST_ROWS = 3
NARROW = 4  # lanes of vectors for fewer columns: short ones seldom cross a cache line


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``split_k`` for one dtype.

    ``split_k(m, n, k, a, a_row, a_col, a_block, b, b_row, b_block, c, c_row, c_col, sums, add)``
    adds up the products of m <= MOST_ROWS rows and n < `lanes` columns, over k steps, of BLOCKS
    pairs of matrices, `a_block` and `b_block` apart. The first is added to what C holds if `add` is
    not 0. The sums of A's rows, as if B had a column of ones, go to `sums` in the same way, unless
    it is null.
    """
    module, lanes = new_module(), tile_for(dtype).lanes
    narrow, wide = (VectorWriter(module, dtype, count) for count in (min(NARROW, lanes), lanes))
    words = [I64, I64, I64, POINTER, I64, I64, I64, POINTER, I64, I64]
    kind = ir.FunctionType(ir.VoidType(), [*words, POINTER, I64, I64, POINTER, I64])
    function = ir.Function(module, kind, symbol("split_k", dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    space = builder.alloca(ir.ArrayType(wide.vector, BLOCKS * MOST_ROWS))
    finish = function.append_basic_block("finish")
    few = builder.icmp_signed("<", function.args[1], I64(NARROW))
    rows = builder.select(few, function.args[0], builder.add(function.args[0], I64(MOST_ROWS)))
    switch = builder.switch(rows, finish)
    for m in range(1, MOST_ROWS + 1):
        for writer, number in ((narrow, m), (wide, m + MOST_ROWS)):
            case = function.append_basic_block()
            switch.add_case(I64(number), case)
            _write_products(writer, function, case, m, space, lanes, finish)
    _write_sums(wide, function, finish, space)
    return str(module)


def _write_products(
    writer: VectorWriter, function: Any, entry: Any, m: int, space: Any, row: int, done: Any
) -> None:
    """Write the products of m rows, from block `entry` to `done`, to rows of `space`."""
    _, n, k, a, a_row, a_col, a_block, b, b_row, b_block = function.args[:10]
    step, finish = (function.append_basic_block() for _ in range(2))
    writer.b_ = builder = ir.IRBuilder(entry)
    mask = writer.first_lanes(n)
    chains = [(block, i) for block in range(BLOCKS) for i in range(m)]
    a_rows = [
        writer.at(a, builder.add(builder.mul(a_block, I64(q)), builder.mul(a_row, I64(i))))
        for q, i in chains
    ]
    b_blocks = [writer.at(b, builder.mul(b_block, I64(q))) for q in range(BLOCKS)]
    zeros = [writer.zero] * len(chains)
    builder.cbranch(builder.icmp_signed(">", k, I64(0)), step, finish)

    p, *sums = phis = writer.begin_loop(step, entry, [I64(0), *zeros])
    builder = writer.b_
    rows = [writer.load_lanes(mask, place, builder.mul(p, b_row), 1.0) for place in b_blocks]
    after = [
        writer.multiply_add(writer.load_broadcast(place, builder.mul(p, a_col)), rows[q], acc)
        for place, (q, _), acc in zip(a_rows, chains, sums, strict=True)
    ]
    following = builder.add(p, I64(1))
    again = builder.icmp_signed("<", following, k)
    writer.end_loop(again, phis, [following, *after], step, finish)

    results = writer.join(finish, [(entry, zeros), (step, after)])
    for value, (q, i) in zip(results, chains, strict=True):
        writer.store(value, space, (q * MOST_ROWS + i) * row)
    writer.b_.branch(done)


def _write_sums(writer: VectorWriter, function: Any, entry: Any, space: Any) -> None:
    """Write the loops that add up the blocks in `space`, from block `entry` on."""
    m, n = function.args[:2]
    c, c_row, c_col, sums, add = function.args[10:]
    row, element, end, done = (function.append_basic_block() for _ in range(4))
    writer.b_ = builder = ir.IRBuilder(entry)
    adding = builder.icmp_signed("!=", add, I64(0))
    columns = builder.select(writer.given(sums), builder.add(n, I64(1)), n)
    some = [builder.icmp_signed(">", count, I64(0)) for count in (m, columns)]
    builder.cbranch(builder.and_(*some), row, done)

    (i,) = outer = writer.begin_loop(row, entry, [I64(0)])
    writer.b_.branch(element)
    (j,) = inner = writer.begin_loop(element, row, [I64(0)])
    builder = writer.b_
    place = builder.add(builder.mul(i, c_row), builder.mul(j, c_col))
    within = builder.icmp_signed("<", j, n)
    target = builder.select(within, writer.at(c, place), writer.at(sums, i))
    at = builder.add(builder.mul(i, I64(writer.lanes)), j)
    parts = [
        writer.load_element(space, builder.add(at, I64(q * MOST_ROWS * writer.lanes)))
        for q in range(BLOCKS)
    ]

    def add_first(values: list[Any]) -> list[Any]:
        return [writer.b_.fadd(writer.load_element(target), values[0])]

    (total,) = writer.when(adding, parts[:1], add_first)
    builder = writer.b_
    for part in parts[1:]:
        total = builder.fadd(total, part)
    writer.store(total, target)
    following = builder.add(j, I64(1))
    again = builder.icmp_signed("<", following, columns)
    writer.end_loop(again, inner, [following], element, end)
    writer.b_ = builder = ir.IRBuilder(end)
    following = builder.add(i, I64(1))
    again = builder.icmp_signed("<", following, m)
    writer.end_loop(again, outer, [following], row, done)
    ir.IRBuilder(done).ret_void()
