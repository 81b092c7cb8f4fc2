"""Every wrong argument is refused with a text that names function, argument, fact and rule.

One row per mistake: the call, the exception and the whole text. A call that fails has written
nothing: neither to its inputs nor to an `out`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, turn

import fastgrad as fg

NAMES = fg.activations.BUILT_IN
LOSSES = list(fg.losses.LOSSES)
WITH_TARGET = [n for n in LOSSES if isinstance(fg.losses.LOSSES[n], fg.losses.Loss)]
ELEMENT_LOSSES = [n for n in WITH_TARGET if n != "softmax_cross_entropy"]
FROM_OUTPUT = [n for n in NAMES if fg.activations.ACTIVATIONS[n].from_output]

FORWARD = {"dense": fg.dense, "dense_forward": fg.dense_forward}
functions = pytest.mark.parametrize("function", list(FORWARD))
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)


class Refused:
    """Assert that a block raises one exception with exactly one text, or one that starts so."""

    def __init__(self, kind: type[Exception], text: str, *, start: bool = False) -> None:
        self._raises = pytest.raises(kind, match="^" + re.escape(text) + ("" if start else "$"))
        self._kind = kind

    def __enter__(self) -> None:
        self._info = self._raises.__enter__()

    def __exit__(self, *exc: Any) -> bool | None:
        result = self._raises.__exit__(*exc)
        assert self._info.type is self._kind  # no subclass: what the documentation says
        return result


def layer(dtype: str = "float64", samples: str = "rows") -> dict[str, Array]:
    """Return x (3, 4), w (4, 2), b (2,) and grad_y (3, 2), in the layout."""
    rng = np.random.default_rng(1)
    shapes = {"x": (3, 4), "w": (4, 2), "b": (2,), "g": (3, 2)}
    data = {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items()}
    return {n: turn(a, samples) if a.ndim == 2 else a for n, a in data.items()}


# -- dtypes that nothing computes in -------------------------------------------------------------

SUPPORTED = "give float32, float64, float16, an integer type or bool"
STRANGE: dict[str, tuple[Callable[[Array], Any], str]] = {
    "complex64": (lambda a: a.astype(np.complex64), f" has dtype complex64: {SUPPORTED}"),
    "complex128": (lambda a: a.astype(complex), f" has dtype complex128: {SUPPORTED}"),
    "object": (lambda a: a.astype(object), f" has dtype object: {SUPPORTED}"),
    "text": (lambda a: a.astype("U9"), f" has dtype <U9: {SUPPORTED}"),
    "bytes": (lambda a: a.astype("S9"), f" has dtype |S9: {SUPPORTED}"),
    "dates": (lambda a: a.astype("M8[s]"), f" has dtype datetime64[s]: {SUPPORTED}"),
    "durations": (lambda a: a.astype("m8[s]"), f" has dtype timedelta64[s]: {SUPPORTED}"),
    "records": (
        lambda a: np.zeros(a.shape, [("value", "f8")]),
        f" has dtype [('value', '<f8')]: {SUPPORTED}",
    ),
    "list_of_text": (lambda a: np.full(a.shape, "a").tolist(), f" has dtype <U1: {SUPPORTED}"),
    "dict": (lambda a: {"a": 1}, f" has dtype object: {SUPPORTED}"),
    "masked": (
        lambda a: np.ma.masked_array(a, a > 0),
        " is a masked array, whose mask would be lost: pass {name}.filled(value) or {name}.data",
    ),
    "ragged": (lambda a: [[1.0, 2.0], [3.0]], " is not an array of numbers ("),
}
if np.dtype(np.longdouble).itemsize > 8:
    STRANGE["longdouble"] = (
        lambda a: a.astype(np.longdouble),
        f" has dtype {np.dtype(np.longdouble)}: {SUPPORTED}",
    )
strange = pytest.mark.parametrize("kind", list(STRANGE))


def refused_dtype(function: str, name: str, kind: str) -> Refused:
    text = STRANGE[kind][1].replace("{name}", name)
    return Refused(TypeError, f"{function}: {name}{text}", start=kind == "ragged")


@strange
@pytest.mark.parametrize("which", ["x", "w", "b"])
@layouts
@functions
def test_forward_dtypes(function: str, samples: str, which: str, kind: str) -> None:
    data: dict[str, Any] = layer(samples=samples)
    data[which] = STRANGE[kind][0](data[which])
    with refused_dtype(function, which, kind):
        FORWARD[function](data["x"], data["w"], data["b"], samples=samples)


@strange
@layouts
def test_backward_dtypes(samples: str, kind: str) -> None:
    data = layer(samples=samples)
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh", samples=samples)
    with refused_dtype("dense_backward", "grad_y", kind):
        fg.dense_backward(STRANGE[kind][0](data["g"]), cache)


@strange
@pytest.mark.parametrize("name", NAMES)
def test_activation_dtypes(name: str, kind: str) -> None:
    act, good = fg.activations.ACTIVATIONS[name], np.ones((2, 3))
    bad = STRANGE[kind][0](good)
    with refused_dtype(name, "z", kind):
        act(bad)
    if name != "softmax":
        with refused_dtype(f"{name}.derivative", "z", kind):
            act.derivative(bad)
        with refused_dtype(f"{name}.backward", "z", kind):
            act.backward(good, bad)
        with refused_dtype(f"{name}.backward", "grad_y", kind):
            act.backward(bad, good)
    if act.from_output:
        with refused_dtype(f"{name}.backward_from_output", "y", kind):
            act.backward_from_output(good, bad)
        with refused_dtype(f"{name}.backward_from_output", "grad_y", kind):
            act.backward_from_output(bad, good)


@strange
def test_softmax_backward_dtypes(kind: str) -> None:
    """Each text names the method that was called and the argument that was given."""
    good = np.ones((2, 3))
    with refused_dtype("softmax.backward", "grad_y", kind):
        fg.softmax.backward(STRANGE[kind][0](good), good)
    with refused_dtype("softmax.backward", "z", kind):
        fg.softmax.backward(good, STRANGE[kind][0](good))


@strange
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_dtypes(loss: str, kind: str) -> None:
    row, good = fg.losses.LOSSES[loss], np.ones((2, 3))
    bad = STRANGE[kind][0](good)
    for call, function in ((row, loss), (row.value_and_grad, f"{loss}.value_and_grad")):
        if loss not in WITH_TARGET:
            with refused_dtype(function, "y", kind):
                call(bad)
            continue
        with refused_dtype(function, "pred", kind):
            call(bad, good)
        with refused_dtype(function, "target", kind):
            call(good, bad)


# -- shapes, names and settings of the dense layer ---------------------------------------------

KNOWN = ", ".join(NAMES)
# x, w and b by shape, then what the text says after the function's name.
ROWS_SHAPES: list[tuple[Any, Any, Any, str]] = [
    (
        (3, 4), (5, 2), None,
        "w has shape (5, 2) but x has shape (3, 4): w needs 4 rows, one per input feature",
    ),
    (
        (3, 4), (2, 4), None,
        "w has shape (2, 4) but x has shape (3, 4): w needs 4 rows, one per input feature",
    ),
    (
        (4,), (3, 2), None,
        "w has shape (3, 2) but x has shape (4,): w needs 4 rows, one per input feature",
    ),
    (
        (2, 3, 4), (3, 2), None,
        "w has shape (3, 2) but x has shape (2, 3, 4): w needs 4 rows, one per input feature",
    ),
    (
        (0, 4), (0, 2), None,
        "w has shape (0, 2) but x has shape (0, 4): w needs 4 rows, one per input feature",
    ),
    ((), (4, 2), None, "x has shape (): samples='rows' take (n, d), (..., d) or (d,)"),
    ((3, 4), (), None, "w has shape (): it needs two axes, (d, k)"),
    ((3, 4), (4,), None, "w has shape (4,): it needs two axes, (d, k)"),
    ((3, 4), (1, 4, 2), None, "w has shape (1, 4, 2): it needs two axes, (d, k)"),
    *(
        (
            (3, 4), (4, 2), b,
            f"b has shape {b} but w has shape (4, 2): b needs shape (2,) or (1, 2), "
            "one entry per output",
        )
        for b in ((), (1,), (3,), (4,), (2, 1), (3, 2), (1, 1, 2), (0,), (1, 3))
    ),
]  # fmt: skip
COLUMNS_SHAPES: list[tuple[Any, Any, Any, str]] = [
    (
        (4, 3), (2, 5), None,
        "w has shape (2, 5) but x has shape (4, 3): w needs 4 columns, one per input feature",
    ),
    (
        (4,), (4, 2), None,
        "w has shape (4, 2) but x has shape (4,): w needs 4 columns, one per input feature",
    ),
    ((), (2, 4), None, "x has shape (): samples='columns' take (d, n) or (d,)"),
    ((2, 4, 3), (2, 4), None, "x has shape (2, 4, 3): samples='columns' take (d, n) or (d,)"),
    ((4, 3), (4,), None, "w has shape (4,): it needs two axes, (k, d)"),
    ((4, 3), (1, 2, 4), None, "w has shape (1, 2, 4): it needs two axes, (k, d)"),
    *(
        (
            (4, 3), (2, 4), b,
            f"b has shape {b} but w has shape (2, 4): b needs shape (2,) or (2, 1), "
            "one entry per output",
        )
        for b in ((), (1,), (4,), (1, 2), (2, 3), (2, 1, 1))
    ),
]  # fmt: skip
SHAPES = [
    *(("rows", *row) for row in ROWS_SHAPES),
    *(("columns", *row) for row in COLUMNS_SHAPES),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda c: f"{c[0]}-{c[1]}-{c[2]}-{c[3]}")
@dtypes
@functions
def test_forward_shapes(function: str, dtype: str, case: tuple[Any, ...]) -> None:
    samples, *shapes, text = case
    x, w, b = (None if s is None else np.ones(s, dtype) for s in shapes)
    for activation in (None, "tanh", "softmax"):
        with Refused(ValueError, f"{function}: {text}"):
            FORWARD[function](x, w, b, activation, samples=samples)


def test_the_example_of_the_design() -> None:
    text = (
        "dense_forward: w has shape (5, 2) but x has shape (3, 4): w needs 4 rows, one per "
        "input feature"
    )
    with Refused(ValueError, text):
        fg.dense_forward(np.ones((3, 4)), np.ones((5, 2)))


@pytest.mark.parametrize("samples", ["row", "Rows", "", None, 0, "columns ", True])
@functions
def test_samples(function: str, samples: Any) -> None:
    text = f"{function}: samples is {samples!r}: choose from 'rows', 'columns'"
    with Refused(ValueError, text):
        FORWARD[function](np.ones((3, 4)), np.ones((4, 2)), samples=samples)


@pytest.mark.parametrize("name", ["sigmod", "", "ReLU", " tanh"])
@functions
def test_unknown_activation(function: str, name: str) -> None:
    text = f"{function}: unknown activation {name!r}: choose from {KNOWN}"
    with Refused(ValueError, text, start=True):
        FORWARD[function](np.ones((3, 4)), np.ones((4, 2)), activation=name)


@pytest.mark.parametrize("activation", [3, 1.5, ("tanh",), ["tanh"], b"tanh", {}, np.ones(2)])
@functions
def test_activation_of_a_wrong_kind(function: str, activation: Any) -> None:
    text = (
        f"{function}: activation is a {type(activation).__name__}: give None, a name, an "
        "fg.Activation or a callable"
    )
    with Refused(TypeError, text):
        FORWARD[function](np.ones((3, 4)), np.ones((4, 2)), activation=activation)


RESHAPING: dict[str, tuple[Callable[[Array], Any], str]] = {
    "scalar": (np.sum, "()"),
    "reduces": (lambda z: z.max(axis=1), "(3,)"),
    "transposes": (lambda z: z.T, "(2, 3)"),
    "flattens": (np.ravel, "(6,)"),
    "none": (lambda z: None, "()"),
}


@pytest.mark.parametrize("kind", list(RESHAPING))
@functions
def test_callable_that_is_not_elementwise(function: str, kind: str) -> None:
    callable_, shape = RESHAPING[kind]
    text = (
        f"{function}: activation returned shape {shape} for an array of shape (3, 2): "
        "it must be elementwise"
    )
    with Refused(ValueError, text):
        FORWARD[function](np.ones((3, 4)), np.ones((4, 2)), activation=callable_)


@functions
def test_an_error_inside_a_callable_is_the_callers(function: str) -> None:
    def broken(z: Array) -> Array:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="^'?mine'?$"):
        FORWARD[function](np.ones((3, 4)), np.ones((4, 2)), activation=broken)


@functions
def test_missing_and_unknown_arguments(function: str) -> None:
    call: Any = FORWARD[function]
    for arguments, keywords in (
        ((), {}),
        ((np.ones((3, 4)),), {}),
        ((np.ones((3, 4)), np.ones((4, 2)), None, None, "rows"), {}),  # keyword only
        ((np.ones((3, 4)), np.ones((4, 2))), {"bias": None}),
    ):
        with pytest.raises(TypeError, match=f"{function}\\(\\)"):
            call(*arguments, **keywords)


# -- the backward pass ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2,), (2, 3), (3, 3), (3, 1), (1, 2), (3, 2, 1)])
@pytest.mark.parametrize("activation", [None, "tanh", "softmax", np.sin])
@dtypes
def test_grad_y_shape(dtype: str, activation: Any, shape: tuple[int, ...]) -> None:
    """It is never broadcast."""
    data = layer(dtype)
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], activation)
    text = (
        f"dense_backward: grad_y has shape {shape} but y has shape (3, 2): they need the same shape"
    )
    with Refused(ValueError, text):
        fg.dense_backward(np.ones(shape, dtype), cache)


@pytest.mark.parametrize(
    ("x_shape", "samples", "y_shape"),
    [((4,), "rows", (2,)), ((2, 3, 4), "rows", (2, 3, 2)), ((4, 3), "columns", (2, 3))],
)
def test_grad_y_shape_of_other_forms(x_shape: Any, samples: str, y_shape: Any) -> None:
    _, cache = fg.dense_forward(np.ones(x_shape), layer(samples=samples)["w"], samples=samples)
    for shape in ((7,), (6, 2), y_shape[::-1] if len(y_shape) > 1 else (1, 2)):
        text = (
            f"dense_backward: grad_y has shape {shape} but y has shape {y_shape}: they need "
            "the same shape"
        )
        with Refused(ValueError, text):
            fg.dense_backward(np.ones(shape), cache)


@pytest.mark.parametrize(
    "cache", [None, 3, np.ones(3), (), (1, 2, 3, 4, 5, 6, 7), "cache"], ids=str
)
def test_cache_of_a_wrong_kind(cache: Any) -> None:
    text = f"dense_backward: cache is a {type(cache).__name__}: give what dense_forward returned"
    with Refused(TypeError, text):
        fg.dense_backward(np.ones((3, 2)), cache)


@pytest.mark.parametrize(
    ("need", "wrong"),
    [
        (("x", "y"), "y"), (("X",), "X"), ("grad", "g"), (["w", 1], 1), (("x", None), None),
        ((("x", "w"),), ("x", "w")), (3, "3"), (None, "None"), ({"xw": 1}, "xw"),
    ],
)  # fmt: skip
def test_need(need: Any, wrong: Any) -> None:
    data = layer()
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"])
    text = f"dense_backward: need is {wrong!r}: choose from 'x', 'w', 'b', 'z'"
    with Refused(ValueError, text):
        fg.dense_backward(data["g"], cache, need=need)


# -- out= -------------------------------------------------------------------------------------


def _wrong_outs(shape: tuple[int, ...], dtype: str) -> dict[str, tuple[Any, type, str]]:
    """Return unsuitable outputs: the array, the exception and the text after the name."""
    rule = f": it needs shape {shape} and dtype {dtype}"
    other = "float64" if dtype == "float32" else "float32"

    def said(a: Array) -> tuple[Array, type, str]:
        return a, ValueError, f" has shape {a.shape} and dtype {a.dtype}{rule}"

    wrong = {
        "longer": said(np.full((shape[0] + 1, *shape[1:]), 7, dtype)),
        "more_axes": said(np.full((1, *shape), 7, dtype)),
        "fewer_axes": said(np.full(shape[1:], 7, dtype)),
        "other_float": said(np.full(shape, 7, other)),
        "integer": said(np.full(shape, 7)),
        "complex": said(np.full(shape, 7, complex)),
        "object": said(np.full(shape, 7, object)),
        "list": (np.full(shape, 7.0).tolist(), TypeError, " is a list: give a NumPy array"),
        "number": (7.0, TypeError, " is a float: give a NumPy array"),
        "tuple": ((np.full(shape, 7.0),), TypeError, " is a tuple: give a NumPy array"),
    }
    fixed = np.full(shape, 7, dtype)
    fixed.flags.writeable = False
    wrong["read_only"] = fixed, ValueError, " is read-only"
    line = np.lib.stride_tricks.as_strided(np.full(1, 7, dtype), shape, [0] * len(shape))
    wrong["broadcast"] = line, ValueError, " is a broadcast view: its elements share memory"
    if len(shape) == 2:
        wrong["transposed"] = said(np.full(shape[::-1], 7, dtype))
    return wrong


WRONG_OUTS = list(_wrong_outs((3, 2), "float64"))
wrong_outs = pytest.mark.parametrize("kind", WRONG_OUTS)


def untouched(value: Any) -> bool:
    """Return whether an output still holds what it was made with."""
    return not isinstance(value, (np.ndarray, list, tuple)) or bool((np.asarray(value) == 7).all())


@wrong_outs
@pytest.mark.parametrize("activation", [None, "tanh", "softmax", "gelu", np.sin])
@layouts
@dtypes
@functions
def test_forward_out(function: str, dtype: str, samples: str, activation: Any, kind: str) -> None:
    data = layer(dtype, samples)
    shape = (2, 3) if samples == "columns" else (3, 2)
    out, exception, text = _wrong_outs(shape, dtype)[kind]
    with Refused(exception, f"{function}: out{text}"):
        FORWARD[function](data["x"], data["w"], data["b"], activation, samples=samples, out=out)
    assert untouched(out)


@wrong_outs
@pytest.mark.parametrize("which", ["x", "w", "b", "z"])
@pytest.mark.parametrize("accumulate", [False, True])
@layouts
def test_backward_out(samples: str, accumulate: bool, which: str, kind: str) -> None:
    """The other outputs are suitable, and stay untouched all the same."""
    if (which, kind) == ("b", "transposed"):
        kind = "longer"
    data = layer("float32", samples)
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh", samples=samples)
    shapes = {"x": data["x"].shape, "w": data["w"].shape, "b": (2,), "z": data["g"].shape}
    outs: dict[str, Any] = {n: np.full(s, 7, "float32") for n, s in shapes.items()}
    outs[which], exception, text = _wrong_outs(shapes[which], "float32")[kind]
    with Refused(exception, f"dense_backward: out.{which}{text}"):
        fg.dense_backward(
            data["g"], cache, need=("x", "w", "b", "z"), out=outs, accumulate=accumulate
        )
    assert all(untouched(out) for out in outs.values())


def _room(n: int = 64) -> Array:
    return np.arange(float(n)) / n


# Views of one allocation that share elements: x (3, 4), w (4, 2), b (2,) and out (3, 2).
OVERLAPS: dict[str, Callable[[Array], Array]] = {
    "same_start": lambda a: a[:6].reshape(3, 2),
    "last_element": lambda a: a[11:17].reshape(3, 2),
    "every_other": lambda a: a[10:22:2].reshape(3, 2),
    "reversed": lambda a: a[16:10:-1].reshape(3, 2),
    "transposed": lambda a: a[:6].reshape(2, 3).T,
}


@pytest.mark.parametrize("kind", list(OVERLAPS))
@pytest.mark.parametrize("activation", [None, "gelu", "softmax", np.sin])
@functions
def test_forward_out_overlaps_x(function: str, activation: Any, kind: str) -> None:
    room = _room()
    x, out = room[:12].reshape(3, 4), OVERLAPS[kind](room)
    with Refused(ValueError, f"{function}: out shares memory with x"):
        FORWARD[function](x, np.ones((4, 2)), None, activation, out=out)
    np.testing.assert_array_equal(room, _room())


@functions
def test_forward_out_overlaps_w_or_b(function: str) -> None:
    room = _room()
    x, w, b = np.ones((3, 4)), room[:8].reshape(4, 2), room[10:12]
    with Refused(ValueError, f"{function}: out shares memory with w"):
        FORWARD[function](x, w, b, out=room[2:8].reshape(3, 2))
    with Refused(ValueError, f"{function}: out shares memory with b"):
        FORWARD[function](x, w, b, out=room[11:17].reshape(3, 2))
    np.testing.assert_array_equal(room, _room())


@functions
def test_interleaved_memory_that_is_not_shared_is_no_overlap(function: str) -> None:
    room = _room(48)
    x, out = room[::2][:12].reshape(3, 4), room[1::2][:6].reshape(3, 2)
    w = np.ones((4, 2))
    expected = fg.dense(x.copy(), w)
    FORWARD[function](x, w, out=out)
    np.testing.assert_array_equal(out, expected)


INPUTS = {"grad_y": "g", "x": "x", "w": "w", "b": "b"}


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("other", list(INPUTS))
@pytest.mark.parametrize("which", ["x", "w", "b", "z"])
def test_backward_out_overlaps_an_input(which: str, other: str, accumulate: bool) -> None:
    data = layer()
    shapes = {"x": (3, 4), "w": (4, 2), "b": (2,), "z": (3, 2)}
    room = _room(40)
    given = data[INPUTS[other]]
    shared = room[: given.size].reshape(given.shape)
    shared[...] = given
    data[INPUTS[other]] = shared
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh")
    last = given.size - 1  # one element in common
    out = room[last : last + int(np.prod(shapes[which]))].reshape(shapes[which])
    before = room.copy()
    with Refused(ValueError, f"dense_backward: out.{which} shares memory with {other}"):
        fg.dense_backward(
            data["g"], cache, need=("x", "w", "b", "z"), out={which: out}, accumulate=accumulate
        )
    np.testing.assert_array_equal(room, before)


@pytest.mark.parametrize("accumulate", [False, True])
def test_backward_out_overlaps_the_saved_output(accumulate: bool) -> None:
    data = layer()
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh")
    before = y.copy()
    with Refused(ValueError, "dense_backward: out.z shares memory with the cache"):
        fg.dense_backward(data["g"], cache, need=("z",), out={"z": y}, accumulate=accumulate)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("dtype", ["int64", ">f8", "float32"])
@pytest.mark.parametrize("name", ["grad_y", "x"])
def test_backward_out_overlaps_an_input_that_is_converted(name: str, dtype: str) -> None:
    """Inputs that are converted first share their memory with the caller's arrays no less."""
    x, w, g = np.ones((2, 2), "float64"), np.ones((2, 2)), np.ones((2, 2), "float64")
    raw = np.ones((2, 2))
    if name == "x":
        x = raw.view(">f8") if dtype == ">f8" else raw.view(dtype)[:, :2]
    else:
        g = raw.view(">f8") if dtype == ">f8" else raw.view(dtype)[:, :2]
    _, cache = fg.dense_forward(x, w)
    before = raw.tobytes()
    with Refused(ValueError, f"dense_backward: out.w shares memory with {name}"):
        fg.dense_backward(g, cache, out={"w": raw})
    assert raw.tobytes() == before


