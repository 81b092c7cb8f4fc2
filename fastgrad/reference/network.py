"""A whole network in plain NumPy: dense layers and a loss, and backpropagation through them.

All parameters are one flat vector, and their gradient another. Layer by layer they hold the
weights and then the bias, each in C order:

=============  ==========  ==========
samples=       w           b
=============  ==========  ==========
``"rows"``     ``(d, k)``  ``(k,)``
``"columns"``  ``(k, d)``  ``(k, 1)``
=============  ==========  ==========

A normalized layer's are followed by its gain and shift, of the shape of b.

Backpropagation is what is written by hand: forward through the layers, the loss and its gradient,
backward through the layers; the gradient with respect to a layer's input is that of the output of
the layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_normalize
from fastgrad.networks.epochs import State, train
from fastgrad.networks.fit_arguments import FitOptions, check_resume, check_resumed
from fastgrad.networks.training import FitResult, FitState
from fastgrad.results import LayerParams, NormParams

from .activations import identity
from .arguments import (
    check_activations,
    check_choice,
    check_dtype,
    check_loss,
    check_sizes,
    gradient_dtype,
    numbers,
)
from .arrays import Array, check_out
from .dense import dense, dense_backward, dense_forward
from .layer_norm import layer_norm_backward, layer_norm_forward
from .losses import ArrayLoss, SoftmaxCrossEntropy
from .optimizers import Adam, Optimizer

__all__ = ["MLP", "LayerParams", "NormParams"]


class MLP:
    """A network of dense layers and a loss.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input and of each layer's output.
    activations : sequence
        One per layer: None, a name or an activation object.
    loss : str or loss object
        One of ``LOSSES``; those of one array take no target.
    reduction : {"mean", "sum", "samples"}
        How the loss's terms are reduced.
    bias : bool
        Whether the layers have biases.
    samples : {"rows", "columns"}
        Which axis of x counts samples.
    dtype : {"float32", "float64"}
        What it computes in: params, inputs and targets are converted to it.
    normalize : {None, "layer"}
        What is done to hidden layers before their activation: see `layer_norm`.

    Raises
    ------
    TypeError, ValueError
        For settings that do not fit.

    Examples
    --------
    >>> import fastgrad.reference as fg
    >>> net = fg.MLP((2, 1), ["tanh"], "mse", dtype="float64")
    >>> params = net.pack([([[0.5], [0.25]], [-1.0])])
    >>> net.predict(params, [[1.0, 2.0]]).tolist()
    [[0.0]]
    >>> value, grad = net.value_and_grad(params, [[1.0, 2.0]], [[1.0]])
    >>> value, net.layers(grad)[0].w.tolist(), net.layers(grad)[0].b.tolist()
    (1.0, [[-2.0], [-4.0]], [-2.0])
    >>> result = net.fit(params, [[1.0, 2.0]], [[1.0]], fg.SGD(lr=0.1), epochs=2, shuffle=False)
    >>> result.losses.round(4).tolist()
    [1.0, 0.0277]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[Any],
        loss: Any,
        reduction: str = "mean",
        bias: bool = True,
        samples: str = "rows",
        dtype: Any = "float32",
        normalize: str | None = None,
    ) -> None:
        self.sizes = check_sizes(sizes)
        self.activations = check_activations(activations, len(self.sizes) - 1)
        self.loss = check_loss(loss)
        if isinstance(self.loss, SoftmaxCrossEntropy) and self.sizes[-1] == 1:
            raise ValueError(
                f"MLP: sizes is {self.sizes}: {self.loss.name} of one output is always 0"
            )
        for act, width in zip(self.activations, self.sizes[1:], strict=True):
            if act.name == "softmax" and width == 1:
                raise ValueError(f"MLP: sizes is {self.sizes}: softmax of one output is always 1")
        check_choice("reduction", reduction, ("mean", "sum", "samples"))
        check_choice("samples", samples, ("rows", "columns"))
        self.reduction, self.bias, self.samples = reduction, bool(bias), samples
        self.dtype = check_dtype(dtype)
        check_normalize(self.sizes, normalize)
        self.normalize = normalize
        # Of each of `layers`: its kind, activation, and shapes in the flat vector.
        self._layout: list[tuple[Any, Any, tuple[tuple[int, ...], ...]]] = []
        self.size = 0
        hidden = len(self.sizes) - 2
        for i, (d, k) in enumerate(pairwise(self.sizes)):
            w, b = ((d, k), (k,)) if samples == "rows" else ((k, d), (k, 1))
            norm, act = normalize is not None and i < hidden, self.activations[i]
            dense_act, dense_shapes = identity if norm else act, (w, b) if self.bias else (w,)
            kinds: list[Any] = [(LayerParams, dense_act, dense_shapes)]
            if norm:
                kinds.append((NormParams, act, (b, b)))
            self._layout += kinds
            self.size += sum(prod(shape) for _, _, shapes in kinds for shape in shapes)

    def __repr__(self) -> str:
        names = [act.name for act in self.activations]
        normalize = "" if self.normalize is None else f", normalize={self.normalize!r}"
        return (
            f"MLP({self.sizes}, activations={names}, loss={self.loss.name!r}, "
            f"reduction={self.reduction!r}, bias={self.bias}, samples={self.samples!r}, "
            f"dtype={self.dtype.name!r}{normalize})"
        )

    # ---- the flat vector -----------------------------------------------------------------------

    def layers(self, params: Array) -> list[Any]:
        """Return the weights and biases in a flat vector (of parameters, or a gradient): views."""
        if not isinstance(params, np.ndarray):
            raise TypeError(f"MLP.layers: params is a {type(params).__name__}: give a NumPy array")
        self._check_length("MLP.layers", params)
        found, end = [], 0
        for kind, _, shapes in self._layout:
            views: list[Array | None] = []
            for shape in shapes:
                start, end = end, end + prod(shape)
                views.append(params[start:end].reshape(shape))
            found.append(kind(*views, *[None] * (2 - len(views))))
        return found

    def pack(self, layers: Iterable[tuple[ArrayLike, ArrayLike | None]]) -> Array:
        """Return a new flat vector of ``[(w, b), ...]``; b None where the network has none."""
        pairs: list[Any] = list(layers)
        if len(pairs) != len(self._layout):
            raise ValueError(
                f"MLP.pack: layers has {len(pairs)} entries: this network has "
                f"{len(self._layout)} layers"
            )
        params = np.empty(self.size, self.dtype)
        for i, (own, pair) in enumerate(zip(self.layers(params), pairs, strict=True)):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"MLP.pack: layer {i} is not a pair ({', '.join(own._fields)})")
            for name, given, place in zip(own._fields, pair, own, strict=True):
                if name == "b" and (given is None) != (place is None):
                    rule = "give a bias" if self.bias else "b must be None"
                    raise ValueError(
                        f"MLP.pack: layer {i}: this network has bias={self.bias}: {rule}"
                    )
                if place is None:
                    continue
                array = self._floats("MLP.pack", f"{name} of layer {i}", given)
                k = place.size
                forms = [place.shape] if name == "w" else [(k,), (1, k), (k, 1)]
                if array.shape not in forms:
                    raise ValueError(
                        f"MLP.pack: {name} of layer {i} has shape {array.shape}: it needs "
                        f"{place.shape}"
                    )
                place[...] = array.reshape(place.shape)
        return params

    def init(self, seed: int = 0) -> Array:
        """Return random parameters: biases 0, weights normal with mean 0 and variance g / d.

        g is 2 before an activation that is ``halving``, else 1. Both layouts start as one network.
        """
        rng = np.random.default_rng(seed)
        params = np.zeros(self.size, self.dtype)
        for layer, (_, act, shapes) in zip(self.layers(params), self._layout, strict=True):
            if isinstance(layer, NormParams):
                layer.gain[...] = 1
                continue
            d, k = shapes[0] if self.samples == "rows" else shapes[0][::-1]
            gain = 2.0 if act.halving else 1.0
            w = rng.standard_normal((d, k)) * np.sqrt(gain / d)
            layer.w[...] = w if self.samples == "rows" else w.T
        return params

    # ---- forward and backward ------------------------------------------------------------------

    def predict(self, params: ArrayLike, x: ArrayLike, out: Array | None = None) -> Array:
        """Return the last layer's output: ``(n, k)``, for columns ``(k, n)``, or ``(k,)``."""
        params = self._check_params("MLP.predict", params)
        x = self._check_x("MLP.predict", x)
        if out is not None:
            check_out("MLP.predict", out, self._output_shape(x), self.dtype, params, x)
        y = x
        for layer, (_, act, _) in zip(self.layers(params), self._layout, strict=True):
            if isinstance(layer, NormParams):
                y, _ = layer_norm_forward(y, layer.gain, layer.shift, act, self.samples)
            else:
                y = dense(y, layer.w, layer.b, act, samples=self.samples)
        if out is None:
            return y
        out[...] = y
        return out

    def value_and_grad(
        self,
        params: ArrayLike,
        x: ArrayLike,
        target: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss, and its gradient with respect to the parameters.

        Parameters
        ----------
        params : array_like
            The flat vector.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
        target : array_like, optional
            Like the prediction; for softmax cross-entropy also integer classes ``(n,)``, for one
            sample ``()``. None for losses of one array.
        out : ndarray, optional
            Where to put the gradient: ``(size,)`` of the dtype below.

        Returns
        -------
        value : float
        grad : ndarray
            A flat vector; `layers` gives its parts. Of the network's dtype, or float64 if `params`
            is.
        """
        dtype = gradient_dtype(params, self.dtype)
        params = self._check_params("MLP.value_and_grad", params)
        x = self._check_x("MLP.value_and_grad", x)
        target = self._check_target("MLP.value_and_grad", target, x)
        if out is None:
            out = np.empty(self.size, dtype)
        else:
            check_out("MLP.value_and_grad", out, (self.size,), dtype, params, x, target)
        return self._backpropagate(self.layers(params), x, target, self.layers(out)), out

    def _backpropagate(
        self, layers: list[Any], x: Array, target: Array | None, grads: list[Any]
    ) -> float:
        """Write the gradients into ``grads`` and return the loss."""
        cache: Any
        grad: Any
        y, caches = x, []
        for layer, (_, act, _) in zip(layers, self._layout, strict=True):
            if isinstance(layer, NormParams):
                y, cache = layer_norm_forward(y, layer.gain, layer.shift, act, self.samples)
            else:
                y, cache = dense_forward(y, layer.w, layer.b, act, samples=self.samples)
            caches.append(cache)
        if isinstance(self.loss, ArrayLoss):
            value, grad_y = self.loss.value_and_grad(y, self.reduction, self.samples)
        else:
            assert target is not None
            value, grad_y = self.loss.value_and_grad(y, target, self.reduction, self.samples)
        for i in reversed(range(len(layers))):
            if isinstance(layers[i], NormParams):
                grad = layer_norm_backward(grad_y, caches[i])
            else:
                need = ("x", "w", "b") if i > 0 else ("w", "b")
                grad = dense_backward(grad_y, caches[i], need=need)
            for name, own in zip(grads[i]._fields, grads[i], strict=True):
                if own is not None:
                    own[...] = getattr(
                        grad, name
                    )  # faster than out=, which looks for shared memory
            if grad.x is not None:
                grad_y = grad.x
        return value

    # ---- training ------------------------------------------------------------------------------

    def fit(
        self,
        params: ArrayLike | None,
        x: ArrayLike,
        target: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        progress: bool = False,
        callback: Callable[[FitState], Any] | None = None,
        resume: FitResult | None = None,
    ) -> FitResult:
        """Train, and return new parameters and the loss of each epoch.

        Parameters
        ----------
        params : array_like
            Where to start; not changed. None with ``resume``.
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
            Of these orders, which begin anew in every call, as the optimizer does: to train in
            pieces, give ``resume``.
        progress : bool
            Show epoch, loss and samples per second on stderr.
        callback : callable, optional
            Called with a `FitState` after each epoch; training stops when it returns True.
        resume : FitResult, optional
            What an earlier call returned, to go on as if it had not ended: with its parameters,
            optimizer, orders and losses.

        Returns
        -------
        FitResult
            ``params`` and ``losses``: per epoch, the loss over its samples with the parameters as
            they were when each was used. ``stopped`` is "callback" where that stopped it,
            and "diverged" (with a TrainingWarning) if an epoch gave a loss or parameters that are
            not finite: the result is that of the epochs before.
        """
        if resume is not None:
            check_resume(resume, State, Optimizer, self.size, self.dtype)
            if params is not None:
                check_resumed(np.asarray(params, self.dtype), resume)
        start: Any = params if resume is None else resume.params
        params = self._check_params("MLP.fit", start).copy()
        x = self._check_x("MLP.fit", x)
        target = self._check_target("MLP.fit", target, x)
        axis = 0 if self.samples == "rows" else -1  # of the samples, in classes (n,) too
        if x.ndim == 1:
            x = np.expand_dims(x, axis)
            target = None if target is None else np.expand_dims(target, axis)
        n = x.shape[axis]
        if n == 0:
            raise ValueError(f"MLP.fit: x has shape {x.shape}: there are no samples")
        grad = np.empty_like(params)
        layers, grads = self.layers(params), self.layers(grad)

        def value_and_grad(batch: Array) -> tuple[float, Array]:
            batch_target = None if target is None else target.take(batch, axis)
            return self._backpropagate(layers, x.take(batch, axis), batch_target, grads), grad

        averaged = self.reduction != "sum"
        options = FitOptions(
            optimizer, epochs, batch_size, shuffle, seed, progress, callback, resume
        )
        return train(params, n, value_and_grad, averaged, Optimizer, Adam(), options)

    # ---- what goes in --------------------------------------------------------------------------

    def _floats(self, function: str, name: str, value: ArrayLike) -> Array:
        """Return ``value`` in the network's dtype."""
        array = numbers(function, name, value)
        if array.dtype is self.dtype:
            return array
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes inf
            return array.astype(self.dtype, copy=False)

    def _check_length(self, function: str, params: Array) -> None:
        if params.shape != (self.size,):
            raise ValueError(
                f"{function}: params has shape {params.shape}: this network has {self.size} "
                f"parameters, it needs shape ({self.size},)"
            )

    def _check_params(self, function: str, params: ArrayLike) -> Array:
        array = self._floats(function, "params", params)
        self._check_length(function, array)
        return array

    def _check_x(self, function: str, x: ArrayLike) -> Array:
        array, d = self._floats(function, "x", x), self.sizes[0]
        axis = -1 if self.samples == "rows" else 0
        if array.ndim not in (1, 2) or array.shape[axis] != d:
            form = f"(n, {d})" if self.samples == "rows" else f"({d}, n)"
            raise ValueError(
                f"{function}: x has shape {array.shape}: this network has {d} inputs, it needs "
                f"shape {form} or ({d},)"
            )
        return array

    def _output_shape(self, x: Array) -> tuple[int, ...]:
        k = self.sizes[-1]
        if x.ndim == 1:
            return (k,)
        return (x.shape[0], k) if self.samples == "rows" else (k, x.shape[1])

    def _check_target(self, function: str, target: ArrayLike | None, x: Array) -> Array | None:
        if isinstance(self.loss, ArrayLoss):
            if target is not None:
                raise TypeError(f"{function}: the loss {self.loss.name} takes no target")
            return None
        if target is None:
            raise TypeError(f"{function}: target is None: the loss {self.loss.name} needs one")
        array, shape = numbers(function, "target", target), self._output_shape(x)
        rule = f"it needs shape {shape}"
        if isinstance(self.loss, SoftmaxCrossEntropy):
            if x.ndim == 1 and array.shape == (1,):
                array = array.reshape(())
            n_shape = () if x.ndim == 1 else (shape[0 if self.samples == "rows" else 1],)
            if array.shape == n_shape and (array.dtype.kind in "iu" or array.size == 0):
                return self._check_classes(function, array)
            rule += f", or integer classes of shape {n_shape}"
        if array.shape != shape:
            raise ValueError(
                f"{function}: target has shape {array.shape} and dtype {array.dtype}: {rule}"
            )
        return self._floats(function, "target", array)

    def _check_classes(self, function: str, classes: Array) -> Array:
        if classes.size and (classes.min() < 0 or classes.max() >= self.sizes[-1]):
            raise ValueError(
                f"{function}: target has classes from {classes.min()} to {classes.max()}: they go "
                f"from 0 to {self.sizes[-1] - 1}"
            )
        return classes.astype(np.intp, copy=False)
