"""The rows of `operations.OPERATIONS` that are methods of `MLP`."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from conftest import LAYOUTS, Array
from hostile_arrays import pick, wider
from operations import AMBIGUOUS, SIZES, Operation, Rng, Shapes, Values, make_probabilities
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import reference
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES

# Behind the first layer, z is rounded: only smooth ones give nearly the same gradients.
FIRST = [None, *fg.activations.BUILT_IN]
SMOOTH = [n for n in FIRST if n not in ("relu", "leaky_relu")]
LOGITS = ("softmax_cross_entropy", "binary_cross_entropy_with_logits")
SMOOTH_LOSSES = [n for n in LOSSES if n not in ("mae", "hinge")]


def shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    """Choose a network, and return the shapes of its parameters, inputs and targets."""
    layers = int(rng.integers(1, 4))
    widths = [int(pick(rng, SIZES[1:])) for _ in range(layers + 1)]
    n = int(pick(rng, SIZES))
    loss = pick(rng, SMOOTH_LOSSES)
    bias = bool(rng.random() < 0.8)
    if LOSSES[loss].rowwise:  # of one output: refused
        widths[-1] = max(2, widths[-1])
    activations = [pick(rng, SMOOTH if i else FIRST) for i in range(layers)]
    activations[-1] = LOSS_TRUTH[loss].output or activations[-1]
    if loss in LOGITS and activations[-1] in ("softmax", "sigmoid"):  # warned of
        activations[-1] = "tanh"
    for i, width in enumerate(widths[1:]):
        if activations[i] == "softmax" and width == 1:  # refused
            activations[i] = "tanh"
    options |= {
        "sizes": tuple(widths),
        "activations": activations,
        "loss": loss,
        "reduction": pick(rng, REDUCTIONS),
        "bias": bias,
        "samples": pick(rng, LAYOUTS),
        "dtype": pick(rng, ("float32", "float64")),
    }
    size = sum(d * k + bias * k for d, k in pairwise(widths))
    d, k = widths[0], widths[-1]
    single = rng.random() < 0.15
    columns = options["samples"] == "columns"

    def transposed(width: int) -> tuple[int, ...]:
        return (width,) if single else (width, n) if columns else (n, width)

    found = {"params": (size,), "x": transposed(d), "target": transposed(k)}
    options["labels"] = LOSSES[loss].rowwise and rng.random() < 0.5
    if options["labels"]:
        found["target"], options["classes"] = (() if single else (n,)), k
    if isinstance(LOSSES[loss], fg.losses.ArrayLoss):
        del found["target"]
    return found


def without_target(rng: Rng, options: dict[str, Any]) -> Shapes:
    found = shapes(rng, options)
    found.pop("target", None)
    options["labels"] = False
    return found


def with_samples(rng: Rng, options: dict[str, Any]) -> Shapes:
    """Return shapes with at least one sample: training on none is refused."""
    while True:
        found = shapes(rng, options)
        if 0 not in found["x"]:
            return found


def bad_shapes(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> list[tuple[int, ...]]:
    if name == "params":
        return [(), (*shape, 1), *wider(shape)]
    if name == "x":
        feature = 0 if options["samples"] == "columns" else len(shape) - 1
        return [(), (*shape, 1, 1), wider(shape)[feature]]
    return [(*shape, 1, 1), *wider(shape)]


def make_labels(rng: Rng, values: Values, options: dict[str, Any]) -> None:
    if options["labels"]:
        kind = pick(rng, ["int64", "int8", "uint8", "int32", ">i8"])
        shape = values["target"].shape
        values["target"] = np.array(rng.integers(0, options["classes"], shape), kind)
    elif "target" in values:
        make_probabilities(values, options)


def network(options: dict[str, Any]) -> fg.MLP:
    names = ("sizes", "activations", "loss", "reduction", "bias", "samples", "dtype")
    return fg.MLP(**{name: options[name] for name in names})


def predict(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    if m is reference:
        return {"y": forward(v, o)[0]}
    return {"y": network(o).predict(v["params"], v["x"], out=out.get("y"))}


def value_and_grad(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    if m is reference:
        return twin_value_and_grad(v, o)
    value, grad = network(o).value_and_grad(
        v["params"], v["x"], v.get("target"), out=out.get("grad")
    )
    return {"value": value, "grad": grad}


def opened(need: str, rng: Rng, options: dict[str, Any]) -> Shapes:
    """Return shapes for the way back, to `need` alone."""
    found = shapes(rng, options)
    options["labels"], options["need"] = False, need
    shape = found["x"]
    k, feature = options["sizes"][-1], 0 if options["samples"] == "columns" else -1
    grad = list(shape)
    grad[feature] = k
    return {"params": found["params"], "x": shape, "grad_y": tuple(grad)}


def tape_forward(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    if m is reference:
        return {"y": forward(v, o)[0]}
    return {"y": network(o).forward(v["params"], v["x"], out=out.get("y"))[0]}


def tape_backward(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    if m is reference:
        with np.errstate(over="ignore"):
            grads = twin_backward(np.asarray(v["grad_y"], o["dtype"]), forward(v, o)[1])
        return {o["need"]: grads[o["need"] == "x"]}
    net = network(o)
    _, tape = net.forward(v["params"], v["x"])
    grads = net.backward(v["grad_y"], tape, need=o["need"], out=out or None)
    return {o["need"]: getattr(grads, o["need"])}


def fit(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    settings = {"optimizer": fg.SGD(lr=0.1), "epochs": 2, "batch_size": 4}
    settings |= {n: o[n] for n in ("epochs", "batch_size", "optimizer", "callback") if n in o}
    result = network(o).fit(v["params"], v["x"], v.get("target"), **settings)
    return {"params": result.params, "losses": tuple(result.losses)}


# -- the network of the reference's layers ------------------------------------------------------


def forward(v: Values, o: dict[str, Any]) -> tuple[Array, list[Any]]:
    """Return the output and each layer's cache."""
    with np.errstate(over="ignore"):
        params, y = np.asarray(v["params"], o["dtype"]), np.asarray(v["x"], o["dtype"])
    at, caches = 0, []
    for activation, (d, k) in zip(o["activations"], pairwise(o["sizes"]), strict=True):
        w = params[at : at + d * k].reshape((k, d) if o["samples"] == "columns" else (d, k))
        at += d * k
        b = params[at : at + k] if o["bias"] else None
        at += k * o["bias"]
        y, cache = reference.dense_forward(y, w, b, activation, samples=o["samples"])
        caches.append(cache)
    return y, caches


