"""The table of losses: one row each, and what a row can do.

To add one: a row in `LOSSES` below, its terms in ``kernels/loss.py``, its NumPy twin in
``reference/losses.py`` and its naive loop in ``loops/losses.py``. Tests and benchmarks follow
from the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import (
    INT64,
    Array,
    as_array,
    as_native,
    check_choice,
    check_out,
    common_dtypes,
    deliver,
)
from fastgrad.kernels.flags import COLUMNS, PER_SAMPLE, UNCHECKED, WANT_GRAD

REDUCTIONS = ("mean", "sum", "samples")
_CODES = {name: code for code, name in enumerate(REDUCTIONS)}
LAYOUTS = ("rows", "columns")
_COLUMNS = {"rows": 0, "columns": COLUMNS}


class _Loss:
    """What all losses share: the kernel's address, and calls of it on canonical arrays."""

    def __init__(self, name: str, formula: str, *, rowwise: bool = False) -> None:
        self.name, self.formula, self.rowwise = name, formula, rowwise
        self.__doc__ = f"{name}: {formula}"
        self._flags = PER_SAMPLE if rowwise else 0
        self._kernels: dict[np.dtype[Any], tuple[Callable[..., Any], int]] = {}

    def __repr__(self) -> str:
        return f"<loss {self.name}: {self.formula}>"

    def __reduce__(self) -> Any:
        return _lookup, (self.name,)

    def address(self, dtype: str) -> int:
        """Return the address of the loss kernel."""
        from fastgrad.kernels.library import LIBRARY

        return LIBRARY.address(f"loss.{self.name}", f"loss_{self.name}", dtype)

    def _kernel(self, dtype: np.dtype[Any]) -> tuple[Callable[..., Any], int]:
        """Return the compiled entry point and the address of this loss."""
        from fastgrad.kernels.library import entry

        found = entry("apply_loss", "apply_loss", dtype.name), self.address(dtype.name)
        self._kernels[dtype] = found
        return found

    def _direct(
        self, pred: Any, target: Any, reduction: str, samples: str, out: Any, flags: int
    ) -> Any:
        """Run the kernel on the arguments as they are, or return None: not in its form."""
        try:
            run, address = self._kernels[pred.dtype]
            flags += self._flags + _COLUMNS[samples]
            if out is not None:
                flags += UNCHECKED
            return run(pred, target, out, address, _CODES[reduction], flags)
        except (AttributeError, KeyError, TypeError):
            return None

    def _evaluate(
        self,
        caller: str,
        pred: ArrayLike,
        target: ArrayLike | None,
        reduction: str,
        samples: str,
        out: Array | None,
        want_grad: bool,
    ) -> Any:
        """Check and convert everything, run the kernel, deliver float or (float, grad)."""
        first = "pred" if target is not None else "y"
        check_choice(caller, "reduction", reduction, REDUCTIONS)
        check_choice(caller, "samples", samples, LAYOUTS)
        array = as_array(caller, first, pred)
        if array.ndim == 0:
            raise ValueError(f"{caller}: {first} has shape (): it needs at least one axis")
        columns = samples == "columns" and array.ndim > 1
        if columns and array.ndim > 2:
            raise ValueError(
                f"{caller}: {first} has shape {array.shape}: columns take (d, n) or (d,)"
            )
        goal = None if target is None else as_array(caller, "target", target)
        labels = goal is not None and self.rowwise and goal.ndim == array.ndim - 1
        if labels:
            assert goal is not None
            _check_labels(caller, array, goal, columns)
        elif goal is not None:
            _check_same(caller, array, goal)
        inputs = {first: array} if goal is None else {first: array, "target": goal}
        dtypes = common_dtypes(*([array] if labels or goal is None else [array, goal]))
        result = common_dtypes(array).result
        if out is not None:
            check_out(caller, "out", out, array.shape, result, inputs)
        if array.size == 0:
            terms = array.size
            if self.rowwise or reduction == "samples":
                terms = math.prod(array.shape[1:] if columns else array.shape[:-1])
            value = 0.0 if reduction == "sum" or terms else math.nan  # the mean of nothing
            grad = np.empty(array.shape, result) if out is None else out
            return (value, grad) if want_grad else value

        def canonical(a: Array) -> Array:
            return as_native(a if a.ndim <= 2 else np.ascontiguousarray(a), dtypes.work)

        run, address = self._kernel(dtypes.work)
        if labels:
            assert goal is not None
            goal = as_native(np.ascontiguousarray(goal), INT64).reshape(goal.shape)
        elif goal is not None:
            goal = canonical(goal)
        flags = self._flags + _COLUMNS[samples] + (WANT_GRAD if want_grad else 0)
        outcome = run(canonical(array), goal, None, address, _CODES[reduction], flags)
        if not want_grad:
            return outcome
        value, grad = outcome
        return value, deliver(grad, result, out)


