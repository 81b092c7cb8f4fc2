"""The way back from the loss, layer by layer: where the script leaves the right way, and how.

A `Path` is one explanation of all layers seen so far: its mistakes, and the dz it goes on with. At
each layer a path that fits goes on at no cost. One that does not is given each mistake of the table
at this layer's steps; those that give the script's numbers make new paths, one dearer. A mistake on
the main line (loss, input, activation) must explain dw and db of this layer, and what follows is
judged given it; one in dw or db explains that array alone. The cheapest path at the end is the
diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.factors import Factors
from fastgrad.diagnosis.network.leaves import Leaves
from fastgrad.diagnosis.network.model import Bounds, Model
from fastgrad.diagnosis.network.named import (
    EQUALLY,
    ROUNDING,
    UNEXPLAINED,
    Named,
    Option,
    best,
    merged,
)
from fastgrad.diagnosis.network.seen import NEAR, Seen
from fastgrad.diagnosis.network.stems import Stems
from fastgrad.diagnosis.network.step import Step

__all__ = ["Given", "Path", "Right", "Walk"]

Slot = tuple[str, int]

KEPT = 6  # paths
DEARER = 1.0  # than the cheapest, and still kept: the layers before may decide otherwise


@dataclass(eq=False)
class Path:
    """One explanation of the layers after this one."""

    cost: float = 0.0
    slots: tuple[tuple[Named, ...], ...] = ()
    above: Array | None = None  # dz of the layer after
    above_error: Array | None = None
    above_grad: Array | None = None
    later: dict[int, Array] = field(default_factory=dict)
    lost: bool = False  # what follows is not known, as dz is not


class Walk:
    """The search on one model of the forward pass, for one set of gradients."""

    def __init__(self, model: Model, unit: float, given: Given) -> None:
        self.model, self.bounds, self.given = model, Bounds(model, unit), given
        self.factors = Factors(model)
        self.next_best: dict[tuple[int, str], float] = {}
        self._stems: dict[int, Stems] = {}  # of the right way: the most work, and asked for again
        self.right: dict[int, Right] = {}
        above = None
        for layer in range(model.layers, 0, -1):
            above = self.right[layer] = self._right(layer, above)
        self.worst = {slot: self._worst(slot) for slot in given.gradients}

    @property
    def ok(self) -> bool:
        """Whether all arrays are right to rounding."""
        return all(worst <= 1.0 for worst, _ in self.worst.values())

    def fits_last(self) -> bool:
        """Return whether the last layer's gradients are right, in which all mistakes show."""
        last = self.model.layers
        return all(worst <= 1.0 for slot, (worst, _) in self.worst.items() if slot[1] == last)

    def is_other(self, slot: Slot, other: Slot) -> bool:
        """Return whether an array of the script is the right one of another slot."""
        right = self.right[other[1]]
        apart = np.abs(self.given.gradients[slot] - right.made[other[0]])
        return _in_bounds(apart, right.near[other[0]]) <= 1.0

    def _right(self, layer: int, above: Right | None) -> Right:
        """Compute a layer's gradients and their bounds, on the right way."""
        m, bounds = self.model, self.bounds
        with np.errstate(all="ignore"):
            if above is None:
                grad, error = m.loss_grad, bounds.loss_grad
            else:
                grad = m.through_weights(layer + 1, above.grad_z)
                error = bounds.through_weights(layer + 1, above.grad_z, above.error)
            return self._onwards(layer, grad, error)

    def _onwards(self, layer: int, grad: Array, error: Array) -> Right:
        m, bounds = self.model, self.bounds
        grad_z = m.through_activation(layer, grad)
        error_z = bounds.through_activation(layer, grad, error)
        right, near = m.weights(layer, grad_z), bounds.weights(layer, grad_z, error_z)
        penalty = m.penalty(layer)
        if penalty is not None:
            right += penalty
        total, near_total = grad_z.sum(axis=0), bounds.bias(grad_z, error_z)
        return Right(grad, grad_z, error_z, {"w": right, "b": total}, {"w": near, "b": near_total})

    def _worst(self, slot: Slot) -> tuple[float, Array]:
        """Return the largest difference in units of the bound, and all, relative."""
        right = self.right[slot[1]]
        made, near = right.made[slot[0]], right.near[slot[0]]
        apart = np.abs(self.given.gradients[slot] - made)
        largest = max(float(np.abs(made).max(initial=0.0)), 1e-300)
        return _in_bounds(apart, near), apart / largest

    def run(self, limit: float = np.inf) -> list[Path]:
        """Return the cheapest explanations; none if all cost more than `limit`."""
        paths = [Path()]
        for layer in range(self.model.layers, 0, -1):
            paths = [p for p in self._layer(layer, paths, limit) if p.cost <= limit]
            if not paths:
                return []
        cheapest = min(p.cost for p in paths)
        return [p for p in paths if p.cost <= cheapest + 1e-9]

    def _layer(self, layer: int, paths: list[Path], limit: float) -> list[Path]:
        m = self.model
        given = self.given.gradients
        seen = Seen(m, layer, given["w", layer], given.get(("b", layer)), self.bounds.unit)
        standing = [self._stand(layer, path, seen) for path in paths]
        fitting = [s for s in standing if s.fits_weights and s.fits_bias]
        cheapest = min((s.path.cost for s in fitting), default=np.inf)
        found = [
            self._on(s, Option((), 0.0, s.step.grad_z, s.step.grad, s.error, s.path.lost))
            for s in fitting
        ]
        for s in standing:
            # A path that must add a mistake where another fits, at no lower cost, is behind it.
            room = limit - s.path.cost
            if s in fitting or s.path.cost + 1.0 > cheapest + DEARER or room < 1.0:
                continue
            found += [self._on(s, option) for option in self._options(s, room)]
        if not found:
            return []
        lowest = min(p.cost for p in found)
        kept = [p for p in found if p.cost <= lowest + DEARER]
        return sorted(kept, key=lambda p: p.cost)[:KEPT]

    def _stand(self, layer: int, path: Path, seen: Seen) -> Standing:
        """Compute the right way on from a path, and compare the layer with it."""
        m, given = self.model, self.given
        right = self.right[layer]
        if path.above is not None and path.above is not self.right[layer + 1].grad_z:
            assert path.above_error is not None
            with np.errstate(all="ignore"):
                right = self._onwards(
                    layer,
                    m.through_weights(layer + 1, path.above),
                    self.bounds.through_weights(layer + 1, path.above, path.above_error),
                )
        fits = {
            role: (role == "b" and seen.bias is None)
            or _in_bounds(np.abs(given.gradients[role, layer] - right.made[role]), right.near[role])
            <= 1.0
            for role in ("w", "b")
        }
        if not all(fits.values()):
            seen.measure(right.grad_z, right.near["w"], right.near["b"])
        updates = {i: given.gradients["w", i] for i in range(layer + 1, m.layers + 1)}
        step = Step(
            m, layer, right.grad, right.grad_z, path.above, path.above_grad, updates, path.later,
            lambda g: _gaps(seen, g),
        )  # fmt: skip
        return Standing(path, step, seen, right.error, fits["w"], fits["b"])

    def _on(self, s: Standing, option: Option) -> Path:
        """Return the path that goes on with an option."""
        if option.error is not None:
            error = option.error
        else:
            size = np.abs(option.grad_z)
            mean = np.sqrt((size * size).mean(axis=0)) if size.size else 0.0
            with np.errstate(all="ignore"):
                rho = float(np.nan_to_num(np.sqrt((s.error**2).sum() / (s.step.grad_z**2).sum())))
            error = rho * (size + mean)
        return Path(
            s.path.cost + option.cost,
            s.path.slots + option.slots,
            option.grad_z,
            error,
            option.grad,
            {**s.path.later, s.step.layer: option.grad_z},
            option.lost,
        )

    def _options(self, s: Standing, room: float) -> list[Option]:
        """Return what may be wrong at a layer, for at most `room`."""
        grad_z = self.given.grad_z.get(s.step.layer)
        if grad_z is None:
            if s.path.lost:
                return [Option((), 0.0, s.step.grad_z, s.step.grad, s.error, lost=True)]
            return self._candidates(s, room)
        if not s.path.lost:
            found = [o for o in self._candidates(s, room) if _near(o.grad_z, grad_z, s.seen.rho)]
            if found:
                return found
        return self._by_its_own_dz(s, grad_z) if room >= UNEXPLAINED else []

    def _by_its_own_dz(self, s: Standing, grad_z: Array) -> list[Option]:
        """Return the option that goes on with the script's dz, which no row explains."""
        i = s.step.layer
        text = f"dz{i} is not what its lines give, and no known mistake gives it"
        slots: list[tuple[Named, ...]] = []
        if not s.path.lost:
            slots.append((Named("unexplained", "activation", i, text, np.inf, UNEXPLAINED),))
        leaves = Leaves(s.step, s.seen, self.factors)
        features, tolerance = s.seen.of(grad_z)[None], s.seen.tolerance(grad_z)[None]
        fits = s.seen.judge(features, tolerance)
        for role, right in (("w", fits.weights[0]), ("b", fits.bias[0])):
            if right:
                continue
            make = leaves.weights if role == "w" else leaves.bias
            unknown = Named("unexplained", role, i, "", np.inf, UNEXPLAINED)
            slots.append(best(make(grad_z, s.step.grad) or [unknown]))
        cost = sum(slot[0].cost for slot in slots)
        return [Option(tuple(slots), cost, grad_z, s.step.grad)]

    def _candidates(self, s: Standing, room: float) -> list[Option]:
        """Return the mistakes that explain a layer's gradients, the cheapest first."""
        leaves = Leaves(s.step, s.seen, self.factors)
        on_weights = [] if s.fits_weights else leaves.weights(s.step.grad_z, s.step.grad)
        on_bias = [] if s.fits_bias else leaves.bias(s.step.grad_z, s.step.grad)
        if s.seen.bias is not None and (on_weights or on_bias) and (s.fits_weights or s.fits_bias):
            # One of two arrays is right, and the other's mistake is known.
            slot = best(on_weights or on_bias)
            self._remember(s, leaves)
            if slot[0].cost <= 1.0:
                return [Option((slot,), slot[0].cost, s.step.grad_z, s.step.grad, s.error)]
        right = s.step.grad_z is self.right[s.step.layer].grad_z
        stems = self._stems.get(s.step.layer) if right else None
        if stems is None:
            stems = Stems(s.step, s.seen, self.factors)
            if right:
                self._stems[s.step.layer] = stems
        options = stems.alone()
        if (s.fits_weights or on_weights) and (s.fits_bias or on_bias):
            slots = [best(found) for found in (on_weights, on_bias) if found]
            cost = sum(slot[0].cost for slot in slots)
            options.append(Option(tuple(slots), cost, s.step.grad_z, s.step.grad, s.error))
        lowest = min((o.cost for o in options), default=np.inf)
        if lowest > 1.0 and room >= 2.0:
            options += stems.with_a_leaf(leaves)
        lowest = min((o.cost for o in options), default=np.inf)
        if lowest > 2.0 and room > 2.0:
            options += stems.in_pairs()
        self._remember(s, leaves, stems)
        if not options and room >= UNEXPLAINED:
            options = [self._unexplained(s, on_weights, on_bias)]
        return merged(self._of_its_own_da(s, options))

    def _of_its_own_da(self, s: Standing, options: list[Option]) -> list[Option]:
        """Return the options that give the script's da, if it is given and any does."""
        given = self.given.grad.get(s.step.layer)
        if given is None or not options:
            return options
        apart = [_relative(o.grad, given) for o in options]
        for i, option in enumerate(options):  # a factor of dz: da may have it, or not
            if option.slots and option.slots[0][0].step == "activation":
                apart[i] = min(apart[i], _relative(s.step.grad, given))
        least = min(apart)
        if not least < NEAR:
            return options
        limit = max(EQUALLY * least, ROUNDING)
        return [o for o, far in zip(options, apart, strict=True) if far <= limit]

    def _remember(self, s: Standing, leaves: Leaves, stems: Stems | None = None) -> None:
        """Keep how far off the best of all other rows was."""
        i = s.step.layer
        self.next_best |= {(i, role): apart for role, apart in leaves.next_best.items()}
        if stems is not None:
            self.next_best[i, "stem"] = stems.next_best

    def _unexplained(self, s: Standing, weights: list[Named], bias: list[Named]) -> Option:
        """Return the option that no row explains: which arrays, and that all else hangs on it."""
        i, slots, cost, unknown = s.step.layer, [], 0.0, 0
        for role, fits, found in (("w", s.fits_weights, weights), ("b", s.fits_bias, bias)):
            if fits:
                continue
            if found:
                slots.append(best(found))
                cost += found[0].cost
                continue
            slots.append((Named("unexplained", role, i, "", np.inf, UNEXPLAINED),))
            cost += UNEXPLAINED
            unknown += 1
        lost = unknown == (1 if s.seen.bias is None else 2)
        return Option(tuple(slots), cost, s.step.grad_z, s.step.grad, s.error, lost)


