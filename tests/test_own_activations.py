"""Activations a user brings along: any callable, and what `define_activation` compiles."""

from __future__ import annotations

import copy
import functools
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits
from layers import ALL, clean_run, forms_data, run
from tolerances import U

import fastgrad as fg

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
any_derivative = pytest.mark.filterwarnings("ignore:define_activation. derivative of")

# -- callables -------------------------------------------------------------------------------------


class _Square:
    """A callable object."""

    def __call__(self, z: Array) -> Array:
        return z * z


class _Buffered:
    """A callable that returns the same array each time."""

    def __init__(self) -> None:
        self.buffer = np.empty(0)

    def __call__(self, z: Array) -> Array:
        if self.buffer.shape != z.shape:
            self.buffer = np.empty(z.shape)
        return np.multiply(z, z, out=self.buffer)


class _Stack(list[Any]):
    """A callable that is false as long as it is empty."""

    def __call__(self, z: Array) -> Array:
        return z * z


# Callables and their derivatives. Central differences with d = 6e-6 max(1, |z|) leave an error
# of d**2 / 6 times the third derivative, 6e-12 of it, and of 2 eps |f| / d, 4e-11 |f|.
CALLABLES: dict[str, tuple[Callable[[Array], Any], Callable[[Array], Array]]] = {
    "ufunc": (np.sin, np.cos),
    "lambda": (lambda z: np.exp(-z * z), lambda z: -2 * z * np.exp(-z * z)),
    "object": (_Square(), lambda z: 2 * z),
    "partial": (functools.partial(np.multiply, 3.0), lambda z: np.full_like(z, 3.0)),
    "returns_its_argument": (lambda z: z, np.ones_like),
    "works_in_place": (lambda z: np.tanh(z, out=z), lambda z: 1 / np.cosh(z) ** 2),
    "returns_its_buffer": (_Buffered(), lambda z: 2 * z),
    "is_false": (_Stack(), lambda z: 2 * z),
    "returns_integers": (lambda z: np.ones(z.shape, int), np.zeros_like),
    "returns_a_list": (lambda z: (z + 1).tolist(), np.ones_like),
    "returns_a_view": (lambda z: z[::-1][::-1], np.ones_like),
}
CALLABLE_ATOL = {"float32": 4 * 2.0**-23, "float64": 5e-10}


@layouts
@dtypes
@pytest.mark.parametrize("kind", list(CALLABLES))
def test_callables_are_differentiated(kind: str, dtype: str, samples: str) -> None:
    function, derivative = CALLABLES[kind]
    data = forms_data(dtype, samples)
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], function, samples=samples)
    z = fg.dense(data["x"], data["w"], data["b"], samples=samples)
    np.testing.assert_array_equal(y, np.asarray(function(z.copy()), dtype))
    assert same_bits(y, fg.dense(data["x"], data["w"], data["b"], function, samples=samples))
    grads = fg.dense_backward(data["g"], cache, need=ALL)
    truth = data["g"].astype(float) * derivative(z.astype(float))
    atol = CALLABLE_ATOL[dtype] * (1 + np.abs(truth).max())
    np.testing.assert_allclose(grads.z, truth, rtol=0, atol=atol)
    _, plain = fg.dense_forward(data["x"], data["w"], data["b"], samples=samples)
    linear = fg.dense_backward(grads.z, plain)
    assert all(map(same_bits, grads[:3], linear[:3]))
    assert all(a.dtype == dtype for a in grads)


