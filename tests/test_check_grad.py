"""What `check_grad` says: ok, wrong or inconclusive; rounding measured, kinks named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Array
from random_gradients import random_gradient, wrong_gradients

import fastgrad as fg
from fastgrad.gradcheck.noise import measured_noise

METHODS = ("central", "forward", "complex")
methods = pytest.mark.parametrize("method", METHODS)


def network(dtype: str, activation: str = "tanh") -> tuple[Any, Array, Array]:
    """Return the loss of a network as a function, its parameters, and its gradient."""
    rng = np.random.default_rng(0)
    net = fg.MLP((16, 32, 4), (activation, None), "softmax_cross_entropy", dtype=dtype)
    x, labels = rng.normal(size=(50, 16)).astype(dtype), rng.integers(0, 4, 50)
    params = net.init(seed=0)
    return (
        lambda p: net.value_and_grad(p, x, labels)[0],
        params,
        net.value_and_grad(params, x, labels)[1],
    )


# -- right and wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_a_network(dtype: str, method: str) -> None:
    """Its loss is a Python float whatever it computes in."""
    f, params, grad = network(dtype)
    for right in (grad, grad.astype("float64")):
        report = fg.check_grad(f, right, params, method=method)
        assert report.state == "ok", str(report)
    for factor in (0, 0.9, 2, -1):
        assert fg.check_grad(f, factor * grad, params, method=method).state == "wrong"


def test_float64_parameters_of_a_float32_network() -> None:
    f, params, grad = network("float32")
    between = params * (1 + 1e-9 * np.arange(params.size))  # no numbers of float32
    assert fg.check_grad(f, grad, between)
    assert not fg.check_grad(f, 1.1 * grad, between)


def test_a_float64_penalty_hides_no_rounding() -> None:
    """A sum that moves in float64 steps may still have a term with the digits of float32."""
    f, params, grad = network("float32")

    def penalised(p: Array) -> float:
        return float(f(p) + 0.005 * np.sum(p * p))

    assert fg.check_grad(penalised, grad + 0.01 * params.astype(float), params)


@pytest.mark.parametrize("seed", range(60))
def test_random_gradients(seed: int) -> None:
    case = random_gradient(seed)
    report = fg.check_grad(case.f, case.grad, case.x, method=case.method)
    assert report.state in ("ok", "inconclusive"), str(report)
    assert report.state == "ok" or case.dtype == "float32", str(report)
    for name, grad in list(wrong_gradients(case.grad, seed))[:6]:
        wrong = fg.check_grad(case.f, grad, case.x, method=case.method)
        assert wrong.state == ("wrong" if report.ok else wrong.state), (name, str(wrong))
        assert not wrong.ok, (name, str(wrong))


@methods
@pytest.mark.parametrize("size", [1e-9, 1e-12, 1e-14, 1e-17])
def test_what_does_not_show_is_never_ok(size: float, method: str) -> None:
    x = np.array([1.0, 2.0, -3.0])

    def f(x: Array) -> Any:
        return 1 + size * (x**2).sum()

    states = [fg.check_grad(f, k * 2 * size * x, x, method=method).state for k in (1, 2, 0, -1)]
    told = method == "complex" or size >= 1e-12
    if told:
        assert states == ["ok", "wrong", "wrong", "wrong"]
    elif size == 1e-17:  # 1 + 14e-17 is 1
        assert states == ["inconclusive"] * 4
    else:
        assert states[0] in ("ok", "inconclusive")
        assert "ok" not in states[1:]


def test_inconclusive_reads_like_this() -> None:
    report = fg.check_grad(lambda x: 1 + 1e-17 * (x**2).sum(), [0.0], [1.0])
    lines = str(report).splitlines()
    assert not report
    assert lines[0] == "gradient check (central differences): INCONCLUSIVE, 1 of 1 entries"
    assert lines[5].startswith("  in doubt     entry [0]: differences know it to 1")
    assert "f is exact to 6.7e-17" in lines[5]
    assert "a wrong one would not show" in lines[6]
    assert report.doubtful.tolist() == [True]


def test_a_tolerance_finer_than_differences_is_inconclusive() -> None:
    x = np.array([0.3, 0.7])
    grad = np.exp(x)
    assert fg.check_grad(lambda x: np.exp(x).sum(), grad, x, rtol=0, atol=1e-7)
    fine = fg.check_grad(lambda x: np.exp(x).sum(), grad, x, rtol=0, atol=1e-15)
    assert fine.state == "inconclusive"
    off = fg.check_grad(lambda x: np.exp(x).sum(), grad + 1e-6, x, rtol=0, atol=1e-15)
    assert off.state == "wrong"
    assert (fine.rtol, fine.atol) == (0, 1e-15)


def test_at_a_minimum_zero_is_right() -> None:
    assert fg.check_grad(lambda x: (x**2).sum(), [0.0, 0.0], [0.0, 0.0])
    assert fg.check_grad(lambda x: 5 + (x**2).sum(), [0.0, 0.0], [0.0, 0.0])
    assert not fg.check_grad(lambda x: (x**2).sum(), [0.0, 1e-3], [0.0, 0.0])


def test_a_function_at_its_root_has_the_digits_of_float64() -> None:
    x = np.array([1.0, 2.0])
    root = np.sin(x).sum()
    report = fg.check_grad(lambda x: np.sin(x).sum() - root, np.cos(x), x)
    assert report
    assert report.error.max() < 1e-9
    found = fg.numerical_grad(lambda x: np.sin(x).sum() - root, x)
    np.testing.assert_allclose(found, np.cos(x), rtol=0, atol=1e-8)


def test_random_numbers_in_f_are_never_ok() -> None:
    rng = np.random.default_rng(3)
    x = np.array([1.0, 2.0])
    report = fg.check_grad(lambda x: (x**2).sum() + rng.normal(), 2 * x, x)
    assert not report.ok


# -- kinks ----------------------------------------------------------------------------------------


def relu(x: Array) -> Any:
    return (x * (x.real > 0)).sum()


@methods
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_kink_is_named(method: str, slope: float) -> None:
    """Whatever slope between the two is given: no difference tells."""
    report = fg.check_grad(relu, [slope, 1.0, 0.0], [0.0, 1.0, -3.0], method=method)
    assert report.state == "inconclusive", str(report)
    (kink,) = report.kinks
    assert kink[0] == (0,)
    assert kink[1:] == pytest.approx((0, 1), abs=1e-3)
    assert "kink         at [0]: the slope is 0 to the left, 1 to the right" in str(report)


@methods
def test_a_slope_outside_of_a_kink_is_wrong(method: str) -> None:
    report = fg.check_grad(relu, [1.5, 1.0], [0.0, 1.0], method=method)
    assert report.state == "wrong"
    assert len(report.kinks) == 1
    assert report.wrong.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f", [np.abs, fg.relu], ids=["abs", "relu"])
def test_kinks_of_functions_of_either_dtype(f: Any, dtype: str) -> None:
    x = np.array([0.0, 1.0, 0.0, 2.0], dtype)
    grad = (f(x + 1) - f(x)) * (x > 0)
    report = fg.check_grad(lambda x: float(f(x.astype(dtype)).sum()), grad, x)
    assert report.state == "inconclusive", str(report)
    assert [k[0] for k in report.kinks] == [(0,), (2,)]


@pytest.mark.parametrize("distance", [1e-3, -1e-5, 1e-6, -1e-7, 1e-9])
def test_beside_a_kink_there_is_none(distance: float) -> None:
    x, slope = [distance, 1.0], float(distance > 0)
    assert fg.check_grad(relu, [slope, 1.0], x)
    assert fg.check_grad(relu, [1 - slope, 1.0], x).state == "wrong"


def test_many_kinks_are_counted() -> None:
    report = fg.check_grad(lambda x: np.abs(x).sum(), np.zeros(6), np.zeros(6))
    assert "  kink         at 3 more entries" in str(report)


# -- a function that ignores its argument ----------------------------------------------------------


@methods
def test_an_array_changed_in_place_is_not_seen(method: str) -> None:
    W = np.array([1.0, 2.0])
    calls: dict[str, Any] = {
        "numerical_grad": lambda: fg.numerical_grad(lambda _: (W**2).sum(), W, method=method),
        "check_grad": lambda: fg.check_grad(lambda _: (W**2).sum(), 2 * W, W, method=method),
        "jacobian": lambda: fg.jacobian(lambda _: W**2, W, method=method),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name}: f ignores its argument"):
            call()
    assert W.tolist() == [1.0, 2.0]


def test_what_is_flat_here_does_not_ignore_its_argument() -> None:
    x = np.array([-1.0, -2.0])
    for f in (
        lambda x: np.maximum(x, 0).sum(),
        lambda x: float((x > 0).sum()),
        lambda x: (x * 0).sum(),
    ):
        assert fg.numerical_grad(f, x).tolist() == [0.0, 0.0]
        assert fg.check_grad(f, [0.0, 0.0], x).state != "wrong"
        assert fg.check_grad(f, [0.0, 1.0], x).state == "wrong"
    assert fg.numerical_grad(np.sum, np.empty((0, 2))).shape == (0, 2)


# -- the rounding of f ----------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [2.0**-10, 2.0**-24, 2.0**-40])
def test_noise_is_measured(grid: float) -> None:
    """Rounding to multiples of q has the root mean square error q / sqrt(12)."""
    point = np.linspace(-1.3, 1.7, 12).reshape(3, 4)

    def f(x: Array) -> Array:
        return np.asarray(np.round(np.sin(3e3 * x).sum() / grid) * grid)

    found = measured_noise(f, point, f(point), 2.0**-52)
    assert 0.25 < found / (grid / np.sqrt(12)) < 4


def test_the_noise_of_smooth_functions_is_rounding() -> None:
    point = np.linspace(-1.3, 1.7, 12)
    for f in (np.exp, np.sin, lambda x: x**5):
        y = f(point)
        assert (measured_noise(f, point, y, 2.0**-52) <= 4 * 2.0**-52 * np.abs(y)).all()


@pytest.mark.parametrize("method", ["central", "forward"])
def test_numerical_grad_of_a_float32_network(method: str) -> None:
    f, params, _ = network("float32")
    exact, _, _ = network("float64")
    found = fg.numerical_grad(f, params, method=method)
    # eps is 1e-7 or less: steps of 3e-4 and more leave at most some 1e-3.
    bound = {"central": 1e-4, "forward": 3e-3}[method]
    grad64 = fg.numerical_grad(exact, params.astype(float), method="central")
    assert np.abs(found - grad64).max() < bound
    assert np.abs(grad64).max() > 0.1


# -- several arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"W": np.ones((2, 2)), "b": np.ones(2)},
        [np.ones((2, 2)), np.ones(2)],
        ({"W": np.ones(2)},),
    ],
    ids=["dict", "list", "nested"],
)
def test_several_arrays_are_refused_in_words(tree: Any) -> None:
    kind = type(tree).__name__
    with pytest.raises(TypeError, match=f"jacobian: x is a {kind} of arrays: give one array"):
        fg.jacobian(np.sin, tree)
    with pytest.raises(TypeError, match="check_grad: grad is a "):
        fg.check_grad(np.sum, tree, np.ones(2))
