"""Between forward and backward somebody changes y, which the slope is taken from: an error."""

from __future__ import annotations

import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn

import fastgrad as fg
from fastgrad import loops, reference, threads

NEEDS_Y = [n for n, a in fg.activations.ACTIVATIONS.items() if a.from_output and n != "identity"]
KEEPS_OWN = [n for n in fg.activations.BUILT_IN if n not in NEEDS_Y]
SHAPES = [(1, 3, 2), (3, 4, 5), (32, 16, 16), (300, 8, 70), (4096, 3, 2), (128, 40, 513)]

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def layer(shape: tuple[int, int, int], dtype: str, samples: str) -> tuple[Array, Array, Array]:
    n, d, k = shape
    rng = rng_of("changed", *shape)
    x, w = rng.standard_normal((n, d)), rng.standard_normal((d, k)) / np.sqrt(d)
    return turn(x.astype(dtype), samples), turn(w.astype(dtype), samples), np.ones(k, dtype)


def dropped(y: Array, rate: float = 0.5) -> None:
    y *= rng_of("mask").random(y.shape) >= rate


@layouts
@dtypes
@shapes
@pytest.mark.parametrize("name", NEEDS_Y)
def test_a_changed_y_is_refused(
    name: str, shape: tuple[int, int, int], dtype: str, samples: str
) -> None:
    x, w, b = layer(shape, dtype, samples)
    for options in ({}, {"out": True}, {"other": True}):
        out = fg.dense(x, w, b, name, samples=samples) if "out" in options else None
        y, cache = fg.dense_forward(x, w, b, name, samples=samples, out=out)
        grad_y = np.ones_like(y, "float64" if "other" in options else dtype)
        before = fg.dense_backward(grad_y, cache)
        kept = y.copy()
        y *= 0.5
        outs = fg.DenseGrads(*(np.full_like(g, 7) for g in before[:3]))
        for arguments in ({}, {"out": outs}, {"need": "z"}, {"out": outs, "accumulate": True}):
            with pytest.raises(ValueError, match=r"^dense_backward: cache: y has been changed"):
                fg.dense_backward(grad_y, cache, **arguments)
        assert all((g == 7).all() for g in outs[:3])
        y[...] = kept  # put back: as if nothing had been
        for got, want in zip(fg.dense_backward(grad_y, cache), before, strict=True):
            assert got is want is None or same_bits(got, want)


@dtypes
@pytest.mark.parametrize("name", NEEDS_Y)
def test_dropout_by_hand_and_a_buffer_used_again(name: str, dtype: str) -> None:
    for shape in SHAPES[1:]:
        x, w, b = layer(shape, dtype, "rows")
        y, cache = fg.dense_forward(x, w, b, name)
        dropped(y)
        with pytest.raises(ValueError, match=r"y = y \* mask, not y \*= mask"):
            fg.dense_backward(np.ones_like(y), cache)
        buffer = np.empty_like(y)
        _, first = fg.dense_forward(x, w, b, name, out=buffer)
        fg.dense_forward(-x, w, b, name, out=buffer)
        with pytest.raises(ValueError, match="an out= of its own for each step"):
            fg.dense_backward(np.ones_like(y), first)


