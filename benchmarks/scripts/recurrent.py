"""Recurrent networks as scripts write them: a loop over the steps, and one back over them.

In none of them the products are the script's fault: what fastgrad leaves out are the loop, the
passes over each gate, and a product for every step where one for all steps will do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .script import Array, Params, Run, Script, copies, endless

__all__ = ["RECURRENT", "Characters", "Layer"]

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


# -- the scripts -----------------------------------------------------------------------------------


def starting(shapes: dict[str, tuple[int, ...]], dtype: str, scale: float) -> Params:
    """Return small weights, and biases of zero."""
    rng = np.random.default_rng(1)
    return {
        n: (scale * rng.standard_normal(s) if len(s) == 2 else np.zeros(s)).astype(dtype)
        for n, s in shapes.items()
    }


class Characters(Script):
    """The character model that everyone writes first."""

    name, bar = "min-char-rnn: 65-100, 25 steps, one sample, Adagrad, clipping", 5
    steps, letters, states = 25, 65, 100

    def __init__(self) -> None:
        t, d, k = self.steps, self.letters, self.states
        shapes = {"wx": (d, k), "wh": (k, k), "b": (k,), "wy": (k, d), "by": (d,)}
        self.start = starting(shapes, self.dtype, 0.1)
        self.multiply_adds = 3 * t * (k * k + k * d)  # the first product picks rows
        text = np.random.default_rng(2).integers(0, d, 40 * t + 1)
        self.batches = [(text[i : i + t], text[i + 1 : i + t + 1]) for i in range(0, 40 * t, t)]

    def by_hand(self) -> Run:
        p, batches, t, d = copies(self.start), endless(self.batches), self.steps, self.letters
        memory, h0 = {n: np.zeros_like(w) for n, w in p.items()}, np.zeros(self.states)

        def step() -> float:
            inputs, targets = next(batches)
            xs, hs, ps, loss = [], [h0], [], 0.0
            for i in range(t):
                x = np.zeros(d)
                x[inputs[i]] = 1
                xs.append(x)
                hs.append(np.tanh(x @ p["wx"] + hs[-1] @ p["wh"] + p["b"]))
                e = np.exp(hs[-1] @ p["wy"] + p["by"])
                ps.append(e / e.sum())
                loss -= np.log(ps[-1][targets[i]])
            grads, after = {n: np.zeros_like(v) for n, v in p.items()}, np.zeros(self.states)
            for i in reversed(range(t)):
                dy = ps[i].copy()
                dy[targets[i]] -= 1
                grads["wy"] += np.outer(hs[i + 1], dy)
                grads["by"] += dy
                da = (dy @ p["wy"].T + after) * (1 - hs[i + 1] ** 2)
                grads["wx"] += np.outer(xs[i], da)
                grads["wh"] += np.outer(hs[i], da)
                grads["b"] += da
                after = da @ p["wh"].T
            for grad in grads.values():
                np.clip(grad, -CLIP, CLIP, out=grad)
            adagrad(p, grads, memory)
            return loss

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, batches, t, d = copies(self.start), endless(self.batches), self.steps, self.letters
        h0, rows, opt = np.zeros(self.states), np.arange(t), fg.Adagrad(RATE, eps=EPS)
        loss_of = fg.losses.softmax_cross_entropy.value_and_grad

        def step() -> float:
            inputs, targets = next(batches)
            x = np.zeros((t, d))
            x[rows, inputs] = 1
            h, cache = fg.rnn_forward(x, h0, p["wx"], p["wh"], p["b"])
            y, last = fg.dense_forward(h, p["wy"], p["by"])
            loss, grad_y = loss_of(y, targets, "sum")
            grad_h, gwy, gby, _ = fg.dense_backward(grad_y, last)
            first = fg.rnn_backward(grad_h, cache, need=("wx", "wh", "b"))  # type: ignore[arg-type]
            grads = {"wx": first.wx, "wh": first.wh, "b": first.b, "wy": gwy, "by": gby}
            fg.clip_value(grads, CLIP)
            opt.step(p, grads)
            return loss

        return Run(step, lambda: p)


class Layer(Script):
    """One layer over time, given the slopes of its states; descent by hand."""

    def __init__(
        self, name: str, bar: float, cell: str, shape: tuple[int, int, int, int], dtype: str
    ) -> None:
        t, n, d, k = shape
        self.name, self.bar, self.cell, self.shape, self.dtype = name, bar, cell, shape, dtype
        gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
        self.multiply_adds = 3 * t * n * (d + k) * gates * k
        if cell == "gru":  # by hand the gates have weights of their own
            shapes: dict[str, tuple[int, ...]] = {}
            for gate in "rzn":
                shapes |= {f"wx_{gate}": (d, k), f"wh_{gate}": (k, k), f"b_{gate}": (k,)}
        else:
            shapes = {"wx": (d, gates * k), "wh": (k, gates * k), "b": (gates * k,)}
        self.start = starting(shapes, dtype, 1 / np.sqrt(k))
        self.x = np.random.default_rng(3).standard_normal((t, n, d)).astype(dtype)
        self.h0 = np.zeros((n, k), dtype)
        self.grad = self.x[..., :1] * np.ones(k, dtype) / (t * n)

    def together(self, params: Params) -> Params:
        """Return the parameters with the weights of all gates side by side."""
        if self.cell != "gru":
            return params
        parts = ("wx", "wh", "b")
        return {w: np.concatenate([params[f"{w}_{g}"] for g in "rzn"], -1) for w in parts}

    def by_hand(self) -> Run:
        p, passes = copies(self.start), {"rnn": rnn, "lstm": lstm, "gru": gru}[self.cell]

        def step() -> None:
            _, grads, _ = passes(p, self.x, self.h0, self.grad)
            descend(p, grads)

        return Run(step, lambda: self.together(p))

    def ours(self) -> Run:
        p = self.together(copies(self.start))
        forward = getattr(fg, f"{self.cell}_forward")
        backward = getattr(fg, f"{self.cell}_backward")
        states = (self.h0, self.h0) if self.cell == "lstm" else (self.h0,)

        def step() -> None:
            *_, cache = forward(self.x, *states, p["wx"], p["wh"], p["b"])
            grads = backward(self.grad, cache)
            descend(p, {"wx": grads.wx, "wh": grads.wh, "b": grads.b})

        return Run(step, lambda: p)


RECURRENT: tuple[Callable[[], Script], ...] = (
    Characters,
    lambda: Layer(
        "rnn 512-512, 16 steps, 25 samples, float32", 3, "rnn", (16, 25, 512, 512), "float32"
    ),
    lambda: Layer(
        "lstm 64-64, 16 steps, 25 samples, float64", 4, "lstm", (16, 25, 64, 64), "float64"
    ),
    lambda: Layer("gru 80-64, 20 steps, one sample", 5, "gru", (20, 1, 80, 64), "float64"),
)
