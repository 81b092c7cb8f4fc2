"""The formula and the derivative of every elementwise activation, in plain NumPy.

``act(z, out)`` writes into ``out``, or into a new array, and returns it. ``out`` may be ``z``, so
nothing reads ``z`` after ``out`` has been written. A slope is the derivative, in a new array:
``act_slope_from_z`` takes the pre-activation, ``act_slope_from_y`` the output ``y = act(z)``.

softmax is not elementwise: see `activations`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly

from fastgrad.arrays import FLOAT32, FLOAT64, Array

Formula = Callable[[Array, "Array | None"], Array]  # (z, out) -> y; out may be z itself
Slope = Callable[[Array], Array]  # z or y -> a new array


def identity(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z``; the derivative is 1."""
    return np.positive(z, out=out)


def sigmoid(z: Array, out: Array | None = None) -> Array:
    """Return ``y = 1 / (1 + exp(-z))``; the derivative is ``y * (1 - y)``."""
    # As e / (1 + e), which keeps all digits of the small values at negative z. Above z = 40 the
    # result rounds to 1 anyway, so the cap on z only keeps e from overflowing.
    e = np.minimum(z, 40.0)
    np.exp(e, out=e)
    return np.divide(e, e + 1.0, out=out)


def sigmoid_slope_from_z(z: Array) -> Array:
    """Return ``e / (1 + e)**2``, ``e = exp(-|z|)``: the derivative is even, so it may use |z|."""
    e = np.abs(z)
    np.negative(e, out=e)
    np.exp(e, out=e)
    return e / np.square(e + 1.0)


def sigmoid_slope_from_y(y: Array) -> Array:
    """Return ``y * (1 - y)``."""
    slope = 1.0 - y
    slope *= y
    return slope


def tanh(z: Array, out: Array | None = None) -> Array:
    """Return the hyperbolic tangent y; the derivative is ``1 - y**2``."""
    return np.tanh(z, out=out)


def tanh_slope_from_z(z: Array) -> Array:
    """Return ``4 * sigmoid'(2 z)``, as ``tanh(z) = 2 * sigmoid(2 z) - 1``."""
    # Unlike 1 - tanh(z)**2 this does not cancel at large |z|.
    return 4.0 * sigmoid_slope_from_z(2.0 * z)


def tanh_slope_from_y(y: Array) -> Array:
    """Return ``1 - y**2``."""
    slope: Array = y * y
    np.subtract(1.0, slope, out=slope)
    return slope


def relu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = max(z, 0)``; the derivative is 1 for z > 0, else 0 (so 0 at the kink)."""
    return np.maximum(z, 0.0, out=out)


relu_slope_from_y = np.sign  # y is 0, positive or NaN, and sign makes it 0, 1 or NaN


def leaky_relu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``0.01 * z``; the derivative at the kink is 0.01."""
    return np.maximum(z, 0.01 * z, out=out)


def leaky_relu_slope_from_y(y: Array) -> Array:
    """Return 1 for y > 0, else 0.01."""
    sign = np.sign(y)
    return np.maximum(sign, 0.01, out=sign)


def elu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``exp(z) - 1``; the derivative is 1, else ``y + 1``."""
    negative = np.minimum(z, 0.0)
    np.expm1(negative, out=negative)
    return np.add(np.maximum(z, 0.0), negative, out=out)


def elu_slope_from_z(z: Array) -> Array:
    """Return ``exp(min(z, 0))``."""
    slope = np.minimum(z, 0.0)
    return np.exp(slope, out=slope)


def elu_slope_from_y(y: Array) -> Array:
    """Return ``min(y, 0) + 1``."""
    slope = np.minimum(y, 0.0)
    slope += 1.0
    return slope


def leaky_relu_of(slope: float, z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``slope * z``, of any slope."""
    if slope == 0:  # 0 * -inf would be NaN
        return np.maximum(z, 0.0, out=out)
    negative = slope * np.minimum(z, 0.0)
    return np.add(np.maximum(z, 0.0), negative, out=out)  # one of them is 0


def leaky_relu_slope_of(slope: float, z: Array) -> Array:
    """Return 1 for z > 0, else the slope; for y as for z if the slope is positive."""
    positive = np.sign(z)
    np.maximum(positive, 0.0, out=positive)
    return np.asarray(positive + slope * (1.0 - positive))


