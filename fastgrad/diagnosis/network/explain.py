"""The cheapest explanation of all that a script has: gradients, value, intermediates.

The way back is walked on the right way forward first. If that takes more than one mistake, the
mistakes of the way forward are planted, those between two steps, and those of the whole result:
arrays in each other's place, everything times a factor. The explanation with the fewest mistakes
is the diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.factors import Factors
from fastgrad.diagnosis.network.forward import FORWARD
from fastgrad.diagnosis.network.model import Bounds, Model
from fastgrad.diagnosis.network.named import UNEXPLAINED, Named
from fastgrad.diagnosis.network.training_steps import hypotheses, of_calls, vector
from fastgrad.diagnosis.network.walk import Given, Path, Slot, Walk

__all__ = ["Evidence", "Explanation", "explain"]

ORDER = "zya"  # of a layer's arrays on the way forward
MOST_TOLD = 3  # explanations that are as good
ROUGH = 1e-3  # relative difference of the last layer's gradient that is looked at more closely


@dataclass
class Evidence:
    """All that a script has, in the layout of rows."""

    given: Given
    unit: float
    value: float | None = None
    forward: dict[tuple[str, int], Array] = field(default_factory=dict)  # "z", "y", "a"
    before: Model | None = None  # where a callable was called before, and what it gave
    first: dict[Slot, Array] | None = None


@dataclass
class Explanation:
    """The mistakes in the order in which they enter, and the model of the script's way forward."""

    slots: tuple[tuple[Named, ...], ...]
    cost: float
    model: Model
    walk: Walk
    lost: bool = False
    equally: list[str] = field(default_factory=list)  # other explanations, as good


def explain(model: Model, evidence: Evidence) -> Explanation:
    """Return the cheapest explanation."""
    right = Walk(model, evidence.unit, evidence.given)
    standing = _forward_by_intermediates(model, evidence)
    walks = [
        (slots, right if at is model else Walk(at, evidence.unit, evidence.given))
        for slots, at in standing
    ]
    value_fits = _value_fits(model, evidence)
    found: list[Explanation] = []

    def settled(most: float) -> bool:
        return any(e.cost <= most and _value_fits(e.model, evidence) is not False for e in found)

    def walked(limit: float) -> None:
        for slots, walk in walks:
            found.extend(_walked(walk, slots, limit + sum(slot[0].cost for slot in slots)))

    # From cheap to dear: what takes two mistakes in the way back is no mistake of the way forward,
    # for that shows everywhere.
    walked(1.0)
    if not settled(1.0):
        found += _whole(model, evidence, right)
    if not settled(1.5):
        walked(2.0)
    if settled(1.0) and value_fits is None and not standing[0][0] and not right.fits_last():
        # sigmoid(-z) is 1 - sigmoid(z): its gradient may be that of another derivative, too.
        found += _forward(model, evidence, ("activation flipped",), 1.0)
    if not settled(2.0):
        # A mistake of the way forward shows in the last layer's gradient.
        if not standing[0][0] and not (right.fits_last() and value_fits is not False):
            found += _forward(model, evidence)
        if not settled(1.0):
            found += _between_steps(model, evidence)
    if not settled(2.0):
        walked(np.inf)
    if value_fits is False:
        fitting = [e for e in found if _value_fits(e.model, evidence)]
        found = fitting or [_with_value(e, evidence) for e in found]
    lowest = min(e.cost for e in found)
    return _together([e for e in found if e.cost <= lowest + 1e-9])


def _walked(walk: Walk, slots: tuple[tuple[Named, ...], ...], limit: float = np.inf
            ) -> list[Explanation]:  # fmt: skip
    cost = sum(slot[0].cost for slot in slots)
    paths = [Path()] if walk.ok else walk.run(limit - cost)
    return [Explanation((*slots, *p.slots), cost + p.cost, walk.model, walk, p.lost) for p in paths]


def _together(ties: list[Explanation]) -> Explanation:
    """Return one of several equal explanations, with what the others call it."""
    first = ties[0]
    slots = [list(slot) for slot in first.slots]
    own = {n.sentence for slot in slots for n in slot}
    for other in ties[1:]:
        theirs = [s for s in other.slots if not any(n.sentence in own for n in s)]
        mine = [
            i
            for i, s in enumerate(first.slots)
            if not any(n.sentence in {m.sentence for o in other.slots for m in o} for n in s)
        ]
        if len(theirs) == len(mine) == 1:
            slots[mine[0]] += [n for n in theirs[0] if n not in slots[mine[0]]]
        elif theirs and len(first.equally) < MOST_TOLD:
            first.equally.append("; ".join(f"{s[0].sentence} ({s[0].kind})" for s in theirs))
    return replace(first, slots=tuple(tuple(slot) for slot in slots))


