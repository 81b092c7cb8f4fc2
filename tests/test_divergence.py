"""`MLP.fit` stops where numbers are not finite, says so once, and keeps the last that were."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, rng_of, same_bits, turn

import fastgrad as fg
from fastgrad import loops, reference

Data = tuple[Any, Any]


def line(n: int, dtype: str = "float64") -> Data:
    x = rng_of("line", n).standard_normal((n, 3))
    return x.astype(dtype), (x @ [[1.0], [2.0], [3.0]]).astype(dtype)


def net_of(dtype: str = "float64", **changes: Any) -> fg.MLP:
    return fg.MLP((3, 1), (None,), "mse", dtype=dtype, **changes)


def last_good_epoch(net: fg.MLP, x: Any, target: Any, options: dict[str, Any]) -> int:
    """Return how many epochs are finite, one after the other, in losses and parameters."""
    seen: list[bool] = []

    def look(state: fg.FitState) -> None:
        seen.append(math.isfinite(state.loss) and bool(np.isfinite(state.params).all()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.TrainingWarning)
        net.fit(net.init(), x, target, callback=look, **options)
    assert all(seen)  # a callback is not told of the epoch that went wrong
    return len(seen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [8, 50])
@pytest.mark.parametrize("lr", [1e3, 3.0, 1e30])
def test_too_large_a_step_is_told_and_the_epochs_before_are_kept(
    lr: float, batch_size: int, dtype: str
) -> None:
    net, data = net_of(dtype), line(50, dtype)
    options: dict[str, Any] = {
        "optimizer": fg.SGD(lr=lr, momentum=0.5), "epochs": 3000, "batch_size": batch_size,
    }  # fmt: skip
    good = last_good_epoch(net, *data, options)
    assert good < 3000
    with pytest.warns(fg.TrainingWarning) as caught:
        result = net.fit(net.init(), *data, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert text.startswith(f"MLP.fit: epoch {good} (the first is 0) gave ")
    assert "every sample is finite: try a smaller learning rate" in text
    assert result.stopped == "diverged"
    assert len(result.losses) == good
    assert np.isfinite(result.params).all()
    assert np.isfinite(result.losses).all()
    if good:
        expected = net.fit(net.init(), *data, **{**options, "epochs": good})
        assert expected.stopped is None
        assert same_bits(result.params, expected.params)
        assert same_bits(result.losses, expected.losses)
    else:
        assert same_bits(result.params, net.init())


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("given", ["float64", "float32", "longer than a window"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "target"])
def test_the_first_bad_sample_is_named(
    where: str, bad: float, given: str, samples: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "longer than a window":
        monkeypatch.setattr("fastgrad.networks.divergence.WINDOW", 1 << 12)
    x, target = line(900, "float32" if given == "float32" else "float64")
    ({"x": x, "target": target}[where])[[700, 637]] = bad
    net = net_of(samples=samples)
    with pytest.warns(fg.TrainingWarning, match=f"{where} of sample 637 is not finite") as caught:
        result = net.fit(net.init(), turn(x, samples), turn(target, samples))
    assert len(caught) == 1
    assert "epoch 0 (the first is 0)" in str(caught[0].message)
    assert result.stopped == "diverged"
    assert result.losses.size == 0
    assert same_bits(result.params, net.init())


def test_a_number_too_large_for_the_network_is_bad_data() -> None:
    x, target = line(20)
    target[7] = 1e300
    net = net_of("float32")
    with pytest.warns(fg.TrainingWarning, match=r"target of sample 7 is not finite \(in float32\)"):
        net.fit(net.init(), x, target)


def test_data_that_a_callback_spoils() -> None:
    net, (x, target) = net_of(), line(20)
    row = x[11].copy()

    def spoil(state: fg.FitState) -> None:
        if state.epoch == 3:
            x[11] = math.nan

    with pytest.warns(fg.TrainingWarning, match=r"epoch 4 \(.* x of sample 11 is not finite"):
        result = net.fit(net.init(), x, target, callback=spoil)
    assert len(result.losses) == 4
    assert np.isfinite(result.params).all()
    x[11] = row  # mended, it goes on as if nothing had happened
    whole, rest = net.fit(net.init(), x, target), net.fit(None, x, target, epochs=6, resume=result)
    assert same_bits(rest.params, whole.params)
    assert same_bits(rest.losses, whole.losses)


@pytest.mark.parametrize("optimizer", [fg.SGD(lr=3e-2), fg.SGD(lr=3e-2, momentum=0.5)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_many_parameters_are_copied_now_and_then(shuffle: bool, optimizer: Any) -> None:
    """The last good epoch is found again, whether a callback was told of those between or not."""
    rng = rng_of("wide")
    x, target = rng.standard_normal((8, 100)), 1e140 * rng.standard_normal((8, 100))
    net = fg.MLP((100, 100), (None,), "mse", "sum", dtype="float64")
    options: dict[str, Any] = {
        "optimizer": optimizer, "epochs": 5000, "batch_size": 8, "shuffle": shuffle,
    }  # fmt: skip
    told: list[float] = []
    for callback in (lambda state: told.append(state.loss), None):
        with pytest.warns(fg.TrainingWarning, match=r"gave a loss of (inf|nan); every") as caught:
            result = net.fit(net.init(), x, target, callback=callback, **options)
        assert len(caught) == 1
        assert result.losses.tolist() == told
        assert 2 < len(told) < 5000
        assert np.isfinite(result.params).all()
        until = {**options, "epochs": len(told)}
        expected = net.fit(net.init(), x, target, **until)
        assert same_bits(result.params, expected.params)


def test_a_callback_that_changes_parameters_is_not_told_otherwise() -> None:
    """What was trained from a copy is not what training was: then the copy is the result."""
    rng = rng_of("wide")
    x, target = rng.standard_normal((8, 100)), rng.standard_normal((8, 100))
    net = fg.MLP((100, 100), (None,), "mse", dtype="float64")
    told: list[float] = []

    def change(state: fg.FitState) -> None:
        told.append(state.loss)
        if state.epoch == 70:
            np.multiply(state.params, 1.5, out=state.params)
        if state.epoch == 90:
            x[5, 5] = math.nan

    with pytest.warns(fg.TrainingWarning, match="epoch 91 .* x of sample 5 is not finite"):
        result = net.fit(net.init(), x, target, epochs=200, batch_size=8, callback=change)
    assert result.stopped == "diverged"
    assert np.isfinite(result.params).all()
    assert len(told) == 91
    assert len(result.losses) == 64  # copied every 64 steps; its next epoch has another sample 5
    assert result.losses.tolist() == told[:64]


@pytest.mark.parametrize("width", [1, 100])
@pytest.mark.parametrize("callback", [None, lambda state: None])
def test_parameters_that_overflow_while_the_loss_is_finite(callback: Any, width: int) -> None:
    """One step of a loss of one sample: only the parameters show it."""
    net = fg.MLP((width, width), (None,), "sum", dtype="float32")
    x = np.full((1, width), 1e20)
    with pytest.warns(fg.TrainingWarning, match="epoch 0 .* gave parameters that are not finite"):
        result = net.fit(net.init(), x, optimizer=fg.SGD(lr=1e30), epochs=1, callback=callback)
    assert same_bits(result.params, net.init())
    assert result.stopped == "diverged"


@pytest.mark.parametrize("package", [reference, loops], ids=lambda m: m.__name__)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_the_twins_stop_there_too(optimizer: str, package: Any) -> None:
    """At the same epoch, with the same parameters; and go on, once the data are mended."""
    x, target = line(12)
    net, twin = net_of(), package.MLP((3, 1), (None,), "mse", dtype="float64")
    lr = {"SGD": 1e4, "Adam": 1e154}[optimizer]
    options: dict[str, Any] = {"epochs": 300, "batch_size": 5, "shuffle": False}
    results = []
    for one, own in ((net, fg), (twin, package)):
        step = getattr(own, optimizer)(lr=lr)
        with pytest.warns(own.TrainingWarning, match="MLP.fit: epoch ") as caught:
            results.append(one.fit(net.init(), x, target, step, **options))
        assert len(caught) == 1
        assert caught[0].filename == __file__
    ours, theirs = results
    assert ours.stopped == theirs.stopped == "diverged"
    assert len(ours.losses) == len(theirs.losses) < 300
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
    x[7] = math.nan
    with pytest.warns(package.TrainingWarning, match="epoch 0"):
        failed = twin.fit(net.init(), x, target, **options)
    assert same_bits(failed.params, net.init())
    x[7] = 1.0
    whole, rest = (
        twin.fit(start, x, target, epochs=3, resume=before)
        for start, before in ((net.init(), None), (None, failed))
    )
    assert same_bits(rest.params, whole.params)


def test_a_warning_may_be_an_error_and_has_the_result() -> None:
    net, (x, target) = net_of(), line(20)
    x[3] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", fg.FastgradWarning)
        with pytest.raises(fg.TrainingWarning) as caught:
            net.fit(net.init(), x, target)
    assert same_bits(caught.value.result.params, net.init())  # type: ignore[attr-defined]


def test_right_training_does_not_warn() -> None:
    net, data = net_of(), line(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.fit(net.init(), *data, epochs=300).stopped is None


def test_an_interrupt_of_a_diverged_job_has_finite_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fastgrad.networks import job as network_job

    net, data = net_of(), line(50)

    def interrupt(job: Any, progress: Any = None) -> None:
        run(job, progress)
        raise KeyboardInterrupt

    run = network_job.Job.run
    monkeypatch.setattr(network_job.Job, "run", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(net.init(), *data, fg.SGD(lr=1e3), epochs=500)
    result = caught.value.result  # type: ignore[attr-defined]
    assert same_bits(result.params, net.init())
    assert result.losses.size == 0
