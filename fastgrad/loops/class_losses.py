"""Losses of classes in plain loops, one term per sample: softmax cross-entropy, hinge and nll."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arguments import check_limit
from fastgrad.arrays import Array
from fastgrad.loss_arguments import HINGE_MARGIN

from . import formulas
from .lists import Row
from .loss import LogitLoss, Loss


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
        largest, exps, exp_sum = _exponentials(pred)
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
        _, exps, total = _exponentials(logits)
        return [value / total for value in exps]


def _exponentials(logits: Row) -> tuple[float, Row, float]:
    """Return the largest logit, the exponentials of all less that one, and their sum."""
    largest = max(logits, default=0.0)
    exps = [formulas.exp(z - largest) for z in logits]
    total = 0.0
    for value in exps:
        total += value
    return largest, exps, total


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
