"""What `fastgrad compare` computes: single layers, and the networks of five notebooks.

A case is written once, with the functional API, and runs on every module with that API: `fastgrad`,
`fastgrad.reference`, `fastgrad.loops` and `fastgrad.command.bounds.Bounds`. Inputs are real data
if the shape allows it: UCI digits if a layer has 64 inputs and there are enough images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgrad.activations import ACTIVATIONS
from fastgrad.command.digits import load_digits

__all__ = ["NETS", "Case", "layer_case", "net_case"]

Array = NDArray[Any]
Run = Callable[[], tuple[Any, Iterable[Any]]]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes
    ----------
    name, shape, dtype, source : str
        Its name, its sizes, its dtype, and its input: ``"digits"`` or ``"seeded"``.
    arrays : dict
        The arrays, by name, that the loss is differentiated by.
    weight : ndarray or float
        The loss is ``sum(weight * output)``: dL/dy of a layer, 1 if the output is the loss.
    build : callable
        ``build(api, *arrays)`` returns a function of no arguments, ready to be timed, that
        returns the output and the gradients with respect to `arrays`.
    multiply_adds : int
        Their number in the matrix products, forward and backward.
    is_net : bool
        Whether it is a network.
    """

    name: str
    shape: str
    dtype: str
    source: str
    arrays: dict[str, Array]
    weight: Any
    build: Callable[..., Run]
    multiply_adds: int
    is_net: bool = False

    @property
    def label(self) -> str:
        """The case's name, shape and dtype, for messages."""
        return f"{self.name} {self.shape} {self.dtype}"

    def in_float64(self) -> Case:
        """Return the same case in float64, where differences show small mistakes."""
        if self.is_net:
            return net_case(self.name, "float64")
        n, d, k = map(int, self.shape.split("x"))
        return layer_case(self.name, (n, d, k), "float64")


@cache
def _digits() -> tuple[Array, Array]:
    """Return the images, and the labels as one-hot rows."""
    images, labels = load_digits()
    return images, np.eye(10)[labels]


def _inputs(n: int, d: int, rng: np.random.Generator) -> tuple[Array, str]:
    images, _ = _digits()
    if d == images.shape[1] and n <= len(images):
        return images[:n], "digits"
    return rng.standard_normal((n, d)), "seeded"


def _weights(*shape: int, rng: np.random.Generator) -> Array:
    """Return weights that keep pre-activations near 1."""
    weights: Array = rng.standard_normal(shape) / np.sqrt(shape[0])
    return weights


# -- one layer ---------------------------------------------------------------------------------


def layer_case(activation: str, shape: tuple[int, int, int], dtype: str) -> Case:
    """Return ``y = act(x @ w + b)`` and its gradients, for n samples, d inputs, k outputs."""
    n, d, k = shape
    rng = np.random.default_rng(0)
    x, source = _inputs(n, d, rng)
    w, b, grad_y = _weights(d, k, rng=rng), rng.standard_normal(k), rng.standard_normal((n, k))
    for kink in ACTIVATIONS[activation].kinks:
        # A numerical derivative across a kink is wrong: the loss leaves such outputs out.
        grad_y[np.abs(x @ w + b - kink) < 1e-3] = 0.0
    x, w, b, grad_y = (a.astype(dtype) for a in (x, w, b, grad_y))

    def build(api: Any, x: Array, w: Array, b: Array) -> Run:
        forward, backward = api.dense_forward, api.dense_backward

        def run() -> tuple[Any, Iterable[Any]]:
            y, cache = forward(x, w, b, activation)
            return y, backward(grad_y, cache)

        return run

    return Case(
        activation, f"{n}x{d}x{k}", dtype, source,
        {"x": x, "w": w, "b": b}, grad_y, build, 3 * n * d * k,
    )  # fmt: skip


# -- the notebooks' networks -------------------------------------------------------------------
# Each takes the API, its constants (input or target) and the arrays to differentiate by. It
# returns the loss and the gradients with respect to those arrays.

Gradients = tuple[Any, tuple[Any, ...]]


def _net_a(api: Any, x: Array, w: Array) -> Gradients:
    """``L = sum(sigmoid(X @ W))``, samples are rows, no bias."""
    y, cache = api.dense_forward(x, w, None, "sigmoid")
    loss, grad_y = api.losses.sum.value_and_grad(y)
    grads = api.dense_backward(grad_y, cache, need=("x", "w"))
    return loss, (grads.x, grads.w)


