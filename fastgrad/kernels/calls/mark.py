"""A number that detects whether an output has been changed.

Checking all of a large y would cost as much as reading it once more. So at most MARK_SAMPLES
elements count: all of a smaller y, else chunks of neighbours, including the first and the last
elements. Changing one of them changes the number, and so does exchanging two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.flags import MARK_SAMPLES
from fastgrad.kernels.toolchain.compile import inlined, kernel
from fastgrad.kernels.toolchain.pointers import as_pointer

CHUNKS = 4
CHUNK = MARK_SAMPLES // CHUNKS
# Word i has the weight i * (2 * i + 1) * FACTOR modulo 2**14. All weights differ for i < 2**14, and
# no choice of signs makes the first 12 add up to zero: -y must not have the mark of y. The sum of 2
# * MARK_SAMPLES words of 32 bits is below 2**53: exact as a float.
FACTOR, WEIGHTS = 9949, (1 << 14) - 1


def _weigher() -> Any:
    @inlined
    def weighed(at: Any, words: Any, before: Any) -> Any:
        """Return the weighted sum of `words` words, with `before` words before them."""
        bits, total = as_pointer(at, types.uint32), 0
        for i in range(words):
            place = before + i + 1
            total += types.intp(bits[i]) * ((place * (2 * place + 1) * FACTOR) & WEIGHTS)
        return total

    return weighed


def build(dtype_name: str) -> Any:
    """Return ``mark(at, row, m, n)`` of m rows of n elements, `row` elements apart."""
    size, weighed = np.dtype(dtype_name).itemsize, _weigher()
    per = size // 4  # words of an element

    @kernel
    def scattered(at: int, row: int, m: int, n: int) -> int:
        """Return the same for rows with gaps between them, one element at a time."""
        count, total = m * n, 0
        chunk = count if count <= MARK_SAMPLES else CHUNK
        for taken in range(count if count <= MARK_SAMPLES else MARK_SAMPLES):
            i = taken // chunk * ((count - chunk) // (CHUNKS - 1)) + taken % chunk
            total += weighed(at + (i // n * row + i % n) * size, per, taken * per)
        return total

    @kernel
    def mark(at: int, row: int, m: int, n: int) -> float:
        count = m * n
        if m != 1 and row != n:
            return float(scattered(at, row, m, n))
        if count <= MARK_SAMPLES:
            return float(weighed(at, count * per, 0))
        total, step = 0, (count - CHUNK) // (CHUNKS - 1) * size
        for chunk in range(CHUNKS):
            total += weighed(at + chunk * step, CHUNK * per, chunk * CHUNK * per)
        return float(total)

    return mark


def build_strided(dtype_name: str) -> Any:
    """Return ``mark(at, row, col, m, n)``: the same number for the same elements of any strides."""
    size, weighed, mark = np.dtype(dtype_name).itemsize, _weigher(), build(dtype_name)
    per = size // 4

    @kernel
    def strided(at: int, row: int, col: int, m: int, n: int) -> float:
        if col == 1:
            return mark(at, row, m, n)
        count, total = m * n, 0
        chunk = count if count <= MARK_SAMPLES else CHUNK
        for taken in range(count if count <= MARK_SAMPLES else MARK_SAMPLES):
            i = taken // chunk * ((count - chunk) // (CHUNKS - 1)) + taken % chunk
            total += weighed(at + (i // n * row + i % n * col) * size, per, taken * per)
        return float(total)

    return strided
