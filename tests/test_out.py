"""What a caller asks a layer for: `need=`, `out=` of any form, `accumulate=`.

At the end: an `out=` that the compiled entry points can write to is taken by them themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, Array, rng_of, same_bits, turn
from layers import ALL, clean_run, forms_data, layer_data, odd_layer, run

import fastgrad as fg
from fastgrad.calls import Call
from fastgrad.layers.dense_calls import DENSE_BACKWARD

NAMES = fg.activations.BUILT_IN
ACTIVATIONS = [None, "tanh", "gelu", "softmax"]

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)

# -- need= -----------------------------------------------------------------------------------------

SUBSETS = [s for r in range(5) for s in itertools.combinations(ALL, r)]


@pytest.mark.parametrize("kind", [tuple, list, set, iter, "".join], ids=lambda f: f.__name__)
@pytest.mark.parametrize("need", SUBSETS, ids=lambda s: "".join(s) or "nothing")
def test_need_subsets(need: tuple[str, ...], kind: Callable[[Any], Any]) -> None:
    data = forms_data("float32", "rows")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "sigmoid")
    grads = fg.dense_backward(data["g"], cache, need=kind(need))
    _, *clean = clean_run("float32", "rows")
    for which, truth in zip(ALL, clean, strict=True):
        got = getattr(grads, which)
        assert same_bits(got, truth) if which in need else got is None


@pytest.mark.parametrize("need", [("w", "w"), ("x", "x", "b"), ("b", "b", "b", "b"), "zz"])
def test_need_may_repeat_a_name(need: Any) -> None:
    data = forms_data("float32", "rows")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "sigmoid")
    grads = fg.dense_backward(data["g"], cache, need=need)
    once = fg.dense_backward(data["g"], cache, need=tuple(dict.fromkeys(need)))
    for got, truth in zip(grads, once, strict=True):
        assert got is truth is None or same_bits(got, truth)


# -- out= ------------------------------------------------------------------------------------------


def _columns_of_wider(shape: tuple[int, ...], dtype: str) -> Array:
    return np.zeros((*shape[:-1], shape[-1] + 3), dtype)[..., : shape[-1]]


OUTS: dict[str, Callable[[tuple[int, ...], str], Array]] = {
    "c_order": np.zeros,
    "fortran": lambda shape, dtype: np.zeros(shape, dtype, order="F"),
    "part_of_wider": _columns_of_wider,
    "sliced": lambda shape, dtype: FORMS["sliced"](np.zeros(shape, dtype)),
    "reversed": lambda shape, dtype: FORMS["reversed"](np.zeros(shape, dtype)),
    "rows_reversed": lambda shape, dtype: np.zeros(shape, dtype)[::-1],
    "unaligned": lambda shape, dtype: FORMS["unaligned"](np.zeros(shape, dtype)),
    "record_field": lambda shape, dtype: FORMS["record_field"](np.zeros(shape, dtype)),
    "subclass": lambda shape, dtype: FORMS["memmap_like_subclass"](np.zeros(shape, dtype)),
    "dtype_with_metadata": lambda shape, dtype: np.zeros(shape, np.dtype(dtype, metadata={"m": 1})),
}


@pytest.mark.parametrize("name", [None, "sigmoid", "silu", "softmax"])
@layouts
@dtypes
@pytest.mark.parametrize("form", list(OUTS))
def test_out_of_any_form(form: str, dtype: str, samples: str, name: str | None) -> None:
    data = forms_data(dtype, samples)
    clean = run(data, samples, name)
    out = OUTS[form](clean[0].shape, dtype)
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples, out=out)
    assert y is out
    assert same_bits(out, clean[0])
    out[...] = 0
    assert fg.dense(data["x"], data["w"], data["b"], name, samples=samples, out=out) is out
    assert same_bits(out, clean[0])
    outs = {n: OUTS[form](a.shape, dtype) for n, a in zip(ALL, clean[1:], strict=True)}
    grads = fg.dense_backward(data["g"], cache, need=ALL, out=outs)
    for which, truth in zip(ALL, clean[1:], strict=True):
        assert getattr(grads, which) is outs[which]
        assert same_bits(outs[which], truth)
    again = fg.dense_backward(data["g"], cache, need=ALL, out=outs, accumulate=True)
    for which, truth in zip(ALL, clean[1:], strict=True):
        assert getattr(again, which) is outs[which]
        assert same_bits(outs[which], truth + truth)


@pytest.mark.parametrize("kind", [dict, fg.DenseGrads, SimpleNamespace])
def test_out_as_mapping_tuple_or_object(kind: Any) -> None:
    data = forms_data("float64", "rows")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "sigmoid")
    place = np.zeros_like(data["w"])
    grads = fg.dense_backward(data["g"], cache, out=kind(w=place))
    assert grads.w is place
    for got, truth in zip(grads[:3], clean_run("float64", "rows")[1:4], strict=True):
        assert same_bits(got, truth)


# -- accumulate=, and what stays as it was ---------------------------------------------------------


@pytest.mark.parametrize("spec", ["3 x 2 x 4", "BB+1 x 3 x 5", "MR+1 x 3 x KC+5"])
@layouts
@dtypes
def test_accumulating_from_zero_gives_the_same_bits(dtype: str, samples: str, spec: str) -> None:
    data = layer_data(spec, dtype)
    x, w, g = (turn(data[n], samples) for n in "xwg")
    _, cache = fg.dense_forward(x, w, data["b"], samples=samples)
    plain = fg.dense_backward(g, cache, need=ALL)
    outs = {n: np.zeros_like(getattr(plain, n)) for n in ALL}
    fg.dense_backward(g, cache, need=ALL, out=outs, accumulate=True)
    assert all(same_bits(outs[n], getattr(plain, n)) for n in ALL)


@pytest.mark.parametrize("form", list(OUTS))
@pytest.mark.parametrize("spec", ["3 x 2 x 4", "MR+1 x 3 x KC+5"])
def test_accumulation_does_not_depend_on_the_form_of_out(spec: str, form: str) -> None:
    """Also over several k-blocks: the sum is made in one order, wherever it is put."""
    data = layer_data(spec, "float32")
    rng = rng_of("accumulate")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"])
    start = {n: rng.standard_normal(data[n].shape).astype("float32") for n in "xwb"}
    clean = fg.dense_backward(
        data["g"], cache, out={n: a.copy() for n, a in start.items()}, accumulate=True
    )
    outs = {n: OUTS[form](a.shape, "float32") for n, a in start.items()}
    for n, a in start.items():
        outs[n][...] = a
    fg.dense_backward(data["g"], cache, out=outs, accumulate=True)
    assert all(same_bits(outs[n], getattr(clean, n)) for n in "xwb")


@pytest.mark.parametrize("k", ["5", "KC", "KC+5", "2KC+1"])
@layouts
@dtypes
def test_accumulating_adds_the_finished_gradient_of_x(dtype: str, samples: str, k: str) -> None:
    """``out + grad_x`` rounded once, however many k-blocks grad_x takes: blocks are no result."""
    data = layer_data(f"MR+1 x 3 x {k}", dtype)
    x, w, g = (turn(data[n], samples) for n in "xwg")
    _, cache = fg.dense_forward(x, w, samples=samples)
    before = turn(rng_of("finished").standard_normal(data["x"].shape).astype(dtype), samples)
    fresh = fg.dense_backward(g, cache, need=("x",)).x
    out = before.copy()
    fg.dense_backward(g, cache, need=("x",), out={"x": out}, accumulate=True)
    assert same_bits(out, before + fresh)


def test_accumulate_without_out_is_a_plain_backward() -> None:
    data = forms_data("float64", "rows")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "sigmoid")
    grads = fg.dense_backward(data["g"], cache, need=ALL, accumulate=True)
    assert all(map(same_bits, grads, clean_run("float64", "rows")[1:]))


@pytest.mark.parametrize("name", [None, *NAMES])
def test_backward_leaves_grad_y_and_the_cache_alone(name: str | None) -> None:
    data = forms_data("float32", "rows")
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name)
    held = [a.copy() for a in (*cache[:4], data["g"], y)]
    first = fg.dense_backward(data["g"], cache, need=ALL)
    first.z[...] = 7  # gradients are the caller's to overwrite
    for before, after in zip(held, (*cache[:4], data["g"], y), strict=True):
        assert same_bits(before, after)
    second = fg.dense_backward(data["g"], cache)
    assert all(map(same_bits, second[:3], first[:3]))


# -- taken by the compiled entry points themselves -------------------------------------------------


def checked(*_: Any, **__: Any) -> Any:
    raise AssertionError("the checked path was taken")


@pytest.fixture
def direct_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, only the compiled entry points answer."""

    def begin() -> None:
        for kind in (Call, type(DENSE_BACKWARD)):
            monkeypatch.setattr(kind, "checked", checked)

    return begin


@pytest.mark.parametrize("activation", ACTIVATIONS)
@layouts
@dtypes
def test_layers(
    dtype: str, samples: str, activation: str | None, direct_only: Callable[[], None]
) -> None:
    a = odd_layer(dtype, samples)
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
    a = odd_layer(dtype, "rows")
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