# -- the way forward -------------------------------------------------------------------------------


def _sentence(sentence: str, m: Model, layer: int, details: str) -> str:
    before = f"a{layer - 1}" if layer > 1 else "x"
    return sentence.format(i=layer, act=m.acts[layer].name, details=details, before=before)


def _planted(
    m: Model, layer: int, kinds: tuple[str, ...] = ()
) -> Iterator[tuple[Named, str, Model]]:
    for row in FORWARD:
        if kinds and row.kind not in kinds:
            continue
        with np.errstate(all="ignore"):
            for details, made in row.plant(m, layer):
                text = _sentence(row.sentence, m, layer, details)
                yield Named(row.kind, "forward", layer, text, 0.0), row.array, made


def _forward(
    m: Model, evidence: Evidence, kinds: tuple[str, ...] = (), limit: float = 2.0
) -> list[Explanation]:
    """Return explanations by one mistake on the way forward, of these kinds if given."""
    found: list[Explanation] = []
    last = m.layers
    seen = evidence.given.gradients["w", last]
    size = float(np.sqrt((seen * seen).sum()))
    for layer in range(last, 0, -1):
        for named, _, made in _planted(m, layer, kinds):
            if _value_fits(made, evidence) is False:
                continue
            if evidence.value is None:
                # The last layer's gradient decides, unless a second mistake hides it.
                penalty = made.penalty(last)
                right = made.weights(last, made.through_activation(last, made.loss_grad))
                right = right if penalty is None else right + penalty
                apart = float(np.sqrt(np.square(seen - right).sum()))
                if not apart <= ROUGH * size:
                    continue
            walk = Walk(made, evidence.unit, evidence.given)
            found += _walked(walk, ((named,),), limit)
    return found


def _forward_by_intermediates(
    m: Model, evidence: Evidence
) -> list[tuple[tuple[tuple[Named, ...], ...], Model]]:
    """Return the mistakes that the intermediates show, and the model that has them."""
    standing: list[tuple[tuple[tuple[Named, ...], ...], Model]] = [((), m)]
    for layer in range(1, m.layers + 1):
        for array in ORDER:
            seen = evidence.forward.get((array, layer))
            if seen is None:
                continue
            fit = [s for s in standing if _near(s[1], evidence, array, layer)]
            if fit:
                standing = fit
                continue
            made = [
                ((*slots, (named,)), at)
                for slots, before in standing
                for named, _, at in _planted_before(before, layer, array, evidence)
                if _near(at, evidence, array, layer)
            ]
            if not made:
                slots, before = standing[0]
                text = f"{array}{layer} is not what its line gives, and no known mistake gives it"
                name = Named("unexplained", "forward", layer, text, np.inf, UNEXPLAINED)
                given = {**before.given, (array, layer): seen}
                made = [((*slots, (name,)), before.replaced(layer, given=given))]
            standing = made
    return standing


def _planted_before(
    m: Model, layer: int, array: str, evidence: Evidence
) -> Iterator[tuple[Named, str, Model]]:
    """Yield the mistakes of this layer, and those of the layers before whose arrays are unseen."""
    for i in range(layer, 0, -1):
        # Of this layer what comes up to the array, of one before what comes after its last seen.
        first, last = 0, ORDER.index(array) if i == layer else len(ORDER)
        if i < layer:
            first = max(
                (ORDER.index(n) + 1 for n in ORDER if (n, i) in evidence.forward), default=0
            )
        for planted in _planted(m, i):
            if first <= ORDER.index(planted[1]) <= last:
                yield planted
        if first:
            return


def _near(m: Model, evidence: Evidence, array: str, layer: int) -> bool:
    """Return whether an intermediate of the script is the model's."""
    bounds = Bounds(m, evidence.unit)
    made = {"z": m.z, "y": m.y, "a": m.a}[array][layer]
    near = (bounds.z if array == "z" else bounds.a)[layer]
    with np.errstate(all="ignore"):
        return bool((np.abs(evidence.forward[array, layer] - made) <= 2.0 * near + 1e-300).all())


# -- the value ---------------------------------------------------------------------------------


def _value_fits(m: Model, evidence: Evidence) -> bool | None:
    if evidence.value is None:
        return None
    apart = abs(evidence.value - m.value)
    if not apart <= ROUGH * abs(m.value):  # the bound takes longer
        return False
    return bool(apart <= 2.0 * Bounds(m, evidence.unit).value())


