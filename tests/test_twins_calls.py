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
@pytest.mark.parametrize("name", ["tanh", "gelu", "softmax"])
def test_unsuitable_out(impl: ModuleType, name: str) -> None:
    for method, arguments in calls(impl.ACTIVATIONS[name], (3, 4)):
        caller = f"{name}.{method.__name__}" if inspect.ismethod(method) else name
        read_only = np.empty((3, 4))
        read_only.flags.writeable = False
        wrong: list[tuple[Any, type[Exception], str]] = [
            ([0.0], TypeError, "out is a list: give a NumPy array"),
            (np.empty((4, 3)), ValueError, "it needs shape (3, 4) and dtype float64"),
            (np.empty((3, 4), "float32"), ValueError, "it needs shape (3, 4) and dtype float64"),
            (read_only, ValueError, "out is read-only"),
            *((a, ValueError, "out shares memory with an input") for a in arguments),
        ]
        for out, error, text in wrong:
            before = [a.copy() for a in arguments]
            with pytest.raises(error) as caught:
                method(*arguments, out=out)
            assert str(caught.value).startswith(f"{caller}: ")
            assert str(caught.value).endswith(text)
            for a, b in zip(arguments, before, strict=True):
                np.testing.assert_array_equal(a, b)


@impls
@names
def test_shapes_are_not_broadcast(impl: ModuleType, name: str) -> None:
    act = impl.ACTIVATIONS[name]
    methods = {"backward": "z"} | ({"backward_from_output": "y"} if act.from_output else {})
    for method, second in methods.items():
        for shape in ((4,), (1, 4), (3, 1), ()):
            with pytest.raises(ValueError) as caught:
                getattr(act, method)(np.ones((3, 4)), np.ones(shape))
            assert str(caught.value) == (
                f"{name}.{method}: grad_y has shape (3, 4) but {second} has shape {shape}: "
                "they need the same shape"
            )


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


@impls
def test_shapes_that_hold_no_samples(impl: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^dense_forward: x has shape \(\): it needs at least"):
        impl.dense(2.0, np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"^dense_forward: w has shape \(3,\): it needs two axes"):
        impl.dense(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"^sum: y has shape \(\): it needs at least one axis"):
        impl.losses.sum.value_and_grad(2.0)
    with pytest.raises(ValueError, match=r"^mse: pred has shape \(\): it needs at least one axis"):
        impl.losses.mse(2.0, 1.0)
