"""Entry points: compiled functions that Python calls directly, reading ndarrays in place.

Numba's own dispatcher types every argument at every call (0.1 us an array) and compiles again
for each layout and flag. An entry point is instead a C function with CPython's vectorcall
signature, ``PyObject *f(PyObject *self, PyObject **args, Py_ssize_t n)``. It reads each array's
header, and runs if the kernels accept all arrays. Otherwise it changes nothing and returns None (or
True: too much work for one call), and Python continues. `self` is the table of words made by
`entry.context`.

`headers` has the offsets in an object's header.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgrad.kernels.toolchain import memory_ir
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.headers import (
    ALIGNED,
    BETWEEN,
    C_ORDER,
    DATA,
    DESCR,
    F_ORDER,
    FLAGS,
    HEADER,
    ITEMS,
    MOST_AXES,
    NDIM,
    SHAPE,
    STRIDES,
    TYPE,
    UNHASHED,
    WRITEABLE,
)
from fastgrad.kernels.toolchain.memory_ir import I64
from fastgrad.kernels.toolchain.pointers import address_of, read_word, round_up, scratch

WORD = types.intp
ENTRY = WORD(WORD, WORD, WORD)  # self, args, how many

increment = types.ExternalFunction("Py_IncRef", types.void(WORD))
decrement = types.ExternalFunction("Py_DecRef", types.void(WORD))
no_memory = types.ExternalFunction("PyErr_NoMemory", WORD())
tuple_new = types.ExternalFunction("PyTuple_New", WORD(WORD))
_instance_new = types.ExternalFunction("PyType_GenericAlloc", WORD(WORD, WORD))  # class, items
as_integer = types.ExternalFunction("PyLong_AsSsize_t", WORD(WORD))
float_new = types.ExternalFunction("PyFloat_FromDouble", WORD(types.float64))
float_value = types.ExternalFunction("PyFloat_AsDouble", types.float64(WORD))  # of a float
list_size = types.ExternalFunction("PyList_Size", WORD(WORD))
list_item = types.ExternalFunction("PyList_GetItem", WORD(WORD, WORD))  # borrowed
clear_error = types.ExternalFunction("PyErr_Clear", types.void())
release_gil = types.ExternalFunction("PyEval_SaveThread", WORD())
acquire_gil = types.ExternalFunction("PyEval_RestoreThread", types.void(WORD))
malloc = types.ExternalFunction("malloc", WORD(WORD))
free = types.ExternalFunction("free", types.void(WORD))
advise = types.ExternalFunction("madvise", types.int32(WORD, WORD, types.int32))

# From this much work on (multiply-adds, or 16 per transcendental) the GIL is released: about 10 us,
# against 0.1 us for the two calls.
RELEASE_FROM = 1 << 18


# From this many bytes on, memory is requested in pages of 2 MiB, as NumPy does for its arrays: 64
# MiB of packed weights, new at each call, cause 16,000 page faults, which took twice as long as
# their product with 64 samples.
HUGE_FROM = 4 * 1024 * 1024
HUGE_PAGES, PAGE, MADV_HUGEPAGE = sys.platform.startswith("linux"), 4096, 14


@kernel
def workspace(size: int) -> int:
    """Return the address of `size` bytes, to be released by `free`; 0 if memory ran out."""
    space = malloc(size)
    if HUGE_PAGES and size >= HUGE_FROM and space != 0:
        start = round_up(space, PAGE)
        advise(start, space + size - start, types.int32(MADV_HUGEPAGE))
    return space


@intrinsic(prefer_literal=True)
def arguments(typingctx: Any, args: Any, count: Any) -> Any:
    """Return the first `count` arguments (borrowed objects) as a tuple of addresses."""
    kind = types.UniTuple(WORD, count.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        first = memory_ir.pointer(builder, values[0])
        places = [memory_ir.element(builder, I64, first, i) for i in range(kind.count)]
        items = [builder.load(place, typ=I64) for place in places]
        return context.make_tuple(builder, kind, items)

    return kind(WORD, count), codegen


def _word_of(offset: int, bits: int = 64) -> Any:
    """Return the intrinsic that reads the word at `offset` of an object."""

    @intrinsic
    def read(typingctx: Any, base: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            at = builder.add(values[0], I64(offset))
            value = builder.load(memory_ir.pointer(builder, at), typ=ir.IntType(bits))
            return builder.sext(value, I64) if bits < 64 else value

        return WORD(WORD), codegen

    return read


@intrinsic
def tuple_set(typingctx: Any, made: Any, index: Any, item: Any) -> Any:
    """Put a reference into a new tuple, as the macro ``PyTuple_SET_ITEM`` does."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made, index, item = args
        first = memory_ir.pointer(builder, builder.add(made, I64(ITEMS)))
        memory_ir.store(builder, item, memory_ir.element(builder, I64, first, index))
        return context.get_dummy_value()

    return types.void(WORD, WORD, WORD), codegen


