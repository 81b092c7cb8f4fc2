"""Every loss: values and gradients against the reference, mpmath and complex steps."""

from __future__ import annotations

import functools
import math
import pickle
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, Array, rng_of, same_bits, turn
from tolerances import GRADIENT_RTOL, LOSS_GRAD_U, LOSS_U, U
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES, ArrayLoss

NAMES = list(LOSSES)
ONE_ARRAY = [name for name, row in LOSSES.items() if isinstance(row, ArrayLoss)]
TWO_ARRAYS = [name for name in NAMES if name not in ONE_ARRAY]
OF_CLASSES = [name for name, row in LOSSES.items() if row.rowwise]
TARGETS = {name: ("none",) if name in ONE_ARRAY else LOSS_TRUTH[name].targets for name in NAMES}
CASES = [(name, kind) for name in NAMES for kind in TARGETS[name]]

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
cases = pytest.mark.parametrize("name, kind", CASES, ids=lambda c: c)


def data(n: int, d: int, kind: str, dtype: str, name: str = "mse") -> tuple[Array, Array | None]:
    """Return pred, of the loss's domain, and target in row layout (classes: integers)."""
    numbers, target = numbers_and_target(n, d, kind, dtype)
    return LOSS_TRUTH[name].domain(numbers), target


@functools.cache
def numbers_and_target(n: int, d: int, kind: str, dtype: str) -> tuple[Array, Array | None]:
    rng = rng_of("loss", n, d)
    pred = (2 * rng.standard_normal((n, d))).astype(dtype)
    classes = rng.integers(0, max(d, 1), n)
    weights = rng.uniform(0.05, 1, (n, d))
    return pred, {
        "none": None,
        "array": weights.astype(dtype),
        "classes": classes,
        "one_hot": np.eye(d, dtype=dtype)[classes],
        "probabilities": (weights / weights.sum(axis=1, keepdims=True)).astype(dtype),
    }[kind]


def arguments(pred: Array, target: Array | None, samples: str) -> list[Array]:
    """Return the arrays of a call in the layout."""
    arrays = [pred] if target is None else [pred, target]
    return [turn(a, samples) if a.ndim == 2 else a for a in arrays]


# -- against the reference ---------------------------------------------------------------------


def sizes_of(name: str, pred: Array, target: Array | None) -> tuple[Array, Array]:
    """Return what rounding acts on, per element or sample: of the terms and of the slopes.

    A term's error is a few u of the numbers it is made of, times how they enter it.
    """
    p = abs(pred)
    t = np.zeros_like(p)
    if target is not None and target.shape == pred.shape:
        t = abs(target)
    if name in ("mse", "squared_l2"):
        return (p + t) ** 2, 2 * (p + t)
    if name == "softmax_cross_entropy":
        weight = 1 if target is None or target.ndim == 1 else t.sum(axis=1)
        spread = (np.log(p.shape[1]) + 2 * p.max(axis=1, initial=0)) * weight
        return spread + t.sum(axis=1), (np.ones_like(p).T * weight).T + t
    if name == "binary_cross_entropy_with_logits":
        return p + t * p + np.log(2), 1 + t
    if name == "poisson":
        return np.exp(pred) + t * p, np.exp(pred) + t
    if name in ("hinge", "nll"):
        times = np.eye(p.shape[1])[target] if target is not None and target.ndim == 1 else t
        if name == "nll":
            return (times * (1 - np.log(pred))).sum(axis=1), times / pred
        # Of every pair of classes a difference, added up in float64.
        pairs = p.sum(axis=1, keepdims=True) + p.shape[1] * (p + 1)
        total = times.sum(axis=1, keepdims=True)
        return (times * pairs).sum(axis=1), total + p.shape[1] * times
    return p + t, np.ones_like(p)


SHAPES = [(1, 1), (1, 7), (3, 5), (7, 1), (17, 16), (9, 33), (2, 300), (300, 2), (64, 10)]


