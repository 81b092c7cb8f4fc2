"""Loss functions in plain NumPy: one number from a batch of predictions, and its gradient.

A loss is a sum of terms. An elementwise loss has one term per element of ``pred``, softmax
cross-entropy has one per sample. ``reduction`` says what to divide the sum by:

=============  ========================================================================
``"mean"``     the number of terms
``"sum"``      nothing
``"samples"``  the number of samples (sum over outputs, mean over the batch)
=============  ========================================================================

``samples="rows"``: ``pred`` is ``(n, d)``, or ``(..., d)``; ``"columns"``: ``(d, n)``. In both,
a 1-D ``pred`` is one sample of d features.

Terms are added in float64 for every dtype; gradients have the dtype of ``pred``. ``weights``, one
per sample or per term, multiply the terms, and the mean divides by the sum of the terms' weights.
A term of weight 0 is left out, whatever it is. With ``reduction="none"`` a call returns the terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.loss_arguments import HUBER_DELTA, check_delta

from . import formulas
from .class_losses import Hinge, NegativeLogLikelihood, SoftmaxCrossEntropy
from .loss import ArrayLoss, LogitLoss, Loss


class Huber(Loss):
    """Huber's loss: ``diff**2 / 2`` where ``|diff| <= delta``, else ``delta (|diff| - delta / 2)``.

    Examples
    --------
    >>> from fastgrad.reference import losses
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

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        diff, delta = pred - target, self.delta
        size = np.abs(diff)
        terms = np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))
        return terms, np.clip(diff, -delta, delta)


# ---- terms and slopes, as functions of diff = pred - target ------------------------------------


def _square(diff: Array, _: Array | None = None) -> Array:
    """``(pred - target)**2`` per element."""
    return np.square(diff, dtype=np.float64)  # exact for float32, and cannot overflow there


def _square_slope(diff: Array, _: Array | None = None) -> Array:
    slope: Array = 2.0 * diff
    return slope


def _absolute(diff: Array, _: Array) -> Array:
    """``|pred - target|`` per element; the gradient is 0 where they are equal."""
    return np.abs(diff)


def _absolute_slope(diff: Array, _: Array) -> Array:
    return np.sign(diff)


def _log_cosh(diff: Array, _: Array) -> Array:
    """``log(cosh(diff))`` in a form that neither overflows nor cancels."""
    size = np.abs(diff.astype(np.float64, copy=False))
    near = np.log1p(2.0 * np.square(np.sinh(np.minimum(size, 1.0) / 2.0)))
    return np.where(size < 1.0, near, size - np.log(2.0) + np.log1p(np.exp(-2.0 * size)))


def _log_cosh_slope(diff: Array, _: Array) -> Array:
    return np.tanh(diff)


def _poisson(z: Array, target: Array) -> Array:
    """``exp(z) - t z`` per element: counts t, whose mean is ``exp(z)``."""
    line = np.where((target == 0) | (z == np.inf), 0.0, target * z)
    return np.exp(z.astype(np.float64)) - line


def _poisson_slope(z: Array, target: Array) -> Array:
    slope: Array = np.exp(z) - target
    return slope


def _logits(pred: Array, target: Array) -> Array:
    return pred


def _binary_cross_entropy(z: Array, target: Array) -> Array:
    """``-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z))`` per element, z the logit."""
    # = softplus(z) - t z = max(z, 0) - t z + log(1 + exp(-|z|)): nothing here overflows.
    tail = np.log1p(np.exp(-np.abs(z)))
    line = np.maximum(z, 0.0) - target * z
    # For an infinite z that may be inf - inf or 0 * inf. There the term is (1 - t) z or -t z, which
    # is 0 if the target is the class that z stands for.
    infinite = np.isinf(z)
    if infinite.any():
        share = np.where(z > 0, 1.0 - target, -target)
        line = np.where(infinite, np.where(share == 0, 0.0, share * z), line)
    tail += line
    return tail


def _binary_cross_entropy_slope(z: Array, target: Array) -> Array:
    slope = formulas.sigmoid(z)
    slope -= target
    return slope


def _itself(y: Array) -> Array:
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
    prepare=_logits,
    probabilities=True,
)
softmax_cross_entropy = SoftmaxCrossEntropy()
poisson = Loss("poisson", _poisson, _poisson_slope, prepare=_logits)
hinge = Hinge()
nll = NegativeLogLikelihood()
sum = ArrayLoss("sum", _itself, np.ones_like)
squared_l2 = ArrayLoss("squared_l2", _square, _square_slope)

LOSSES: dict[str, Loss | ArrayLoss | SoftmaxCrossEntropy] = {
    loss.name: loss
    for loss in (
        mse, mae, huber, log_cosh, binary_cross_entropy_with_logits, poisson, softmax_cross_entropy,
        hinge, nll, sum, squared_l2,
    )
}  # fmt: skip
