"""The elementary functions of the kernels, held against mpmath and, in float32, everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from numba import njit

from fastgrad.kernels.elementwise.vector_math import build
from fastgrad.kernels.toolchain.target import host

# Largest error in ULP of the correctly rounded result, subnormal results included. In the
# comments: the largest found, over all inputs in float32, over 10 million and up to 60 million
# more where a function is worst in float64.
ULP = {
    "exp": 1,  # 0.89, 0.90
    "exp_sum": 1,  # exp(x + low), for x <= 0
    "expm1": 2,  # 1.50, 1.83
    "tanh": 2,  # 1.80, 1.93
    "log": 1,  # 0.83, 0.90
    "log1p_unit": 1.5,  # 1.38, 1.34; on [0, 1]
    "softplus": 2.5,  # 2.05, 2.05
    "sigmoid": 2,  # 1.65, 1.68
    "silu": 4,  # 3.34, 3.31
    "mish": 4,  # 3.07, 2.93
    "gelu": 4,  # 3.41, 3.42
    "gelu_tanh": 4,  # 3.20, 3.30
    "normal_cdf": 4,  # 3.06, 3.11
}
# The derivatives have zeros: their largest error is in eps, and in ULP only below z = -4.
EPS_AND_TAIL_ULP = {
    "silu_derivative": (1, 5),  # 0.82 eps 4.25 ULP, 0.81 eps 4.05 ULP
    "mish_derivative": (1, 5),  # 0.78 eps 4.18 ULP, 0.70 eps 4.23 ULP
    "gelu_derivative": (1.25, 4),  # 1.01 eps 2.40 ULP, 0.83 eps 2.40 ULP
    "gelu_tanh_derivative": (1.25, 6),  # 0.93 eps 4.92 ULP, 0.90 eps 4.65 ULP
}
NAMES = [*ULP, *EPS_AND_TAIL_ULP]
TAIL = -4.0

# Values at inf, -inf, 0.0, -0.0; a NaN gives a NaN everywhere.
SPECIAL = {
    "exp": (np.inf, 0.0, 1.0, 1.0),
    "exp_sum": (None, 0.0, 1.0, 1.0),
    "expm1": (np.inf, -1.0, 0.0, -0.0),
    "tanh": (1.0, -1.0, 0.0, -0.0),
    "log": (np.inf, np.nan, -np.inf, -np.inf),
    "log1p_unit": (None, None, 0.0, -0.0),
    "softplus": (np.inf, 0.0, None, None),
    "sigmoid": (1.0, 0.0, 0.5, 0.5),
    "silu": (np.inf, -0.0, 0.0, -0.0),
    "mish": (np.inf, -0.0, 0.0, -0.0),
    "gelu": (np.inf, -0.0, 0.0, -0.0),
    "gelu_tanh": (np.inf, -0.0, 0.0, -0.0),
    "normal_cdf": (1.0, 0.0, 0.5, 0.5),
    "silu_derivative": (1.0, -0.0, 0.5, 0.5),
    "mish_derivative": (1.0, -0.0, 0.6, 0.6),
    "gelu_derivative": (1.0, -0.0, 0.5, 0.5),
    "gelu_tanh_derivative": (1.0, -0.0, 0.5, 0.5),
}

# Where the result of a float32, float64 function becomes subnormal, overflows or is worst.
EDGES = {
    "exp": ((-104.2, -87), (88, 89), (-746, -708), (709, 710)),
    "exp_sum": ((-104.2, -87), (-0.4, 0), (-746, -708)),
    "expm1": ((88, 89), (0.3, 0.5), (709, 710)),
    "tanh": ((0.45, 0.55), (-0.52, -0.51), (8, 10), (18, 20)),
    "log": ((0.69, 0.72), (1.4, 1.8), (0.99, 1.01)),
    "log1p_unit": ((0, 1), (0.4, 0.7)),
    "softplus": ((-104.2, -87), (-0.8, 0.2), (-746, -708)),
    "sigmoid": ((-104.2, -87), (-0.5, -0.2), (-746, -708)),
    "silu": ((-109, -87), (-5, -1.5), (-752, -708)),
    "mish": ((-109, -87), (-5, 2), (-752, -708)),
    "gelu": ((-14.5, -13), (-3, -0.2), (-38.7, -37)),
    "gelu_tanh": ((-11, -9), (-5, -2), (-22, -20)),
    "normal_cdf": ((-14.5, -13), (-2, 0), (-38.7, -37)),
    "silu_derivative": ((-109, -87), (-1.4, -1.2), (-752, -708)),
    "mish_derivative": ((-109, -87), (-1.3, -1.1), (-752, -708)),
    "gelu_derivative": ((-14.5, -13), (-0.8, -0.7), (-38.7, -37)),
    "gelu_tanh_derivative": ((-11, -9), (-0.8, -0.7), (-22, -20)),
}

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 160


def exact(name: str, x: float, low: float = 0.0) -> Any:
    """Return the true value at a finite x."""
    m, z = CONTEXT, CONTEXT.mpf(x)
    sigmoid = lambda y: 1 / (1 + m.exp(-y))  # noqa: E731
    phi = lambda y: m.exp(-y * y / 2) / m.sqrt(2 * m.pi)  # noqa: E731
    scale, cubic = 2 * m.sqrt(2 / m.pi), m.mpf("0.044715")
    inner, slope = scale * (z + cubic * z**3), scale * (1 + 3 * cubic * z**2)
    values: dict[str, Callable[[], Any]] = {
        "exp": lambda: m.exp(z),
        "exp_sum": lambda: m.exp(z + m.mpf(low)),
        "expm1": lambda: m.expm1(z),
        "tanh": lambda: m.tanh(z),
        "log": lambda: m.log(z),
        "log1p_unit": lambda: m.log1p(z),
        "softplus": lambda: max(z, 0) + m.log1p(m.exp(-abs(z))),
        "sigmoid": lambda: sigmoid(z),
        "silu": lambda: z * sigmoid(z),
        "silu_derivative": lambda: sigmoid(z) * (1 + z * sigmoid(-z)),
        "mish": lambda: z * m.tanh(m.log1p(m.exp(z))),
        "mish_derivative": lambda: (
            m.tanh(m.log1p(m.exp(z))) + z * m.sech(m.log1p(m.exp(z))) ** 2 * sigmoid(z)
        ),
        "gelu": lambda: z * m.erfc(-z / m.sqrt(2)) / 2,
        "gelu_derivative": lambda: m.erfc(-z / m.sqrt(2)) / 2 + z * phi(z),
        "gelu_tanh": lambda: z * sigmoid(inner),
        "gelu_tanh_derivative": lambda: sigmoid(inner) * (1 + z * slope * sigmoid(-inner)),
        "normal_cdf": lambda: m.erfc(-z / m.sqrt(2)) / 2,
    }
    return values[name]()


def in_domain(name: str, x: Any) -> Any:
    """Keep the finite x for which the function is defined and mpmath is quick."""
    x = x[np.isfinite(x) & (np.abs(x) < 1e6)] if name != "log" else x[np.isfinite(x) & (x > 0)]
    if name == "log1p_unit":
        return x[(x >= 0) & (x <= 1)]
    return x[x <= 0] if name == "exp_sum" else x


def sample(name: str, dtype: str) -> Any:
    """Return magnitudes of every size, ordinary arguments, and the function's edges."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    exponents = rng.uniform(np.log2(float(info.smallest_subnormal)), info.maxexp, 200)
    parts = [
        2.0**exponents,
        -(2.0 ** (exponents / 10)),
        rng.normal(size=200),
        rng.uniform(-20, 20, 100),
        *(rng.uniform(low, high, 150) for low, high in EDGES[name]),
    ]
    with np.errstate(over="ignore"):
        return in_domain(name, np.concatenate(parts).astype(dtype))


