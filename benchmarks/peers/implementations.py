"""What every implementation has to answer, and the two that take the flat parameter vector."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .workloads import Array, Network, Training

__all__ = ["PEERS", "Implementation", "Unsupported", "load"]

Function = Callable[..., Any]


class Unsupported(Exception):
    """An implementation has no such workload, or it makes no sense to time it."""


class Implementation:
    """A way to compute the workloads.

    Each method returns the function that is timed. It takes and gives the implementation's own
    arrays: a result is a flat sequence of them, or for networks and training a number and
    parameters or gradients, as a list or a flat vector.
    """

    def array(self, a: Array, differentiable: bool = False) -> Any:
        return a

    def numpy(self, a: Any) -> Array:
        return np.asarray(a)

    def parameters(self, params: Sequence[Array]) -> Any:
        return [self.array(p, differentiable=True) for p in params]

    def flat(self, arrays: Any) -> Array:
        """Return parameters or gradients as one vector."""
        arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
        return np.concatenate([self.numpy(a).ravel() for a in arrays])

    def activation(self, name: str) -> Function:
        """Return f(z) -> y."""
        raise Unsupported

    def forward(self, activation: str) -> Function:
        """Return f(x, w, b) -> y."""
        raise Unsupported

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        """Return f(grad_y) -> grad_x, grad_w, grad_b; the forward pass is over."""
        raise Unsupported

    def both(self, activation: str) -> Function:
        """Return f(x, w, b, grad_y) -> y, grad_x, grad_w, grad_b."""
        raise Unsupported

    def value_and_grad(self, network: Network) -> Function:
        """Return f(params, x, target) -> loss, gradients."""
        raise Unsupported

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        """Return f() -> loss over the epoch, parameters after it; it can be called again."""
        raise Unsupported


class Functional(Implementation):
    """`fastgrad`, or its twin in plain NumPy."""

    def __init__(self, threads: int, module: str) -> None:
        self.api: Any = importlib.import_module(module)

    def parameters(self, params: Sequence[Array]) -> Array:
        return self.flat(list(params))

    def activation(self, name: str) -> Function:
        function: Function = self.api.activations.ACTIVATIONS[name]
        return function

    def forward(self, activation: str) -> Function:
        dense = self.api.dense
        return lambda x, w, b: dense(x, w, b, activation)

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        _, cache = self.api.dense_forward(x, w, b, activation)
        dense_backward = self.api.dense_backward
        return lambda grad_y: dense_backward(grad_y, cache)[:3]

    def both(self, activation: str) -> Function:
        dense_forward, dense_backward = self.api.dense_forward, self.api.dense_backward

        def run(x: Array, w: Array, b: Array, grad_y: Array) -> tuple[Array, ...]:
            y, cache = dense_forward(x, w, b, activation)
            return y, *dense_backward(grad_y, cache)[:3]

        return run

    def _net(self, network: Network) -> Any:
        return self.api.MLP(
            network.sizes, network.activations, network.loss, dtype=network.dtype
        )  # fmt: skip

    def value_and_grad(self, network: Network) -> Function:
        function: Function = self._net(network).value_and_grad
        return function

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        fit, start = self._net(training.network).fit, self.parameters(params)
        adam, shuffle, batch = self.api.Adam, training.shuffle, training.batch

        def run() -> tuple[float, Array]:
            result = fit(
                start, x, target, adam(lr=1e-3, eps=eps), epochs=1, batch_size=batch,
                shuffle=shuffle, seed=0,
            )  # fmt: skip
            return result.losses[0], result.params

        return run


class Peer(NamedTuple):
    """How a peer is called, what it needs, and where it is written."""

    title: str
    package: str  # its distribution, for the version
    module: str  # what has to be importable
    place: str  # file here, and class


PEERS = {
    "numpy": Peer("NumPy", "numpy", "numpy", "with_numpy.NumPy"),
    "torch": Peer("PyTorch", "torch", "torch", "with_torch.Torch"),
    "torch.compile": Peer("torch.compile", "torch", "torch", "with_torch.TorchCompile"),
    "jax": Peer("JAX", "jax", "jax", "with_jax.Jax"),
    "autograd": Peer("autograd", "autograd", "autograd", "with_autograd.Autograd"),
    "sklearn": Peer("scikit-learn", "scikit-learn", "sklearn", "with_sklearn.ScikitLearn"),
}


def load(name: str, threads: int) -> Implementation:
    """Return an implementation ready to use, its library imported."""
    if name == "fastgrad":
        return Functional(threads, "fastgrad")
    peer = PEERS[name]
    file, _, kind = peer.place.partition(".")
    module = importlib.import_module(f"{__package__}.{file}")
    made: Implementation = getattr(module, kind)(threads)
    return made
