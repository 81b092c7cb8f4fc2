"""Networks of dense layers as scripts train them: dicts of parameters, and Adam by hand.

In most of them the optimizer takes as long as the layers: a dozen passes over every array, each
with an array of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

import fastgrad as fg

from .step import Array, Params, Step

RATE, DECAY = 1e-3, 1e-3
B1, B2, EPS = 0.9, 0.999, 1e-8


class AdamByHand:
    """Adam as scripts have it: dicts of moments, a step at a time."""

    def __init__(self, params: Params) -> None:
        self.m = {name: np.zeros_like(p) for name, p in params.items()}
        self.v = {name: np.zeros_like(p) for name, p in params.items()}
        self.t = 0

    def step(self, params: Params, grads: Params) -> None:
        """Update all parameters."""
        self.t += 1
        for name, g in grads.items():
            self.m[name] = B1 * self.m[name] + (1 - B1) * g
            self.v[name] = B2 * self.v[name] + (1 - B2) * g**2
            m_hat = self.m[name] / (1 - B1**self.t)
            v_hat = self.v[name] / (1 - B2**self.t)
            params[name] -= RATE * m_hat / (np.sqrt(v_hat) + EPS)


def network(sizes: tuple[int, ...], dtype: str) -> tuple[Params, Params]:
    """Return the same parameters twice: W1, b1, W2, ..."""
    rng = np.random.default_rng(1)
    params = {}
    for i, (d, k) in enumerate(pairwise(sizes), start=1):
        params[f"W{i}"] = (rng.standard_normal((d, k)) * np.sqrt(2 / d)).astype(dtype)
        params[f"b{i}"] = np.zeros(k, dtype)
    return params, {name: p.copy() for name, p in params.items()}


def samples(n: int, sizes: tuple[int, ...], dtype: str) -> tuple[Array, Array]:
    """Return inputs, and labels as bytes."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, sizes[0])).astype(dtype)
    return x, rng.integers(0, sizes[-1], n).astype(np.uint8)


def classified_by_hand(params: Params, x: Array, labels: Array, dx: bool = False) -> Params:
    """Return the gradients of relu layers and a softmax; with `dx` also make that of x."""
    count, inputs = len(params) // 2, [x]
    for i in range(1, count + 1):
        z = inputs[-1] @ params[f"W{i}"] + params[f"b{i}"]
        inputs.append(np.maximum(z, 0) if i < count else z)
    scores = inputs.pop()
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    grads = {"loss": -np.log(probabilities[rows, labels]).mean()}
    dz = probabilities
    dz[rows, labels] -= 1
    dz /= len(x)
    for i in range(count, 0, -1):
        grads[f"W{i}"], grads[f"b{i}"] = inputs[i - 1].T @ dz, dz.sum(axis=0)
        if i > 1 or dx:
            back = dz @ params[f"W{i}"].T
            dz = back * (inputs[i - 1] > 0) if i > 1 else back
    del grads["loss"]
    return grads


def classified(params: Params, x: Array, labels: Array) -> tuple[float, Params]:
    """Return the loss and the gradients, by fastgrad's layers."""
    count, caches = len(params) // 2, []
    for i in range(1, count + 1):
        relu = "relu" if i < count else None
        x, cache = fg.dense_forward(x, params[f"W{i}"], params[f"b{i}"], relu)
        caches.append(cache)
    loss, grad = fg.losses.softmax_cross_entropy.value_and_grad(x, labels)
    grads = {}
    for i in range(count, 0, -1):
        need = ("x", "w", "b") if i > 1 else ("w", "b")
        grad, grads[f"W{i}"], grads[f"b{i}"], _ = fg.dense_backward(grad, caches[i - 1], need=need)
    return loss, grads


def classifier(
    name: str, bar: float, sizes: tuple[int, ...], n: int, dtype: str, l2: float = 0.0
) -> Step:
    """A classifier with a dict of parameters."""
    hand, own = network(sizes, dtype)
    x, labels = samples(n, sizes, dtype)
    adam, opt = AdamByHand(hand), fg.Adam(RATE, weight_decay=l2)

    def by_hand() -> Params:
        grads = classified_by_hand(hand, x, labels, dx=l2 > 0)
        if l2:
            loss = 0.0
            for key, p in hand.items():
                if key[0] == "W":
                    loss += 0.5 * l2 * np.sum(p * p)
                    grads[key] += l2 * p
        adam.step(hand, grads)
        return hand

    def ours() -> Params:
        loss, grads = classified(own, x, labels)
        if l2:
            loss += sum(0.5 * l2 * np.vdot(p, p) for key, p in own.items() if key[0] == "W")
        opt.step(own, grads)
        return own

    return Step(name, bar, by_hand, ours)


