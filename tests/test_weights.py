"""Weights of samples and of terms, and the terms themselves: losses, networks and training.

The oracle is arithmetic that everybody believes: a weight of 2 is the same sample twice, and a
weight of 0 is no sample at all.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, turn
from test_losses import CASES, ONE_ARRAY, arguments, data
from tolerances import U
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES, LogitLoss

PACKAGES = [fg, reference, loops]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
cases = pytest.mark.parametrize("name, kind", CASES, ids=lambda c: c)
ROWWISE = [name for name, loss in LOSSES.items() if loss.rowwise]


def whole_weights(n: int) -> Array:
    """Return weights 0, 1, 2 and 3, in no order."""
    return rng_of("weights", n).permutation(np.arange(n) % 4).astype(np.float64)


def many(array: Array, weights: Array) -> Array:
    """Return each row as often as its weight says."""
    return np.repeat(array, weights.astype(int), axis=0)


SHAPES = [(5, 3), (40, 1), (300, 10), (6, 70), (2, 600)]
# Sums of at most 6000 terms in another order, and slopes added up to 3 times, each rounded once.
SUM_RTOL, GRAD_RTOL = 1e-12, {"float32": 8 * U["float32"], "float64": 8 * U["float64"]}


@reductions
@layouts
@dtypes
@pytest.mark.parametrize("n, d", SHAPES, ids=str)
@cases
def test_a_weight_of_two_is_a_sample_twice(
    name: str, kind: str, n: int, d: int, dtype: str, samples: str, reduction: str
) -> None:
    loss = LOSSES[name]
    if loss.rowwise and d == 1:
        return
    pred, target = data(n, d, kind, dtype, name)
    weights = whole_weights(n)
    args = arguments(pred, target, samples)
    value, grad = loss.value_and_grad(*args, reduction, samples, weights=weights)
    again = [many(a, weights) for a in (pred, target) if a is not None]
    expected, slopes = loss.value_and_grad(*again, reduction)
    # "samples" counts samples, not weights.
    scale = weights.sum() / n if reduction == "samples" else 1.0
    size = abs(loss(*again, "none")).sum() / (1 if reduction == "sum" else weights.sum())
    assert value == pytest.approx(expected * scale, rel=SUM_RTOL, abs=SUM_RTOL * size)
    owner = np.repeat(np.arange(n), weights.astype(int))
    per_sample = np.zeros(pred.shape)
    np.add.at(per_sample, owner, slopes * scale)
    by = {"sum": 1, "samples": n, "mean": weights.sum() * (1 if loss.rowwise else d)}[reduction]
    # Probabilities less targets may cancel: what is rounded is each, at most 3 of 1, and t, of 3.
    atol = GRAD_RTOL[dtype] * 6 / by if isinstance(loss, LogitLoss) else 0
    np.testing.assert_allclose(turn(grad, samples), per_sample, rtol=GRAD_RTOL[dtype], atol=atol)
    assert loss(*args, reduction, samples, weights) == value
    assert grad.dtype == dtype


@reductions
@layouts
@dtypes
@cases
def test_weights_of_one_change_no_bit(
    name: str, kind: str, dtype: str, samples: str, reduction: str
) -> None:
    loss = LOSSES[name]
    for n, d in ((70, 10), (3, 200)):
        pred, target = data(n, d, kind, dtype, name)
        args = arguments(pred, target, samples)
        value, grad = loss.value_and_grad(*args, reduction, samples)
        ones = [np.ones(n)] if loss.rowwise else [np.ones(n), np.ones(args[0].shape)]
        for weights in ones:
            made = loss.value_and_grad(*args, reduction, samples, weights=weights)
            assert made[0] == value
            assert same_bits(made[1], grad)


@dtypes
@layouts
@cases
def test_the_terms_are_true(name: str, kind: str, samples: str, dtype: str) -> None:
    """Each against mpmath, and their sum against the loss."""
    loss = LOSSES[name]
    pred, target = data(5, 4, kind, dtype, name)
    args = arguments(pred, target, samples)
    terms = loss(*args, "none", samples)
    assert isinstance(terms, np.ndarray)
    assert terms.dtype == np.float64
    assert terms.shape == ((5,) if loss.rowwise else args[0].shape)
    assert math.fsum(terms.ravel()) == pytest.approx(loss(*args, "sum", samples), rel=1e-13)
    goal = np.zeros_like(pred) if target is None else target
    if goal.ndim == 1:
        goal = np.eye(4)[goal]
    with mp.workdps(30):
        ps, ts = ([[mp.mpf(v) for v in row] for row in a.tolist()] for a in (pred, goal))
        term = LOSS_TRUTH[name].value
        if loss.rowwise:
            exact = np.array([float(term(p, t)) for p, t in zip(ps, ts, strict=True)])
        else:
            rows = zip(ps, ts, strict=True)
            exact = np.array([list(map(float, map(term, *row))) for row in rows])
    shown = terms if loss.rowwise else turn(terms, samples)
    np.testing.assert_allclose(shown, exact, rtol=0, atol=64 * U[dtype])
    weights = whole_weights(5)
    weighted = loss(*args, "none", samples, weights)
    over = weights if loss.rowwise else turn(np.broadcast_to(weights[:, None], (5, 4)), samples)
    np.testing.assert_array_equal(weighted, terms * over)


@layouts
@dtypes
@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ROWWISE])
def test_a_weight_for_each_term(name: str, dtype: str, samples: str) -> None:
    loss = LOSSES[name]
    pred, target = data(300, 7, "none" if name in ONE_ARRAY else "array", dtype, name)
    args = arguments(pred, target, samples)
    weights = rng_of("terms").uniform(0, 2, args[0].shape)
    weights[weights < 0.5] = 0
    terms, slopes = loss(*args, "none", samples), loss.value_and_grad(*args, "sum", samples)[1]
    for reduction, by in (("sum", 1.0), ("samples", 300), ("mean", math.fsum(weights.ravel()))):
        value, grad = loss.value_and_grad(*args, reduction, samples, weights=weights)
        size = math.fsum(abs(terms * weights).ravel()) / by
        assert abs(value - math.fsum((terms * weights).ravel()) / by) <= SUM_RTOL * size
        # The slope and its factor are rounded once each, and so is their product.
        np.testing.assert_allclose(grad, slopes * (weights / by), rtol=4 * U[dtype], atol=0)


@packages
@layouts
@dtypes
@cases
def test_what_has_no_weight_may_be_anything(
    name: str, kind: str, dtype: str, samples: str, package: Any
) -> None:
    loss = package.losses.LOSSES[name]
    pred, target = data(9, 4, kind, dtype, name)
    weights = whole_weights(9)
    out = weights == 0
    args = arguments(pred, target, samples)
    value, grad = loss.value_and_grad(*args, "mean", samples, weights=weights)
    for anything in (np.nan, np.inf, -1e30):
        p, t = pred.copy(), None if target is None else target.copy()
        p[out] = anything
        if t is not None:
            t[out] = -7 if kind == "classes" else anything
        args = arguments(p, t, samples)
        made = loss.value_and_grad(*args, "mean", samples, weights=weights)
        assert made[0] == value
        assert same_bits(made[1], grad)
        assert not turn(made[1], samples)[out].any()
        assert loss(*args, "mean", samples, weights) == value
        assert np.isfinite(loss(*args, "none", samples, weights)).all()
        if not loss.rowwise:
            each = np.ones(pred.shape)
            each[out] = 0
            assert math.isfinite(loss(*args, "mean", samples, turn(each, samples)))


@dtypes
@layouts
@cases
def test_twins_agree(name: str, kind: str, samples: str, dtype: str) -> None:
    pred, target = data(7, 4, kind, dtype, name)
    args, weights = arguments(pred, target, samples), rng_of("twins").uniform(0.1, 2, 7)
    for reduction in REDUCTIONS:
        value, grad = LOSSES[name].value_and_grad(*args, reduction, samples, weights=weights)
        for package in (reference, loops):
            twin = package.losses.LOSSES[name]
            made = twin.value_and_grad(*args, reduction, samples, weights=weights)
            assert made[0] == pytest.approx(value, rel=64 * U[dtype])
            size = max(1.0, float(np.abs(grad).max()))  # a poisson's slope is an exponential
            np.testing.assert_allclose(made[1], grad, rtol=0, atol=16 * U[dtype] * size)
            assert made[1].dtype == grad.dtype
    terms = LOSSES[name](*args, "none", samples, weights)
    for package in (reference, loops):
        made = package.losses.LOSSES[name](*args, "none", samples, weights)
        assert made.shape == terms.shape
        np.testing.assert_allclose(made, terms, rtol=0, atol=64 * U[dtype])


@packages
def test_shapes_of_every_kind(package: Any) -> None:
    """Leading batch axes, one sample, no samples, integers, float16, lists."""
    mse, ce = package.losses.mse, package.losses.softmax_cross_entropy
    rng = rng_of("kinds")
    pred, target = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
    weights = rng.uniform(0.5, 1, (2, 3))
    flat = mse.value_and_grad(pred.reshape(6, 4), target.reshape(6, 4), weights=weights.ravel())
    value, grad = mse.value_and_grad(pred, target, weights=weights)
    assert value == flat[0]
    assert same_bits(grad, flat[1].reshape(2, 3, 4))
    classes = rng.integers(0, 4, (2, 3))
    assert ce(pred, classes, "none", weights=weights).shape == (2, 3)
    assert mse([1.0, 2.0], [0.0, 0.0], weights=3) == mse([1.0, 2.0], [0.0, 0.0])
    assert mse([1.0, 2.0], [0.0, 0.0], "sum", weights=[3, 0]) == 3.0
    assert ce([1.0, 2.0], 1, "none").shape == ()
    assert math.isnan(mse(np.empty((0, 3)), np.empty((0, 3)), weights=[]))
    assert mse(np.empty((0, 3)), np.empty((0, 3)), "none").shape == (0, 3)
    half = np.array([[1.0], [3.0]], np.float16)
    value, grad = mse.value_and_grad(half, half * 0, weights=[1, 1])
    assert (value, grad.dtype, grad.tolist()) == (5.0, np.float16, [[1.0], [3.0]])
    tiny = 2.0**-1074  # whose reciprocal is not finite
    value, grad = mse.value_and_grad([[1.0], [3.0]], [[0.0], [0.0]], weights=[tiny, tiny])
    assert (value, grad.tolist()) == (5.0, [[1.0], [3.0]])


@layouts
@dtypes
@pytest.mark.parametrize("n, d", [(3, 4), (40, 1), (5, 700)], ids=str)
def test_probabilities_come_with_the_gradient(n: int, d: int, dtype: str, samples: str) -> None:
    for name, activation in (
        ("softmax_cross_entropy", fg.softmax), ("binary_cross_entropy_with_logits", fg.sigmoid)
    ):  # fmt: skip
        pred, target = data(n, d, "probabilities", dtype)
        args = arguments(pred, target, samples)
        loss: Any = LOSSES[name]
        true = activation(pred)
        for weights in (None, whole_weights(n)):
            value, grad, shares = loss.value_grad_and_probabilities(
                *args, "mean", samples, weights=weights
            )
            plain = loss.value_and_grad(*args, "mean", samples, weights=weights)
            assert loss(*args, "mean", samples, weights) == plain[0]
            assert same_bits(grad, plain[1])
            # The parts of a row of more than 256 probabilities are added up in another order.
            assert value == plain[0] or (d > 256 and value == pytest.approx(plain[0], rel=1e-14))
            assert shares.dtype == grad.dtype
            np.testing.assert_allclose(turn(shares, samples), true, rtol=8 * U[dtype], atol=0)
            for package in (reference, loops):
                twin = package.losses.LOSSES[name]
                made = twin.value_grad_and_probabilities(*args, "mean", samples, weights=weights)
                np.testing.assert_allclose(made[2], shares, rtol=32 * U[dtype], atol=0)
                assert made[2].shape == shares.shape


# -- what is refused ----------------------------------------------------------------------------


@packages
def test_wrong_weights_are_refused_in_the_same_words(package: Any) -> None:
    mse, ce = package.losses.mse, package.losses.softmax_cross_entropy
    net = package.MLP((2, 3), (None,), "mse")
    pred, x, params = np.ones((4, 3)), np.ones((4, 2)), net.init()

    def calls(weights: Any) -> list[Any]:
        return [
            lambda: mse(pred, pred, weights=weights),
            lambda: mse.value_and_grad(pred, pred, weights=weights),
            lambda: net.value_and_grad(params, x, pred, weights),
            lambda: net.fit(params, x, pred, weights=weights),
        ]

    wrong: list[tuple[Any, type[Exception], str]] = [
        ([1, 1, 1, -1], ValueError, r"weights has -1.0: weights must be finite and at least 0"),
        ([1, np.nan, 1, 1], ValueError, r"weights has nan: weights must be finite"),
        ([1, np.inf, 1, 1], ValueError, r"weights has inf: weights must be finite"),
        ([0, 0, 0, 0], ValueError, r"weights add up to 0.0: reduction='mean' divides by their sum"),
        ([1e308] * 4, ValueError, r"weights add up to inf"),
        ([1, 1, 1], ValueError, r"weights has shape \(3,\) but .*one per sample, shape \(4,\), or "
         r"one per term, shape \(4, 3\)$"),
        (np.ones((4, 1)), ValueError, r"give weights.ravel\(\)$"),
        (["a"] * 4, TypeError, r"weights has dtype <U1"),
        (np.ones(4, complex), TypeError, r"weights has dtype complex128"),
    ]  # fmt: skip
    for weights, error, text in wrong:
        for call in calls(weights):
            with pytest.raises(error, match=text):
                call()
    with pytest.raises(ValueError, match=r"one per sample, shape \(4,\)$"):
        ce(pred, [0, 1, 2, 0], weights=np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"classes from -1 to 2 but"):
        ce(pred, [0, 1, 2, -1], weights=[1, 1, 1, 1e-300])
    with pytest.raises(ValueError, match=r"reduction is 'none': a gradient is one of a single"):
        mse.value_and_grad(pred, pred, "none")
    with pytest.raises(ValueError, match=r"reduction is 'nine': choose from"):
        mse(pred, pred, "nine")
    weights, out = np.ones(4 * 3), np.empty((4, 3))
    with pytest.raises(ValueError, match="out shares memory with weights"):
        mse.value_and_grad(pred, pred, out=weights.reshape(4, 3), weights=weights.reshape(4, 3))
    assert mse.value_and_grad(pred, 0 * pred, out=out, weights=np.ones(4))[1] is out
    assert out[0, 0] == 2 / 12


# -- networks -----------------------------------------------------------------------------------

NETS = ("mse", "softmax_cross_entropy", "binary_cross_entropy_with_logits", "sum")


def net_data(loss: str, n: int, samples: str, dtype: str) -> tuple[Any, Array, Any, Any]:
    """Return a network, x, target (None for `sum`) and parameters."""
    rng = rng_of("net", n)
    net = fg.MLP((3, 6, 4), ("tanh", None), loss, samples=samples, dtype=dtype)
    x = rng.standard_normal((n, 3)).astype(dtype)
    target: Any = rng.uniform(0, 1, (n, 4)).astype(dtype)
    if loss == "softmax_cross_entropy":
        target = rng.integers(0, 4, n)
    return net, x, None if loss == "sum" else target, net.init(seed=1)


def with_reduction(net: Any, reduction: str, package: Any = fg) -> Any:
    return package.MLP(
        net.sizes, [a.name for a in net.activations], net.loss.name, reduction,
        samples=net.samples, dtype=net.dtype,
    )  # fmt: skip


def turned(a: Any, samples: str) -> Any:
    return turn(a, samples) if a is not None and a.ndim == 2 else a


@reductions
@layouts
@dtypes
@pytest.mark.parametrize("loss", NETS)
def test_a_network_takes_a_sample_twice(
    loss: str, dtype: str, samples: str, reduction: str
) -> None:
    """In a direct call and by a job; 600 samples are more than two blocks."""
    for n in (7, 600):
        net, x, target, params = net_data(loss, n, samples, dtype)
        net, weights = with_reduction(net, reduction), whole_weights(n)
        scale = weights.sum() / n if reduction == "samples" else 1.0
        again = [None if a is None else many(a, weights) for a in (x, target)]
        expected = net.value_and_grad(params, *(turned(a, samples) for a in again))
        args = [turned(a, samples) for a in (x, target)]
        value, grad = net.value_and_grad(params, *args, weights)
        tolerance = 64 * U[dtype] * (1 + n / 64)
        size = max(1.0, abs(expected[0]))
        assert abs(value - scale * expected[0]) <= tolerance * size
        bound = tolerance * abs(expected[1]).max()
        np.testing.assert_allclose(grad, scale * expected[1], rtol=0, atol=bound)
        # All weights positive: the entry point; as a list: the same job as with zeros.
        positive = weights + 1
        for _ in range(2):
            direct = net.value_and_grad(params, *args, positive)
        job = net.value_and_grad(params, *args, positive.tolist())
        assert direct[0] == pytest.approx(job[0], rel=1e-15)
        assert same_bits(direct[1], job[1])
        out = np.empty_like(params)
        assert net.value_and_grad(params, *args, positive, out)[1] is out
        assert same_bits(out, direct[1])


@layouts
@dtypes
@pytest.mark.parametrize("loss", NETS)
def test_a_networks_weights_of_one_change_no_bit(loss: str, dtype: str, samples: str) -> None:
    net, x, target, params = net_data(loss, 300, samples, dtype)
    args = [turned(a, samples) for a in (x, target)]
    value, grad = net.value_and_grad(params, *args)
    kinds = [np.ones(300), [1] * 300]
    if not net.loss.rowwise:
        kinds.append(turn(np.ones((300, 4)), samples))
    for weights in kinds:
        made = net.value_and_grad(params, *args, weights)
        assert made[0] == value
        assert same_bits(made[1], grad)


@packages
@layouts
@pytest.mark.parametrize("loss", NETS)
def test_samples_without_weight_may_be_anything(loss: str, samples: str, package: Any) -> None:
    net, x, target, params = net_data(loss, 40, samples, "float64")
    net, weights = with_reduction(net, "mean", package), whole_weights(40)
    args = [turned(a, samples) for a in (x, target)]
    clean = net.value_and_grad(params, *args, weights)
    trained = net.fit(params, *args, weights=weights, epochs=2, batch_size=16)
    x[weights == 0] = np.nan
    if target is not None:
        target[weights == 0] = 99 if target.ndim == 1 else np.inf
    args = [turned(a, samples) for a in (x, target)]
    value, grad = net.value_and_grad(params, *args, weights)
    assert value == clean[0]
    assert same_bits(grad, clean[1])
    again = net.fit(params, *args, weights=weights, epochs=2, batch_size=16)
    assert again.losses.tolist() == trained.losses.tolist()
    assert same_bits(again.params, trained.params)
    if target is not None and target.ndim == 2:  # one output of a sample is unknown
        each = np.ones((40, 4))
        each[weights == 0] = 0
        each[5, 2] = 0
        target[5, 2] = np.nan
        x[5] = 0.5
        args = [turned(a, samples) for a in (x, target)]
        value, grad = net.value_and_grad(params, *args, turn(each, samples))
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


@layouts
@reductions
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", NETS)
def test_training_agrees_with_the_reference(
    loss: str, shuffle: bool, reduction: str, samples: str
) -> None:
    net, x, target, params = net_data(loss, 70, samples, "float64")
    args = [turned(a, samples) for a in (x, target)]
    kinds = [whole_weights(70)]
    if loss != "softmax_cross_entropy":
        kinds.append(turn(rng_of("each").integers(0, 3, (70, 4)), samples))
    for weights in kinds:
        results = []
        for package in (fg, reference):
            own = with_reduction(net, reduction, package)
            step = package.SGD(lr=0.01, momentum=0.5)
            results.append(own.fit(params, *args, step, 3, 16, shuffle, weights=weights))
        np.testing.assert_allclose(results[0].losses, results[1].losses, rtol=1e-11)
        np.testing.assert_allclose(results[0].params, results[1].params, rtol=1e-9, atol=1e-11)


def test_an_epochs_loss_is_that_of_its_samples() -> None:
    """Without steps, the loss of an epoch is the loss of one call of the twin, for any batches."""
    net, x, target, params = net_data("mse", 90, "rows", "float64")
    weights = whole_weights(90)
    for reduction in REDUCTIONS:
        own = with_reduction(net, reduction)
        twin = with_reduction(net, reduction, reference)
        value = twin.value_and_grad(params, x, target, weights)[0]
        for batch_size in (1, 7, 90):
            step = fg.SGD(lr=1e-300)
            result = own.fit(params, x, target, step, 2, batch_size, weights=weights)
            assert result.losses.tolist() == pytest.approx([value, value], rel=1e-13, abs=0)


@packages
@pytest.mark.parametrize("loss", ["mse", "softmax_cross_entropy"])
def test_a_batch_without_any_weight_has_a_gradient_of_zero(package: Any, loss: str) -> None:
    net = package.MLP((2, 2), (None,), loss, dtype="float64")
    params, x = net.init(seed=3), np.arange(8.0).reshape(4, 2)
    target, weights = np.full((4, 2), 0.5), [0.0, 0.0, 1.0, 1.0]
    step = package.SGD(lr=0.01)
    fit = net.fit(params, x, target, step, 1, 2, shuffle=False, weights=weights)
    only = net.fit(params, x[2:], target[2:], step, 1, 2, shuffle=False)
    np.testing.assert_allclose(fit.params, only.params, rtol=1e-14)
    assert fit.losses[0] == pytest.approx(only.losses[0], rel=1e-14)


@dtypes
def test_bits_do_not_depend_on_threads_form_or_windows(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integers are converted a window at a time; here a window is one block."""
    rng = rng_of("windows")
    net = fg.MLP((300, 64, 4), ("tanh", None), "mse", dtype=dtype)
    x, target = rng.integers(-3, 4, (3000, 300)), rng.integers(0, 2, (3000, 4))
    params, weights = net.init(), whole_weights(3000)
    each = rng.uniform(0, 1, (3000, 4))
    native = x.astype(dtype), target.astype(dtype)

    def everything(x: Array, target: Array) -> list[bytes]:
        results: list[Any] = []
        for w in (weights, weights + 1, each):
            results += net.value_and_grad(params, x, target, w)
            results += net.fit(params, x, target, epochs=2, batch_size=700, weights=w)
        return [np.asarray(result).tobytes() for result in results]

    whole = everything(*native)
    monkeypatch.setattr("fastgrad.networks.training_run.CONVERTED", 0)
    monkeypatch.setattr("fastgrad.networks.job.WINDOW", 1 << 12)
    assert everything(x, target) == whole
    before = fg.get_num_threads()
    try:
        fg.set_num_threads(1)
        assert everything(*native) == whole
    finally:
        fg.set_num_threads(before)


