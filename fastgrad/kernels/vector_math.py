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
from fastgrad.kernels.intrinsics import bits, copysign, fabs, fma, from_bits, polynomial, select, shift_right

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
    magic_half = real(1.5 * 2.0**mantissa + bias - 1)
    magic_two = real(1.5 * 2.0**mantissa + 2 * bias)
    exp_low, exp_high = (real(-120), real(89)) if single else (real(-800), real(710))
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
        first = shift_right(pattern, 1)
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
        """Return s = 2**n / 2 and y = expm1(r), with the rounding error of r put right in y."""
        shifted = fma(x, log2_e, magic_half)
        n = shifted - magic_half
        high = fma(n, minus_log2, x)
        r = fma(n, minus_log2_low, high)
        low = fma(n, minus_log2_low, high - r)
        y = r + fma(r * r, exp_tail(r), low)
        return from_bits(bits(shifted) << mantissa, x), y

    expm1_low = real(-20 if single else -40)
    tiny = real(2.0 ** -(mantissa + 6))

    @inlined
    def expm1(x):
        # Twice y * s + (s - 1/2), since 2**n itself may overflow.
        a = select(x < expm1_low, expm1_low, x)
        s, y = expm1_parts(select(a > exp_high, exp_high, a))
        return select(fabs(x) < tiny, x, two * fma(s, y, s - half))

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

    @inlined
    def tanh(x):
        # With h = (1 - exp(-2|x|)) / 2, T = h / (1 - h) = h + h * T. The last form halves what
        # the quotient's errors do, and h itself enters it as two words, 1/2 - s and s * y
        # (the quotient alone: 3.3 ulp; h as one word: 2.13).
        a = real(-2) * fabs(x)
        s, y = expm1_parts(select(a < expm1_low, expm1_low, a))
        c = half - s
        h = fma(-s, y, c)
        q = h / fma(s, y, half + s)
        return copysign(c + fma(h, q, -s * y), x)

    # -- logarithms -----------------------------------------------------------------------
    log_tail = polynomial(table.log)

    @inlined
    def log1p_unit(e):
        """Return log1p(e) for 0 <= e <= 1: 2 atanh(w / 2) for w = e / (1 + e / 2)."""
        h = half * e
        w = fma(-e, h / (one + h), e)
        z = w * w
        return fma(w * z, log_tail(z), w)

    # x = 2**k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)): subtracting the bits of sqrt(1/2)
    # leaves k in the exponent field, and 2**mantissa + (k + bias) is read off as a float.
    integer = np.int32 if single else np.int64
    bits_of_root = integer(real(0.7071067811865476).view(integer))
    bits_of_one = integer(one.view(integer))
    mantissa_mask = integer((1 << mantissa) - 1)
    implicit = real(2.0**mantissa)
    bits_of_implicit = integer(implicit.view(integer))
    smallest_normal = np.finfo(dtype).smallest_normal
    infinity, not_a_number = real(np.inf), real(np.nan)
    log2, log2_low = -minus_log2, -minus_log2_low

    @inlined
    def log(x):
        subnormal = x < smallest_normal
        pattern = integer(bits(select(subnormal, x * implicit, x)) + (bits_of_one - bits_of_root))
        k = from_bits(shift_right(pattern, mantissa) + bits_of_implicit, x) - implicit
        k = k - select(subnormal, real(bias + mantissa), real(bias))
        f = from_bits((pattern & mantissa_mask) + bits_of_root, x) - one
        # log(1 + f) = f - (f**2 / 2 - s * (f**2 / 2 + R)): fdlibm's form, f being exact.
        h = half * f * f
        w = f / fma(half, f, one)
        z = w * w
        correction = h - half * w * fma(two * z, log_tail(z), h)
        value = fma(k, log2, f - (correction - k * log2_low))
        value = select(x < infinity, value, x)  # inf and NaN
        value = select(x == zero, -infinity, value)
        return select(x < zero, not_a_number, value)

    # -- softplus, silu ---------------------------------------------------------------------
    @inlined
    def softplus(x):
        return select(x > zero, x, zero) + log1p_unit(exp(-fabs(x)))

    @inlined
    def gated(x, a, low):
        """Return x * sigmoid(y) for y = -(a + low) with the sign of x, x and a clamped below.

        For x < 0 the last factor of exp(a) is applied last: a subnormal result rounds once.
        """
        p, s, t = exp_parts(a, low)
        q = p * s * t
        q = q / (one + q)
        negative = x < zero
        value = select(negative, x * (p * s), x) * (one - q)
        return value * select(negative, t, one)

    @inlined
    def silu(x):
        a = select(x < exp_low, exp_low, x)
        return gated(a, select(a > -exp_low, exp_low, -fabs(a)), none)

    @inlined
    def silu_derivative(x):
        return gated_derivative(x, one)

    # -- Gauss ----------------------------------------------------------------------------
    # Phi(-a) = exp(-a**2 / 2) * G(a): a**2 in two words, G a polynomial in the bounded variable
    # (K - a) / (K + a) over K + a, as Schonfelder (Math. Comp. 32, 1978) does for erfc.
    normal_high = real(15 if single else 39)
    shift, twice_shift = real(table.normal_shift), real(2 * table.normal_shift)
    normal_polynomial = polynomial(table.normal)

    @inlined
    def normal_parts(a):
        """Return p, t, g for 0 <= a <= normal_high: exp(-a**2 / 2) = p * t, g = G(a)."""
        h = a * a
        low = fma(a, a, -h)
        p, s, t = exp_parts(-half * h, -half * low)
        u = one / (a + shift)
        return p * s, t, u * normal_polynomial(fma(twice_shift, u, -one))

    @inlined
    def normal_cdf(z):
        a = fabs(z)
        p, t, g = normal_parts(select(a > normal_high, normal_high, a))
        tail = p * g
        return select(z < zero, tail * t, fma(-tail, t, one))

    @inlined
    def gelu(z):
        a = fabs(z)
        a = select(a > normal_high, normal_high, a)
        p, t, g = normal_parts(a)
        tail = p * g
        return select(z < zero, -a * tail * t, z * fma(-tail, t, one))

    root_of_half_pi = real(0.3989422804014327)

    @inlined
    def gelu_derivative(z):
        a = fabs(z)
        a = select(a > normal_high, normal_high, a)
        p, t, g = normal_parts(a)
        d = p * fma(a, root_of_half_pi, -g)
        return select(z < zero, -d * t, fma(d, t, one))

    return SimpleNamespace(
        fma=fma,
        abs=fabs,
        copysign=copysign,
        exp=exp,
        exp_sum=exp_sum,
        expm1=expm1,
        log=log,
        log1p_unit=log1p_unit,
        sigmoid=sigmoid,
        tanh=tanh,
        softplus=softplus,
        silu=silu,
        normal_cdf=normal_cdf,
        gelu=gelu,
        gelu_derivative=gelu_derivative,
    )
