"""What compiled code converts: the same as NumPy's ``astype``, refused or left alone otherwise."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, output, rng_of, same_bits, start

import fastgrad as fg
from fastgrad import losses
from fastgrad.arrays import TO_FLOAT32, TO_FLOAT64, as_array

KINDS = [*"?bBhHiIlLqQfd"]
TARGETS = {"float32": TO_FLOAT32, "float64": TO_FLOAT64}
kinds = pytest.mark.parametrize("kind", KINDS)


def numbers(kind: str) -> Array:
    """Return 1200 numbers of a kind, its ends and what is no number among them."""
    made = (np.arange(-600, 600) * 7919 % 1000003 - 300000).astype(kind)
    if kind == "?":
        made = (np.arange(1200) % 4).astype("u1").view(bool)  # any byte but 0 is true
    elif made.dtype.kind in "iu":
        made[:4] = np.iinfo(made.dtype).max
        made[5] = np.iinfo(made.dtype).min
    else:
        made[:6] = np.nan, np.inf, -np.inf, -0.0, np.finfo(kind).max, np.finfo(kind).tiny / 8
    return made


def layouts(a: Array) -> list[Array]:
    table = a.reshape(30, 40)
    parts = [a, a[::-1], a[::3], a[:0], a[:1].reshape(()), np.broadcast_to(a[7:8], (3, 4))]
    for t in (table, table.T):
        parts += [t, t[::2, ::-3], t[:, 5:17], t[4:9], t[:, :1], t[:0]]
    return [*parts, a.reshape(2, 20, 30), np.asfortranarray(a.reshape(2, 20, 30))]


@kinds
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_astype(kind: str, dtype: str) -> None:
    converted = TARGETS[dtype].converted
    for array in layouts(numbers(kind)):
        with np.errstate(all="ignore"):
            expected = array.astype(dtype)
        made = converted(array, None)
        assert same_bits(made, expected)
        assert made.strides == expected.strides
        for order in "CF":
            out = np.full(array.shape, 7.0, dtype, order=order)  # type: ignore[call-overload]
            given = converted(array, out)
            if array.ndim <= 2:
                assert given is out
                assert same_bits(out, expected)
    assert converted(numbers(kind).reshape(2, 20, 30)[:, ::2], None) is None


@kinds
def test_classes_as_astype(kind: str) -> None:
    for array in layouts(numbers(kind)):
        made = TO_FLOAT64.classes(array, None)
        if kind in "?fd" or not array.flags.c_contiguous:
            assert made is None
        else:
            assert same_bits(made, array.astype(np.int64))


def test_lists_of_classes() -> None:
    for given in ([3, 0, 2**62], [], [0] * 1000):
        assert same_bits(TO_FLOAT64.classes(given, None), np.array(given, np.int64))
    for other in ([1, -1], [1 << 80], [True], [1.0], [[1]], ["1"], [None], (1, 2)):
        assert TO_FLOAT64.classes(other, None) is None


def test_no_warning_of_what_a_dtype_does_not_hold() -> None:
    signalling = np.array([0x7FA00000], np.uint32).view(np.float32)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert np.isnan(TO_FLOAT64.converted(signalling, None)[0])
        assert TO_FLOAT32.converted(np.array([1e300, 1e-300]), None).tolist() == [np.inf, 0.0]
        pred, target = np.array([[3e38]], np.float32), np.array([[-3e38]])
        value, grad = losses.mse.value_and_grad(pred, target, "sum")
    assert value == float(np.float64(pred[0, 0]) + 3e38) ** 2
    assert grad[0, 0] == np.inf and grad.dtype == np.float32


@pytest.mark.parametrize("samples", LAYOUTS)
def test_what_is_converted_is_not_written_to(samples: str) -> None:
    """Its copy is apart from `out`; the array itself must be."""
    space, w = np.zeros(12), np.ones((2, 2))
    shape = (2, 4) if samples == "columns" else (4, 2)
    x, out = space[:8].view(np.int64).reshape(shape), space[4:].reshape(shape)
    with pytest.raises(ValueError, match="out shares memory with x"):
        fg.dense(x, w, out=out, samples=samples)
    _, cache = fg.dense_forward(np.ones((2, 2)), w)
    g = space[:4].view(np.int64).reshape(2, 2)
    for name in "xwz":
        with pytest.raises(ValueError, match=f"out.{name} shares memory with grad_y"):
            fg.dense_backward(g, cache, need="xwbz", out={name: space[2:6].reshape(2, 2)})
    pred, target = np.ones((2, 2)), space[:4].view(np.int64).reshape(2, 2)
    with pytest.raises(ValueError, match="out shares memory with target"):
        losses.mse.value_and_grad(pred, target, out=space[:4].reshape(2, 2))
    half = space[:1].view(np.float16).reshape(2, 2)
    with pytest.raises(ValueError, match="out shares memory with x"):
        fg.dense(half, w.astype(np.float32), out=space[:2].view(np.float32).reshape(2, 2))
    labels = space[:1].view(np.int32)
    with pytest.raises(ValueError, match="out shares memory with target"):
        losses.softmax_cross_entropy.value_and_grad(pred, labels, out=space[:4].reshape(2, 2))
    assert not space.any()


@pytest.mark.parametrize("kind", ["b", "i", "f", "d"])
@pytest.mark.parametrize("act", [None, "tanh", "gelu", "softmax"])
def test_gradients_of_another_dtype(kind: str, act: str | None) -> None:
    """As of clean copies, into new arrays and into given ones; of float16 layers, too."""
    rng = rng_of("conversions", kind, act)
    x, w, b, g = (rng.integers(-3, 4, s) for s in ((5, 4), (4, 3), (3,), (5, 3)))
    for work in ("e", "f", "d"):
        _, cache = fg.dense_forward(x.astype(work), w.astype(work), b.astype(work), act)
        common = np.result_type(kind, work)
        grads = fg.dense_backward(g.astype(kind), cache, need="xwbz")
        wide = "f" if common == np.float16 else common
        x_, w_, b_, saved = (a.astype(wide) for a in cache[:4])
        layer = fg.dense_forward(x_, w_, b_, act)[1].layer
        arrays = {"x": x_, "w": w_, "b": b_, "saved": saved, "mark": None}
        clean = cache._replace(**arrays, layer=layer, dtypes=None)
        expected = fg.dense_backward(g.astype(wide), clean, need="xwbz")
        outs = fg.DenseGrads(*(np.full(a.shape, 9, common) for a in grads))
        fg.dense_backward(g.astype(kind), cache, need="xwbz", out=outs)
        for made, given, want in zip(grads, outs, expected, strict=True):
            assert made.dtype == common
            assert same_bits(made, want.astype(common))
            assert same_bits(given, want.astype(common))


@pytest.mark.parametrize("n", [5, 700])
@pytest.mark.parametrize("missing", ["x", "w", "b", "xw", "wb"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulating_into_some(dtype: str, missing: str, n: int, monkeypatch: Any) -> None:
    """What `out` does not have is new; the rest is added to. Also of layers cut in pieces."""
    if n > 100:
        monkeypatch.setattr(fg.threads, "SLICE", 1 << 12)
    rng = rng_of("accumulating", dtype, missing)
    x, w, b, g = (rng.standard_normal(s).astype(dtype) for s in ((n, 9), (9, 7), (7,), (n, 7)))
    _, cache = fg.dense_forward(x, w, b, "tanh")
    plain = fg.dense_backward(g, cache)
    held = {k: np.full(a.shape, 2, dtype) for k, a in zip("xwb", plain[:3], strict=True)}
    given = {k: a.copy() for k, a in held.items() if k not in missing}
    grads = fg.dense_backward(g, cache, out=given, accumulate=True)
    for name, new, made in zip("xwb", plain[:3], grads[:3], strict=True):
        if name in missing:
            assert same_bits(made, new)
        else:
            assert made is given[name]
            np.testing.assert_allclose(made, new + 2, rtol=1e-5 if dtype == "float32" else 1e-13)


def test_lists_that_hold_themselves() -> None:
    one: list[Any] = []
    one.append(one)
    two: list[Any] = []
    two += [two, two]
    deep: Any = 1.0
    for _ in range(100):
        deep = [deep]
    for given in (one, two, [[two]], deep):
        with pytest.raises(TypeError, match="holds itself, or is nested too deep"):
            as_array("f", "x", given)


NATIVE = """
import numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain.library import LIBRARY
x, w = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
y, cache = fg.dense_forward(x, w, None, "tanh")
fg.dense_backward(y, cache)
fg.losses.mse.value_and_grad(y, y)
print(*(unit for unit in LIBRARY.compiled if unit.startswith("convert")))
"""


def test_nothing_to_convert_compiles_no_conversion(tmp_path: Path) -> None:
    """A second of the first gradient's time."""
    assert output(start(NATIVE, FASTGRAD_CACHE_DIR=str(tmp_path))).strip() == ""
