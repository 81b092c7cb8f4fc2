"""Agreement with PyTorch: every activation and loss that it has, both dtypes, values and gradients.

At non-symmetric points: a flipped sign or a transposed gradient shows. Both sides round; the
tolerance is PyTorch's (see ``tolerances.py``), ours are measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import TORCH_EPS

import fastgrad as fg

torch = pytest.importorskip("torch")
F = torch.nn.functional
torch.set_num_threads(1)

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)

# What PyTorch calls them; along the last axis.
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z * 1,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softmax": lambda z: torch.softmax(z, -1),
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "exp": torch.exp,
}
# (pred, target) -> the sum of the terms, and how many terms a row of d elements has.
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "mse": lambda p, t: F.mse_loss(p, t, reduction="sum"),
    "mae": lambda p, t: F.l1_loss(p, t, reduction="sum"),
    "huber": lambda p, t: F.huber_loss(p, t, reduction="sum"),
    "binary_cross_entropy_with_logits": lambda p, t: F.binary_cross_entropy_with_logits(
        p, t, reduction="sum"
    ),
    "softmax_cross_entropy": lambda p, t: F.cross_entropy(p, t, reduction="sum"),
    "sum": lambda p, t: p.sum(),
    "squared_l2": lambda p, t: (p * p).sum(),
}


def close(got: Array, expected: Any, dtype: str, size: Array | float = 1.0) -> None:
    """Assert agreement within TORCH_EPS of `size`, the size of what was added up."""
    expected = expected.detach().numpy() if hasattr(expected, "detach") else expected
    assert got.dtype == expected.dtype == dtype
    assert got.shape == expected.shape
    bound = TORCH_EPS * np.finfo(dtype).eps * np.maximum(size, abs(expected))
    assert (abs(got - expected) <= bound).all(), float((abs(got - expected) / bound).max())


def leaf(a: Array) -> Any:
    return torch.tensor(a, requires_grad=True)


def test_all_rows_are_compared() -> None:
    assert set(ACTIVATIONS) == set(fg.activations.BUILT_IN)
    assert set(LOSSES) == set(fg.losses.LOSSES)


@dtypes
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str) -> None:
    rng = rng_of("torch", name)
    z, g = ((s * rng.standard_normal((13, 37))).astype(dtype) for s in (3, 1))
    row, leaf_z = fg.activations.ACTIVATIONS[name], leaf(z)
    y = ACTIVATIONS[name](leaf_z)
    y.backward(torch.tensor(g))
    close(row(z), y, dtype)
    size = abs(g) * np.maximum(1, np.exp(z) if name == "exp" else 1)
    close(row.backward(g, z), leaf_z.grad, dtype, size)
    if row.from_output:
        close(row.backward_from_output(g, row(z)), leaf_z.grad, dtype, size)


@layouts
@dtypes
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layers(name: str, dtype: str, samples: str) -> None:
    """Forward and all gradients of a layer with bias."""
    rng = rng_of("torch layer", name)
    n, d, k = 19, 11, 17
    x, w, b, g = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), (k,), (n, k)))
    w = (w / np.sqrt(d)).astype(dtype)
    leaves = [leaf(a) for a in (x, w, b)]
    z = leaves[0] @ leaves[1] + leaves[2]
    z.retain_grad()
    expected = ACTIVATIONS[name](z)
    expected.backward(torch.tensor(g))
    y, cache = fg.dense_forward(turn(x, samples), turn(w, samples), b, name, samples=samples)
    grads = fg.dense_backward(turn(g, samples), cache, need=("x", "w", "b", "z"))
    # Sizes: what each sum is a sum of. Errors of z, about one d-th of the products' sum in eps,
    # pass on with slopes up to 1.13, for exp with y.
    steep = np.maximum(1, np.exp(z.detach().numpy()) if name == "exp" else 1)
    dz = abs(x) @ abs(w) + abs(b)
    gz = abs(g) * steep * np.maximum(1, dz)
    close(turn(y, samples), expected, dtype, steep * np.maximum(1, dz))
    close(turn(grads.z, samples), z.grad, dtype, gz)
    close(turn(grads.x, samples), leaves[0].grad, dtype, gz @ abs(w.T))
    close(turn(grads.w, samples), leaves[1].grad, dtype, abs(x.T) @ gz)
    close(grads.b, leaves[2].grad, dtype, gz.sum(axis=0))


@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
@layouts
@dtypes
@pytest.mark.parametrize("kind", ["array", "classes"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, kind: str, dtype: str, samples: str, reduction: str) -> None:
    if (kind == "classes") > (name == "softmax_cross_entropy"):
        pytest.skip("only softmax cross-entropy takes classes")
    rng = rng_of("torch loss", name)
    n, d = 21, 9
    p = (2 * rng.standard_normal((n, d))).astype(dtype)
    t = rng.uniform(0.05, 1, (n, d))
    t = (t / t.sum(axis=1, keepdims=True)).astype(dtype)
    classes = rng.integers(0, d, n)
    leaf_p = leaf(p)
    total = LOSSES[name](leaf_p, torch.tensor(classes if kind == "classes" else t))
    terms = n if name == "softmax_cross_entropy" else n * d
    divisor = {"mean": terms, "sum": 1, "samples": n}[reduction]
    (total / divisor).backward()
    loss = fg.losses.LOSSES[name]
    one_array = isinstance(loss, fg.losses.ArrayLoss)
    targets = () if one_array else (classes if kind == "classes" else turn(t, samples),)
    value, grad = loss.value_and_grad(
        turn(p, samples), *targets, reduction=reduction, samples=samples
    )
    # PyTorch adds up in the dtype; the terms here are at most (|p| + 1)**2.
    eps = TORCH_EPS * np.finfo(dtype).eps
    assert abs(value - float(total.detach()) / divisor) <= eps * ((abs(p) + 1) ** 2).sum() / divisor
    close(turn(grad, samples), leaf_p.grad, dtype, (abs(p) + 1) / divisor)


@dtypes
def test_a_network_of_three_layers(dtype: str) -> None:
    """Notebook B's net: columns, tanh, sigmoid, identity, quadratic cost."""
    rng = rng_of("torch net")
    sizes, n = (3, 7, 5, 2), 11
    x, t = (rng.standard_normal((s, n)).astype(dtype) for s in (sizes[0], sizes[-1]))
    ws = [rng.standard_normal((k, d)).astype(dtype) for d, k in zip(sizes, sizes[1:], strict=False)]
    bs = [rng.standard_normal((k, 1)).astype(dtype) for k in sizes[1:]]
    names = ("tanh", "sigmoid", None)

    leaves = [(leaf(w), leaf(b)) for w, b in zip(ws, bs, strict=True)]
    a = torch.tensor(x)
    for (w, b), name in zip(leaves, names, strict=True):
        a = ACTIVATIONS[name or "identity"](w @ a + b)
    ((a - torch.tensor(t)) ** 2).mean().backward()

    y, caches = x, []
    for w, b, name in zip(ws, bs, names, strict=True):
        y, cache = fg.dense_forward(y, w, b, name, samples="columns")
        caches.append(cache)
    _, g = fg.losses.mse.value_and_grad(y, t, samples="columns")
    for cache, (w, b) in zip(reversed(caches), reversed(leaves), strict=True):
        grads = fg.dense_backward(g, cache)
        close(grads.w, w.grad, dtype)
        close(grads.b, b.grad, dtype)
        g = grads.x
