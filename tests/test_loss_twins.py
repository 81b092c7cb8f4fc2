"""The twins' losses agree, and their gradients with central differences."""

import mpmath as mp
import numpy as np
import pytest
from truth import LOSS_TRUTH
from twins import DTYPES, IMPLS, ONE_ARRAY, RTOL, assert_close, dtypes, impls, layouts, random

from fastgrad.loops import losses as loop_losses
from fastgrad.reference import activations, losses

pytestmark = pytest.mark.filterwarnings("error")

LOSS_NAMES = sorted(losses.LOSSES)
OF_CLASSES = [name for name in LOSS_NAMES if losses.LOSSES[name].rowwise]

reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])


def loss_arguments(name, shape, dtype, samples="rows", target="probabilities"):
    pred = LOSS_TRUTH[name].domain(random(shape, dtype, scale=2.0))
    if name in ONE_ARRAY:
        return (pred,)
    if name in OF_CLASSES:
        axis = 0 if samples == "columns" else -1
        t = activations.softmax(random(shape, seed=1), axis=axis)
        if target == "probabilities":
            return pred, t.astype(dtype)
        index = np.asarray(t.argmax(axis=axis))
        if target == "indices":
            return pred, index
        one_hot = np.moveaxis(np.eye(pred.shape[axis], dtype=int)[index], -1, axis)
        return pred, one_hot
    if name == "binary_cross_entropy_with_logits":
        return pred, activations.sigmoid(random(shape, dtype, seed=1))
    return pred, random(shape, dtype, seed=1)


@dtypes
@layouts
@reductions
@pytest.mark.parametrize("shape", [(3, 4), (1, 3), (5,), (2, 3, 4)])
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_agrees_with_loops(name, shape, reduction, samples, dtype):
    if samples == "columns" and len(shape) > 2:
        shape = (4, 6)  # columns are matrices only
    kinds = ("probabilities", "indices", "one_hot")
    for kind in kinds if name in OF_CLASSES else kinds[:1]:
        arguments = loss_arguments(name, shape, dtype, samples, kind)
        ref, loop = losses.LOSSES[name], loop_losses.LOSSES[name]
        value, grad = ref.value_and_grad(*arguments, reduction, samples)
        expected, expected_grad = loop.value_and_grad(*arguments, reduction, samples)
        assert type(value) is type(expected) is float
        assert value == pytest.approx(expected, rel=10 * RTOL[dtype])
        assert value == ref(*arguments, reduction, samples)
        assert expected == loop(*arguments, reduction, samples)
        assert_close(grad, expected_grad, dtype)


@pytest.mark.parametrize("name", LOSS_NAMES)
@layouts
def test_reductions(name, samples):
    shape = (3, 4)
    n = 3 if samples == "rows" else 4
    for impl in IMPLS:
        loss = impl.LOSSES[name]
        arguments = loss_arguments(name, shape, "float64", samples)
        total, grad = loss.value_and_grad(*arguments, "sum", samples)
        terms = n if name in OF_CLASSES else 12
        for reduction, count in (("mean", terms), ("samples", n)):
            value, scaled = loss.value_and_grad(*arguments, reduction, samples)
            assert value == pytest.approx(total / count)
            np.testing.assert_allclose(scaled, grad / count, rtol=1e-14)
        default = "sum" if name in ONE_ARRAY else "mean"
        assert loss(*arguments) == loss(*arguments, default, "rows")


@layouts
@reductions
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_gradient_by_central_differences(name, samples, reduction):
    loss = losses.LOSSES[name]
    kinds = ("probabilities", "indices") if name in OF_CLASSES else ("probabilities",)
    for kind in kinds:
        pred, *rest = loss_arguments(name, (2, 3), "float64", samples, kind)
        if name in OF_CLASSES and kind == "probabilities":
            rest[0] = rest[0] * 1.7  # the gradient must hold for weights that do not add up to 1
        _, grad = loss.value_and_grad(pred, *rest, reduction, samples)
        for index in np.ndindex(pred.shape):
            keep, values = pred[index], []
            for step in (1e-5, -1e-5):
                pred[index] = keep + step
                values.append(loss(pred, *rest, reduction, samples))
            pred[index] = keep
            slope = (values[0] - values[1]) / 2e-5
            assert grad[index] == pytest.approx(slope, rel=1e-7, abs=1e-9)


