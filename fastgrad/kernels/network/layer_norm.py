"""The stages of layer normalization: ``activation(gain * h + shift)`` of normalized samples h.

A sample's kernels are those of `elementwise.layer_norm`. With g the gradient of what the activation
is applied to:

    grad_gain = sum over samples of g * h          grad_shift = sum over samples of g

Sums over samples are those of a bias, so the bits depend only on k and the block.

The layer follows a dense layer, so its x is contiguous and is never the network's x.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.elementwise.layer_norm import STATE, sample_kernels
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.layer import LAYER_BACKWARD
from fastgrad.kernels.network.stage import STAGE, turns
from fastgrad.kernels.toolchain.compile import assemble, external
from fastgrad.kernels.toolchain.pointers import call_address, greatest, least, word

EPS = 1e-5
# Bytes of outputs that are computed before the activation passes over their rows.
FORWARD_BLOCK_BYTES = 64 * 1024


def build(dtype_name: str) -> str:
    """Return the LLVM IR of both stages for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    add_in_turn = turns(dtype_name)
    normalize, back = sample_kernels(dtype_name)

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
                normalize(
                    x + place, target + place, k, gain, gain + k * size, state + i * STATE * size,
                    EPS,
                )  # fmt: skip
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
        wanted = word(run, now.SUMS) != 0
        if wanted:
            layer_backward(
                m, 0, k, g, k, 0, 0, 0, 0, 0, 0, sums + k * size, adds, one, a_space, b_space
            )  # fmt: skip
        for i in range(m):
            place = i * k * size
            back(
                g + place, x + place, grad_x + place, b_space, g + place, k, gain,
                state + i * STATE * size,
            )  # fmt: skip
        if wanted:
            layer_backward(m, 0, k, g, k, 0, 0, 0, 0, 0, 0, sums, adds, one, a_space, b_space)
        if in_turn:
            add_in_turn(run, word(row, at.FIRST_PIECE), whole, sums, 2 * k)

    functions = {"forward": forward, "backward": backward}
    return assemble(
        dtype_name,
        {f"stage_{name}_layer_norm": (STAGE, made) for name, made in functions.items()},
        1,
    )
