"""What a loss in plain loops can do: values, gradients, terms, weights, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import REDUCTIONS
from fastgrad.arrays import FLOAT64, Array, deliver
from fastgrad.loss_arguments import WITH_NONE, check_target_given, detailed_arguments, is_none

from . import formulas
from .lists import Row, feature_axis, from_rows, to_rows

Term = Callable[[float, float], float]  # (pred, target) -> a number


class _Loss:
    """What all losses share: everything but the terms and slopes of a sample."""

    name: str
    rowwise = False  # whether there is a term per sample, not one per element
    takes_target = True
    adjusted: dict[str, float] | None = None  # a setting by its name, unless it is the default
    probabilities = False  # whether targets must be from 0 to 1

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def _evaluate(
        self,
        caller: str,
        pred: Any,
        target: Any,
        reduction: str,
        samples: str,
        weights: Any = None,
        out: Array | None = None,
        want_grad: bool = True,
    ) -> tuple[Any, Array]:
        """Add up the terms of all samples, and scale them and their slopes."""
        allowed = WITH_NONE if is_none(reduction) and not want_grad else REDUCTIONS
        given = detailed_arguments(
            self, caller, pred, target, reduction, samples, weights, out, allowed
        )
        pred, dtype, axis = given.pred, given.dtypes.result, feature_axis(samples)
        weights = given.weights
        pred_rows = to_rows(pred, axis)
        if given.target is None:
            target_rows: list[Row] = [[] for _ in pred_rows]
        elif given.classes:
            labels = given.target.reshape(-1).tolist()
            target_rows = [_one_hot(int(label), pred.shape[axis]) for label in labels]
        else:
            target_rows = to_rows(given.target, axis)
        if weights is None:
            weight_rows = [[1.0] * (1 if self.rowwise else len(row)) for row in pred_rows]
        elif self.rowwise:
            weight_rows = [[weight] for weight in weights.reshape(-1).tolist()]
        else:
            weight_rows = to_rows(given.over(weights), axis)

        total, weights_total = 0.0, 0.0
        all_terms, grad = [], []
        for pred_row, target_row, row in zip(pred_rows, target_rows, weight_rows, strict=True):
            terms, slopes = self._sample(pred_row, target_row)
            for j in range(len(terms)):
                # 0 times NaN is NaN: what is left out is not even multiplied.
                terms[j] = terms[j] * row[j] if row[j] != 0.0 else 0.0
                total += terms[j]
                weights_total += row[j]
            for j in range(len(slopes)):
                weight = row[0] if self.rowwise else row[j]
                slopes[j] = slopes[j] * weight if weight != 0.0 else 0.0
            all_terms.append(terms)
            grad.append(slopes)
        if reduction == "none":
            if not self.rowwise:
                return from_rows(all_terms, pred.shape, FLOAT64, axis), pred
            return np.array([terms[0] for terms in all_terms]).reshape(given.each), pred
        count = {"mean": weights_total, "sum": 1.0, "samples": len(pred_rows)}[reduction]
        if not count:  # the mean of nothing is NaN
            count = math.nan
        grad = [[slope / count for slope in slopes] for slopes in grad]
        return total / count, deliver(from_rows(grad, pred.shape, dtype, axis), dtype, out)

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        """Return the terms of one sample (one if `rowwise`), and the derivatives of their sum."""
        raise NotImplementedError


class Loss(_Loss):
    """A loss of predictions and targets of one shape, a sum of elementwise terms.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> losses.mse([[1.0, 2.0]], [[0.0, 0.0]])
    2.5
    >>> value, grad = losses.mse.value_and_grad([[1.0, 2.0]], [[0.0, 0.0]], "samples")
    >>> value, grad.tolist()
    (5.0, [[2.0, 4.0]])
    """

    def __init__(self, name: str, term: Term, slope: Term, probabilities: bool = False) -> None:
        self.name, self.probabilities = name, probabilities
        self._term, self._slope = term, slope
        self.__doc__ = term.__doc__

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> Any:
        """Return the loss as a Python float; with ``reduction="none"`` the terms."""
        check_target_given(self.name, target)
        return self._evaluate(
            self.name, pred, target, reduction, samples, weights, want_grad=False
        )[0]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred = dL/dpred``, in ``out`` if given."""
        caller = f"{self.name}.value_and_grad"
        check_target_given(caller, target)
        return self._evaluate(caller, pred, target, reduction, samples, weights, out)

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        terms, slopes = [], []
        for p, t in zip(pred, target, strict=True):
            terms.append(self._term(p, t))
            slopes.append(self._slope(p, t))
        return terms, slopes


class ArrayLoss(_Loss):
    """A loss of one array ``y``, without target; ``reduction`` is ``"sum"`` by default.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> value, grad = losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    takes_target = False

    def __init__(
        self, name: str, term: Callable[[float], float], slope: Callable[[float], float]
    ) -> None:
        self.name = name
        self._term, self._slope = term, slope
        self.__doc__ = term.__doc__

    def __call__(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> Any:
        """Return the loss as a Python float; with ``reduction="none"`` the terms."""
        return self._evaluate(self.name, y, None, reduction, samples, weights, want_grad=False)[0]

    def value_and_grad(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_y``, in ``out`` if given."""
        caller = f"{self.name}.value_and_grad"
        return self._evaluate(caller, y, None, reduction, samples, weights, out)

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        return [self._term(y) for y in pred], [self._slope(y) for y in pred]


class LogitLoss(Loss):
    """A loss of logits, which hands out their probabilities, too."""

    def value_grad_and_probabilities(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array, Array]:
        """Return the loss, ``grad_pred``, and the sigmoid or softmax of the logits."""
        caller = f"{self.name}.value_grad_and_probabilities"
        check_target_given(caller, target)
        value, grad = self._evaluate(caller, pred, target, reduction, samples, weights)
        axis = feature_axis(samples)
        rows = [self._probabilities(row) for row in to_rows(np.asarray(pred), axis)]
        return value, grad, from_rows(rows, grad.shape, grad.dtype, axis)

    def _probabilities(self, logits: Row) -> Row:
        return [formulas.sigmoid(z) for z in logits]


def _one_hot(label: int, classes: int) -> Row:
    """Return a class index as probabilities."""
    row = [0.0] * classes
    row[label] = 1.0
    return row