@pytest.mark.parametrize("pair", list(itertools.combinations("xwbz", 2)), ids="".join)
def test_backward_outs_overlap_each_other(pair: tuple[str, str]) -> None:
    data = layer()
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh")
    shapes = {"x": (3, 4), "w": (4, 2), "b": (2,), "z": (3, 2)}
    room = np.full(40, 7.0)
    outs = {n: room[: int(np.prod(shapes[n]))].reshape(shapes[n]) for n in pair}
    first, second = pair
    text = f"dense_backward: out.{second} shares memory with out.{first}"
    with Refused(ValueError, text):
        fg.dense_backward(data["g"], cache, need=("x", "w", "b", "z"), out=outs)
    assert untouched(room)


def test_accumulating_into_the_same_array_twice_is_refused_in_any_order() -> None:
    data = layer()
    _, cache = fg.dense_forward(data["x"], data["w"])
    both = np.full((3, 4), 7.0)
    with Refused(ValueError, "dense_backward: out.x shares memory with out.z"):
        fg.dense_backward(
            data["g"], cache, need=("z", "x"), out={"x": both, "z": both.ravel()[:6].reshape(3, 2)}
        )
    assert untouched(both)


def test_outputs_that_are_not_needed_are_not_looked_at() -> None:
    data = layer()
    _, cache = fg.dense_forward(data["x"], data["w"])
    grads = fg.dense_backward(data["g"], cache, need=("x",), out={"w": "nonsense", "b": 3})
    assert grads.w is grads.b is None


