"""A dense layer for frameworks that keep the arrays themselves, and that add batch axes.

`forward` gives what `backward` needs as an array, not as a cache. Every argument may have `lead`
further axes in front, each of size 1 or of the batch's, as `vmap` of PyTorch and JAX adds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.layers.compiled_layer import DenseCache, compiled_layer, resolve
from fastgrad.layers.dense import dense, dense_backward, dense_forward

__all__ = ["backward", "forward", "saves_apart", "value"]

_Index = tuple[int, ...]


def saves_apart(function: str, activation: Any) -> bool:
    """Return whether backward needs another array than y; check the activation by the way."""
    act, callable_ = resolve(function, activation)
    return callable_ is not None or not act.from_output


def value(x: Array, w: Array, b: Array | None, activation: Any, lead: int = 0) -> Array:
    """Return y of shape ``lead + x.shape[:-1] + (k,)``."""
    if _shared(lead, w, b):
        return dense(x, _without(lead, w), _without(lead, b), activation)
    parts = []
    for place in _places(lead, x, w, b):
        one_x, one_w, one_b = _at(place, x, w, b)
        parts.append(dense(one_x, one_w, one_b, activation))
    return _stacked(parts, lead, x, w, b)


def forward(
    x: Array, w: Array, b: Array | None, activation: Any, lead: int = 0
) -> tuple[Array, Array]:
    """Return y and what `backward` needs, which is y itself unless `saves_apart`."""
    if _shared(lead, w, b):
        y, cache = dense_forward(x, _without(lead, w), _without(lead, b), activation)
        return y, cache.saved
    ys, saved = [], []
    for place in _places(lead, x, w, b):
        one_x, one_w, one_b = _at(place, x, w, b)
        y, cache = dense_forward(one_x, one_w, one_b, activation)
        ys.append(y)
        saved.append(cache.saved)
    made = _stacked(ys, lead, x, w, b)
    return made, made if not saves_apart("dense", activation) else _stacked(saved, lead, x, w, b)


def backward(
    grad_y: Array,
    x: Array,
    w: Array,
    b: Array | None,
    saved: Array,
    activation: Any,
    need: tuple[str, ...],
    lead: int = 0,
) -> tuple[Array, ...]:
    """Return the gradients that are needed, in the order of x, w, b."""
    layer = compiled_layer("dense_backward", activation, "rows", x.dtype)

    def one(grad_y: Array, x: Array, w: Array, b: Array | None, saved: Array) -> tuple[Array, ...]:
        grads = dense_backward(grad_y, DenseCache(x, w, b, saved, layer), need=need)
        return tuple(grad for grad in (grads.x, grads.w, grads.b) if grad is not None)

    arrays = (grad_y, x, w, b, saved)
    if lead == 0:
        return one(*arrays)
    parts = [one(*_at(place, *arrays)) for place in _places(lead, *arrays)]
    return tuple(_stacked(list(part), lead, *arrays) for part in zip(*parts, strict=True))


def _shared(lead: int, w: Array, b: Array | None) -> bool:
    """Return whether all of the batch have the same w and b: then x is one batch of samples."""
    return w.shape[:lead] == (1,) * lead and (b is None or b.shape[:lead] == (1,) * lead)


def _without(lead: int, a: Array | None) -> Any:
    return None if a is None else a.reshape(a.shape[lead:]) if lead else a


def _batch(lead: int, *arrays: Array | None) -> _Index:
    return np.broadcast_shapes(*(a.shape[:lead] for a in arrays if a is not None))


def _places(lead: int, *arrays: Array | None) -> Iterator[_Index]:
    return np.ndindex(_batch(lead, *arrays))


def _at(place: _Index, *arrays: Array | None) -> list[Any]:
    """Return each array's part at a place of the batch."""
    return [
        None
        if a is None
        else a[tuple(i if size > 1 else 0 for i, size in zip(place, a.shape, strict=False))]
        for a in arrays
    ]


def _stacked(parts: list[Array], lead: int, *arrays: Array | None) -> Array:
    batch = _batch(lead, *arrays)
    return np.stack(parts).reshape(batch + parts[0].shape)
