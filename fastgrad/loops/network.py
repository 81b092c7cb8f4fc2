"""A whole network as plain Python loops over samples, layers and parameters.

Forward through the layers, the loss and its gradient, backward through the layers: each is a loop
of this package. A flat vector holds, layer by layer, the weights and then the bias, in C
order; shapes are those of `fastgrad.reference.network`.
"""

from __future__ import annotations

from typing import Any

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
        grad_y: Any
        y, caches = self._keeping(layers, x, draw)
        arrays = (y,) if isinstance(self.loss, ArrayLoss) else (y, target)
        value, grad_y = self.loss.value_and_grad(
            *arrays, self.reduction, self.samples, weights=weights
        )
        self._back(layers, caches, grad_y, grads, False)
        return float(value)

    def _back(
        self, layers: list[Any], caches: list[Any], grad_y: Any, grads: list[Any], need_x: bool
    ) -> Any:
        for i in range(len(layers) - 1, -1, -1):
            cache, dropped = caches[i]
            if dropped is not None:
                turned = self._network.turned
                grad_y = turned(dropout_backward(turned(grad_y), dropped))
            if isinstance(layers[i], NormParams):
                norm = layer_norm_backward(grad_y, cache)
                grads[i].gain[:], grads[i].shift[:] = norm.gain, norm.shift
                grad_y = norm.x
                continue
            need = ("w", "b", "x") if i > 0 or need_x else ("w", "b")
            grad_y = dense_backward(grad_y, cache, need=need, out=grads[i]).x
        return grad_y

    def _penalize(self, layers: list[Any], grads: list[Any]) -> float:
        value = 0.0
        l1, l2 = self.dtype.type(self.l1), self.dtype.type(self.l2)
        for own, grad in zip(layers, grads, strict=True):
            if not isinstance(own, LayerParams):
                continue
            for i, row in enumerate(own.w):
                for j, w in enumerate(row):
                    if self.l1:  # an infinite weight may have a penalty of 0
                        value += self.l1 * abs(float(w))
                        grad.w[i, j] += l1 if w > 0 else -l1 if w < 0 else w  # 0, or NaN
                    if self.l2:
                        value += self.l2 / 2 * float(w) ** 2
                        grad.w[i, j] += l2 * w
        return value
