"""Words and their neighbours: two tables of vectors, negative sampling, Adam on both tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastgrad as fg

from .adam import RATE, AdamByHand
from .script import Run, Script, copies, endless

__all__ = ["WORDS", "Words"]


class Words(Script):
    """512 pairs of words, with five words each that are no neighbours."""

    name, bar = "word embedding, 10,000 x 100, negative sampling, Adam", 3
    words, size, pairs, negatives = 10_000, 100, 512, 5

    def __init__(self) -> None:
        rng, k = np.random.default_rng(4), 1 + self.negatives
        self.start = {
            name: rng.standard_normal((self.words, self.size)) / self.size
            for name in ("inner", "outer")
        }
        self.multiply_adds = 3 * self.pairs * k * self.size
        self.batches = [
            (rng.integers(0, self.words, self.pairs), rng.integers(0, self.words, (self.pairs, k)))
            for _ in range(16)
        ]
        self.is_context = np.zeros((self.pairs, k))
        self.is_context[:, 0] = 1

    def by_hand(self) -> Run:
        p, batches = copies(self.start), endless(self.batches)
        adam = AdamByHand(p)

        def step() -> None:
            centre, others = next(batches)
            v, u = p["inner"][centre], p["outer"][others]
            scores = np.einsum("nd,nkd->nk", v, u)
            slope = (1 / (1 + np.exp(-scores)) - self.is_context) / self.pairs
            grads = {name: np.zeros_like(table) for name, table in p.items()}
            np.add.at(grads["inner"], centre, np.einsum("nk,nkd->nd", slope, u))
            np.add.at(grads["outer"], others, slope[..., None] * v[:, None])
            adam.step(p, grads)

        return Run(step, lambda: p)

    def ours(self) -> Run:
        p, batches, opt = copies(self.start), endless(self.batches), fg.Adam(RATE)
        sums = {name: np.empty_like(table) for name, table in p.items()}

        def step() -> None:
            centre, others = next(batches)
            v, of_centre = fg.embedding_forward(centre, p["inner"])
            u, of_others = fg.embedding_forward(others, p["outer"])
            scores = np.einsum("nd,nkd->nk", v, u)
            slope = (fg.sigmoid(scores) - self.is_context) / self.pairs
            grad_v, grad_u = np.einsum("nk,nkd->nd", slope, u), slope[..., None] * v[:, None]
            fg.embedding_backward(grad_v, of_centre, out={"table": sums["inner"]})
            fg.embedding_backward(grad_u, of_others, out={"table": sums["outer"]})
            opt.step(p, sums)

        return Run(step, lambda: p)


WORDS: tuple[Callable[[], Script], ...] = (Words,)
