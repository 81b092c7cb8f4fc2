"""Mistakes in one array: planted in dw or db of a layer, given its dz."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.factors import Factors
from fastgrad.diagnosis.network.mistakes import AT, Mistake
from fastgrad.diagnosis.network.named import Named
from fastgrad.diagnosis.network.seen import NEAR, SLACK, Seen
from fastgrad.diagnosis.network.step import Along, Plus, Product, Step

__all__ = ["Leaves", "sentence_of"]

FEW_EQUATIONS = 3
ARRAYS = {"weights": "dw", "bias": "db"}


def sentence_of(step: Step, mistake: Mistake, details: str) -> str:
    """Return a row's sentence for a layer."""
    i = step.layer
    return mistake.sentence.format(
        i=i, h=i - 1, j=i + 1, details=details, act=step.act.name,
        before=f"a{i - 1}" if i > 1 else "x",
    )  # fmt: skip


class Leaves:
    """The results of all mistakes in dw or db of one layer, compared with the script."""

    def __init__(self, step: Step, seen: Seen, factors: Factors) -> None:
        self.step, self.seen, self.factors = step, seen, factors
        self.next_best = {"w": np.inf, "b": np.inf}

    def weights(self, grad_z: Array, grad: Array) -> list[Named]:
        """Return what explains dw, given dz and da."""
        seen, mine = self.seen, self.seen.of_weights
        special = self._special("weights", seen.weights)
        if special:
            return special
        step, found = replace(self.step, grad_z=grad_z, grad=grad), []
        data = Product(step.model.a[step.layer - 1], grad_z)
        with np.errstate(all="ignore"):
            for mistake in AT["weights"]:
                for details, result in mistake.plant(step):
                    made, c = seen.resolved(result)
                    words = details
                    if isinstance(result, Along):
                        if not abs(c) > 1e-12 or mine.size < FEW_EQUATIONS:
                            continue
                        words = self._share(c)
                    one = self._row(mistake, words, mine, seen.of_product(made),
                                    seen.near_product(made), 1.3 if result is not made else 1.0,
                                    result is made)  # fmt: skip
                    found += one
            forms: list[Any] = [data] if seen.penalty is None else [data, Plus(data, 0.0)]
            for result in forms:
                made = seen.of_product(result)
                if isinstance(result, Plus):  # a factor of all but the penalty
                    found += self._factor("weights", mine - seen.of_penalty, made, result)
                else:
                    found += self._factor("weights", mine, made, result)
        return found

    def bias(self, grad_z: Array, grad: Array) -> list[Named]:
        """Return what explains db, given dz and da."""
        seen = self.seen
        assert seen.bias is not None
        special = self._special("bias", seen.bias)
        if special:
            return special
        step, found, mine = replace(self.step, grad_z=grad_z, grad=grad), [], seen.bias[None]
        size = np.sqrt(np.einsum("ij,ij->j", grad_z, grad_z)) * len(grad_z) ** 0.5
        near = float(seen.rho_b.max()) * size + seen.floor[1]
        with np.errstate(all="ignore"):
            for mistake in AT["bias"]:
                for details, result in mistake.plant(step):
                    words, made, exact = details, result, True
                    if isinstance(result, Along):
                        square = float((result.direction**2).sum())
                        c = float(((seen.bias - result.start) * result.direction).sum()) / square
                        if not abs(c) > 1e-12 or mine.size < FEW_EQUATIONS:
                            continue
                        words, exact = self._share(c), False
                        made = result.start + c * result.direction
                    allowed = near + seen.rho * np.abs(made)
                    cost = 1.0 if exact else 1.3
                    found += self._row(mistake, words, mine, made[None], allowed, cost, exact)
            found += self._factor("bias", mine, grad_z.sum(axis=0)[None], None, near)
        if not found and (np.abs(seen.bias) <= near).all():
            text = f"db{step.layer} is zero but for rounding: a sum cancels"
            found.append(Named("zero", "bias", step.layer, text, 0.0))
        return found

    def _share(self, c: float) -> str:
        """Return the words for a penalty of an unknown coefficient."""
        m = self.step.model
        if m.l2 or m.l1:
            return f"times {c:.6g}"
        return f"of {c:.6g} * w, which the network does not have"

    def _special(self, step: str, array: Array) -> list[Named]:
        """Return what an array says by itself."""
        i, name = self.step.layer, f"{ARRAYS[step]}{self.step.layer}"
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            words = f"{name} has {bad} entries that are NaN or infinite"
            return [Named("not finite", step, i, words, np.inf)]
        if not array.any():
            return [Named("zero", step, i, f"{name} is zero: it was never written", 0.0)]
        return []

    def _row(
        self, mistake: Mistake, words: str, mine: Array, made: Array, near: Array, cost: float,
        factored: bool,
    ) -> list[Named]:  # fmt: skip
        """Return a row, with a factor or without, if it gives the script's numbers."""
        apart, fits = _compare(mine, made, near)
        text = sentence_of(self.step, mistake, words)
        if fits:
            return [Named(mistake.kind, mistake.step, self.step.layer, text, apart, cost)]
        role = "w" if mistake.step == "weights" else "b"
        if not np.isnan(apart):
            self.next_best[role] = min(self.next_best[role], apart)
        if not factored:
            return []
        square = float((made * made).sum())
        c = float((mine * made).sum()) / square if square > 0 else 0.0
        if not abs(c) > 1e-9:
            return []
        apart, fits = _compare(mine, c * made, abs(c) * near)
        if not fits:
            return []
        factor = self.factors.name(mistake.step, c, self._accuracy(role))
        if not factor.named:
            return []
        text = f"{text}, and {factor.words}"
        return [Named(mistake.kind, mistake.step, self.step.layer, text, apart, cost + 1.0)]

    def _accuracy(self, role: str) -> float:
        rho = self.seen.rho_w if role == "w" else self.seen.rho_b
        return 4.0 * float(rho.max(initial=0.0)) + 1e-15

    def _factor(
        self, step: str, mine: Array, made: Array, result: Any, near: Array | None = None
    ) -> list[Named]:
        """Return a factor alone."""
        square = float((made * made).sum())
        c = float((mine * made).sum()) / square if square > 0 else 0.0
        if not abs(c) > 1e-9:
            return []
        if near is None:
            near = self.seen.near_product(result)
        apart, fits = _compare(mine, c * made, abs(c) * near)
        if not fits:
            return []
        accuracy = self._accuracy("w" if step == "weights" else "b")
        factor = self.factors.name(step, c, accuracy)
        if not factor.named and mine.size < FEW_EQUATIONS:
            return []
        name = f"{ARRAYS[step]}{self.step.layer}"
        text = f"{name} has {factor.words}" if factor.kind != "mean for sum" else (
            f"{name} is {factor.words}"
        )  # fmt: skip
        if isinstance(result, Plus):
            text += ", all but the penalty"
        cost = 1.0 if factor.named else 1.6
        return [Named(factor.kind, step, self.step.layer, text, apart, cost)]


def _compare(mine: Array, made: Array, near: Array) -> tuple[float, bool]:
    """Return the relative difference, and whether it is rounding, column by column."""
    apart = mine - made
    squares = (apart * apart).sum(axis=0)
    larger = max(float((mine * mine).sum()), float((made * made).sum()))
    relative = float(np.sqrt(squares.sum() / larger)) if larger > 0 else 0.0
    if not np.isfinite(relative):
        return np.inf, False
    # Where nearly all cancels, the bound is as large as the array: that is no explanation.
    fits = relative < NEAR and bool((np.sqrt(squares) <= SLACK * near + 1e-300).all())
    return relative, fits
