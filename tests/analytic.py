"""Activations and losses as analytic functions of complex arrays, written down once more.

Complex step: f'(z) = Im f(z + i h) / h, exact to rounding for h = 1e-200, since nothing is
subtracted. A new activation needs a row in `ANALYTIC`, a new loss one in `TERMS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import Array

STEP = 1e-200
_erfc = np.vectorize(math.erfc, otypes=[float])


def _normal_cdf(z: Array) -> Array:
    density = np.exp(-(z.real**2) / 2) / math.sqrt(2 * math.pi)
    return _erfc(-z.real / math.sqrt(2)) / 2 + 1j * z.imag * density


def _complex_softmax(z: Array) -> Array:
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _sign(z: Array) -> Array:
    return np.sign(z.real)


ANALYTIC: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "relu": lambda z: z * (z.real > 0),
    "softmax": _complex_softmax,
    "gelu": lambda z: z * _normal_cdf(z),
    "gelu_tanh": lambda z: z / (1 + np.exp(-math.sqrt(8 / math.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "elu": lambda z: np.where(z.real > 0, z, np.exp(z) - 1),
    "leaky_relu": lambda z: z * np.where(z.real > 0, 1, 0.01),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softsign": lambda z: z / (1 + z * _sign(z)),
    "exp": np.exp,
}


def _huber(d: Array) -> Array:
    size = d * _sign(d)
    return np.where(size.real <= 1, d * d / 2, size - 0.5)


def _cross_entropy(z: Array, t: Array) -> Array:
    return t.sum(axis=1) * np.log(np.exp(z).sum(axis=1)) - (t * z).sum(axis=1)


# One term per element, or per sample (softmax cross-entropy).
TERMS: dict[str, Callable[[Array, Array], Array]] = {
    "mse": lambda p, t: (p - t) ** 2,
    "mae": lambda p, t: (p - t) * _sign(p - t),
    "huber": lambda p, t: _huber(p - t),
    "binary_cross_entropy_with_logits": lambda p, t: np.log(1 + np.exp(p)) - t * p,
    "softmax_cross_entropy": _cross_entropy,
    "sum": lambda p, t: p,
    "squared_l2": lambda p, t: p * p,
}
REDUCE: dict[str, Callable[[Array], Any]] = {
    "mean": lambda terms: terms.mean(),
    "sum": lambda terms: terms.sum(),
    "samples": lambda terms: terms.sum() / len(terms),
}


def complex_steps(
    function: Callable[[dict[str, Array]], Array], data: dict[str, Array], which: str
) -> Array:
    """Return d function / d data[which] by one complex step per element: (values, elements)."""
    p = {key: a.astype(complex) for key, a in data.items()}
    columns = []
    for i in range(p[which].size):
        moved = p[which].copy()
        moved.flat[i] += 1j * STEP
        columns.append(np.imag(function({**p, which: moved})).ravel() / STEP)
    return np.array(columns).T
