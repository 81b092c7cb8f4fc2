"""Optimizer kernels: one step of all arrays of one dtype, each in one pass.

``update_NAME(table)``: the words of the table are those of `update_table`; the places of the
settings, powers and vectors are named at the head of each kernel, in the order in which its class
in ``fastgrad/optimizers/kinds.py`` declares them. The formulas are PyTorch's; products and sums are
rounded one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.network import update_table as at
from fastgrad.kernels.network.update_table import HEADER, ROW
from fastgrad.kernels.toolchain.compile import assemble, inlined
from fastgrad.kernels.toolchain.intrinsics import fma
from fastgrad.kernels.toolchain.pointers import as_pointer, word

UPDATE = types.void(types.intp)


def build(dtype_name: str, name: str) -> str:
    """Return the LLVM IR of one optimizer's step for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64
    smallest = np.finfo(dtype_name).smallest_normal

    @inlined
    def decayed(g: Any, decay: Any, p: Any) -> Any:
        """Return g + decay * p; without decay an infinite p (a masked class) changes nothing."""
        return g + decay * p if decay != 0 else g

    @inlined
    def vector(row: Any, place: Any) -> Any:
        """Return a vector whose address a row holds."""
        return as_pointer(word(row, place), dtype)

    @inlined
    def faded(mean: Any) -> Any:
        """Return what decays, or 0 where it is subnormal.

        Where slopes are 0 (a relu that is off for all samples) it would get there and stay for
        good: 0.9 times the smallest number is rounded to the smallest number. Arithmetic with
        subnormal numbers takes 25 times as long, and no parameter sees the difference.
        """
        return dtype(0) if abs(mean) < smallest else mean

    @inlined
    def quotient(a: Any, divisor: Any, inverse: Any) -> Any:
        """Return a / divisor, to the bit, without a division: `inverse` is 1 / divisor, rounded.

        Two corrections by the remainder, which an fma gives exactly: after the first the quotient
        is off by less than a unit, and the second rounds it correctly (Markstein, IBM Journal 34,
        1990). An update waits for its divisions and roots; multiplications are almost free.
        """
        q = a * inverse
        q = fma(fma(-divisor, q, a), inverse, q)
        q = fma(fma(-divisor, q, a), inverse, q)
        return q if a < math.inf else a

    @inlined
    def count_step(table: Any) -> Any:
        """Count a step; return the number of earlier ones."""
        steps = as_pointer(table + 8 * at.STEPS, types.intp)
        steps[0] += 1
        return steps[0] - 1

    @inlined
    def rate_of(table: Any, step: Any) -> Any:
        """Return the learning rate of a step: the first setting, or the schedule's."""
        rates, place = word(table, at.RATES), step - word(table, at.FIRST_RATE)
        if rates == 0:
            rates, place = table, at.SETTINGS
        return as_pointer(rates, wide)[place]

    def sgd(table: int) -> None:
        MOMENTUM, NESTEROV, DECAY = 1, 2, 3
        VELOCITY = at.VECTORS
        lr = rate_of(table, count_step(table))
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        rate, momentum, nesterov = (
            dtype(lr), dtype(settings[MOMENTUM]), settings[NESTEROV] != 0
        )  # fmt: skip
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            decay = dtype(settings[DECAY] if word(row, at.DECAYS) != 0 else 0.0)
            if momentum == 0:
                for i in range(count):
                    p[i] -= rate * decayed(g[i], decay, p[i])
                continue
            v = vector(row, VELOCITY)
            for i in range(count):
                slope = decayed(g[i], decay, p[i])
                velocity = faded(momentum * v[i] + slope)
                v[i] = velocity
                p[i] -= rate * (slope + momentum * velocity if nesterov else velocity)

    def adam(table: int) -> None:
        BETA1, BETA2, EPS, DECAY, DECOUPLED, POWER1, POWER2 = 1, 2, 3, 4, 5, 6, 7
        MEAN, SQUARE = at.VECTORS, at.VECTORS + 1
        lr = rate_of(table, count_step(table))
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        beta1, beta2 = settings[BETA1], settings[BETA2]
        settings[POWER1] *= beta1
        settings[POWER2] *= beta2
        step = dtype(lr / (1.0 - settings[POWER1]))
        correction = dtype(math.sqrt(1.0 - settings[POWER2]))
        inverse = dtype(1.0) / correction
        decoupled, eps = settings[DECOUPLED] != 0, dtype(settings[EPS])
        b1, b2, c1, c2 = dtype(beta1), dtype(beta2), dtype(1.0 - beta1), dtype(1.0 - beta2)
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            m, v = vector(row, MEAN), vector(row, SQUARE)
            weight_decay = settings[DECAY] if word(row, at.DECAYS) != 0 else 0.0
            decay = dtype(0.0 if decoupled else weight_decay)
            kept = dtype(1.0 - lr * weight_decay if decoupled else 1.0)
            for i in range(count):
                slope = decayed(g[i], decay, p[i])
                first = faded(b1 * m[i] + c1 * slope)
                second = b2 * v[i] + c2 * (slope * slope)
                m[i], v[i] = first, second
                p[i] = p[i] * kept - step * (
                    first / (quotient(math.sqrt(second), correction, inverse) + eps)
                )

    def rmsprop(table: int) -> None:
        ALPHA, EPS, MOMENTUM, CENTERED, DECAY = 1, 2, 3, 4, 5
        SQUARE, MEAN = at.VECTORS, at.VECTORS + 1
        lr = rate_of(table, count_step(table))
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        rate, momentum, eps = dtype(lr), dtype(settings[MOMENTUM]), dtype(settings[EPS])
        kept, new = dtype(settings[ALPHA]), dtype(1.0 - settings[ALPHA])
        centered = settings[CENTERED] != 0
        VELOCITY = MEAN + 1 if centered else MEAN
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            v, m, u = vector(row, SQUARE), vector(row, MEAN), vector(row, VELOCITY)
            decay = dtype(settings[DECAY] if word(row, at.DECAYS) != 0 else 0.0)
            for i in range(count):
                slope = decayed(g[i], decay, p[i])
                square = kept * v[i] + new * (slope * slope)
                v[i] = square
                if centered:
                    mean = faded(kept * m[i] + new * slope)
                    m[i] = mean
                    square -= mean * mean
                slope /= math.sqrt(square) + eps
                if momentum != 0:
                    slope = faded(momentum * u[i] + slope)
                    u[i] = slope
                p[i] -= rate * slope

    def adagrad(table: int) -> None:
        LR_DECAY, DECAY, EPS = 1, 2, 3
        SUM = at.VECTORS
        steps = count_step(table)
        lr = rate_of(table, steps)
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        rate = dtype(lr / (1.0 + steps * settings[LR_DECAY]))
        eps = dtype(settings[EPS])
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            s = vector(row, SUM)
            decay = dtype(settings[DECAY] if word(row, at.DECAYS) != 0 else 0.0)
            for i in range(count):
                slope = decayed(g[i], decay, p[i])
                total = s[i] + slope * slope
                s[i] = total
                p[i] -= rate * (slope / (math.sqrt(total) + eps))

    def sgd_folded(table: int) -> None:
        """Scikit-learn's: the velocity holds steps, in which the learning rate is a factor."""
        MOMENTUM, NESTEROV = 1, 2
        lr = rate_of(table, count_step(table))
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        rate, momentum, nesterov = (
            dtype(lr), dtype(settings[MOMENTUM]), settings[NESTEROV] != 0
        )  # fmt: skip
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            v = vector(row, at.VECTORS)
            for i in range(count):
                step = rate * g[i]
                velocity = faded(momentum * v[i] - step)
                v[i] = velocity
                p[i] += momentum * velocity - step if nesterov else velocity

    def adam_folded(table: int) -> None:
        """Scikit-learn's and Keras's: eps is added to the root before its correction."""
        BETA1, BETA2, EPS, POWER1, POWER2 = 1, 2, 3, 6, 7
        lr = rate_of(table, count_step(table))
        settings = as_pointer(table + 8 * at.SETTINGS, wide)
        beta1, beta2 = settings[BETA1], settings[BETA2]
        power1, power2 = settings[POWER1] * beta1, settings[POWER2] * beta2
        settings[POWER1], settings[POWER2] = power1, power2
        step, eps = dtype(lr * math.sqrt(1.0 - power2) / (1.0 - power1)), dtype(settings[EPS])
        b1, c1, b2, c2 = dtype(beta1), dtype(1.0 - beta1), dtype(beta2), dtype(1.0 - beta2)
        for r in range(word(table, at.ROWS)):
            row = table + 8 * (HEADER + r * ROW)
            p, g, count = vector(row, at.PARAMS), vector(row, at.GRAD), word(row, at.ELEMENTS)
            m, v = vector(row, at.VECTORS), vector(row, at.VECTORS + 1)
            for i in range(count):
                mean = faded(b1 * m[i] + c1 * g[i])
                square = b2 * v[i] + c2 * (g[i] * g[i])
                m[i], v[i] = mean, square
                p[i] -= step * mean / (math.sqrt(square) + eps)

    kernels = {
        "sgd": sgd, "adam": adam, "rmsprop": rmsprop, "adagrad": adagrad,
        "sgd_folded": sgd_folded, "adam_folded": adam_folded,
    }  # fmt: skip
    functions = {f"update_{name}": (UPDATE, kernels[name])}
    return assemble(dtype_name, functions, parallel=1)
