"""The twins' `fit` is the training loop written out here; callbacks and progress."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from tolerances import GRADIENT_RTOL
from truth import LOSS_TRUTH
from twins import (
    NETWORK_RTOL,
    OPTIMIZERS,
    assert_near,
    impls,
    inputs,
    optimizers,
    parameters,
    targets,
    transposed,
)

from fastgrad import loops, reference
from fastgrad.losses import LOSSES

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
losses = pytest.mark.parametrize("loss", list(LOSSES))


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
    acts = ("tanh", LOSS_TRUTH[loss].output)
    net = impl.MLP((3, 4, 2), acts, loss, reduction, samples=samples, dtype="float64")
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
            per_sample = 1 if net.loss.rowwise else 2
            losses.append(total / {"sum": 1, "samples": n, "mean": n * per_sample}[reduction])
        result = net.fit(
            start, turn(x, samples), transposed(target, samples), impl.SGD(lr), epochs, batch_size,
            shuffle, seed=5,
        )  # fmt: skip
        assert result.losses.dtype == np.float64
        assert_near(result.losses, losses, GRADIENT_RTOL)
        assert_near(result.params, params, GRADIENT_RTOL)
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
    assert_near(results[0].losses, results[1].losses, 10 * NETWORK_RTOL[dtype])
    # Adam divides gradients by their size: a relative error of a tiny one is one of a whole step.
    assert_near(results[0].params, results[1].params, 100 * NETWORK_RTOL[dtype])


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
