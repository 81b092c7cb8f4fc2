"""JAX: everything jitted, and waited for."""

from __future__ import annotations

import importlib
from typing import Any

from .implementations import Function, Implementation
from .workloads import Array, Network, Training, order_of


class Jax(Implementation):
    """The number of its threads is in the environment: see `__main__.environment`."""

    def __init__(self, threads: int) -> None:
        jax: Any = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        # Every call is waited for, and handing it to another thread only costs it time.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        self.jax, self.jnp = jax, jax.numpy
        self.activations = {
            "identity": lambda z: z,
            "sigmoid": jax.nn.sigmoid,
            "tanh": jax.numpy.tanh,
            "relu": jax.nn.relu,
            "softmax": jax.nn.softmax,
            "gelu": lambda z: jax.nn.gelu(z, approximate=False),
        }

    def array(self, a: Array, differentiable: bool = False) -> Any:
        return self.jnp.asarray(a)

    def compiled(self, function: Function) -> Function:
        jitted, wait = self.jax.jit(function), self.jax.block_until_ready
        return lambda *arguments: wait(jitted(*arguments))

    def activation(self, name: str) -> Function:
        return self.compiled(self.activations[name])

    def _layer(self, activation: str) -> Function:
        act = self.activations[activation]
        return lambda x, w, b: act(x @ w + b)

    def forward(self, activation: str) -> Function:
        return self.compiled(self._layer(activation))

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        _, pull_back = self.jax.vjp(self._layer(activation), x, w, b)
        run = self.compiled(lambda pull_back, grad_y: pull_back(grad_y))
        return lambda grad_y: run(pull_back, grad_y)

    def both(self, activation: str) -> Function:
        layer, vjp = self._layer(activation), self.jax.vjp

        def run(x: Any, w: Any, b: Any, grad_y: Any) -> tuple[Any, ...]:
            y, pull_back = vjp(layer, x, w, b)
            return y, *pull_back(grad_y)

        return self.compiled(run)

    def _loss(self, network: Network) -> Function:
        jnp, log_softmax = self.jnp, self.jax.nn.log_softmax
        acts = [self.activations[name or "identity"] for name in network.activations]
        classes = network.loss == "softmax_cross_entropy"

        def loss(params: list[Any], x: Any, target: Any) -> Any:
            for w, b, act in zip(params[::2], params[1::2], acts, strict=True):
                x = act(x @ w + b)
            if classes:
                return -jnp.take_along_axis(log_softmax(x), target[:, None], 1).mean()
            return ((x - target) ** 2).mean()

        return loss

    def value_and_grad(self, network: Network) -> Function:
        return self.compiled(self.jax.value_and_grad(self._loss(network)))

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        jax, jnp = self.jax, self.jnp
        value_and_grad, batch = jax.value_and_grad(self._loss(training.network)), training.batch
        n = training.network.samples
        whole = n // batch * batch

        def step(state: Any, data: Any) -> tuple[Any, Any]:
            params, m, v, count = state
            loss, grads = value_and_grad(params, *data)
            count += 1.0
            m = [0.9 * old + 0.1 * g for old, g in zip(m, grads, strict=True)]
            v = [0.999 * old + 0.001 * g * g for old, g in zip(v, grads, strict=True)]
            rate = 1e-3 / (1 - 0.9**count)
            root = jnp.sqrt(1 - 0.999**count)
            dtype = params[0].dtype
            rate, root = rate.astype(dtype), root.astype(dtype)
            params = [
                p - rate * a / (jnp.sqrt(b) / root + eps)
                for p, a, b in zip(params, m, v, strict=True)
            ]
            return (params, m, v, count), loss * len(data[0])

        def run(params: list[Any], x: Any, target: Any, order: Any) -> tuple[Any, Any]:
            x, target = x[order], target[order]
            zeros = [jnp.zeros_like(p) for p in params]
            batches = [a[:whole].reshape(whole // batch, batch, *a.shape[1:]) for a in (x, target)]
            state, losses = jax.lax.scan(step, (params, zeros, zeros, jnp.float64(0)), batches)
            total = losses.sum()
            if whole < n:
                state, last = step(state, (x[whole:], target[whole:]))
                total += last
            return total / n, state[0]

        data = [self.array(a) for a in (x, target, order_of(training))]
        run, start = self.compiled(run), self.parameters(params)
        return lambda: run(start, *data)
