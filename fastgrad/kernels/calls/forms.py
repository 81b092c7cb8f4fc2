"""Entry points of parameters that a script keeps in arrays: into a flat vector, and out of one."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    WORD,
    _word_of,
    arguments,
    array_maker,
    array_type,
    data,
    decrement,
    dimensions,
    flags_of,
    increment,
    make_array,
    native,
    not_taken,
    shape_of,
    tuple_item,
    tuple_new,
    tuple_set,
    tuple_size,
    type_number,
)
from fastgrad.kernels.network import form_table as at
from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import ALIGNED, C_ORDER, WRITEABLE
from fastgrad.kernels.toolchain.memory_ir import I64
from fastgrad.kernels.toolchain.pointers import (
    as_pointer,
    copy_elements,
    read_word,
    word,
)


@intrinsic
def make_view(
    typingctx: Any, make: Any, kind: Any, number: Any, ndim: Any, shape: Any, at: Any
) -> Any:
    """Return a new array over memory at `at`, which it does not own, by NumPy's ``PyArray_New``."""
    i32 = ir.IntType(32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        make, kind, number, ndim, shape, at = args
        function = ir.FunctionType(I64, [I64, i32, I64, i32, I64, I64, i32, i32, I64])
        number, ndim = builder.trunc(number, i32), builder.trunc(ndim, i32)
        flags = i32(C_ORDER | ALIGNED | WRITEABLE)
        arguments = [kind, ndim, shape, number, I64(0), at, i32(0), flags, I64(0)]
        return memory_ir.call(builder, function, memory_ir.pointer(builder, make), arguments)

    return WORD(*([WORD] * 6)), codegen


base_of = _word_of(at.BASE)


def build(dtype_name: str) -> str:
    """Return the LLVM IR of both entry points for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8

    @kernel
    def fits(array: int, words: int, part: int) -> bool:
        """Return whether an array is native, contiguous and of a part's shape."""
        if not native(array, words) or flags_of(array) & C_ORDER == 0:
            return False
        if dimensions(array) != word(part, at.AXES):
            return False
        for i in range(dimensions(array)):
            if read_word(shape_of(array) + 8 * i) != word(part, at.SHAPE + i):
                return False
        return True

    def form_gather(self: int, args: int, count: int) -> int:
        """(tuple of arrays, table) -> the flat vector that they are views of, or a new one."""
        words = data(self)
        values, table_object = arguments(args, 2)
        table = data(table_object)
        parts = word(table, at.COUNT)
        if tuple_size(values) != parts:
            return not_taken(words)
        first = tuple_item(values, 0)
        base, start = 0, 0
        if native(first, words):
            base, start = base_of(first), data(first)
        together = base != 0
        for i in range(parts):
            array, part = tuple_item(values, i), table + 8 * (at.HEADER + i * at.PART)
            if not fits(array, words, part):
                return not_taken(words)
            if data(array) != start + word(part, at.START) * size:
                together = False
        if together:
            # All lie in the first one's owner, if it is the vector. A part of a longer vector is
            # viewed by Python.
            if not native(base, words) or dimensions(base) != 1 or flags_of(base) & C_ORDER == 0:
                return not_taken(words)
            if read_word(shape_of(base)) != word(table, at.SIZE) or data(base) != start:
                return not_taken(words)
            increment(base)
            return base
        flat = make_array(
            array_maker(words), array_type(words), type_number(words), 1, table + 8 * at.SIZE, 0
        )
        if flat == 0:
            return 0
        for i in range(parts):
            array, part = tuple_item(values, i), table + 8 * (at.HEADER + i * at.PART)
            target = as_pointer(data(flat) + word(part, at.START) * size, dtype)
            copy_elements(target, as_pointer(data(array), dtype), word(part, at.LENGTH))
        return flat

    def form_views(self: int, args: int, count: int) -> int:
        """(flat vector, table) -> a tuple of its arrays, as views."""
        words = data(self)
        flat, table_object = arguments(args, 2)
        table = data(table_object)
        if not native(flat, words) or dimensions(flat) != 1 or flags_of(flat) & C_ORDER == 0:
            return not_taken(words)
        if read_word(shape_of(flat)) != word(table, at.SIZE):
            return not_taken(words)
        made = tuple_new(word(table, at.COUNT))
        if made == 0:
            return 0
        for i in range(word(table, at.COUNT)):
            part = table + 8 * (at.HEADER + i * at.PART)
            view = make_view(
                array_maker(words), array_type(words), type_number(words), word(part, at.AXES),
                part + 8 * at.SHAPE, data(flat) + word(part, at.START) * size,
            )  # fmt: skip
            if view == 0:
                decrement(made)
                return 0
            increment(flat)
            as_pointer(view + at.BASE, types.intp)[0] = flat
            tuple_set(made, i, view)
        return made

    functions = {"form_gather": (ENTRY, form_gather), "form_views": (ENTRY, form_views)}
    return assemble(dtype_name, functions)
