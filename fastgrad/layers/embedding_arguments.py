"""The arguments of an embedding, and its cache. fastgrad, reference and loops share both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_same_shape, check_truth
from fastgrad.arrays import INT64, Array, Dtypes, as_array, promoted
from fastgrad.layers.dense_arguments import check_outputs
from fastgrad.results import EmbeddingGrads, check_out


class EmbeddingCache(NamedTuple):
    """What `embedding_backward` needs.

    Attributes
    ----------
    ids : ndarray
        The ids, a copy of dtype int64.
    shape : tuple of int
        The shape of the table.
    dtype : dtype
        The dtype of y.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.embedding_forward([2, 0], [[1.0], [2.0], [3.0]])
    >>> cache.ids, cache.shape
    (array([2, 0]), (3, 1))
    """

    ids: Array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class EmbeddingArguments(NamedTuple):
    """Checked arguments."""

    ids: Array  # int64, contiguous, of no one else
    table: Array
    dtypes: Dtypes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of y."""
        return (*self.ids.shape, self.table.shape[1])

    @property
    def cache(self) -> EmbeddingCache:
        """What the way back needs."""
        return EmbeddingCache(self.ids, self.table.shape, self.dtypes.result)


def embedding_arguments(ids: Any, table: Any, out: Any) -> EmbeddingArguments:
    """Return checked arguments; whether the ids are rows of the table is another check."""
    function = "embedding_forward"
    chosen, rows = as_array(function, "ids", ids), as_array(function, "table", table)
    if chosen.dtype.kind not in "iu" and (chosen.size or chosen.dtype.kind == "b"):
        raise TypeError(
            f"{function}: ids has dtype {chosen.dtype}: give integers, rows of the table"
        )
    if rows.ndim != 2:
        raise ValueError(
            f"{function}: table has shape {rows.shape}: give (words, d), one row per word"
        )
    dtypes = promoted(rows.dtype)
    if chosen.dtype.kind == "u" and chosen.dtype.itemsize == 8:  # 2**63 must not become negative
        check_ids(function, chosen, rows.shape[0])
    own = np.empty(chosen.shape, INT64)  # not C's other 64-bit type: kernels compare dtypes
    own[...] = chosen
    checked = EmbeddingArguments(own, rows, dtypes)
    if out is not None:
        inputs = {"ids": chosen, "table": rows}
        check_out(function, "out", out, checked.shape, dtypes.result, inputs)
    return checked


def check_ids(function: str, ids: Array, words: int) -> None:
    """Raise unless all ids are rows of a table of so many."""
    if ids.size and (ids.min() < 0 or ids.max() >= words):
        raise ValueError(
            f"{function}: ids has values from {ids.min()} to {ids.max()} but table has {words} "
            f"rows: they go from 0 to {words - 1}"
        )


class EmbeddingGradient(NamedTuple):
    """The checked arguments of the way back."""

    grad_y: Array
    dtypes: Dtypes
    rows: bool
    out: Array | None
    accumulate: bool


def embedding_gradient(
    grad_y: Any, cache: Any, rows: Any, out: Any, accumulate: Any
) -> EmbeddingGradient:
    """Return checked arguments that fit the cache."""
    function = "embedding_backward"
    if not isinstance(cache, EmbeddingCache):
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}: give what embedding_forward returned"
        )
    array = as_array(function, "grad_y", grad_y)
    expected = (*cache.ids.shape, cache.shape[1])
    check_same_shape(function, "grad_y", array.shape, "y", expected)
    rows = check_truth(function, "rows", rows)
    accumulate = check_truth(function, "accumulate", accumulate)
    dtypes = promoted(cache.dtype, array.dtype)
    if rows and out is not None:
        raise ValueError(
            f"{function}: out is given and rows is True: how many rows there are depends on the "
            "ids, so they are new arrays"
        )
    inputs, shapes = {"grad_y": array, "ids": cache.ids}, {"table": cache.shape}
    outs = check_outputs(function, out, ["table"], shapes, dtypes.result, inputs, EmbeddingGrads)
    return EmbeddingGradient(array, dtypes, rows, outs.get("table"), accumulate)
