"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.nn.layer import Layer

__all__ = ["Sequential"]


class Sequential(Layer):
    """Layers one after the other.

    Parameters
    ----------
    layers : iterable of Layer
        At least one, all of the same `samples`, none of them twice.

    Attributes
    ----------
    layers : list of Layer
        They hold the parameters and gradients.

    Raises
    ------
    TypeError
        If one is not a layer; a loss is called separately.
    ValueError
        If there is none, one is there twice, or their `samples` differ.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.nn.Sequential([fg.nn.Linear(3, 2), fg.nn.ReLU()])
    Sequential([Linear(3, 2, bias=True), ReLU()])
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        if not hasattr(layers, "__iter__"):
            kind = type(layers).__name__
            raise TypeError(f"Sequential: layers is a {kind}: give layers in a sequence")
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("Sequential: layers is empty: give at least one")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                kind = type(layer).__name__
                raise TypeError(f"Sequential: layers[{i}] is a {kind}: give layers (losses follow)")
        seen: set[int] = set()
        for i, layer in enumerate(self.layers):
            for leaf in map(id, _leaves(layer)):
                if leaf in seen:
                    raise ValueError(
                        f"Sequential: layers[{i}] is, or holds, a layer that is there already: a "
                        "layer remembers one forward. Give a copy.copy of it, which shares w and b"
                    )
                seen.add(leaf)
        super().__init__(self.layers[0].samples)
        if mixed := {layer.samples for layer in self.layers} - {self.samples}:
            raise ValueError(
                f"Sequential: layers have samples={self.samples!r} and {mixed.pop()!r}: "
                "they need the same"
            )

    def __repr__(self) -> str:
        return f"Sequential({self.layers!r})"

    def train(self, training: bool = True) -> Self:
        """Set all layers: see `Layer.train`."""
        super().train(training)
        for layer in self.layers:
            layer.train(training)
        return self

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, the product of the layers' Jacobians: see `Layer.jacobian`."""
        y = self._input("jacobian", x)
        total = self.layers[0].jacobian(y)
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            y = before._apply(y)
            total = np.tensordot(layer.jacobian(y), total, axes=y.ndim)
        return total

    def _beside(self) -> tuple[np.dtype[Any], ...]:
        return self.layers[0]._beside()

    def _apply(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer._apply(layer._input("forward", x))
        return x

    def _forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def _backward(self, grad: Array) -> Array:
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad


def _leaves(layer: Layer) -> Iterator[Layer]:
    """Yield the layers that a layer is made of."""
    if not isinstance(layer, Sequential):
        yield layer
        return
    for inner in layer.layers:
        yield from _leaves(inner)
