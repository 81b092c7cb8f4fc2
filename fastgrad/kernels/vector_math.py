"""Elementary functions as branch-free scalars that LLVM turns into vector code.

Plain arithmetic and explicit fma only: no table, no branch, no fastmath, so an element's bits
depend neither on the vector width nor on its neighbours. Accuracy and special values of each
function are in the table at the top of ``tests/test_vector_math.py``.

These loops are bound by the two multiplication pipes (an fma or a product takes one slot, a
division five to nine), hence few divisions, and the habit of writing f(x) as a step of x plus
or minus a function of |x|, which needs no second case.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastgrad.kernels import coefficients
from fastgrad.kernels.compile import inlined
from fastgrad.kernels.intrinsics import (
    bits,
    copysign,
    fabs,
    fma,
    from_bits,
    polynomial,
    select,
    shift_right,
)


@lru_cache(maxsize=2)
def build(dtype: Any) -> SimpleNamespace:
    """Return the scalar functions of one dtype; compiled code inlines them."""
    dtype = np.dtype(dtype)
    single = dtype == np.float32
    real: Any
    integer: Any
    real, integer = (np.float32, np.int32) if single else (np.float64, np.int64)
    table = coefficients.FLOAT32 if single else coefficients.FLOAT64
    mantissa, bias = (23, 127) if single else (52, 1023)
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    none = real(-0.0)  # x + none is x for every x, so LLVM drops it; -0.0 + 0.0 is 0.0

    # -- exp --------------------------------------------------------------------------
    # exp(x) = 2**n * exp(r), n = rint(x / log(2)), r = x - n * log(2): Cody & Waite's
    # reduction with two words of log(2); the fma makes the first step exact. Adding
    # 1.5 * 2**mantissa + offset leaves the integer n + offset in the low bits of the sum,
    # whence a power of two is one shift away.
    log2_e = real(1.4426950408889634)
    log2, log2_low = real(table.log2[0]), real(table.log2[1])
    exp_tail = polynomial(table.exp)
    exp_low, exp_high = (real(-120), real(89)) if single else (real(-800), real(710))

    @inlined
    def reduce(x, low, magic):
        """Return r, c with exp(r) = 1 + r * c, and a word with n + offset in its low bits."""
        shifted = fma(x, log2_e, magic)
        n = shifted - magic
        r = fma(n, -log2_low, fma(n, -log2, x)) + low
        return r, fma(r, exp_tail(r), one), bits(shifted)

    # 2**n in two halves: the product with the first is normal, so that with the second
    # rounds once, and only if the result is subnormal.
    magic_two = real(1.5 * 2.0**mantissa + 2 * bias)

    @inlined
    def exp(x):
        x = select(x < exp_low, exp_low, x)  # a NaN stays
        r, c, word = reduce(select(x > exp_high, exp_high, x), none, magic_two)
        first = shift_right(word, 1)
        p = fma(r, c, one) * from_bits(first << mantissa, x)
        return p * from_bits((word - first) << mantissa, x)

    # For x <= 0 the second half may be a constant.
    last = real(2.0 ** (-64 if single else -512))
    magic_last = real(1.5 * 2.0**mantissa + bias + (64 if single else 512))

    @inlined
    def exp_scaled(x, low):
        """Return e, never subnormal, with exp(x + low) = e * last, for exp_low <= x <= 0."""
        r, c, word = reduce(x, low, magic_last)
        return fma(r, c, one) * from_bits(word << mantissa, x)

    @inlined
    def exp_sum(x, low):
        """Return exp(x + low) for x <= 0, low being a correction to x below an ulp of it."""
        return exp_scaled(select(x < exp_low, exp_low, x), low) * last

    # -- expm1 and tanh -----------------------------------------------------------------
    magic_half = real(1.5 * 2.0**mantissa + bias - 1)
    expm1_low = real(-20 if single else -40)
    tiny = real(2.0 ** -(mantissa + 6))

    @inlined
    def expm1_parts(x):
        """Return s = 2**n / 2 and y = expm1(r), with the rounding error of r put right in y."""
        shifted = fma(x, log2_e, magic_half)
        n = shifted - magic_half
        high = fma(n, -log2, x)
        r = fma(n, -log2_low, high)
        low = fma(n, -log2_low, high - r)
        y = r + fma(r * r, exp_tail(r), low)
        return from_bits(bits(shifted) << mantissa, x), y

    @inlined
    def expm1(x):
        # Twice y * s + (s - 1/2), since 2**n itself may overflow.
        a = select(x < expm1_low, expm1_low, x)
        s, y = expm1_parts(select(a > exp_high, exp_high, a))
        return select(fabs(x) < tiny, x, two * fma(s, y, s - half))

    @inlined
    def tanh(x):
        # With h = (1 - exp(-2|x|)) / 2, T = h / (1 - h) = h + h * T. The last form halves what
        # the quotient's errors do, and h itself enters it as two words, 1/2 - s and s * y
        # (the quotient alone: 3.3 ulp; h as one word: 2.13).
        a = -fabs(x)
        a = a + a
        s, y = expm1_parts(select(a < expm1_low, expm1_low, a))
        c = half - s
        h = fma(-s, y, c)
        q = h / fma(s, y, half + s)
        return copysign(c + fma(h, q, -s * y), x)

    # -- logarithms ---------------------------------------------------------------------
    atanh_tail = polynomial(table.atanh)

    @inlined
    def log1p_unit(e):
        """Return log1p(e) = 2 atanh(q), q = e / (2 + e), for 0 <= e <= 1."""
        h = half * e
        q = h / (one + h)
        square = q * q
        w = fma(-e, q, e)  # 2 * q, but for what the rounding of 1 + h does
        return fma(w * square, atanh_tail(square), w)

    # x = 2**k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)): subtracting the bits of sqrt(1/2)
    # leaves k in the exponent field, and 2**mantissa + (k + bias) is read off as a float.
    infinity, not_a_number = real(np.inf), real(np.nan)
    smallest_normal = np.finfo(dtype).smallest_normal
    implicit = real(2.0**mantissa)
    mantissa_mask = integer((1 << mantissa) - 1)
    bits_of_root = real(0.7071067811865476).view(integer)
    bits_of_one, bits_of_implicit = one.view(integer), implicit.view(integer)

    @inlined
    def log(x):
        subnormal = x < smallest_normal
        word = integer(bits(select(subnormal, x * implicit, x)) + (bits_of_one - bits_of_root))
        k = from_bits(shift_right(word, mantissa) + bits_of_implicit, x) - implicit
        k = k - select(subnormal, real(bias + mantissa), real(bias))
        f = from_bits((word & mantissa_mask) + bits_of_root, x) - one
        # log(1 + f) = f - (f**2 / 2 - q * (f**2 / 2 + R)): fdlibm's form, f being exact.
        g = half * f
        h = f * g
        q = g / (one + g)
        square = q * q
        correction = fma(-q, fma(two * square, atanh_tail(square), h), h)
        value = fma(k, log2, f - fma(k, -log2_low, correction))
        value = select(x < infinity, value, x)  # inf and NaN
        value = select(x == zero, -infinity, value)
        return select(x < zero, not_a_number, value)

    @inlined
    def softplus(x):
        return select(x < zero, zero, x) + log1p_unit(exp_sum(-fabs(x), none))

    # -- sigmoid, and x * sigmoid(y) ----------------------------------------------------
    @inlined
    def sigmoid(x):
        # With e = exp(-|x|), q = e / (1 + e): 1 - q, or e - e * q, which unlike q itself
        # does not feel the rounding of 1 + e where e is small (q alone: 2.2 ulp).
        e = exp_sum(-fabs(x), none)
        q = e / (one + e)
        v = select(x < zero, e, one)
        return fma(-v, q, v)

    @inlined
    def at_most(x, bound):
        return select(x > bound, bound, x)

    @inlined
    def fold(z, tail):
        """Return tail * last for z < 0 and 1 - tail * last for z >= 0."""
        return fma(select(z < zero, tail, -tail), last, select(z < zero, zero, one))

    @inlined
    def gated(x, a, y, low):
        """Return x * sigmoid(+-(y + low)), of x's sign, as max(x, 0) - a * sigmoid(-y - low).

        a is |x| up to where the second term vanishes; y >= 0. The last factor of the
        exponential is applied last, so a subnormal result rounds once.
        """
        e = exp_scaled(-y, -low)
        return fma(-a * e / fma(e, last, one), last, select(x < zero, none, x))

    @inlined
    def gated_derivative(x, a, slope, y, low):
        """Return the derivative of `gated`, where slope = dy/da."""
        e = exp_scaled(-y, -low)
        q = e / fma(e, last, one)
        return fold(x, q * fma(-a * slope, fma(-q, last, one), one))

    silu_high = -exp_low

    @inlined
    def silu(x):
        a = at_most(fabs(x), silu_high)
        return gated(x, a, a, none)

    @inlined
    def silu_derivative(x):
        a = at_most(fabs(x), silu_high)
        return gated_derivative(x, a, one, a, none)

    # gelu_tanh(z) = z * sigmoid(y), y = z * (c + d * z**2): where the result is small, its
    # relative error is the absolute error of y, which grows to 745; hence two words.
    gelu_tanh_high = real(11 if single else 22)
    (linear, linear_low), (cubic, cubic_low) = (map(real, words) for words in table.gelu_tanh)

    @inlined
    def gelu_tanh_argument(a):
        """Return y in two words, and y / a."""
        h = a * a
        p = cubic * h
        p_low = fma(cubic, h, -p) + fma(cubic_low, h, cubic * fma(a, a, -h))
        k = linear + p
        v = k - linear  # TwoSum (Knuth, TAOCP 4.2.2)
        k_low = (linear - (k - v)) + (p - v) + (p_low + linear_low)
        y = a * k
        return y, fma(a, k, -y) + a * k_low, k

    @inlined
    def gelu_tanh(z):
        a = at_most(fabs(z), gelu_tanh_high)
        y, low, _ = gelu_tanh_argument(a)
        return gated(z, a, y, low)

    @inlined
    def gelu_tanh_derivative(z):
        a = at_most(fabs(z), gelu_tanh_high)
        y, low, k = gelu_tanh_argument(a)
        return gated_derivative(z, a, fma(two * cubic, a * a, k), y, low)

    # -- the normal distribution ----------------------------------------------------------
    # Phi(-a) = exp(-a**2 / 2) * P(v) / (1 + a): a**2 in two words, P a polynomial in the bounded
    # variable v = a / (a + shift) - centre, after Schonfelder (Math. Comp. 32, 1978). P stays
    # between 0.39 and 0.53, so the errors of v hardly matter, unlike with one denominator for
    # both (6 ulp); and it is 1/2 at v = 0, so q * P is q / 2 and a small term, rounded once.
    normal_high = real(15 if single else 39)
    shift, centre = real(table.normal_shift), real(table.normal_centre)
    normal_tail = polynomial(table.normal)
    root = real(0.3989422804014327)  # 1 / sqrt(2 * pi)

    @inlined
    def normal_parts(a, half_factor):
        """Return m, y, s: factor * Phi(-a) = (m + m * y) * s * last, for 0 <= a <= normal_high.

        m + m * y has one rounding fewer than m * (1 + y).
        """
        b = -half * a
        h = a * b
        r, c, word = reduce(h, fma(a, b, -h), magic_last)
        v = fma(a, one / (a + shift), -centre)
        q = half_factor / (one + a)
        return fma(q * v, normal_tail(v), q), r * c, from_bits(word << mantissa, a)

    @inlined
    def normal_cdf(z):
        a = at_most(fabs(z), normal_high)
        m, y, s = normal_parts(a, half)
        return fold(z, fma(m, y, m) * s)

    @inlined
    def gelu(z):
        # max(z, 0) - a * Phi(-a)
        a = at_most(fabs(z), normal_high)
        m, y, s = normal_parts(a, half * a)
        return fma(-fma(m, y, m) * s, last, select(z < zero, none, z))

    @inlined
    def gelu_derivative(z):
        a = at_most(fabs(z), normal_high)
        m, y, s = normal_parts(a, half)
        m = fma(a, -root, m)
        return fold(z, fma(m, y, m) * s)

    return SimpleNamespace(
        fma=fma,
        abs=fabs,
        copysign=copysign,
        exp=exp,
        exp_sum=exp_sum,
        expm1=expm1,
        tanh=tanh,
        log=log,
        log1p_unit=log1p_unit,
        softplus=softplus,
        sigmoid=sigmoid,
        silu=silu,
        silu_derivative=silu_derivative,
        gelu_tanh=gelu_tanh,
        gelu_tanh_derivative=gelu_tanh_derivative,
        normal_cdf=normal_cdf,
        gelu=gelu,
        gelu_derivative=gelu_derivative,
    )
