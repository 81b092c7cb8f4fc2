"""Settings and targets that cannot learn: refused where that is certain, else warned of."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, turn
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import loops, reference

implementations = pytest.mark.parametrize(
    "implementation", [fg, reference, loops], ids=lambda m: m.__name__
)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
BINARY, SOFTMAX = "binary_cross_entropy_with_logits", "softmax_cross_entropy"
TWICE = [(last, loss) for last in ("softmax", "sigmoid") for loss in (SOFTMAX, BINARY)]


# -- an activation that the loss applies itself --------------------------------------------------


@pytest.mark.parametrize("last, loss", TWICE)
def test_an_activation_that_the_loss_applies_again_is_warned_of(last: str, loss: str) -> None:
    with pytest.warns(fg.SettingsWarning, match=f"^MLP: the loss {loss} takes logits") as caught:
        net = fg.MLP((3, 4, 2), ("tanh", last), loss)
    assert caught[0].filename == __file__  # the line that can be mended
    assert issubclass(fg.SettingsWarning, fg.FastgradWarning)
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("always")
        pickle.loads(pickle.dumps(net))  # said once
        copy.copy(net)
    assert not again


def test_such_a_network_hardly_learns() -> None:
    """Which is why: two classes that any line parts, and still a loss of more than 0.3."""
    x = np.array([[-1.0], [1.0]] * 8)
    with pytest.warns(fg.SettingsWarning):
        twice = fg.MLP((1, 2), ("softmax",), SOFTMAX, dtype="float64")
    once = fg.MLP((1, 2), (None,), SOFTMAX, dtype="float64")
    target = (x[:, 0] > 0).astype(int)
    final = [
        net.fit(net.init(), x, target, fg.Adam(lr=0.1), epochs=300).losses[-1]
        for net in (twice, once)
    ]
    assert final[0] > 0.3 > 0.03 > final[1]


@pytest.mark.parametrize("name", fg.activations.BUILT_IN)
@pytest.mark.parametrize("loss", list(fg.losses.LOSSES))
def test_other_pairs_are_taken_in_silence(name: str, loss: str) -> None:
    if (name, loss) not in (*TWICE, ("identity", "nll")):
        fg.MLP((3, 2), (name,), loss)
    fg.MLP((3, 4, 2), (name, LOSS_TRUTH[loss].output), loss)


def test_nll_of_any_numbers_is_warned_of() -> None:
    """They may be negative, and then the loss is NaN."""
    with pytest.warns(fg.SettingsWarning, match="^MLP: the loss nll takes probabilities.*softmax"):
        fg.MLP((3, 2), (None,), "nll")


# -- one output ----------------------------------------------------------------------------------


@implementations
def test_softmax_of_one_output_is_refused(implementation: Any) -> None:
    with pytest.raises(ValueError, match=r"^MLP: sizes is \(3, 1\): softmax_cross_entropy of one"):
        implementation.MLP((3, 1), (None,), SOFTMAX)
    for sizes, acts in (((3, 1), ("softmax",)), ((3, 1, 2), ("softmax", None))):
        with pytest.raises(ValueError, match=r"^MLP: sizes is .*softmax of one output is always 1"):
            implementation.MLP(sizes, acts, "mse")
    implementation.MLP((3, 1), ("sigmoid",), "mse")
    implementation.MLP((3, 1), (None,), BINARY)


# -- targets -------------------------------------------------------------------------------------

OUTSIDE = [-0.01, -1.0, -np.inf, 1.01, 2.0, 255.0, np.inf]


@implementations
@layouts
@pytest.mark.parametrize("dtype", ["float16", *DTYPES, "int8"])
@pytest.mark.parametrize("bad", OUTSIDE, ids=str)
def test_targets_that_no_loss_has_a_minimum_for(
    bad: float, dtype: str, samples: str, implementation: Any
) -> None:
    if dtype == "int8" and bad not in (-1.0, 2.0):
        return
    for shape, place in (((1, 1), 0), ((5, 3), 7), ((40, 33), 1319)):
        pred = turn(np.zeros(shape, dtype if dtype != "int8" else "float32"), samples)
        target = np.ones(shape, dtype)
        target.flat[place] = bad
        loss = implementation.losses.LOSSES[BINARY]
        for form in FORMS.values():
            given = form(turn(target, samples))
            with pytest.raises(ValueError, match=rf"^{BINARY}\S*: target has "):
                loss(pred, given, samples=samples)
            out = np.full_like(pred, 5)
            with pytest.raises(ValueError, match=rf"^{BINARY}\S*: target has "):
                loss.value_and_grad(pred, given, samples=samples, out=out)
            assert (out == 5).all()


@implementations
@pytest.mark.parametrize("dtype", DTYPES)
def test_targets_in_range(dtype: str, implementation: Any) -> None:
    """What sums of probabilities are rounded to, NaN, and weights of classes above 1."""
    pred = np.zeros((2, 2), dtype)
    binary, softmax = (implementation.losses.LOSSES[name] for name in (BINARY, SOFTMAX))
    edge = np.array([[1 + 2**-21, -(2**-21)], [0, 1]], dtype)
    assert binary(pred, edge) == pytest.approx(np.log(2), rel=1e-6)
    assert softmax(pred, edge) == pytest.approx(np.log(2), rel=1e-6)
    assert np.isnan(binary(pred, np.full_like(pred, np.nan)))
    assert softmax(pred, 3 * np.eye(2, dtype=dtype)) == pytest.approx(3 * np.log(2))
    for name in set(fg.losses.LOSSES) - {BINARY, SOFTMAX, "sum", "squared_l2"}:
        implementation.losses.LOSSES[name](LOSS_TRUTH[name].domain(pred), pred - 5)


def test_the_sentence_knows_labels_of_minus_one() -> None:
    loss, labels = fg.losses.LOSSES[BINARY], np.array([[-1.0], [1.0]])
    with pytest.raises(ValueError) as caught:
        loss(labels, labels)
    assert str(caught.value) == (
        f"{BINARY}: target has values from -1.0 to 1.0: {BINARY} takes probabilities from 0 to 1: "
        "of these labels make (target + 1) / 2"
    )
    assert loss(labels, (labels + 1) / 2) > 0


@implementations
@layouts
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 700])
def test_targets_of_networks(n: int, dtype: str, samples: str, implementation: Any) -> None:
    """By every call: the first, later ones, which one compiled function makes, and training."""
    if implementation is loops and n > 3:
        return
    net = implementation.MLP((2, 2), (None,), BINARY, samples=samples, dtype=dtype)
    params, x = np.zeros(net.size, dtype), turn(np.ones((n, 2), dtype), samples)
    for place in (0, 2 * n - 1):
        target, good = np.ones((n, 2), dtype), turn(np.ones((n, 2), dtype), samples)
        target.flat[place] = -1
        for _ in range(3):
            with pytest.raises(ValueError, match="target has "):
                net.value_and_grad(params, x, turn(target, samples))
            net.value_and_grad(params, x, good)
        with pytest.raises(ValueError, match="target has "):
            net.fit(params, x, turn(target, samples), epochs=1)
