"""HIPS autograd: NumPy with a tape.

Written so that float32 stays float32 on the way back, too: the gradients of `maximum`, `max` and
`mean` are float64 there, whatever they are of, and everything after them takes twice the time.
Hence z * (z > 0), the row maximum of the value, which no gradient depends on, and sums.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .implementations import Function, Implementation
from .workloads import Array, Network, Training, order_of


class Autograd(Implementation):
    def __init__(self, threads: int) -> None:
        self.anp: Any = importlib.import_module("autograd.numpy")
        special: Any = importlib.import_module("autograd.scipy.special")
        self.vjp: Any = importlib.import_module("autograd.core").make_vjp
        self.value: Any = importlib.import_module("autograd.tracer").getval
        self.with_gradient: Any = importlib.import_module("autograd").value_and_grad
        # A float in an expression is of the array's dtype; a NumPy float64 would not be.
        anp, half_root, shifted = self.anp, float(np.sqrt(0.5)), self._shifted

        def softmax(z: Any) -> Any:
            e = anp.exp(shifted(z))
            return e / anp.sum(e, axis=-1, keepdims=True)

        self.activations = {
            "identity": lambda z: z,
            "sigmoid": lambda z: 1 / (1 + anp.exp(-z)),
            "tanh": anp.tanh,
            "relu": lambda z: z * (z > 0),
            "softmax": softmax,
            "gelu": lambda z: 0.5 * z * (1 + special.erf(z * half_root)),
        }

    def _shifted(self, z: Any) -> Any:
        """Return z less the maximum of each row."""
        return z - self.value(z).max(axis=-1, keepdims=True)

    def activation(self, name: str) -> Function:
        return self.activations[name]

    def _layer(self, activation: str) -> Function:
        dot, act = self.anp.dot, self.activations[activation]
        return lambda arrays: act(dot(arrays[0], arrays[1]) + arrays[2])

    def forward(self, activation: str) -> Function:
        layer = self._layer(activation)
        return lambda x, w, b: layer((x, w, b))

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        pull_back: Function = self.vjp(self._layer(activation), (x, w, b))[0]
        return pull_back

    def both(self, activation: str) -> Function:
        layer, vjp = self._layer(activation), self.vjp

        def run(x: Array, w: Array, b: Array, grad_y: Array) -> tuple[Array, ...]:
            pull_back, y = vjp(layer, (x, w, b))
            return y, *pull_back(grad_y)

        return run

    def value_and_grad(self, network: Network) -> Function:
        anp, rows_shifted = self.anp, self._shifted
        acts = [self.activations[name or "identity"] for name in network.activations]
        classes = network.loss == "softmax_cross_entropy"

        def loss(params: Any, x: Array, target: Array) -> Any:
            for i, act in enumerate(acts):
                x = act(anp.dot(x, params[2 * i]) + params[2 * i + 1])
            if classes:
                shifted = rows_shifted(x)
                log_sum = anp.log(anp.sum(anp.exp(shifted), axis=1))
                rows = np.arange(len(target))
                return anp.sum(log_sum - shifted[rows, target]) / len(target)
            difference = x - target
            return anp.sum(difference * difference) / difference.size

        function: Function = self.with_gradient(loss)
        return function

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        value_and_grad, size = self.value_and_grad(training.network), training.batch
        order = order_of(training)

        def run() -> tuple[float, list[Array]]:
            now = [p.copy() for p in params]
            m, v = ([np.zeros_like(p) for p in params] for _ in "mv")
            total, shuffled, labels = 0.0, x[order], target[order]
            for count, i in enumerate(range(0, len(order), size), start=1):
                batch = shuffled[i : i + size]
                loss, grads = value_and_grad(now, batch, labels[i : i + size])
                rate, root = 1e-3 / (1 - 0.9**count), float(np.sqrt(1 - 0.999**count))
                for p, a, b, g in zip(now, m, v, grads, strict=True):
                    a *= 0.9
                    a += 0.1 * g
                    b *= 0.999
                    b += 0.001 * g * g
                    p -= rate * a / (np.sqrt(b) / root + eps)
                total += float(loss) * len(batch)
            return total / len(order), now

        return run