@layouts
@dtypes
@pytest.mark.parametrize("shape", [(3, 4, 5), (64, 2, 1), (1, 2, 64), (8, 3, 8)], ids=str)
def test_each_element_of_a_small_y_counts(
    shape: tuple[int, int, int], dtype: str, samples: str
) -> None:
    x, w, b = layer(shape, dtype, samples)
    y, cache = fg.dense_forward(x, w, b, "tanh", samples=samples)
    kept = y.copy()
    ones = np.ones_like(y)
    for place in range(y.size):
        for value in (np.nextafter(kept.flat[place], 2), -kept.flat[place], kept.flat[place - 1]):
            y[...] = kept
            y.flat[place] = value
            with pytest.raises(ValueError, match="y has been changed"):
                fg.dense_backward(ones, cache)
    y[...] = kept
    y.flat[[0, -1]] = kept.flat[[-1, 0]]  # they change places
    with pytest.raises(ValueError, match="y has been changed"):
        fg.dense_backward(ones, cache)


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_first_and_the_last_sample_count(shape: tuple[int, int, int], dtype: str) -> None:
    x, w, b = layer(shape, dtype, "rows")
    for row in (0, -1):
        y, cache = fg.dense_forward(x, w, b, "sigmoid")
        y[row] = 0
        with pytest.raises(ValueError, match="y has been changed"):
            fg.dense_backward(np.ones_like(y), cache)


@layouts
@dtypes
@pytest.mark.parametrize("name", [*KEEPS_OWN, np.arctan], ids=str)
def test_others_do_not_need_y(name: Any, dtype: str, samples: str) -> None:
    x, w, b = layer((3, 4, 5), dtype, samples)
    y, cache = fg.dense_forward(x, w, b, name, samples=samples)
    before = fg.dense_backward(np.ones_like(y), cache)
    y[...] = 9
    for got, want in zip(fg.dense_backward(np.ones_like(y), cache), before, strict=True):
        assert got is want is None or same_bits(got, want)


def test_float16_and_integers() -> None:
    """Where results are converted, what is kept is nobody else's."""
    x, w, b = layer((3, 4, 5), "float16", "rows")
    y, cache = fg.dense_forward(x, w, b, "tanh")
    before = fg.dense_backward(np.ones_like(y), cache)
    y[...] = 0
    assert same_bits(fg.dense_backward(np.ones_like(y), cache).w, before.w)
    y, cache = fg.dense_forward([[1, 2]], [[1], [1]], None, "tanh")
    y *= 0
    with pytest.raises(ValueError, match="y has been changed"):
        fg.dense_backward([[1.0]], cache)


@layouts
@dtypes
@shapes
def test_the_mark_depends_on_the_elements_alone(
    shape: tuple[int, int, int], dtype: str, samples: str
) -> None:
    n, _, k = shape
    x, w, b = layer(shape, dtype, samples)
    gaps, spread = np.empty((n, k + 3), dtype)[:, :k], np.empty((2 * n, k), dtype)[::2]
    for rows in (None, gaps, spread, np.empty((k, n), dtype).T):
        out = rows.T if rows is not None and samples == "columns" else rows
        y, cache = fg.dense_forward(x, w, b, "tanh", samples=samples, out=out)
        assert type(cache.mark) is float
        assert cache.mark == mark(y.T if samples == "columns" else y)
        other = fg.dense_forward(x, w, b, "tanh", samples=samples)[1]
        before = fg.dense_backward(np.ones_like(y), other)
        assert other.mark == cache.mark
        for same in (cache, pickle.loads(pickle.dumps(cache)), cache._replace(mark=None)):
            for saved in (same.saved, np.asfortranarray(same.saved), same.saved.copy()):
                grads = fg.dense_backward(np.ones_like(y), same._replace(saved=saved))
                for got, want in zip(grads, before, strict=True):
                    assert got is want is None or same_bits(got, want)
    for odd in (1.5, cache.mark + 1, np.float64(7), np.nan, -np.inf):
        with pytest.raises(ValueError, match="y has been changed"):
            fg.dense_backward(np.ones_like(y), cache._replace(mark=odd))
    for kind in ("i8", "f2", "g", ">f8", "O"):
        with pytest.raises((TypeError, ValueError), match=r"^dense_backward: cache"):
            fg.dense_backward(np.ones_like(y), cache._replace(saved=(2 * y).astype(kind)))
    for odd in ("mark", 2**80, object(), y):
        with pytest.raises(TypeError, match=r"cache\.mark is a"):
            fg.dense_backward(np.ones_like(y), cache._replace(mark=odd))


