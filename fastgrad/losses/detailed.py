"""Calls of a loss that need its detailed kernel: weights, terms, probabilities, a setting.

The plain calls are one compiled entry point. These check and lay out their arrays in Python (20 us)
and then call `kernels.elementwise.loss_terms`, which takes contiguous rows.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import REDUCTIONS
from fastgrad.arrays import FLOAT64, INT64, Array, as_native, deliver
from fastgrad.kernels.elementwise import loss_table as at
from fastgrad.loss_arguments import WITH_NONE, detailed_arguments


class Detailed(NamedTuple):
    """What a detailed call can give; None where it was not asked for."""

    value: float | None
    grad: Array | None
    terms: Array | None
    probabilities: Array | None


def detailed(
    loss: Any,
    method: str,
    pred: Any,
    target: Any,
    reduction: str,
    samples: str,
    weights: Any,
    *,
    out: Array | None = None,
    grad: bool = False,
    probabilities: bool = False,
) -> Detailed:
    """Check the arguments, and return value, gradient and whatever else was asked for.

    With ``reduction="none"`` the result has the terms, not their sum.
    """
    caller, allowed = loss.name + method, REDUCTIONS if grad else WITH_NONE
    given = detailed_arguments(
        loss, caller, pred, target, reduction, samples, weights, out, allowed
    )
    pred, target, classes, columns, weights = given
    work, dtype = given.dtypes
    rows = _rows(pred, work, columns)
    m, n = rows.shape
    each = rows if not loss.rowwise else rows[:, 0] if n else np.empty(m)
    terms = np.empty(each.shape) if reduction == "none" else None
    slope = np.empty_like(rows) if grad else None
    shares = np.empty_like(rows) if probabilities else None
    if weights is not None:  # in the order of rows, so that their sum has the same bits
        flat = weights.ndim < pred.ndim or loss.rowwise
        weights = weights.reshape(-1) if flat else _rows(weights, FLOAT64, columns)
    by = float(loss._divisor(reduction, m, rows.size))
    if weights is not None and reduction == "mean":
        by = sum_of(weights) * (n if weights.ndim == 1 and not loss.rowwise else 1)
    total = 0.0
    if rows.size:
        goal = None
        if classes:
            goal = np.ascontiguousarray(target, INT64).reshape(-1)
        elif target is not None:
            goal = _rows(target, work, columns)
        total = run(loss, work.name, rows, goal, weights, by, terms, slope, shares)

    def like_pred(a: Array | None) -> Array | None:
        if a is None:
            return None
        return a.T if columns else a.reshape(pred.shape)

    if terms is not None:
        terms = terms.reshape(given.each) if loss.rowwise else like_pred(terms)
    if slope is not None:
        slope = deliver(like_pred(slope), dtype, out)  # type: ignore[arg-type]
    if shares is not None:
        shares = deliver(like_pred(shares), dtype, None)  # type: ignore[arg-type]
    value = None
    if reduction != "none":
        value = total / by if by else math.nan  # the mean of nothing
    return Detailed(value, slope, terms, shares)


def sum_of(weights: Array) -> float:
    """Return the sum of contiguous float64 weights, in the order of a network's batches."""
    return float(sums(weights, 1, weights.size)[0]) if weights.size else 0.0


def sums(
    weights: Array, each: int, batch: int, passes: int = 1, order: Array | None = None
) -> Array:
    """Return the sum of the weights of each batch of each pass (`kernels.elementwise.weights`).

    Of contiguous float64 weights, `each` of them one sample's; `order` as the kernel has it.
    """
    from fastgrad.kernels.calls.entry import plain_function

    add = plain_function("weights", "weight_sums", "float64", words=7)
    count = weights.size // each
    out = np.empty(passes * -(-count // batch))
    add(
        weights.ctypes.data, each, 0 if order is None else order.ctypes.data, count,
        batch, passes, out.ctypes.data,
    )  # fmt: skip
    return out


def run(
    loss: Any,
    dtype: str,
    pred: Array,
    target: Array | None,
    weights: Array | None,
    by: float,
    terms: Array | None,
    grad: Array | None,
    probabilities: Array | None,
) -> float:
    """Run the detailed kernel on contiguous rows; return the sum of the terms."""
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t)(loss.detailed_address(dtype))
    m, n = pred.shape
    words = np.zeros(at.CALL, INT64)
    numbers = words.view(np.float64)
    words[at.PRED], words[at.PRED_ROW] = pred.ctypes.data, n
    words[at.ROWS], words[at.COLUMNS] = m, n
    words[at.TARGET_ROW] = words[at.GRAD_ROW] = n
    if target is not None:
        words[at.TARGET], words[at.LABELS] = target.ctypes.data, target.ndim == 1
    if weights is not None:
        single = weights.ndim == 1
        words[at.WEIGHTS] = weights.ctypes.data
        words[at.WEIGHTS_ROW], words[at.WEIGHTS_COL] = 1 if single else n, 0 if single else 1
    for index, array in ((at.TERMS, terms), (at.GRAD, grad), (at.PROBABILITIES, probabilities)):
        words[index] = 0 if array is None else array.ctypes.data
    numbers[at.BY], numbers[at.SETTING] = by, loss.setting
    kernel(words.ctypes.data)
    return float(numbers[at.TOTAL])


def _rows(array: Array, dtype: np.dtype[Any], columns: bool) -> Array:
    """Return contiguous rows of this dtype, one per sample."""
    if columns:
        array = array.T
    elif array.ndim != 2:
        n = array.shape[-1]
        array = array.reshape((array.size // n if n else math.prod(array.shape[:-1]), n))
    return np.ascontiguousarray(as_native(array, dtype))