def spiral() -> Step:
    """All samples at once, as often as it takes: here a script has one network, and so an MLP."""
    sizes = (2, 64, 3)
    hand, start = network(sizes, "f8")
    x, labels = samples(300, sizes, "f8")
    adam, opt = AdamByHand(hand), fg.Adam(RATE)
    net = fg.MLP(sizes, ("relu", None), "softmax_cross_entropy", dtype="float64")
    p = net.pack([(start["W1"], start["b1"]), (start["W2"], start["b2"])])
    own = dict(zip(start, [a for layer in net.layers(p) for a in layer], strict=True))

    def by_hand() -> Params:
        adam.step(hand, classified_by_hand(hand, x, labels))
        return hand

    def ours() -> Params:
        _, grad = net.value_and_grad(p, x, labels)
        opt.step(p, grad)
        return own

    return Step("2-64-3, 300 samples, float64, Adam", 3.5, by_hand, ours)


def policy() -> Step:
    """A game's frames one at a time, 20 of them, then the gradient and RMSprop."""
    frames, d, k = 20, 6400, 200
    rng = np.random.default_rng(3)
    hand = {"W1": rng.standard_normal((k, d)) / np.sqrt(d), "W2": rng.standard_normal(k) / 14}
    own = {name: p.copy() for name, p in hand.items()}
    seen = (rng.random((frames, d)) < 0.05).astype(float)
    rewards, chances = rng.standard_normal((frames, 1)), rng.random(frames)
    memory = {name: np.zeros_like(p) for name, p in hand.items()}
    opt = fg.RMSprop(RATE, alpha=0.99, eps=1e-5)

    def ended(model: Params, hidden: list[Array], slopes: list[float]) -> Params:
        states, slope = np.vstack(hidden), np.vstack(slopes) * rewards
        dh = slope * model["W2"]
        dh[states <= 0] = 0
        return {"W2": (states.T @ slope).ravel(), "W1": dh.T @ seen}

    def played(model: Params, forward: Callable[[Array], Array]) -> Params:
        hidden, slopes = [], []
        for x, chance in zip(seen, chances, strict=True):
            h = forward(x)
            up = 1 / (1 + np.exp(-np.dot(model["W2"], h)))
            hidden.append(h)
            slopes.append(up - (1.0 if chance < up else 0.0))
        return ended(model, hidden, slopes)

    def by_hand() -> Params:
        def forward(x: Array) -> Array:
            h = np.dot(hand["W1"], x)
            h[h < 0] = 0
            return h

        for name, g in played(hand, forward).items():
            memory[name] = 0.99 * memory[name] + (1 - 0.99) * g**2
            hand[name] -= RATE * g / (np.sqrt(memory[name]) + 1e-5)
        return hand

    def ours() -> Params:
        def forward(x: Array) -> Array:
            return fg.dense(x, own["W1"], None, "relu", samples="columns")

        opt.step(own, played(own, forward))
        return own

    name = "policy gradient 6400-200-1, single frames, RMSprop"
    return Step(name, 1.05, by_hand, ours)


def embedding() -> Step:
    """Words and their neighbours: 512 pairs, five words that are none, and Adam on both tables."""
    words, size, n, negatives = 10_000, 100, 512, 5
    rng = np.random.default_rng(4)
    hand = {name: rng.standard_normal((words, size)) / size for name in ("inner", "outer")}
    own = {name: p.copy() for name, p in hand.items()}
    centre = rng.integers(0, words, n)
    others = rng.integers(0, words, (n, 1 + negatives))
    is_context = np.zeros((n, 1 + negatives))
    is_context[:, 0] = 1
    adam, opt = AdamByHand(hand), fg.Adam(RATE)

    def by_hand() -> Params:
        v, u = hand["inner"][centre], hand["outer"][others]
        slope = (1 / (1 + np.exp(-np.einsum("nd,nkd->nk", v, u))) - is_context) / n
        grads = {name: np.zeros_like(p) for name, p in hand.items()}
        np.add.at(grads["inner"], centre, np.einsum("nk,nkd->nd", slope, u))
        np.add.at(grads["outer"], others, slope[..., None] * v[:, None])
        adam.step(hand, grads)
        return hand

    sums = {name: np.empty_like(p) for name, p in own.items()}

    def ours() -> Params:
        v, of_centre = fg.embedding_forward(centre, own["inner"])
        u, of_others = fg.embedding_forward(others, own["outer"])
        slope = (fg.sigmoid(np.einsum("nd,nkd->nk", v, u)) - is_context) / n
        grad_v, grad_u = np.einsum("nk,nkd->nd", slope, u), slope[..., None] * v[:, None]
        fg.embedding_backward(grad_v, of_centre, out={"table": sums["inner"]})
        fg.embedding_backward(grad_u, of_others, out={"table": sums["outer"]})
        opt.step(own, sums)
        return own

    return Step("word embedding, 10,000 x 100, negative sampling, Adam", 3, by_hand, ours)


