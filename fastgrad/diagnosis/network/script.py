"""A script's arrays, read: parameters and gradients in any form, one (w, b) per layer of rows.

A form is the flat vector, or a tree: a list of (w, b), one list of all arrays, a dict "W1", "b1",
dicts in a list. Which array is which follows from the names and places in the tree where they
settle it, else from the order and the shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_array
from fastgrad.diagnosis.network.names import Names
from fastgrad.trees import of_any_shape, tree_of

__all__ = ["Script", "assigned", "read_gradients", "read_parameters"]

FUNCTION = "diagnose"
Slot = tuple[str, int]  # ("w" or "b", layer)


@dataclass
class Script:
    """Where each array of a network lies in the script's tree, and what it is called there."""

    net: Any
    tree: Any  # the tree's structure; None for the flat vector
    slots: list[Slot]  # of the tree's arrays, in order
    shapes: dict[Slot, tuple[int, ...]]
    values: dict[Slot, Array]  # as the script has them
    names: Names

    @property
    def columns(self) -> bool:
        """Whether a sample is a column."""
        return bool(self.net.samples == "columns")

    def as_rows(self, slot: Slot, array: Array) -> Array:
        """Return an array of the script in the layout of rows, in float64."""
        wide = array.astype(np.float64)
        if slot[0] == "b":
            return wide.reshape(-1)
        return np.ascontiguousarray(wide.T) if self.columns else wide


def read_parameters(net: Any, params: Any) -> Script:
    """Return where each parameter is."""
    wanted = _wanted(net)
    tree = tree_of(FUNCTION, "params", params)
    if tree.kind == "array":
        found = _views(net, "params", params, "a list or dict of its arrays")
        shapes = {slot: found[slot].shape for slot in wanted}
        return Script(net, None, list(wanted), shapes, found, Names(net.samples))
    called = tree.names("params")
    arrays = [
        np.asarray(as_array(FUNCTION, name, item))
        for name, item in zip(called, tree.values(params), strict=True)
    ]
    slots = assigned([a.shape for a in arrays], tree.paths(), wanted)
    if slots is None:
        shapes_of = ", ".join(f"{_letter(slot)} {shape}" for slot, (shape, *_) in wanted.items())
        given = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(
            f"{FUNCTION}: params holds arrays of shapes {given}, but the network needs {shapes_of}"
        )
    values = dict(zip(slots, arrays, strict=True))
    keys = dict(zip(slots, (path[-1] for path in tree.paths()), strict=True))
    shapes = {slot: array.shape for slot, array in values.items()}
    return Script(net, tree, slots, shapes, values, Names(net.samples, keys))


def _letter(slot: Slot) -> str:
    return f"{'W' if slot[0] == 'w' else 'b'}{slot[1]}"


def _views(net: Any, name: str, given: Any, otherwise: str) -> dict[Slot, Array]:
    """Return the arrays of a flat vector, checked."""
    flat = np.asarray(as_array(FUNCTION, name, given))
    if flat.shape != (net.size,):
        raise ValueError(
            f"{FUNCTION}: {name} has shape {flat.shape} but the network has {net.size} "
            f"parameters: give shape ({net.size},), or {otherwise}"
        )
    found = {}
    for layer, views in enumerate(net._network.views(flat), 1):
        found["w", layer] = views.w
        if views.b is not None:
            found["b", layer] = views.b
    return found


def _wanted(net: Any) -> dict[Slot, list[tuple[int, ...]]]:
    """Return the shapes that each array may have, the first as documented."""
    found: dict[Slot, list[tuple[int, ...]]] = {}
    pairs = zip(net.sizes, net.sizes[1:], strict=False)
    for layer, (d, k) in enumerate(pairs, 1):
        found["w", layer] = [(k, d) if net.samples == "columns" else (d, k)]
        if net.bias:
            found["b", layer] = [(k, 1), (k,), (1, k)] if net.samples == "columns" else [
                (k,), (1, k), (k, 1)
            ]  # fmt: skip
    return found


def assigned(
    shapes: list[tuple[int, ...]], paths: list[tuple[Any, ...]], wanted: Any
) -> list[Slot] | None:
    """Return which array is which, or None if shapes do not fit."""
    for guess in (_by_name(paths), _by_order(shapes, wanted, True), _by_order(shapes, wanted)):
        if (
            guess is not None
            and sorted(guess) == sorted(wanted)
            and all(s in wanted[slot] for s, slot in zip(shapes, guess, strict=True))
        ):
            return guess
    return None


def _by_name(paths: list[tuple[Any, ...]]) -> list[Slot] | None:
    """Return what names say: the number in "W1" or the place in a list, and the letter."""
    found = []
    for path in paths:
        numbers, role = [], None
        for key in path:
            if isinstance(key, int):
                numbers.append(key)
                continue
            numbers += [int(n) for n in re.findall(r"\d+", str(key))]
            letters = re.sub(r"[^a-z]", "", str(key).lower())
            if "bias" in letters or letters == "b":
                role = "b"
            elif letters[:1] == "w" or "weight" in letters or "kernel" in letters:
                role = "w"
        if role is None and len(path) > 1 and path[-1] in (0, 1) and len(numbers) > 1:
            role = "wb"[path[-1]]
            numbers.pop()
        if role is None or len(numbers) != 1:
            return None
        found.append((role, numbers[0]))
    ranks = {n: rank for rank, n in enumerate(sorted({n for _, n in found}), 1)}
    return [(role, ranks[n]) for role, n in found]


def _by_order(
    shapes: list[tuple[int, ...]], wanted: Any, grouped: bool = False
) -> list[Slot] | None:
    """Return what the order says: w1, b1, w2, ..., or `grouped` all w, then all b."""
    slots = sorted(wanted, key=lambda s: (s[0] != "w", s[1]) if grouped else (s[1], s[0] != "w"))
    return slots if len(slots) == len(shapes) else None


def read_gradients(script: Script, grads: Any) -> tuple[dict[Slot, Array], dict[Slot, str]]:
    """Return a script's gradients by layer, of whatever shape, and what each is called there."""
    net = script.net
    own = tree_of(FUNCTION, "grads", grads)
    if own.kind == "array":
        views = _views(net, "grads", grads, "the form of params")
        return views, {slot: f"d{_letter(slot)}" for slot in script.slots}
    if script.tree is not None:
        own, arrays = of_any_shape(FUNCTION, script.tree, grads)
        slots = script.slots
    else:
        found = _by_name([_without_prefix(path) for path in own.paths()])
        slots = found or _by_order([()] * len(own.paths()), _wanted(net)) or []
        if sorted(slots) != sorted(script.slots):
            needed = ", ".join(_letter(slot) for slot in script.slots)
            raise ValueError(
                f"{FUNCTION}: grads holds {len(own.paths())} arrays: give one for each of {needed}"
            )
        _, arrays = of_any_shape(FUNCTION, own, grads)
    called = own.names("grads")
    values = {slot: np.asarray(array) for slot, array in zip(slots, arrays, strict=True)}
    script.names.gradients(dict(zip(slots, (path[-1] for path in own.paths()), strict=True)))
    return values, dict(zip(slots, called, strict=True))


def _without_prefix(path: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        re.sub(r"^(grad_|d)(?=[wWbBk])", "", key) if isinstance(key, str) else key for key in path
    )
