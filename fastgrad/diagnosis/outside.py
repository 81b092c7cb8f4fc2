"""The gradients of any loss of a tree of arrays, seen from outside: compared with differences.

Small arrays are compared entry by entry, large ones along random directions and at some entries,
more of them where an array is wrong. What is wrong is then explained (`gradcheck.relations`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np

from fastgrad.diagnosis.calls import Gradients, gradients_of, random_loss, watched_loss
from fastgrad.diagnosis.look import RAYS, Look
from fastgrad.diagnosis.report import ArrayVerdict, Diagnosis, Finding
from fastgrad.gradcheck.noise import gradient_rounding, unit_of
from fastgrad.gradcheck.relations import explained
from fastgrad.gradcheck.sizes import Sizes
from fastgrad.gradcheck.suspect import Relation, Suspect
from fastgrad.gradcheck.tree_loss import TreeLoss
from fastgrad.terminal import Progress, duration

__all__ = ["diagnose_loss"]

FUNCTION = "diagnose"
COST = 5  # values of the loss for an entry, about
RAY_COST = 16  # for a direction
MOST_FULL = 1024  # entries of an array that is compared entry by entry
MOST_DRAWN = 144  # entries of a larger one that is wrong: 12 rows times 12 columns
FLOAT32_DIGITS = 16 * float(np.finfo(np.float32).eps)


def diagnose_loss(
    loss: Callable[[Any], Any],
    params: Any,
    grads: Any,
    data: tuple[Any, Any],
    value: float | None,
    seconds: float,
    draw: np.random.Generator,
    progress: bool | None,
) -> Diagnosis:
    """Return the diagnosis of a loss without a description; see `diagnose`."""
    begin = monotonic()
    f = TreeLoss(FUNCTION, loss, params)
    given = gradients_of(grads, f)
    findings = watched_loss(f) + given.findings
    if found := _not_comparable(f, findings):
        verdicts = [
            ArrayVerdict(name, array.shape, np.nan, "inconclusive")
            for name, array in zip(given.names, given.arrays, strict=True)
        ]
        return Diagnosis("inconclusive", (*found,), tuple(verdicts), tuple(given.notes))
    if value is not None:
        findings += _value_compared(f, value, _sizes(f, data))
    f.measure()
    if f.joint.point.size and not np.isfinite(f.joint.y):
        raise ValueError(f"{FUNCTION}: the loss is {float(f.joint.y)} beside params")
    with Progress(progress) as bar:
        looks = _looks(f, given, begin, 0.75 * seconds, draw, bar)
    if any(look.given.any() for look in looks) and not any(_moves(look) for look in looks):
        f.joint.check_used()
    findings = random_loss(f, float(f.joint(f.joint.point.copy()))) + findings
    report = _judged(f, given, looks, findings, _sizes(f, data))
    took = duration(monotonic() - begin)
    return Diagnosis(
        report.state,
        report.findings,
        report.arrays,
        (*report.notes, f"The loss is {float(f.joint.y):.6g}; {f.calls} calls of it took {took}."),
    )


def _not_comparable(f: TreeLoss, findings: list[Finding]) -> list[Finding]:
    """Return why nothing can be compared, if so."""
    random = [found for found in findings if found.array == "loss"]
    if random or np.isfinite(f.joint.y):
        return random
    hint = (
        "Look for log(0), an overflow of exp, 0 / 0, or NaN in the data; differences need numbers."
    )
    return [Finding("loss", "not finite", None, f"The loss is {float(f.joint.y)}.", hint)]


def _value_compared(f: TreeLoss, value: float, sizes: Sizes) -> list[Finding]:
    """Return a finding if the script's own value is not the loss."""
    number, right = float(value), float(f.joint.y)
    coarse = any(a.dtype.itemsize < 8 for a in f.given)
    if abs(number - right) <= (1e-4 if coarse else 1e-9) * max(abs(right), abs(number)):
        return []
    text = f"value is {number:.9g}, and the loss of params is {right:.9g}"
    times = number / right if right else 0.0
    if times and (written := sizes.read(times, 1e-6 * abs(times))):
        meaning = sizes.meaning(times, 1e-6 * abs(times))
        text += f", {written} times less{': ' if meaning else ''}{meaning}"
    hint = "Both should be computed with the same parameters, data, reduction and penalty."
    return [Finding("value", "not the loss", None, f"{text}.", hint)]


