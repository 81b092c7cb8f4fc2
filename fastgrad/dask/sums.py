"""What runs on the workers: a block's sums, and the sums of several blocks.

A block gives the sum of its terms, that sum's gradient, and what it adds to the divisor; nothing is
divided before all have been added. `add` has a fixed order, and `FAN` blocks at a time are added,
then `FAN` of their sums: so the shape of the tree depends on the number of blocks alone.
"""

from __future__ import annotations

import functools
import pickle
from typing import Any, NamedTuple

import numpy as np

from fastgrad import threads
from fastgrad.arrays import Array
from fastgrad.networks.mlp import MLP

__all__ = ["FAN", "Draw", "Sums", "add", "block_sums", "received", "summing", "total"]

# With 2 a cluster has as many tasks that add as tasks that compute; with 8 a seventh of them. The
# worker that adds holds so many gradients.
FAN = 8


class Sums(NamedTuple):
    """Sums over some blocks; `grad` is None if none of them has a sample."""

    value: float
    grad: Array | None
    divisor: float


class Draw(NamedTuple):
    """Which of a block's samples a step of training takes: one of `parts` of a random order."""

    seed: int
    epoch: int
    block: int
    part: int
    parts: int
    shuffle: bool

    def of(self, count: int) -> Array:
        """Return their indices."""
        order = np.arange(count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch, self.block)).permutation(count)
        # Blocks start their rounds at different steps: so the longer parts are not all in one.
        return np.array_split(order, self.parts)[(self.part + self.block) % self.parts]


def summing(net: MLP, l1: float = 0.0, l2: float = 0.0) -> MLP:
    """Return the network whose loss is the sum of all terms and of these penalties."""
    settings = (net.bias, net.samples, net.dtype, net.normalize)
    return MLP(net.sizes, net.activations, net.loss, "sum", *settings, l1=l1, l2=l2)


@functools.lru_cache(maxsize=16)
def received(sent: bytes) -> MLP:
    """Return the network, once in each process: its plan and workspaces stay."""
    net: MLP = pickle.loads(sent)
    return net


def block_sums(
    sent: bytes,
    mean: bool,
    threads_each: int,
    params: Array,
    x: Any,
    target: Any,
    weights: Any,
    draw: Draw | None = None,
) -> Sums:
    """Return a block's sums; `mean`: they will be divided by the terms, else by the samples."""
    net = received(sent)
    if draw is not None:
        x, target, weights = _drawn(net, draw, x, target, weights)
    n = x.shape[-1 if net.samples == "columns" else 0]
    if n == 0:
        return Sums(0.0, None, 0.0)
    with threads.limited(threads_each):
        value, grad = net.value_and_grad(params, x, target, weights=weights)
    if not mean:
        return Sums(value, grad, float(n))
    terms = net._network.terms_of_sample
    if weights is None:
        return Sums(value, grad, float(n * terms))
    weights = np.asarray(weights, np.float64)
    return Sums(value, grad, float(weights.sum()) * (terms if weights.ndim == 1 else 1))


def _drawn(net: MLP, draw: Draw, *arrays: Any) -> list[Any]:
    columns = net.samples == "columns"
    index = draw.of(arrays[0].shape[-1 if columns else 0])

    def part(array: Any) -> Any:
        return array[:, index] if columns and np.ndim(array) == 2 else array[index]

    return [None if array is None else part(array) for array in arrays]


def add(*parts: Sums) -> Sums:
    """Add in the order given."""
    value, grad, divisor = 0.0, None, 0.0
    for part in parts:
        value, divisor = value + part.value, divisor + part.divisor
        if part.grad is not None:
            grad = part.grad.copy() if grad is None else np.add(grad, part.grad, out=grad)
    return Sums(value, grad, divisor)


def total(parts: list[Any], add: Any) -> Any:
    """Add in a tree of `FAN`, by `add` or by tasks that do."""
    while len(parts) > 1:
        parts = [add(*parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    return parts[0]
