"""`MLP.fit` with ``validation=``, ``restore_best=`` and ``clip_norm=``, and all of them resumed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, Array, rng_of, turn
from tolerances import TRAINING_RTOL, U

import fastgrad as fg
from fastgrad import loops, reference

packages = pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
twins = pytest.mark.parametrize("twin", [reference, loops], ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
ALL = {"l1": 0.002, "l2": 0.01}


def problem(n: int, samples: str = "rows", dtype: str = "float64") -> tuple[Array, Array]:
    rng = rng_of("training options", n)
    x = rng.standard_normal((n, 4)).astype(dtype)
    target = (np.sin(2 * x[:, :2]) + 0.3 * rng.standard_normal((n, 2))).astype(dtype)
    return turn(x, samples), turn(target, samples)


def make(package: Any = fg, dtype: str = "float64", **options: Any) -> Any:
    return package.MLP((4, 12, 2), ("tanh", None), "mse", dtype=dtype, **options)


def validating(
    package: Any = fg, epochs: int = 6, net: Any = None, rate: float = 0.1, **how: Any
) -> Any:
    """Train on 30 samples, validate on 50: it overfits, so that the best epoch is not the last."""
    net = make(package) if net is None else net
    how = {"batch_size": 8, "validation": problem(50)} | how
    start = None if "resume" in how else make().init(seed=3).astype(net.dtype)
    return net.fit(start, *problem(30), package.Adam(lr=rate), epochs=epochs, **how)


def same(a: Any, b: Any) -> None:
    """Raise unless two results have the same bits."""
    for name in ("params", "losses", "validation_losses"):
        assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True), name
    assert a.best_epoch == b.best_epoch
    assert np.array_equal(a.last, b.last)


# -- validation ----------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("samples", ["rows", "columns"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
def test_validation_losses_are_those_of_value_and_grad(
    samples: str, reduction: str, dtype: str
) -> None:
    """To the bit, without the penalties; and training does not notice."""
    net = make(samples=samples, reduction=reduction, dtype=dtype, **ALL)
    plain = make(samples=samples, reduction=reduction, dtype=dtype)
    data, held_out = problem(30, samples, dtype), problem(700, samples, dtype)
    seen: list[float | None] = []
    expected = []

    def callback(state: fg.FitState) -> None:
        seen.append(state.validation_loss)
        expected.append(plain.value_and_grad(state.params, *held_out)[0])

    how: dict[str, Any] = {"epochs": 4, "batch_size": 8}
    got = net.fit(net.init(), *data, **how, validation=held_out, callback=callback)
    assert got.validation_losses is not None
    assert got.validation_losses.dtype == "float64"
    assert got.validation_losses.tolist() == expected == seen
    assert got.best_epoch == int(np.argmin(expected))
    without = net.fit(net.init(), *data, **how)
    assert np.array_equal(without.params, got.params)
    assert np.array_equal(without.losses, got.losses)
    assert (without.validation_losses, without.best_epoch) == (None, None)


@dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
def test_validation_with_weights(reduction: str, dtype: str) -> None:
    weights = np.arange(50.0) % 7
    x, target = problem(50, dtype=dtype)
    x[weights == 0] = np.nan  # left out
    net = make(reduction=reduction, dtype=dtype, **ALL)
    plain = make(reduction=reduction, dtype=dtype)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "validation": (x, target, weights)}
    got = net.fit(net.init(), *problem(30, dtype=dtype), **how)
    assert got.validation_losses is not None
    assert got.validation_losses[-1] == plain.value_and_grad(got.params, x, target, weights)[0]
    for twin in (reference, loops):
        other = make(twin, reduction=reduction, dtype=dtype, **ALL)
        same_losses = other.fit(net.init(), *problem(30, dtype=dtype), **how).validation_losses
        np.testing.assert_allclose(same_losses, got.validation_losses, rtol=1000 * U[dtype])


def test_classes_foreign_dtypes_lists_and_threads(count: Any) -> None:
    rng = rng_of("validation classes")
    net = fg.MLP((20, 300, 10), ("relu", None), "softmax_cross_entropy")
    x, classes = rng.standard_normal((3000, 20)), rng.integers(0, 10, 3000)
    results = []
    for threads, held_out in (
        (1, (x.astype("float32"), classes)), (3, [x.astype("float32"), classes.tolist()]),
        (2, (x, classes.astype("uint8"))),
    ):  # fmt: skip
        count(threads)
        got = net.fit(net.init(), x[:64], classes[:64], epochs=2, validation=held_out)
        results.append(got.validation_losses.tolist())
    assert results[0] == results[1] == results[2]
    value = net.value_and_grad(got.params, x, classes)[0]
    assert results[0][-1] == value


@dtypes
@twins
def test_twins(twin: Any, dtype: str) -> None:
    tolerance = TRAINING_RTOL if dtype == "float64" else 1e-3
    how: dict[str, Any] = {"restore_best": True, "clip_norm": 0.5, "epochs": 4, "rate": 0.02}
    a = validating(fg, net=make(fg, dtype, **ALL), **how)
    b = validating(twin, net=make(twin, dtype, **ALL), **how)
    np.testing.assert_allclose(a.validation_losses, b.validation_losses, rtol=tolerance)
    np.testing.assert_allclose(a.losses, b.losses, rtol=tolerance)
    np.testing.assert_allclose(a.params, b.params, rtol=0, atol=tolerance)
    assert a.best_epoch == b.best_epoch


@packages
def test_restored_parameters_are_the_best_epochs(package: Any) -> None:
    kept = []

    def callback(state: Any) -> None:
        kept.append(state.params.copy())

    got = validating(package, 12, restore_best=True, callback=callback)
    best = int(np.argmin(got.validation_losses))
    assert 0 < best < 11, got.validation_losses
    assert got.best_epoch == best
    assert np.array_equal(got.params, kept[best])
    assert np.array_equal(got.last, kept[-1])
    assert len(got.losses) == 12
    plain = validating(package, 12)
    assert np.array_equal(plain.params, kept[-1])
    assert plain.best_epoch == best


@packages
def test_early_stopping_waits_for_the_validation_loss(package: Any) -> None:
    stop = fg.EarlyStopping(patience=3)
    got = validating(package, 100, callback=stop, restore_best=True)
    assert got.stopped == "early stopping"
    assert len(got.losses) == got.best_epoch + 4
    assert stop.best == min(got.validation_losses)


def test_progress_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    for package in (fg, reference):
        got = validating(package, 3, progress=True)
        assert f"  validation {got.validation_losses[-1]:.4g}  " in capsys.readouterr().err


def test_nothing_is_best_among_losses_that_are_not_numbers() -> None:
    for package in (fg, reference):
        x, target = problem(50)
        got = validating(package, 2, validation=(x * np.nan, target), restore_best=True)
        assert np.isnan(got.validation_losses).all()
        assert got.best_epoch is None
        assert np.array_equal(got.params, got.last)


def test_divergence_keeps_what_was_before() -> None:
    for package in (fg, reference):
        net, start = make(package), make().init(seed=3)
        x, target = problem(30)
        how: dict[str, Any] = {"batch_size": 30, "validation": problem(50), "restore_best": True}

        def spoil(state: Any, x: Array = x) -> None:
            if state.epoch == 2:
                x[3, 0] = np.inf
                x[3, 1] = -np.inf

        with pytest.warns(fg.TrainingWarning):
            got = net.fit(start, x, target, package.SGD(lr=0.1), epochs=9, callback=spoil, **how)
        assert got.stopped == "diverged"
        assert len(got.losses) == len(got.validation_losses) == 3
        same(got, net.fit(start, *problem(30), package.SGD(lr=0.1), epochs=3, **how))


# -- resumed -------------------------------------------------------------------------------------


@packages
@pytest.mark.parametrize("restore", [False, True])
def test_two_and_three_epochs_are_five(package: Any, restore: bool) -> None:
    how: dict[str, Any] = {"restore_best": restore, "clip_norm": 0.3, "rate": 0.2}
    whole = validating(package, 5, net=make(package, **ALL), **how)
    for split in (1, 2, 4):
        first = validating(package, split, net=make(package, **ALL), **how)
        first = pickle.loads(pickle.dumps(first))
        rest = validating(package, 5 - split, net=make(package, **ALL), resume=first, **how)
        same(rest, whole)


@packages
def test_validation_begins_or_ends_with_a_resumed_training(package: Any) -> None:
    whole = validating(package, 5, restore_best=True)
    first = validating(package, 2, validation=None)
    rest = validating(package, 3, resume=first, restore_best=True)
    assert np.isnan(rest.validation_losses[0])
    assert np.array_equal(rest.validation_losses[1:], whole.validation_losses[1:])
    assert np.array_equal(rest.last, whole.last)
    first = validating(package, 2, restore_best=True)
    rest = validating(package, 3, validation=None, resume=first)
    assert rest.validation_losses is None
    assert np.array_equal(rest.params, whole.last)
    unknown = validating(package, 2)  # the best epoch's parameters were not kept
    rest = validating(package, 3, resume=unknown, restore_best=True)
    assert rest.best_epoch is not None
    assert rest.best_epoch >= 2
    assert np.array_equal(rest.validation_losses, whole.validation_losses)


def test_interrupted_while_validating() -> None:
    """Ctrl-C after an epoch's steps, before its validation: `resume` makes up for it."""
    net, start = make(), make().init(seed=3)
    how: dict[str, Any] = {"batch_size": 8, "validation": problem(50), "restore_best": True}
    from fastgrad.networks import training_run

    calls = []

    def interrupted(self: Any) -> float:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return float(validate(self))

    validate = training_run.Training._validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run.Training, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt) as stop:
            net.fit(start, *problem(30), fg.Adam(lr=0.1), epochs=9, **how)
    first = stop.value.result  # type: ignore[attr-defined]
    assert len(first.losses) == 3
    assert len(first.validation_losses) == 2
    rest = net.fit(None, *problem(30), epochs=3, resume=first, **how)
    same(rest, net.fit(start, *problem(30), fg.Adam(lr=0.1), epochs=6, **how))


