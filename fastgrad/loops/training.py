"""Training a network by loops over epochs and batches, with a step after each batch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .arguments import positive
from .lists import Array
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
    n: int,
    value_and_grad: Callable[[list[int]], tuple[float, Array]],
    averaged: bool,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
    progress: bool,
    callback: Callable[[FitState], Any] | None,
) -> FitResult:
    """Change ``params`` in place, in training on n samples; see `MLP.fit`.

    ``value_and_grad(batch)`` is the loss of these samples, by their numbers, and its gradient. It
    is a mean where it is ``averaged``, else a sum.
    """
    epochs, batch_size = positive("epochs", epochs), positive("batch_size", batch_size)
    if optimizer is None:
        optimizer = Adam()
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
        start = time.perf_counter()
        order = rng.permutation(n).tolist() if shuffle else list(range(n))
        total = 0.0
        while order:
            batch, order = order[:batch_size], order[batch_size:]
            value, grad = value_and_grad(batch)
            # Undo the batch's mean, over samples or over elements: k per sample.
            total += value * len(batch) if averaged else value
            step(grad)
        losses.append(total / n if averaged else total)
        speed = n / (time.perf_counter() - start)
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
