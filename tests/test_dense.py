"""The dense layer agrees with the reference, whatever the activation, and keeps NaN where it is.

Gradients are in `test_dense_gradients.py`, arrays of any kind in `test_dense_arrays.py`, products
without an activation in `test_gemm.py`. Tolerances and their derivations are in `tolerances.py`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from layers import ALL, clean_run, dashed, forms_data, layer_data, run
from tolerances import REFERENCE_EPS, SLOPE_U, SMOOTHNESS, SOFTMAX_EPS, U, gamma

import fastgrad as fg
from fastgrad import reference
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

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
        if wide:  # the reference's own functions: see test_activation_twins
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


@pytest.mark.parametrize("name", NAMES)
@layouts
def test_activation_objects_and_names_are_the_same(name: str, samples: str) -> None:
    data = forms_data("float32", samples)
    results = run(data, samples, fg.activations.ACTIVATIONS[name])
    assert all(map(same_bits, results, clean_run("float32", samples, name)))


# -- NaN, infinity, floating-point events ----------------------------------------------------------


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
