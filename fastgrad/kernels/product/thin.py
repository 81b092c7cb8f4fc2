"""The product of a thin B: ``C = A @ B`` for few columns, with a vector of *rows* per register.

A register tile whose columns fill a fraction of a vector wastes the rest of it: one output of 64
inputs took 20 ns a sample, three times what a BLAS takes. Here a lane is a row of C. A group of
`lanes` rows of A is transposed into a buffer in L1, each element of B is broadcast to a vector, and
each output is one accumulator; at the end the outputs of a row are interleaved again.

Contract (strides in elements, as for `microkernel`):

- Rows of A are contiguous (``a_col == 1``), or its columns are (``a_row == 1``).
- B has at most MOST_COLUMNS columns, a row of them is contiguous. So is all of C: rows of n.
- Whole groups of rows are computed, the last ``m % lanes`` rows are left.
- Each element of C is the chain of the register tile: ``acc = fma(a, b, acc)`` in increasing k
  from zero, added to what C holds where asked for, and the bias added last.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.product.transpose import joined, split, transposed
from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import VectorWriter, new_module
from fastgrad.kernels.units import symbol

# Columns, and also steps of k up to which A stays in registers: in that case as many columns as
# lanes pay, else half as many. (With sixteen lanes eight would be somewhat faster, and take 0.3 s
# to compile.)
MOST_COLUMNS = 4
GROUP_BYTES = 64 * 1024  # the next group of rows of A is prefetched if it has at most this many


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``thin`` for one dtype.

    ``thin(m, n, k, a, a_row, a_col, b, b_row, c, add, bias)``; `bias` may be null, and with `add`
    other than 0 the chains are added to what C holds.
    """
    tile, module = tile_for(dtype), new_module()
    ways = _Transposing(module, dtype, tile.lanes)
    words = [I64, I64, I64, POINTER, I64, I64, POINTER, I64, POINTER, I64, POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), words), symbol("thin", dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    done = function.append_basic_block("done")
    switch = builder.switch(function.args[1], done)
    for n in range(1, min(MOST_COLUMNS, tile.lanes) + 1):
        case = function.append_basic_block()
        switch.add_case(I64(n), case)
        builder.position_at_end(case)
        product = _Product(module, dtype, tile.lanes, n, words, ways)
        builder.call(product.thin, function.args)
        builder.branch(done)
    ir.IRBuilder(done).ret_void()
    return str(module)


class _Transposing(VectorWriter):
    """Writes the ways to transpose a group of rows of A: in L1, a vector for each step of k."""

    def __init__(self, module: Any, dtype: str, lanes: int) -> None:
        super().__init__(module, dtype, lanes)
        self.split = {k: self._split(k) for k in range(MOST_COLUMNS + 1, lanes // 2 + 1)}
        self.transpose_rest = self._transpose_rest()

    def _split(self, k: int) -> Any:
        """Write the function ``(rows, space)`` for contiguous rows of k elements."""
        function = self.function(f"split{k}", [POINTER, POINTER])
        source, space = function.args
        self.b_ = ir.IRBuilder(function.append_basic_block())
        rows = [self.load(source, i * self.lanes) for i in range(k)]
        for p, column in enumerate(split(self.b_, rows)):
            self.store(column, space, p * self.lanes)
        self.b_.ret_void()
        return function

    def _transpose_rest(self) -> Any:
        """Write the function ``(rows, row, count, space)`` for `count` < `lanes` steps."""
        function = self.function("transpose_rest", [POINTER, I64, I64, POINTER])
        source, row, count, space = function.args
        self.b_ = ir.IRBuilder(function.append_basic_block())
        mask = self.first_lanes(count)
        block = [self.load_lanes(mask, source, self.b_.mul(row, I64(i))) for i in range(self.lanes)]
        for p, column in enumerate(transposed(self.b_, block)):
            self.store(column, space, p * self.lanes)
        self.b_.ret_void()
        return function


class _Product(VectorWriter):
    """Writes the function for n columns: a loop over groups of rows, of one kind or another."""

    def __init__(
        self, module: Any, dtype: str, lanes: int, n: int, words: list[Any], ways: _Transposing
    ) -> None:
        super().__init__(module, dtype, lanes)
        self.n, self.ways, self.zeros = n, ways, [self.zero] * n
        self.thin = self.function(f"thin{n}", words)
        m, _, self.k, self.a, self.a_row, self.a_col, self.b, self.b_row = self.thin.args[:8]
        self.c, self.add, self.bias = self.thin.args[8:]
        self._write(m)

    def _block(self, name: str) -> Any:
        return self.thin.append_basic_block(name)

    def _write(self, m: Any) -> None:
        entry, kind, self.done = map(self._block, ("entry", "kind", "done"))
        self.b_ = ir.IRBuilder(entry)
        self.space = self.b_.alloca(ir.ArrayType(self.vector, self.lanes))
        self.end = self.b_.and_(m, I64(-self.lanes))
        self.adds = self.b_.icmp_unsigned("!=", self.add, I64(0))
        self.has_bias = self.given(self.bias)
        few = min(MOST_COLUMNS, self.lanes)
        short = self.b_.icmp_signed("<=", self.k, I64(max(self.lanes // 2, few)))
        short = self.b_.and_(short, self.b_.not_(self.adds))
        self.short = self.b_.and_(short, self.b_.icmp_signed("==", self.a_row, self.k))
        # How much of the next group is prefetched while this one is read: nothing if it would be
        # evicted again (96 rows of 3072: 30 to 23 us; 4096 of 784 take 460 us with, 520 without).
        apart = self.b_.mul(self.a_row, I64(self.lanes))
        near = self.b_.icmp_signed("<=", apart, I64(GROUP_BYTES // self.size))
        self.next_group = self.b_.select(near, apart, I64(0))
        squares = self.b_.and_(self.k, I64(-self.lanes))
        self.squares = self.b_.select(self.short, I64(0), squares)
        self.b_.cbranch(self.b_.icmp_signed(">", self.end, I64(0)), kind, self.done)

        self.b_ = ir.IRBuilder(kind)
        any_group = self._block("group")
        switch = self.b_.switch(self.b_.select(self.short, self.k, I64(0)), any_group)
        for steps in range(1, few + 1):
            group = self._block(f"short{steps}")
            switch.add_case(I64(steps), group)
            self._few_steps(group, kind, steps)
        self._any_steps(any_group, kind)
        ir.IRBuilder(self.done).ret_void()

    def _steps(self, column: Any, p: Any, sums: list[Any]) -> list[Any]:
        """Return the sums, each with a column of A times an element of row p of B."""
        weights = self.at(self.b, self.b_.mul(p, self.b_row))
        return [
            self.multiply_add(column, self.load_broadcast(weights, j), acc)
            for j, acc in enumerate(sums)
        ]

    def _end_group(self, group: Any, i: Any, sums: list[Any], adds: bool = True) -> None:
        """Write the outputs of the rows from i on, and go on with the next group."""
        target = self.at(self.c, self.b_.mul(i, I64(self.n)))

        def add_c(values: list[Any]) -> list[Any]:
            held = split(self.b_, [self.load(target, o * self.lanes) for o in range(self.n)])
            return [self.b_.fadd(old, value) for old, value in zip(held, values, strict=True)]

        def add_bias(values: list[Any]) -> list[Any]:
            return [
                self.b_.fadd(value, self.load_broadcast(self.bias, j))
                for j, value in enumerate(values)
            ]

        sums = self.when(self.adds, sums, add_c) if adds else sums
        results = self.when(self.has_bias, sums, add_bias)
        for o, value in enumerate(joined(self.b_, results)):
            self.store(value, target, o * self.lanes)
        following = self.b_.add(i, I64(self.lanes))
        again = self.b_.icmp_signed("<", following, self.end)
        self.end_loop(again, [i], [following], group, self.done)

    def _few_steps(self, group: Any, before: Any, steps: int) -> None:
        """Write the loop for contiguous rows so short that all is done in registers."""
        (i,) = self.begin_loop(group, before, [I64(0)])
        rows = self.at(self.a, self.b_.mul(i, I64(steps)))
        sums = self.zeros
        columns = split(self.b_, [self.load(rows, p * self.lanes) for p in range(steps)])
        for p, column in enumerate(columns):
            sums = self._steps(column, I64(p), sums)
        self._end_group(group, i, sums, adds=False)

    def _any_steps(self, group: Any, before: Any) -> None:
        """Write the loop for other rows: squares of A in registers, the rest through a buffer."""
        by_rows, finish = self._block("by_rows"), self._block("finish")
        (i,) = self.begin_loop(group, before, [I64(0)])
        rows = self.at(self.a, self.b_.mul(i, self.a_row))
        rows_lie = self.b_.icmp_signed("==", self.a_col, I64(1))
        # Ways to the buffer: (block, (where, distance of columns, first, count), sums).
        ways = [(group, (rows, self.a_col, I64(0), self.k), self.zeros)]
        buffered = self._block("buffered")
        self.b_.cbranch(rows_lie, by_rows, buffered)
        start, acc, after = self._squares(by_rows, rows)
        ways += self._rests(after, buffered, rows, start, acc)
        sums = self._buffered(buffered, ways, finish)
        self._end_group(group, i, sums)

    def _squares(self, by_rows: Any, rows: Any) -> tuple[Any, list[Any], Any]:
        """Write the loop over whole squares; return (steps done, sums, the block after it).

        They are transposed in registers, not through a buffer: float64 a third faster.
        """
        square, after = self._block("square"), self._block("after")
        self.b_ = ir.IRBuilder(by_rows)
        self.b_.cbranch(self.b_.icmp_signed(">", self.squares, I64(0)), square, after)
        start, *acc = phis = self.begin_loop(square, by_rows, [I64(0), *self.zeros])
        first = self.at(rows, start)
        block = [self.load(first, self.b_.mul(self.a_row, I64(r))) for r in range(self.lanes)]
        ahead = self.at(first, self.next_group)
        for r in range(self.lanes):
            self.prefetch(self.at(ahead, self.b_.mul(self.a_row, I64(r))))
        sums = acc
        for u, column in enumerate(transposed(self.b_, block)):
            sums = self._steps(column, self.b_.add(start, I64(u)), sums)
        reached = self.b_.add(start, I64(self.lanes))
        again = self.b_.icmp_signed("<", reached, self.squares)
        self.end_loop(again, phis, [reached, *sums], square, after)
        start, *acc = self.join(
            after, [(by_rows, [I64(0), *self.zeros]), (square, [reached, *sums])]
        )
        return start, acc, after

    def _rests(self, after: Any, buffered: Any, rows: Any, start: Any, acc: list[Any]) -> list[Any]:
        """Transpose the steps after whole squares; return the ways, as in `_any_steps`."""
        lanes = I64(self.lanes)
        left = self.b_.sub(self.k, start)
        rest = self._block("rest")
        known = self.b_.or_(self.short, self.b_.icmp_signed("==", left, I64(0)))
        switch = self.b_.switch(self.b_.select(known, left, I64(-1)), rest)
        switch.add_case(I64(0), buffered)
        ways = [(after, (rows, I64(0), start, left), acc)]
        for length, interleave in self.ways.split.items():
            case = self._block(f"split{length}")
            switch.add_case(I64(length), case)
            ir.IRBuilder(case).call(interleave, [rows, self.space])
            ways.append((case, (self.space, lanes, start, left), acc))
        self.b_ = ir.IRBuilder(rest)
        place = self.at(rows, start)
        self.b_.call(self.ways.transpose_rest, [place, self.a_row, left, self.space])
        ways.append((rest, (self.space, lanes, start, left), acc))
        return ways

    def _buffered(self, buffered: Any, ways: list[Any], finish: Any) -> list[Any]:
        """Write the loop over columns of A in the buffer, and return the sums, in `finish`."""
        for block, _, _ in ways:
            if not block.is_terminated:
                ir.IRBuilder(block).branch(buffered)
        source, apart, start, count, *acc = self.join(
            buffered, [(block, [*place, *sums]) for block, place, sums in ways]
        )
        step = self._block("step")
        self.b_.cbranch(self.b_.icmp_signed(">", count, I64(0)), step, finish)
        p, *running = phis = self.begin_loop(step, buffered, [I64(0), *acc])
        column = self.load(source, self.b_.mul(p, apart))
        sums = self._steps(column, self.b_.add(start, p), running)
        following = self.b_.add(p, I64(1))
        again = self.b_.icmp_signed("<", following, count)
        self.end_loop(again, phis, [following, *sums], step, finish)
        return self.join(finish, [(buffered, acc), (step, sums)])
