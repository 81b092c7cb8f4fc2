"""Elementary functions as branch-free scalars that LLVM turns into vector code.

Plain arithmetic and explicit fma only: no table, no branch, no fastmath, so an element's bits
depend neither on the vector width nor on its neighbours. Accuracy and special values of each
function are in the table at the top of ``tests/test_vector_math.py``.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from numba import njit

from fastgrad.kernels import coefficients
from fastgrad.kernels.intrinsics import bits, copysign, fabs, fma, from_bits, polynomial, select

# Inlined by LLVM even where it would not think it worth while; called from kernels only.
inlined = njit(
    error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@lru_cache(maxsize=2)
def build(dtype: np.dtype) -> SimpleNamespace:
    """Return the scalar functions of one dtype; compiled code inlines them."""
    dtype = np.dtype(dtype)
    single = dtype == np.float32
    real = dtype.type
    table = coefficients.FLOAT32 if single else coefficients.FLOAT64
    mantissa, bias = (23, 127) if single else (52, 1023)
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    none = real(-0.0)  # adding it changes nothing, so LLVM leaves it out (0.0 turns -0.0 into 0.0)

    # -- exp --------------------------------------------------------------------------
    # exp(x) = 2**n * exp(r), n = rint(x / log(2)), r = x - n * log(2): Cody & Waite's
    # reduction with two words of log(2); the fma makes the first step exact.
    log2_e = real(1.4426950408889634)
    minus_log2 = real(-0.6931471824645996 if single else -0.6931471805599453)
    minus_log2_low = real(1.9046542121259336e-09 if single else -2.3190468138462996e-17)
    # Adding 1.5 * 2**mantissa leaves the rounded integer in the low bits, from where the
    # exponent of a power of two is one shift away. The same addend biases it for the shift.
    magic_one = real(1.5 * 2.0**mantissa + bias)
    magic_two = real(1.5 * 2.0**mantissa + 2 * bias)
    exp_low, exp_high = (real(-112), real(90)) if single else (real(-760), real(711))
    exp_tail = polynomial(table.exp)

    @inlined
    def exp_parts(x, low):
        """Return p, s, t with exp(x + low) = p * s * t; s and t are powers of two.

        p * s is a normal number for exp_low <= x <= exp_high, so the product with t rounds
        once, and only where the result is subnormal.
        """
        shifted = fma(x, log2_e, magic_two)
        n = shifted - magic_two
        r = fma(n, minus_log2_low, fma(n, minus_log2, x)) + low
        p = fma(r, fma(r, exp_tail(r), one), one)
        pattern = bits(shifted)
        first = pattern >> 1
        s = from_bits(first << mantissa, x)
        t = from_bits((pattern - first) << mantissa, x)
        return p, s, t

    @inlined
    def exp_sum(x, low):
        """Return exp(x + low), where low is a correction to x, below one ulp of it."""
        x = select(x < exp_low, exp_low, x)  # a NaN stays
        p, s, t = exp_parts(select(x > exp_high, exp_high, x), low)
        return p * s * t

    @inlined
    def exp(x):
        return exp_sum(x, none)

    @inlined
    def expm1_parts(x):
        """Return s = 2**n and y = expm1(r), with the rounding error of r put right in y."""
        shifted = fma(x, log2_e, magic_one)
        n = shifted - magic_one
        high = fma(n, minus_log2, x)
        r = fma(n, minus_log2_low, high)
        low = fma(n, minus_log2_low, high - r)
        y = r + fma(r * r, exp_tail(r), low)
        return from_bits(bits(shifted) << mantissa, x), y

    # -- sigmoid and tanh ---------------------------------------------------------------
    @inlined
    def sigmoid(x):
        # With e = exp(-|x|), q = e / (1 + e): 1 - q, or e - e * q, which unlike q itself
        # does not feel the rounding of 1 + e where e is small (q alone: 2.2 ulp).
        a = -fabs(x)
        p, s, t = exp_parts(select(a < exp_low, exp_low, a), none)
        e = p * s * t
        q = e / (one + e)
        v = select(x < zero, e, one)
        return fma(-v, q, v)

    tanh_low = real(-20 if single else -40)

    @inlined
    def tanh(x):
        # With v = 1 - exp(-2|x|), T = v / (2 - v), or h + h * T with h = v / 2, which feels
        # the errors of the quotient half as much (the quotient alone: 3.3 ulp).
        a = real(-2) * fabs(x)
        s, y = expm1_parts(select(a < tanh_low, tanh_low, a))
        v = fma(-s, y, one - s)
        h = half * v
        return copysign(fma(h, v / fma(s, y, one + s), h), x)

    return SimpleNamespace(
        fma=fma,
        abs=fabs,
        copysign=copysign,
        exp=exp,
        exp_sum=exp_sum,
        sigmoid=sigmoid,
        tanh=tanh,
    )
