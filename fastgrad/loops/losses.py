"""Loss functions as plain Python loops: add up the terms, sample by sample, feature by feature.

``reduction`` divides the sum of the terms by their number (``"mean"``), by the number of samples
(``"samples"``), or not at all (``"sum"``). Shapes are those of `fastgrad.reference.losses`.

With ``weights``, one per sample or per term, each term is multiplied by its own, and the mean
divides by their sum; terms of weight 0 are left out. ``reduction="none"`` returns the terms.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.loss_arguments import HUBER_DELTA, check_delta

from . import formulas
from .class_losses import Hinge, NegativeLogLikelihood, SoftmaxCrossEntropy
from .lists import Row
from .loss import ArrayLoss, LogitLoss, Loss


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
