"""A step of the way back, at which mistakes are planted, and the forms that results have.

A function of `at_loss`, `at_layers` and `at_arrays` yields ``(details, result)`` for each form of
one mistake at one `Step`: the result stands where the right one belongs, the details complete its
sentence. `mistakes` is the table that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.functions import Act
from fastgrad.diagnosis.network.model import Model

__all__ = ["Along", "Planted", "Plus", "Product", "Step"]


class Product(NamedTuple):
    """``left.T @ right``, not multiplied out: a few combinations of its rows decide."""

    left: Array
    right: Array


class Plus(NamedTuple):
    """A product and what is added to it, the penalty included."""

    product: Product
    more: Any


class Along(NamedTuple):
    """``start + c * direction`` for a c that is not known."""

    start: Any
    direction: Any


@dataclass
class Step:
    """Where a mistake is planted: a layer, and the right arrays around it."""

    model: Model
    layer: int
    grad: Array  # da of this layer
    grad_z: Array  # dz of this layer
    above: Array | None  # dz of the next layer; None for the last
    above_grad: Array | None  # da of the next layer
    updates: dict[int, Array]  # the script's own dw by layer, as given
    later: dict[int, Array]  # dz of the layers after this one
    missing: Callable[[Array], list[slice]] | None = None  # given dz, which samples seem left out

    @property
    def z(self) -> Array:
        """Return the layer's pre-activation."""
        return self.model.z[self.layer]

    @property
    def y(self) -> Array:
        """Return the layer's output."""
        return self.model.y[self.layer]

    @property
    def act(self) -> Act:
        """Return the layer's activation."""
        return self.model.acts[self.layer]

    def masked(self) -> Array:
        """Return da after the dropout mask."""
        mask = self.model.masks.get(self.layer)
        return self.grad if mask is None else self.grad * mask


Planted = Iterator[tuple[str, Any]]
