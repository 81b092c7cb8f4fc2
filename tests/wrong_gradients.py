"""Scripts that compute a network's gradient by hand, and every mistake one can make in them.

Written as people write it, in NumPy, once for rows and once for columns; an `if` at a line is a
mistake at that line. Nothing here is shared with `fastgrad.diagnosis`: the doctor is held against
these scripts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.diagnosis.report import Diagnosis

SQRT_HALF = 0.7071067811865476


@dataclass(frozen=True)
class Net:
    """A network of the corpus, and what its script is given."""

    name: str
    sizes: tuple[int, ...]
    acts: tuple[str, ...]
    loss: str
    reduction: str
    columns: bool
    l2: float = 0.0
    n: int = 12
    bias: bool = True
    form: str = "dict"  # of params and grads: dict, pairs, flat


NETS = (
    Net("one-layer", (3, 4), ("identity",), "mse", "mean", False, n=9),
    Net("logistic", (5, 1), ("identity",), "binary_cross_entropy_with_logits", "mean", False),
    Net("b", (3, 5, 4, 2), ("tanh", "sigmoid", "identity"), "mse", "mean", True, n=10),
    Net("b-samples", (4, 4, 4, 4), ("tanh", "sigmoid", "tanh"), "mse", "samples", True, l2=0.03),
    Net("c", (3, 4, 2), ("sigmoid", "identity"), "mse", "mean", True, n=6, form="pairs"),
    Net("d", (3, 3), ("sigmoid",), "squared_l2", "sum", True, n=5, bias=False),
    Net("classes", (6, 5, 5, 3), ("relu", "relu", "identity"), "softmax_cross_entropy", "mean",
        False, n=16, form="pairs"),
    Net("classes-l2", (4, 6, 3), ("gelu", "identity"), "softmax_cross_entropy", "mean", True,
        l2=0.1, n=14),
    Net("deep", (4, 4, 4, 4, 4), ("tanh", "gelu", "relu", "identity"), "mse", "mean", False,
        n=13, form="flat"),
    Net("probabilities", (5, 4, 3), ("sigmoid", "softmax"), "mse", "samples", False, l2=0.02),
    Net("binary", (4, 6, 2), ("relu", "identity"), "binary_cross_entropy_with_logits", "samples",
        True, n=11),
)  # fmt: skip


# -- functions, as scripts have them -------------------------------------------------------------


def erf(z: Any) -> Any:
    from math import erf as one

    return np.vectorize(one, otypes=[z.dtype])(z)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


VALUE = {
    "identity": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * (0.5 * (1 + erf(z * z.dtype.type(SQRT_HALF)))),
    "softplus": lambda z: np.log1p(np.exp(z)),
}
# The derivative from y where scripts take y, else from z.
FROM_Y = {
    "tanh": lambda y: 1 - y**2,
    "sigmoid": lambda y: y * (1 - y),
    "relu": lambda y: (y > 0).astype(y.dtype),
}
FROM_Z = {
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "sigmoid": lambda z: sigmoid(z) * (1 - sigmoid(z)),
    "relu": lambda z: (z > 0).astype(z.dtype),
    "gelu": lambda z: (
        z.dtype.type(0.5) * (1 + erf(z * z.dtype.type(SQRT_HALF)))
        + z * np.exp(-(z**2) / 2) / z.dtype.type(np.sqrt(2 * np.pi))
    ),
    "softplus": sigmoid,
    "identity": np.ones_like,
}


def derivative(name: str, z: Any, y: Any) -> Any:
    return FROM_Y[name](y) if name in FROM_Y else FROM_Z[name](z)


@dataclass
class Case:
    """A script's data: parameters and a batch in its layout."""

    net: Net
    dtype: Any
    params: dict[str, Any]
    x: Any
    target: Any  # as the network takes it
    onehot: Any  # as the script uses it
    before: dict[str, Any] = field(default_factory=dict)  # the parameters one step before


