"""Random words from a counter: Philox4x32-10, and dropout of the elements they choose.

Philox (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
turns four 32-bit words, the counter, and two more, the key, into four random words by ten rounds of
two multiplications. No state passes from one number to the next. So an element's number depends on
its place alone, whichever thread computes it, in whatever piece of the array:

    key      seed, low and high half
    counter  place // 4, low and high half; step; layer
    word     place % 4

An element is dropped if its word is less than rate * 2**32. Nothing is kept for the way back: the
same words come again for 0.6 ns an element.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.toolchain.compile import assemble, inlined, kernel
from fastgrad.kernels.toolchain.pointers import address_of, as_pointer, clear, least, scratch

# elements, their x and y (may be the same), place of the first; key, step, layer; threshold, scale
DROP = types.void(*[types.intp] * 8, types.float64)
AT_ONCE = 1024  # words in a buffer
LAST_WORD = (1 << 32) - 1

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inlined
def _round(a: Any, b: Any, c: Any, d: Any, k: Any, m: Any) -> Any:
    """One round; above a word's 32 bits may be anything."""
    first, second = (a & _LOW) * _M0, (c & _LOW) * _M1
    return (second >> _HALF) ^ b ^ k, second, (first >> _HALF) ^ d ^ m, first


@inlined
def _two_rounds(a: Any, b: Any, c: Any, d: Any, k: Any, m: Any) -> Any:
    a, b, c, d = _round(a, b, c, d, k, m)
    a, b, c, d = _round(a, b, c, d, k + _W0, m + _W1)
    return a, b, c, d, k + _W0 + _W0, m + _W1 + _W1


@kernel
def random_words(target: int, blocks: int, first: int, key: int, step: int, layer: int) -> None:
    """Write four words for each of the counters from `first` on."""
    words, c, d = as_pointer(target, types.uint32), types.uint64(step), types.uint64(layer)
    low, high = types.uint64(key) & _LOW, types.uint64(key) >> _HALF
    for i in range(blocks):
        place = types.uint64(first + i)
        a, b, e, f, k, m = _two_rounds(place, place >> _HALF, c, d, low, high)
        a, b, e, f, k, m = _two_rounds(a, b, e, f, k, m)
        a, b, e, f, k, m = _two_rounds(a, b, e, f, k, m)
        a, b, e, f, k, m = _two_rounds(a, b, e, f, k, m)
        a, b, e, f, k, m = _two_rounds(a, b, e, f, k, m)
        words[4 * i] = types.uint32(a)
        words[4 * i + 1] = types.uint32(b)
        words[4 * i + 2] = types.uint32(e)
        words[4 * i + 3] = types.uint32(f)


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``drop`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8

    @kernel
    def choose(count: int, x_at: int, y_at: int, words_at: int, limit: int, scale: float) -> None:
        x, y, words = (
            as_pointer(x_at, dtype), as_pointer(y_at, dtype), as_pointer(words_at, types.uint32)
        )  # fmt: skip
        threshold, factor, nothing = types.uint32(limit), dtype(scale), dtype(0)
        for i in range(count):
            y[i] = x[i] * factor if words[i] >= threshold else nothing

    def drop(
        count: int, x: int, y: int, place: int, key: int, step: int, layer: int, threshold: int,
        scale: float,
    ) -> None:  # fmt: skip
        """Write ``x * scale`` of the elements that stay, 0 of the others."""
        if threshold > LAST_WORD:
            clear(y, count * size)
            return
        words = address_of(scratch(AT_ONCE, types.uint32))
        done = 0
        while done < count:
            skipped = (place + done) % 4
            some = least(count - done, AT_ONCE - skipped)
            random_words(words, (skipped + some + 3) // 4, (place + done) // 4, key, step, layer)
            at = done * size
            choose(some, x + at, y + at, words + 4 * skipped, threshold, scale)
            done += some

    return assemble(dtype_name, {"drop": (DROP, drop)}, 1)
