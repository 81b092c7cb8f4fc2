"""Mistakes in the gradient of the loss: da of the last layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.functions import ACTS, Act, Objective, softmax
from fastgrad.diagnosis.network.step import Planted, Step
from fastgrad.reference.losses import LOSSES


def averaged(s: Step) -> Planted:
    """The gradient of the loss averaged before it goes through the layers."""
    g, divisor = s.grad, s.model.loss.divisor(s.grad)
    forms: list[tuple[str, Any]] = [
        ("over all its elements", None), ("over the samples", 0), ("over the outputs", 1)
    ]  # fmt: skip
    for words, axis in forms:
        if axis is not None and g.shape[axis] == 1:
            continue
        mean = np.broadcast_to(g.mean(axis=axis, keepdims=True), g.shape)
        yield words, mean
        if divisor != 1.0:
            yield f"{words}, in place of the division by {divisor:.0f}", mean * divisor


def without_target(s: Step) -> Planted:
    """The gradient as if the target were zero."""
    m = s.model
    if m.target is None:
        return
    if m.loss.name == "softmax_cross_entropy":
        yield (
            "softmax(z), without the one-hot of the target",
            s.grad + m.target / m.loss.divisor(s.grad),
        )
    else:
        yield "the gradient of the prediction alone", m.loss(m.a[-1], np.zeros_like(m.a[-1]))[1]


def one_for_the_target(s: Step) -> Planted:
    """The 1 of the one-hot subtracted from every class."""
    m = s.model
    if m.target is not None and m.loss.name == "softmax_cross_entropy" and s.grad.shape[1] > 1:
        yield "p - 1 for every class", (softmax(m.a[-1]) - 1.0) / m.loss.divisor(s.grad)


def _own_activation(s: Step) -> Act | None:
    """Return the activation that a loss of logits applies itself."""
    name = {"softmax_cross_entropy": "softmax", "binary_cross_entropy_with_logits": "sigmoid"}.get(
        s.model.loss.name
    )
    return None if name is None else ACTS[name]


def probabilities_as_logits(s: Step) -> Planted:
    """A loss of logits that is given probabilities: its activation is applied twice."""
    own, m = _own_activation(s), s.model
    if own is not None:
        yield f"{own.name}({own.name}(z)) - target", m.loss(own.value(m.a[-1]), m.target)[1]


def slope_on_top(s: Step) -> Planted:
    """The derivative of softmax or sigmoid on top of p - t, in which it is already."""
    own, m = _own_activation(s), s.model
    if own is None:
        return
    p = own.value(m.a[-1])
    yield f"{own.name}' times (p - target)", own.back(s.grad, m.a[-1], p)
    if own.rowwise:
        yield "p * (1 - p) * (p - target)", s.grad * p * (1.0 - p)


def loss_of_probabilities(s: Step) -> Planted:
    """The derivative with respect to the probabilities, without that of softmax or sigmoid."""
    own, m = _own_activation(s), s.model
    if own is None or m.target is None:
        return
    p, divisor = own.value(m.a[-1]), m.loss.divisor(s.grad)
    with np.errstate(all="ignore"):
        if own.rowwise:
            yield "-target / p", -m.target / p / divisor
        else:
            yield "(p - target) / (p * (1 - p))", (p - m.target) / (p * (1.0 - p)) / divisor


def without_probabilities(s: Step) -> Planted:
    """The logits themselves where their softmax or sigmoid belongs."""
    m = s.model
    if _own_activation(s) is not None and m.target is not None:
        yield "z - target", (m.a[-1] - m.target) / m.loss.divisor(s.grad)


def softmax_of_samples(s: Step) -> Planted:
    """The softmax over the batch instead of over the classes."""
    m = s.model
    if m.target is not None and m.loss.name == "softmax_cross_entropy":
        wrong = softmax(m.a[-1].T).T
        yield "softmax over the samples", (wrong - m.target) / m.loss.divisor(s.grad)


def another_loss(s: Step) -> Planted:
    """The gradient of a loss that is not the network's."""
    m, own = s.model, _own_activation(s)
    if m.target is None:
        return
    preds: list[tuple[str, Array, Act | None]] = [("", m.a[-1], None)]
    if own is not None:
        preds = [(f" of {own.name}(z)", own.value(m.a[-1]), own)]
    for name, loss in LOSSES.items():
        if name == m.loss.name or not loss.takes_target or loss.rowwise or loss.probabilities:
            continue
        other = Objective(name, m.loss.reduction, loss)
        for words, pred, act in preds:
            grad = other(pred, m.target)[1] * (pred.size if m.loss.reduction == "mean" else 1.0)
            if m.loss.reduction == "mean":
                grad = grad / m.loss.divisor(pred)
            if act is not None:
                yield f"{name}{words}, without {act.name}'", grad
                grad = act.back(grad, m.a[-1], pred)
            yield f"{name}{words}", grad
    last = m.acts[-1].name
    if own is None and last in ("sigmoid", "softmax"):
        p, divisor = m.a[-1], m.loss.divisor(m.a[-1])
        with np.errstate(all="ignore"):
            if last == "sigmoid":
                yield "binary cross-entropy", (p - m.target) / (p * (1.0 - p)) / divisor
            else:
                yield "cross-entropy", -m.target / p / divisor


def added_up(s: Step) -> Planted:
    """Two steps added up, as where gradients are not set to zero."""
    yield "the sum of two equal steps", 2.0 * s.grad


def left_out(s: Step) -> Planted:
    """Some samples at the beginning or the end of the batch, or one, left out."""
    n, g = s.model.n, s.grad
    if n < 2 or s.missing is None:
        return
    for gone in s.missing(s.grad_z):
        kept = np.ones((n, 1))
        kept[gone] = 0.0
        count = int(kept.sum())
        if not 0 < count < n:
            continue
        words = "sample" if n - count == 1 else f"{n - count} samples"
        where = f"{words} of {n} left out, beginning with number {int(np.argmin(kept))}"
        yield where, g * kept
        yield f"{where}, and the loss divided by the {count} others", g * kept * (n / count)
