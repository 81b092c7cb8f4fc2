"""Training a network in plain NumPy: epochs of batches in random order, and a step after each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .arguments import check_count
from .arrays import Array
from .optimizers import Adam, Optimizer

__all__ = ["FitResult", "FitState", "train"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training gives: the parameters, the loss of each epoch, and what stopped it."""

    params: Array
    losses: Array
    stopped: str | None = None  # "callback"

    def __iter__(self) -> Iterator[Array]:
        return iter((self.params, self.losses))


class FitState(NamedTuple):
    """What a callback is told after an epoch. ``params`` changes later: copy it to keep it."""

    epoch: int  # from 0
    loss: float
    params: Array
    samples_per_second: float


def train(
    params: Array,
    count: int,
    value_and_grad: Callable[[Array], tuple[float, Array]],
    averaged: bool,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
    progress: bool,
    callback: Callable[[FitState], Any] | None,
) -> FitResult:
    """Train ``params`` in place on ``count`` samples; the rest is documented at `MLP.fit`.

    ``value_and_grad(batch)`` returns the loss of the samples with these numbers and its gradient
    with respect to ``params``, which is used up. ``averaged`` says that it is a mean, not a sum.
    """
    epochs, batch_size = check_count("epochs", epochs), check_count("batch_size", batch_size)
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        given = type(optimizer).__name__
        raise TypeError(f"MLP.fit: optimizer is a {given}: give an SGD, Adam or AdamW")
    if callback is not None and not callable(callback):
        raise TypeError(f"MLP.fit: callback is a {type(callback).__name__}: give a function")

    step = optimizer.start(params)
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    stopped = None
    for epoch in range(epochs):
        began = perf_counter()
        order = rng.permutation(count) if shuffle else np.arange(count)
        total = 0.0
        with np.errstate(all="ignore"):
            for first in range(0, count, batch_size):
                batch = order[first : first + batch_size]
                value, grad = value_and_grad(batch)
                # Undo the batch's mean, over samples or over elements: k per sample.
                total += value * len(batch) if averaged else value
                step(grad)
        losses.append(total / count if averaged else total)
        speed = count / (perf_counter() - began)
        if progress:
            print(
                f"epoch {epoch + 1}/{epochs}  loss {losses[-1]:.4g}  {speed:.3g} samples/s",
                file=sys.stderr,
            )
        if callback is not None:
            answer = callback(FitState(epoch, losses[-1], params, speed))
            if isinstance(answer, bool | np.bool_) and answer:  # nothing else that is true
                stopped = "callback"
                break
    return FitResult(params, np.array(losses), stopped)
