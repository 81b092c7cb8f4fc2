"""Losses of classes beside softmax cross-entropy: hinge of any margin, nll, and their limits."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn
from tolerances import U
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.arguments import REDUCTIONS

PACKAGES = [fg, reference, loops]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
both = pytest.mark.parametrize("name", ["hinge", "nll"])


def pair(name: str, dtype: str, n: int = 40, d: int = 7) -> tuple[Array, Array]:
    """Return predictions of the loss's domain, multiples of 1/8 for hinge, and classes."""
    rng = rng_of("classes", n, d)
    pred = (rng.integers(-32, 33, (n, d)) / 8).astype(dtype)
    return LOSS_TRUTH[name].domain(pred), rng.integers(0, d, n)


@packages
@dtypes
@pytest.mark.parametrize("margin", [0.0, 0.125, 1.0, 2.5])
@pytest.mark.parametrize("d", [2, 7, 300])
def test_hinge_of_any_margin_is_exact(d: int, margin: float, dtype: str, package: Any) -> None:
    """Of small binary fractions every sum is exact, and many are on the kink: its slope is 0."""
    n = 40 if d < 300 else 3
    z, classes = pair("hinge", dtype, n, d)
    rows, hinge = np.arange(n), package.losses.hinge
    over = np.maximum(0, z.astype(float) - z[rows, classes].astype(float)[:, None] + margin)
    over[rows, classes] = 0
    slopes = (over > 0).astype(float)
    slopes[rows, classes] -= slopes.sum(axis=1)
    value, grad = hinge.value_and_grad(z, classes, "sum", margin=margin)
    assert value == over.sum()
    np.testing.assert_array_equal(grad, slopes)
    np.testing.assert_array_equal(hinge(z, classes, "none", margin=margin), over.sum(axis=1))
    times = 0.25 * np.eye(d, dtype=dtype)[classes]
    value, grad = hinge.value_and_grad(z, times, "sum", margin=margin)
    assert value == over.sum() / 4
    np.testing.assert_array_equal(grad, slopes / 4)


@pytest.mark.parametrize("margin", [0.3, 1.0])
@dtypes
def test_they_are_pytorchs(dtype: str, margin: float) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    for name in ("hinge", "nll"):
        pred, classes = pair(name, dtype)
        pred = (
            LOSS_TRUTH[name].domain(pred + rng_of("more").uniform(0, 0.1, pred.shape)).astype(dtype)
        )
        settings = {"margin": margin} if name == "hinge" else {}
        value, grad = getattr(fg.losses, name).value_and_grad(pred, classes, **settings)
        leaf, labels = torch.tensor(pred, requires_grad=True), torch.tensor(classes)
        if name == "hinge":
            expected = functional.multi_margin_loss(leaf, labels, margin=margin) * pred.shape[1]
        else:
            expected = functional.nll_loss(leaf.log(), labels)
        expected.backward()
        assert value == pytest.approx(expected.item(), rel=50 * U[dtype])
        np.testing.assert_allclose(grad, leaf.grad, rtol=8 * U[dtype], atol=8 * U[dtype])


@both
@layouts
@dtypes
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_classes_and_one_hot_agree(reduction: str, dtype: str, samples: str, name: str) -> None:
    loss = getattr(fg.losses, name)
    pred, classes = pair(name, dtype, 31)
    x, hot = turn(pred, samples), turn(np.eye(7, dtype=dtype)[classes], samples)
    by_class = loss.value_and_grad(x, classes, reduction, samples)
    by_row = loss.value_and_grad(x, hot, reduction, samples)
    assert by_class[0] == pytest.approx(by_row[0], rel=1e-14, abs=0)
    np.testing.assert_allclose(by_class[1], by_row[1], rtol=2 * U[dtype], atol=0)


@both
@pytest.mark.parametrize("bad", [-1, 3, -(10**12), 10**12])
@pytest.mark.parametrize("n", [3, 300])
@dtypes
def test_the_kernel_reads_nothing_outside_of_a_row(dtype: str, n: int, bad: int, name: str) -> None:
    """Whatever a class has become since it was checked: the loss is NaN."""
    from fastgrad.kernels.calls.entry import plain_function

    kernel = plain_function(f"loss.{name}", f"loss_{name}", dtype, 11)
    pred, grad = np.ones((2, n), dtype), np.zeros((2, n), dtype)
    classes, cells = np.array([1, bad if bad != 3 else n]), np.array([1.0, 0.0])
    kernel(
        pred.ctypes.data, n, classes.ctypes.data, 1, grad.ctypes.data, n, 2, n, 1,
        cells.ctypes.data, cells.ctypes.data + 8,
    )  # fmt: skip
    assert np.isnan(cells[1])
    assert np.isfinite(grad).all()
    assert not grad[1].any()


@both
@packages
def test_a_class_that_is_none_is_refused(package: Any, name: str) -> None:
    loss, pred = getattr(package.losses, name), np.full((3, 4), 0.25)
    loss(pred, np.array([0, 3, 1]))
    for classes in ([0, 4, 1], [-1, 0, 0], [0, 1], [[0, 1, 2]]):
        for call in (loss, loss.value_and_grad):
            with pytest.raises(ValueError, match=rf"^{name}\S*: target has"):
                call(pred, np.array(classes))


