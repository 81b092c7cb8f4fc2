"""`fg.MLP(..., l1=, l2=)`: values and gradients by the formula, complex steps, twins, training."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import U

import fastgrad as fg
from fastgrad import loops, reference

PENALTIES = {"l1": (0.03, 0.0), "l2": (0.0, 0.2), "both": (0.03, 0.2)}
penalties = pytest.mark.parametrize("l1, l2", PENALTIES.values(), ids=list(PENALTIES))
dtypes = pytest.mark.parametrize("dtype", DTYPES)
packages = pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)


def make(
    l1: float, l2: float, sizes: tuple[int, ...] = (3, 5, 4, 2), n: int = 7, package: Any = fg,
    **options: Any,
) -> tuple[Any, Array, Array, Array]:  # fmt: skip
    """Return a network with penalties, parameters without zeros, inputs and targets."""
    activations = (*["tanh"] * (len(sizes) - 2), None)
    net = package.MLP(sizes, activations, "mse", l1=l1, l2=l2, **options)
    rng = rng_of("penalties", sizes, n)
    params = rng.standard_normal(net.size).astype(net.dtype)
    x, target = (rng.standard_normal((n, k)).astype(net.dtype) for k in (sizes[0], sizes[-1]))
    return net, params, turn(x, net.samples), turn(target, net.samples)


def plain(net: Any) -> Any:
    """Return the same network without penalties."""
    names = [activation.name for activation in net.activations]
    loss, options = net.loss.name, (net.reduction, net.bias, net.samples, net.dtype, net.normalize)
    return type(net)(net.sizes, names, loss, *options)


def is_weight(net: Any) -> Array:
    """Return for each parameter whether it is a weight."""
    mask = np.zeros(net.size)
    for layer in net.layers(mask):
        if isinstance(layer, fg.LayerParams):
            layer.w[...] = 1
    return mask.astype(bool)


def called(net: Any, *arguments: Any) -> tuple[float, Array]:
    """Return what the compiled entry point gives, after checking the first call's way."""
    value, grad = net.value_and_grad(*arguments)
    again, second = net.value_and_grad(*arguments)
    assert np.array_equal(value, again, equal_nan=True)
    assert np.array_equal(grad, second, equal_nan=True)
    return again, second


# -- the truth -----------------------------------------------------------------------------------


@penalties
@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
def test_gradient_by_complex_steps(l1: float, l2: float, reduction: str) -> None:
    net, params, x, target = make(l1, l2, dtype="float64", reduction=reduction)
    divisor = {"mean": target.size, "sum": 1, "samples": len(x)}[reduction]
    weights = is_weight(net)

    def loss(p: Array) -> Any:
        y, start = x, 0
        for i, (d, k) in enumerate(zip(net.sizes[:-1], net.sizes[1:], strict=True)):
            w, b = p[start : start + d * k].reshape(d, k), p[start + d * k : start + d * k + k]
            y, start = y @ w + b, start + (d + 1) * k
            y = np.tanh(y) if i < 2 else y
        w = p[weights]
        size = (w * np.sign(w.real)).sum()  # |w|, for steps that do not reach 0
        return ((y - target) ** 2).sum() / divisor + l1 * size + l2 / 2 * (w * w).sum()

    value, grad = called(net, params, x, target)
    truth = [loss(step).imag / 1e-30 for step in params + 1e-30j * np.eye(net.size)]
    np.testing.assert_allclose(value, loss(params), rtol=1e-14)
    np.testing.assert_allclose(grad, truth, rtol=1e-12, atol=1e-15 * abs(grad).max())


@dtypes
@penalties
@pytest.mark.parametrize("normalize", [None, "layer"])
@pytest.mark.parametrize("samples", LAYOUTS)
def test_added_to_what_a_plain_network_gives(
    l1: float, l2: float, dtype: str, samples: str, normalize: str | None
) -> None:
    """To the bit: one rounding of the penalty's slope, one of the sum; and no bias is touched."""
    sizes = (70, 90, 3)  # more weights than a block of sums
    net, params, x, target = make(l1, l2, sizes, 300, samples=samples, dtype=dtype,
                                  normalize=normalize)  # fmt: skip
    value, grad = called(net, params, x, target)
    before, alone = plain(net).value_and_grad(params, x, target)
    weights = is_weight(net)
    w = params[weights]
    one, two = w.dtype.type(l1), w.dtype.type(l2)
    expected = alone.copy()
    expected[weights] += one * np.sign(w) + two * w
    assert np.array_equal(grad, expected)
    wide = w.astype(np.longdouble)
    penalty = l1 * abs(wide).sum() + l2 / 2 * (wide * wide).sum()
    assert value == pytest.approx(float(before + penalty), rel=1e-14, abs=0)


