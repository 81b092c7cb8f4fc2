"""Recurrent layers over all their steps, forward and backward, as plain Python loops.

One sample, one step and one number at a time. A step computes, for each number j of a gate,
``a[j] = b[j] + sum_p x[p] * wx[p][j]`` and the product with the previous state,
``sum_q h[q] * wh[q][j]``. The functions `_rnn_step`, `_lstm_step` and `_gru_step` have the
formulas of the cells; the functions named ``_back`` are the backward pass of one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_choice
from fastgrad.arrays import Array
from fastgrad.layers.recurrent_arguments import (
    GRU_RESETS,
    LSTM_GATES,
    RecurrentArguments,
    RecurrentCache,
    check_named,
    recurrent_arguments,
    recurrent_gradients,
    recurrent_results,
)
from fastgrad.results import LstmGrads, RnnGrads

from .activations import resolve
from .formulas import sigmoid, sigmoid_slope_from_y, tanh, tanh_slope_from_y
from .lists import Row

__all__ = [
    "LstmGrads",
    "RecurrentCache",
    "RnnGrads",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]


def rnn_forward(
    x: ArrayLike,
    h0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = "tanh",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, RecurrentCache]:
    """Return the states ``h[t] = act(x[t] @ wx + h[t-1] @ wh + b)``, and a cache for backward.

    The arguments are those of `fastgrad.rnn_forward`.

    Examples
    --------
    >>> from fastgrad.loops import rnn_forward
    >>> h, cache = rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[0.5]], activation="relu")
    >>> h.tolist()
    [[1.0], [0.5]]
    """
    check_named("rnn_forward", activation)
    act = resolve("rnn_forward", activation)
    given = recurrent_arguments("rnn_forward", x, h0, None, wx, wh, b, lengths, 1)
    h, _, kept = _forward("rnn", act, given)
    return recurrent_results("rnn", act, given, h, None, kept)  # type: ignore[no-any-return]


def rnn_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    *,
    need: Iterable[str] = RnnGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> RnnGrads:
    """Return the gradients of the loss with respect to a recurrent layer's inputs.

    Examples
    --------
    >>> from fastgrad.loops import rnn_forward, rnn_backward
    >>> h, cache = rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[0.5]], activation=None)
    >>> rnn_backward([1.0], cache).x.tolist()
    [[0.5], [1.0]]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "rnn_backward", _gradients, RnnGrads, cache, grad_h, None, need, out, accumulate
    )


def lstm_forward(
    x: ArrayLike,
    h0: ArrayLike,
    c0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    gates: str = "ifog",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array, RecurrentCache]:
    """Return the states and cells of an LSTM after each step, and a cache for the backward pass.

    The arguments are those of `fastgrad.lstm_forward`.

    Examples
    --------
    >>> from fastgrad.loops import lstm_forward
    >>> w = [[0.0, 0.0, 0.0, 9.0]]
    >>> h, c, cache = lstm_forward([[1.0], [1.0]], [0.0], [0.0], w, w)
    >>> c.round(3).tolist()
    [[0.5], [0.75]]
    """
    check_choice("lstm_forward", "gates", gates, LSTM_GATES)
    given = recurrent_arguments("lstm_forward", x, h0, c0, wx, wh, b, lengths, 4)
    h, c, kept = _forward("lstm", gates, given)
    return recurrent_results("lstm", gates, given, h, c, kept)  # type: ignore[no-any-return]


def lstm_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    grad_c: ArrayLike | None = None,
    *,
    need: Iterable[str] = LstmGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> LstmGrads:
    """Return the gradients of the loss with respect to an LSTM's inputs.

    Examples
    --------
    >>> from fastgrad.loops import lstm_forward, lstm_backward
    >>> w = [[0.0, 0.0, 0.0, 9.0]]
    >>> h, c, cache = lstm_forward([[1.0], [1.0]], [0.0], [0.0], w, w)
    >>> lstm_backward([0.0], cache, grad_c=[1.0]).c0.round(3).tolist()
    [0.25]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "lstm_backward", _gradients, LstmGrads, cache, grad_h, grad_c, need, out, accumulate
    )


def gru_forward(
    x: ArrayLike,
    h0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    reset: str = "before",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, RecurrentCache]:
    """Return the states of a GRU after each step, and a cache for the backward pass.

    The arguments are those of `fastgrad.gru_forward`.

    Examples
    --------
    >>> from fastgrad.loops import gru_forward
    >>> w = [[0.0, 0.0, 9.0]]
    >>> gru_forward([[1.0], [1.0]], [0.0], w, w)[0].round(3).tolist()
    [[0.5], [0.75]]
    """
    check_choice("gru_forward", "reset", reset, GRU_RESETS)
    after = reset == "after"
    given = recurrent_arguments("gru_forward", x, h0, None, wx, wh, b, lengths, 3, after)
    h, _, kept = _forward("gru", reset, given)
    return recurrent_results("gru", reset, given, h, None, kept)  # type: ignore[no-any-return]


def gru_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    *,
    need: Iterable[str] = RnnGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> RnnGrads:
    """Return the gradients of the loss with respect to a GRU's inputs.

    Examples
    --------
    >>> from fastgrad.loops import gru_forward, gru_backward
    >>> h, cache = gru_forward([[1.0], [1.0]], [0.0], [[0.0, 0.0, 9.0]], [[0.0, 0.0, 0.0]])
    >>> gru_backward([1.0], cache).h0.round(3).tolist()
    [0.25]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "gru_backward", _gradients, RnnGrads, cache, grad_h, None, need, out, accumulate
    )