# -- clipping ------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("limit", [0.01, 1.5, 1e3, 0.0])
def test_clipped_steps(limit: float, dtype: str) -> None:
    """To the bit: `fg.clip_norm` of the gradient's arrays before each step."""
    net, start = make(dtype=dtype, **ALL), make().init(seed=3).astype(dtype)
    x, target = problem(30, dtype=dtype)
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "shuffle": False}
    got = net.fit(start, x, target, fg.SGD(lr=0.5), clip_norm=limit, **how)
    p, norms = start.copy(), []
    for _ in range(2):
        for first in range(0, 30, 8):
            grad = net.value_and_grad(p, x[first : first + 8], target[first : first + 8])[1]
            norms.append(fg.clip_norm([a for layer in net.layers(grad) for a in layer], limit))
            p -= p.dtype.type(0.5) * grad
    assert np.array_equal(got.params, p)
    if limit == 1.5:  # some steps were clipped
        assert min(norms) < limit < max(norms)


def test_a_large_network_in_threads(count: Any) -> None:
    """More parameters than a block of sums, gradients in pieces."""
    net = fg.MLP((300, 500, 400, 10), ("tanh", "relu", None), "mse", l2=0.1)
    rng = rng_of("clipped threads")
    x, target = (rng.standard_normal((1500, k)).astype("float32") for k in (300, 10))
    params = []
    for threads in (1, 3):
        count(threads)
        how: dict[str, Any] = {"epochs": 1, "batch_size": 600, "clip_norm": 0.05}
        params.append(net.fit(net.init(), x, target, fg.SGD(lr=1.0), **how).params)
    assert np.array_equal(*params)
    assert np.sqrt(np.square(params[0] - net.init()).sum()) <= 3 * 0.05 * (1 + 1e-6)


