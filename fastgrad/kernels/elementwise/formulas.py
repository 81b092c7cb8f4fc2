"""The scalar formulas of every elementwise activation: value and derivatives, side by side.

One row per activation. `derivative` takes the pre-activation z; `from_output`, where the
derivative is a function of the output y, takes y. Constants are typed: a bare Python constant
would promote float32 to float64. softmax is not elementwise: see `softmax`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastgrad.kernels.elementwise import vector_math
from fastgrad.kernels.elementwise.vector_math import Staged
from fastgrad.kernels.toolchain.compile import inlined


@dataclass(frozen=True)
class Formula:
    """Compiled scalar functions of one activation for one dtype, plain or in two stages."""

    value: Callable[[Any], Any] | Staged
    derivative: Callable[[Any], Any] | Staged
    from_output: Callable[[Any], Any] | None = None


@lru_cache(maxsize=2)
def formulas(dtype_name: str) -> dict[str, Formula]:
    """Return the table of formulas for one dtype."""
    import numpy as np

    dtype = np.dtype(dtype_name)
    real = dtype.type
    m = vector_math.build(dtype)
    staged = m.staged
    exp, expm1, fma, fabs, copysign = m.exp, m.expm1, m.fma, m.abs, m.copysign
    zero, one, two, slope = real(0), real(1), real(2), real(0.01)
    huge = real(2.0**60)  # softsign is 1 to the last bit; inf / inf would be NaN

    def scalar(function: Callable[[Any], Any]) -> Any:
        return inlined(function)

    @inlined
    def sigmoid_derivative(z: Any) -> Any:
        """E / (1 + e)**2 with e = exp(-|z|): no cancellation in 1 - y for large z."""
        e = exp(-fabs(z))
        return e / ((one + e) * (one + e))

    @inlined
    def tanh_derivative(z: Any) -> Any:
        """4 e / (1 + e)**2 with e = exp(-2|z|)."""
        e = exp(-two * fabs(z))
        return two * two * e / ((one + e) * (one + e))

    @inlined
    def softsign_derivative(z: Any) -> Any:
        r = one / (one + fabs(z))
        return r * r

    return {
        "identity": Formula(
            scalar(lambda z: z),
            scalar(lambda z: one),
            scalar(lambda y: one),
        ),
        "sigmoid": Formula(staged.sigmoid, sigmoid_derivative, scalar(lambda y: y * (one - y))),
        "tanh": Formula(staged.tanh, tanh_derivative, scalar(lambda y: fma(-y, y, one))),
        "relu": Formula(
            scalar(lambda z: zero if z < zero else z),  # NaN stays NaN
            scalar(lambda z: one if z > zero else (zero if z <= zero else z)),
            scalar(lambda y: one if y > zero else (zero if y <= zero else y)),
        ),
        "gelu": Formula(staged.gelu, staged.gelu_derivative),
        "gelu_tanh": Formula(staged.gelu_tanh, staged.gelu_tanh_derivative),
        "silu": Formula(staged.silu, staged.silu_derivative),
        "elu": Formula(
            scalar(lambda z: z if z >= zero else expm1(z)),
            scalar(lambda z: one if z >= zero else exp(z)),
            scalar(lambda y: one if y >= zero else y + one),
        ),
        "leaky_relu": Formula(
            scalar(lambda z: slope * z if z < zero else z),
            scalar(lambda z: one if z > zero else (slope if z <= zero else z)),
            scalar(lambda y: one if y > zero else (slope if y <= zero else y)),
        ),
        "softplus": Formula(staged.softplus, staged.sigmoid, scalar(lambda y: -expm1(-y))),
        "softsign": Formula(
            scalar(lambda z: copysign(one, z) if fabs(z) > huge else z / (one + fabs(z))),
            softsign_derivative,
            scalar(lambda y: (one - fabs(y)) * (one - fabs(y))),
        ),
        "exp": Formula(staged.exp, staged.exp, scalar(lambda y: y)),
        "mish": Formula(staged.mish, staged.mish_derivative),
    }
