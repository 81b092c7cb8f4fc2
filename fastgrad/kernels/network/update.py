"""Optimizer kernels: one step over the flat parameter vector, in one pass.

``update(params, grad, count, table)``, all words: `table` is an optimizer's table, see
`plan_table`. The formulas are PyTorch's; products and sums are rounded one by one.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.network.plan_table import (
    BETA1,
    BETA2,
    DECAY,
    DECOUPLED,
    EPS,
    FIRST,
    MOMENTUM,
    NESTEROV,
    POWER1,
    POWER2,
    RATE,
    SECOND,
)
from fastgrad.kernels.toolchain.compile import assemble, inlined
from fastgrad.kernels.toolchain.pointers import as_pointer, read_word

UPDATE = types.void(*([types.intp] * 4))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the optimizers' steps for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64

    @inlined
    def decayed(g: Any, decay: Any, p: Any) -> Any:
        """Return g + decay * p; without decay an infinite p (a masked class) changes nothing."""
        return g + decay * p if decay != 0 else g

    def update_sgd(params: int, grad: int, count: int, table: int) -> None:
        p, g = as_pointer(params, dtype), as_pointer(grad, dtype)
        settings = as_pointer(table, wide)
        rate, decay = dtype(settings[RATE]), dtype(settings[DECAY])
        momentum = dtype(settings[MOMENTUM])
        if momentum == 0:
            for i in range(count):
                p[i] -= rate * decayed(g[i], decay, p[i])
            return
        v = as_pointer(read_word(table + 8 * FIRST), dtype)
        nesterov = settings[NESTEROV] != 0
        for i in range(count):
            slope = decayed(g[i], decay, p[i])
            velocity = momentum * v[i] + slope
            v[i] = velocity
            p[i] -= rate * (slope + momentum * velocity if nesterov else velocity)

    def update_adam(params: int, grad: int, count: int, table: int) -> None:
        p, g = as_pointer(params, dtype), as_pointer(grad, dtype)
        settings = as_pointer(table, wide)
        m = as_pointer(read_word(table + 8 * FIRST), dtype)
        v = as_pointer(read_word(table + 8 * SECOND), dtype)
        beta1, beta2 = settings[BETA1], settings[BETA2]
        settings[POWER1] *= beta1
        settings[POWER2] *= beta2
        step = dtype(settings[RATE] / (1.0 - settings[POWER1]))
        correction = dtype(math.sqrt(1.0 - settings[POWER2]))
        decoupled = settings[DECOUPLED] != 0
        decay = dtype(0.0 if decoupled else settings[DECAY])
        kept = dtype(1.0 - settings[RATE] * settings[DECAY] if decoupled else 1.0)
        b1, b2, c1, c2 = dtype(beta1), dtype(beta2), dtype(1.0 - beta1), dtype(1.0 - beta2)
        eps = dtype(settings[EPS])
        for i in range(count):
            slope = decayed(g[i], decay, p[i])
            first = b1 * m[i] + c1 * slope
            second = b2 * v[i] + c2 * (slope * slope)
            m[i], v[i] = first, second
            p[i] = p[i] * kept - step * (first / (math.sqrt(second) / correction + eps))

    functions = {"update_sgd": (UPDATE, update_sgd), "update_adam": (UPDATE, update_adam)}
    return assemble(dtype_name, functions)
