"""The entry point of dropout: its arguments are the words of `elementwise.philox.DROP`."""

from __future__ import annotations

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
from fastgrad.kernels.elementwise.philox import DROP
from fastgrad.kernels.toolchain.compile import assemble, external
from fastgrad.kernels.toolchain.pointers import address_of, as_pointer, scratch, word

WORDS = 9
# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 14


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``dropout`` for one dtype."""
    drop = external("drop", dtype_name, DROP)

    def dropout(self: int, args: int, count: int) -> int:
        """Return True as a new reference, None if an argument is not in the kernels' form."""
        words, table = data(self), address_of(scratch(WORDS, types.intp))
        if count != WORDS or not read_words(words, args, WORDS, table):
            return not_taken(words)
        state = release_gil() if word(table, 0) >= RELEASE_FROM else 0
        drop(
            word(table, 0), word(table, 1), word(table, 2), word(table, 3), word(table, 4),
            word(table, 5), word(table, 6), word(table, 7), as_pointer(table, types.float64)[8],
        )  # fmt: skip
        if state != 0:
            acquire_gil(state)
        increment(true(words))
        return true(words)

    return assemble(dtype_name, {"dropout": (ENTRY, dropout)})
