"""Hand-written NumPy networks, and mistakes in their gradients that can be seen from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from conftest import Array

# -- networks, as scripts have them ----------------------------------------------------------------

ACTIVATIONS: dict[str | None, tuple[Any, Any]] = {  # the function, and its derivative from z
    None: (lambda z: z, np.ones_like),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    ),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
}


@dataclass
class Script:
    """A loss, where it is taken, and its right gradients, in the same order as the arrays."""

    name: str
    loss: Callable[[Any], float]
    params: Any
    grads: list[Array]
    wrap: Callable[[list[Array]], Any]  # a list of gradients as the script keeps them
    x: Array
    target: Array


def _terms(loss: str, y: Array, t: Array, n: int) -> tuple[float, Array]:
    if loss == "mean":
        return float(np.mean((y - t) ** 2)), 2 * (y - t) / t.size
    if loss == "samples":
        return float(np.sum((y - t) ** 2) / (2 * n)), (y - t) / n
    if loss == "bce":  # of logits
        value = np.mean(np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y))))
        return float(value), (1 / (1 + np.exp(-y)) - t) / t.size
    e = np.exp(y - y.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return float(-np.sum(t * np.log(p)) / n), (p - t) / n


def network(
    name: str,
    widths: tuple[int, ...],
    acts: tuple[str | None, ...],
    loss: str,
    dtype: str,
    *,
    columns: bool = False,
    l2: float = 0.0,
    form: str = "dict",
    n: int = 7,
) -> Script:
    """Return a network with a gradient by hand."""
    rng = np.random.default_rng(len(name))
    x = rng.normal(size=(n, widths[0])).astype(dtype)
    t = rng.normal(size=(n, widths[-1])).astype(dtype)
    if loss in ("bce", "softmax"):
        t = np.eye(widths[-1], dtype=dtype)[rng.integers(0, widths[-1], n)]
    ws = [rng.normal(size=(d, k)).astype(dtype) for d, k in pairwise(widths)]
    bs = [rng.normal(size=k).astype(dtype) for k in widths[1:]]

    def value(ws: list[Array], bs: list[Array]) -> float:
        y = x
        for w, b, act in zip(ws, bs, acts, strict=True):
            y = ACTIVATIONS[act][0](y @ w + b)
        penalty = l2 / 2 * sum(float(np.sum(w * w)) for w in ws) if l2 else 0.0
        return _terms(loss, y, t, n)[0] + penalty

    def backward(ws: list[Array], bs: list[Array]) -> tuple[list[Array], list[Array]]:
        zs, ys = [], [x]
        for w, b, act in zip(ws, bs, acts, strict=True):
            zs.append(ys[-1] @ w + b)
            ys.append(ACTIVATIONS[act][0](zs[-1]))
        dy = _terms(loss, ys[-1], t, n)[1]
        dws, dbs = [], []
        for i in reversed(range(len(ws))):
            dz = dy * ACTIVATIONS[acts[i]][1](zs[i])
            dws.append(ys[i].T @ dz + l2 * ws[i])
            dbs.append(dz.sum(axis=0))
            dy = dz @ ws[i].T
        return dws[::-1], dbs[::-1]

    def turned(ws: list[Array], bs: list[Array]) -> list[Array]:
        both = zip(ws, bs, strict=True)
        if columns:
            return [a for w, b in both for a in (w.T, b.reshape(-1, 1))]
        return [a for pair in both for a in pair]

    def back(arrays: list[Array]) -> tuple[list[Array], list[Array]]:
        ws, bs = arrays[::2], arrays[1::2]
        return ([w.T for w in ws], [b.ravel() for b in bs]) if columns else (ws, bs)

    def wrap(arrays: list[Array], prefix: str = "d") -> Any:
        if form == "dict":
            keys = [f"{prefix}{kind}{i + 1}" for i in range(len(acts)) for kind in ("W", "b")]
            return dict(zip(keys, arrays, strict=True))
        if form == "list":
            return list(arrays)
        return [(w, b) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]

    def flat(tree: Any) -> list[Array]:
        if isinstance(tree, dict):
            return list(tree.values())
        return [a for part in tree for a in (part if isinstance(part, tuple) else (part,))]

    dws, dbs = backward(ws, bs)
    assert all(g.dtype == dtype for g in (*dws, *dbs))
    return Script(
        name,
        lambda p: value(*back(flat(p))),
        wrap(turned(ws, bs), ""),
        turned(dws, dbs),
        wrap,
        x,
        t,
    )


def scripts(dtype: str) -> list[Script]:
    """Return the networks."""
    return [
        network("rows", (4, 5, 3), ("tanh", None), "mean", dtype),
        network(
            "columns", (3, 4, 4, 2), ("sigmoid", "tanh", None), "samples", dtype, columns=True, n=5
        ),
        network("relu", (6, 5, 4), ("relu", None), "softmax", dtype, form="pairs"),
        network("penalty", (5, 3), (None,), "bce", dtype, l2=0.02, form="pairs"),
        network("square", (3, 3, 3, 3), ("tanh", "tanh", None), "mean", dtype, form="list"),
        network("one output", (4, 6, 1), ("tanh", "sigmoid"), "mean", dtype, l2=1e-3),
    ]


# -- mistakes --------------------------------------------------------------------------------------

Plant = Callable[[Script, list[Array], list[Array], int], list[tuple[int, Array]] | None]


def _one(change: Callable[[Array, Array, Script], Array | None]) -> Plant:
    """Return the planting of a mistake that changes one array, given it and its parameter."""

    def plant(
        script: Script, params: list[Array], grads: list[Array], i: int
    ) -> list[tuple[int, Array]] | None:
        wrong = change(grads[i], params[i], script)
        return None if wrong is None else [(i, wrong)]

    return plant


def _matrix(change: Callable[[Array], Array]) -> Plant:
    return _one(lambda g, p, s: change(g) if g.ndim == 2 and 1 not in g.shape else None)


def _square(change: Callable[[Array], Array]) -> Plant:
    return _one(lambda g, p, s: change(g) if g.ndim == 2 and g.shape[0] == g.shape[1] > 1 else None)


def _long(change: Callable[[Array], Array]) -> Plant:
    return _one(
        lambda g, p, s: (
            change(g) if g.ndim == 2 and 1 not in g.shape and len({*g.shape}) > 1 else None
        )
    )


def _other(script: Script, params: list[Array], grads: list[Array], i: int) -> int | None:
    """Return another array of the same shape."""
    return next(
        (j for j, g in enumerate(grads) if j != i and g.shape == grads[i].shape and g.size > 1),
        None,
    )


def _swapped(
    script: Script, params: list[Array], grads: list[Array], i: int
) -> list[tuple[int, Array]] | None:
    j = _other(script, params, grads, i)
    return None if j is None else [(i, grads[j]), (j, grads[i])]


def _another(
    script: Script, params: list[Array], grads: list[Array], i: int
) -> list[tuple[int, Array]] | None:
    j = _other(script, params, grads, i)
    return None if j is None else [(i, grads[j])]


def _with(array: Array, index: tuple[int, ...], value: float) -> Array:
    copy = array.copy()
    copy[index] = value
    return copy


def _ramp(size: int) -> Array:
    return (1 + np.arange(size)).astype(np.float32)


# The kind that the report must name, and how the mistake is planted.
MISTAKES: dict[str, tuple[str, Plant]] = {
    "sign": ("sign", _one(lambda g, p, s: -g)),
    "zero": ("zero", _one(lambda g, p, s: np.zeros_like(g))),
    "times n": ("factor", _one(lambda g, p, s: g * len(s.x))),
    "over n": ("factor", _one(lambda g, p, s: g / len(s.x))),
    "twice": ("factor", _one(lambda g, p, s: 2 * g)),
    "minus half": ("factor", _one(lambda g, p, s: g * g.dtype.type(-0.5))),
    "odd factor": (
        "factor",
        _one(lambda g, p, s: g * g.dtype.type(0.7319) if g.size > 1 else None),
    ),
    "transposed": ("transposed", _square(lambda g: g.T)),
    "transposed and n": ("transposed, and a factor", _square(lambda g: 7 * g.T)),
    "order": ("order of elements", _long(lambda g: g.T.reshape(g.shape))),
    "other order": ("order of elements", _long(lambda g: g.reshape(g.shape[::-1]).T)),
    "swapped": ("swapped", _swapped),
    "another": ("another array's", _another),
    "l2 missing": ("penalty l2 missing", _one(lambda g, p, s: _less(g, p, 0.01))),
    "l2 too much": ("penalty l2 too much", _one(lambda g, p, s: _less(g, p, -0.1))),
    "l1 missing": ("penalty l1 missing", _one(lambda g, p, s: _less(g, np.sign(p), 0.01))),
    "l1 too much": ("penalty l1 too much", _one(lambda g, p, s: _less(g, np.sign(p), -0.01))),
    "factor and l2": (
        "factor, and penalty l2",
        _one(lambda g, p, s: 3 * _less(g, p, 0.01) if g.size > 4 else None),  # type: ignore[operator]
    ),
    "per row": ("factor per row", _matrix(lambda g: g * _ramp(len(g))[:, None].astype(g.dtype))),
    "per column": ("factor per column", _matrix(lambda g: g * _ramp(g.shape[1]).astype(g.dtype))),
    "one row": ("factor per row", _matrix(lambda g: g * np.eye(len(g), 1, 0, g.dtype) + g)),
    "row of zeros": ("some rows", _matrix(lambda g: g * (1 - np.eye(len(g), 1, -1, g.dtype)))),
    "entry": (
        "some entries",
        _one(lambda g, p, s: _with(g, (0,) * g.ndim, 3.0) if g.size > 2 else None),
    ),
    "not finite": ("not finite", _one(lambda g, p, s: _with(g, (-1,) * g.ndim, np.nan))),
    "clipped": ("clipped", _one(lambda g, p, s: _clipped(g))),
}


def _less(g: Array, array: Array, number: float) -> Array | None:
    """Return a gradient without a multiple of an array; of one number nothing can be told."""
    return g - g.dtype.type(number) * array if g.size > 1 else None


def _clipped(g: Array) -> Array | None:
    limit = np.sort(np.abs(g), axis=None)[-3:].mean() * 0.5 if g.size > 5 else 0
    cut = np.clip(g, -limit, limit)
    return cut if 1 < np.count_nonzero(cut != g) < g.size else None


@dataclass
class Case:
    """A planted mistake."""

    name: str
    kind: str  # that the report must name
    places: list[int]  # of the wrong arrays
    grads: Any


def cases(script: Script) -> Iterator[Case]:
    """Yield every mistake at every array where it fits."""
    params = _arrays(script.params)
    for i in range(len(params)):
        for name, (kind, plant) in MISTAKES.items():
            planted = plant(script, params, script.grads, i)
            if planted is None:
                continue
            grads = [g.copy() for g in script.grads]
            for j, wrong in planted:
                grads[j] = wrong
            yield Case(name, kind, [j for j, _ in planted], script.wrap(grads))


def _arrays(tree: Any) -> list[Array]:
    if isinstance(tree, np.ndarray):
        return [tree]
    return [
        a for part in (tree.values() if isinstance(tree, dict) else tree) for a in _arrays(part)
    ]
