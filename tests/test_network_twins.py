"""The network and the optimizers of the two baselines, which `fg.MLP` is held against.

Their gradients against central differences and PyTorch, their optimizers against `torch.optim`,
`fit` against a training loop written out here, and the two against each other.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn
from tolerances import CENTRAL_ATOL, CENTRAL_STEP, FLOAT32_RTOL, GRADIENT_RTOL

from fastgrad import loops, reference
from fastgrad.activations import BUILT_IN
from fastgrad.losses import LOSSES

REDUCTIONS = ("mean", "sum", "samples")
ONE_ARRAY = ("sum", "squared_l2")
RTOL = {"float32": FLOAT32_RTOL, "float64": GRADIENT_RTOL}

impls = pytest.mark.parametrize(
    "impl", [reference, loops], ids=lambda m: m.__name__.rsplit(".", 1)[-1]
)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
losses = pytest.mark.parametrize("loss", list(LOSSES))
biases = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])


@pytest.fixture(scope="module")
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, at import
        return pytest.importorskip("torch", exc_type=ImportError)


# -- data: always made in rows, turned for columns -----------------------------------------------


def targets(loss: str, n: int, k: int) -> list[Array | None]:
    """Return targets for `loss` in row layout; softmax cross-entropy takes two kinds."""
    rng = rng_of("target", loss, n, k)
    if loss in ONE_ARRAY:
        return [None]
    if loss == "softmax_cross_entropy":
        weights = rng.random((n, k))
        return [rng.integers(0, k, n), weights / weights.sum(1, keepdims=True)]
    if loss == "binary_cross_entropy_with_logits":
        return [rng.random((n, k))]
    return [rng.standard_normal((n, k))]


def inputs(n: int, d: int) -> Array:
    return rng_of("x", n, d).standard_normal((n, d))


def parameters(net: Any) -> Array:
    """Return parameters with biases that are not zero."""
    return 0.7 * rng_of("params", net.size).standard_normal(net.size)


def turned(target: Array | None, samples: str) -> Array | None:
    return None if target is None else turn(target, samples)


def assert_close(got: Any, expected: Any, rtol: float) -> None:
    """Compare, relative to the largest entry: small ones are differences of large ones."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    error, size = np.abs(got - expected).max(), np.abs(expected).max()
    assert error <= rtol * size, f"error {error / size:.2e} of the largest, {rtol:.0e} allowed"


# -- gradients ------------------------------------------------------------------------------------


@impls
@losses
@reductions
@layouts
@biases
def test_gradient_by_central_differences(
    impl: ModuleType, loss: str, reduction: str, samples: str, bias: bool
) -> None:
    net = impl.MLP((3, 2, 2), ("tanh", None), loss, reduction, bias, samples, "float64")
    params, x = parameters(net), turn(inputs(4, 3), samples)
    for rows_target in targets(loss, 4, 2):
        target = turned(rows_target, samples)
        value, grad = net.value_and_grad(params, x, target)
        assert type(value) is float
        assert grad.shape == (net.size,)
        for i in range(net.size):
            above, below = params.copy(), params.copy()
            above[i] += CENTRAL_STEP
            below[i] -= CENTRAL_STEP
            rise = net.value_and_grad(above, x, target)[0] - net.value_and_grad(below, x, target)[0]
            assert grad[i] == pytest.approx(rise / (2 * CENTRAL_STEP), abs=CENTRAL_ATOL, rel=0)


def torch_activation(torch: Any, name: str) -> Callable[[Any], Any]:
    functional = torch.nn.functional
    special: dict[str, Callable[[Any], Any]] = {
        "identity": lambda z: z,
        "softmax": lambda z: torch.softmax(z, 1),
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        "softplus": lambda z: functional.softplus(z, threshold=100),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "exp": torch.exp,
    }
    return special[name] if name in special else getattr(functional, name)  # type: ignore[no-any-return]


def torch_loss(torch: Any, loss: str, y: Any, target: Any) -> Any:
    """Return the sum of the terms."""
    functional = torch.nn.functional
    if loss == "sum":
        return y.sum()
    if loss == "squared_l2":
        return (y**2).sum()
    name = {
        "mse": "mse_loss",
        "mae": "l1_loss",
        "huber": "huber_loss",
        "softmax_cross_entropy": "cross_entropy",
    }.get(loss, loss)
    return getattr(functional, name)(y, torch.tensor(target), reduction="sum")


def torch_value_and_grad(
    torch: Any, net: Any, params: Array, x: Array, target: Array | None
) -> tuple[float, Array]:
    """Return the loss and its gradient by autograd; x and target in rows."""
    flat = torch.tensor(params, requires_grad=True)
    y, at = torch.tensor(x), 0
    for i, act in enumerate(net.activations):
        d, k = net.sizes[i : i + 2]
        w = flat[at : at + d * k]
        w = w.reshape(d, k) if net.samples == "rows" else w.reshape(k, d).T
        at += d * k
        y = y @ w
        if net.bias:
            y = y + flat[at : at + k]
            at += k
        y = torch_activation(torch, act.name)(y)
    assert at == net.size
    terms = len(x) if net.loss.name == "softmax_cross_entropy" else y.numel()
    count = {"sum": 1, "mean": terms, "samples": len(x)}[net.reduction]
    value = torch_loss(torch, net.loss.name, y, target) / count
    value.backward()
    return value.item(), flat.grad.numpy()


