"""The flat vector in written-out numbers: fastgrad and its twins share what lays it out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import loops, reference

packages = pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)

# Of each layer w and then b, row by row as they are written.
ROWS = [([[1, 2], [3, 4], [5, 6]], [7, 8]), ([[9], [10]], [11])]
COLUMNS = [([[1, 2, 3], [4, 5, 6]], [[7], [8]]), ([[9, 10]], [[11]])]
# The same without biases, and with a gain and a shift behind the hidden layer.
UNBIASED = [([[1, 2], [3, 4], [5, 6]], None), ([[7], [8]], None)]
NORMALIZED = [([[1, 2], [3, 4], [5, 6]], [7, 8]), ([9, 10], [11, 12]), ([[13], [14]], [15])]
CASES: dict[str, tuple[dict[str, Any], list[Any], int]] = {
    "rows": ({}, ROWS, 11),
    "columns": ({"samples": "columns"}, COLUMNS, 11),
    "no bias": ({"bias": False}, UNBIASED, 8),
    "normalized": ({"normalize": "layer"}, NORMALIZED, 15),
}


@packages
@pytest.mark.parametrize("case", list(CASES))
def test_the_flat_vector_in_numbers(package: Any, case: str) -> None:
    settings, layers, size = CASES[case]
    net = package.MLP((3, 2, 1), (None, None), "mse", dtype="float64", **settings)
    assert net.size == size
    vector = net.pack(layers)
    assert vector.tolist() == list(range(1, size + 1))
    views = net.layers(vector)
    assert [[None if a is None else a.tolist() for a in pair] for pair in views] == [
        list(pair) for pair in layers
    ]
    views[0][0][...] = 0  # they are views
    assert vector.tolist() == [0] * 6 + list(range(7, size + 1))


@packages
def test_what_it_computes_in_numbers(package: Any) -> None:
    """The layouts are read as they are written: y = (x w1 + b1) w2 + b2."""
    x, params = [1.0, 0.0, -1.0], np.arange(1.0, 12.0)
    net = package.MLP((3, 2, 1), (None, None), "sum", "sum", dtype="float64")
    assert net.predict(params, x).tolist() == [3 * 9 + 4 * 10 + 11]
    value, grad = net.value_and_grad(params, x)
    assert (value, grad.tolist()) == (78, [9, 10, 0, 0, -9, -10, 9, 10, 3, 4, 1])
    net = package.MLP((3, 2, 1), (None, None), "sum", "sum", samples="columns", dtype="float64")
    assert net.predict(params, x).tolist() == [5 * 9 + 6 * 10 + 11]
    value, grad = net.value_and_grad(params, x)
    assert (value, grad.tolist()) == (116, [9, 0, -9, 10, 0, -10, 9, 10, 5, 6, 1])


@packages
def test_what_it_begins_as_in_numbers(package: Any) -> None:
    """NumPy's normal numbers of the seed, times sqrt(1 / d), before ReLU sqrt(2 / d); d is 2."""
    normal = [[0.12573022, -0.13210486, 0.64042265], [0.10490012, -0.53566937, 0.36159505]]
    less = [[0.08890469, -0.09341224, 0.45284720], [0.07417558, -0.37877545, 0.25568631]]
    for activation, weights in (("relu", normal), ("tanh", less)):
        net = package.MLP((2, 3), (activation,), "mse", dtype="float64")
        flat = [*weights[0], *weights[1], 0, 0, 0]
        np.testing.assert_allclose(net.init(0), flat, rtol=0, atol=1e-8)
        other = package.MLP((2, 3), (activation,), "mse", samples="columns", dtype="float64")
        turned = [weights[i][j] for j in range(3) for i in range(2)]
        np.testing.assert_allclose(other.init(0), [*turned, 0, 0, 0], rtol=0, atol=1e-8)
    net = package.MLP((1, 2, 2), ("tanh", None), "mse", normalize="layer")
    assert net.init(0)[4:8].tolist() == [1, 1, 0, 0]
