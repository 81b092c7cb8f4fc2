"""What a loss in plain NumPy can do: values, gradients, terms, weights, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import REDUCTIONS
from fastgrad.arrays import Array, deliver, promoted
from fastgrad.loss_arguments import WITH_NONE, check_target_given, detailed_arguments, is_none

from . import formulas


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
