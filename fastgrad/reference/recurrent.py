"""Recurrent layers over all their steps, forward and backward, in plain NumPy.

For t steps of n samples: x ``(t, n, d)``, states ``(t, n, k)``, wx ``(d, gates * k)``, wh
``(k, gates * k)``, b ``(gates * k,)``. A step computes ``a = x[t] @ wx + b``, then its gates
from a and from the previous state h, then the next state:

====  ===========================================================================================
rnn   ``h = act(a + h @ wh)``
lstm  ``i, f, o = sigmoid(...), g = tanh(...)`` of ``a + h @ wh``; ``c = f * c + i * g``,
      ``h = o * tanh(c)``
gru   ``r, z = sigmoid(a + h @ wh)``, ``h = (1 - z) * n + z * h``, with
      ``n = tanh(a + (r * h) @ wh)`` or ``n = tanh(a + r * (h @ wh + b_h))``
====  ===========================================================================================

The backward pass of a step turns the gradients of the state (and of the cells) into those of a, of
the product with wh, and of the previous state. A sample that has ended keeps its state.
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
    >>> from fastgrad.reference import rnn_forward
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
    >>> from fastgrad.reference import rnn_forward, rnn_backward
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
    >>> from fastgrad.reference import lstm_forward
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
    >>> from fastgrad.reference import lstm_forward, lstm_backward
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
    >>> from fastgrad.reference import gru_forward
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
    >>> from fastgrad.reference import gru_forward, gru_backward
    >>> h, cache = gru_forward([[1.0], [1.0]], [0.0], [[0.0, 0.0, 9.0]], [[0.0, 0.0, 0.0]])
    >>> gru_backward([1.0], cache).h0.round(3).tolist()
    [0.25]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "gru_backward", _gradients, RnnGrads, cache, grad_h, None, need, out, accumulate
    )


def _forward(
    cell: str, setting: Any, given: RecurrentArguments
) -> tuple[Array, Array | None, tuple[Array, ...]]:
    """Return all states, all cells, and what the backward pass needs of each step."""
    hs: list[Array] = [given.h0]
    cs: list[Any] = [given.c0]
    kept: list[tuple[Array, ...]] = []
    b = None if given.b is None else np.atleast_2d(given.b)
    with np.errstate(all="ignore"):
        for t, x in enumerate(given.x):
            h, c = hs[-1], cs[-1]
            a = x @ given.wx
            if b is not None:
                a += b[0]
            if cell == "rnn":
                z = a + h @ given.wh
                new = setting.apply(z)
                saved: tuple[Array, ...] = (new if setting.from_output else z,)
            elif cell == "lstm":
                new, c, saved = _lstm_step(a + h @ given.wh, c, setting)
            else:
                new, saved = _gru_step(a, h, given.wh, b, setting)
            if given.lengths is not None:
                live = (t < given.lengths)[:, None]
                new = np.where(live, new, h)
                c = None if c is None else np.where(live, c, cs[-1])
            hs.append(new)
            cs.append(c)
            kept.append(saved)
    cells = None if given.c0 is None else np.stack(cs)
    return np.stack(hs), cells, tuple(map(np.stack, zip(*kept, strict=True)))


def _gates(a: Array, setting: str) -> list[Array]:
    """Return the parts i, f, o, g of an LSTM's row of gates, or of their gradients."""
    parts = np.split(a, 4, axis=1)
    return [parts[setting.index(gate)] for gate in "ifog"]


def _lstm_step(a: Array, c: Any, setting: str) -> tuple[Array, Array, tuple[Array, ...]]:
    i, f, o, g = _gates(a, setting)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), tanh(g)
    c = f * c + i * g
    tanh_c = tanh(c)
    return o * tanh_c, c, (i, f, o, g, tanh_c)