def _forward(
    cell: str, setting: Any, given: RecurrentArguments
) -> tuple[Array, Array | None, tuple[Any, ...]]:
    """Return all states, all cells, and what the backward pass needs of each sample's steps."""
    (steps, n, _), k = given.x.shape, given.wh.shape[0]
    h_all, c_all = np.empty((steps + 1, n, k), given.x.dtype), None
    c_all = None if given.c0 is None else np.empty_like(h_all)
    wx, wh = given.wx.tolist(), given.wh.tolist()
    rows = [] if given.b is None else np.atleast_2d(given.b).tolist()
    b = rows[0] if rows else [0.0] * given.wx.shape[1]
    b_h = rows[1] if len(rows) == 2 else [0.0] * given.wx.shape[1]
    kept = []
    for s in range(n):
        h: Row = given.h0[s].tolist()
        c: Row = [] if given.c0 is None else given.c0[s].tolist()
        h_all[0, s] = h
        if c_all is not None:
            c_all[0, s] = c
        saved: list[Any] = []
        for t in range(steps):
            if given.lengths is None or t < given.lengths[s]:
                a = _product(given.x[t, s].tolist(), wx, b)
                before = h, c
                if cell == "rnn":
                    h, more = _rnn_step(a, _product(h, wh, b_h), setting)
                elif cell == "lstm":
                    h, c, more = _lstm_step(a, _product(h, wh, b_h), c, setting)
                else:
                    h, more = _gru_step(a, h, wh, b_h, setting)
                saved.append((before, more))
            h_all[t + 1, s] = h
            if c_all is not None:
                c_all[t + 1, s] = c
        kept.append(saved)
    return h_all, c_all, tuple(kept)


def _product(row: Row, w: list[Row], b: Row) -> Row:
    """Return ``b + row @ w``."""
    out = []
    for j in range(len(b)):
        total = b[j]
        for p in range(len(row)):
            total += row[p] * w[p][j]
        out.append(total)
    return out


def _back_product(grad: Row, row: Row, w: list[Row], grad_w: list[Row]) -> Row:
    """Add ``row.T @ grad`` to the gradient of w, and return the row's, ``grad @ w.T``."""
    grad_row = []
    for p in range(len(row)):
        total = 0.0
        for j in range(len(grad)):
            grad_w[p][j] += row[p] * grad[j]
            total += grad[j] * w[p][j]
        grad_row.append(total)
    return grad_row


def _columns(w: list[Row], start: int, stop: int) -> list[Row]:
    return [row[start:stop] for row in w]


def _rnn_step(a: Row, q: Row, act: Any) -> tuple[Row, Any]:
    z = [a[j] + q[j] for j in range(len(a))]
    h = act.forward_row(z)
    return h, h if act.from_output else z


def _lstm_step(a: Row, q: Row, c: Row, gates: str) -> tuple[Row, Row, Any]:
    k = len(c)
    at_i, at_f, at_o, at_g = (k * gates.index(gate) for gate in "ifog")
    new_h, new_c, more = [], [], []
    for j in range(k):
        i, f = sigmoid(a[at_i + j] + q[at_i + j]), sigmoid(a[at_f + j] + q[at_f + j])
        o, g = sigmoid(a[at_o + j] + q[at_o + j]), tanh(a[at_g + j] + q[at_g + j])
        new_c.append(f * c[j] + i * g)
        new_h.append(o * tanh(new_c[j]))
        more.append((i, f, o, g, tanh(new_c[j])))
    return new_h, new_c, more


def _gru_step(a: Row, h: Row, wh: list[Row], b_h: Row, reset: str) -> tuple[Row, Any]:
    k = len(h)
    both = _product(h, _columns(wh, 0, 2 * k), b_h[: 2 * k])
    r = [sigmoid(a[j] + both[j]) for j in range(k)]
    z = [sigmoid(a[k + j] + both[k + j]) for j in range(k)]
    left = [r[j] * h[j] for j in range(k)] if reset == "before" else h
    q = _product(left, _columns(wh, 2 * k, 3 * k), b_h[2 * k :])
    new_h, n = [], []
    for j in range(k):
        n.append(tanh(a[2 * k + j] + (q[j] if reset == "before" else r[j] * q[j])))
        new_h.append((1.0 - z[j]) * n[j] + z[j] * h[j])
    return new_h, (r, z, n, q)


