"""A layer of any arrays: the same bits for the same numbers, whatever form, dtype and axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, rng_of, same_bits, turn
from layers import ALL, bias_form, clean_run, forms_data, layer_data, run

import fastgrad as fg
from fastgrad.kernels.toolchain.target import tile

NAMES = fg.activations.BUILT_IN

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)

# -- the same bits for every array that holds the same numbers -------------------------------------


def memory_of(value: Any) -> bytes:
    """Return what the whole allocation behind an array holds."""
    while isinstance(getattr(value, "base", None), np.ndarray):
        value = value.base
    return np.asarray(value).tobytes()


@layouts
@dtypes
@pytest.mark.parametrize("which", ["x", "w", "b", "g"])
@pytest.mark.parametrize("form", list(FORMS))
def test_forms_give_the_bits_of_a_clean_copy(
    form: str, which: str, dtype: str, samples: str
) -> None:
    data: dict[str, Any] = forms_data(dtype, samples)
    data[which] = FORMS[form](data[which])
    before = memory_of(data[which])
    results = run(data, samples)
    assert memory_of(data[which]) == before
    for got, clean in zip(results, clean_run(dtype, samples), strict=True):
        assert type(got) is np.ndarray
        assert same_bits(got, clean)


@pytest.mark.parametrize("name", NAMES)
@layouts
@dtypes
@pytest.mark.parametrize("form", ["fortran", "reversed", "unaligned"])
def test_all_arguments_in_a_form_at_once(form: str, dtype: str, samples: str, name: str) -> None:
    data: dict[str, Any] = {n: FORMS[form](a) for n, a in forms_data(dtype, samples).items()}
    before = {n: memory_of(a) for n, a in data.items()}
    results = run(data, samples, name)
    assert {n: memory_of(a) for n, a in data.items()} == before
    assert all(map(same_bits, results, clean_run(dtype, samples, name)))


@layouts
@dtypes
@pytest.mark.parametrize("which", ["x", "w", "b", "g"])
@pytest.mark.parametrize("axis", [0, 1])
def test_broadcast_views(axis: int, which: str, dtype: str, samples: str) -> None:
    """Zero strides, as ``np.broadcast_to`` makes them."""
    data: dict[str, Any] = forms_data(dtype, samples)
    a = data[which] if which != "b" else bias_form(data["b"], samples)
    line = a[:1] if axis == 0 else a[:, :1]
    data[which] = np.broadcast_to(line, a.shape)
    clean = {**data, which: data[which].copy()}
    assert all(map(same_bits, run(data, samples), run(clean, samples)))


@layouts
@pytest.mark.parametrize("which", ["x", "w", "g"])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_np_matrix(which: str, samples: str) -> None:
    data: dict[str, Any] = forms_data("float64", samples)
    data[which] = np.matrix(data[which])
    results = run(data, samples)
    assert all(type(a) is np.ndarray for a in results)
    assert all(map(same_bits, results, clean_run("float64", samples)))


def test_memmap(tmp_path: Any) -> None:
    data: dict[str, Any] = forms_data("float32", "rows")
    for name in "xwg":
        mapped = np.memmap(tmp_path / name, "float32", "w+", shape=data[name].shape)
        mapped[...] = data[name]
        mapped.flush()
        data[name] = np.memmap(tmp_path / name, "float32", "r", shape=data[name].shape)
    assert all(map(same_bits, run(data, "rows"), clean_run("float32", "rows")))


# -- dtypes -------------------------------------------------------------------------------------

# x, w, b, grad_y: what the results are computed in, and what they are.
PROMOTION = [
    ("float32", "float32", "float32", "float32", "float32", "float32"),
    ("float32", "float64", "float32", "float32", "float64", "float64"),
    ("float32", "float32", "float64", "float32", "float64", "float64"),
    ("float64", "float32", "float32", "float32", "float64", "float64"),
    ("float16", "float16", "float16", "float16", "float32", "float16"),
    ("float16", "float32", "float16", "float16", "float32", "float32"),
    ("float16", "float64", "float16", "float16", "float64", "float64"),
    ("float16", "int8", "float16", "float16", "float32", "float16"),
    ("float16", "int16", "float16", "float16", "float32", "float32"),
    ("float32", "int32", "float32", "float32", "float64", "float64"),
    ("float32", "float32", "uint8", "float32", "float32", "float32"),
    ("int64", "int64", "int64", "int64", "float64", "float64"),
    ("uint8", "int16", "uint64", "int32", "float64", "float64"),
    ("bool", "bool", "bool", "bool", "float64", "float64"),
    ("bool", "float32", "float32", "float32", "float32", "float32"),
    ("uint8", "float32", "float32", "uint8", "float32", "float32"),
    ("uint8", "uint8", "uint8", "float32", "float64", "float64"),
    (">f4", "<f4", ">f4", ">f4", "float32", "float32"),
    (">f8", ">f4", ">i2", ">f2", "float64", "float64"),
]


@layouts
@pytest.mark.parametrize("kinds", PROMOTION, ids="-".join)
def test_dtypes_promote(kinds: tuple[str, ...], samples: str) -> None:
    """The result is that of arguments converted beforehand, rounded at the end."""
    *given, work, result = kinds
    rng = rng_of("promotion")
    data: dict[str, Any] = {}
    for name, kind, shape in zip("xwbg", given, ((7, 5), (5, 9), (9,), (7, 9)), strict=True):
        whole = np.dtype(kind).kind in "biu"
        values = rng.integers(0, 3, shape) if whole else rng.standard_normal(shape)
        data[name] = turn(values.astype(kind), samples) if name != "b" else values.astype(kind)
    got = run(data, samples)
    clean = run({n: a.astype(work) for n, a in data.items()}, samples)
    for a, b in zip(got, clean, strict=True):
        assert same_bits(a, b.astype(result))


@pytest.mark.parametrize("way", ["first call", "later call", "out", "callable"])
@layouts
def test_half_stays_half(way: str, samples: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever path a layer of float16 takes there, and its gradients back."""
    if way == "first call":
        layers: dict[str, Any] = {"rows": {}, "columns": {}}
        for module in ("dense", "dense_calls", "compiled_layer"):
            monkeypatch.setattr(f"fastgrad.layers.{module}.LAYERS", layers)
    data = {n: a.astype("float16") for n, a in forms_data("float32", samples).items()}
    out = np.empty(data["g"].shape, "float16") if way == "out" else None
    name = None if way == "callable" else "tanh"
    activation: Any = np.positive if way == "callable" else name  # the identity, with slope 1
    y, cache = fg.dense_forward(
        data["x"], data["w"], data["b"], activation, samples=samples, out=out
    )
    grads = fg.dense_backward(data["g"], cache, need=ALL)
    wide = {n: a.astype("float32") for n, a in data.items()}
    z, kept = fg.dense_forward(wide["x"], wide["w"], wide["b"], name, samples=samples)
    expected = z, *fg.dense_backward(wide["g"], kept, need=ALL)
    for got, right in zip((y, *grads), expected, strict=True):
        assert same_bits(got, right.astype("float16"))


