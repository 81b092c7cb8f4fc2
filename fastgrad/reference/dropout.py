"""Dropout in plain NumPy, with the random words of Philox4x32-10.

Philox (Salmon, Moraes, Dror and Shaw, SC 2011) turns a counter of four 32-bit words and a key of
two into four random words. Ten times, with the key increased in between::

    c0, c1, c2, c3 = high(M1 * c2) ^ c1 ^ k0, low(M1 * c2), high(M0 * c0) ^ c3 ^ k1, low(M0 * c0)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.layers.dropout_arguments import (
    Choice,
    DropoutCache,
    dropout_arguments,
    dropout_gradient,
)

__all__ = ["DropoutCache", "dropout_backward", "dropout_forward"]

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Return random words ``(n, 4)``, uint32, of counters ``(n, 4)`` of 32 bits each."""
    a, b, c, d = counter.astype(np.uint64).T
    k, m = key
    for _ in range(10):
        first, second = a * _M0, c * _M1
        a, b, c, d = (
            (second >> _HALF) ^ b ^ np.uint64(k),
            second & _LOW,
            (first >> _HALF) ^ d ^ np.uint64(m),
            first & _LOW,
        )
        k, m = (k + _W0) % 2**32, (m + _W1) % 2**32
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def kept(shape: tuple[int, ...], choice: Choice) -> Array:
    """Return which elements of an array of this shape stay, as bools."""
    rate, seed, step, layer, start = choice
    size = int(np.prod(shape, dtype=np.int64))
    first, last = start // 4, (start + size + 3) // 4
    places = np.arange(first, last, dtype=np.uint64)
    counter = np.empty((last - first, 4), np.uint64)
    counter[:, 0], counter[:, 1] = places & _LOW, places >> _HALF
    counter[:, 2], counter[:, 3] = step, layer
    words = philox(counter, (seed % 2**32, seed // 2**32)).reshape(-1)
    skipped = start - 4 * first
    return (words[skipped : skipped + size] >= rate * 2.0**32).reshape(shape)


def dropout_forward(
    x: ArrayLike, rate: float, seed: int, step: int = 0, *, layer: int = 0, start: int = 0,
    out: Array | None = None,
) -> tuple[Array, DropoutCache]:  # fmt: skip
    """Return x with some elements set to 0 and the others divided by ``1 - rate``, and a cache."""
    array, choice, dtypes = dropout_arguments(x, rate, seed, step, layer, start, out)
    y = _dropped(array, choice, dtypes, out)
    return y, DropoutCache(choice, array.shape, dtypes.result)


def dropout_backward(grad_y: ArrayLike, cache: DropoutCache, *, out: Array | None = None) -> Array:
    """Return the gradient of dropout's x."""
    array, dtypes = dropout_gradient(grad_y, cache, out)
    return _dropped(array, cache.choice, dtypes, out)


def _dropped(array: Array, choice: Choice, dtypes: Any, out: Array | None) -> Array:
    """Return the elements that stay, scaled, and 0 for the others."""
    scale = dtypes.work.type(1 / (1 - choice.rate) if choice.rate < 1 else 0)
    with np.errstate(all="ignore"):
        scaled = array.astype(dtypes.work) * scale
        y = np.where(kept(array.shape, choice), scaled, 0).astype(dtypes.result)
    if out is None:
        return y
    out[...] = y
    return out
