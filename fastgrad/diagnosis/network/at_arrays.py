"""Mistakes in the gradient of one array: dw or db, given dz."""

from __future__ import annotations

import numpy as np

from fastgrad.diagnosis.network.step import Along, Planted, Plus, Product, Step


def transposed(s: Step) -> Planted:
    """The result transposed."""
    m = s.model
    left, right = m.a[s.layer - 1], s.grad_z
    if left.shape[1] == right.shape[1]:
        yield "", Product(right, left)


def other_input(s: Step) -> Planted:
    """Another array where the layer's input belongs."""
    m, i = s.model, s.layer
    d = m.width(i - 1)
    for other in range(m.layers + 1):
        if m.width(other) != d:
            continue
        if other:
            if other == i:
                yield f"z{i}, the layer's own pre-activation,", Product(m.z[other], s.grad_z)
            else:
                yield f"z{other}, a pre-activation,", Product(m.z[other], s.grad_z)
        if other != i - 1:
            own = f"a{i}, the layer's own output," if other == i else f"a{other}"
            yield own if other else "x", Product(m.a[other], s.grad_z)
        elif other in m.masks:
            yield f"y{other}, before its dropout mask,", Product(m.y[other], s.grad_z)


def before_activation(s: Step) -> Planted:
    """dL/da where dL/dz belongs, in this product alone."""
    if s.act.name != "identity":
        yield "", Product(s.model.a[s.layer - 1], s.grad)


def other_gradient(s: Step) -> Planted:
    """Another layer's dz."""
    for other, grad_z in s.later.items():
        if other > s.layer and grad_z.shape == s.grad_z.shape:
            yield f"dz{other}", Product(s.model.a[s.layer - 1], grad_z)


def one_sample_of_weights(s: Step) -> Planted:
    """The gradient of one sample."""
    for i, words in ((0, "the first"), (-1, "the last")):
        rows = slice(i, None) if i else slice(0, 1)
        yield words, Product(s.model.a[s.layer - 1][rows], s.grad_z[rows])


def parameters_themselves(s: Step) -> Planted:
    """The weights themselves, updated or not."""
    yield "", s.model.w[s.layer]


def one_sample_of_bias(s: Step) -> Planted:
    """One sample's row."""
    n = s.model.n
    if n < 2:
        return
    for i in range(min(n, 256)):
        words = {0: "the first", n - 1: "the last"}.get(i, f"sample {i}")
        yield words, s.grad_z[i]
    if n > 256:
        yield "the last", s.grad_z[-1]


def one_number(s: Step) -> Planted:
    """One sum of everything for all outputs."""
    if s.grad_z.shape[1] > 1:
        yield "the sum of everything", np.full(s.grad_z.shape[1], s.grad_z.sum())
    if s.grad_z.shape[0] == s.grad_z.shape[1] > 1:
        yield "the sums over the outputs", s.grad_z.sum(axis=1)


def bias_before_activation(s: Step) -> Planted:
    """dL/da where dL/dz belongs."""
    if s.act.name != "identity":
        yield "", s.grad.sum(axis=0)


def other_gradient_of_bias(s: Step) -> Planted:
    """Another layer's dz."""
    for other, grad_z in s.later.items():
        if other > s.layer and grad_z.shape[1] == s.grad_z.shape[1]:
            yield f"dz{other}", grad_z.sum(axis=0)


def penalties(s: Step) -> Planted:
    """The penalty missing, twice, half, of the wrong sign, divided by n; or one that is added."""
    m, i = s.model, s.layer
    data, penalty = Product(m.a[i - 1], s.grad_z), m.penalty(i)
    if penalty is None:
        yield "", Along(Plus(data, 0.0), m.w[i])
        return
    for words, share in (
        ("left out", 0.0), ("added twice", 2.0), ("halved: its value's l / 2, not l", 0.5),
        ("subtracted", -1.0), (f"divided by the {m.n} samples", 1.0 / m.n),
    ):  # fmt: skip
        yield words, Plus(data, share * penalty)
    if m.l1 and m.l2:
        yield "left out for l1", Plus(data, m.l2 * m.w[i])
        yield "left out for l2", Plus(data, m.l1 * np.sign(m.w[i]))
    if m.l1:
        yield "l1 * w, not l1 * sign(w)", Plus(data, penalty + m.l1 * (m.w[i] - np.sign(m.w[i])))
    yield "", Along(Plus(data, 0.0), penalty)


def penalties_of_bias(s: Step) -> Planted:
    """The penalty on a bias, too."""
    m, b = s.model, s.model.b[s.layer]
    if b is None or not b.any():
        return
    right = s.grad_z.sum(axis=0)
    if m.l2 or m.l1:
        yield "like the weights", right + m.l2 * b + m.l1 * np.sign(b)
    yield "", Along(right, b)
