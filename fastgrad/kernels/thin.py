"""The product of a thin B: ``C = A @ B`` for few columns, with a vector of *rows* per register.

A register tile whose columns fill a fraction of a vector wastes the rest of it: one output of 64
inputs took 20 ns a sample, three times what a BLAS takes. Here a lane is a row of C. A group of
`lanes` rows of A is laid down column by column in L1, each element of B is spread over a vector,
and each output is one accumulator; at the end the outputs of a row are brought together again.

Contract (strides in elements, as for `microkernel`):

- Rows of A are contiguous (``a_col == 1``), or its columns are (``a_row == 1``).
- B has at most `Tile.thin` columns, a row of them is contiguous. So is all of C: rows of n.
- Whole groups of rows are computed, the last ``m % lanes`` rows are left.
- Each element of C is the chain of the register tile: ``acc = fma(a, b, acc)`` in increasing k
  from zero, and the bias added last.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from fastgrad.kernels.library import symbol
from fastgrad.kernels.target import Tile
from fastgrad.kernels.target import tile as tile_for
from fastgrad.kernels.transpose import turned

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``thin`` for one dtype.

    ``thin(m, n, k, a, a_row, a_col, b, b_row, c, bias)``; `bias` may be null.
    """
    element = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    return str(_ThinWriter(symbol("thin", dtype), element, tile_for(dtype)).module)


