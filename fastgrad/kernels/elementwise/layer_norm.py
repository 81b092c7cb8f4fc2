"""Layer normalization of one sample, forward and backward: ``y = gain * h + shift``.

``h = (x - mean) / sqrt(variance + eps)``, where mean and variance are those of the sample's k
numbers (Ba, Kiros and Hinton, arXiv:1607.06450); `gain` and `shift` are vectors of k. With g the
gradient of y, and means over k:

    grad_x = (g * gain - mean(g * gain) - h * mean(g * gain * h)) / sqrt(variance + eps)

The mean is kept as two numbers, the rounded mean and its rounding error: for numbers near 10,000
that vary by 1, differences from the float32 mean alone would be wrong in the fourth digit. The
variance is that of the differences from the rounded mean, minus the square of their own mean (Chan,
Golub and LeVeque, The American Statistician, 1983). Sums have the order of `reductions`, so the
bits depend only on k.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.elementwise.reductions import row_dot, row_sum
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import as_pointer

MEAN, REST, SCALE, STATE = range(4)  # what is kept of a sample; SCALE: 1 / sqrt(variance + eps)


def sample_kernels(dtype_name: str) -> tuple[Any, Any]:
    """Return the kernels ``normalize`` and ``back``, for callers in other units."""
    dtype = getattr(types, dtype_name)

    @kernel
    def normalize(
        x_at: int, out_at: int, k: int, gain_at: int, shift_at: int, state_at: int, eps: float
    ) -> None:
        """Normalize one sample."""
        x, out = as_pointer(x_at, dtype), as_pointer(out_at, dtype)
        state, gain = as_pointer(state_at, dtype), as_pointer(gain_at, dtype)
        shift = as_pointer(shift_at, dtype)
        mean = dtype(row_sum(x, k) / k)
        for j in range(k):
            out[j] = x[j] - mean
        left = row_sum(out, k) / k
        variance = row_dot(out, out, k) / k - left * left
        rest, scale = dtype(left), dtype(1.0 / math.sqrt(variance + eps))
        state[MEAN], state[REST], state[SCALE] = mean, rest, scale
        for j in range(k):
            out[j] = (out[j] - rest) * scale * gain[j] + shift[j]

    @kernel
    def back(
        g_at: int, x_at: int, out_at: int, hat_at: int, product_at: int, k: int, gain_at: int,
        state_at: int,
    ) -> None:  # fmt: skip
        """Write grad_x of one sample to `out`, g * h to `product`, maybe over g, and h to `hat`."""
        g, x, out = as_pointer(g_at, dtype), as_pointer(x_at, dtype), as_pointer(out_at, dtype)
        hat, product = as_pointer(hat_at, dtype), as_pointer(product_at, dtype)
        gain, state = as_pointer(gain_at, dtype), as_pointer(state_at, dtype)
        mean, rest, scale = state[MEAN], state[REST], state[SCALE]
        for j in range(k):
            h, slope = (x[j] - mean - rest) * scale, g[j]
            hat[j], out[j], product[j] = h, slope * gain[j], slope * h
        along_ones, along_hat = dtype(row_sum(out, k) / k), dtype(row_dot(out, hat, k) / k)
        for j in range(k):
            out[j] = (out[j] - along_ones - hat[j] * along_hat) * scale

    return normalize, back
