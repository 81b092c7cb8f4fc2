"""Loss functions as plain Python loops: add up the terms, sample by sample, feature by feature.

``reduction`` divides the sum of the terms by their number (``"mean"``), by the number of samples
(``"samples"``), or not at all (``"sum"``). Shapes are those of `fastgrad.reference.losses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import formulas
from .lists import (
    Array,
    Row,
    check_same_shape,
    check_samples,
    deliver,
    feature_axis,
    from_rows,
    result_dtype,
    to_rows,
)

HUBER_DELTA = 1.0
Term = Callable[[float, float], float]  # (pred, target) -> a number


class Loss:
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
        self.name = name
        self._term, self._slope = term, slope
        self._probabilities = probabilities  # targets must lie between 0 and 1
        self.__doc__ = term.__doc__

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __call__(
        self, pred: ArrayLike, target: ArrayLike, reduction: str = "mean", samples: str = "rows"
    ) -> float:
        """Return the loss as a Python float."""
        return self.value_and_grad(pred, target, reduction, samples)[0]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred = dL/dpred``, in ``out`` if given."""
        pred, target = np.asarray(pred), np.asarray(target)
        dtype = _grad_dtype(pred, target)
        check_same_shape(self.name, {"pred": pred, "target": target})
        check_samples(self.name, "pred", pred, samples)
        axis = feature_axis(samples)
        pred_rows, target_rows = to_rows(pred, axis), to_rows(target, axis)
        if self._probabilities:
            _require_probabilities(self.name, target_rows)
        scale = _scale(self.name, reduction, pred.size, len(pred_rows))

        total = 0.0
        grad = []
        for i in range(len(pred_rows)):
            grad_row = []
            for j in range(len(pred_rows[i])):
                total += self._term(pred_rows[i][j], target_rows[i][j])
                grad_row.append(self._slope(pred_rows[i][j], target_rows[i][j]) * scale)
            grad.append(grad_row)
        result = from_rows(grad, pred.shape, dtype, axis)
        return total * scale, deliver(self.name, result, out, pred, target)


class ArrayLoss:
    """A loss of one array ``y``, without target; ``reduction`` is ``"sum"`` unless told otherwise.

    Examples
    --------
    >>> from fastgrad.loops import losses
    >>> value, grad = losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    def __init__(
        self, name: str, term: Callable[[float], float], slope: Callable[[float], float]
    ) -> None:
        self.name = name
        self._term, self._slope = term, slope
        self.__doc__ = term.__doc__

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __call__(self, y: ArrayLike, reduction: str = "sum", samples: str = "rows") -> float:
        """Return the loss as a Python float."""
        return self.value_and_grad(y, reduction, samples)[0]

    def value_and_grad(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_y``, in ``out`` if given."""
        y = np.asarray(y)
        dtype = result_dtype(y)
        check_samples(self.name, "y", y, samples)
        axis = feature_axis(samples)
        rows = to_rows(y, axis)
        scale = _scale(self.name, reduction, y.size, len(rows))
        total = 0.0
        grad = []
        for row in rows:
            grad_row = []
            for value in row:
                total += self._term(value)
                grad_row.append(self._slope(value) * scale)
            grad.append(grad_row)
        return total * scale, deliver(self.name, from_rows(grad, y.shape, dtype, axis), out, y)


