"""Losses of classes in plain NumPy, one term per sample: softmax cross-entropy, hinge and nll."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_limit
from fastgrad.arrays import Array
from fastgrad.loss_arguments import HINGE_MARGIN

from . import activations
from .dense import as_rows
from .loss import LogitLoss, Loss


class SoftmaxCrossEntropy(LogitLoss):
    """The cross-entropy between ``target`` and the softmax of the logits ``pred``.

    A sample's term is ``-sum_j t_j log(softmax(z)_j) = sum_j t_j (logsumexp(z) - z_j)``, its
    gradient ``softmax(z) * sum_j t_j - t``. ``target`` holds a class index per sample, or a
    one-hot or probability vector per sample, in the shape of ``pred``. A class of probability 0
    adds nothing, even if its logit is -inf.

    There is one term per sample, so the reductions ``"mean"`` and ``"samples"`` agree.

    Examples
    --------
    >>> from fastgrad.reference import losses
    >>> value, grad = losses.softmax_cross_entropy.value_and_grad([[0.0, 0.0], [9.0, 9.0]], [0, 1])
    >>> round(value, 4), grad.tolist()
    (0.6931, [[-0.25, 0.25], [0.25, -0.25]])
    """

    rowwise = True

    def __init__(self) -> None:  # not Loss's: there are no terms per element
        self.name = "softmax_cross_entropy"
        self.__doc__ = type(self).__doc__

    def _probabilities(self, logits: Array, samples: str) -> Array:
        columns = samples == "columns" and logits.ndim == 2
        return activations.softmax(logits, axis=0 if columns else -1)

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        rows = as_rows(pred, samples)
        shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
        probs = np.exp(shifted)
        total = probs.sum(axis=1, keepdims=True)
        log_total = np.log(total)  # logsumexp(z) - z_j = log_total - shifted_j
        classes = target.ndim < pred.ndim
        if classes:
            which, label = np.arange(len(rows)), target.reshape(-1).astype(np.intp, copy=False)
            terms = log_total[:, 0] - shifted[which, label]
        else:
            weights = as_rows(target, samples)
            terms = log_total - shifted
            terms = np.multiply(terms, weights, where=weights != 0, out=weights * 0.0)
        if want_slope:
            probs /= total
            if classes:
                probs[which, label] -= 1.0
            else:
                probs *= weights.sum(axis=1, keepdims=True)
                probs -= weights
        return terms, _like(probs, pred, samples)


class Hinge(Loss):
    """``sum(max(0, z_j - z_c + margin))`` over the classes j other than the class c.

    ``target`` holds a class per sample, or in the shape of ``pred`` how often each class counts.

    Examples
    --------
    >>> from fastgrad.reference import losses
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

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        rows = as_rows(pred, samples)
        counts = _counts(rows, pred, target, samples).astype(np.float64)
        # over[i, c, j]: by how much class j of sample i is too near to class c.
        over = np.maximum(0.0, rows[:, None, :] - rows[:, :, None] + self.margin)
        over[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] = 0.0
        over = np.where(counts[:, :, None] != 0, over, 0.0)
        terms = (over.sum(axis=2, dtype=np.float64) * counts).sum(axis=1)
        above = np.where(over > 0, counts[:, :, None], np.where(np.isnan(over), over, 0.0))
        slope = above.sum(axis=1) - above.sum(axis=2)
        return terms, _like(slope.astype(pred.dtype), pred, samples)


class NegativeLogLikelihood(Loss):
    """``-sum_j t_j log(p_j)`` of probabilities p, one term per sample.

    Examples
    --------
    >>> from fastgrad.reference import losses
    >>> round(losses.nll([[0.5, 0.5]], [1]), 4)
    0.6931
    """

    rowwise = True

    def __init__(self) -> None:
        self.name = "nll"
        self.__doc__ = type(self).__doc__

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        rows = as_rows(pred, samples)
        counts = _counts(rows, pred, target, samples)
        terms = np.where(counts == 0, 0.0, -np.log(rows.astype(np.float64)) * counts)
        slope = np.where(counts == 0, 0.0, -counts / rows)
        return terms.sum(axis=1), _like(slope.astype(pred.dtype), pred, samples)


def _counts(rows: Array, pred: Array, target: Array, samples: str) -> Array:
    """Return how often each class of each sample counts: of classes one-hot rows."""
    if target.ndim < pred.ndim:
        return np.eye(rows.shape[1])[target.reshape(-1).astype(np.intp)]
    return as_rows(target, samples)


def _like(rows: Array, pred: Array, samples: str) -> Array:
    """Return an array of rows in the shape of `pred`."""
    columns = samples == "columns" and pred.ndim == 2
    return (rows.T if columns else rows).reshape(pred.shape)
