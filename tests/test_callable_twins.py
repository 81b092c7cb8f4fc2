"""Python callables as activations of the two baselines: whatever they do with their arrays.

A callable may overwrite what it is given, return it, or return one buffer of its own again and
again. None of that may change the output, the slope or an input.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn

from fastgrad import loops, reference

impls = pytest.mark.parametrize(
    "impl", [reference, loops], ids=lambda m: m.__name__.rsplit(".", 1)[-1]
)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)


def plain(z: Array) -> Array:
    return np.tanh(z)


def in_place(z: Array) -> Array:
    return np.tanh(z, out=z)


class Buffered:
    """Return the same array for every call of one shape and dtype."""

    def __init__(self) -> None:
        self.buffers: dict[Any, Array] = {}

    def __call__(self, z: Array) -> Array:
        buffer = self.buffers.setdefault((z.shape, z.dtype), np.empty_like(z))
        return np.tanh(z, out=buffer)


CALLABLES: dict[str, Callable[[], Callable[[Array], Array]]] = {
    "in place": lambda: in_place,
    "buffer of its own": Buffered,
}


def layer(samples: str, dtype: str) -> tuple[Array, Array, Array, Array]:
    rng = rng_of("callable", samples, dtype)
    x, w, grad_y = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (4, 5), (3, 5)))
    b = rng.standard_normal(5).astype(dtype)
    return turn(x, samples), turn(w, samples), b, turn(grad_y, samples)


@impls
@dtypes
@layouts
@pytest.mark.parametrize("kind", list(CALLABLES))
def test_the_same_bits_as_of_a_plain_function(
    impl: ModuleType, kind: str, samples: str, dtype: str
) -> None:
    x, w, b, grad_y = layer(samples, dtype)
    results = []
    for function in (plain, CALLABLES[kind]()):
        y, cache = impl.dense_forward(x, w, b, function, samples=samples)
        first = impl.dense_backward(grad_y, cache, need="xwbz")
        second = impl.dense_backward(grad_y, cache, need="xwbz")
        results.append((y, *first, *second))
    for expected, got in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


@impls
@pytest.mark.parametrize("kind", list(CALLABLES))
def test_the_slope_is_that_of_tanh(impl: ModuleType, kind: str) -> None:
    x, w, b, grad_y = layer("rows", "float64")
    slopes = []
    for activation in ("tanh", CALLABLES[kind]()):
        _, cache = impl.dense_forward(x, w, b, activation)
        slopes.append(impl.dense_backward(grad_y, cache, need="z").z)
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-9, atol=1e-11)


@impls
@pytest.mark.parametrize("kind", list(CALLABLES))
def test_results_share_nothing_with_the_function(impl: ModuleType, kind: str) -> None:
    """The next call, of the same shapes, changes neither the first y nor its gradients."""
    x, w, b, grad_y = layer("rows", "float64")
    function = CALLABLES[kind]()
    y, cache = impl.dense_forward(x, w, b, function)
    before = y.copy()
    expected = impl.dense_backward(grad_y, cache)
    impl.dense_backward(grad_y, impl.dense_forward(-x, w, None, function)[1])
    np.testing.assert_array_equal(y, before)
    for got, want in zip(impl.dense_backward(grad_y, cache)[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(got, want)


@impls
def test_a_function_that_is_not_elementwise_is_refused(impl: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"returned shape .* it must be elementwise"):
        impl.dense(np.ones((2, 3)), np.ones((3, 2)), activation=lambda z: 1.0)


@impls
def test_a_function_that_returns_bools(impl: ModuleType) -> None:
    """As fastgrad has it: a bool is a number, and NumPy's subtraction of two is not used."""
    y, cache = impl.dense_forward([[2.0, -2.0]], np.eye(2), activation=lambda z: z > 0)
    assert y.tolist() == [[1.0, 0.0]]
    assert impl.dense_backward([[1.0, 1.0]], cache).x.tolist() == [[0.0, 0.0]]
