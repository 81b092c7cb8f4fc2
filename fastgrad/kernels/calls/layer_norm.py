"""The entry points of layer normalization over contiguous samples.

Their arguments are the words below. Sums over samples are those of a bias: blocks of BATCH_BLOCK,
each one chain, added in order.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
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
from fastgrad.kernels.elementwise.layer_norm import STATE, sample_kernels
from fastgrad.kernels.network.layer import LAYER_BACKWARD
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    least,
    round_up,
    scratch,
    word,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.kernels.toolchain.target import tile as tile_for

# samples, their width; x, gain, bias (backward: grad_y), what is kept of the samples
SAMPLES, WIDTH, X, GAIN, OTHER, KEPT = range(6)
Y, EPS, FORWARD = range(6, 9)
GRAD_X, GRAD_GAIN, GRAD_BIAS, BACKWARD = range(6, 10)  # results, or 0
# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 14


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``layer_norm_forward`` and ``layer_norm_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    A_PACK = tile_for(dtype_name).a_pack
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    normalize, back = sample_kernels(dtype_name)

    @kernel
    def forward(table: int) -> None:
        k, eps = word(table, WIDTH), as_pointer(table, types.float64)[EPS]
        for i in range(word(table, SAMPLES)):
            place, state = i * k * size, word(table, KEPT) + i * STATE * size
            normalize(
                word(table, X) + place, word(table, Y) + place, k, word(table, GAIN),
                word(table, OTHER), state, eps,
            )  # fmt: skip

    @kernel
    def backward(table: int, a_space: int, products: int, hat: int, unwanted: int) -> None:
        n, k, g = word(table, SAMPLES), word(table, WIDTH), word(table, OTHER)
        grad_x, grad_gain = word(table, GRAD_X), word(table, GRAD_GAIN)
        one = scratch(1, dtype)
        one[0] = dtype(1)
        ones = address_of(one)
        for first in range(0, n, BATCH_BLOCK):
            m, adds = least(n - first, BATCH_BLOCK), 1 if first > 0 else 0
            block = g + first * k * size
            layer_backward(
                m, 0, k, block, k, 0, 0, 0, 0, 0, 0, word(table, GRAD_BIAS), adds, ones, a_space, 0
            )  # fmt: skip
            if grad_x == 0 and grad_gain == 0:
                continue
            for i in range(m):
                place = (first + i) * k * size
                back(
                    g + place, word(table, X) + place,
                    grad_x + place if grad_x != 0 else unwanted, hat, products + i * k * size, k,
                    word(table, GAIN), word(table, KEPT) + (first + i) * STATE * size,
                )  # fmt: skip
            layer_backward(
                m, 0, k, products, k, 0, 0, 0, 0, 0, 0, grad_gain, adds, ones, a_space, 0
            )  # fmt: skip

    def layer_norm_forward(self: int, args: int, count: int) -> int:
        """Return True as a new reference, None if an argument is not in the kernels' form."""
        words, table = data(self), address_of(scratch(FORWARD, types.intp))
        if count != FORWARD or not read_words(words, args, FORWARD, table):
            return not_taken(words)
        much = word(table, SAMPLES) * word(table, WIDTH) >= RELEASE_FROM
        state = release_gil() if much else 0
        forward(table)
        if state != 0:
            acquire_gil(state)
        increment(true(words))
        return true(words)

    def layer_norm_backward(self: int, args: int, count: int) -> int:
        """Return what `layer_norm_forward` does."""
        words, table = data(self), address_of(scratch(BACKWARD, types.intp))
        if count != BACKWARD or not read_words(words, args, BACKWARD, table):
            return not_taken(words)
        row = round_up(word(table, WIDTH) * size, 64)
        block = round_up(BATCH_BLOCK * word(table, WIDTH) * size, 64)
        space = workspace(round_up(A_PACK, 64) + block + 2 * row + 64)
        if space == 0:
            return no_memory()
        much = word(table, SAMPLES) * word(table, WIDTH) >= RELEASE_FROM
        state = release_gil() if much else 0
        a_space = round_up(space, 64)
        products = a_space + round_up(A_PACK, 64)
        backward(table, a_space, products, products + block, products + block + row)
        if state != 0:
            acquire_gil(state)
        free(space)
        increment(true(words))
        return true(words)

    functions: dict[str, Any] = {
        "layer_norm_forward": layer_norm_forward,
        "layer_norm_backward": layer_norm_backward,
    }
    return assemble(dtype_name, {name: (ENTRY, made) for name, made in functions.items()}, 1)
