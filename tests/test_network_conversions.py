"""Networks' arguments of another dtype: the numbers of their conversion, on every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS

import fastgrad as fg

Array = Any
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
KINDS = ["bool", *INTEGERS, "float16", "float32", "float64", ">f4", ">i8"]


def network(loss: str, dtype: str, samples: str) -> fg.MLP:
    net = fg.MLP((5, 7, 3), ("tanh", None), loss, samples=samples, dtype=dtype)
    params = net.init()
    x, target = np.ones((2, 5), dtype), np.ones((2, 3), dtype)
    for _ in range(3):  # now the direct way is there
        net.predict(params, x.T if samples == "columns" else x)
        net.value_and_grad(params, *((x.T, target.T) if samples == "columns" else (x, target)))
    return net


def laid(array: Array, samples: str) -> Array:
    return np.ascontiguousarray(array.T) if samples == "columns" and array.ndim == 2 else array


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays(kind: str, dtype: str, samples: str) -> None:
    net = network("mse", dtype, samples)
    params, rng = net.init(), np.random.default_rng(0)
    x = laid(rng.integers(0, 2, (40, 5)), samples).astype(kind)
    target = laid(rng.integers(0, 2, (40, 3)), samples).astype(kind)
    expected = net.value_and_grad(params, x.astype(dtype), target.astype(dtype))
    out = np.empty_like(params)
    for given in ({}, {"out": out}):
        for a, b in ((x, target), (x.astype(dtype), target), (x, target.astype(dtype))):
            value, grad = net.value_and_grad(params, a, b, **given)
            assert value == expected[0]
            assert grad.dtype == dtype
            np.testing.assert_array_equal(grad, expected[1])
    np.testing.assert_array_equal(net.predict(params, x), net.predict(params, x.astype(dtype)))


FORMS: dict[str, Callable[[Array], Any]] = {
    **{kind: lambda c, kind=kind: c.astype(kind) for kind in INTEGERS},
    ">i8": lambda c: c.astype(">i8"),
    "list": lambda c: c.tolist(),
    "tuple": lambda c: tuple(c.tolist()),
    "strided": lambda c: np.repeat(c, 2)[::2],
    "strided int32": lambda c: np.repeat(c, 2)[::2].astype("int32"),
    "int one-hot": lambda c: np.eye(3, dtype=np.int64)[c],
    "bool one-hot": lambda c: np.eye(3, dtype=bool)[c],
    "list one-hot": lambda c: np.eye(3, dtype=np.int64)[c].tolist(),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_labels(form: str, dtype: str) -> None:
    net = network("softmax_cross_entropy", dtype, "rows")
    params, rng = net.init(), np.random.default_rng(0)
    x, classes = rng.standard_normal((40, 5)).astype(dtype), rng.integers(0, 3, 40)
    labels = FORMS[form](classes)
    expected = net.value_and_grad(
        params, x, np.eye(3, dtype=dtype)[classes] if "one-hot" in form else classes
    )
    out = np.empty_like(params)
    for given in ({}, {"out": out}):
        value, grad = net.value_and_grad(params, x, labels, **given)
        assert value == expected[0]
        np.testing.assert_array_equal(grad, expected[1])
        if "one-hot" not in form:
            wrong = FORMS[form](np.where(np.arange(40) == 7, 3, classes))
            with pytest.raises(ValueError, match="classes from 0 to 3"):
                net.value_and_grad(params, x, wrong, **given)


def test_a_target_that_is_not_taken_is_not_left_out() -> None:
    """float16 is converted by Python: a loss of one array must still refuse it."""
    net = fg.MLP((5, 3), (None,), "sum", dtype="float64")
    params, x = net.init(), np.ones((4, 5))
    for _ in range(3):
        net.value_and_grad(params, x)
    for kind in ("float16", "float64", "int8"):
        with pytest.raises(TypeError, match="takes no target"):
            net.value_and_grad(params, x, np.ones((4, 3), kind))


@pytest.mark.parametrize("kind", ["int32", "uint8", "float64"])
def test_out_that_shares_memory_with_what_is_converted(kind: str) -> None:
    net = network("mse", "float32", "rows")
    params = net.init()
    memory = np.zeros(max(net.size, 40 * 5) * 8, np.uint8)
    x = memory[: 40 * 5 * np.dtype(kind).itemsize].view(kind).reshape(40, 5)
    out = memory[: net.size * 4].view(np.float32)
    target = np.ones((40, 3), np.float32)
    with pytest.raises(ValueError, match="out shares memory with x"):
        net.value_and_grad(params, x, target, out=out)
    labels = memory[: 40 * 8].view(np.int64)
    classes = network("softmax_cross_entropy", "float32", "rows")
    with pytest.raises(ValueError, match="out shares memory with target"):
        classes.value_and_grad(params, np.ones((40, 5)), labels, out=out)
