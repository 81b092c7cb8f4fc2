"""An `out=` that cannot be written to is refused: shared memory, another shape or dtype, no array.

By name, as in `test_errors.py`, and before anything is written.
"""

from __future__ import annotations

import array
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from calls import B, W, X, Y, backward, cache_of, columns, dense
from conftest import DTYPES, Array, same_bits
from layers import odd_layer

import fastgrad as fg

dtypes = pytest.mark.parametrize("dtype", DTYPES)

# -- memory shared with an input, or another output ------------------------------------------------


def overlapping() -> dict[str, tuple[Callable[[], Any], str]]:
    """Return calls whose `out` shares memory with an input, and what they must say."""
    pool = np.ones(64)
    x, w, y = pool[:12].reshape(3, 4), pool[20:28].reshape(4, 2), pool[40:46].reshape(3, 2)
    shifted = pool[22:28].reshape(3, 2)
    _, cache = fg.dense_forward(x, w, B, "tanh")
    _, by_callable = fg.dense_forward(x, w, B, lambda z: z * z)
    square = np.ones((2, 2))
    small = np.ones(2)
    return {
        "y over x": (lambda: fg.dense(square, square.copy(), out=square), "dense: out shares"),
        "y over w": (lambda: fg.dense(x, w, out=shifted), "dense: out shares memory with w"),
        "y over part of x": (
            lambda: fg.dense_forward(x, w, out=pool[11:17].reshape(3, 2)),
            "dense_forward: out shares memory with x",
        ),
        "y over b": (
            lambda: fg.dense(np.ones(4), w, small, out=small), "dense: out shares memory with b"
        ),
        "grad_x over x": (
            lambda: fg.dense_backward(y, cache, out={"x": x}),
            "dense_backward: out.x shares memory with x",
        ),
        "grad_w over w": (
            lambda: fg.dense_backward(y, cache, out={"w": w}),
            "dense_backward: out.w shares memory with w",
        ),
        "grad_z over grad_y": (
            lambda: fg.dense_backward(y, cache, need="z", out={"z": y}),
            "dense_backward: out.z shares memory with grad_y",
        ),
        "grad_z over grad_y, callable": (
            lambda: fg.dense_backward(y, by_callable, need="z", out={"z": y}),
            "dense_backward: out.z shares memory with grad_y",
        ),
        "grad_z over the saved y": (
            lambda: fg.dense_backward(y, cache, need="z", out={"z": cache.saved}),
            "dense_backward: out.z shares memory with the cache",
        ),
        "grad_w over grad_x": (
            lambda: fg.dense_backward(
                y, cache, out={"x": pool[50:62].reshape(3, 4), "w": pool[52:60].reshape(4, 2)}
            ),
            "dense_backward: out.w shares memory with out.x",
        ),
        "value in place": (lambda: fg.tanh(x, out=x), "tanh: out shares memory with z"),
        "value over a neighbour": (
            lambda: fg.tanh(pool[:8], out=pool[1:9]), "tanh: out shares memory with z"
        ),
        "vjp over grad_y": (
            lambda: fg.silu.backward(x, x.copy(), out=x),
            "silu.backward: out shares memory with grad_y",
        ),
        "vjp over z": (
            lambda: fg.softmax.backward(x.copy(), x, out=x),
            "softmax.backward: out shares memory with z",
        ),
        "derivative in place": (
            lambda: fg.tanh.derivative(x, out=x), "tanh.derivative: out shares memory with z"
        ),
        "loss over pred": (
            lambda: fg.losses.mse.value_and_grad(x, x.copy(), out=x),
            "mse.value_and_grad: out shares memory with pred",
        ),
        "loss over target": (
            lambda: fg.losses.mse.value_and_grad(x.copy(), x, out=x),
            "mse.value_and_grad: out shares memory with target",
        ),
        "loss of one array": (
            lambda: fg.losses.sum.value_and_grad(x, out=x),
            "sum.value_and_grad: out shares memory with y",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(overlapping()))
def test_out_must_not_overlap(case: str) -> None:
    call, text = overlapping()[case]
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(text)
    assert "shares memory with" in str(error.value)


@pytest.mark.parametrize("victim", ["x", "w", "b", "g", "y"])
@pytest.mark.parametrize("shift", [-14, -1, 0, 1, 14])
@dtypes
def test_an_output_that_touches_an_input(dtype: str, shift: int, victim: str) -> None:
    """By one element, from either side: refused, and nothing is written."""
    a = odd_layer(dtype, "rows")
    space = np.zeros(400, dtype)
    size = {"x": 35, "w": 15, "b": 3, "g": 21, "y": 21}[victim]
    start = 200 + (shift if shift < 0 else size - 15 + shift)  # of grad_w, 15 elements
    start = start if abs(shift) != 14 else 200 - 14 if shift < 0 else 200 + size - 1
    place = space[200 : 200 + size]
    if victim != "y":
        place[:] = a[victim].ravel()
        a[victim] = place.reshape(a[victim].shape)
    y = place.reshape(7, 3) if victim == "y" else None
    _, cache = fg.dense_forward(a["x"], a["w"], a["b"], "tanh", out=y)
    before = space.copy()
    rule = {"g": "grad_y", "y": "the cache"}.get(victim, victim)
    for need in (("x", "w", "b"), ("w",)):
        with pytest.raises(ValueError, match=re.escape(f"shares memory with {rule}")):
            fg.dense_backward(a["g"], cache, need=need, out={"w": space[start:][:15].reshape(5, 3)})
    assert same_bits(space, before)


@pytest.mark.parametrize("kind", [memoryview, lambda a: array.array("d", a)])
@pytest.mark.parametrize("later", [False, True], ids=["first call", "later call"])
def test_a_network_writes_over_no_argument_of_any_kind(kind: Any, later: bool) -> None:
    net = fg.MLP((3, 3), (None,), "mse", dtype="float64")
    params, x = kind(net.init()), np.ones((5, 3))
    if later:
        net.value_and_grad(params, x, x), net.value_and_grad(params, x, x)
    with pytest.raises(ValueError, match=r"MLP.value_and_grad: out shares memory with params"):
        net.value_and_grad(params, x, x, out=np.frombuffer(params))
    y = np.ones((5, 3))
    with pytest.raises(ValueError, match=r"MLP.predict: out shares memory with x"):
        net.predict(params, memoryview(y), out=y)
    np.testing.assert_array_equal(params, net.init())
    assert (y == 1).all()


def test_two_outputs_that_share_memory() -> None:
    a = odd_layer("float32", "rows")
    _, cache = fg.dense_forward(a["x"], a["w"], a["b"])
    flat = np.zeros(30, np.float32)
    outs = {"w": flat[:15].reshape(5, 3), "b": flat[14:17].reshape(1, 3)}
    with pytest.raises(ValueError, match=r"out\.b shares memory with out\.w"):
        fg.dense_backward(a["g"], cache, out=outs)
    assert not flat.any()


@pytest.mark.parametrize("out", [False, True, [[0.0] * 3], 1.0, "out"], ids=repr)
def test_an_output_that_is_no_array(out: Any) -> None:
    z = np.ones((1, 3))
    kind = type(out).__name__
    for call in (
        lambda: fg.losses.mse.value_and_grad(z, z, out=out),
        lambda: fg.losses.sum.value_and_grad(z, out=out),
        lambda: fg.tanh(z, out=out),
        lambda: fg.tanh.backward(z, z, out=out),
        lambda: fg.dense(z, np.ones((3, 3)), out=out),
    ):
        for _ in range(2):  # the second time directly
            with pytest.raises(TypeError, match=f"out is a {kind}: give a NumPy array"):
                call()


# -- what is no fit array --------------------------------------------------------------------------

# Functions that take `out`: the array each wants, and what messages call it.
TAKES_OUT: dict[str, tuple[tuple[int, ...], str, Callable[[Any], Any]]] = {
    "dense": ((3, 2), "dense: out", lambda out: fg.dense(X, W, B, out=out)),
    "dense of z": ((3, 2), "dense_forward: out", lambda out: dense(activation="gelu", out=out)()),
    "dense of a callable": ((3, 2), "dense: out", lambda out: fg.dense(X, W, B, np.sin, out=out)),
    "dense of columns": ((2, 3), "dense_forward: out", lambda out: columns(out=out)()),
    "dense of a vector": ((2,), "dense: out", lambda out: fg.dense(X[0], W, out=out)),
    "dense of batches": (
        (1, 3, 2), "dense: out", lambda out: fg.dense(X[np.newaxis], W, out=out)
    ),
    "grad_x": ((3, 4), "dense_backward: out.x", lambda out: backward(out={"x": out})()),
    "grad_w": ((4, 2), "dense_backward: out.w", lambda out: backward(out={"w": out})()),
    "grad_b": ((2,), "dense_backward: out.b", lambda out: backward(out={"b": out})()),
    "grad_z": ((3, 2), "dense_backward: out.z", lambda out: backward(need="z", out={"z": out})()),
    "accumulated": (
        (4, 2), "dense_backward: out.w", lambda out: backward(out={"w": out}, accumulate=True)()
    ),
    "activation": ((3, 4), "sigmoid: out", lambda out: fg.sigmoid(X, out=out)),
    "softmax": ((3, 4), "softmax: out", lambda out: fg.softmax(X, axis=0, out=out)),
    "derivative": ((3, 4), "elu.derivative: out", lambda out: fg.elu.derivative(X, out=out)),
    "vjp": ((3, 4), "exp.backward: out", lambda out: fg.exp.backward(X, X, out=out)),
    "softmax vjp": (
        (3, 4), "softmax.backward: out", lambda out: fg.softmax.backward(X, X, out=out)
    ),
    "from output": (
        (3, 4), "tanh.backward_from_output: out",
        lambda out: fg.tanh.backward_from_output(X, X, out=out),
    ),
    "loss": (
        (3, 4), "mse.value_and_grad: out",
        lambda out: fg.losses.mse.value_and_grad(X, 2 * X, out=out),
    ),
    "cross-entropy": (
        (3, 4), "softmax_cross_entropy.value_and_grad: out",
        lambda out: fg.losses.softmax_cross_entropy.value_and_grad(X, [0, 1, 2], out=out),
    ),
    "one-array loss": (
        (3, 4), "squared_l2.value_and_grad: out",
        lambda out: fg.losses.squared_l2.value_and_grad(X, out=out),
    ),
}  # fmt: skip


def _readonly(shape: tuple[int, ...]) -> Array:
    array = np.full(shape, 7.0)
    array.flags.writeable = False
    return array


def _needs(out: Array, shape: tuple[int, ...]) -> str:
    return f" has shape {out.shape} and dtype {out.dtype}: it needs shape {shape} and dtype float64"


# What is wrong with `out`: a maker, the error, and the rest of its text.
BAD_OUT: dict[str, tuple[Callable[[tuple[int, ...]], Any], type[Exception], Any]] = {
    "longer": (lambda s: np.full((s[0] + 1, *s[1:]), 7.0), ValueError, _needs),
    "an axis more": (lambda s: np.full((*s, 1), 7.0), ValueError, _needs),
    "empty": (lambda s: np.full((0,), 7.0), ValueError, _needs),
    "float32": (lambda s: np.full(s, 7, np.float32), ValueError, _needs),
    "float16": (lambda s: np.full(s, 7, np.float16), ValueError, _needs),
    "int64": (lambda s: np.full(s, 7), ValueError, _needs),
    "complex": (lambda s: np.full(s, 7j), ValueError, _needs),
    "object": (lambda s: np.full(s, 7, object), ValueError, _needs),
    "big-endian": (lambda s: np.full(s, 7, ">f8"), ValueError, _needs),
    "read-only": (_readonly, ValueError, lambda out, shape: " is read-only"),
    "list": (lambda s: [7.0], TypeError, lambda out, shape: " is a list: give a NumPy array"),
    "masked": (
        lambda s: np.ma.masked_array(np.full(s, 7.0)),
        TypeError,
        lambda out, shape: " is a masked array: give its data",
    ),
    "number": (lambda s: 7.0, TypeError, lambda out, shape: " is a float: give a NumPy array"),
    "broadcast": (
        lambda s: np.lib.stride_tricks.as_strided(np.full(1, 7.0), s, (0,) * len(s)),
        ValueError,
        lambda out, shape: " has elements that share memory with each other",
    ),
}


@pytest.mark.parametrize("bad", list(BAD_OUT))
@pytest.mark.parametrize("function", list(TAKES_OUT))
def test_out_must_fit(function: str, bad: str) -> None:
    """And the refused array is as it was."""
    shape, label, call = TAKES_OUT[function]
    make, kind, text = BAD_OUT[bad]
    out = make(shape)
    before = np.array(out, copy=True)
    with pytest.raises(kind) as error:
        call(out)
    assert str(error.value) == label + text(out, shape)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("function", ["dense", "grad_x", "activation", "softmax", "loss"])
def test_out_that_overlaps_itself(function: str) -> None:
    """Strides smaller than the rows: two elements in one place, without a zero stride."""
    shape, _, call = TAKES_OUT[function]
    pool = np.full(64, 7.0)
    out = np.lib.stride_tricks.as_strided(pool, shape, (8,) * len(shape))
    with pytest.raises(ValueError, match="share memory"):
        call(out)
    assert (pool == 7).all()


# -- nothing is half written -----------------------------------------------------------------------

LATE_ERRORS: dict[str, Callable[[dict[str, Array]], Any]] = {
    "the last of three outputs": lambda o: fg.dense_backward(
        Y, cache_of(), out={**o, "b": np.zeros(3)}
    ),
    "an unknown need": lambda o: fg.dense_backward(Y, cache_of(), need="xwq", out=o),
    "grad_y": lambda o: fg.dense_backward(np.ones((3, 3)), cache_of(), out=o, accumulate=True),
    "grad_y's dtype": lambda o: fg.dense_backward(Y.astype(complex), cache_of(), out=o),
    "two in one place": lambda o: fg.dense_backward(
        Y, cache_of(w=np.ones((4, 2)), x=np.ones((4, 4))), out={"x": o["w4"], "w": o["w"]}
    ),
}


@pytest.mark.parametrize("case", list(LATE_ERRORS))
def test_nothing_is_half_written(case: str) -> None:
    """Every output is checked before the first is written."""
    outs = {"x": np.full((3, 4), 7.0), "w": np.full((4, 2), 7.0), "w4": np.full((4, 4), 7.0)}
    given = {**outs} if case == "two in one place" else {n: outs[n] for n in "xw"}
    with pytest.raises((ValueError, TypeError)):
        LATE_ERRORS[case](given)
    assert all((a == 7).all() for a in outs.values())


def test_a_failing_callable_writes_nothing() -> None:
    out = np.full((3, 2), 7.0)

    def fails(z: Array) -> Array:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fg.dense(X, W, B, fails, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("kind", [5, "xw", [1, 2], {"weights": np.zeros((4, 2))}], ids=repr)
def test_out_without_any_field_is_refused(kind: Any) -> None:
    """A mistyped field name must not lose the gradient in silence."""
    with pytest.raises((TypeError, ValueError), match="dense_backward: out"):
        fg.dense_backward(Y, cache_of(), out=kind)


def test_out_of_what_is_not_needed_stays() -> None:
    outs = {"z": np.full((3, 2), 7.0), "w": np.zeros((4, 2))}
    grads = fg.dense_backward(Y, cache_of(), need=("w",), out=outs)
    assert grads.w is outs["w"]
    assert (outs["z"] == 7).all()
