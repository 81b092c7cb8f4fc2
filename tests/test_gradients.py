"""Full Jacobians of layers, losses and networks: complex step, float32 against float64, adjoints.

`test_dense_gradients.py` has every single layer in float64, `test_losses.py` every loss; here are
networks of three layers, and what float32 makes of all of them. Relative means element by element:
nothing is scaled by the size of an array. The data have seeds where no entry is a small difference
of large terms, which has no relative accuracy to lose.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from analytic import ANALYTIC, REDUCE, STEP, TERMS, complex_steps
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import ADJOINT_RTOL, FLOAT32_RTOL, GRADIENT_RTOL
from truth import LOSS_TRUTH

import fastgrad as fg

NAMES = fg.activations.BUILT_IN
LOSSES = list(fg.losses.LOSSES)

layouts = pytest.mark.parametrize("samples", LAYOUTS)
names = pytest.mark.parametrize("name", NAMES)

# Three layers, of which one has the activation under test; 3 samples.
SIZES = (3, 4, 5, 2)
N = 3
PLACES = (0, 1, 2)
LAYER_SEED = 1
SEEDS = {"float32": 39, "float64": 6}
PARAMETERS = ("x", "w0", "b0", "w1", "b1", "w2", "b2")


def activations(name: str, place: int) -> list[str]:
    """Return three activations, `name` at `place`, smooth ones elsewhere."""
    before, after = ["tanh", "sigmoid"][:place], ["tanh", "softplus"][place:]
    return [*before, name, *after]


@functools.cache
def network(dtype: str) -> dict[str, Array]:
    """Return x, parameters and a target, in row layout: numbers that float32 has, too.

    For float32 weights are positive, so that paths through the network do not cancel, and
    everything is smaller, so that tanh is not saturated: ``1 - y**2`` is as good as y allows.
    """
    rng, wide = rng_of("network", dtype, SEEDS[dtype]), dtype == "float64"
    data = {"x": rng.standard_normal((N, SIZES[0])) * (1 if wide else 0.5)}
    for i, (d, k) in enumerate(itertools.pairwise(SIZES)):
        w = rng.standard_normal((d, k)) / math.sqrt(d)
        data[f"w{i}"] = w if wide else abs(w) / 2
        data[f"b{i}"] = rng.standard_normal(k) / (2 if wide else 4)
    target = rng.uniform(0.1, 1, (N, SIZES[-1]))
    data["t"] = target / target.sum(axis=1, keepdims=True)
    return {key: value.astype(np.float32).astype(np.float64) for key, value in data.items()}


def analytic(p: dict[str, Array], acts: list[str]) -> Array:
    """Return the network's output, by complex NumPy."""
    y = p["x"]
    for i, name in enumerate(acts):
        y = ANALYTIC[name](y @ p[f"w{i}"] + p[f"b{i}"])
    return y


def all_complex_steps(
    function: Callable[[dict[str, Array]], Array], data: dict[str, Array]
) -> dict[str, Array]:
    """Return d function / d parameter for each parameter: arrays (function's size, size)."""
    p = {key: data[key] for key in PARAMETERS}
    return {key: complex_steps(function, p, key) for key in PARAMETERS}


class Net:
    """The network on dense layers of fastgrad, in a layout and a dtype."""

    def __init__(
        self, acts: list[str], samples: str, dtype: str, data: dict[str, Array] | None = None
    ) -> None:
        data = network(dtype) if data is None else data
        p = {key: turn(a, samples) if a.ndim == 2 else a for key, a in data.items()}
        p = {key: a.astype(dtype) for key, a in p.items()}
        self.samples, self.target, self.caches = samples, p["t"], []
        self.y = p["x"]
        for i, name in enumerate(acts):
            layer = p[f"w{i}"], p[f"b{i}"], name
            self.y, cache = fg.dense_forward(self.y, *layer, samples=samples)
            self.caches.append(cache)

    def backward(self, grad: Array) -> dict[str, Array]:
        """Return the gradients of x and all parameters, in row layout."""
        found = {}
        for i in reversed(range(len(self.caches))):
            grad, found[f"w{i}"], found[f"b{i}"], _ = fg.dense_backward(grad, self.caches[i])
        found["x"] = grad
        return {k: turn(a, self.samples) if a.ndim == 2 else a for k, a in found.items()}

    def jacobians(self) -> dict[str, Array]:
        """Return d y / d parameter, one backward pass for each row."""
        units = np.eye(self.y.size, dtype=self.y.dtype).reshape(-1, N, SIZES[-1])
        passes = [self.backward(turn(unit, self.samples)) for unit in units]
        return {key: np.array([one[key].ravel() for one in passes]) for key in PARAMETERS}

    def loss(self, name: str, reduction: str) -> tuple[float, dict[str, Array]]:
        """Return a loss of the output, and all gradients."""
        row = fg.losses.LOSSES[name]
        targets = () if isinstance(row, fg.losses.ArrayLoss) else (self.target,)
        value, grad = row.value_and_grad(self.y, *targets, reduction, self.samples)
        return value, self.backward(grad)


