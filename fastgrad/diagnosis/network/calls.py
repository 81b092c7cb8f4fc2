"""Gradients computed by a callable: called twice, to see what it keeps and what it changes.

The first call is at other parameters, a tenth away; the second at those given. What comes from the
first call into the second, as arrays of the step before or as a sum, then shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.script import Script, Slot, read_gradients

__all__ = ["Called", "call_twice"]

AWAY = 0.1  # of each parameter, and of their size


@dataclass
class Called:
    """What two calls gave: gradients at `elsewhere`, then at the parameters given."""

    elsewhere: dict[Slot, Array]
    first: dict[Slot, Array]
    second: dict[Slot, Array]
    names: dict[Slot, str]
    changed: list[tuple[str, str]]  # (what, how) of arrays that a call has changed


def _tree(script: Script, values: dict[Slot, Array]) -> Any:
    """Return parameters in the script's form."""
    if script.tree is not None:
        return script.tree.build(iter([values[slot] for slot in script.slots]))
    flat = np.empty(script.net.size, np.result_type(*values.values()))
    for slot, view in zip(script.slots, _flat_views(script, flat), strict=True):
        view[...] = values[slot].reshape(view.shape)
    return flat


def _flat_views(script: Script, flat: Array) -> list[Array]:
    views = {}
    for layer, pair in enumerate(script.net.layers(flat), 1):
        views["w", layer], views["b", layer] = pair.w, pair.b
    return [views[slot] for slot in script.slots]


def call_twice(script: Script, function: Callable[[Any], Any], data: dict[str, Any]) -> Called:
    """Call a script's function at two places, and see what it has changed."""
    draw = np.random.default_rng(0)
    elsewhere = {}
    for slot, value in script.values.items():
        size = float(np.sqrt(np.square(value, dtype=np.float64).mean())) if value.size else 0.0
        moved = value + AWAY * (0.1 * size + np.abs(value)) * draw.uniform(0.5, 1.0, value.shape)
        elsewhere[slot] = np.asarray(moved, value.dtype)
    changed: list[tuple[str, str]] = []
    before = {name: np.array(array, copy=True) for name, array in data.items()}
    results = []
    for place in (elsewhere, script.values):
        own = {slot: value.copy() for slot, value in place.items()}
        tree = _tree(script, own)
        held = {script.names.parameter(*slot): value for slot, value in own.items()}
        if script.tree is None:
            held = {"params": tree}
        copies = {name: value.copy() for name, value in held.items()}
        results.append(_copied(script, function(tree)))
        changed += [
            (name, "params")
            for name, value in held.items()
            if not np.array_equal(value, copies[name], equal_nan=True)
        ]
    for name, array in data.items():
        if not np.array_equal(np.asarray(array), before[name], equal_nan=True):
            np.asarray(array)[...] = before[name]
            changed.append((name, "input"))
    (first, _), (second, names) = results
    return Called(elsewhere, first, second, names, list(dict.fromkeys(changed)))


def _copied(script: Script, grads: Any) -> tuple[dict[Slot, Array], dict[Slot, str]]:
    values, names = read_gradients(script, grads)
    return {slot: value.copy() for slot, value in values.items()}, names
