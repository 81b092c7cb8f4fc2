"""A whole network in plain NumPy: dense layers and a loss, and backpropagation through them.

All parameters are one flat vector, their gradient is another. Both hold, layer by layer, the
weights and then the bias, each in C order:

=============  ==========  ==========
samples=       w           b
=============  ==========  ==========
``"rows"``     ``(d, k)``  ``(k,)``
``"columns"``  ``(k, d)``  ``(k, 1)``
=============  ==========  ==========

In a normalized layer its gain and shift follow, each of the shape of b.

Backpropagation is written as one would by hand: forward through the layers, the loss and its
gradient, backward through the layers. The gradient with respect to a layer's input is the gradient
of the previous layer's output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.networks.shared.plain import PlainMLP
from fastgrad.networks.shared.settings import loss_like, refuse_callable
from fastgrad.results import LayerParams, NormParams

from .activations import Activation, FromCallable, resolve
from .dense import dense_backward, dense_forward
from .dropout import dropout_backward, dropout_forward
from .layer_norm import layer_norm_backward, layer_norm_forward
from .loss import ArrayLoss
from .losses import LOSSES
from .optimizers import Adam, Optimizer, clip_norm

__all__ = ["MLP", "LayerParams", "NormParams"]


class MLP(PlainMLP):
    """A network of dense layers and a loss.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input and of each layer's output.
    activations : sequence
        One per layer: None, a name or an activation object.
    loss : str or loss object
        One of ``LOSSES``; a loss of one array takes no target.
    reduction : {"mean", "sum", "samples"}
        How the loss's terms are reduced.
    bias : bool
        Whether the layers have biases.
    samples : {"rows", "columns"}
        Which axis of x counts samples.
    dtype : {"float32", "float64"}
        The dtype of the computation: params, inputs and targets are converted to it.
    normalize : {None, "layer"}
        How hidden layers are normalized before their activation: see `layer_norm`.
    dropout : float or sequence of float
        Rate at which outputs of hidden layers are dropped in training.
    l1, l2 : float
        Added to the loss: ``l1 * sum(abs(w)) + l2 / 2 * sum(w**2)`` of the weights.

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

    kind, default = Optimizer, Adam()
    clip = staticmethod(clip_norm)

    def _activation(self, given: Any) -> Activation:
        found = resolve("MLP", given)
        return refuse_callable() if isinstance(found, FromCallable) else found

    def _loss(self, given: Any) -> Any:
        return loss_like(given, LOSSES)

    def _forward(self, layers: list[Any], x: Array) -> Array:
        return self._keeping(layers, x)[0]

    def _keeping(
        self, layers: list[Any], x: Array, draw: tuple[int, int] | None = None
    ) -> tuple[Array, list[Any]]:
        """Return the last layer's output, and what each layer keeps for the backward pass."""
        y, caches, hidden = x, [], 0
        for own, layer, rate in zip(layers, self._network.layers, self._network.rates, strict=True):
            cache: Any
            if isinstance(own, NormParams):
                y, cache = layer_norm_forward(
                    y, own.gain, own.shift, layer.activation, self.samples
                )
            else:
                y, cache = dense_forward(y, own.w, own.b, layer.activation, samples=self.samples)
            dropped = None
            if rate is not None:
                if draw is not None:
                    rows = self._network.turned(y)
                    rows, dropped = dropout_forward(rows, rate, *draw, layer=hidden)
                    y = self._network.turned(rows)
                hidden += 1
            caches.append((cache, dropped))
        return y, caches

    def _backpropagate(
        self,
        layers: list[Any],
        x: Array,
        target: Array | None,
        weights: Array | None,
        grads: list[Any],
        draw: tuple[int, int] | None = None,
    ) -> float:
        y, caches = self._keeping(layers, x, draw)
        arrays = (y,) if isinstance(self.loss, ArrayLoss) else (y, target)
        value, grad_y = self.loss.value_and_grad(
            *arrays, self.reduction, self.samples, weights=weights
        )
        self._back(layers, caches, grad_y, grads, False)
        return float(value)

    def _back(
        self, layers: list[Any], caches: list[Any], grad_y: Array, grads: list[Any], need_x: bool
    ) -> Any:
        for i in reversed(range(len(layers))):
            grad: Any
            cache, dropped = caches[i]
            if dropped is not None:
                turned = self._network.turned
                grad_y = turned(dropout_backward(turned(grad_y), dropped))
            if isinstance(layers[i], NormParams):
                grad = layer_norm_backward(grad_y, cache)
            else:
                need = ("x", "w", "b") if i > 0 or need_x else ("w", "b")
                grad = dense_backward(grad_y, cache, need=need)
            for name, own in zip(grads[i]._fields, grads[i], strict=True):
                if own is not None:  # faster than out=, which checks for shared memory
                    own[...] = getattr(grad, name)
            grad_y = grad.x
        return grad_y

    def _penalize(self, layers: list[Any], grads: list[Any]) -> float:
        value = 0.0
        for own, grad in zip(layers, grads, strict=True):
            if isinstance(own, LayerParams):
                w = own.w.astype(np.float64)
                if self.l1:  # an infinite weight may have a penalty of 0
                    value += self.l1 * np.abs(w).sum()
                    grad.w[...] += np.asarray(self.l1, self.dtype) * np.sign(own.w)
                if self.l2:
                    value += self.l2 / 2 * np.square(w).sum()
                    grad.w[...] += np.asarray(self.l2, self.dtype) * own.w
        return float(value)
