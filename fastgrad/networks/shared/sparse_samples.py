"""The samples of a network whose x is sparse, one per row: themselves a CSR matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_native
from fastgrad.layers.sparse_arguments import SparseEntries

__all__ = ["SparseSamples", "samples_of"]


class SparseSamples:
    """Rows of checked entries: sample i has those from ``indptr[i]`` to ``indptr[i + 1]``."""

    format = "csr"
    ndim = 2

    def __init__(self, indptr: Array, indices: Array, data: Array, features: int) -> None:
        self.indptr, self.indices, self.data = indptr, indices, data
        self.shape = len(indptr) - 1, features

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, samples: Any) -> SparseSamples:
        """Return some of the samples, in another order."""
        starts, ends = self.indptr[:-1][samples], self.indptr[1:][samples]
        rows = np.repeat(np.arange(len(starts)), ends - starts)
        indptr = np.searchsorted(rows, np.arange(len(starts) + 1))
        entries = np.arange(len(rows)) - np.repeat(indptr[:-1] - starts, ends - starts)
        return SparseSamples(indptr, self.indices[entries], self.data[entries], self.shape[1])

    def of(self, dtype: np.dtype[Any]) -> SparseSamples:
        """Return the same samples in another dtype."""
        return SparseSamples(self.indptr, self.indices, as_native(self.data, dtype), self.shape[1])

    def without(self, left_out: Array) -> SparseSamples:
        """Return the same samples, some of them (a bool each) without an entry."""
        kept = np.logical_not(np.repeat(left_out, np.diff(self.indptr)))
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))[kept]
        indptr = np.searchsorted(rows, np.arange(len(self) + 1))
        return SparseSamples(indptr, self.indices[kept], self.data[kept], self.shape[1])

    def not_finite(self) -> Array:
        """Return for each sample whether one of its entries is not finite."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        found = np.zeros(len(self), bool)
        found[rows[np.logical_not(np.isfinite(self.data))]] = True
        return found


def samples_of(entries: SparseEntries, features: int) -> SparseSamples:
    """Return checked entries, in any order, as rows."""
    order = np.argsort(entries.rows, kind="stable")
    indptr = np.searchsorted(entries.rows[order], np.arange(entries.samples + 1))
    return SparseSamples(indptr, entries.columns[order], entries.data[order], features)