@impls
@pytest.mark.parametrize("name", [n for n in LOSS_NAMES if n not in OF_CLASSES])
def test_loss_is_true(impl, name):
    pred, target = [-40.0, -2.0, -0.25, 0.0, 0.5, 1.0, 30.0], [0.25, 0.0, 0.5, 0.0, 1.0, 0.0, 0.75]
    if name in ONE_ARRAY:
        target = [0.0] * len(pred)
    value = impl.losses.LOSSES[name](*([pred] if name in ONE_ARRAY else [pred, target]), "sum")
    with mp.workdps(40):
        truth = mp.fsum(map(LOSS_TRUTH[name].value, map(mp.mpf, pred), map(mp.mpf, target)))
    assert value == pytest.approx(float(truth), rel=1e-15)


@impls
def test_loss_values(impl):
    pred, target = [[1.0, -2.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]
    assert impl.losses.mse(pred, target, "sum") == 5.25
    assert impl.losses.mae(pred, target, "sum") == 3.5
    assert impl.losses.sum(pred) == -0.5
    assert impl.losses.squared_l2(pred) == 5.25
    assert impl.losses.sum.value_and_grad([1, 2])[1].tolist() == [1.0, 1.0]
    _, grad = impl.losses.mae.value_and_grad([0.0, 2.0], [0.0, 0.0], "sum")
    assert grad.tolist() == [0.0, 1.0]
    cross_entropy = impl.losses.softmax_cross_entropy
    assert cross_entropy([1000.0, 0.0], 1) == 1000.0
    assert cross_entropy([1000.0, 0.0], 0) == 0.0
    bce = impl.losses.binary_cross_entropy_with_logits
    assert bce([1000.0, -1000.0, 1000.0], [1, 0, 0], "sum") == 1000.0
    with mp.workdps(40):
        truth = float(mp.log1p(mp.exp(-30)))
    assert bce([30.0], [1.0]) == pytest.approx(truth, rel=1e-15)


@impls
def test_masked_classes(impl):
    # A logit of -inf takes a class out of the choice; the other classes keep a finite loss.
    loss = impl.losses.softmax_cross_entropy
    pred = [[-np.inf, 0.0, 0.0]]
    for target in ([1], [[0, 1, 0]]):
        value, grad = loss.value_and_grad(pred, target)
        assert value == pytest.approx(np.log(2))
        np.testing.assert_allclose(grad, [[0.0, -0.5, 0.5]], atol=1e-15)
    assert loss(pred, [0]) == np.inf
    assert np.isnan(loss([[np.inf, 0.0]], [0]))
    assert np.isnan(loss([[np.nan, 0.0]], [1]))


@impls
def test_loss_accumulates_in_float64(impl):
    y = np.full((5000, 1), 0.1, dtype=np.float32)
    assert impl.losses.sum(y) == pytest.approx(5000 * float(np.float32(0.1)), rel=1e-13)
    assert impl.losses.squared_l2(np.full(3, 1e30, np.float32)) == pytest.approx(3e60)


@impls
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_out_dtype_and_specials(impl, name):
    loss = impl.LOSSES[name]
    for dtype in DTYPES:
        arguments = loss_arguments(name, (3, 4), dtype)
        out = np.empty((3, 4), dtype)
        _, grad = loss.value_and_grad(*arguments, out=out)
        assert grad is out
        np.testing.assert_array_equal(grad, loss.value_and_grad(*arguments)[1])
    if name not in ONE_ARRAY:
        pred, target = loss_arguments(name, (3, 4), "float32")
        assert loss.value_and_grad(pred, target.astype(np.float64))[1].dtype == np.float32
    special = np.array([[np.nan, np.inf], [-np.inf, 3e38]], np.float32)
    arguments = (special,) if name in ONE_ARRAY else (special, np.ones_like(special))
    _, grad = loss.value_and_grad(*arguments)  # no warning, that is all
    assert grad.dtype == np.float32
    empty = np.empty((0, 2))
    arguments = (empty,) if name in ONE_ARRAY else (empty, empty)
    assert loss(*arguments, "sum") == 0.0
    assert np.isnan(loss(*arguments, "mean"))
    assert loss.value_and_grad(*arguments, "mean")[1].shape == (0, 2)
