"""Losses with a term per sample that are sums over its outputs: hinge and nll.

``one_row(pred, target, label, n, grad, scale, setting)`` returns a row's term and, unless `grad` is
0, writes the gradient times `scale` there. The target is a class, or, where `label` is -1, an array
like the row, which counts every class as often as it says. A class that is none makes the term NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.elementwise import loss_table as at
from fastgrad.kernels.elementwise.reductions import row_sum
from fastgrad.kernels.elementwise.rows import CHUNK
from fastgrad.kernels.elementwise.vector_math import build as vector_math
from fastgrad.kernels.toolchain.compile import kernel
from fastgrad.kernels.toolchain.pointers import as_pointer, least, read_word, scratch

NAMES = ("hinge", "nll")
MARGIN = 1.0


def one_row(dtype_name: str, loss: str) -> Any:
    """Return ``one_row`` of a loss."""
    return {"hinge": hinge, "nll": nll}[loss](dtype_name)


def hinge(dtype_name: str) -> Any:
    """Return ``one_row`` of sum over j != c of max(0, z_j - z_c + margin), c the class.

    Weston and Watkins, Support vector machines for multi-class pattern recognition, ESANN 1999.
    """
    dtype, wide, zero, one = getattr(types, dtype_name), types.float64, np.float64(0), np.float64(1)
    not_a_number = np.float64(np.nan)

    @kernel
    def overs(z_at: int, c: int, first: int, count: int, margin: float, out: Any) -> None:
        """Write by how much some classes are too near to class c, which itself is not."""
        z = as_pointer(z_at, dtype)
        base = margin - wide(z[c])
        for i in range(count):
            over = wide(z[first + i]) + base
            out[i] = zero if over <= zero else over  # NaN stays
        if first <= c < first + count:
            out[c - first] = zero

    @kernel
    def of_class(z: int, c: int, n: int, margin: float) -> tuple[float, float]:
        """Return the term of class c, and how many classes are too near to it."""
        values, total, above = scratch(CHUNK, wide), zero, zero
        for j in range(0, n, CHUNK):
            count = least(CHUNK, n - j)
            overs(z, c, j, count, margin, values)
            total += row_sum(values, count)
            for i in range(count):
                values[i] = one if values[i] > zero else values[i]
            above += row_sum(values, count)
        return total, above

    @kernel
    def row(
        z: int, target: int, label: int, n: int, grad: int, scale: float, margin: float
    ) -> float:
        t, out = as_pointer(target, dtype), as_pointer(grad, dtype)
        if label >= n:
            return not_a_number
        first_class, end = (label, label + 1) if label >= 0 else (0, n)
        total, above = zero, zero
        for c in range(first_class, end):
            if label >= 0:
                total, above = of_class(z, c, n, margin)
            elif t[c] != 0:
                total += wide(t[c]) * of_class(z, c, n, margin)[0]
        if grad == 0:
            return total
        values, slopes = scratch(CHUNK, wide), scratch(CHUNK, wide)
        for j in range(0, n, CHUNK):
            count = least(CHUNK, n - j)
            for i in range(count):
                slopes[i] = zero
            for c in range(first_class, end):
                share = one if label >= 0 else wide(t[c])
                if share != zero:
                    overs(z, c, j, count, margin, values)
                    for i in range(count):
                        slopes[i] += share if values[i] > zero else values[i]
                    if j <= c < j + count:
                        near = above if label >= 0 else of_class(z, c, n, margin)[1]
                        slopes[c - j] -= share * near
            for i in range(count):
                out[j + i] = dtype(slopes[i] * scale)
        return total

    return row


def nll(dtype_name: str) -> Any:
    """Return ``one_row`` of -log(p_c), c the class, of probabilities p."""
    dtype, wide, zero = getattr(types, dtype_name), types.float64, np.float64(0)
    not_a_number, log = np.float64(np.nan), vector_math(np.dtype(np.float64)).log

    @kernel
    def row(
        p_at: int, target: int, label: int, n: int, grad: int, scale: float, setting: float
    ) -> float:
        p, t, out = as_pointer(p_at, dtype), as_pointer(target, dtype), as_pointer(grad, dtype)
        if label >= 0:
            if label >= n:
                return not_a_number
            if grad != 0:
                for j in range(n):
                    out[j] = 0
                out[label] = dtype(-scale / wide(p[label]))
            return -log(wide(p[label]))
        values, total = scratch(CHUNK, wide), zero
        for j in range(0, n, CHUNK):
            count = least(CHUNK, n - j)
            for i in range(count):
                share = wide(t[j + i])
                values[i] = -log(wide(p[j + i])) * share if share != zero else zero
            total += row_sum(values, count)
            if grad != 0:
                for i in range(count):
                    share = wide(t[j + i])
                    slope = -share * scale / wide(p[j + i])
                    out[j + i] = dtype(slope if share != zero else zero)
        return total

    return row


def plain(dtype_name: str, loss: str) -> Any:
    """Return the plain kernel: see `loss`."""
    size, wide = np.dtype(dtype_name).itemsize, types.float64
    row_of, margin = one_row(dtype_name, loss), np.float64(MARGIN)

    def kernel(
        pred: int, pred_row: int, target: int, target_row: int, grad: int, grad_row: int,
        m: int, n: int, labels: int, scale_at: int, total_at: int,
    ) -> None:  # fmt: skip
        scale, total = as_pointer(scale_at, wide)[0], as_pointer(total_at, wide)
        for r in range(m):
            t, label, to = target + r * target_row * size, -1, 0
            if labels:
                label = read_word(target + 8 * r)
                label = n if label < 0 else label  # no class
            if grad != 0:
                to = grad + r * grad_row * size
            total[0] += row_of(pred + r * pred_row * size, t, label, n, to, scale, margin)

    return kernel


def detailed(dtype_name: str, loss: str, weight_of: Any) -> Any:
    """Return the detailed kernel: see `loss_terms`."""
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    wide, zero, row_of = types.float64, np.float64(0), one_row(dtype_name, loss)

    def kernel(call: int) -> None:
        table, numbers = as_pointer(call, types.intp), as_pointer(call, wide)
        n, by = table[at.COLUMNS], numbers[at.BY]
        for r in range(table[at.ROWS]):
            weight = 1.0
            if table[at.WEIGHTS] != 0:
                weight = weight_of(call, r, 0)
            t, label, to, term = table[at.TARGET] + r * table[at.TARGET_ROW] * size, -1, 0, zero
            if table[at.LABELS]:
                label = read_word(table[at.TARGET] + 8 * r)
                label = n if label < 0 else label  # no class
            if table[at.GRAD] != 0:
                to = table[at.GRAD] + r * table[at.GRAD_ROW] * size
            if weight > zero:
                z = table[at.PRED] + r * table[at.PRED_ROW] * size
                term = row_of(z, t, label, n, to, weight / by, numbers[at.SETTING]) * weight
            elif to != 0:
                out = as_pointer(to, dtype)
                for j in range(n):
                    out[j] = 0
            numbers[at.TOTAL] += term
            if table[at.TERMS] != 0:
                as_pointer(table[at.TERMS], wide)[r] = term

    return kernel
