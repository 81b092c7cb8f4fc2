"""An embedding in plain NumPy: ``y = table[ids]``, and the sum of grad_y over an id's places."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
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
    check_ids("embedding_forward", given.ids, len(given.table))
    y = given.table[given.ids].astype(given.dtypes.result)
    if out is None:
        return y, given.cache
    out[...] = y
    return out, given.cache


def embedding_backward(
    grad_y: ArrayLike, cache: EmbeddingCache, *, rows: bool = False, out: Any = None,
    accumulate: bool = False,
) -> EmbeddingGrads | EmbeddingRows:  # fmt: skip
    """Return the gradient of an embedding's table, or of the rows that have been used."""
    given = embedding_gradient(grad_y, cache, rows, out, accumulate)
    work, result = given.dtypes
    found = np.unique(cache.ids)
    sums = np.zeros(cache.shape, work)
    if given.out is not None and given.accumulate:
        sums += given.out
    with np.errstate(all="ignore"):
        np.add.at(sums, cache.ids, given.grad_y.astype(work))
        sums = sums.astype(result)
    if given.rows:
        return EmbeddingRows(found, sums[found])
    if given.out is None:
        return EmbeddingGrads(sums)
    given.out[...] = sums
    return EmbeddingGrads(given.out)