def _looks(
    f: TreeLoss,
    given: Gradients,
    begin: float,
    seconds: float,
    draw: np.random.Generator,
    bar: Progress,
) -> list[Look]:
    """Look at each array, the small ones first, each for its share of the time that is left."""
    deadline = begin + seconds
    each = (monotonic() - begin) / max(1, f.calls)
    total = len(given.arrays)
    # One for each array: how much is drawn of the others, which time decides, changes nothing.
    seeds = draw.integers(0, 2**63, total)
    looks: dict[int, Look] = {}
    for done, i in enumerate(sorted(range(total), key=lambda i: f.arrays[i].size)):
        now = monotonic()
        share = now + max(0.0, deadline - now) / (total - done)
        with np.errstate(all="ignore"):
            array = given.arrays[i].astype(np.float64)
        small = gradient_rounding(unit_of(given.arrays[i].dtype), f.joint.rough)
        look = Look(f.of(i), array, small)
        affordable = int((share - now) / max(each, 1e-9)) // COST
        name = given.names[i]

        def seen(done: int = done, name: str = name) -> None:
            bar.update(done, total, name)

        seen()
        if array.size <= min(MOST_FULL, max(8, affordable)):
            look.entries(None, share)
        else:
            count = min(MOST_DRAWN, affordable - RAYS * RAY_COST // COST)
            look.draw(np.random.default_rng(seeds[i]), max(16, count), share, seen)
        looks[i] = look
    return [looks[i] for i in range(total)]


def _moves(look: Look) -> bool:
    """Return whether the loss depends on the array."""
    m = look.measured()
    return bool(m.values.any() or m.slopes.any())


# -- the verdict -----------------------------------------------------------------------------------


def _judged(
    f: TreeLoss, given: Gradients, looks: list[Look], seen: list[Finding], sizes: Sizes
) -> Diagnosis:
    """Return the verdict on each array, and its mistake."""
    whole = max((look.measured().scale for look in looks), default=0.0)
    suspects = [
        Suspect(name, param, look.given, point, look.measured(), sizes, look.full)
        for name, param, look, point in zip(given.names, f.names, looks, f.arrays, strict=True)
    ]
    for suspect in suspects:
        suspect.others = [other for other in suspects if other is not suspect]
    notes, findings, verdicts = list(given.notes), list(seen), {}
    first_of: dict[tuple[str, str], str] = {}  # the first array with the same mistake
    for i in _way_back(f):
        look, suspect = looks[i], suspects[i]
        verdict = look.verdict(whole)
        if verdict == "wrong":
            relation = explained(suspect)
            if _float32_digits(suspect, relation):
                verdict = "ok"
                notes.append(
                    f"{suspect.name} agrees {suspect.exactness(suspect.given)}, not better: "
                    "something computes it in float32."
                )
            else:
                findings.append(_finding(suspect, relation, first_of))
                first_of.setdefault((relation.kind, _rounded(relation.number)), suspect.name)
        elif verdict == "inconclusive":
            findings += _doubt(look, suspect)
        if any(found.array == suspect.name for found in seen):
            verdict = "wrong"
        difference = suspect.measured.ratio(suspect.given)
        verdicts[i] = ArrayVerdict(
            suspect.name, look.given.shape, difference, verdict, look.relative()
        )
        if not look.full:
            notes.append(_drawn(suspect))
    arrays = tuple(verdicts[i] for i in range(len(looks)))
    notes += _where([arrays[i] for i in _way_back(f)])
    states = [a.verdict for a in arrays]
    wrong = "wrong" in states or any(found.kind != "kink" for found in seen)
    state = "wrong" if wrong else "inconclusive" if "inconclusive" in states else "ok"
    if any(found.array == "loss" for found in seen) and "wrong" not in states:
        state = "inconclusive"
    return Diagnosis(state, tuple(findings), arrays, tuple(notes))


def _way_back(f: TreeLoss) -> list[int]:
    """Return the arrays in the order in which the way back reaches them: the last layer first.

    The layer is the first number in an array's place: ``W2``, ``[1]['w']``. Without numbers the
    order is that of the tree, backwards.
    """
    numbers = []
    for path in f.tree.paths():
        digits = [int(d) for key in path for d in re.findall(r"\d+", str(key))[:1]]
        numbers.append(digits[0] if digits else None)
    places = range(len(numbers))
    if None in numbers:
        return list(reversed(places))
    return sorted(places, key=lambda i: (-(numbers[i] or 0), i))


def _rounded(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"


def _finding(s: Suspect, relation: Relation, first_of: dict[tuple[str, str], str]) -> Finding:
    """Return a finding, whose hint names the first array that has the same mistake."""
    first = first_of.get((relation.kind, _rounded(relation.number)))
    hint = relation.hint
    if first and relation.kind in ("sign", "factor"):
        hint = f"The same as in {first}, which the way back reaches first: begin there."
    elif relation.kind == "factor":
        hint += _beside(s, relation.number or 0.0, first_of)
    return Finding(s.name, relation.kind, None, relation.evidence, hint)


def _beside(s: Suspect, number: float, first_of: dict[tuple[str, str], str]) -> str:
    """Return what a factor is beside that of the first array, which reaches all the others."""
    for (kind, other), name in first_of.items():
        if kind == "factor":
            rest = number / float(other)
            error = 1e-5 * abs(rest)
            meaning = s.sizes.meaning(rest, error)
            shown = s.sizes.read(rest, error)
            if meaning and shown:
                return f" Beside the factor of {name} it is {shown} ({meaning})."
    return ""


def _float32_digits(s: Suspect, relation: Relation) -> bool:
    """Return whether a difference is no more than sums in float32 lose."""
    if relation.kind.startswith("penalty"):  # so small a one, and to all digits
        return False
    m, small = s.measured, s.measured.small
    try:
        m.small = max(small, FLOAT32_DIGITS)
        return m.ratio(s.given) <= 1
    finally:
        m.small = small


def _doubt(look: Look, s: Suspect) -> list[Finding]:
    """Return why an array is inconclusive."""
    kinks = look.kinks()
    if kinks:
        index, left, right = kinks[0]
        more = f", and {len(kinks) - 1} more entries" if len(kinks) > 1 else ""
        return [
            Finding(
                s.name,
                "kink",
                None,
                f"At {list(index)}{more} the loss has a kink: its slope is {left:.4g} to the left "
                f"and {right:.4g} to the right, so it has no gradient there.",
                f"Compare at another place: {s.param} + 1e-3 * rng.normal(size={s.point.shape}).",
            )
        ]
    m = s.measured
    bound = float(np.max(m.bounds(s.given)[: m.values.size], initial=0.0)) or float(
        np.min(m.bounds(s.given))
    )
    return [
        Finding(
            s.name,
            "cannot be told",
            None,
            f"Differences of this loss know the gradient to {bound:.2g}, and its largest entry is "
            f"{m.scale:.2g}: a wrong one would not show.",
            "Let the loss compute in float64: diagnose gives it float64 arrays, so do not convert "
            "them, and give float64 data.",
        )
    ]


def _drawn(s: Suspect) -> str:
    """Return what was looked at of a large array, and how large an error would have shown."""
    m = s.measured
    text = (
        f"{s.name}: {m.slopes.size} directions and {m.values.size} of {s.given.size} entries were "
        "drawn."
    )
    if s.wrong or not m.slopes.size:
        return text
    # The sum of an error e along a direction is about normal, with |e| as its deviation: it is
    # below b with probability 0.8 b / |e|, for all three of them with 1e-6 if |e| is 80 b.
    bound = 80 * float(np.max(m.bounds(s.given)[m.values.size :]))
    size = float(np.linalg.norm(s.given)) or 1.0
    return (
        f"{text} An error of {bound / size:.1g} of its length would have shown, except with a "
        "probability of 1e-6."
    )


def _where(back: list[ArrayVerdict]) -> list[str]:
    """Return between which arrays the mistake enters, if the verdicts tell."""
    wrong = [a.verdict == "wrong" for a in back]
    first = wrong.index(True) if any(wrong) else 0
    if not first or not all(wrong[first:]) or len(wrong) - first < 2:
        return []
    right = ", ".join(a.name for a in back[:first][-2:])
    return [
        f"On the way back from the last layer, {right} {'is' if first == 1 else 'are'} still right "
        f"and everything from {back[first].name} on is wrong: the mistake is between them."
    ]


def _sizes(f: TreeLoss, data: tuple[Any, Any]) -> Sizes:
    """Return the sizes that a factor may be."""
    shapes = [() if array is None else np.shape(array) for array in data]
    named: list[tuple[int, str]] = []
    first, last = ({shape[axis] for shape in shapes if shape} for axis in (0, -1))
    samples = 0 if len(first) == 1 else -1 if len(last) == 1 else None
    for name, shape in zip(("x", "target"), shapes, strict=True):
        for axis, size in enumerate(shape):
            each = samples is not None and axis == samples % len(shape)
            named.append((size, "the number of samples" if each else f"axis {axis} of {name}"))
        if len(shape) > 1:
            named.append((int(np.prod(shape)), f"the number of elements of {name}"))
    for name, array in zip(f.names, f.arrays, strict=True):
        named += [(size, f"axis {axis} of {name}") for axis, size in enumerate(array.shape)]
    return Sizes(list(dict.fromkeys(named)))