def make(net: Net, dtype: Any, seed: int = 0) -> Case:
    rng = np.random.default_rng([seed, len(net.name), net.n])
    params: dict[str, Any] = {}
    for i, (d, k) in enumerate(zip(net.sizes, net.sizes[1:], strict=False), 1):
        w, b = rng.standard_normal((d, k)) / d**0.5, 0.3 * rng.standard_normal(k)
        params[f"W{i}"] = (w.T if net.columns else w).astype(dtype).copy()
        if net.bias:
            params[f"b{i}"] = (b[:, None] if net.columns else b).astype(dtype)
    x = rng.standard_normal((net.n, net.sizes[0]))
    k = net.sizes[-1]
    target: Any
    if net.loss == "softmax_cross_entropy":
        target = rng.integers(0, k, net.n)
        onehot = np.eye(k)[target]
    elif net.loss == "binary_cross_entropy_with_logits":
        onehot = target = rng.integers(0, 2, (net.n, k)).astype(float)
    else:
        onehot = target = rng.uniform(0, 1, (net.n, k))
    if net.columns:
        x, onehot = x.T, onehot.T
        target = target.T if target.ndim == 2 else target
    if target.ndim == 2:
        target = target.astype(dtype)
    if net.loss == "squared_l2":
        target = None
    return Case(net, dtype, params, x.astype(dtype).copy(), target, onehot.astype(dtype))


def network(net: Net) -> Any:
    acts = [None if a == "identity" else a for a in net.acts]
    return fg.MLP(
        net.sizes, acts, net.loss, net.reduction, bias=net.bias,
        samples="columns" if net.columns else "rows", dtype="float64", l2=net.l2,
    )  # fmt: skip


# -- the scripts -----------------------------------------------------------------------------------

Mistakes = dict[str, Any]  # what is wrong: {"bias 2": "mean", "activation 1": "left out"}


def softmax(z: Any, axis: int) -> Any:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def forward(case: Case, p: dict[str, Any], wrong: Mistakes) -> tuple[list[Any], list[Any]]:
    """Return z and a of all layers; in front the input."""
    net, axis = case.net, 0 if case.net.columns else 1
    zs, ys = [case.x], [case.x]
    acts = list(net.acts)
    if "order" in wrong:
        i, j = wrong["order"]
        acts[i - 1], acts[j - 1] = acts[j - 1], acts[i - 1]
    for i, act in enumerate(acts, 1):
        before = ys[-1]
        z = p[f"W{i}"] @ before if net.columns else before @ p[f"W{i}"]
        how = wrong.get(f"forward {i}")
        if net.bias and how != "no bias":
            z = z + p[f"b{i}"]
        if how == "flipped":
            y = VALUE[act](-z)
        elif how == "other":
            y = VALUE["tanh" if act != "tanh" else "sigmoid"](z)
        else:
            y = softmax(z, axis) if act == "softmax" else VALUE[act](z)
        zs.append(z)
        ys.append(y)
    return zs, ys


def count(case: Case, pred: Any) -> float:
    """Return what the loss is divided by."""
    net = case.net
    if net.reduction == "sum":
        return 1.0
    if net.reduction == "samples" or net.loss == "softmax_cross_entropy":
        return net.n
    return pred.size


def value_of(case: Case, pred: Any, wrong: Mistakes) -> float:
    """Return the loss."""
    net, t, axis = case.net, case.onehot, 0 if case.net.columns else 1
    if net.loss == "mse":
        total = ((pred - t) ** 2).sum()
    elif net.loss == "squared_l2":
        total = (pred**2).sum()
    elif net.loss == "softmax_cross_entropy":
        total = -(t * np.log(softmax(pred, axis))).sum()
    else:
        total = (np.log1p(np.exp(-np.abs(pred))) + np.maximum(pred, 0) - t * pred).sum()
    penalty = sum((w**2).sum() for name, w in case.params.items() if name[0] == "W")
    if wrong.get("value") == "sum":
        return float(total + net.l2 / 2 * penalty)
    return float(total / count(case, pred) + net.l2 / 2 * penalty)