@pytest.mark.parametrize("work", ["float32", "float64"])
def test_gradient_dtype_may_be_wider_than_the_layer(work: str) -> None:
    """float32 layer, float64 grad_y: everything is computed in float64."""
    data: dict[str, Any] = forms_data("float32", "rows")
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], "silu")
    grads = fg.dense_backward(data["g"].astype(work), cache, need=ALL)
    assert all(a.dtype == work for a in grads)
    np.testing.assert_allclose(grads.w, fg.dense_backward(data["g"], cache).w, rtol=1e-4)


def test_lists_and_scalars_in_lists() -> None:
    y, cache = fg.dense_forward([[1, 2]], [[True], [False]], [0.5], "relu")
    assert y.tolist() == [[1.5]]
    assert y.dtype == np.float64
    grads = fg.dense_backward([[2]], cache, need=ALL)
    assert [a.tolist() for a in grads] == [[[2.0, 0.0]], [[2.0], [4.0]], [2.0], [[2.0]]]


def test_float16_overflows_to_infinity_without_a_warning() -> None:
    big, two = np.full((1, 1), 6e4, np.float16), np.full((1, 1), 2, np.float16)
    y, cache = fg.dense_forward(big, two)
    assert y.tolist() == [[np.inf]]
    assert fg.dense_backward(big, cache).x.tolist() == [[np.inf]]


# -- vectors, batch axes, biases ---------------------------------------------------------------


@pytest.mark.parametrize("name", [None, *NAMES])
@layouts
@dtypes
def test_a_vector_is_one_sample(dtype: str, samples: str, name: str | None) -> None:
    data = forms_data(dtype, samples)
    one = (slice(None), slice(0, 1)) if samples == "columns" else (slice(0, 1), slice(None))
    x, g = data["x"][one], data["g"][one]
    y, cache = fg.dense_forward(x.ravel(), data["w"], data["b"], name, samples=samples)
    full, full_cache = fg.dense_forward(x, data["w"], data["b"], name, samples=samples)
    assert same_bits(y, full.ravel())
    assert same_bits(y, fg.dense(x.ravel(), data["w"], data["b"], name, samples=samples))
    grads = fg.dense_backward(g.ravel(), cache, need=ALL)
    full_grads = fg.dense_backward(g, full_cache, need=ALL)
    assert same_bits(grads.x, full_grads.x.ravel())
    assert same_bits(grads.z, full_grads.z.ravel())
    assert same_bits(grads.w, full_grads.w)
    assert same_bits(grads.b, full_grads.b)


