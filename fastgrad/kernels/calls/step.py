"""Entry point of an optimizer's step: two tuples of arrays, and the table of where they go."""

from __future__ import annotations

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    acquire_gil,
    arguments,
    array_type,
    data,
    descr_of,
    dimensions,
    flags_of,
    increment,
    none,
    not_taken,
    record_type,
    release_gil,
    shape_of,
    true,
    tuple_item,
    tuple_size,
    type_of,
)
from fastgrad.kernels.network import update_table as at
from fastgrad.kernels.network.update_table import HEADER, ROW
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import ALIGNED, WRITEABLE
from fastgrad.kernels.toolchain.pointers import as_pointer, call_address, word

# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 14


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``optimizer_step``, which takes arrays of any dtype in the table."""

    @kernel
    def fits(array: int, row: int, words: int) -> bool:
        """Return whether an array has the dtype, shape and order that a row names."""
        if type_of(array) != array_type(words) or descr_of(array) != word(row, at.DTYPE):
            return False
        flags, shape = flags_of(array), word(row, at.SHAPE)
        if flags & ALIGNED == 0 or flags & word(row, at.ORDER) == 0:
            return False
        axes = dimensions(array)
        differ = axes != word(shape, 0)
        for i in range(0 if differ else axes):
            differ = differ or word(shape_of(array), i) != word(shape, i + 1)
        return not differ

    @kernel
    def apart(start: int, end: int, spans: int, count: int) -> bool:
        """Return whether a place is outside of all spans, which are sorted and disjoint."""
        low, high = 0, count  # all spans before index `low` end before the place
        while low < high:
            middle = (low + high) // 2
            if word(spans, 2 * middle + 1) <= start:
                low = middle + 1
            else:
                high = middle
        return low == count or word(spans, 2 * low) >= end

    def optimizer_step(self: int, args: int, count: int) -> int:
        """(params, grads, table, checked or None) -> True when all are updated."""
        words = data(self)
        params, grads, table_object, checked = arguments(args, 4)
        if type_of(table_object) != record_type(words):
            return not_taken(words)
        table = data(table_object)
        total, elements, at_table = 0, 0, table
        if word(table, at.BUSY) != 0:
            return not_taken(words)
        while at_table != 0:
            total += word(at_table, at.ROWS)
            at_table = word(at_table, at.NEXT)
        if tuple_size(params) != total or tuple_size(grads) != total:
            return not_taken(words)
        at_table = table
        while at_table != 0:
            for r in range(word(at_table, at.ROWS)):
                row = at_table + 8 * (HEADER + r * ROW)
                p, g = (
                    tuple_item(params, word(row, at.PLACE)), tuple_item(grads, word(row, at.PLACE))
                )  # fmt: skip
                if not (fits(p, row, words) and fits(g, row, words)):
                    return not_taken(words)
                if flags_of(p) & WRITEABLE == 0:
                    return not_taken(words)
                # If all arrays are where they were a step before, no two of them share memory.
                if checked == none(words):
                    start, size = data(g), word(row, at.ELEMENTS) * word(row, at.SIZE)
                    if data(p) != word(row, at.PARAMS) or not apart(
                        start, start + size, word(table, at.SPANS), word(table, at.COUNT)
                    ):
                        return not_taken(words)
                elements += word(row, at.ELEMENTS)
            at_table = word(at_table, at.NEXT)
        at_table = table
        while at_table != 0:
            for r in range(word(at_table, at.ROWS)):
                row = at_table + 8 * (HEADER + r * ROW)
                places = as_pointer(row, types.intp)
                places[at.PARAMS] = data(tuple_item(params, word(row, at.PLACE)))
                places[at.GRAD] = data(tuple_item(grads, word(row, at.PLACE)))
            at_table = word(at_table, at.NEXT)
        head = as_pointer(table, types.intp)
        state = 0
        if elements >= RELEASE_FROM:
            head[at.BUSY] = 1
            state = release_gil()
        at_table = table
        while at_table != 0:
            call_address(word(at_table, at.KERNEL), (at_table,))
            at_table = word(at_table, at.NEXT)
        if state != 0:
            acquire_gil(state)
            head[at.BUSY] = 0
        increment(true(words))
        return true(words)

    return assemble(dtype_name, {"optimizer_step": (ENTRY, optimizer_step)})