def loss_gradient(case: Case, pred: Any, how: Any) -> Any:
    """Return dL/da of the last layer."""
    net, t, axis = case.net, case.onehot, 0 if case.net.columns else 1
    batch = 1 - axis
    size = count(case, pred)
    if how == "not divided":
        size = 1.0
    elif how == "divided twice":
        size = size * size
    elif how == "divided by the batch":
        size = size * net.n
    elif how == "divided by the outputs":
        size = size * net.sizes[-1]
    if net.loss in ("mse", "squared_l2"):
        t = t if net.loss == "mse" else t * 0
        g = 2 * (pred - t) / size
        if how == "no 2":
            g = (pred - t) / size
        elif how == "no target":
            g = 2 * pred / size
        elif how == "mae":
            g = np.sign(pred - t) / size
    else:
        p = softmax(pred, axis) if net.loss == "softmax_cross_entropy" else sigmoid(pred)
        g = (p - t) / size
        if how == "no target":
            g = p / size
        elif how == "ones":
            g = (p - 1) / size
        elif how == "twice":
            again = softmax(p, axis) if net.loss == "softmax_cross_entropy" else sigmoid(p)
            g = (again - t) / size
        elif how == "on top" and net.loss == "softmax_cross_entropy":
            g = p * (g - (g * p).sum(axis=axis, keepdims=True))
        elif how == "on top":
            g = g * p * (1 - p)
        elif how == "of p" and net.loss == "softmax_cross_entropy":
            g = -t / p / size
        elif how == "of p":
            g = (-t / p + (1 - t) / (1 - p)) / size
        elif how == "logits":
            g = (pred - t) / size
        elif how == "mse":
            g = 2 * (p - t) / size
        elif how == "batch softmax":
            g = (softmax(pred, batch) - t) / size
    if how == "sign":
        g = -g
    elif how == "doubled":
        g = g * 2
    elif how == "average":
        g = np.full_like(g, g.mean())
    elif how == "notebook c":
        g = np.full_like(g, (g * size).mean())
    elif how == "average of samples":
        g = np.zeros_like(g) + g.mean(axis=batch, keepdims=True)
    elif how in ("without the last", "without the first", "without a few"):
        g, keep = g.copy(), {"without the last": slice(-1, None), "without the first": slice(0, 1),
                             "without a few": slice(-3, None)}[how]  # fmt: skip
        g[(slice(None), keep) if net.columns else (keep, slice(None))] = 0
        if how == "without a few":
            g = g * (net.n / (net.n - 3))
    return g.astype(case.dtype)


def through_activation(case: Case, i: int, g: Any, zs: Any, ys: Any, how: Any) -> Any:
    """Return dz."""
    act, axis = case.net.acts[i - 1], 0 if case.net.columns else 1
    z, y = zs[i], ys[i]
    if how == "left out":
        return g
    if act == "softmax":
        if how == "diagonal":
            return g * y * (1 - y)
        return y * (g - (g * y).sum(axis=axis, keepdims=True))
    slope = derivative(act, z, y)
    if how == "twice":
        slope = slope**2
    elif how == "swapped array":
        slope = FROM_Y[act](z) if act in ("tanh", "sigmoid") else FROM_Z[act](y)
    elif isinstance(how, tuple) and how[0] == "other":
        slope = FROM_Y[how[1]](y) if how[1] in FROM_Y else FROM_Z[how[1]](z)
    elif isinstance(how, tuple) and how[0] == "layer":
        slope = derivative(act, zs[how[1]], ys[how[1]])
    elif how == "mask of the gradient":
        slope = (g > 0).astype(g.dtype)
    elif how == "mask turned":
        slope = (z <= 0).astype(g.dtype)
    elif how == "kink":
        slope = (z >= 0).astype(g.dtype)
    elif how == "sign":
        slope = -slope
    elif how == "halved":
        slope = slope / 2
    return g * slope


def rows(case: Case, wrong: Mistakes) -> dict[str, Any]:
    """Return the gradient of a script whose samples are rows."""
    p, layers, n = case.params, len(case.net.acts), case.net.n
    zs, ys = forward(case, p, wrong)
    old_zs, old_ys = forward(case, case.before, {}) if case.before else (zs, ys)
    grads: dict[str, Any] = {}
    g = loss_gradient(case, ys[-1], wrong.get("loss"))
    dzs: dict[int, Any] = {}
    for i in range(layers, 0, -1):
        W, a = p[f"W{i}"], ys[i - 1]
        stale = wrong.get(f"activation {i}") == "stale"
        dz = through_activation(case, i, g, old_zs if stale else zs, old_ys if stale else ys,
                                wrong.get(f"activation {i}"))  # fmt: skip
        dzs[i] = dz
        how = wrong.get(f"weights {i}")
        dW = a.T @ dz
        if how == "transposed":
            dW = dz.T @ a
        elif how == "da":
            dW = a.T @ g
        elif how == "own output":
            dW = ys[i].T @ dz
        elif how == "own z":
            dW = zs[i].T @ dz
        elif how == "z before":
            dW = zs[i - 1].T @ dz
        elif how == "x":
            dW = ys[0].T @ dz
        elif how == "stale":
            dW = old_ys[i - 1].T @ dz
        elif how == "other dz":
            dW = a.T @ dzs[i + 1]
        elif how == "first sample":
            dW = a[:1].T @ dz[:1]
        dW = finish(case, dW, W, how)
        grads[f"dW{i}"] = dW.astype(case.dtype)
        if case.net.bias:
            how = wrong.get(f"bias {i}")
            db = dz.sum(axis=0)
            if how == "first":
                db = dz[0]
            elif how == "last":
                db = dz[-1]
            elif how == "mean":
                db = dz.mean(axis=0)
            elif how == "not summed":
                db = dz
            elif how == "one number":
                db = np.full_like(db, dz.sum())
            elif how == "da":
                db = g.sum(axis=0)
            elif how == "other dz":
                db = dzs[i + 1].sum(axis=0)
            elif how == "penalty":
                db = db + case.net.l2 * p[f"b{i}"]
            grads[f"db{i}"] = simple(db, how).astype(case.dtype)
        how = wrong.get(f"input {i}")
        if how == "not transposed":
            g = dz @ W
        elif how == "da":
            g = g @ W.T
        elif how == "updated":
            g = dz @ (W - case.dtype(0.1) * grads[f"dW{i}"]).T
        elif isinstance(how, tuple):
            other = p[f"W{how[1]}"]
            g = dz @ (other.T if other.shape == W.shape else other)
        else:
            g = dz @ W.T
    return whole(grads, wrong, n)


