"""Entry points that run one row kernel or one loss over whole arrays.

The arrays are C-contiguous of any number of dimensions (elementwise kernels do not mind Fortran
order); the last axis is a row. Anything else is not taken, and Python makes it so.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.compile import assemble, kernel
from fastgrad.kernels.pointers import address_of, call_address, read_word, scratch
from fastgrad.kernels.pyobject import (
    ALIGNED,
    C_ORDER,
    ENTRY,
    F_ORDER,
    RELEASE_FROM,
    UNCHECKED,
    acquire_gil,
    arguments,
    array_maker,
    array_type,
    as_integer,
    data,
    decrement,
    descr_of,
    dimensions,
    disjoint,
    flags_of,
    float_new,
    increment,
    make_array,
    native_descr,
    none,
    not_taken,
    receives,
    release_gil,
    same_shape,
    shape_of,
    tuple_new,
    tuple_set,
    type_number,
    type_of,
)

SUM, SAMPLES = 1, 2  # codes of losses.REDUCTIONS; 0 is the mean


@kernel
def order(array: int, words: int, allowed: int) -> int:
    """Return which of the allowed contiguous orders a native array is in; 0 for none."""
    if type_of(array) != array_type(words) or descr_of(array) != native_descr(words):
        return 0
    flags = flags_of(array)
    if flags & ALIGNED == 0 or dimensions(array) == 0:
        return 0
    if flags & C_ORDER:
        return C_ORDER
    return flags & allowed


@kernel
def extent(array: int) -> tuple[int, int]:
    """Return (rows, columns): the last axis is a row."""
    rows, shape, last = 1, shape_of(array), dimensions(array) - 1
    for i in range(last):
        rows *= read_word(shape + 8 * i)
    return rows, read_word(shape + 8 * last)


@kernel
def new_array_like(words: int, like: int, fortran: int) -> int:
    """Return a new uninitialised array of the shape of `like` (0 where memory ran out)."""
    make, kind, number = array_maker(words), array_type(words), type_number(words)
    return make_array(make, kind, number, dimensions(like), shape_of(like), fortran)


@kernel
def fits(out: int, like: int, words: int) -> bool:
    """Return whether a user's `out` can receive a result made from `like`, in `like`'s order."""
    return (
        receives(out, words)
        and same_shape(out, like)
        and flags_of(out) & flags_of(like) & (C_ORDER | F_ORDER) != 0
    )


@kernel
def target_array(given: int, like: int, words: int, fortran: int) -> int:
    """Return a new reference to `given`, or a new array like `like` where it is None."""
    if given == none(words):
        return new_array_like(words, like, fortran)
    increment(given)
    return given


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the entry points for one dtype."""
    wide: Any = types.float64
    size = getattr(types, dtype_name).bitwidth // 8

    def apply_forward(self: int, args: int, count: int) -> int:
        """(z, out or None, kernel address, flags) -> act(z); flags: elementwise + UNCHECKED."""
        words = data(self)
        z, given, address, flags_object = arguments(args, 4)
        flags = as_integer(flags_object)
        layout = order(z, words, C_ORDER | F_ORDER if flags & 1 else C_ORDER)
        if layout == 0:
            return not_taken(words)
        if flags & UNCHECKED and not (fits(given, z, words) and disjoint(given, z, words, size)):
            return not_taken(words)
        y = target_array(given, z, words, 1 if layout == F_ORDER else 0)
        if y == 0:
            return 0
        m, n = extent(z)
        if n == 0:  # however many rows
            return y
        state = release_gil() if m * n >= RELEASE_FROM // 16 else 0
        call_address(as_integer(address), (data(z), n, data(y), n, m, n))
        if state != 0:
            acquire_gil(state)
        return y

    def apply_backward(self: int, args: int, count: int) -> int:
        """(g, s, out or None, kernel address, flags) -> g * act', act' from s (y or z)."""
        words = data(self)
        g, s, given, address, flags_object = arguments(args, 5)
        flags = as_integer(flags_object)
        allowed = C_ORDER | F_ORDER if flags & 1 else C_ORDER
        layout = order(g, words, allowed)
        if layout == 0 or order(s, words, allowed) != layout or not same_shape(g, s):
            return not_taken(words)
        if flags & UNCHECKED:
            if not fits(given, g, words) or not disjoint(given, g, words, size):
                return not_taken(words)
            if not disjoint(given, s, words, size):
                return not_taken(words)
        out = target_array(given, g, words, 1 if layout == F_ORDER else 0)
        if out == 0:
            return 0
        m, n = extent(g)
        if n == 0:
            return out
        state = release_gil() if m * n >= RELEASE_FROM // 16 else 0
        call_address(as_integer(address), (data(g), n, data(s), n, data(out), n, m, n))
        if state != 0:
            acquire_gil(state)
        return out

    def apply_loss(self: int, args: int, count: int) -> int:
        """(pred, target or None, labels, grad, kernel address, reduction, rowwise).

        `labels` is None or an int64 vector of classes. `grad` is a user's array to fill, None for
        a new one, or False for none. Returns a float, or (float, grad) where there is one.
        """
        words = data(self)
        nothing = none(words)
        pred, target, labels, given, address, code, rowwise = arguments(args, 7)
        if order(pred, words, C_ORDER) == 0:
            return not_taken(words)
        if target != nothing and (
            order(target, words, C_ORDER) == 0 or not same_shape(pred, target)
        ):
            return not_taken(words)
        m, n = extent(pred)
        if m * n == 0:
            return not_taken(words)
        target_at = 0
        if target != nothing:
            target_at = data(target)
        if labels != nothing:
            target_at = data(labels)
            for i in range(m):
                if read_word(target_at + 8 * i) < 0 or read_word(target_at + 8 * i) >= n:
                    return not_taken(words)
        grad, grad_at = nothing, 0
        want = type_of(given) == array_type(words) or given == nothing
        if want and given != nothing:
            if not fits(given, pred, words) or not disjoint(given, pred, words, size):
                return not_taken(words)
            if not disjoint(given, target, words, size) or not disjoint(given, labels, words, 8):
                return not_taken(words)
        if want:
            grad = target_array(given, pred, words, 0)
            if grad == 0:
                return 0
            grad_at = data(grad)
        cells = scratch(2, wide)
        reduction = as_integer(code)
        terms = m if reduction == SAMPLES or as_integer(rowwise) else m * n
        cells[0] = 1.0 if reduction == SUM else 1.0 / terms
        cells[1] = 0.0
        state = release_gil() if m * n >= RELEASE_FROM // 16 else 0
        call_address(
            as_integer(address),
            (data(pred), n, target_at, n, grad_at, n, m, n, 1 if labels != nothing else 0,
             address_of(cells), address_of(cells) + 8),
        )  # fmt: skip
        if state != 0:
            acquire_gil(state)
        value = float_new(cells[1] if reduction == SUM else cells[1] / terms)
        if want and value == 0:
            decrement(grad)
        if not want or value == 0:
            return value
        pair = tuple_new(2)
        if pair == 0:
            decrement(value)
            decrement(grad)
            return 0
        tuple_set(pair, 0, value)
        tuple_set(pair, 1, grad)
        return pair

    return assemble(
        dtype_name,
        {
            "apply_forward": (ENTRY, apply_forward),
            "apply_backward": (ENTRY, apply_backward),
            "apply_loss": (ENTRY, apply_loss),
        },
    )
