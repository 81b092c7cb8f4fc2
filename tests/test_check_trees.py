"""`check_grad` and `numerical_grad` of trees, of drawn entries, and along directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Array

import fastgrad as fg

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 3))


class Layer(NamedTuple):
    w: Any
    b: Any


def loss(layers: Any) -> Any:
    y = X
    for w, b in layers:
        y = np.tanh(y @ w + (0 if b is None else b))
    return np.sum(y**2)


LAYERS = [Layer(RNG.normal(size=(3, 4)), RNG.normal(size=4)), Layer(RNG.normal(size=(4, 2)), None)]


def right() -> list[Any]:
    (w1, b1), (w2, _) = LAYERS
    h = np.tanh(X @ w1 + b1)
    y = np.tanh(h @ w2)
    d2 = 2 * y * (1 - y**2)
    d1 = d2 @ w2.T * (1 - h**2)
    return [(X.T @ d1, d1.sum(axis=0)), (h.T @ d2, None)]


@pytest.mark.parametrize("method", ["central", "forward", "complex"])
def test_a_tree(method: str) -> None:
    found = fg.numerical_grad(loss, LAYERS, method=method)
    assert isinstance(found[0], Layer) and found[1].b is None
    for a, b in zip(found[0] + found[1][:1], right()[0] + right()[1][:1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 if method == "forward" else 1e-8)
    report = fg.check_grad(loss, right(), LAYERS, method=method)
    assert report and report.findings == ()
    assert list(report.parts) == ["grad[0][0]", "grad[0][1]", "grad[1][0]"]
    assert report.analytic.shape == (24,) and report.worst_index is not None
    assert repr(report) == f"gradient check ({method} differences): ok, 24 entries"


def test_a_function_of_the_gradient_gets_a_copy_of_the_tree() -> None:
    def grad(layers: Any) -> Any:
        found = right()
        layers[0].w[:] = 0
        return found

    before = LAYERS[0].w.copy()
    assert fg.check_grad(loss, grad, LAYERS)
    np.testing.assert_array_equal(before, LAYERS[0].w)


def test_a_wrong_array_of_a_tree() -> None:
    params = {"W": X, "b": np.ones(3)}
    grads = {"dW": 2 * X, "grad_b": np.array([2.0, 5.0, 2.0])}

    def f(p: dict[str, Array]) -> float:
        return float(np.sum(p["W"] ** 2) + np.sum(p["b"] ** 2))

    report = fg.check_grad(f, grads, params)
    assert report.state == "wrong" and report.worst_index == (16,)
    assert report.parts["grad['grad_b']"].worst_index == (1,)
    assert [found.array for found in report.findings] == ["grad['grad_b']"]
    assert "FAIL, 1 of 18 entries\ngrad['grad_b']: FAIL, 1 of 3 entries\n  worst" in repr(report)
    assert report.max_abs == pytest.approx(3) and report.wrong.sum() == 1
    small = fg.check_grad(f, {"W": 2 * X, "b": 2 * np.ones(3)}, {"W": X, "b": np.ones(3)})
    assert small.ok


def test_each_array_is_judged_by_its_own_size() -> None:
    """An error in a gradient of 1e-9 is none beside 1, and is one beside 1e-9."""
    report = fg.check_grad(
        lambda p: np.sum(p[0] ** 2) + 1e-6 * np.sum(p[1] ** 2),
        [2 * np.ones(3), 2.1e-6 * np.ones(2)],
        [np.ones(3), np.ones(2)],
    )
    assert [part.state for part in report.parts.values()] == ["ok", "wrong"]


def test_a_float32_loss_of_a_tree() -> None:
    net = fg.MLP((3, 8, 2), ("tanh", None), "mse", dtype="float32")
    params = net.init(seed=0)
    t = RNG.normal(size=(5, 2)).astype(np.float32)
    layers = [tuple(layer) for layer in net.layers(params)]
    grads = [tuple(layer) for layer in net.layers(net.value_and_grad(params, X, t)[1])]

    def f(layers: Any) -> float:
        return net.value_and_grad(net.pack(layers), X, t)[0]

    assert fg.check_grad(f, grads, layers)
    assert not fg.check_grad(f, [(2 * g, h) for g, h in grads], layers)


def test_drawn_entries() -> None:
    x = RNG.normal(size=(30, 20))
    calls = 0

    def f(x: Array) -> float:
        nonlocal calls
        calls += 1
        return float(np.sum(x**3))

    found = fg.numerical_grad(f, x, sample=7)
    seen = ~np.isnan(found)
    assert seen.sum() == 7 and calls < 60
    np.testing.assert_allclose(found[seen], 3 * x[seen] ** 2, atol=1e-7)
    np.testing.assert_array_equal(found, fg.numerical_grad(f, x, sample=7))
    assert np.any(np.isnan(found) != np.isnan(fg.numerical_grad(f, x, sample=7, seed=1)))
    calls = 0
    report = fg.check_grad(f, 3 * x**2, x, sample=9)
    assert report and calls < 100
    assert repr(report).splitlines()[0].endswith("ok, 9 entries, drawn from 600")
    report = fg.check_grad(f, 3.1 * x**2, x, sample=9)
    assert report.wrong.sum() == 9 and report.worst_index is not None
    assert not np.isnan(report.numerical[report.worst_index])
    assert fg.check_grad(f, 3 * x**2, x, sample=601).ok
    tree = fg.numerical_grad(lambda p: f(p["a"]) + f(p["b"]), {"a": x, "b": x[0]}, sample=3)
    assert [int((~np.isnan(part)).sum()) for part in tree.values()] == [3, 3]


def test_directions() -> None:
    x = RNG.normal(size=(30, 20))
    v = RNG.normal(size=(4, 30, 20))

    def f(x: Array) -> Any:
        return np.sum(x**3)

    expected = np.tensordot(v, 3 * x**2, 2)
    for method in ("central", "complex"):
        found = fg.numerical_grad(f, x, directions=v, method=method)
        np.testing.assert_allclose(found, expected, rtol=1e-7)
    report = fg.check_grad(f, 3 * x**2, x, directions=3)
    assert report and report.analytic.shape == (3,)
    one = 3 * x**2
    one[4, 5] += 1e-3
    for seed in range(5):
        assert fg.check_grad(f, one, x, directions=2, seed=seed).state == "wrong"
    params = {"a": x, "b": x[0]}
    both = fg.numerical_grad(
        lambda p: f(p["a"]) + f(p["b"]), params, directions={"a": v, "b": v[:, 0]}
    )
    np.testing.assert_allclose(both, expected + v[:, 0] @ (3 * x[0] ** 2), rtol=1e-7)
    grads = {"a": 3 * x**2, "db": 3 * x[0] ** 2}
    assert fg.check_grad(lambda p: f(p["a"]) + f(p["b"]), grads, params, directions=3)
    grads["db"] = grads["a"][1]
    assert not fg.check_grad(lambda p: f(p["a"]) + f(p["b"]), grads, params, directions=3)


def test_errors() -> None:
    x, v = np.ones((2, 3)), np.ones((1, 2, 3))
    tree = {"a": x, "b": np.ones(2)}

    def f(p: dict[str, Array]) -> Any:
        return np.sum(p["a"]) + np.sum(p["b"])

    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: fg.numerical_grad(np.sum, x, sample=0), ValueError, "numerical_grad: sample is 0"),
        (lambda: fg.check_grad(np.sum, x, x, sample=1.5), TypeError, "check_grad: sample is a flo"),
        (
            lambda: fg.numerical_grad(np.sum, x, sample=1, directions=v),
            ValueError,
            "numerical_grad: sample and directions are both given",
        ),
        (
            lambda: fg.check_grad(np.sum, x, x, sample=1, directions=1),
            ValueError,
            "check_grad: sample and directions are both given",
        ),
        (
            lambda: fg.numerical_grad(np.sum, x, directions=x),
            ValueError,
            r"directions has shape \(2, 3\) but x has shape \(2, 3\): give shape \(m, 2, 3\)",
        ),
        (lambda: fg.check_grad(np.sum, x, x, directions=0), ValueError, "directions is 0"),
        (lambda: fg.check_grad(f, x, tree), TypeError, "grad is a ndarray but x is a dict"),
        (
            lambda: fg.check_grad(f, {"a": x, "b": np.ones(3)}, tree),
            ValueError,
            r"grad\['b'\] has shape \(3,\) but x\['b'\] has shape \(2,\)",
        ),
        (lambda: fg.check_grad(lambda p: 1.0, tree, tree), ValueError, "f ignores its argument"),
        (lambda: fg.numerical_grad(lambda p: 1.0, tree), ValueError, "f ignores its argument"),
        (lambda: fg.numerical_grad(lambda p: p["a"], tree), ValueError, "returned shape"),
        (lambda: fg.numerical_grad(lambda p: 1.0, {}), ValueError, "x holds no array"),
        (lambda: fg.jacobian(np.sin, tree), TypeError, "jacobian: x is a dict of arrays: give one"),
    ]
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()