def test_a_buffer_of_the_callable_is_not_the_result() -> None:
    square = _Buffered()
    first = fg.dense([[2.0, 3.0]], np.eye(2), activation=square)
    fg.dense([[4.0, 5.0]], np.eye(2), activation=square)
    assert first.tolist() == [[4.0, 9.0]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_callable_survives_copies_of_its_cache(copied: Callable[[Any], Any]) -> None:
    _, cache = fg.dense_forward([[1.0, 2.0]], np.eye(2), activation=_Stack())
    grads = [fg.dense_backward([[1.0, 1.0]], c) for c in (cache, copied(cache))]
    np.testing.assert_array_equal(grads[0].x, grads[1].x)


def test_a_callable_that_turns_complex_is_named() -> None:
    _, cache = fg.dense_forward([[0.0]], [[1.0]], activation=np.emath.sqrt)
    with pytest.raises(TypeError, match="dense_backward: what the activation returned has dtype c"):
        fg.dense_backward([[1.0]], cache)


def test_builtin_function_as_activation() -> None:
    """A builtin callable without a signature works as an activation too."""
    y, cache = fg.dense_forward([[2.0]], [[3.0]], activation=operator.neg)
    assert y.tolist() == [[-6.0]]
    np.testing.assert_allclose(fg.dense_backward([[1.0]], cache).x, [[-3.0]], rtol=1e-9)


# -- define_activation -----------------------------------------------------------------------------


# Compiled once per dtype, however often they are used.
def _cube(z: float) -> float:
    return z * z * z


def _cube_slope(z: float) -> float:
    return 3 * z * z


@layouts
@dtypes
def test_defined_activation(dtype: str, samples: str, restored: None) -> None:
    """It is known by name and as an object, right both ways, and compiles no matrix product."""
    from fastgrad.kernels.toolchain.library import LIBRARY

    clean_run(dtype, samples)
    before = list(LIBRARY.compiled), dict(LIBRARY._addresses)
    cube = fg.define_activation("cube", _cube, _cube_slope)
    data = forms_data(dtype, samples)
    results = run(data, samples, "cube")
    assert (list(LIBRARY.compiled), dict(LIBRARY._addresses)) == before
    assert all(map(same_bits, results, run(data, samples, cube)))
    z = fg.dense(data["x"], data["w"], data["b"], samples=samples)
    u = U[dtype]
    assert (abs(results[0] - z.astype(float) ** 3) <= 3 * u * abs(z) ** 3).all()
    slope = 3 * z.astype(float) ** 2
    assert (abs(results[-1] - data["g"] * slope) <= 4 * u * abs(data["g"]) * slope).all()
    assert repr(cube).startswith("<activation cube")


@any_derivative
def test_defining_a_name_again_replaces_it(restored: None) -> None:
    x, w = np.full((1, 1), 2.0), np.ones((1, 1))
    fg.define_activation("mine", _cube, _cube_slope)
    assert fg.dense(x, w, activation="mine").tolist() == [[8.0]]
    fg.define_activation("mine", _cube_slope, _cube)
    assert fg.activations.ACTIVATIONS["mine"](x).tolist() == [[12.0]]
    y, cache = fg.dense_forward(x, w, activation="mine")
    assert fg.dense(x, w, activation="mine").tolist() == y.tolist() == [[12.0]]
    assert fg.dense_backward(np.ones((1, 1)), cache).x.tolist() == [[8.0]]


@dtypes
def test_defined_activation_is_nan_where_it_raises(
    dtype: str, restored: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Numba raises for negative integer powers of zero; the other samples are not concerned."""
    act = fg.define_activation("inverse", lambda z: z**-1, lambda z: -(z**-2))
    x = np.array([[1.0, 2.0], [0.0, 4.0], [8.0, 16.0]], dtype)
    with np.errstate(divide="ignore"):
        value, slope = 1 / x, -1 / x**2
    value[1, 0] = slope[1, 0] = np.nan
    np.testing.assert_array_equal(act(x), value)
    np.testing.assert_array_equal(act.derivative(x), slope)
    y, cache = fg.dense_forward(x, np.eye(2, dtype=dtype), activation="inverse")
    np.testing.assert_array_equal(y, value)
    np.testing.assert_array_equal(fg.dense_backward(x, cache, need="z").z, x * slope)
    assert capfd.readouterr().err == ""


@any_derivative
def test_a_function_defined_again_is_compiled_again(restored: None) -> None:
    scale = 2.0

    def scaled(z: float) -> float:
        return scale * z

    for scale in (2.0, 5.0):
        act = fg.define_activation("scaled", scaled, _cube_slope)
        assert act([1.0]).tolist() == [scale]


@any_derivative
def test_defined_activation_uses_math_and_closures(restored: None) -> None:
    scale = 2.0
    act = fg.define_activation("bump", lambda z: math.exp(-scale * z * z), _cube_slope)
    np.testing.assert_allclose(act([0.5]), [math.exp(-0.5)], rtol=1e-15)


def test_an_activation_without_kernels_is_said_so() -> None:
    with pytest.raises(ValueError, match=r"'mine' has no kernels: make it by fg\.define_activ"):
        fg.dense([[1.0]], [[1.0]], activation=fg.Activation("mine", "z*2"))


def _steady(z: float) -> float:
    return z


UNCOMPILABLE: dict[str, tuple[Any, Any, str]] = {
    "forward": (lambda z: z.foo, _steady, "forward"),
    "derivative": (_steady, lambda z: "a", "derivative"),
    "no argument": (lambda: 1.0, _steady, "forward"),
    "two arguments": (_steady, lambda z, y: z, "derivative"),
    "type": (dict, _steady, "forward"),
    "object": (type("Callable", (), {"__call__": lambda self, z: z})(), _steady, "forward"),
    "unhashable": (type("U", (), {"__call__": max, "__hash__": None})(), _steady, "forward"),
    "keywords": (lambda z, **k: z, _steady, "forward"),
    "nothing": (lambda z: None, _steady, "forward"),
    "complex": (_steady, lambda z: z * 1j, "derivative"),
    "pair": (lambda z: (z, z), _steady, "forward"),
}


@pytest.mark.parametrize("case", list(UNCOMPILABLE))
def test_define_activation_says_what_does_not_compile(case: str) -> None:
    forward, derivative, what = UNCOMPILABLE[case]
    with pytest.raises((ValueError, TypeError)) as error:
        fg.define_activation("broken", forward, derivative)
    assert str(error.value).startswith(f"define_activation: {what} ")
    assert '%"' not in str(error.value)  # LLVM IR
    assert "broken" not in fg.activations.ACTIVATIONS
