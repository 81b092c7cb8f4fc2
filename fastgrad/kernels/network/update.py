"""Optimizer kernels: one step over the flat parameter vector, in one pass.

``update_NAME(params, grad, count, table)``, all words: `table` is an optimizer's table, whose first
word is the kernel's address; the places of the others are named at the head of each kernel, in the
order in which its class in ``fastgrad/optimizers.py`` declares them. The formulas are PyTorch's;
products and sums are rounded one by one.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.toolchain.compile import assemble, inlined
from fastgrad.kernels.toolchain.pointers import as_pointer, read_word

UPDATE = types.void(*([types.intp] * 4))


def build(dtype_name: str, name: str) -> str:
    """Return the LLVM IR of one optimizer's step for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64

    @inlined
    def decayed(g: Any, decay: Any, p: Any) -> Any:
        """Return g + decay * p; without decay an infinite p (a masked class) changes nothing."""
        return g + decay * p if decay != 0 else g

    @inlined
    def vector(table: Any, place: Any) -> Any:
        """Return a vector whose address the table holds."""
        return as_pointer(read_word(table + 8 * place), dtype)

    def sgd(params: int, grad: int, count: int, table: int) -> None:
        p, g = as_pointer(params, dtype), as_pointer(grad, dtype)
        LR, MOMENTUM, NESTEROV, DECAY, VELOCITY = 1, 2, 3, 4, 5
        settings = as_pointer(table, wide)
        rate, decay = dtype(settings[LR]), dtype(settings[DECAY])
        momentum = dtype(settings[MOMENTUM])
        if momentum == 0:
            for i in range(count):
                p[i] -= rate * decayed(g[i], decay, p[i])
            return
        v = vector(table, VELOCITY)
        nesterov = settings[NESTEROV] != 0
        for i in range(count):
            slope = decayed(g[i], decay, p[i])
            velocity = momentum * v[i] + slope
            v[i] = velocity
            p[i] -= rate * (slope + momentum * velocity if nesterov else velocity)

    def adam(params: int, grad: int, count: int, table: int) -> None:
        LR, BETA1, BETA2, EPS, DECAY, DECOUPLED, POWER1, POWER2 = 1, 2, 3, 4, 5, 6, 7, 8
        MEAN, SQUARE = 9, 10
        p, g = as_pointer(params, dtype), as_pointer(grad, dtype)
        settings = as_pointer(table, wide)
        m, v = vector(table, MEAN), vector(table, SQUARE)
        beta1, beta2 = settings[BETA1], settings[BETA2]
        settings[POWER1] *= beta1
        settings[POWER2] *= beta2
        step = dtype(settings[LR] / (1.0 - settings[POWER1]))
        correction = dtype(math.sqrt(1.0 - settings[POWER2]))
        decoupled = settings[DECOUPLED] != 0
        decay = dtype(0.0 if decoupled else settings[DECAY])
        kept = dtype(1.0 - settings[LR] * settings[DECAY] if decoupled else 1.0)
        b1, b2, c1, c2 = dtype(beta1), dtype(beta2), dtype(1.0 - beta1), dtype(1.0 - beta2)
        eps = dtype(settings[EPS])
        for i in range(count):
            slope = decayed(g[i], decay, p[i])
            first = b1 * m[i] + c1 * slope
            second = b2 * v[i] + c2 * (slope * slope)
            m[i], v[i] = first, second
            p[i] = p[i] * kept - step * (first / (math.sqrt(second) / correction + eps))

    kernels = {"sgd": sgd, "adam": adam}
    return assemble(dtype_name, {f"update_{name}": (UPDATE, kernels[name])})