@packages
def test_with_and_the_margin_are_one(package: Any) -> None:
    hinge = package.losses.hinge
    z, classes = pair("hinge", "float64")
    own, weights = hinge.with_(margin=0.5), np.arange(40.0)
    for samples in LAYOUTS:
        x, out = turn(z, samples), np.empty(turn(z, samples).shape)
        made = own.value_and_grad(x, classes, "mean", samples)
        given = hinge.value_and_grad(x, classes, "mean", samples, margin=0.5)
        assert (made[0], True) == (given[0], same_bits(made[1], given[1]))
        assert own(x, classes, samples=samples) == made[0]
        weighted = own.value_and_grad(x, classes, "mean", samples, out, weights)
        assert weighted[0] == hinge(x, classes, "mean", samples, weights, margin=0.5)
        assert weighted[1] is out
    assert hinge(z, classes, margin=1.0) == hinge(z, classes)


@packages
def test_margins_that_are_refused(package: Any) -> None:
    hinge = package.losses.hinge
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^hinge.with_: margin"):
            hinge.with_(margin=wrong)
        with pytest.raises(ValueError, match=r"^hinge.with_: margin"):
            hinge([[1.0, 2.0]], [0], margin=wrong)
    with pytest.raises(TypeError, match=r"^hinge.with_: margin"):
        hinge.with_(margin="1")
    with pytest.raises(TypeError, match=r"^hinge: target is None"):
        hinge.with_(margin=2.0)([[1.0, 2.0]], None)


def test_an_adjusted_hinge_is_a_value() -> None:
    hinge = fg.losses.hinge
    own = hinge.with_(margin=0.5)
    assert own == hinge.with_(margin=0.5) != hinge.with_(margin=0.25)
    assert hinge.with_(margin=1) is hinge
    assert pickle.loads(pickle.dumps(own)) == own
    assert repr(own).startswith("<loss hinge(margin=0.5): sum(max(0")


@layouts
def test_networks_take_any_margin(samples: str) -> None:
    """Directly, by a job, with weights, in training; of any package's object."""
    rng = rng_of("hinge net")
    x, classes = turn(rng.standard_normal((300, 3)), samples), rng.integers(0, 4, 300)
    loss, twin = (m.losses.hinge.with_(margin=0.3) for m in (fg, reference))
    nets = [
        m.MLP((3, 5, 4), ("tanh", None), given, samples=samples, dtype="float64")
        for m, given in ((fg, loss), (reference, loss), (loops, twin))
    ]
    params = nets[0].init(seed=2)
    for weights in (None, rng.uniform(0.5, 2, 300)):
        expected = nets[1].value_and_grad(params, x, classes, weights)
        for _ in range(3):  # a job, then the entry point
            value, grad = nets[0].value_and_grad(params, x, classes, weights)
            assert value == pytest.approx(expected[0], rel=1e-13)
            np.testing.assert_allclose(grad, expected[1], rtol=1e-10, atol=1e-14)
    few = turn(turn(x, samples)[:9], samples), classes[:9]
    values = [net.value_and_grad(params, *few)[0] for net in nets]
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-13)
    fits = [net.fit(params, x, classes, epochs=2, batch_size=64) for net in nets[:2]]
    np.testing.assert_allclose(fits[0].losses, fits[1].losses, rtol=1e-11)


def test_nll_of_a_softmax_is_softmax_cross_entropy() -> None:
    """To rounding: with a softmax as the last activation, which nothing warns of."""
    rng = rng_of("nll net")
    x, classes = rng.standard_normal((50, 3)), rng.integers(0, 4, 50)
    nll = fg.MLP((3, 5, 4), ("tanh", "softmax"), "nll", dtype="float64")
    whole = fg.MLP((3, 5, 4), ("tanh", None), "softmax_cross_entropy", dtype="float64")
    params = nll.init(seed=1)
    value, grad = nll.value_and_grad(params, x, classes)
    expected, slope = whole.value_and_grad(params, x, classes)
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(grad, slope, rtol=1e-12, atol=1e-15)


@packages
@dtypes
def test_limits_of_nll(dtype: str, package: Any) -> None:
    """A probability of 0 costs nothing unless its class counts; then the loss is inf."""
    nll = package.losses.nll
    p = np.array([[0.0, 1.0], [0.0, 1.0]], dtype)
    value, grad = nll.value_and_grad(p, np.array([[0.0, 1.0], [0.0, 0.5]], dtype), "sum")
    assert value == 0
    assert grad.tolist() == [[0.0, -1.0], [0.0, -0.5]]
    assert nll(p, [1, 1]) == 0
    value, grad = nll.value_and_grad(p, [1, 0], "sum")
    assert value == math.inf
    assert grad.tolist() == [[0.0, -1.0], [-math.inf, 0.0]]
