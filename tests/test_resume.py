"""Training in pieces: 2 + 3 epochs are 5, to the bit, after an interrupt and a pickle, too."""

from __future__ import annotations

import pickle
import signal
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, rng_of, same_bits
from test_training import OPTIMIZERS, optimizer_of, problem

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.networks import training_run

packages = pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)


def network(dtype: str = "float64", **changes: Any) -> fg.MLP:
    return fg.MLP((4, 5, 2), ("tanh", None), "mse", dtype=dtype, **changes)


def assert_same(a: Any, b: Any) -> None:
    assert same_bits(a.params, b.params)
    assert same_bits(a.losses, b.losses)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("batch_size", [7, 32, 300, 600])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_two_and_three_epochs_are_five(
    name: str, batch_size: int, shuffle: bool, dtype: str
) -> None:
    x, target = problem(600, dtype)
    net, optimizer = network(dtype), optimizer_of(fg, name)
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle, "seed": 3}
    whole = net.fit(net.init(), x, target, optimizer, epochs=5, **options)
    first = net.fit(net.init(), x, target, optimizer, epochs=2, **options)
    kept = first.params.copy()
    for again in (first, pickle.loads(pickle.dumps(first))):  # twice from the same result
        options["seed"] = 99  # the orders go on: it is not looked at
        second = net.fit(None, x, target, epochs=3, resume=again, **options)
        assert_same(second, whole)
    assert same_bits(first.params, kept)
    assert len(first.losses) == 2
    assert_same(net.fit(first.params, x, target, epochs=3, resume=first, **options), whole)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("package", [reference, loops], ids=lambda m: m.__name__)
def test_so_are_they_in_the_twins(package: Any, name: str) -> None:
    x, target = problem(9)
    net = package.MLP((4, 3, 2), ("tanh", None), "mse", dtype="float64")
    options: dict[str, Any] = {"batch_size": 4, "seed": 3}
    optimizer = optimizer_of(package, name)
    whole = net.fit(net.init(), x, target, optimizer, epochs=5, **options)
    first = net.fit(net.init(), x, target, optimizer, epochs=2, **options)
    options["seed"] = 99
    for again in (first, pickle.loads(pickle.dumps(first))):
        assert_same(net.fit(None, x, target, epochs=3, resume=again, **options), whole)
    assert_same(net.fit(first.params, x, target, epochs=3, resume=first, **options), whole)
    anew = net.fit(first.params, x, target, optimizer, epochs=3, **options)
    assert not np.array_equal(anew.params, whole.params)


def test_callbacks_and_early_stopping_count_on() -> None:
    """What is told and what stops are those of one call, wherever it is cut."""
    rng = rng_of("noise")
    x, target = rng.standard_normal((40, 4)), rng.standard_normal((40, 2))
    net = network()
    stop = fg.EarlyStopping(patience=2)
    options: dict[str, Any] = {"optimizer": fg.SGD(lr=0.6), "batch_size": 4, "callback": stop}
    whole = net.fit(net.init(), x, target, epochs=50, **options)
    assert whole.stopped == "early stopping"
    assert 3 < len(whole.losses) < 50
    epochs: list[int] = []

    def callback(state: fg.FitState) -> bool:
        epochs.append(state.epoch)
        return stop(state)

    options["callback"] = callback
    result = net.fit(net.init(), x, target, epochs=1, **options)
    while result.stopped is None:
        result = net.fit(None, x, target, epochs=1, resume=result, **options)
    assert_same(result, whole)
    assert epochs == list(range(len(whole.losses)))


class Stop:
    """Ctrl-C in the midst of training: after so many pieces of jobs of two blocks each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
        from fastgrad.networks import job as network_job

        self.left = 0
        monkeypatch.setattr(network_job, "FIRST_PIECE", 1)
        monkeypatch.setattr(network_job, "SHORTEST", 0.0)
        monkeypatch.setattr(network_job, "LONGEST", 0.0)
        clock = network_job.perf_counter

        def tick() -> float:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
            return clock()

        monkeypatch.setattr(network_job, "perf_counter", tick)


@pytest.mark.usefixtures("python_handler")
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("kind", ["native", "windows"])
@pytest.mark.parametrize("batch_size", [100, 600, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_after_an_interrupt_anywhere(
    threads: int, batch_size: int, kind: str, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even within a batch whose gradient is half added up."""
    x, target = problem(1000, "float32" if kind == "windows" else "float64")
    monkeypatch.setattr(training_run, "CONVERTED", 0)
    monkeypatch.setattr("fastgrad.threads.SHARE_FROM", 2)
    net, adam, before = network(), fg.Adam(lr=0.01), fg.get_num_threads()
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle}
    whole = net.fit(net.init(), x, target, adam, epochs=4, **options)
    begun = 0
    stop = Stop(monkeypatch, 1)
    fg.set_num_threads(threads)
    try:
        for when in range(1, 24):
            stop.left = when
            try:
                result = net.fit(net.init(), x, target, adam, epochs=4, **options)
            except KeyboardInterrupt as error:
                result = error.result  # type: ignore[attr-defined]
                assert result.stopped == "interrupt"
                assert result.state is not None
                begun += result.state.begun is not None
            stop.left = 0
            result = pickle.loads(pickle.dumps(result))
            epochs = 4 - len(result.losses)
            if epochs:
                result = net.fit(result.params, x, target, epochs=epochs, resume=result, **options)
            assert_same(result, whole)
    finally:
        fg.set_num_threads(before)
    assert begun > 0