@dtypes
def test_the_slope_of_l1_at_zero_is_zero(dtype: str) -> None:
    for package in (fg, reference, loops):
        net, params, x, target = make(0.5, 0.0, package=package, dtype=dtype)
        first = net.layers(params)[0].w
        first[0, 0], first[1, 1] = 0.0, -0.0
        _, grad = called(net, params, x, target)
        _, alone = plain(net).value_and_grad(params, x, target)
        got, without = net.layers(grad)[0].w, net.layers(alone)[0].w
        for place in ((0, 0), (1, 1)):
            assert got[place] == without[place]
        assert got[0, 1] != without[0, 1]


@packages
def test_infinite_and_missing_weights(package: Any) -> None:
    """A penalty of 0 has no part in the value; a NaN stays in the gradient."""
    net = package.MLP((2, 1), ("tanh",), "mse", bias=False, dtype="float64", l2=0.5)
    value, grad = called(net, np.array([np.inf, 1.0]), [[1.0, 1.0]], [[1.0]])
    assert value == np.inf
    assert grad[0] == np.inf
    net = package.MLP((2, 1), ("tanh",), "mse", bias=False, dtype="float64", l1=0.5)
    value, grad = called(net, np.array([-np.inf, 1.0]), [[1.0, 1.0]], [[-1.0]])
    assert value == np.inf
    assert grad.tolist() == [-0.5, 0.5]
    value, grad = called(net, np.array([np.nan, 1.0]), [[0.0, 1.0]], [[1.0]])
    assert np.isnan(value)
    assert np.isnan(grad[0])


@packages
def test_no_samples_leave_the_penalties(package: Any) -> None:
    net = package.MLP((2, 1), (None,), "mse", "sum", dtype="float64", l1=1.0, l2=2.0)
    for _ in range(2):
        value, grad = net.value_and_grad([3.0, -4.0, 5.0], np.empty((0, 2)), np.empty((0, 1)))
        assert value == 3 + 4 + 9 + 16
        assert grad.tolist() == [7.0, -9.0, 0.0]
    net = package.MLP((2, 1), (None,), "mse", "sum", dtype="float64", l1=1.0)
    value, grad = called(net, [np.nan, -4.0, 5.0], np.empty((0, 2)), np.empty((0, 1)))
    assert np.isnan(value)
    np.testing.assert_array_equal(grad, [np.nan, -1.0, 0.0])


@dtypes
@penalties
def test_both_layouts_have_the_same_bits(l1: float, l2: float, dtype: str) -> None:
    """The sums take the weights in the order of rows in columns, too."""
    options: dict[str, Any] = {"sizes": (70, 90, 3), "n": 40, "dtype": dtype}
    net, params, x, target = make(l1, l2, **options)
    other, _, xt, target_t = make(l1, l2, samples="columns", **options)
    transposed = other.pack([(layer.w.T, layer.b) for layer in net.layers(params)])
    value, grad = called(net, params, x, target)
    again, slopes = called(other, transposed, xt, target_t)
    assert again == value
    for a, b in zip(net.layers(grad), other.layers(slopes), strict=True):
        assert np.array_equal(a.w, b.w.T)
        assert np.array_equal(a.b, b.b.ravel())


# -- twins, threads, converted arrays ------------------------------------------------------------


@dtypes
@penalties
@pytest.mark.parametrize("twin", [reference, loops], ids=lambda m: m.__name__)
def test_twins(l1: float, l2: float, dtype: str, twin: Any) -> None:
    net, params, x, target = make(l1, l2, dtype=dtype)
    other = make(l1, l2, dtype=dtype, package=twin)[0]
    value, grad = called(net, params, x, target)
    expected, slopes = other.value_and_grad(params, x, target)
    assert value == pytest.approx(expected, rel=50 * U[dtype], abs=0)
    np.testing.assert_allclose(grad, slopes, rtol=0, atol=50 * U[dtype] * abs(slopes).max())


def test_threads_and_pieces(count: Any) -> None:
    """Large enough to be shared; the gradient is larger than a piece of it."""
    net, params, x, target = make(0.01, 0.1, (300, 500, 400, 10), 1500)
    results = []
    for threads in (1, 3):
        count(threads)
        value, grad = called(net, params, x, target)
        fitted = net.fit(params, x, target, epochs=1, batch_size=600)
        results.append((value, grad.tobytes(), fitted.losses.tolist(), fitted.params.tobytes()))
    assert results[0] == results[1]


def test_out_and_foreign_arrays() -> None:
    net, params, x, target = make(0.03, 0.2, dtype="float32")
    value, grad = called(net, params, x, target)
    out = np.empty_like(grad)
    assert net.value_and_grad(params, x, target, out=out)[0] == value
    assert np.array_equal(out, grad)
    value64, grad64 = called(net, params.astype("float64"), x.astype("float64"), target.tolist())
    assert value64 == value
    assert grad64.dtype == "float64"
    assert np.array_equal(grad64, grad)


