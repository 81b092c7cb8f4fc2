"""The product of one row and a matrix: ``c = a @ B``; each element of B is read once, unpacked.

A register tile of one row waits four cycles for each of its few multiply-adds, and reads only a
strip of each row of B: more pages than the processor's TLB holds. Here whole rows of B are read,
STEPS of them together, and the sums are kept in C.

Contract (strides in elements, as for `microkernel`): a row of B is contiguous, and so is C. Each
element of C is the chain of the register tile: ``acc = fma(a, b, acc)`` in increasing k, from zero.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import PRODUCTS
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import VectorWriter, new_module
from fastgrad.kernels.units import symbol

STEPS = (8, 4, 2, 1)  # rows of B at a time
LONG = 16  # vectors


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``gemv`` for one dtype.

    ``gemv(n, k, a, a_col, b, b_row, c, blocks, c_block)`` writes the n elements of C; k is at least
    1. Several blocks begin PRODUCTS steps apart, and their sums `c_block` elements apart: narrow
    rows of one block wait for each other's multiply-adds, those of four hardly do.
    """
    module = new_module()
    writer = VectorWriter(module, dtype, tile_for(dtype).lanes)
    words = [I64, I64, POINTER, I64, POINTER, I64, POINTER, I64, I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), words), symbol("gemv", dtype))
    n, k, a, a_col, b, b_row, c, blocks, c_block = function.args
    entry, head, body, block, end, done = map(
        function.append_basic_block, ("entry", "head", "body", "block", "end", "done")
    )
    ir.IRBuilder(entry).branch(head)
    (p,) = phis = writer.begin_loop(head, entry, [I64(0)])
    builder = writer.b_
    left = builder.sub(k, p)
    builder.cbranch(builder.icmp_signed(">", left, I64(0)), body, done)
    writer.b_ = builder = ir.IRBuilder(body)
    first = builder.icmp_signed("==", p, I64(0))
    begin, go_on = (_sweep(writer, STEPS[-1], fresh) for fresh in (True, False))
    sweep, steps = builder.select(first, begin, go_on), I64(STEPS[-1])
    for count in reversed(STEPS[:-1]):
        begin, go_on = (_sweep(writer, count, fresh) for fresh in (True, False))
        writer.b_ = builder
        enough = builder.icmp_signed(">=", left, I64(count))
        sweep = builder.select(enough, builder.select(first, begin, go_on), sweep)
        steps = builder.select(enough, I64(count), steps)
    writer.b_ = builder
    builder.branch(block)
    (q,) = inner = writer.begin_loop(block, body, [I64(0)])
    builder = writer.b_
    at = builder.add(p, builder.mul(q, I64(PRODUCTS)))
    a_at, b_at = writer.at(a, builder.mul(at, a_col)), writer.at(b, builder.mul(at, b_row))
    c_at = writer.at(c, builder.mul(q, c_block))
    memory_ir.call(builder, begin.ftype, sweep, [n, a_at, a_col, b_at, b_row, c_at])
    following = builder.add(q, I64(1))
    again = builder.icmp_signed("<", following, blocks)
    writer.end_loop(again, inner, [following], block, end)
    builder = ir.IRBuilder(end)
    phis[0].add_incoming(builder.add(p, steps), end)
    builder.branch(head)
    ir.IRBuilder(done).ret_void()
    return str(module)


def _sweep(writer: VectorWriter, steps: int, fresh: bool) -> Any:
    """Write the function ``(n, a, a_col, b, b_row, c)`` of so many steps, from zero or from C."""
    name = f"{'begin' if fresh else 'go_on'}{steps}_{writer.suffix}"
    function = writer.function(name, [I64, POINTER, I64, POINTER, I64, POINTER])
    n, a, a_col, b, b_row, c = function.args
    entry, uneven, even, vector, rest, ragged, done = map(
        function.append_basic_block,
        ("entry", "uneven", "even", "vector", "rest", "ragged", "done"),
    )
    writer.b_ = builder = ir.IRBuilder(entry)
    weights = [writer.load_broadcast(a, builder.mul(a_col, I64(u))) for u in range(steps)]
    rows = [writer.at(b, builder.mul(b_row, I64(u))) for u in range(steps)]

    def some_columns(j: Any, count: Any) -> None:
        mask = writer.first_lanes(count)
        held = writer.zero if fresh else writer.load_lanes(mask, c, j)
        values = [writer.load_lanes(mask, row, j) for row in rows]
        writer.store_lanes(mask, chain(held, values), c, j)

    def chain(held: Any, values: list[Any]) -> Any:
        for weight, value in zip(weights, values, strict=True):
            held = writer.multiply_add(weight, value, held)
        return held

    lead = I64(0)
    if steps == 1 and fresh:
        # Long rows of an outer product are written in whole lines of cache (a fifth of its time).
        # With several steps more is read than written: then B should not be split.
        element = builder.udiv(builder.ptrtoint(c, I64), I64(writer.size))
        lead = builder.and_(builder.neg(element), I64(writer.lanes - 1))
        long = builder.icmp_signed(">=", n, I64(LONG * writer.lanes))
        lead = builder.select(long, lead, I64(0))
    builder.cbranch(builder.icmp_signed(">", lead, I64(0)), uneven, even)
    writer.b_ = ir.IRBuilder(uneven)
    some_columns(I64(0), lead)
    writer.b_.branch(even)
    writer.b_ = builder = ir.IRBuilder(even)
    end = builder.add(lead, builder.and_(builder.sub(n, lead), I64(-writer.lanes)))
    builder.cbranch(builder.icmp_signed("<", lead, end), vector, rest)

    (j,) = phis = writer.begin_loop(vector, even, [lead])
    held = writer.zero if fresh else writer.load(c, j)
    writer.store(chain(held, [writer.load(row, j) for row in rows]), c, j)
    following = writer.b_.add(j, I64(writer.lanes))
    again = writer.b_.icmp_signed("<", following, end)
    writer.end_loop(again, phis, [following], vector, rest)

    writer.b_ = builder = ir.IRBuilder(rest)
    builder.cbranch(builder.icmp_signed("<", end, n), ragged, done)
    writer.b_ = ir.IRBuilder(ragged)
    some_columns(end, writer.b_.sub(n, end))
    writer.b_.branch(done)
    ir.IRBuilder(done).ret_void()
    return function
