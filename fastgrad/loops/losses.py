"""Loss functions as plain Python loops: add up the terms, sample by sample, feature by feature.

``reduction`` divides the sum of the terms by their number (``"mean"``), by the number of samples
(``"samples"``), or not at all (``"sum"``). Shapes are those of `fastgrad.reference.losses`.

With ``weights``, one per sample or per term, each term is multiplied by its own, and the mean
divides by their sum; terms of weight 0 are left out. ``reduction="none"`` returns the terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import REDUCTIONS, check_limit
from fastgrad.arrays import FLOAT64, Array, deliver
from fastgrad.loss_arguments import (
    HINGE_MARGIN,
    HUBER_DELTA,
    WITH_NONE,
    check_delta,
    check_target_given,
    detailed_arguments,
    is_none,
)

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


class SoftmaxCrossEntropy(LogitLoss):
    """The cross-entropy between ``target`` and the softmax of the logits ``pred``.

    A sample's term is ``sum_j t_j (logsumexp(z) - z_j)``, its gradient ``softmax(z) * sum_j t_j -
    t``. ``target`` holds class indices, or one-hot or probability vectors of the shape of ``pred``.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> value, grad = losses.softmax_cross_entropy.value_and_grad([[0.0, 0.0], [9.0, 9.0]], [0, 1])
    >>> round(value, 4), grad.tolist()
    (0.6931, [[-0.25, 0.25], [0.25, -0.25]])
    """

    rowwise = True

    def __init__(self) -> None:  # not Loss's: there are no terms per element
        self.name = "softmax_cross_entropy"
        self.__doc__ = type(self).__doc__

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        largest = max(pred, default=0.0)
        exps = [formulas.exp(z - largest) for z in pred]
        exp_sum = 0.0
        for value in exps:
            exp_sum += value
        log_sum = math.log(exp_sum) if exp_sum else -math.inf
        t_sum = 0.0
        term = 0.0
        for z, t in zip(pred, target, strict=True):
            t_sum += t
            if t != 0.0:  # a class of probability 0 adds nothing, even if z is -inf
                term += t * (log_sum - (z - largest))
        slopes = [e / exp_sum * t_sum - t for e, t in zip(exps, target, strict=True)]
        return [term], slopes

    def _probabilities(self, logits: Row) -> Row:
        largest = max(logits, default=0.0)
        exps = [formulas.exp(z - largest) for z in logits]
        total = 0.0
        for value in exps:
            total += value
        return [value / total for value in exps]


def _one_hot(label: int, classes: int) -> Row:
    """Return a class index as probabilities."""
    row = [0.0] * classes
    row[label] = 1.0
    return row


class Huber(Loss):
    """Huber's loss: ``diff**2 / 2`` where ``|diff| <= delta``, else ``delta (|diff| - delta / 2)``.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> losses.huber([3.0], [0.0]), losses.huber([3.0], [0.0], delta=2.0)
    (2.5, 4.0)
    """

    def __init__(self, delta: float = HUBER_DELTA) -> None:
        self.name, self.delta = "huber", delta
        self.adjusted = None if delta == HUBER_DELTA else {"delta": delta}
        self.__doc__ = type(self).__doc__

    def with_(self, *, delta: float) -> Huber:
        """Return this loss with another `delta`, greater than 0."""
        return Huber(check_delta(f"{self.name}.with_", delta))

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
        delta: float | None = None,
    ) -> Any:
        """Return the loss: see `Loss`."""
        own = self if delta is None else self.with_(delta=delta)
        return Loss.__call__(own, pred, target, reduction, samples, weights)

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
        delta: float | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``: see `Loss`."""
        own = self if delta is None else self.with_(delta=delta)
        return Loss.value_and_grad(own, pred, target, reduction, samples, out, weights)

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        terms, slopes = [], []
        for p, t in zip(pred, target, strict=True):
            diff = p - t
            size = abs(diff)
            if size <= self.delta:
                terms.append(0.5 * size * size)
                slopes.append(diff)
            else:
                terms.append(self.delta * (size - 0.5 * self.delta))
                slopes.append(math.copysign(self.delta, diff) if size == size else diff)
        return terms, slopes