@pytest.mark.usefixtures("python_handler")
def test_an_epoch_begun_is_ended_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    x, target = problem(1000)
    net, stop = network(), Stop(monkeypatch, 1)
    stop.left = 2
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(net.init(), x, target, batch_size=300)
    stop.left = 0
    result = caught.value.result  # type: ignore[attr-defined]
    for change in ({"batch_size": 200}, {"shuffle": False}):
        options = {"batch_size": 300, **change}
        with pytest.raises(ValueError, match="interrupted within an epoch of 1000 samples in bat"):
            net.fit(None, x, target, resume=result, **options)
    with pytest.raises(ValueError, match="given are 999 in batches of 300, shuffle=True"):
        net.fit(None, x[1:], target[1:], batch_size=300, resume=result)


@packages
def test_settings_may_change_but_not_the_kind(package: Any) -> None:
    x, target = problem(9)
    net = package.MLP((4, 2), (None,), "mse", dtype="float64")
    first = net.fit(net.init(), x, target, package.SGD(lr=0.1), epochs=2)
    with_momentum = net.fit(None, x, target, package.SGD(lr=0.1, momentum=0.9), resume=first)
    assert np.isfinite(with_momentum.params).all()
    with pytest.raises(ValueError, match=r"optimizer is Adam\(.*resume was trained by SGD\("):
        net.fit(None, x, target, package.Adam(), resume=first)
    lower = net.fit(None, x, target, package.SGD(lr=1e-30), epochs=1, resume=first)
    np.testing.assert_allclose(lower.params, first.params, rtol=1e-15)


@packages
def test_what_resume_refuses(package: Any) -> None:
    x, target = problem(9)
    net = package.MLP((4, 2), (None,), "mse", dtype="float64")
    result = net.fit(net.init(), x, target, epochs=1)
    for bad in (net.init(), (result.params, result.losses), {"params": 1}):
        with pytest.raises(TypeError, match=r"MLP.fit: resume is a \w+: give what an earlier fit"):
            net.fit(None, x, target, resume=bad)
    with pytest.raises(ValueError, match="resume has no state: its training had not begun"):
        net.fit(None, x, target, resume=package.FitResult(result.params, result.losses))
    with pytest.raises(ValueError, match="resume has 10 parameters of float64 but the network has"):
        package.MLP((4, 3), (None,), "mse", dtype="float64").fit(None, x, target, resume=result)
    with pytest.raises(ValueError, match="but the network has 10 of float32"):
        package.MLP((4, 2), (None,), "mse").fit(None, x, target, resume=result)
    with pytest.raises(ValueError, match="params are not those of resume"):
        net.fit(net.init(), x, target, resume=result)
    with pytest.raises(TypeError, match="params"):
        net.fit(None, x, target)
    for other in {fg, reference, loops} - {package}:
        foreign = other.MLP((4, 2), (None,), "mse", dtype="float64").fit(net.init(), x, target)
        with pytest.raises(TypeError, match="resume is a FitResult of another package"):
            net.fit(None, x, target, resume=foreign)


def test_a_generator_goes_on_by_itself() -> None:
    """Without `resume`, a seed begins the same orders again; a generator does not."""
    x, target = problem(50)
    net, sgd = network(), fg.SGD(lr=0.1)
    whole = net.fit(net.init(), x, target, sgd, epochs=6)
    params, rng = net.init(), np.random.default_rng(0)
    for epochs in (1, 2, 3):
        params = net.fit(params, x, target, sgd, epochs=epochs, seed=rng).params
    assert same_bits(params, whole.params)
    for stops_after in (1, 4):  # what a callback cuts off is not drawn
        rng = np.random.default_rng(0)
        first = net.fit(net.init(), x, target, sgd, epochs=6, seed=rng,
                        callback=lambda s, last=stops_after: s.epoch == last - 1)  # fmt: skip
        rest = net.fit(first.params, x, target, sgd, epochs=6 - stops_after, seed=rng)
        assert same_bits(rest.params, whole.params)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 257])
def test_orders_are_those_of_permutation(n: int, kind: Any) -> None:
    """Many epochs are drawn at once; one at a time, with a callback, they are the same."""
    x, target = problem(n)
    net, sgd = network(), fg.SGD(lr=0.1)
    one_by_one, rng = net.init(), np.random.Generator(kind(5))
    for _ in range(40):
        order = rng.permutation(n)
        one_by_one = net.fit(one_by_one, x[order], target[order], sgd, 1, 16, shuffle=False).params
    for callback in (None, lambda _: None):
        rng = np.random.Generator(kind(5))
        got = net.fit(net.init(), x, target, sgd, 40, 16, seed=rng, callback=callback)
        assert same_bits(got.params, one_by_one)
