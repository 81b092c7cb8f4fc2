"""The calls of an MLP without kernels, shared by reference and loops.

A package adds the forward and backward pass of a batch (`_forward`, `_backpropagate`), and its
optimizers. This class checks arguments, and gives results their shape and dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, deliver
from fastgrad.layers.dense_arguments import x_argument
from fastgrad.networks.shared.epochs import State, train
from fastgrad.networks.shared.fit_arguments import (
    CALLER,
    FitOptions,
    check_draw,
    check_resume,
    check_resumed,
    check_some,
)
from fastgrad.networks.shared.forms import Outputs, Parameters, arrays_of, flat_of, vector_of
from fastgrad.networks.shared.plain_opened import PlainOpenedMLP
from fastgrad.networks.shared.samples import Samples, checked_samples, inputs_of, native_params
from fastgrad.networks.shared.training import FitResult, FitState
from fastgrad.optimizers import Optimizer
from fastgrad.results import check_out


class PlainMLP(PlainOpenedMLP):
    """An MLP whose package computes a batch at a time."""

    kind: type[Any]  # the package's optimizers
    default: Any  # the default of `fit`
    clip: Callable[[Any, float], float]  # the package's `clip_norm`

    # -- the package's own --------------------------------------------------------------------
    def _forward(self, layers: list[Any], x: Array) -> Array:
        """Return the last layer's output."""
        raise NotImplementedError

    def _backpropagate(
        self,
        layers: list[Any],
        x: Array,
        target: Array | None,
        weights: Array | None,
        grads: list[Any],
        draw: tuple[int, int] | None = None,
    ) -> float:
        """Write the gradients into `grads`, views of a flat vector, and return the loss.

        `draw` is seed and step of dropout.
        """
        raise NotImplementedError

    def _penalize(self, layers: list[Any], grads: list[Any]) -> float:
        """Add the gradient of the penalties `l1` and `l2` to `grads`; return their value."""
        raise NotImplementedError

    # -- forward and backward -----------------------------------------------------------------
    def predict(self, params: Parameters, x: ArrayLike, out: Array | None = None) -> Array:
        """Return the last layer's output: ``(n, k)``, for columns ``(k, n)``, or ``(k,)``.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
        out : ndarray, optional
            Where to put it: of the network's dtype.

        Returns
        -------
        ndarray
            Of the network's dtype.
        """
        caller, network = "MLP.predict", self._network
        p, own = vector_of(network, caller, params), x_argument(caller, "x", x, self.samples)
        rows = inputs_of(network, caller, own)
        n, k, into = len(rows), network.outputs, None
        shape = (k,) if own.ndim == 1 else (k, n) if network.columns else (n, k)
        if out is not None:
            into = check_out(caller, "out", out, shape, self.dtype, {"params": params, "x": own})
        batch = Samples(rows, None, False, False).converted(slice(None), self.dtype)[0]
        batch = network.turned(batch)
        y = deliver(self._forward(network.views(p), batch).reshape(shape), self.dtype, into)
        return y if out is None else out

    def value_and_grad(
        self,
        params: Parameters,
        x: ArrayLike,
        target: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        out: Array | None = None,
        *,
        seed: int | None = None,
        step: int = 0,
    ) -> tuple[float, Array]:
        """Return the loss, and its gradient with respect to the parameters.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
        target : array_like, optional
            Like the prediction; for softmax cross-entropy also integer classes ``(n,)``, for one
            sample ``()``. None for losses of one array.
        weights : array_like, optional
            One per sample, or of the shape of the prediction: see `losses`.
        out : ndarray, optional
            Where to put the gradient: ``(size,)`` of the dtype below.
        seed, step : int
            With a `seed` hidden layers drop what `fit` would in this step.

        Returns
        -------
        value : float
        grad : ndarray
            In the form of `params`; `layers` gives a flat vector's parts. Of the network's dtype,
            or float64 if `params` is.
        """
        caller, network = "MLP.value_and_grad", self._network
        flat, form = flat_of(network, caller, params)
        vector, x = as_array(caller, "params", flat), x_argument(caller, "x", x, self.samples)
        target = None if target is None else as_array(caller, "target", target)
        p, dtype = native_params(network, caller, vector), network.gradient_dtype(vector)
        data = checked_samples(network, caller, x, target, weights)
        inputs = arrays_of(params) | {"x": x, "target": target, "weights": weights}
        outputs = Outputs(network, caller, out, form, dtype, inputs)
        draw = None if seed is None else check_draw(caller, seed, step)
        value, grad = self._gradient(p, data, slice(None), draw)
        value += self._penalties(p, grad)
        return value, outputs.deliver(grad)

    def _gradient(
        self, params: Array, data: Samples, samples: Any, draw: tuple[int, int] | None = None
    ) -> tuple[float, Array]:
        """Return loss and gradient of some samples, without the penalties."""
        network, grad = self._network, np.zeros(self.size, self.dtype)
        x, target = data.converted(samples, self.dtype)
        weights = None if data.weights is None else network.turned(data.weights[samples])
        if weights is not None and len(x) and not weights.any():
            return 0.0, grad  # a batch without any weight
        goal = None if target is None else network.turned(target)
        value = self._backpropagate(
            network.views(params), network.turned(x), goal, weights, network.views(grad), draw
        )
        return value, grad

    def _penalties(self, params: Array, grad: Array) -> float:
        """Add the gradient of the penalties; return their value."""
        network = self._network
        if not (self.l1 or self.l2):
            return 0.0
        return self._penalize(network.views(params), network.views(grad))

    # -- training -----------------------------------------------------------------------------
    def fit(
        self,
        params: Parameters | None,
        x: ArrayLike,
        target: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        progress: bool = False,
        callback: Callable[[FitState], Any] | None = None,
        weights: ArrayLike | None = None,
        resume: FitResult | None = None,
        validation: Sequence[Any] | None = None,
        restore_best: bool = False,
        clip_norm: float | None = None,
    ) -> FitResult:
        """Train, and return new parameters and the loss of each epoch.

        Parameters
        ----------
        params : array_like, dict or list
            Where to start, in any form; not changed. None with ``resume``.
        x, target : array_like
            As in `value_and_grad`.
        optimizer : Optimizer, optional
            Default: ``Adam()``.
        epochs, batch_size : int
            Passes over all samples; samples per step. An epoch's last batch may be smaller.
        shuffle : bool
            Take the samples in a new random order each epoch, ``rng.permutation(n)`` with
            ``rng = np.random.default_rng(seed)``.
        seed : int
            Seed of these orders, which restart in every call, as the optimizer does: to train in
            pieces, give ``resume``.
        progress : bool
            Show epoch, loss and samples per second on stderr.
        callback : callable, optional
            Called with a `FitState` after each epoch; training stops when it returns True.
        weights : array_like, optional
            As in `value_and_grad`. A batch without any weight has a gradient of 0.
        resume : FitResult, optional
            What an earlier call returned, to continue as if it had not ended: with its parameters,
            optimizer, orders and losses.
        validation : (x, target) or (x, target, weights), optional
            Samples on which the loss is computed after each epoch, without penalties.
        restore_best : bool
            Return the parameters after the epoch of the least validation loss.
        clip_norm : float, optional
            The greatest norm of a batch's gradient: see `clip_norm`.

        Returns
        -------
        FitResult
            ``params`` and ``losses``: per epoch, the loss over its samples with the parameters as
            they were when each was used. ``stopped`` is "callback" where that stopped it,
            and "diverged" (with a TrainingWarning) if an epoch gave a loss or parameters that are
            not finite: the result is that of the epochs before.
        """
        network = self._network
        if resume is not None:
            check_resume(resume, State, self.kind, self.size, self.dtype)
        if resume is None or params is not None:
            given = vector_of(network, CALLER, params)
            if resume is not None:
                check_resumed(given, resume)
        p: Array = given.copy() if resume is None else resume.last.copy()
        inputs = x_argument(CALLER, "x", x, self.samples)
        goal = None if target is None else as_array(CALLER, "target", target)
        data = checked_samples(network, CALLER, inputs, goal, weights)
        check_some(inputs, len(data.x))

        def value_and_grad(
            batch: Array, draw: tuple[int, int] | None
        ) -> tuple[float, float, Array]:
            value, grad = self._gradient(p, data, batch, draw)
            penalty = self._penalties(p, grad)
            if options.clip_norm is not None:
                self.clip(grad, options.clip_norm)
            return value, penalty, grad

        def validate(held_out: Samples) -> float:
            return self._gradient(p, held_out, slice(None))[0]

        def size_of(batch: Array) -> float:
            if data.weights is None or self.reduction != "mean":
                return len(batch)
            each = data.weights.ndim == 1 and not self.loss.rowwise
            return float(data.weights[batch].sum()) * (network.outputs if each else 1)

        options = FitOptions(
            optimizer, epochs, batch_size, shuffle, seed, progress, callback, resume, validation,
            restore_best, clip_norm,
        ).checked()  # fmt: skip
        averaged = self.reduction != "sum"
        return train(
            p,
            len(data.x),
            value_and_grad,
            validate,
            size_of if averaged else None,
            self.kind,
            self.default,
            network,
            options,
        )