@losses
@reductions
@layouts
@biases
def test_gradient_by_torch(torch: Any, loss: str, reduction: str, samples: str, bias: bool) -> None:
    net = reference.MLP(
        (5, 7, 6, 3), ("sigmoid", "tanh", None), loss, reduction, bias, samples, "float64"
    )
    params, x = parameters(net), inputs(11, 5)
    for target in targets(loss, 11, 3):
        value, grad = net.value_and_grad(params, turn(x, samples), turned(target, samples))
        expected, expected_grad = torch_value_and_grad(torch, net, params, x, target)
        assert value == pytest.approx(expected, rel=GRADIENT_RTOL)
        assert_close(grad, expected_grad, GRADIENT_RTOL)


@layouts
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_activation_by_torch(torch: Any, name: str, samples: str) -> None:
    """As a hidden layer and as the last one."""
    net = reference.MLP((4, 5, 3), (name, name), "mse", samples=samples, dtype="float64")
    params, x, (target,) = parameters(net), inputs(6, 4), targets("mse", 6, 3)
    value, grad = net.value_and_grad(params, turn(x, samples), turned(target, samples))
    expected, expected_grad = torch_value_and_grad(torch, net, params, x, target)
    assert value == pytest.approx(expected, rel=GRADIENT_RTOL)
    assert_close(grad, expected_grad, GRADIENT_RTOL)


@dtypes
@losses
@layouts
@biases
def test_loops_agree(loss: str, samples: str, bias: bool, dtype: str) -> None:
    options: Any = {"bias": bias, "samples": samples, "dtype": dtype}
    for reduction in REDUCTIONS:
        nets = [
            impl.MLP((4, 5, 2), ("gelu", "softplus"), loss, reduction, **options)
            for impl in (reference, loops)
        ]
        params, x = parameters(nets[0]), turn(inputs(7, 4), samples)
        y = [net.predict(params, x) for net in nets]
        assert y[0].dtype == y[1].dtype == dtype
        assert_close(*y, RTOL[dtype])
        for rows_target in targets(loss, 7, 2):
            target = turned(rows_target, samples)
            (value, grad), (other, other_grad) = (
                net.value_and_grad(params, x, target) for net in nets
            )
            assert grad.dtype == other_grad.dtype == dtype
            assert value == pytest.approx(other, rel=RTOL[dtype])
            assert_close(grad, other_grad, RTOL[dtype])


@impls
@losses
@reductions
def test_layouts_are_the_same_network(impl: ModuleType, loss: str, reduction: str) -> None:
    sizes, acts = (4, 5, 2), ("tanh", "softplus")
    rows = impl.MLP(sizes, acts, loss, reduction, dtype="float64")
    columns = impl.MLP(sizes, acts, loss, reduction, samples="columns", dtype="float64")
    params = parameters(rows)
    turned_params = columns.pack([(w.T, b) for w, b in rows.layers(params)])
    x = inputs(6, 4)
    assert_close(columns.predict(turned_params, x.T).T, rows.predict(params, x), GRADIENT_RTOL)
    for target in targets(loss, 6, 2):
        value, grad = rows.value_and_grad(params, x, target)
        other, other_grad = columns.value_and_grad(turned_params, x.T, turned(target, "columns"))
        assert value == pytest.approx(other, rel=GRADIENT_RTOL)
        for (w, b), (other_w, other_b) in zip(
            rows.layers(grad), columns.layers(other_grad), strict=True
        ):
            assert_close(other_w.T, w, GRADIENT_RTOL)
            assert_close(other_b[:, 0], b, GRADIENT_RTOL)


@impls
@layouts
@losses
def test_one_sample(impl: ModuleType, samples: str, loss: str) -> None:
    """A vector is a batch of one, with the shapes of a vector."""
    net = impl.MLP((3, 2), ("tanh",), loss, samples=samples, dtype="float64")
    params, x = parameters(net), inputs(1, 3)
    y = net.predict(params, x[0])
    assert y.shape == (2,)
    assert np.array_equal(y, net.predict(params, turn(x, samples)).ravel())
    for target in targets(loss, 1, 2):
        one = None if target is None else target[0]
        value, grad = net.value_and_grad(params, x[0], one)
        batch = net.value_and_grad(params, turn(x, samples), turned(target, samples))
        assert value == pytest.approx(batch[0], rel=GRADIENT_RTOL)
        assert_close(grad, batch[1], GRADIENT_RTOL)
        fitted = net.fit(params, x[0], one, impl.SGD(0.5), epochs=1).params
        assert_close(fitted, params - 0.5 * grad, GRADIENT_RTOL)


# -- the flat vector ------------------------------------------------------------------------------


