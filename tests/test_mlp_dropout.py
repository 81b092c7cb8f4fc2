"""`fg.MLP(..., dropout=)`: which elements, gradients by complex steps, twins, training, threads."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import TRAINING_RTOL, U

import fastgrad as fg
from fastgrad import loops, reference

packages = pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
twins = pytest.mark.parametrize("twin", [reference, loops], ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
RATES = (0.25, 0.5)


def make(
    package: Any = fg, n: int = 11, sizes: tuple[int, ...] = (3, 9, 7, 2), **options: Any
) -> tuple[Any, Array, Array, Array]:
    """Return a network with dropout, its parameters, inputs and targets."""
    options = {"dropout": RATES, "dtype": "float64"} | options
    activations = ("tanh", "gelu", None)[3 - len(sizes) + 1 :]
    net = package.MLP(sizes, activations, "mse", **options)
    rng = rng_of("mlp dropout", n)
    params = rng.standard_normal(net.size).astype(net.dtype)
    x, target = (rng.standard_normal((n, k)).astype(net.dtype) for k in (sizes[0], sizes[-1]))
    return net, params, turn(x, net.samples), turn(target, net.samples)


def plain(net: Any, **options: Any) -> Any:
    """Return the same network without dropout."""
    names = [activation.name for activation in net.activations]
    return type(net)(net.sizes, names, net.loss.name, dtype=net.dtype, **options)


def factors(n: int, k: int, layer: int, seed: int, step: int) -> Array:
    """Return what each output of a hidden layer is multiplied by, from `fg.dropout_forward`."""
    return fg.dropout_forward(np.ones((n, k)), RATES[layer], seed, step, layer=layer)[0]


# -- the truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 11, 300])
def test_gradient_by_complex_steps(n: int) -> None:
    """300 samples are two blocks. The activations are tanh, whose slope is taken from y."""
    net = fg.MLP((3, 9, 7, 2), ("tanh", "tanh", None), "mse", dtype="float64", dropout=RATES)
    _, params, x, target = make(n=n)
    seed, step = (1 << 63) + 5, 17

    def loss(p: Array) -> Any:
        y, start = x, 0
        for i, (d, k) in enumerate(((3, 9), (9, 7), (7, 2))):
            w, b = p[start : start + d * k].reshape(d, k), p[start + d * k : start + d * k + k]
            y, start = y @ w + b, start + (d + 1) * k
            if i < 2:
                y = np.tanh(y) * factors(n, k, i, seed, step)
        return ((y - target) ** 2).mean()

    value, grad = net.value_and_grad(params, x, target, seed=seed, step=step)
    truth = [loss(move).imag / 1e-30 for move in params + 1e-30j * np.eye(net.size)]
    np.testing.assert_allclose(value, loss(params), rtol=1e-13)
    np.testing.assert_allclose(grad, truth, rtol=1e-11, atol=1e-13 * abs(grad).max())


@dtypes
@twins
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("normalize", [None, "layer"])
def test_twins(twin: Any, samples: str, dtype: str, normalize: str | None) -> None:
    options: dict[str, Any] = {"samples": samples, "dtype": dtype, "normalize": normalize}
    net, params, x, target = make(**options)
    other = make(twin, **options)[0]
    value, grad = net.value_and_grad(params, x, target, seed=3, step=2)
    expected, slopes = other.value_and_grad(params, x, target, seed=3, step=2)
    assert value == pytest.approx(expected, rel=300 * U[dtype], abs=0)
    np.testing.assert_allclose(grad, slopes, rtol=0, atol=300 * U[dtype] * abs(slopes).max())
    if dtype == "float64":
        how: dict[str, Any] = {"epochs": 3, "batch_size": 4, "clip_norm": 1.0}
        a, b = (n.fit(params, x, target, **how) for n in (net, other))
        np.testing.assert_allclose(a.losses, b.losses, rtol=TRAINING_RTOL)
        np.testing.assert_allclose(a.params, b.params, rtol=0, atol=TRAINING_RTOL)


@packages
def test_nothing_is_dropped_outside_of_training(package: Any) -> None:
    net, params, x, target = make(package)
    without = plain(net)
    for _ in range(2):
        assert np.array_equal(net.predict(params, x), without.predict(params, x))
        value, grad = net.value_and_grad(params, x, target)
        expected, slopes = without.value_and_grad(params, x, target)
        assert value == expected
        assert np.array_equal(grad, slopes)
    assert without.value_and_grad(params, x, target, seed=1) == (value, pytest.approx(grad))
    held_out = net.fit(params, x, target, epochs=1, validation=(x, target))
    assert held_out.validation_losses[-1] == net.value_and_grad(held_out.params, x, target)[0]


@dtypes
def test_layouts_threads_and_dtypes_have_the_same_bits(dtype: str, count: Any) -> None:
    options: dict[str, Any] = {"sizes": (40, 300, 200, 5), "n": 1300, "dtype": dtype}
    results = []
    for samples, threads in (("rows", 1), ("rows", 3), ("columns", 2)):
        count(threads)
        net, _, x, target = make(samples=samples, **options)
        params = net.init(seed=1)
        value, grad = net.value_and_grad(params, x, target, seed=7)
        fitted = net.fit(params, x, target, fg.SGD(lr=0.1), epochs=2, batch_size=600).params
        parts = [
            turn(layer.w, samples).tobytes() + layer.b.tobytes()
            for vector in (grad, fitted)
            for layer in net.layers(vector)
        ]
        results.append((value, parts))
    assert results[0] == results[1] == results[2]


# -- training ------------------------------------------------------------------------------------


def test_steps_are_those_of_value_and_grad() -> None:
    """To the bit: the key is the seed's first number, the step the optimizer's."""
    net, _, x, target = make(n=20, dtype="float32")
    params = net.init(seed=1)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "shuffle": False, "seed": 4}
    got = net.fit(params, x, target, fg.SGD(lr=0.1), **how)
    key = int(np.random.default_rng(4).integers(1 << 63))
    p, step = params.copy(), 0
    for _ in range(2):
        for first in range(0, 20, 8):
            batch = slice(first, first + 8)
            grad = net.value_and_grad(p, x[batch], target[batch], seed=key, step=step)[1]
            p -= p.dtype.type(0.1) * grad
            step += 1
    assert np.array_equal(got.params, p)


@packages
def test_other_forms_of_parameters(package: Any) -> None:
    """A dict and pairs, with weights of samples, too; a tape drops nothing."""
    net, params, x, target = make(package)
    weights = np.arange(11.0)
    value, grad = net.value_and_grad(params, x, target, weights, seed=1, step=2)
    for form in (net.named(params), net.layers(params)):
        other, slopes = net.value_and_grad(form, x, target, weights, seed=1, step=2)
        assert other == value
        first = slopes["W1"] if isinstance(slopes, dict) else slopes[0].w
        assert np.array_equal(first, net.layers(grad)[0].w)
    y, _ = net.forward(params, x)
    assert np.array_equal(y, plain(net).forward(params, x)[0])


@packages
def test_two_and_three_epochs_are_five(package: Any) -> None:
    net, params, x, target = make(package, n=30)
    how: dict[str, Any] = {"batch_size": 8, "validation": (x, target), "restore_best": True}
    whole = net.fit(params, x, target, epochs=5, **how)
    first = net.fit(params, x, target, epochs=2, **how)
    first = pickle.loads(pickle.dumps(first))
    rest = net.fit(None, x, target, epochs=3, resume=first, **how)
    assert np.array_equal(rest.losses, whole.losses)
    assert np.array_equal(rest.last, whole.last)
    assert np.array_equal(rest.validation_losses, whole.validation_losses)
    told = net.fit(params, x, target, epochs=5, batch_size=8, callback=lambda state: None)
    assert np.array_equal(told.losses, whole.losses)
    other = net.fit(params, x, target, epochs=5, batch_size=8, seed=1)
    assert not np.array_equal(other.losses, whole.losses)


def test_dropout_averages_to_the_network_without() -> None:
    """Of one hidden layer and the loss "sum": the gradient's mean over steps is that without."""
    _, params, x, _ = make(n=4, sizes=(3, 6, 2), dropout=0.4)
    net = fg.MLP((3, 6, 2), ("tanh", None), "sum", "sum", dtype="float64", dropout=0.4)
    last = slice(-14, None)
    exact = plain(net, reduction="sum").value_and_grad(params, x)[1][last]
    total = sum(net.value_and_grad(params, x, seed=1, step=s)[1][last] for s in range(2000))
    # A mean of 2000 draws with deviations below 4: five of its standard deviations are 0.45.
    assert abs(total / 2000 - exact).max() < 0.45
    assert abs(exact).max() > 1


