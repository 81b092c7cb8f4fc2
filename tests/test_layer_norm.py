"""`fg.MLP(..., normalize="layer")`: against its twins, PyTorch, complex steps and the truth."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, Array, rng_of, turn
from tolerances import TORCH_EPS, TRAINING_RTOL

import fastgrad as fg
from fastgrad import loops, reference, threads
from fastgrad.kernels.network import plan_table

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)


def make(
    sizes: tuple[int, ...], activation: str | None, n: int, package: Any = fg, **options: Any
) -> tuple[Any, Array, Array, Array]:
    """Return a normalized network, parameters that are no ones or zeros, inputs and targets."""
    net = package.MLP(
        sizes, (*[activation] * (len(sizes) - 2), None), "mse", normalize="layer", **options
    )
    rng = rng_of(sizes, activation, n)
    params = net.init(seed=1)
    params += (0.3 * rng.standard_normal(net.size)).astype(net.dtype)
    x, target = (rng.standard_normal((n, k)).astype(net.dtype) for k in (sizes[0], sizes[-1]))
    return net, params, turn(x, net.samples), turn(target, net.samples)


def mean_square(net: fg.MLP, params: Array, x: Array, target: Array, act: Any) -> Any:
    """Return the loss by the formula alone, in the dtype of `params`; complex ones, too."""
    y, start = x, 0

    def take(*shape: int) -> Array:
        nonlocal start
        start += int(np.prod(shape))
        return params[start - int(np.prod(shape)) : start].reshape(shape)

    for i, (d, k) in enumerate(zip(net.sizes[:-1], net.sizes[1:], strict=True)):
        y = y @ take(d, k) + take(k)
        if i < len(net.sizes) - 2:
            y = y - y.sum(1, keepdims=True) / k
            y = y / np.sqrt((y * y).sum(1, keepdims=True) / k + 1e-5)
            y = act(y * take(k) + take(k))
    return ((y - target) ** 2).sum() / target.size


# -- the truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 4, 2), (5, 17, 3, 4), (2, 33, 1)], ids=str)
def test_gradient_by_complex_steps(sizes: tuple[int, ...]) -> None:
    net, params, x, target = make(sizes, "tanh", 6, dtype="float64")
    value, grad = net.value_and_grad(params, x, target)
    steps = params + 1e-30j * np.eye(net.size)
    truth = [mean_square(net, step, x, target, np.tanh).imag / 1e-30 for step in steps]
    np.testing.assert_allclose(value, mean_square(net, params, x, target, np.tanh), rtol=1e-14)
    np.testing.assert_allclose(grad, truth, rtol=1e-11, atol=1e-14 * abs(grad).max())


@dtypes
@pytest.mark.parametrize("middle", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("k", [2, 16, 33, 700])
def test_a_large_mean_costs_no_digits(k: int, middle: float, dtype: str) -> None:
    """Weights are the identity, so that samples are normalized exactly as given."""
    net = fg.MLP((k, k, k), (None, None), "mse", "sum", False, dtype=dtype, normalize="layer")
    gain, shift = np.ones(k), np.zeros(k)
    params = net.pack([(np.eye(k), None), (gain, shift), (np.eye(k), None)])
    # Spread over few steps of the format: what a mean rounded to it leaves is as large.
    spread = max(1.0, middle * 2) * np.finfo(dtype).eps * 4 if middle else 1.0
    z = (middle + spread * rng_of(k, middle).standard_normal((50, k))).astype(dtype)
    exact = z.astype(np.longdouble)
    for _ in range(2):  # of 33 numbers near 100, even a mean of 80 bits leaves 1e-18
        exact -= exact.mean(1, keepdims=True)
    variance = (exact * exact).mean(1, keepdims=True)
    exact /= np.sqrt(variance + np.longdouble("1e-5"))
    error = abs(net.predict(params, z) - exact)
    assert error.max() <= 2 * np.finfo(dtype).eps * abs(exact).max()
    _, grad = net.value_and_grad(params, z, np.zeros_like(z))
    of_gain = (2 * exact * exact).sum(0)  # all terms are positive
    error = abs(net.layers(grad)[1].gain - of_gain)
    assert (error <= 16 * np.finfo(dtype).eps * of_gain).all()


@dtypes
def test_a_constant_sample(dtype: str) -> None:
    """Its variance is 0, whatever its mean: eps keeps everything finite."""
    net = fg.MLP((1, 3, 3, 1), ("relu", "relu", None), "mse", dtype=dtype, normalize="layer")
    params = net.init()
    for layer in net.layers(params)[::2]:
        layer.w[...] = 0.1
    value, grad = net.value_and_grad(params, [[0.7], [1e6]], [[1.0], [1.0]])
    assert value == 1.0
    assert np.isfinite(grad).all()


# -- the twins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [reference, loops], ids=["reference", "loops"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "softmax", None])
@pytest.mark.parametrize("bias", [True, False])
@layouts
@dtypes
def test_twins(dtype: str, samples: str, bias: bool, activation: Any, package: Any) -> None:
    options = {"dtype": dtype, "samples": samples, "bias": bias}
    net, params, x, target = make((4, 9, 5, 3), activation, 7, **options)
    twin = make((4, 9, 5, 3), activation, 7, package, **options)[0]
    assert repr(net).split("loss=")[1] == repr(twin).split("loss=")[1]
    assert net.size == twin.size
    assert np.array_equal(net.init(seed=3), twin.init(seed=3))
    for own, other in zip(net.layers(params), twin.layers(params), strict=True):
        assert type(own) is type(other)
        for a, b in zip(own, other, strict=True):
            assert (a is None and b is None) or np.array_equal(a, b)
    assert np.array_equal(net.pack(net.layers(params)), params)
    assert np.array_equal(twin.pack(twin.layers(params)), params)
    one = 0 if samples == "rows" else (slice(None), 0)
    eps = np.finfo(dtype).eps
    for inputs, goal in ((x, target), (x[one], target[one])):
        value, grad = net.value_and_grad(params, inputs, goal)
        expected, expected_grad = twin.value_and_grad(params, inputs, goal)
        assert abs(value - expected) <= 16 * eps * abs(expected)
        assert abs(grad - expected_grad).max() <= 64 * eps * abs(grad).max()
        y, other = net.predict(params, inputs), twin.predict(params, inputs)
        assert y.shape == other.shape
        assert abs(y - other).max() <= 32 * eps * abs(y).max()


@pytest.mark.parametrize("package", [reference, loops], ids=["reference", "loops"])
def test_training_as_the_twins_do(package: Any) -> None:
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 4, "seed": 2}
    results = []
    for one in (fg, package):
        net, params, x, target = make((3, 6, 2), "tanh", 10, one, dtype="float64")
        results.append(net.fit(params, x, target, one.Adam(lr=0.05), **settings))
    own, other = results
    np.testing.assert_allclose(own.params, other.params, rtol=TRAINING_RTOL)
    np.testing.assert_allclose(own.losses, other.losses, rtol=TRAINING_RTOL)
    assert own.losses[-1] < own.losses[0]


@layouts
@dtypes
def test_pytorch(dtype: str, samples: str) -> None:
    torch: Any = pytest.importorskip("torch", exc_type=ImportError)
    functional = torch.nn.functional
    net, params, x, target = make((5, 16, 9, 3), "gelu", 40, dtype=dtype, samples=samples)
    value, grad = net.value_and_grad(params, x, target)
    leaves = [
        [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in layer]
        for layer in net.layers(params)
    ]
    y = torch.tensor(np.ascontiguousarray(turn(x, samples)))
    for i, pair in enumerate(leaves):
        if i % 2:
            gain, shift = (p.reshape(-1) for p in pair)
            y = functional.gelu(functional.layer_norm(y, gain.shape, gain, shift, 1e-5))
        else:
            w, b = pair
            y = functional.linear(y, w.T if samples == "rows" else w, b.reshape(-1))
    goal = torch.tensor(np.ascontiguousarray(turn(target, samples)))
    loss = functional.mse_loss(y, goal)
    loss.backward()
    eps = np.finfo(dtype).eps
    assert abs(value - loss.item()) <= TORCH_EPS * eps * value
    for own, pair in zip(net.layers(grad), leaves, strict=True):
        for a, leaf in zip(own, pair, strict=True):
            assert abs(a - leaf.grad.numpy()).max() <= 2 * TORCH_EPS * eps * abs(grad).max()


# -- bits ----------------------------------------------------------------------------------------


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share even small work over threads."""
    monkeypatch.setattr(threads, "SHARE_FROM", 1 << 10)
    before = fg.get_num_threads()
    yield
    fg.set_num_threads(before)


