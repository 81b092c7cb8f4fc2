"""Activations and losses as analytic functions of complex arrays: derivatives without differences.

Complex step: f'(z) = Im f(z + i h) / h, exact to rounding for h = 1e-200, since nothing is
subtracted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import Array
from truth import LOSS_TRUTH, TRUTH

STEP = 1e-200
ANALYTIC = {name: row.analytic for name, row in TRUTH.items()}
TERMS = {name: row.analytic for name, row in LOSS_TRUTH.items()}
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