def actor() -> Step:
    """An actor that a critic's dL/dy trains: dL/dx, Adam, and a target that follows slowly."""
    sizes, n, follow = (17, 256, 256, 6), 64, 0.005
    hand, start = network(sizes, "f4")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, sizes[0])).astype("f4")
    grad_y = (rng.standard_normal((n, sizes[-1])) / n).astype("f4")
    names = ("relu", "relu", "tanh")
    net = fg.MLP(sizes, ("relu", "relu", "tanh"), "mse", dtype="float32")
    p = net.pack([(start[f"W{i}"], start[f"b{i}"]) for i in (1, 2, 3)])
    own = dict(zip(start, [a for layer in net.layers(p) for a in layer], strict=True))
    target, flat_target = {name: q.copy() for name, q in hand.items()}, p.copy()
    adam, opt = AdamByHand(hand), fg.Adam(RATE)
    scratch = np.empty_like(p)

    def by_hand() -> Params:
        inputs = [x]
        for i in (1, 2, 3):
            z = inputs[-1] @ hand[f"W{i}"] + hand[f"b{i}"]
            inputs.append(np.maximum(z, 0) if i < 3 else np.tanh(z))
        grads, grad = {}, grad_y
        for i in (3, 2, 1):
            dz = grad * (1 - inputs[i] ** 2) if i == 3 else grad * (inputs[i] > 0)
            grads[f"W{i}"], grads[f"b{i}"] = inputs[i - 1].T @ dz, dz.sum(axis=0)
            grad = dz @ hand[f"W{i}"].T
        adam.step(hand, grads)
        for name, q in hand.items():
            target[name] = follow * q + (1 - follow) * target[name]
        return hand

    def ours() -> Params:
        y, caches = x, []
        for i, activation in enumerate(names, start=1):
            y, cache = fg.dense_forward(y, own[f"W{i}"], own[f"b{i}"], activation)
            caches.append(cache)
        grads, grad = {}, grad_y
        for i in (3, 2, 1):
            grad, grads[f"W{i}"], grads[f"b{i}"], _ = fg.dense_backward(grad, caches[i - 1])
        opt.step(own, grads)
        np.multiply(p, follow, out=scratch)
        np.multiply(flat_target, 1 - follow, out=flat_target)
        np.add(flat_target, scratch, out=flat_target)
        return own

    name = "actor 256-256 given dL/dy, dL/dx, Adam, soft update"
    return Step(name, 2.5, by_hand, ours)


def adam_alone() -> Step:
    """350,000 parameters in 12 arrays."""
    rng = np.random.default_rng(6)
    hand = {f"p{i}": rng.standard_normal(350_000 // 12).astype("f4") for i in range(12)}
    own = {name: p.copy() for name, p in hand.items()}
    grads = {name: rng.standard_normal(p.shape).astype("f4") for name, p in hand.items()}
    adam, opt = AdamByHand(hand), fg.Adam(RATE)

    def by_hand() -> Params:
        adam.step(hand, grads)
        return hand

    def ours() -> Params:
        opt.step(own, grads)
        return own

    return Step("Adam alone, 350,000 float32 in 12 arrays", 8, by_hand, ours)


def trained() -> Iterator[Step]:
    """Yield the steps of all scripts."""
    yield classifier(
        "dict net 784-128-128-10, batch 128, float32, uint8 labels, Adam", 2.2,
        (784, 128, 128, 10), 128, "f4",
    )  # fmt: skip
    yield classifier(
        "dict net 3072-5x100-10, batch 50, float32, L2, Adam", 2.3,
        (3072, 100, 100, 100, 100, 100, 10), 50, "f4", DECAY,
    )  # fmt: skip
    yield spiral()
    yield policy()
    yield embedding()
    yield actor()
    yield adam_alone()
