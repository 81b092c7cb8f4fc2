"""Machine words inside compiled code: addresses, typed pointers, sizes.

Kernels take raw pointers (one compiled body for every memory layout), so these intrinsics are
all they need: turn an address into a pointer, move it, read, copy or zero what is there, share a
word between threads, call a compiled function through its address. `least` and `greatest` stand
in for min and max, which Numba compiles anew, as functions, for every tuple of argument types.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.memory_ir import I64


@intrinsic
def as_pointer(typingctx: Any, address: Any, dtype: Any) -> Any:
    """View integer `address` as a pointer to `dtype` elements."""
    pointer = types.CPointer(dtype.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.intp, dtype), codegen


@intrinsic
def address_of(typingctx: Any, pointer: Any) -> Any:
    """Return the address in `pointer` as an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], I64)

    return types.intp(pointer), codegen


@intrinsic
def shift(typingctx: Any, pointer: Any, elements: Any) -> Any:
    """Return `pointer` moved by `elements` elements."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_value_type(sig.args[0].dtype)
        return memory_ir.element(builder, element, *args)

    return pointer(pointer, types.intp), codegen


@intrinsic
def read_word(typingctx: Any, address: Any) -> Any:
    """Return the 64-bit word at `address`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(memory_ir.pointer(builder, args[0]), typ=I64)

    return types.intp(types.intp), codegen


@intrinsic
def word(typingctx: Any, table: Any, index: Any) -> Any:
    """Return word `index` of the table at address `table`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = memory_ir.pointer(builder, args[0])
        return builder.load(memory_ir.element(builder, I64, start, args[1]), typ=I64)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def call_address(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the C function ``void f(intptr_t, ...)`` at `address` with a tuple of integers."""
    count = len(arguments)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [I64] * count)
        function = memory_ir.pointer(builder, args[0])
        memory_ir.call(builder, kind, function, cgutils.unpack_tuple(builder, args[1], count))
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


def _chooser(comparison: str) -> Any:
    @intrinsic
    def choose(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.icmp_signed(comparison, *args), *args)

        return types.intp(types.intp, types.intp), codegen

    return choose


least, greatest = _chooser("<"), _chooser(">")


@intrinsic
def round_up(typingctx: Any, value: Any, multiple: Any) -> Any:
    """Return the least multiple of `multiple`, a power of two, not below `value`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, multiple = args
        above = builder.sub(builder.add(value, multiple), I64(1))
        return builder.and_(above, builder.neg(multiple))

    return types.intp(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def copy_vector(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` elements (a constant) as one vector."""
    elements, size = count.literal_value, target.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(target.dtype), elements)
        value = builder.load(args[1], align=size, typ=vector)
        memory_ir.store(builder, value, args[0], size)
        return context.get_dummy_value()

    return types.void(target, source, count), codegen


@intrinsic(prefer_literal=True)
def zero_vector(typingctx: Any, target: Any, count: Any) -> Any:
    """Clear `count` elements (a constant)."""
    elements, size = count.literal_value, target.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(target.dtype), elements)
        memory_ir.store(builder, ir.Constant(vector, None), args[0], size)
        return context.get_dummy_value()

    return types.void(target, count), codegen


@intrinsic
def clear(typingctx: Any, address: Any, size: Any) -> Any:
    """Set so many bytes to zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        cgutils.memset(builder, memory_ir.pointer(builder, args[0]), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def copy_elements(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` elements between places that do not overlap."""
    size = target.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        cgutils.raw_memcpy(builder, args[0], args[1], args[2], size)
        return context.get_dummy_value()

    return types.void(target, source, types.intp), codegen


@intrinsic(prefer_literal=True)
def scratch(typingctx: Any, count: Any, dtype: Any) -> Any:
    """Return `count` elements of `dtype` (constants) on the calling function's stack."""
    pointer, elements = types.CPointer(dtype.dtype), count.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_value_type(dtype.dtype)
        with builder.goto_entry_block():
            space = builder.alloca(ir.ArrayType(element, elements))
            space.align = 64
        return builder.bitcast(space, context.get_value_type(pointer))

    return pointer(count, dtype), codegen


# -- words that several threads read and write ---------------------------------------------------


@intrinsic
def fetch_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add `value` to the word at `address` in one step, and return what it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = memory_ir.pointer(builder, args[0])
        return builder.atomic_rmw("add", place, args[1], "seq_cst")

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def read_shared(typingctx: Any, address: Any) -> Any:
    """Return the word at `address`; what its writer wrote before is visible."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return memory_ir.load_acquired(builder, args[0])

    return types.intp(types.intp), codegen


@intrinsic
def write_shared(typingctx: Any, address: Any, value: Any) -> Any:
    """Write the word at `address`; whoever reads it sees all that was written before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory_ir.store_released(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen
