"""Agents: a policy that acts frame by frame, and an actor that a critic's slopes train."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .adam import RATE, AdamByHand
from .script import Array, Params, Run, Script, copies, endless, weights

__all__ = ["AGENTS", "Actor", "Policy"]


class Policy(Script):
    """A game's frames one at a time, 20 of them, then the gradient and RMSprop."""

    name, bar = "policy gradient 6400-200-1, single frames, RMSprop", 1.05
    alpha, eps, frames = 0.99, 1e-5, 20

    def __init__(self) -> None:
        d, k, rng = 6400, 200, np.random.default_rng(3)
        self.start = {
            "W1": rng.standard_normal((k, d)) / np.sqrt(d), "W2": rng.standard_normal(k) / 14,
        }  # fmt: skip
        self.multiply_adds = self.frames * (2 * d * k + 3 * k)
        self.episodes = [
            (
                (rng.random((self.frames, d)) < 0.05).astype(float),
                rng.standard_normal((self.frames, 1)), rng.random(self.frames),
            )
            for _ in range(4)
        ]  # fmt: skip

    def played(
        self, params: Params, episode: tuple[Array, Array, Array],
        forward: Callable[[Array], Array],
    ) -> Params:  # fmt: skip
        """Return the gradients of an episode, in which `forward` makes the hidden states."""
        seen, rewards, chances = episode
        hidden, slopes = [], []
        for x, chance in zip(seen, chances, strict=True):
            h = forward(x)
            up = 1 / (1 + np.exp(-np.dot(params["W2"], h)))
            hidden.append(h)
            slopes.append(up - (1.0 if chance < up else 0.0))
        states, slope = np.vstack(hidden), np.vstack(slopes) * rewards
        dh = slope * params["W2"]
        dh[states <= 0] = 0
        return {"W2": (states.T @ slope).ravel(), "W1": dh.T @ seen}

    def by_hand(self) -> Run:
        p, episodes = copies(self.start), endless(self.episodes)
        memory = {name: np.zeros_like(w) for name, w in p.items()}

        def forward(x: Array) -> Array:
            h = np.dot(p["W1"], x)
            h[h < 0] = 0
            return h

        def step() -> None:
            for name, g in self.played(p, next(episodes), forward).items():
                memory[name] = self.alpha * memory[name] + (1 - self.alpha) * g**2
                p[name] -= RATE * g / (np.sqrt(memory[name]) + self.eps)

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, episodes = copies(self.start), endless(self.episodes)
        opt = fg.RMSprop(RATE, alpha=self.alpha, eps=self.eps)

        def forward(x: Array) -> Array:
            return fg.dense(x, p["W1"], None, "relu", samples="columns")

        def step() -> None:
            opt.step(p, self.played(p, next(episodes), forward))

        return Run(step, lambda: p)


class Actor(Script):
    """An actor that a critic's dL/dy trains: dL/dx, Adam, and a target that follows slowly."""

    name, bar = "actor 256-256 given dL/dy, dL/dx, Adam, soft update", 2.5
    dtype, sizes, follow = "float32", (17, 256, 256, 6), 0.005
    activations = ("relu", "relu", "tanh")

    def __init__(self) -> None:
        n, rng = 64, np.random.default_rng(5)
        self.start = weights(self.sizes, self.dtype)
        self.multiply_adds = 3 * n * sum(p.size for p in self.start.values() if p.ndim == 2)
        self.batches = [
            (
                rng.standard_normal((n, 17), dtype=np.float32),
                rng.uniform(-0.5, 0.5, (n, 6)).astype("f4"),  # what the critic likes best
            )
            for _ in range(64)
        ]

    def by_hand(self) -> Run:
        p, target, batches = copies(self.start), copies(self.start), endless(self.batches)
        adam, follow = AdamByHand(p), self.follow

        def step() -> Array:
            x, liked = next(batches)
            inputs = [x]
            for i in (1, 2, 3):
                z = inputs[-1] @ p[f"W{i}"] + p[f"b{i}"]
                inputs.append(np.maximum(z, 0) if i < 3 else np.tanh(z))
            grads, grad = {}, (inputs[-1] - liked) / len(x)
            for i in (3, 2, 1):
                dz = grad * (1 - inputs[i] ** 2) if i == 3 else grad * (inputs[i] > 0)
                grads[f"W{i}"], grads[f"b{i}"] = inputs[i - 1].T @ dz, dz.sum(axis=0)
                grad = dz @ p[f"W{i}"].T
            adam.step(p, grads)
            for name, w in p.items():
                target[name] = follow * w + (1 - follow) * target[name]
            return grad

        return Run(step, lambda: p | {f"target_{name}": w for name, w in target.items()})

    def ours(self) -> Run:
        net = fg.MLP(self.sizes, self.activations, "mse", dtype=self.dtype)
        p, target = net.pack(self.start), net.pack(self.start)
        scratch, out = np.empty_like(p), {"params": np.empty_like(p)}
        batches, opt, follow = endless(self.batches), fg.Adam(RATE), self.follow

        def step() -> Array:
            x, liked = next(batches)
            y, tape = net.forward(p, x)
            grads = net.backward((y - liked) / len(x), tape, out=out)
            opt.step(p, grads.params)
            # target += follow * (p - target), in three passes over one vector
            np.subtract(p, target, out=scratch)
            np.multiply(scratch, follow, out=scratch)
            np.add(target, scratch, out=target)
            return grads.x  # type: ignore[no-any-return]

        def params() -> Params:
            slow = {f"target_{name}": w for name, w in net.named(target).items()}
            return net.named(p) | slow

        return Run(step, params)


AGENTS: tuple[Callable[[], Script], ...] = (Policy, Actor)
