"""The register tile: MR rows x NR columns of ``C = A @ B``, as LLVM vector IR.

A scalar loop nest does not become this code: LLVM will not keep its vector accumulators
in registers. So the tile is written down: per step of k it loads one row of B (`nv` vectors),
broadcasts one element of each row of A, and issues one fused multiply-add per accumulator.

Contract (all strides in elements; see `panel` for the arguments):

- A may have any row and column stride; a row of B and of C is contiguous.
- Each element of C is one chain ``acc = fma(a, b, acc)`` in increasing k from zero, which ADD adds
  to what C holds; a bias is added last.
- Ragged columns are loaded through a mask and stored by halves, ragged rows have a body of their
  own, so nothing outside the given rows and columns is touched.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastgrad.kernels.toolchain.memory_ir import I64, POINTER
from fastgrad.kernels.toolchain.target import Tile
from fastgrad.kernels.toolchain.target import tile as tile_for
from fastgrad.kernels.toolchain.vector_ir import I32, VectorWriter, new_module
from fastgrad.kernels.units import symbol

ADD = 1  # add the finished chains to C

_ARGUMENTS = [
    "m",
    "k",
    "a",
    "a_row",
    "a_col",
    "a_step",
    "b",
    "b_row",
    "b_next",
    "b_pack",
    "c",
    "c_row",
    "mode",
    "bias",
    "columns",
]
LINE = 64  # bytes of a cache line


class _PanelWriter(VectorWriter):
    """Writes one function: a panel of `nv` vectors of columns, for any number of rows."""

    m: Any
    k: Any
    a: Any
    a_row: Any
    a_col: Any
    a_step: Any
    b: Any
    b_row: Any
    b_next: Any
    b_pack: Any
    c: Any
    c_row: Any
    mode: Any
    bias: Any
    columns: Any

    def __init__(self, module: Any, dtype: str, tile: Tile, nv: int, ragged: bool) -> None:
        super().__init__(module, dtype, tile.lanes)
        self.tile, self.nv, self.ragged = tile, nv, ragged
        pointers = {"a", "b", "b_next", "b_pack", "c", "bias"}
        name = f"panel_{self.suffix}_{nv}{'_ragged' if ragged else ''}"
        arguments = [POINTER if n in pointers else I64 for n in _ARGUMENTS]
        self.panel = self.function(name, arguments)
        for argument, label in zip(self.panel.args, _ARGUMENTS, strict=True):
            argument.name = label
            setattr(self, label, argument)
        self._write()

    def _load(self, pointer: Any, v: int) -> Any:
        if self.ragged and v == self.nv - 1:
            return self.load_lanes(self.mask, pointer, v * self.lanes)
        return self.load(pointer, v * self.lanes)

    def _store_ragged(self, values: list[Any], pointers: list[Any]) -> None:
        """Store the valid lanes of each row's last vector, by halves: 4, 2, 1 of the count 7.

        A masked store costs AVX2 processors about 12 cycles, the three halves of a row at most 3.
        """
        count = self.b_.sub(self.columns, I64((self.nv - 1) * self.lanes))
        places = [self.at(p, (self.nv - 1) * self.lanes) for p in pointers]
        width = self.lanes // 2
        while width:
            low, high = (
                [self._lanes(value, start, width) for value in values] for start in (0, width)
            )

            def store(
                _: list[Any], low: Any = low, high: Any = high, width: Any = width,
                places: Any = places,
            ) -> list[Any]:  # fmt: skip
                for value, place in zip(low, places, strict=True):
                    self.store(value, place)
                return high + [self.at(p, width) for p in places]

            taken = self.b_.icmp_unsigned("!=", self.b_.and_(count, I64(width)), I64(0))
            merged = self.when(taken, low + places, store)
            values, places = merged[: len(values)], merged[len(values) :]
            width //= 2

    def _lanes(self, value: Any, start: int, width: int) -> Any:
        mask = ir.Constant(ir.VectorType(I32, width), list(range(start, start + width)))
        return self.b_.shuffle_vector(value, value, mask)

    # -- control flow -----------------------------------------------------------------
    def _write(self) -> None:
        block = self.panel.append_basic_block
        entry, first, head, full, rest, done = map(
            block, ("entry", "first", "head", "full", "rest", "done")
        )
        mr = I64(self.tile.mr)
        self.b_ = ir.IRBuilder(entry)
        if self.ragged:
            last = self.b_.sub(self.columns, I64((self.nv - 1) * self.lanes))
            self.mask = self.first_lanes(last)
        packs = self.b_.and_(
            self.given(self.b_pack), self.b_.icmp_signed(">=", self.m, mr), name="packs"
        )
        apart = self.b_.select(packs, self.b_row, I64(self.tile.nr))
        unprefetched = self.b_.select(self.given(self.b_next), self.k, I64(0))
        starts = [self.m, self.a, self.c, self.b, self.b_row, self.b_next, unprefetched]
        self.b_.cbranch(packs, first, head)

        self.b_ = ir.IRBuilder(first)
        self._tile(self.tile.mr, self.a, self.c, pack=True)
        following = self._next_tile(*starts[:3])
        packed = [*following, self.b_pack, I64(self.tile.nr), self.b_next, unprefetched]
        first = self.b_.block
        self.b_.branch(head)

        phis = self.join(head, [(entry, starts), (first, packed)])
        left, a, c, self.b, self.b_row, ahead, unprefetched = phis
        self.b_.cbranch(self.b_.icmp_signed(">=", left, mr), full, rest)

        self.b_ = ir.IRBuilder(full)

        more = self.b_.icmp_signed(">", unprefetched, I64(0))
        rows_ahead = self.b_.select(more, ahead, self.b), self.b_.select(more, apart, I64(0))
        self._tile(self.tile.mr, a, c, ahead=rows_ahead)
        prefetched = self.b_.udiv(self.k, I64(self.tile.prefetch))
        ahead = self.at(ahead, self.b_.mul(apart, prefetched))
        unprefetched = self.b_.sub(unprefetched, prefetched)
        following = [*self._next_tile(left, a, c), self.b, self.b_row, ahead, unprefetched]
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value, self.b_.block)
        self.b_.branch(head)

        self.b_ = ir.IRBuilder(rest)
        switch = self.b_.switch(left, done)
        for rows in range(1, self.tile.mr):
            case = block(f"rows{rows}")
            switch.add_case(I64(rows), case)
            self.b_ = ir.IRBuilder(case)
            self._tile(rows, a, c)
            self.b_.branch(done)
        ir.IRBuilder(done).ret_void()

    def _next_tile(self, left: Any, a: Any, c: Any) -> list[Any]:
        mr = I64(self.tile.mr)
        return [
            self.b_.sub(left, mr),
            self.at(a, self.a_step),
            self.at(c, self.b_.mul(self.c_row, mr)),
        ]

    def _rows(self, base: Any, stride: Any, count: int) -> list[Any]:
        return [self.at(base, self.b_.mul(stride, I64(i))) for i in range(count)]

    def _tile(self, rows: int, a: Any, c: Any, pack: bool = False, ahead: Any = None) -> None:
        """Write the code of one tile, which may pack B, or prefetch rows of (pointer, distance)."""
        c_rows = self._rows(c, self.c_row, rows)
        for row in c_rows:  # read or written only after the k loop
            self.prefetch(row)
        cells = [(i, v) for i in range(rows) for v in range(self.nv)]

        zeros = [self.zero] * len(cells)
        acc = self._k_loop(rows, self._rows(a, self.a_row, rows), zeros, pack, ahead)

        def add_c(values: list[Any]) -> list[Any]:
            held = [self._load(c_rows[i], v) for i, v in cells]
            return [self.b_.fadd(old, x) for old, x in zip(held, values, strict=True)]

        def add_bias(values: list[Any]) -> list[Any]:
            bias = [self._load(self.bias, v) for v in range(self.nv)]
            return [self.b_.fadd(x, bias[v]) for x, (_, v) in zip(values, cells, strict=True)]

        adds = self.b_.icmp_unsigned("!=", self.mode, I64(0))
        acc = self.when(adds, acc, add_c)
        acc = self.when(self.given(self.bias), acc, add_bias)
        last = self.nv - 1 if self.ragged else self.nv
        for value, (i, v) in zip(acc, cells, strict=True):
            if v < last:
                self.store(value, c_rows[i], v * self.lanes)
        if self.ragged:
            self._store_ragged(acc[last :: self.nv], c_rows)

    def _k_loop(
        self, rows: int, a_rows: list[Any], acc: list[Any], pack: bool, ahead: Any
    ) -> list[Any]:
        """Run the k loop; whole tiles do four steps at a time, with a loop for the rest of them.

        With fewer rows each step waits for the multiply-adds before it anyway: the unrolled loop
        would only take time to compile.
        """
        done = I64(0)
        if rows == self.tile.mr:
            done = self.b_.and_(self.k, I64(-4))
            acc = self._steps(rows, a_rows, acc, I64(0), done, 4, pack, ahead)
        return self._steps(rows, a_rows, acc, done, self.k, 1, pack)

    def _steps(
        self, rows: int, a_rows: list[Any], acc: list[Any], start: Any, stop: Any, unroll: int,
        pack: bool, ahead: Any = None,
    ) -> list[Any]:  # fmt: skip
        before = self.b_.block
        loop, after = (self.panel.append_basic_block() for _ in range(2))
        self.b_.cbranch(self.b_.icmp_signed("<", start, stop), loop, after)
        p, *running = phis = self.begin_loop(loop, before, [start, *acc])
        values: list[Any] = list(running)
        if ahead is not None:
            row = self.b_.mul(self.b_.udiv(p, I64(self.tile.prefetch)), ahead[1])
            for at in range(0, self.tile.nr, LINE // self.size):
                self.prefetch(self.at(ahead[0], self.b_.add(row, I64(at))))
        for u in range(unroll):
            at = self.b_.add(p, I64(u)) if u else p
            b_at = self.at(self.b, self.b_.mul(at, self.b_row))
            b = [self._load(b_at, v) for v in range(self.nv)]
            if pack:
                place = self.at(self.b_pack, self.b_.mul(at, I64(self.tile.nr)))
                for v in range(self.nv):
                    self.store(b[v], place, v * self.lanes)
            offset = self.b_.mul(at, self.a_col)
            for i in range(rows):
                broadcast = self.load_broadcast(a_rows[i], offset)
                for v in range(self.nv):
                    cell = i * self.nv + v
                    values[cell] = self.multiply_add(broadcast, b[v], values[cell])
        following = self.b_.add(p, I64(unroll))
        end = self.b_.block
        again = self.b_.icmp_signed("<", following, stop)
        self.end_loop(again, phis, [following, *values], loop, after)
        return self.join(after, [(before, acc), (end, values)])


def build(dtype: str) -> str:
    """Return the LLVM IR of the C function ``panel`` for one dtype.

    ``panel(m, k, a, a_row, a_col, a_step, b, b_row, b_next, b_pack, c, c_row, mode, bias,
    columns)`` computes `m` rows x `columns` columns (1 to NR) of C over `k` steps. Successive
    groups of MR rows of A are `a_step` elements apart (``MR * a_row`` unpacked, ``AR * k``
    packed). `bias` may be null.

    With a `b_pack`, and MR rows or more, the first tile writes what it reads of B there, NR
    elements per step, zero-padded, and the others read it from there. The multiply-adds hide these
    stores; a separate pass took 6 % of a 64 x 128 x 128 product.

    Meanwhile the panel at `b_next`, unless null, is prefetched, packed or not: otherwise the first
    tile of each panel waits for L2 or L3. Each step prefetches little: many lines at once delayed
    the tile (5 % of a 512 x 1024 x 1024 product).

    The text goes to LLVM as it is: Numba's own pipeline would optimise it again in every
    caller (4 s instead of 0.5 s).
    """
    tile, module = tile_for(dtype), new_module()
    panels = {
        (nv, ragged): _PanelWriter(module, dtype, tile, nv, ragged).panel
        for nv in range(1, tile.nv + 1)
        for ragged in (False, True)
    }
    function = ir.Function(module, panels[1, False].ftype, symbol("panel", dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    done = function.append_basic_block("done")
    switch = builder.switch(function.args[-1], done)
    for (nv, ragged), panel in panels.items():
        case = function.append_basic_block()
        last = nv * tile.lanes
        for width in range(last - tile.lanes + 1, last) if ragged else [last]:
            switch.add_case(I64(width), case)
        builder.position_at_end(case)
        builder.call(panel, function.args)
        builder.branch(done)
    ir.IRBuilder(done).ret_void()
    return str(module)