@layouts
@dtypes
@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_threads_change_no_bit(
    piece: int, dtype: str, samples: str, many_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of gain and shift are one piece, or in the middle of the whole."""
    monkeypatch.setattr(plan_table, "PIECE_BYTES", piece)
    net, params, x, target = make((20, 40, 33, 3), "gelu", 1601, dtype=dtype, samples=samples)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 800}
    found = []
    for count in (1, 2, 3):
        fg.set_num_threads(count)
        spaces = net._network
        for space in [spaces.take_space()]:  # what is read was written
            space[:] = 255
            spaces.give_back([space])
        value, grad = net.value_and_grad(params, x, target)
        trained = net.fit(params, x, target, fg.Adam(lr=1e-2), **settings)
        found.append([value, grad, trained.params, trained.losses, net.predict(params, x)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@layouts
@dtypes
@pytest.mark.parametrize("k", [2, 15, 64, 5000])
def test_a_sample_alone_has_the_bits_it_has_among_others(k: int, dtype: str, samples: str) -> None:
    net, params, x, _ = make((3, k, 2), "softmax", 300, dtype=dtype, samples=samples)
    y = turn(net.predict(params, x), samples)
    for i in (0, 7, 255, 256, 299):
        np.testing.assert_array_equal(net.predict(params, turn(x, samples)[i]), y[i])


@pytest.mark.parametrize("form", FORMS)
def test_memory_layouts_change_no_bit(form: str) -> None:
    lay: Callable[[Array], Any] = FORMS[form]
    net, params, x, target = make((3, 8, 2), "tanh", 9)
    value, grad = net.value_and_grad(params, x, target)
    other, other_grad = net.value_and_grad(lay(params), lay(x), lay(target))
    assert other == value
    np.testing.assert_array_equal(other_grad, grad)


def test_nan_stays_in_its_sample() -> None:
    net, params, x, _ = make((3, 8, 8, 2), "tanh", 9)
    y = net.predict(params, x)
    x[4, 1] = np.nan
    found = net.predict(params, x)
    assert np.isnan(found[4]).all()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(y, 4, 0))


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [fg, reference, loops], ids=["fg", "reference", "loops"])
def test_what_is_refused(package: Any) -> None:
    with pytest.raises(ValueError, match=r"^MLP: normalize is 'batch': choose None or 'layer'$"):
        package.MLP((2, 3, 1), ("tanh", None), "mse", normalize="batch")
    with pytest.raises(ValueError, match="one output, normalized, is always 0, so layer 1 passes"):
        package.MLP((2, 3, 1, 1), ("tanh", "tanh", None), "mse", normalize="layer")
    package.MLP((1, 3, 1), ("tanh", None), "mse", normalize="layer")  # neither input nor output


def test_pack_refuses_what_does_not_fit() -> None:
    net = fg.MLP((2, 3, 1), ("tanh", None), "mse", normalize="layer")
    (first, norm, last) = net.layers(net.init())
    with pytest.raises(
        ValueError,
        match=r"holds 2 things: give 3 pairs \(w, b\) or \(gain, shift\), one per layer: "
        r"\[\(w1, b1\), \(gain1, shift1\), ...\]$",
    ):
        net.pack([first, last])
    with pytest.raises(ValueError, match=r"layer 1 is not a pair \(gain, shift\)"):
        net.pack([first, [1.0, 2.0, 3.0], last])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"shift of layer 1 has shape \(2,\): it needs \(3,\)"):
        net.pack([first, (norm.gain, [1.0, 2.0]), last])
    with pytest.raises(TypeError, match="gain of layer 1"):
        net.pack([first, (None, norm.shift), last])  # type: ignore[list-item]


def test_hidden_layers_alone_are_normalized() -> None:
    plain = fg.MLP((3, 2), ("tanh",), "mse")
    other = fg.MLP((3, 2), ("tanh",), "mse", normalize="layer")
    params, x = plain.init(), np.ones((4, 3), np.float32)
    assert other.size == plain.size
    np.testing.assert_array_equal(other.predict(params, x), plain.predict(params, x))
    deep = fg.MLP((3, 4, 5, 2), ("tanh", "relu", "tanh"), "mse", normalize="layer")
    kinds = [type(layer) for layer in deep.layers(deep.init())]
    assert kinds == [fg.LayerParams, fg.NormParams] * 2 + [fg.LayerParams]


def test_pickles_and_repr() -> None:
    net, params, x, target = make((3, 4, 2), "tanh", 5)
    assert repr(net).endswith("dtype='float32', normalize='layer')")
    other = pickle.loads(pickle.dumps(net))
    assert repr(other) == repr(net)
    assert other.value_and_grad(params, x, target)[0] == net.value_and_grad(params, x, target)[0]
    state = {n: v for n, v in net.__getstate__().items() if n != "normalize"}  # as 0.1 left it
    old = fg.MLP.__new__(fg.MLP)
    old.__setstate__(state)
    assert old.normalize is None
    assert "normalize" not in repr(old)
