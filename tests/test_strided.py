"""Activations and losses of matrices of any strides: the bits of a clean copy, on the direct path.

The shapes are around the squares in which samples are gathered: a vector of samples by a vector of
features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, Array, rng_of, same_bits

import fastgrad as fg
from fastgrad.kernels.toolchain.target import tile

dtypes = pytest.mark.parametrize("dtype", DTYPES)
STRIDED = {"plain": np.copy, **{name: FORMS[name] for name in ("fortran", "sliced", "reversed")}}
STRIDED["broadcast"] = lambda a: np.broadcast_to(a[:1], a.shape)
forms = pytest.mark.parametrize("form", list(STRIDED))


def matrices(form: str, dtype: str, count: int) -> Iterator[list[tuple[Array, Array]]]:
    """Yield pairs of matrices, samples as rows: in a form and as clean copies."""
    lanes = tile(dtype).lanes
    samples = (1, 2, lanes - 1, lanes, lanes + 1, 3 * lanes + 2, 300)
    features = (1, 2, 8, 10, lanes - 1, lanes, lanes + 1, 4 * lanes + 3, 300)
    for n in samples:
        for d in features:
            rng = rng_of(form, dtype, n, d)
            made = [rng.standard_normal((n, d)).astype(dtype) for _ in range(count)]
            views = [STRIDED[form](a) for a in made]
            yield [(view, np.ascontiguousarray(view)) for view in views]


def twice(function: Any, *arguments: Any, **options: Any) -> Any:
    """Return the result of a second call: the first makes the direct path known."""
    function(*arguments, **options)
    return function(*arguments, **options)


@forms
@dtypes
def test_softmax_along_either_axis(dtype: str, form: str) -> None:
    for (z, clean), (g, clean_g) in matrices(form, dtype, 2):
        y, grad = fg.softmax(clean), fg.softmax.backward(clean_g, clean)
        assert same_bits(twice(fg.softmax, z), y)
        assert same_bits(twice(fg.softmax, z, axis=1), y)
        assert same_bits(twice(fg.softmax, z.T, axis=0), y.T)
        assert same_bits(twice(fg.softmax, z.T, axis=-2), y.T)
        assert same_bits(twice(fg.softmax.backward, g, z), grad)
        assert same_bits(twice(fg.softmax.backward, g.T, z.T, axis=0), grad.T)
        assert same_bits(twice(fg.softmax.backward, clean_g, z), grad)
        assert same_bits(twice(fg.softmax.backward_from_output, g.T, y.T, axis=0), grad.T)
        for order in "CF":
            out = np.empty(y.T.shape, dtype, order)
            assert twice(fg.softmax, z.T, axis=0, out=out) is out and same_bits(out, y.T)
            back = twice(fg.softmax.backward, g.T, z.T, axis=0, out=out)
            assert back is out and same_bits(out, grad.T)


@pytest.mark.parametrize("axis", [0, 1])
def test_out_over_what_softmax_is_differentiated_at(axis: int) -> None:
    z, g = np.arange(12.0).reshape(3, 4), np.ones((3, 4))
    expected = twice(fg.softmax.backward, g, z, axis=axis)
    for out, name in ((z, "z"), (g, "grad_y")):
        with pytest.raises(ValueError, match=f"softmax.backward: out shares memory with {name}"):
            fg.softmax.backward(g, z, axis=axis, out=out)
    assert same_bits(fg.softmax.backward(g, z, axis=axis), expected)


def test_axes_that_are_not_there() -> None:
    z = np.ones((3, 4))
    twice(fg.softmax.backward, z, z, axis=0)
    for axis in (2, -3, 2**40):
        for call in (fg.softmax, lambda z, axis: fg.softmax.backward(z, z, axis=axis)):
            with pytest.raises(ValueError, match=f"axis is {axis} but"):
                call(z, axis=axis)


@forms
@dtypes
def test_elementwise(dtype: str, form: str) -> None:
    for (z, clean), (g, clean_g) in matrices(form, dtype, 2):
        assert same_bits(twice(fg.tanh, z), fg.tanh(clean))
        assert same_bits(twice(fg.gelu.derivative, z), fg.gelu.derivative(clean))
        ones = np.ones_like(clean)
        assert same_bits(fg.gelu.derivative(clean), fg.gelu.backward(ones, clean))
        grad = fg.gelu.backward(clean_g, clean)
        assert same_bits(twice(fg.gelu.backward, g, z), grad)
        assert same_bits(twice(fg.gelu.backward, clean_g, z), grad)
        out = np.empty_like(clean)
        assert twice(fg.gelu.backward, g, z, out=out) is out and same_bits(out, grad)


@pytest.mark.parametrize("name", ["mse", "sum", "softmax_cross_entropy", "classes"])
@forms
@dtypes
def test_losses(dtype: str, form: str, name: str) -> None:
    loss = getattr(fg.losses, "softmax_cross_entropy" if name == "classes" else name)
    for (pred, clean), (other, clean_other) in matrices(form, dtype, 2):
        classes = rng_of(name, clean.shape).integers(0, clean.shape[1], len(clean))
        target = {"sum": (), "classes": (classes,)}.get(name, (other,))
        clean_target = (clean_other,) if target and target[0] is other else target
        transposed = [t.T for t in target]
        for reduction in ("mean", "sum"):
            options = {"reduction": reduction}
            value, grad = loss.value_and_grad(clean, *clean_target, **options)
            assert loss(clean, *clean_target, **options) == value
            assert twice(loss, pred, *target, **options) == value
            options["samples"] = "columns"
            assert twice(loss, pred.T, *transposed, **options) == value
            for order in "CF":
                out = np.empty(grad.T.shape, dtype, order)
                again, made = twice(loss.value_and_grad, pred.T, *transposed, **options, out=out)
                assert again == value and made is out and same_bits(out, grad.T)
            del options["samples"]
            again, made = twice(loss.value_and_grad, pred, *target, **options)
            assert again == value and same_bits(made, grad)


@pytest.mark.parametrize("activation", [None, "gelu", "softmax"])
@dtypes
def test_leading_batch_axes(dtype: str, activation: str | None) -> None:
    """A layer of an array with batch axes is the layer of its rows, in whatever order they lie."""
    rng = rng_of(dtype, activation)
    x, w = (
        rng.standard_normal((2, 3, 5, 7)).astype(dtype),
        rng.standard_normal((7, 4)).astype(dtype),
    )
    g, b = rng.standard_normal((2, 3, 5, 4)).astype(dtype), rng.standard_normal(4).astype(dtype)
    y, cache = fg.dense_forward(x.reshape(30, 7), w, b, activation)
    grads = fg.dense_backward(g.reshape(30, 4), cache, need="xwbz")
    for of in (np.copy, np.asfortranarray, FORMS["sliced"]):
        for out in (None, np.empty(g.shape, dtype), np.empty(g.shape, dtype, "F")):
            z, made = twice(fg.dense_forward, of(x), w, b, activation, out=out)
            assert same_bits(z, y.reshape(g.shape)) and (out is None or z is out)
        for order in "CF":
            into = {"x": np.empty(x.shape, dtype, order)}
            for fields in (None, into):
                back = fg.dense_backward(of(g), made, need="xwbz", out=fields)
                assert same_bits(back.x, grads.x.reshape(x.shape))
                assert same_bits(back.w, grads.w) and same_bits(back.b, grads.b)
                assert same_bits(back.z, grads.z.reshape(g.shape))
            fg.dense_backward(of(g), made, need="x", out=into)
            assert same_bits(into["x"], back.x)
    with pytest.raises(ValueError, match=r"grad_y has shape \(3, 2, 5, 4\) but y has shape"):
        fg.dense_backward(g.reshape(3, 2, 5, 4), made)
    with pytest.raises(ValueError, match=r"out has shape \(3, 2, 5, 4\)"):
        fg.dense(x, w, b, activation, out=np.empty((3, 2, 5, 4), dtype))
    with pytest.raises(ValueError, match="b has shape"):
        fg.dense(x, w, b.reshape(1, 1, 4), activation)


@pytest.mark.parametrize("k", [5, 10, 16, 17])
@pytest.mark.parametrize("n", [3, 40, 1700])
@dtypes
def test_few_outputs(dtype: str, n: int, k: int) -> None:
    """Where samples lie side by side vectors hold samples; of 1,700 there are several blocks."""
    rng = rng_of(dtype, n, k)
    x, w = rng.standard_normal((n, 450)).astype(dtype), rng.standard_normal((450, k)).astype(dtype)
    for b in (None, rng.standard_normal(k).astype(dtype)):
        y = fg.dense(x, w, b, "tanh")
        assert same_bits(fg.dense(np.asfortranarray(x), w, b, "tanh"), y)
        assert same_bits(fg.dense(x.T.copy(), w.T.copy(), b, "tanh", samples="columns"), y.T)
