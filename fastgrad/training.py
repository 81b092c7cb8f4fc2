"""Training a network: epochs of compiled steps, progress, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, check_count, check_number, random_generator
from fastgrad.compiled_network import CompiledNetwork
from fastgrad.network_job import Job
from fastgrad.optimizers import Adam, Optimizer
from fastgrad.terminal import Progress

__all__ = ["EarlyStopping", "FitResult", "FitState", "train"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training gives: the parameters, the loss of each epoch, and why it ended.

    It unpacks into the first two.

    Attributes
    ----------
    params : ndarray
        The flat vector, ``(size,)`` of the network's dtype; its own memory.
    losses : ndarray
        float64, one per epoch: the loss over all samples with the parameters as they were when
        each sample was used.
    stopped : str or None
        What ended training before all epochs were done: ``"callback"``, ``"early stopping"`` (the
        callback was an `EarlyStopping`), ``"interrupt"`` (Ctrl-C); else None.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP((1, 1), (None,), "mse", dtype="float64")
    >>> params, losses = net.fit(net.init(), [[1.0]], [[2.0]], epochs=3)
    >>> params.shape, losses.shape
    ((2,), (3,))
    >>> result = net.fit(net.init(), [[1.0]], [[2.0]], callback=lambda state: state.loss < 9)
    >>> len(result.losses), result.stopped
    (1, 'callback')
    """

    params: Array
    losses: Array
    stopped: str | None = None

    def __iter__(self) -> Iterator[Array]:
        return iter((self.params, self.losses))


class FitState(NamedTuple):
    """What a callback is told after an epoch.

    Attributes
    ----------
    epoch : int
        From 0.
    loss : float
        Of this epoch, as in `FitResult`.
    params : ndarray
        The flat vector, ``(size,)`` of the network's dtype, as training goes on with it: copy it
        to keep it.
    samples_per_second : float
        Of this epoch.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP((1, 1), (None,), "mse", dtype="float64")
    >>> def report(state):
    ...     print(state.epoch, state.params.shape)
    >>> result = net.fit(net.init(), [[1.0]], [[2.0]], epochs=2, callback=report)
    0 (2,)
    1 (2,)
    """

    epoch: int
    loss: float
    params: Array
    samples_per_second: float


class EarlyStopping:
    """A callback that stops when the loss has not fallen for some epochs.

    Parameters
    ----------
    patience : int
        How many epochs without a better loss.
    min_delta : float
        By how much a loss must be lower to count as better; at least 0.

    Attributes
    ----------
    best : float
        The least loss so far in this call of `MLP.fit`; inf before it.
    waited : int
        Epochs since.

    Raises
    ------
    TypeError
        If `patience` is no integer or `min_delta` no number.
    ValueError
        If `patience` is below 1 or `min_delta` below 0.

    Examples
    --------
    >>> import fastgrad as fg, numpy as np
    >>> net = fg.MLP((1, 1), (None,), "mse", dtype="float64")
    >>> x = np.ones((4, 1))
    >>> stop = fg.EarlyStopping(patience=2, min_delta=1e-3)
    >>> len(net.fit(net.init(), x, x, fg.SGD(lr=0.1), epochs=100, callback=stop).losses)
    10
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        self.patience = check_count("EarlyStopping", "patience", patience)
        self.min_delta = check_number("EarlyStopping", "min_delta", min_delta)
        if not self.min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta is {min_delta}: give a number >= 0")
        self.best, self.waited = np.inf, 0

    def __call__(self, state: FitState) -> bool:
        """Return whether to stop.

        Parameters
        ----------
        state : FitState
            What `MLP.fit` gives after each epoch; epoch 0 forgets what was before.

        Returns
        -------
        bool
            True after `patience` epochs without a better loss.
        """
        if state.epoch == 0:
            self.best, self.waited = np.inf, 0
        if state.loss < self.best - self.min_delta:
            self.best, self.waited = state.loss, 0
        else:
            self.waited += 1
        return self.waited >= self.patience


def train(
    network: CompiledNetwork,
    params: ArrayLike,
    x: ArrayLike,
    target: ArrayLike | None,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
    progress: bool,
    callback: Callable[[FitState], Any] | None,
) -> FitResult:
    """Train `network`: see `MLP.fit`."""
    caller = "MLP.fit"
    stopped = None
    p = network.native_params(caller, as_array(caller, "params", params)).copy()
    losses: list[float] = []
    with _interrupted_with_result(p, losses):  # during the checks, too
        x = as_array(caller, "x", x)
        data = network.samples(
            caller, x, None if target is None else as_array(caller, "target", target)
        )
        optimizer = Adam() if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            given = type(optimizer).__name__
            raise TypeError(f"{caller}: optimizer is a {given}: give fg.SGD, fg.Adam or fg.AdamW")
        if callback is not None and not callable(callback):
            raise TypeError(f"{caller}: callback is a {type(callback).__name__}: give a function")
        epochs, batch_size = (
            check_count(caller, "epochs", epochs),
            check_count(caller, "batch_size", batch_size),
        )
        n = len(data.x)
        if n == 0:
            raise ValueError(f"{caller}: x has shape {x.shape}: there are no samples")
        batch_size = min(batch_size, n)
        rng = random_generator(caller, seed)
        gradient = np.empty(network.size, network.dtype)
        table, state = optimizer.table(network.size, network.dtype.name)
        shown = 0.0

        def note(done: int) -> None:
            nonlocal shown
            if perf_counter() - shown < 0.1:  # drawing takes longer than a short epoch
                return
            shown = perf_counter()
            before = len(losses) * n
            speed = (before + done) / (perf_counter() - start)
            loss = f"loss {losses[-1]:.4g}  " if losses else ""
            text = f"epoch {len(losses) + 1}/{epochs}  {loss}{speed:.3g} samples/s"
            bar.update(before + done, epochs * n, text)

        start = perf_counter()
        with Progress(bool(progress)) as bar:
            for epoch in range(epochs):
                began = perf_counter()
                if epoch and data.labels and data.target is not None:  # a callback may change them
                    network.check_classes(caller, data.target)
                order = rng.permutation(n) if shuffle else None
                job = Job(network, p, gradient, data, batch_size, order=order, optimizer=table)
                job.run(note if progress else None)
                loss = network.reduced(job.all_terms, n)
                losses.append(loss)
                speed = n / (perf_counter() - began)
                if callback is not None and _is_true(callback(FitState(epoch, loss, p, speed))):
                    early = isinstance(callback, EarlyStopping)
                    stopped = "early stopping" if early else "callback"
                    break
        if progress:
            bar.finish(
                f"{len(losses)} epochs  loss {losses[-1]:.4g}  {perf_counter() - start:.3g} s"
            )
        del state  # until here the kernel used it through addresses
    return FitResult(p, np.array(losses), stopped)


def _is_true(answer: Any) -> bool:
    """Return whether a callback's answer is True, or NumPy's, which comparing NumPy numbers gives.

    Nothing else: a callback that reports (a progress bar's ``update``, a loss) is not asked.
    """
    return isinstance(answer, bool | np.bool_) and bool(answer)


@contextmanager
def _interrupted_with_result(p: Array, losses: list[float]) -> Iterator[None]:
    """Give Ctrl-C's exception what there is by then."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.result = FitResult(p, np.array(losses), "interrupt")  # type: ignore[attr-defined]
        raise