@impls
@layouts
@biases
@dtypes
def test_layers_and_pack(impl: ModuleType, samples: str, bias: bool, dtype: str) -> None:
    net = impl.MLP((2, 3, 4), (None, None), "mse", bias=bias, samples=samples, dtype=dtype)
    assert net.size == (2 * 3 + 3 * 4) + (3 + 4) * bias
    params = np.arange(net.size, dtype=dtype)
    layers = net.layers(params)
    columns = samples == "columns"
    assert [w.shape for w, _ in layers] == ([(3, 2), (4, 3)] if columns else [(2, 3), (3, 4)])
    if bias:
        assert [b.shape for _, b in layers] == ([(3, 1), (4, 1)] if columns else [(3,), (4,)])
    else:
        assert [b for _, b in layers] == [None, None]
    parts = [part for layer in layers for part in layer if part is not None]
    assert all(np.shares_memory(part, params) for part in parts)
    assert np.array_equal(np.concatenate([part.ravel() for part in parts]), params)
    packed = net.pack(layers)
    assert same_bits(packed, params)
    assert not np.shares_memory(packed, params)

    layers[1].w[0, 1] = -1.0
    assert params[2 * 3 + 3 * bias + 1] == -1.0
    strided = np.zeros(2 * net.size, dtype)[::-2]
    net.layers(strided)[0].w[...] = 5.0
    assert np.array_equal(np.flatnonzero(strided), np.arange(6))


@impls
@layouts
def test_pack_takes_every_form_of_bias(impl: ModuleType, samples: str) -> None:
    net = impl.MLP((1, 2), (None,), "mse", samples=samples)
    w = [[1, 2]] if samples == "rows" else [[1], [2]]
    for b in ([3, 4], [[3, 4]], [[3], [4]]):
        assert same_bits(net.pack([(w, b)]), np.array([1, 2, 3, 4], np.float32))
        assert same_bits(net.pack([[np.array(w), np.array(b, np.float16)]]), net.pack([(w, b)]))


@impls
@dtypes
def test_init(impl: ModuleType, dtype: str) -> None:
    """Drawn layer by layer in row layout, whatever the layout; halving activations get twice."""
    acts = ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", None, "softplus"]
    sizes = [3, 4, 2, 5, 3, 2, 4, 3, 5, 2]
    rng, expected = np.random.default_rng(7), []
    for i, _ in enumerate(acts):
        d, k = sizes[i], sizes[i + 1]
        w = rng.standard_normal((d, k)) * np.sqrt((2 if i < 6 else 1) / d)
        expected.append(w.astype(dtype))
    for samples, bias in itertools.product(LAYOUTS, (True, False)):
        net = impl.MLP(sizes, acts, "mse", bias=bias, samples=samples, dtype=dtype)
        params = net.init(seed=7)
        assert params.dtype == dtype
        for layer, w in zip(net.layers(params), expected, strict=True):
            assert np.array_equal(layer.w, turn(w, samples))
            assert layer.b is None if not bias else not layer.b.any()
        assert same_bits(net.init(), net.init(0))
        assert not np.array_equal(net.init(), params)


# -- what goes in and out -------------------------------------------------------------------------


@impls
def test_predict_by_hand(impl: ModuleType) -> None:
    net = impl.MLP((3, 4, 2), ("tanh", "relu"), "mse", dtype="float64")
    params, x = parameters(net), inputs(5, 3)
    (w1, b1), (w2, b2) = net.layers(params)
    expected = np.maximum(np.tanh(x @ w1 + b1) @ w2 + b2, 0)
    assert expected.any()
    assert_close(net.predict(params, x), expected, GRADIENT_RTOL)
    out = np.empty((5, 2))
    assert net.predict(params, x, out=out) is out
    assert same_bits(out, net.predict(params, x))
    out_columns = np.empty((2, 5)).T  # any strides
    assert same_bits(net.predict(params, x, out_columns), out)
    assert net.predict(params, np.empty((0, 3))).shape == (0, 2)


@impls
@layouts
def test_out(impl: ModuleType, samples: str) -> None:
    net = impl.MLP((3, 4, 2), ("tanh", None), "mse", samples=samples)
    params, x = parameters(net), turn(inputs(5, 3), samples)
    target = turned(targets("mse", 5, 2)[0], samples)
    value, grad = net.value_and_grad(params, x, target)
    for out in (np.full(net.size, np.nan, np.float32), np.zeros(3 * net.size, np.float32)[::3]):
        again, given = net.value_and_grad(params, x, target, out)
        assert given is out
        assert again == value
        assert same_bits(out, grad)
    assert not np.shares_memory(net.value_and_grad(params, x, target)[1], grad)


