"""Loss kernels: value and gradient in one pass over a block of rows.

``loss(pred, pred_row, target, target_row, grad, grad_row, m, n, labels, scale, total)``, all
words. It adds the sum of the block's terms to the float64 at address `total`, and, unless `grad`
is 0, writes the gradient times the float64 at address `scale`. `target` is an array like `pred`,
or with `labels` one int64 class per row, or 0 for losses of one array.

Terms are float64 and are summed in the fixed order of `reductions`, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.elementwise import loss_rows
from fastgrad.kernels.elementwise.reductions import row_max, row_sum
from fastgrad.kernels.elementwise.rows import CHUNK, INTERLEAVE, padding, strip
from fastgrad.kernels.elementwise.softmax import exponential_of_difference, exponentials_of_rows
from fastgrad.kernels.elementwise.vector_math import build as vector_math
from fastgrad.kernels.flags import SAMPLES, SUM, TARGET_SLACK
from fastgrad.kernels.toolchain.compile import assemble, inlined, kernel, scalar_of_two
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    copy_elements,
    greatest,
    least,
    read_word,
    round_up,
    scratch,
    shift,
)

LOSS = types.void(*([types.intp] * 11))


@kernel
def divisor(reduction: int, per_sample: int, m: int, n: int) -> int:
    """Return the divisor of the sum of the terms of m rows of n elements."""
    if reduction == SUM:
        return 1
    return m if reduction == SAMPLES or per_sample else m * n


def target_check(dtype_name: str) -> Any:
    """Return ``probabilities(target, row, col, m, n)``: whether all are from 0 to 1, or NaN.

    Rows are `row` elements apart, elements `col`.
    """
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    real, whole = np.dtype(dtype_name).type, np.dtype(f"int{8 * size}").type
    bits = getattr(types, f"int{8 * size}")
    least, most = real(-TARGET_SLACK), real(1 + TARGET_SLACK)
    most_bits, none = most.view(whole), whole(0)

    @kernel
    def surely(t: Any, n: int) -> bool:
        """Return whether all are, from their bits as integers: a vector takes a third of the time.

        The bits of positive numbers have the numbers' order, and a sign bit fails the test, even
        that of -0.0 or a NaN.
        """
        signs = none
        for i in range(n):
            signs |= t[i] | (most_bits - t[i])
        return signs >= none

    @kernel
    def probabilities(target: int, row: int, col: int, m: int, n: int) -> bool:
        if row == 1:  # samples in columns: along memory, not across it
            row, col, m, n = col, row, n, m
        if col == 1 and row == n:
            m, n = 1, m * n
        for r in range(m):
            at = target + r * row * size
            if col != 1 or not surely(as_pointer(at, bits), n):
                t = as_pointer(at, dtype)
                for j in range(n):
                    if t[j * col] < least or t[j * col] > most:
                        return False
        return True

    return probabilities


@dataclass(frozen=True)
class Terms:
    """Scalar functions of (pred, target): the float64 term, and its slope in the dtype.

    For the detailed kernels, of logits also the probability; and of a loss with a setting both
    functions of (pred, target, setting), the setting float64.
    """

    term: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any]
    probability: Callable[[Any, Any], Any] | None = None
    term_of_setting: Callable[[Any, Any, Any], Any] | None = None
    slope_of_setting: Callable[[Any, Any, Any], Any] | None = None


def elementwise_terms(dtype_name: str, loss: str) -> Terms:
    """Return one row of the table of elementwise losses."""
    real, wide = np.dtype(dtype_name).type, np.float64
    zero, half, one, two = real(0), wide(0.5), real(1), real(2)
    infinity = real(np.inf)
    m = vector_math(np.dtype(dtype_name))
    exp, log1p, sigmoid, fabs, copysign = m.exp, m.log1p_unit, m.sigmoid, m.abs, m.copysign
    m64 = vector_math(np.dtype(wide))
    tanh, wide_exp, wide_expm1, wide_log1p = m.tanh, m64.exp, m64.expm1, m64.log1p_unit
    near, log_2 = wide(1.25), wide(np.log(2))

    @inlined
    def square(p: Any, t: Any) -> Any:
        difference = wide(p - t)
        return difference * difference

    @inlined
    def huber(p: Any, t: Any) -> Any:
        size = wide(fabs(p - t))
        inner = size if size < wide(1) else wide(1)
        return inner * (size - half * inner)

    @inlined
    def huber_slope(p: Any, t: Any) -> Any:
        d = p - t
        return copysign(one, d) if fabs(d) > one else d

    @inlined
    def huber_of_delta(p: Any, t: Any, delta: Any) -> Any:
        size = wide(fabs(p - t))
        return half * size * size if size <= delta else delta * (size - half * delta)

    @inlined
    def huber_slope_of_delta(p: Any, t: Any, delta: Any) -> Any:
        d = p - t
        return copysign(real(delta), d) if fabs(d) > real(delta) else d

    @inlined
    def poisson(p: Any, t: Any) -> Any:
        """exp(p) - t p, whose limits are inf and, where t is 0, 0."""
        line = wide(t) * wide(p) if t != zero and p != infinity else wide(0)
        return wide_exp(wide(p)) - line

    @inlined
    def log_cosh(p: Any, t: Any) -> Any:
        """log(1 + (cosh(a) - 1)) of a small a = |p - t|, else a - log(2) + log(1 + exp(-2 a)).

        With m = exp(-a) - 1, cosh(a) - 1 is m**2 / (2 (1 + m)), which is below 1 up to 1.31.
        """
        a = fabs(wide(p) - wide(t))
        m = wide_expm1(-a)
        e = wide(1) + m
        small = a < near
        log = wide_log1p(half * m * m / e if small else e * e)
        return log if small else a - log_2 + log

    @inlined
    def cross_entropy(z: Any, t: Any) -> Any:
        """max(z, 0) - t z + log(1 + exp(-|z|)): nothing overflows.

        An infinite z needs the other forms of its line, which are exact: for the class that z
        speaks for it is 0, not inf - inf; for any other, (1 - t) z where z is inf.
        """
        likely = one if z > zero else zero
        positive = z if z > zero else (zero if z <= zero else z)
        line = wide(positive) - wide(z) * wide(t)
        line = (wide(1) - wide(t)) * wide(z) if z == infinity else line
        line = wide(0) if t == likely else line
        return line + wide(log1p(exp(-fabs(z))))

    @inlined
    def sign(p: Any, t: Any) -> Any:
        d = p - t
        return copysign(one, d) if fabs(d) > zero else d

    rows = {
        "mse": Terms(square, inlined(lambda p, t: two * (p - t))),
        "squared_l2": Terms(square, inlined(lambda p, t: two * (p - t))),
        "mae": Terms(inlined(lambda p, t: wide(fabs(p - t))), sign),
        "huber": Terms(
            huber,
            huber_slope,
            term_of_setting=huber_of_delta,
            slope_of_setting=huber_slope_of_delta,
        ),
        "poisson": Terms(poisson, inlined(lambda p, t: exp(p) - t)),
        "log_cosh": Terms(log_cosh, inlined(lambda p, t: tanh(p - t))),
        "sum": Terms(inlined(lambda p, t: wide(p)), inlined(lambda p, t: one)),
        "binary_cross_entropy_with_logits": Terms(
            cross_entropy, inlined(lambda z, t: sigmoid(z) - t), inlined(lambda z, t: sigmoid(z))
        ),
    }
    return rows[loss]


def user_terms(dtype_name: str, value: Any, derivative: Any) -> Terms:
    """Return the terms of a user's functions of (pred, target), both computed in float64."""
    real, wide = getattr(types, dtype_name), types.float64
    term, slope = scalar_of_two(value), scalar_of_two(derivative)
    return Terms(
        inlined(lambda p, t: wide(term(wide(p), wide(t)))),
        inlined(lambda p, t: real(slope(wide(p), wide(t)))),
    )


