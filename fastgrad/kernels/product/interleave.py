"""Narrow rows interleaved in a buffer, so that a vector holds one element of many rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastgrad.kernels.product.transpose import joined, split
from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import VectorWriter, new_module
from fastgrad.kernels.units import symbol

MOVE = types.void(*([types.intp] * 4))
WIDEST = 8  # elements of a row: with ten, vectors along the rows are as fast
CAPACITY = 16  # strips of a buffer: enough at once to hide the latency of each step


def build(dtype: str) -> str:
    """Return the LLVM IR of the C functions ``interleave`` and ``deinterleave`` for one dtype.

    ``interleave(source, buffer, n, m)`` copies m contiguous rows of n <= WIDEST elements, m being a
    multiple of `lanes`: element j of row r is then ``buffer[j * m + r]``.
    ``deinterleave(buffer, target, n, m)`` copies them back.
    """
    module, lanes = new_module(), tile_for(dtype).lanes
    for name, change in (("interleave", split), ("deinterleave", joined)):
        writer = VectorWriter(module, dtype, lanes)
        words = [POINTER, POINTER, I64, I64]
        kind = ir.FunctionType(ir.VoidType(), words)
        function = ir.Function(module, kind, symbol(name, dtype))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        done = function.append_basic_block("done")
        switch = builder.switch(function.args[2], done)
        for n in range(1, WIDEST + 1):
            case = function.append_basic_block()
            switch.add_case(I64(n), case)
            _write_move(writer, function, case, n, change, done)
        ir.IRBuilder(done).ret_void()
    return str(module)


def _write_move(
    writer: VectorWriter, function: Any, entry: Any, n: int, change: Any, done: Any
) -> None:
    """Write the loop for rows of n elements, from block `entry` to block `done`."""
    source, target, _, m = function.args
    group = function.append_basic_block()
    writer.b_ = builder = ir.IRBuilder(entry)
    builder.cbranch(builder.icmp_signed(">", m, I64(0)), group, done)
    (r,) = phis = writer.begin_loop(group, entry, [I64(0)])
    builder = writer.b_
    rows = [builder.add(builder.mul(r, I64(n)), I64(i * writer.lanes)) for i in range(n)]
    columns = [builder.add(builder.mul(m, I64(j)), r) for j in range(n)]
    there, here = (rows, columns) if change is split else (columns, rows)
    vectors = [writer.load(source, at) for at in there]
    for value, at in zip(change(builder, vectors), here, strict=True):
        writer.store(value, target, at)
    following = builder.add(r, I64(writer.lanes))
    again = builder.icmp_signed("<", following, m)
    writer.end_loop(again, phis, [following], group, done)
