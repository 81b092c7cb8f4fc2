"""The settings of a network: what `MLP` is given, checked and in the form it computes with."""

from __future__ import annotations

import operator
from typing import Any

from fastgrad.activations import Activation
from fastgrad.dense_layer import resolve
from fastgrad.losses import LOSSES, ArrayLoss, Loss

__all__ = ["activations_of", "loss_of", "widths"]


def widths(sizes: Any) -> tuple[int, ...]:
    """Return the widths of a network: at least two, all positive."""
    try:
        found = tuple(operator.index(width) for width in sizes)
    except TypeError:
        raise TypeError(f"MLP: sizes is {sizes!r}: give a sequence of integers") from None
    if len(found) < 2 or min(found) < 1:
        raise ValueError(f"MLP: sizes is {sizes!r}: give at least two positive widths")
    return found


def activations_of(activations: Any, count: int) -> tuple[Activation, ...]:
    """Return the compiled activations of `count` layers, each given as `resolve` takes it."""
    if isinstance(activations, str) or not hasattr(activations, "__iter__"):
        raise TypeError(f"MLP: activations is {activations!r}: give one per layer, in a sequence")
    given = tuple(activations)
    if len(given) != count:
        raise ValueError(f"MLP: {len(given)} activations for {count} layers: give one per layer")
    found = [resolve("MLP", activation) for activation in given]
    if any(function is not None for _, function in found):
        raise TypeError(
            "MLP: activations holds a plain callable: give a name, an fg.Activation, or what "
            "fg.define_activation makes of it"
        )
    return tuple(activation for activation, _ in found)


def loss_of(loss: Any) -> Loss | ArrayLoss:
    """Return a loss given by its name or as an object."""
    if isinstance(loss, Loss | ArrayLoss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"MLP: loss is a {type(loss).__name__}: give a name or an fg.losses object")
    if loss not in LOSSES:
        raise ValueError(f"MLP: unknown loss {loss!r}: choose from {', '.join(LOSSES)}")
    return LOSSES[loss]