@functools.cache
def true_jacobians(name: str, place: int) -> dict[str, Array]:
    acts = activations(name, place)
    return all_complex_steps(lambda p: analytic(p, acts), network("float64"))


CASES = [(name, place) for name in NAMES for place in PLACES]


@layouts
@pytest.mark.parametrize("name, place", CASES)
def test_jacobian_of_three_layers(name: str, place: int, samples: str) -> None:
    """float64 against complex step, all parameters and x."""
    got = Net(activations(name, place), samples, "float64").jacobians()
    for key, exact in true_jacobians(name, place).items():
        np.testing.assert_allclose(got[key], exact, rtol=GRADIENT_RTOL, atol=0, err_msg=key)


@layouts
@pytest.mark.parametrize("name, place", CASES)
def test_jacobian_of_three_layers_in_float32(name: str, place: int, samples: str) -> None:
    """float32 against float64, of the same numbers."""
    acts = activations(name, place)
    got = Net(acts, samples, "float32").jacobians()
    wide = Net(acts, samples, "float64", network("float32")).jacobians()
    for key in PARAMETERS:
        assert got[key].dtype == np.float32
        np.testing.assert_allclose(got[key], wide[key], rtol=FLOAT32_RTOL, atol=0, err_msg=key)


@pytest.mark.parametrize("dtype", DTYPES)
@layouts
@pytest.mark.parametrize("reduction", list(REDUCE))
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_gradient_of_a_loss_of_three_layers(
    name: str, loss: str, reduction: str, samples: str, dtype: str
) -> None:
    acts, data = activations(name, 0), network(dtype)
    value, got = Net(acts, samples, dtype).loss(loss, reduction)

    def total(p: dict[str, Array]) -> Array:
        return np.asarray(REDUCE[reduction](TERMS[loss](analytic(p, acts), data["t"])))

    rtol = GRADIENT_RTOL if dtype == "float64" else FLOAT32_RTOL
    assert value == pytest.approx(float(total(data).real), rel=rtol)
    for key, exact in all_complex_steps(total, data).items():
        np.testing.assert_allclose(got[key].ravel(), exact[0], rtol=rtol, atol=0, err_msg=key)


@layouts
@pytest.mark.parametrize("name, place", CASES)
def test_backward_of_three_layers_is_the_adjoint(name: str, place: int, samples: str) -> None:
    """<J u, v> = <u, J^T v>, u a direction of x and all parameters at once."""
    acts, data = activations(name, place), network("float64")
    rng = rng_of("adjoint", name, place)
    u = {key: rng.standard_normal(data[key].shape) for key in PARAMETERS}
    v = rng.standard_normal((N, SIZES[-1]))
    forward = np.imag(analytic({k: data[k] + 1j * STEP * u[k] for k in u}, acts)) / STEP * v
    grads = Net(acts, samples, "float64").backward(turn(v, samples))
    backward = np.concatenate([(grads[key] * u[key]).ravel() for key in PARAMETERS])
    left, right = math.fsum(forward.flat), math.fsum(backward)
    assert abs(left - right) <= ADJOINT_RTOL * (abs(forward).sum() + abs(backward).sum())


