"""Training a network in plain NumPy: epochs of batches in random order, and a step after each."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .arguments import check_count
from .arrays import Array
from .optimizers import SGD, Adam, Memory, Optimizer

__all__ = ["FitResult", "FitState", "TrainingWarning", "resumed", "train"]


class TrainingWarning(UserWarning):
    """Training met a loss or parameters that are not finite."""


class State(NamedTuple):
    """What training needs to go on as if it had not ended."""

    optimizer: Optimizer
    memory: Memory
    rng: np.random.Generator  # of the orders to come


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training gives: the parameters, the loss of each epoch, and what stopped it."""

    params: Array
    losses: Array
    stopped: str | None = None  # "callback" or "diverged"
    state: State | None = None  # what ``fit(resume=result)`` goes on from

    def __iter__(self) -> Iterator[Array]:
        return iter((self.params, self.losses))


class FitState(NamedTuple):
    """What a callback is told after an epoch. ``params`` changes later: copy it to keep it."""

    epoch: int  # from 0
    loss: float
    params: Array
    samples_per_second: float


def resumed(resume: Any, params: Any, dtype: np.dtype[Any]) -> Array:
    """Return the parameters of ``resume``, an earlier result, which are also ``params`` if any."""
    if not isinstance(resume, FitResult):
        kind = type(resume).__name__
        raise TypeError(f"MLP.fit: resume is a {kind}: give what an earlier fit returned")
    if resume.state is None:
        raise ValueError("MLP.fit: resume has no state: its training had not begun")
    own = resume.params
    if own.dtype != dtype:
        raise ValueError(f"MLP.fit: resume has parameters of {own.dtype} but the network {dtype}")
    if params is not None and not np.array_equal(params, own, equal_nan=True):
        raise ValueError("MLP.fit: params are not those of resume: give None for its own")
    return own


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
    resume: FitResult | None,
) -> FitResult:
    """Train ``params`` in place on ``count`` samples; the rest is documented at `MLP.fit`.

    ``value_and_grad(batch)`` returns the loss of the samples with these numbers and its gradient
    with respect to ``params``, which is used up. ``averaged`` says that it is a mean, not a sum.
    """
    epochs, batch_size = check_count("epochs", epochs), check_count("batch_size", batch_size)
    before = None if resume is None else copy.deepcopy(resume.state)
    if optimizer is None:
        optimizer = Adam() if before is None else before.optimizer
    if not isinstance(optimizer, Optimizer):
        given = type(optimizer).__name__
        raise TypeError(f"MLP.fit: optimizer is a {given}: give an SGD, Adam or AdamW")
    if callback is not None and not callable(callback):
        raise TypeError(f"MLP.fit: callback is a {type(callback).__name__}: give a function")
    if before is None:
        memory, rng = optimizer.begin(params), np.random.default_rng(seed)
    else:
        memory, rng = before.memory, before.rng
        if isinstance(optimizer, SGD) != isinstance(before.optimizer, SGD):
            raise ValueError(
                f"MLP.fit: optimizer is {optimizer} but resume was trained by {before.optimizer}"
            )

    step = optimizer.start(params, memory)
    losses = [] if resume is None else resume.losses.tolist()
    end = len(losses) + epochs
    stopped = None
    finite = np.isfinite(params).all()  # some may be infinite from the start, on purpose
    while len(losses) < end:
        epoch, began = len(losses), perf_counter()
        kept = params.copy(), copy.deepcopy(memory), rng.bit_generator.state
        order = rng.permutation(count) if shuffle else np.arange(count)
        total = 0.0
        with np.errstate(all="ignore"):
            for first in range(0, count, batch_size):
                batch = order[first : first + batch_size]
                value, grad = value_and_grad(batch)
                # Undo the batch's mean, over samples or over elements: k per sample.
                total += value * len(batch) if averaged else value
                step(grad)
        loss = total / count if averaged else total
        if not np.isfinite(loss) or (finite and not np.isfinite(params).all()):
            params[:], memory, rng.bit_generator.state = kept
            stopped = "diverged"
            warnings.warn(
                f"MLP.fit: epoch {epoch} (the first is 0) gave a loss of {loss}, or parameters "
                "that are not finite: the result has the parameters from before that epoch",
                TrainingWarning,
                stacklevel=3,
            )
            break
        losses.append(loss)
        speed = count / (perf_counter() - began)
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
