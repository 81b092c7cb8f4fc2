"""Activations and losses as the model needs them: functions of z and of y, one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import reference
from fastgrad.activations import ACTIVATIONS
from fastgrad.arrays import Array
from fastgrad.losses import LOSSES
from fastgrad.reference import losses as reference_losses

__all__ = ["ACTS", "Act", "Objective", "act_of", "loss_of", "softmax"]

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Act:
    """An activation: its value and its derivative, from z and, where there is one, from y."""

    name: str
    value: Function
    slope_z: Function
    slope_y: Function | None
    rowwise: bool = False
    cancels: bool = False  # as scripts write it, it loses digits: z * (1 + erf(...)) / 2 below 0

    def slope(self, z: Array, y: Array) -> Array:
        """Return the derivative the way scripts compute it: from y where that is possible."""
        return self.slope_y(y) if self.slope_y is not None else self.slope_z(z)

    def back(self, grad_y: Array, z: Array, y: Array) -> Array:
        """Return dL/dz."""
        if self.rowwise:
            inner: Array = (grad_y * y).sum(axis=1, keepdims=True)
            return np.asarray(y * (grad_y - inner))
        return grad_y * self.slope(z, y)


CANCELLING = ("gelu", "gelu_tanh", "silu", "mish", "elu", "softplus")


def softmax(z: Array) -> Array:
    """Return the softmax of each row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    probabilities: Array = e / e.sum(axis=1, keepdims=True)
    return probabilities


def _known(name: str) -> Act:
    row: Any = reference.ACTIVATIONS[name]
    if row.rowwise:
        return Act(name, softmax, _diagonal_of_z, _diagonal, rowwise=True)
    return Act(
        name,
        lambda z: row.formula(z, None),
        row.slope_from_z,
        row.slope_from_y,
        cancels=name in CANCELLING,
    )


def _diagonal(p: Array) -> Array:
    """Return the diagonal of the softmax's Jacobian, which scripts take for its derivative."""
    return p * (1.0 - p)


def _diagonal_of_z(z: Array) -> Array:
    return _diagonal(softmax(z))


def _heaviside(y: Array) -> Array:
    # As scripts write it, `y > 0`: a NaN is no sign here.
    return (y > 0).astype(np.float64)


def _relu() -> Act:
    return Act("relu", lambda z: np.maximum(z, 0.0), _heaviside, _heaviside)


ACTS = {name: _known(name) if name != "relu" else _relu() for name in reference.ACTIVATIONS}


def act_of(activation: Any) -> Act:
    """Return the interface of an activation of a network, one's own included."""
    built_in = bool(ACTIVATIONS.get(activation.name) is activation)  # and not of other settings
    if built_in:
        return ACTS[activation.name]
    return Act(activation.name, activation, activation.derivative, None)


@dataclass(frozen=True)
class Objective:
    """A loss with its reduction, of predictions and targets with a sample per row."""

    name: str
    reduction: str
    loss: Any
    takes_target: bool = True
    rowwise: bool = False

    def __call__(self, pred: Array, target: Array | None) -> tuple[float, Array]:
        """Return the loss and its gradient."""
        if not self.takes_target:
            value, grad = self.loss.value_and_grad(pred, self.reduction)
        else:
            value, grad = self.loss.value_and_grad(pred, target, self.reduction)
        return float(value), grad

    def divisor(self, pred: Array) -> float:
        """Return what the sum of terms is divided by."""
        return divisor(self.reduction, pred, self.rowwise)


def divisor(reduction: str, pred: Array, rowwise: bool) -> float:
    """Return what a reduction divides the sum of terms by."""
    counts = {"sum": 1, "samples": len(pred), "mean": len(pred) if rowwise else pred.size}
    return float(counts[reduction])


def loss_of(loss: Any, reduction: str) -> Objective:
    """Return the interface of a network's loss."""
    built_in = LOSSES.get(loss.name) is loss  # and not one of other settings, or one's own
    own: Any = reference_losses.LOSSES[loss.name] if built_in else loss
    return Objective(loss.name, reduction, own, loss.takes_target, bool(loss.rowwise))
