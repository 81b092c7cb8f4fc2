"""Layer and batch normalization as plain loops: ``y = gain * h + bias``, forward and backward.

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
from .lists import from_rows, to_rows

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
    y, of_samples = layer_norm.layer_norm_forward(
        given.x, given.gain, given.bias, ACTIVATIONS["identity"], eps=given.eps
    )
    h = np.array(of_samples.h, np.float64).reshape(y.shape)
    return norm_results("layer_norm", given, y, (h, np.array(of_samples.scales)), True)


def layer_norm_backward(
    grad_y: ArrayLike, cache: NormCache, *, need: Iterable[str] = NormGrads._fields,
    out: Any = None, accumulate: bool = False,
) -> NormGrads:  # fmt: skip
    """Return the gradients of x, gain and bias."""

    def gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
        h, scale = cache.kept
        kept = layer_norm.LayerNormCache(
            h.tolist(), scale.tolist(), cache.given.gain, h.tolist(), ACTIVATIONS["identity"],
            grad, "rows",
        )  # fmt: skip
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
    rows, width = to_rows(given.x), given.x.shape[1]
    n = len(rows)
    h, y = [[0.0] * width for _ in rows], [[0.0] * width for _ in rows]
    scales = [0.0] * width
    for j in range(width):
        mean = variance = 0.0
        if not training and averages is not None:
            mean, variance = float(averages[0][j]), float(averages[1][j])
        elif n:
            for row in rows:
                mean += row[j] / n
            left = 0.0
            for row in rows:
                left += (row[j] - mean) / n
            mean += left  # what rounding left of a large mean
            for row in rows:
                variance += (row[j] - mean) * (row[j] - mean) / n
            for average, new in zip(averages or (), (mean, variance), strict=False):
                with np.errstate(all="ignore"):  # rounding to a narrower dtype
                    average[j] = stays * float(average[j]) + (1.0 - stays) * new
        scales[j] = layer_norm.inverse_root(variance + given.eps)
        for i in range(n):
            h[i][j] = (rows[i][j] - mean) * scales[j]
            y[i][j] = float(given.gain[j]) * h[i][j] + float(given.bias[j])
    result = from_rows(y, given.x.shape, given.dtypes.work)
    kept = np.array(h).reshape(given.x.shape), np.array(scales)
    return norm_results("batch_norm", given, result, kept, training)


def batch_norm_backward(
    grad_y: ArrayLike, cache: NormCache, *, need: Iterable[str] = NormGrads._fields,
    out: Any = None, accumulate: bool = False,
) -> NormGrads:  # fmt: skip
    """Return the gradients of x, gain and bias."""

    def gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
        (h, scales), gain = (array.tolist() for array in cache.kept), cache.given.gain
        rows, width = to_rows(grad), grad.shape[1]
        n = len(rows)
        of_x = [[0.0] * width for _ in rows]
        of_gain, of_bias = [0.0] * width, [0.0] * width
        for j in range(width):
            for i in range(n):
                of_gain[j] += rows[i][j] * h[i][j]
                of_bias[j] += rows[i][j]
            for i in range(n):
                slope = rows[i][j]
                if cache.training:
                    slope -= (of_bias[j] + h[i][j] * of_gain[j]) / n
                of_x[i][j] = slope * scales[j] * float(gain[j])
        return {
            "x": from_rows(of_x, grad.shape, grad.dtype),
            "gain": from_rows([of_gain], (width,), grad.dtype),
            "bias": from_rows([of_bias], (width,), grad.dtype),
        }

    return norm_gradients("batch_norm_backward", gradients, cache, grad_y, need, out, accumulate)