# -- activations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_activation_shapes(name: str) -> None:
    act = fg.activations.ACTIVATIONS[name]
    rule = "they need the same shape"
    for a, b in (((2, 3), (3, 2)), ((3,), (1, 3)), ((2, 1), (2, 3)), ((), (1,)), ((0, 3), (3, 0))):
        with Refused(
            ValueError, f"{name}.backward: grad_y has shape {a} but "
            f"{'y' if name == 'softmax' else 'z'} has shape {b}: {rule}"
        ) if name != "softmax" else pytest.raises(ValueError, match="shape"):  # fmt: skip
            act.backward(np.ones(a), np.ones(b))
        if act.from_output and (name != "softmax" or b):
            method = f"{name}.backward_from_output"
            text = f"{method}: grad_y has shape {a} but y has shape {b}: {rule}"
            with Refused(ValueError, text):
                act.backward_from_output(np.ones(a), np.ones(b))


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3, 2)), ((3,), (1, 3)), ((2, 1), (2, 3)), ((0, 3), (3, 0))]
)
def test_softmax_backward_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    text = f"softmax.backward: grad_y has shape {a} but z has shape {b}: they need the same shape"
    with Refused(ValueError, text):
        fg.softmax.backward(np.ones(a), np.ones(b))


def test_softmax_has_no_elementwise_derivative() -> None:
    text = (
        "softmax.derivative: the derivative of softmax is a matrix per row, not an array like z: "
        "use softmax.backward(grad_y, z)"
    )
    with Refused(ValueError, text):
        fg.softmax.derivative(np.ones(3))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(FROM_OUTPUT)))
