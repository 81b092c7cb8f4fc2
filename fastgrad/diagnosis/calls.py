"""What calling shows: a loss or a gradient that is random, keeps something, or writes to params."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.finding import Finding
from fastgrad.gradcheck.function import private
from fastgrad.gradcheck.noise import unit_of
from fastgrad.gradcheck.tree_loss import TreeLoss, as_tree, rebuilt
from fastgrad.trees import Tree, check_like, of_any_shape

__all__ = ["Gradients", "gradients_of", "random_loss", "watched_loss"]

FUNCTION = "diagnose"
SAME = 1e-6  # relative: what adds in another order from call to call is no mistake


class Gradients(NamedTuple):
    """The gradients to judge, and what was seen already."""

    names: list[str]
    arrays: list[Array]  # of the parameters' shapes
    findings: list[Finding]
    notes: list[str]


def watched_loss(loss: TreeLoss) -> list[Finding]:
    """Call the loss twice at the same place; return what it does that a loss should not do."""
    found = []
    for name in loss.writes():
        found.append(
            Finding(
                name,
                "changed by the loss",
                None,
                "After a call of the loss, this array has other values than before.",
                f"Look for `{_short(name)} -= ...`, `*=`, `out=` or `{_short(name)}[...] = ...` "
                "in the loss: compute with a copy.",
            )
        )
    return found + random_loss(loss, loss.again)


def random_loss(loss: TreeLoss, again: float) -> list[Finding]:
    """Return a finding if the loss is another number at the same place."""
    before = float(loss.joint.y)
    if again == before or (np.isnan(again) and np.isnan(before)):
        return []
    if abs(again - before) <= SAME * abs(before):
        return []
    return [
        Finding(
            "loss",
            "not the same in two calls",
            None,
            f"The loss was {before:.9g} and is {again:.9g} for the same parameters.",
            "Draw no random numbers in it (dropout, noise, a batch), or seed them in each call; "
            "keep nothing from one call to the next.",
        )
    ]


def gradients_of(grads: Any, loss: TreeLoss) -> Gradients:
    """Return the gradients, called for if they are a function, of the parameters' shapes."""
    findings: list[Finding] = []
    notes: list[str] = []
    if callable(grads):
        own, arrays = _called(grads, loss, findings)
    else:
        own, arrays = _read(loss, grads)
    names = own.names("grads")
    arrays = [
        _shaped(name, array, param, point, findings, notes)
        for name, array, param, point in zip(names, arrays, loss.names, loss.given, strict=True)
    ]
    return Gradients(names, arrays, findings, notes)


def _read(loss: TreeLoss, grads: Any) -> tuple[Tree, list[Array]]:
    if loss.tree.kind == "array":
        grads = as_tree(FUNCTION, "grads", grads)[1]
    own, arrays = of_any_shape(FUNCTION, loss.tree, grads)
    return own, [np.array(array) for array in arrays]  # copies: a second call may write to them


def _called(
    grads: Callable[[Any], Any], loss: TreeLoss, findings: list[Finding]
) -> tuple[Tree, list[Array]]:
    """Call the function of the gradients twice; return what it gives, and add what is strange."""

    def once() -> tuple[Tree, list[Array]]:
        copies = [private(a) for a in loss.given]
        result = grads(rebuilt(loss.like, iter(copies)))
        if _with_value(result, loss.like):
            result = result[1]
        own, arrays = _read(loss, result)
        for name, copy, before in zip(loss.names, copies, loss.given, strict=True):
            known = any(f.array == name for f in findings)
            if not known and not np.array_equal(copy, before, equal_nan=copy.dtype.kind == "f"):
                findings.append(
                    Finding(
                        name,
                        "changed by the gradients",
                        None,
                        "After a call of grads, this array has other values than before.",
                        "A gradient changes no parameter: update them after all gradients are "
                        "there, or compute with a copy.",
                    )
                )
        return own, arrays

    own, first = once()
    _, second = once()
    if all(_same(a, b) for a, b in zip(first, second, strict=True)):
        return own, first
    _, third = once()
    result = []
    for name, a, b, c in zip(own.names("grads"), first, second, third, strict=True):
        with np.errstate(all="ignore"):
            step = b - a
            adds = not _same(a, b) and _same(step, c - b)
        result.append(step if adds else a)
        if adds:
            other = next((f.array for f in findings if f.kind == "added up"), None)
            findings.append(_added_up(name, other))
        elif not _same(a, b):
            findings.append(
                Finding(
                    name,
                    "not the same in two calls",
                    None,
                    f"Two calls for the same parameters differ by "
                    f"{float(np.max(np.abs(step), initial=0.0)):.3g}.",
                    "Draw no random numbers in it, or seed them in each call; keep nothing from "
                    "one call to the next.",
                )
            )
    return own, result


def _added_up(name: str, other: str | None) -> Finding:
    """Return the finding; what was said of an `other` array is not said again."""
    evidence = (
        "The second call returns more than the first, and the third more by the same: each call "
        "adds its gradient to what is there."
    )
    hint = f"Set it to zero before each way back, or write = where += stands: {_short(name)} = ..."
    if other:
        evidence, hint = f"It grows with each call, as {other} does.", f"The same as for {other}."
    return Finding(name, "added up", None, evidence, hint)


def _with_value(result: Any, params: Any) -> bool:
    """Return whether a function of the gradients returns the loss's value before them."""

    def begins_with_a_number(pair: Any) -> bool:
        return (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and isinstance(pair[0], float | int | np.number)
        )

    return begins_with_a_number(result) and not begins_with_a_number(params)


def _same(a: Array, b: Array) -> bool:
    """Return whether two arrays are the same to the rounding of sums."""
    if a.shape != b.shape:
        return False
    slack = max(SAME, 8 * unit_of(a.dtype)) if a.dtype.kind == "f" else SAME
    with np.errstate(all="ignore"):
        size = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=0, atol=slack * size, equal_nan=True))


def _shaped(
    name: str, array: Array, param: str, point: Array, findings: list[Finding], notes: list[str]
) -> Array:
    """Return a gradient in the shape of its parameter, where it only lies another way."""
    shape = point.shape
    if array.shape == shape:
        return array
    if array.ndim == 2 and array.shape == shape[::-1] and 1 not in shape:
        findings.append(
            Finding(
                name,
                "transposed",
                None,
                f"It has shape {array.shape}, and {param} has shape {shape}.",
                "Swap the factors' roles: it is x.T @ dz for y = x @ w (samples are rows), and "
                "dz @ x.T for y = w @ x (samples are columns).",
            )
        )
        return array.T
    if [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
        check_like(FUNCTION, name, array, param, point)
    step = np.broadcast_shapes(array.shape, shape)
    text = f"{name} has shape {array.shape}, and {param} has shape {shape}"
    if step == shape:
        notes.append(f"{text}: they are compared entry by entry.")
    else:
        findings.append(
            Finding(
                name,
                "shape",
                None,
                f"It has shape {array.shape}, and {param} has shape {shape}: {param} - {name} has "
                f"shape {step}.",
                f"keepdims=True in the sum, or .reshape({shape}).",
            )
        )
    return array.reshape(shape)


def _short(name: str) -> str:
    """Return an array's own name, of ``params['W1']``: W1."""
    last = name.rpartition("[")[2].rstrip("]")
    return last.strip("'") if "'" in last else name
