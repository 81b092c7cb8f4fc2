"""The product of four blocks of the batch side by side, for one to three rows.

Each element of a gradient is one chain over the samples of a block: with few rows and columns, a
register tile waits four cycles for every step of it. Blocks are chains of their own, so four of
them are computed at once, and added by the caller in their order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.library import symbol
from fastgrad.kernels.target import tile as tile_for
from fastgrad.kernels.vector_ir import I64, VectorWriter, new_module

BLOCKS = 4
MOST_ROWS = 3
NARROW = 4  # lanes of vectors for fewer columns: short ones seldom cross a cache line


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``side_by_side`` for one dtype.

    ``side_by_side(m, n, k, a, a_row, a_col, a_block, b, b_row, b_block, c)``: the product of m <=
    MOST_ROWS rows and n < `lanes` columns, over k steps, of BLOCKS pairs of matrices that lie
    `a_block` and `b_block` apart. C holds, one after another, a vector for each row of each; beyond
    its n elements is the sum of the row of A, as if B had a column of ones.
    """
    module, lanes = new_module(), tile_for(dtype).lanes
    narrow, wide = (VectorWriter(module, dtype, count) for count in (min(NARROW, lanes), lanes))
    pointer = wide.pointer
    words = [I64, I64, I64, pointer, I64, I64, I64, pointer, I64, I64, pointer]
    kind = ir.FunctionType(ir.VoidType(), words)
    function = ir.Function(module, kind, symbol("side_by_side", dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    done = function.append_basic_block("done")
    few = builder.icmp_signed("<", function.args[1], I64(NARROW))
    rows = builder.select(few, function.args[0], builder.add(function.args[0], I64(MOST_ROWS)))
    switch = builder.switch(rows, done)
    for m in range(1, MOST_ROWS + 1):
        for writer, number in ((narrow, m), (wide, m + MOST_ROWS)):
            case = function.append_basic_block()
            switch.add_case(I64(number), case)
            _write_rows(writer, function, case, m, done, lanes)
    ir.IRBuilder(done).ret_void()
    return str(module)


def _write_rows(
    writer: VectorWriter, function: Any, entry: Any, m: int, done: Any, row: int
) -> None:
    """Write the code for m rows, from block `entry` to `done`; rows of C are `row` apart."""
    _, n, k, a, a_row, a_col, a_block, b, b_row, b_block, c = function.args
    step, finish = (function.append_basic_block() for _ in range(2))
    writer.b_ = builder = ir.IRBuilder(entry)
    mask = writer.first_lanes(n)
    chains = [(block, i) for block in range(BLOCKS) for i in range(m)]
    a_rows = [
        builder.gep(a, [builder.add(builder.mul(a_block, I64(q)), builder.mul(a_row, I64(i)))])
        for q, i in chains
    ]
    b_blocks = [builder.gep(b, [builder.mul(b_block, I64(q))]) for q in range(BLOCKS)]
    zeros = [writer.zero] * len(chains)
    builder.cbranch(builder.icmp_signed(">", k, I64(0)), step, finish)

    p, *sums = phis = writer.begin_loop(step, entry, [I64(0), *zeros])
    builder = writer.b_
    rows = [writer.load_lanes(mask, place, builder.mul(p, b_row), 1.0) for place in b_blocks]
    after = [
        writer.multiply_add(writer.load_spread(place, builder.mul(p, a_col)), rows[q], acc)
        for place, (q, _), acc in zip(a_rows, chains, sums, strict=True)
    ]
    following = builder.add(p, I64(1))
    again = builder.icmp_signed("<", following, k)
    writer.end_loop(again, phis, [following, *after], step, finish)

    results = writer.begin_loop(finish, entry, zeros)
    for i, (phi, value) in enumerate(zip(results, after, strict=True)):
        phi.add_incoming(value, step)
        writer.store(phi, c, i * row)
    writer.b_.branch(done)
