"""The table of mistakes: what people get wrong in backpropagation, a row each.

A row says at which step of the way back it can be, how it is planted there, and the
sentence that names it. The line that mends it is that of its step (`names`): ``dw2 = a1.T @ dz2``.
To add one: a function in `at_loss`, `at_layers` or `at_arrays` that yields the wrong result, and a
row here.

=============  ==================================================  =====================
step           its right line (rows)                               what it changes
=============  ==================================================  =====================
``loss``       ``da3 = 2 * (a3 - target) / a3.size``               all arrays
``input``      ``da1 = dz2 @ w2.T``                                this layer and before
``activation`` ``dz1 = da1 * (1 - a1**2)``                         this layer and before
``weights``    ``dw1 = x.T @ dz1``                                 one array
``bias``       ``db1 = dz1.sum(axis=0)``                           one array
=============  ==================================================  =====================

A factor may come with any row, and alone: those have names, too (`factors`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastgrad.diagnosis.network import at_arrays, at_layers, at_loss
from fastgrad.diagnosis.network.step import Planted, Step

__all__ = ["AT", "MISTAKES", "Mistake"]


@dataclass(frozen=True)
class Mistake:
    """One row. The sentence may use {i}, the layer, {h}, the one before, {j}, after, {details}."""

    kind: str
    step: str
    plant: Callable[[Step], Planted]
    sentence: str


MISTAKES = (
    # -- the loss
    Mistake("loss averaged", "loss", at_loss.averaged,
            "da{i}, the gradient of the loss, averaged {details}"),
    Mistake("target left out", "loss", at_loss.without_target,
            "the loss's gradient is {details}"),
    Mistake("one-hot of ones", "loss", at_loss.one_for_the_target,
            "the loss's gradient is {details}"),
    Mistake("probabilities as logits", "loss", at_loss.probabilities_as_logits,
            "the loss's gradient is {details}: it was given probabilities, not logits"),
    Mistake("loss's activation' on top", "loss", at_loss.slope_on_top,
            "the loss's gradient is {details}, though p - target already is dL/dz"),
    Mistake("loss's activation' left out", "loss", at_loss.loss_of_probabilities,
            "the loss's gradient is {details}, that of the probabilities, not of the logits"),
    Mistake("loss's activation left out", "loss", at_loss.without_probabilities,
            "the loss's gradient is {details}: logits where probabilities belong"),
    Mistake("softmax over samples", "loss", at_loss.softmax_of_samples,
            "the loss's gradient has the {details}"),
    Mistake("another loss", "loss", at_loss.another_loss,
            "the loss's gradient is that of {details}"),
    Mistake("samples left out", "loss", at_loss.left_out,
            "{details}"),
    Mistake("added up", "loss", at_loss.added_up,
            "{details}: the gradient was not set to zero"),
    # -- the way to the layer before
    Mistake("weights not transposed", "input", at_layers.not_transposed,
            "da{i} with w{j} where w{j}.T belongs"),
    Mistake("other weights", "input", at_layers.other_layers_weights,
            "da{i} with {details} where the weights of layer {j} belong"),
    Mistake("weights updated before", "input", at_layers.updated_weights,
            "da{i} with the weights of layer {j} after their update with {details}"),
    Mistake("activation' skipped on the way", "input", at_layers.around_activation,
            "da{i} from da{j}, where dz{j} belongs: without the derivative of layer {j}"),
    # -- the activation
    Mistake("activation' left out", "activation", at_layers.no_slope,
            "dz{i} without the derivative of {act}"),
    Mistake("activation' twice", "activation", at_layers.twice,
            "dz{i} with the derivative of {act} applied twice"),
    Mistake("activation' at the wrong array", "activation", at_layers.other_array,
            "dz{i} with the derivative of {details}"),
    Mistake("another activation'", "activation", at_layers.other_activation,
            "dz{i} with the derivative of {details} where that of {act} belongs"),
    Mistake("activation' of another layer", "activation", at_layers.other_layers_array,
            "dz{i} with the derivative of {act} at {details} where layer {i}'s belongs"),
    Mistake("kink included", "activation", at_layers.kink_included,
            "dz{i} with a derivative of {act} that is not that of z <= 0 at z = 0: >= for >"),
    Mistake("mask turned", "activation", at_layers.mask_turned,
            "dz{i} with the mask z{i} <= 0 where z{i} > 0 belongs"),
    Mistake("diagonal of softmax", "activation", at_layers.only_the_diagonal,
            "dz{i} with p * (1 - p), the diagonal of the softmax's Jacobian alone"),
    Mistake("dropout mask", "activation", at_layers.dropout,
            "dz{i} with its dropout mask {details}"),
    # -- the weights' gradient
    Mistake("transposed", "weights", at_arrays.transposed,
            "dw{i} transposed"),
    Mistake("wrong input", "weights", at_arrays.other_input,
            "dw{i} with {details} where {before} belongs"),
    Mistake("da for dz", "weights", at_arrays.before_activation,
            "dw{i} from da{i} where dz{i} belongs: without the derivative of layer {i}"),
    Mistake("other dz", "weights", at_arrays.other_gradient,
            "dw{i} from {details} where dz{i} belongs"),
    Mistake("one sample", "weights", at_arrays.one_sample_of_weights,
            "dw{i} of {details} sample alone"),
    Mistake("parameters returned", "weights", at_arrays.parameters_themselves,
            "dw{i} holds the weights themselves"),
    Mistake("penalty", "weights", at_arrays.penalties,
            "dw{i} with the penalty {details}"),
    # -- the bias's gradient
    Mistake("one sample", "bias", at_arrays.one_sample_of_bias,
            "db{i} is one row of dz{i}, that of {details}, where the sum over samples belongs"),
    Mistake("one number", "bias", at_arrays.one_number,
            "db{i} is {details} of dz{i} where the sum over samples belongs"),
    Mistake("da for dz", "bias", at_arrays.bias_before_activation,
            "db{i} from da{i} where dz{i} belongs: without the derivative of layer {i}"),
    Mistake("other dz", "bias", at_arrays.other_gradient_of_bias,
            "db{i} from {details} where dz{i} belongs"),
    Mistake("penalty", "bias", at_arrays.penalties_of_bias,
            "db{i} with a penalty, {details}: biases have none"),
)  # fmt: skip

AT: dict[str, tuple[Mistake, ...]] = {
    step: tuple(m for m in MISTAKES if m.step == step)
    for step in ("loss", "input", "activation", "weights", "bias")
}
