"""Scikit-learn's forms of SGD and Adam, and its learning rates.

They differ from PyTorch's, which `fastgrad.SGD` and `fastgrad.Adam` follow: see
docs/optimizers.md. The velocity holds steps, in which the learning rate of their time is a factor;
Adam's epsilon is added to a root that is not yet corrected for its start at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastgrad.optimizers import SGD, Adam, Optimizer

__all__ = ["FoldedAdam", "FoldedSGD", "Rate", "make_optimizer"]


@dataclass
class Rate:
    """A learning rate that training changes between its epochs.

    `scale` is how many times too large the gradients are, a power of two: so every number that
    results is that of scikit-learn's formula.
    """

    value: float
    scale: float

    def __call__(self, step: int) -> float:
        """Return the rate for these gradients, as a schedule does."""
        return self.value / self.scale


@dataclass(frozen=True)
class FoldedSGD(SGD):
    """``v = momentum * v - lr * g; p += v``, or with Nesterov ``p += momentum * v - lr * g``."""

    kernel = "sgd_folded"

    def __post_init__(self) -> None:
        """Take what scikit-learn takes: a momentum of 1, Nesterov without momentum."""

    @property
    def learning_rate(self) -> float:
        """The rate now, for gradients of scikit-learn's size."""
        rate: Any = self.lr
        return float(rate.value)

    def vectors(self) -> tuple[str, ...]:
        """Return the velocity, also without momentum."""
        return ("velocity",)


@dataclass(frozen=True)
class FoldedAdam(Adam):
    """``p -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + eps)``."""

    kernel = "adam_folded"


def make_optimizer(estimator: Any, rate: Rate) -> Optimizer:
    """Return the estimator's solver, with this rate if it is SGD."""
    if estimator.solver == "sgd":
        return FoldedSGD(
            lr=rate,
            momentum=float(estimator.momentum),
            nesterov=bool(estimator.nesterovs_momentum),
        )
    return FoldedAdam(
        lr=rate.value,
        betas=(float(estimator.beta_1), float(estimator.beta_2)),
        eps=float(estimator.epsilon) * rate.scale,
    )