@cache
def array_function(name: str, dtype: str) -> Any:
    """Return the function over arrays of x (and of low corrections), as kernels use it."""
    function = getattr(build(np.dtype(dtype)), name)
    if name == "exp_sum":

        @njit(error_model="numpy")
        def pairs(x: Any, low: Any, out: Any) -> None:
            for i in range(out.size):
                out[i] = function(x[i], low[i])

        return pairs

    @njit(error_model="numpy")
    def run(x: Any, low: Any, out: Any) -> None:
        for i in range(out.size):
            out[i] = function(x[i])

    return run


def evaluate(name: str, x: Any, low: Any = None) -> Any:
    out = np.empty_like(x)
    array_function(name, x.dtype.name)(x, np.zeros_like(x) if low is None else low, out)
    return out


def spacing(value: Any, dtype: str) -> float:
    """Return the ULP of the correctly rounded value."""
    rounded = np.dtype(dtype).type(float(value))
    return float(np.spacing(np.abs(min(rounded, np.finfo(dtype).max))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_accuracy(name: str, dtype: str) -> None:
    x = sample(name, dtype)
    eps = float(np.finfo(dtype).eps)
    low = (np.spacing(x) * np.random.default_rng(1).uniform(-0.5, 0.5, x.size)).astype(dtype)
    values = evaluate(name, x, low)
    largest = float(np.finfo(dtype).max)
    for argument, correction, value in zip(x, low, values, strict=True):
        true = exact(name, float(argument), float(correction))
        if abs(true) > largest * (1 + eps / 4):
            assert np.isinf(value) and (value > 0) == (true > 0), argument
            continue
        error = abs(mpf(float(value)) - true)
        if name in ULP:
            assert error <= ULP[name] * spacing(true, dtype), argument
        else:
            in_eps, in_tail = EPS_AND_TAIL_ULP[name]
            bound = in_tail * spacing(true, dtype) if argument < TAIL else in_eps * eps
            assert error <= bound, argument


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str, dtype: str) -> None:
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    quiet = np.array([np.nan, -np.nan], dtype).view(integer)
    nans = np.concatenate([quiet, quiet + integer(1), quiet + integer(0x12345)]).view(dtype)
    assert np.isnan(evaluate(name, nans)).all()
    for x, true in zip((np.inf, -np.inf, 0.0, -0.0), SPECIAL[name], strict=True):
        if true is not None:
            (value,) = evaluate(name, np.array([x], dtype))
            rounded = np.dtype(dtype).type(true)
            np.testing.assert_equal(value, rounded)
            if rounded == 0:
                assert np.signbit(value) == np.signbit(rounded), x
    if name == "log":
        assert np.isnan(evaluate(name, -np.array([1, 1e-40, 1e30], dtype))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_bits_do_not_depend_on_the_neighbours(name: str, dtype: str) -> None:
    x = sample(name, dtype)[:101]
    whole = evaluate(name, x)
    single = [evaluate(name, x[i : i + 1])[0] for i in range(x.size)]
    assert whole.tobytes() == np.array(single).tobytes()
    assert whole[3:].tobytes() == evaluate(name, x[3:]).tobytes()


@pytest.mark.skipif("+fma" not in host().features, reason="needs fused multiply-add")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_loops_become_vector_code(name: str, dtype: str) -> None:
    evaluate(name, np.zeros(1, dtype))
    (code,) = array_function(name, dtype).inspect_llvm().values()
    assert "@llvm.fma.v" in code


# -- every float32 ----------------------------------------------------------------------------


@njit(error_model="numpy")
def worst(x: Any, values: Any, true: Any, ulps: Any, tail: float) -> Any:
    """Return the largest error in ULP of x < tail, the largest of all, and where values are wrong.

    Wrong: not NaN, not infinite or not of the right sign where the true value is.
    """
    in_ulp, absolute, wrong = 0.0, 0.0, -1
    for i in range(x.size):
        rounded = np.float32(true[i])
        value = values[i]
        if np.isnan(rounded) or np.isinf(rounded) or np.isnan(value) or np.isinf(value):
            if not (value == rounded or (np.isnan(value) and np.isnan(rounded))):
                wrong = i
            continue
        if value == 0 and np.signbit(value) != np.signbit(true[i]):
            wrong = i
        error = abs(np.float64(value) - true[i])
        absolute = max(absolute, error)
        if x[i] < tail:
            exponent = (rounded.view(np.int32) >> 23) & 255
            in_ulp = max(in_ulp, error / ulps[exponent])
    return in_ulp, absolute, wrong


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in NAMES if name != "exp_sum"])
def test_every_float32(name: str) -> None:
    ulps = 2.0 ** (np.maximum(np.arange(255), 1) - 150)
    tail = np.inf if name in ULP else TAIL
    in_ulp = absolute = 0.0
    for start in range(0, 1 << 32, 1 << 22):
        x = np.arange(start, start + (1 << 22), dtype=np.uint32).view(np.float32)
        if name == "log1p_unit":
            x = in_domain(name, x)
        with np.errstate(invalid="ignore"):  # signalling NaNs
            wide = x.astype(np.float64)
        values, true = evaluate(name, x), evaluate(name, wide)
        u, a, wrong = worst(x, values, true, ulps, tail)
        assert wrong < 0, x[wrong]
        in_ulp, absolute = max(in_ulp, u), max(absolute, a)
    print(f"{name}: {in_ulp:.3f} ULP, {absolute / 2**-23:.3f} eps")
    if name in ULP:
        assert in_ulp <= ULP[name]
    else:
        in_eps, in_tail = EPS_AND_TAIL_ULP[name]
        assert absolute <= in_eps * 2**-23 and in_ulp <= in_tail