def elu_of(alpha: float, z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``alpha * (exp(z) - 1)``."""
    negative = np.minimum(z, 0.0)
    np.expm1(negative, out=negative)
    negative *= alpha
    return np.add(np.maximum(z, 0.0), negative, out=out)


def elu_slope_from_z_of(alpha: float, z: Array) -> Array:
    """Return 1 for z > 0, else ``alpha * exp(z)``: also at 0, the kink."""
    positive = np.sign(z)
    np.maximum(positive, 0.0, out=positive)
    return np.asarray(positive + alpha * np.exp(np.minimum(z, 0.0)) * (1.0 - positive))


def elu_slope_from_y_of(alpha: float, y: Array) -> Array:
    """Return 1 for y > 0, else ``y + alpha``: for an alpha of at least 0."""
    positive = np.sign(y)
    np.maximum(positive, 0.0, out=positive)
    return np.asarray(positive + (np.minimum(y, 0.0) + alpha) * (1.0 - positive))


def softplus(z: Array, out: Array | None = None) -> Array:
    """Return ``y = log(1 + exp(z))``; the derivative is ``sigmoid(z) = 1 - exp(-y)``."""
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), and that exp is never above 1.
    tail = np.abs(z)
    np.negative(tail, out=tail)
    np.exp(tail, out=tail)
    np.log1p(tail, out=tail)
    return np.add(np.maximum(z, 0.0), tail, out=out)


def softplus_slope_from_y(y: Array) -> Array:
    """Return ``1 - exp(-y)``."""
    slope = np.negative(y)
    np.expm1(slope, out=slope)
    return np.negative(slope, out=slope)


def softsign(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z / (1 + |z|)``; the derivative is ``1 / (1 + |z|)**2 = (1 - |y|)**2``."""
    largest = np.finfo(z.dtype).max  # inf / inf would be NaN; the limit is 1
    z = np.clip(z, -largest, largest)
    return np.divide(z, 1.0 + np.abs(z), out=out)


def softsign_slope_from_z(z: Array) -> Array:
    """Return ``1 / (1 + |z|)**2``."""
    return np.square(1.0 / (1.0 + np.abs(z)))  # 1 / square(...) would overflow first


def softsign_slope_from_y(y: Array) -> Array:
    """Return ``(1 - |y|)**2``."""
    return np.square(1.0 - np.abs(y))


def exp(z: Array, out: Array | None = None) -> Array:
    """Return y, e to the power of z; the derivative is y."""
    return np.exp(z, out=out)


def silu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * sigmoid(z)`` (also called swish)."""
    # Below -800 the sigmoid is 0; the bound only keeps -inf * 0 from becoming NaN.
    return np.multiply(np.maximum(z, -800.0), sigmoid(z), out=out)


def silu_slope_from_z(z: Array) -> Array:
    """Return ``s * (1 + z * (1 - s))``, s the sigmoid."""
    z = np.clip(z, -800.0, 80.0)  # beyond, the slope is 0 or 1
    s, rest = _sigmoid_and_rest(z)
    return s * (1.0 + z * rest)


def _sigmoid_and_rest(z: Array) -> tuple[Array, Array]:
    """Return ``s = sigmoid(z)`` and ``1 - s``, without a subtraction, which would cancel."""
    e = np.exp(np.minimum(z, 80.0))
    rest = 1.0 / (1.0 + e)
    e *= rest
    return e, rest


def mish(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * tanh(softplus(z))``."""
    # Below -800 the tanh is 0; the bound only keeps -inf * 0 from becoming NaN.
    gate: Array = np.tanh(softplus(z))
    return np.multiply(np.maximum(z, -800.0), gate, out=out)


def mish_slope_from_z(z: Array) -> Array:
    """Return ``t + z * (1 - t**2) * sigmoid(z)``, ``t = tanh(softplus(z))``."""
    z = np.clip(z, -800.0, 80.0)  # beyond, the slope is 0 or 1
    soft = softplus(z)
    slope: Array = np.tanh(soft) + z * sigmoid(z) * tanh_slope_from_z(soft)
    return slope


# gelu(z) = z * Phi(z), where Phi is the normal distribution function. NumPy has no erf, so its
# tail Q(t) = Phi(-t), t >= 0, comes from a series whose every digit counts however small Q is:
#
#     Q(t) = exp(-t**2 / 2) / (1 + t) * sum_i TAIL[i] * T_i(u),     u = (t - 5) / (t + 5)
#
# T_i are Chebyshev polynomials; u maps 0 <= t < inf to -1 <= u < 1. The sum varies only between
# 0.40 and 0.5. TAIL is its Chebyshev interpolation at 48 nodes with mpmath, 40 digits, cut where
# the terms fall below 1e-17. (Idea: Shepherd and Laframboise, Math. Comp. 36 (1981) 249-253.)
# fmt: off
TAIL = [
    0.4619742120721857, -0.065165202394912636, -0.0054587815011365674,
    0.012296199045563439, -0.0064708729157036881, 0.0022407355224168305,
    -0.00056386237746519738, 9.9840310829258118e-05, -9.8495148431684927e-06,
    -4.0324942330452172e-07, 2.99023962013034e-07, -3.0320707484428141e-08,
    -4.6176657139290272e-09, 1.3298288008382692e-09, 3.007242719019045e-11,
    -4.4299537255328156e-11, 1.3999857147018152e-12, 1.4718957028912571e-12,
    -9.325953119165372e-14, -5.2946811690676952e-14, 3.9581884144145169e-15,
    2.1048214642963194e-15, -1.3456712861361439e-16,
]
# fmt: on
# As powers of u, highest first, for Horner's rule; 13 terms are enough for float32.
TAIL_POWERS = {FLOAT32: cheb2poly(TAIL[:13])[::-1], FLOAT64: cheb2poly(TAIL)[::-1]}


def _normal_tail(z: Array) -> tuple[Array, Array, Array]:
    """Return ``t = min(|z|, 40)``, ``Q(t)`` and ``exp(-t**2 / 2)``, all float64."""
    t = np.minimum(np.abs(z), 40.0).astype(np.float64)  # Q(40) is 0 in float64
    u = t - 5.0
    u /= t + 5.0
    first, *rest = TAIL_POWERS[z.dtype]
    tail = np.full_like(u, first)
    for coefficient in rest:
        tail *= u
        tail += coefficient
    tail /= 1.0 + t
    # The rounding error of t*t would be magnified by exp. With t = head + (t - head), where head
    # has 24 bits, head*head is exact, and the rest is small. (For float32, head is all of t.)
    head = t.astype(np.float32).astype(np.float64)
    bell = np.exp(-0.5 * head * head)
    if z.dtype != FLOAT32:
        bell *= np.exp(-0.5 * (t - head) * (t + head))
    tail *= bell
    return t, tail, bell


def gelu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * Phi(z) = z * erfc(-z / sqrt(2)) / 2``, the exact form."""
    # z*Phi(z) is z*Q(|z|) for z < 0 and z - z*Q(z) for z >= 0; in one formula, max(z, 0) - t*Q(t).
    t, tail, _ = _normal_tail(z)
    tail *= t
    y: Array = np.subtract(np.maximum(z, 0.0), tail.astype(z.dtype, copy=False), out=out)
    return y


def gelu_slope_from_z(z: Array) -> Array:
    """Return ``Phi(z) + z * phi(z)``, phi the normal density."""
    # That is Q - t*phi for z < 0 and 1 - (Q - t*phi) for z > 0.
    t, tail, bell = _normal_tail(z)
    bell *= t / np.sqrt(2.0 * np.pi)
    bell -= tail
    sign = np.sign(z)
    slope: Array = 0.5 + 0.5 * sign + sign * bell
    return slope.astype(z.dtype, copy=False)


# gelu_tanh replaces Phi(z) by (1 + tanh(v)) / 2 = sigmoid(2v), v = sqrt(2/pi) (z + 0.044715 z**3).
# The sigmoid does not cancel at negative z, 1 + tanh does. At |z| = 40 it is exactly 0 or 1.
SQRT_8_OVER_PI = float(np.sqrt(8.0 / np.pi))


def gelu_tanh(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * (1 + tanh(sqrt(2/pi) * (z + 0.044715 * z**3))) / 2`` (Hendrycks, Gimpel)."""
    c = np.clip(z, -40.0, 40.0)
    s = sigmoid(SQRT_8_OVER_PI * c * (1.0 + 0.044715 * c * c))
    return np.multiply(np.maximum(z, -40.0), s, out=out)


def gelu_tanh_slope_from_z(z: Array) -> Array:
    """Return ``s * (1 + z * (1 - s) * (2 v)')``, ``s = sigmoid(2 v)``."""
    z = np.clip(z, -40.0, 40.0)
    square = z * z
    s, rest = _sigmoid_and_rest(SQRT_8_OVER_PI * z * (1.0 + 0.044715 * square))
    slope_of_2v = SQRT_8_OVER_PI * (1.0 + 3.0 * 0.044715 * square)
    return s * (1.0 + z * rest * slope_of_2v)
