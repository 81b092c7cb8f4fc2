"""The twins' activations agree with each other and with mathematics, which mpmath knows."""

import mpmath as mp
import numpy as np
import pytest
from truth import TRUTH
from twins import ELEMENTWISE, FROM_OUTPUT, NAMES, assert_close, dtypes, impls, random

from fastgrad.kernels.units import KEEP_SLOPE
from fastgrad.loops import activations as loop_activations
from fastgrad.reference import activations

pytestmark = pytest.mark.filterwarnings("error")

GRID = np.concatenate([np.linspace(-9.0, 9.0, 37), [-1e-3, 1e-3, 0.5]])


@dtypes
@pytest.mark.parametrize("name", NAMES)
def test_activation_agrees_with_loops(name, dtype):
    ref, loop = activations.ACTIVATIONS[name], loop_activations.ACTIVATIONS[name]
    z = GRID.astype(dtype).reshape(4, 10)
    grad_y = random(z.shape, dtype)
    assert_close(ref(z), loop(z), dtype)
    assert_close(ref.backward(grad_y, z), loop.backward(grad_y, z), dtype)
    if name in ELEMENTWISE:
        assert_close(ref.derivative(z), loop.derivative(z), dtype)
    if name in FROM_OUTPUT:
        y = ref(z)
        assert_close(
            ref.backward_from_output(grad_y, y), loop.backward_from_output(grad_y, y), dtype
        )


@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_both_ways_backward_agree(name):
    act = activations.ACTIVATIONS[name]
    z = GRID.reshape(4, 10)
    grad_y = random(z.shape)
    from_output = act.backward_from_output(grad_y, act(z))
    # exp reaches 8000 here; the others lose digits where 1 - y**2 and its like cancel.
    np.testing.assert_allclose(from_output, act.backward(grad_y, z), rtol=1e-13, atol=1e-14)


@impls
@pytest.mark.parametrize("name", KEEP_SLOPE)
def test_backward_from_output_refuses(impl, name):
    with pytest.raises(ValueError, match="not a function of its output"):
        impl.ACTIVATIONS[name].backward_from_output([1.0], [1.0])


