"""Checks of a loss's arguments, shared by fastgrad, reference, loops and their networks.

A term of weight 0 is left out: nothing checks its target or its class.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import LAYOUTS, REDUCTIONS, check_choice, check_number, check_same_shape
from fastgrad.arrays import Array, Dtypes, as_array, promoted
from fastgrad.kernels.flags import TARGET_SLACK
from fastgrad.results import check_out

WITH_NONE = (*REDUCTIONS, "none")  # also the terms, not their sum
HUBER_DELTA = HINGE_MARGIN = 1.0  # unless given


class LossArguments(NamedTuple):
    """The checked arguments of a loss: arrays as the caller gave them, with their dtypes."""

    pred: Array
    target: Array | None
    classes: bool  # whether `target` holds classes, one per sample
    columns: bool  # whether `pred` has a sample per column
    weights: Array | None = None  # float64, one per sample or per element of `pred`

    @property
    def samples(self) -> int:
        """The number of samples."""
        return math.prod(self.each)

    @property
    def each(self) -> tuple[int, ...]:
        """The shape of what has one entry per sample."""
        return _per_sample(self.pred, self.columns)

    @property
    def dtypes(self) -> Dtypes:
        """What pred and target promote to; the gradient has pred's dtype if that is a float."""
        pred, target, classes = self[:3]
        own = pred.dtype
        dtypes = promoted(own) if target is None or classes else promoted(own, target.dtype)
        if dtypes.result is own or own.kind != "f":
            return dtypes
        return Dtypes(dtypes.work, promoted(own).result)

    @property
    def inputs(self) -> dict[str, Array]:
        """The arrays by their names."""
        if self.target is None:
            return {"y": self.pred}
        return {"pred": self.pred, "target": self.target}

    def over(self, weights: Array) -> Array:
        """Return weights, or a mask, of the shape of `pred`."""
        if weights.ndim < self.pred.ndim and not self.columns:
            weights = weights[..., None]
        return np.broadcast_to(weights, self.pred.shape)


def is_none(reduction: Any) -> bool:
    """Return whether the terms are asked for; an array would compare element by element."""
    return isinstance(reduction, str) and reduction == "none"


def detailed_arguments(
    loss: Any,
    caller: str,
    pred: Any,
    target: Any,
    reduction: str,
    samples: str,
    weights: Any,
    out: Array | None,
    allowed: tuple[str, ...],
) -> LossArguments:
    """Return `loss_arguments` of a loss, fastgrad's or a twin's, with `out` and the values checked.

    Targets that must be probabilities may be anything where their weight is 0.
    """
    rowwise = loss.rowwise
    given = loss_arguments(caller, pred, target, reduction, samples, rowwise, weights, allowed)
    if out is not None:
        others = {**given.inputs, "weights": given.weights}
        check_out(caller, "out", out, given.pred.shape, given.dtypes.result, others)
    if loss.probabilities and given.target is not None and not given.classes:
        counts = None if given.weights is None else given.over(given.weights != 0)
        check_probabilities(caller, loss.name, given.target, counts)
    return given


def loss_arguments(
    caller: str,
    pred: Any,
    target: Any,
    reduction: str,
    samples: str,
    rowwise: bool,
    weights: Any = None,
    allowed: tuple[str, ...] = REDUCTIONS,
) -> LossArguments:
    """Return the checked arguments of a loss; `target` is None for a loss of one array.

    A `rowwise` loss has one term per sample: its target may be classes. `allowed` are the
    reductions to choose from.
    """
    name = "y" if target is None else "pred"
    if allowed is REDUCTIONS and is_none(reduction):
        *most, last = map(repr, REDUCTIONS)
        raise ValueError(
            f"{caller}: reduction is 'none': a gradient is one of a single number: choose from "
            f"{', '.join(most)} or {last}. In that of 'sum' each element is the slope of its own "
            "term; the call itself returns the terms"
        )
    check_choice(caller, "reduction", reduction, allowed)
    check_choice(caller, "samples", samples, LAYOUTS)
    pred = as_array(caller, name, pred)
    if pred.ndim == 0:
        raise ValueError(f"{caller}: {name} has shape (): it needs at least one axis")
    columns = samples == "columns" and pred.ndim > 1
    if columns and pred.ndim > 2:
        raise ValueError(f"{caller}: {name} has shape {pred.shape}: columns take (d, n) or (d,)")
    each = _per_sample(pred, columns)
    if weights is not None:
        shapes = (each,) if rowwise else (each, pred.shape)
        weights = check_weights(caller, weights, shapes, f"{name} has shape {pred.shape}")
        check_not_all_zero(caller, weights, reduction)
    if target is None:
        return LossArguments(pred, None, False, columns, weights)
    target = as_array(caller, "target", target)
    if target.shape == pred.shape:
        return LossArguments(pred, target, False, columns, weights)
    if not rowwise:
        check_same_shape(caller, "target", target.shape, "pred", pred.shape)
    if pred.ndim == 1 and pred.size != 1:
        target = one_class(target)
    if target.ndim != pred.ndim - 1:
        hint = use_ravel(target, math.prod(each))
        check_same_shape(caller, "target", target.shape, "pred", pred.shape, hint)
    if not are_classes(target, each):
        raise ValueError(
            f"{caller}: target has shape {target.shape} and dtype {target.dtype} but pred has "
            f"shape {pred.shape}: give integer classes of shape {each}"
            f"{use_astype(target, math.prod(each))}, or an array like pred"
        )
    count = pred.shape[0 if columns else -1]
    target = classes_that_count(target, weights)
    check_classes(caller, target, count, f"pred has {count} classes")
    return LossArguments(pred, target, True, columns, weights)


