"""`MLP.value_and_grad` as the function that scipy.optimize minimises."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES

import fastgrad as fg
from fastgrad import loops, reference

METHODS = ["CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"]
# It takes differences of gradients, a step of 1e-8 apart, as curvatures: it may not move at all.
NEED_FLOAT64 = {"Newton-CG"}


def problem(dtype: str, package: Any = fg) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3))
    net = package.MLP((3, 8, 1), ("tanh", None), "mse", dtype=dtype)
    return net, x, np.sin(x[:, :1]) + 0.1 * x[:, 1:2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_uses_gradients(method: str, dtype: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    net, x, target = problem(dtype)
    start = net.init().astype("float64")
    limit = {"maxfun" if method == "TNC" else "maxiter": 200}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy: no precision left, say
        result = optimize.minimize(
            net.value_and_grad, start, args=(x, target), jac=True, method=method, options=limit
        )
    before = net.value_and_grad(start, x, target)[0]
    enough = method not in NEED_FLOAT64 or dtype == "float64"
    assert result.fun < before / 100 if enough else result.fun <= before
    assert result.fun == net.value_and_grad(result.x, x, target)[0]


PACKAGES = [fg, reference, loops]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", ["float32", "float64", ">f8", "float16", "int64", "list"])
def test_the_gradient_of_float64_params_is_float64(
    given: str, dtype: str, package: ModuleType
) -> None:
    net, x, target = problem(dtype, package)
    params: Any = np.round(8 * fg.MLP((3, 8, 1), ("tanh", None), "mse").init()) / 4
    if given == "int64":
        params = np.round(params)
    own = params.astype(dtype)
    params = params.tolist() if given == "list" else params.astype(given)
    expected_dtype = np.dtype("float64" if given in ("float64", ">f8", "list") else dtype)
    for _ in range(3):  # first checked, then directly
        value, grad = net.value_and_grad(own, x, target)
        again, other = net.value_and_grad(params, x, target)
        assert grad.dtype == dtype
        assert other.dtype == expected_dtype
        assert again == value
        np.testing.assert_array_equal(other, grad)
        out = np.empty(net.size, expected_dtype)
        again, same = net.value_and_grad(params, x, target, out=out)
        assert same is out
        assert again == value
        np.testing.assert_array_equal(out, grad)
        wrong = np.empty(net.size, "float32" if expected_dtype == "float64" else "float64")
        with pytest.raises(ValueError, match="dtype"):
            net.value_and_grad(params, x, target, out=wrong)
    empty = net.value_and_grad(params, x[:0], target[:0])[1] if package is fg else other
    assert empty.dtype == expected_dtype