@layouts
@dtypes
@pytest.mark.parametrize("n, d", SHAPES, ids=str)
@cases
def test_agrees_with_the_reference(
    name: str, kind: str, n: int, d: int, dtype: str, samples: str
) -> None:
    """float32 against the float64 reference; float64 against it too, both sides rounding."""
    pred, target = data(n, d, kind, dtype, name)
    args = arguments(pred, target, samples)
    wide = [a if a.dtype.kind == "i" else a.astype(np.float64) for a in args]
    loss, twin = LOSSES[name], reference.LOSSES[name]
    u = U[dtype] * (2 if dtype == "float64" else 1)
    pred64 = pred.astype(np.float64)
    terms, slopes = sizes_of(name, pred64, target)
    # float64 sums of the terms: pairwise or in 16 lanes, in any case n d roundings at most.
    adding = n * d * U["float64"]
    divisors = {"sum": 1, "samples": n, "mean": n if LOSSES[name].rowwise else n * d}
    for reduction, divisor in divisors.items():
        value, grad = loss.value_and_grad(*args, reduction=reduction, samples=samples)
        expected, slope = twin.value_and_grad(*wide, reduction=reduction, samples=samples)
        assert abs(value - expected) <= (LOSS_U * u + adding) * terms.sum() / divisor, reduction
        assert isinstance(value, float)
        assert grad.dtype == dtype
        assert grad.shape == args[0].shape
        summed = d if name == "hinge" else 0  # shares of classes, in float64
        rounding = LOSS_GRAD_U * u + summed * U["float64"]
        bound = rounding / divisor * turn(np.broadcast_to(slopes, pred.shape), samples)
        assert (abs(grad - slope) <= bound).all(), reduction
        assert loss(*args, reduction=reduction, samples=samples) == value


# -- against the truth ---------------------------------------------------------------------------


def _exact_terms(name: str, pred: Array, target: Array | None) -> Any:
    """Return the sum of the terms by mpmath."""
    if target is None:
        target = np.zeros_like(pred)
    elif target.ndim == 1:  # classes
        target = np.eye(pred.shape[1])[target]
    term = LOSS_TRUTH[name].value
    ps, ts = ([[mp.mpf(v) for v in row] for row in a.tolist()] for a in (pred, target))
    if LOSSES[name].rowwise:  # a term is of a row
        return mp.fsum(map(term, ps, ts))
    return mp.fsum(mp.fsum(map(term, *rows)) for rows in zip(ps, ts, strict=True))


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@dtypes
@cases
def test_value_is_true(name: str, kind: str, dtype: str, scale: float) -> None:
    pred, target = numbers_and_target(11, 13, kind, dtype)
    pred = LOSS_TRUTH[name].domain((pred * np.array(scale, dtype)).astype(dtype))
    args = [pred] if target is None else [pred, target]
    with mp.workdps(40):
        exact = float(_exact_terms(name, pred, target))
    terms, _ = sizes_of(name, pred.astype(np.float64), target)
    bound = (LOSS_U * U[dtype] + pred.size * U["float64"]) * terms.sum()
    assert abs(LOSSES[name](*args, "sum") - exact) <= bound


@reductions
@layouts
@cases
def test_gradient_is_true(name: str, kind: str, samples: str, reduction: str) -> None:
    """float64 against mpmath's derivative of the exact loss, element by element, 1e-12."""
    pred, target = data(3, 4, kind, "float64", name)
    args = arguments(pred, target, samples)
    _, grad = LOSSES[name].value_and_grad(*args, reduction=reduction, samples=samples)
    exact = np.empty_like(pred)
    terms = 3 if LOSSES[name].rowwise else 12
    divisor = {"sum": 1, "samples": 3, "mean": terms}[reduction]
    for i, j in np.ndindex(pred.shape):
        exact[i, j] = true_slope(name, kind, i, j) / divisor
    np.testing.assert_allclose(turn(grad, samples), exact, rtol=GRADIENT_RTOL, atol=0)


