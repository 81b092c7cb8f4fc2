"""A sparse x as the kernels read it: one row of ascending indices for each sample.

CSR is read where it is (for samples in columns, CSC); the numbers of its arrays are checked at
every call, in a tenth of the time of a product with ten outputs. Everything else is put in this
form: sorted by two counting sorts, or one, and numbers for the same place added up in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import INT64, Array, as_native
from fastgrad.kernels.product.sparse_table import MISTAKES
from fastgrad.layers.sparse_arguments import (
    SparseParts,
    check_lines,
    refuse_entry,
)

__all__ = ["SparseRows", "sparse_rows"]


class SparseRows(NamedTuple):
    """A sparse matrix for the kernels: itself CSR, or CSC if its columns are the samples.

    Attributes
    ----------
    indptr, indices, data : ndarray
        As SciPy has them: int32 or int64, and float32 or float64. A matrix that was in this form
        shares its memory.
    shape : tuple of int
        That of the matrix it was made of.
    format : {"csr", "csc"}
    """

    indptr: Array
    indices: Array
    data: Array
    shape: tuple[int, ...]
    format: str

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.indptr) - 1

    @property
    def matrix(self) -> tuple[int, int, int, int, int, int]:
        """The six words by which kernels find the rows."""
        return (
            self.indptr.ctypes.data, 1, self.indptr.itemsize == 8,
            self.indices.ctypes.data, self.indices.itemsize == 8, self.data.ctypes.data,
        )  # fmt: skip


def sparse_rows(function: str, name: str, parts: SparseParts, dtype: np.dtype[Any]) -> SparseRows:
    """Return a matrix for the kernels; raise if its indices are not within its shape."""
    data = np.ascontiguousarray(as_native(parts.data, dtype))
    starts, indices = parts.starts, parts.indices
    if starts is None:
        check_lines(function, name, parts)
        _look(function, name, parts, np.array([0, len(data)], INT64), dtype)  # as one line
        starts, indices, data = _sorted(parts, data, dtype)
    elif not (_look(function, name, parts, starts, dtype) and parts.by_sample):
        starts, indices, data = _sorted(parts, data, dtype)
    return SparseRows(starts, indices, data, parts.shape, parts.sample_format)


def _look(
    function: str, name: str, parts: SparseParts, starts: Array, dtype: np.dtype[Any]
) -> bool:
    """Check the numbers of starts and indices; return whether all lines ascend."""
    indices = parts.indices
    found = _ascend(starts, indices, parts.extent[1], dtype)
    if found[0]:
        mistake, place = MISTAKES[found[0]], int(found[1])
        if mistake in ("start", "end"):
            place = 0 if mistake == "start" else len(starts) - 1
        refuse_entry(function, name, parts, mistake, place)
    return bool(found[2])


def _ascend(starts: Array, indices: Array, length: int, dtype: np.dtype[Any]) -> Array:
    from fastgrad.kernels.calls.entry import plain_function

    found = np.zeros(3, INT64)
    plain_function("sparse", "sparse_check", dtype.name, words=8)(
        len(starts) - 1, length, len(indices), starts.ctypes.data, starts.itemsize == 8,
        indices.ctypes.data, indices.itemsize == 8, found.ctypes.data,
    )  # fmt: skip
    return found


def _sorted(parts: SparseParts, data: Array, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """Return checked entries sorted by sample and feature, those of the same place added up."""
    starts, lines, indices = parts.starts, parts.lines, parts.indices
    if starts is not None:
        lines = np.repeat(np.arange(len(starts) - 1, dtype=indices.dtype), np.diff(starts))
        indices, data = indices[: len(lines)], data[: len(lines)]
    assert lines is not None
    samples, features = (lines, indices) if parts.by_sample else (indices, lines)
    order = None
    if parts.by_sample:  # else the entries lie in the order of their features
        order, _ = _order(features, parts.features, None, dtype)
    order, starts = _order(samples, parts.samples, order, dtype)
    indices, data = features[order], data[order]
    if not _ascend(starts, indices, parts.features, dtype)[2]:
        first = np.ones(len(indices), bool)
        first[1:] = indices[1:] != indices[:-1]
        first[starts[:-1][starts[:-1] < len(indices)]] = True
        places = np.cumsum(first)
        total = np.zeros(int(places[-1]), dtype)
        with np.errstate(all="ignore"):
            np.add.at(total, places - 1, data)  # one after the other
        starts = np.concatenate([[0], places])[starts]
        indices, data = indices[first], total
    return starts, indices, data


def _order(
    keys: Array, buckets: int, before: Array | None, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return the order of entries by key (those of one key as `before`), and where each begins."""
    from fastgrad.kernels.calls.entry import plain_function

    places, order = np.empty(buckets + 2, INT64), np.empty(len(keys), INT64)
    keys = np.ascontiguousarray(keys)
    plain_function("sparse", "sparse_sort", dtype.name, words=7)(
        len(keys), buckets, keys.ctypes.data, keys.itemsize == 8,
        0 if before is None else before.ctypes.data, places.ctypes.data, order.ctypes.data,
    )  # fmt: skip
    return order, places[: buckets + 1]
