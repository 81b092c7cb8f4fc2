"""The stages of layer normalization: ``activation(gain * h + shift)`` of normalized samples h.

``h = (x - mean) / sqrt(variance + eps)``, where mean and variance are those of each sample's k
numbers (Ba, Kiros and Hinton, arXiv:1607.06450); `gain` and `shift` are vectors of k. With g the
gradient of what the activation is applied to, and means over k:

    grad_gain = sum over samples of g * h          grad_shift = sum over samples of g
    grad_x = (g * gain - mean(g * gain) - h * mean(g * gain * h)) / sqrt(variance + eps)

The mean is kept as two numbers, the rounded mean and its rounding error: for numbers near 10,000
that vary by 1, differences from the float32 mean alone would be wrong in the fourth digit. The
variance is that of the differences from the rounded mean, minus the square of their own mean (Chan,
Golub and LeVeque, The American Statistician, 1983). Sums over a sample have the order of
`reductions`, sums over samples are those of a bias, so the bits depend only on k and the block.

The layer follows a dense layer, so its x is contiguous and is never the network's x.
"""

from __future__ import annotations

import math

from numba import types

from fastgrad.kernels.elementwise.reductions import row_dot, row_sum
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.layer import LAYER_BACKWARD
from fastgrad.kernels.network.stage import STAGE, turns
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import as_pointer, call_address, greatest, least, word

EPS = 1e-5
MEAN, REST, SCALE, STATE = range(4)  # what is kept of a sample; SCALE: 1 / sqrt(variance + eps)
# Bytes of outputs that are computed before the activation passes over their rows.
FORWARD_BLOCK_BYTES = 64 * 1024


def build(dtype_name: str) -> str:
    """Return the LLVM IR of both stages for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    add_in_turn = turns(dtype_name)

    @kernel
    def normalize(x_at: int, out_at: int, k: int, gain_at: int, state_at: int) -> None:
        """Normalize one sample."""
        x, out = as_pointer(x_at, dtype), as_pointer(out_at, dtype)
        state, gain = as_pointer(state_at, dtype), as_pointer(gain_at, dtype)
        shift = as_pointer(gain_at + k * size, dtype)
        mean = dtype(row_sum(x, k) / k)
        for j in range(k):
            out[j] = x[j] - mean
        left = row_sum(out, k) / k
        variance = row_dot(out, out, k) / k - left * left
        rest, scale = dtype(left), dtype(1.0 / math.sqrt(variance + EPS))
        state[MEAN], state[REST], state[SCALE] = mean, rest, scale
        for j in range(k):
            out[j] = (out[j] - rest) * scale * gain[j] + shift[j]

    @kernel
    def back(
        g_at: int, x_at: int, out_at: int, hat_at: int, k: int, gain_at: int, state_at: int
    ) -> None:
        """Write grad_x of one sample to `out`, and g * h over g; `hat` is a buffer for h."""
        g, x, out = as_pointer(g_at, dtype), as_pointer(x_at, dtype), as_pointer(out_at, dtype)
        hat, gain, state = (
            as_pointer(hat_at, dtype), as_pointer(gain_at, dtype), as_pointer(state_at, dtype)
        )  # fmt: skip
        mean, rest, scale = state[MEAN], state[REST], state[SCALE]
        for j in range(k):
            h, slope = (x[j] - mean - rest) * scale, g[j]
            hat[j], out[j], g[j] = h, slope * gain[j], slope * h
        along_ones, along_hat = dtype(row_sum(out, k) / k), dtype(row_dot(out, hat, k) / k)
        for j in range(k):
            out[j] = (out[j] - along_ones - hat[j] * along_hat) * scale

    def forward(row: int, run: int) -> None:
        m, k, activation = word(run, now.SAMPLES), word(row, at.OUTPUTS), word(run, now.ACTIVATION)
        x, y, z = word(run, now.X), word(run, now.Y), word(run, now.Z)
        gain = word(run, now.PARAMS) + word(row, at.PARAMETERS) * size
        state = word(run, now.SPACE) + word(row, at.STATE)
        target = z if z != 0 else y
        rows = greatest(1, FORWARD_BLOCK_BYTES // (k * size))
        for first in range(0, m, rows):
            last = least(first + rows, m)
            for i in range(first, last):
                place = i * k * size
                normalize(x + place, target + place, k, gain, state + i * STATE * size)
            if activation != 0:
                place = first * k * size
                call_address(activation, (target + place, k, y + place, k, last - first, k))

    def backward(row: int, run: int) -> None:
        plan, m, space = word(run, now.PLAN), word(run, now.SAMPLES), word(run, now.SPACE)
        k, start = word(row, at.OUTPUTS), word(row, at.PARAMETERS) * size
        g, x, grad_x = word(run, now.GRAD), word(run, now.X), word(run, now.GRAD_X)
        gain, state = word(run, now.PARAMS) + start, space + word(row, at.STATE)
        a_space, b_space = space + word(plan, at.A_SPACE), space + word(plan, at.B_SPACE)
        one, in_turn, adds = space + at.ONE, word(run, now.IN_TURN), word(run, now.ADDS)
        whole = word(run, now.SUMS) + start
        sums = space + word(plan, at.PARTIAL) if in_turn else whole
        layer_backward(
            m, 0, k, g, k, 0, 0, 0, 0, 0, 0, sums + k * size, adds, one, a_space, b_space
        )  # fmt: skip
        for i in range(m):
            place = i * k * size
            back(g + place, x + place, grad_x + place, b_space, k, gain, state + i * STATE * size)
        layer_backward(m, 0, k, g, k, 0, 0, 0, 0, 0, 0, sums, adds, one, a_space, b_space)
        if in_turn:
            add_in_turn(run, word(row, at.FIRST_PIECE), whole, sums, 2 * k)

    functions = {"forward": forward, "backward": backward}
    return assemble(
        dtype_name,
        {f"stage_{name}_layer_norm": (STAGE, made) for name, made in functions.items()},
        1,
    )