def _gradients(
    cache: RecurrentCache, grad_h: Array, grad_c: Array | None, names: list[str]
) -> dict[str, Array]:
    """Return all gradients, summed over samples, and steps from the last one to the first."""
    given, cell = cache.given, cache.cell
    (steps, n, d), (k, width) = given.x.shape, given.wh.shape
    wx, wh = given.wx.tolist(), given.wh.tolist()
    grad_x, grad_h0, grad_c0 = np.zeros_like(given.x), np.zeros((n, k)), np.zeros((n, k))
    grad_wx, grad_wh = ([[0.0] * width for _ in range(rows)] for rows in (d, k))
    grad_b, grad_b_h = [0.0] * width, [0.0] * width
    for s in range(n):
        dh, dc = [0.0] * k, [0.0] * k
        for t in reversed(range(steps)):
            for j in range(k):
                dh[j] += float(grad_h[t, s, j])
                dc[j] += 0.0 if grad_c is None else float(grad_c[t, s, j])
            if given.lengths is not None and t >= given.lengths[s]:
                continue
            (h, c), more = cache.kept[s][t]
            if cell == "gru":
                da, dq, dh = _gru_back(dh, h, more, wh, cache.setting, grad_wh)
            else:
                if cell == "rnn":
                    da = cache.setting.backward_row(dh, more)
                else:
                    da, dc = _lstm_back(dh, dc, c, more, cache.setting)
                dq, dh = da, _back_product(da, h, wh, grad_wh)
            grad_x[t, s] = _back_product(da, given.x[t, s].tolist(), wx, grad_wx)
            for j in range(width):
                grad_b[j] += da[j]
                grad_b_h[j] += dq[j]
        grad_h0[s], grad_c0[s] = dh, dc
    one = given.b is None or given.b.ndim == 1
    made = {"x": grad_x, "h0": grad_h0, "c0": grad_c0, "wx": grad_wx, "wh": grad_wh}
    made["b"] = grad_b if one else [grad_b, grad_b_h]
    with np.errstate(all="ignore"):
        return {name: np.array(grad, given.x.dtype) for name, grad in made.items()}


def _lstm_back(dh: Row, dc: Row, c: Row, more: Any, gates: str) -> tuple[Row, Row]:
    """Return the gradients of the gates and of the previous cells."""
    k = len(dh)
    at_i, at_f, at_o, at_g = (k * gates.index(gate) for gate in "ifog")
    da, before = [0.0] * (4 * k), []
    for j, (i, f, o, g, tanh_c) in enumerate(more):
        grad = dc[j] + dh[j] * o * tanh_slope_from_y(tanh_c)
        da[at_i + j] = grad * g * sigmoid_slope_from_y(i)
        da[at_f + j] = grad * c[j] * sigmoid_slope_from_y(f)
        da[at_o + j] = dh[j] * tanh_c * sigmoid_slope_from_y(o)
        da[at_g + j] = grad * i * tanh_slope_from_y(g)
        before.append(grad * f)
    return da, before


def _gru_back(
    dh: Row, h: Row, more: Any, wh: list[Row], reset: str, grad_wh: list[Row]
) -> tuple[Row, Row, Row]:
    """Return the gradients of a, of the products with wh, and of h; add to wh's."""
    k = len(h)
    r, z, n, q = more
    before = [dh[j] * z[j] for j in range(k)]
    dn = [dh[j] * (1.0 - z[j]) * tanh_slope_from_y(n[j]) for j in range(k)]
    dz = [dh[j] * (h[j] - n[j]) * sigmoid_slope_from_y(z[j]) for j in range(k)]
    left = [r[j] * h[j] for j in range(k)] if reset == "before" else h
    dq = dn if reset == "before" else [dn[j] * r[j] for j in range(k)]
    new, grad_new = _columns(wh, 2 * k, 3 * k), _columns(grad_wh, 2 * k, 3 * k)
    back = _back_product(dq, left, new, grad_new)
    dr = []
    for j in range(k):
        if reset == "before":
            dr.append(back[j] * h[j] * sigmoid_slope_from_y(r[j]))
            before[j] += back[j] * r[j]
        else:
            dr.append(dn[j] * q[j] * sigmoid_slope_from_y(r[j]))
            before[j] += back[j]
    both, grad_both = _columns(wh, 0, 2 * k), _columns(grad_wh, 0, 2 * k)
    back = _back_product(dr + dz, h, both, grad_both)
    for j in range(k):
        before[j] += back[j]
        grad_wh[j][: 2 * k], grad_wh[j][2 * k :] = grad_both[j], grad_new[j]
    return dr + dz + dn, dr + dz + dq, before
