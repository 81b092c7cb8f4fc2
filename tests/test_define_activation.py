"""What `define_activation` takes, and when: names as they are now, a derivative that is one."""

from __future__ import annotations

import functools
import math
import types
import warnings
from typing import Any

import numpy as np
import pytest

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("restored")
DTYPES = ("float64", "float32")
TABLE = np.arange(4.0)
FACTOR = 2.0
SETTINGS = types.ModuleType("settings_of_a_test")


def value(act: Any, z: float) -> list[float]:
    """Return the activation of one number by each dtype, float64 first."""
    return [float(act(np.array([z], dtype))[0]) for dtype in DTYPES]


def helper(z: float) -> float:
    return FACTOR * z


def leak(z: float, slope: float) -> float:
    return z if z > 0 else slope * z


def leak_slope(z: float, slope: float) -> float:
    return 1.0 if z > 0 else slope


def test_names_mean_what_they_meant_when_it_was_defined(monkeypatch: Any) -> None:
    """A closure, a global of a function that is called, a module's attribute, an array."""
    scale, shifts = 0.5, np.array([0.25])
    monkeypatch.setattr(SETTINGS, "bias", 1.0, raising=False)
    act = fg.define_activation(
        "now",
        lambda z: scale * z + helper(z) + SETTINGS.bias + shifts[0],
        lambda z: scale + FACTOR,
    )
    scale, shifts[0] = 9.0, 9.0
    monkeypatch.setattr(SETTINGS, "bias", 9.0)
    monkeypatch.setitem(globals(), "FACTOR", 9.0)
    assert value(act, -1.0) == [-1.25, -1.25]
    assert value(act.derivative, 1.0) == [2.5, 2.5]


def test_a_global_changed_in_between(monkeypatch: Any) -> None:
    space: dict[str, Any] = {"a": 0.125}
    exec("def f(z): return z if z > 0 else a * z", space)
    exec("def d(z): return 1.0 if z > 0 else a", space)
    act = fg.define_activation("between", space["f"], space["d"])
    space["a"] = 0.5
    assert value(act, -1.0) == [-0.125, -0.125]
    again = fg.define_activation("between", space["f"], space["d"])
    assert value(again, -1.0) == [-0.5, -0.5]
    assert value(act, -1.0) == [-0.125, -0.125]