def test_training_goes_on_with_weights() -> None:
    net, x, target, params = net_data("mse", 50, "rows", "float32")
    weights = whole_weights(50)
    whole = net.fit(params, x, target, epochs=5, weights=weights)
    first = net.fit(params, x, target, epochs=2, weights=weights)
    rest = net.fit(None, x, target, epochs=3, weights=weights, resume=first)
    assert rest.losses.tolist() == whole.losses.tolist()
    assert same_bits(rest.params, whole.params)


def test_a_sample_without_weight_is_not_blamed() -> None:
    net, x, target, params = net_data("mse", 10, "rows", "float64")
    weights = np.ones(10)
    weights[2], x[2], target[4] = 0, np.nan, np.nan
    with pytest.warns(fg.TrainingWarning, match="target of sample 4 is not finite"):
        net.fit(params, x, target, weights=weights)


@packages
@reductions
def test_weights_leave_the_penalties_alone(reduction: str, package: Any) -> None:
    plain, x, target, params = net_data("mse", 50, "rows", "float64")
    weights = whole_weights(50) + 0.5
    sizes, names = plain.sizes, ("tanh", None)
    nets = [
        package.MLP(sizes, names, "mse", reduction, dtype="float64", l2=l2) for l2 in (0.0, 0.25)
    ]
    penalty = 0.125 * sum(float((layer.w**2).sum()) for layer in plain.layers(params))
    for own in (weights, weights.tolist()):
        for _ in range(2):
            without, value = (net.value_and_grad(params, x, target, own)[0] for net in nets)
        assert value == pytest.approx(without + penalty, rel=1e-13)
    step = package.SGD(lr=1e-300)
    result = nets[1].fit(params, x, target, step, 1, 16, weights=weights)
    assert result.losses[0] == pytest.approx(value, rel=1e-13)


def test_no_samples() -> None:
    net, _, _, params = net_data("mse", 5, "rows", "float32")
    value, grad = net.value_and_grad(params, np.empty((0, 3)), np.empty((0, 4)), [])
    assert math.isnan(value)
    assert not grad.any()