def mark(rows: Array) -> int:
    """Return the mark of rows in exact integers of Python's."""
    flat = np.ascontiguousarray(rows).reshape(-1)
    if flat.size > 64:
        starts = [i * ((flat.size - 16) // 3) for i in range(4)]
        flat = np.concatenate([flat[at : at + 16] for at in starts])
    words = flat.view(np.uint32).tolist()
    return sum(word * (i * (2 * i + 1) * 9949 % 2**14) for i, word in enumerate(words, 1))


def test_weights_differ_and_no_signs_cancel_them() -> None:
    weights = [i * (2 * i + 1) * 9949 % 2**14 for i in range(1, 129)]
    assert len(set(weights)) == 128
    assert 0 not in weights
    assert sum(weights) * (2**32 - 1) < 2**53
    for some in (weights[:12], weights[1:24:2]):  # those of the signs of float32 and float64
        for signs in product((-1, 1), repeat=12):
            sums = np.cumsum(np.multiply(signs, some))
            assert sums.all()


@layouts
@dtypes
@pytest.mark.parametrize("name", NEEDS_Y)
def test_batch_axes_and_vectors(name: str, dtype: str, samples: str) -> None:
    for shape in ((4,), (2, 3, 4)):
        if samples == "columns" and len(shape) > 2:
            continue
        x = rng_of("axes").standard_normal(shape).astype(dtype)
        w = turn(rng_of("w").standard_normal((4, 6)).astype(dtype), samples)
        y, cache = fg.dense_forward(x, w, None, name, samples=samples)
        fg.dense_backward(np.ones_like(y), cache)
        y *= 0.5
        with pytest.raises(ValueError, match="y has been changed"):
            fg.dense_backward(np.ones_like(y), cache)


@dtypes
@layouts
def test_a_large_layer(samples: str, dtype: str) -> None:
    x, w, b = layer((1024, 256, 300), dtype, samples)  # above threads.SHARE_FROM
    assert threads.SHARE_FROM < 1024 * 256 * 300
    for out in (None, np.empty_like(fg.dense(x, w, b, samples=samples))):
        y, cache = fg.dense_forward(x, w, b, "tanh", samples=samples, out=out)
        assert cache.mark == mark(y.T if samples == "columns" else y)
        fg.dense_backward(y, cache, need="b")
        dropped(y)
        for need in ("xwb", "b", "z"):
            with pytest.raises(ValueError, match="y has been changed"):
                fg.dense_backward(np.ones_like(y), cache, need=need)


@layouts
@dtypes
@pytest.mark.parametrize("name", NEEDS_Y)
def test_twins(name: str, dtype: str, samples: str) -> None:
    """The loops have numbers of their own, and so has the reference with `out`: both are right."""
    x, w, b = layer((8, 5, 16), dtype, samples)
    like = reference.dense(x, w, b, name, samples=samples)
    for twin, out in ((loops, None), (reference, np.empty_like(like))):
        y, cache = twin.dense_forward(x, w, b, name, samples=samples, out=out)
        before = twin.dense_backward(np.ones_like(y), cache)
        y *= 0.5
        for got, want in zip(twin.dense_backward(np.ones_like(y), cache), before, strict=True):
            assert got is want is None or same_bits(got, want)


@layouts
@pytest.mark.parametrize("name", NEEDS_Y)
def test_layer_objects(name: str, samples: str) -> None:
    x = turn(rng_of("nn").standard_normal((30, 3)), samples)
    for made in (
        fg.nn.Dense(3, 4, name, samples=samples, seed=0), fg.nn.Activation(name, samples)
    ):  # fmt: skip
        y = made.forward(x)
        made.backward(np.ones_like(y))
        y = made.forward(x)
        y *= 0.5
        with pytest.raises(ValueError, match="y has been changed"):
            made.backward(np.ones_like(y))