@packages
@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_squares_beyond_the_range_of_numbers(package: Any, size: float) -> None:
    """Of gradients of 1e200 and 1e-200: their norm is computed from scaled numbers."""
    net = package.MLP((1, 2), (None,), "mae", "sum", bias=False, dtype="float64")
    limit = min(1.0, size / 10)
    how: dict[str, Any] = {"epochs": 1, "clip_norm": limit}
    got = net.fit([0.0, 0.0], [[size]], [[-1.0, 1.0]], package.SGD(lr=1.0), **how)
    assert got.losses.tolist() == [2.0]
    half = limit * np.sqrt(0.5)
    np.testing.assert_allclose(got.params, [-half, half], rtol=1e-15)


# -- errors --------------------------------------------------------------------------------------

X, T = problem(5)


@packages
@pytest.mark.parametrize(
    "how, error, text",
    [
        (
            {"validation": X},
            TypeError,
            r"^MLP.fit: validation is a ndarray: give a tuple \(x, target\) or \(x, ",
        ),
        (
            {"validation": (X,)},
            ValueError,
            r"^MLP.fit: validation holds 1 things: give a tuple \(x, target\) or ",
        ),
        ({"validation": (X[:, :3], T)}, ValueError, r"^MLP.fit: validation: x has shape \(5, 3\)"),
        ({"validation": (X, T[:4])}, ValueError, r"^MLP.fit: validation: target has shape \(4, 2"),
        ({"validation": (X, None)}, TypeError, r"^MLP.fit: validation: the loss mse needs a targ"),
        ({"validation": (X[:0], T[:0])}, ValueError, r"^MLP.fit: validation: x has shape \(0, 4\)"),
        ({"validation": (X, T * 1j)}, TypeError, r"^MLP.fit: validation: target "),
        ({"restore_best": True}, ValueError, r"^MLP.fit: restore_best=True without validation: "),
        ({"clip_norm": -1.0}, ValueError, r"^MLP.fit: clip_norm is -1.0: it must be finite and at"),
        ({"clip_norm": "1"}, TypeError, r"^MLP.fit: clip_norm is a str: give a number$"),
        ({"clip_norm": np.inf}, ValueError, r"^MLP.fit: clip_norm is inf: it must be finite and "),
    ],
)
def test_errors(package: Any, how: Any, error: type[Exception], text: str) -> None:
    net = make(package)
    with pytest.raises(error, match=text):
        net.fit(make().init(), X, T, epochs=1, **how)


def test_rounding_of_the_limit_is_small() -> None:
    """The step of SGD with a rate of 1 is the clipped gradient, whose norm is the limit."""
    net, start = make(dtype="float32"), make().init(seed=3).astype("float32")
    x, target = problem(30, dtype="float32")
    got = net.fit(start, x, target, fg.SGD(lr=1.0), epochs=1, batch_size=30, clip_norm=2.0**-6)
    step = (start - got.params).astype("float64")
    assert np.sqrt(np.square(step).sum()) == pytest.approx(2.0**-6, rel=100 * U["float32"], abs=0)
