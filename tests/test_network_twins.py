"""The twins' network, which `fg.MLP` is held against: gradients, parameters, what goes in and out.

Its gradients are compared with central differences and PyTorch's, and the twins with each other.
"""

from __future__ import annotations

import inspect
import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from tolerances import CENTRAL_ATOL, CENTRAL_STEP, FLOAT32_RTOL, GRADIENT_RTOL
from truth import LOSS_TRUTH, TRUTH
from twins import NETWORK_RTOL, assert_near, impls, inputs, make, parameters, targets, transposed

from fastgrad import loops, reference
from fastgrad.activations import BUILT_IN
from fastgrad.losses import LOSSES
from fastgrad.optimizers import OPTIMIZERS

REDUCTIONS = ("mean", "sum", "samples")

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
losses = pytest.mark.parametrize("loss", list(LOSSES))
biases = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])

# -- gradients ------------------------------------------------------------------------------------


@impls
@losses
@reductions
@layouts
@biases
def test_gradient_by_central_differences(
    impl: ModuleType, loss: str, reduction: str, samples: str, bias: bool
) -> None:
    acts = ("tanh", LOSS_TRUTH[loss].output)
    net = impl.MLP((3, 2, 2), acts, loss, reduction, bias, samples, "float64")
    params, x = parameters(net), turn(inputs(4, 3), samples)
    for rows_target in targets(loss, 4, 2):
        target = transposed(rows_target, samples)
        value, grad = net.value_and_grad(params, x, target)
        assert type(value) is float
        assert grad.shape == (net.size,)
        for i in range(net.size):
            above, below = params.copy(), params.copy()
            above[i] += CENTRAL_STEP
            below[i] -= CENTRAL_STEP
            rise = net.value_and_grad(above, x, target)[0] - net.value_and_grad(below, x, target)[0]
            assert grad[i] == pytest.approx(rise / (2 * CENTRAL_STEP), abs=CENTRAL_ATOL, rel=0)


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
        y = TRUTH[act.name].torch(torch, y)
    assert at == net.size
    terms = len(x) if net.loss.rowwise else y.numel()
    count = {"sum": 1, "mean": terms, "samples": len(x)}[net.reduction]
    target_ = None if target is None else torch.tensor(target)
    value = LOSS_TRUTH[net.loss.name].torch(torch.nn.functional, y, target_) / count
    value.backward()
    return value.item(), flat.grad.numpy()


@losses
@reductions
@layouts
@biases
def test_gradient_by_torch(torch: Any, loss: str, reduction: str, samples: str, bias: bool) -> None:
    net = reference.MLP(
        (5, 7, 6, 3),
        ("sigmoid", "tanh", LOSS_TRUTH[loss].output),
        loss,
        reduction,
        bias,
        samples,
        "float64",
    )
    params, x = parameters(net), inputs(11, 5)
    for target in targets(loss, 11, 3):
        value, grad = net.value_and_grad(params, turn(x, samples), transposed(target, samples))
        expected, expected_grad = torch_value_and_grad(torch, net, params, x, target)
        assert value == pytest.approx(expected, rel=GRADIENT_RTOL)
        assert_near(grad, expected_grad, GRADIENT_RTOL)


@layouts
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_activation_by_torch(torch: Any, name: str, samples: str) -> None:
    """As a hidden layer and as the last one."""
    net = reference.MLP((4, 5, 3), (name, name), "mse", samples=samples, dtype="float64")
    params, x, (target,) = parameters(net), inputs(6, 4), targets("mse", 6, 3)
    value, grad = net.value_and_grad(params, turn(x, samples), transposed(target, samples))
    expected, expected_grad = torch_value_and_grad(torch, net, params, x, target)
    assert value == pytest.approx(expected, rel=GRADIENT_RTOL)
    assert_near(grad, expected_grad, GRADIENT_RTOL)


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
        assert_near(*y, NETWORK_RTOL[dtype])
        for rows_target in targets(loss, 7, 2):
            target = transposed(rows_target, samples)
            (value, grad), (other, other_grad) = (
                net.value_and_grad(params, x, target) for net in nets
            )
            assert grad.dtype == other_grad.dtype == params.dtype == "float64"
            assert value == pytest.approx(other, rel=NETWORK_RTOL[dtype])
            assert_near(grad, other_grad, NETWORK_RTOL[dtype])


