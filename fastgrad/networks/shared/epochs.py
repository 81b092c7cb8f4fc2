"""Training by a plain loop over epochs and batches, for reference and loops.

They pass in value_and_grad and their optimizers' steps. This file adds only the order of the
samples, the sum of the batches' losses, and when to stop.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import random_generator
from fastgrad.arrays import Array
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.fit_arguments import CALLER, FitOptions, is_true, optimizer_of
from fastgrad.networks.shared.samples import Samples
from fastgrad.networks.shared.training import EarlyStopping, FitResult, FitState, Validated
from fastgrad.networks.shared.validation import Validations, made_result, validation_samples
from fastgrad.warning_categories import TrainingWarning


class State(NamedTuple):
    """What training needs to continue as if it had not ended."""

    optimizer: Any
    memory: Any
    rng: np.random.Generator  # for the next orders
    validated: Validated | None = None
    key: int | None = None  # of dropout


def make_step(
    rule: Any, memory: Any, params: Array, grad: Array, ranges: list[tuple[int, int, bool]]
) -> None:
    """Make a step by `grad`, which is overwritten, on these pieces of the flat vectors."""
    for first, last, decays in ranges:
        piece = slice(first, last)
        part = replace(memory, vectors=[vector[piece] for vector in memory.vectors])
        rule.at_step(memory.steps, decays).start(params[piece], part)(grad[piece])
        for vector, changed in zip(memory.vectors, part.vectors, strict=True):
            vector[piece] = changed  # of lists, these are copies
    memory.steps += 1


def train(
    params: Array,
    count: int,
    value_and_grad: Callable[[Array, tuple[int, int] | None], tuple[float, float, Array]],
    validate: Callable[[Samples], float],
    size_of: Callable[[Array], float] | None,
    kind: type[Any],
    default: Any,
    network: Architecture,
    options: FitOptions,
) -> FitResult:
    """Train `params` in place on `count` samples; the rest is documented at `MLP.fit`.

    ``value_and_grad(batch, draw)`` returns the loss of the samples with these indices, dropout by
    this seed and step, the penalties, and the gradient of both with respect to `params`, which may
    be overwritten; ``validate(samples)`` returns their loss alone. If the loss is a mean, not a
    sum, ``size_of(batch)`` returns what it is divided by. `kind` is the package's `Optimizer`:
    ``memory(params)`` returns its memory before the first step, and ``start(params, memory)``
    returns ``step(grad)``. `network` says which parameters weight decay applies to.
    """
    resume, batch_size, callback = options.resume, options.batch_size, options.callback
    losses = [] if resume is None else resume.losses.tolist()
    before = None if resume is None else deepcopy(resume.state)
    rule = optimizer_of(options.optimizer, before and before.optimizer, kind, default)
    rng, memory = random_generator(CALLER, options.seed), rule.memory(params)
    if before is not None:
        rng, memory.steps = before.rng, before.memory.steps
        for vector, kept in zip(memory.vectors, before.memory.vectors, strict=False):
            vector[:] = kept

    key = None if before is None else before.key
    if key is None and network.drops:
        key = int(rng.integers(1 << 63))
    known = None if before is None else before.validated
    checked = validation_samples(network, options.validation)
    validations = Validations.begun(checked, options, len(losses), known)
    if validations is not None and len(losses) > len(validations.losses):
        validations.fill(len(losses) - 1)  # the last epoch's is that of the parameters as they are
        validations.add(validate(validations.data), params)

    stopped, ranges = None, network.ranges(rule, params)
    end = len(losses) + options.epochs
    finite = np.isfinite(params).all()  # a user may start with infinite ones on purpose
    while len(losses) < end and stopped is None:
        epoch, began = len(losses), perf_counter()
        kept = params.copy(), deepcopy(memory), rng.bit_generator.state
        order = rng.permutation(count) if options.shuffle else np.arange(count)
        total = penalties = 0.0
        with np.errstate(all="ignore"):
            for first in range(0, count, batch_size):
                batch = order[first : first + batch_size]
                draw = None if key is None else (key, memory.steps)
                value, penalty, grad = value_and_grad(batch, draw)
                # Undo the batch's mean, over samples or over elements: k per sample.
                total += value if size_of is None else value * size_of(batch)
                penalties += penalty * len(batch)
                make_step(rule, memory, params, grad, ranges)
        loss = total if size_of is None else total / size_of(np.arange(count))
        loss += penalties / count
        if not np.isfinite(loss) or (finite and not np.isfinite(params).all()):
            params[:], memory, rng.bit_generator.state = kept
            stopped = "diverged"
            warnings.warn(
                f"{CALLER}: epoch {epoch} (the first is 0) gave a loss of {loss}, or parameters "
                "that are not finite: the result has the parameters from before that epoch",
                TrainingWarning,
                stacklevel=3,
            )
            break
        losses.append(loss)
        speed, validated = count / (perf_counter() - began), None
        if validations is not None:
            with np.errstate(all="ignore"):
                validated = validate(validations.data)
            validations.add(validated, params)
        shown = f"loss {loss:.4g}"
        shown += "" if validated is None else f"  validation {validated:.4g}"
        if options.progress and sys.stderr is not None:
            with suppress(OSError, ValueError, AttributeError):  # closed, full, no reader, ...
                print(
                    f"epoch {epoch + 1}/{end}  {shown}  {speed:.3g} samples/s",
                    file=sys.stderr,
                    flush=True,
                )
        state = FitState(epoch, loss, params, speed, validated)
        if callback is not None and is_true(callback(state)):
            stopped = "early stopping" if isinstance(callback, EarlyStopping) else "callback"
    return made_result(params, losses, stopped, State(rule, memory, rng, key=key), validations)
