"""NumPy: layers by `fastgrad.reference`, whole networks as a notebook writes them.

The reference checks its arguments and takes any layout; at 4 inputs and 2 samples that costs
more than twice the arithmetic. A network here is nothing but the arithmetic. An epoch's order is
drawn beforehand, as for the other peers; `fit` draws it each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .implementations import Function, Functional
from .workloads import Array, Network, Training, order_of


class NumPy(Functional):
    def __init__(self, threads: int) -> None:
        super().__init__(threads, "fastgrad.reference")

    def parameters(self, params: Sequence[Array]) -> list[Array]:  # type: ignore[override]
        return list(params)

    def value_and_grad(self, network: Network) -> Function:
        activations = network.activations
        loss = _cross_entropy if network.loss == "softmax_cross_entropy" else _mse

        def run(params: Sequence[Array], x: Array, target: Array) -> tuple[float, list[Array]]:
            outputs = [x]
            for activation, w, b in zip(activations, params[::2], params[1::2], strict=True):
                z = outputs[-1] @ w + b
                outputs.append(z if activation is None else _FORWARD[activation](z))
            value, g = loss(outputs.pop(), target)
            grads: list[Array] = []
            for i in range(len(activations) - 1, -1, -1):
                grads += [g.sum(axis=0), outputs[i].T @ g]
                if i:
                    g = g @ params[2 * i].T
                    activation = activations[i - 1]
                    if activation is not None:
                        g = _BACKWARD[activation](g, outputs[i])
            return value, grads[::-1]

        return run

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        value_and_grad, order = self.value_and_grad(training.network), order_of(training)
        n, batch = training.network.samples, training.batch
        per_sample = 1 if training.network.loss == "softmax_cross_entropy" else target.shape[1]

        def run() -> tuple[float, list[Array]]:
            p = [a.copy() for a in params]
            m, v = ([np.zeros_like(a) for a in params] for _ in range(2))
            total = 0.0
            for step, start in enumerate(range(0, n, batch), start=1):
                rows = order[start : start + batch]
                value, grads = value_and_grad(p, x[rows], target[rows])
                total += value * len(rows) * per_sample
                rate, root = 1e-3 / (1 - 0.9**step), np.sqrt(1 - 0.999**step).astype(x.dtype)
                for a, g, first, second in zip(p, grads, m, v, strict=True):
                    first *= 0.9
                    first += x.dtype.type(0.1) * g
                    second *= 0.999
                    second += x.dtype.type(0.001) * g * g
                    a -= x.dtype.type(rate) * first / (np.sqrt(second) / root + x.dtype.type(eps))
            return total / (n * per_sample), p

        return run


_FORWARD = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
}
_BACKWARD = {
    "tanh": lambda g, y: g * (1 - y * y),
    "sigmoid": lambda g, y: g * (y * (1 - y)),
    "relu": lambda g, y: g * (y > 0),
}


def _mse(pred: Array, target: Array) -> tuple[float, Array]:
    difference = pred - target
    return float(np.mean(difference * difference)), difference * (2 / difference.size)


def _cross_entropy(z: Array, labels: Array) -> tuple[float, Array]:
    rows = np.arange(len(z))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    value = -float(np.mean(np.log(p[rows, labels])))
    p[rows, labels] -= 1
    p /= len(z)
    return value, p
