"""Losses of users' own: values, gradients, networks, mistakes."""

from __future__ import annotations

import functools
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, rng_of, same_bits, turn
from tolerances import U

import fastgrad as fg
from fastgrad.losses import BUILT_IN, LOSSES

dtypes = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(scope="module")
def own() -> Any:
    """Return log_cosh, written as a user would."""
    loss = fg.define_loss(
        "own_log_cosh", lambda p, t: math.log(math.cosh(p - t)), lambda p, t: math.tanh(p - t)
    )
    yield loss
    LOSSES.pop("own_log_cosh")


@dtypes
@pytest.mark.parametrize("samples", LAYOUTS)
def test_it_is_the_loss_it_says(own: Any, samples: str, dtype: str) -> None:
    rng = rng_of("own loss")
    for n, d in ((40, 7), (3, 300)):
        pred, target = rng.standard_normal((n, d)).astype(dtype), rng.uniform(0, 1, (n, d))
        args = turn(pred, samples), turn(target.astype(dtype), samples)
        for weights in (None, rng.uniform(0, 1, n)):
            for reduction in ("mean", "sum", "samples"):
                value, grad = own.value_and_grad(*args, reduction, samples, weights=weights)
                expected, slopes = fg.losses.log_cosh.value_and_grad(
                    *args, reduction, samples, weights=weights
                )
                # Of float32, log_cosh takes the difference in float64, as this one does.
                assert value == pytest.approx(expected, rel=1e-13)
                np.testing.assert_allclose(grad, slopes, rtol=8 * U[dtype], atol=0)
                assert grad.dtype == dtype
                assert own(*args, reduction, samples, weights) == value
        terms = own(*args, "none", samples)
        np.testing.assert_allclose(
            terms, fg.losses.log_cosh(*args, "none", samples), rtol=1e-10, atol=1e-15
        )


@dtypes
def test_networks_take_it_by_name_and_object(own: Any, dtype: str) -> None:
    rng = rng_of("own loss net")
    x, target = rng.standard_normal((300, 3)), rng.standard_normal((300, 2))
    weights = rng.uniform(0.5, 1, 300)
    nets = [fg.MLP((3, 5, 2), ("tanh", None), loss, dtype=dtype) for loss in ("own_log_cosh", own)]
    theirs = fg.MLP((3, 5, 2), ("tanh", None), "log_cosh", dtype=dtype)
    params = theirs.init(seed=1)
    for w in (None, None, weights):
        expected, slopes = theirs.value_and_grad(params, x, target, w)
        for net in nets:
            value, grad = net.value_and_grad(params, x, target, w)
            assert value == pytest.approx(expected, rel=1e-12 if dtype == "float64" else 1e-6)
            np.testing.assert_allclose(grad, slopes, rtol=0, atol=64 * U[dtype])
    fits = [net.fit(params, x, target, epochs=3, weights=weights) for net in nets]
    assert same_bits(fits[0].params, fits[1].params)
    assert fits[0].losses[-1] < fits[0].losses[0]


def test_what_it_uses_keeps_its_value() -> None:
    scale = 2.0

    def value(p: float, t: float) -> float:
        return scale * (p - t) ** 2

    loss = fg.define_loss("kept", value, lambda p, t: 2 * scale * (p - t))
    scale = 100.0
    assert loss([3.0], [1.0]) == 8.0
    assert loss(np.float32([3.0]), np.float32([1.0])) == 8.0
    assert loss.value_and_grad([3.0], [1.0])[1].tolist() == [8.0]
    LOSSES.pop("kept")


def test_what_raises_is_nan() -> None:
    table = np.array([1.0, 2.0])
    loss = fg.define_loss("looked_up", lambda p, t: table[int(t)] * p, lambda p, t: table[int(t)])
    terms = loss([1.0, 1.0, 1.0], [0.0, 1.0, 7.0], "none")
    assert terms[:2].tolist() == [1.0, 2.0]
    assert np.isnan(terms[2])
    assert loss([1.0, 1.0, 1.0], [0.0, 1.0, 7.0], "sum", weights=[1, 1, 0]) == 3.0
    LOSSES.pop("looked_up")


def test_a_wrong_derivative_is_told() -> None:
    with pytest.warns(fg.FastgradWarning, match="derivative of 'half' is not that of value: at"):
        fg.define_loss("half", lambda p, t: (p - t) ** 2, lambda p, t: p - t)
    with pytest.warns(fg.FastgradWarning, match=r"at pred = .* target = 1 it gives"):
        fg.define_loss("half", lambda p, t: t * p, lambda p, t: 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.define_loss("half", lambda p, t: (p - t) ** 2 / 2, lambda p, t: p - t)
        # Not finite for half of all predictions, and a kink.
        fg.define_loss("half", lambda p, t: -t * math.log(p), lambda p, t: -t / p)
        fg.define_loss("half", lambda p, t: abs(p - t), lambda p, t: math.copysign(1.0, p - t))
    LOSSES.pop("half")


def test_what_is_refused() -> None:
    square, slope = (lambda p, t: (p - t) ** 2), (lambda p, t: 2 * (p - t))
    wrong: list[tuple[Any, Any, Any, type[Exception], str]] = [
        (3, square, slope, TypeError, "name is a int: give a str"),
        ("mse", square, slope, ValueError, "the name 'mse' is built in: choose another"),
        ("a b", square, slope, ValueError, "the name 'a b' is not an identifier"),
        ("ab", None, slope, TypeError, "value is not callable"),
        ("ab", square, 3.0, TypeError, "derivative is not callable"),
        ("ab", functools.partial(square, t=0), slope, TypeError, "value is a functools.partial"),
        ("ab", lambda p: p, slope, ValueError, "must take two numbers, pred and target, return"),
        ("ab", lambda p, t: "x", slope, ValueError, "value or derivative of 'ab' must take"),
        ("ab", math, slope, TypeError, "value is not callable"),
    ]
    for name, value, derivative, error, text in wrong:
        with pytest.raises(error, match=f"^define_loss: {text}|^define_loss: .*{text}"):
            fg.define_loss(name, value, derivative)
    assert set(LOSSES) >= set(BUILT_IN)
    assert "ab" not in LOSSES


def test_pickles_hold_its_name(own: Any) -> None:
    assert pickle.loads(pickle.dumps(own)) is own
    net = fg.MLP((1, 1), (None,), own)
    assert pickle.loads(pickle.dumps(net)).loss is own
    first = fg.define_loss("again", lambda p, t: p - t, lambda p, t: 1.0)
    second = fg.define_loss("again", lambda p, t: 2 * (p - t), lambda p, t: 2.0)
    assert fg.MLP((1, 1), (None,), "again").loss is second
    with pytest.raises(pickle.PicklingError, match="'again' has been defined again"):
        pickle.dumps(first)
    assert first([3.0], [1.0]) == 2.0
    gone = pickle.dumps(second)
    LOSSES.pop("again")
    with pytest.raises(ValueError, match=r"unknown loss 'again': define it by fg.define_loss"):
        pickle.loads(gone)