def columns(case: Case, wrong: Mistakes) -> dict[str, Any]:
    """Return the gradient of a script whose samples are columns."""
    p, layers, n = case.params, len(case.net.acts), case.net.n
    zs, ys = forward(case, p, wrong)
    old_zs, old_ys = forward(case, case.before, {}) if case.before else (zs, ys)
    grads: dict[str, Any] = {}
    g = loss_gradient(case, ys[-1], wrong.get("loss"))
    dzs: dict[int, Any] = {}
    for i in range(layers, 0, -1):
        W, a = p[f"W{i}"], ys[i - 1]
        stale = wrong.get(f"activation {i}") == "stale"
        dz = through_activation(case, i, g, old_zs if stale else zs, old_ys if stale else ys,
                                wrong.get(f"activation {i}"))  # fmt: skip
        dzs[i] = dz
        how = wrong.get(f"weights {i}")
        dW = dz @ a.T
        if how == "transposed":
            dW = a @ dz.T
        elif how == "da":
            dW = g @ a.T
        elif how == "own output":
            dW = dz @ ys[i].T
        elif how == "own z":
            dW = dz @ zs[i].T
        elif how == "z before":
            dW = dz @ zs[i - 1].T
        elif how == "x":
            dW = dz @ ys[0].T
        elif how == "stale":
            dW = dz @ old_ys[i - 1].T
        elif how == "other dz":
            dW = dzs[i + 1] @ a.T
        elif how == "first sample":
            dW = dz[:, :1] @ a[:, :1].T
        dW = finish(case, dW, W, how)
        grads[f"dW{i}"] = dW.astype(case.dtype)
        if case.net.bias:
            how = wrong.get(f"bias {i}")
            db = dz.sum(axis=1, keepdims=True)
            if how == "first":
                db = dz[:, :1]
            elif how == "last":
                db = dz[:, -1:]
            elif how == "mean":
                db = dz.mean(axis=1, keepdims=True)
            elif how == "not summed":
                db = dz
            elif how == "one number":
                db = np.full_like(db, dz.sum())
            elif how == "da":
                db = g.sum(axis=1, keepdims=True)
            elif how == "other dz":
                db = dzs[i + 1].sum(axis=1, keepdims=True)
            elif how == "penalty":
                db = db + case.net.l2 * p[f"b{i}"]
            grads[f"db{i}"] = simple(db, how).astype(case.dtype)
        how = wrong.get(f"input {i}")
        if how == "not transposed":
            g = W @ dz
        elif how == "da":
            g = W.T @ g
        elif how == "updated":
            g = (W - case.dtype(0.1) * grads[f"dW{i}"]).T @ dz
        elif isinstance(how, tuple):
            other = p[f"W{how[1]}"]
            g = (other.T if other.shape == W.shape else other) @ dz
        else:
            g = W.T @ dz
    return whole(grads, wrong, n)


def finish(case: Case, dW: Any, W: Any, how: Any) -> Any:
    """Return dW with its penalty."""
    l2 = case.net.l2
    if how == "mean":
        dW = dW / case.net.n
    elif how == "parameters":
        return W.copy()
    share = {"no penalty": 0, "twice": 2, "half": 0.5, "penalty / n": 1 / case.net.n}.get(how, 1)
    if l2:
        dW = dW + share * l2 * W
    elif how == "a penalty":
        dW = dW + 0.05 * W
    return simple(dW, how)


