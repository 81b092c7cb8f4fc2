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

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import REDUCTIONS, check_limit
from fastgrad.arrays import Array, deliver, promoted
from fastgrad.loss_arguments import (
    HINGE_MARGIN,
    HUBER_DELTA,
    WITH_NONE,
    check_delta,
    check_target_given,
    detailed_arguments,
    is_none,
)

from . import activations, formulas
from .dense import as_rows


class _Loss:
    """What all losses share: everything but the terms and their slope."""

    name: str
    rowwise = False  # whether there is a term per sample, not one per element
    takes_target = True
    adjusted: dict[str, float] | None = None  # a setting by its name, unless it is the default
    probabilities = False  # whether targets must be from 0 to 1: else there is no minimum

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
        """Return the loss (or its terms) and its gradient, which is valid only if asked for."""
        allowed = WITH_NONE if is_none(reduction) and not want_grad else REDUCTIONS
        given = detailed_arguments(
            self, caller, pred, target, reduction, samples, weights, out, allowed
        )
        pred, target, classes, _, weights = given
        work, dtype = given.dtypes
        if pred.dtype is not work:
            pred = pred.astype(work)
        if target is not None and target.dtype is not work and not classes:
            target = target.astype(work)
        with np.errstate(all="ignore"):
            terms, slope = self._terms_and_slope(pred, target, samples, want_grad)
            if weights is not None or reduction == "none":
                terms = self._per_sample(terms) if self.rowwise else terms.astype(np.float64)
            if weights is not None:
                over = weights.reshape(-1) if self.rowwise else given.over(weights)
                terms = np.where(over == 0, 0.0, terms * over)
            if reduction == "none":
                return terms.reshape(given.each) if self.rowwise else terms, slope
            if reduction == "sum":
                count = 1.0
            elif reduction == "mean" and weights is not None:
                count = float(over.sum())
            else:
                count = pred.size if reduction == "mean" and not self.rowwise else given.samples
            scale = 1.0 / count if count else math.nan  # the mean of nothing is NaN
            value = float(terms.sum(dtype=np.float64))
            if weights is None:
                value *= scale
                grad = np.multiply(slope, scale, out=slope) if want_grad else slope
            else:  # the sum of the weights may be too small for its reciprocal
                value = value / count if count else math.nan
                if want_grad:
                    factor = given.over(weights) / count
                    grad = np.where(factor == 0, 0.0, slope * factor).astype(work)
            if not want_grad:
                return value, slope
        return value, grad if out is None and work is dtype else deliver(grad, dtype, out)

    def _per_sample(self, terms: Array) -> Array:
        """Return the terms of a rowwise loss, one per sample, in float64."""
        terms = terms.astype(np.float64)
        return terms if terms.ndim == 1 else terms.sum(axis=1)

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        """Return the terms, and the derivative of their sum in a new array."""
        raise NotImplementedError


class Loss(_Loss):
    """A loss of predictions and targets of one shape, a sum of elementwise terms.

    Parameters
    ----------
    name : str
        Its name in ``LOSSES``.
    terms, slope : callable
        ``terms(basis, target)`` returns the term of each element, ``slope(basis, target)`` its
        derivative with respect to ``pred``.
    prepare : callable
        ``prepare(pred, target)`` returns ``basis``, by default ``pred - target``.
    probabilities : bool
        Targets must be from 0 to 1: else there is no minimum.

    Examples
    --------
    >>> from fastgrad.reference import losses
    >>> losses.mse([[1.0, 2.0]], [[0.0, 0.0]])
    2.5
    >>> value, grad = losses.mse.value_and_grad([[1.0, 2.0]], [[0.0, 0.0]], "samples")
    >>> value, grad.tolist()
    (5.0, [[2.0, 4.0]])
    """

    def __init__(
        self,
        name: str,
        terms: Callable[[Array, Array], Array],
        slope: Callable[[Array, Array], Array],
        prepare: Callable[[Array, Array], Array] = np.subtract,
        probabilities: bool = False,
    ) -> None:
        self.name, self.probabilities = name, probabilities
        self._prepare, self._terms, self._slope = prepare, terms, slope
        self.__doc__ = terms.__doc__

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> Any:
        """Return the loss as a Python float; with ``reduction="none"`` the terms, in float64."""
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
        """Return the loss and ``grad_pred = dL/dpred``, in ``out`` if given.

        Raises
        ------
        ValueError
            If the shapes differ, ``out`` is unsuitable, ``reduction`` or ``samples`` is unknown,
            a class index is not an integer from 0 to c - 1, or weights are negative, not finite,
            or (for a mean) all 0.
        """
        caller = f"{self.name}.value_and_grad"
        check_target_given(caller, target)
        return self._evaluate(caller, pred, target, reduction, samples, weights, out)

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        basis = self._prepare(pred, target)
        return self._terms(basis, target), self._slope(basis, target) if want_slope else basis


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


class ArrayLoss(_Loss):
    """A loss of one array ``y``, without target; ``reduction`` is ``"sum"`` by default.

    Examples
    --------
    >>> from fastgrad.reference import losses
    >>> value, grad = losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    takes_target = False

    def __init__(
        self, name: str, terms: Callable[[Array], Array], slope: Callable[[Array], Array]
    ) -> None:
        self.name = name
        self._terms, self._slope = terms, slope
        self.__doc__ = terms.__doc__

    def __call__(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> Any:
        """Return the loss as a Python float; with ``reduction="none"`` the terms, in float64."""
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

    def _terms_and_slope(
        self, pred: Array, target: Any, samples: str, want_slope: bool
    ) -> tuple[Array, Array]:
        return self._terms(pred), self._slope(pred) if want_slope else pred


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
        logits = np.asarray(pred).astype(promoted(grad.dtype).work)
        with np.errstate(all="ignore"):
            return value, grad, self._probabilities(logits, samples).astype(grad.dtype)

    def _probabilities(self, logits: Array, samples: str) -> Array:
        return formulas.sigmoid(logits)


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
        slope = probs.T if samples == "columns" and pred.ndim == 2 else probs
        return terms, slope.reshape(pred.shape)


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
