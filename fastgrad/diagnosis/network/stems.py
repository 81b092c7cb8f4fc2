"""Mistakes on the main line: planted in the loss, the way to a layer, or its activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.factors import Factor, Factors
from fastgrad.diagnosis.network.leaves import Leaves, sentence_of
from fastgrad.diagnosis.network.mistakes import AT, Mistake
from fastgrad.diagnosis.network.named import Named, Option, best
from fastgrad.diagnosis.network.seen import NEAR, Seen
from fastgrad.diagnosis.network.step import Along, Step

__all__ = ["Stems"]

FACTOR = Mistake("factor", "activation", lambda s: iter(()), "dz{i} has {details}")
FEW_EQUATIONS = 3  # fewer numbers do not tell a factor from anything else
# One or two rows, and the da and dz they give.
Planted = tuple[tuple[tuple[Mistake, str], ...], Array, Array]


class Stems:
    """The results of all mistakes on the main line at one layer, compared with the script."""

    def __init__(self, step: Step, seen: Seen, factors: Factors) -> None:
        self.step, self.seen, self.factors = step, seen, factors
        self.top = step.above is None
        self.next_best = np.inf
        with np.errstate(all="ignore"):
            factor = replace_step(FACTOR, "loss" if self.top else "activation")
            self.planted: list[Planted] = [(((factor, ""),), step.grad, step.grad_z)]
            self.planted += list(self._single(step))
            self._compare()

    def _incoming(self, step: Step) -> Iterator[tuple[Mistake, str, Array, Array]]:
        """Yield each mistake in da, with its da and dz."""
        m, i = step.model, step.layer
        for mistake in AT["loss" if self.top else "input"]:
            for details, grad in mistake.plant(step):
                if isinstance(grad, Along):
                    start = m.through_activation(i, grad.start)
                    direction = m.through_activation(i, grad.direction)
                    for c in self._coefficients(start, direction):
                        words = f"a learning rate of {c:.6g}"
                        moved = grad.start + c * grad.direction
                        yield mistake, words, moved, start + c * direction
                    continue
                yield mistake, details, grad, m.through_activation(i, grad)

    def _coefficients(self, start: Array, direction: Array) -> list[float]:
        """Return the positive coefficients of `direction` that fit best: by dw, db, and both."""
        wanted, along = self.seen.features - self.seen.of(start), self.seen.of(direction)
        found: list[float] = []
        r = self.seen.rows
        for rows in (slice(None), slice(0, r), slice(r, None)):
            part = along[rows]
            square = float((part * part).sum())
            if not square > 0 or part.size < FEW_EQUATIONS:
                continue
            c = float((wanted[rows] * part).sum()) / square
            if c > 0 and all(abs(c - other) > 1e-9 * other for other in found):
                found.append(c)
        return found

    def _single(self, step: Step) -> Iterator[Planted]:
        self.incoming = []
        for mistake, details, grad, grad_z in self._incoming(step):
            self.incoming.append((mistake, details, grad))
            yield ((mistake, details),), grad, grad_z
        for mistake in AT["activation"]:
            for details, grad_z in mistake.plant(step):
                yield ((mistake, details),), step.grad, grad_z

    def _compare(self) -> None:
        seen = self.seen
        self.features = np.stack([seen.of(grad_z) for *_, grad_z in self.planted])
        self.tolerances = np.stack([seen.tolerance(grad_z) for *_, grad_z in self.planted])
        self.exact = seen.judge(self.features, self.tolerances)

    def _named(self, rows: tuple[tuple[Mistake, str], ...], apart: float) -> tuple[Named, ...]:
        return tuple(
            Named(m.kind, m.step, self.step.layer, sentence_of(self.step, m, words), apart)
            for m, words in rows
        )

    def _option(self, i: int, factor: Factor | None, apart: float, cost: float) -> Option:
        """Return the option of a planted mistake, with its factor."""
        rows, grad, grad_z = self.planted[i]
        slots = []
        for row, words in rows:
            if row.kind == "factor":
                continue
            slots.append((self._named(((row, words),), apart)[0],))
        if factor is not None:
            step = "loss" if self.top else "activation"
            row = replace_step(FACTOR, step)
            text = sentence_of(self.step, row, factor.words)
            slots.append((Named(factor.kind, step, self.step.layer, text, apart),))
            grad, grad_z = factor.value * grad, factor.value * grad_z
        return Option(tuple(slots), cost, grad_z, grad)

    def alone(self) -> list[Option]:
        """Return the mistakes that explain dw and db by themselves, or with a factor."""
        seen, found = self.seen, []
        fits = self.exact.weights & self.exact.bias & (self.exact.apart < NEAR)
        for i in np.flatnonzero(fits):
            if i:  # 0 is the right way itself
                found.append(self._option(int(i), None, float(self.exact.apart[i]), 1.0))
        others = self.exact.apart[1:][~fits[1:]]
        best_factor = seen.factors(self.features)
        for column in (0, 1)[: 1 if seen.bias is None else 2]:
            c = best_factor[:, column]
            verdicts = seen.judge(self.features, self.tolerances, c)
            good = verdicts.weights & verdicts.bias & (verdicts.apart < NEAR) & ~fits
            good &= np.abs(c) > 1e-9
            for i in np.flatnonzero(good):
                factor = self._factor(float(c[i]))
                if factor is None:
                    continue
                cost = (0.0 if i == 0 else 1.0) + (1.0 if factor.named else 1.6)
                found.append(self._option(int(i), factor, float(verdicts.apart[i]), cost))
            fits = fits | good
        self.next_best = float(others.min(initial=np.inf))
        return found or self._nothing()

    def _nothing(self) -> list[Option]:
        """Return the option that dz is zero, if all there is may be the rounding of sums."""
        seen, step = self.seen, self.step
        terms = seen.rho * seen.size_before * float(np.sqrt((step.grad_z**2).sum()))
        if float(np.sqrt((seen.features**2).sum())) > terms:
            return []
        place = "loss" if self.top else "activation"
        zero = Named("zero", place, step.layer, f"dz{step.layer} is zero", 0.0)
        noise = seen.rho * np.full_like(step.grad_z, np.abs(step.grad_z).max())
        return [Option(((zero,),), 1.0, np.zeros_like(noise), noise, error=noise)]

    def _factor(self, c: float) -> Factor | None:
        """Return a factor's name; None where there are too few numbers for one without a name."""
        step = "loss" if self.top else "activation"
        factor = self.factors.name(step, c, 4.0 * self.seen.rho + 1e-15)
        if not factor.named and self.seen.equations < FEW_EQUATIONS:
            return None
        return factor

    def with_a_leaf(self, leaves: Leaves) -> list[Option]:
        """Return mistakes that explain one of dw and db, with one that explains the other."""
        found: list[Option] = []
        seen = self.seen
        candidates = [(int(i), 1.0) for i in range(1, len(self.planted))]
        verdict = {(i, 1.0): (self.exact.weights[i], self.exact.bias[i]) for i, _ in candidates}
        best_factor = seen.factors(self.features)
        for column in (0, 1) if seen.bias is not None else ():
            fitted = best_factor[:, column]
            with_factor = seen.judge(self.features, self.tolerances, fitted)
            for i in range(len(self.planted)):
                if abs(fitted[i]) > 1e-9:
                    verdict[i, float(fitted[i])] = (with_factor.weights[i], with_factor.bias[i])
        for (i, c), (of_weights, of_bias) in verdict.items():
            if (of_weights and of_bias) or not (of_weights or of_bias):
                continue  # both: found already; none: no explanation
            factor = None
            if c != 1.0:
                factor = self._factor(c)
                if factor is None or not factor.named:
                    continue
            _, grad, grad_z = self.planted[i]
            grad, grad_z = c * grad, c * grad_z
            if of_weights and seen.bias is not None:
                rest = leaves.bias(grad_z, grad)
            else:
                rest = leaves.weights(grad_z, grad)
            if not rest:
                continue
            cost = (1.0 if i else 0.0) + (1.0 if factor else 0.0)
            option = self._option(i, factor, float(self.exact.apart[i]), cost)
            slot = best(rest)
            found.append(
                Option((*option.slots, slot), cost + slot[0].cost, option.grad_z, option.grad)
            )
        lowest = min((o.cost for o in found), default=0.0)
        return [o for o in found if o.cost <= lowest + 0.5]

    def in_pairs(self) -> list[Option]:
        """Return a mistake in da together with one in the activation."""
        pairs: list[Planted] = []
        with np.errstate(all="ignore"):
            for mistake, details, grad in self.incoming:
                inner = replace(self.step, grad=grad)
                inner.grad_z = self.step.model.through_activation(self.step.layer, grad)
                for second in AT["activation"]:
                    for words, grad_z in second.plant(inner):
                        pairs.append((((mistake, details), (second, words)), grad, grad_z))
            if not pairs:
                return []
            kept = self.planted, self.features, self.tolerances, self.exact, self.next_best
            self.planted = [self.planted[0], *pairs]
            self._compare()
            found = self.alone()
            self.planted, self.features, self.tolerances, self.exact, self.next_best = kept
        return [o for o in found if len(o.slots) > 1 and abs(o.cost % 1.0) < 1e-9]


def replace_step(mistake: Mistake, step: str) -> Mistake:
    """Return a row at another step."""
    return replace(mistake, step=step)
