"""PyTorch, eager and compiled."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from .implementations import Function, Implementation, Unsupported
from .workloads import Array, Network, Training, order_of


class Torch(Implementation):
    def __init__(self, threads: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, at import
            torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.torch = torch
        functional = torch.nn.functional
        self.activations = {
            "identity": lambda z: z,
            "sigmoid": torch.sigmoid,
            "tanh": torch.tanh,
            "relu": torch.relu,
            "softmax": lambda z: torch.softmax(z, -1),
            "gelu": functional.gelu,
        }
        self.losses = {
            "mse": functional.mse_loss,
            "softmax_cross_entropy": functional.cross_entropy,
        }

    def compiled(self, function: Function) -> Function:
        return function

    def array(self, a: Array, differentiable: bool = False) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(a)).requires_grad_(differentiable)

    def numpy(self, a: Any) -> Array:
        return np.asarray(a.detach() if isinstance(a, self.torch.Tensor) else a)

    def activation(self, name: str) -> Function:
        return self.compiled(self.activations[name])

    def _layer(self, activation: str) -> Function:
        addmm, act = self.torch.addmm, self.activations[activation]
        return self.compiled(lambda x, w, b: act(addmm(b, x, w)))

    def forward(self, activation: str) -> Function:
        return self._layer(activation)

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        y, grad = self._layer(activation)(x, w, b), self.torch.autograd.grad
        return lambda grad_y: grad(y, (x, w, b), grad_y, retain_graph=True)

    def both(self, activation: str) -> Function:
        layer, grad = self._layer(activation), self.torch.autograd.grad

        def run(x: Any, w: Any, b: Any, grad_y: Any) -> tuple[Any, ...]:
            y = layer(x, w, b)
            return y, *grad(y, (x, w, b), grad_y)

        return run

    def _loss(self, network: Network) -> Function:
        addmm, loss_of = self.torch.addmm, self.losses[network.loss]
        acts = [self.activations[name or "identity"] for name in network.activations]

        def loss(params: list[Any], x: Any, target: Any) -> Any:
            for w, b, act in zip(params[::2], params[1::2], acts, strict=True):
                x = act(addmm(b, x, w))
            return loss_of(x, target)

        return self.compiled(loss)

    def value_and_grad(self, network: Network) -> Function:
        loss_of, grad = self._loss(network), self.torch.autograd.grad

        def run(params: list[Any], x: Any, target: Any) -> tuple[Any, Any]:
            loss = loss_of(params, x, target)
            return loss, grad(loss, params)

        return run

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        torch, loss_of, size = self.torch, self._loss(training.network), training.batch
        start = [self.array(p.copy()) for p in params]
        leaves = [self.array(p.copy(), differentiable=True) for p in params]
        inputs, targets, order = map(self.array, (x, target, order_of(training)))

        def run() -> tuple[float, list[Any]]:
            with torch.no_grad():
                for leaf, value in zip(leaves, start, strict=True):
                    leaf.copy_(value)
            adam = torch.optim.Adam(leaves, lr=1e-3, eps=eps, fused=True)
            total, shuffled, labels = 0.0, inputs[order], targets[order]
            for i in range(0, len(order), size):
                batch = shuffled[i : i + size]
                adam.zero_grad()
                loss = loss_of(leaves, batch, labels[i : i + size])
                loss.backward()
                adam.step()
                total += loss.item() * len(batch)
            return total / len(order), leaves

        return run


class TorchCompile(Torch):
    def compiled(self, function: Function) -> Function:
        made: Function = self.torch.compile(function, dynamic=False)
        return made

    def activation(self, name: str) -> Function:
        raise Unsupported

    def forward(self, activation: str) -> Function:
        raise Unsupported

    def backward(self, activation: str, x: Any, w: Any, b: Any) -> Function:
        raise Unsupported

    def both(self, activation: str) -> Function:
        self.torch._dynamo.reset()  # a new shape is a new program, not the ninth of an old one
        return super().both(activation)