# -- settings ------------------------------------------------------------------------------------


@packages
@pytest.mark.parametrize(
    "dropout, error, text",
    [
        (1.0, ValueError, r"^MLP: dropout is 1.0: give a rate from 0 to below 1$"),
        (-0.1, ValueError, r"^MLP: dropout is -0.1: give a rate from 0 to below 1$"),
        ((0.1, np.nan), ValueError, r"^MLP: dropout is nan: give a rate from 0 to below 1$"),
        ("0.1", TypeError, r"^MLP: dropout is a str: give a number$"),
        ((0.1,), ValueError, r"^MLP: 1 rates of dropout for 2 hidden layers: give one number, or "),
        (None, TypeError, r"^MLP: dropout is a NoneType: give a number$"),
    ],
)
def test_errors(package: Any, dropout: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        package.MLP((2, 4, 3, 1), ("tanh", "tanh", None), "mse", dropout=dropout)


@packages
def test_errors_of_seed_and_step(package: Any) -> None:
    net, params, x, target = make(package)
    with pytest.raises(TypeError, match=r"^MLP.value_and_grad: seed is a float: give an integer$"):
        net.value_and_grad(params, x, target, seed=1.0)
    with pytest.raises(ValueError, match=r"^MLP.value_and_grad: step is -1: it goes from 0 to 2"):
        net.value_and_grad(params, x, target, seed=1, step=-1)


def test_copies_and_text() -> None:
    net, params, x, target = make()
    assert repr(net).endswith("dtype='float64', dropout=(0.25, 0.5))")
    other = pickle.loads(pickle.dumps(net))
    one = other.value_and_grad(params, x, target, seed=1)
    assert one[0] == net.value_and_grad(params, x, target, seed=1)[0]
    assert "dropout" not in repr(plain(net))
    assert fg.MLP((2, 1), (None,), "mse", dropout=0.5).size == 3  # no hidden layer: nothing to drop
