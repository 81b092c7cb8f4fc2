"""Learning rates that follow the step, and which arrays decay: in `step` and in `MLP.fit`."""

from __future__ import annotations

import math
import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Array, rng_of
from tolerances import TRAINING_RTOL
from twins import OPTIMIZERS, impls, optimizers

import fastgrad as fg
from fastgrad import loops, reference

packages = pytest.mark.parametrize(
    "package", [fg, reference, loops], ids=["fastgrad", "reference", "loops"]
)


def falling(step: int) -> float:
    return 0.1 / (1 + step)


def problem() -> tuple[Any, Array, Array, Array]:
    rng = rng_of("schedules")
    net = fg.MLP((4, 6, 3), ("tanh", None), "mse", dtype="float64", normalize="layer")
    x, target = rng.standard_normal((50, 4)), rng.standard_normal((50, 3))
    return net, net.init(1), x, target


@packages
def test_each_step_has_its_rate(package: ModuleType) -> None:
    """SGD's first steps with gradients of one are the rates themselves."""
    p, opt = np.zeros(3), package.SGD(falling)
    for step in range(4):
        before = p.copy()
        opt.step(p, np.ones(3))
        np.testing.assert_allclose(before - p, falling(step), rtol=1e-14)
    assert opt.state_dict()["steps"] == 4


@optimizers
def test_a_step_is_that_of_fit(case: str) -> None:
    """Batches, epochs in one job and the last, smaller batch: each step has its rate."""
    name, settings = OPTIMIZERS[case]
    net, start, x, target = problem()
    opt = getattr(fg, name)(**settings | {"lr": falling})
    fitted = net.fit(start, x, target, opt, epochs=7, batch_size=20, shuffle=False)
    p = start.copy()
    for _ in range(7):
        for first in (0, 20, 40):
            batch = slice(first, first + 20)
            grad = net.value_and_grad(p, x[batch], target[batch])[1]
            opt.step(net.layers(p), net.layers(grad))
    assert np.array_equal(p, fitted.params)


@impls
@optimizers
def test_fit_of_twins(impl: ModuleType, case: str) -> None:
    name, settings = OPTIMIZERS[case]
    net, start, x, target = problem()
    twin = impl.MLP((4, 6, 3), ("tanh", None), "mse", dtype="float64", normalize="layer")
    settings = settings | {"lr": falling}
    ours = net.fit(start, x, target, getattr(fg, name)(**settings), epochs=2, batch_size=16)
    theirs = twin.fit(start, x, target, getattr(impl, name)(**settings), epochs=2, batch_size=16)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=TRAINING_RTOL, atol=1e-12)


@packages
def test_resumed_training_counts_on(package: ModuleType) -> None:
    net, start, x, target = problem()
    net = package.MLP((4, 6, 3), ("tanh", None), "mse", dtype="float64", normalize="layer")
    opt = package.SGD(falling)
    whole = net.fit(start, x, target, opt, epochs=5, batch_size=20)
    part = net.fit(start, x, target, opt, epochs=2, batch_size=20)
    rest = net.fit(None, x, target, opt, epochs=3, batch_size=20, resume=part)
    assert np.array_equal(whole.params, rest.params)


def test_which_arrays_decay_in_fit() -> None:
    """Weights, not biases and gains; or those that `decay` names."""
    net, start, x, target = problem()
    asked: list[tuple[str, tuple[int, ...]]] = []

    def decay(key: str, array: Array) -> bool:
        asked.append((key, array.shape))
        return key in ("b1", "W2")

    for opt, decaying in (
        (fg.AdamW(0.1, weight_decay=0.5), ("W1", "W2")),
        (fg.AdamW(0.1, weight_decay=0.5, decay=decay), ("b1", "W2")),
    ):
        plain = net.fit(start, x, target, fg.Adam(0.1), epochs=1, batch_size=50)
        decayed = net.fit(start, x, target, opt, epochs=1, batch_size=50)
        parts = [
            dict(zip(("W1", "b1", "gain1", "shift1", "W2", "b2"),
                     [a for layer in net.layers(p) for a in layer], strict=True))
            for p in (start, plain.params, decayed.params)
        ]  # fmt: skip
        for key, before in parts[0].items():
            lost = 0.05 * before if key in decaying else 0 * before
            np.testing.assert_allclose(parts[1][key] - parts[2][key], lost, atol=1e-15)
    shapes = [(4, 6), (6,), (6,), (6,), (6, 3), (3,)]
    assert asked == list(zip(parts[0], shapes, strict=True))


