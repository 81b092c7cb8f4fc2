"""Promotion: for every pair of dtypes NumPy's own, but float64 where there are only integers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import LAYOUTS, Array, same_bits, turn

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.arrays import promoted

INTEGERS = ["bool", *(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u"))]
FLOATS = ["float16", "float32", "float64"]
PAIRS = list(product(INTEGERS + FLOATS, repeat=2))
pairs = pytest.mark.parametrize("first, second", PAIRS)
implementations = pytest.mark.parametrize(
    "implementation", [fg, reference, loops], ids=lambda m: m.__name__
)


def common(*dtypes: str) -> np.dtype[Any]:
    """Return what arrays of these dtypes make."""
    if set(dtypes) <= set(INTEGERS):
        return np.dtype("float64")
    return np.result_type(*dtypes)


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Return small integers, exact in every dtype."""
    made: Array = np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)
    return made


@pairs
def test_table_of_pairs(first: str, second: str) -> None:
    dtypes = promoted(np.dtype(first), np.dtype(second))
    assert dtypes.result is common(first, second)
    assert dtypes.work == ("float32" if dtypes.result == "float16" else dtypes.result)


@implementations
@pytest.mark.parametrize("samples", LAYOUTS)
@pairs
def test_dense(first: str, second: str, samples: str, implementation: Any) -> None:
    x, w = turn(numbers((3, 4), first), samples), turn(numbers((4, 2), second, 1), samples)
    expected = common(first, second)
    y, cache = implementation.dense_forward(x, w, activation="tanh", samples=samples)
    assert y.dtype == expected
    assert implementation.dense(x, w, None, "tanh", samples=samples).dtype == expected
    clean = [a.astype(expected) for a in (x, w)]
    y_clean, cache_clean = implementation.dense_forward(*clean, activation="tanh", samples=samples)
    assert same_bits(y, y_clean)
    grad_y = np.ones_like(y)
    grads = implementation.dense_backward(grad_y, cache)
    for got, want in zip(grads, implementation.dense_backward(grad_y, cache_clean), strict=True):
        if want is not None:
            assert got.dtype == expected
            same_bits(got, want)


@implementations
@pairs
def test_dense_of_three_dtypes(first: str, second: str, implementation: Any) -> None:
    """The bias counts; and grad_y beside what the layer has."""
    x, w, b = numbers((3, 4), "uint8"), numbers((4, 2), first, 1), numbers((2,), second, 2)
    y, cache = implementation.dense_forward(x, w, b)
    expected = common("uint8", first, second)
    assert y.dtype == expected
    np.testing.assert_array_equal(y.astype(float), x.astype(float) @ w.astype(float) + b)
    for other in ("uint8", "int64", *FLOATS):
        grads = implementation.dense_backward(np.ones(y.shape, other), cache)
        assert {a.dtype for a in grads if a is not None} == {np.result_type(expected, other)}


@implementations
@pairs
def test_losses(first: str, second: str, implementation: Any) -> None:
    """The gradient has the dtype of pred, where that is floating, else what both make."""
    pred, target = numbers((3, 4), first), numbers((3, 4), second, 1)
    expected = np.dtype(first) if first in FLOATS else common(first, second)
    for loss in implementation.losses.LOSSES.values():
        if isinstance(loss, implementation.losses.ArrayLoss):
            assert loss.value_and_grad(pred)[1].dtype == common(first)
            continue
        value, grad = loss.value_and_grad(pred, target)
        assert grad.dtype == expected
        wide = loss.value_and_grad(pred.astype(np.float64), target.astype(np.float64))
        np.testing.assert_allclose(value, wide[0], rtol=1e-6)
        np.testing.assert_allclose(grad, wide[1], rtol=1e-3)


@implementations
@pairs
def test_activations(first: str, second: str, implementation: Any) -> None:
    grad_y, z = numbers((3, 4), first), numbers((3, 4), second, 1)
    for name in fg.activations.BUILT_IN:
        act = getattr(implementation, name)
        assert act(z).dtype == common(second)
        assert act.backward(grad_y, z).dtype == common(first, second)
        if getattr(act, "from_output", False):
            assert act.backward_from_output(grad_y, z).dtype == common(first, second)


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("own", ["float32", "float64"])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_layer_objects(dtype: str, own: str, samples: str) -> None:
    """A layer of float32 weights keeps images of bytes in float32."""
    x, expected = turn(numbers((5, 3), dtype), samples), np.result_type(dtype, own)
    linear = fg.nn.Linear(3, 2, samples=samples, dtype=own, seed=0)
    for layer in (linear, fg.nn.Sequential([linear, fg.nn.Tanh(samples)])):
        y = layer.forward(x)
        assert y.dtype == expected
        assert layer.backward(np.ones(y.shape, "uint8")).dtype == expected
        assert layer.backward(np.ones_like(y), use_jacobian=True).dtype == expected
        assert linear.grad_w is not None and linear.grad_w.dtype == expected
        assert layer.jacobian(x).dtype == expected
    tanh = fg.nn.Tanh(samples)
    assert tanh.forward(x).dtype == common(dtype)
    labels = np.zeros(x.shape, own)
    loss = fg.nn.MSE(labels, samples=samples)
    loss.forward(x)
    kept = np.dtype(dtype) if dtype in FLOATS else expected
    assert loss.backward().dtype == loss.backward(x).dtype == kept
