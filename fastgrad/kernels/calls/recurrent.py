"""The entry points of a recurrent layer: their arguments are the words of `recurrent_table`."""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    data,
    free,
    increment,
    no_memory,
    not_taken,
    release_gil,
    true,
    workspace,
)
from fastgrad.kernels.calls.words import read_words
from fastgrad.kernels.network import recurrent_table as at
from fastgrad.kernels.network.recurrent import STEPS, workspaces
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import address_of, scratch, word


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``recurrent_forward`` and ``recurrent_backward`` for one dtype."""
    WORDS = at.WORDS
    lay_out = workspaces(dtype_name)
    steps_forward = external("steps_forward", dtype_name, STEPS)
    steps_backward = external("steps_backward", dtype_name, STEPS)

    @kernel
    def run(words: int, args: int, count: int, back: bool) -> int:
        """Return True as a new reference, None if an argument is not in the kernels' form."""
        table = address_of(scratch(WORDS, types.intp))
        if not read_words(words, args, count, table):
            return not_taken(words)
        space = workspace(lay_out(table, back, 0) + 64)
        if space == 0:
            return no_memory()
        lay_out(table, back, space)
        rows, width = word(table, at.STEPS) * word(table, at.SAMPLES), word(table, at.GATES)
        work = rows * width * (word(table, at.INPUTS) + word(table, at.STATES))
        state = release_gil() if work >= RELEASE_FROM else 0
        if back:
            steps_backward(table)
        else:
            steps_forward(table)
        if state != 0:
            acquire_gil(state)
        free(space)
        increment(true(words))
        return true(words)

    def recurrent_forward(self: int, args: int, count: int) -> int:
        return run(data(self), args, at.FORWARD, False)

    def recurrent_backward(self: int, args: int, count: int) -> int:
        return run(data(self), args, at.BACKWARD, True)

    functions: dict[str, Any] = {
        "recurrent_forward": recurrent_forward,
        "recurrent_backward": recurrent_backward,
    }
    return assemble(dtype_name, {name: (ENTRY, made) for name, made in functions.items()})