@packages
def test_which_arrays_decay_in_a_tree(package: ModuleType) -> None:
    keys: list[Any] = []

    def decay(key: Any, array: Array) -> bool:
        keys.append(key)
        return key == "b" or key == (0, "W")

    flat = {"W": np.ones((2, 2)), "b": np.ones(2)}
    package.SGD(0.1, weight_decay=0.5, decay=decay).step(flat, {k: 0 * a for k, a in flat.items()})
    assert [flat["W"][0, 0], flat["b"][0]] == [1, 0.95]
    first, second = np.ones(2), np.ones((2, 2))
    nested = [{"W": first}, second]
    package.SGD(0.1, weight_decay=0.5, decay=decay).step(nested, [{"W": 0 * first}, 0 * second])
    assert [first[0], second[0, 0]] == [0.95, 1]
    assert keys == ["W", "b", (0, "W"), 1]


@packages
@pytest.mark.parametrize(
    ("rate", "error", "text"),
    [
        (math.nan, ValueError, r"lr\(1\) is nan: a schedule returns what is finite"),
        (-1.0, ValueError, r"lr\(1\) is -1.0: a schedule returns what is finite"),
        ("1", TypeError, r"lr\(1\) is a str: a schedule returns a number"),
    ],
)
def test_rates_that_are_refused(
    package: ModuleType, rate: Any, error: type[Exception], text: str
) -> None:
    p, opt = np.zeros(3), package.Adam(lambda step: rate if step == 1 else 0.5)
    opt.step(p, np.ones(3))
    before = p.copy()
    with pytest.raises(error, match=text):
        opt.step(p, np.ones(3))
    assert np.array_equal(p, before)
    net, start, x, target = problem()
    if package is fg:
        with pytest.raises(error, match=text):
            net.fit(start, x, target, opt, epochs=2)


def test_settings_that_are_refused() -> None:
    with pytest.raises(TypeError, match="Adam: decay is a float: give a function of key and array"):
        fg.Adam(decay=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cosine: steps is 0: give a positive integer"):
        fg.schedules.cosine(0.1, 0)
    with pytest.raises(ValueError, match="step: factor is -1: it must be finite and at least 0"):
        fg.schedules.step(0.1, 5, -1)
    with pytest.raises(ValueError, match="warmup: then is inf: it must be finite and at least 0"):
        fg.schedules.warmup(math.inf, 5)


def test_schedules_by_torch(torch: Any) -> None:
    """`cosine` is CosineAnnealingLR in closed form, `step` StepLR."""
    lr = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    for ours, theirs in (
        (fg.schedules.step(0.5, 7, 0.3), lambda opt: lr.StepLR(opt, 7, 0.3)),
        (fg.schedules.cosine(0.5, 40, 0.1), lambda opt: lr.CosineAnnealingLR(opt, 40, 0.1)),
    ):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["initial_lr"] = 0.5
        peer = theirs(optimizer)
        for step in range(40):
            assert ours(step) == pytest.approx(peer.get_last_lr()[0], rel=1e-12)
            optimizer.step()
            peer.step()


def test_schedules_are_settings() -> None:
    rate = fg.schedules.warmup(fg.schedules.cosine(0.1, 100), 10)
    opt = fg.Adam(rate)
    assert pickle.loads(pickle.dumps(opt)) == opt
    assert fg.schedules.cosine(0.1, 100)(-0) == 0.1
    assert rate(0) == pytest.approx(0.01)
    assert rate(10) == fg.schedules.cosine(0.1, 100)(10)
