"""The activations as mathematics has them, by mpmath: what values and derivatives are held against.

A new activation needs a row in `TRUTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
from conftest import Array

import fastgrad as fg
from fastgrad.activations import BUILT_IN

TABLE = {name: fg.activations.ACTIVATIONS[name] for name in BUILT_IN}
DIGITS = 60


def _capped(z: Any) -> Any:
    """Return z where exp(-|z|) is not yet nothing in any precision we look at."""
    return max(min(z, mp.mpf(3000)), mp.mpf(-3000))


def _cdf(z: Any) -> Any:
    return mp.erfc(-_capped(z) / mp.sqrt(2)) / 2


def _density(z: Any) -> Any:
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def _logistic(z: Any) -> Any:
    return 1 / (1 + mp.exp(-_capped(z)))


def _gelu_argument(z: Any) -> Any:
    return mp.sqrt(8 / mp.pi) * (z + mp.mpf("0.044715") * z**3)


def _gelu_tanh_slope(z: Any) -> Any:
    s = _logistic(_gelu_argument(z))
    inner = mp.sqrt(8 / mp.pi) * (1 + 3 * mp.mpf("0.044715") * z**2)
    return s + z * s * _logistic(-_gelu_argument(z)) * inner


# Value and derivative as mathematics has them: exact constants, the kink on the left side.
TRUTH: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "identity": (lambda z: z, lambda z: mp.mpf(1)),
    "sigmoid": (_logistic, lambda z: _logistic(z) * _logistic(-z)),
    "tanh": (lambda z: mp.tanh(_capped(z)), lambda z: mp.sech(_capped(z)) ** 2),
    "relu": (lambda z: max(z, mp.mpf(0)), lambda z: mp.mpf(int(z > 0))),
    "gelu": (lambda z: z * _cdf(z), lambda z: _cdf(z) + z * _density(z)),
    "gelu_tanh": (lambda z: z * _logistic(_gelu_argument(z)), _gelu_tanh_slope),
    "silu": (
        lambda z: z * _logistic(z),
        lambda z: _logistic(z) * (1 + z * _logistic(-z)),
    ),
    "elu": (
        lambda z: z if z > 0 else mp.expm1(z),
        lambda z: mp.mpf(1) if z > 0 else mp.exp(z),
    ),
    "leaky_relu": (
        lambda z: z if z > 0 else z / 100,
        lambda z: mp.mpf(1) if z > 0 else mp.mpf("0.01"),
    ),
    "softplus": (
        lambda z: max(z, mp.mpf(0)) + mp.log1p(mp.exp(-abs(_capped(z)))),
        _logistic,
    ),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "exp": (lambda z: mp.exp(_capped(z)), lambda z: mp.exp(_capped(z))),
}


def as_float(value: Any) -> float:
    """Return an mpmath number rounded to float64, infinite where that overflows."""
    try:
        return float(value)
    except OverflowError:
        return float(mp.sign(value)) * np.inf


def two_words(values: list[Any]) -> tuple[Array, Array]:
    """Return mpmath numbers as float64 and what float64 leaves of them."""
    high = [as_float(v) for v in values]
    low = [float(v - h) if np.isfinite(h) else 0.0 for v, h in zip(values, high, strict=True)]
    return np.array(high), np.array(low)