class SoftmaxCrossEntropy:
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

    name = "softmax_cross_entropy"

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __call__(
        self, pred: ArrayLike, target: ArrayLike, reduction: str = "mean", samples: str = "rows"
    ) -> float:
        """Return the loss as a Python float."""
        return self.value_and_grad(pred, target, reduction, samples)[0]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``, in ``out`` if given."""
        pred, target = np.asarray(pred), np.asarray(target)
        if pred.ndim == 1 != pred.size and target.shape == (1,) and target.dtype.kind in "iu":
            target = target.reshape(())
        classes = target.ndim == pred.ndim - 1
        dtype = result_dtype(pred) if classes else _grad_dtype(pred, target)
        check_samples(self.name, "pred", pred, samples)
        axis = feature_axis(samples)
        logits = to_rows(pred, axis)
        # One term per sample, so "mean" is the mean over samples too.
        scale = _scale(self.name, reduction, len(logits), len(logits))
        weights = self._weights(pred, target, axis, len(logits))

        total = 0.0
        grad = []
        for z, t in zip(logits, weights, strict=True):
            largest = max(z, default=0.0)
            exps = [formulas.exp(value - largest) for value in z]
            exp_sum = 0.0
            for value in exps:
                exp_sum += value
            log_sum = math.log(exp_sum) if exp_sum else -math.inf
            t_sum = 0.0
            for j in range(len(z)):
                t_sum += t[j]
                if t[j] != 0.0:  # a class of probability 0 adds nothing, even if z[j] is -inf
                    total += t[j] * (log_sum - (z[j] - largest))
            grad.append([(exps[j] / exp_sum * t_sum - t[j]) * scale for j in range(len(z))])
        result = from_rows(grad, pred.shape, dtype, axis)
        return total * scale, deliver(self.name, result, out, pred, target)

    def _weights(self, pred: Array, target: Array, axis: int, n: int) -> list[Row]:
        """Return the target as probabilities, one row for each of n samples."""
        if target.ndim != pred.ndim - 1:
            check_same_shape(self.name, {"pred": pred, "target": target})
            return to_rows(target, axis)
        classes = pred.shape[axis]
        if target.size != n or (n and target.dtype.kind not in "iu"):
            raise ValueError(
                f"{self.name}: target has shape {target.shape} and dtype {target.dtype} but pred "
                f"has shape {pred.shape}: give integer class indices, or an array like pred"
            )
        weights = []
        for label in target.reshape(-1).tolist():
            if not 0 <= label < classes:
                raise ValueError(f"{self.name}: class indices go from 0 to {classes - 1}")
            row = [0.0] * classes
            row[label] = 1.0
            weights.append(row)
        return weights


def _grad_dtype(pred: Array, target: Array) -> np.dtype[Any]:
    """Return the dtype of the gradient: that of ``pred``, or for integers of both together."""
    both = result_dtype(pred, target)
    return result_dtype(pred) if pred.dtype.kind == "f" else both


def _require_probabilities(loss: str, rows: list[Row]) -> None:
    """Raise where a target is less than 0 or more than 1, by more than rounding."""
    for row in rows:
        for value in row:
            if value < -(2.0**-20) or value > 1.0 + 2.0**-20:
                raise ValueError(f"{loss}: target has {value}: give probabilities from 0 to 1")


def _scale(loss: str, reduction: str, terms: int, samples: int) -> float:
    """Return what the sum of the terms is multiplied by; the last two are how many there are."""
    counts = {"mean": terms, "sum": 1, "samples": samples}
    if reduction not in counts:
        raise ValueError(f"{loss}: reduction is {reduction!r}; give 'mean', 'sum' or 'samples'")
    count = counts[reduction]
    return 1.0 / count if count else math.nan  # the mean of nothing is NaN


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


def _huber(pred: float, target: float) -> float:
    """``diff**2 / 2`` where ``|diff| <= 1``, else ``|diff| - 1/2``."""
    size = abs(pred - target)
    if size <= HUBER_DELTA:
        return 0.5 * size * size
    return HUBER_DELTA * (size - 0.5 * HUBER_DELTA)


def _huber_slope(pred: float, target: float) -> float:
    diff = pred - target
    if abs(diff) > HUBER_DELTA:
        return math.copysign(HUBER_DELTA, diff)
    return diff


def _binary_cross_entropy(z: float, target: float) -> float:
    """``-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z))`` per element, z the logit."""
    # = softplus(z) - t z = max(z, 0) - t z + log(1 + exp(-|z|)): nothing here overflows.
    line = max(z, 0.0) - target * z
    if math.isinf(z):  # inf - inf and 0 * inf have no value, but the line has
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
huber = Loss("huber", _huber, _huber_slope)
binary_cross_entropy_with_logits = Loss(
    "binary_cross_entropy_with_logits",
    _binary_cross_entropy,
    _binary_cross_entropy_slope,
    probabilities=True,
)
softmax_cross_entropy = SoftmaxCrossEntropy()
sum = ArrayLoss("sum", _itself, formulas.one)
squared_l2 = ArrayLoss("squared_l2", _square, _square_slope)

LOSSES: dict[str, Loss | ArrayLoss | SoftmaxCrossEntropy] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sum": sum,
    "squared_l2": squared_l2,
}
