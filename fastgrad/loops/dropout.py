"""Dropout as a loop over the elements, with the random words of Philox4x32-10.

Philox (Salmon, Moraes, Dror and Shaw, SC 2011) multiplies two words of its counter, keeps both
halves of the products, and mixes them with the other words and the key, ten times.
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

_WORD = 1 << 32


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Return four random words for a counter of four words and a key of two."""
    a, b, c, d = counter
    first_key, second_key = key
    for _ in range(10):
        high_a, low_a = divmod(0xD2511F53 * a, _WORD)
        high_c, low_c = divmod(0xCD9E8D57 * c, _WORD)
        a = high_c ^ b ^ first_key
        b = low_c
        c = high_a ^ d ^ second_key
        d = low_a
        first_key = (first_key + 0x9E3779B9) % _WORD
        second_key = (second_key + 0xBB67AE85) % _WORD
    return [a, b, c, d]


def stays(place: int, choice: Choice) -> bool:
    """Return whether the element at a place of x, in C order, is kept."""
    block, word = divmod(choice.start + place, 4)
    high, low = divmod(block, _WORD)
    high_key, low_key = divmod(choice.seed, _WORD)
    words = philox([low, high, choice.step, choice.layer], [low_key, high_key])
    return words[word] >= choice.rate * _WORD


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
    y = np.empty(array.shape, dtypes.result) if out is None else out
    scale = float(dtypes.work.type(1 / (1 - choice.rate))) if choice.rate < 1 else 0.0
    for place, index in enumerate(np.ndindex(array.shape)):
        with np.errstate(all="ignore"):
            value = float(dtypes.work.type(array[index]))
            y[index] = dtypes.work.type(value * scale) if stays(place, choice) else 0.0
    return y