@impls
@pytest.mark.parametrize("net_dtype", DTYPES)
def test_everything_is_converted(impl: ModuleType, net_dtype: str) -> None:
    """To the network's dtype, from whatever it is; and nothing is written."""
    net = impl.MLP((2, 2), ("tanh",), "mse", dtype=net_dtype)
    values = {"params": [0.5, -1.0, 2.0, 0.25, 1.0, 0.0], "x": [[1, 2], [0, 3]],
              "target": [[1, 0], [0, 1]]}  # fmt: skip
    expected = net.value_and_grad(*(np.array(v, net_dtype) for v in values.values()))
    for dtype in ("float16", "float32", "float64", ">f4", ">f8"):
        given = [np.array(v, dtype) for v in values.values()]
        for array in given:
            array.flags.writeable = False
        value, grad = net.value_and_grad(*given)
        assert value == expected[0]
        assert same_bits(grad, expected[1])
        result = net.fit(*given, epochs=2)
        assert result.params.dtype == net_dtype
    value, grad = net.value_and_grad(*values.values())
    assert same_bits(grad, expected[1])
    bools = np.array(values["target"], bool)
    assert net.value_and_grad(values["params"], np.array(values["x"]), bools)[0] == value


@impls
def test_classes_of_any_integer_type(impl: ModuleType) -> None:
    net = impl.MLP((2, 3), (None,), "softmax_cross_entropy")
    params, x = parameters(net), inputs(4, 2)
    expected = net.value_and_grad(params, x, np.eye(3)[[0, 2, 1, 1]])
    for dtype in ("int8", "uint8", "int32", "uint64", ">i2"):
        value, grad = net.value_and_grad(params, x, np.array([0, 2, 1, 1], dtype))
        assert value == pytest.approx(expected[0], rel=FLOAT32_RTOL)
        assert_close(grad, expected[1], FLOAT32_RTOL)
    one_hot = np.eye(3, dtype=int)[[0, 2, 1, 1]]
    assert net.value_and_grad(params, x, one_hot)[0] == expected[0]


@impls
@losses
def test_specials_are_values_not_events(impl: ModuleType, loss: str) -> None:
    """NaN, infinities and what float32 cannot hold give no warning, in training neither."""
    net = impl.MLP((2, 2), ("relu",), loss)
    for special in (np.nan, np.inf, 1e300):
        for target in targets(loss, 3, 2):
            x = inputs(3, 2)
            x[1] = special
            value, _ = net.value_and_grad(parameters(net), x, target)
            assert not np.isfinite(value)
            for optimizer in (impl.SGD(0.1, 0.9), impl.Adam(weight_decay=0.1), impl.AdamW()):
                result = net.fit(parameters(net), x, target, optimizer, epochs=2)
                assert not np.isfinite(result.losses[0])


@impls
@losses
def test_no_samples(impl: ModuleType, loss: str) -> None:
    """The mean of nothing is NaN, its sum 0."""
    for reduction, expected in (("mean", np.nan), ("samples", np.nan), ("sum", 0.0)):
        net = impl.MLP((2, 2), ("tanh",), loss, reduction)
        for target in targets(loss, 3, 2):
            nothing = None if target is None else target[:0]
            value, grad = net.value_and_grad(parameters(net), np.empty((0, 2)), nothing)
            assert value == pytest.approx(expected, nan_ok=True)
            assert not grad.any()


# -- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_decay": ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum_decay": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov_decay": (
        "SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3},
    ),
    "adam": ("Adam", {}),
    "adam_all": ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    "adam_no_memory": ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    "adamw": ("AdamW", {}),
    "adamw_all": ("AdamW", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    "adamw_no_decay": ("AdamW", {"lr": 0.1, "weight_decay": 0.0}),
}  # fmt: skip
optimizers = pytest.mark.parametrize("case", list(OPTIMIZERS))
STEPS = 20


def gradients(dtype: str) -> Array:
    """Return gradients of very different sizes, with zeros, one per step."""
    rng = rng_of("gradients")
    grads = rng.standard_normal((STEPS, 9)) * 10.0 ** np.arange(-5, 4)
    grads[::3, 4] = 0.0
    grads[:, 5] = 0.0
    return grads.astype(dtype)


def run(impl: ModuleType, case: str, dtype: str) -> Array:
    """Return the parameters after each step."""
    name, settings = OPTIMIZERS[case]
    params = np.linspace(-2, 2, 9).astype(dtype)
    step, path = getattr(impl, name)(**settings).start(params), []
    for grad in gradients(dtype):
        step(grad.copy())
        path.append(params.copy())
    return np.array(path)