def simple(array: Any, how: Any) -> Any:
    """Return an array with a mistake that any array can have."""
    factor = {"sign": -1, "doubled": 2, "zero": 0}.get(how, 1)
    return array * factor


def whole(grads: dict[str, Any], wrong: Mistakes, n: int) -> dict[str, Any]:
    if "swapped" in wrong:
        one, two = wrong["swapped"]
        grads[one], grads[two] = grads[two], grads[one]
    if wrong.get("all") == "sum of two steps":
        grads = {name: array * 2 for name, array in grads.items()}
    return grads


def gradient(case: Case, wrong: Mistakes | None = None) -> dict[str, Any]:
    """Return what a script gives."""
    return (columns if case.net.columns else rows)(case, wrong or {})


def wide(case: Case) -> Case:
    """Return the same numbers in float64."""
    params = {name: array.astype(np.float64) for name, array in case.params.items()}
    return Case(case.net, np.float64, params, case.x.astype(np.float64), case.target,
                case.onehot.astype(np.float64), case.before)  # fmt: skip


def packed(net: Net, arrays: dict[str, Any], names: str = "") -> Any:
    """Return arrays in the network's form: dict, list of pairs, flat."""
    if net.form == "dict":
        return arrays
    layers = range(1, len(net.acts) + 1)
    pairs = [(arrays[f"{names}W{i}"], arrays.get(f"{names}b{i}")) for i in layers]
    if net.form == "pairs" or any(b is not None and b.ndim == 2 and not net.columns
                                  for _, b in pairs):  # fmt: skip
        return pairs
    return np.concatenate([a.ravel() for pair in pairs for a in pair if a is not None])


# -- a case, and what the doctor says of it --------------------------------------------------

DTYPES = {"float64": np.float64, "float32": np.float32}


def step_before(case: Case, rate: float = 0.1) -> dict[str, Any]:
    """Return the parameters from which a step of gradient descent leads to those of the case."""
    end = wide(case)
    params = dict(end.params)
    for _ in range(60):
        here = wide(case)
        here.params = params
        grads = gradient(here)
        params = {name: end.params[name] + rate * grads[f"d{name}"] for name in params}
    return params


@functools.cache
def case_of(net: Net, dtype: str) -> tuple[Case, Any]:
    case = make(net, DTYPES[dtype])
    before = step_before(case)
    case.before = {name: array.astype(DTYPES[dtype]) for name, array in before.items()}
    return case, network(net)


def diagnose(case: Case, net: Any, grads: Any, **more: Any) -> Diagnosis:
    params = packed(case.net, case.params)
    grads = packed(case.net, grads, "d")
    return fg.diagnose(net, params, grads, x=case.x, target=case.target, **more)


# -- every mistake at every place ---------------------------------------------------------------

# What the doctor should call it, and in which layer: {i} is that of the place.
LOSS = {
    "sign": "sign", "doubled": "factor", "no 2": "factor", "not divided": "sum for mean",
    "divided twice": "factor", "divided by the batch": "factor|mean for sum",
    "divided by the outputs": "factor", "no target": "target left out", "ones": "one-hot of ones",
    "twice": "probabilities as logits", "on top": "loss's activation' on top",
    "of p": "loss's activation' left out", "logits": "loss's activation left out",
    "mse": "another loss", "mae": "another loss", "batch softmax": "softmax over samples",
    "average": "loss averaged", "notebook c": "loss averaged",
    "average of samples": "loss averaged", "without the last": "samples left out",
    "without the first": "samples left out", "without a few": "samples left out",
}  # fmt: skip
OF_LOSS = {
    "mse": {"ones", "twice", "on top", "of p", "logits", "mse", "batch softmax"},
    "squared_l2": {"ones", "twice", "on top", "of p", "logits", "mse", "mae", "batch softmax",
                   "no target"},
    "softmax_cross_entropy": {"no 2", "mae", "divided by the batch"},
    "binary_cross_entropy_with_logits": {"no 2", "mae", "ones", "batch softmax"},
}  # fmt: skip
ACTIVATION = {
    "left out": "activation' left out", "twice": "activation' twice",
    "swapped array": "activation' at the wrong array", "mask of the gradient":
    "activation' of another layer", "mask turned": "mask turned", "sign": "sign",
    "halved": "factor", "diagonal": "diagonal of softmax", "stale": "stale cache",
}  # fmt: skip
WEIGHTS = {
    "transposed": "transposed", "da": "da for dz", "own output": "wrong input",
    "own z": "wrong input", "z before": "wrong input", "x": "wrong input",
    "other dz": "other dz", "first sample": "one sample", "mean": "mean for sum",
    "no penalty": "penalty", "twice": "penalty", "half": "penalty", "penalty / n": "penalty",
    "a penalty": "penalty", "sign": "sign", "doubled": "factor", "zero": "zero",
    "parameters": "parameters returned", "stale": "stale cache",
}  # fmt: skip
BIAS = {
    "first": "one sample", "last": "one sample", "mean": "mean for sum",
    "not summed": "not summed", "one number": "one number", "da": "da for dz",
    "other dz": "other dz", "penalty": "penalty", "sign": "sign", "doubled": "factor",
    "zero": "zero",
}  # fmt: skip
INPUT = {
    "not transposed": "weights not transposed", "da": "activation' skipped on the way",
    "updated": "weights updated before",
}  # fmt: skip


