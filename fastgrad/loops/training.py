"""Training a network by loops over epochs and batches, with a step after each batch."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .arguments import positive
from .lists import Array
from .optimizers import SGD, Adam, Memory, Optimizer

__all__ = ["FitResult", "FitState", "TrainingWarning", "resumed", "train"]


class TrainingWarning(UserWarning):
    """Training met a loss or parameters that are not finite."""


class State(NamedTuple):
    """What training goes on from."""

    optimizer: Optimizer
    memory: Memory
    rng: np.random.Generator


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training gives: the parameters, the loss of each epoch, and what stopped it."""

    params: Array
    losses: Array
    stopped: str | None = None  # "callback" or "diverged"
    state: State | None = None  # for ``fit(resume=result)``

    def __iter__(self) -> Iterator[Array]:
        return iter((self.params, self.losses))


class FitState(NamedTuple):
    """What a callback is told after an epoch. ``params`` changes later: copy it to keep it."""

    epoch: int  # from 0
    loss: float
    params: Array
    samples_per_second: float


def resumed(resume: Any, params: Any, dtype: np.dtype[Any]) -> Array:
    """Return the parameters of ``resume`` to go on from; ``params`` must be them, or None."""
    if not isinstance(resume, FitResult):
        kind = type(resume).__name__
        raise TypeError(f"MLP.fit: resume is a {kind}: give what an earlier fit returned")
    if resume.state is None:
        raise ValueError("MLP.fit: resume has no state: its training had not begun")
    if resume.params.dtype != dtype:
        raise ValueError(f"MLP.fit: resume has parameters of {resume.params.dtype}, not {dtype}")
    if params is not None and np.asarray(params).tolist() != resume.params.tolist():
        raise ValueError("MLP.fit: params are not those of resume: give None for its own")
    return resume.params


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
    resume: FitResult | None,
) -> FitResult:
    """Change ``params`` in place, in training on n samples; see `MLP.fit`.

    ``value_and_grad(batch)`` is the loss of these samples, by their numbers, and its gradient. It
    is a mean where it is ``averaged``, else a sum.
    """
    epochs, batch_size = positive("epochs", epochs), positive("batch_size", batch_size)
    losses: list[float] = []
    memory, rng = Memory(len(params)), np.random.default_rng(seed)
    if resume is not None and resume.state is not None:
        losses = resume.losses.tolist()
        before, memory, rng = deepcopy(resume.state)
        optimizer = before if optimizer is None else optimizer
        if isinstance(optimizer, SGD) != isinstance(before, SGD):
            raise ValueError(f"MLP.fit: optimizer is {optimizer}: resume was trained by {before}")
    if optimizer is None:
        optimizer = Adam()
    if not isinstance(optimizer, Optimizer):
        given = type(optimizer).__name__
        raise TypeError(f"MLP.fit: optimizer is a {given}: give an SGD, Adam or AdamW")
    if callback is not None and not callable(callback):
        raise TypeError(f"MLP.fit: callback is a {type(callback).__name__}: give a function")

    step = optimizer.start(params, memory)
    first, end = len(losses), len(losses) + epochs
    stopped = None
    was_finite = all_finite(params)
    for epoch in range(first, end):
        start = time.perf_counter()
        before_epoch = params.copy(), deepcopy(memory), rng.bit_generator.state
        order = rng.permutation(n).tolist() if shuffle else list(range(n))
        total = 0.0
        while order:
            batch, order = order[:batch_size], order[batch_size:]
            value, grad = value_and_grad(batch)
            # Undo the batch's mean, over samples or over elements: k per sample.
            total += value * len(batch) if averaged else value
            step(grad)
        loss = total / n if averaged else total
        if not math.isfinite(loss) or (was_finite and not all_finite(params)):
            params[:], memory, rng.bit_generator.state = before_epoch
            stopped = "diverged"
            warnings.warn(
                f"MLP.fit: epoch {epoch} (the first is 0) gave a loss of {loss}, or parameters "
                "that are not finite: the result has the parameters from before that epoch",
                TrainingWarning,
                stacklevel=3,
            )
            break
        losses.append(loss)
        speed = n / (time.perf_counter() - start)
        if progress and sys.stderr is not None:
            with suppress(OSError, ValueError, AttributeError):  # closed, full, nobody reads, ...
                print(
                    f"epoch {epoch + 1}/{end}  loss {loss:.4g}  {speed:.3g} samples/s",
                    file=sys.stderr,
                    flush=True,
                )
        if callback is not None:
            answer = callback(FitState(epoch, loss, params, speed))
            if isinstance(answer, bool | np.bool_) and answer:  # nothing else that is true
                stopped = "callback"
                break
    return FitResult(params, np.array(losses), stopped, State(optimizer, memory, rng))


def all_finite(params: Array) -> bool:
    """Return whether no parameter is infinite or NaN."""
    return all(math.isfinite(p) for p in params.tolist())
