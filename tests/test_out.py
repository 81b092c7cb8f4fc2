"""A user's `out=`: taken by the compiled entry points themselves where they can write to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn

import fastgrad as fg
from fastgrad import functional

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
ACTIVATIONS = [None, "tanh", "gelu", "softmax"]


def checked(*_: Any, **__: Any) -> Any:
    raise AssertionError("the checked path was taken")


@pytest.fixture
def direct_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, only the compiled entry points answer."""

    def begin() -> None:
        monkeypatch.setattr(functional, "checked_forward", checked)
        monkeypatch.setattr(functional, "checked_backward", checked)
        monkeypatch.setattr(fg.Activation, "_run", checked)
        for kind in (fg.losses.Loss, fg.losses.ArrayLoss):
            monkeypatch.setattr(kind, "_evaluate", checked)

    return begin


def layer(dtype: str, samples: str) -> dict[str, Array]:
    rng = rng_of("out", dtype, samples)
    shapes = {"x": (7, 5), "w": (5, 3), "b": (1, 3), "g": (7, 3)}
    return {
        name: turn(rng.standard_normal(shape).astype(dtype), samples)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("activation", ACTIVATIONS)
@layouts
@dtypes
def test_layers(
    dtype: str, samples: str, activation: str | None, direct_only: Callable[[], None]
) -> None:
    a = layer(dtype, samples)
    y, cache = fg.dense_forward(a["x"], a["w"], a["b"], activation, samples=samples)
    grads = fg.dense_backward(a["g"], cache)
    for need in (("w", "b"), "xwb", ["x"]):
        fg.dense_backward(a["g"], cache, need=need)
    direct_only()
    out = np.empty_like(y)
    again, _ = fg.dense_forward(a["x"], a["w"], a["b"], activation, samples=samples, out=out)
    assert again is out
    assert same_bits(out, y)
    assert fg.dense(a["x"], a["w"], a["b"], activation, samples=samples, out=out) is out
    assert same_bits(out, y)
    outs = {name: np.empty_like(a[name]) for name in "xwb"}
    for given in (outs, fg.DenseGrads(**outs)):
        got = fg.dense_backward(a["g"], cache, out=given)
        for name in "xwb":
            assert getattr(got, name) is outs[name]
            assert same_bits(outs[name], getattr(grads, name))
    for need in (("w", "b"), "xwb", ["x"]):
        before = {name: outs[name].copy() for name in outs}
        fg.dense_backward(a["g"], cache, need=need, out=outs, accumulate=True)
        for name in "xwb":
            added = getattr(grads, name) if name in need else 0
            assert same_bits(outs[name], before[name] + added)


@dtypes
def test_activations_and_losses(dtype: str, direct_only: Callable[[], None]) -> None:
    rng = rng_of("out", dtype)
    z, g = (rng.standard_normal((4, 9)).astype(dtype) for _ in "zg")
    calls: list[Callable[..., Any]] = [
        lambda out=None: fg.gelu(z, out=out),
        lambda out=None: fg.softmax(z, out=out),
        lambda out=None: fg.gelu.backward(g, z, out=out),
        lambda out=None: fg.tanh.backward_from_output(g, z, out=out),
        lambda out=None: fg.losses.mse.value_and_grad(z, g, out=out)[1],
        lambda out=None: fg.losses.squared_l2.value_and_grad(z, out=out)[1],
    ]
    results = [call() for call in calls]
    direct_only()
    for call, result in zip(calls, results, strict=True):
        out = np.empty_like(z)
        assert call(out=out) is out
        assert same_bits(out, result)


@dtypes
def test_views_side_by_side_in_one_buffer(dtype: str, direct_only: Callable[[], None]) -> None:
    """As a flat vector of parameters and one of gradients have them."""
    a = layer(dtype, "rows")
    flat = np.zeros(100, dtype)
    flat[:15], flat[15:18] = a["w"].ravel(), a["b"].ravel()
    w, b, grad_w, grad_b = (
        flat[i : i + n].reshape(s)
        for i, n, s in ((0, 15, (5, 3)), (15, 3, (3,)), (18, 15, (5, 3)), (33, 3, (3,)))
    )
    _, cache = fg.dense_forward(a["x"], w, b)
    truth = fg.dense_backward(a["g"], cache, need=("w", "b"))
    direct_only()
    fg.dense_backward(a["g"], cache, need=("w", "b"), out={"w": grad_w, "b": grad_b})
    assert same_bits(grad_w, truth.w)
    assert same_bits(grad_b, truth.b)


@pytest.mark.parametrize("victim", ["x", "w", "b", "g", "y"])
@pytest.mark.parametrize("shift", [-14, -1, 0, 1, 14])
@dtypes
def test_an_output_that_touches_an_input(dtype: str, shift: int, victim: str) -> None:
    """By one element, from either side: refused, and nothing is written."""
    a = layer(dtype, "rows")
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


def test_two_outputs_that_share_memory() -> None:
    a = layer("float32", "rows")
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


@pytest.mark.parametrize("field", ["b", "saved"])
def test_a_cache_that_holds_something_else(field: str) -> None:
    a = layer("float64", "rows")
    _, cache = fg.dense_forward(a["x"], a["w"], a["b"])
    broken = cache._replace(**{field: object()})
    for need in (("w",), ("x", "w", "b")):
        with pytest.raises(TypeError, match=f"cache.{field}"):
            fg.dense_backward(a["g"], broken, need=need, out={"w": np.empty((5, 3))})
