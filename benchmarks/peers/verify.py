"""Whether two implementations computed the same thing, up to what rounding explains.

Layers and networks are held against `fastgrad.command.bounds`: the reference in float64 and a
running error analysis of the dtype at hand. To that comes `PEER_ULP` per activation, relative to at
least 1: what vector libraries are allowed to be off by, and they write gelu as ``z (1 + erf(z)) /
2``, of which nothing is left for negative z but an absolute error.

An epoch is too long for such an analysis. It is compared in float64, with Adam's eps all but zero
(scikit-learn adds it elsewhere), and the allowance is measured: as many times as there are
batches, what the reference's result moves by if its inputs move by the rounding of one batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastgrad import reference
from fastgrad.command.bounds import Bounded, Bounds

from .implementations import Functional
from .workloads import Array, Network, Training, network_data

__all__ = ["Expected", "disagreement", "expected_activation", "expected_epoch", "expected_layer",
           "expected_network"]  # fmt: skip

PEER_ULP = 16
TINY_EPS = 1e-30  # of Adam, where results are compared

Expected = dict[str, Bounded]


class PeerBounds(Bounds):
    """Bounds for anybody's activations, and of softmax cross-entropy."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.losses.softmax_cross_entropy = self

    def dense_forward(self, *args: Any, **options: Any) -> tuple[Bounded, Any]:
        y, cache = super().dense_forward(*args, **options)
        y = y._replace(error=y.error + self._absolute(y.value))
        return y, cache._replace(y=y)

    def _absolute(self, y: Array) -> Array:
        size: Array = 2 * self.unit * PEER_ULP * np.maximum(1.0, np.abs(y))
        return size

    def _ulps(self, act: Any) -> float:
        return super()._ulps(act) + 2 * self.unit * PEER_ULP

    def value_and_grad(self, pred: Bounded, target: Array) -> tuple[Bounded, Bounded]:
        """Return the bounded softmax cross-entropy of classes, and its bounded gradient."""
        value, grad = reference.LOSSES["softmax_cross_entropy"].value_and_grad(pred.value, target)
        n, k = pred.value.shape
        shift = pred.error.max(axis=1, keepdims=True)
        # softmax moves by at most twice the largest error, log-sum-exp and the logit by once each;
        # the terms, and what they are differences of, are rounded, and added in the dtype.
        probs = reference.softmax(pred.value)
        rounding = 2 * self.unit * PEER_ULP + self.gamma(k)
        grad_error = (probs * (2 * shift + rounding) + 2 * self.unit * (probs + 1)) / n
        size = np.abs(pred.value).max(axis=1) + math.log(k) + 1
        value_error = (2 * shift[:, 0] + rounding * size).mean() + self.gamma(n) * abs(value)
        return Bounded(value, value_error), Bounded(grad, grad_error)


def expected_activation(name: str, z: Array) -> Expected:
    bounds = PeerBounds(z.dtype.name)
    y = reference.ACTIVATIONS[name](z.astype(np.float64))
    return {"y": Bounded(y, bounds._absolute(y) + 2 * bounds.unit * np.abs(y))}


def expected_layer(activation: str, x: Array, w: Array, b: Array, grad_y: Array) -> Expected:
    api = PeerBounds(x.dtype.name)
    y, cache = api.dense_forward(x, w, b, activation)
    grads = api.dense_backward(grad_y, cache)
    return {"y": y, "grad_x": grads.x, "grad_w": grads.w, "grad_b": grads.b}  # type: ignore[dict-item]


def expected_network(network: Network, params: list[Array], x: Array, target: Array) -> Expected:
    api = PeerBounds(network.dtype)
    y: Any = x
    caches = []
    for w, b, act in zip(params[::2], params[1::2], network.activations, strict=True):
        y, cache = api.dense_forward(y, w, b, act)
        caches.append(cache)
    value, grad = getattr(api.losses, network.loss).value_and_grad(y, target)
    # A peer may add the terms up in the dtype.
    value = value._replace(error=value.error + api.gamma(y.value.size) * abs(value.value))
    found: list[Bounded] = []
    for cache in reversed(caches):
        grads = api.dense_backward(grad, cache)
        found += [grads.b, grads.w]  # type: ignore[list-item]
        grad = grads.x  # type: ignore[assignment]
    flat = Bounded(*(np.concatenate([part.ravel() for part in parts])
                     for parts in zip(*reversed(found), strict=True)))  # fmt: skip
    return {"loss": value, "gradient": flat}


def in_float64(training: Training) -> tuple[Training, list[Array], Array, Array]:
    """Return an epoch's arguments for the comparison."""
    training = training._replace(network=training.network._replace(dtype="float64"))
    return training, *network_data(training.network)


def expected_epoch(training: Training) -> Expected:
    numpy = Functional(1, "fastgrad.reference")
    training, params, x, target = in_float64(training)

    def result(params: list[Array]) -> tuple[float, Array]:
        loss, after = numpy.epoch(training, params, x, target, TINY_EPS)()
        return float(loss), np.array(after)

    loss, after = result(params)
    steps = math.ceil(training.network.samples / training.batch)
    relative = PeerBounds("float64").gamma(training.batch + max(training.network.sizes))
    loss_moves, moves = 0.0, np.zeros_like(after)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        moved = [p * (1 + relative * rng.choice([-1.0, 1.0], p.shape)) for p in params]
        other_loss, other = result(moved)
        loss_moves = max(loss_moves, abs(other_loss - loss))
        moves = np.maximum(moves, np.abs(other - after))
    # A parameter at zero does not move at first: all are allowed what the freest takes.
    return {
        "loss": Bounded(loss, steps * (loss_moves + relative * abs(loss))),
        "parameters": Bounded(after, np.full_like(after, steps * moves.max())),
    }


def disagreement(got: dict[str, Array], expected: Expected) -> str:
    """Return what is wrong with a result; nothing if it lies within the bounds."""
    for name, value in got.items():
        truth, error = (np.asarray(a) for a in expected[name])
        if value.shape != truth.shape:
            return f"{name} has shape {value.shape} instead of {truth.shape}"
        with np.errstate(all="ignore"):
            difference = np.abs(value.astype(np.float64) - truth)
            of_bound = np.where(difference == 0, 0.0, difference / error)
        worst = float(of_bound.max(initial=0.0))
        if not worst <= 1:
            return (
                f"{name} is up to {difference.max():.3g} off the float64 reference, "
                f"{worst:.3g} times what rounding explains"
            )
    return ""