def build(dtype_name: str, loss: str) -> str:
    """Return the LLVM IR of one loss for one dtype."""
    if loss == "softmax_cross_entropy":
        made = softmax_cross_entropy(dtype_name)
    elif loss in loss_rows.NAMES:
        made = loss_rows.plain(dtype_name, loss)
    else:
        made = elementwise(dtype_name, elementwise_terms(dtype_name, loss))
    return assemble(dtype_name, {f"loss_{loss}": (LOSS, made)}, INTERLEAVE)


def elementwise(dtype_name: str, terms: Terms) -> Any:
    """Return the kernel of an elementwise loss."""
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    STRIP, padded = strip(dtype_name), padding(dtype_name)
    wide = types.float64
    term, slope = terms.term, terms.slope

    def kernel(
        pred: int, pred_row: int, target: int, target_row: int, grad: int, grad_row: int,
        m: int, n: int, labels: int, scale_at: int, total_at: int,
    ) -> None:  # fmt: skip
        if pred_row == n and (target == 0 or target_row == n) and (grad == 0 or grad_row == n):
            m, n = 1, m * n
        scale = dtype(as_pointer(scale_at, wide)[0])
        total = as_pointer(total_at, wide)
        p_rest, t_rest, s_rest = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        values, zeros = scratch(CHUNK, wide), scratch(CHUNK, dtype)
        if target == 0:
            for i in range(CHUNK):
                zeros[i] = 0
        for row in range(m):
            for j in range(0, n, CHUNK):
                count = least(CHUNK, n - j)
                p = as_pointer(pred + (row * pred_row + j) * size, dtype)
                t = zeros
                if target != 0:
                    t = as_pointer(target + (row * target_row + j) * size, dtype)
                place = as_pointer(grad + (row * grad_row + j) * size, dtype)
                slopes = place
                ragged = count & (STRIP - 1)
                if ragged:
                    padded(p_rest, p, count)
                    p, slopes = p_rest, s_rest
                    if target != 0:
                        padded(t_rest, t, count)
                        t = t_rest
                for i in range(round_up(count, STRIP)):
                    values[i] = term(p[i], t[i])
                if grad != 0:
                    for i in range(round_up(count, STRIP)):
                        slopes[i] = slope(p[i], t[i]) * scale
                    if ragged:
                        copy_elements(place, slopes, count)
                total[0] += row_sum(values, count)

    return kernel