@pytest.mark.parametrize("lead", [(2, 3), (1, 1), (2, 1, 3), (0, 3), (3, 0), (2, 3, 2, 1)])
@pytest.mark.parametrize("name", [None, "softmax", "gelu", "relu"])
@dtypes
def test_leading_batch_axes(dtype: str, name: str | None, lead: tuple[int, ...]) -> None:
    rng = rng_of("batch", lead)
    x, w, b, g = (
        rng.standard_normal(s).astype(dtype) for s in ((*lead, 5), (5, 4), (4,), (*lead, 4))
    )
    out = np.empty((*lead, 4), dtype)
    y, cache = fg.dense_forward(x, w, b, name, out=out)
    assert y is out
    grads = fg.dense_backward(g, cache, need=ALL)
    flat, flat_cache = fg.dense_forward(x.reshape(-1, 5), w, b, name)
    flat_grads = fg.dense_backward(g.reshape(-1, 4), flat_cache, need=ALL)
    assert same_bits(y, flat.reshape(y.shape))
    assert same_bits(fg.dense(x, w, b, name), y)
    for which, shape in (("x", x.shape), ("w", w.shape), ("b", b.shape), ("z", y.shape)):
        assert same_bits(getattr(grads, which), getattr(flat_grads, which).reshape(shape))


def test_batch_axes_of_a_transposed_array() -> None:
    x = np.arange(24.0).reshape(4, 3, 2).T  # (2, 3, 4), Fortran order
    w = np.arange(8.0).reshape(4, 2)
    y, cache = fg.dense_forward(x, w)
    np.testing.assert_array_equal(y, np.ascontiguousarray(x) @ w)
    g = np.ones_like(y)
    np.testing.assert_array_equal(fg.dense_backward(g, cache).x, g @ w.T)


@pytest.mark.parametrize("k", [1, 4])
@layouts
@dtypes
def test_bias_forms(dtype: str, samples: str, k: int) -> None:
    data = layer_data("2 x 3 x 4", dtype)
    x, w, g = (turn(a, samples) for a in (data["x"], data["w"][:, :k], data["g"][:, :k]))
    flat = data["b"][:k]
    results = []
    for b in (flat, bias_form(flat, samples)):
        y, cache = fg.dense_forward(x, w, b, "tanh", samples=samples)
        grads = fg.dense_backward(g, cache)
        assert grads.b.shape == b.shape
        results.append((y, grads.x, grads.w, grads.b.ravel()))
    assert all(map(same_bits, *results))
    y, cache = fg.dense_forward(x, w, samples=samples)
    assert fg.dense_backward(g, cache).b is None
    assert fg.dense_backward(g, cache, need=("b",)) == (None, None, None, None)


@pytest.mark.parametrize("samples", LAYOUTS)
def test_results_have_the_order_of_their_layout(samples: str) -> None:
    """A sample's outputs lie side by side; a gradient has the memory order of its array."""
    x, w = np.ones((6, 5)), np.ones((5, 7))
    order = "F" if samples == "columns" else "C"
    y, cache = fg.dense_forward(turn(x, samples), turn(w, samples), None, "silu", samples=samples)
    assert y.flags[f"{order}_CONTIGUOUS"]
    _, cache = fg.dense_forward(np.asfortranarray(x), np.asfortranarray(w))
    grads = fg.dense_backward(np.ones((6, 7)), cache)
    assert grads.x.flags.f_contiguous
    assert grads.w.flags.f_contiguous


@dtypes
@layouts
@pytest.mark.parametrize("order", ["C", "F"])
def test_wide_layers_pack_both_operands(order: Any, samples: str, dtype: str) -> None:
    """Side by side in one workspace: x or grad_y, and w or its transpose. Whole numbers: exact."""
    n, d, k = 331, 270, 8 * tile(dtype).nr + 5
    rng = rng_of("packed", n)
    shapes = ((n, d), (d, k), (k,), (n, k))
    x, w, b, g = (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes)
    args = [np.asarray(turn(a, samples), order=order) for a in (x, w)]
    bias = b if samples == "rows" else b[:, None]
    y, cache = fg.dense_forward(*args, bias, samples=samples)
    assert (turn(y, samples) == x @ w + b).all()
    grads = fg.dense_backward(np.asarray(turn(g, samples), order=order), cache)
    assert (turn(grads.x, samples) == g @ w.T).all()
    assert (turn(grads.w, samples) == x.T @ g).all()
    assert (grads.b.reshape(-1) == g.sum(0)).all()
