"""`fit`: synchronous minibatches, a part of every block in each, the optimizer's step here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from time import perf_counter
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.delayed import delayed
from numpy.typing import ArrayLike

from fastgrad.arguments import check_count, random_generator
from fastgrad.arrays import Array
from fastgrad.dask.blocks import Block, blocks_of, checked_params
from fastgrad.dask.gradient import finished, sums_task
from fastgrad.dask.sums import Draw
from fastgrad.networks.mlp import MLP
from fastgrad.networks.shared.fit_arguments import check_resumed, is_true, optimizer_of
from fastgrad.networks.shared.training import EarlyStopping, FitResult, FitState
from fastgrad.optimizers import Adam, Optimizer
from fastgrad.terminal import Progress
from fastgrad.warning_categories import TrainingWarning

__all__ = ["fit"]

CALLER = "dask.fit"


class State(NamedTuple):
    """What `resume` needs: the optimizer with its memory, and the orders' seed."""

    optimizer: Optimizer
    memory: dict[str, Any]
    seed: int


def fit(
    net: MLP,
    params: ArrayLike | None,
    x: Any,
    target: Any = None,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: Any = 0,
    progress: bool = False,
    callback: Callable[[FitState], Any] | None = None,
    weights: Any = None,
    resume: FitResult | None = None,
    *,
    threads: int = 1,
    persist: bool = True,
) -> FitResult:
    """Train on blocks, in synchronous minibatches to which every block adds its share.

    Per epoch each block draws an order of its samples, from the seed, the epoch and its place. A
    step takes the next part of every block: `batch_size` samples in all. So a step moves the
    parameters and the gradients once, and the bits do not depend on the number of workers.

    Parameters
    ----------
    net : MLP
        The network.
    params : array_like, shape (net.size,), or None
        Where to start; None with `resume`. It is not changed.
    x, target, weights : as in `value_and_grad`
        The samples in blocks.
    optimizer : Optimizer, optional
        ``fg.Adam()`` by default; with `resume` that of the training before.
    epochs : int, optional
        How many times every sample is used.
    batch_size : int, optional
        Samples of a step, of all blocks together. A step takes some milliseconds of Dask's own
        time (see docs/scaling.md), so it should have thousands.
    shuffle : bool, optional
        Whether orders are random.
    seed : int or Generator, optional
        For the orders, as in `MLP.fit`.
    progress : bool, optional
        Print a line that shows the epoch and the loss. Dask's own callbacks and dashboard show the
        tasks.
    callback : callable, optional
        Gets a `fastgrad.FitState` after each epoch; training stops if it returns True.
    resume : FitResult, optional
        What an earlier `fit` returned: 2 epochs and 3 more are 5 epochs, to the bit.
    threads : int, optional
        Threads of fastgrad within each task.
    persist : bool, optional
        Keep the blocks in the workers' memory (Dask's `persist`). False computes or reads each
        block again in every step.

    Returns
    -------
    FitResult
        Parameters, losses, why it ended, and the state to resume from.

    Raises
    ------
    TypeError
        If x is not in blocks, or optimizer or resume is something else.
    ValueError
        If shapes do not fit, there is no sample, or the network has dropout.

    Warns
    -----
    TrainingWarning
        If a loss or parameters are not finite: the result is that of the epoch before.

    Examples
    --------
    >>> import dask.array, numpy as np, fastgrad as fg
    >>> from fastgrad.dask import fit
    >>> net = fg.MLP((2, 1), (None,), "mse", dtype="float64")
    >>> x = dask.array.ones((10, 2), chunks=(4, 2))
    >>> result = fit(net, np.zeros(3), x, np.ones((10, 1)), fg.SGD(lr=0.1), epochs=2, batch_size=10)
    >>> result.losses
    array([1.  , 0.16])
    """
    if any(net.dropout if isinstance(net.dropout, tuple) else (net.dropout,)):
        raise ValueError(f"{CALLER}: net has dropout={net.dropout}: blocks train without it")
    epochs = check_count(CALLER, "epochs", epochs)
    batch_size = check_count(CALLER, "batch_size", batch_size)
    threads = check_count(CALLER, "threads", threads)
    params, optimizer, seed, losses = _begin(net, params, optimizer, seed, resume)
    blocks = blocks_of(CALLER, net, x, target, weights)
    if persist:
        blocks = [Block(*block) for block in dask.persist(*map(tuple, blocks))]
    counts = _counts(net, blocks)
    n = sum(counts)
    if n == 0:
        raise ValueError(f"{CALLER}: x has no samples")
    parts = -(-n // batch_size)
    stopped, end = None, len(losses) + epochs
    layers = _arrays(net, params)
    with Progress(progress) as shown:
        while len(losses) < end and stopped is None:
            epoch, began = len(losses), perf_counter()
            before = params.copy(), optimizer.state_dict()
            value = terms = 0.0
            for part in range(parts):
                draws = [Draw(seed, epoch, i, part, parts, shuffle) for i in range(len(blocks))]
                sums = sums_task(net, params, blocks, threads, draws).compute()
                if sums.grad is None:  # fewer samples in all than parts
                    continue
                value, terms = value + sums.value, terms + sums.divisor
                _, grad = finished(CALLER, net, params, sums)
                optimizer.step(layers, _arrays(net, grad))
            loss = value if net.reduction == "sum" else value / terms
            if not np.isfinite(loss) or not np.isfinite(params).all():
                params[:] = before[0]
                optimizer.load_state_dict(before[1])
                stopped = "diverged"
                warnings.warn(
                    f"{CALLER}: epoch {epoch} (the first is 0) gave a loss of {loss}, or "
                    "parameters that are not finite: the result has those from before that epoch",
                    TrainingWarning,
                    stacklevel=2,
                )
                break
            losses.append(loss)
            speed = n / (perf_counter() - began)
            shown.update(epoch + 1, end, f"epochs, loss {loss:.4g}")
            if callback is not None and is_true(callback(FitState(epoch, loss, params, speed))):
                stopped = "early stopping" if isinstance(callback, EarlyStopping) else "callback"
    state = State(optimizer, optimizer.state_dict(), seed)
    return FitResult(params, np.array(losses), stopped, state)


def _begin(
    net: MLP, params: ArrayLike | None, optimizer: Any, seed: Any, resume: FitResult | None
) -> tuple[Array, Optimizer, int, list[float]]:
    """Return parameters and an optimizer of this training's own, and what is done already."""
    if resume is None:
        if params is None:
            raise TypeError(f"{CALLER}: params is None: give a vector, or resume=")
        vector = checked_params(CALLER, net, params).copy()
        rule = deepcopy(optimizer_of(optimizer, None, Optimizer, Adam()))
        rule.reset()
        drawn = int(random_generator(CALLER, seed).integers(1 << 62))
        return vector, rule, drawn, []
    if not isinstance(resume, FitResult) or not isinstance(resume.state, State):
        raise TypeError(f"{CALLER}: resume is not what an earlier dask.fit returned")
    vector = checked_params(CALLER, net, resume.params).copy()
    if params is not None:
        check_resumed(checked_params(CALLER, net, params), resume)
    before = resume.state
    rule = deepcopy(optimizer_of(optimizer, before.optimizer, Optimizer, Adam()))
    rule.load_state_dict(before.memory)
    return vector, rule, before.seed, resume.losses.tolist()


def _counts(net: MLP, blocks: Sequence[Block]) -> list[int]:
    """Return the numbers of samples, which blocks of unknown size tell when they are computed."""
    axis = -1 if net.samples == "columns" else 0
    count = delayed(lambda x: x.shape[axis], pure=False)
    counts: tuple[int, ...] = dask.compute(*(count(block.x) for block in blocks))
    return list(counts)


def _arrays(net: MLP, vector: Array) -> dict[str, Array]:
    """Return views by the names that decay rules know; biases of one axis, which do not decay."""
    named = {}
    for i, layer in enumerate(net.layers(vector), 1):
        for name, array in zip(layer._fields, layer, strict=True):
            if array is not None:
                named[f"{name.upper() if name == 'w' else name}{i}"] = (
                    array if name == "w" else array.reshape(-1)
                )
    return named
