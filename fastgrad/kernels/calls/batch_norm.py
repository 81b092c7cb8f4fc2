"""The entry points of batch normalization over contiguous samples: ``y = gain * h + bias``.

``h = (x - mean) / sqrt(variance + eps)``, where mean and variance are those of each column, over
the batch (Ioffe and Szegedy, arXiv:1502.03167). With g the gradient of y:

    grad_bias = sum of g         grad_gain = sum of g * h
    grad_x = gain / sqrt(variance + eps) * (g - grad_bias / n - h * grad_gain / n)

Where mean and variance are given, not those of the batch, ``grad_x = gain / sqrt(...) * g``.

All sums are in float64: blocks of BATCH_BLOCK samples, each in order, added in order. The mean is
kept as two numbers, as in `elementwise.layer_norm`.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    acquire_gil,
    data,
    free,
    increment,
    no_memory,
    not_taken,
    release_gil,
    true,
    workspace,
)
from fastgrad.kernels.calls.words import read_words
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    clear,
    least,
    scratch,
    word,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

# samples, their width; whether the statistics are the batch's; x, gain; what is kept: rows of
# means, their rounding errors, 1 / sqrt(variance + eps); two rows of float64: means and variances,
# backward sums of g and of g * h. Running means and variances may be 0: nothing is updated
SAMPLES, WIDTH, TRAINING, X, GAIN, KEPT, SUMS = range(7)
BIAS, Y, EPS, STAYS, MEANS, VARIANCES, FORWARD = range(7, 14)
GRAD, GRAD_X, BACKWARD = range(7, 10)
SIZE = 8  # bytes of a sum
# From this many elements on, Python's lock is released: about 10 us.
RELEASE_FROM = 1 << 13


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``batch_norm_forward`` and ``batch_norm_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8

    @kernel
    def add_up(count: int, part_at: int, total_at: int) -> None:
        """Add the sums of a block."""
        part, total = as_pointer(part_at, types.float64), as_pointer(total_at, types.float64)
        for j in range(count):
            total[j] = total[j] + part[j]

    @kernel
    def add_values(k: int, x_at: int, sums_at: int) -> None:
        x, sums = as_pointer(x_at, dtype), as_pointer(sums_at, types.float64)
        for j in range(k):
            sums[j] = sums[j] + types.float64(x[j])

    @kernel
    def add_centered(k: int, x_at: int, mean_at: int, sums_at: int) -> None:
        """Add a row's differences from the mean, and behind these their squares."""
        x, mean = as_pointer(x_at, dtype), as_pointer(mean_at, types.float64)
        sums, squares = (
            as_pointer(sums_at, types.float64), as_pointer(sums_at + k * SIZE, types.float64)
        )  # fmt: skip
        for j in range(k):
            left = types.float64(x[j]) - mean[j]
            sums[j], squares[j] = sums[j] + left, squares[j] + left * left

    @kernel
    def statistics(n: int, k: int, x: int, found_at: int, part: int, total: int) -> None:
        """Write means and variances; leave in `total` what rounding left of the means."""
        found, sums = as_pointer(found_at, types.float64), as_pointer(total, types.float64)
        clear(total, k * SIZE)
        for first in range(0, n, BATCH_BLOCK):
            clear(part, k * SIZE)
            for i in range(first, least(n, first + BATCH_BLOCK)):
                add_values(k, x + i * k * size, part)
            add_up(k, part, total)
        for j in range(k):
            found[j] = sums[j] / n
        clear(total, 2 * k * SIZE)
        for first in range(0, n, BATCH_BLOCK):
            clear(part, 2 * k * SIZE)
            for i in range(first, least(n, first + BATCH_BLOCK)):
                add_centered(k, x + i * k * size, found_at, part)
            add_up(2 * k, part, total)
        for j in range(k):
            left = sums[j] / n
            sums[j], found[k + j] = left, sums[k + j] / n - left * left

    @kernel
    def normalize(k: int, x_at: int, y_at: int, gain_at: int, bias_at: int, kept_at: int) -> None:
        x, y, mean = as_pointer(x_at, dtype), as_pointer(y_at, dtype), as_pointer(kept_at, dtype)
        gain, bias = as_pointer(gain_at, dtype), as_pointer(bias_at, dtype)
        rest, scale = (
            as_pointer(kept_at + k * size, dtype), as_pointer(kept_at + 2 * k * size, dtype)
        )  # fmt: skip
        for j in range(k):
            y[j] = (x[j] - mean[j] - rest[j]) * scale[j] * gain[j] + bias[j]

    @kernel
    def follow(k: int, average_at: int, new_at: int, stays: float) -> None:
        """Update running values; each operation rounds, as NumPy's in place do."""
        average, new = as_pointer(average_at, dtype), as_pointer(new_at, types.float64)
        share = dtype(stays)
        for j in range(k):
            left = average[j] * share
            average[j] = dtype(types.float64(left) + new[j] * (1.0 - stays))

    @kernel
    def forward(table: int, part: int, total: int) -> None:
        n, k, x, kept = word(table, SAMPLES), word(table, WIDTH), word(table, X), word(table, KEPT)
        found, left = as_pointer(word(table, SUMS), types.float64), as_pointer(total, types.float64)
        numbers = as_pointer(table, types.float64)
        eps, stays = numbers[EPS], numbers[STAYS]
        if word(table, TRAINING):
            statistics(n, k, x, word(table, SUMS), part, total)
        else:
            clear(total, k * SIZE)
        mean, rest, scale = (
            as_pointer(kept, dtype), as_pointer(kept + k * size, dtype),
            as_pointer(kept + 2 * k * size, dtype),
        )  # fmt: skip
        for j in range(k):
            rounded = dtype(found[j])
            mean[j] = rounded
            rest[j] = dtype(found[j] - types.float64(rounded) + left[j])
            scale[j] = dtype(1.0 / math.sqrt(found[k + j] + eps))
            found[j] = found[j] + left[j]
        if word(table, MEANS) != 0:
            follow(k, word(table, MEANS), word(table, SUMS), stays)
            follow(k, word(table, VARIANCES), word(table, SUMS) + k * SIZE, stays)
        for i in range(n):
            place = i * k * size
            normalize(
                k, x + place, word(table, Y) + place, word(table, GAIN), word(table, BIAS), kept
            )

    @kernel
    def add_products(k: int, x_at: int, g_at: int, kept_at: int, sums_at: int) -> None:
        """Add a row of g, and behind it the row of g * h."""
        x, g, mean = as_pointer(x_at, dtype), as_pointer(g_at, dtype), as_pointer(kept_at, dtype)
        rest, scale = (
            as_pointer(kept_at + k * size, dtype), as_pointer(kept_at + 2 * k * size, dtype)
        )  # fmt: skip
        sums, products = (
            as_pointer(sums_at, types.float64), as_pointer(sums_at + k * SIZE, types.float64)
        )  # fmt: skip
        for j in range(k):
            h, slope = (x[j] - mean[j] - rest[j]) * scale[j], types.float64(g[j])
            sums[j], products[j] = sums[j] + slope, products[j] + slope * types.float64(h)

    @kernel
    def pull_back(
        k: int, x_at: int, g_at: int, out_at: int, gain_at: int, kept_at: int, means_at: int
    ) -> None:
        x, g, mean = as_pointer(x_at, dtype), as_pointer(g_at, dtype), as_pointer(kept_at, dtype)
        rest, scale = (
            as_pointer(kept_at + k * size, dtype), as_pointer(kept_at + 2 * k * size, dtype)
        )  # fmt: skip
        gain, out = as_pointer(gain_at, dtype), as_pointer(out_at, dtype)
        along_ones, along_h = (
            as_pointer(means_at, dtype), as_pointer(means_at + k * size, dtype)
        )  # fmt: skip
        for j in range(k):
            h = (x[j] - mean[j] - rest[j]) * scale[j]
            out[j] = (g[j] - along_ones[j] - h * along_h[j]) * scale[j] * gain[j]

    @kernel
    def backward(table: int, part: int, means: int) -> None:
        n, k, x, kept = word(table, SAMPLES), word(table, WIDTH), word(table, X), word(table, KEPT)
        g, grad_x, total = word(table, GRAD), word(table, GRAD_X), word(table, SUMS)
        clear(total, 2 * k * SIZE)
        for first in range(0, n, BATCH_BLOCK):
            clear(part, 2 * k * SIZE)
            for i in range(first, least(n, first + BATCH_BLOCK)):
                add_products(k, x + i * k * size, g + i * k * size, kept, part)
            add_up(2 * k, part, total)
        if grad_x == 0:
            return
        sums, along = as_pointer(total, types.float64), as_pointer(means, dtype)
        for j in range(2 * k):
            along[j] = dtype(sums[j] / n) if word(table, TRAINING) else dtype(0)
        for i in range(n):
            place = i * k * size
            pull_back(k, x + place, g + place, grad_x + place, word(table, GAIN), kept, means)

    @kernel
    def run(words: int, args: int, count: int, table: int, back: bool) -> int:
        """Return True as a new reference, None if an argument is not in the kernels' form."""
        if count != (BACKWARD if back else FORWARD) or not read_words(words, args, count, table):
            return not_taken(words)
        k = word(table, WIDTH)
        part = workspace(4 * k * SIZE + 64)
        if part == 0:
            return no_memory()
        state = release_gil() if word(table, SAMPLES) * k >= RELEASE_FROM else 0
        if back:
            backward(table, part, part + 2 * k * SIZE)
        else:
            forward(table, part, part + 2 * k * SIZE)
        if state != 0:
            acquire_gil(state)
        free(part)
        increment(true(words))
        return true(words)

    def batch_norm_forward(self: int, args: int, count: int) -> int:
        table = address_of(scratch(FORWARD, types.intp))
        return run(data(self), args, count, table, False)

    def batch_norm_backward(self: int, args: int, count: int) -> int:
        table = address_of(scratch(BACKWARD, types.intp))
        return run(data(self), args, count, table, True)

    functions: dict[str, Any] = {
        "batch_norm_forward": batch_norm_forward,
        "batch_norm_backward": batch_norm_backward,
    }
    return assemble(dtype_name, {name: (ENTRY, made) for name, made in functions.items()}, 1)
