"""Networks of dense layers as scripts train them: dicts of parameters, and Adam by hand.

In most of them the optimizer takes as long as the layers: a dozen passes over every array, each
with an array of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .adam import RATE, AdamByHand
from .script import Array, Params, Run, Script, copies, endless, weights

__all__ = ["CLASSIFIERS", "Classifier", "Counts"]


def by_hand(params: Params, x: Array, labels: Array, dx: bool) -> tuple[float, Params]:
    """Return the loss and the gradients of relu layers and a softmax; with `dx` also make x's."""
    count, inputs = len(params) // 2, [x]
    for i in range(1, count + 1):
        z = inputs[-1] @ params[f"W{i}"] + params[f"b{i}"]
        inputs.append(np.maximum(z, 0) if i < count else z)
    scores = inputs.pop()
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(probabilities[rows, labels]).mean()
    dz = probabilities
    dz[rows, labels] -= 1
    dz /= len(x)
    grads = {}
    for i in range(count, 0, -1):
        grads[f"W{i}"], grads[f"b{i}"] = inputs[i - 1].T @ dz, dz.sum(axis=0)
        if i > 1 or dx:
            back = dz @ params[f"W{i}"].T
            dz = back * (inputs[i - 1] > 0) if i > 1 else back
    return loss, grads


class Classifier(Script):
    """Relu layers and a softmax, Adam; labels are bytes, as files of images have them."""

    def __init__(
        self, name: str, bar: float, sizes: tuple[int, ...], n: int, dtype: str = "float32",
        batches: int = 32, l2: float = 0.0,
    ) -> None:  # fmt: skip
        self.name, self.bar, self.sizes, self.dtype, self.l2 = name, bar, sizes, dtype, l2
        self.start = weights(sizes, dtype)
        matrices = [p.size for p in self.start.values() if p.ndim == 2]
        self.multiply_adds = n * (3 * sum(matrices) - matrices[0])
        rng = np.random.default_rng(2)
        self.batches = [
            (
                rng.standard_normal((n, sizes[0]), dtype=np.dtype(dtype)),  # type: ignore[arg-type]
                rng.integers(0, sizes[-1], n).astype(np.uint8),
            )
            for _ in range(batches)
        ]

    def by_hand(self) -> Run:
        p, batches, l2 = copies(self.start), endless(self.batches), self.l2
        adam = AdamByHand(p)

        def step() -> float:
            loss, grads = by_hand(p, *next(batches), dx=l2 > 0)
            if l2:
                for key, w in p.items():
                    if key[0] == "W":
                        loss += 0.5 * l2 * np.sum(w * w)
                        grads[key] += l2 * w
            adam.step(p, grads)
            return loss

        return Run(step, lambda: p)

    def ours(self) -> Run:
        """The dict is views of a flat vector, and so one call does."""
        activations = ["relu"] * (len(self.sizes) - 2) + [None]
        net = fg.MLP(self.sizes, activations, "softmax_cross_entropy", dtype=self.dtype, l2=self.l2)
        p = net.named(net.pack(self.start))
        batches, opt = endless(self.batches), fg.Adam(RATE)

        def step() -> float:
            loss, grads = net.value_and_grad(p, *next(batches))
            opt.step(p, grads)
            return loss

        return Run(step, lambda: p)


class Counts(Script):
    """Whole numbers as inputs, labels in a list, tanh, descent: a first script about networks."""

    name, bar, sizes, rate = "integer x, labels in a list, 10-50-4", 2.5, (10, 50, 4), 0.1

    def __init__(self) -> None:
        self.start, n = weights(self.sizes, self.dtype), 100
        self.multiply_adds = n * (2 * 10 * 50 + 3 * 50 * 4)
        rng = np.random.default_rng(3)
        self.x = rng.integers(0, 4, (n, 10))
        self.labels: list[int] = rng.integers(0, 4, n).tolist()

    def by_hand(self) -> Run:
        p, x, labels = copies(self.start), self.x, self.labels

        def step() -> float:
            h = np.tanh(x @ p["W1"] + p["b1"])
            scores = h @ p["W2"] + p["b2"]
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = e / e.sum(axis=1, keepdims=True)
            loss = -np.log(probabilities[range(len(x)), labels]).mean()
            probabilities[range(len(x)), labels] -= 1
            dz2 = probabilities / len(x)
            dz1 = dz2 @ p["W2"].T * (1 - h**2)
            grads = {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}
            for key, grad in grads.items():
                p[key] -= self.rate * grad
            return loss

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, x, labels, rate = copies(self.start), self.x, self.labels, self.rate
        loss_of = fg.losses.softmax_cross_entropy.value_and_grad

        def step() -> float:
            h, first = fg.dense_forward(x, p["W1"], p["b1"], "tanh")
            scores, last = fg.dense_forward(h, p["W2"], p["b2"])
            loss, grad = loss_of(scores, labels)
            dh, *second = fg.dense_backward(grad, last)
            grads = fg.dense_backward(dh, first, need=("w", "b"))
            for key, g in (("W1", grads.w), ("b1", grads.b), ("W2", second[0]), ("b2", second[1])):
                p[key] -= rate * g
            return loss

        return Run(step, lambda: p)


CLASSIFIERS: tuple[Callable[[], Script], ...] = (
    lambda: Classifier(
        "dict net 784-128-128-10, batch 128, float32, uint8 labels, Adam", 2.2,
        (784, 128, 128, 10), 128,
    ),
    lambda: Classifier(
        "dict net 3072-5x100-10, batch 50, float32, L2, Adam", 2.3,
        (3072, 100, 100, 100, 100, 100, 10), 50, l2=1e-3,
    ),
    lambda: Classifier("2-64-3, 300 samples, float64, Adam", 3.5, (2, 64, 3), 300, "float64", 1),
    Counts,
)  # fmt: skip
