"""Layer and batch normalization in plain NumPy: ``y = gain * h + bias``, forward and backward.

``h = (x - mean) / sqrt(variance + eps)``, with the mean and the variance of each sample's numbers
(`layer_norm`), or of each feature over all samples (Ioffe and Szegedy, arXiv:1502.03167).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_truth
from fastgrad.arrays import Array
from fastgrad.layers.norm_arguments import (
    NormCache,
    check_momentum,
    check_running,
    norm_arguments,
    norm_gradients,
    norm_results,
)
from fastgrad.results import NormGrads

from . import layer_norm
from .activations import ACTIVATIONS

__all__ = [
    "NormCache",
    "NormGrads",
    "batch_norm_backward",
    "batch_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
]


def layer_norm_forward(
    x: ArrayLike, gain: ArrayLike, bias: ArrayLike, eps: float = 1e-5, *, samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, NormCache]:  # fmt: skip
    """Return ``gain * h + bias`` of normalized samples h, and a cache for the backward pass."""
    given = norm_arguments("layer_norm_forward", x, gain, bias, eps, samples, out)
    if not given.x.size:
        return norm_results("layer_norm", given, given.x, (given.x, given.x), True)
    y, of_samples = layer_norm.layer_norm_forward(
        given.x, given.gain, given.bias, ACTIVATIONS["identity"], eps=given.eps
    )
    return norm_results("layer_norm", given, y, (of_samples.h, of_samples.scale), True)


def layer_norm_backward(
    grad_y: ArrayLike, cache: NormCache, *, need: Iterable[str] = NormGrads._fields,
    out: Any = None, accumulate: bool = False,
) -> NormGrads:  # fmt: skip
    """Return the gradients of x, gain and bias."""

    def gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
        h, scale = cache.kept
        if not h.size:
            none = np.zeros_like(cache.given.gain)
            return {"x": grad, "gain": none, "bias": none}
        kept = layer_norm.LayerNormCache(
            h, scale, cache.given.gain, h, ACTIVATIONS["identity"], "rows"
        )
        made = layer_norm.layer_norm_backward(grad, kept)
        return {"x": made.x, "gain": made.gain, "bias": made.shift}

    return norm_gradients("layer_norm_backward", gradients, cache, grad_y, need, out, accumulate)


def batch_norm_forward(
    x: ArrayLike, gain: ArrayLike, bias: ArrayLike, running: tuple[Array, Array] | None = None,
    training: bool = True, momentum: float = 0.9, eps: float = 1e-5, *, samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, NormCache]:  # fmt: skip
    """Return ``gain * h + bias`` of normalized features h, and a cache for the backward pass."""
    function = "batch_norm_forward"
    given = norm_arguments(function, x, gain, bias, eps, samples, out)
    training = check_truth(function, "training", training)
    stays = check_momentum(function, momentum)
    averages = check_running(function, running, given, training)
    rows, wide = given.x, np.float64
    with np.errstate(all="ignore"):
        if not training and averages is not None:
            mean, variance = (average.astype(wide) for average in averages)
        elif len(rows):
            mean = rows.mean(0, dtype=wide)
            mean += (rows - mean).mean(0)  # what rounding left of a large mean
            variance = np.square(rows - mean).mean(0)
            for average, new in zip(averages or (), (mean, variance), strict=False):
                average[...] = stays * average + (1 - stays) * new
        else:
            mean, variance = np.zeros((2, rows.shape[1]))
        scale = 1 / np.sqrt(variance + given.eps)
        h = (rows - mean) * scale
        y = (h * given.gain + given.bias).astype(rows.dtype)
    h, scale = h.astype(rows.dtype), scale.astype(rows.dtype)
    return norm_results("batch_norm", given, y, (h, scale), training)


def batch_norm_backward(
    grad_y: ArrayLike, cache: NormCache, *, need: Iterable[str] = NormGrads._fields,
    out: Any = None, accumulate: bool = False,
) -> NormGrads:  # fmt: skip
    """Return the gradients of x, gain and bias."""

    def gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
        h, scale = cache.kept
        with np.errstate(all="ignore"):
            of_bias, of_gain = grad.sum(0, dtype=np.float64), (grad * h).sum(0, dtype=np.float64)
            slope = grad
            if cache.training:
                slope = grad - (of_bias + h * of_gain) / max(len(grad), 1)
            of_x = (slope * (scale * cache.given.gain)).astype(grad.dtype)
            return {
                "x": of_x,
                "gain": of_gain.astype(grad.dtype),
                "bias": of_bias.astype(grad.dtype),
            }

    return norm_gradients("batch_norm_backward", gradients, cache, grad_y, need, out, accumulate)
