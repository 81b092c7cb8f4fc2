"""`MLP.fit`: its steps against the formulas, whole runs against the NumPy twin, and stopping."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from tolerances import TRAINING_RTOL, U

import fastgrad as fg
from fastgrad import loops, reference

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1},
    "SGD decay": {"lr": 0.1, "weight_decay": 0.01},
    "SGD momentum": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01},
    "SGD nesterov": {"lr": 0.01, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.01},
    "Adam decay": {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.01, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.01},
    "Adagrad": {"lr": 0.1, "eps": 1e-6},
}


def optimizer_of(package: Any, name: str) -> Any:
    return getattr(package, name.split()[0])(**OPTIMIZERS[name])


def problem(n: int, dtype: str = "float64", samples: str = "rows") -> tuple[Array, Array]:
    rng = rng_of("training", n)
    x, target = rng.standard_normal((n, 4)), rng.standard_normal((n, 2))
    return turn(x.astype(dtype), samples), turn(target.astype(dtype), samples)


def first_steps(name: str, p: Array, gradients: list[Array], weights: Array) -> Array:
    """Return the parameters after these gradients, by the formulas in float64.

    `weights` is 1 where a parameter is a weight and decays, 0 where it is a bias.
    """
    s = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "betas": (0.9, 0.999),
         "eps": 1e-8} | OPTIMIZERS[name]  # fmt: skip
    p = p.astype(np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.astype(np.float64)
        if name == "AdamW":
            p = p * (1 - s["lr"] * s["weight_decay"] * weights)
        else:
            g = g + s["weight_decay"] * p * weights
        if name in ("RMSprop", "Adagrad"):
            v = s["alpha"] * v + (1 - s["alpha"]) * g * g if name == "RMSprop" else v + g * g
            p = p - s["lr"] * (g / (np.sqrt(v) + s["eps"]))
        elif name.startswith("SGD"):
            m = s["momentum"] * m + g
            p = p - s["lr"] * (g + s["momentum"] * m if s["nesterov"] else m)
        else:
            b1, b2 = s["betas"]
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            p = p - s["lr"] / (1 - b1**t) * m / (np.sqrt(v / (1 - b2**t)) + s["eps"])
    return p


def weights_of(net: Any) -> Array:
    """Return a vector with 1 where a parameter is a weight, 0 elsewhere."""
    found = np.zeros(net.size, net.dtype)
    for layer in net.layers(found):
        if isinstance(layer, fg.LayerParams):
            layer.w[...] = 1
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_first_step_is_the_formula(name: str, dtype: str) -> None:
    net = fg.MLP((4, 5, 2), ("tanh", None), "mse", dtype=dtype)
    x, target = problem(20, dtype)
    start = net.init(seed=2)
    gradient = net.value_and_grad(start, x, target)[1]
    got = net.fit(start, x, target, optimizer_of(fg, name), epochs=1, batch_size=20, shuffle=False)
    expected = first_steps(name, start, [gradient], weights_of(net))
    # Ten roundings of numbers no larger than the parameter and its step.
    bound = 10 * U[dtype] * (np.abs(start) + np.abs(expected - start))
    assert np.all(np.abs(got.params - expected) <= bound)


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("batch_size", [7, 32, 300, 1000])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_runs_like_the_reference(name: str, batch_size: int, samples: str) -> None:
    x, target = problem(600, samples=samples)
    results = []
    for package in (fg, reference):
        net: Any = package.MLP(
            (4, 6, 2), ("tanh", None), "mse", "samples", samples=samples, dtype="float64"
        )
        results.append(
            net.fit(net.init(1), x, target, optimizer_of(package, name), epochs=3,
                    batch_size=batch_size, seed=5)
        )  # fmt: skip
    ours, theirs = results
    np.testing.assert_allclose(ours.params, theirs.params, rtol=TRAINING_RTOL, atol=1e-12)
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=TRAINING_RTOL)


def test_classes_follow_the_order_of_the_samples() -> None:
    rng = rng_of("classes")
    x, labels = rng.standard_normal((500, 4)), rng.integers(0, 3, 500)
    one_hot = np.eye(3)[labels]
    net = fg.MLP((4, 8, 3), ("relu", None), "softmax_cross_entropy", dtype="float64")
    by_class = net.fit(net.init(), x, labels, epochs=3)
    np.testing.assert_allclose(
        by_class.params, net.fit(net.init(), x, one_hot, epochs=3).params, rtol=TRAINING_RTOL
    )


@pytest.mark.parametrize("bad", [-1, 2, -(10**9), 10**15])
def test_classes_that_a_callback_spoils_are_refused(bad: int) -> None:
    """They are used where they lie: the kernel would read far outside of the prediction."""
    net = fg.MLP((3, 2), (None,), "softmax_cross_entropy", dtype="float64")
    x, classes = np.ones((600, 3)), np.zeros(600, np.int64)

    def relabel(state: fg.FitState) -> None:
        classes[:10] = bad

    with pytest.raises(ValueError, match=r"MLP.fit: target has classes from"):
        net.fit(net.init(), x, classes, fg.SGD(lr=0.1), epochs=3, callback=relabel)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if "weight_decay" not in OPTIMIZERS[n]])
def test_an_infinite_parameter_without_a_gradient_stays(name: str) -> None:
    """A bias of -inf takes a class out: its probability and its gradient are 0."""
    net = fg.MLP((2, 3), (None,), "softmax_cross_entropy", dtype="float64")
    twin = reference.MLP((2, 3), (None,), "softmax_cross_entropy", dtype="float64")
    params = net.init()
    net.layers(params)[0].b[2] = -np.inf
    data = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]), np.array([0, 1, 0])
    found, expected = (
        m.fit(params, *data, optimizer_of(package, name), epochs=3, shuffle=False)
        for m, package in ((net, fg), (twin, reference))
    )
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12)
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-9)
    assert np.isfinite(found.losses).all()


def test_nothing_given_is_changed() -> None:
    x, target = problem(50)
    net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
    start = net.init()
    before = start.copy(), x.copy(), target.copy()
    net.fit(start, x, target, epochs=2)
    for a, b in zip((start, x, target), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_callback_sees_each_epoch_and_can_stop() -> None:
    x, target = problem(50)
    net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
    seen: list[fg.FitState] = []

    def callback(state: fg.FitState) -> bool:
        seen.append(state._replace(params=state.params.copy()))
        return state.epoch == 2

    result = net.fit(net.init(), x, target, epochs=10, callback=callback)
    assert [state.epoch for state in seen] == [0, 1, 2]
    np.testing.assert_array_equal(result.losses, [state.loss for state in seen])
    np.testing.assert_array_equal(result.params, seen[-1].params)
    assert all(state.samples_per_second > 0 for state in seen)


class Unasked:
    """What cannot tell whether it is true, as an array of two cannot."""

    def __bool__(self) -> bool:
        raise AssertionError("asked whether it is true")


@pytest.mark.parametrize(
    "answer", [None, False, 1, 1.5, "yes", [0], np.float64(2), np.bool_(False), Unasked()],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
@pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
def test_only_true_stops(package: Any, answer: Any) -> None:
    x, target = problem(8)
    net = package.MLP((4, 2), (None,), "mse", dtype="float64")
    result = net.fit(net.init(), x, target, epochs=4, callback=lambda _: answer)
    assert len(result.losses) == 4
    assert result.stopped is None


@pytest.mark.parametrize("answer", [True, np.bool_(True)], ids=repr)
@pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
def test_true_stops_and_the_result_says_so(package: Any, answer: Any) -> None:
    x, target = problem(8)
    net = package.MLP((4, 2), (None,), "mse", dtype="float64")
    result = net.fit(net.init(), x, target, epochs=4, callback=lambda _: answer)
    assert len(result.losses) == 1
    assert result.stopped == "callback"


def test_early_stopping_is_told_apart() -> None:
    x, target = problem(8)
    net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
    stop = fg.EarlyStopping(patience=2, min_delta=1e9)
    result = net.fit(net.init(), x, target, epochs=9, callback=stop)
    assert len(result.losses) == 3  # the first is always better than none
    assert result.stopped == "early stopping"


def test_early_stopping_waits_and_starts_afresh() -> None:
    stop = fg.EarlyStopping(patience=2, min_delta=0.1)
    losses = [1.0, 0.5, 0.45, 0.6]
    for _ in range(2):
        states = [fg.FitState(i, loss, np.empty(0), 1.0) for i, loss in enumerate(losses)]
        assert [stop(state) for state in states] == [False, False, False, True]


def test_progress_is_shown_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    x, target = problem(50)
    net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
    net.fit(net.init(), x, target, epochs=3, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 1/3" in captured.err
    assert "samples/s" in captured.err
    assert "3 epochs  loss" in captured.err.splitlines()[-1]
    net.fit(net.init(), x, target, epochs=3)
    assert capsys.readouterr().err == ""


def test_progress_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x, target = problem(50)
    net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
    monkeypatch.setattr("sys.stderr", None)  # pythonw, some services
    assert len(net.fit(net.init(), x, target, epochs=3, progress=True).losses) == 3


@pytest.mark.parametrize("batch_size", [601, sys.maxsize, 10**30])
def test_a_batch_may_be_larger_than_the_data(batch_size: int) -> None:
    x, target = problem(600)
    net = fg.MLP((4, 3, 2), ("tanh", None), "mse", dtype="float64")
    whole, larger = (
        net.fit(net.init(), x, target, epochs=3, batch_size=size) for size in (600, batch_size)
    )
    np.testing.assert_array_equal(larger.params, whole.params)
    np.testing.assert_array_equal(larger.losses, whole.losses)


@pytest.mark.usefixtures("python_handler")
@pytest.mark.parametrize("batch_size", [32, 100_000])
def test_interrupt_keeps_the_parameters_so_far(batch_size: int) -> None:
    x, target = problem(100_000, "float32")
    net = fg.MLP((4, 64, 64, 2), ("tanh", "tanh", None), "mse")
    start = net.init()
    net.fit(start, x[:100], target[:100], epochs=1)  # compiled
    sent: list[float] = []
    trained = threading.Event()

    def interrupt() -> None:
        trained.wait()
        time.sleep(0.1)  # somewhere in a later epoch
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(start, x, target, epochs=100_000, batch_size=batch_size,
                callback=lambda _: trained.set())  # fmt: skip
    waited = time.perf_counter() - sent[0]
    other.join()
    assert waited < 0.5
    result = caught.value.result  # type: ignore[attr-defined]
    assert result.stopped == "interrupt"
    assert np.isfinite(result.params).all()
    assert not np.array_equal(result.params, start)
    again = net.fit(result.params, x, target, epochs=1, batch_size=batch_size)
    assert np.isfinite(again.losses).all()


@pytest.mark.usefixtures("python_handler")
@pytest.mark.parametrize("n", [1, 4, 3000])
def test_interrupt_of_epochs_that_run_together(n: int) -> None:
    """Some thousand epochs are one job; it is left as soon, and resumed within."""
    x, target = problem(n)
    net = fg.MLP((4, 8, 2), ("tanh", None), "mse", dtype="float64")
    net.fit(net.init(), x, target, epochs=1)  # compiled
    sent: list[float] = []

    def interrupt() -> None:
        time.sleep(0.3)
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(net.init(), x, target, fg.SGD(lr=1e-4), epochs=10**9, batch_size=n)
    waited = time.perf_counter() - sent[0]
    other.join()
    assert waited < 0.5
    result = caught.value.result  # type: ignore[attr-defined]
    epochs = len(result.losses) + 5
    rest = net.fit(None, x, target, epochs=5, batch_size=n, resume=result)
    whole = net.fit(net.init(), x, target, fg.SGD(lr=1e-4), epochs=epochs, batch_size=n)
    np.testing.assert_array_equal(rest.params, whole.params)
    np.testing.assert_array_equal(rest.losses, whole.losses)


@pytest.mark.parametrize("dtype", DTYPES)
def test_learns(dtype: str) -> None:
    """A net of 1,797 images of digits, as a user would train it."""
    from fastgrad.command.digits import load_digits

    images, labels = load_digits()
    net = fg.MLP((64, 32, 10), ("relu", None), "softmax_cross_entropy", dtype=dtype)
    result = net.fit(net.init(), images[:1500], labels[:1500], fg.Adam(lr=3e-3), epochs=20)
    assert result.losses[-1] < 0.1
    found = net.predict(result.params, images[1500:]).argmax(axis=1)
    assert np.mean(found == labels[1500:]) > 0.9