@functools.cache
def true_slope(name: str, kind: str, i: int, j: int) -> float:
    """Return d (sum of terms) / d pred[i, j] by a central difference with 50 spare digits."""
    pred, target = data(3, 4, kind, "float64", name)
    row = slice(i, i + 1)
    goal = None if target is None else target[row]
    with mp.workdps(100):
        step = mp.mpf(10) ** -30

        def moved(by: Any) -> Any:
            shifted = pred[row].astype(object)
            shifted[0, j] = mp.mpf(pred[i, j]) + by
            return _exact_terms(name, shifted, goal)

        return float((moved(step) - moved(-step)) / (2 * step))


# -- forms of the target ------------------------------------------------------------------------


@reductions
@layouts
@dtypes
def test_classes_and_one_hot_agree(dtype: str, samples: str, reduction: str) -> None:
    loss = fg.losses.softmax_cross_entropy
    pred, classes = data(31, 7, "classes", dtype)
    _, one_hot = data(31, 7, "one_hot", dtype)
    x, hot = turn(pred, samples), turn(one_hot, samples)
    by_class = loss.value_and_grad(x, classes, reduction, samples)
    by_row = loss.value_and_grad(x, hot, reduction, samples)
    assert by_class[0] == pytest.approx(by_row[0], rel=1e-14, abs=0)
    np.testing.assert_allclose(by_class[1], by_row[1], atol=4 * np.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int64", "uint64", ">i4"])
def test_classes_of_any_integer_dtype(kind: str) -> None:
    loss = fg.losses.softmax_cross_entropy
    pred, classes = data(9, 5, "classes", "float32")
    clean = loss.value_and_grad(pred, classes)
    for labels in (classes.astype(kind), classes.astype(kind).tolist(), classes[::-1][::-1]):
        value, grad = loss.value_and_grad(pred, labels)
        assert value == clean[0]
        assert same_bits(grad, clean[1])
    assert loss(pred[0], int(classes[0])) == loss(pred[:1], classes[:1])
    assert loss(pred[0], np.array(classes[0], kind)) == loss(pred[:1], classes[:1])


@pytest.mark.parametrize("kind", ["bool", "int64", "uint8"])
def test_integer_one_hot(kind: str) -> None:
    """One-hot rows of integers or bools promote as in NumPy; the gradient is always float32."""
    loss = fg.losses.softmax_cross_entropy
    pred, hot = data(9, 5, "one_hot", "float32")
    assert hot is not None
    value, grad = loss.value_and_grad(pred, hot.astype(kind))
    work = np.result_type(np.float32, kind)
    expected, slope = loss.value_and_grad(pred.astype(work), hot.astype(work))
    assert value == expected
    assert same_bits(grad, slope.astype(np.float32))


@pytest.mark.parametrize("bad", [-1, 3, -(10**12), 10**12])
@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernel_reads_nothing_outside_of_a_row(dtype: str, n: int, bad: int) -> None:
    """Whatever a class has become since it was checked."""
    from fastgrad.kernels.calls.entry import plain_function

    name = "softmax_cross_entropy"
    kernel = plain_function(f"loss.{name}", f"loss_{name}", dtype, 11)
    pred, grad = np.zeros((2, n), dtype), np.full((2, n), np.nan, dtype)
    classes, cells = np.array([1, bad if bad != 3 else n]), np.array([1.0, 0.0])
    kernel(
        pred.ctypes.data, n, classes.ctypes.data, 1, grad.ctypes.data, n, 2, n, 1,
        cells.ctypes.data, cells.ctypes.data + 8,
    )  # fmt: skip
    assert np.isnan(cells[1])
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
@pytest.mark.parametrize("kind", ["float64", "float16", "list"])
def test_the_class_of_one_sample_may_be_a_list_of_one(kind: str, package: Any) -> None:
    pred: Any = [1.0, 2.0, 3.0] if kind == "list" else np.array([1.0, 2.0, 3.0], kind)
    loss = package.losses.softmax_cross_entropy
    value, grad = loss.value_and_grad(pred, 1)
    net = package.MLP((2, 3), (None,), loss)
    params = net.init()
    for target in ([1], np.array([1], np.uint8)):
        again, grad_again = loss.value_and_grad(pred, target)
        assert (again, grad_again.tolist()) == (value, grad.tolist())
        assert loss(pred, target) == value
        assert (
            net.value_and_grad(params, pred[:2], target)[0]
            == (net.value_and_grad(params, pred[:2], 1)[0])
        )


def test_a_class_of_no_probability_adds_nothing() -> None:
    loss = fg.losses.softmax_cross_entropy
    z = np.array([[-np.inf, 0.0, 0.0], [0.0, -np.inf, -np.inf]])
    t = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    value, grad = loss.value_and_grad(z, t, "sum")
    assert value == pytest.approx(math.log(2), rel=1e-15)
    assert np.isfinite(grad).all()
    value, grad = loss.value_and_grad(z, [1, 0], "sum")
    assert value == pytest.approx(math.log(2), rel=1e-15)
    np.testing.assert_allclose(grad, [[0, -0.5, 0.5], [0, 0, 0]], atol=1e-16)


@layouts
def test_weights_need_not_sum_to_one(samples: str) -> None:
    """The gradient is softmax(z) * sum(t) - t."""
    pred, target = data(3, 4, "array", "float64")
    assert target is not None
    args = arguments(pred, target, samples)
    _, grad = fg.losses.softmax_cross_entropy.value_and_grad(*args, "sum", samples)
    expected = fg.softmax(pred) * target.sum(axis=1, keepdims=True) - target
    np.testing.assert_allclose(turn(grad, samples), expected, atol=1e-15)


# -- extremes -----------------------------------------------------------------------------------


@dtypes
def test_extreme_logits_are_finite(dtype: str) -> None:
    """Finite wherever the true value is, and warning-free."""
    big = float(np.finfo(dtype).max) / 8
    bce = fg.losses.binary_cross_entropy_with_logits
    for z in (big, -big, 1000.0, -1000.0, 89.0, -104.0):
        for t in (0.0, 1.0):
            value, grad = bce.value_and_grad(np.array([z], dtype), np.array([t], dtype))
            true = max(z, 0) - t * z + math.log1p(math.exp(-abs(z)))
            assert value == pytest.approx(float(np.array(true, dtype)), rel=1e-6)
            assert grad.tolist() == pytest.approx([float(z > 0) - t], abs=1e-30)
    ce = fg.losses.softmax_cross_entropy
    z2 = np.array([[big, -big], [-big, big], [1e4, 0]], dtype)
    value, grad = ce.value_and_grad(z2, [0, 1, 0], "sum")
    assert value == 0.0
    assert not grad.any()
    value, grad = ce.value_and_grad(z2, [1, 0, 1], "sum")
    assert value == pytest.approx(2 * (2 * float(np.array(big, dtype))) + 1e4, rel=1e-6)
    np.testing.assert_array_equal(grad, [[1, -1], [-1, 1], [1, -1]])
    # Squares of float32 do not overflow: terms are float64.
    if dtype == "float32":
        assert fg.losses.squared_l2(np.array([1e30], dtype)) == pytest.approx(1e60, rel=1e-6)
        assert fg.losses.mse(np.array([1e30], dtype), np.array([0], dtype)) > 1e59


@dtypes
@pytest.mark.parametrize("n", [2, 17, 300])
def test_cross_entropy_of_logits_of_every_magnitude(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    size = rng.uniform(-8, np.finfo(dtype).maxexp - 2, (40, n))
    z = (rng.choice([-1, 1], size.shape) * 2.0**size).astype(dtype)
    label, rows = rng.integers(0, n, 40), np.arange(40)
    value, grad = fg.losses.softmax_cross_entropy.value_and_grad(z, label, "sum")
    wide = z.astype(np.longdouble)
    true = (np.logaddexp.reduce(wide, axis=1) - wide[rows, label]).sum()
    assert value == pytest.approx(float(true), rel=2e-15)
    expected = fg.softmax(z)
    expected[rows, label] -= 1
    np.testing.assert_allclose(grad, expected, rtol=0, atol=2 * np.finfo(dtype).eps)


@dtypes
def test_small_probabilities_keep_their_digits(dtype: str) -> None:
    """log(1 + exp(-z)) for large z, and the loss of a sure and right prediction."""
    z = np.array([30.0], dtype)
    value = fg.losses.binary_cross_entropy_with_logits(z, np.ones(1, dtype))
    # In float32 the sum z - z t + log1p(e) is made in float64, so the term is what log1p gives.
    assert value == pytest.approx(math.exp(-30), rel=8 * U[dtype])
    two = np.array([[30.0, 0.0]], dtype)
    value = fg.losses.softmax_cross_entropy(two, [0])
    assert value == pytest.approx(math.log1p(math.exp(-30)), rel=1e-6, abs=2e-16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@dtypes
@cases
def test_nan_and_infinity_propagate(name: str, kind: str, dtype: str, bad: float) -> None:
    """As in the reference: the same values are NaN, inf or finite."""
    pred, target = data(4, 6, kind, dtype, name)
    pred = pred.copy()
    pred[2, 3] = bad
    args = [pred] if target is None else [pred, target]
    value, grad = LOSSES[name].value_and_grad(*args)
    wide = [a if a.dtype.kind == "i" else a.astype(np.float64) for a in args]
    expected, slope = reference.LOSSES[name].value_and_grad(*wide)
    assert repr(value) == repr(expected) or np.isfinite([value, expected]).all()
    np.testing.assert_array_equal(np.isnan(grad), np.isnan(slope))
    np.testing.assert_array_equal(np.isinf(grad), np.isinf(slope))
    finite = np.isfinite(slope)
    np.testing.assert_allclose(grad[finite], slope[finite], rtol=1e-5, atol=1e-6)


INFINITE_LOGITS = {  # (logit, target) -> the limit of the loss, and of its slope
    (np.inf, 1.0): (0.0, 0.0),
    (-np.inf, 0.0): (0.0, 0.0),
    (np.inf, 0.0): (np.inf, 1.0),
    (-np.inf, 1.0): (np.inf, -1.0),
    (np.inf, 0.5): (np.inf, 0.5),
    (-np.inf, 0.5): (np.inf, -0.5),
    (np.inf, np.nan): (np.nan, np.nan),
    (-np.inf, np.nan): (np.nan, np.nan),
    (np.nan, 1.0): (np.nan, np.nan),
    (np.nan, 0.0): (np.nan, np.nan),
}


@pytest.mark.parametrize("implementation", [fg, reference, loops], ids=lambda m: m.__name__)
@pytest.mark.parametrize("logit, target", list(INFINITE_LOGITS), ids=str)
@pytest.mark.parametrize("dtype", ["float16", *DTYPES])
def test_infinite_logits(dtype: str, logit: float, target: float, implementation: Any) -> None:
    """The value is its limit: 0 for the class that the logit speaks for, inf for the other."""
    loss = implementation.losses.binary_cross_entropy_with_logits
    expected, slope = INFINITE_LOGITS[logit, target]
    for shape in ((1,), (1, 1), (5, 7)):
        z, t = np.zeros(shape, dtype), np.ones(shape, dtype)
        z.flat[-1], t.flat[-1] = logit, target
        value, grad = loss.value_and_grad(z, t, "sum")
        np.testing.assert_allclose(value, expected + math.log(2) * (z.size - 1), rtol=1e-6)
        assert loss(z, t, "sum") == value or math.isnan(value)
        assert str(grad.flat[-1]) == str(z.dtype.type(slope))


@pytest.mark.parametrize("implementation", [fg, reference, loops], ids=lambda m: m.__name__)
def test_infinite_logit_beside_a_finite_one(implementation: Any) -> None:
    loss = implementation.losses.binary_cross_entropy_with_logits
    with mp.workdps(30):
        expected = float(mp.log1p(mp.exp(1)) / 2)  # 0.6566308
    assert loss([[np.inf, 1.0]], [[1.0, 0.0]]) == pytest.approx(expected, rel=1e-15)
    assert loss([[np.inf], [1.0]], [[1.0], [0.0]], samples="columns") == pytest.approx(expected)


# -- shapes, layouts, arrays ---------------------------------------------------------------------


EMPTY = [(0, 3), (3, 0), (0, 0), (0,), (2, 0, 3), (2, 3, 0)]


@pytest.mark.parametrize(
    "samples, shape",
    [(s, shape) for s in LAYOUTS for shape in EMPTY if s == "rows" or len(shape) < 3],
    ids=str,
)
@reductions
@pytest.mark.parametrize("name", NAMES)
def test_empty_arrays(name: str, samples: str, reduction: str, shape: tuple[int, ...]) -> None:
    """A sum over nothing is 0, a mean over nothing NaN; as in the reference."""
    pred = np.empty(shape)
    args = [pred] if name in ONE_ARRAY else [pred, pred]
    expected, _ = reference.LOSSES[name].value_and_grad(*args, reduction, samples)
    value, grad = LOSSES[name].value_and_grad(*args, reduction, samples)
    assert repr(value) == repr(expected)
    assert repr(LOSSES[name](*args, reduction, samples)) == repr(expected)
    assert grad.shape == shape


@layouts
@reductions
@pytest.mark.parametrize("name", NAMES)
def test_a_vector_is_one_sample(name: str, reduction: str, samples: str) -> None:
    kind = TARGETS[name][-1]
    pred, target = data(1, 9, kind, "float64", name)
    args = [pred] if target is None else [pred, target]
    row = LOSSES[name].value_and_grad(*args, reduction)
    vector = LOSSES[name].value_and_grad(*(a[0] for a in args), reduction, samples)
    assert vector[0] == row[0]
    assert same_bits(vector[1], row[1][0])


@reductions
@pytest.mark.parametrize("name, kind", CASES, ids=lambda c: c)
def test_leading_batch_axes(name: str, kind: str, reduction: str) -> None:
    pred, target = data(24, 5, kind, "float32", name)
    flat = LOSSES[name].value_and_grad(*([pred] if target is None else [pred, target]), reduction)
    lead = (2, 3, 4)
    args = [a.reshape(*lead, *a.shape[1:]) for a in (pred, target) if a is not None]
    value, grad = LOSSES[name].value_and_grad(*args, reduction)
    assert value == flat[0]
    assert same_bits(grad, flat[1].reshape(*lead, 5))


@layouts
@dtypes
@pytest.mark.parametrize("form", list(FORMS))
@cases
def test_forms_give_the_bits_of_a_clean_copy(
    name: str, kind: str, form: str, dtype: str, samples: str
) -> None:
    pred, target = data(7, 5, kind, dtype, name)
    args = arguments(pred, target, samples)
    clean = LOSSES[name].value_and_grad(*args, samples=samples)
    made: list[Any] = [FORMS[form](a) for a in args]
    for given in ([made[0], *args[1:]], made):
        value, grad = LOSSES[name].value_and_grad(*given, samples=samples)
        assert value == clean[0]
        assert LOSSES[name](*given, samples=samples) == clean[0]
        assert type(grad) is np.ndarray
        assert same_bits(grad, clean[1])
    for a, b in zip(made, args, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


PROMOTION = [
    ("float16", "float16", "float32", "float16"),
    ("float32", "float64", "float64", "float32"),
    ("float64", "float32", "float64", "float64"),
    ("float32", "int64", "float64", "float32"),
    ("int32", "int32", "float64", "float64"),
    ("bool", "float32", "float32", "float32"),
    ("float32", "uint8", "float32", "float32"),
    ("uint16", "float16", "float32", "float32"),
    ("uint8", "float16", "float32", "float16"),
    ("float16", "float32", "float32", "float16"),
]


@pytest.mark.parametrize("pred_kind, target_kind, work, result", PROMOTION)
@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name: str, pred_kind: str, target_kind: str, work: str, result: str) -> None:
    """Computed in the common dtype; the gradient has pred's, or where that is integers it, too."""
    rng = rng_of("promote")
    pred = rng.integers(0, 2, (5, 4)).astype(pred_kind)
    target = rng.integers(0, 2, (5, 4)).astype(target_kind)
    args = [pred] if name in ONE_ARRAY else [pred, target]
    if name in ONE_ARRAY:
        work = "float32" if pred_kind in ("float16", "float32") else "float64"
        result = pred_kind if pred_kind.startswith("float") else "float64"
    value, grad = LOSSES[name].value_and_grad(*args, reduction="samples")
    clean, slope = LOSSES[name].value_and_grad(*(a.astype(work) for a in args), reduction="samples")
    assert value == clean
    assert same_bits(grad, slope.astype(result))


@pytest.mark.parametrize("order", ["C", "F", "sliced", "reversed", "unaligned"])
@layouts
@cases
def test_out(name: str, kind: str, samples: str, order: str) -> None:
    pred, target = data(7, 5, kind, "float32", name)
    args = arguments(pred, target, samples)
    value, grad = LOSSES[name].value_and_grad(*args, samples=samples)
    empty = np.zeros(grad.shape, np.float32, order="F" if order == "F" else "C")
    out = FORMS[order](empty) if order in FORMS else empty
    again, same = LOSSES[name].value_and_grad(*args, samples=samples, out=out)
    assert same is out
    assert again == value
    assert same_bits(out, grad)


@pytest.mark.parametrize("name, kind", CASES, ids=lambda c: c)
def test_inputs_are_not_written(name: str, kind: str) -> None:
    pred, target = data(7, 5, kind, "float64", name)
    args = [a.copy() for a in (pred, target) if a is not None]
    before = [a.copy() for a in args]
    _, grad = LOSSES[name].value_and_grad(*args)
    assert all(map(same_bits, args, before))
    assert not any(np.shares_memory(grad, a) for a in args)


# -- the objects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_rows_say_what_they_are(name: str) -> None:
    row = LOSSES[name]
    assert getattr(fg.losses, name) is row
    assert pickle.loads(pickle.dumps(row)) is row
    assert row.formula in repr(row)
    assert row.name in repr(row)


def test_default_reductions() -> None:
    """Losses of a target average, losses of one array add up."""
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert fg.losses.sum(x) == 10.0
    assert fg.losses.squared_l2(x) == 30.0
    assert fg.losses.mse(x, np.zeros_like(x)) == 7.5
    assert fg.losses.mse(x, np.zeros_like(x), "samples") == 15.0
    assert fg.losses.mse(x, np.zeros_like(x), samples="columns", reduction="samples") == 15.0
    ce = fg.losses.softmax_cross_entropy
    assert ce(x, [0, 1], "mean") == ce(x, [0, 1], "samples") == ce(x, [0, 1], "sum") / 2


def test_values_are_accumulated_in_float64() -> None:
    """A million float32 ones and a large term: float32 sums would lose the ones."""
    x = np.ones(1_000_001, np.float32)
    x[0] = 2.0**24
    assert fg.losses.sum(x) == 2.0**24 + 1e6
    assert fg.losses.mae(x, np.zeros_like(x), "sum") == 2.0**24 + 1e6


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("name", [n for n in TWO_ARRAYS if n not in OF_CLASSES])
def test_a_known_kernel_takes_no_target_of_another_shape(name: str, samples: str) -> None:
    """Also once the loss is compiled, when calls go straight to it."""
    loss, pred = LOSSES[name], np.zeros((3, 4))
    loss.value_and_grad(pred, pred, "mean", samples)
    for shape in ((4, 3), (3, 5), (1, 4), (12,), (3, 4, 1)):
        with pytest.raises(ValueError, match="target has shape"):
            loss.value_and_grad(pred, np.zeros(shape), "mean", samples)


@pytest.mark.parametrize("samples", LAYOUTS)
def test_a_known_kernel_takes_no_classes_that_do_not_fit(samples: str) -> None:
    """Also once the loss is compiled, when classes are looked at by the kernel alone."""
    loss, pred = fg.losses.softmax_cross_entropy, turn(np.zeros((3, 4)), samples)
    assert loss(pred, np.array([0, 3, 1]), "mean", samples) == pytest.approx(np.log(4))
    for classes in ([0, 4, 1], [-1, 0, 0], [1, 2, 2**62], [0, 1], [0, 1, 2, 3], [[0, 1, 2]]):
        with pytest.raises(ValueError, match="target has"):
            loss(pred, np.array(classes), "mean", samples)
        with pytest.raises(ValueError, match="target has"):
            loss.value_and_grad(pred, np.array(classes), "mean", samples)
    deep = np.zeros((2, 3, 4))
    assert loss(deep, np.zeros((2, 3), int)) == pytest.approx(np.log(4))
    for shape in ((3, 2), (6,), (2, 4), (2, 3, 1)):
        with pytest.raises(ValueError, match="target has"):
            loss(deep, np.zeros(shape, int))


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_known_kernel_writes_to_no_unfit_array(name: str, samples: str) -> None:
    """Also once the loss is compiled, when outputs are looked at by the kernel alone."""
    loss, pred, target = LOSSES[name], np.full((3, 4), 0.5), np.full((3, 4), 0.25)
    targets = () if name in ONE_ARRAY else (target,)
    loss.value_and_grad(pred, *targets, samples=samples)
    readonly = np.zeros((3, 4))
    readonly.flags.writeable = False
    unfit: list[Any] = [pred, pred[::-1], np.zeros((4, 3)), np.zeros((3, 4), np.float32), readonly]
    unfit += [target] if targets else []
    for out in unfit:
        before = out.copy()
        with pytest.raises(ValueError, match=r"value_and_grad: out (has|is|shares)"):
            loss.value_and_grad(pred, *targets, samples=samples, out=out)
        assert same_bits(out, before)
    for out in ([[0.0] * 4] * 3, 1.0, "no", False):
        with pytest.raises(TypeError, match=r"value_and_grad: out is a"):
            loss.value_and_grad(pred, *targets, samples=samples, out=out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda p: p.__name__)
def test_log_cosh_of_small_differences(package: Any, dtype: str) -> None:
    """``d**2 / 2 - d**4 / 12 + d**6 / 45``: the form for large ones would lose it in log(2)."""
    for d in (2.0**-10, 2.0**-20, 2.0**-30):
        pred = np.array([[d]], dtype)
        value, grad = package.losses.log_cosh.value_and_grad(pred, np.zeros_like(pred))
        assert value == pytest.approx(d**2 / 2 - d**4 / 12 + d**6 / 45, rel=1e-14, abs=0)
        slope, eps = d - d**3 / 3 + 2 * d**5 / 15, float(np.finfo(dtype).eps)
        assert grad[0, 0] == pytest.approx(slope, rel=2 * eps, abs=0)