class _ThinWriter:
    """Writes the module: how A is laid down, and one product for each number of columns."""

    def __init__(self, name: str, element: Any, tile: Tile) -> None:
        self.lanes, self.most = tile.lanes, tile.thin
        self.size = 4 if element == ir.FloatType() else 8
        self.pointer, self.vector = element.as_pointer(), ir.VectorType(element, tile.lanes)
        self.module = ir.Module()
        self.module.triple = llvm.get_process_triple()
        suffix = f"v{tile.lanes}f{8 * self.size}"
        self.fma = self.module.declare_intrinsic(
            f"llvm.fma.{suffix}", fnty=ir.FunctionType(self.vector, [self.vector] * 3)
        )
        mask = ir.VectorType(I1, tile.lanes)
        self.masked_load = self.module.declare_intrinsic(
            f"llvm.masked.load.{suffix}.p0",
            fnty=ir.FunctionType(self.vector, [self.vector.as_pointer(), I32, mask, self.vector]),
        )
        self.prefetch = self.module.declare_intrinsic(
            "llvm.prefetch.p0",
            fnty=ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), I32, I32, I32]),
        )
        self.split = {k: self._split(k) for k in range(2, tile.lanes // 2 + 1)}
        self.turn_rest = self._turn_rest()
        words = [I64, I64, I64, self.pointer, I64, I64, self.pointer, I64, self.pointer]
        kind = ir.FunctionType(ir.VoidType(), [*words, self.pointer])
        function = ir.Function(self.module, kind, name)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        done = function.append_basic_block("done")
        switch = builder.switch(function.args[1], done)
        for n in range(1, self.most + 1):
            case = function.append_basic_block()
            switch.add_case(I64(n), case)
            builder.position_at_end(case)
            builder.call(self._product(kind, n), function.args)
            builder.branch(done)
        ir.IRBuilder(done).ret_void()

    def _internal(self, name: str, arguments: list[Any]) -> tuple[Any, Any]:
        kind = ir.FunctionType(ir.VoidType(), arguments)
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        return function, ir.IRBuilder(function.append_basic_block("entry"))

    def _place(self, builder: Any, base: Any, elements: Any) -> Any:
        if isinstance(elements, int):
            elements = I64(elements)
        return builder.bitcast(builder.gep(base, [elements]), self.vector.as_pointer())

    def _load(self, builder: Any, base: Any, elements: Any) -> Any:
        return builder.load(self._place(builder, base, elements), align=self.size)

    def _store(self, builder: Any, value: Any, base: Any, elements: Any) -> None:
        builder.store(value, self._place(builder, base, elements), align=self.size)

    def _fetch(self, builder: Any, pointer: Any) -> None:
        target = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        builder.call(self.prefetch, [target, I32(0), I32(3), I32(1)])

    def _spread(self, builder: Any, scalar: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        one = builder.insert_element(undefined, scalar, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), None)
        return builder.shuffle_vector(one, undefined, zeros)

    def _merge(self, builder: Any, vectors: list[Any], wanted: list[tuple[int, int]]) -> Any:
        """Return the vector whose lanes are ``vectors[i][lane]`` for the pairs in `wanted`."""
        merged = vectors[0]
        for i in range(1, max(len(vectors), 2)):
            lanes = [
                self.lanes + at if source == i else (at if i == 1 else lane)
                for lane, (source, at) in enumerate(wanted)
            ]
            mask = ir.Constant(ir.VectorType(I32, self.lanes), lanes)
            merged = builder.shuffle_vector(merged, vectors[i % len(vectors)], mask)
        return merged

    # -- laying down A: `lanes` rows side by side, a vector for each step of k ---------------------
    def _split(self, k: int) -> Any:
        """Write the function that does it in `space` for contiguous rows of k elements."""
        function, builder = self._internal(f"split{k}", [self.pointer, self.pointer])
        source, space = function.args
        rows = [self._load(builder, source, i * self.lanes) for i in range(k)]
        for p in range(k):
            wanted = [divmod(lane * k + p, self.lanes) for lane in range(self.lanes)]
            self._store(builder, self._merge(builder, rows, wanted), space, p * self.lanes)
        builder.ret_void()
        return function

    def _turn_rest(self) -> Any:
        """Write the function that does it in `space` for less than `lanes` steps."""
        function, builder = self._internal("turn", [self.pointer, I64, I64, self.pointer])
        source, row, count, space = function.args
        index = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        mask = builder.icmp_unsigned("<", index, self._spread(builder, count))
        zero = ir.Constant(self.vector, None)
        block = []
        for i in range(self.lanes):
            at = self._place(builder, source, builder.mul(row, I64(i)))
            block.append(builder.call(self.masked_load, [at, I32(self.size), mask, zero]))
        for p, column in enumerate(turned(builder, block)):
            self._store(builder, column, space, p * self.lanes)
        builder.ret_void()
        return function

    # -- the product --------------------------------------------------------------------------
    def _product(self, kind: Any, n: int) -> Any:
        """Write the function for n columns."""
        function = ir.Function(self.module, kind, f"thin{n}")
        function.linkage = "internal"
        m, _, k, a, a_row, a_col, b, b_row, c, bias = function.args
        lanes = self.lanes
        block = function.append_basic_block
        names = "entry group by_rows one square turning rest steps step finish done"
        at = {name: block(name) for name in names.split()}
        zeros = [ir.Constant(self.vector, None)] * n

        builder = ir.IRBuilder(at["entry"])
        space = builder.alloca(ir.ArrayType(self.vector, lanes))
        space = builder.bitcast(space, self.pointer)
        end = builder.and_(m, I64(-lanes))
        by_columns = builder.icmp_signed("!=", a_col, I64(1))
        short = builder.icmp_signed("<=", k, I64(lanes // 2))
        short = builder.and_(short, builder.icmp_signed("==", a_row, k))
        wholes = builder.select(short, I64(0), builder.and_(k, I64(-lanes)))
        given = builder.icmp_unsigned("!=", builder.ptrtoint(bias, I64), I64(0))
        builder.cbranch(builder.icmp_signed(">", end, I64(0)), at["group"], at["done"])

        builder = ir.IRBuilder(at["group"])
        i = builder.phi(I64)
        i.add_incoming(I64(0), at["entry"])
        rows = builder.gep(a, [builder.mul(i, a_row)])
        builder.cbranch(by_columns, at["steps"], at["by_rows"])
        ways = {"group": (rows, a_col, I64(0), k, zeros)}

        builder = ir.IRBuilder(at["by_rows"])
        builder.cbranch(builder.icmp_signed(">", wholes, I64(0)), at["square"], at["turning"])

        builder = ir.IRBuilder(at["square"])
        start, acc = self._phis(builder, [I64] + [self.vector] * n, at["by_rows"], [I64(0), *zeros])
        first = builder.gep(rows, [start])
        columns = [self._load(builder, first, builder.mul(a_row, I64(r))) for r in range(lanes)]
        for r in range(lanes, 2 * lanes):  # the next group's
            self._fetch(builder, builder.gep(first, [builder.mul(a_row, I64(r))]))
        sums = acc
        for u, column in enumerate(turned(builder, columns)):
            weights = builder.gep(b, [builder.mul(builder.add(start, I64(u)), b_row)])
            sums = self._multiply_add(builder, column, weights, sums)
        reached = builder.add(start, I64(lanes))
        for phi, value in zip([start, *acc], [reached, *sums], strict=True):
            phi.add_incoming(value, at["square"])
        builder.cbranch(builder.icmp_signed("<", reached, wholes), at["square"], at["turning"])

        builder = ir.IRBuilder(at["turning"])
        start, acc = self._phis(builder, [I64] + [self.vector] * n, at["by_rows"], [I64(0), *zeros])
        for phi, value in zip([start, *acc], [reached, *sums], strict=True):
            phi.add_incoming(value, at["square"])
        left = builder.sub(k, start)
        switch = builder.switch(builder.select(short, left, I64(-1)), at["rest"])
        switch.add_case(I64(0), at["steps"])
        switch.add_case(I64(1), at["one"])
        ways["turning"] = rows, I64(0), start, I64(0), acc
        for length, split in self.split.items():
            name = f"split{length}"
            at[name] = block(name)
            switch.add_case(I64(length), at[name])
            ir.IRBuilder(at[name]).call(split, [rows, space])
            ways[name] = space, I64(lanes), start, left, acc
        ways["one"] = rows, I64(0), start, left, acc  # laid down already
        builder = ir.IRBuilder(at["rest"])
        builder.call(self.turn_rest, [builder.gep(rows, [start]), a_row, left, space])
        ways["rest"] = space, I64(lanes), start, left, acc
        for name in ways:
            if name not in ("group", "turning"):
                ir.IRBuilder(at[name]).branch(at["steps"])

        builder = ir.IRBuilder(at["steps"])
        source, apart, start, count = (builder.phi(t) for t in (self.pointer, I64, I64, I64))
        acc = [builder.phi(self.vector) for _ in range(n)]
        for name, (*values, sums) in ways.items():
            for phi, value in zip(
                [source, apart, start, count, *acc], [*values, *sums], strict=True
            ):
                phi.add_incoming(value, at[name])
        builder.cbranch(builder.icmp_signed(">", count, I64(0)), at["step"], at["finish"])

        builder = ir.IRBuilder(at["step"])
        p, running = self._phis(builder, [I64] + [self.vector] * n, at["steps"], [I64(0), *acc])
        column = self._load(builder, source, builder.mul(p, apart))
        weights = builder.gep(b, [builder.mul(builder.add(start, p), b_row)])
        sums = self._multiply_add(builder, column, weights, running)
        following = builder.add(p, I64(1))
        for phi, value in zip([p, *running], [following, *sums], strict=True):
            phi.add_incoming(value, at["step"])
        builder.cbranch(builder.icmp_signed("<", following, count), at["step"], at["finish"])

        builder = ir.IRBuilder(at["finish"])
        results = [builder.phi(self.vector) for _ in range(n)]
        for phi, none, some in zip(results, acc, sums, strict=True):
            phi.add_incoming(none, at["steps"])
            phi.add_incoming(some, at["step"])
        with builder.if_then(given):
            shifted = []
            for j, acc in enumerate(results):
                one = builder.load(builder.gep(bias, [I64(j)]), align=self.size)
                shifted.append(builder.fadd(acc, self._spread(builder, one)))
            biased = builder.block
        for j, acc in enumerate(results):
            phi = builder.phi(self.vector)
            phi.add_incoming(acc, at["finish"])
            phi.add_incoming(shifted[j], biased)
            results[j] = phi
        target = builder.gep(c, [builder.mul(i, I64(n))])
        for o in range(n):
            wanted = [divmod(o * lanes + lane, n)[::-1] for lane in range(lanes)]
            merged = self._merge(builder, results, wanted) if n > 1 else results[0]
            self._store(builder, merged, target, o * lanes)
        following = builder.add(i, I64(lanes))
        i.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, end), at["group"], at["done"])
        ir.IRBuilder(at["done"]).ret_void()
        return function

    def _phis(self, builder: Any, kinds: list[Any], before: Any, values: list[Any]) -> Any:
        phis = [builder.phi(kind) for kind in kinds]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        return phis[0], phis[1:]

    def _multiply_add(self, builder: Any, column: Any, weights: Any, sums: Any) -> list[Any]:
        """Return the sums, each with a column of A times one element of a row of B."""
        after = []
        for j, acc in enumerate(sums):
            weight = builder.load(builder.gep(weights, [I64(j)]), align=self.size)
            after.append(builder.call(self.fma, [column, self._spread(builder, weight), acc]))
        return after
