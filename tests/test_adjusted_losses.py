"""Huber's delta, and the limits of the losses that have some."""

from __future__ import annotations

import math
import pickle
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn
from tolerances import U

import fastgrad as fg
from fastgrad import loops, reference

PACKAGES = [fg, reference, loops]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
DELTAS = [2.0**-3, 0.3, 1.0, 2.0, math.inf]


def pair(dtype: str, n: int = 40, d: int = 7) -> tuple[Array, Array]:
    rng = rng_of("huber", n, d)
    return (2 * rng.standard_normal((n, d))).astype(dtype), rng.uniform(0, 1, (n, d)).astype(dtype)


@packages
@dtypes
@pytest.mark.parametrize("delta", DELTAS)
def test_huber_of_any_delta_is_true(delta: float, dtype: str, package: Any) -> None:
    """Terms beside mpmath; slopes are differences, cut off, to the rounding of the difference."""
    pred, target = pair(dtype)
    loss = package.losses.huber
    terms = loss(pred, target, "none", delta=delta)
    value, grad = loss.value_and_grad(pred, target, "sum", delta=delta)
    with mp.workdps(30):
        for at in np.ndindex(pred.shape):
            size = abs(mp.mpf(float(pred[at])) - mp.mpf(float(target[at])))
            small = size <= delta
            exact = size**2 / 2 if small else mp.mpf(delta) * (size - mp.mpf(delta) / 2)
            # A term of d = p - t is at least |d| min(|d|, delta) / 2. Rounded are d (2 U of the
            # term), delta (up to 2 U), its half, |d| - delta / 2 and the product (1 U each).
            assert abs(terms[at] - exact) <= 7 * U[dtype] * exact
    assert value == pytest.approx(math.fsum(terms.ravel()), rel=1e-13)
    difference = pred.astype(np.float64) - target
    expected = np.clip(difference, -delta, delta)
    np.testing.assert_allclose(grad, expected, rtol=U[dtype], atol=0)  # d or delta, rounded once


@packages
def test_with_and_the_argument_are_one(package: Any) -> None:
    pred, target = pair("float64")
    loss = package.losses.huber
    for samples in LAYOUTS:
        args = turn(pred, samples), turn(target, samples)
        own = loss.with_(delta=0.3)
        made = own.value_and_grad(*args, "mean", samples)
        given = loss.value_and_grad(*args, "mean", samples, delta=0.3)
        assert (made[0], True) == (given[0], same_bits(made[1], given[1]))
        assert own(*args, "mean", samples) == loss(*args, "mean", samples, delta=0.3) == made[0]
        weights = np.arange(40.0)
        out = np.empty_like(args[0])
        weighted = own.value_and_grad(*args, "mean", samples, out, weights)
        assert weighted[0] == loss(*args, "mean", samples, weights, delta=0.3)
        assert weighted[1] is out
    assert loss.value_and_grad(pred, target, delta=1.0)[0] == loss(pred, target)


@dtypes
def test_delta_of_one_has_the_bits_of_huber(dtype: str) -> None:
    """In the detailed kernel, too."""
    pred, target = pair(dtype, 300, 3)
    value, grad = fg.losses.huber.value_and_grad(pred, target)
    ones = fg.losses.huber.value_and_grad(pred, target, weights=np.ones(300))
    assert ones[0] == value
    assert same_bits(ones[1], grad)


@packages
@dtypes
def test_half_of_mse(dtype: str, package: Any) -> None:
    pred, target = pair(dtype)
    half = package.losses.huber.with_(delta=math.inf)
    value, grad = half.value_and_grad(pred, target)
    whole, slopes = package.losses.mse.value_and_grad(pred, target)
    assert value == pytest.approx(whole / 2, rel=1e-14 if dtype == "float64" else 2e-7)
    np.testing.assert_allclose(grad, slopes / 2, rtol=4 * U[dtype])
    assert half(np.array([np.inf], dtype), np.zeros(1, dtype)) == math.inf


