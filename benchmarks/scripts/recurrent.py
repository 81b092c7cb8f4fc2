"""Recurrent networks as scripts write them: a loop over the steps, and one back over them.

In none of them the products are the script's fault: what fastgrad leaves out are the loop, the
passes over each gate, and a product for every step where one for all steps will do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fastgrad as fg

from .step import Array, Params, Step

RATE, EPS, CLIP = 0.05, 1e-8, 5.0


def sigmoid(z: Array) -> Array:
    """Return the sigmoid, finite everywhere, as a course's assignment has it."""
    positive = z >= 0
    e = np.empty_like(z)
    e[positive], e[~positive] = np.exp(-z[positive]), np.exp(z[~positive])
    top = np.ones_like(z)
    top[~positive] = e[~positive]
    return top / (1 + e)


def adagrad(params: Params, grads: Params, memory: Params) -> None:
    for name, p in params.items():
        memory[name] += grads[name] * grads[name]
        p -= RATE * grads[name] / (np.sqrt(memory[name]) + EPS)


def descend(params: Params, grads: Params) -> None:
    for name, p in params.items():
        p -= RATE * grads[name]


# -- by hand ---------------------------------------------------------------------------------------


def rnn(params: Params, x: Array, h0: Array, grad: Array) -> tuple[Array, Params, Array]:
    wx, wh, b = params["wx"], params["wh"], params["b"]
    hs = [h0]
    for t in range(len(x)):
        hs.append(np.tanh(x[t] @ wx + hs[t] @ wh + b))
    grads, grad_x, after = {n: np.zeros_like(p) for n, p in params.items()}, np.empty_like(x), 0
    for t in reversed(range(len(x))):
        da = (grad[t] + after) * (1 - hs[t + 1] ** 2)
        grads["wx"] += x[t].T @ da
        grads["wh"] += hs[t].T @ da
        grads["b"] += da.sum(axis=0)
        grad_x[t], after = da @ wx.T, da @ wh.T
    return np.stack(hs[1:]), grads, grad_x


