"""Layer objects: their gradients are those of what forward computes, by both routes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import LAYOUTS, Array, turn

import fastgrad as fg
from fastgrad import nn

SWAPPED = np.dtype("f8").newbyteorder()

# Of each layer: what it is made of, given `samples`. All take 3 features.
MAKE: dict[str, Callable[[str], nn.Layer]] = {
    "linear": lambda s: nn.Linear(3, 4, samples=s, seed=1),
    "linear-no-bias": lambda s: nn.Linear(3, 4, bias=False, samples=s, seed=1),
    "dense-tanh": lambda s: nn.Dense(3, 4, "tanh", samples=s, seed=1),
    "dense-gelu": lambda s: nn.Dense(3, 4, fg.gelu, samples=s, seed=1),
    "dense-softmax": lambda s: nn.Dense(3, 4, "softmax", samples=s, seed=1),
    "dense-callable": lambda s: nn.Dense(3, 4, np.sin, samples=s, seed=1),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softmax": nn.Softmax,
    "activation-silu": lambda s: nn.Activation("silu", s),
    "layer-norm": lambda s: nn.LayerNorm(3, 1.0, samples=s),  # smooth enough for differences
    "batch-norm": lambda s: nn.BatchNorm(3, samples=s),
    "batch-norm-eval": lambda s: nn.BatchNorm(3, samples=s).eval(),
    "dropout-eval": lambda s: nn.Dropout(0.5, samples=s).eval(),
    "sequential": lambda s: nn.Sequential(
        [nn.Linear(3, 5, samples=s, seed=1), nn.Sigmoid(s), nn.Dense(5, 2, "softmax", samples=s)]
    ),
}
layers = pytest.mark.parametrize("name", MAKE)
layouts = pytest.mark.parametrize("samples", LAYOUTS)


def setup(name: str, samples: str, rng: np.random.Generator) -> tuple[nn.Layer, Array, Array]:
    """Return a layer with a nonzero bias, a batch of five for it, and a grad_y."""
    layer = MAKE[name](samples)
    if isinstance(layer, nn.Dense) and layer.b is not None:
        layer.b[...] = rng.standard_normal(layer.b.shape)
    if isinstance(layer, nn.LayerNorm | nn.BatchNorm):
        layer.gain[...] = rng.standard_normal(layer.gain.shape)
    x = turn(rng.standard_normal((5, 3)), samples)
    return layer, x, rng.standard_normal(layer.forward(x).shape)


def parameters(layer: nn.Layer) -> dict[str, tuple[Array, Array | None]]:
    """Return the parameters of a layer with their gradients."""
    if isinstance(layer, nn.Sequential):
        inner = enumerate(layer.layers)
        return {f"{i}.{n}": pair for i, one in inner for n, pair in parameters(one).items()}
    if isinstance(layer, nn.LayerNorm | nn.BatchNorm):
        return {"gain": (layer.gain, layer.grad_gain), "bias": (layer.bias, layer.grad_bias)}
    if not isinstance(layer, nn.Dense):
        return {}
    found = {"w": (layer.w, layer.grad_w)}
    return found if layer.b is None else found | {"b": (layer.b, layer.grad_b)}


def close(got: Array, expected: Array) -> None:
    """Assert that two sums of a few O(1) products in float64 are the same."""
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


# -- gradients --------------------------------------------------------------------------------


@layouts
@layers
def test_backward_is_the_gradient(rng: np.random.Generator, name: str, samples: str):
    layer, x, grad_y = setup(name, samples, rng)
    grad_x = layer.backward(grad_y)
    found = {n: (p, None if g is None else g.copy()) for n, (p, g) in parameters(layer).items()}

    report = fg.check_grad(lambda x: np.sum(grad_y * layer.forward(x)), grad_x, x)
    assert report, str(report)
    for n, (parameter, grad) in found.items():
        original = parameter.copy()

        def loss(value: Array, parameter: Array = parameter) -> Any:
            parameter[...] = value
            return np.sum(grad_y * layer.forward(x))

        assert grad is not None
        report = fg.check_grad(loss, grad, original)
        parameter[...] = original
        assert report, f"{n}: {report}"


@layouts
@layers
def test_jacobian_route_agrees(rng: np.random.Generator, name: str, samples: str):
    layer, _, grad_y = setup(name, samples, rng)
    grad_x = layer.backward(grad_y)
    by_product = [grad for _, grad in parameters(layer).values()]
    close(layer.backward(grad_y, use_jacobian=True), grad_x)
    for (_, grad), expected in zip(parameters(layer).values(), by_product, strict=True):
        np.testing.assert_array_equal(grad, expected)


@layouts
@layers
def test_jacobian_is_that_of_differences(rng: np.random.Generator, name: str, samples: str):
    layer, x, grad_y = setup(name, samples, rng)
    analytic = layer.jacobian(x)
    assert analytic.shape == grad_y.shape + x.shape
    numerical = fg.jacobian(layer.forward, x)
    np.testing.assert_allclose(analytic, numerical, rtol=0, atol=4e-10)


@layers
def test_backward_belongs_to_the_last_forward(rng: np.random.Generator, name: str):
    layer, x, grad_y = setup(name, "rows", rng)
    grad_x = layer.backward(grad_y)
    layer.jacobian(rng.standard_normal((2, 3)))  # remembers nothing
    with pytest.raises(ValueError, match=r"\.forward: x has shape \(\)"):
        layer.forward(1.0)  # nor does a failure
    np.testing.assert_array_equal(layer.backward(grad_y), grad_x)
    layer.forward(2 * x)
    linear = ("linear", "linear-no-bias", "relu", "batch-norm-eval", "dropout-eval")
    if name not in linear:  # their slopes are those at x
        assert not np.array_equal(layer.backward(grad_y), grad_x)


@layers
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_and_pickles_forget_the_last_forward(
    rng: np.random.Generator, name: str, copied: Any
):
    layer, x, grad_y = setup(name, "rows", rng)
    twin = copied(layer)
    with pytest.raises(ValueError, match="call forward"):
        twin.backward(grad_y)
    np.testing.assert_array_equal(twin.forward(x), layer.forward(x))
    np.testing.assert_array_equal(twin.backward(grad_y), layer.backward(grad_y))
    for one, (other, _) in zip(parameters(twin).values(), parameters(layer).values(), strict=True):
        assert not np.shares_memory(one[0], other)


@layers
def test_both_layouts_are_the_same_network(rng: np.random.Generator, name: str):
    x = rng.standard_normal((5, 3))
    rows, columns = MAKE[name]("rows"), MAKE[name]("columns")
    if name == "sequential":  # its last layer is not seeded
        assert isinstance(rows, nn.Sequential)
        assert isinstance(columns, nn.Sequential)
        columns.layers[-1].w = rows.layers[-1].w.T.copy()  # type: ignore[attr-defined]
    y = rows.forward(x)
    close(columns.forward(x.T).T, y)
    grad_y = rng.standard_normal(y.shape)
    close(columns.backward(grad_y.T).T, rows.backward(grad_y))


@layouts
def test_batch_gradients_are_sums_over_samples(rng: np.random.Generator, samples: str):
    layer, x, grad_y = setup("dense-tanh", samples, rng)
    assert isinstance(layer, nn.Dense)
    grad_x = layer.backward(grad_y)
    batch = layer.grad_w, layer.grad_b
    axis = 0 if samples == "rows" else 1
    one_by_one = []
    for i in range(5):
        layer.forward(x.take([i], axis))
        close(layer.backward(grad_y.take([i], axis)), grad_x.take([i], axis))
        one_by_one.append((layer.grad_w, layer.grad_b))
    for got, parts in zip(batch, zip(*one_by_one, strict=True), strict=True):
        assert got is not None
        close(got, np.sum(parts, axis=0))


def test_a_copy_of_a_layer_shares_its_weights(rng: np.random.Generator):
    first = nn.Linear(3, 3, seed=0)
    second = copy.copy(first)
    net = nn.Sequential([first, nn.Tanh(), second])
    x, g = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    net.forward(x)
    net.backward(g)
    assert second.w is first.w

    def value(w: Array) -> float:
        h = np.tanh(x @ w + first.b)
        return float(np.sum(g * (h @ w + first.b)))

    assert fg.check_grad(value, first.grad_w + second.grad_w, first.w)


def test_descent_by_hand_learns(rng: np.random.Generator):
    x = rng.standard_normal((40, 3))
    loss = nn.MSE(np.sin(x @ rng.standard_normal((3, 2))))
    net = nn.Sequential([nn.Linear(3, 8, seed=0), nn.Tanh(), nn.Linear(8, 2, seed=1)])
    values = []
    for _ in range(100):
        values.append(loss.forward(net.forward(x)))
        net.backward(loss.backward())
        for layer in (net.layers[0], net.layers[2]):
            assert isinstance(layer, nn.Linear)
            assert layer.b is not None
            layer.w -= 0.2 * layer.grad_w
            layer.b -= 0.2 * layer.grad_b
    assert values[-1] < values[0] / 5
    assert np.all(np.diff(values) < 0)


# -- what goes in -----------------------------------------------------------------------------


@layouts
@layers
def test_a_vector_is_one_sample(name: str, samples: str):
    layer = MAKE[name](samples)
    single = (1, 3) if samples == "rows" else (3, 1)
    y = layer.forward([1, -2, 3])
    assert y.ndim == 2
    assert y.shape[0 if samples == "rows" else 1] == 1
    np.testing.assert_array_equal(y, layer.forward(np.reshape([1.0, -2.0, 3.0], single)))
    grad_x = layer.backward(np.ones(y.size, int))
    assert (grad_x.shape, grad_x.dtype) == (single, np.float64)
    assert layer.jacobian([1, -2, 3]).shape == y.shape + single


@layouts
@pytest.mark.parametrize("name", ["dense-tanh", "softmax", "sequential"])
def test_integers_become_float64(name: str, samples: str):
    layer = MAKE[name](samples)
    x = turn(np.arange(6).reshape(2, 3), samples)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, layer.forward(x.astype(float)))
    assert y.dtype == layer.backward(np.ones(y.shape, np.int32)).dtype == np.float64


@pytest.mark.parametrize(("integers", "becomes"), [("int8", "float32"), ("int32", "float64")])
def test_integers_are_promoted_with_the_parameters(integers: str, becomes: str):
    """As in NumPy: float32 holds every byte, but not every int32."""
    layer = nn.Linear(3, 4, dtype="float32", seed=0)
    x, grad_y = np.arange(-3, 3).reshape(2, 3), np.ones((2, 4))
    y = layer.forward(x.astype(integers))
    assert y.dtype == layer.backward(grad_y.astype(integers)).dtype == becomes
    np.testing.assert_array_equal(y, layer.forward(x.astype(becomes)))


@layouts
def test_float32_stays_float32(rng: np.random.Generator, samples: str):
    dtype = "float32"
    first = nn.Linear(3, 4, samples=samples, dtype=dtype, seed=0)
    net = nn.Sequential([first, nn.Softmax(samples)])
    x = turn(rng.standard_normal((5, 3)).astype(dtype), samples)
    loss = nn.MSE(np.zeros(net.forward(x).shape), samples=samples)
    loss.forward(net.forward(x))
    grad_x = net.backward(loss.backward())
    assert first.grad_w is not None
    assert first.grad_b is not None
    assert {a.dtype.name for a in (grad_x, first.w, first.grad_w, first.grad_b)} == {dtype}
    assert net.jacobian(x).dtype == dtype


def test_rows_take_leading_axes(rng: np.random.Generator):
    layer, x = MAKE["dense-softmax"]("rows"), rng.standard_normal((2, 5, 3))
    y = layer.forward(x)
    grad_y = rng.standard_normal((2, 5, 4))
    assert y.shape == grad_y.shape
    assert layer.jacobian(x).shape == y.shape + x.shape
    close(layer.backward(grad_y, use_jacobian=True), layer.backward(grad_y))


# -- initialisation and repr ------------------------------------------------------------------


def test_after_a_forward_that_fails_there_is_nothing_to_go_back_from():
    def refuses(z: Any) -> Any:
        if z.max() > 9:
            raise RuntimeError("planted")
        return 2 * z

    net = nn.Sequential([nn.Linear(1, 1), nn.Dense(1, 1, refuses)])
    net.layers[0].w[:] = net.layers[1].w[:] = 1
    net.forward([1.0])
    with pytest.raises(RuntimeError, match="planted"):
        net.forward([10.0])
    with pytest.raises(ValueError, match=r"Sequential.backward: there is no y to go back from"):
        net.backward([1.0])


def test_a_layer_keeps_the_activation_it_was_made_with(restored: None):
    fg.define_activation("mine", lambda z: z * z, lambda z: 2 * z)
    layer = nn.Dense(2, 2, "mine", seed=0)
    fg.define_activation("mine", lambda z: 3 * z, lambda z: 3.0)
    layer.forward([1.0, 2.0])
    by_formula, by_jacobian = (layer.backward([1.0, 1.0], use_jacobian=j) for j in (False, True))
    np.testing.assert_allclose(by_formula, by_jacobian, rtol=1e-12)


def test_weights_are_glorot_uniform():
    layer = nn.Linear(300, 200, seed=3)
    limit = np.sqrt(6 / 500)
    expected = np.random.Generator(np.random.PCG64(3)).uniform(-limit, limit, (300, 200))
    np.testing.assert_array_equal(layer.w, expected)
    assert not np.any(layer.b)
    single = nn.Linear(300, 200, samples="columns", dtype="float32", seed=3)
    np.testing.assert_array_equal(single.w, expected.T.astype(np.float32))
    assert not np.array_equal(nn.Linear(3, 2).w, nn.Linear(3, 2).w)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Linear(3, 2), "Linear(3, 2, bias=True)"),
        (nn.Linear(3, 2, False, "columns"), "Linear(3, 2, bias=False, samples='columns')"),
        (
            nn.Dense(3, 2, "tanh", dtype="float32"),
            "Dense(3, 2, 'tanh', bias=True, dtype='float32')",
        ),
        (nn.Sigmoid(), "Sigmoid()"),
        (nn.Softmax("columns"), "Softmax(samples='columns')"),
        (nn.Activation("gelu"), "Activation('gelu')"),
        (
            nn.Sequential([nn.Linear(3, 2), nn.ReLU()]),
            "Sequential([Linear(3, 2, bias=True), ReLU()])",
        ),
        (nn.MSE([1, 2]), "<MSE to 1x2 labels, reduction='mean', samples='rows'>"),
    ],
)
def test_repr(layer: Any, text: str):
    assert repr(layer) == text


# -- MSE --------------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize(("reduction", "divisor"), [("mean", 8), ("sum", 1), ("samples", 4)])
def test_mse(rng: np.random.Generator, reduction: str, divisor: int, samples: str):
    labels, pred = (turn(rng.standard_normal((4, 2)), samples) for _ in range(2))
    loss = nn.MSE(labels, reduction, samples)
    value = loss.forward(pred)
    assert isinstance(value, float)
    assert value == pytest.approx(np.sum((pred - labels) ** 2) / divisor, rel=1e-14)
    close(loss.backward(), 2 * (pred - labels) / divisor)
    close(loss.backward(labels), np.zeros_like(labels))
    close(loss.backward(), 2 * (pred - labels) / divisor)  # that of forward is still remembered


# -- errors -----------------------------------------------------------------------------------


def after_forward(layer: nn.Layer, shape: tuple[int, ...]) -> nn.Layer:
    layer.forward(np.ones(shape))
    return layer


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: nn.Linear(3, 2).backward([[1, 1]]),
            ValueError,
            r"Linear.backward: there is no y to go back from: call forward\(x\) first",
        ),
        (lambda: nn.ReLU().backward([1]), ValueError, "ReLU.backward: there is no y"),
        (lambda: nn.Sequential([nn.ReLU()]).backward([1]), ValueError, "Sequential.backward: ther"),
        (
            lambda: after_forward(nn.Linear(3, 2), (5, 3)).backward(np.ones((2, 5))),
            ValueError,
            r"Linear.backward: grad_y has shape \(2, 5\) but y has shape \(5, 2\): they need t",
        ),
        (
            lambda: after_forward(nn.Softmax(), (5, 3)).backward(np.ones(3)),
            ValueError,
            r"Softmax.backward: grad_y has shape \(1, 3\) but y has shape \(5, 3\)",
        ),
        (
            lambda: nn.Linear(3, 2).forward(np.ones((5, 4))),
            ValueError,
            r"Linear.forward: x has shape \(5, 4\): Linear\(3, 2, bias=True\) takes \(n, 3\)",
        ),
        (
            lambda: nn.Dense(3, 2, "tanh", samples="columns").jacobian(np.ones((5, 3))),
            ValueError,
            r"Dense.jacobian: x has shape \(5, 3\): .* takes \(3, n\) or \(3,\)",
        ),
        (lambda: nn.ReLU().forward(1.0), ValueError, r"ReLU.forward: x has shape \(\): samples='r"),
        (lambda: nn.ReLU("columns").forward(np.ones((1, 2, 3))), ValueError, r"take \(d, n\) or"),
        (lambda: nn.ReLU().forward([1j]), TypeError, "ReLU.forward: x has dtype complex128"),
        (lambda: nn.Linear(0, 2), ValueError, "Linear: input_dim is 0: give a positive integer"),
        (lambda: nn.Linear(3, True), ValueError, "Linear: output_dim is True"),
        (lambda: nn.Linear(3, 2.5), ValueError, "Linear: output_dim is 2.5"),
        (lambda: nn.Linear(True, 2), ValueError, "Linear: input_dim is True"),
        (lambda: nn.Linear(3, 2, samples="row"), ValueError, "Linear: samples is 'row': choose fr"),
        (lambda: nn.Linear(3, 2, dtype="float16"), ValueError, "Linear: dtype is 'float16'"),
        (lambda: nn.Dense(3, 2, "tan"), ValueError, "Dense: unknown activation 'tan'"),
        (lambda: nn.Activation(np.sin), TypeError, "Activation: activation is a function"),
        (lambda: nn.Sequential([]), ValueError, "Sequential: layers is empty"),
        (
            lambda: nn.Sequential([nn.ReLU(), nn.MSE([1])]),
            TypeError,
            r"Sequential: layers\[1\] is a MSE: give layers",
        ),
        (
            lambda: nn.Sequential([nn.ReLU(), nn.Tanh("columns")]),
            ValueError,
            "Sequential: layers have samples='rows' and 'columns'",
        ),
        (
            lambda: nn.Sequential([nn.Linear(3, 3), *[nn.ReLU()] * 2]),
            ValueError,
            r"Sequential: layers\[2\] is, or holds, a layer that is there already",
        ),
        (
            lambda: nn.Sequential([relu := nn.ReLU(), nn.Sequential([nn.Tanh(), relu])]),
            ValueError,
            r"Sequential: layers\[1\] is, or holds, a layer that is there already",
        ),
        (lambda: nn.Sequential(5), TypeError, "Sequential: layers is a int: give layers in a seq"),
        (lambda: nn.Linear(2, 2, dtype=SWAPPED), ValueError, "Linear: dtype is dtype"),
        (lambda: nn.Linear(2, 2, dtype=None), ValueError, "Linear: dtype is None: choose 'float32"),
        *(
            (
                lambda size=size: nn.Linear(size, size),
                ValueError,
                r"Linear: w of shape \(1099511627776, 1099511627776\) is larger than memory can be",
            )
            for size in (2**40, np.int64(2**40))
        ),
        (lambda: nn.MSE([1]).backward(), ValueError, "MSE.backward: there is no pred"),
        (lambda: nn.MSE([1], "average"), ValueError, "MSE: reduction is 'average'"),
        (lambda: nn.MSE([1, 2]).forward([1, 2, 3]), ValueError, r"shape \(1, 2\) .* \(1, 3\)"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()


# -- forwards and backwards in turn --------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 2, seed=0), lambda: nn.Dense(3, 2, "gelu", seed=0), nn.Tanh,
        lambda: nn.Sequential([nn.Linear(3, 4, seed=0), nn.Sigmoid()]),
    ],
)  # fmt: skip
def test_a_backward_without_a_forward_of_its_own(make: Any) -> None:
    layer, x = make(), np.arange(12.0).reshape(4, 3) / 7
    g = np.ones_like(layer.forward(x))
    first = layer.backward(g)
    close(layer.backward(2 * g), 2 * first)  # from one forward as often as one likes
    close(layer.backward(g, use_jacobian=True), first)
    layer.forward(x)
    layer.forward(-x)  # an evaluation in between, say: the last one counts
    layer.backward(g)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"\.backward: forward has been called more than once"):
            layer.backward(g)
    layer.forward(x)
    close(layer.backward(g), first)
    close(layer.backward(g), first)
    layer.forward(x)
    layer.forward(x)
    again = copy.deepcopy(layer)
    again.forward(x)
    again.backward(g)
    again.backward(g)


def test_a_loss_without_a_forward_of_its_own() -> None:
    loss = nn.MSE([[1.0, 2.0]])
    loss.forward([[0.0, 0.0]])
    close(loss.backward(), loss.backward())
    loss.forward([[0.0, 0.0]])
    loss.forward([[1.0, 1.0]])
    loss.backward()
    with pytest.raises(ValueError, match=r"^MSE\.backward: forward has been called more than once"):
        loss.backward()
    close(loss.backward([[1.0, 1.0]]), np.array([[0.0, -1.0]]))


@layouts
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "softmax", "exp"])
def test_an_activation_whose_output_was_changed(name: str, samples: str) -> None:
    """Its slope is taken from y: dropout by hand would make it another one."""
    layer, x = nn.Activation(name, samples), np.linspace(-1.0, 2.0, 90).reshape(9, 10)
    y = layer.forward(x)
    layer.backward(np.ones_like(y))
    y *= 0.5
    with pytest.raises(ValueError, match=r"^Activation\.backward: y has been changed"):
        layer.backward(np.ones_like(y))
    y = layer.forward(x) * 0.5
    layer.backward(np.ones_like(y))
