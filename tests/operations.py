"""The table of operations that test_adversarial attacks: what each takes, and how it is called.

To attack one more: a row in `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from conftest import LAYOUTS, Array
from hostile_arrays import pick, wider

import fastgrad as fg
from fastgrad import reference
from fastgrad.activations import ACTIVATIONS, BUILT_IN
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES

Rng = np.random.Generator
Values = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
SIZES = (0, 1, 1, 2, 3, 5, 8, 17, 33)


class Operation(NamedTuple):
    """A public function: the arrays it takes, and how to call it and its twin."""

    shapes: Callable[[Rng, dict[str, Any]], Shapes]  # also chooses the options
    run: Callable[[ModuleType, Values, dict[str, Any], Values], Values]  # results by name
    callers: dict[str, str]  # by argument: the function that error texts start with
    bad_shapes: Callable[[str, tuple[int, ...], dict[str, Any]], list[tuple[int, ...]]]
    bad_options: dict[str, list[Any]] = {}  # noqa: RUF012
    outs: str = ""  # what texts call an output: "out" or "out.{}"
    late: tuple[str, ...] = ()  # arguments that do not decide the dtype of the others' work
    # The argument whose dtype results have, or a dtype; None: all. "dtype": the network's;
    # "params", "inputs": that, but float64 where params, or x, are.
    result: str | None = None
    twin: bool = True  # whether the reference has it
    # Arguments of a call before, which keeps a copy of some: not always unfit as an output.
    earlier: tuple[str, ...] = ()
    tweak: Callable[[Rng, Values, dict[str, Any]], None] | None = None  # of canonical values


def sizes(rng: Rng, count: int) -> list[int]:
    return [int(pick(rng, SIZES)) for _ in range(count)]


def layer_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    n, d, k = sizes(rng, 3)
    options["samples"] = pick(rng, LAYOUTS)
    options["activation"] = pick(rng, [None, *BUILT_IN, *BUILT_IN, fg.tanh, np.arctan])
    lead = pick(rng, [(n,)] * 4 + [(), (2, n), (n, 1, 2)])
    if options["samples"] == "columns":
        x = (d,) if lead == () else (d, n)
        shapes = {"x": x, "w": (k, d), "b": pick(rng, [(k,), (k, 1)])}
    else:
        shapes = {"x": (*lead, d), "w": (d, k), "b": pick(rng, [(k,), (1, k)])}
    if rng.random() < 0.2:
        del shapes["b"]
    return shapes


def layer_bad_shapes(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> list[tuple[int, ...]]:
    columns = options["samples"] == "columns"
    if name == "x":
        feature = 0 if columns else len(shape) - 1
        return [(), wider(shape)[feature], *([(*shape, *(1,) * (3 - len(shape)))] * columns)]
    if name == "w":
        return [(), shape[:1], (*shape, 1), (1, *shape), wider(shape)[1 if columns else 0]]
    if name == "b":
        k = max(shape) if 0 not in shape else 0
        return [(), (k + 1,), (1, 1, k), *([(1, k) if columns else (k, 1)] * (k != 1))]
    return [*wider(shape), (*shape, 1), (1, *shape)]


def dense(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    return {"y": m.dense(v["x"], v["w"], v.get("b"), twin_activation(m, o), samples=o["samples"],
                         out=out.get("y"))}  # fmt: skip


def dense_forward(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    y, _ = m.dense_forward(v["x"], v["w"], v.get("b"), twin_activation(m, o), samples=o["samples"],
                           out=out.get("y"))  # fmt: skip
    return {"y": y}


def twin_activation(m: ModuleType, options: dict[str, Any]) -> Any:
    activation = options["activation"]
    if m is reference and isinstance(activation, fg.Activation):
        return activation.name
    return activation


def backward_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    shapes = layer_shapes(rng, options)
    options["need"] = tuple(pick(rng, ["xwb", "xwbz", "w", "zb", "x", "bw", ""]))
    options["accumulate"] = bool(rng.random() < 0.3)
    x, w = shapes["x"], shapes["w"]
    shapes["grad_y"] = (w[0], *x[1:]) if options["samples"] == "columns" else (*x[:-1], w[1])
    return shapes


def dense_backward(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    _, cache = m.dense_forward(
        v["x"], v["w"], v.get("b"), twin_activation(m, o), samples=o["samples"]
    )
    if "damage" in o:
        cache = o["damage"](cache)
    given = None if isinstance(out, dict) and not out else out
    grads = m.dense_backward(
        v["grad_y"], cache, need=o["need"], out=given, accumulate=o["accumulate"]
    )
    return {n: g for n, g in grads._asdict().items() if g is not None}


def any_shape(rng: Rng) -> tuple[int, ...]:
    return tuple(sizes(rng, int(rng.integers(0, 5)))[:4])


def activation_shapes(*names: str) -> Callable[[Rng, dict[str, Any]], Shapes]:
    def shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
        usable = [n for n in BUILT_IN if "y" not in names or ACTIVATIONS[n].from_output]
        if names == ("z",) and options.get("derivative"):
            usable.remove("softmax")
        options["activation"] = name = pick(rng, usable)
        shape = any_shape(rng)
        if ACTIVATIONS[name].rowwise:
            shape = shape or (3,)
            if rng.random() < 0.5:
                options["axis"] = int(rng.integers(-len(shape), len(shape)))
        return dict.fromkeys(names, shape)

    return shapes


def activation_run(method: str, *names: str) -> Any:
    def run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
        act = m.ACTIVATIONS[o["activation"]] if m is reference else ACTIVATIONS[o["activation"]]
        extra = {"axis": o["axis"]} if "axis" in o else {}
        if m is not reference:  # whose activations take no `out`
            extra["out"] = out.get("y")
        return {"y": getattr(act, method)(*(v[n] for n in names), **extra)}

    return run


def activation_bad_shapes(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> list[tuple[int, ...]]:
    return [*wider(shape), (*shape, 1), (1, *shape)] + ([()] if shape else [])


def loss_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    one = [n for n, loss in LOSSES.items() if isinstance(loss, fg.losses.ArrayLoss)]
    options["loss"] = name = pick(rng, [n for n in LOSSES if n not in one])
    options["samples"], options["reduction"] = pick(rng, LAYOUTS), pick(rng, REDUCTIONS)
    shape = any_shape(rng) or (4,)
    if options["samples"] == "columns":
        shape = shape[:2]
    options["labels"] = LOSSES[name].rowwise and rng.random() < 0.5
    goal = shape
    if options["labels"]:
        goal = shape[1:] if options["samples"] == "columns" else shape[:-1]
        options["classes"] = shape[0] if options["samples"] == "columns" else shape[-1]
    return {"pred": shape, "target": goal}


def array_loss_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    options["loss"] = pick(rng, ["sum", "squared_l2"])
    options["samples"], options["reduction"] = pick(rng, LAYOUTS), pick(rng, REDUCTIONS)
    shape = any_shape(rng) or (4,)
    return {"y": shape[:2] if options["samples"] == "columns" else shape}


def loss_run(method: str, *names: str) -> Any:
    def run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
        loss = m.losses.LOSSES[o["loss"]]
        arguments = [v[n] for n in names]
        if method == "__call__":
            return {"value": loss(*arguments, o["reduction"], o["samples"])}
        value, grad = loss.value_and_grad(
            *arguments, o["reduction"], o["samples"], out=out.get("grad")
        )
        return {"value": value, "grad": grad}

    return run


def loss_bad_shapes(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> list[tuple[int, ...]]:
    if name == "y":
        return [(), *([(2, 3, 4)] * (options["samples"] == "columns"))]
    if name == "pred" and options["labels"]:  # another number of classes may well fit
        return [(), (*shape, 1, 1)]
    return [*wider(shape), (*shape, 1, 1), (1, 1, *shape)] + ([()] if name == "pred" else [])


def make_labels(rng: Rng, values: Values, options: dict[str, Any]) -> None:
    """Put classes in place of the target where the case has them."""
    if options["labels"]:
        count = max(options["classes"], 1)
        kind = pick(rng, ["int64", "int8", "uint8", "int32", ">i8"])
        values["target"] = rng.integers(0, count, values["target"].shape).astype(kind)
        if options["classes"] == 0:  # no class fits
            options["refused"] = ("target",)
            if values["target"].size == 0:
                del options["refused"]
    else:
        make_probabilities(values, options)


def make_probabilities(values: Values, options: dict[str, Any]) -> None:
    """Make targets of -1 to 1 positive where the loss takes no others."""
    if LOSSES[options["loss"]].probabilities:
        values["target"] = np.asarray(abs(values["target"]))


def are_probabilities(values: Values, options: dict[str, Any]) -> bool:
    """Return whether the target, if there is one, is one that the loss takes."""
    if "target" not in values or not LOSSES[options["loss"]].probabilities:
        return True
    return not ((values["target"] < -1e-6) | (values["target"] > 1 + 1e-6)).any()


def module_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    shapes = layer_shapes(rng, options)
    d = max(1, shapes["w"][1 if options["samples"] == "columns" else 0])
    options["dims"] = d, max(1, shapes["w"][0 if options["samples"] == "columns" else 1])
    if options["samples"] == "columns":
        return {"x": (d, *shapes["x"][1:])}
    return {"x": (*shapes["x"][:-1], d)}


def module_run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    odd = {n: o[n] for n in ("input_dim", "output_dim", "dtype") if n in o}
    settings = {"input_dim": o["dims"][0], "output_dim": o["dims"][1], "seed": 1, **odd}
    layer = m.nn.Dense(activation=o["activation"], samples=o["samples"], **settings)
    y = layer.forward(v["x"])
    grad_x = layer.backward(np.ones(y.shape))
    return {"y": y, "x": grad_x, "w": layer.grad_w, "b": layer.grad_b}


def module_bad_shapes(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> list[tuple[int, ...]]:
    return layer_bad_shapes("x", shape, options)


def point_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    return {"x": tuple(int(pick(rng, (0, 1, 2, 3))) for _ in range(rng.integers(0, 4)))}


def square(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return x * x


def deriv_run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    return {"y": m.deriv(square, v["x"], o.get("delta", 1e-3))}


def numerical_run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    extra = {n: o[n] for n in ("delta", "method") if n in o}
    return {"y": m.numerical_grad(lambda x: square(x).sum(), v["x"], **extra)}


def jacobian_run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    extra = {n: o[n] for n in ("delta", "method") if n in o}
    return {"y": m.jacobian(square, v["x"], **extra)}


def check_run(m: ModuleType, v: Values, o: dict[str, Any], out: Values) -> Values:
    extra = {n: o[n] for n in ("delta", "method", "rtol", "atol") if n in o}
    report = m.check_grad(lambda x: square(x).sum(), v["grad"], v["x"], **extra)
    repr(report)
    return {"y": report.numerical, "grad": report.analytic}


def no_bad_shapes(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> list[tuple[int, ...]]:
    return []


AMBIGUOUS = np.array(["rows", "mean"])  # has no truth value
ODD_SAMPLES = ["cols", None, 1, b"rows", ["rows"], AMBIGUOUS, "ROWS", {}, np.nan]
ODD_REDUCTION = ["average", None, 1, b"mean", ["mean"], AMBIGUOUS, "MEAN", {}]
ODD_ACTIVATION = ["sigmoidal", 5, ["tanh"], AMBIGUOUS, {}, b"tanh", 0.5]
ODD_DELTA = [0, -1.0, np.nan, np.inf, "a", AMBIGUOUS, 1j, [1.0], True and np.array([1.0, 2.0])]
LAYER_OPTIONS = {"samples": ODD_SAMPLES, "activation": ODD_ACTIVATION}
LOSS_OPTIONS = {"samples": ODD_SAMPLES, "reduction": ODD_REDUCTION}
MODULE_OPTIONS = {
    "input_dim": [0, -1, 1.5, None, "3", True, AMBIGUOUS],
    "output_dim": [0, 2.0, [3]],
    "dtype": ["float16", "nothing", int, object(), AMBIGUOUS, complex],
}
ODD_METHOD = ["centre", None, 1, AMBIGUOUS, ["central"]]
DIFFERENCES = {"delta": ODD_DELTA, "method": ODD_METHOD}


def calls(caller: str, *names: str) -> dict[str, str]:
    return dict.fromkeys([*names, ""], caller)


def of_activation(method: str, *names: str, outs: str = "out") -> Operation:
    caller = "{activation}" + ("" if method == "__call__" else f".{method}")
    bad = activation_bad_shapes if len(names) == 2 else no_bad_shapes
    axis = {"axis": [99, -99, 1.5, None, True, "0", AMBIGUOUS, [0]]}
    return Operation(
        activation_shapes(*names), activation_run(method, *names), calls(caller, *names), bad,
        {} if method == "derivative" else axis, outs,
    )  # fmt: skip


def of_loss(method: str, *names: str) -> Operation:
    caller = "{loss}" + ("" if method == "__call__" else f".{method}")
    return Operation(
        loss_shapes if "target" in names else array_loss_shapes,
        loss_run(method, *names),
        calls(caller, *names),
        loss_bad_shapes,
        LOSS_OPTIONS,
        "" if method == "__call__" else "out",
        result=names[0],
        tweak=make_labels if "target" in names else None,
    )


def derivative_shapes(rng: Rng, options: dict[str, Any]) -> Shapes:
    options["derivative"] = True
    return activation_shapes("z")(rng, options)


OPERATIONS: dict[str, Operation] = {
    "dense": Operation(
        layer_shapes, dense, calls("dense", "x", "w", "b"), layer_bad_shapes, LAYER_OPTIONS, "out"
    ),
    "dense_forward": Operation(
        layer_shapes, dense_forward, calls("dense_forward", "x", "w", "b"), layer_bad_shapes,
        LAYER_OPTIONS, "out",
    ),
    "dense_backward": Operation(
        backward_shapes, dense_backward,
        {**calls("dense_forward", "x", "w", "b"), "grad_y": "dense_backward", "": "dense_backward"},
        layer_bad_shapes,
        {
            "need": ["q", 5, ("x", 3), None, [["x"]], {"y": 1}, ("x", AMBIGUOUS), b"x", 0.5],
            "accumulate": [AMBIGUOUS, np.array([0, 1])],
            "out": [5, "xw", [1, 2], {"weights": 1}, {"x": 5}, {"w": [1.0]}, np.zeros(3)],
            "cache": [None, (), (1, 2, 3, 4, 5, 6, 7), 5, "cache", np.zeros(3)],
        },
        "out.{}", late=("grad_y",),
    ),
    "activation": of_activation("__call__", "z"),
    "derivative": of_activation("derivative", "z")._replace(shapes=derivative_shapes),
    "backward": of_activation("backward", "grad_y", "z"),
    "backward_from_output": of_activation("backward_from_output", "grad_y", "y"),
    "loss": of_loss("__call__", "pred", "target"),
    "value_and_grad": of_loss("value_and_grad", "pred", "target"),
    "array loss": of_loss("__call__", "y"),
    "array value_and_grad": of_loss("value_and_grad", "y"),
    "nn.Dense": Operation(
        module_shapes, module_run, {"x": "Dense.forward", "": "Dense"}, module_bad_shapes,
        {**LAYER_OPTIONS, **MODULE_OPTIONS}, twin=False, late=("x",), result="float64",
    ),
    "deriv": Operation(
        point_shapes, deriv_run, calls("deriv", "x"), no_bad_shapes, {"delta": ODD_DELTA},
        twin=False, result="float64",
    ),
    "numerical_grad": Operation(
        point_shapes, numerical_run, calls("numerical_grad", "x"), no_bad_shapes, DIFFERENCES,
        twin=False, result="float64",
    ),
    "jacobian": Operation(
        point_shapes, jacobian_run, calls("jacobian", "x"), no_bad_shapes, DIFFERENCES,
        twin=False, result="float64",
    ),
    "check_grad": Operation(
        lambda rng, o: dict.fromkeys(("x", "grad"), point_shapes(rng, o)["x"]), check_run,
        calls("check_grad", "x", "grad"), activation_bad_shapes,
        {**DIFFERENCES, "rtol": [-1, np.nan, "a", AMBIGUOUS, 1j], "atol": [-1, "a", [0.0], 1j]},
        twin=False, late=("x", "grad"), result="float64",
    ),
}  # fmt: skip
