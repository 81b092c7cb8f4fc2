"""Differences right to the digits their method allows; a report that tells wrong from right."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from conftest import Array

import fastgrad as fg

# Ten times the error in the table of gradcheck/differences.py; the test functions' derivatives are
# of order 1.
ERROR = {"central": 4e-10, "forward": 3e-7, "complex": 3e-15}
methods = pytest.mark.parametrize("method", ERROR)
X = np.array([[0.5, -1.25, 2.0], [0.0, 3.0, -0.75]])


def smooth(x: Array) -> Any:
    return np.sum(np.sin(x) * x[::-1])


def smooth_gradient(x: Array) -> Array:
    return np.cos(x) * x[::-1] + np.sin(x)[::-1]


# -- deriv ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("func", "slope", "third"),
    [(np.sin, np.cos, 1.0), (np.exp, np.exp, np.exp(3.0)), (lambda x: x**2, lambda x: 2 * x, 0.0)],
)
@pytest.mark.parametrize("delta", [1e-3, 1e-2])
def test_deriv_is_off_by_its_third_derivative(func: Any, slope: Any, third: float, delta: float):
    # Rounding adds some eps of the largest value, about 20, over delta.
    bound = 1.01 * delta**2 / 6 * third + 1e-14 / delta
    assert np.abs(fg.deriv(func, X, delta) - slope(X)).max() <= bound


@pytest.mark.parametrize("x", [2, 2.0, np.float32(2), np.array(2)])
def test_deriv_of_a_number_is_a_number(x: Any):
    assert isinstance(fg.deriv(math.exp, x), float)
    assert fg.deriv(math.exp, x) == pytest.approx(math.exp(2), rel=2e-7)


@pytest.mark.parametrize("dtype", ["int8", "bool", "float16", "float32", "float64", ">f8"])
def test_deriv_computes_in_float64(dtype: str):
    x = np.ones((2, 3), dtype)
    x.flags.writeable = False
    found = fg.deriv(lambda z: z * z, x)
    assert (found.dtype, found.shape) == (np.float64, (2, 3))
    np.testing.assert_allclose(found, 2.0, rtol=1e-12)


def test_deriv_takes_the_true_distance_of_its_points():
    # At 1e9, x + 1e-3 and x - 1e-3 are 1.97e-3 apart, not 2e-3.
    np.testing.assert_allclose(fg.deriv(lambda x: x, [1e9]), 1.0, rtol=1e-15)


def test_deriv_of_a_function_that_works_in_place():
    def square(x: Any) -> Any:
        x *= x
        return x

    np.testing.assert_allclose(fg.deriv(square, [1.0, 2.0, 3.0]), [2.0, 4.0, 6.0], rtol=1e-9)


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_a_nan():
    x = np.array([0x7F800001, 0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(fg.deriv(np.negative, x)).all()
    assert np.isnan(fg.numerical_grad(np.sum, x)).all()
    assert np.isnan(fg.jacobian(np.negative, x)).any()
    assert not fg.check_grad(np.sum, np.ones(2), x).ok


def test_deriv_at_inf_and_nan_is_nan():
    assert np.isnan(fg.deriv(np.tanh, [np.nan, np.inf, -np.inf])).all()


# -- numerical_grad and jacobian --------------------------------------------------------------


@methods
@pytest.mark.parametrize("shape", [(2, 3), (6,), (6, 1), (1, 2, 3), (0, 3)])
def test_gradient(method: str, shape: tuple[int, ...]):
    x = X.reshape(-1)[: math.prod(shape)].reshape(shape)
    found = fg.numerical_grad(smooth, x, method=method)
    assert (found.dtype, found.shape) == (np.float64, shape)
    np.testing.assert_allclose(found, smooth_gradient(x), rtol=0, atol=ERROR[method])


@methods
def test_gradient_of_a_number(method: str):
    found = fg.numerical_grad(np.exp, 1.0, method=method)
    assert found.shape == ()
    assert float(found) == pytest.approx(math.e, abs=10 * ERROR[method])


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_step_grows_with_x(method: str, scale: float):
    found = fg.numerical_grad(lambda x: np.sum((x / scale) ** 2), [scale], method=method)
    # The largest of 1 and |x| is the scale steps are made for: 1e-6 costs a forward difference.
    rtol = 0.02 if (method, scale) == ("forward", 1e-6) else 1e-7
    np.testing.assert_allclose(found, 2 / scale, rtol=rtol)


@pytest.mark.parametrize("method", ["central", "forward"])
def test_the_step_suits_the_dtype_of_f(method: str):
    def single(x: Array) -> Any:
        return smooth(x.astype(np.float32))

    found = fg.numerical_grad(single, X, method=method)
    eps = float(np.finfo(np.float32).eps)
    error = {"central": eps ** (2 / 3), "forward": eps**0.5}[method]
    np.testing.assert_allclose(found, smooth_gradient(X), rtol=0, atol=10 * error)


@methods
def test_f_gets_a_private_copy(method: str):
    x = X.astype(np.float32)
    x.flags.writeable = False

    def destructive(point: Array) -> Any:
        assert point.dtype == (np.complex128 if np.iscomplexobj(point) else np.float64)
        value = smooth(point)
        point[...] = np.nan
        return value

    found = fg.numerical_grad(destructive, x, method=method)
    np.testing.assert_allclose(found, smooth_gradient(X), rtol=0, atol=ERROR[method])


@methods
@pytest.mark.parametrize("x_shape", [(3,), (2, 3), ()])
def test_jacobian_of_a_linear_map_is_the_map(
    rng: np.random.Generator, method: str, x_shape: tuple[int, ...]
):
    matrix = rng.standard_normal((4, 1, *x_shape))
    buffer = np.empty((4, 1), complex if method == "complex" else float)

    def linear(x: Array) -> Array:
        buffer[...] = np.tensordot(matrix, x, axes=x.ndim)
        return buffer if np.iscomplexobj(x) else buffer.real  # the same memory each time

    x = rng.standard_normal(x_shape)
    found = fg.jacobian(linear, x, method=method)
    assert found.shape == matrix.shape
    np.testing.assert_allclose(found, matrix, rtol=0, atol=10 * ERROR[method])


def test_verify_does_not_import_numba():
    code = "import sys, fastgrad.gradcheck.check_grad; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- check_grad -------------------------------------------------------------------------------


@methods
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_check_grad_accepts_right_gradients(method: str, scale: float, dtype: str):
    report = fg.check_grad(
        lambda x: scale * smooth(x), (scale * smooth_gradient(X)).astype(dtype), X, method=method
    )
    assert report, str(report)
    assert report.ok
    assert report.max_abs <= report.tolerance.max()


@methods
@pytest.mark.parametrize("error", [1e-4, 1.0, np.nan, np.inf])
def test_check_grad_finds_the_wrong_entry(method: str, error: float):
    wrong = smooth_gradient(X)
    wrong[1, 2] += error
    report = fg.check_grad(smooth, wrong, X, method=method)
    assert not report
    assert report.worst_index == (1, 2)
    assert report.max_abs == pytest.approx(error, abs=1e-6, nan_ok=True)
    assert "FAIL, 1 of 6 entries" in str(report)


def test_check_grad_sees_an_error_of_1e7():
    assert not fg.check_grad(smooth, smooth_gradient(X) * (1 + 1e-7), X)


def test_given_tolerances_are_the_tolerances():
    off = smooth_gradient(X) + 1e-3
    assert fg.check_grad(smooth, off, X, atol=1.1e-3, rtol=0)
    assert not fg.check_grad(smooth, off, X, atol=0.9e-3, rtol=0)
    report = fg.check_grad(smooth, off, X, atol=1e-4, rtol=2.0)
    np.testing.assert_array_equal(report.tolerance, 1e-4 + 2.0 * np.abs(report.numerical))
    assert (report.atol, report.rtol, report.method) == (1e-4, 2.0, "central")


def test_the_gradient_may_be_a_function_and_gets_a_copy():
    seen = []

    def gradient(x: Array) -> Array:
        seen.append(x.dtype)
        found = smooth_gradient(x)
        x[...] = np.nan
        return found

    x32 = X.astype(np.float32)
    assert fg.check_grad(smooth, gradient, x32)
    assert fg.check_grad(smooth, gradient, [[1, 2], [3, 4]])
    assert seen == [np.float32, np.float64]
    np.testing.assert_array_equal(x32, X)


@pytest.mark.parametrize("kind", [np.float32, np.float16, Fraction])
@pytest.mark.parametrize("method", ["central", "forward"])
def test_any_real_number_is_a_delta(method: str, kind: Any):
    x, delta = np.array([0.1, 10.3, 1e5]), kind(2**-9)
    exact = fg.numerical_grad(lambda x: np.sum(x**2), x, delta=2**-9, method=method)
    given = fg.numerical_grad(lambda x: np.sum(x**2), x, delta=delta, method=method)
    np.testing.assert_array_equal(given, exact)
    np.testing.assert_array_equal(fg.deriv(np.sin, x, delta), fg.deriv(np.sin, x, 2**-9))


@pytest.mark.parametrize("grad", [5.0, np.inf, np.nan])
def test_no_gradient_is_right_where_differences_are_not_finite(grad: float):
    def barrier(x: Any) -> float:
        return np.inf if x[0] == 0 else -float(np.log(abs(x[0])))

    report = fg.check_grad(barrier, [grad], [0.0], method="forward")
    assert not report
    assert "FAIL, 1 of 1 entries" in str(report)
    assert not fg.check_grad(lambda x: x[0] if x[0] < 9 else np.inf, [grad], [9.0], atol=np.inf)


@pytest.mark.parametrize("delta", [0.1, 1e3, 1e200])
def test_default_tolerances_are_at_most_a_tenth(delta: float):
    def line(x: Any) -> float:
        return float(x[0])

    assert fg.check_grad(line, [1.0], [0.0], delta=delta)
    assert not fg.check_grad(line, [1.3], [0.0], delta=delta)


def test_f_must_return_real_numbers_at_every_point():
    with pytest.raises(TypeError, match=r"numerical_grad: f\(x\) has dtype complex128"):
        fg.numerical_grad(lambda x: np.emath.sqrt(x).sum(), [0.0], delta=1e-2)
    with pytest.raises(TypeError, match=r"jacobian: f\(x\) has dtype <U1"):
        fg.jacobian(lambda x: ["a"] if x[0] != 1 else [1.0], [1.0])


def test_a_float32_network_is_checked_as_such(rng: np.random.Generator):
    net = fg.MLP((3, 4, 2), ("tanh", None), "mse")
    p, x, t = net.init(), rng.normal(size=(9, 3)), np.ones((9, 2))
    grad = net.value_and_grad(p, x, t)[1]
    assert fg.check_grad(lambda p: np.float32(net.value_and_grad(p, x, t)[0]), grad, p)
    assert not fg.check_grad(lambda p: np.float32(net.value_and_grad(p, x, t)[0]), grad * 1.5, p)


def test_report_reads_like_this():
    right = fg.check_grad(lambda x: np.sum(x**2), 2 * X, X, rtol=0.0, atol=1e-6)
    assert str(right).splitlines()[0] == "gradient check (central differences): ok, 6 entries"
    wrong = fg.check_grad(lambda x: np.sum(x**2), X, X, rtol=0.0, atol=1e-6)
    assert str(wrong).splitlines() == [
        "gradient check (central differences): FAIL, 5 of 6 entries",
        "  worst entry  [1, 1]",
        "  analytic     3",
        "  numerical    6",
        "  difference   3, allowed 1e-06",
    ]
    assert (wrong.max_rel, wrong.max_abs) == pytest.approx((0.5, 3.0), rel=1e-6)


def test_an_empty_gradient_is_right():
    report = fg.check_grad(np.sum, np.empty((0, 2)), np.empty((0, 2)))
    assert report
    assert report.worst_index is None
    assert str(report) == "gradient check (central differences): ok, 0 entries"


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "softmax"])
def test_check_grad_of_a_layer(rng: np.random.Generator, name: str):
    w, weights = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    _, cache = fg.dense_forward(X, w, activation=name)
    report = fg.check_grad(
        lambda x: np.sum(weights * fg.dense(x, w, activation=name)),
        fg.dense_backward(weights, cache).x,
        X,
    )
    assert report, str(report)


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fg.deriv(np.sin, X, 0.0), ValueError, "deriv: delta is 0.0: give a positive"),
        (lambda: fg.deriv(np.sin, X, np.nan), ValueError, "deriv: delta is nan"),
        (lambda: fg.deriv(np.sin, X, np.inf), ValueError, "deriv: delta is inf"),
        (
            lambda: fg.deriv(np.sum, X),
            ValueError,
            r"func returned shape \(\) for x of shape \(2, 3",
        ),
        (lambda: fg.deriv(np.sin, [1.0, 1e17]), ValueError, r"delta is 0.001 but x reaches 1e\+17"),
        (lambda: fg.deriv(np.sin, [1j]), TypeError, "deriv: x has dtype complex128"),
        (
            lambda: fg.numerical_grad(np.sum, X, method="backward"),
            ValueError,
            "numerical_grad: method is 'backward': choose from 'central', 'forward', 'complex'",
        ),
        (lambda: fg.numerical_grad(np.sum, X, delta=-1), ValueError, "numerical_grad: delta is -1"),
        (
            lambda: fg.numerical_grad(np.sum, [1e9], delta=1e-9),
            ValueError,
            r"numerical_grad: delta is 1e-09 but x reaches 1e\+09",
        ),
        (
            lambda: fg.numerical_grad(np.sin, X),
            ValueError,
            r"numerical_grad: f returned shape \(2, 3\): it must return one number \(jacobian",
        ),
        (
            lambda: fg.numerical_grad(lambda x: np.sum(np.abs(x)), X, method="complex"),
            ValueError,
            "f returned dtype float64 for a complex argument: method='complex' needs",
        ),
        (lambda: fg.numerical_grad(lambda x: None, X), TypeError, r"f\(x\) has dtype object"),
        (
            lambda: fg.jacobian(lambda x: x[: 1 + (x[0] > 0)], [0.0, 1.0]),
            ValueError,
            r"jacobian: f returned shape \(2,\) after \(1,\): it must return one shape",
        ),
        (lambda: fg.jacobian(np.sin, "text"), TypeError, "jacobian: x has dtype"),
        (
            lambda: fg.jacobian(lambda x: x[:1] if x[0] > 0 else x, [0.0, 1.0]),
            ValueError,
            r"jacobian: f returned shape \(1,\) after \(2,\): it must return one shape",
        ),
        (
            lambda: fg.check_grad(np.sum, np.ones((3, 2)), X),
            ValueError,
            r"check_grad: grad has shape \(3, 2\) but x has shape \(2, 3\): they need the same",
        ),
        (lambda: fg.check_grad(np.sum, X, X, rtol=-1), ValueError, "check_grad: rtol is -1"),
        (lambda: fg.check_grad(np.sum, X, X, atol=np.nan), ValueError, "check_grad: atol is nan"),
        (lambda: fg.check_grad(np.sin, X, X), ValueError, "check_grad: f returned shape"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()