@dataclass(eq=False)
class Right:
    """A layer on the right way: da, dz with its bound, dw and db with theirs."""

    grad: Array
    grad_z: Array
    error: Array
    made: dict[str, Array]
    near: dict[str, Array]


@dataclass(eq=False)
class Given:
    """What the script has, by slot: ``("w", 1)``, ``("b", 1)``; dz and da where they are given."""

    gradients: dict[Slot, Array]
    grad_z: dict[int, Array] = field(default_factory=dict)
    grad: dict[int, Array] = field(default_factory=dict)


@dataclass(eq=False)
class Standing:
    """A path at a layer: the right way on from there, and whether the script's arrays are it."""

    path: Path
    step: Step
    seen: Seen
    error: Array
    fits_weights: bool
    fits_bias: bool


def _near(made: Array, seen: Array, rho: float) -> bool:
    """Return whether a dz is the script's, by its size."""
    return _relative(made, seen) <= rho


def _relative(made: Array, seen: Array) -> float:
    """Return the length of a difference, relative to the longer of both; infinite for NaN."""
    with np.errstate(all="ignore"):
        apart = float(np.square(made - seen).sum()) ** 0.5
        larger = float(max(np.square(made).sum(), np.square(seen).sum())) ** 0.5
    if apart == 0.0:
        return 0.0
    return apart / larger if np.isfinite(larger) and np.isfinite(apart) else np.inf


