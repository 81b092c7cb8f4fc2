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

from llvmlite import ir

from fastgrad.kernels.library import symbol
from fastgrad.kernels.target import tile as tile_for
from fastgrad.kernels.transpose import joined, split, turned
from fastgrad.kernels.vector_ir import I64, VectorWriter, new_module

SHORTEST = 4  # steps of k, and columns, for which A never leaves the registers


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``thin`` for one dtype.

    ``thin(m, n, k, a, a_row, a_col, b, b_row, c, bias)``; `bias` may be null.
    """
    tile, module = tile_for(dtype), new_module()
    writer = _ThinWriter(module, dtype, tile.lanes)
    pointer = writer.pointer
    words = [I64, I64, I64, pointer, I64, I64, pointer, I64, pointer, pointer]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), words), symbol("thin", dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    done = function.append_basic_block("done")
    switch = builder.switch(function.args[1], done)
    for n in range(1, tile.thin + 1):
        case = function.append_basic_block()
        switch.add_case(I64(n), case)
        builder.position_at_end(case)
        builder.call(writer.product(n, words), function.args)
        builder.branch(done)
    ir.IRBuilder(done).ret_void()
    return str(module)


class _ThinWriter(VectorWriter):
    """Writes how a group of rows of A is laid down, and a product for each number of columns."""

    def __init__(self, module: Any, dtype: str, lanes: int) -> None:
        super().__init__(module, dtype, lanes)
        self.split = {k: self._split(k) for k in range(2, lanes // 2 + 1)}
        self.turn_rest = self._turn_rest()

    # -- laying down A in `space`: a vector for each step of k ------------------------------------
    def _split(self, k: int) -> Any:
        """Write the function that does it for contiguous rows of k elements."""
        function = self.function(f"split{k}", [self.pointer, self.pointer])
        source, space = function.args
        self.b_ = ir.IRBuilder(function.append_basic_block())
        rows = [self.load(source, i * self.lanes) for i in range(k)]
        for p, column in enumerate(split(self.b_, rows)):
            self.store(column, space, p * self.lanes)
        self.b_.ret_void()
        return function

    def _turn_rest(self) -> Any:
        """Write the function that does it for less than `lanes` steps."""
        function = self.function("turn_rest", [self.pointer, I64, I64, self.pointer])
        source, row, count, space = function.args
        self.b_ = ir.IRBuilder(function.append_basic_block())
        mask = self.first_lanes(count)
        block = [self.load_lanes(mask, source, self.b_.mul(row, I64(i))) for i in range(self.lanes)]
        for p, column in enumerate(turned(self.b_, block)):
            self.store(column, space, p * self.lanes)
        self.b_.ret_void()
        return function

    # -- the product --------------------------------------------------------------------------
    def product(self, n: int, words: list[Any]) -> Any:
        """Write the function for n columns."""
        function = self.function(f"thin{n}", words)
        m, _, k, a, a_row, a_col, b, b_row, c, bias = function.args
        lanes, zeros = self.lanes, [self.zero] * n
        names = "entry any group by_rows square turning one rest steps step finish done"
        at = {name: function.append_basic_block(name) for name in names.split()}

        def steps_of(column: Any, p: Any, sums: list[Any]) -> list[Any]:
            """Return the sums, each with a column of A times an element of row p of B."""
            weights = self.b_.gep(b, [self.b_.mul(p, b_row)])
            return [
                self.multiply_add(column, self.load_spread(weights, j), acc)
                for j, acc in enumerate(sums)
            ]

        def put(sums: list[Any], i: Any) -> None:
            """Write the outputs of the group from row i on."""
            before = self.b_.block
            with self.b_.if_then(has_bias):
                biased = [
                    self.b_.fadd(acc, self.load_spread(bias, j)) for j, acc in enumerate(sums)
                ]
                shifting = self.b_.block
            results = [self.b_.phi(self.vector) for _ in sums]
            for phi, *values in zip(results, sums, biased, strict=True):
                for value, origin in zip(values, (before, shifting), strict=True):
                    phi.add_incoming(value, origin)
            target = self.b_.gep(c, [self.b_.mul(i, I64(n))])
            for o, value in enumerate(joined(self.b_, results)):
                self.store(value, target, o * lanes)

        def next_group(body: str, i: Any) -> None:
            following = self.b_.add(i, I64(lanes))
            again = self.b_.icmp_signed("<", following, end)
            self.end_loop(again, [i], [following], at[body], at["done"])

        self.b_ = ir.IRBuilder(at["entry"])
        space = self.b_.bitcast(self.b_.alloca(ir.ArrayType(self.vector, lanes)), self.pointer)
        end = self.b_.and_(m, I64(-lanes))
        short = self.b_.icmp_signed("<=", k, I64(lanes // 2))
        short = self.b_.and_(short, self.b_.icmp_signed("==", a_row, k))
        squares = self.b_.select(short, I64(0), self.b_.and_(k, I64(-lanes)))
        has_bias = self.given(bias)
        self.b_.cbranch(self.b_.icmp_signed(">", end, I64(0)), at["any"], at["done"])

        # Of a few steps all is done in registers.
        self.b_ = ir.IRBuilder(at["any"])
        switch = self.b_.switch(self.b_.select(short, k, I64(0)), at["group"])
        for steps in range(1, min(SHORTEST, lanes // 2) + 1) if n <= SHORTEST else ():
            name = f"short{steps}"
            at[name] = function.append_basic_block(name)
            switch.add_case(I64(steps), at[name])
            (i,) = self.begin_loop(at[name], at["any"], [I64(0)])
            rows = self.b_.gep(a, [self.b_.mul(i, I64(steps))])
            sums = zeros
            columns = split(self.b_, [self.load(rows, p * lanes) for p in range(steps)])
            for p, column in enumerate(columns):
                sums = steps_of(column, I64(p), sums)
            put(sums, i)
            next_group(name, i)

        (i,) = self.begin_loop(at["group"], at["any"], [I64(0)])
        rows = self.b_.gep(a, [self.b_.mul(i, a_row)])
        by_rows = self.b_.icmp_signed("==", a_col, I64(1))
        self.b_.cbranch(by_rows, at["by_rows"], at["steps"])
        # Ways to `steps`: (where A is laid down, distance of its columns, first, how many), sums.
        ways = {"group": ((rows, a_col, I64(0), k), zeros)}

        self.b_ = ir.IRBuilder(at["by_rows"])
        any_square = self.b_.icmp_signed(">", squares, I64(0))
        self.b_.cbranch(any_square, at["square"], at["turning"])

        # A square of A is turned in registers, and not laid down (float64 a third faster).
        start, *acc = phis = self.begin_loop(at["square"], at["by_rows"], [I64(0), *zeros])
        first = self.b_.gep(rows, [start])
        square = [self.load(first, self.b_.mul(a_row, I64(r))) for r in range(lanes)]
        for r in range(lanes, 2 * lanes):  # the next group's
            self.fetch(self.b_.gep(first, [self.b_.mul(a_row, I64(r))]))
        sums = acc
        for u, column in enumerate(turned(self.b_, square)):
            sums = steps_of(column, self.b_.add(start, I64(u)), sums)
        reached = self.b_.add(start, I64(lanes))
        again = self.b_.icmp_signed("<", reached, squares)
        self.end_loop(again, phis, [reached, *sums], at["square"], at["turning"])

        start, *acc = phis = self.begin_loop(at["turning"], at["by_rows"], [I64(0), *zeros])
        for phi, value in zip(phis, [reached, *sums], strict=True):
            phi.add_incoming(value, at["square"])
        left = self.b_.sub(k, start)
        switch = self.b_.switch(self.b_.select(short, left, I64(-1)), at["rest"])
        switch.add_case(I64(0), at["steps"])
        ways["turning"] = (rows, I64(0), start, I64(0)), acc
        switch.add_case(I64(1), at["one"])
        ways["one"] = (rows, I64(0), start, left), acc  # as it lies
        for length, lay_down in self.split.items():
            name = f"split{length}"
            at[name] = function.append_basic_block(name)
            switch.add_case(I64(length), at[name])
            ir.IRBuilder(at[name]).call(lay_down, [rows, space])
            ways[name] = (space, I64(lanes), start, left), acc
        self.b_ = ir.IRBuilder(at["rest"])
        self.b_.call(self.turn_rest, [self.b_.gep(rows, [start]), a_row, left, space])
        ways["rest"] = (space, I64(lanes), start, left), acc
        for name in ("one", "rest", *(f"split{length}" for length in self.split)):
            ir.IRBuilder(at[name]).branch(at["steps"])

        self.b_ = ir.IRBuilder(at["steps"])
        source, apart, start, count, *acc = phis = [
            self.b_.phi(kind) for kind in (self.pointer, I64, I64, I64, *[self.vector] * n)
        ]
        for name, (place, sums) in ways.items():
            for phi, value in zip(phis, [*place, *sums], strict=True):
                phi.add_incoming(value, at[name])
        self.b_.cbranch(self.b_.icmp_signed(">", count, I64(0)), at["step"], at["finish"])

        p, *running = phis = self.begin_loop(at["step"], at["steps"], [I64(0), *acc])
        column = self.load(source, self.b_.mul(p, apart))
        sums = steps_of(column, self.b_.add(start, p), running)
        following = self.b_.add(p, I64(1))
        again = self.b_.icmp_signed("<", following, count)
        self.end_loop(again, phis, [following, *sums], at["step"], at["finish"])

        results = self.begin_loop(at["finish"], at["steps"], acc)
        for phi, value in zip(results, sums, strict=True):
            phi.add_incoming(value, at["step"])
        put(results, i)
        next_group("group", i)
        ir.IRBuilder(at["done"]).ret_void()
        return function
