"""Dot products of contiguous rows with one vector: a layer of a single output, at memory speed.

One chain of multiply-adds per output waits four cycles for each product. So for a single output a
block of PRODUCTS products has CHAINS chains: chain i sums the products i, i + CHAINS, ... Their
sums are added in pairs, first those CHAINS / 2 apart, last neighbours.

Several rows share each load of the vector, and the adding in pairs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import PRODUCTS
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import I32, VectorWriter, new_module
from fastgrad.kernels.units import symbol

CHAINS = 16  # of a block of products. Part of the definition of the result: never tune it.
IN_FLIGHT = 8  # vectors of sums: a multiply-add takes four cycles, and two start in each


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``dot`` for one dtype.

    ``dot(m, k, a, a_row, b, c, c_row, bias)``: m rows of k contiguous elements of A, times the
    contiguous vector B, plus the number at `bias` unless that is null.
    """
    module, lanes = new_module(), tile_for(dtype).lanes
    writer = VectorWriter(module, dtype, lanes)
    words = [I64, I64, POINTER, I64, POINTER, POINTER, I64, POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), words), symbol("dot", dtype))
    m, k, a, a_row, b, c, c_row, bias = function.args
    entry, after = (function.append_basic_block() for _ in range(2))
    ir.IRBuilder(entry).branch(after)
    before, start = entry, I64(0)
    for rows in sorted({max(IN_FLIGHT * lanes // CHAINS, 1), 1}, reverse=True):
        group = _group(module, dtype, lanes, rows)
        body, done = (function.append_basic_block() for _ in range(2))
        (i,) = writer.join(after, [(before, [start])])
        builder = writer.b_
        fits = builder.icmp_signed("<=", builder.add(i, I64(rows)), m)
        builder.cbranch(fits, body, done)
        writer.b_ = builder = ir.IRBuilder(body)
        a_at, c_at = writer.at(a, builder.mul(i, a_row)), writer.at(c, builder.mul(i, c_row))
        builder.call(group, [k, a_at, a_row, b, c_at, c_row, bias])
        i.add_incoming(builder.add(i, I64(rows)), body)
        builder.branch(after)
        before, start, after = after, i, done
    ir.IRBuilder(after).ret_void()
    return str(module)


def _group(module: Any, dtype: str, lanes: int, rows: int) -> Any:
    """Write the function ``(k, a, a_row, b, c, c_row, bias)`` of so many rows."""
    writer = VectorWriter(module, dtype, lanes)
    function = writer.function(
        f"rows{rows}_{writer.suffix}", [I64, POINTER, I64, POINTER, POINTER, I64, POINTER]
    )
    k, a, a_row, b, c, c_row, bias = function.args
    entry, block, step, rest, ragged, added, done = map(
        function.append_basic_block,
        ("entry", "block", "step", "rest", "ragged", "added", "done"),
    )
    vectors = range(CHAINS // lanes)
    zeros = [writer.zero] * (rows * len(vectors))
    writer.b_ = builder = ir.IRBuilder(entry)
    a_rows = [writer.at(a, builder.mul(a_row, I64(r))) for r in range(rows)]
    several = ir.VectorType(writer.element, rows)
    # Totals start from -0.0: adding it changes no number.
    nothing = ir.Constant(several, [ir.Constant(writer.element, -0.0)] * rows)
    builder.branch(block)

    first, total = outer = writer.begin_loop(block, entry, [I64(0), nothing])
    builder = writer.b_
    left = builder.sub(k, first)
    whole = builder.icmp_signed("<", left, I64(PRODUCTS))
    end = builder.add(first, builder.select(whole, left, I64(PRODUCTS)))
    full = builder.and_(end, I64(-CHAINS))  # blocks start at multiples of PRODUCTS
    builder.cbranch(builder.icmp_signed("<", first, full), step, rest)

    def products(p: Any, sums: list[Any], load: Any) -> list[Any]:
        loaded = [load(b, p, v) for v in vectors]
        return [
            writer.multiply_add(load(a_rows[r], p, v), loaded[v], sums[r * len(vectors) + v])
            for r in range(rows)
            for v in vectors
        ]

    p, *sums = inner = writer.begin_loop(step, block, [first, *zeros])
    sums = products(p, sums, lambda at, p, v: writer.load(writer.at(at, p), v * lanes))
    following = writer.b_.add(p, I64(CHAINS))
    again = writer.b_.icmp_signed("<", following, full)
    writer.end_loop(again, inner, [following, *sums], step, rest)

    sums = writer.join(rest, [(block, zeros), (step, sums)])
    writer.b_.cbranch(writer.b_.icmp_signed("<", full, end), ragged, added)

    writer.b_ = builder = ir.IRBuilder(ragged)
    masks = []
    for v in vectors:  # chains without a product stay as they are
        count = builder.sub(builder.sub(end, full), I64(v * lanes))
        some = builder.icmp_signed(">", count, I64(0))
        masks.append(writer.first_lanes(builder.select(some, count, I64(0))))
    longer = products(
        full, sums,
        lambda at, p, v: writer.load_lanes(masks[v], writer.at(at, p), v * lanes),
    )  # fmt: skip
    longer = [
        writer.b_.select(masks[i % len(vectors)], new, old)
        for i, (new, old) in enumerate(zip(longer, sums, strict=True))
    ]
    ragged = writer.b_.block
    writer.b_.branch(added)

    sums = writer.join(added, [(rest, sums), (ragged, longer)])
    builder = writer.b_
    more = builder.fadd(total, _in_pairs(builder, sums, rows))
    again = builder.icmp_signed("<", end, k)
    writer.end_loop(again, outer, [end, more], block, done)

    (total,) = writer.join(done, [(added, [more])])
    builder = writer.b_

    def add_bias(values: list[Any]) -> list[Any]:
        shift = writer.load_element(bias)
        broadcast = ir.Constant(several, ir.Undefined)
        for r in range(rows):
            broadcast = writer.b_.insert_element(broadcast, shift, I32(r))
        return [writer.b_.fadd(values[0], broadcast)]

    (total,) = writer.when(writer.given(bias), [total], add_bias)
    builder = writer.b_
    for r in range(rows):
        place = writer.at(c, builder.mul(c_row, I64(r)))
        writer.store(builder.extract_element(total, I32(r)), place)
    builder.ret_void()
    return function


def _in_pairs(builder: Any, sums: list[Any], rows: int) -> Any:
    """Return the vector of the rows' sums, from the vectors of their chains, row after row."""
    length, count = CHAINS, len(sums) // rows  # chains, and vectors, of a row
    while count > 1:
        half = count // 2
        sums = [
            builder.fadd(sums[r + v], sums[r + v + half])
            for r in range(0, len(sums), count)
            for v in range(half)
        ]
        length, count = length // 2, half
    while length > 1:
        # Vectors hold the chains of some rows; two of them become one with those of both.
        half = length // 2
        pairs = [sums[i : i + 2] for i in range(0, len(sums), 2)]
        sums = []
        for pair in pairs:
            starts = range(0, pair[0].type.count * len(pair), length)
            halves = []
            for offset in (0, half):
                lanes = [start + offset + lane for start in starts for lane in range(half)]
                mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
                halves.append(builder.shuffle_vector(pair[0], pair[-1], mask))
            sums.append(builder.fadd(*halves))
        length = half
    return sums[0]