@impls
@losses
@reductions
def test_layouts_are_the_same_network(impl: ModuleType, loss: str, reduction: str) -> None:
    sizes, acts = (4, 5, 2), ("tanh", "softplus")
    rows = impl.MLP(sizes, acts, loss, reduction, dtype="float64")
    columns = impl.MLP(sizes, acts, loss, reduction, samples="columns", dtype="float64")
    params = parameters(rows)
    transposed_params = columns.pack([(w.T, b) for w, b in rows.layers(params)])
    x = inputs(6, 4)
    assert_near(columns.predict(transposed_params, x.T).T, rows.predict(params, x), GRADIENT_RTOL)
    for target in targets(loss, 6, 2):
        value, grad = rows.value_and_grad(params, x, target)
        other, other_grad = columns.value_and_grad(
            transposed_params, x.T, transposed(target, "columns")
        )
        assert value == pytest.approx(other, rel=GRADIENT_RTOL)
        for (w, b), (other_w, other_b) in zip(
            rows.layers(grad), columns.layers(other_grad), strict=True
        ):
            assert_near(other_w.T, w, GRADIENT_RTOL)
            assert_near(other_b[:, 0], b, GRADIENT_RTOL)


@impls
@layouts
@losses
def test_one_sample(impl: ModuleType, samples: str, loss: str) -> None:
    """A vector is a batch of one, with the shapes of a vector."""
    acts = (LOSS_TRUTH[loss].output or "tanh",)
    net = impl.MLP((3, 2), acts, loss, samples=samples, dtype="float64")
    params, x = parameters(net), inputs(1, 3)
    y = net.predict(params, x[0])
    assert y.shape == (2,)
    assert np.array_equal(y, net.predict(params, turn(x, samples)).ravel())
    for target in targets(loss, 1, 2):
        one = None if target is None else target[0]
        value, grad = net.value_and_grad(params, x[0], one)
        batch = net.value_and_grad(params, turn(x, samples), transposed(target, samples))
        assert value == pytest.approx(batch[0], rel=GRADIENT_RTOL)
        assert_near(grad, batch[1], GRADIENT_RTOL)
        fitted = net.fit(params, x[0], one, impl.SGD(0.5), epochs=1).params
        assert_near(fitted, params - 0.5 * grad, GRADIENT_RTOL)


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
    assert_near(net.predict(params, x), expected, GRADIENT_RTOL)
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
    params, x = parameters(net).astype(np.float32), turn(inputs(5, 3), samples)
    target = transposed(targets("mse", 5, 2)[0], samples)
    value, grad = net.value_and_grad(params, x, target)
    for out in (np.full(net.size, np.nan, np.float32), np.zeros(3 * net.size, np.float32)[::3]):
        again, given = net.value_and_grad(params, x, target, out=out)
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
        assert grad.dtype == ("float64" if dtype in ("float64", ">f8") else net_dtype)
        assert same_bits(grad, expected[1].astype(grad.dtype))
        result = net.fit(*given, epochs=2)
        assert result.params.dtype == net_dtype
    value, grad = net.value_and_grad(*values.values())
    assert same_bits(grad, expected[1].astype(np.float64))
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
        assert_near(grad, expected[1], FLOAT32_RTOL)
    one_hot = np.eye(3, dtype=int)[[0, 2, 1, 1]]
    assert net.value_and_grad(params, x, one_hot)[0] == expected[0]


@impls
@losses
def test_specials_are_values_not_events(impl: ModuleType, loss: str) -> None:
    """NaN, infinities and what float32 cannot hold give no warning but that of training."""
    net = impl.MLP((2, 2), ("relu",), loss)
    for special in (np.nan, np.inf, 1e300):
        for target in targets(loss, 3, 2):
            x = inputs(3, 2)
            x[1] = special
            value, _ = net.value_and_grad(parameters(net), x, target)
            assert not np.isfinite(value)
            for optimizer in (getattr(impl, kind)(lr=0.1, weight_decay=0.1) for kind in OPTIMIZERS):
                with pytest.warns(impl.TrainingWarning) as caught:
                    result = net.fit(parameters(net), x, target, optimizer, epochs=2)
                assert [warning.category for warning in caught] == [impl.TrainingWarning]
                assert result.stopped == "diverged"


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


# -- one network, two packages ---------------------------------------------------------------------


@impls
def test_objects_of_any_package(impl: ModuleType) -> None:
    """Activations and losses are known by name, whichever package they come from."""
    other = loops if impl is reference else reference
    net = make(impl, activations=[other.tanh], loss=other.losses.mae)
    assert net.activations == (impl.tanh,)
    assert net.loss is impl.losses.mae
    for dtype in (np.float32, np.dtype("float32"), "f4"):
        assert make(impl, dtype=dtype).dtype == "float32"
    assert repr(net) == (
        "MLP((3, 2), activations=('tanh',), loss='mae', reduction='mean', bias=True, "
        "samples='rows', dtype='float64')"
    )


@pytest.mark.parametrize(
    "name",
    ["MLP", *OPTIMIZERS]
    + [f"MLP.{m}" for m in ("layers", "named", "pack", "init", "predict", "value_and_grad", "fit")]
    + ["MLP.forward", "MLP.backward"],
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
