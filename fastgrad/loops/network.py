"""A whole network as plain Python loops over samples, layers and parameters.

Forward through the layers, the loss and its gradient, backward through the layers: each step is
this package's own loop. A flat vector holds, layer by layer, the weights and then the bias, in C
order; shapes are those of `fastgrad.reference.network`.
"""

from __future__ import annotations

import math
import operator
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .activations import ACTIVATIONS, Array, resolve
from .dense import dense, dense_backward, dense_forward
from .losses import LOSSES, ArrayLoss, SoftmaxCrossEntropy
from .optimizers import Adam, Optimizer

__all__ = ["MLP", "FitResult", "FitState", "LayerParams"]

HALVING = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")


class LayerParams(NamedTuple):
    """Weights and bias of one layer, views of a flat vector; b is None where there is none."""

    w: Array
    b: Array | None


class FitResult(NamedTuple):
    """What training gives: the parameters, and the loss of each epoch."""

    params: Array
    losses: Array


class FitState(NamedTuple):
    """What a callback is told after an epoch. ``params`` changes later: copy it to keep it."""

    epoch: int  # from 0
    loss: float
    params: Array
    samples_per_second: float


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
    ) -> None:
        try:
            self.sizes = tuple(operator.index(size) for size in sizes)
        except TypeError:
            raise TypeError(f"MLP: sizes is {sizes!r}: give a sequence of integers") from None
        if len(self.sizes) < 2 or any(size < 1 for size in self.sizes):
            raise ValueError(f"MLP: sizes is {sizes!r}: give at least two positive widths")

        if isinstance(activations, str) or not hasattr(activations, "__iter__"):
            raise TypeError(f"MLP: activations is {activations!r}: give a sequence, one per layer")
        given = tuple(activations)
        if len(given) != len(self.sizes) - 1:
            raise ValueError(
                f"MLP: activations has {len(given)} entries for {len(self.sizes) - 1} layers: "
                "give one per layer"
            )
        for i, act in enumerate(given):
            name = act if isinstance(act, str) else getattr(act, "name", None)
            if act is not None and not isinstance(name, str):
                raise TypeError(
                    f"MLP: activations[{i}] is a {type(act).__name__}: give None, a name or an "
                    "activation object"
                )
            if isinstance(act, str) and act not in ACTIVATIONS:
                raise ValueError(
                    f"MLP: activations[{i}] is {act!r}: choose from {', '.join(ACTIVATIONS)}"
                )
        self.activations = tuple(resolve(act) for act in given)

        name = loss if isinstance(loss, str) else getattr(loss, "name", None)
        if not isinstance(name, str):
            raise TypeError(f"MLP: loss is a {type(loss).__name__}: give a name or a loss object")
        _require_choice("loss", name, *LOSSES)
        _require_choice("reduction", reduction, "mean", "sum", "samples")
        _require_choice("samples", samples, "rows", "columns")
        self.loss = LOSSES[name]
        self.reduction, self.bias, self.samples = reduction, bool(bias), samples
        self.dtype = _native_dtype(dtype)
        self.size = 0
        for i in range(1, len(self.sizes)):
            self.size += self.sizes[i - 1] * self.sizes[i]
            if self.bias:
                self.size += self.sizes[i]

    def __repr__(self) -> str:
        names = [act.name for act in self.activations]
        return (
            f"MLP({self.sizes}, activations={names}, loss={self.loss.name!r}, "
            f"reduction={self.reduction!r}, bias={self.bias}, samples={self.samples!r}, "
            f"dtype={self.dtype.name!r})"
        )

    # ---- the flat vector -----------------------------------------------------------------------

    def layers(self, params: Array) -> list[LayerParams]:
        """Return the weights and biases in a flat vector (of parameters, or a gradient): views."""
        if not isinstance(params, np.ndarray):
            raise TypeError(f"MLP.layers: params is a {type(params).__name__}: give a NumPy array")
        self._require_length("MLP.layers", params)
        columns = self.samples == "columns"
        layers = []
        position = 0
        for i in range(1, len(self.sizes)):
            d, k = self.sizes[i - 1], self.sizes[i]
            w = params[position : position + d * k].reshape((k, d) if columns else (d, k))
            position += d * k
            b = None
            if self.bias:
                b = params[position : position + k].reshape((k, 1) if columns else (k,))
                position += k
            layers.append(LayerParams(w, b))
        return layers

    def pack(self, layers: Iterable[tuple[ArrayLike, ArrayLike | None]]) -> Array:
        """Return a new flat vector of ``[(w, b), ...]``; b None where the network has none."""
        given = list(layers)
        if len(given) != len(self.activations):
            raise ValueError(
                f"MLP.pack: layers has {len(given)} entries: this network has "
                f"{len(self.activations)} layers"
            )
        params = np.empty(self.size, self.dtype)
        for i, own in enumerate(self.layers(params)):
            pair = given[i]
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"MLP.pack: layer {i} is not a pair (w, b)")
            w = self._convert("MLP.pack", f"w of layer {i}", pair[0])
            if w.shape != own.w.shape:
                raise ValueError(
                    f"MLP.pack: w of layer {i} has shape {w.shape}: it needs {own.w.shape}"
                )
            own.w[:] = w
            if (pair[1] is None) == self.bias:
                rule = "give a bias" if self.bias else "b must be None"
                raise ValueError(f"MLP.pack: layer {i}: this network has bias={self.bias}: {rule}")
            if pair[1] is not None and own.b is not None:
                b = self._convert("MLP.pack", f"b of layer {i}", pair[1])
                k = own.b.size
                if b.shape not in ((k,), (1, k), (k, 1)):
                    raise ValueError(
                        f"MLP.pack: b of layer {i} has shape {b.shape}: it needs {own.b.shape}"
                    )
                own.b[:] = b.reshape(own.b.shape)
        return params

    def init(self, seed: int = 0) -> Array:
        """Return random parameters: biases 0, weights normal with mean 0 and variance g / d.

        g is 2 before the activations of ``HALVING``, else 1. Both layouts start as one network.
        """
        rng = np.random.default_rng(seed)
        params = np.zeros(self.size, self.dtype)
        for i, layer in enumerate(self.layers(params)):
            d, k = self.sizes[i], self.sizes[i + 1]
            gain = 2.0 if self.activations[i].name in HALVING else 1.0
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
            self._require_out("MLP.predict", out, self._output_shape(x), params, x)
        y = x
        for i, layer in enumerate(self.layers(params)):
            y = dense(y, layer.w, layer.b, self.activations[i], samples=self.samples)
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
        params, x = self._params(function, params), self._inputs(function, x)
        target = self._target(function, target, x)
        grad = np.empty(self.size, self.dtype) if out is None else out
        if out is not None:
            self._require_out(function, out, (self.size,), params, x, target)
        layers, grad_layers = self.layers(params), self.layers(grad)

        y = x
        caches = []
        for i in range(len(layers)):
            y, cache = dense_forward(
                y, layers[i].w, layers[i].b, self.activations[i], samples=self.samples
            )
            caches.append(cache)
        if isinstance(self.loss, ArrayLoss):
            value, grad_y = self.loss.value_and_grad(y, self.reduction, self.samples)
        else:
            assert target is not None
            value, grad_y = self.loss.value_and_grad(y, target, self.reduction, self.samples)
        for i in range(len(layers) - 1, -1, -1):
            need = ("w", "b", "x") if i > 0 else ("w", "b")
            grads = dense_backward(grad_y, caches[i], need=need, out=grad_layers[i])
            if grads.x is not None:
                grad_y = grads.x
        return value, grad

    # ---- training ------------------------------------------------------------------------------

    def fit(
        self,
        params: ArrayLike,
        x: ArrayLike,
        target: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        progress: bool = False,
        callback: Callable[[FitState], Any] | None = None,
    ) -> FitResult:
        """Train, and return new parameters and the loss of each epoch.

        Each epoch takes the samples in the order ``rng.permutation(n)``, or as they are, in
        batches of ``batch_size``; the last may be smaller. Its loss is that over all samples, with
        the parameters as they were when each was used. A true result of ``callback`` stops.
        """
        params = self._params("MLP.fit", params).copy()
        x = self._inputs("MLP.fit", x)
        target = self._target("MLP.fit", target, x)
        epochs, batch_size = _positive("epochs", epochs), _positive("batch_size", batch_size)
        if optimizer is None:
            optimizer = Adam()
        if not isinstance(optimizer, Optimizer):
            given = type(optimizer).__name__
            raise TypeError(f"MLP.fit: optimizer is a {given}: give an SGD, Adam or AdamW")
        if callback is not None and not callable(callback):
            raise TypeError(f"MLP.fit: callback is a {type(callback).__name__}: give a function")
        if x.size == 0:
            raise ValueError(f"MLP.fit: x has shape {x.shape}: there are no samples")

        inputs = self._one_by_one(x, x.ndim == 1)
        n = len(inputs)
        targets = None if target is None else self._one_by_one(target, x.ndim == 1)
        step = optimizer.start(params)
        rng = np.random.default_rng(seed)
        losses: list[float] = []
        for epoch in range(epochs):
            start = time.perf_counter()
            order = rng.permutation(n).tolist() if shuffle else list(range(n))
            total = 0.0
            while order:
                batch, order = order[:batch_size], order[batch_size:]
                batch_x = self._together([inputs[i] for i in batch])
                batch_target = None if targets is None else self._together(
                    [targets[i] for i in batch]
                )  # fmt: skip
                value, grad = self.value_and_grad(params, batch_x, batch_target)
                # Undo the batch's mean, over samples or over elements: k per sample.
                total += value if self.reduction == "sum" else value * len(batch)
                step(grad)
            losses.append(total if self.reduction == "sum" else total / n)
            speed = n / (time.perf_counter() - start)
            if progress:
                print(
                    f"epoch {epoch + 1}/{epochs}  loss {losses[-1]:.4g}  {speed:.3g} samples/s",
                    file=sys.stderr,
                )
            if callback is not None and callback(FitState(epoch, losses[-1], params, speed)):
                break
        return FitResult(params, np.array(losses))

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

    def _convert(self, function: str, name: str, value: ArrayLike) -> Array:
        """Return ``value`` in the network's dtype."""
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise TypeError(
                f"{function}: {name} has dtype {array.dtype}: give float32, float64, float16, an "
                "integer type or bool"
            )
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes inf
            return array.astype(self.dtype, copy=False)

    def _require_length(self, function: str, params: Array) -> None:
        if params.shape != (self.size,):
            raise ValueError(
                f"{function}: params has shape {params.shape}: this network has {self.size} "
                f"parameters, it needs shape ({self.size},)"
            )

    def _params(self, function: str, params: ArrayLike) -> Array:
        array = self._convert(function, "params", params)
        self._require_length(function, array)
        return array

    def _inputs(self, function: str, x: ArrayLike) -> Array:
        array = self._convert(function, "x", x)
        d = self.sizes[0]
        features = 0 if self.samples == "columns" else -1
        if array.ndim not in (1, 2) or array.shape[features] != d:
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
            classes = () if x.ndim == 1 else (len(self._one_by_one(x, False)),)
            if array.shape == classes and (array.dtype.kind in "iu" or array.size == 0):
                return self._classes(function, array)
            wanted += f", or integer classes of shape {classes}"
        converted = self._convert(function, "target", array)
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

    def _require_out(
        self, function: str, out: Any, shape: tuple[int, ...], *inputs: Array | None
    ) -> None:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"{function}: out is a {type(out).__name__}: give a NumPy array")
        if out.shape != shape or out.dtype != self.dtype:
            raise ValueError(
                f"{function}: out has shape {out.shape} and dtype {out.dtype}: "
                f"it needs shape {shape} and dtype {self.dtype}"
            )
        if not out.flags.writeable:
            raise ValueError(f"{function}: out is read-only")
        for array in inputs:
            if array is not None and np.shares_memory(out, array):
                raise ValueError(f"{function}: out shares memory with an input")


def _require_choice(name: str, value: Any, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"MLP: {name} is {value!r}: choose from {', '.join(choices)}")


def _native_dtype(dtype: Any) -> np.dtype[Any]:
    for name in ("float32", "float64"):
        try:
            if dtype is not None and np.dtype(dtype) == name:
                return np.dtype(name)
        except TypeError:
            continue
    raise ValueError(f"MLP: dtype is {dtype!r}: choose from float32, float64")


def _positive(name: str, value: Any) -> int:
    """Return ``value`` as an int, or raise unless it is a positive integer."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"MLP.fit: {name} is a {type(value).__name__}: give a positive integer")
    count = operator.index(value)
    if count <= 0:
        raise ValueError(f"MLP.fit: {name} is {count}: give a positive integer")
    return count
