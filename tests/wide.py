"""The activations in a wider format: a quick oracle, good to 0.003 ULP.

That is float64 for float32 and long double for float64: x86's has 11 bits more. Where a function
magnifies the rounding of its argument (an exponent of 700 does, 700 times) the argument is in two
words. `test_accuracy.py` holds this against mpmath where it matters most.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Long = np.longdouble
SUITABLE = np.finfo(Long).nmant >= 63


def long(value: Any) -> Any:
    """Return an mpmath number in long double."""
    high = float(value)
    return Long(high) + Long(float(value - mp.mpf(high)))


def exactly(value: Any) -> Any:
    """Return a long double as an mpmath number."""
    high = float(value)
    return mp.mpf(high) + mp.mpf(float(value - Long(high)))


def product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a * b in two words (Dekker's product by Veltkamp's splitting)."""
    p, factor = a * b, a.dtype.type(2.0**32 + 1)
    a_high, b_high = (x * factor - (x * factor - x) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def exp2words(high: Array, low: Array) -> Array:
    return np.exp(high) * (1 + low)


# -- the normal distribution ------------------------------------------------------------------

# Phi(-a) exp(a**2 / 2) is smooth and neither large nor small: Taylor series about multiples of
# STEP. Its derivative is a times itself minus 1 / sqrt(2 pi), whence the recurrence.
STEP, TERMS, LAST = 1 / 32, 14, 40


@functools.cache
def taylor_table() -> Array:
    rows = []
    with mp.workprec(400):
        for i in range(int(LAST / STEP) + 1):
            a = mp.mpf(i) * STEP
            c = [mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2)]
            c.append(a * c[0] - 1 / mp.sqrt(2 * mp.pi))
            while len(c) < TERMS:
                c.append((a * c[-1] + c[-2]) / len(c))
            rows.append([long(v) for v in c])
    return np.array(rows)


def normal_tail(a: Array) -> Array:
    """Return Phi(-a) for 0 <= a <= LAST, where it underflows even in float64."""
    node = np.nan_to_num(np.rint(a / STEP)).astype(int)
    d, table = a - (node * STEP).astype(a.dtype), taylor_table().astype(a.dtype)
    value = table[node, TERMS - 1]
    for k in range(TERMS - 2, -1, -1):
        value = value * d + table[node, k]
    square, low = product(a, a)
    return value * exp2words(-square / 2, -low / 2)


def gelu(z: Array) -> Array:
    a = np.minimum(abs(z), LAST)
    tail = a * normal_tail(a)
    return np.where(z < 0, -tail, z - tail)


def gelu_tanh(z: Array) -> Array:
    """Z * sigmoid(y), y = sqrt(8 / pi) (z + 0.044715 z**3) in two words."""
    a = np.minimum(abs(z), 30)
    with mp.workprec(200):
        linear, cubic = mp.sqrt(8 / mp.pi), mp.sqrt(8 / mp.pi) * mp.mpf("0.044715")
        high = [long(v) for v in (linear, cubic)]
        low = [long(v - exactly(h)) for v, h in zip((linear, cubic), high, strict=True)]
    c, d, c_low, d_low = np.array([*high, *low]).astype(z.dtype)
    square, square_low = product(a, a)
    p, p_low = product(d, square)
    p_low += d * square_low + d_low * square
    k = c + p
    v = k - c  # TwoSum
    k_low = (c - (k - v)) + (p - v) + p_low + c_low
    y, y_low = product(a, k)
    e = exp2words(-y, -y_low - a * k_low)
    tail = a * e / (1 + e)
    return np.where(z < 0, -tail, z - tail)


def sigmoid(z: Array) -> Array:
    e = np.exp(-abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def silu(z: Array) -> Array:
    a = np.minimum(abs(z), 11000)
    tail = a * np.exp(-a) / (1 + np.exp(-a))
    return np.where(z < 0, -tail, z - tail)


def evaluate(function: Callable[[Array], Array], z: Array) -> Array:
    """Return the activation of z in the next wider format."""
    with np.errstate(all="ignore"):
        return function(z.astype(np.float64 if z.dtype == np.float32 else Long))


def mish(z: Array) -> Array:
    a = np.minimum(abs(z), 11000)
    e = np.exp(-a)
    tail = np.where(z < 0, e * (e + 2) / (e * (e + 2) + 2), 2 * e**2 / (2 * e * (e + 1) + 1))
    return np.where(z < 0, -a * tail, z - a * tail)
