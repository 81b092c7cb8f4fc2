"""Detailed loss kernels: weights, and on request the terms and the probabilities.

``terms(call)``, the address of a `loss_table`. Gradients without weights, or with weights of 1, are
those of the plain kernels (`loss`), to the bit, and so are sums (but of a row of more than 256
probabilities, whose parts are added up first). A term of weight 0 is left out, and its slope is 0,
whatever they are: NaN times 0 would be NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastgrad.kernels.elementwise import loss_rows
from fastgrad.kernels.elementwise import loss_table as at
from fastgrad.kernels.elementwise.loss import Terms, elementwise_terms, long_rows
from fastgrad.kernels.elementwise.reductions import row_max, row_sum
from fastgrad.kernels.elementwise.rows import CHUNK, INTERLEAVE, padding, strip
from fastgrad.kernels.elementwise.softmax import exponential_of_difference, exponentials_of_rows
from fastgrad.kernels.elementwise.vector_math import build as vector_math
from fastgrad.kernels.toolchain.compile import assemble, inlined, kernel
from fastgrad.kernels.toolchain.pointers import (
    as_pointer,
    copy_elements,
    greatest,
    least,
    read_word,
    round_up,
    scratch,
    shift,
)

TERMS_KERNEL = types.void(types.intp)


def build(dtype_name: str, loss: str) -> str:
    """Return the LLVM IR of the detailed kernel of one loss for one dtype."""
    if loss == "softmax_cross_entropy":
        made = softmax_cross_entropy(dtype_name)
    elif loss in loss_rows.NAMES:
        made = loss_rows.detailed(dtype_name, loss, weight_of)
    else:
        made = elementwise(dtype_name, elementwise_terms(dtype_name, loss))
    return assemble(dtype_name, {f"terms_{loss}": (TERMS_KERNEL, made)}, INTERLEAVE)


@kernel
def weight_of(call: int, row: int, col: int) -> float:
    """Return the weight of one element."""
    table = as_pointer(call, types.intp)
    sample = row
    if table[at.ORDER] != 0:
        sample = read_word(table[at.ORDER] + 8 * row)
    place = sample * table[at.WEIGHTS_ROW] + col * table[at.WEIGHTS_COL]
    return as_pointer(table[at.WEIGHTS], types.float64)[place]


@kernel
def take_weights(call: int, first: int, count: int, width: int, out: Any) -> None:
    """Write the weights of `count` elements, from element `first` of rows of `width` on."""
    row = first // width
    col, done = first - row * width, 0
    single = as_pointer(call, types.intp)[at.WEIGHTS_COL] == 0
    while done < count:
        end = least(count, done + width - col)
        if single:
            weight = weight_of(call, row, 0)
            for i in range(done, end):
                out[i] = weight
        else:
            for i in range(done, end):
                out[i] = weight_of(call, row, col + i - done)
        row, col, done = row + 1, 0, end


def elementwise(dtype_name: str, terms: Terms) -> Any:
    """Return the detailed kernel of an elementwise loss."""
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    STRIP, padded = strip(dtype_name), padding(dtype_name)
    wide, zero, nothing = types.float64, np.float64(0), np.dtype(dtype_name).type(0)
    term, slope = terms.term_of_setting, terms.slope_of_setting
    if term is None or slope is None:
        own_term, own_slope = terms.term, terms.slope
        term, slope = (
            inlined(lambda p, t, s: own_term(p, t)),
            inlined(lambda p, t, s: own_slope(p, t)),
        )
    of_logits = terms.probability is not None
    probability = terms.probability or terms.slope

    def kernel(call: int) -> None:
        table, numbers = as_pointer(call, types.intp), as_pointer(call, wide)
        pred, pred_row, target, target_row = (
            table[at.PRED], table[at.PRED_ROW], table[at.TARGET], table[at.TARGET_ROW],
        )  # fmt: skip
        grad, grad_row = table[at.GRAD], table[at.GRAD_ROW]
        m, n, by = table[at.ROWS], table[at.COLUMNS], numbers[at.BY]
        width, weighted, setting = n, table[at.WEIGHTS] != 0, numbers[at.SETTING]
        if pred_row == n and (target == 0 or target_row == n) and (grad == 0 or grad_row == n):
            m, n = 1, m * n
        p_rest, t_rest, s_rest = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        values, weights = scratch(CHUNK, wide), scratch(CHUNK, wide)
        zeros, factors = scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        for i in range(CHUNK):
            zeros[i] = 0
            weights[i] = 1.0
            factors[i] = dtype(1.0 / by)
        for row in range(m):
            for j in range(0, n, CHUNK):
                count, place = least(CHUNK, n - j), row * n + j
                p = as_pointer(pred + (row * pred_row + j) * size, dtype)
                t = zeros
                if target != 0:
                    t = as_pointer(target + (row * target_row + j) * size, dtype)
                ragged = count & (STRIP - 1)
                if ragged:
                    padded(p_rest, p, count)
                    p = p_rest
                    if target != 0:
                        padded(t_rest, t, count)
                        t = t_rest
                if weighted:
                    take_weights(call, place, count, width, weights)
                    for i in range(round_up(count, STRIP)):
                        factors[i] = dtype(weights[i] / by)
                for i in range(round_up(count, STRIP)):
                    value = term(p[i], t[i], setting) * weights[i]
                    values[i] = value if weights[i] > zero else zero
                if grad != 0:
                    for i in range(round_up(count, STRIP)):
                        d = slope(p[i], t[i], setting) * factors[i]
                        s_rest[i] = d if weights[i] > zero else nothing
                    to = as_pointer(grad + (row * grad_row + j) * size, dtype)
                    copy_elements(to, s_rest, count)
                if of_logits and table[at.PROBABILITIES] != 0:
                    for i in range(round_up(count, STRIP)):
                        s_rest[i] = probability(p[i], t[i])
                    to = as_pointer(table[at.PROBABILITIES] + place * size, dtype)
                    copy_elements(to, s_rest, count)
                if table[at.TERMS] != 0:
                    copy_elements(as_pointer(table[at.TERMS] + place * 8, wide), values, count)
                numbers[at.TOTAL] += row_sum(values, count)

    return kernel


def softmax_cross_entropy(dtype_name: str) -> Any:
    """Return the detailed kernel of softmax cross-entropy: the formulas of the plain one."""
    dtype, size = getattr(types, dtype_name), np.dtype(dtype_name).itemsize
    wide, zero, not_a_number = types.float64, np.float64(0), np.float64(np.nan)
    exponentials, exp = exponentials_of_rows(dtype_name), exponential_of_difference(dtype_name)
    last, long_row = wide(1 / exp.scale), long_rows(dtype_name)
    log = vector_math(np.dtype(np.float64)).log

    def kernel(call: int) -> None:
        table, numbers = as_pointer(call, types.intp), as_pointer(call, wide)
        pred, pred_row, target, target_row = (
            table[at.PRED], table[at.PRED_ROW], table[at.TARGET], table[at.TARGET_ROW],
        )  # fmt: skip
        grad, grad_row = table[at.GRAD], table[at.GRAD_ROW]
        m, n, by = table[at.ROWS], table[at.COLUMNS], numbers[at.BY]
        likely = table[at.PROBABILITIES]
        rest, part, other = scratch(CHUNK, dtype), scratch(CHUNK, dtype), scratch(CHUNK, dtype)
        top, values = scratch(CHUNK, dtype), scratch(CHUNK, wide)
        sums = scratch(CHUNK, wide)
        short = 4 * n <= CHUNK
        group = CHUNK // greatest(n, 1) if short else 1
        for start in range(0, m, group):
            rows = least(group, m - start)
            first = pred + start * pred_row * size
            long_out = 0  # where the exponentials of a long row are kept
            if short:
                exponentials(first, pred_row, rows, n, part, other, top)
                for r in range(rows):
                    sums[r] = row_sum(shift(part, r * n), n)
            else:
                z = as_pointer(first, dtype)
                if likely != 0:
                    long_out = likely + start * n * size
                elif grad != 0:
                    long_out = grad + start * grad_row * size
                top[0] = row_max(z, n)
                sums[0] = long_row(z, n, as_pointer(long_out, dtype), part, other, rest, top[0])
            for r in range(rows):
                row = start + r
                weight = 1.0
                if table[at.WEIGHTS] != 0:
                    weight = weight_of(call, row, 0)
                z = as_pointer(pred + row * pred_row * size, dtype)
                out = as_pointer(grad + row * grad_row * size, dtype)
                e = shift(part, r * n) if short else as_pointer(long_out, dtype)
                log_sum, scale = log(sums[r] * last), weight / by
                counts, of_row = weight > zero, zero
                if table[at.LABELS]:
                    label = read_word(target + row * 8)
                    known = 0 <= label < n
                    chosen = wide(z[label]) if known else not_a_number
                    of_row = log_sum + (wide(top[r]) - chosen)
                    if grad != 0 and counts:
                        factor = dtype(scale / sums[r])
                        for j in range(n):
                            out[j] = e[j] * factor
                        if known:
                            out[label] = out[label] - dtype(scale)
                else:
                    t = as_pointer(target + row * target_row * size, dtype)
                    for j in range(0, n, CHUNK):
                        count = least(CHUNK, n - j)
                        for i in range(count):
                            distance = log_sum + (wide(top[r]) - wide(z[j + i]))
                            values[i] = distance * wide(t[j + i]) if t[j + i] != 0 else zero
                        of_row += row_sum(values, count)
                    if grad != 0 and counts:
                        factor = dtype(scale / sums[r] * row_sum(t, n))
                        for j in range(n):
                            out[j] = e[j] * factor - t[j] * dtype(scale)
                if likely != 0:
                    share, to = dtype(1.0 / sums[r]), as_pointer(likely + row * n * size, dtype)
                    for j in range(n):
                        to[j] = e[j] * share
                if grad != 0 and not counts:
                    for j in range(n):
                        out[j] = 0
                of_row = weight * of_row if counts else zero
                numbers[at.TOTAL] += of_row
                if table[at.TERMS] != 0:
                    as_pointer(table[at.TERMS], wide)[row] = of_row

    return kernel
