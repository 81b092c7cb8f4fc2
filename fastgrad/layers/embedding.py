"""An embedding: each id becomes a row of a table; the gradient of a row is the sum of its uses."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_native, deliver
from fastgrad.layers.compiled_entry import compiled_entry
from fastgrad.layers.embedding_arguments import (
    EmbeddingCache,
    check_ids,
    embedding_arguments,
    embedding_gradient,
)
from fastgrad.results import EmbeddingGrads, EmbeddingRows

_AT_ONCE = 1 << 26  # elements of one compiled call: 50 ms, after which Python looks for signals


def embedding_forward(
    ids: ArrayLike, table: ArrayLike, *, out: Array | None = None
) -> tuple[Array, EmbeddingCache]:
    """Return the rows ``table[ids]``, and a cache for the backward pass.

    Parameters
    ----------
    ids : array_like of int
        Of any shape and integer dtype, from 0 to ``words - 1``. Negative ones are refused: in
        NumPy they would count from the end.
    table : array_like
        ``(words, d)``.
    out : ndarray, optional
        An array of exact shape and dtype to write y to.

    Returns
    -------
    y : ndarray
        ``(*ids.shape, d)``, of the dtype of the table; float64 if that has integers or bools.
    cache : EmbeddingCache
        For `embedding_backward`. It has a copy of the ids, and nothing of the table.

    Raises
    ------
    TypeError
        For ids that are not integers, a table of a dtype fastgrad does not compute in.
    ValueError
        For ids that are not in the table, shapes or an `out` that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.embedding_forward([2, 0, 2], [[1.0], [2.0], [3.0]])
    >>> y.tolist()
    [[3.0], [1.0], [3.0]]
    >>> fg.embedding_backward([[1.0], [10.0], [100.0]], cache).table.tolist()
    [[10.0], [0.0], [101.0]]
    """
    given = embedding_arguments(ids, table, out)
    chosen, rows, dtypes = given
    words = len(rows)
    if rows.dtype == dtypes.work:
        native = as_native(rows, dtypes.work)
        direct = out is not None and out.dtype is dtypes.work and out.flags.carray
        y = out if out is not None and direct else np.empty(given.shape, dtypes.work)
        strides = [step // native.itemsize for step in native.strides]
        _run("embedding_forward", chosen, words, strides, native, y)
    else:  # convert the rows that are used
        check_ids("embedding_forward", chosen, words)
        y = as_native(rows[chosen], dtypes.work)
    return deliver(y, dtypes.result, out), given.cache


@overload
def embedding_backward(
    grad_y: ArrayLike, cache: EmbeddingCache, *, rows: Literal[False] = False, out: Any = None,
    accumulate: bool = False,
) -> EmbeddingGrads: ...  # fmt: skip
@overload
def embedding_backward(
    grad_y: ArrayLike, cache: EmbeddingCache, *, rows: Literal[True]
) -> EmbeddingRows: ...
def embedding_backward(
    grad_y: ArrayLike,
    cache: EmbeddingCache,
    *,
    rows: bool = False,
    out: Any = None,
    accumulate: bool = False,
) -> EmbeddingGrads | EmbeddingRows:
    """Return the gradient of the loss with respect to an embedding's table.

    ``grad_table[i]`` is the sum of grad_y over the places where the id is i, in their order: the
    same bits always. (What ``np.add.at`` computes, in a twentieth of its time.)

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : EmbeddingCache
        From `embedding_forward`.
    rows : bool
        Return only the rows that have been used, and their numbers.
    out : EmbeddingGrads, mapping or object with a field table, optional
        An array to write to, of exact shape and dtype; not with `rows`.
    accumulate : bool
        Add each row of grad_y to the array of `out`, which is not cleared before.

    Returns
    -------
    EmbeddingGrads
        Its `table` has the shape of the table; or, with `rows`,
    EmbeddingRows
        `ids`, ``(m,)`` in increasing order, and `rows`, ``(m, d)``.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes or an output that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.embedding_forward([[2, 0], [2, 2]], [[1.0], [2.0], [3.0]])
    >>> ids, rows = fg.embedding_backward([[[1.0], [2.0]], [[3.0], [4.0]]], cache, rows=True)
    >>> ids, rows.tolist()
    (array([0, 2]), [[2.0], [8.0]])
    """
    given = embedding_gradient(grad_y, cache, rows, out, accumulate)
    work, ids, shape = given.dtypes.work, cache.ids, cache.shape
    grad, taken = np.ascontiguousarray(as_native(given.grad_y, work)), given.out
    if given.rows:
        found, ids = np.unique(ids, return_inverse=True)
        sums = np.zeros((len(found), shape[1]), work)
        _run("embedding_backward", ids.reshape(-1), len(found), (shape[1], 1), sums, grad)
        return EmbeddingRows(found, deliver(sums, given.dtypes.result, None))
    if taken is None:
        sums = np.zeros(shape, work)
    elif taken.dtype is work and taken.flags.carray:
        sums = taken
        if not given.accumulate:
            sums.fill(0)
    else:
        sums = taken.astype(work, order="C") if given.accumulate else np.zeros(shape, work)
    _run("embedding_backward", ids, shape[0], (shape[1], 1), sums, grad)
    return EmbeddingGrads(deliver(sums, given.dtypes.result, taken))


def _run(function: str, ids: Array, words: int, strides: Any, table: Array, rows: Array) -> None:
    """Read rows of the table, or add to them; raise if an id is not in it."""
    run, (row, column), width = (
        compiled_entry("embedding", function, table.dtype),
        strides,
        table.shape[1],
    )
    if rows.size <= _AT_ONCE:
        if run(ids.size, width, ids, words, row, column, table, rows) is None:
            check_ids(function, ids, words)
        return
    check_ids(function, ids, words)
    each, flat, lines = max(_AT_ONCE // width, 1), ids.reshape(-1), rows.reshape(-1, width)
    for i in range(0, ids.size, each):
        part = flat[i : i + each]
        run(part.size, width, part, words, row, column, table, lines[i : i + each])
