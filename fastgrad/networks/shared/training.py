"""The result of training, what a callback gets, and early stopping.

fastgrad, reference and loops share these types. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_count, check_number
from fastgrad.arrays import Array
from fastgrad.optimizers import Memory, Optimizer

__all__ = ["EarlyStopping", "FitResult", "FitState"]


class Reached(NamedTuple):
    """A job's progress within a pass."""

    block: int = 0
    terms: float = 0.0  # of this batch so far
    all_terms: float = 0.0  # of this pass so far


class BegunEpoch(NamedTuple):
    """An epoch that was interrupted: its progress, order and batch size."""

    reached: Reached
    gradient: Array  # of the batch's blocks so far
    order: Array | None
    samples: int
    batch_size: int


class Validated(NamedTuple):
    """What validation gave so far, and the parameters of the best epoch, if they are kept."""

    losses: list[float]
    best_epoch: int | None
    best: Array | None
    last: Array | None  # where training goes on, if the result has the best epoch's parameters


class TrainingState(NamedTuple):
    """What training needs to continue as if it had not ended."""

    optimizer: Optimizer
    memory: Memory
    generator: tuple[type[np.random.BitGenerator], Any]  # and its state; for the next orders
    begun: BegunEpoch | None
    validated: Validated | None = None
    key: int | None = None  # of dropout


@dataclass(frozen=True, eq=False)
class FitResult:
    """The result of training: the parameters, the loss of each epoch, and why it ended.

    It unpacks into the first two.

    Attributes
    ----------
    params : ndarray
        The flat vector, ``(size,)`` of the network's dtype; its own memory.
    losses : ndarray
        float64, one per epoch: the loss over all samples, each with the parameters when it was
        used; and the mean over the samples of the penalties of `MLP`.
    stopped : str or None
        What ended training before all epochs were done: ``"callback"``, ``"early stopping"`` (the
        callback was an `EarlyStopping`), ``"diverged"`` (a loss or parameters that are not finite),
        ``"interrupt"`` (Ctrl-C); else None.
    state : object
        What ``fit(resume=result)`` needs to continue. A result can be pickled with it.
    validation_losses : ndarray or None
        float64, one per epoch: the loss over all samples of ``validation=`` after it, without
        penalties. NaN for the epochs of an earlier training without validation, except its last.
        An interrupt (Ctrl-C) may leave out that of the last epoch; `resume` computes it.
    best_epoch : int or None
        The epoch, from 0, of the least validation loss; the first of several. With
        ``restore_best=True`` `params` are those after it.

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
    state: Any = field(default=None, repr=False)  # a TrainingState; an `epochs.State` of the twins
    validation_losses: Array | None = None
    best_epoch: int | None = None

    @property
    def last(self) -> Array:
        """The parameters after the last epoch, where a resumed training goes on."""
        validated = None if self.state is None else self.state.validated
        kept = None if validated is None else validated.last
        return self.params if kept is None else kept

    def __iter__(self) -> Iterator[Array]:
        return iter((self.params, self.losses))


class FitState(NamedTuple):
    """What a callback gets after each epoch.

    Attributes
    ----------
    epoch : int
        From 0; with ``resume`` it continues from the epochs before.
    loss : float
        Of this epoch, as in `FitResult`.
    params : ndarray
        The flat vector, ``(size,)`` of the network's dtype. Training continues to change it: copy
        it to keep it.
    samples_per_second : float
        Of this epoch.
    validation_loss : float or None
        As in `FitResult`.

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
    validation_loss: float | None = None


class EarlyStopping:
    """A callback that stops when the loss has not fallen for some epochs.

    With ``fit(validation=...)`` it is the validation loss.

    Parameters
    ----------
    patience : int
        How many epochs without a better loss.
    min_delta : float
        By how much a loss must be lower to count as better; at least 0.

    Attributes
    ----------
    best : float
        The least loss since epoch 0; inf before it.
    waited : int
        Epochs since the best loss.

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
            What `MLP.fit` passes after each epoch; epoch 0 resets `best` and `waited`.

        Returns
        -------
        bool
            True after `patience` epochs without a better loss.
        """
        if state.epoch == 0:
            self.best, self.waited = np.inf, 0
        loss = state.loss if state.validation_loss is None else state.validation_loss
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.waited >= self.patience
