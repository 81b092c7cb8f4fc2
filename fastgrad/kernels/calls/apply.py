"""Entry points that run one activation's row kernels over whole arrays.

Contiguous arrays of any number of dimensions are read in place: the last axis is a row
(elementwise kernels also accept Fortran order). Matrices may have any strides, and with COLUMNS
the first axis is a row; rows that are not contiguous are gathered, some at a time.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    arguments,
    as_integer,
    data,
    decrement,
    dimensions,
    disjoint,
    extent,
    flags_of,
    free,
    increment,
    malloc,
    matrix,
    native,
    new_array_like,
    no_memory,
    none,
    not_taken,
    receives,
    release_gil,
    same_shape,
)
from fastgrad.kernels.elementwise.rows import CHUNK
from fastgrad.kernels.flags import COLUMNS, ELEMENTWISE, ONES, UNCHECKED
from fastgrad.kernels.product import gather as gathering
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import C_ORDER, F_ORDER
from fastgrad.kernels.toolchain.pointers import address_of, call_address, least, scratch
from fastgrad.kernels.toolchain.target import ACTIVATION_COST


@kernel
def one_piece(layouts: int, flags: int) -> int:
    """Return the order, C or Fortran, in which all arrays are contiguous; 0 for none.

    `layouts` are the flags that all of the arrays have.
    """
    if flags & COLUMNS:
        return 0
    if flags & ELEMENTWISE and layouts & C_ORDER == 0:
        return layouts & F_ORDER
    return layouts & C_ORDER


def row_views(dtype_name: str) -> tuple[Any, Any, Any]:
    """Return the kernels that see arrays, those read and those written, as rows."""
    size = getattr(types, dtype_name).bitwidth // 8

    @kernel
    def rows_of(
        array: int, words: int, order: int, columns: int
    ) -> tuple[bool, int, int, int, int, int]:
        """Return (ok, data, rows, columns, row stride, column stride).

        With an `order` (C_ORDER, F_ORDER) the array is known to be contiguous.
        """
        if order != 0:
            m, n = extent(array)
            return True, data(array), m, n, n, 1
        if dimensions(array) > 2:
            return False, 0, 0, 0, 0, 0
        return matrix(array, words, size, columns)

    @kernel
    def writable(given: int, a: int, b: int, words: int) -> bool:
        """Return whether a user's array may be written while a and b (or None) are read."""
        if not receives(given, words) or not disjoint(given, a, words, size):
            return False
        return disjoint(given, b, words, size)

    @kernel
    def result(given: int, like: int, words: int, order: int, columns: int) -> tuple[int, int, int]:
        """Return (array, data, row stride) of a result made from `like`: `given`, or new.

        The array is a new reference: None if `given` is not accepted, 0 if memory ran out.
        """
        array = given
        if given == none(words):
            fortran = 1 if columns or order == F_ORDER else 0
            array = new_array_like(words, like, fortran)
            if array == 0:
                return 0, 0, 0
        else:
            if not same_shape(given, like) or flags_of(given) & order != order:
                return not_taken(words), 0, 0
            increment(given)
        ok, at, _, _, row, col = rows_of(array, words, order, columns)
        if not ok or col != 1:
            decrement(array)
            return not_taken(words), 0, 0
        return array, at, row

    return rows_of, result, writable


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the entry points for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    rows_of, result, writable = row_views(dtype_name)
    gather, rows_at_once, room = gathering.build(dtype_name)

    @kernel
    def gathered_forward(
        z: int, z_row: int, z_col: int, y: int, y_row: int, m: int, n: int, address: int
    ) -> bool:
        """Run a forward kernel on rows gathered from z; return False where memory ran out."""
        most = rows_at_once(m, n, 1)
        space = malloc(room(most, n))
        if space == 0:
            return False
        for start in range(0, m, most):
            rows = least(most, m - start)
            gather(z + start * z_row * size, z_row, z_col, rows, n, space)
            call_address(address, (space, n, y + start * y_row * size, y_row, rows, n))
        free(space)
        return True

    @kernel
    def gathered_backward(
        g: int, g_row: int, g_col: int, s: int, s_row: int, s_col: int, out: int, out_row: int,
        m: int, n: int, address: int,
    ) -> bool:  # fmt: skip
        """Run a backward kernel on rows gathered from g and s; return False as above."""
        most = rows_at_once(m, n, 1)
        bytes_each = room(most, n)
        space = malloc(2 * bytes_each)
        if space == 0:
            return False
        for start in range(0, m, most):
            rows = least(most, m - start)
            gather(g + start * g_row * size, g_row, g_col, rows, n, space)
            gather(s + start * s_row * size, s_row, s_col, rows, n, space + bytes_each)
            call_address(
                address,
                (space, n, space + bytes_each, n, out + start * out_row * size, out_row, rows, n),
            )
        free(space)
        return True

    @kernel
    def derivative(s: int, out: int, count: int, address: int) -> None:
        """Run a backward kernel with g = 1 on `count` contiguous elements."""
        ones = scratch(CHUNK, dtype)
        for i in range(CHUNK):
            ones[i] = 1
        whole, one = count // CHUNK, address_of(ones)
        call_address(address, (one, 0, s, CHUNK, out, CHUNK, whole, CHUNK))
        done, rest = whole * CHUNK * size, count - whole * CHUNK
        if rest:
            call_address(address, (one, rest, s + done, rest, out + done, rest, 1, rest))

    def apply_forward(self: int, args: int, count: int) -> int:
        """(z, out or None, kernel address, flags) -> act(z)."""
        words = data(self)
        z, given, address, flags_object = arguments(args, 4)
        flags = as_integer(flags_object)
        columns = flags & COLUMNS
        if not native(z, words) or dimensions(z) == 0:
            return not_taken(words)
        order = one_piece(flags_of(z), flags)
        ok, z_at, m, n, z_row, z_col = rows_of(z, words, order, columns)
        if not ok or (flags & UNCHECKED and not writable(given, z, none(words), words)):
            return not_taken(words)
        y, y_at, y_row = result(given, z, words, order, columns)
        if y == 0 or y == none(words) or m * n == 0:
            return y
        state = release_gil() if m * n >= RELEASE_FROM // ACTIVATION_COST else 0
        done = True
        if z_col == 1:
            call_address(as_integer(address), (z_at, z_row, y_at, y_row, m, n))
        else:
            done = gathered_forward(z_at, z_row, z_col, y_at, y_row, m, n, as_integer(address))
        if state != 0:
            acquire_gil(state)
        if not done:
            decrement(y)
            return no_memory()
        return y

    def apply_backward(self: int, args: int, count: int) -> int:
        """(g, s, out or None, kernel address, flags) -> g * act', act' from s (y or z).

        With the flag ONES and a contiguous s, g is not read: ones are used instead.
        """
        words = data(self)
        g, s, given, address, flags_object = arguments(args, 5)
        flags, kernel_at = as_integer(flags_object), as_integer(address)
        columns, ones = flags & COLUMNS, flags & ONES != 0
        if ones:
            g = s
        if not (native(g, words) and native(s, words) and same_shape(g, s)):
            return not_taken(words)
        if dimensions(s) == 0:
            return not_taken(words)
        order = one_piece(flags_of(g) & flags_of(s), flags)
        if ones and order == 0:
            return not_taken(words)
        g_ok, g_at, m, n, g_row, g_col = rows_of(g, words, order, columns)
        s_ok, s_at, _, _, s_row, s_col = rows_of(s, words, order, columns)
        if not (g_ok and s_ok):
            return not_taken(words)
        if flags & UNCHECKED and not writable(given, g, s, words):
            return not_taken(words)
        out, out_at, out_row = result(given, s, words, order, columns)
        if out == 0 or out == none(words) or m * n == 0:
            return out
        state = release_gil() if m * n >= RELEASE_FROM // ACTIVATION_COST else 0
        done = True
        if ones:
            derivative(s_at, out_at, m * n, kernel_at)
        elif g_col == 1 and s_col == 1:
            call_address(kernel_at, (g_at, g_row, s_at, s_row, out_at, out_row, m, n))
        else:
            done = gathered_backward(
                g_at, g_row, g_col, s_at, s_row, s_col, out_at, out_row, m, n, kernel_at
            )
        if state != 0:
            acquire_gil(state)
        if not done:
            decrement(out)
            return no_memory()
        return out

    return assemble(
        dtype_name,
        {"apply_forward": (ENTRY, apply_forward), "apply_backward": (ENTRY, apply_backward)},
    )