class Hinge(Loss):
    """``sum(max(0, z_j - z_c + margin))`` over the classes j other than the class c.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> round(losses.hinge([[3.2, 5.1, -1.7]], [0]), 6)
    2.9
    """

    rowwise = True

    def __init__(self, margin: float = HINGE_MARGIN) -> None:
        self.name, self.margin = "hinge", margin
        self.adjusted = None if margin == HINGE_MARGIN else {"margin": margin}
        self.__doc__ = type(self).__doc__

    def with_(self, *, margin: float) -> Hinge:
        """Return this loss with another `margin`, at least 0."""
        return Hinge(check_limit(f"{self.name}.with_", "margin", margin))

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
        margin: float | None = None,
    ) -> Any:
        """Return the loss: see `Loss`."""
        own = self if margin is None else self.with_(margin=margin)
        return Loss.__call__(own, pred, target, reduction, samples, weights)

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
        margin: float | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``: see `Loss`."""
        own = self if margin is None else self.with_(margin=margin)
        return Loss.value_and_grad(own, pred, target, reduction, samples, out, weights)

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        term, slopes = 0.0, [0.0] * len(pred)
        for c, times in enumerate(target):
            for j in range(len(pred)):
                over = pred[j] - pred[c] + self.margin
                if times == 0.0 or j == c or over <= 0.0:
                    continue
                slope = times if over > 0.0 else over  # NaN stays
                term += times * over
                slopes[j] += slope
                slopes[c] -= slope
        return [term], slopes


class NegativeLogLikelihood(Loss):
    """``-sum_j t_j log(p_j)`` of probabilities p, one term per sample.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> round(losses.nll([[0.5, 0.5]], [1]), 4)
    0.6931
    """

    rowwise = True

    def __init__(self) -> None:
        self.name = "nll"
        self.__doc__ = type(self).__doc__

    def _sample(self, pred: Row, target: Row) -> tuple[Row, Row]:
        term, slopes = 0.0, []
        for p, t in zip(pred, target, strict=True):
            slope = 0.0
            if t != 0.0:
                log = math.log(p) if p > 0.0 else (-math.inf if p == 0.0 else math.nan)
                term -= t * log
                slope = -t / p if p != 0.0 else math.copysign(math.inf, -t * math.copysign(1.0, p))
            slopes.append(slope)
        return [term], slopes


# ---- terms and slopes --------------------------------------------------------------------------


def _square(pred: float, target: float = 0.0) -> float:
    """``(pred - target)**2`` per element."""
    return (pred - target) * (pred - target)


def _square_slope(pred: float, target: float = 0.0) -> float:
    return 2.0 * (pred - target)


def _absolute(pred: float, target: float) -> float:
    """``|pred - target|`` per element; the gradient is 0 where they are equal."""
    return abs(pred - target)


def _absolute_slope(pred: float, target: float) -> float:
    diff = pred - target
    if diff == 0.0 or math.isnan(diff):
        return diff
    return math.copysign(1.0, diff)


def _log_cosh(pred: float, target: float) -> float:
    """``log(cosh(pred - target))`` in a form that neither overflows nor cancels."""
    size = abs(pred - target)
    if size < 1.0:
        return math.log1p(2.0 * math.sinh(size / 2.0) ** 2)
    return size - math.log(2.0) + math.log1p(math.exp(-2.0 * size))


def _log_cosh_slope(pred: float, target: float) -> float:
    return math.tanh(pred - target)


def _poisson(z: float, target: float) -> float:
    """``exp(z) - t z`` per element: counts t, whose mean is ``exp(z)``."""
    line = 0.0 if target == 0.0 or z == math.inf else target * z
    return formulas.exp(z) - line


def _poisson_slope(z: float, target: float) -> float:
    return formulas.exp(z) - target


def _binary_cross_entropy(z: float, target: float) -> float:
    """``-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z))`` per element, z the logit."""
    # = softplus(z) - t z = max(z, 0) - t z + log(1 + exp(-|z|)): nothing here overflows.
    line = max(z, 0.0) - target * z
    if math.isinf(z):  # inf - inf and 0 * inf have no value, but the term has a limit
        share = 1.0 - target if z > 0 else -target
        line = share * z if share else 0.0
    return line + math.log1p(math.exp(-abs(z)))


def _binary_cross_entropy_slope(z: float, target: float) -> float:
    return formulas.sigmoid(z) - target


def _itself(y: float) -> float:
    """``y`` per element: the loss is ``sum(y)``."""
    return y


# ---- the table ---------------------------------------------------------------------------------

mse = Loss("mse", _square, _square_slope)
mae = Loss("mae", _absolute, _absolute_slope)
huber = Huber()
log_cosh = Loss("log_cosh", _log_cosh, _log_cosh_slope)
binary_cross_entropy_with_logits = LogitLoss(
    "binary_cross_entropy_with_logits",
    _binary_cross_entropy,
    _binary_cross_entropy_slope,
    probabilities=True,
)
softmax_cross_entropy = SoftmaxCrossEntropy()
poisson = Loss("poisson", _poisson, _poisson_slope)
hinge = Hinge()
nll = NegativeLogLikelihood()
sum = ArrayLoss("sum", _itself, formulas.one)
squared_l2 = ArrayLoss("squared_l2", _square, _square_slope)

LOSSES: dict[str, Loss | ArrayLoss | SoftmaxCrossEntropy] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "log_cosh": log_cosh,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "poisson": poisson,
    "softmax_cross_entropy": softmax_cross_entropy,
    "hinge": hinge,
    "nll": nll,
    "sum": sum,
    "squared_l2": squared_l2,
}