@kernel
def tuple_item(made: int, index: int) -> int:
    """Return an item (borrowed), as the macro ``PyTuple_GET_ITEM`` does."""
    return read_word(made + ITEMS + 8 * index)


@intrinsic
def _set_unhashed(typingctx: Any, made: Any) -> Any:
    """Write what ``tuple.__new__`` writes into an instance beside its items."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for i, value in enumerate(UNHASHED):
            at = builder.add(args[0], I64(BETWEEN + 8 * i))
            memory_ir.store(builder, I64(value), memory_ir.pointer(builder, at))
        return context.get_dummy_value()

    return types.void(WORD), codegen


@kernel
def instance_new(kind: int, count: int) -> int:
    """Return a new instance of a subclass of tuple, its items still null (0: no memory)."""
    made = _instance_new(kind, count)
    if made != 0:
        _set_unhashed(made)
    return made


data = _word_of(DATA)  # address of an array's first element
dimensions = _word_of(NDIM, 32)
shape_of = _word_of(SHAPE)
strides_of = _word_of(STRIDES)
flags_of = _word_of(FLAGS, 32)
type_of = _word_of(TYPE)
descr_of = _word_of(DESCR)
tuple_size = _word_of(HEADER)
# The words of `entry.context`, read from its address ``data(self)``.
(
    array_type, native_descr, none, true, array_maker, type_number, share_from, class_descr,
    record_type, class_number, list_type, int_type, kinds_of, native_kind, float_type,
) = (_word_of(8 * i) for i in range(15))  # fmt: skip


@kernel
def not_taken(words: int) -> int:
    """Return None as a new reference: the arguments are not in the kernels' form."""
    increment(none(words))
    return none(words)


@kernel
def too_large(words: int) -> int:
    """Return True as a new reference: the arguments are right, but Python must share the work."""
    increment(true(words))
    return true(words)


@kernel
def native(array: int, words: int) -> bool:
    """Return whether an array has the kernels' class and dtype, and aligned elements."""
    if type_of(array) != array_type(words) or descr_of(array) != native_descr(words):
        return False
    return flags_of(array) & ALIGNED != 0


@kernel
def matrix(array: int, words: int, size: int, columns: int) -> tuple[bool, int, int, int, int, int]:
    """Return (ok, data, rows, cols, row stride, column stride), strides in elements.

    A vector is one row. With `columns` a matrix is read as its transpose, so that whatever
    the caller's sample layout, a row is a sample.
    """
    if not native(array, words):
        return False, 0, 0, 0, 0, 0
    ndim, shape, strides = dimensions(array), shape_of(array), strides_of(array)
    if ndim == 1:
        step = read_word(strides) if read_word(shape) > 1 else size
        return step % size == 0, data(array), 1, read_word(shape), 0, step // size
    if ndim != 2:
        return False, 0, 0, 0, 0, 0
    rows, cols = read_word(shape), read_word(shape + 8)
    row, col = read_word(strides), read_word(strides + 8)
    if columns:
        rows, cols, row, col = cols, rows, col, row
    # A dimension of length 1 may have any stride: make it harmless.
    if rows <= 1 or cols == 0:
        row = 0
    if cols <= 1 or rows == 0:
        col = size
    whole = row % size == 0 and col % size == 0
    return whole, data(array), rows, cols, row // size, col // size


@kernel
def extent(array: int) -> tuple[int, int]:
    """Return (rows, columns) of an array: the last axis is a row."""
    rows, shape, last = 1, shape_of(array), dimensions(array) - 1
    for i in range(last):
        rows *= read_word(shape + 8 * i)
    return rows, read_word(shape + 8 * last)


@kernel
def are_classes(array: int, words: int, count: int, classes: int) -> bool:
    """Return whether an array holds `count` contiguous int64 numbers from 0 to `classes` - 1."""
    if type_of(array) != array_type(words) or descr_of(array) != class_descr(words):
        return False
    if flags_of(array) & ALIGNED == 0 or flags_of(array) & C_ORDER == 0:
        return False
    held, shape = 1, shape_of(array)
    for i in range(dimensions(array)):
        held *= read_word(shape + 8 * i)
    if held != count:
        return False
    for i in range(count):
        label = read_word(data(array) + 8 * i)
        if label < 0 or label >= classes:
            return False
    return True


