"""The dense layer: exact on integers, inside the rounding bounds, the true gradients, any array.

Shapes are named by what they sit on the edge of: MR x NR is the register tile, KC and MC are
block sizes, BB is the batch block. Tolerances and their derivations are in ``tolerances.py``.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import (
    DTYPES,
    LAYOUTS,
    Array,
    same_bits,
    turn,
)
from layers import ALL, clean_run, dashed, forms_data, layer_data, run
from tolerances import (
    REFERENCE_EPS,
    SLOPE_U,
    SMOOTHNESS,
    SOFTMAX_EPS,
    U,
    gamma,
)

import fastgrad as fg
from fastgrad import reference
from fastgrad.kernels.target import BATCH_BLOCK

NAMES = fg.activations.BUILT_IN

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)


# -- every activation against the reference ------------------------------------------------------

LAYERS = [
    "0 x 3 x 4",
    "3 x 0 x 4",
    "1 x 1 x 1",
    "2 x 3 x 4",
    "MR+1 x 5 x NR+1",
    "MR x KC+1 x NR",
    "4 x 7 x 300",  # row kernels work in chunks of 256
    "BB+1 x 3 x 2",
    "MC+1 x 9 x 2NR-1",
]


class Bounded(NamedTuple):
    """The reference's value in float64, and the largest error allowed."""

    value: Array
    error: Array