def test_derivatives_that_are_no_function_of_the_output(name: str) -> None:
    text = (
        f"{name}.backward_from_output: the derivative of {name} is not a function of its output: "
        f"use {name}.backward(grad_y, z)"
    )
    with Refused(ValueError, text):
        fg.activations.ACTIVATIONS[name].backward_from_output(np.ones(3), np.ones(3))


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3), 2), ((2, 3), -3), ((3,), 1), ((), -1), ((), 0)]
)
def test_softmax_axis(shape: tuple[int, ...], axis: int) -> None:
    with Refused(ValueError, f"softmax: axis is {axis} but the array has shape {shape}"):
        fg.softmax(np.ones(shape), axis=axis)


@pytest.mark.parametrize("axis", [None, 1.0, "0", (0, 1)], ids=repr)
def test_softmax_axis_of_a_wrong_kind(axis: Any) -> None:
    with pytest.raises(TypeError, match=r"^softmax: axis is "):
        fg.softmax(np.ones((2, 3)), axis=axis)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "softmax"])
def test_only_softmax_has_an_axis(name: str) -> None:
    act: Any = fg.activations.ACTIVATIONS[name]
    with Refused(TypeError, f"{name}: unexpected argument axis"):
        act(np.ones((2, 3)), axis=0)
    with Refused(TypeError, f"{name}.backward: unexpected argument axis"):
        act.backward(np.ones((2, 3)), np.ones((2, 3)), axis=0)


