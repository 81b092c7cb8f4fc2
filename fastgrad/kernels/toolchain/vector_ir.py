"""Writing LLVM vector code: what the register tiles are made of."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.memory_ir import I64, POINTER

I1, I32 = ir.IntType(1), ir.IntType(32)


def new_module() -> Any:
    """Return an empty module for this processor."""
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    return module


class VectorWriter:
    """Appends vector instructions at the place of its builder `b_`. Distances are in elements."""

    b_: Any

    def __init__(self, module: Any, dtype: str, lanes: int) -> None:
        self.module, self.lanes = module, lanes
        self.element = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.size = 4 if dtype == "float32" else 8
        self.vector = ir.VectorType(self.element, lanes)
        self.zero = ir.Constant(self.vector, None)
        self.suffix = f"v{lanes}f{8 * self.size}"
        mask = ir.VectorType(I1, lanes)
        self._fma = module.declare_intrinsic(
            f"llvm.fma.{self.suffix}", fnty=ir.FunctionType(self.vector, [self.vector] * 3)
        )
        self._masked_load = module.declare_intrinsic(
            f"llvm.masked.load.{self.suffix}.p0",
            fnty=ir.FunctionType(self.vector, [POINTER, I32, mask, self.vector]),
        )
        self._masked_store = module.declare_intrinsic(
            f"llvm.masked.store.{self.suffix}.p0",
            fnty=ir.FunctionType(ir.VoidType(), [self.vector, POINTER, I32, mask]),
        )
        self._prefetch = module.declare_intrinsic(
            "llvm.prefetch.p0",
            fnty=ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32]),
        )

    def function(self, name: str, arguments: list[Any]) -> Any:
        """Return a new function that only this module sees."""
        kind = ir.FunctionType(ir.VoidType(), arguments)
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        return function

    def at(self, base: Any, elements: Any) -> Any:
        """Return the pointer to the element so many after `base`."""
        return memory_ir.element(self.b_, self.element, base, elements)

    def load(self, base: Any, elements: Any = 0) -> Any:
        """Return the vector so many elements after `base`."""
        return self.b_.load(self.at(base, elements), align=self.size, typ=self.vector)

    def load_lanes(self, mask: Any, base: Any, elements: Any = 0, fill: float = 0.0) -> Any:
        """Return some lanes of that vector, `fill` in the others."""
        args = [self.at(base, elements), I32(self.size), mask, self.constant(fill)]
        return self.b_.call(self._masked_load, args)

    def load_element(self, base: Any, elements: Any = 0) -> Any:
        """Return the element there."""
        return self.b_.load(self.at(base, elements), align=self.size, typ=self.element)

    def load_broadcast(self, base: Any, elements: Any = 0) -> Any:
        """Return the element there in all lanes."""
        return self.broadcast(self.load_element(base, elements))

    def store(self, value: Any, base: Any, elements: Any = 0) -> None:
        """Write a vector, or an element."""
        memory_ir.store(self.b_, value, self.at(base, elements), self.size)

    def store_lanes(self, mask: Any, value: Any, base: Any, elements: Any = 0) -> None:
        """Write some lanes of a vector."""
        self.b_.call(self._masked_store, [value, self.at(base, elements), I32(self.size), mask])

    def constant(self, value: float) -> Any:
        """Return a number in all lanes."""
        return ir.Constant(self.vector, [ir.Constant(self.element, value)] * self.lanes)

    def broadcast(self, scalar: Any) -> Any:
        """Return a scalar in all lanes."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        one = self.b_.insert_element(undefined, scalar, I32(0))
        return self.b_.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(I32, self.lanes), None)
        )

    def first_lanes(self, count: Any) -> Any:
        """Return the mask of the first `count` lanes."""
        index = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.b_.icmp_unsigned("<", index, self.broadcast(count))

    def multiply_add(self, a: Any, b: Any, acc: Any) -> Any:
        """Return ``a * b + acc``, rounded once."""
        return self.b_.call(self._fma, [a, b, acc])

    def prefetch(self, pointer: Any) -> None:
        """Ask for a cache line that will be read."""
        self.b_.call(self._prefetch, [pointer, I32(0), I32(3), I32(1)])

    def given(self, pointer: Any) -> Any:
        """Return whether a pointer is not null."""
        return self.b_.icmp_unsigned("!=", self.b_.ptrtoint(pointer, I64), I64(0))

    def join(self, block: Any, ways: list[tuple[Any, list[Any]]]) -> list[Any]:
        """Place the builder at the start of a block; return the values that each way brings there.

        A way is the block it comes from and its values.
        """
        self.b_ = ir.IRBuilder(block)
        phis = [self.b_.phi(value.type) for value in ways[0][1]]
        for origin, values in ways:
            for phi, value in zip(phis, values, strict=True):
                phi.add_incoming(value, origin)
        return phis

    def when(self, condition: Any, values: list[Any], change: Any) -> list[Any]:
        """Return `change(values)` where `condition` holds, else `values`."""
        before = self.b_.block
        then, after = (self.b_.function.append_basic_block() for _ in range(2))
        self.b_.cbranch(condition, then, after)
        self.b_ = ir.IRBuilder(then)
        changed = change(values)
        then = self.b_.block
        self.b_.branch(after)
        return self.join(after, [(before, values), (then, changed)])

    def begin_loop(self, body: Any, before: Any, values: list[Any]) -> list[Any]:
        """Place the builder at the start of a loop; return its values, which begin as these."""
        return self.join(body, [(before, values)])

    def end_loop(
        self, again: Any, phis: list[Any], values: list[Any], body: Any, done: Any
    ) -> None:
        """Go back to `body` while `again` holds, with new values."""
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, self.b_.block)
        self.b_.cbranch(again, body, done)
