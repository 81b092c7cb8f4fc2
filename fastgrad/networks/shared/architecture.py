"""The structure of a network: its layers in one flat vector, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import FLOAT64, Array
from fastgrad.layers.kinds import Dense, Layer, LayerNorm
from fastgrad.layers.sparse_arguments import SparseParts, sparse_entries
from fastgrad.networks.shared.sparse_samples import SparseSamples, samples_of
from fastgrad.optimizers.optimizer import Optimizer, Range


def lay_out(
    sizes: tuple[int, ...], activations: Sequence[Any], identity: Any, bias: bool, normalize: Any
) -> list[Layer]:
    """Return the layers for these settings, one after the other in the flat vector."""
    layers: list[Layer] = []
    end, hidden = 0, len(sizes) - 2
    for i, (d, k) in enumerate(pairwise(sizes)):
        norm = normalize is not None and i < hidden
        layers.append(Dense(d, k, end, identity if norm else activations[i], bias))
        end += layers[-1].size
        if norm:
            layers.append(LayerNorm(k, k, end, activations[i]))
            end += layers[-1].size
    return layers


class Part(NamedTuple):
    """One array of the parameters: its key, its place in the flat vector, the shapes it may have.

    Keys count dense layers: "W1", "b1", "gain1", "shift1", "W2" ...
    """

    key: str
    elements: slice
    shape: tuple[int, ...]
    forms: tuple[tuple[int, ...], ...]
    matrix: bool


@dataclass
class Architecture:
    """The layers of a network, its loss, and the form of its samples."""

    layers: Sequence[Layer]
    loss: Any
    reduction: str
    columns: bool
    dtype: np.dtype[Any]
    l1: float = 0.0
    l2: float = 0.0
    dropout: Sequence[float] = ()  # rate of each hidden layer; none: no dropout

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.layers[0].inputs, self.layers[-1].outputs
        self.size = self.layers[-1].start + self.layers[-1].size
        # The rate of what each layer's outputs lose; None where they are not a hidden layer's.
        hidden = iter(self.dropout)
        ends = [isinstance(layer, Dense) for layer in (*self.layers[1:], None)]
        self.rates = [next(hidden, None) if end else None for end in ends]
        self.drops = any(self.dropout)

    def views(self, params: Array) -> list[Any]:
        """Return each layer's parameters in a flat vector."""
        return [layer.views(params, self.columns) for layer in self.layers]

    def init(self, rng: np.random.Generator) -> Array:
        """Return a flat vector of each layer's initial values."""
        params = np.empty(self.size, self.dtype)
        for layer, views in zip(self.layers, self.views(params), strict=True):
            for view, value in zip(views, layer.init(rng), strict=True):
                if view is not None:
                    view[...] = np.transpose(value) if self.columns else value
        return params

    @cached_property
    def parts(self) -> list[Part]:
        """All arrays of the parameters, in the order of the flat vector."""
        found: list[Part] = []
        number = 0
        for layer in self.layers:
            number += isinstance(layer, Dense)
            names = layer.parameters._fields
            for name, shape, place in zip(names, layer.shapes(), layer.places, strict=True):
                if shape is None or place is None:
                    continue
                elements, in_rows, in_columns = place
                own, k = in_columns if self.columns else in_rows, shape[-1]
                forms = (own,) if len(shape) > 1 else ((k,), (1, k), (k, 1))
                key = f"{'W' if name == 'w' else name}{number}"
                found.append(Part(key, elements, own, forms, len(shape) > 1))
        return found

    def ranges(self, optimizer: Optimizer, params: Array) -> list[Range]:
        """Return the pieces of a flat vector that an optimizer's weight decay is for, or is not."""
        if not optimizer.weight_decay:
            return [(0, self.size, False)]
        found: list[Range] = []
        for part in self.parts:
            view = params[part.elements].reshape(part.shape)
            decays = optimizer.decays(part.key, view, part.matrix)
            first, end = part.elements.start, part.elements.stop
            if found and found[-1][2] == decays:
                first = found.pop()[0]
            found.append((first, end, decays))
        return found

    def turned(self, rows: Array) -> Array:
        """Convert an array of samples between rows and the caller's layout, either way."""
        return rows.T if self.columns and rows.ndim == 2 else rows

    def gradient_dtype(self, params: Array) -> np.dtype[Any]:
        """Return the dtype of the gradient: float64 where `params` are, else the network's.

        Optimizers that work in float64, as SciPy's do, add it to their own vectors.
        """
        wide = params.dtype.kind == "f" and params.dtype.itemsize == 8
        return FLOAT64 if wide else self.dtype

    def sparse_samples(self, caller: str, x: SparseParts) -> SparseSamples:
        """Return a sparse x as rows of entries; raise if an entry is outside of its shape."""
        if self.columns:
            raise ValueError(
                f"{caller}: x is sparse: networks take that for samples='rows'. Give this one "
                "x.toarray()"
            )
        return self._sparse_samples(caller, x)

    def _sparse_samples(self, caller: str, x: SparseParts) -> SparseSamples:
        return samples_of(sparse_entries(caller, "x", x), self.inputs)

    def takes(self, *arrays: Array) -> bool:
        """Return whether kernels read these arrays as they are: False, there are no kernels."""
        return False