def _gru_step(
    a: Array, h: Array, wh: Array, b: Array | None, setting: str
) -> tuple[Array, tuple[Array, ...]]:
    k = h.shape[1]
    both = a[:, : 2 * k] + h @ wh[:, : 2 * k]
    if b is not None and len(b) == 2:
        both += b[1, : 2 * k]
    r, z = sigmoid(both[:, :k]), sigmoid(both[:, k:])
    q = (r * h if setting == "before" else h) @ wh[:, 2 * k :]
    if b is not None and len(b) == 2:
        q += b[1, 2 * k :]
    n = tanh(a[:, 2 * k :] + (q if setting == "before" else r * q))
    return (1 - z) * n + z * h, (r, z, n, q)


def _gradients(
    cache: RecurrentCache, grad_h: Array, grad_c: Array | None, names: list[str]
) -> dict[str, Array]:
    """Return all gradients, summed over steps from the last one to the first."""
    given = cache.given
    wx, wh = given.wx, given.wh
    dh, dc = np.zeros_like(given.h0), np.zeros_like(given.h0)
    made = {"x": np.zeros_like(given.x), "wx": np.zeros_like(wx), "wh": np.zeros_like(wh)}
    if given.b is not None:
        made["b"] = np.zeros_like(given.b)
    with np.errstate(all="ignore"):
        for t in reversed(range(len(given.x))):
            dh = dh + grad_h[t]
            dc = dc if grad_c is None else dc + grad_c[t]
            ended = np.zeros(len(dh), bool) if given.lengths is None else t >= given.lengths
            passed_h, passed_c = (np.where(ended[:, None], d, 0) for d in (dh, dc))
            dh, dc = (np.where(ended[:, None], 0, d) for d in (dh, dc))
            h, saved = cache.h[t], [kept[t] for kept in cache.kept]
            if cache.cell == "rnn":
                da = dq = cache.setting.pull_back(dh, saved[0])
                made["wh"] += h.T @ dq
                dh = dq @ wh.T
            elif cache.cell == "lstm":
                assert cache.c is not None
                da, dc = _lstm_back(dh, dc, cache.c[t], saved, cache.setting)
                dq = da
                made["wh"] += h.T @ dq
                dh = dq @ wh.T
            else:
                da, dq, dh = _gru_back(dh, h, saved, wh, cache.setting, made["wh"])
            made["x"][t] = da @ wx.T
            made["wx"] += given.x[t].T @ da
            if given.b is not None:
                rows = np.atleast_2d(made["b"])
                rows[0] += da.sum(axis=0)
                if len(rows) == 2:
                    rows[1] += dq.sum(axis=0)
            dh, dc = dh + passed_h, dc + passed_c
    return made | {"h0": dh, "c0": dc}


def _lstm_back(
    dh: Array, dc: Array, c: Array, saved: list[Array], setting: str
) -> tuple[Array, Array]:
    """Return the gradients of the gates and of the previous cells."""
    i, f, o, g, tanh_c = saved
    dc = dc + dh * o * tanh_slope_from_y(tanh_c)
    da = np.empty((len(dh), 4 * dh.shape[1]), dh.dtype)
    for part, grad, slope in zip(
        _gates(da, setting),
        (dc * g, dc * c, dh * tanh_c, dc * i),
        (*map(sigmoid_slope_from_y, (i, f, o)), tanh_slope_from_y(g)),
        strict=True,
    ):
        part[...] = grad * slope
    return da, dc * f


def _gru_back(
    dh: Array, h: Array, saved: list[Array], wh: Array, setting: str, grad_wh: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of a, of the products with wh, and of h; add to wh's."""
    r, z, n, q = saved
    k = h.shape[1]
    dn = dh * (1 - z) * tanh_slope_from_y(n)
    dz = dh * (h - n) * sigmoid_slope_from_y(z)
    if setting == "before":
        dq, left = dn, r * h
        drh = dq @ wh[:, 2 * k :].T
        dr, before = drh * h * sigmoid_slope_from_y(r), drh * r
    else:
        dq, left = dn * r, h
        dr, before = dn * q * sigmoid_slope_from_y(r), dq @ wh[:, 2 * k :].T
    both = np.hstack([dr, dz])
    grad_wh[:, : 2 * k] += h.T @ both
    grad_wh[:, 2 * k :] += left.T @ dq
    before = before + dh * z + both @ wh[:, : 2 * k].T
    return np.hstack([both, dn]), np.hstack([both, dq]), before
