"""Samples as columns: one sample ``(d, 1)`` at a time, and all of them side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .script import Array, Params, Run, Script, copies, endless, weights

__all__ = ["COLUMNS", "AllSamples", "OneSample"]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


class OneSample(Script):
    """Backpropagation of one sample ``(784, 1)``, called for each of ten; their gradients' sum."""

    name, bar = "one sample at a time, 784-30-10, summed over 10", 2
    sizes, rate, count = (784, 30, 10), 3.0, 10

    def __init__(self) -> None:
        self.start = weights(self.sizes, self.dtype, columns=True)
        self.multiply_adds = self.count * (2 * 784 * 30 + 3 * 30 * 10)
        rng = np.random.default_rng(4)
        digits = rng.integers(0, 10, (16, self.count))
        self.batches = [
            [(rng.random((784, 1)), np.eye(10)[:, [digit]]) for digit in some] for some in digits
        ]

    def by_hand(self) -> Run:
        p, batches = copies(self.start), endless(self.batches)

        def slopes(x: Array, y: Array) -> Params:
            z1 = np.dot(p["W1"], x) + p["b1"]
            a1 = sigmoid(z1)
            z2 = np.dot(p["W2"], a1) + p["b2"]
            a2 = sigmoid(z2)
            delta = (a2 - y) * sigmoid(z2) * (1 - sigmoid(z2))
            before = np.dot(p["W2"].T, delta) * sigmoid(z1) * (1 - sigmoid(z1))
            return {
                "W1": np.dot(before, x.T), "b1": before, "W2": np.dot(delta, a1.T), "b2": delta,
            }  # fmt: skip

        def step() -> None:
            total = {key: np.zeros(w.shape) for key, w in p.items()}
            for x, y in next(batches):
                grads = slopes(x, y)
                total = {key: total[key] + grads[key] for key in p}
            for key in p:
                p[key] = p[key] - (self.rate / self.count) * total[key]

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, batches, opt = copies(self.start), endless(self.batches), fg.SGD(self.rate / self.count)
        total = {key: np.zeros_like(w) for key, w in p.items()}
        out1, out2 = ({"w": total[f"W{i}"], "b": total[f"b{i}"]} for i in (1, 2))
        forward, backward = fg.dense_forward, fg.dense_backward

        def step() -> None:
            for i, (x, y) in enumerate(next(batches)):
                a1, first = forward(x, p["W1"], p["b1"], "sigmoid", samples="columns")
                a2, second = forward(a1, p["W2"], p["b2"], "sigmoid", samples="columns")
                grads = backward(a2 - y, second, out=out2, accumulate=i > 0)
                backward(grads.x, first, need=("w", "b"), out=out1, accumulate=i > 0)
            opt.step(p, total)

        return Run(step, lambda: p)


class AllSamples(Script):
    """209 images of 64 x 64 x 3, is it a cat? A list of caches, and gradients of every input."""

    name, bar = "columns 12288-20-7-5-1, 209 samples", 1.2
    sizes, rate = (12288, 20, 7, 5, 1), 0.0075

    def __init__(self) -> None:
        n = 209
        self.start = weights(self.sizes, self.dtype, columns=True)
        matrices = [p.size for p in self.start.values() if p.shape[1] > 1]
        self.multiply_adds = n * (3 * sum(matrices) - matrices[0])
        rng = np.random.default_rng(5)
        self.x = rng.random((12288, n))
        self.target = (rng.random((1, n)) < 0.3).astype(float)

    def by_hand(self) -> Run:
        p, x, y, last = copies(self.start), self.x, self.target, len(self.sizes) - 1

        def step() -> float:
            a, caches = x, []
            for i in range(1, last + 1):
                z = np.dot(p[f"W{i}"], a) + p[f"b{i}"]
                caches.append((a, z))
                a = np.maximum(0, z) if i < last else sigmoid(z)
            n = y.shape[1]
            loss = -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / n
            da, grads = -(y / a - (1 - y) / (1 - a)), {}
            for i in range(last, 0, -1):
                before, z = caches[i - 1]
                if i == last:
                    s = sigmoid(z)
                    dz = da * s * (1 - s)
                else:
                    dz = np.array(da, copy=True)
                    dz[z <= 0] = 0
                grads[f"W{i}"] = np.dot(dz, before.T) / n
                grads[f"b{i}"] = np.sum(dz, axis=1, keepdims=True) / n
                da = np.dot(p[f"W{i}"].T, dz)
            for key, grad in grads.items():
                p[key] = p[key] - self.rate * grad
            return float(loss)

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, x, y, last = copies(self.start), self.x, self.target, len(self.sizes) - 1
        loss_of = fg.losses.binary_cross_entropy_with_logits.value_and_grad
        opt = fg.SGD(self.rate)

        def step() -> float:
            a, caches, grads = x, [], {}
            for i in range(1, last + 1):
                relu = "relu" if i < last else None
                a, cache = fg.dense_forward(a, p[f"W{i}"], p[f"b{i}"], relu, samples="columns")
                caches.append(cache)
            loss, da = loss_of(a, y, samples="columns")
            for i in range(last, 0, -1):
                need = ("x", "w", "b") if i > 1 else ("w", "b")
                da, grads[f"W{i}"], grads[f"b{i}"], _ = fg.dense_backward(
                    da, caches[i - 1], need=need
                )
            opt.step(p, grads)
            return loss

        return Run(step, lambda: p)


COLUMNS: tuple[Callable[[], Script], ...] = (OneSample, AllSamples)