@pytest.mark.parametrize("name", NAMES)
def test_activation_unknown_arguments(name: str) -> None:
    act: Any = fg.activations.ACTIVATIONS[name]
    with Refused(TypeError, f"{name}: unexpected argument where"):
        act(np.ones((2, 3)), where=True)


@wrong_outs
@pytest.mark.parametrize("name", NAMES)
@dtypes
def test_activation_out(dtype: str, name: str, kind: str) -> None:
    act, ones = fg.activations.ACTIVATIONS[name], np.ones((3, 2), dtype)
    calls: dict[str, Callable[..., Any]] = {name: lambda **k: act(ones, **k)}
    calls[f"{name}.backward"] = lambda **k: act.backward(ones, ones, **k)
    if name != "softmax":
        calls[f"{name}.derivative"] = lambda **k: act.derivative(ones, **k)
    if act.from_output:
        calls[f"{name}.backward_from_output"] = lambda **k: act.backward_from_output(
            ones, ones, **k
        )
    out, exception, text = _wrong_outs((3, 2), dtype)[kind]
    for method, call in calls.items():
        with Refused(exception, f"{method}: out{text}"):
            call(out=out)
    assert untouched(out)


@pytest.mark.parametrize("name", NAMES)
def test_activation_out_overlaps(name: str) -> None:
    act, room = fg.activations.ACTIVATIONS[name], _room()
    a, out, other = room[:6].reshape(3, 2), room[5:11].reshape(3, 2), np.ones((3, 2))
    with Refused(ValueError, f"{name}: out shares memory with z"):
        act(a, out=out)
    with Refused(ValueError, f"{name}.backward: out shares memory with grad_y"):
        act.backward(a, other, out=out)
    with Refused(ValueError, f"{name}.backward: out shares memory with z"):
        act.backward(other, a, out=out)
    if act.from_output:
        with Refused(ValueError, f"{name}.backward_from_output: out shares memory with y"):
            act.backward_from_output(other, a, out=out)
    if name != "softmax":
        with Refused(ValueError, f"{name}.derivative: out shares memory with z"):
            act.derivative(a, out=out)
    np.testing.assert_array_equal(room, _room())


