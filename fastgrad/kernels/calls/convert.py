"""Entry points that convert arrays for the kernels, as NumPy's ``astype`` does.

A tiny layer takes 0.4 us, and so does one ``astype`` from Python, even without choosing the dtypes
first. Here one call converts all arrays. It accepts arrays of any strides that have at most two
axes or are contiguous. A number too large for the dtype becomes inf, without a warning. Python
converts float16, other byte orders and objects that are no arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgrad.kernels.calls.entry import KINDS
from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    arguments,
    array_type,
    as_integer,
    clear_error,
    data,
    decrement,
    descr_of,
    dimensions,
    flags_of,
    increment,
    int_type,
    kinds_of,
    list_item,
    list_size,
    list_type,
    native_descr,
    native_kind,
    new_array_like,
    new_integers,
    none,
    not_taken,
    receives,
    same_shape,
    shape_of,
    strides_of,
    tuple_item,
    tuple_new,
    tuple_set,
    tuple_size,
    type_of,
)
from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import ALIGNED, C_ORDER, F_ORDER
from fastgrad.kernels.toolchain.memory_ir import I64
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    greatest,
    least,
    read_word,
    scratch,
)

UNKNOWN = -1
SIZES = tuple(np.dtype(kind).itemsize for kind in KINDS)
BOOL_KIND, FLOAT32_KIND, FLOAT64_KIND = map(KINDS.index, ("bool", "float32", "float64"))


def _element(kind: str) -> tuple[Any, str]:
    """Return the LLVM type of a kind of element, and NumPy's letter of its kind (f, b, i, u)."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return (ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()), "f"
    return ir.IntType(8 * dtype.itemsize), dtype.kind


def _converted(builder: Any, value: Any, kind: str, target: Any) -> Any:
    """Write the conversion of one element."""
    if value.type == target:
        return value
    if kind == "f":
        narrower = isinstance(target, ir.FloatType)
        return builder.fptrunc(value, target) if narrower else builder.fpext(value, target)
    if isinstance(target, ir.IntType):
        return builder.sext(value, target) if kind == "i" else builder.zext(value, target)
    if kind == "b":  # any byte but 0 is true
        value = builder.icmp_unsigned("!=", value, value.type(0))
    return builder.sitofp(value, target) if kind == "i" else builder.uitofp(value, target)


@intrinsic
def convert_line(typingctx: Any, kind: Any, source: Any, step: Any, target: Any, count: Any) -> Any:
    """Convert `count` elements of a kind (an index of KINDS), `step` bytes apart, to the target's.

    Nothing is written for other kinds, nor for floats if the target has integers.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, source, step, target, count = args
        element = context.get_value_type(sig.args[3].dtype)
        done = builder.append_basic_block("converted")
        switch = builder.switch(kind, done)
        for index, name in enumerate(KINDS):
            held, letter = _element(name)
            if isinstance(element, ir.IntType) and letter not in "iu":
                continue
            block = builder.append_basic_block(name)
            switch.add_case(I64(index), block)
            builder.position_at_end(block)

            def line(apart: Any, held: Any = held, letter: Any = letter) -> None:
                with cgutils.for_range(builder, count) as loop:
                    at = builder.add(source, builder.mul(loop.index, apart))
                    value = builder.load(memory_ir.pointer(builder, at), typ=held)
                    value = _converted(builder, value, letter, element)
                    place = memory_ir.element(builder, element, target, loop.index)
                    memory_ir.store(builder, value, place)

            size = I64(np.dtype(name).itemsize)
            with builder.if_else(builder.icmp_signed("==", step, size)) as (adjacent, apart):
                with adjacent:  # becomes vector code
                    line(size)
                with apart:
                    line(step)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, target, types.intp), codegen


@kernel
def kind_of(array: int, words: int) -> int:
    """Return the index in KINDS of an array's dtype; UNKNOWN of anything else."""
    if type_of(array) != array_type(words) or flags_of(array) & ALIGNED == 0:
        return UNKNOWN
    descr, known = descr_of(array), kinds_of(words)
    if descr == native_descr(words):  # most are
        return native_kind(words)
    for i in range(len(KINDS)):
        if read_word(known + 8 * i) == descr:
            return i
    return UNKNOWN


@kernel
def count_of(array: int) -> int:
    """Return how many elements an array has."""
    count = 1
    for i in range(dimensions(array)):
        count *= read_word(shape_of(array) + 8 * i)
    return count


@kernel
def span(array: int, size: int) -> tuple[int, int]:
    """Return where the memory of an array of elements of this size begins, and where it ends."""
    low = high = data(array)
    for i in range(dimensions(array)):
        reach = (read_word(shape_of(array) + 8 * i) - 1) * read_word(strides_of(array) + 8 * i)
        low, high = low + least(reach, 0), high + greatest(reach, 0)
    return low, high + size