@functools.cache
def expected(name: str, spec: str, dtype: str) -> dict[str, Bounded]:
    """Return y and the four gradients of the NumPy reference, computed in float64, with bounds.

    For float64 the reference's own rounding is of the same size as ours: bounds count twice.
    """
    data = layer_data(spec, dtype)
    x, w, b, g = (data[n].astype(np.float64) for n in "xwbg")
    n, d, k = x.shape[0], *w.shape
    u, wide = U[dtype], dtype == "float64"
    sides = 2 if wide else 1
    y, cache = reference.dense_forward(x, w, b, name)
    grads = reference.dense_backward(g, cache, need=ALL)
    z = x @ w + b
    dz = gamma(d + 1, u) * (abs(x) @ abs(w) + abs(b))
    row, smooth = fg.activations.ACTIVATIONS[name], SMOOTHNESS[name]
    tiny = float(np.finfo(dtype).smallest_subnormal)
    grad_z = grads.z
    if name == "softmax":
        worst = dz.max(axis=1, keepdims=True, initial=0)
        relative = np.expm1(smooth.slope * worst) + 2 * SOFTMAX_EPS * u
        dy = abs(y) * relative
        size = abs(g) + (abs(g) * y).sum(axis=1, keepdims=True)
        dgz = abs(y) * size * (3 * relative + 6 * u)
    else:
        own = abs(y) if smooth.relative else 1.0
        slope = abs(reference.ACTIVATIONS[name].derivative(z))
        value_ulp = row.ulp[DTYPES.index(dtype)]
        dy = smooth.slope * own * dz + 2 * u * value_ulp * abs(y) + tiny
        if wide:  # the reference's own functions: see test_baselines
            dy = dy + 2 * u * REFERENCE_EPS[name](abs(z)) * abs(y)
        dgz = abs(g) * (smooth.curvature * own * dz + SLOPE_U * u * np.maximum(1, slope))
        for kink in row.kinks:  # either side is right where rounding decides the side
            dgz = dgz + abs(g) * (abs(z - kink) <= dz)
    size = abs(grad_z) + dgz
    batch = min(n, BATCH_BLOCK) + -(-n // BATCH_BLOCK)
    errors = {
        "y": dy,
        "z": dgz,
        "x": dgz @ abs(w.T) + gamma(k, u) * (size @ abs(w.T)),
        "w": abs(x.T) @ dgz + gamma(n if wide else batch, u) * (abs(x.T) @ size),
        "b": dgz.sum(axis=0) + gamma(n if wide else batch, u) * size.sum(axis=0),
    }
    values = {"y": y, **grads._asdict()}
    return {key: Bounded(values[key], sides * errors[key]) for key in values}


def layer_run(name: str, spec: str, dtype: str, samples: str) -> dict[str, Array]:
    """Return y and the four gradients by fastgrad, in row layout."""
    data = layer_data(spec, dtype)
    x, w, g = (turn(data[n], samples) for n in "xwg")
    y, cache = fg.dense_forward(x, w, data["b"], name, samples=samples)
    assert same_bits(y, fg.dense(x, w, data["b"], name, samples=samples))
    results = {"y": y, **fg.dense_backward(g, cache, need=ALL)._asdict()}
    return {key: turn(a, samples) if a.ndim == 2 else a for key, a in results.items()}


@layouts
@dtypes
@pytest.mark.parametrize("spec", LAYERS, ids=dashed)
@pytest.mark.parametrize("name", NAMES)
def test_layers_agree_with_the_reference(name: str, spec: str, dtype: str, samples: str) -> None:
    """y and all four gradients."""
    results = layer_run(name, spec, dtype, samples)
    for what, (value, error) in expected(name, spec, dtype).items():
        got = results[what]
        assert got.dtype == dtype
        assert got.shape == value.shape
        difference = abs(got.astype(np.float64) - value)
        bad = ~(difference <= error)
        assert not bad.any(), f"{what}: {(difference[bad] / error[bad]).max():.3g} x bound"


# -- activations of every kind -------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@layouts
def test_activation_objects_and_names_are_the_same(name: str, samples: str) -> None:
    data = forms_data("float32", samples)
    results = run(data, samples, fg.activations.ACTIVATIONS[name])
    assert all(map(same_bits, results, clean_run("float32", samples, name)))


class _Square:
    """A callable object."""

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


# Compiled once per dtype, however often they are used.
def _cube(z: float) -> float:
    return z * z * z


def _cube_slope(z: float) -> float:
    return 3 * z * z


@layouts
@dtypes
def test_defined_activation(dtype: str, samples: str, restored: None) -> None:
    """It is known by name and as an object, right both ways, and compiles no matrix product."""
    from fastgrad.kernels.library import LIBRARY

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


def test_a_function_defined_again_is_compiled_again(restored: None) -> None:
    scale = 2.0

    def scaled(z: float) -> float:
        return scale * z

    for scale in (2.0, 5.0):
        act = fg.define_activation("scaled", scaled, _cube_slope)
        assert act([1.0]).tolist() == [scale]


def test_an_activation_without_kernels_is_said_so() -> None:
    with pytest.raises(ValueError, match=r"'mine' has no kernels: make it by fg\.define_activ"):
        fg.dense([[1.0]], [[1.0]], activation=fg.Activation("mine", "z*2"))


@dtypes
def test_no_floating_point_event_gets_out(dtype: str) -> None:
    """Not a signalling NaN's, and under errstate(all="raise") no underflow of a conversion."""
    signalling = np.array([[0x7FA00000]], np.uint32).view(np.float32)
    with np.errstate(all="raise"):
        assert np.isnan(fg.dense(signalling, np.ones((1, 1), dtype)))
        assert np.isnan(fg.tanh.backward(signalling, np.ones((1, 1))))
        assert fg.sigmoid(np.float16([-12.0])) == np.float16(6.14e-06)
        assert fg.dense(np.array([[1e-4]], "f2"), np.array([[1e-4]], "f2")) == 0
        net = fg.MLP((1, 1), (None,), "mse", dtype=dtype)
        assert net.predict([1e-42, 0.0], [[1e-42]]).item() < 1e-80


def test_defined_activation_uses_math_and_closures(restored: None) -> None:
    scale = 2.0
    act = fg.define_activation("bump", lambda z: math.exp(-scale * z * z), _cube_slope)
    np.testing.assert_allclose(act([0.5]), [math.exp(-0.5)], rtol=1e-15)


# -- NaN and infinity ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("name", NAMES)
@dtypes
def test_a_bad_sample_stays_in_its_row(dtype: str, name: str, bad: float) -> None:
    data = forms_data(dtype, "rows")
    x = data["x"].copy()
    x[3, 2] = bad
    y = fg.dense(x, data["w"], data["b"], name)
    clean = clean_run(dtype, "rows", name)[0]
    rest = [i for i in range(len(x)) if i != 3]
    assert same_bits(y[rest], clean[rest])
    z = fg.dense(x, data["w"], data["b"])
    with np.errstate(all="ignore"):
        expected_row = reference.ACTIVATIONS[name](z[3].astype(np.float64))
    np.testing.assert_array_equal(np.isnan(y[3]), np.isnan(expected_row))
    np.testing.assert_array_equal(np.isinf(y[3]), np.isinf(expected_row.astype(dtype)))


def test_indexing_is_64_bit() -> None:
    """Offsets beyond 2**31 elements, on a broadcast view: nothing of that size is allocated."""
    row = np.arange(4.0, dtype=np.float32)
    tall = np.lib.stride_tricks.as_strided(row, (2**31 + 8, 4), (0, 4), writeable=False)
    part = tall[2**31 :]
    w = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(fg.dense(part, w), part)


def test_builtin_function_as_activation() -> None:
    """A builtin callable without a signature works as an activation too."""
    y, cache = fg.dense_forward([[2.0]], [[3.0]], activation=operator.neg)
    assert y.tolist() == [[-6.0]]
    np.testing.assert_allclose(fg.dense_backward([[1.0]], cache).x, [[-3.0]], rtol=1e-9)