# -- define_activation ----------------------------------------------------------------------------


def _double(z: float) -> float:
    return 2 * z


@pytest.mark.parametrize(
    ("arguments", "exception", "text"),
    [
        ((3, _double, _double), TypeError, "name is a int: give a str"),
        ((None, _double, _double), TypeError, "name is a NoneType: give a str"),
        (("tanh", _double, _double), ValueError, "the name 'tanh' is built in: choose another"),
        (("", _double, _double), ValueError, "the name '' is not an identifier: choose another"),
        (
            ("my act", _double, _double), ValueError,
            "the name 'my act' is not an identifier: choose another",
        ),
        (("mine", 3, _double), TypeError, "forward is not callable"),
        (("mine", _double, None), TypeError, "derivative is not callable"),
        (("mine", None, None), TypeError, "forward is not callable"),
    ],
)  # fmt: skip
def test_define_activation(arguments: Any, exception: type[Exception], text: str) -> None:
    with Refused(exception, f"define_activation: {text}"):
        fg.define_activation(*arguments)
    assert tuple(fg.activations.ACTIVATIONS)[: len(NAMES)] == NAMES
    assert "mine" not in fg.activations.ACTIVATIONS


# What Numba can't make a number of a number. Nothing of it is defined.
UNCOMPILABLE: dict[str, Callable[..., Any]] = {
    "unknown_name": lambda z: undefined_name(z),  # type: ignore[name-defined]  # noqa: F821
    "two_arguments": lambda z, other: z,
    "no_argument": lambda: 1.0,
    "text": lambda z: "text",
    "attribute": lambda z: z.nothing,
    "pair": lambda z: (z, z),
    "nothing": lambda z: None,
}