def _net_b(
    api: Any, s: Array, t: Array, w1: Array, b1: Array, w2: Array, b2: Array, w3: Array, b3: Array
) -> Gradients:
    """``w3 @ sigmoid(w2 @ tanh(w1 @ S + b1) + b2) + b3``, quadratic cost, samples are columns."""
    y1, cache1 = api.dense_forward(s, w1, b1, "tanh", samples="columns")
    y2, cache2 = api.dense_forward(y1, w2, b2, "sigmoid", samples="columns")
    y3, cache3 = api.dense_forward(y2, w3, b3, samples="columns")
    cost, grad = api.losses.mse.value_and_grad(y3, t, reduction="samples", samples="columns")
    d3 = api.dense_backward(grad, cache3)
    d2 = api.dense_backward(d3.x, cache2)
    d1 = api.dense_backward(d2.x, cache1, need=("w", "b"))
    return cost, (d1.w, d1.b, d2.w, d2.b, d3.w, d3.b)


def _net_c(api: Any, x: Array, t: Array, w: Array, b: Array) -> Gradients:
    """Linear, Sigmoid, MSE with labels; samples are columns."""
    y, cache = api.dense_forward(x, w, b, "sigmoid", samples="columns")
    loss, grad_y = api.losses.mse.value_and_grad(y, t, samples="columns")
    grads = api.dense_backward(grad_y, cache, need=("w", "b"))
    return loss, (grads.w, grads.b)


def _net_d(api: Any, x: Array, w: Array) -> Gradients:
    """``f = ||sigmoid(W @ x)||**2``, samples are columns, no bias."""
    y, cache = api.dense_forward(x, w, None, "sigmoid", samples="columns")
    loss, grad_y = api.losses.squared_l2.value_and_grad(y, samples="columns")
    grads = api.dense_backward(grad_y, cache, need=("x", "w"))
    return loss, (grads.x, grads.w)


def _net_e(api: Any, t: Array, x: Array, w1: Array, w2: Array) -> Gradients:
    """Linear, ReLU, Linear, SoftMax, samples are rows, no bias; squared error of the labels."""
    y1, cache1 = api.dense_forward(x, w1, None, "relu")
    y2, cache2 = api.dense_forward(y1, w2, None, "softmax")
    loss, grad = api.losses.mse.value_and_grad(y2, t, reduction="samples")
    d2 = api.dense_backward(grad, cache2, need=("x", "w"))
    d1 = api.dense_backward(d2.x, cache1, need=("x", "w"))
    return loss, (d1.x, d1.w, d2.w)


@dataclass(frozen=True)
class _Net:
    """How the five differ: function, layer widths, layout, constants, differentiated arrays."""

    function: Callable[..., Gradients]
    widths: tuple[int, ...]
    samples: str
    constants: str
    wanted: tuple[str, ...]


NETS = {
    "net-A": _Net(_net_a, (64, 10), "rows", "", ("x", "w1")),
    "net-B": _Net(_net_b, (64, 32, 16, 10), "columns", "xt", ("w1", "b1", "w2", "b2", "w3", "b3")),
    "net-C": _Net(_net_c, (64, 10), "columns", "xt", ("w1", "b1")),
    "net-D": _Net(_net_d, (64, 10), "columns", "", ("x", "w1")),
    "net-E": _Net(_net_e, (64, 32, 10), "rows", "t", ("x", "w1", "w2")),
}
NET_SAMPLES = 64


def net_case(name: str, dtype: str) -> Case:
    """Return the network of one notebook: forward, loss, backward, on NET_SAMPLES digits."""
    net = NETS[name]
    rng = np.random.default_rng(0)
    images, targets = _digits()
    arrays = {"x": images[:NET_SAMPLES], "t": targets[:NET_SAMPLES]}
    for i, (d, k) in enumerate(pairwise(net.widths), start=1):
        arrays |= {f"w{i}": _weights(d, k, rng=rng), f"b{i}": rng.standard_normal((1, k))}
    turn = np.transpose if net.samples == "columns" else np.asarray
    arrays = {name: np.array(turn(a), dtype, order="C") for name, a in arrays.items()}
    constants = [arrays[name] for name in net.constants]

    def build(api: Any, *wanted: Array) -> Run:
        return lambda: net.function(api, *constants, *wanted)

    return Case(
        name, f"{NET_SAMPLES}x{'-'.join(map(str, net.widths))}", dtype, "digits",
        {name: arrays[name] for name in net.wanted}, 1.0, build,
        3 * NET_SAMPLES * sum(d * k for d, k in pairwise(net.widths)), is_net=True,
    )  # fmt: skip