@impls
@optimizers
def test_optimizers_by_torch(torch: Any, impl: ModuleType, case: str) -> None:
    name, settings = OPTIMIZERS[case]
    tensor = torch.tensor(np.linspace(-2, 2, 9), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, when it loads its optimizers
        peer = getattr(torch.optim, name)([tensor], **settings)
        path = []
        for grad in gradients("float64"):
            tensor.grad = torch.tensor(grad)
            peer.step()
            path.append(tensor.detach().numpy().copy())
    got = run(impl, case, "float64")
    assert np.abs(got[-1] - got[0]).max() > 1e-3  # it went somewhere
    np.testing.assert_allclose(got, path, rtol=GRADIENT_RTOL, atol=GRADIENT_RTOL)


@dtypes
@optimizers
def test_optimizers_of_loops_agree(case: str, dtype: str) -> None:
    path, other = run(reference, case, dtype), run(loops, case, dtype)
    assert path.dtype == other.dtype == dtype
    size = np.maximum(1, np.abs(other).max())  # what the steps' roundings are relative to
    np.testing.assert_allclose(path, other, rtol=RTOL[dtype], atol=RTOL[dtype] * size)


@impls
def test_one_step_by_hand(impl: ModuleType) -> None:
    p = np.array([1.0, -2.0])
    impl.SGD(0.5, 0.5, True, 1.0).start(p)(np.array([1.0, 4.0]))  # g = [2, 2], v = g
    assert p.tolist() == [1 - 0.5 * 3, -2 - 0.5 * 3]
    p = np.array([1.0, -2.0])
    impl.AdamW(0.25, weight_decay=2.0).start(p)(np.array([1e3, -1e-3]))  # lr times the sign
    np.testing.assert_allclose(p, [0.5 - 0.25, -1 + 0.25], rtol=1e-5)


@impls
def test_optimizers_are_settings(impl: ModuleType) -> None:
    assert repr(impl.SGD(0.1, momentum=0.9)) == (
        "SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)"
    )
    assert impl.Adam() == impl.Adam(1e-3, [0.9, 0.999], 1e-8, 0.0)
    assert impl.AdamW().weight_decay == 1e-2
    assert impl.Adam() != impl.AdamW(weight_decay=0.0)
    with pytest.raises(AttributeError):
        impl.Adam().lr = 1.0


# -- fit ------------------------------------------------------------------------------------------


def terms(net: Any, impl: ModuleType, params: Array, x: Array, target: Array | None) -> float:
    """Return the sum of a batch's terms."""
    total = impl.MLP(net.sizes, net.activations, net.loss, "sum", net.bias, net.samples, net.dtype)
    return float(total.value_and_grad(params, x, target)[0])


@impls
@layouts
@losses
@reductions
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in_order"])
def test_fit_is_this_loop(
    impl: ModuleType, samples: str, loss: str, reduction: str, shuffle: bool
) -> None:
    n, batch_size, epochs, lr = 7, 3, 2, 0.05  # the last batch is one sample
    net = impl.MLP((3, 4, 2), ("tanh", None), loss, reduction, samples=samples, dtype="float64")
    start, x = parameters(net), inputs(n, 3)
    for target in targets(loss, n, 2):
        params, losses, rng = start.copy(), [], np.random.default_rng(5)
        for _ in range(epochs):
            order, total = rng.permutation(n) if shuffle else np.arange(n), 0.0
            for batch in (order[:3], order[3:6], order[6:]):
                some_x = turn(x[batch], samples)
                some_target = None if target is None else turn(target[batch], samples)
                total += terms(net, impl, params, some_x, some_target)
                params = params - lr * net.value_and_grad(params, some_x, some_target)[1]
            per_sample = 1 if loss == "softmax_cross_entropy" else 2
            losses.append(total / {"sum": 1, "samples": n, "mean": n * per_sample}[reduction])
        result = net.fit(
            start, turn(x, samples), turned(target, samples), impl.SGD(lr), epochs, batch_size,
            shuffle, seed=5,
        )  # fmt: skip
        assert result.losses.dtype == np.float64
        assert_close(result.losses, losses, GRADIENT_RTOL)
        assert_close(result.params, params, GRADIENT_RTOL)
        assert same_bits(start, parameters(net))


@optimizers
@dtypes
def test_fit_of_loops_agrees(case: str, dtype: str) -> None:
    name, settings = OPTIMIZERS[case]
    results = []
    for impl in (reference, loops):
        net = impl.MLP((3, 4, 2), ("tanh", None), "mse", dtype=dtype)
        (target,) = targets("mse", 10, 2)
        optimizer = getattr(impl, name)(**{**settings, "lr": 0.02})
        results.append(net.fit(parameters(net), inputs(10, 3), target, optimizer, 3, 4))
    assert_close(results[0].losses, results[1].losses, 10 * RTOL[dtype])
    # Adam divides gradients by their size: a relative error of a tiny one is one of a whole step.
    assert_close(results[0].params, results[1].params, 100 * RTOL[dtype])


@impls
def test_fit_defaults(impl: ModuleType) -> None:
    """Adam, ten epochs, batches of 32, shuffled by seed 0; the optimizer starts afresh."""
    net = impl.MLP((1, 2, 1), ("tanh", None), "mse")
    x = inputs(33, 1)
    adam = impl.Adam()
    result = net.fit(net.init(), x, x)
    assert type(result) is impl.FitResult
    assert len(result.losses) == 10
    assert result.params.dtype == np.float32
    for _ in range(2):
        again = net.fit(net.init(), x, x, adam, 10, 32, True, 0, False, None)
        assert same_bits(again.params, result.params)
        assert same_bits(again.losses, result.losses)
    assert not np.array_equal(net.fit(net.init(), x, x, seed=1).params, result.params)
    whole = net.fit(net.init(), x, x, batch_size=33, shuffle=False).params
    assert same_bits(net.fit(net.init(), x, x, batch_size=1000, shuffle=False).params, whole)


def test_fit_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    classes = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = reference.MLP((2, 16, 2), ("tanh", None), "softmax_cross_entropy")
    result = net.fit(net.init(), x, classes, reference.Adam(0.02), epochs=60)
    assert np.mean(net.predict(result.params, x).argmax(1) == classes) > 0.95
    assert result.losses[-1] < 0.2 < result.losses[0]


@impls
def test_callback(impl: ModuleType) -> None:
    net = impl.MLP((2, 1), (None,), "mse", dtype="float64")
    x, (target,) = inputs(5, 2), targets("mse", 5, 1)
    states, copies = [], []

    def callback(state: Any) -> Any:
        states.append(state)
        copies.append(state.params.copy())
        return state.epoch == 2

    result = net.fit(parameters(net), x, target, impl.SGD(0.1), epochs=9, callback=callback)
    assert [state.epoch for state in states] == [0, 1, 2]
    assert [state.loss for state in states] == result.losses.tolist()
    assert all(state.samples_per_second > 0 for state in states)
    assert same_bits(copies[-1], result.params)
    for epochs, copy in enumerate(copies, 1):
        assert same_bits(net.fit(parameters(net), x, target, impl.SGD(0.1), epochs).params, copy)
    without = net.fit(parameters(net), x, target, epochs=4, callback=lambda state: None)
    assert len(without.losses) == 4


@impls
def test_progress(impl: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    net = impl.MLP((2, 1), (None,), "sum")
    result = net.fit(parameters(net), inputs(5, 2), epochs=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    for epoch, line in enumerate(err.splitlines(), 1):
        assert f"epoch {epoch}/2  loss {result.losses[epoch - 1]:.4g}" in line
        assert line.endswith(" samples/s")
    net.fit(parameters(net), inputs(5, 2), epochs=1)
    assert capsys.readouterr() == ("", "")


# -- what is refused ------------------------------------------------------------------------------

X, T, P = np.ones((5, 3)), np.ones((5, 2)), np.zeros(8)
KNOWN_ACTS, KNOWN_LOSSES = ", ".join(BUILT_IN), ", ".join(LOSSES)
TYPES = "give float32, float64, float16, an integer type or bool"


def make(impl: ModuleType, **changes: Any) -> Any:
    """Return a network of three inputs, two outputs and eight parameters, with changes."""
    settings: dict[str, Any] = {"sizes": (3, 2), "activations": (None,), "loss": "mse"}
    return impl.MLP(**{**settings, "dtype": "float64", **changes})


def classifier(impl: ModuleType, **changes: Any) -> Any:
    return make(impl, loss="softmax_cross_entropy", **changes)


def read_only() -> Array:
    array = np.zeros(8)
    array.flags.writeable = False
    return array


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    # the settings
    "sizes_short": (lambda m: make(m, sizes=(3,), activations=()), ValueError,
        "MLP: sizes is (3,): give at least two positive widths"),
    "sizes_zero": (lambda m: make(m, sizes=(3, 0)), ValueError,
        "MLP: sizes is (3, 0): give at least two positive widths"),
    "sizes_float": (lambda m: make(m, sizes=(3, 2.0)), TypeError,
        "MLP: sizes is (3, 2.0): give a sequence of integers"),
    "sizes_number": (lambda m: make(m, sizes=3), TypeError,
        "MLP: sizes is 3: give a sequence of integers"),
    "activations_string": (lambda m: make(m, activations="tanh"), TypeError,
        "MLP: activations is 'tanh': give a sequence, one per layer"),
    "activations_none": (lambda m: make(m, activations=None), TypeError,
        "MLP: activations is None: give a sequence, one per layer"),
    "activations_count": (lambda m: make(m, activations=("tanh", None)), ValueError,
        "MLP: activations has 2 entries for 1 layers: give one per layer"),
    "activation_unknown": (lambda m: make(m, activations=("tnah",)), ValueError,
        f"MLP: activations[0] is 'tnah': choose from {KNOWN_ACTS}"),
    "activation_function": (lambda m: make(m, activations=(np.tanh,)), TypeError,
        "MLP: activations[0] is a ufunc: give None, a name or an activation object"),
    "loss_unknown": (lambda m: make(m, loss="mes"), ValueError,
        f"MLP: loss is 'mes': choose from {KNOWN_LOSSES}"),
    "loss_none": (lambda m: make(m, loss=None), TypeError,
        "MLP: loss is a NoneType: give a name or a loss object"),
    "reduction": (lambda m: make(m, reduction="none"), ValueError,
        "MLP: reduction is 'none': choose from mean, sum, samples"),
    "samples": (lambda m: make(m, samples="row"), ValueError,
        "MLP: samples is 'row': choose from rows, columns"),
    "dtype": (lambda m: make(m, dtype="float16"), ValueError,
        "MLP: dtype is 'float16': choose from float32, float64"),
    "dtype_unknown": (
        lambda m: make(m, dtype="tensor"),
        ValueError,
        "MLP: dtype is 'tensor': choose from float32, float64",
    ),
    "dtype_none": (lambda m: make(m, dtype=None), ValueError,
        "MLP: dtype is None: choose from float32, float64"),
    # the flat vector
    "layers_list": (lambda m: make(m).layers([0.0] * 8), TypeError,
        "MLP.layers: params is a list: give a NumPy array"),
    "layers_length": (lambda m: make(m).layers(np.zeros(7)), ValueError,
        "MLP.layers: params has shape (7,): this network has 8 parameters, it needs shape (8,)"),
    "pack_count": (lambda m: make(m).pack([]), ValueError,
        "MLP.pack: layers has 0 entries: this network has 1 layers"),
    "pack_pair": (lambda m: make(m).pack([np.ones((3, 2))]), ValueError,
        "MLP.pack: layer 0 is not a pair (w, b)"),
    "pack_w": (lambda m: make(m).pack([(np.ones((2, 3)), np.ones(2))]), ValueError,
        "MLP.pack: w of layer 0 has shape (2, 3): it needs (3, 2)"),
    "pack_b": (lambda m: make(m).pack([(np.ones((3, 2)), np.ones(3))]), ValueError,
        "MLP.pack: b of layer 0 has shape (3,): it needs (2,)"),
    "pack_no_b": (lambda m: make(m).pack([(np.ones((3, 2)), None)]), ValueError,
        "MLP.pack: layer 0: this network has bias=True: give a bias"),
    "pack_a_b": (lambda m: make(m, bias=False).pack([(np.ones((3, 2)), np.ones(2))]), ValueError,
        "MLP.pack: layer 0: this network has bias=False: b must be None"),
    "pack_dtype": (lambda m: make(m).pack([(np.ones((3, 2), complex), np.ones(2))]), TypeError,
        f"MLP.pack: w of layer 0 has dtype complex128: {TYPES}"),
    # arguments
    "params_length": (lambda m: make(m).predict(np.zeros(9), X), ValueError,
        "MLP.predict: params has shape (9,): this network has 8 parameters, it needs shape (8,)"),
    "params_matrix": (lambda m: make(m).value_and_grad(np.zeros((1, 8)), X, T), ValueError,
        "MLP.value_and_grad: params has shape (1, 8): this network has 8 parameters, it needs "
        "shape (8,)"),
    "params_dtype": (lambda m: make(m).fit(np.zeros(8, complex), X, T), TypeError,
        f"MLP.fit: params has dtype complex128: {TYPES}"),
    "x_features": (lambda m: make(m).predict(P, np.ones((3, 5))), ValueError,
        "MLP.predict: x has shape (3, 5): this network has 3 inputs, it needs shape (n, 3) "
        "or (3,)"),
    "x_columns": (lambda m: make(m, samples="columns").value_and_grad(P, X, T), ValueError,
        "MLP.value_and_grad: x has shape (5, 3): this network has 3 inputs, it needs shape "
        "(3, n) or (3,)"),
    "x_axes": (lambda m: make(m).fit(P, X[None], T), ValueError,
        "MLP.fit: x has shape (1, 5, 3): this network has 3 inputs, it needs shape (n, 3) "
        "or (3,)"),
    "x_dtype": (lambda m: make(m).predict(P, X.astype(object)), TypeError,
        f"MLP.predict: x has dtype object: {TYPES}"),
    "target_shape": (lambda m: make(m).value_and_grad(P, X, np.ones((5, 1))), ValueError,
        "MLP.value_and_grad: target has shape (5, 1) and dtype float64: it needs shape (5, 2)"),
    "target_vector": (lambda m: make(m).value_and_grad(P, X, np.ones(5, int)), ValueError,
        "MLP.value_and_grad: target has shape (5,) and dtype int64: it needs shape (5, 2)"),
    "target_dtype": (lambda m: make(m).fit(P, X, np.array([["1", "0"]] * 5)), TypeError,
        f"MLP.fit: target has dtype <U1: {TYPES}"),
    "target_none": (lambda m: make(m).value_and_grad(P, X), TypeError,
        "MLP.value_and_grad: target is None: the loss mse needs one"),
    "target_given": (lambda m: make(m, loss="sum").fit(P, X, T), TypeError,
        "MLP.fit: the loss sum takes no target"),
    "classes_float": (lambda m: classifier(m).fit(P, X, np.ones(5)), ValueError,
        "MLP.fit: target has shape (5,) and dtype float64: it needs shape (5, 2), or integer "
        "classes of shape (5,)"),
    "classes_count": (lambda m: classifier(m).value_and_grad(P, X, [0, 1]), ValueError,
        "MLP.value_and_grad: target has shape (2,) and dtype int64: it needs shape (5, 2), or "
        "integer classes of shape (5,)"),
    "classes_one": (lambda m: classifier(m).value_and_grad(P, X[0], [1]), ValueError,
        "MLP.value_and_grad: target has shape (1,) and dtype int64: it needs shape (2,), or "
        "integer classes of shape ()"),
    "classes_range": (lambda m: classifier(m).value_and_grad(P, X, [0, 1, 2, 1, -1]), ValueError,
        "MLP.value_and_grad: target has classes from -1 to 2: they go from 0 to 1"),
    # out
    "out_list": (lambda m: make(m).value_and_grad(P, X, T, [0.0] * 8), TypeError,
        "MLP.value_and_grad: out is a list: give a NumPy array"),
    "out_shape": (lambda m: make(m).value_and_grad(P, X, T, np.zeros(9)), ValueError,
        "MLP.value_and_grad: out has shape (9,) and dtype float64: it needs shape (8,) and dtype "
        "float64"),
    "out_dtype": (lambda m: make(m).predict(P, X, np.zeros((5, 2), "float32")), ValueError,
        "MLP.predict: out has shape (5, 2) and dtype float32: it needs shape (5, 2) and dtype "
        "float64"),
    "out_read_only": (lambda m: make(m).value_and_grad(P, X, T, read_only()), ValueError,
        "MLP.value_and_grad: out is read-only"),
    "out_params": (lambda m: make(m).value_and_grad(P, X, T, P), ValueError,
        "MLP.value_and_grad: out shares memory with an input"),
    # training
    "epochs": (lambda m: make(m).fit(P, X, T, epochs=0), ValueError,
        "MLP.fit: epochs is 0: give a positive integer"),
    "batch_size": (lambda m: make(m).fit(P, X, T, batch_size=2.0), TypeError,
        "MLP.fit: batch_size is a float: give a positive integer"),
    "optimizer": (lambda m: make(m).fit(P, X, T, "adam"), TypeError,
        "MLP.fit: optimizer is a str: give an SGD, Adam or AdamW"),
    "callback": (lambda m: make(m).fit(P, X, T, callback=1), TypeError,
        "MLP.fit: callback is a int: give a function"),
    "no_samples": (lambda m: make(m).fit(P, X[:0], T[:0]), ValueError,
        "MLP.fit: x has shape (0, 3): there are no samples"),
    # optimizers
    "lr_zero": (lambda m: m.SGD(0.0), ValueError,
        "SGD: lr is 0.0: it must be finite and positive"),
    "lr_nan": (lambda m: m.Adam(float("nan")), ValueError,
        "Adam: lr is nan: it must be finite and positive"),
    "lr_callable": (lambda m: m.AdamW(lambda t: 0.1), TypeError,
        "AdamW: lr is a function: give a number"),
    "lr_bool": (lambda m: m.SGD(True), TypeError,
        "SGD: lr is a bool: give a number"),
    "momentum": (lambda m: m.SGD(0.1, 1.0), ValueError,
        "SGD: momentum is 1.0: it must be finite and at least 0 and below 1"),
    "nesterov": (lambda m: m.SGD(0.1, nesterov=True), ValueError,
        "SGD: nesterov is True but momentum is 0: give a positive momentum"),
    "decay": (lambda m: m.SGD(0.1, weight_decay=-1.0), ValueError,
        "SGD: weight_decay is -1.0: it must be finite and at least 0"),
    "decay_infinite": (lambda m: m.AdamW(weight_decay=np.inf), ValueError,
        "AdamW: weight_decay is inf: it must be finite and at least 0"),
    "betas": (lambda m: m.Adam(betas=(0.9, 1.0)), ValueError,
        "Adam: betas[1] is 1.0: it must be finite and at least 0 and below 1"),
    "betas_count": (lambda m: m.Adam(betas=0.9), ValueError,
        "Adam: betas is 0.9: give two numbers"),
    "eps": (lambda m: m.AdamW(eps=0), ValueError,
        "AdamW: eps is 0: it must be finite and positive"),
}  # fmt: skip


@impls
@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_named(impl: ModuleType, case: str) -> None:
    call, error, text = WRONG[case]
    with pytest.raises(error) as caught:
        call(impl)
    assert str(caught.value) == text
    assert not P.any()  # nothing was written


@impls
def test_objects_of_any_package(impl: ModuleType) -> None:
    """Activations and losses are known by name, whichever package they come from."""
    other = loops if impl is reference else reference
    net = make(impl, activations=[other.tanh], loss=other.losses.huber)
    assert net.activations == (impl.tanh,)
    assert net.loss is impl.losses.huber
    for dtype in (np.float32, np.dtype("float32"), "f4"):
        assert make(impl, dtype=dtype).dtype == "float32"
    assert repr(net) == (
        "MLP((3, 2), activations=['tanh'], loss='huber', reduction='mean', bias=True, "
        "samples='rows', dtype='float64')"
    )


@pytest.mark.parametrize(
    "name",
    ["MLP", "SGD", "Adam", "AdamW"]
    + [f"MLP.{m}" for m in ("layers", "pack", "init", "predict", "value_and_grad", "fit")],
)
def test_signatures_agree(name: str) -> None:
    first, _, method = name.partition(".")
    own, other = (
        inspect.signature(getattr(m, first) if not method else getattr(m.MLP, method))
        for m in (reference, loops)
    )
    assert [(p.name, p.kind, p.default) for p in own.parameters.values()] == [
        (p.name, p.kind, p.default) for p in other.parameters.values()
    ]