def _with_value(e: Explanation, evidence: Evidence) -> Explanation:
    """Return an explanation with the finding that the value of the loss is wrong by itself."""
    m, seen = e.model, float(evidence.value or 0.0)
    penalty = m.penalty_value()
    near = 2.0 * Bounds(m, evidence.unit).value()
    data = m.value - penalty
    forms = {
        "without the penalty": data,
        "with l * sum(w**2) for l / 2 * sum(w**2)": m.value + penalty,
        "with half the penalty": m.value - penalty / 2,
    }
    words = next((w for w, made in forms.items() if penalty and abs(seen - made) <= near), None)
    if words is None and m.value:
        accuracy = near / abs(m.value) + 1e-15
        factor = Factors(m).name("loss", seen / m.value, accuracy)
        if factor.named:
            words = f"with {factor.words}"
    if words is None:
        text = f"the loss is {seen:.8g}, but these parameters give {m.value:.8g}"
        named = Named("unexplained", "value", m.layers, text, np.inf, UNEXPLAINED)
    else:
        named = Named("loss's value", "value", m.layers, f"the loss is {seen:.8g}: {words}", 0.0)
    return replace(e, slots=((named,), *e.slots), cost=e.cost + named.cost)


# -- the whole -------------------------------------------------------------------------------------


def _whole(m: Model, evidence: Evidence, right: Walk) -> list[Explanation]:
    """Return explanations by one mistake of the whole result."""
    found: list[Explanation] = []
    gradients = evidence.given.gradients
    for one, two in _swappable(gradients):
        if right.is_other(one, two) and right.is_other(two, one):
            swapped = {**gradients, one: gradients[two], two: gradients[one]}
            names = [f"d{role}{layer}" for role, layer in (one, two)]
            text = f"{names[0]} and {names[1]} are in each other's place"
            step = "weights" if one[0] == "w" else "bias"
            named = Named("swapped", step, max(one[1], two[1]), text, 0.0)
            found += _on_other(m, evidence, named, swapped)
    if m.l1 or m.l2:
        factors = Factors(m)
        for c in (2.0, -1.0, 1.0 / m.n, float(m.n), 0.5):
            name = factors.name("all", c, 1e-12)
            divided = {slot: array / c for slot, array in gradients.items()}
            text = f"all arrays, the penalty included, have {name.words}"
            kind = "added up" if c == 2.0 else name.kind
            named = Named(kind, "loss", m.layers, text, 0.0)
            found += _on_other(m, evidence, named, divided)
    return found


def _between_steps(m: Model, evidence: Evidence) -> list[Explanation]:
    """Return explanations by arrays or gradients of the step, or the call, before."""
    found: list[Explanation] = []
    gradients = evidence.given.gradients
    if evidence.before is not None:
        if evidence.first is not None:
            text = "the gradient is added to that of the call before: it was not set to zero"
            named = Named("added up", "loss", m.layers, text, 0.0)
            added = {s: a - evidence.first[s] for s, a in gradients.items()}
            found += _on_other(m, evidence, named, added)
        for kind, step, layer, text, before in of_calls(m, evidence.before):
            named = Named(kind, step, layer, text, 0.0)
            found += _on_other(m, evidence, named, gradients, before)
        return found
    if not all(np.isfinite(a).all() for a in gradients.values()):
        return found
    for kind, step, layer, text, made in hypotheses(m, _flat(m, evidence.given)):
        named = Named(kind, step, layer, text, 0.0)
        if isinstance(made, Model):
            found += _on_other(m, evidence, named, gradients, made)
        else:
            found += _on_other(m, evidence, named, _minus(m, gradients, made))
    return found


def _on_other(
    m: Model, evidence: Evidence, named: Named, gradients: dict[Slot, Array],
    model: Model | None = None,
) -> list[Explanation]:  # fmt: skip
    """Return a mistake with what is then left to explain: one more at most."""
    walk = Walk(model or m, evidence.unit, replace(evidence.given, gradients=gradients))
    return _walked(walk, ((named,),), 2.0)


def _swappable(gradients: dict[Slot, Array]) -> Iterator[tuple[Slot, Slot]]:
    slots = list(gradients)
    for i, one in enumerate(slots):
        for two in slots[i + 1 :]:
            if one[0] == two[0] and gradients[one].shape == gradients[two].shape:
                yield one, two


def _flat(m: Model, given: Given) -> Array:
    dw = [given.gradients.get(("w", i), m.x) for i in range(m.layers + 1)]
    db = [given.gradients.get(("b", i), m.x) for i in range(m.layers + 1)]
    return vector((dw, db), m)


def _minus(m: Model, gradients: dict[Slot, Array], more: Array) -> dict[Slot, Array]:
    """Return gradients without a vector like them."""
    found, end = {}, 0
    for role in ("w", "b"):
        for i in range(1, m.layers + 1):
            if (role, i) in gradients:
                array = gradients[role, i]
                found[role, i] = array - more[end : end + array.size].reshape(array.shape)
                end += array.size
    return found
