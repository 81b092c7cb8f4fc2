"""The settings of a network: what `MLP` is given, checked and in the form it computes with."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

from fastgrad.activations import Activation
from fastgrad.arguments import choices
from fastgrad.layers.compiled_layer import resolve
from fastgrad.losses import LOSSES, ArrayLoss, Loss
from fastgrad.warning_categories import SettingsWarning

__all__ = [
    "activations_of",
    "check_learns",
    "loss_of",
    "warn_of_logits",
    "widths",
]

# Losses of logits, by what they make of them: it turns the outputs of these into others.
_OWN_ACTIVATION = {
    "softmax_cross_entropy": "softmax",
    "binary_cross_entropy_with_logits": "sigmoid",
}
_PROBABILITIES = ("softmax", "sigmoid")


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
        raise ValueError(f"MLP: unknown loss {loss!r}: {choices(loss, LOSSES)}")
    return LOSSES[loss]


def check_learns(
    sizes: Sequence[int], activations: Sequence[Activation], loss: Loss | ArrayLoss
) -> None:
    """Raise if a network of these settings can't learn."""
    if loss.rowwise and sizes[-1] == 1:
        raise ValueError(
            f"MLP: sizes is {tuple(sizes)}: {loss.name} of one output is always 0. Give one output "
            "per class, or loss='binary_cross_entropy_with_logits'"
        )
    for i, (activation, width) in enumerate(zip(activations, sizes[1:], strict=True)):
        if activation.rowwise and width == 1:
            raise ValueError(
                f"MLP: sizes is {tuple(sizes)}: {activation.name} of one output is always 1, "
                f"so layer {i} passes nothing on. Give it more outputs, or 'sigmoid'"
            )


def warn_of_logits(activation: Activation, loss: Loss | ArrayLoss) -> None:
    """Warn the caller's caller if a loss of logits is to get probabilities: it hardly learns."""
    last = activation.name
    own = _OWN_ACTIVATION.get(loss.name)
    if own is not None and last in _PROBABILITIES:
        again = "again" if own == last else f"of the probabilities that {last} makes"
        warnings.warn(
            f"MLP: the loss {loss.name} takes logits: it applies {own} {again}, so that it never "
            "comes near 0. Give None as the last activation, and apply "
            f"{last} to what predict returns",
            SettingsWarning,
            stacklevel=3,
        )