# -- weights -----------------------------------------------------------------------------------


def check_weights(
    caller: str, weights: Any, shapes: tuple[tuple[int, ...], ...], reason: str
) -> Array:
    """Return weights as contiguous float64; raise unless they have one of `shapes` and are >= 0."""
    given = as_array(caller, "weights", weights)
    if given.shape not in shapes:
        each, *terms = shapes
        rule = f"one per sample, shape {each}"
        if terms and terms[0] != each:
            rule += f", or one per term, shape {terms[0]}"
        hint = "; give weights.ravel()" if given.ndim == 2 and (given.size,) == each else ""
        raise ValueError(
            f"{caller}: weights has shape {given.shape} but {reason}: give {rule}{hint}"
        )
    array = np.asarray(given, np.float64, order="C")
    wrong = ~((array >= 0) & (array < np.inf))
    if wrong.any():
        raise ValueError(
            f"{caller}: weights has {array[wrong][0]}: weights must be finite and at least 0"
        )
    return array


def check_not_all_zero(caller: str, weights: Array, reduction: str) -> None:
    """Raise if a mean would divide by a sum of 0, or of inf."""
    if reduction == "mean" and weights.size:
        with np.errstate(all="ignore"):
            total = weights.sum()
        if not 0 < total < math.inf:
            raise ValueError(
                f"{caller}: weights add up to {total}: reduction='mean' divides by their sum"
            )


def classes_that_count(classes: Array, weights: Array | None) -> Array:
    """Return classes with 0 where the weight is 0: those may have been anything."""
    if weights is None or weights.all():
        return classes
    return np.where(weights == 0, classes.dtype.type(0), classes)


def _per_sample(pred: Array, columns: bool) -> tuple[int, ...]:
    """Return the shape of what has one entry per sample."""
    return pred.shape[1:] if columns else pred.shape[:-1]


def check_delta(caller: str, delta: Any) -> float:
    """Return Huber's delta as a float, or raise unless it is greater than 0."""
    number = check_number(caller, "delta", delta)
    if not number > 0:
        raise ValueError(f"{caller}: delta is {delta!r}: it must be greater than 0")
    return number


def check_target_given(caller: str, target: Any) -> None:
    """Raise if there is no target: internally, None means a loss of one array."""
    if target is None:
        raise TypeError(f"{caller}: target is None: give an array like pred")


def one_class(target: Array) -> Array:
    """Return the class of one sample, given as a scalar or as one element, as a scalar."""
    single = target.shape == (1,) and target.dtype.kind in "iu"
    return target.reshape(()) if single else target


def use_ravel(target: Array, samples: int) -> str:
    """Return a hint for classes given as one column or one row."""
    column = target.ndim == 2 and 1 in target.shape and target.size == samples
    return "; of classes give labels.ravel()" if column and target.dtype.kind in "iu" else ""


def use_astype(target: Array, samples: int) -> str:
    """Return a hint for classes that are floats or bools."""
    return " (labels.astype(int))" if target.shape == (samples,) else ""


def are_classes(target: Array, shape: tuple[int, ...]) -> bool:
    """Return whether `target` holds integers and has this shape: classes, one per sample."""
    # np.asarray([]) is float64: an empty list of classes is still a list of classes.
    return target.shape == shape and (target.dtype.kind in "iu" or not target.size)


def check_classes(caller: str, target: Array, classes: int, reason: str) -> None:
    """Raise unless all entries of an integer target are from 0 to `classes` - 1."""
    if target.size and (target.min() < 0 or target.max() >= classes):
        raise ValueError(
            f"{caller}: target has classes from {target.min()} to {target.max()} but {reason}: "
            f"they go from 0 to {classes - 1}"
        )


def check_probabilities(caller: str, loss: str, target: Array, counts: Array | None = None) -> None:
    """Raise unless all targets are between 0 and 1: else the loss has no minimum.

    Rounding errors are accepted; NaN is too, and gives NaN. With `counts`, a mask of the shape of
    `target`, only those targets are checked.
    """
    if counts is not None:
        target = target[counts]
    if not target.size:
        return
    with np.errstate(all="ignore"):
        low, high = np.fmin.reduce(target, axis=None), np.fmax.reduce(target, axis=None)
    if low < -TARGET_SLACK or high > 1 + TARGET_SLACK:
        hint = ": of these labels make (target + 1) / 2" if (low, high) == (-1, 1) else ""
        raise ValueError(
            f"{caller}: target has values from {low} to {high}: {loss} takes "
            f"probabilities from 0 to 1{hint}"
        )
