"""The settings of a network: the arguments of `MLP`, checked and converted."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from fastgrad.arguments import choices
from fastgrad.warning_categories import SettingsWarning

__all__ = [
    "activations_of",
    "check_learns",
    "loss_like",
    "loss_of",
    "refuse_callable",
    "warn_of_logits",
    "widths",
]

# Losses that expect logits, by the activation that they apply to them.
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


def activations_of(
    activations: Any, count: int, activation_of: Callable[[Any], Any]
) -> tuple[Any, ...]:
    """Return the activations of `count` layers, each made by `activation_of`."""
    if isinstance(activations, str) or not hasattr(activations, "__iter__"):
        raise TypeError(f"MLP: activations is {activations!r}: give one per layer, in a sequence")
    given = tuple(activations)
    if len(given) != count:
        raise ValueError(f"MLP: {len(given)} activations for {count} layers: give one per layer")
    return tuple(activation_of(activation) for activation in given)


def refuse_callable() -> NoReturn:
    """Raise: a network accepts no activation without a known derivative."""
    raise TypeError(
        "MLP: activations holds a plain callable: give a name, an fg.Activation, or what "
        "fg.define_activation makes of it"
    )


def loss_of(loss: Any, losses: Mapping[str, Any]) -> Any:
    """Return the loss of this name."""
    if not isinstance(loss, str):
        raise TypeError(f"MLP: loss is a {type(loss).__name__}: give a name or an fg.losses object")
    if loss not in losses:
        raise ValueError(f"MLP: unknown loss {loss!r}: {choices(loss, losses)}")
    return losses[loss]


def loss_like(given: Any, losses: Mapping[str, Any]) -> Any:
    """Return a package's own loss of a name, or of any package's loss, with its setting."""
    loss = loss_of(getattr(given, "name", given), losses)
    adjusted = getattr(given, "adjusted", None)
    return loss.with_(**adjusted) if adjusted else loss


def check_learns(sizes: Sequence[int], activations: Sequence[Any], loss: Any) -> None:
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


def warn_of_logits(activation: Any, loss: Any) -> None:
    """Warn the caller's caller of a loss of logits that gets probabilities, or the reverse."""
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
    if loss.name == "nll" and last == "identity":
        warnings.warn(
            "MLP: the loss nll takes probabilities: of a negative number it is NaN. Give 'softmax' "
            "as the last activation, or loss='softmax_cross_entropy', which takes logits",
            SettingsWarning,
            stacklevel=3,
        )