class Loss(_Loss):
    """A loss of predictions and targets.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.losses.mse([[1.0, 2.0]], [[0.0, 0.0]])
    2.5
    >>> value, grad = fg.losses.mse.value_and_grad([[1.0, 2.0]], [[0.0, 0.0]], "samples")
    >>> value, grad.tolist()
    (5.0, [[2.0, 4.0]])
    """

    def __call__(
        self, pred: ArrayLike, target: ArrayLike, reduction: str = "mean", samples: str = "rows"
    ) -> float:
        """Return the loss as a Python float; the arguments are those of `value_and_grad`."""
        if target is not None:
            value: float | None = self._direct(pred, target, reduction, samples, None, 0)
            if value is not None:
                return value
        _check_given(self.name, target)
        return self._evaluate(self.name, pred, target, reduction, samples, None, False)  # type: ignore[no-any-return]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``, in one pass over the data.

        Parameters
        ----------
        pred : array_like
            Predictions ``(n, d)``, ``(..., d)`` or ``(d,)``; columns: ``(d, n)`` or ``(d,)``.
            Logits for the cross-entropies.
        target : array_like
            Of the shape of `pred`. For softmax cross-entropy also integer classes, one per
            sample.
        reduction : {"mean", "sum", "samples"}
            Divide the sum of all terms by their number, by one, or by the number of samples.
        samples : {"rows", "columns"}
            Which axis counts samples.
        out : ndarray, optional
            Where to put the gradient: the shape and dtype of `pred`.

        Returns
        -------
        value : float
            Accumulated in float64.
        grad : ndarray
            ``dL/dpred``, of the shape and dtype of `pred`.

        Raises
        ------
        TypeError, ValueError
            For dtypes, shapes, names or class indices that do not fit.
        """
        if target is not None:
            pair = self._direct(pred, target, reduction, samples, out, WANT_GRAD)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        caller = f"{self.name}.value_and_grad"
        _check_given(caller, target)
        value, grad = self._evaluate(caller, pred, target, reduction, samples, out, True)
        return value, grad


class ArrayLoss(_Loss):
    """A loss of one array, without target; ``reduction`` is ``"sum"`` unless told otherwise.

    Examples
    --------
    >>> import fastgrad as fg
    >>> value, grad = fg.losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    def __call__(self, y: ArrayLike, reduction: str = "sum", samples: str = "rows") -> float:
        """Return the loss as a Python float."""
        value: float | None = self._direct(y, None, reduction, samples, None, 0)
        if value is not None:
            return value
        return self._evaluate(self.name, y, None, reduction, samples, None, False)  # type: ignore[no-any-return]

    def value_and_grad(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_y``; parameters as for `Loss.value_and_grad`."""
        pair = self._direct(y, None, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        caller = f"{self.name}.value_and_grad"
        value, grad = self._evaluate(caller, y, None, reduction, samples, out, True)
        return value, grad


def _lookup(name: str) -> Loss | ArrayLoss:
    return LOSSES[name]


def _check_given(caller: str, target: ArrayLike | None) -> None:
    # Inside, None stands for the losses of one array.
    if target is None:
        raise TypeError(f"{caller}: target is None: give an array like pred")


def _check_same(caller: str, pred: Array, target: Array) -> None:
    # NumPy would broadcast (n, 1) against (n,) to (n, n): a classic silent mistake.
    if pred.shape != target.shape:
        raise ValueError(
            f"{caller}: target has shape {target.shape} but pred has shape {pred.shape}: "
            "they need the same shape"
        )


def are_classes(target: Array, shape: tuple[int, ...]) -> bool:
    """Return whether `target` holds integers and has this shape: classes, one per sample."""
    # np.asarray([]) is float64: an empty list of classes is still a list of classes.
    return target.shape == shape and (target.dtype.kind in "iu" or not target.size)


def _check_labels(caller: str, pred: Array, target: Array, columns: bool) -> None:
    expected = pred.shape[1:] if columns else pred.shape[:-1]
    classes = pred.shape[0] if columns else pred.shape[-1]
    if not are_classes(target, expected):
        raise ValueError(
            f"{caller}: target has shape {target.shape} and dtype {target.dtype} but pred has "
            f"shape {pred.shape}: give integer classes of shape {expected}, or an array like pred"
        )
    if target.size and (target.min() < 0 or target.max() >= classes):
        raise ValueError(
            f"{caller}: target has classes from {target.min()} to {target.max()} but pred has "
            f"{classes} classes: they go from 0 to {classes - 1}"
        )


mse = Loss("mse", "(pred - target)**2")
mae = Loss("mae", "|pred - target|")
huber = Loss("huber", "d**2 / 2 if |d| <= 1 else |d| - 1/2, d = pred - target")
binary_cross_entropy_with_logits = Loss(
    "binary_cross_entropy_with_logits", "log(1 + exp(pred)) - target * pred"
)
softmax_cross_entropy = Loss(
    "softmax_cross_entropy", "-sum(target * log(softmax(pred)))", rowwise=True
)
sum = ArrayLoss("sum", "y")
squared_l2 = ArrayLoss("squared_l2", "y**2")

LOSSES: dict[str, Loss | ArrayLoss] = {
    loss.name: loss
    for loss in (
        mse, mae, huber, binary_cross_entropy_with_logits, softmax_cross_entropy, sum, squared_l2
    )
}  # fmt: skip
