"""Validation in `MLP.fit`: the checked samples, the losses so far, and the best epoch.

fastgrad, reference and loops share this. Nothing is computed here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import Array, as_array
from fastgrad.layers.dense_arguments import x_argument
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.fit_arguments import CALLER, FitOptions
from fastgrad.networks.shared.samples import Samples, checked_samples
from fastgrad.networks.shared.training import FitResult, Validated


def validation_samples(network: Architecture, validation: Any) -> Samples | None:
    """Return the checked samples of ``validation=``; None if there are none."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list):
        kind = type(validation).__name__
        raise TypeError(
            f"{CALLER}: validation is a {kind}: give a tuple (x, target) or (x, target, weights)"
        )
    if len(validation) not in (2, 3):
        raise ValueError(
            f"{CALLER}: validation holds {len(validation)} things: give a tuple (x, target) or "
            "(x, target, weights)"
        )
    caller = f"{CALLER}: validation"
    x, target, weights = (*validation, None)[:3]
    x = x_argument(caller, "x", x, "columns" if network.columns else "rows")
    target = None if target is None else as_array(caller, "target", target)
    data = checked_samples(network, caller, x, target, weights)
    if len(data.x) == 0:
        raise ValueError(f"{caller}: x has shape {x.shape}: there are no samples")
    return data


class Validations(NamedTuple):
    """Samples to validate with, and what came of it in each epoch."""

    data: Samples
    losses: list[float]  # NaN for epochs without validation
    restore: bool  # whether the result has the best epoch's parameters
    best: list[tuple[int, Array | None]]  # the best epoch and its parameters; empty before it

    @classmethod
    def begun(
        cls, data: Samples | None, options: FitOptions, epochs: int, before: Validated | None
    ) -> Validations | None:
        """Return these after `epochs` epochs, which left `before`; None without validation."""
        if data is None:
            return None
        losses = [] if before is None else before.losses[:epochs]
        best: list[tuple[int, Array | None]] = []
        restore = options.restore_best
        if before is not None and before.best_epoch is not None:
            best = [(before.best_epoch, before.best if restore else None)]
            if restore and before.best is None:  # its parameters are not known
                best = []
        return cls(data, list(losses), restore, best)

    def fill(self, epochs: int) -> None:
        """Count earlier epochs without validation."""
        self.losses.extend([np.nan] * (epochs - len(self.losses)))

    def add(self, loss: float, params: Array) -> None:
        """Add the loss of an epoch that ended with these parameters."""
        self.losses.append(loss)
        if loss < self.least:
            self.best[:] = [(len(self.losses) - 1, params.copy() if self.restore else None)]

    @property
    def least(self) -> float:
        """The loss of the best epoch; inf before it."""
        return self.losses[self.best[0][0]] if self.best else np.inf

    def state(self, params: Array) -> Validated:
        """Return what the result keeps; training goes on from `params`."""
        epoch, best = self.best[0] if self.best else (None, None)
        return Validated(self.losses, epoch, best, params if best is not None else None)


def made_result(
    params: Array, losses: list[float], stopped: str | None, state: Any, of: Validations | None
) -> FitResult:
    """Return the result of training that ended with these parameters and this state."""
    if of is None or state is None:
        return FitResult(params, np.array(losses), stopped, state)
    validated = of.state(params)
    best = params if validated.best is None else validated.best
    state = state._replace(validated=validated)
    epoch = validated.best_epoch
    return FitResult(best, np.array(losses), stopped, state, np.array(of.losses), epoch)
