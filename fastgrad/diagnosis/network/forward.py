"""Mistakes on the way forward: the gradient is then that of another network.

Each is planted as a `Model` whose way forward errs; the way back is walked on that model. The
value of the loss, intermediates of the script, or its gradients alone tell which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.functions import ACTS, Act, softmax
from fastgrad.diagnosis.network.model import Model

__all__ = ["FORWARD", "ForwardMistake"]

Planted = Iterator[tuple[str, Model]]


@dataclass(frozen=True)
class ForwardMistake:
    """A row: at which array it enters ("z", "y" or "a"), how it is planted, its sentence."""

    kind: str
    array: str
    plant: Callable[[Model, int], Planted]
    sentence: str


def _with_act(m: Model, layer: int, act: Act) -> Model:
    acts = list(m.acts)
    acts[layer] = act
    return m.replaced(layer, acts=acts)


def no_bias(m: Model, layer: int) -> Planted:
    """The bias forgotten."""
    bias = m.b[layer]
    if bias is not None and bias.any():
        yield from _with_bias(m, layer, np.zeros_like(bias), "left out")
        yield from _with_bias(m, layer, -bias, "subtracted")
        yield from _with_bias(m, layer, 2.0 * bias, "added twice")


def _with_bias(m: Model, layer: int, bias: Array, details: str) -> Planted:
    biases = list(m.b)
    biases[layer] = bias
    yield details, m.replaced(layer, b=biases)


def not_transposed(m: Model, layer: int) -> Planted:
    """The weights transposed."""
    w = m.w[layer]
    if w.shape[0] == w.shape[1]:
        yield "", m.replaced(layer, forward_w={**m.forward_w, layer: w.T})
        weights = list(m.w)
        weights[layer] = w.T
        yield ", and in the way back, too", m.replaced(layer, w=weights)


def other_input(m: Model, layer: int) -> Planted:
    """Another layer's output as input."""
    for other in range(layer - 1):
        if m.width(other) == m.width(layer - 1):
            details = f"a{other}" if other else "x"
            yield details, m.replaced(layer, inputs={**m.inputs, layer: other})


def layers_swapped(m: Model, layer: int) -> Planted:
    """The weights of two layers in each other's place."""
    for other in range(layer + 1, m.layers + 1):
        if m.w[other].shape == m.w[layer].shape:
            weights = {layer: m.w[other], other: m.w[layer]}
            biases = list(m.b)
            biases[layer], biases[other] = m.b[other], m.b[layer]
            made = m.replaced(layer, forward_w={**m.forward_w, **weights}, b=biases)
            yield f"layers {layer} and {other}", made


def flipped(m: Model, layer: int) -> Planted:
    """The sign of z flipped in the activation: 1 / (1 + exp(z))."""
    act = m.acts[layer]
    if act.rowwise or act.name == "identity":
        return

    def value(z: Array) -> Array:
        return act.value(-z)

    slope_y = act.slope_y
    yield "", _with_act(m, layer, replace(act, value=value))
    true = replace(
        act,
        value=value,
        slope_z=lambda z: -act.slope_z(-z),
        slope_y=None if slope_y is None else lambda y: -slope_y(y),
    )
    yield ", its derivative with it", _with_act(m, layer, true)


def other_activation(m: Model, layer: int) -> Planted:
    """Another activation, with its own derivative or the right one's formula."""
    right = m.acts[layer]
    for name, act in ACTS.items():
        if name == right.name or (act.rowwise and m.width(layer) < 2):
            continue
        words = "none" if name == "identity" else name
        yield f"{words}, its derivative with it,", _with_act(m, layer, act)
        if not act.rowwise and not right.rowwise:
            yield words, _with_act(m, layer, _value_of(act, right))


def _value_of(act: Act, right: Act) -> Act:
    """Return an activation with the right one's formulas of the derivative."""
    return replace(act, slope_z=right.slope_z, slope_y=right.slope_y)


def activations_swapped(m: Model, layer: int) -> Planted:
    """The activations of two layers in each other's place."""
    for other in range(layer + 1, m.layers + 1):
        if m.acts[other].name != m.acts[layer].name:
            one, two, acts = m.acts[layer], m.acts[other], list(m.acts)
            acts[layer], acts[other] = two, one
            words = f"layers {layer} and {other}"
            yield f"{words}, with their derivatives,", m.replaced(layer, acts=acts)
            if not (one.rowwise or two.rowwise):
                acts[layer], acts[other] = _value_of(two, one), _value_of(one, two)
                yield words, m.replaced(layer, acts=list(acts))


def softmax_axis(m: Model, layer: int) -> Planted:
    """The softmax over the samples."""
    if m.acts[layer].rowwise and m.n > 1:
        act = replace(m.acts[layer], value=lambda z: softmax(z.T).T)
        yield "", _with_act(m, layer, act)


def no_mask(m: Model, layer: int) -> Planted:
    """The dropout mask left out on the way forward."""
    if layer in m.masks:
        yield "", m.replaced(layer, given={**m.given, ("a", layer): m.y[layer]})


FORWARD = (
    ForwardMistake("bias forgotten", "z", no_bias, "z{i} with the bias b{i} {details}"),
    ForwardMistake(
        "weights transposed", "z", not_transposed, "z{i} with w{i}.T where w{i} belongs{details}"
    ),
    ForwardMistake("wrong layer order", "z", layers_swapped, "{details} are in each other's place"),
    ForwardMistake("wrong layer input", "z", other_input, "z{i} from {details}, not from {before}"),
    ForwardMistake(
        "activation flipped", "y", flipped, "a{i} is {act}(-z{i}): its sign is flipped{details}"
    ),
    ForwardMistake(
        "wrong layer order", "y", activations_swapped,
        "the activations of {details} are in each other's place",
    ),
    ForwardMistake(
        "wrong activation", "y", other_activation, "a{i} with {details} where {act} belongs"
    ),
    ForwardMistake("softmax over samples", "y", softmax_axis, "a{i} is a softmax over the samples"),
    ForwardMistake("dropout mask", "a", no_mask, "a{i} without its dropout mask"),
)  # fmt: skip