def places(net: Net) -> Iterator[tuple[Mistakes, str, int, str]]:
    """Yield every mistake at every place: what to plant, its kind, its layer, its array."""
    layers, sizes, acts = len(net.acts), net.sizes, net.acts
    for how, kind in LOSS.items():
        if how not in OF_LOSS[net.loss]:
            yield {"loss": how}, kind, layers, "stem"
    for i in range(layers, 0, -1):
        act, d, k = acts[i - 1], sizes[i - 1], sizes[i]
        for how, kind in ACTIVATION.items():
            fits = {
                "swapped array": act in ("tanh", "sigmoid", "gelu"),
                "mask of the gradient": act == "relu", "mask turned": act == "relu",
                "twice": act not in ("relu", "softmax"), "diagonal": act == "softmax",
                "sign": act != "softmax", "halved": act != "softmax",
            }.get(how, True)  # fmt: skip
            if act != "identity" and fits:
                yield {f"activation {i}": how}, kind, i, "stem"
        if act not in ("identity", "softmax"):
            for other in ("tanh", "sigmoid", "relu", "gelu", "softplus"):
                if other != act:
                    yield {f"activation {i}": ("other", other)}, "another activation'", i, "stem"
            for other in range(1, layers + 1):
                if other != i and sizes[other] == k:
                    kind = "activation' of another layer"
                    yield {f"activation {i}": ("layer", other)}, kind, i, "stem"
        for how, kind in WEIGHTS.items():
            fits = {
                "transposed": d == k, "own output": d == k, "own z": d == k and act != "identity",
                "z before": i > 1, "x": i > 1 and sizes[0] == d, "da": act != "identity",
                "other dz": i < layers and sizes[i + 1] == k, "no penalty": net.l2 > 0,
                "twice": net.l2 > 0, "half": net.l2 > 0, "penalty / n": net.l2 > 0,
                "a penalty": net.l2 == 0, "stale": i > 1,
            }.get(how, True)  # fmt: skip
            if fits:
                yield {f"weights {i}": how}, kind, i, "W"
        for how, kind in BIAS.items():
            fits = {
                "one number": k > 1, "da": act != "identity", "penalty": net.l2 > 0,
                "other dz": i < layers and sizes[i + 1] == k,
                "not summed": net.form != "flat",
            }.get(how, True)  # fmt: skip
            if net.bias and fits:
                yield {f"bias {i}": how}, kind, i, "b"
        if i > 1:
            for how, kind in INPUT.items():
                fits = {"not transposed": d == k, "da": act != "identity"}.get(how, True)
                if fits:
                    yield {f"input {i}": how}, kind, i - 1, "stem"
            for other in range(1, layers + 1):
                shape = sizes[other - 1 : other + 1]
                if other != i and shape in ((d, k), (k, d)):
                    yield {f"input {i}": ("layer", other)}, "other weights", i - 1, "stem"
    for i in range(1, layers + 1):
        for j in range(i + 1, layers + 1):
            if sizes[i - 1 : i + 1] == sizes[j - 1 : j + 1]:
                yield {"swapped": (f"dW{i}", f"dW{j}")}, "swapped", j, "W"
            if net.bias and sizes[i] == sizes[j]:
                yield {"swapped": (f"db{i}", f"db{j}")}, "swapped", j, "b"
    yield {"all": "sum of two steps"}, "added up", layers, "stem"
