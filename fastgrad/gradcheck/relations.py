"""How a wrong gradient relates to the right one, as far as that can be seen from outside.

One relation is one function of `TABLE`, tried in this order: those without a number to be found
first, then those with one, then those with one for each row. To add one, write a function of a
`Suspect` that returns a `Relation` or None, and give it a place in `TABLE`. "Fits" always means:
what the relation says is the right gradient has the entries and the sums along directions that
differences of the loss have, within their bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.suspect import Relation, Suspect, listed
from fastgrad.gradcheck.unexplained import unexplained

__all__ = ["TABLE", "explained"]


def explained(suspect: Suspect) -> Relation:
    """Return the first relation that fits, or what else can be said."""
    with np.errstate(all="ignore"):
        for relation in TABLE:
            found = relation(suspect)
            if found is not None:
                return found
        return unexplained(suspect)


# -- nothing to be found ---------------------------------------------------------------------------


def not_finite(s: Suspect) -> Relation | None:
    """NaN or infinity."""
    bad = np.argwhere(~np.isfinite(s.given))
    if not len(bad):
        return None
    first = [int(i) for i in bad[0]]
    return Relation(
        "not finite",
        f"{len(bad)} of {s.given.size} entries are NaN or infinite, the first one at {first}.",
        "Look for 0 / 0, for a logarithm of 0 and for the exponential of a large number.",
    )


def zero(s: Suspect) -> Relation | None:
    """All zeros, where the loss has a slope."""
    if s.given.any():
        return None
    return Relation(
        "zero",
        f"All entries are 0; the right ones reach {s.measured.scale:.3g}.",
        "It was never written, is stored under another name, or something on the way back to it "
        "is 0: a mask, a derivative, weights.",
    )


def unused(s: Suspect) -> Relation | None:
    """A gradient of what the loss does not depend on."""
    if s.measured.values.any() or s.measured.slopes.any():
        return None
    return Relation(
        "loss does not depend on it",
        f"The loss stays the same, to the bit, whatever {s.param} is; the given gradient reaches "
        f"{np.abs(s.given).max():.3g}.",
        f"Does the loss compute with another array in the place of {s.param}, or with a copy from "
        "outside?",
    )


def sign(s: Suspect) -> Relation | None:
    """The right gradient times -1."""
    if not s.fits(-s.given):
        return None
    return Relation(
        "sign",
        f"Times -1 it is the right gradient, {s.exactness(-s.given)}.",
        "Turn a sign: the gradient of (pred - target)**2 is 2 * (pred - target), and a descent "
        "step subtracts a gradient that has no minus itself.",
        -1.0,
    )


def transposed(s: Suspect) -> Relation | None:
    """The transpose of the right gradient, or its numbers in the wrong order."""
    shape = s.given.shape
    if s.given.ndim != 2 or 1 in shape:
        return None
    if shape[0] == shape[1] and s.fits(s.given.T):
        return Relation(
            "transposed",
            f"Its transpose is the right gradient, {s.exactness(s.given.T)}.",
            "Swap the factors' roles: it is x.T @ dz for y = x @ w (samples are rows), and "
            "dz @ x.T for y = w @ x (samples are columns).",
        )
    orders: tuple[tuple[Literal["C", "F"], Literal["C", "F"]], ...] = (("C", "F"), ("F", "C"))
    for this, other in orders:
        again = s.given.ravel(order=this).reshape(shape, order=other)
        if s.fits(again):
            return Relation(
                "order of elements",
                f"Its numbers, read in the order {this!r} and written in the order {other!r}, are "
                f"the right gradient, {s.exactness(again)}.",
                "A reshape where a transpose belongs, or the other way round: "
                f"reshape({shape[::-1]}) of a {shape} array does not transpose it.",
            )
    return None


def swapped(s: Suspect) -> Relation | None:
    """The gradient of another array."""
    for other in s.others:
        if other.given.size != s.given.size:
            continue
        theirs = other.given.reshape(s.given.shape)
        ours = s.given.reshape(other.given.shape)
        if not other.fits(ours):
            continue
        exact = other.exactness(ours)
        if s.fits(theirs):
            return Relation(
                "swapped",
                f"It is the gradient of {other.param}, {exact}, and {other.name} is that of "
                f"{s.param}.",
                f"Exchange {s.name} and {other.name} where they are stored or returned.",
            )
        return Relation(
            "another array's",
            f"It is the gradient of {other.param}, {exact}.",
            f"{s.name} is computed or stored from what belongs to {other.param}.",
        )
    return None


# -- one number ------------------------------------------------------------------------------------


def factor(s: Suspect) -> Relation | None:
    """The right gradient times a number."""
    fit = s.measured.fit(s.given)
    if fit is None or fit.ratio > 1 or not fit.numbers[0]:
        return None
    times, error = 1 / fit.numbers[0], fit.errors[0] / fit.numbers[0] ** 2
    if abs(times - 1) < 1e-5:
        return None  # nobody's mistake, but rounding
    written = s.sizes.read(times, error)
    if written is None and s.measured.telling(s.given) < 2:
        return None  # one number is always the multiple of another
    meaning = s.sizes.meaning(times, error)
    shown = written or f"{times:.6g}"
    evidence = (
        f"It is {shown} times the right gradient, "
        f"{s.exactness(fit.numbers[0] * s.given)}{': ' if meaning else '.'}{meaning}"
        f"{'.' if meaning else ''}"
    )
    return Relation("factor", evidence, _remedy(abs(times), written, bool(meaning)), times)


def _remedy(times: float, written: str | None, known: bool) -> str:
    """Return the hint for a factor."""
    shown = (written or f"{times:.6g}").lstrip("-")
    if shown.startswith("1/"):
        what = f"It is divided by {shown[2:]} too often: a sum has no 1 / n, and dL/dz of a mean "
        return what + "is divided once, not again in each layer."
    if shown.isdigit():
        what = f"Divide by {shown}: "
        if shown == "2" and not known:
            return what + "the derivative of z**2 / 2 is z, and something may be added twice."
        if not known:
            return what + "is it a number of samples or of elements (x= and target= would tell)?"
        return what + "the gradient of a mean is that of the sum, divided by the number of terms."
    return f"Look for a factor {shown}: a learning rate, a keep probability, a weight of the loss."


def penalty(s: Suspect) -> Relation | None:
    """A penalty on the weights that only one of both has."""
    for power, array, text in (
        (2, s.point, s.param),
        (1, np.sign(s.point), f"np.sign({s.param})"),
    ):
        rest = s.measured.fit(s.given, array)
        if rest is None:
            continue
        alone = abs(rest.numbers[0] - 1) <= max(10 * rest.errors[0], 1e-7)
        number = rest.numbers[1]
        if not alone or s.measured.telling(s.given) < 2:
            continue
        right = s.given + number * array
        if not s.fits(right) or abs(number) <= 2 * rest.errors[1]:
            continue
        return _penalty(s, power, number, rest.errors[1], text, right)
    return None


def _penalty(
    s: Suspect, power: int, number: float, error: float, text: str, right: Array
) -> Relation:
    shown = (s.sizes.decimal(number, error) or f"{number:.6g}").lstrip("-")
    kind = "penalty l2" if power == 2 else "penalty l1"
    if number > 0:
        form = "l / 2 * sum(w**2) has the gradient l * w, and l * sum(w**2) 2 * l * w"
        if power == 1:
            form = "l * sum(abs(w)) has the gradient l * sign(w)"
        return Relation(
            f"{kind} missing",
            f"With {shown} * {text} added it is the right gradient, {s.exactness(right)}: the loss "
            "has a penalty, or more of one, on this array.",
            f"Add {shown} * {text}: a penalty {form}.",
            number,
        )
    return Relation(
        f"{kind} too much",
        f"Without {shown} * {text} it is the right gradient, {s.exactness(right)}: it has a "
        "penalty, or more of one, that the loss does not have on this array.",
        f"Take {shown} * {text} out of it, or put the penalty into the loss; biases mostly have "
        "none. Is it l or l / 2, divided by n in one place only, added twice?",
        number,
    )


def clipped(s: Suspect) -> Relation | None:
    """Entries cut at a limit."""
    limit = float(np.abs(s.given).max())
    values, given = s.measured.values, s.at(s.given)
    at = np.abs(given) >= limit * (1 - 1e-12)
    cut = np.clip(values, -limit, limit)
    slack = s.measured.bounds(s.given)[: values.size]
    if at.sum() < 2 or at.all() or np.any(np.abs(cut - given) > slack):
        return None
    return Relation(
        "clipped",
        f"{int(at.sum())} of {at.size} entries looked at are cut at {limit:.6g}; the others are "
        "right.",
        "It was clipped before it was handed over: compare it as it is before that.",
        limit,
    )


def scaled_transpose(s: Suspect) -> Relation | None:
    """The transpose, times a number."""
    if s.given.ndim != 2 or s.given.shape[0] != s.given.shape[1] or s.given.size < 4:
        return None
    fit = s.measured.fit(s.given.T)
    if fit is None or fit.ratio > 1 or s.measured.telling(s.given.T) < 3 or not fit.numbers[0]:
        return None
    times = 1 / fit.numbers[0]
    shown = s.sizes.read(times, fit.errors[0] * times**2) or f"{times:.6g}"
    return Relation(
        "transposed, and a factor",
        f"Its transpose is {shown} times the right gradient, "
        f"{s.exactness(fit.numbers[0] * s.given.T)}.",
        "Transpose it, then look for the factor.",
        times,
    )


def factor_and_penalty(s: Suspect) -> Relation | None:
    """The right gradient times a number, without its penalty."""
    for kind, array, text in (
        ("l2", s.point, s.param),
        ("l1", np.sign(s.point), f"np.sign({s.param})"),
    ):
        fit = s.measured.fit(s.given, array)
        if fit is None or fit.ratio > 1 or s.measured.telling(s.given) < 4 or not fit.numbers[0]:
            continue
        times, error = 1 / fit.numbers[0], fit.errors[0] / fit.numbers[0] ** 2
        shown = s.sizes.read(times, error) or f"{times:.6g}"
        more = s.sizes.decimal(fit.numbers[1], fit.errors[1]) or f"{fit.numbers[1]:.6g}"
        right = fit.numbers[0] * s.given + fit.numbers[1] * array
        return Relation(
            f"factor, and penalty {kind}",
            f"Divided by {shown}, and with {more} * {text} added, it is the right gradient, "
            f"{s.exactness(right)}.",
            "Two mistakes: mend the factor first, then the penalty.",
            times,
        )
    return None


# -- a number for each row, and only some entries ----------------------------------------------


def factor_per_row(s: Suspect) -> Relation | None:
    """Each row or column times its own number."""
    if s.given.ndim != 2 or 1 in s.given.shape:
        return None
    for axis, what in ((0, "row"), (1, "column")):
        found = _factors(s, axis)
        if found is None:
            continue
        lines, factors = found
        off = [i for i, f in zip(lines, factors, strict=True) if f != 1]
        seen = "" if s.full else f" of those looked at, {len(lines)} {what}s"
        some = f"only {what}s {listed(off)} are wrong{seen}; " if len(off) < len(lines) else ""
        first = list(zip(lines, factors, strict=True))
        shown = [f"{f:.4g} ({what} {i})" for i, f in first if i in off or not some]
        return Relation(
            f"factor per {what}",
            f"{some[:1].upper()}{some[1:]}"
            f"{'each' if some else 'Each'} {what} is the right one times its own factor: "
            f"{listed(shown)}.",
            f"Something with one number for each {what} multiplies it, or is broadcast along the "
            "wrong axis: a mask, a derivative, a normalization, weights of (k,) beside (k, 1).",
        )
    return None


def _factors(s: Suspect, axis: int) -> tuple[list[int], list[float]] | None:
    """Return lines of the array and by what each is multiplied, if that explains all."""
    lines = np.unravel_index(s.measured.entries, s.given.shape)[axis]
    given, values = s.at(s.given), s.measured.values
    bounds = s.measured.bounds(s.given)[: values.size]
    found, factors, spare = [], [], 0
    for line in np.unique(lines):
        here = lines == line
        g, v, b = given[here], values[here], bounds[here]
        telling = np.abs(g) > 3 * b
        if not telling.any():
            if np.any(np.abs(v) > b):
                return None
            continue
        number = float((g * v / b**2).sum() / (g * g / b**2).sum())
        if np.all(np.abs(g - v) <= b):
            number = 1.0
        elif telling.sum() < 2 or not number or np.any(np.abs(number * g - v) > b):
            return None
        else:
            spare += int(telling.sum()) - 1
        found.append(int(line))
        factors.append(1 / number)
    return (found, factors) if spare >= 1 and len(found) > 1 else None


TABLE: tuple[Callable[[Suspect], Relation | None], ...] = (
    not_finite,
    unused,
    zero,
    sign,
    transposed,
    swapped,
    factor,
    penalty,
    clipped,
    scaled_transpose,
    factor_per_row,
    factor_and_penalty,
)
