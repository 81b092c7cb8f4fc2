"""Adam by hand, and optimizers alone: as many passes over each array as there are operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .script import Array, Params, Run, Script, copies

__all__ = ["ALONE", "RATE", "AdamByHand", "Alone"]

RATE, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8


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


class MomentumByHand:
    def __init__(self, params: Params) -> None:
        self.v = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, params: Params, grads: Params) -> None:
        for name, g in grads.items():
            self.v[name] = 0.9 * self.v[name] + g
            params[name] -= RATE * self.v[name]


class RMSpropByHand:
    def __init__(self, params: Params) -> None:
        self.v = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, params: Params, grads: Params) -> None:
        for name, g in grads.items():
            self.v[name] = 0.99 * self.v[name] + (1 - 0.99) * g**2
            params[name] -= RATE * g / (np.sqrt(self.v[name]) + EPS)


class AdagradByHand:
    def __init__(self, params: Params) -> None:
        self.v = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, params: Params, grads: Params) -> None:
        for name, g in grads.items():
            self.v[name] += g * g
            params[name] -= RATE * g / (np.sqrt(self.v[name]) + EPS)


class Alone(Script):
    """The step of an optimizer on 12 arrays; it remembers `moments` numbers of each parameter."""

    dtype, parameters = "float32", 350_000

    def __init__(
        self,
        title: str,
        bar: float,
        moments: int,
        by_hand: Callable[[Params], AdamByHand | MomentumByHand | RMSpropByHand | AdagradByHand],
        ours: Callable[[], fg.optimizers.Optimizer],
    ) -> None:
        self.name = f"{title}: 350,000 float32 in 12 arrays"
        self.title, self.bar, self.moments = title, bar, moments
        self.make_by_hand, self.make_ours = by_hand, ours
        rng = np.random.default_rng(6)
        sizes = {f"p{i}": self.parameters // 12 for i in range(12)}
        self.start = {name: rng.standard_normal(n).astype("f4") for name, n in sizes.items()}
        self.grads = {name: rng.standard_normal(n).astype("f4") for name, n in sizes.items()}

    def by_hand(self) -> Run:
        p = copies(self.start)
        optimizer = self.make_by_hand(p)
        return Run(lambda: optimizer.step(p, self.grads), lambda: p)

    def ours(self) -> Run:
        p = copies(self.start)
        optimizer = self.make_ours()
        return Run(lambda: optimizer.step(p, self.grads), lambda: p)

    def least(self) -> Callable[[], Array]:
        """Return a call that reads and writes what a step must, and computes next to nothing.

        The gradient is read; parameters and moments are read and written in place.
        """
        p, g, *moments = (np.ones(self.parameters, "f4") for _ in range(2 + self.moments))

        def call() -> Array:
            for moment in moments:
                np.negative(moment, out=moment)
            return np.add(p, g, out=p)

        return call


ALONE: tuple[Callable[[], Script], ...] = (
    lambda: Alone("Adam", 8, 2, AdamByHand, lambda: fg.Adam(RATE)),
    lambda: Alone("SGD with momentum", 1, 1, MomentumByHand, lambda: fg.SGD(RATE, momentum=0.9)),
    lambda: Alone("RMSprop", 1, 1, RMSpropByHand, lambda: fg.RMSprop(RATE)),
    lambda: Alone("Adagrad", 1, 1, AdagradByHand, lambda: fg.Adagrad(RATE, eps=EPS)),
)