def _in_bounds(apart: Array, near: Array) -> float:
    """Return the largest difference in units of twice the bound; infinite for NaN."""
    with np.errstate(all="ignore"):
        worst = float((apart / (2.0 * near + 1e-300)).max(initial=0.0))
    return worst if worst == worst else np.inf


def _gaps(seen: Seen, grad_z: Array) -> list[slice]:
    """Return which samples at the beginning or end of the batch, or single ones, seem left out."""
    n = len(grad_z)
    every = np.einsum("rn,nk->nrk", seen.left, grad_z)
    found: dict[tuple[int, int], slice] = {}
    # By dw and db together, and by each alone: one of them may have a mistake of its own.
    for rows in (slice(None), slice(0, seen.rows), slice(seen.rows, None)):
        mine, parts = seen.features[rows].reshape(-1), every[:, rows].reshape(n, -1)
        if not mine.size:
            continue
        total = parts.sum(axis=0)
        first = np.cumsum(parts, axis=0)[:-1]  # of the first 1, 2, ... samples
        kinds = (
            (first, np.arange(1, n), lambda i: (i + 1, n)),
            (total - first, n - np.arange(1, n), lambda i: (0, i + 1)),
            (total - parts, np.full(n, n - 1), lambda i: (i, i + 1)),
        )
        for made, kept, gone in kinds:
            for scale in (np.ones(len(made)), n / kept):
                apart = np.square(mine - scale[:, None] * made).sum(axis=1)
                i = int(np.argmin(apart))
                if apart[i] < 1e-4 * np.square(mine).sum():
                    found[gone(i)] = slice(*gone(i))
    return list(found.values())