def long_rows(dtype_name: str) -> Any:
    """Return ``long_row``, the exponentials of a row that no buffer holds."""
    STRIP, padded, zero = strip(dtype_name), padding(dtype_name), np.float64(0)
    exp = exponential_of_difference(dtype_name)
    difference, begin, finish = exp.difference, exp.begin, exp.finish

    @kernel
    def long_row(z: Any, n: int, out: Any, part: Any, other: Any, rest: Any, top: Any) -> Any:
        """Return the sum of a row's exponentials, which go to `out`; `part` ... are buffers."""
        total = zero
        for j in range(0, n, CHUNK):
            count = least(CHUNK, n - j)
            source = shift(z, j)
            if count & (STRIP - 1):
                padded(rest, source, count)
                source = rest
            for i in range(round_up(count, STRIP)):
                d, low = difference(source[i], top)
                part[i], other[i] = begin(d, low)
            for i in range(round_up(count, STRIP)):
                part[i] = finish(part[i], other[i])
            total += row_sum(part, count)
            if address_of(out) != 0:
                copy_elements(shift(out, j), part, count)
        return total

    return long_row


def softmax_cross_entropy(dtype_name: str) -> Any:
    """Return the kernel of softmax cross-entropy.

    Per row, with top = max z and s = sum exp(z - top): the term is
    ``sum_j t_j (log s + (top - z_j))``, the gradient ``exp(z - top) / s * sum_j t_j - t``.
    The exponentials, and so `weight`, are those times a power of two, 1 / `last`.
    """
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    wide, zero, not_a_number = types.float64, np.float64(0), np.float64(np.nan)
    exponentials, exp = exponentials_of_rows(dtype_name), exponential_of_difference(dtype_name)
    last, long_row = wide(1 / exp.scale), long_rows(dtype_name)
    log = vector_math(np.dtype(np.float64)).log

    def loss(
        pred: int, pred_row: int, target: int, target_row: int, grad: int, grad_row: int,
        m: int, n: int, labels: int, scale_at: int, total_at: int,
    ) -> None:  # fmt: skip
        scale = as_pointer(scale_at, wide)[0]
        total = as_pointer(total_at, wide)
        rest, part, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        top, values = scratch(CHUNK, dtype), scratch(CHUNK, wide)
        weight, logs, ratio = scratch(CHUNK, wide), scratch(CHUNK, wide), scratch(CHUNK, wide)
        short = 4 * n <= CHUNK
        group = CHUNK // greatest(n, 1) if short else 1
        for start in range(0, m, group):
            rows = least(group, m - start)
            first = pred + start * pred_row * size
            if short:
                exponentials(first, pred_row, rows, n, part, other, top)
                for r in range(rows):
                    weight[r] = row_sum(shift(part, r * n), n)
            else:
                z, out = as_pointer(first, dtype), as_pointer(0, dtype)
                if grad != 0:
                    out = as_pointer(grad + start * grad_row * size, dtype)
                top[0] = row_max(z, n)
                weight[0] = long_row(z, n, out, part, other, rest, top[0])
            for r in range(rows):
                logs[r] = log(weight[r] * last)
                ratio[r] = scale / weight[r]
            for r in range(rows):
                row = start + r
                z = as_pointer(pred + row * pred_row * size, dtype)
                out = as_pointer(grad + row * grad_row * size, dtype)
                e = shift(part, r * n) if short else out
                if labels:
                    # Classes have been checked, but other threads may still write to them.
                    label = read_word(target + row * 8)
                    known = 0 <= label < n
                    chosen = wide(z[label]) if known else not_a_number
                    total[0] += logs[r] + (wide(top[r]) - chosen)
                    if grad != 0:
                        factor = dtype(ratio[r])
                        for j in range(n):
                            out[j] = e[j] * factor
                        if known:
                            out[label] = out[label] - dtype(scale)
                else:
                    t = as_pointer(target + row * target_row * size, dtype)
                    for j in range(0, n, CHUNK):
                        count = least(CHUNK, n - j)
                        for i in range(count):
                            distance = logs[r] + (wide(top[r]) - wide(z[j + i]))
                            values[i] = distance * wide(t[j + i]) if t[j + i] != 0 else zero
                        total[0] += row_sum(values, count)
                    if grad != 0:
                        factor = dtype(ratio[r] * row_sum(t, n))
                        for j in range(n):
                            out[j] = e[j] * factor - t[j] * dtype(scale)

    return loss
