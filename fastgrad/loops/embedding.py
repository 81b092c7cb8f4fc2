"""An embedding as loops: a row of the table for each id, and a row of the gradient for each use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import INT64, Array
from fastgrad.layers.embedding_arguments import (
    EmbeddingCache,
    check_ids,
    embedding_arguments,
    embedding_gradient,
)
from fastgrad.results import EmbeddingGrads, EmbeddingRows

__all__ = [
    "EmbeddingCache",
    "EmbeddingGrads",
    "EmbeddingRows",
    "embedding_backward",
    "embedding_forward",
]


def embedding_forward(
    ids: ArrayLike, table: ArrayLike, *, out: Array | None = None
) -> tuple[Array, EmbeddingCache]:
    """Return the rows ``table[ids]``, and a cache for the backward pass."""
    given = embedding_arguments(ids, table, out)
    words, width = given.table.shape
    check_ids("embedding_forward", given.ids, words)
    y = np.empty(given.shape, given.dtypes.result) if out is None else out
    for place in np.ndindex(given.ids.shape):
        for j in range(width):
            y[(*place, j)] = given.table[given.ids[place], j]
    return y, given.cache


def embedding_backward(
    grad_y: ArrayLike, cache: EmbeddingCache, *, rows: bool = False, out: Any = None,
    accumulate: bool = False,
) -> EmbeddingGrads | EmbeddingRows:  # fmt: skip
    """Return the gradient of an embedding's table, or of the rows that have been used."""
    given = embedding_gradient(grad_y, cache, rows, out, accumulate)
    work, result = given.dtypes
    sums = np.zeros(cache.shape, work)
    if given.out is not None and given.accumulate:
        sums[...] = given.out
    with np.errstate(all="ignore"):
        for place in np.ndindex(cache.ids.shape):
            for j in range(cache.shape[1]):
                at = cache.ids[place], j
                sums[at] = sums[at] + work.type(given.grad_y[(*place, j)])
        sums = sums.astype(result)
    if given.rows:
        used = sorted({int(cache.ids[place]) for place in np.ndindex(cache.ids.shape)})
        return EmbeddingRows(np.array(used, INT64), sums[used])
    if given.out is None:
        return EmbeddingGrads(sums)
    given.out[...] = sums
    return EmbeddingGrads(given.out)
