"""Agreement with PyTorch, an oracle that shares no code and no author with this project.

Every activation and loss that PyTorch has too, forward and gradients, in both dtypes and both
layouts, at points where a wrong sign or a transposed index shows. The tolerance is
``TORCH_EPS`` of ``tolerances.py``: both sides are a few eps away from the truth.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import TORCH_EPS, U, gamma
from truth import LOSS_TRUTH, TRUTH

import fastgrad as fg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own, at import
    torch: Any = pytest.importorskip("torch", exc_type=ImportError)
    functional: Any = torch.nn.functional

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    name: functools.partial(row.torch, torch) for name, row in TRUTH.items()
}
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    name: functools.partial(row.torch, functional) for name, row in LOSS_TRUTH.items()
}

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
names = pytest.mark.parametrize("name", list(ACTIVATIONS))
losses = pytest.mark.parametrize("loss", list(LOSSES))


def test_nothing_is_missing() -> None:
    """A new activation or loss needs a row in tests/truth.py."""
    assert set(ACTIVATIONS) == set(fg.activations.BUILT_IN)
    assert set(LOSSES) == set(fg.losses.LOSSES)


def leaf(array: Array) -> Any:
    """Return a tensor of the same numbers that collects a gradient."""
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def assert_close(got: Array, tensor: Any, size: Array | float = 0.0, steps: int = 0) -> None:
    """Compare, allowing each side TORCH_EPS, and sums of `steps` terms of total size `size`."""
    expected = tensor.detach().numpy()
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    u = U[got.dtype.name]
    wide = expected.astype(np.float64)
    allowed = 2 * u * TORCH_EPS * np.maximum(1, np.abs(wide)) + 2 * gamma(steps, u) * size
    error = np.abs(got.astype(np.float64) - wide)
    assert (error <= allowed).all(), f"{(error / allowed).max():.3g} x the bound"


def points(dtype: str) -> Array:
    """Return rows of points of all sizes, of both signs, none the mirror of another."""
    rng = rng_of("points")
    return np.concatenate(
        [scale * rng.standard_normal((5, 7)) + 0.1 for scale in (1e-6, 0.1, 1.0, 3.0, 8.0)]
    ).astype(dtype)


# -- activations ---------------------------------------------------------------------------------


@names
@dtypes
def test_activations(dtype: str, name: str) -> None:
    act, z = fg.activations.ACTIVATIONS[name], points(dtype)
    grad_y = rng_of("grad_y").standard_normal(z.shape).astype(dtype)
    tensor = leaf(z)
    y = ACTIVATIONS[name](tensor)
    y.backward(torch.from_numpy(grad_y))
    assert_close(act(z), y)
    assert_close(act.backward(grad_y, z), tensor.grad)
    if act.from_output:
        assert_close(act.backward_from_output(grad_y, y.detach().numpy()), tensor.grad)


@names
@dtypes
def test_activations_at_special_values(dtype: str, name: str) -> None:
    """Zeros, infinities and NaN, and the slope at the kinks."""
    infinities = [z for z in (np.inf, -np.inf) if z not in TRUTH[name].torch_nan]
    special = [0.0, -0.0, *infinities, np.nan]
    z = np.array(special, dtype)[:, None]
    act = fg.activations.ACTIVATIONS[name]
    tensor = leaf(z)
    y = ACTIVATIONS[name](tensor).detach().numpy()
    got, rtol = act(z), 2 * TORCH_EPS * U[dtype]
    np.testing.assert_allclose(got, y, rtol=rtol, atol=0)
    np.testing.assert_array_equal(np.signbit(got[:2]), np.signbit(y[:2]))
    if name != "softmax":
        zero = leaf(np.zeros(1, dtype))
        ACTIVATIONS[name](zero).sum().backward()
        slope = act.derivative(np.zeros(1, dtype))
        np.testing.assert_allclose(slope, zero.grad.numpy(), rtol=rtol, atol=0)


# -- layers ---------------------------------------------------------------------------------------


def layer(dtype: str) -> dict[str, Array]:
    """Return a layer in row layout, with every element its own and pre-activations near 1."""
    rng = rng_of("torch layer")
    shapes = {"x": (13, 9), "w": (9, 21), "b": (21,), "g": (13, 21)}
    data = {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items()}
    data["w"] /= 3
    return data


@names
@layouts
@dtypes
def test_layers(dtype: str, samples: str, name: str) -> None:
    """y and the gradients of x, w and b, through products of 9, 21 and 13 terms."""
    data = layer(dtype)
    x, w, b = leaf(data["x"]), leaf(data["w"]), leaf(data["b"])
    z = x @ w + b
    z.retain_grad()
    y = ACTIVATIONS[name](z)
    y.backward(torch.from_numpy(data["g"]))

    y_, cache = fg.dense_forward(
        turn(data["x"], samples), turn(data["w"], samples), data["b"], name, samples=samples
    )
    grads = fg.dense_backward(turn(data["g"], samples), cache, need=("x", "w", "b", "z"))
    # What both may be off by: z by its sum, y and grad_z by that times a slope or curvature
    # of at most 2 (exp, whose own size multiplies it, apart).
    own = np.abs(y.detach().numpy()).astype(float) if name == "exp" else 1.0
    z_size = np.abs(data["x"]) @ np.abs(data["w"]) + np.abs(data["b"])
    size = 2 * own * z_size
    assert_close(turn(y_, samples), y, size, 10)
    gz_size = np.abs(data["g"]) * size
    assert_close(turn(grads.z, samples), z.grad, *of_softmax(name, data, gz_size))
    u = U[dtype]
    gz = np.abs(z.grad.numpy()).astype(float)
    error = (
        2 * u * TORCH_EPS * np.maximum(1, gz)
        + 2 * gamma(10, u) * of_softmax(name, data, gz_size)[0]
    )
    for which, tensor, product, steps in (
        ("x", x, lambda a: a @ np.abs(data["w"].T), 21),
        ("w", w, lambda a: np.abs(data["x"].T) @ a, 13),
        ("b", b, lambda a: a.sum(axis=0), 13),
    ):
        got = getattr(grads, which)
        got = turn(got, samples) if got.ndim == 2 else got
        # The errors of grad_z go through the product; its own rounding comes on top.
        passed_on = product(error) / (2 * gamma(steps, u))
        assert_close(got, tensor.grad, product(gz + error) + passed_on, steps)


def of_softmax(name: str, data: dict[str, Array], size: Array) -> tuple[Any, int]:
    """Return the size of what grad_z is made of: softmax mixes the elements of a row."""
    if name != "softmax":
        return size, 10
    largest = np.abs(data["g"]).max(axis=1, keepdims=True)
    z_size = np.abs(data["x"]) @ np.abs(data["w"]) + np.abs(data["b"])
    return 4 * largest * z_size.max(axis=1, keepdims=True) * np.ones_like(size), 10


def test_notebook_d_where_a_flipped_sign_shows() -> None:
    """``||sigmoid(W x)||**2`` in float32, at its symmetric point and at one that is not."""
    w0 = np.array([[2, 1, 2], [1, 3, 1], [7, 4, 7]], np.float32)
    for column in ([1, 0, -1], [0.5, -0.25, 0.125]):
        x0 = np.array(column, np.float32).reshape(3, 1)
        x, w = leaf(x0), leaf(w0)
        z = w @ x
        z.retain_grad()
        y = torch.sigmoid(z)
        f = torch.linalg.vector_norm(y) ** 2
        f.backward()
        y_, cache = fg.dense_forward(x0, w0, activation="sigmoid", samples="columns")
        value, grad_y = fg.losses.squared_l2.value_and_grad(y_, samples="columns")
        grads = fg.dense_backward(grad_y, cache, need=("x", "w", "z"))
        assert abs(value - f.item()) <= 2 * TORCH_EPS * U["float32"] * value
        # Three terms of at most 7 per product; slopes at most 1/4, curvatures below 0.1.
        assert_close(y_, y, 21.0, 4)
        assert_close(grads.z, z.grad, 21.0, 4)
        assert_close(grads.w, w.grad, 21.0, 8)
        assert_close(grads.x, x.grad, 3 * 21.0, 8)
        if column[0] == 1:
            assert value == pytest.approx(0.75, rel=1e-7)
            np.testing.assert_allclose(grads.z, np.full((3, 1), 0.25), rtol=1e-7)
            np.testing.assert_allclose(grads.x.ravel(), [2.5, 2.0, 2.5], rtol=1e-7)


# -- losses ---------------------------------------------------------------------------------------


def loss_data(loss: str, dtype: str) -> tuple[Array, Array]:
    """Return predictions on both sides of every kink, none near one, and targets."""
    rng = rng_of("torch losses", loss)
    pred = 2 * rng.standard_normal((11, 6))
    target = rng.uniform(0.05, 0.95, (11, 6))
    if fg.losses.LOSSES[loss].rowwise:
        target /= target.sum(axis=1, keepdims=True)
    return LOSS_TRUTH[loss].domain(pred.astype(dtype)), target.astype(dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
@losses
@layouts
@dtypes
def test_losses(dtype: str, samples: str, loss: str, reduction: str) -> None:
    pred, target = loss_data(loss, dtype)
    tensor = leaf(pred)
    rowwise = fg.losses.LOSSES[loss].rowwise
    number = {"sum": 1, "samples": len(pred), "mean": len(pred) if rowwise else pred.size}
    expected = LOSSES[loss](tensor, torch.from_numpy(target)) / number[reduction]
    expected.backward()

    row = fg.losses.LOSSES[loss]
    arguments = [turn(pred, samples), turn(target, samples)]
    if isinstance(row, fg.losses.ArrayLoss):
        arguments.pop()
    value, grad = row.value_and_grad(*arguments, reduction=reduction, samples=samples)
    # PyTorch adds up in the dtype, we in float64; no term is larger than 2 p**2 + 4.
    size = float((2 * pred.astype(float) ** 2 + 4).sum()) / number[reduction]
    u = U[dtype]
    allowed = (2 * TORCH_EPS * u + gamma(pred.size, u)) * size
    assert type(value) is float
    assert abs(value - expected.item()) <= allowed
    assert value == row(*arguments, reduction=reduction, samples=samples)
    assert_close(turn(grad, samples), tensor.grad)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@layouts
@dtypes
def test_cross_entropy_of_classes(dtype: str, samples: str, reduction: str) -> None:
    pred, _ = loss_data("softmax_cross_entropy", dtype)
    classes = rng_of("classes").integers(0, pred.shape[1], len(pred))
    tensor = leaf(pred)
    expected = functional.cross_entropy(tensor, torch.from_numpy(classes), reduction=reduction)
    expected.backward()
    value, grad = fg.losses.softmax_cross_entropy.value_and_grad(
        turn(pred, samples), classes, reduction=reduction, samples=samples
    )
    u = U[dtype]
    size = 12.0 * (len(pred) if reduction == "sum" else 1)  # no term is larger than 12
    assert abs(value - expected.item()) <= (2 * TORCH_EPS * u + gamma(len(pred), u)) * size
    assert_close(turn(grad, samples), tensor.grad)


@pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "softmax_cross_entropy"])
@dtypes
def test_cross_entropies_of_large_logits(dtype: str, loss: str) -> None:
    """Finite, and right, where the exponential overflows."""
    pred = np.array([[1e4, -1e4, 3.0], [-2e4, 5e3, 5e3]], dtype)
    target = np.array([[0.25, 0.5, 0.25], [0.5, 0.5, 0.0]], dtype)
    tensor = leaf(pred)
    expected = LOSSES[loss](tensor, torch.from_numpy(target))
    expected.backward()
    value, grad = fg.losses.LOSSES[loss].value_and_grad(pred, target, reduction="sum")
    assert abs(value - expected.item()) <= 2 * TORCH_EPS * U[dtype] * np.abs(pred).sum()
    assert_close(grad, tensor.grad)


# -- a network, end to end ----------------------------------------------------------------------


@layouts
@dtypes
def test_three_layers_and_a_loss(dtype: str, samples: str) -> None:
    """Notebook B's net: every gradient, relative to its largest element."""
    rng = rng_of("three layers")
    sizes, acts = (5, 8, 6, 3), ("tanh", "sigmoid", None)
    ws = [rng.standard_normal(s).astype(dtype) / 2 for s in itertools.pairwise(sizes)]
    bs = [rng.standard_normal(k).astype(dtype) for k in sizes[1:]]
    x = rng.standard_normal((10, 5)).astype(dtype)
    t = rng.standard_normal((10, 3)).astype(dtype)

    h, w_leaves, b_leaves = leaf(x), [leaf(w) for w in ws], [leaf(b) for b in bs]
    x_leaf = h
    for w, b, act in zip(w_leaves, b_leaves, acts, strict=True):
        h = ACTIVATIONS[act or "identity"](h @ w + b)
    expected = functional.mse_loss(h, torch.from_numpy(t))
    expected.backward()

    y, caches = turn(x, samples), []
    for w, b, act in zip(ws, bs, acts, strict=True):
        y, cache = fg.dense_forward(y, turn(w, samples), b, act, samples=samples)
        caches.append(cache)
    value, grad = fg.losses.mse.value_and_grad(y, turn(t, samples), samples=samples)
    # Each layer multiplies errors of at most gamma(10) relative by a condition below 4; three
    # layers there and three back.
    rtol = 6 * 4 * gamma(10, U[dtype])
    assert abs(value - expected.item()) <= rtol * value
    for cache, w, b in zip(caches[::-1], w_leaves[::-1], b_leaves[::-1], strict=True):
        grads = fg.dense_backward(grad, cache)
        for got, tensor in ((turn(grads.w, samples), w), (grads.b, b)):
            truth = tensor.grad.numpy()
            np.testing.assert_allclose(got, truth, rtol=0, atol=rtol * np.abs(truth).max())
        grad = grads.x
    truth = x_leaf.grad.numpy()
    np.testing.assert_allclose(turn(grad, samples), truth, rtol=0, atol=rtol * abs(truth).max())
