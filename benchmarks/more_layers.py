"""Normalization, dropout and embeddings: forward and backward, beside the same in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .common import COMPILED_AND_NUMPY, DTYPES, Call, implementation, normal, ratio, sizes

SHAPES = ("4x8", "128x128", "4096x64")
WORDS = 1000  # rows of the table, and of its gradient
RATE = 0.5


def normalization(kind: str) -> Callable[..., Call]:
    def make(module: ModuleType, dtype: str, n: int, d: int) -> Call:
        x, gain, bias = normal(1, dtype, n, d), normal(2, dtype, d), normal(3, dtype, d)
        grad_y = normal(4, dtype, n, d)
        running = np.zeros(d, dtype), np.ones(d, dtype)
        given = {"running": running} if kind == "batch_norm" else {}
        forward = getattr(module, f"{kind}_forward")
        backward = getattr(module, f"{kind}_backward")

        def call() -> Any:
            y, cache = forward(x, gain, bias, **given)
            return y, *backward(grad_y, cache)

        return call

    return make


def dropout(module: ModuleType, dtype: str, n: int, d: int) -> Call:
    x, grad_y = normal(1, dtype, n, d), normal(4, dtype, n, d)

    def call() -> Any:
        y, cache = module.dropout_forward(x, RATE, seed=7)
        return y, module.dropout_backward(grad_y, cache)

    return call


def embedding(module: ModuleType, dtype: str, n: int, d: int) -> Call:
    table, grad_y = normal(1, dtype, WORDS, d), normal(4, dtype, n, d)
    ids = np.random.default_rng(2).integers(0, WORDS, n)

    def call() -> Any:
        y, cache = module.embedding_forward(ids, table)
        return y, *module.embedding_backward(grad_y, cache)

    return call


LAYERS: dict[str, Callable[..., Call]] = {
    "layer_norm": normalization("layer_norm"),
    "batch_norm": normalization("batch_norm"),
    "dropout": dropout,
    "embedding": embedding,
}


def call_of(name: str, layer: str, dtype: str, shape: str) -> Call:
    """Return a layer's forward and backward, made once already; `shape` is n x d."""
    n, d = sizes(shape)
    call = LAYERS[layer](implementation(name, n * d), dtype, n, d)
    call()
    return call


class MoreLayers:
    """Each layer's forward and backward."""

    params = (COMPILED_AND_NUMPY, tuple(LAYERS), DTYPES, SHAPES)
    param_names = ("implementation", "layer", "dtype", "shape")

    def setup(self, implementation: str, layer: str, dtype: str, shape: str) -> None:
        self.call = call_of(implementation, layer, dtype, shape)

    def time_forward_and_backward(
        self, implementation: str, layer: str, dtype: str, shape: str
    ) -> None:
        self.call()


class MoreLayersRatio:
    """Time of fastgrad over time of NumPy, forward and backward."""

    params = (tuple(LAYERS), DTYPES, SHAPES)
    param_names = ("layer", "dtype", "shape")
    unit = "of NumPy's time"

    def setup(self, layer: str, dtype: str, shape: str) -> None:
        self.calls = [call_of(name, layer, dtype, shape) for name in COMPILED_AND_NUMPY]

    def track_ratio(self, layer: str, dtype: str, shape: str) -> float:
        return ratio(*self.calls)
