"""Loss functions in plain NumPy: one number from a batch of predictions, and its gradient.

A loss is a sum of terms. For the elementwise ones there is a term per element of ``pred``; for
softmax cross-entropy there is one per sample. ``reduction`` says what to divide the sum by:

=============  ========================================================================
``"mean"``     the number of terms
``"sum"``      nothing
``"samples"``  the number of samples (sum over outputs, mean over the batch)
=============  ========================================================================

``samples="rows"``: ``pred`` is ``(n, d)``, or ``(..., d)``; ``"columns"``: ``(d, n)``. A 1-D
``pred`` is one sample of d features in both.

Terms are added up in float64 whatever the dtype; gradients have the dtype of ``pred``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import formulas
from .arrays import (
    Array,
    as_floats,
    as_rows,
    check_out,
    check_same_shape,
    check_samples,
    promote,
    working_dtype,
)

HUBER_DELTA = 1.0


class Loss:
    """A loss of predictions and targets of one shape, a sum of elementwise terms.

    Parameters
    ----------
    name : str
        Its name in ``LOSSES``.
    terms, slope : callable
        ``terms(basis, target)`` returns the term of each element, ``slope(basis, target)`` its
        derivative with respect to ``pred``.
    prepare : callable
        ``prepare(pred, target)`` returns their ``basis``; by default ``pred - target``.
    probabilities : bool
        Targets must lie between 0 and 1: else there is no minimum.

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
        self.name = name
        self._probabilities = probabilities
        self._prepare, self._terms, self._slope = prepare, terms, slope
        self.__doc__ = terms.__doc__

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __call__(
        self, pred: ArrayLike, target: ArrayLike, reduction: str = "mean", samples: str = "rows"
    ) -> float:
        """Return the loss as a Python float."""
        (pred, target), _ = as_floats(pred, target)
        check_same_shape(self.name, "pred", pred, "target", target)
        if self._probabilities:
            _check_probabilities(self.name, target)
        scale = _scale(self.name, "pred", pred, reduction, samples)
        with np.errstate(all="ignore"):
            return _total(self._terms(self._prepare(pred, target), target)) * scale

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred = dL/dpred``, in ``out`` if given.

        Raises
        ------
        ValueError
            If the shapes differ, ``out`` is unsuitable, or ``reduction`` or ``samples`` unknown.
        """
        pred = np.asarray(pred)
        (floats, target), dtype = as_floats(pred, target)
        if pred.dtype.kind == "f":
            dtype = promote(pred)
        check_same_shape(self.name, "pred", floats, "target", target)
        if self._probabilities:
            _check_probabilities(self.name, target)
        scale = _scale(self.name, "pred", floats, reduction, samples)
        if out is not None:
            check_out(self.name, out, floats.shape, dtype, pred, target)
        with np.errstate(all="ignore"):
            basis = self._prepare(floats, target)
            value = _total(self._terms(basis, target)) * scale
            return value, _scaled(self._slope(basis, target), scale, dtype, out)


class ArrayLoss:
    """A loss of one array ``y``, without target; ``reduction`` is ``"sum"`` unless told otherwise.

    Examples
    --------
    >>> from fastgrad.reference import losses
    >>> value, grad = losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    def __init__(
        self, name: str, terms: Callable[[Array], Array], slope: Callable[[Array], Array]
    ) -> None:
        self.name = name
        self._terms, self._slope = terms, slope
        self.__doc__ = terms.__doc__

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def __call__(self, y: ArrayLike, reduction: str = "sum", samples: str = "rows") -> float:
        """Return the loss as a Python float."""
        (y,), _ = as_floats(y)
        scale = _scale(self.name, "y", y, reduction, samples)
        with np.errstate(all="ignore"):
            return _total(self._terms(y)) * scale

    def value_and_grad(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_y``, in ``out`` if given."""
        (y,), dtype = as_floats(y)
        scale = _scale(self.name, "y", y, reduction, samples)
        if out is not None:
            check_out(self.name, out, y.shape, dtype, y)
        with np.errstate(all="ignore"):
            return _total(self._terms(y)) * scale, _scaled(self._slope(y), scale, dtype, out)


class SoftmaxCrossEntropy:
    """The cross-entropy between ``target`` and the softmax of the logits ``pred``.

    A sample's term is ``-sum_j t_j log(softmax(z)_j) = sum_j t_j (logsumexp(z) - z_j)``, its
    gradient ``softmax(z) * sum_j t_j - t``. ``target`` holds, per sample, a class index, or a
    one-hot or probability vector, then of the shape of ``pred``. A class of probability 0 adds
    nothing, even where its logit is -inf.

    There is one term per sample, so the reductions ``"mean"`` and ``"samples"`` agree.

    Examples
    --------
    >>> from fastgrad.reference import losses
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
        return self._evaluate(pred, target, reduction, samples, want_grad=False)[0]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``, in ``out`` if given.

        Raises
        ------
        ValueError
            If the shapes do not fit, or a class index is not an integer from 0 to c - 1.
        """
        value, grad = self._evaluate(pred, target, reduction, samples, want_grad=True, out=out)
        assert grad is not None
        return value, grad

    def _evaluate(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str,
        samples: str,
        want_grad: bool,
        out: Array | None = None,
    ) -> tuple[float, Array | None]:
        pred, target = np.asarray(pred), np.asarray(target)
        dtype = promote(pred)
        if pred.ndim == 1 != pred.size and target.shape == (1,) and target.dtype.kind in "iu":
            target = target.reshape(())
        indices = target.ndim == pred.ndim - 1
        if indices:
            floats = pred.astype(working_dtype(dtype), copy=False)
        else:
            check_same_shape(self.name, "pred", pred, "target", target)
            (floats, target), common = as_floats(pred, target)
            dtype = dtype if pred.dtype.kind == "f" else common
        # One term per sample: the mean over terms is that over samples.
        per = "samples" if reduction == "mean" else reduction
        scale = _scale(self.name, "pred", pred, per, samples)
        if out is not None:
            check_out(self.name, out, pred.shape, dtype, pred, target)

        rows = as_rows(floats, samples)
        n, classes = rows.shape
        with np.errstate(all="ignore"):
            shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
            probs = np.exp(shifted)
            total = probs.sum(axis=1, keepdims=True)
            log_total = np.log(total)  # logsumexp(z) - z_j = log_total - shifted_j
            if indices:
                label = _check_indices(self.name, target, pred, n, classes)
                which = np.arange(n)
                value = _total(log_total[:, 0] - shifted[which, label])
            else:
                weights = as_rows(target, samples)
                terms = log_total - shifted
                value = _total(np.multiply(terms, weights, where=weights != 0, out=weights * 0.0))
            value *= scale
            if not want_grad:
                return value, None
            probs /= total
            if indices:
                probs[which, label] -= 1.0
            else:
                probs *= weights.sum(axis=1, keepdims=True)
                probs -= weights
            grad = probs.T if samples == "columns" and pred.ndim == 2 else probs
            return value, _scaled(grad.reshape(pred.shape), scale, dtype, out)


# ---- pieces that all losses share --------------------------------------------------------------


def _scale(loss: str, name: str, array: Array, reduction: str, samples: str) -> float:
    """Check the last two, and return what the sum of the terms is multiplied by."""
    check_samples(loss, name, array, samples)
    if reduction == "mean":
        return _reciprocal(array.size)
    if reduction == "sum":
        return 1.0
    if reduction == "samples":
        if samples == "rows":
            return _reciprocal(math.prod(array.shape[:-1]))
        return _reciprocal(array.shape[-1] if array.ndim > 1 else 1)
    raise ValueError(f"{loss}: reduction is {reduction!r}; give 'mean', 'sum' or 'samples'")


def _reciprocal(count: int) -> float:
    return 1.0 / count if count else math.nan  # the mean of nothing is NaN


def _total(terms: Array) -> float:
    return float(terms.sum(dtype=np.float64))


def _scaled(slope: Array, scale: float, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Multiply the new array ``slope`` by ``scale``, in place or into ``out``."""
    if out is None:
        return np.multiply(slope, scale, out=slope).astype(dtype, copy=False)
    return np.multiply(slope, scale, out=out, casting="same_kind")


def _check_probabilities(name: str, target: Array) -> None:
    """Raise unless a target lies between 0 and 1, but for rounding; NaN goes through."""
    slack = 2.0**-20
    if np.any(target < -slack) or np.any(target > 1.0 + slack):
        raise ValueError(f"{name}: target has values outside of 0 to 1: give probabilities")


def _check_indices(name: str, target: Array, pred: Array, n: int, classes: int) -> Array:
    label = target.reshape(-1)
    if label.size == 0:
        label = label.astype(np.intp)  # np.asarray([]) is float64
    if label.size != n or label.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: target has shape {target.shape} and dtype {target.dtype} but pred has shape "
            f"{pred.shape}: give integer class indices, one per sample, or an array like pred"
        )
    if n and (label.min() < 0 or label.max() >= classes):
        raise ValueError(f"{name}: class indices go from 0 to {classes - 1}")
    return label


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


