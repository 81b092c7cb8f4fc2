"""Read the arguments of an entry point as words: for layers that are told what to do by a table."""

from __future__ import annotations

from numba import types

from fastgrad.kernels.calls.pyobject import (
    array_type,
    as_integer,
    class_descr,
    data,
    descr_of,
    float_type,
    float_value,
    int_type,
    native,
    none,
    type_of,
)
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import as_pointer, read_word


@kernel
def read_words(words: int, args: int, count: int, table: int) -> bool:
    """Write the arguments as words to a table; return whether all are in the kernels' form.

    A number is its value, an array (of the kernels' dtype, or int64) its address, None is 0.
    """
    values, numbers = as_pointer(table, types.intp), as_pointer(table, types.float64)
    for i in range(count):
        given = read_word(args + 8 * i)
        if given == none(words):
            values[i] = 0
        elif type_of(given) == int_type(words):
            values[i] = as_integer(given)
        elif type_of(given) == float_type(words):
            numbers[i] = float_value(given)
        elif native(given, words) or (
            type_of(given) == array_type(words) and descr_of(given) == class_descr(words)
        ):
            values[i] = data(given)
        else:
            return False
    return True
