"""Entry points that clip gradients: all arrays of a tree in one call, by their norm or one by one.

Squares are summed as `norm` says, array by array: the bits depend only on the shapes.
"""

from __future__ import annotations

import math
from typing import Any

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
    float_new,
    float_type,
    float_value,
    not_taken,
    release_gil,
    shape_of,
    tuple_item,
    tuple_size,
    type_of,
)
from fastgrad.kernels.elementwise.norm import LARGEST, SMALLEST, scale_of, squares_of
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import ALIGNED, C_ORDER, WRITEABLE
from fastgrad.kernels.toolchain.pointers import as_pointer, word

# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 15


def build(dtype_name: str) -> str:
    """Return the LLVM IR of both functions, which take arrays of float32 and float64."""

    @kernel
    def elements(array: int) -> int:
        """Return how many elements an array has."""
        count = 1
        for i in range(dimensions(array)):
            count *= word(shape_of(array), i)
        return count

    @kernel
    def fits(array: int, words: int, narrow: int, wide: int) -> bool:
        """Return whether an array is float32 or float64, writeable and contiguous in C's order."""
        if type_of(array) != array_type(words):
            return False
        if descr_of(array) != narrow and descr_of(array) != wide:
            return False
        needed = ALIGNED | C_ORDER | WRITEABLE
        return flags_of(array) & needed == needed

    @kernel
    def reach(array: int, narrow: int) -> int:
        """Return the address behind an array's last element."""
        return data(array) + elements(array) * (4 if descr_of(array) == narrow else 8)

    @kernel
    def all_apart(arrays: int, narrow: int) -> bool:
        """Return whether no two arrays share memory."""
        for i in range(tuple_size(arrays)):
            a = tuple_item(arrays, i)
            for j in range(i):
                b = tuple_item(arrays, j)
                if data(a) < reach(b, narrow) and data(b) < reach(a, narrow):
                    return False
        return True

    def limit_of(dtype: Any) -> Any:
        @kernel
        def limit(at: int, count: int, greatest: float) -> None:
            values, high, low = as_pointer(at, dtype), dtype(greatest), dtype(-greatest)
            for i in range(count):  # NaN stays
                value = values[i]
                value = high if value > high else value
                values[i] = low if value < low else value

        return limit

    squares32, squares64 = squares_of(types.float32), squares_of(types.float64)
    scale32, scale64 = scale_of(types.float32), scale_of(types.float64)
    limit32, limit64 = limit_of(types.float32), limit_of(types.float64)

    @kernel
    def size_of(arrays: int, limit: int, words: int, narrow: int, wide: int) -> int:
        """Return the number of elements of all arrays; -1 if one, or the limit, is not accepted."""
        if type_of(limit) != float_type(words):
            return -1
        if not (float_value(limit) >= 0.0 and float_value(limit) < math.inf):
            return -1
        total = 0
        for i in range(tuple_size(arrays)):
            if not fits(tuple_item(arrays, i), words, narrow, wide):
                return -1
            total += elements(tuple_item(arrays, i))
        return total

    @kernel
    def clipped(arrays: int, limit: float, narrow: int) -> float:
        """Scale all arrays if their norm is larger; return the norm, or -1 if nothing was done."""
        total = 0.0
        for i in range(tuple_size(arrays)):
            array = tuple_item(arrays, i)
            if descr_of(array) == narrow:
                total += squares32(data(array), elements(array))
            else:
                total += squares64(data(array), elements(array))
        norm = math.sqrt(total)
        if total > LARGEST or total < SMALLEST:
            return -1.0
        if norm > limit:
            if not all_apart(arrays, narrow):
                return -1.0
            for i in range(tuple_size(arrays)):
                array = tuple_item(arrays, i)
                if descr_of(array) == narrow:
                    scale32(data(array), elements(array), limit / norm)
                else:
                    scale64(data(array), elements(array), limit / norm)
        return norm

    def clip_norm(self: int, args: int, count: int) -> int:
        """(arrays, max_norm, float32, float64) -> the norm before; None: touches nothing."""
        words = data(self)
        arrays, greatest, narrow, wide = arguments(args, 4)
        size = size_of(arrays, greatest, words, narrow, wide)
        if size < 0:
            return not_taken(words)
        limit = float_value(greatest)
        state = release_gil() if size >= RELEASE_FROM else 0
        norm = clipped(arrays, limit, narrow)
        if state != 0:
            acquire_gil(state)
        return not_taken(words) if norm < 0.0 else float_new(norm)

    def clip_value(self: int, args: int, count: int) -> int:
        """(arrays, limit, float32, float64) -> the limit; None: touches nothing."""
        words = data(self)
        arrays, greatest, narrow, wide = arguments(args, 4)
        size = size_of(arrays, greatest, words, narrow, wide)
        if size < 0:
            return not_taken(words)
        limit = float_value(greatest)
        state = release_gil() if size >= RELEASE_FROM else 0
        for i in range(tuple_size(arrays)):
            array = tuple_item(arrays, i)
            if descr_of(array) == narrow:
                limit32(data(array), elements(array), limit)
            else:
                limit64(data(array), elements(array), limit)
        if state != 0:
            acquire_gil(state)
        return float_new(limit)

    functions = {"clip_norm": (ENTRY, clip_norm), "clip_value": (ENTRY, clip_value)}
    return assemble(dtype_name, functions)
