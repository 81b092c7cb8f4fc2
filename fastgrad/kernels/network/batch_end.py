"""What is done to a batch's gradient before the optimizer's step: penalties, then clipping.

Only a job that asks for one of them calls ``end_batch(job)``; the others have no address there.

Penalties: ``value += l1 * sum|w| + l2 / 2 * sum(w**2)`` and ``grad_w += l1 * sign(w) + l2 * w``,
for the weights of dense layers, one pass over weights and gradient. A block of BLOCK weights is
read from memory once: its sums and its gradients follow each other while it is in L1. The sums are
float64, each block's in the order of `reductions`, the blocks of all layers added up in order; the
weights are taken in the order of rows, w (d, k), in both layouts.

Clipping: ``g *= clip / norm`` where the norm of the whole gradient is larger than `clip`. The sums
are those of ``fg.clip_norm([grad_w1, grad_b1, ...])``, in the order of rows in both layouts, too.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.elementwise.loss import divisor
from fastgrad.kernels.elementwise.norm import BLOCK, LARGEST, SMALLEST, scale_of, squares_of
from fastgrad.kernels.elementwise.reductions import row_dot, row_sum_of_sizes
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network.blocks import FIRST, ROW
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.intrinsics import fabs
from fastgrad.kernels.toolchain.pointers import address_of, as_pointer, least, scratch, word

END = types.void(types.intp)  # job


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``end_batch`` for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64
    size = dtype.bitwidth // 8
    squares, scale = squares_of(dtype), scale_of(dtype)

    @kernel
    def add_slopes(w_at: int, g_at: int, count: int, l1: float, l2: float) -> None:
        """Add the penalties' gradient. A factor of 0 leaves infinite weights alone: no 0 * inf."""
        w, g = as_pointer(w_at, dtype), as_pointer(g_at, dtype)
        first, second, zero = dtype(l1), dtype(l2), dtype(0.0)
        if l1 == 0:
            for i in range(count):
                g[i] += second * w[i]
            return
        for i in range(count):
            value = w[i]
            slope = first if value > zero else -first
            slope = slope if value != zero else zero  # the middle of all slopes there
            slope = slope if value == value else value  # NaN stays
            g[i] += slope if l2 == 0 else slope + second * value

    @kernel
    def copy_transposed(w_at: int, d: int, k: int, first: int, count: int, own: Any) -> None:
        """Copy weights stored as (k, d) in the order of (d, k): sums have the bits of rows."""
        w, i, j = as_pointer(w_at, dtype), first // k, first % k
        for step in range(count):
            own[step] = w[j * d + i]
            j += 1
            if j == k:
                i, j = i + 1, 0

    @kernel
    def penalized(job: int, plan: int) -> float:
        """Add the gradient of both penalties to that of all weights; return their value."""
        numbers = as_pointer(plan, wide)
        l1, l2 = numbers[at.L1], numbers[at.L2]
        sizes = squares = 0.0
        columns, own = word(plan, at.COLUMNS), scratch(BLOCK, dtype)
        for i in range(word(plan, at.LAYERS)):
            row = plan + FIRST + i * ROW
            start, count = word(row, at.PARAMETERS) * size, word(row, at.PENALIZED)
            w, g = word(job, at.PARAMS) + start, word(job, at.GRADIENT) + start
            for first in range(0, count, BLOCK):
                some = least(BLOCK, count - first)
                part = as_pointer(w + first * size, dtype)
                if columns:
                    copy_transposed(
                        w, word(row, at.INPUTS), word(row, at.OUTPUTS), first, some, own
                    )
                    part = own
                if l1 != 0:
                    sizes += row_sum_of_sizes(part, some)
                if l2 != 0:
                    squares += row_dot(part, part, some)
                add_slopes(w + first * size, g + first * size, some, l1, l2)
        value = l1 * sizes if l1 != 0 else 0.0
        return value + 0.5 * l2 * squares if l2 != 0 else value

    @kernel
    def scaled_norm(g_at: int, count: int) -> float:
        """Return the norm of numbers whose squares are too large or too small for float64."""
        g, greatest = as_pointer(g_at, dtype), 0.0
        for i in range(count):
            size = fabs(wide(g[i]))
            greatest = size if size > greatest else greatest
        if greatest == 0 or greatest == math.inf:
            return greatest
        total = 0.0
        for i in range(count):
            part = wide(g[i]) / greatest
            total += part * part
        return greatest * math.sqrt(total)

    @kernel
    def squares_of_weights(at_row: int, g: int, columns: int, own: Any) -> float:
        """Return the sum of squares of a layer's grad_w, in the order of rows."""
        d, k, total = word(at_row, at.INPUTS), word(at_row, at.OUTPUTS), 0.0
        count = word(at_row, at.PENALIZED)
        if not columns:
            return squares(g, count)
        for first in range(0, count, BLOCK):
            some = least(BLOCK, count - first)
            copy_transposed(g, d, k, first, some, own)
            total += squares(address_of(own), some)
        return total

    @kernel
    def clip(job: int, plan: int, greatest: float) -> None:
        """Scale the gradient if its norm is larger."""
        g_at, count, total = word(job, at.GRADIENT), word(plan, at.SIZE), 0.0
        columns, own = word(plan, at.COLUMNS), scratch(BLOCK, dtype)
        for i in range(word(plan, at.LAYERS)):
            row = plan + FIRST + i * ROW
            start, end = word(row, at.PARAMETERS), count
            if i < word(plan, at.LAYERS) - 1:
                end = word(row + ROW, at.PARAMETERS)
            total += squares_of_weights(row, g_at + start * size, columns, own)
            start += word(row, at.PENALIZED)
            total += squares(g_at + start * size, end - start)
        norm = math.sqrt(total)
        if total > LARGEST or total < SMALLEST:
            norm = scaled_norm(g_at, count)
        if norm > greatest:
            scale(g_at, count, greatest / norm)

    def end_batch(job: int) -> None:
        """Add the penalties, then clip the gradient of the batch that a job has just ended."""
        plan, totals = word(job, at.PLAN), as_pointer(job, wide)
        if word(plan, at.END_BATCH) != 0:
            # Of an epoch's batches the mean over its samples: each counts as often as it has some.
            count, batch, share = word(job, at.COUNT), word(job, at.BATCH), 1.0
            if count > 0:
                number = word(job, at.STEPS) % ((count + batch - 1) // batch)
                samples = least(batch, count - number * batch)
                last = plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW
                k, per_sample = word(last, at.OUTPUTS), word(plan, at.PER_SAMPLE)
                by = as_pointer(plan, wide)[at.DIVISOR]
                if by == 0:
                    by = wide(divisor(word(plan, at.REDUCTION), per_sample, count, k))
                share = samples * by / count
            totals[at.ALL_TERMS] += penalized(job, plan) * share
        if totals[at.CLIP] < math.inf:
            clip(job, plan, totals[at.CLIP])

    functions: dict[str, Any] = {"end_batch": (END, end_batch)}
    return assemble(dtype_name, functions)
