"""A whole network as plain Python loops over samples, layers and parameters.

Forward through the layers, the loss and its gradient, backward through the layers: each step is
this package's own loop. A flat vector holds, layer by layer, the weights and then the bias, in C
order; shapes are those of `fastgrad.reference.network`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
    floats,
    gradient_dtype,
    native_dtype,
    network_activations,
    network_loss,
    network_sizes,
    require_choice,
)
from .dense import dense, dense_backward, dense_forward
from .layer_norm import layer_norm_backward, layer_norm_forward
from .lists import Array, check_out, feature_axis
from .losses import ArrayLoss, SoftmaxCrossEntropy
from .optimizers import Adam, Optimizer

__all__ = ["MLP", "LayerParams", "NormParams"]


class MLP:
    """A network of dense layers and a loss. The parameters are those of `fastgrad.reference.MLP`.

    Examples
    --------
    >>> import fastgrad.loops as fg
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
        self.sizes = network_sizes(sizes)
        self.activations = network_activations(activations, len(self.sizes) - 1)
        self.loss = network_loss(loss)
        if isinstance(self.loss, SoftmaxCrossEntropy) and self.sizes[-1] == 1:
            raise ValueError(
                f"MLP: sizes is {self.sizes}: {self.loss.name} of one output is always 0"
            )
        for act, width in zip(self.activations, self.sizes[1:], strict=True):
            if act.name == "softmax" and width == 1:
                raise ValueError(f"MLP: sizes is {self.sizes}: softmax of one output is always 1")
        require_choice("reduction", reduction, "mean", "sum", "samples")
        require_choice("samples", samples, "rows", "columns")
        self.reduction, self.bias, self.samples = reduction, bool(bias), samples
        self.dtype = native_dtype(dtype)
        check_normalize(self.sizes, normalize)
        self.normalize = normalize
        # Of each of `layers`: its activation, and the shape of each parameter in turn.
        self._layout: list[tuple[Any, dict[str, tuple[int, ...] | None]]] = []
        self.size = 0
        for i, act in enumerate(self.activations):
            d, k = self.sizes[i], self.sizes[i + 1]
            vector = (k, 1) if samples == "columns" else (k,)
            matrix = (k, d) if samples == "columns" else (d, k)
            norm = normalize is not None and i < len(self.activations) - 1
            dense_act = identity if norm else act
            self._layout.append((dense_act, {"w": matrix, "b": vector if self.bias else None}))
            if norm:
                self._layout.append((act, {"gain": vector, "shift": vector}))
        for _, shapes in self._layout:
            for shape in shapes.values():
                self.size += 0 if shape is None else math.prod(shape)

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
        self._require_length("MLP.layers", params)
        layers, position = [], 0
        for _, shapes in self._layout:
            views: list[Any] = []
            for shape in shapes.values():
                if shape is None:
                    views.append(None)
                    continue
                length = math.prod(shape)
                views.append(params[position : position + length].reshape(shape))
                position += length
            layers.append(LayerParams(*views) if "w" in shapes else NormParams(*views))
        return layers

    def pack(self, layers: Iterable[tuple[ArrayLike, ArrayLike | None]]) -> Array:
        """Return a new flat vector of ``[(w, b), ...]``; b None where the network has none."""
        pairs: list[Any] = list(layers)
        if len(pairs) != len(self._layout):
            raise ValueError(
                f"MLP.pack: layers has {len(pairs)} entries: this network has "
                f"{len(self._layout)} layers"
            )
        params = np.empty(self.size, self.dtype)
        for i, own in enumerate(self.layers(params)):
            pair = pairs[i]
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"MLP.pack: layer {i} is not a pair ({', '.join(own._fields)})")
            for name, given, place in zip(own._fields, pair, own, strict=True):
                if name == "b" and (given is None) == self.bias:
                    rule = "give a bias" if self.bias else "b must be None"
                    raise ValueError(
                        f"MLP.pack: layer {i}: this network has bias={self.bias}: {rule}"
                    )
                if place is None:
                    continue
                array = floats("MLP.pack", f"{name} of layer {i}", given, self.dtype)
                k = place.size
                forms = [place.shape] if name == "w" else [(k,), (1, k), (k, 1)]
                if array.shape not in forms:
                    raise ValueError(
                        f"MLP.pack: {name} of layer {i} has shape {array.shape}: it needs "
                        f"{place.shape}"
                    )
                place[:] = array.reshape(place.shape)
        return params

    def init(self, seed: int = 0) -> Array:
        """Return random parameters: biases 0, weights normal with mean 0 and variance g / d.

        g is 2 before an activation that is ``halving``, else 1. Both layouts start as one network.
        """
        rng = np.random.default_rng(seed)
        params = np.zeros(self.size, self.dtype)
        for i, layer in enumerate(self.layers(params)):
            if isinstance(layer, NormParams):
                layer.gain[:] = 1.0
                continue
            d, k = layer.w.shape if self.samples == "rows" else layer.w.shape[::-1]
            gain = 2.0 if self._layout[i][0].halving else 1.0
            for p in range(d):
                for j in range(k):
                    place = (p, j) if self.samples == "rows" else (j, p)
                    layer.w[place] = rng.standard_normal() * math.sqrt(gain / d)
        return params

    # ---- forward and backward ------------------------------------------------------------------

    def predict(self, params: ArrayLike, x: ArrayLike, out: Array | None = None) -> Array:
        """Return the last layer's output: ``(n, k)``, for columns ``(k, n)``, or ``(k,)``."""
        params, x = self._params("MLP.predict", params), self._inputs("MLP.predict", x)
        if out is not None:
            check_out("MLP.predict", out, self._output_shape(x), self.dtype, params, x)
        y = x
        for i, layer in enumerate(self.layers(params)):
            act = self._layout[i][0]
            if isinstance(layer, NormParams):
                y, _ = layer_norm_forward(y, layer.gain, layer.shift, act, self.samples)
            else:
                y = dense(y, layer.w, layer.b, act, samples=self.samples)
        if out is None:
            return y
        out[:] = y
        return out

    def value_and_grad(
        self,
        params: ArrayLike,
        x: ArrayLike,
        target: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss, and its gradient with respect to the parameters, in ``out`` if given."""
        function = "MLP.value_and_grad"
        dtype = gradient_dtype(params, self.dtype)
        params, x = self._params(function, params), self._inputs(function, x)
        target = self._target(function, target, x)
        if out is not None:
            check_out(function, out, (self.size,), dtype, params, x, target)
        grad = np.empty(self.size, self.dtype)
        layers, grad_layers = self.layers(params), self.layers(grad)

        y = x
        caches: list[Any] = []
        cache: Any
        for i, layer in enumerate(layers):
            act = self._layout[i][0]
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
        for i in range(len(layers) - 1, -1, -1):
            if isinstance(layers[i], NormParams):
                norm = layer_norm_backward(grad_y, caches[i])
                grad_layers[i].gain[:], grad_layers[i].shift[:] = norm.gain, norm.shift
                grad_y = norm.x
                continue
            need = ("w", "b", "x") if i > 0 else ("w", "b")
            grads = dense_backward(grad_y, caches[i], need=need, out=grad_layers[i])
            if grads.x is not None:
                grad_y = grads.x
        result = np.empty(self.size, dtype) if out is None else out
        for i in range(self.size):
            result[i] = grad[i]
        return value, result

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

        Each epoch takes the samples in the order ``rng.permutation(n)``, or as they are, in
        batches of ``batch_size``; the last may be smaller. Its loss is that over all samples, with
        the parameters as they were when each was used. Training stops where a ``callback`` returns
        True, and before an epoch that gives a loss or parameters that are not finite. ``resume``,
        an earlier result, goes on where that ended, with ``params`` None; else orders and optimizer
        begin anew in every call.
        """
        if resume is not None:
            check_resume(resume, State, Optimizer, self.size, self.dtype)
            if params is not None:
                check_resumed(np.asarray(params, self.dtype), resume)
        start: Any = params if resume is None else resume.params
        params = self._params("MLP.fit", start).copy()
        x = self._inputs("MLP.fit", x)
        target = self._target("MLP.fit", target, x)
        if x.size == 0:
            raise ValueError(f"MLP.fit: x has shape {x.shape}: there are no samples")
        inputs = self._one_by_one(x, x.ndim == 1)
        targets = None if target is None else self._one_by_one(target, x.ndim == 1)

        def value_and_grad(batch: Array) -> tuple[float, Array]:
            batch_x = self._together([inputs[i] for i in batch])
            batch_target = None
            if targets is not None:
                batch_target = self._together([targets[i] for i in batch])
            return self.value_and_grad(params, batch_x, batch_target)

        averaged = self.reduction != "sum"
        options = FitOptions(
            optimizer, epochs, batch_size, shuffle, seed, progress, callback, resume
        )
        return train(params, len(inputs), value_and_grad, averaged, Optimizer, Adam(), options)

    def _one_by_one(self, array: Array, single: bool) -> list[Array]:
        """Return the samples as a list."""
        if single:
            return [array]
        return list(array.T if self.samples == "columns" else array)

    def _together(self, chosen: list[Array]) -> Array:
        """Undo `_one_by_one`."""
        array = np.array(chosen)
        return array.T if self.samples == "columns" else array

    # ---- what goes in --------------------------------------------------------------------------

    def _require_length(self, function: str, params: Array) -> None:
        if params.shape != (self.size,):
            raise ValueError(
                f"{function}: params has shape {params.shape}: this network has {self.size} "
                f"parameters, it needs shape ({self.size},)"
            )

    def _params(self, function: str, params: ArrayLike) -> Array:
        array = floats(function, "params", params, self.dtype)
        self._require_length(function, array)
        return array

    def _inputs(self, function: str, x: ArrayLike) -> Array:
        array = floats(function, "x", x, self.dtype)
        d = self.sizes[0]
        if array.ndim not in (1, 2) or array.shape[feature_axis(self.samples)] != d:
            form = f"({d}, n)" if self.samples == "columns" else f"(n, {d})"
            raise ValueError(
                f"{function}: x has shape {array.shape}: this network has {d} inputs, it needs "
                f"shape {form} or ({d},)"
            )
        return array

    def _output_shape(self, x: Array) -> tuple[int, ...]:
        k = self.sizes[-1]
        if x.ndim == 1:
            return (k,)
        return (k, x.shape[1]) if self.samples == "columns" else (x.shape[0], k)

    def _target(self, function: str, target: ArrayLike | None, x: Array) -> Array | None:
        if isinstance(self.loss, ArrayLoss):
            if target is not None:
                raise TypeError(f"{function}: the loss {self.loss.name} takes no target")
            return None
        if target is None:
            raise TypeError(f"{function}: target is None: the loss {self.loss.name} needs one")
        array = np.asarray(target)
        shape = self._output_shape(x)
        wanted = f"it needs shape {shape}"
        if isinstance(self.loss, SoftmaxCrossEntropy):
            if x.ndim == 1 and array.shape == (1,):
                array = array.reshape(())
            classes = () if x.ndim == 1 else (len(self._one_by_one(x, False)),)
            if array.shape == classes and (array.dtype.kind in "iu" or array.size == 0):
                return self._classes(function, array)
            wanted += f", or integer classes of shape {classes}"
        converted = floats(function, "target", array, self.dtype)
        if array.shape != shape:
            raise ValueError(
                f"{function}: target has shape {array.shape} and dtype {array.dtype}: {wanted}"
            )
        return converted

    def _classes(self, function: str, classes: Array) -> Array:
        for label in classes.reshape(-1).tolist():
            if not 0 <= label < self.sizes[-1]:
                raise ValueError(
                    f"{function}: target has classes from {classes.min()} to {classes.max()}: "
                    f"they go from 0 to {self.sizes[-1] - 1}"
                )
        return classes.astype(np.int64)
