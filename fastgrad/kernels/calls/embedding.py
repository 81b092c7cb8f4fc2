"""The entry points of an embedding: rows of a table by their numbers, and their gradients' sums.

Their arguments are the words below. An element of the gradient is the sum of its rows in order of
position, begun with what is there.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    acquire_gil,
    data,
    increment,
    not_taken,
    release_gil,
    true,
)
from fastgrad.kernels.calls.words import read_words
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    copy_elements,
    scratch,
    word,
)

# how many rows, their width; ids; rows of the table, its strides in elements; table; the rows
COUNT, WIDTH, IDS, HEIGHT, ROW, COLUMN, TABLE, ROWS, WORDS = range(9)
# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 15


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``embedding_forward`` and ``embedding_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8

    @kernel
    def in_range(ids: int, count: int, height: int) -> bool:
        wrong = 0
        for i in range(count):
            row = word(ids, i)
            wrong |= row | (height - 1 - row)  # negative if one of them is
        return wrong >= 0

    @kernel
    def gather(table: int) -> None:
        ids, width, column = word(table, IDS), word(table, WIDTH), word(table, COLUMN)
        for i in range(word(table, COUNT)):
            row = word(table, TABLE) + word(ids, i) * word(table, ROW) * size
            source = as_pointer(row, dtype)
            target = as_pointer(word(table, ROWS) + i * width * size, dtype)
            if column == 1:
                copy_elements(target, source, width)
            else:
                for j in range(width):
                    target[j] = source[j * column]

    @kernel
    def scatter(table: int) -> None:
        ids, width = word(table, IDS), word(table, WIDTH)
        for i in range(word(table, COUNT)):
            target = as_pointer(word(table, TABLE) + word(ids, i) * width * size, dtype)
            source = as_pointer(word(table, ROWS) + i * width * size, dtype)
            for j in range(width):
                target[j] = target[j] + source[j]

    @kernel
    def run(words: int, args: int, count: int, back: bool) -> int:
        """Return True as a new reference, None if an id is out of range or an argument unfit."""
        table = address_of(scratch(WORDS, types.intp))
        if count != WORDS or not read_words(words, args, WORDS, table):
            return not_taken(words)
        if not in_range(word(table, IDS), word(table, COUNT), word(table, HEIGHT)):
            return not_taken(words)
        much = word(table, COUNT) * word(table, WIDTH) >= RELEASE_FROM
        state = release_gil() if much else 0
        if back:
            scatter(table)
        else:
            gather(table)
        if state != 0:
            acquire_gil(state)
        increment(true(words))
        return true(words)

    def embedding_forward(self: int, args: int, count: int) -> int:
        return run(data(self), args, count, False)

    def embedding_backward(self: int, args: int, count: int) -> int:
        return run(data(self), args, count, True)

    functions: dict[str, Any] = {
        "embedding_forward": embedding_forward,
        "embedding_backward": embedding_backward,
    }
    return assemble(dtype_name, {name: (ENTRY, made) for name, made in functions.items()}, 1)