@kernel
def apart(out: int, array: int, kind: int, words: int) -> bool:
    """Return whether an output, None or an array of a known kind, shares no memory with another."""
    if out == none(words) or count_of(array) == 0:
        return True
    out_kind = kind_of(out, words)
    if out_kind == UNKNOWN:
        return False
    low, high = span(out, SIZES[out_kind])
    start, stop = span(array, SIZES[kind])
    return high <= start or stop <= low or count_of(out) == 0


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``natives``, ``converted`` and ``classes`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    single = dtype_name == "float32"

    @kernel
    def fill(target_at: int, array: int, kind: int, order: int) -> None:
        """Convert an array to a contiguous one of its shape, in C_ORDER or F_ORDER."""
        target, shape, steps = as_pointer(target_at, dtype), shape_of(array), strides_of(array)
        if flags_of(array) & order:
            convert_line(kind, data(array), SIZES[kind], target, count_of(array))
            return
        along = 8 if order == C_ORDER else 0  # the axis within a row of the target
        rows, row = 1, 0
        if dimensions(array) == 2:
            rows, row = read_word(shape + 8 - along), read_word(steps + 8 - along)
        else:
            along = 0
        n, step = read_word(shape + along), read_word(steps + along)
        for i in range(rows):
            to = as_pointer(target_at + i * n * size, dtype)
            convert_line(kind, data(array) + i * row, step, to, n)

    @kernel
    def new_converted(array: int, kind: int, words: int) -> int:
        """Return a new array of the elements of one; None if it is not accepted, 0 without memory.

        It has the memory order of the old one.
        """
        order, steps = flags_of(array) & (C_ORDER | F_ORDER), strides_of(array)
        if order == 0 and dimensions(array) > 2:
            return not_taken(words)
        if order == 0 and dimensions(array) == 2:
            transposed = abs(read_word(steps)) < abs(read_word(steps + 8))
            order = F_ORDER if transposed else C_ORDER
        order = F_ORDER if order == F_ORDER else C_ORDER
        made = new_array_like(words, array, 1 if order == F_ORDER else 0)
        if made != 0:
            fill(data(made), array, kind, order)
        return made

    def natives(self: int, args: int, count: int) -> int:
        """(tuple of arrays or None, tuple of outputs or None) -> the arrays, of this dtype.

        None if NumPy would not promote them to it (integers and bools alone become float64), or if
        one shares memory with an output.
        """
        words = data(self)
        nothing = none(words)
        given, outputs = arguments(args, 2)
        many, outs = tuple_size(given), tuple_size(outputs)
        floats = wide = False
        for i in range(many):
            array = tuple_item(given, i)
            if array != nothing:
                kind = kind_of(array, words)
                if kind == UNKNOWN:
                    return not_taken(words)
                floats |= kind in (FLOAT32_KIND, FLOAT64_KIND)
                wide |= kind > FLOAT32_KIND
                for j in range(outs):
                    if not apart(tuple_item(outputs, j), array, kind, words):
                        return not_taken(words)
        if (floats and not wide) != single:
            return not_taken(words)
        made = tuple_new(many)
        if made == 0:
            return 0
        for i in range(many):
            array = tuple_item(given, i)
            if array == nothing or descr_of(array) == native_descr(words):
                increment(array)
            else:
                array = new_converted(array, kind_of(array, words), words)
                if array == 0 or array == nothing:
                    decrement(made)
                    return array
            tuple_set(made, i, array)
        return made

    def converted(self: int, args: int, count: int) -> int:
        """(array, out or None) -> its elements in this dtype, in `out` or in a new array."""
        words = data(self)
        array, out = arguments(args, 2)
        kind = kind_of(array, words)
        if kind == UNKNOWN:
            return not_taken(words)
        if out == none(words):
            return new_converted(array, kind, words)
        if not receives(out, words) or not same_shape(array, out):
            return not_taken(words)
        order = C_ORDER if flags_of(out) & C_ORDER else F_ORDER
        if flags_of(array) & order == 0 and dimensions(array) > 2:
            return not_taken(words)
        if not apart(out, array, kind, words):
            return not_taken(words)
        fill(data(out), array, kind, order)
        increment(out)
        return out

    def classes(self: int, args: int, count: int) -> int:
        """(an array of integers, or a list of them; output or None) -> a new int64 array."""
        words = data(self)
        given, out = arguments(args, 2)
        if type_of(given) == list_type(words):
            n = list_size(given)
            length = scratch(1, types.intp)
            length[0] = n
            made = new_integers(words, 1, address_of(length))
            if made == 0:
                return 0
            target = as_pointer(data(made), types.int64)
            for i in range(n):
                item = list_item(given, i)
                target[i] = as_integer(item) if type_of(item) == int_type(words) else -1
                if target[i] < 0:  # not a class, or too large for a word
                    clear_error()
                    decrement(made)
                    return not_taken(words)
            return made
        kind = kind_of(given, words)
        if kind == UNKNOWN or flags_of(given) & C_ORDER == 0:
            return not_taken(words)
        if kind in (BOOL_KIND, FLOAT32_KIND, FLOAT64_KIND) or not apart(out, given, kind, words):
            return not_taken(words)
        made = new_integers(words, dimensions(given), shape_of(given))
        if made != 0:
            target = as_pointer(data(made), types.int64)
            convert_line(kind, data(given), SIZES[kind], target, count_of(given))
        return made

    return assemble(
        dtype_name,
        {
            "natives": (ENTRY, natives),
            "converted": (ENTRY, converted),
            "classes": (ENTRY, classes),
        },
    )
