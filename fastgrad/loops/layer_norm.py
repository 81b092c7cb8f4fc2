"""Layer normalization as plain loops: ``y = act(gain * h + shift)``, forward and backward.

``h = (x - mean) / sqrt(variance + eps)``, with the mean and the variance of each sample's
numbers (Ba, Kiros and Hinton, arXiv:1607.06450).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastgrad.arrays import Array
from fastgrad.results import LayerNormGrads

from .activations import Activation
from .lists import Row, feature_axis, from_rows, to_rows

EPS = 1e-5


class LayerNormCache(NamedTuple):
    """What the backward pass needs, one row per sample."""

    h: list[Row]
    scales: list[float]  # 1 / sqrt(variance + eps)
    gain: Array
    saved: list[Row]  # y, or the activation's input
    activation: Activation
    x: Array
    samples: str


def inverse_root(value: float) -> float:
    """Return ``1 / sqrt(value)``, as in NumPy infinite for 0 and NaN below."""
    if value > 0:
        return 1.0 / math.sqrt(value)
    return math.inf if value == 0 else math.nan


def layer_norm_forward(
    x: Array,
    gain: Array,
    shift: Array,
    activation: Activation,
    samples: str = "rows",
    eps: float = EPS,
) -> tuple[Array, LayerNormCache]:
    """Return y and a cache; x is ``(n, k)``, for columns ``(k, n)``, or one sample ``(k,)``."""
    axis = feature_axis(samples)
    gains, shifts = gain.reshape(-1).tolist(), shift.reshape(-1).tolist()
    h, scales, z = [], [], []
    for row in to_rows(x, axis):
        k = len(row)
        mean = 0.0
        for value in row:
            mean += value / k
        variance = 0.0
        for value in row:
            variance += (value - mean) * (value - mean) / k
        scale = inverse_root(variance + eps)
        h_row, z_row = [], []
        for j in range(k):
            h_row.append((row[j] - mean) * scale)
            z_row.append(gains[j] * h_row[j] + shifts[j])
        h.append(h_row)
        scales.append(scale)
        z.append(z_row)
    y = [activation.forward_row(z_row) for z_row in z]
    saved = y if activation.from_output else z
    cache = LayerNormCache(h, scales, gain, saved, activation, x, samples)
    return from_rows(y, x.shape, x.dtype, axis), cache


def layer_norm_backward(grad_y: Array, cache: LayerNormCache) -> LayerNormGrads:
    """Return the gradients of x, gain and shift."""
    axis = feature_axis(cache.samples)
    gains = cache.gain.reshape(-1).tolist()
    k = len(gains)
    grad_x, grad_gain, grad_shift = [], [0.0] * k, [0.0] * k
    for i, grad_row in enumerate(to_rows(grad_y, axis)):
        g = cache.activation.backward_row(grad_row, cache.saved[i])
        h = cache.h[i]
        along_ones = along_h = 0.0
        for j in range(k):
            grad_gain[j] += g[j] * h[j]
            grad_shift[j] += g[j]
            along_ones += g[j] * gains[j] / k
            along_h += g[j] * gains[j] * h[j] / k
        row = []
        for j in range(k):
            row.append((g[j] * gains[j] - along_ones - h[j] * along_h) * cache.scales[i])
        grad_x.append(row)
    shape, dtype = cache.gain.shape, cache.x.dtype
    return LayerNormGrads(
        from_rows(grad_x, cache.x.shape, dtype, axis),
        from_rows([grad_gain], shape, dtype, 0 if len(shape) == 2 else -1),
        from_rows([grad_shift], shape, dtype, 0 if len(shape) == 2 else -1),
    )
