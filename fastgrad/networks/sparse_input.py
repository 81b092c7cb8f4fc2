"""The first layer of a network as its plan knows it, if x is sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgrad.arrays import Array
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.product.sparse_table import gradient_space
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.layers.kinds import Dense, Layer
from fastgrad.results import LayerParams

__all__ = ["SparseInput", "sparse_input"]


@dataclass(frozen=True)
class SparseInput(Layer):
    """A dense layer of a sparse x: its `inputs` are the two words that say where a row is."""

    name = "sparse"
    parameters = LayerParams
    dense: Dense

    @property
    def weights(self) -> int:
        """See `Layer`."""
        return self.dense.weights

    def lay_out(self, row: Array, places: at.Places, columns: bool) -> None:
        """Fill in the words of a dense layer that is never packed, and its own."""
        d, k, t = self.dense.inputs, self.outputs, places.tile
        row[at.B] = self.start + d * k if self.dense.bias else -1
        row[at.FEATURES], row[at.ENTRIES_SPACE] = d, places.place(gradient_space(BATCH_BLOCK))
        row[at.PIECE] = min(d, max(at.PIECE_BYTES // (k * t.itemsize), 1))
        pieces = 1 + -(-d // int(row[at.PIECE]))  # the first is grad_b, which alone needs room
        row[at.FIRST_PIECE] = places.take_pieces(pieces, k)


def sparse_input(layer: Any, itemsize: int) -> SparseInput:
    """Return what stands for a network's first layer."""
    return SparseInput(16 // itemsize, layer.outputs, layer.start, layer.activation, layer)
