"""The twins are called as fastgrad is: activations' signatures, `out=`, shapes; first weights."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Array, rng_of
from twins import impls

import fastgrad as fg
from fastgrad.activations import BUILT_IN

names = pytest.mark.parametrize("name", BUILT_IN)
METHODS = ("__call__", "derivative", "backward", "backward_from_output")


def calls(act: Any, shape: tuple[int, ...], dtype: str = "float64") -> list[tuple[Any, Any]]:
    """Return the methods that an activation has, with arguments of this shape."""
    rng = rng_of("twin", act.name, shape)
    z, g = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    found: list[tuple[Any, Any]] = [(act, (z,)), (act.backward, (g, z))]
    if act.name != "softmax":
        found.append((act.derivative, (z,)))
    if act.from_output:
        found.append((act.backward_from_output, (g, act(z))))
    return found


@impls
@names
@pytest.mark.parametrize("method", METHODS)
def test_same_signatures(impl: ModuleType, name: str, method: str) -> None:
    """Only softmax has an axis; fastgrad finds out by name, its twins by signature."""

    def parameters(act: Any) -> list[Any]:
        signature = inspect.signature(getattr(act, method))
        return [
            (p.name, p.kind, p.default) for p in signature.parameters.values() if p.name != "axis"
        ]

    twin = impl.ACTIVATIONS[name]
    assert parameters(twin) == parameters(fg.activations.ACTIVATIONS[name])
    has_axis = "axis" in inspect.signature(getattr(twin, method)).parameters
    assert has_axis == (name == "softmax" and method != "derivative")


@impls
@names
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 0), (5,)], ids=str)
def test_out(impl: ModuleType, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    for method, arguments in calls(impl.ACTIVATIONS[name], shape, dtype):
        expected = method(*arguments)
        for out in (np.empty_like(expected), np.empty((*shape, 2), expected.dtype)[..., 0]):
            assert method(*arguments, out=out) is out
            np.testing.assert_array_equal(out, expected)


@impls
@names
def test_initial_weights_follow_the_table(impl: ModuleType, name: str) -> None:
    """The same as fastgrad's: twice the variance before what lets half of its input through."""
    settings: Any = ((3, 40), (name,), "sum", "sum", False, "rows", "float64")
    mine: Array = impl.MLP(*settings).init(seed=1)
    np.testing.assert_array_equal(mine, fg.MLP(*settings).init(seed=1))
    plain = np.random.default_rng(1).standard_normal(120)
    gain = 2.0 if impl.ACTIVATIONS[name].halving else 1.0
    np.testing.assert_allclose(mine, plain * np.sqrt(gain / 3), rtol=1e-15)