@layouts
@pytest.mark.parametrize("reduction", list(REDUCE))
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_a_loss_is_the_adjoint(loss: str, reduction: str, samples: str) -> None:
    """The change of the loss along a direction, on rows longer than a chunk."""
    rng, row = rng_of("loss adjoint", loss), fg.losses.LOSSES[loss]
    pred, u = rng.standard_normal((2, 5, 301))
    pred = LOSS_TRUTH[loss].domain(pred)
    target = rng.uniform(0.1, 1, pred.shape)
    targets = () if isinstance(row, fg.losses.ArrayLoss) else (turn(target, samples),)
    _, grad = row.value_and_grad(turn(pred, samples), *targets, reduction, samples)
    left = np.imag(REDUCE[reduction](TERMS[loss](pred + 1j * STEP * u, target))) / STEP
    terms = (turn(grad, samples) * u).ravel()
    assert abs(left - math.fsum(terms)) <= ADJOINT_RTOL * abs(terms).sum()


# -- layers and losses in float32 ----------------------------------------------------------------


@layouts
@names
def test_jacobian_of_every_layer_in_float32(name: str, samples: str) -> None:
    """Where tanh is not saturated: its slope, 1 - y**2, can be no better than y is."""
    rng = rng_of("float32 layer", LAYER_SEED)
    shapes = {"x": (3, 2), "w": (2, 4), "b": (4,)}
    data = {key: (rng.standard_normal(s) / 2).astype(np.float32) for key, s in shapes.items()}

    def jacobians(dtype: str) -> list[Array]:
        x, w, b = (data[key].astype(dtype) for key in "xwb")
        y, cache = fg.dense_forward(turn(x, samples), turn(w, samples), b, name, samples=samples)
        units = np.eye(y.size, dtype=dtype).reshape(-1, *y.shape)
        passes = [fg.dense_backward(unit, cache)[:3] for unit in units]
        return [np.array(rows) for rows in zip(*passes, strict=True)]

    for got, wide in zip(jacobians("float32"), jacobians("float64"), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wide, rtol=FLOAT32_RTOL, atol=0)


@layouts
@pytest.mark.parametrize("reduction", list(REDUCE))
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_every_loss_in_float32(loss: str, reduction: str, samples: str) -> None:
    rng, row = rng_of("float32 loss", 0), fg.losses.LOSSES[loss]
    pred = LOSS_TRUTH[loss].domain(rng.standard_normal((6, 7)).astype(np.float32))
    target = rng.uniform(0.1, 1, (6, 7)).astype(np.float32)
    arrays = [pred] if isinstance(row, fg.losses.ArrayLoss) else [pred, target]
    given = [turn(a, samples) for a in arrays]
    value, grad = row.value_and_grad(*given, reduction=reduction, samples=samples)
    wide = [a.astype(np.float64) for a in given]
    expected, slope = row.value_and_grad(*wide, reduction=reduction, samples=samples)
    assert grad.dtype == np.float32
    assert value == pytest.approx(expected, rel=FLOAT32_RTOL)
    np.testing.assert_allclose(grad, slope, rtol=FLOAT32_RTOL, atol=0)


@layouts
@pytest.mark.parametrize("name", [*NAMES, None])
def test_jacobian_of_layer_objects(name: str | None, samples: str) -> None:
    """`nn.Sequential.jacobian` of three layers, by formula and row by row, is the true one."""
    data, acts = network("float64"), activations(name or "identity", 0)
    stack = []
    for i, act in enumerate(acts):
        layer = fg.nn.Dense(SIZES[i], SIZES[i + 1], act, samples=samples, seed=0)
        layer.w[...] = turn(data[f"w{i}"], samples)
        assert layer.b is not None
        layer.b[...] = data[f"b{i}"].reshape(layer.b.shape)
        stack.append(layer)
    net = fg.nn.Sequential(stack)
    x = turn(data["x"], samples)
    y = net.forward(x)
    exact = true_jacobians(name or "identity", 0)["x"]
    axes = (1, 0, 3, 2) if samples == "columns" else (0, 1, 2, 3)
    got = net.jacobian(x).transpose(axes).reshape(exact.shape)
    np.testing.assert_allclose(got, exact, rtol=GRADIENT_RTOL, atol=0)
    rows = [net.backward(unit) for unit in np.eye(y.size).reshape(-1, *y.shape)]
    by_row = np.array(rows).reshape(*y.shape, *x.shape).transpose(axes).reshape(exact.shape)
    np.testing.assert_allclose(by_row, exact, rtol=GRADIENT_RTOL, atol=0)