def twin_value_and_grad(v: Values, o: dict[str, Any]) -> Values:
    y, caches = forward(v, o)
    arguments = [y]
    if "target" in v:
        target = np.asarray(v["target"])
        arguments.append(target if o["labels"] else target.astype(o["dtype"]))
    value, grad = reference.losses.LOSSES[o["loss"]].value_and_grad(
        *arguments, o["reduction"], o["samples"]
    )
    return {"value": value, "grad": twin_backward(grad, caches)[0]}


def twin_backward(grad: Any, caches: list[Any]) -> tuple[Array, Any]:
    """Return the gradients of the flat vector and of x, from that of the output."""
    parts: list[Array] = []
    for cache in reversed(caches):
        grads = reference.dense_backward(grad, cache)
        grad = grads.x
        parts = [grads.w.ravel(), *([] if grads.b is None else [grads.b.ravel()]), *parts]
    return np.concatenate(parts), grad


SETTINGS: dict[str, list[Any]] = {
    "sizes": [(), (3,), (3, 0), (3, -1), (2.5, 1), "ab", None, 5, ((3, 2), 1)],
    "activations": ["tanh", (), ("tanh",) * 9, None],
    "loss": ["mean_square", None, 5, AMBIGUOUS, ["mse"]],
    "reduction": ["average", None, AMBIGUOUS, 1],
    "samples": ["cols", None, AMBIGUOUS, 1],
    "dtype": ["float16", "int64", "nothing", object(), AMBIGUOUS, complex],
}
TRAINING: dict[str, list[Any]] = {
    "epochs": [0, -1, 1.5, "1", None, AMBIGUOUS],
    "batch_size": [0, -1, 1.5, "1", None, AMBIGUOUS],
    "optimizer": ["sgd", 0.1, fg.SGD, AMBIGUOUS],
    "callback": [5, "stop", AMBIGUOUS],
}


def callers(method: str, *names: str) -> dict[str, str]:
    return {
        **dict.fromkeys([*names, *TRAINING, ""], f"MLP.{method}"),
        **dict.fromkeys(SETTINGS, "MLP"),
    }


ARRAYS = ("params", "x", "target")
OF_TAPE = {"params": "MLP.forward", "x": "MLP.forward"} | dict.fromkeys(
    ["grad_y", "need", "out", ""], "MLP.backward"
)
NEED: dict[str, list[Any]] = {"need": ["w", ("params", "b"), 5, None, AMBIGUOUS]}
OPERATIONS: dict[str, Operation] = {
    "MLP.predict": Operation(
        without_target, predict, callers("predict", "params", "x"), bad_shapes, SETTINGS, "out",
        result="dtype",
    ),
    "MLP.value_and_grad": Operation(
        shapes, value_and_grad, callers("value_and_grad", *ARRAYS), bad_shapes, {}, "out",
        result="params", tweak=make_labels,
    ),
    "MLP.forward": Operation(
        without_target, tape_forward, callers("forward", "params", "x"), bad_shapes, SETTINGS,
        "out", result="dtype",
    ),
    "MLP.backward": Operation(
        partial(opened, "params"), tape_backward, OF_TAPE, bad_shapes, NEED, "out.params",
        result="params", earlier=("params", "x"),
    ),
    "MLP.backward x": Operation(
        partial(opened, "x"), tape_backward, OF_TAPE, bad_shapes, NEED, "out.x", result="inputs",
        earlier=("params", "x"),
    ),
    "MLP.fit": Operation(
        with_samples, fit, callers("fit", *ARRAYS), bad_shapes, TRAINING, twin=False,
        result="dtype", tweak=make_labels,
    ),
}  # fmt: skip
