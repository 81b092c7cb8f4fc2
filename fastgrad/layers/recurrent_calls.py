"""The two compiled calls of recurrent layers, on checked arrays (`kernels.network.recurrent`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad.arrays import FLOAT32, FLOAT64, Array
from fastgrad.kernels.network import recurrent_table as at
from fastgrad.layers.compiled_entry import compiled_entry
from fastgrad.layers.recurrent_arguments import (
    RecurrentArguments,
    RecurrentCache,
    recurrent_results,
)

_NAMES = {FLOAT32: "float32", FLOAT64: "float64"}
_CODES = {
    ("rnn", None): at.RNN,
    ("lstm", None): at.LSTM,
    ("gru", "before"): at.GRU_BEFORE,
    ("gru", "after"): at.GRU_AFTER,
}


def _sizes(cell: str, setting: Any, given: RecurrentArguments) -> list[Any]:
    """Return a call's words up to the activation's: see `kernels.network.recurrent_table`."""
    (t, n, d), (k, width), size = given.x.shape, given.wh.shape, given.x.itemsize
    o_at, g_at = (3 * k, 2 * k) if setting == "ifgo" else (2 * k, 3 * k)
    strides = [step // size for step in (*given.wx.strides, *given.wh.strides)]
    return [
        _CODES[cell, setting if cell == "gru" else None],
        t,
        n,
        d,
        k,
        width,
        *strides,
        o_at,
        g_at,
    ]


def forward(cell: str, setting: Any, given: RecurrentArguments) -> Any:
    """Return the states of all steps, and the cache."""
    (t, n, _), (k, width), dtype = given.x.shape, given.wh.shape, given.dtypes.work
    b, c, tail, bn, activation = given.b, None, None, None, 0
    h = np.empty((t + 1, n, k), dtype)
    h[0] = given.h0
    kept: tuple[Array, ...] = ()
    if cell == "rnn":
        forward, keeping, _ = setting.record(_NAMES[dtype]).tolist()
        activation = forward if setting.from_output else keeping
        if not setting.from_output:
            kept = (np.empty((t, n, k), dtype),)
    else:
        kept = np.empty((t, n, width), dtype), np.empty((t, n, k), dtype)
        tail = kept[1]
    if given.c0 is not None:
        c = np.empty((t + 1, n, k), dtype)
        c[0] = given.c0
    if b is not None and b.ndim == 2:
        b, bn = np.concatenate([b[0, : 2 * k] + b[1, : 2 * k], b[0, 2 * k :]]), b[1, 2 * k :]
    if h[1:].size:
        compiled_entry("recurrent", "recurrent_forward", dtype)(
            *_sizes(cell, setting, given), activation, given.x, given.wx, given.wh, b, bn,
            given.lengths, h, c, kept[0] if kept else h[1:], tail,
        )  # fmt: skip
    return recurrent_results(cell, setting, given, h, c, kept)


def gradients(
    cache: RecurrentCache, grad_h: Array, grad_c: Array | None, names: list[str]
) -> dict[str, Array]:
    """Return the gradients of these names."""
    cell, given, h = cache.cell, cache.given, cache.h
    (t, n, d), (k, width), dtype = given.x.shape, given.wh.shape, given.dtypes.work
    shapes = {"x": (t, n, d), "wx": (d, width), "wh": (k, width)}
    made = {name: np.empty(shape, dtype) for name, shape in shapes.items() if name in names}
    made["h0"], made["c0"] = np.empty((n, k), dtype), np.zeros((n, k), dtype)
    gbn = None
    if given.b is not None and "b" in names:
        made["b"] = np.empty_like(given.b)
        gbn = made["b"][1, 2 * k :] if given.b.ndim == 2 else None
    if grad_h.size:
        activation = cache.setting.record(_NAMES[dtype]).tolist()[2] if cell == "rnn" else 0
        kept = *cache.kept, None, None
        compiled_entry("recurrent", "recurrent_backward", dtype)(
            *_sizes(cell, cache.setting, given), activation, given.x, given.wx, given.wh, None,
            None, given.lengths, h, cache.c, h[1:] if kept[0] is None else kept[0], kept[1],
            grad_h, grad_c, made["h0"], made["c0"], made.get("x"), made.get("wx"), made.get("wh"),
            made.get("b"), gbn,
        )  # fmt: skip
    else:
        for gradient in made.values():
            gradient[...] = 0
    if gbn is not None:
        made["b"][1, : 2 * k] = made["b"][0, : 2 * k]
    return made
