"""Mistakes on the way through a layer: its activation, dz, and the weights after it, da."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.functions import ACTS, Act, softmax
from fastgrad.diagnosis.network.step import Along, Planted, Step

# -- the activation: dz ------------------------------------------------------------------------


def _forms(s: Step, act: Act, z: Array, y: Array) -> Iterator[tuple[str, Array]]:
    """Yield a derivative by its two formulas at its own and at the other array."""
    i = s.layer
    for words, form, source in (
        ("", "z", z), ("", "y", y),
        (f"'s formula of y, at z{i}", "y", z), (f"'s formula of z, at a{i}", "z", y),
    ):  # fmt: skip
        slope = s.model.slope(act, form, source)
        if slope is not None:
            yield words, slope


def no_slope(s: Step) -> Planted:
    """The activation's derivative left out."""
    if s.act.name != "identity":
        yield "", s.masked()


def twice(s: Step) -> Planted:
    """The activation's derivative applied twice."""
    if s.act.name not in ("identity", "relu"):
        yield "", s.act.back(s.grad_z, s.z, s.y)


def other_array(s: Step) -> Planted:
    """The derivative at z where it is a function of y, or at y where it is one of z."""
    if s.act.name == "identity" or s.act.rowwise:
        return
    grad = s.masked()
    for words, slope in _forms(s, s.act, s.z, s.y):
        if words:
            yield f"{s.act.name}{words}", grad * slope


def other_activation(s: Step) -> Planted:
    """The derivative of another activation."""
    grad = s.masked()
    for act in ACTS.values():
        if act.name in (s.act.name, "identity"):
            continue
        if act.rowwise:
            yield "softmax", act.back(grad, s.z, softmax(s.z))
            continue
        for words, slope in _forms(s, act, s.z, s.y):
            yield f"{act.name}{words}", grad * slope


def other_layers_array(s: Step) -> Planted:
    """The right derivative at another layer's array of the same width."""
    m = s.model
    if s.act.name == "identity":
        return
    grad = s.masked()
    for other in range(m.layers + 1):
        if other == s.layer or m.width(other) != m.width(s.layer):
            continue
        for words, slope in _forms(s, s.act, m.z[other], m.y[other]):
            if not words:
                yield f"layer {other}" if other else "the input x", grad * slope
    if s.act.name in ("relu", "leaky_relu"):
        slope = s.act.slope_z(grad)
        yield f"da{s.layer}, the gradient itself,", grad * slope


def kink_included(s: Step) -> Planted:
    """``>=`` for ``>``: the derivative at 0 is taken from the right."""
    low = {"relu": 0.0, "leaky_relu": 0.01}.get(s.act.name)
    if low is not None and (s.z == 0).any():
        yield "", s.masked() * np.where(s.z >= 0, 1.0, low)


def mask_turned(s: Step) -> Planted:
    """The derivative where z is negative instead of positive."""
    if s.act.name == "relu":
        yield "", s.masked() * (s.z <= 0)


def only_the_diagonal(s: Step) -> Planted:
    """The softmax's derivative as if it were elementwise."""
    if s.act.rowwise:
        yield "", s.masked() * (s.y * (1.0 - s.y))


def dropout(s: Step) -> Planted:
    """The dropout mask missing, applied twice, or without its scale, or scaled twice."""
    mask = s.model.masks.get(s.layer)
    if mask is None:
        return
    back, scale = s.act.back, float(mask.max(initial=0.0))
    yield "missing", back(s.grad, s.z, s.y)
    if scale != 1.0:
        yield "applied without its scale", back(s.grad * (mask != 0), s.z, s.y)
    yield ("scaled twice" if scale != 1.0 else "applied twice"), back(s.grad * mask**2, s.z, s.y)


# -- the way to the layer before: da -------------------------------------------------------------


def not_transposed(s: Step) -> Planted:
    """W where W.T belongs."""
    w = s.model.w[s.layer + 1]
    if w.shape[0] == w.shape[1]:
        yield "", s.above @ w


def other_layers_weights(s: Step) -> Planted:
    """Another layer's weights on the way back."""
    m, own = s.model, s.layer + 1
    for other in range(1, m.layers + 1):
        w = m.w[other]
        if other != own and w.shape == m.w[own].shape:
            yield f"those of layer {other}", s.above @ w.T
        elif other != own and w.shape == m.w[own].shape[::-1]:
            yield f"those of layer {other}", s.above @ w


def updated_weights(s: Step) -> Planted:
    """The weights updated before the gradient went through them."""
    m, own = s.model, s.layer + 1
    if own in s.updates:
        yield "", Along(s.above @ m.w[own].T, -(s.above @ s.updates[own].T))


def around_activation(s: Step) -> Planted:
    """The gradient of the next layer's output where that of its pre-activation belongs."""
    m, own = s.model, s.layer + 1
    if m.acts[own].name != "identity":
        yield "", s.above_grad @ m.w[own].T
