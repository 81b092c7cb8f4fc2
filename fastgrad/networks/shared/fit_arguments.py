"""The checked arguments of `MLP.fit`, shared by fastgrad, reference and loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastgrad.arguments import check_below, check_count, check_limit
from fastgrad.arrays import Array
from fastgrad.networks.shared.training import FitResult, FitState
from fastgrad.optimizers import OPTIMIZERS, Optimizer

CALLER = "MLP.fit"
Kind = TypeVar("Kind", bound=Optimizer)


class FitOptions(NamedTuple):
    """How to train: the arguments of `MLP.fit` except parameters and samples."""

    optimizer: Any
    epochs: int
    batch_size: int
    shuffle: bool
    seed: Any
    progress: bool
    callback: Callable[[FitState], Any] | None
    resume: FitResult | None
    validation: Any = None
    restore_best: bool = False
    clip_norm: float | None = None

    def checked(self) -> FitOptions:
        """Raise unless these are right; optimizer, seed and `resume` are checked later."""
        if self.callback is not None and not callable(self.callback):
            kind = type(self.callback).__name__
            raise TypeError(f"{CALLER}: callback is a {kind}: give a function")
        if self.restore_best and self.validation is None:
            raise ValueError(
                f"{CALLER}: restore_best=True without validation: give validation=(x, target), "
                "whose loss says which epoch is best"
            )
        limit = self.clip_norm
        return self._replace(
            restore_best=bool(self.restore_best),
            clip_norm=None if limit is None else check_limit(CALLER, "clip_norm", limit),
            epochs=check_count(CALLER, "epochs", self.epochs),
            batch_size=check_count(CALLER, "batch_size", self.batch_size),
            shuffle=bool(self.shuffle),
            progress=bool(self.progress),
        )


def check_draw(function: str, seed: Any, step: Any) -> tuple[int, int]:
    """Return seed and step of dropout, or raise unless they are integers of 64 and 32 bits."""
    return check_below(function, "seed", seed, 64), check_below(function, "step", step, 32)


def check_some(x: Array, n: int) -> None:
    """Raise if there are no samples in x."""
    if n == 0:
        raise ValueError(f"{CALLER}: x has shape {x.shape}: there are no samples")


def optimizer_of(optimizer: Any, before: Kind | None, kind: type[Kind], default: Kind) -> Kind:
    """Return the optimizer to use, of this kind; `before` is that of the training to resume."""
    if optimizer is None:
        return default if before is None else before
    if not isinstance(optimizer, kind):
        *most, last = (f"fg.{name}" for name in OPTIMIZERS)
        given = type(optimizer).__name__
        raise TypeError(f"{CALLER}: optimizer is a {given}: give {', '.join(most)} or {last}")
    if before is not None and optimizer.kernel != before.kernel:
        raise ValueError(
            f"{CALLER}: optimizer is {optimizer} but resume was trained by {before}: give one of "
            "its kind, or None for the same"
        )
    return optimizer


def check_resume(
    resume: Any, state: type[Any], kind: type[Optimizer], size: int, dtype: np.dtype[Any]
) -> None:
    """Raise unless `resume` is a result with a state and an optimizer of these types."""
    if not isinstance(resume, FitResult):
        given = type(resume).__name__
        raise TypeError(f"{CALLER}: resume is a {given}: give what an earlier fit returned")
    if resume.state is None:
        raise ValueError(f"{CALLER}: resume has no state: its training had not begun")
    if not isinstance(resume.state, state) or not isinstance(resume.state.optimizer, kind):
        raise TypeError(
            f"{CALLER}: resume is a FitResult of another package: give what an earlier fit of this "
            "one returned"
        )
    own = resume.params
    if own.shape != (size,) or own.dtype != dtype:
        raise ValueError(
            f"{CALLER}: resume has {own.size} parameters of {own.dtype} but the network has "
            f"{size} of {dtype}: give a result of this network"
        )


def check_resumed(params: Array, resume: FitResult) -> None:
    """Raise unless the parameters are those of the result to resume from."""
    if not np.array_equal(params, resume.params, equal_nan=True):
        raise ValueError(
            f"{CALLER}: params are not those of resume: give None, or leave resume out to "
            "start afresh"
        )


def is_true(answer: Any) -> bool:
    """Return whether a callback returned True, or NumPy's True from comparing NumPy numbers.

    Any other result, such as a loss or that of a progress bar's ``update``, does not stop training.
    """
    return isinstance(answer, bool | np.bool_) and bool(answer)