def _huber(diff: Array, _: Array) -> Array:
    """``diff**2 / 2`` where ``|diff| <= 1``, else ``|diff| - 1/2``."""
    size = np.abs(diff)
    inner = np.minimum(size, HUBER_DELTA)
    return inner * (size - 0.5 * inner)


def _huber_slope(diff: Array, _: Array) -> Array:
    return np.clip(diff, -HUBER_DELTA, HUBER_DELTA)


def _logits(pred: Array, target: Array) -> Array:
    return pred


def _binary_cross_entropy(z: Array, target: Array) -> Array:
    """``-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z))`` per element, z the logit."""
    # = softplus(z) - t z = max(z, 0) - t z + log(1 + exp(-|z|)): nothing here overflows.
    tail = np.log1p(np.exp(-np.abs(z)))
    line = np.maximum(z, 0.0) - target * z
    # Where z is infinite that may be inf - inf or 0 * inf: there the line is (1 - t) z or -t z,
    # and 0 for the class that z speaks for.
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
huber = Loss("huber", _huber, _huber_slope)
binary_cross_entropy_with_logits = Loss(
    "binary_cross_entropy_with_logits",
    _binary_cross_entropy,
    _binary_cross_entropy_slope,
    prepare=_logits,
    probabilities=True,
)
softmax_cross_entropy = SoftmaxCrossEntropy()
sum = ArrayLoss("sum", _itself, np.ones_like)
squared_l2 = ArrayLoss("squared_l2", _square, _square_slope)

LOSSES: dict[str, Loss | ArrayLoss | SoftmaxCrossEntropy] = {
    loss.name: loss
    for loss in (
        mse, mae, huber, binary_cross_entropy_with_logits, softmax_cross_entropy, sum, squared_l2
    )
}  # fmt: skip
