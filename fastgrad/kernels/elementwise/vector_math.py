"""Elementary functions as branch-free scalars that LLVM turns into vector code.

Plain arithmetic and explicit fma only: no table, no branch, no fastmath, so an element's bits
depend neither on the vector width nor on its neighbours. Accuracy and special values of each
function are in the table at the top of ``tests/test_vector_math.py``.

Two multiplication pipes limit these loops (an fma or a product takes one slot, a division five to
nine). So there are few divisions, and f(x) is written as a step of x plus or minus a function of
|x|, which needs no second case. The chain from an exponential's reduction to the last division
also limits them: it takes some 80 cycles, and a processor keeps only four such chains in flight.
So `Staged` functions are two loops, each with half of the chain (sigmoid float32 0.75 to 0.49 ns
an element, float64 2.15 to 1.62).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastgrad.kernels.elementwise import coefficients
from fastgrad.kernels.toolchain.compile import inlined
from fastgrad.kernels.toolchain.intrinsics import (
    bits,
    copysign,
    fabs,
    fma,
    from_bits,
    polynomial,
    select,
    shift_right,
)


@dataclass(frozen=True)
class Staged:
    """A function in two steps: ``finish(x, part)``, or ``finish(x, *parts)`` with two parts."""

    parts: Callable[..., Any]
    finish: Callable[..., Any]
    count: int = 1

    def whole(self) -> Any:
        """Return it in one step."""
        parts, finish = self.parts, self.finish
        if self.count == 1:
            return inlined(lambda x: finish(x, parts(x)))

        @inlined
        def both(x):
            first, second = parts(x)
            return finish(x, first, second)

        return both


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
    # exp(x) = 2**n * exp(r), n = rint(x / log(2)), r = x - n * log(2): Cody & Waite's reduction
    # with two words of log(2); the fma makes the first step exact. Adding 1.5 * 2**mantissa +
    # offset leaves the integer n + offset in the low bits of the sum; one shift makes it a power of
    # two.
    log2_e = real(1.4426950408889634)
    log2, log2_low = real(table.log2[0]), real(table.log2[1])
    exp_tail = polynomial(table.exp)
    exp_low, exp_high = (real(-120), real(89)) if single else (real(-800), real(710))

    @inlined
    def reduce_to(x, low, magic):
        """Return r with x + low = n * log(2) + r, and n + offset in the low bits of a float."""
        shifted = fma(x, log2_e, magic)
        n = shifted - magic
        return fma(n, -log2_low, fma(n, -log2, x)) + low, shifted

    @inlined
    def reduce(x, low, magic):
        """Return r, c with exp(r) = 1 + r * c, and the word n + offset."""
        r, shifted = reduce_to(x, low, magic)
        return r, fma(r, exp_tail(r), one), bits(shifted)

    # 2**n as two factors: the product with the first is normal, so the product with the second
    # rounds once, and only if the result is subnormal.
    magic_two = real(1.5 * 2.0**mantissa + 2 * bias)

    @inlined
    def exp_parts(x):
        x = select(x < exp_low, exp_low, x)  # a NaN stays
        return reduce_to(select(x > exp_high, exp_high, x), none, magic_two)

    @inlined
    def exp_of(x, r, shifted):
        word = bits(shifted)
        first = shift_right(word, 1)
        p = fma(r, fma(r, exp_tail(r), one), one) * from_bits(first << mantissa, x)
        return p * from_bits((word - first) << mantissa, x)

    # For x <= 0 the second half may be a constant, `last`; what comes before it is not subnormal.
    exp_scale = real(2.0 ** (64 if single else 512))
    last = one / exp_scale
    magic_last = real(1.5 * 2.0**mantissa + bias + (64 if single else 512))

    @inlined
    def exp_scaled(x, low):
        """Return exp(x + low) * exp_scale, for exp_low <= x <= 0."""
        r, c, word = reduce(x, low, magic_last)
        return fma(r, c, one) * from_bits(word << mantissa, x)

    @inlined
    def exp_sum_parts(x, low):
        """Begin exp(x + low) * exp_scale for x <= 0, low being at most half an ulp of x.

        If the result vanishes, low is ignored: for a huge x it may be huge itself.
        """
        vanishes = x < exp_low
        x, low = select(vanishes, exp_low, x), select(vanishes, zero, low)
        return reduce_to(x, low, magic_last)

    @inlined
    def exp_sum_of(r, shifted):
        power = from_bits(bits(shifted) << mantissa, r)
        return fma(r, fma(r, exp_tail(r), one), one) * power

    @inlined
    def exp_sum(x, low):
        """Return exp(x + low) for x <= 0, low being at most half an ulp of x."""
        r, shifted = exp_sum_parts(x, low)
        return exp_sum_of(r, shifted) * last

    @inlined
    def exp_minus_abs(x):
        a = -fabs(x)
        return exp_scaled(select(a < exp_low, exp_low, a), none) * last

    # -- expm1 and tanh -----------------------------------------------------------------
    magic_half = real(1.5 * 2.0**mantissa + bias - 1)
    expm1_low = real(-20 if single else -40)
    tiny = real(2.0 ** -(mantissa + 6))

    @inlined
    def expm1_parts(x):
        """Return s = 2**n / 2 and y = expm1(r), with the rounding error of r corrected in y."""
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
    def tanh_parts(x):
        a = -fabs(x)
        a = a + a
        return expm1_parts(select(a < expm1_low, expm1_low, a))

    @inlined
    def tanh_of(x, s, y):
        # With h = (1 - exp(-2|x|)) / 2, T = h / (1 - h) = h + h * T. The last form halves the
        # effect of the quotient's errors, and uses h as two words, 1/2 - s and s * y (the quotient
        # alone: 3.3 ulp; h as one word: 2.13).
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
    def softplus_of(x, e):
        return select(x < zero, zero, x) + log1p_unit(e)

    # -- sigmoid, and x * sigmoid(y) ----------------------------------------------------
    @inlined
    def sigmoid_of(x, e):
        # With e = exp(-|x|), q = e / (1 + e): 1 - q, or e - e * q. Where e is small, the rounding
        # of 1 + e affects q itself, but not e - e * q (q alone: 2.2 ulp).
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
    def gated(x, a, e):
        """Return x * sigmoid(+-y), of x's sign, as max(x, 0) - a * sigmoid(-y).

        a is |x| up to where the second term vanishes, e * last is exp(-y), y >= 0. That factor
        comes last, so a subnormal result rounds once.
        """
        return fma(-a * e / fma(e, last, one), last, select(x < zero, none, x))

    @inlined
    def gated_derivative(x, a, slope, e):
        """Return the derivative of `gated`, where slope = dy/da."""
        q = e / fma(e, last, one)
        return fold(x, q * fma(-a * slope, fma(-q, last, one), one))

    silu_high = -exp_low

    @inlined
    def silu_parts(x):
        return exp_scaled(-at_most(fabs(x), silu_high), none)

    @inlined
    def silu_of(x, e):
        return gated(x, at_most(fabs(x), silu_high), e)

    @inlined
    def silu_derivative_of(x, e):
        return gated_derivative(x, at_most(fabs(x), silu_high), one, e)

    # mish(z) = z * tanh(log(1 + exp(z))). With e = exp(-|z|) the tanh is e * p / d for z < 0 and
    # 1 - e * p / d for z >= 0, which has no cancellation and nothing that overflows.
    @inlined
    def mish_terms(x, e):
        """Return p and d for e = exp(-|x|)."""
        negative = x < zero
        p = select(negative, e + two, e + e)
        return p, select(negative, fma(e, p, two), fma(e, p, fma(two, e, one)))

    @inlined
    def mish_of(x, e):
        # max(x, 0) - |x| * e * p / d, for x < 0 with p / d = 1 - e * (1 + e) / d: where e is
        # small, the quotient's roundings hardly count (p / d itself: 3.9 ulp).
        a = at_most(fabs(x), silu_high)
        small = e * last
        p, d = mish_terms(x, small)
        q = select(x < zero, one + small, p) / d
        q = select(x < zero, fma(-small, q, one), q)
        return fma(-a * e * q, last, select(x < zero, none, x))

    @inlined
    def mish_derivative_of(x, e):
        a = at_most(fabs(x), silu_high)
        small = e * last
        p, d = mish_terms(x, small)
        slope = select(x < zero, two + two, two * p) * a * (one + small)
        r = one / d
        return fold(x, e * r * fma(-slope, r, p))

    # gelu_tanh(z) = z * sigmoid(y), y = z * (c + d * z**2): where the result is small, its relative
    # error is the absolute error of y. As y grows to 745, it has two words.
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
    def gelu_tanh_parts(z):
        y, low, k = gelu_tanh_argument(at_most(fabs(z), gelu_tanh_high))
        return exp_scaled(-y, -low), k

    @inlined
    def gelu_tanh_of(z, e, k):
        return gated(z, at_most(fabs(z), gelu_tanh_high), e)

    @inlined
    def gelu_tanh_derivative_of(z, e, k):
        a = at_most(fabs(z), gelu_tanh_high)
        return gated_derivative(z, a, fma(two * cubic, a * a, k), e)

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
    def normal_parts(z):
        """Return y and s: exp(-a**2 / 2) = (1 + y) * s * last, a = |z| up to normal_high."""
        a = at_most(fabs(z), normal_high)
        b = -half * a
        h = a * b
        r, c, word = reduce(h, fma(a, b, -h), magic_last)
        return r * c, from_bits(word << mantissa, a)

    @inlined
    def normal_factor(a, half_factor):
        """Return m: factor * Phi(-a) = (m + m * y) * s * last with the parts y and s.

        m + m * y has one rounding fewer than m * (1 + y).
        """
        v = fma(a, one / (a + shift), -centre)
        q = half_factor / (one + a)
        return fma(q * v, normal_tail(v), q)

    @inlined
    def normal_cdf_of(z, y, s):
        m = normal_factor(at_most(fabs(z), normal_high), half)
        return fold(z, fma(m, y, m) * s)

    @inlined
    def gelu_of(z, y, s):
        # max(z, 0) - a * Phi(-a)
        a = at_most(fabs(z), normal_high)
        m = normal_factor(a, half * a)
        return fma(-fma(m, y, m) * s, last, select(z < zero, none, z))

    @inlined
    def gelu_derivative_of(z, y, s):
        a = at_most(fabs(z), normal_high)
        m = fma(a, -root, normal_factor(a, half))
        return fold(z, fma(m, y, m) * s)

    staged = SimpleNamespace(
        exp=Staged(exp_parts, exp_of, 2),
        tanh=Staged(tanh_parts, tanh_of, 2),
        softplus=Staged(exp_minus_abs, softplus_of),
        sigmoid=Staged(exp_minus_abs, sigmoid_of),
        silu=Staged(silu_parts, silu_of),
        silu_derivative=Staged(silu_parts, silu_derivative_of),
        mish=Staged(silu_parts, mish_of),
        mish_derivative=Staged(silu_parts, mish_derivative_of),
        gelu_tanh=Staged(gelu_tanh_parts, gelu_tanh_of, 2),
        gelu_tanh_derivative=Staged(gelu_tanh_parts, gelu_tanh_derivative_of, 2),
        normal_cdf=Staged(normal_parts, normal_cdf_of, 2),
        gelu=Staged(normal_parts, gelu_of, 2),
        gelu_derivative=Staged(normal_parts, gelu_derivative_of, 2),
    )
    return SimpleNamespace(
        fma=fma,
        abs=fabs,
        copysign=copysign,
        exp_sum=exp_sum,
        exp_sum_parts=exp_sum_parts,
        exp_sum_of=exp_sum_of,
        exp_scale=exp_scale,
        expm1=expm1,
        log=log,
        log1p_unit=log1p_unit,
        staged=staged,
        **{name: function.whole() for name, function in vars(staged).items()},
    )