def lstm(params: Params, x: Array, h0: Array, grad: Array) -> tuple[Array, Params, Array]:
    wx, wh, b = params["wx"], params["wh"], params["b"]
    h, c, k, caches, hs = h0, np.zeros_like(h0), h0.shape[1], [], []
    for t in range(len(x)):
        a = x[t] @ wx + h @ wh + b
        i, f, o = sigmoid(a[:, :k]), sigmoid(a[:, k : 2 * k]), sigmoid(a[:, 2 * k : 3 * k])
        g = np.tanh(a[:, 3 * k :])
        new = f * c + i * g
        caches.append((h, c, i, f, o, g, np.tanh(new)))
        h, c = o * np.tanh(new), new
        hs.append(h)
    grads, grad_x = {n: np.zeros_like(p) for n, p in params.items()}, np.empty_like(x)
    dh, dc = np.zeros_like(h0), np.zeros_like(h0)
    for t in reversed(range(len(x))):
        h, c, i, f, o, g, tanh_c = caches[t]
        dh = dh + grad[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        di, df = dc * g * i * (1 - i), dc * c * f * (1 - f)
        do, dg = dh * tanh_c * o * (1 - o), dc * i * (1 - g**2)
        da = np.hstack((di, df, do, dg))
        grads["wx"] += x[t].T @ da
        grads["wh"] += h.T @ da
        grads["b"] += da.sum(axis=0)
        grad_x[t], dh, dc = da @ wx.T, da @ wh.T, dc * f
    return np.stack(hs), grads, grad_x


def gru(params: Params, x: Array, h0: Array, grad: Array) -> tuple[Array, Params, Array]:
    """Gates r, z and n have weights of their own; `ours` gets them side by side."""
    h, caches, hs = h0, [], []
    for t in range(len(x)):
        p = params
        r = sigmoid(x[t] @ p["wx_r"] + h @ p["wh_r"] + p["b_r"])
        z = sigmoid(x[t] @ p["wx_z"] + h @ p["wh_z"] + p["b_z"])
        n = np.tanh(x[t] @ p["wx_n"] + (r * h) @ p["wh_n"] + p["b_n"])
        caches.append((h, r, z, n))
        h = (1 - z) * n + z * h
        hs.append(h)
    grads, grad_x = {n: np.zeros_like(p) for n, p in params.items()}, np.empty_like(x)
    dh = np.zeros_like(h0)
    for t in reversed(range(len(x))):
        h, r, z, n = caches[t]
        dh = dh + grad[t]
        dn, dz = dh * (1 - z) * (1 - n**2), dh * (h - n) * z * (1 - z)
        reset = dn @ params["wh_n"].T
        dr = reset * h * r * (1 - r)
        grad_x[t] = 0
        before = dh * z + reset * r
        for gate, da, left in (("r", dr, h), ("z", dz, h), ("n", dn, r * h)):
            grads[f"wx_{gate}"] += x[t].T @ da
            grads[f"wh_{gate}"] += left.T @ da
            grads[f"b_{gate}"] += da.sum(axis=0)
            grad_x[t] += da @ params[f"wx_{gate}"].T
            if gate != "n":
                before = before + da @ params[f"wh_{gate}"].T
        dh = before
    return np.stack(hs), grads, grad_x


# -- the steps -------------------------------------------------------------------------------------


def recurrent() -> Iterator[Step]:
    """Yield the steps of the four scripts."""
    yield characters()
    yield layer("rnn 512-512, 16 steps, 25 samples, float32", 3, "rnn", (16, 25, 512, 512), "f4")
    yield layer("lstm 64-64, 16 steps, 25 samples, float64", 4, "lstm", (16, 25, 64, 64), "f8")
    yield layer("gru 80-64, 20 steps, one sample", 5, "gru", (20, 1, 80, 64), "f8")


def starting(shapes: dict[str, tuple[int, ...]], dtype: str, scale: float) -> list[Params]:
    """Return the same parameters twice."""
    rng = np.random.default_rng(1)
    params = {
        n: (scale * rng.standard_normal(s) if len(s) == 2 else np.zeros(s)).astype(dtype)
        for n, s in shapes.items()
    }
    return [params, {n: p.copy() for n, p in params.items()}]


def characters() -> Step:
    """The character model: 65 characters, 100 states, 25 steps, one sample, Adagrad, clipping."""
    t, d, k = 25, 65, 100
    shapes = {"wx": (d, k), "wh": (k, k), "b": (k,), "wy": (k, d), "by": (d,)}
    hand, own = starting(shapes, "f8", 0.1)
    hand_memory = {n: np.zeros_like(p) for n, p in hand.items()}
    optimizer = fg.Adagrad(lr=RATE, eps=EPS)
    text = np.random.default_rng(2).integers(0, d, t + 1)
    inputs, targets, h0 = text[:-1], text[1:], np.zeros(k)

    def by_hand() -> Params:
        p = hand
        xs, hs, ps, loss = [], [h0], [], 0.0
        for step in range(t):
            x = np.zeros(d)
            x[inputs[step]] = 1
            xs.append(x)
            hs.append(np.tanh(x @ p["wx"] + hs[-1] @ p["wh"] + p["b"]))
            e = np.exp(hs[-1] @ p["wy"] + p["by"])
            ps.append(e / e.sum())
            loss -= np.log(ps[-1][targets[step]])
        grads, after = {n: np.zeros_like(v) for n, v in p.items()}, np.zeros(k)
        for step in reversed(range(t)):
            dy = ps[step].copy()
            dy[targets[step]] -= 1
            grads["wy"] += np.outer(hs[step + 1], dy)
            grads["by"] += dy
            da = (dy @ p["wy"].T + after) * (1 - hs[step + 1] ** 2)
            grads["wx"] += np.outer(xs[step], da)
            grads["wh"] += np.outer(hs[step], da)
            grads["b"] += da
            after = da @ p["wh"].T
        for grad in grads.values():
            np.clip(grad, -CLIP, CLIP, out=grad)
        adagrad(p, grads, hand_memory)
        return p

    def ours() -> Params:
        p, x = own, np.zeros((t, d))
        x[np.arange(t), inputs] = 1
        h, cache = fg.rnn_forward(x, h0, p["wx"], p["wh"], p["b"])
        y, last = fg.dense_forward(h, p["wy"], p["by"])
        _, grad_y = fg.losses.softmax_cross_entropy.value_and_grad(y, targets, "sum")
        grad_h, gwy, gby, _ = fg.dense_backward(grad_y, last)
        first = fg.rnn_backward(grad_h, cache, need=("wx", "wh", "b"))  # type: ignore[arg-type]
        grads = {"wx": first.wx, "wh": first.wh, "b": first.b, "wy": gwy, "by": gby}
        fg.clip_value(grads, CLIP)
        optimizer.step(p, grads)
        return p

    return Step("min-char-rnn: 65-100, 25 steps, one sample, Adagrad, clipping", 5, by_hand, ours)


def layer(name: str, bar: float, cell: str, shape: tuple[int, int, int, int], dtype: str) -> Step:
    """Return a step of one layer, half the square of its states as the loss, descent by hand."""
    t, n, d, k = shape
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    if cell == "gru":
        shapes: dict[str, tuple[int, ...]] = {}
        for gate in "rzn":
            shapes |= {f"wx_{gate}": (d, k), f"wh_{gate}": (k, k), f"b_{gate}": (k,)}
    else:
        shapes = {"wx": (d, gates * k), "wh": (k, gates * k), "b": (gates * k,)}
    hand, own = starting(shapes, dtype, 1 / np.sqrt(k))
    x = np.random.default_rng(3).standard_normal((t, n, d)).astype(dtype)
    h0, grad = np.zeros((n, k), dtype), x[..., :1] * np.ones(k, dtype) / (t * n)
    if cell == "gru":  # ours keeps the gates side by side
        own = {w: np.concatenate([own[f"{w}_{g}"] for g in "rzn"], -1) for w in ("wx", "wh", "b")}
    pass_by_hand = {"rnn": rnn, "lstm": lstm, "gru": gru}[cell]

    def by_hand() -> Params:
        _, grads, _ = pass_by_hand(hand, x, h0, grad)
        descend(hand, grads)
        if cell == "gru":
            parts = ("wx", "wh", "b")
            return {w: np.concatenate([hand[f"{w}_{g}"] for g in "rzn"], -1) for w in parts}
        return hand

    def ours() -> Params:
        forward, backward = getattr(fg, f"{cell}_forward"), getattr(fg, f"{cell}_backward")
        states = (h0, h0) if cell == "lstm" else (h0,)
        *_, cache = forward(x, *states, own["wx"], own["wh"], own["b"])
        grads = backward(grad, cache)
        descend(own, {"wx": grads.wx, "wh": grads.wh, "b": grads.b})
        return own

    return Step(name, bar, by_hand, ours)
