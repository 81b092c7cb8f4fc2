"""Batch normalization and dropout in each hidden layer, as courses' assignments have them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .adam import RATE, AdamByHand
from .script import Array, Params, Run, Script, copies, differences, endless, weights

__all__ = ["NORMALIZED", "Normalized"]

Draw = Callable[[Array, int, int], Array]
SEED, EPS, STAYS = 7, 1e-5, 0.9


def drawn(rate: float) -> Draw:
    """Return what draws a mask as scripts do, whatever the step and the layer."""
    rng = np.random.default_rng(SEED)
    return lambda h, step, layer: (rng.random(h.shape) >= rate) / h.dtype.type(1 - rate)


def counted(rate: float) -> Draw:
    """Return what gives fastgrad's mask, to compare with."""
    return lambda h, step, layer: fg.dropout_forward(
        np.ones_like(h), rate, SEED, step, layer=layer
    )[0]


class Normalized(Script):
    """Products, batch normalization, relu, dropout; a softmax; Adam."""

    name, bar, dtype = "batch norm + dropout net 784-128-128-10, batch 128, float32", 2.5, "float32"
    sizes, rate, random = (784, 128, 128, 10), 0.5, True

    def __init__(self) -> None:
        n, rng = 128, np.random.default_rng(8)
        self.start = weights(self.sizes, self.dtype)
        matrices = [p.size for p in self.start.values() if p.ndim == 2]
        self.multiply_adds = n * (3 * sum(matrices) - matrices[0])
        for i, k in enumerate(self.sizes[1:-1], start=1):
            self.start[f"gain{i}"] = np.ones(k, self.dtype)
            self.start[f"shift{i}"] = np.zeros(k, self.dtype)
            del self.start[f"b{i}"]  # the shift does that
        self.batches = [
            (rng.standard_normal((n, 784), dtype=np.float32), rng.integers(0, 10, n))
            for _ in range(32)
        ]

    def averages(self) -> list[tuple[Array, Array]]:
        """Return running means and variances to begin with."""
        hidden = self.sizes[1:-1]
        return [(np.zeros(k, self.dtype), np.ones(k, self.dtype)) for k in hidden]

    def by_hand(self, draw: Draw | None = None) -> Run:
        p, batches, mask_of = copies(self.start), endless(self.batches), draw or drawn(self.rate)
        adam, averages, count = AdamByHand(p), self.averages(), [0]

        def step() -> float:
            x, labels = next(batches)
            n, h, caches = len(x), x, []
            for i in (1, 2):
                z = h @ p[f"W{i}"]
                mean, variance = z.mean(axis=0), z.var(axis=0)
                for old, new in zip(averages[i - 1], (mean, variance), strict=True):
                    old[...] = STAYS * old + (1 - STAYS) * new
                root = np.sqrt(variance + EPS)
                normal = (z - mean) / root
                out = np.maximum(0, p[f"gain{i}"] * normal + p[f"shift{i}"])
                mask = mask_of(out, count[0], i)
                caches.append((h, normal, root, out, mask))
                h = out * mask
            scores = h @ p["W3"] + p["b3"]
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = e / e.sum(axis=1, keepdims=True)
            loss = -np.log(probabilities[np.arange(n), labels]).mean()
            dz = probabilities
            dz[np.arange(n), labels] -= 1
            dz /= n
            grads = {"W3": h.T @ dz, "b3": dz.sum(axis=0)}
            for i in (2, 1):
                h, normal, root, out, mask = caches[i - 1]
                grad = dz @ p[f"W{i + 1}"].T * mask * (out > 0)
                grads[f"gain{i}"], grads[f"shift{i}"] = (grad * normal).sum(0), grad.sum(0)
                grad = grad * p[f"gain{i}"]
                dz = (n * grad - grad.sum(0) - normal * (grad * normal).sum(0)) / (n * root)
                grads[f"W{i}"] = h.T @ dz
            adam.step(p, grads)
            count[0] += 1
            return float(loss)

        return Run(step, lambda: p)

    def agrees(self, run: Run, steps: int = 3) -> bool:
        return differences(self.by_hand(counted(self.rate)), run, steps) <= 1e-3

    def ours(self) -> Run:
        p, batches, averages = copies(self.start), endless(self.batches), self.averages()
        opt, count, rate = fg.Adam(RATE), [0], self.rate
        loss_of = fg.losses.softmax_cross_entropy.value_and_grad

        def step() -> float:
            x, labels = next(batches)
            h, caches = x, []
            for i in (1, 2):
                z, product = fg.dense_forward(h, p[f"W{i}"])
                normal, norm = fg.batch_norm_forward(
                    z, p[f"gain{i}"], p[f"shift{i}"], averages[i - 1], momentum=STAYS, eps=EPS
                )
                out = fg.relu(normal)
                h, dropped = fg.dropout_forward(out, rate, SEED, count[0], layer=i)
                caches.append((product, norm, out, dropped))
            scores, last = fg.dense_forward(h, p["W3"], p["b3"])
            loss, grad = loss_of(scores, labels)
            grad, w, b, _ = fg.dense_backward(grad, last)
            grads: Params = {"W3": w, "b3": b}
            for i in (2, 1):
                product, norm, out, dropped = caches[i - 1]
                grad = fg.relu.backward_from_output(fg.dropout_backward(grad, dropped), out)
                through = fg.batch_norm_backward(grad, norm)
                grads[f"gain{i}"], grads[f"shift{i}"] = through.gain, through.bias
                need = ("x", "w") if i > 1 else ("w",)
                grad, grads[f"W{i}"], _, _ = fg.dense_backward(through.x, product, need=need)
            opt.step(p, grads)
            count[0] += 1
            return loss

        return Run(step, lambda: p)


NORMALIZED: tuple[Callable[[], Script], ...] = (Normalized,)
