"""A network with batch normalization and dropout between its layers, as courses have it.

The random numbers are each one's own, so steps are compared with those of a script that draws
fastgrad's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastgrad as fg

from .adam import RATE, AdamByHand
from .script import Array, Params, Run, Script, copies, differences, endless

__all__ = ["REGULARIZED", "BatchNormAndDropout"]

Draw = Callable[[int, int, tuple[int, ...]], Array]


class BatchNormAndDropout(Script):
    """Products, batch normalization, relu and dropout, twice; a softmax; Adam."""

    name, bar, dtype = "batch norm + dropout net 784-128-128-10", 2.5, "float32"
    random = True
    sizes, samples, rate, momentum, eps, seed = (784, 128, 128, 10), 128, 0.5, 0.9, 1e-5, 7

    def __init__(self) -> None:
        rng, (d, k, m, classes) = np.random.default_rng(8), self.sizes
        self.start: Params = {}
        for i, shape in enumerate(((d, k), (k, m), (m, classes)), start=1):
            scale = np.sqrt(1 / shape[0])
            self.start[f"W{i}"] = (rng.standard_normal(shape) * scale).astype("f4")
        for i, width in enumerate((k, m), start=1):
            self.start[f"gain{i}"] = np.ones(width, "f4")
            self.start[f"shift{i}"] = np.zeros(width, "f4")
        self.start["b3"] = np.zeros(classes, "f4")
        n, products = self.samples, d * k + k * m + m * classes
        self.multiply_adds = n * (3 * products - d * k)
        self.batches = [
            (
                rng.standard_normal((n, d), dtype=np.float32),
                rng.integers(0, classes, n).astype(np.uint8),
            )
            for _ in range(32)
        ]

    def running(self) -> dict[str, Any]:
        """Return the running mean and variance of each layer."""
        return {
            f"bn{i}": (np.zeros(k, "f4"), np.ones(k, "f4"))
            for i, k in enumerate(self.sizes[1:3], start=1)
        }

    def by_hand(self) -> Run:
        rng, keep = np.random.default_rng(self.seed), np.float32(1 - self.rate)

        def draw(step: int, layer: int, shape: tuple[int, ...]) -> Array:
            made: Array = (rng.random(shape, dtype=np.float32) < keep) / keep
            return made

        return self.with_masks(draw)

    def agrees(self, run: Run, steps: int = 3) -> bool:
        def draw(step: int, layer: int, shape: tuple[int, ...]) -> Array:
            ones = np.ones(shape, np.float32)
            return fg.dropout_forward(ones, self.rate, self.seed, step, layer=layer)[0]

        return differences(self.with_masks(draw), run, steps) <= 1e-3

    def with_masks(self, draw: Draw) -> Run:
        """Return the script in NumPy, with masks from `draw`."""
        p, batches, running = copies(self.start), endless(self.batches), self.running()
        adam, stays, eps, count = AdamByHand(p), self.momentum, self.eps, 0

        def step() -> float:
            nonlocal count
            x, labels = next(batches)
            n, kept, y = len(x), [], x
            for i in (1, 2):
                a = y @ p[f"W{i}"]
                mean, variance = a.mean(axis=0), a.var(axis=0)
                average = running[f"bn{i}"]
                average[0][:] = stays * average[0] + (1 - stays) * mean
                average[1][:] = stays * average[1] + (1 - stays) * variance
                deviation = np.sqrt(variance + eps)
                h = (a - mean) / deviation
                z = p[f"gain{i}"] * h + p[f"shift{i}"]
                mask = draw(count, i, z.shape)
                kept.append((y, h, deviation, z, mask))
                y = np.maximum(z, 0) * mask
            count += 1
            scores = y @ p["W3"] + p["b3"]
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = e / e.sum(axis=1, keepdims=True)
            loss = -np.log(probabilities[np.arange(n), labels]).mean()
            probabilities[np.arange(n), labels] -= 1
            back = probabilities / n
            grads = {"W3": y.T @ back, "b3": back.sum(axis=0)}
            back = back @ p["W3"].T
            for i in (2, 1):
                y, h, deviation, z, mask = kept[i - 1]
                dz = back * mask * (z > 0)
                gain = p[f"gain{i}"]
                of_gain, of_shift = (dz * h).sum(axis=0), dz.sum(axis=0)
                da = gain / deviation / n * (n * dz - of_shift - h * of_gain)
                grads[f"gain{i}"], grads[f"shift{i}"] = of_gain, of_shift
                grads[f"W{i}"] = y.T @ da
                if i > 1:
                    back = da @ p[f"W{i}"].T
            adam.step(p, grads)
            return float(loss)

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, batches, running = copies(self.start), endless(self.batches), self.running()
        opt, rate, seed, count = fg.Adam(RATE), self.rate, self.seed, 0

        def step() -> float:
            nonlocal count
            y, labels = next(batches)
            kept: list[Any] = []
            for i in (1, 2):
                a, dense = fg.dense_forward(y, p[f"W{i}"])
                z, norm = fg.batch_norm_forward(a, p[f"gain{i}"], p[f"shift{i}"], running[f"bn{i}"])
                y, drop = fg.dropout_forward(fg.relu(z), rate, seed, count, layer=i)
                kept.append((dense, norm, z, drop))
            count += 1
            scores, last = fg.dense_forward(y, p["W3"], p["b3"])
            loss, grad = fg.losses.softmax_cross_entropy.value_and_grad(scores, labels)
            grads = {}
            back, grads["W3"], grads["b3"], _ = fg.dense_backward(grad, last)
            for i in (2, 1):
                dense, norm, z, drop = kept[i - 1]
                dz = fg.relu.backward(fg.dropout_backward(back, drop), z)
                da, grads[f"gain{i}"], grads[f"shift{i}"] = fg.batch_norm_backward(dz, norm)
                need = ("x", "w") if i > 1 else ("w",)
                back, grads[f"W{i}"], _, _ = fg.dense_backward(da, dense, need=need)
            opt.step(p, grads)
            return loss

        return Run(step, lambda: p)


REGULARIZED: tuple[Callable[[], Script], ...] = (BatchNormAndDropout,)