# -- training ------------------------------------------------------------------------------------


@dtypes
@penalties
@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
def test_training(l1: float, l2: float, reduction: str, dtype: str) -> None:
    """20 samples in batches of 8: the last has 4. Losses have the mean penalty over samples."""
    net, params, x, target = make(l1, l2, n=20, dtype=dtype, reduction=reduction)
    how: dict[str, Any] = {"epochs": 3, "batch_size": 8, "shuffle": False}
    rate = 0.002 if reduction == "sum" else 0.05
    result = net.fit(params, x, target, fg.SGD(lr=rate), **how)
    p, losses = params.copy(), []
    tolerance = 100 * U[dtype]  # nine steps of SGD: nothing magnifies a rounding
    for _ in range(3):
        data = penalty = 0.0
        for first in range(0, 20, 8):
            batch = slice(first, first + 8)
            alone = plain(net).value_and_grad(p, x[batch], target[batch])[0]
            whole, grad = net.value_and_grad(p, x[batch], target[batch])
            count = len(x[batch])
            data += alone if reduction == "sum" else alone * count / 20
            penalty += (whole - alone) * count / 20
            p -= p.dtype.type(rate) * grad
        losses.append(data + penalty)
    assert np.array_equal(result.params, p)
    np.testing.assert_allclose(result.losses, losses, rtol=tolerance)
    for twin in (reference, loops):
        other = make(l1, l2, package=twin, dtype=dtype, reduction=reduction)[0]
        same = other.fit(params, x, target, twin.SGD(lr=rate), **how)
        np.testing.assert_allclose(same.losses, result.losses, rtol=tolerance)
        np.testing.assert_allclose(
            same.params, result.params, rtol=0, atol=tolerance * abs(params).max()
        )


def test_l2_is_weight_decay_of_plain_sgd() -> None:
    net, params, x, target = make(0.0, 0.25, n=40, dtype="float64")
    got = net.fit(params, x, target, fg.SGD(lr=0.1), epochs=5)
    decayed = plain(net).fit(params, x, target, fg.SGD(lr=0.1, weight_decay=0.25), epochs=5)
    np.testing.assert_allclose(got.params, decayed.params, rtol=1e-12)


def test_l1_makes_weights_small() -> None:
    """Only one of twenty inputs matters: the others' weights are about 0 after training."""
    rng = rng_of("lasso")
    x = rng.standard_normal((200, 20))
    net = fg.MLP((20, 1), (None,), "mse", dtype="float64", l1=0.1)
    w = net.layers(net.fit(net.init(), x, 3 * x[:, :1], fg.SGD(lr=0.01), epochs=100).params)[0].w
    assert abs(w[1:]).max() < 0.01
    assert w[0, 0] == pytest.approx(3 - 0.1 / 2 / np.square(x[:, 0]).mean(), abs=0.01)


def test_resumed_and_many_epochs_are_the_same_bits() -> None:
    net, params, x, target = make(0.03, 0.2, n=50)
    whole = net.fit(params, x, target, epochs=5, batch_size=16)
    first = net.fit(params, x, target, epochs=2, batch_size=16)
    rest = net.fit(None, x, target, epochs=3, batch_size=16, resume=first)
    told = net.fit(params, x, target, epochs=5, batch_size=16, callback=lambda state: None)
    for other in (rest, told):
        assert np.array_equal(other.losses, whole.losses)
        assert np.array_equal(other.params, whole.params)


# -- settings ------------------------------------------------------------------------------------


@packages
@pytest.mark.parametrize(
    "settings, error, text",
    [
        ({"l1": -0.1}, ValueError, r"^MLP: l1 is -0.1: it must be finite and at least 0$"),
        ({"l2": np.inf}, ValueError, r"^MLP: l2 is inf: it must be finite and at least 0$"),
        ({"l2": "0.1"}, TypeError, r"^MLP: l2 is a str: give a number$"),
        ({"l1": None}, TypeError, r"^MLP: l1 is a NoneType: give a number$"),
    ],
)
def test_errors(package: Any, settings: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        package.MLP((2, 1), (None,), "mse", **settings)


def test_copies_and_text() -> None:
    net, params, x, target = make(0.03, 0.2)
    assert repr(net).endswith("dtype='float32', l1=0.03, l2=0.2)")
    for other in (copy.copy(net), pickle.loads(pickle.dumps(net))):
        assert (other.l1, other.l2) == (0.03, 0.2)
        assert called(other, params, x, target)[0] == called(net, params, x, target)[0]
    old = plain(net)
    state = {n: v for n, v in old.__getstate__().items() if n not in ("l1", "l2")}
    fresh = object.__new__(fg.MLP)
    fresh.__setstate__(state)
    assert (fresh.l1, fresh.l2) == (0.0, 0.0)
    assert "l1" not in repr(fresh)
