"""Kernels touch nothing outside of the arrays: beside these lie pages that nobody may touch.

A vector loaded across the end of an array, or stored there, ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn

import fastgrad as fg

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")

PAGE = mmap.PAGESIZE
# Samples x inputs x outputs: less than a vector, some vectors, and blocks of the batch.
SHAPES = [(n, d, k) for n in (1, 7, 33, 65) for d in (1, 3, 8, 9, 20) for k in (1, 2, 5, 8, 10)]
SHAPES += [(1100, 3, 2), (1100, 5, 1), (1030, 1, 6), (40, 70, 50)]


class Guarded:
    """Makes copies of arrays at the end, or the beginning, of memory of their own."""

    def __init__(self, at_end: bool) -> None:
        self.at_end = at_end
        self.memory: list[Any] = []

    def __call__(self, array: Array) -> Array:
        size = -(-array.nbytes // PAGE) * PAGE
        memory = mmap.mmap(-1, size + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (start, start + PAGE + size):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
        self.memory.append(memory)
        offset = PAGE + (size - array.nbytes if self.at_end else 0)
        flat: Array = np.ndarray(array.size, array.dtype, memory, offset)
        order = "C" if array.flags.c_contiguous else "F"
        copy = flat.reshape(array.shape, order=order)
        copy[...] = array
        return copy


def results(data: list[Array], samples: str, guarded: Any) -> list[Any]:
    """Return what two layers and a loss make of the arrays, in outputs that are `guarded`."""
    x, w, b, g, labels = map(guarded, data)
    made: list[Any] = []
    for name in ("gelu", "softmax"):
        shape = fg.dense(*data[:3], name, samples=samples)
        y, cache = fg.dense_forward(x, w, b, name, samples=samples, out=guarded(shape))
        out = {field: guarded(array) for field, array in (("x", x), ("w", w), ("b", b))}
        made += [y, *fg.dense_backward(g, cache, out=out)[:3]]
        axis = 0 if samples == "columns" else -1
        made += [fg.softmax(a, axis=axis) for a in (y, g)]
        made += [fg.softmax.backward(g, g, axis=axis), fg.gelu.derivative(g)]
    loss = fg.losses.softmax_cross_entropy
    made += loss.value_and_grad(g, labels, samples=samples, out=guarded(g))
    return made


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "beginning"])
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beside_the_arrays_is_touched(dtype: str, samples: str, at_end: bool) -> None:
    for shape in SHAPES:
        n, d, k = shape
        rng = rng_of(shape, dtype)
        x, w, b, g = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), (k,), (n, k)))
        data = [turn(x, samples), turn(w, samples), b, turn(g, samples), rng.integers(0, k, n)]
        there = results(data, samples, Guarded(at_end))
        here = results(data, samples, np.copy)
        assert all(
            same_bits(p, q) if isinstance(p, np.ndarray) else p == q
            for p, q in zip(there, here, strict=True)
        ), shape


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1100, 3, 0), (1100, 0, 2)], ids=["no outputs", "no inputs"])
def test_nothing_is_written_to_empty_gradients(
    shape: tuple[int, int, int], dtype: str, samples: str
) -> None:
    n, d, k = shape
    x, w, b, g = (np.ones(s, dtype) for s in ((n, d), (d, k), (k,), (n, k)))
    x, w, g = (turn(a, samples) for a in (x, w, g))
    guarded = Guarded(at_end=True)
    out = {"x": guarded(x), "w": guarded(w), "b": guarded(b)}
    _, cache = fg.dense_forward(x, w, b, samples=samples)
    grads = fg.dense_backward(g, cache, out=out)
    assert not grads.x.any() and (grads.b == n).all()