@pytest.mark.parametrize("samples", LAYOUTS)
def test_networks_take_it(samples: str) -> None:
    """Directly, by a job, with weights, in training; of any package's object."""
    rng = rng_of("adjusted net")
    x, target = rng.standard_normal((300, 3)), 3 * rng.standard_normal((300, 2))
    args, weights = (turn(x, samples), turn(target, samples)), rng.uniform(0.5, 2, 300)
    for delta in (0.3, math.inf):
        loss, twin = (m.losses.huber.with_(delta=delta) for m in (fg, reference))
        nets = [
            m.MLP((3, 5, 2), ("tanh", None), given, samples=samples, dtype="float64")
            for m, given in ((fg, loss), (reference, loss), (loops, twin))
        ]  # fmt: skip
        params = nets[0].init(seed=2)
        for w in (None, weights, weights.tolist()):
            expected = nets[1].value_and_grad(params, *args, w)
            for _ in range(3):  # a job, then the entry point
                value, grad = nets[0].value_and_grad(params, *args, w)
                assert value == pytest.approx(expected[0], rel=1e-13)
                np.testing.assert_allclose(grad, expected[1], rtol=1e-10, atol=1e-14)
        few = [turn(turn(a, samples)[:9], samples) for a in args]
        assert nets[2].value_and_grad(params, *few)[0] == pytest.approx(
            nets[0].value_and_grad(params, *few)[0], rel=1e-13
        )
        fits = [net.fit(params, *args, epochs=2, batch_size=64) for net in nets[:2]]
        np.testing.assert_allclose(fits[0].losses, fits[1].losses, rtol=1e-11)
        again = pickle.loads(pickle.dumps(nets[0]))
        assert again.loss == nets[0].loss
        assert again.value_and_grad(params, *few)[0] == nets[0].value_and_grad(params, *few)[0]


@packages
def test_what_is_refused(package: Any) -> None:
    huber = package.losses.huber
    for wrong in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"^huber.with_: delta .* be greater than 0$"):
            huber.with_(delta=wrong)
        with pytest.raises(ValueError, match=r"^huber.with_: delta is"):
            huber([1.0], [2.0], delta=wrong)
    with pytest.raises(TypeError, match=r"^huber.with_: delta is a str: give a number"):
        huber.with_(delta="1")
    with pytest.raises(TypeError, match=r"^huber: target is None"):
        huber.with_(delta=2.0)([1.0], None)
    with pytest.raises(ValueError, match=r"^huber.value_and_grad: target has shape \(2,\)"):
        huber.value_and_grad([1.0], [1.0, 2.0], delta=2.0)


def test_an_adjusted_loss_is_a_value() -> None:
    huber = fg.losses.huber
    own = huber.with_(delta=0.5)
    assert own == huber.with_(delta=0.5) != huber.with_(delta=0.25)
    assert hash(own) == hash(huber.with_(delta=0.5))
    assert huber.with_(delta=1) is huber
    assert pickle.loads(pickle.dumps(own)) == own
    assert repr(own).startswith("<loss huber(delta=0.5): d**2 / 2")
    with pytest.raises(AttributeError, match="can't be changed"):
        own.setting = 3.0


@packages
@dtypes
def test_limits_of_poisson(dtype: str, package: Any) -> None:
    """No counts at -inf: no loss. In float32 terms stay finite beyond exp's range of 88."""
    poisson = package.losses.poisson
    p = np.array([-np.inf, np.inf, 100.0], dtype)
    t = np.array([0.0, 3.0, 2.0], dtype)
    terms = poisson(p, t, "none")
    assert terms[0] == 0
    assert terms[1] == np.inf
    assert terms[2] == pytest.approx(math.exp(100) - 200, rel=1e-14)
    assert poisson(p[:1], t[1:2]) == np.inf
    grad = poisson.value_and_grad(p[:2], t[:2], "sum")[1]
    assert grad.tolist() == [0.0, np.inf]