POINTS = [
    0.0,
    1e-300,
    1e-8,
    1e-3,
    0.1,
    0.5,
    0.75,
    1.0,
    2.0,
    3.3,
    5.0,
    8.25,
    15.0,
    27.0,
    37.0,
    300.0,
]
POINTS = sorted({-z for z in POINTS} | set(POINTS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_is_true(name, dtype):
    act = activations.ACTIVATIONS[name]
    info = np.finfo(dtype)
    eps, smallest = float(info.eps), float(info.smallest_subnormal)
    points = np.array(POINTS, dtype=dtype)
    with mp.workdps(500):
        exact = [mp.mpf(z) for z in points.tolist()]
        values = np.array([float(TRUTH[name].value(z)) for z in exact])
        slopes = np.array([float(TRUTH[name].slope(z)) for z in exact])
    with np.errstate(over="ignore"):
        expect_inf = np.isinf(values.astype(dtype))
    # exp magnifies the rounding of its argument, which only gelu_tanh has to compute.
    size = np.abs(points.astype(np.float64))
    magnified = 1 + 1.6 * size * (1 + 0.045 * size**2) if name == "gelu_tanh" else 1.0
    for got, truth, slack in (
        (act(points), values, 2 * smallest),
        # Derivatives that change sign add up terms of size 1: no relative accuracy there.
        (
            act.derivative(points),
            slopes,
            4 * eps if name in KEEP_SLOPE else 4 * smallest,
        ),
    ):
        assert (np.isinf(got) == expect_inf).all() if name == "exp" else np.isfinite(got).all()
        error = np.abs(np.where(np.isinf(got), truth, got) - truth)
        bad = error > 6 * eps * magnified * np.abs(truth) + slack
        assert not bad.any(), (points[bad], got[bad], truth[bad])


def test_gelu_tail_keeps_its_digits():
    # 0.5 * z * (1 + erf(z / sqrt(2))) has no correct digit below z = -8.3.
    z = np.concatenate([-np.geomspace(1e-6, 37.4, 400), np.linspace(0, 12, 50)])
    with mp.workdps(40):
        for dtype in (np.float64, np.float32):
            points = z.astype(dtype)
            truth = np.array([float(TRUTH["gelu"].value(v)) for v in map(mp.mpf, points.tolist())])
            got = activations.gelu(points).astype(np.float64)
            tiny = np.finfo(dtype).tiny * 4
            error = np.abs(got - truth) / np.maximum(np.abs(truth), tiny)
            assert error.max() < 5 * np.finfo(dtype).eps


@impls
def test_kinks_belong_to_the_left(impl):
    assert impl.relu.derivative([0.0, -0.0]).tolist() == [0.0, 0.0]
    assert impl.relu.backward_from_output([1.0], [0.0]).tolist() == [0.0]
    assert impl.leaky_relu.derivative([0.0]).tolist() == [0.01]
    assert impl.leaky_relu.backward_from_output([1.0], [0.0]).tolist() == [0.01]
    assert impl.elu.derivative([0.0]).tolist() == [1.0]
    assert impl.elu.backward_from_output([1.0], [0.0]).tolist() == [1.0]


@impls
@dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_infinities_and_huge_values_give_the_limit(impl, name, dtype):
    act = impl.ACTIVATIONS[name]
    above, below = np.array(TRUTH[name].limits[:2]).astype(dtype)
    slope_above, slope_below = np.array(TRUTH[name].limit_slopes[:2]).astype(dtype)
    huge = np.finfo(dtype).max
    with np.errstate(all="raise"):
        assert act(np.array([-np.inf, np.inf], dtype)).tolist() == [below, above]
        slopes = act.derivative(np.array([-np.inf, -huge, huge, np.inf], dtype))
        finite = act(np.array([-huge, huge], dtype))
    expected = [slope_below, slope_below, slope_above, slope_above]
    np.testing.assert_allclose(slopes, expected, atol=1e-9)
    if np.isfinite(above):
        np.testing.assert_allclose(finite, [below, above], rtol=2e-3)
    assert not np.isnan(finite).any()


@impls
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_goes_through(impl, name):
    act = impl.ACTIVATIONS[name]
    z = np.array([1.0, np.nan])
    assert np.isnan(act(z)).tolist() == [False, True]
    if name != "identity":
        assert np.isnan(act.derivative(z)).tolist() == [False, True]
        if name in FROM_OUTPUT:
            assert np.isnan(act.backward_from_output([1.0, 1.0], z)).tolist() == [False, True]


@impls
def test_large_arguments_stay_finite(impl):
    assert impl.sigmoid([-1e4, 1e4]).tolist() == [0.0, 1.0]
    assert impl.softplus([1000.0, -1000.0]).tolist() == [1000.0, 0.0]
    assert impl.sigmoid(np.float32(-100.0)) == np.float32(np.exp(-100.0)) > 0  # subnormal


@impls
def test_softmax(impl):
    z = random((3, 4))
    np.testing.assert_allclose(impl.softmax(z).sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(impl.softmax(z.T, axis=0), impl.softmax(z).T, rtol=1e-15)
    grad_y = random(z.shape, seed=1)
    grad_z = impl.softmax.backward(grad_y, z)
    np.testing.assert_allclose(impl.softmax.backward(grad_y.T, z.T, axis=0), grad_z.T, rtol=1e-13)
    y = impl.softmax(z)
    np.testing.assert_allclose(impl.softmax.backward_from_output(grad_y, y), grad_z, rtol=1e-13)
    for i in range(3):
        jacobian = np.diag(y[i]) - np.outer(y[i], y[i])
        np.testing.assert_allclose(grad_z[i], grad_y[i] @ jacobian, atol=1e-15)
    with pytest.raises(ValueError, match="backward"):
        impl.softmax.derivative(z)


@impls
def test_softmax_special_rows(impl):
    inf, nan = np.inf, np.nan
    rows = np.array([[inf, 0.0], [-inf, -inf], [nan, 0.0], [-inf, 0.0], [1e308, -1e308]])
    y = impl.softmax(rows)
    assert np.isnan(y[:3]).all()
    assert y[3:].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert impl.softmax(np.empty((2, 0))).shape == (2, 0)