@kernel
def sample_rows(
    array: int, words: int, size: int, columns: int
) -> tuple[bool, int, int, int, int, int]:
    """Return what `matrix` returns, also for a contiguous array with leading batch axes."""
    if not native(array, words) or dimensions(array) <= 2:
        return matrix(array, words, size, columns)
    if columns or flags_of(array) & C_ORDER == 0:
        return False, 0, 0, 0, 0, 0
    m, n = extent(array)
    return True, data(array), m, n, n, 1


@kernel
def same_batch(a: int, b: int) -> bool:
    """Return whether two arrays have equally many axes and the same leading batch axes, if any."""
    if dimensions(a) != dimensions(b):
        return False
    for i in range(dimensions(a) - 1 if dimensions(a) > 2 else 0):
        if read_word(shape_of(a) + 8 * i) != read_word(shape_of(b) + 8 * i):
            return False
    return True


@kernel
def same_shape(a: int, b: int) -> bool:
    """Return whether two arrays have the same shape."""
    if dimensions(a) != dimensions(b):
        return False
    for i in range(dimensions(a)):
        if read_word(shape_of(a) + 8 * i) != read_word(shape_of(b) + 8 * i):
            return False
    return True


@kernel
def receives(array: int, words: int) -> bool:
    """Return whether results can go straight into an array: native, writeable, contiguous."""
    if not native(array, words):
        return False
    flags = flags_of(array)
    return flags & WRITEABLE != 0 and flags & (C_ORDER | F_ORDER) != 0


@kernel
def disjoint(array: int, other: int, words: int, size: int) -> bool:
    """Return whether a contiguous array shares no memory with another, or that is None.

    `size` is the size of both arrays' elements, or of the larger ones.
    """
    if other == none(words):
        return True
    start, length = data(array), size
    for i in range(dimensions(array)):
        length *= read_word(shape_of(array) + 8 * i)
    low = high = data(other)
    for i in range(dimensions(other)):
        reach = (read_word(shape_of(other) + 8 * i) - 1) * read_word(strides_of(other) + 8 * i)
        if reach < 0:
            low += reach
        else:
            high += reach
    return high + size <= start or low >= start + length


@intrinsic
def make_array(
    typingctx: Any, make: Any, kind: Any, number: Any, ndim: Any, shape: Any, fortran: Any
) -> Any:
    """Return a new array, through NumPy's ``PyArray_New`` at address `make`."""
    i32 = ir.IntType(32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        make, kind, number, ndim, shape, fortran = args
        # PyArray_New(type, nd, dims, type_num, strides, data, itemsize, flags, obj)
        function = ir.FunctionType(I64, [I64, i32, I64, i32, I64, I64, i32, i32, I64])
        number, ndim, fortran = (builder.trunc(a, i32) for a in (number, ndim, fortran))
        arguments = [kind, ndim, shape, number, I64(0), I64(0), i32(0), fortran, I64(0)]
        return memory_ir.call(builder, function, memory_ir.pointer(builder, make), arguments)

    return WORD(*([WORD] * 6)), codegen


@kernel
def new_array_like(words: int, like: int, fortran: int) -> int:
    """Return a new uninitialised array of the shape of `like` (0 where memory ran out)."""
    make, kind, number = array_maker(words), array_type(words), type_number(words)
    return make_array(make, kind, number, dimensions(like), shape_of(like), fortran)


@kernel
def new_integers(words: int, axes: int, shape: int) -> int:
    """Return a new int64 array with the shape at an address (0 as above)."""
    make, kind, number = array_maker(words), array_type(words), class_number(words)
    return make_array(make, kind, number, axes, shape, 0)


@kernel
def new_outputs(words: int, x: int, k: int, columns: int) -> int:
    """Return a new array for k outputs of each sample of x, side by side (0 as above)."""
    shape, axes = scratch(MOST_AXES, types.intp), dimensions(x)
    for i in range(axes):
        shape[i] = read_word(shape_of(x) + 8 * i)
    shape[0 if columns else axes - 1] = k
    make, kind, number = array_maker(words), array_type(words), type_number(words)
    return make_array(make, kind, number, axes, address_of(shape), columns)
