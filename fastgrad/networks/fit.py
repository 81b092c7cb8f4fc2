"""`MLP.fit`: check the arguments, train, and report an interrupt or a divergence."""

from __future__ import annotations

import warnings

from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array
from fastgrad.kernels.toolchain.undisturbed import interrupts_deferred
from fastgrad.layers.dense_arguments import x_argument
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.fit_arguments import (
    CALLER,
    FitOptions,
    check_resume,
    check_resumed,
    check_some,
)
from fastgrad.networks.shared.forms import Parameters, vector_of
from fastgrad.networks.shared.samples import checked_samples
from fastgrad.networks.shared.training import FitResult, TrainingState
from fastgrad.networks.shared.validation import validation_samples
from fastgrad.networks.training_run import Training
from fastgrad.optimizers import Optimizer
from fastgrad.terminal import Progress
from fastgrad.warning_categories import TrainingWarning


def fit(
    network: Network,
    params: Parameters | None,
    x: ArrayLike,
    target: ArrayLike | None,
    weights: ArrayLike | None,
    options: FitOptions,
) -> FitResult:
    """Train `network`: see `MLP.fit`."""
    resume = options.resume
    if resume is None:
        p = vector_of(network, CALLER, params).copy()
    else:
        p = _resumed(network, params, resume)
    run = Training(network, p, resume)
    so_far: list[FitResult] = []
    try:
        try:
            _run(run, x, target, weights, options)
            result = run.result()
        except KeyboardInterrupt:
            with interrupts_deferred():
                so_far.append(run.interrupted())
            raise
    except KeyboardInterrupt as stop:
        if not so_far:  # a second Ctrl-C, before signals were deferred
            with interrupts_deferred():
                so_far.append(run.interrupted())
        stop.result = so_far[0]  # type: ignore[attr-defined]
        raise
    if run.stopped == "diverged":
        try:
            warnings.warn(f"{CALLER}: {run.what_diverged()}", TrainingWarning, stacklevel=3)
        except TrainingWarning as error:  # if a filter turns the warning into an exception
            error.result = result  # type: ignore[attr-defined]
            raise
    return result


def _run(
    run: Training,
    x: ArrayLike,
    target: ArrayLike | None,
    weights: ArrayLike | None,
    options: FitOptions,
) -> None:
    """Check the arguments and train."""
    inputs = x_argument(CALLER, "x", x, "columns" if run.network.columns else "rows")
    goal = None if target is None else as_array(CALLER, "target", target)
    data = checked_samples(run.network, CALLER, inputs, goal, weights)
    options = options.checked()
    check_some(inputs, len(data.x))
    run.prepare(data, options, validation_samples(run.network, options.validation))
    with Progress(options.progress) as bar:
        run.go(options.epochs, options.callback, bar if options.progress else None)


def _resumed(network: Network, params: Parameters | None, resume: FitResult) -> Array:
    """Return a copy of the parameters to go on from."""
    check_resume(resume, TrainingState, Optimizer, network.size, network.dtype)
    if params is not None:
        check_resumed(vector_of(network, CALLER, params), resume)
    return resume.last.copy()
