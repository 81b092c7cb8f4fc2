"""Layer normalization in plain NumPy: ``y = act(gain * h + shift)``, forward and backward.

``h = (x - mean) / sqrt(variance + eps)``, with the mean and the variance of each sample's k
numbers (Ba, Kiros and Hinton, arXiv:1607.06450). g is the gradient with respect to the
activation's input; means are over a sample's numbers::

    grad_gain = (g * h).sum(samples)        grad_shift = g.sum(samples)
    grad_x = (g * gain - mean(g * gain) - h * mean(g * gain * h)) / sqrt(variance + eps)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import Array
from fastgrad.results import LayerNormGrads

from .dense import as_rows

EPS = 1e-5


class LayerNormCache(NamedTuple):
    """What the backward pass needs."""

    h: Array
    scale: Array  # 1 / sqrt(variance + eps), one per sample
    gain: Array
    saved: Array  # y, or the activation's input
    activation: Any
    samples: str


def layer_norm_forward(
    x: Array,
    gain: Array,
    shift: Array,
    activation: Any,
    samples: str = "rows",
    eps: float = EPS,
) -> tuple[Array, LayerNormCache]:
    """Return y and a cache; x is ``(n, k)``, for columns ``(k, n)``, or one sample ``(k,)``."""
    axis = 0 if samples == "columns" else -1
    along = gain.reshape(-1) if x.ndim == 1 else gain
    with np.errstate(all="ignore"):
        centered = x - x.mean(axis, keepdims=True)
        centered -= centered.mean(axis, keepdims=True)  # removes what rounding left of a large mean
        variance = np.mean(centered * centered, axis, keepdims=True)
        scale = 1 / np.sqrt(variance + x.dtype.type(eps))
        h = centered * scale
        z = h * along + (shift.reshape(-1) if x.ndim == 1 else shift)
        y = activation.apply(z, None, axis)
    saved = y if activation.from_output else z
    return y, LayerNormCache(h, scale, gain, saved, activation, samples)


def layer_norm_backward(grad_y: Array, cache: LayerNormCache) -> LayerNormGrads:
    """Return the gradients of x, gain and shift."""
    h, scale, gain, saved, activation, samples = cache
    axis = 0 if samples == "columns" else -1
    with np.errstate(all="ignore"):
        g = activation.pull_back(grad_y, saved, axis)
        of_gain, of_shift = (as_rows(a, samples).sum(0).reshape(gain.shape) for a in (g * h, g))
        grad_h = g * (gain.reshape(-1) if g.ndim == 1 else gain)
        along_ones = grad_h.mean(axis, keepdims=True)
        along_h = np.mean(grad_h * h, axis, keepdims=True)
        return LayerNormGrads((grad_h - along_ones - h * along_h) * scale, of_gain, of_shift)