def test_the_users_own_jitted_function_is_left_alone(monkeypatch: Any) -> None:
    from numba import njit

    double = njit(helper)
    act = fg.define_activation("jitted", lambda z: double(z), lambda z: FACTOR)
    assert double.signatures == []
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert double(1.0) == 3.0
    assert value(act, 1.0) == [2.0, 2.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_table_is_not_read_beyond_its_ends(dtype: str) -> None:
    act = fg.define_activation("table", lambda z: TABLE[int(z)], lambda z: 0.0)
    z = np.array([0, 3.5, 4, 100, 1e9, -1, -4, -5, -1e9, np.nan, np.inf, -np.inf], dtype)
    nan = np.nan
    right = [0, 3, nan, nan, nan, 3, 0, nan, nan, nan, nan, nan]  # -1 is the last, as in Python
    np.testing.assert_array_equal(act(z), np.array(right, dtype))
    y = fg.dense(z[:, None], np.ones((1, 1), dtype), activation="table")
    np.testing.assert_array_equal(y[:, 0], np.array(right, dtype))


def test_a_table_within_a_function_of_the_users() -> None:
    from numba import njit

    look_up = njit(lambda z: TABLE[int(z)])
    act = fg.define_activation("inner_table", lambda z: look_up(z), lambda z: 0.0)
    assert np.isnan(act([4.0, -5.0])).all()


# -- a derivative that is none ---------------------------------------------------------------------


def test_a_derivative_of_y_is_found() -> None:
    with pytest.warns(fg.FastgradWarning) as caught:
        fg.define_activation("logistic", lambda z: 1 / (1 + math.exp(-z)), lambda y: y * (1 - y))
    text = str(caught[0].message)
    assert text.startswith(
        "define_activation: derivative of 'logistic' is not that of forward: at z = -4.7713 it "
        "gives -27.5366, differences of forward 0.0083277 (18 of 18 points differ)"
    )
    assert text.endswith("it is right as a function of y: write it as one of z")
    assert caught[0].filename == __file__


WRONG: dict[str, tuple[Any, Any]] = {
    "half": (lambda z: z * z, lambda z: z),
    "sign": (lambda z: math.cos(z), lambda z: math.sin(z)),
    "one side": (lambda z: leak(z, 0.1), lambda z: 1.0),
    "a tenth of a percent": (lambda z: z**3, lambda z: 3.003 * z**2),
    "nan": (lambda z: z * z, lambda z: 2 * z if z < 3 else math.nan),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_derivative_is_found(case: str) -> None:
    with pytest.warns(fg.FastgradWarning, match="is not that of forward") as caught:
        act = fg.define_activation("wrong", *WRONG[case])
    assert "function of y" not in str(caught[0].message)
    assert act.name == "wrong"  # a warning: a straight-through estimator is meant


RIGHT: dict[str, tuple[Any, Any]] = {
    "relu": (lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0),
    "tanh": (lambda z: math.tanh(z), lambda z: 1 - math.tanh(z) ** 2),
    "five digits": (
        lambda z: math.sin(0.79788 * z),
        lambda z: 0.797885 * math.cos(0.79788 * z),
    ),
    "steep": (lambda z: math.exp(5 * z), lambda z: 5 * math.exp(5 * z)),
    "fast": (lambda z: math.sin(100 * z), lambda z: 100 * math.cos(100 * z)),
    "log": (lambda z: math.log(z) if z > 0 else math.nan, lambda z: 1 / z),
    "step": (lambda z: 1.0 if z > 0 else 0.0, lambda z: 0.0),
    "hard sigmoid": (
        lambda z: min(max(0.2 * z + 0.5, 0.0), 1.0),
        lambda z: 0.2 if -2.5 < z < 2.5 else 0.0,
    ),
    "inverse": (lambda z: z**-1, lambda z: -(z**-2)),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_right_derivative_is_no_reason_to_warn(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.define_activation("right", *RIGHT[case])


# -- kinds of functions ----------------------------------------------------------------------------


def affine(a: float, z: float, b: float) -> float:
    return a * z + b


@pytest.mark.parametrize(
    ("function", "slope", "right"),
    [
        (functools.partial(leak, slope=0.25), functools.partial(leak_slope, slope=0.25), -0.25),
        (functools.partial(affine, 2.0, b=1.0), lambda z: 2.0, -1.0),
        (functools.partial(functools.partial(affine, 2.0), b=3.0), lambda z: 2.0, 1.0),
    ],
)
def test_a_partial_of_one_argument(function: Any, slope: Any, right: float) -> None:
    assert value(fg.define_activation("partial", function, slope), -1.0) == [right, right]


class _Scale:
    def __call__(self, z: float) -> float:
        return z

    def scaled(self, z: float) -> float:
        return z


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_Scale(), "is an object of class _Scale, and Numba compiles functions: write one of z"),
        (_Scale().scaled, "is an object of class method, and Numba compiles functions"),
        (np.vectorize(leak), "is an object of class vectorize, and Numba compiles functions"),
        (functools.partial(affine, 2.0), "is a functools.partial that leaves more or less than"),
        (functools.partial(max, 0.0), "is a functools.partial that leaves more or less than"),
        (lambda z: np.clip(z, -1, 1), r"clip is not among it: write min\(max\(z, low\), high\)"),
        (lambda z: np.heaviside(z, 0.5), "heaviside is not among it: write 1.0 if z > 0 else 0.0"),
    ],
)
def test_what_to_write_instead(function: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"define_activation: forward of 'other' .*{text}"):
        fg.define_activation("other", function, leak)