@pytest.mark.parametrize("which", ["forward", "derivative"])
@pytest.mark.parametrize("kind", list(UNCOMPILABLE))
def test_define_activation_that_does_not_compile(kind: str, which: str) -> None:
    functions_ = {"forward": _double, "derivative": _double, which: UNCOMPILABLE[kind]}
    text = (
        f"define_activation: {which} of 'mine' must take and return one number and use only what "
        "Numba compiles: "
    )
    with Refused(ValueError, text, start=True):
        fg.define_activation("mine", **functions_)
    assert "mine" not in fg.activations.ACTIVATIONS


# -- losses ---------------------------------------------------------------------------------------


def both_calls(loss: str) -> list[tuple[str, Callable[..., Any]]]:
    row = fg.losses.LOSSES[loss]
    return [(loss, row), (f"{loss}.value_and_grad", row.value_and_grad)]


def arguments_of(loss: str, *arrays: Array) -> tuple[Array, ...]:
    return arrays if loss in WITH_TARGET else arrays[:1]


@pytest.mark.parametrize("loss", LOSSES)
@dtypes
def test_loss_settings(dtype: str, loss: str) -> None:
    good = arguments_of(loss, np.ones((2, 3), dtype), np.ones((2, 3), dtype))
    for function, call in both_calls(loss):
        for reduction in ("avg", "", "Mean", None, 1):
            text = f"{function}: reduction is {reduction!r}: choose from 'mean', 'sum', 'samples'"
            with Refused(ValueError, text):
                call(*good, reduction=reduction)
        for samples in ("row", None, 0):
            text = f"{function}: samples is {samples!r}: choose from 'rows', 'columns'"
            with Refused(ValueError, text):
                call(*good, samples=samples)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_of_scalars_and_tall_columns(loss: str) -> None:
    first = "pred" if loss in WITH_TARGET else "y"
    for function, call in both_calls(loss):
        scalar, cube = np.ones(()), np.ones((2, 3, 4))
        with Refused(ValueError, f"{function}: {first} has shape (): it needs at least one axis"):
            call(*arguments_of(loss, scalar, scalar))
        text = f"{function}: {first} has shape (2, 3, 4): columns take (d, n) or (d,)"
        with Refused(ValueError, text):
            call(*arguments_of(loss, cube, cube), samples="columns")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 1), (3,)), ((3,), (3, 1)), ((2, 3), (3, 2)), ((2, 3), (1, 3)), ((2, 3), (2, 1)),
        ((2, 3), ()), ((2, 3), (2, 3, 1)), ((0, 3), (3, 0)), ((4,), (5,)), ((2, 3), (3,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loss", ELEMENT_LOSSES)
@dtypes
def test_loss_shapes_are_not_broadcast(dtype: str, loss: str, a: Any, b: Any) -> None:
    for function, call in both_calls(loss):
        text = f"{function}: target has shape {b} but pred has shape {a}: they need the same shape"
        with Refused(ValueError, text):
            call(np.ones(a, dtype), np.ones(b, dtype))


@pytest.mark.parametrize(
    ("shape", "target_shape"),
    [((2, 3), (3, 2)), ((2, 3), (2, 3, 1)), ((2, 3), (2, 1)), ((4,), (5,))],
)
def test_cross_entropy_probabilities_shape(shape: Any, target_shape: Any) -> None:
    text = f"target has shape {target_shape} but pred has shape {shape}: they need the same shape"
    for function, call in both_calls("softmax_cross_entropy"):
        with Refused(ValueError, f"{function}: {text}"):
            call(np.ones(shape), np.ones(target_shape))


@pytest.mark.parametrize(
    ("shape", "target", "samples", "expected"),
    [
        ((2, 3), np.array([0, 1, 2]), "rows", (2,)),
        ((2, 3), np.array([0.0, 1.0]), "rows", (2,)),
        ((2, 3), np.array([True, False]), "rows", (2,)),
        ((3, 2), np.array([0, 1, 2]), "columns", (2,)),
        ((3, 2), np.array([0.0, 1.0]), "columns", (2,)),
        ((2, 5, 3), np.zeros((5, 2), int), "rows", (2, 5)),
        ((3,), np.array(1.0), "rows", ()),
    ],
)
def test_cross_entropy_classes(shape: Any, target: Array, samples: str, expected: Any) -> None:
    text = (
        f"target has shape {target.shape} and dtype {target.dtype} but pred has shape {shape}: "
        f"give integer classes of shape {expected}, or an array like pred"
    )
    for function, call in both_calls("softmax_cross_entropy"):
        with Refused(ValueError, f"{function}: {text}"):
            call(np.ones(shape), target, samples=samples)


@pytest.mark.parametrize("kind", ["int8", "int64", "uint8"])
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize(("low", "high"), [(0, 3), (-1, 2), (-3, -1), (1, 100)])
@dtypes
def test_cross_entropy_class_range(
    dtype: str, low: int, high: int, samples: str, kind: str
) -> None:
    """Classes are never counted from the end."""
    if kind == "uint8" and low < 0:
        pytest.skip("unsigned")
    pred = turn(np.ones((2, 3), dtype), samples)
    text = f"target has classes from {low} to {high} but pred has 3 classes: they go from 0 to 2"
    for function, call in both_calls("softmax_cross_entropy"):
        with Refused(ValueError, f"{function}: {text}"):
            call(pred, np.array([low, high], kind), samples=samples)


def test_cross_entropy_class_beyond_int64() -> None:
    """2**64 - 1 is not -1 in disguise."""
    target = np.array([0, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match=r"target has classes from 0 to 18446744073709551615 but"):
        fg.losses.softmax_cross_entropy(np.ones((2, 3)), target)


@wrong_outs
@pytest.mark.parametrize("loss", LOSSES)
@layouts
@dtypes
def test_loss_out(dtype: str, samples: str, loss: str, kind: str) -> None:
    ones = np.ones((3, 2), dtype)
    out, exception, text = _wrong_outs((3, 2), dtype)[kind]
    with Refused(exception, f"{loss}.value_and_grad: out{text}"):
        call: Any = fg.losses.LOSSES[loss].value_and_grad
        call(*arguments_of(loss, ones, ones), samples=samples, out=out)
    assert untouched(out)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_out_overlaps(loss: str) -> None:
    room, other = _room(), np.full((3, 2), 0.5)
    a, out = room[:6].reshape(3, 2), room[5:11].reshape(3, 2)
    call: Any = fg.losses.LOSSES[loss].value_and_grad
    first = "pred" if loss in WITH_TARGET else "y"
    with Refused(ValueError, f"{loss}.value_and_grad: out shares memory with {first}"):
        call(*arguments_of(loss, a, other), out=out)
    if loss in WITH_TARGET:
        with Refused(ValueError, f"{loss}.value_and_grad: out shares memory with target"):
            call(other, a, out=out)
    np.testing.assert_array_equal(room, _room())


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_without_arguments(loss: str) -> None:
    """A forgotten or missing target is no loss of one array."""
    row: Any = fg.losses.LOSSES[loss]
    for call in (row, row.value_and_grad):
        with pytest.raises(TypeError, match="missing"):
            call()
        if loss in WITH_TARGET:
            with pytest.raises(TypeError, match="missing"):
                call(np.ones((2, 3)))


@pytest.mark.parametrize("loss", WITH_TARGET)
def test_loss_target_none(loss: str) -> None:
    """None, a variable that was never filled, is named as the argument it is."""
    for function, call in both_calls(loss):
        with Refused(TypeError, f"{function}: target has dtype object: {SUPPORTED}"):
            call(np.ones((2, 3)), None)


# -- nothing is half done ---------------------------------------------------------------------------


@dtypes
def test_a_failed_call_leaves_no_trace(dtype: str) -> None:
    """The same arrays, right ones this time, give what they always gave."""
    data = layer(dtype)
    held = {n: a.copy() for n, a in data.items()}
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], "tanh")
    first = fg.dense_backward(data["g"], cache)
    for _ in range(3):
        with pytest.raises(ValueError, match="w needs"):
            fg.dense_forward(data["x"], data["w"].T, data["b"], "tanh")
        with pytest.raises(ValueError, match="grad_y has shape"):
            fg.dense_backward(data["g"].T, cache)
        with pytest.raises(ValueError, match="need is"):
            fg.dense_backward(data["g"], cache, need=("x", "q"))
    np.testing.assert_array_equal(fg.dense(data["x"], data["w"], data["b"], "tanh"), y)
    for a, b in zip(fg.dense_backward(data["g"], cache)[:3], first[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    for n, a in held.items():
        np.testing.assert_array_equal(data[n], a)
