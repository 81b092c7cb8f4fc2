"""The table of losses: one row each, and what a row can do.

To add one: an object below and its name in `LOSSES`; its terms in ``kernels/elementwise/loss.py``;
its twins in ``reference/losses.py`` and ``loops/losses.py``; its name in ``benchmarks/common.py``.
Most tests follow from the row, and ``tests/test_architecture.py`` and
``tests/test_benchmarks_cover.py`` say what is missing elsewhere.

A loss is a sum of terms: one per element, or one per sample for softmax cross-entropy. `reduction`
says what the sum is divided by: ``"mean"`` the number of terms, ``"sum"`` nothing, ``"samples"``
the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import (
    REDUCTIONS,
    check_probabilities,
    check_target_given,
    loss_arguments,
)
from fastgrad.arrays import (
    FLOAT32,
    INT64,
    TO_FLOAT32,
    TO_FLOAT64,
    Array,
    as_native,
    deliver,
)
from fastgrad.kernels.flags import (
    COLUMNS,
    PER_SAMPLE,
    PROBABILITIES,
    UNCHECKED,
    WANT_GRAD,
)
from fastgrad.results import check_out

_CODES = {name: code for code, name in enumerate(REDUCTIONS)}
_COLUMNS = {"rows": 0, "columns": COLUMNS}


class _Loss:
    """What all losses share: the kernel's address, and calls of it on canonical arrays."""

    _made = False

    takes_target = True

    def __init__(
        self,
        name: str,
        formula: str,
        *,
        rowwise: bool = False,
        probabilities: bool = False,
        note: str = "",
    ) -> None:
        self.name, self.formula, self.rowwise = name, formula, rowwise
        self.probabilities = probabilities
        self.__doc__ = f"{name}: {formula}" + (f"\n\n{note}" if note else "")
        self._flags = (PER_SAMPLE if rowwise else 0) + (PROBABILITIES if probabilities else 0)
        self._kernels: dict[np.dtype[Any], tuple[Callable[..., Any], int]] = {}
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute once: kernels and networks have been made by what it was."""
        # To ask for __dict__ makes one, and each attribute slower (40 ns of a call of 400): so
        # not while this is made.
        if self._made and name in self.__dict__:
            raise AttributeError(f"loss {self.name!r}: {name} can't be changed")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<loss {self.name}: {self.formula}>"

    def __reduce__(self) -> Any:
        return _lookup, (self.name,)

    def address(self, dtype: str) -> int:
        """Return the address of the loss kernel; raise ValueError for a loss made by hand."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        if LOSSES.get(self.name) is not self:
            raise ValueError(f"loss {self.name!r} has no kernels: take one of fg.losses")
        return LIBRARY.address(f"loss.{self.name}", f"loss_{self.name}", dtype)

    def _kernel(self, dtype: np.dtype[Any]) -> tuple[Callable[..., Any], int]:
        """Return the compiled entry point and the address of this loss."""
        from fastgrad.kernels.calls.entry import entry

        found = entry("apply_loss", "apply_loss", dtype.name), self.address(dtype.name)
        self._kernels[dtype] = found
        return found

    def check_target(self, caller: str, target: Array) -> None:
        """Raise if a target must hold probabilities and does not."""
        if self.probabilities:
            check_probabilities(caller, self.name, target)

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

    def _converted(
        self, pred: Any, target: Any, reduction: str, samples: str, out: Any, flags: int
    ) -> Any:
        """Do what `_direct` does if only dtypes have to be converted, else return None.

        The checks of `_evaluate` take 10 us and more.
        """
        try:
            if self.rowwise and (type(target) is list or target.ndim < pred.ndim):
                classes = TO_FLOAT64.classes(target, out)
                if classes is None:
                    return None
                return self._direct(pred, classes, reduction, samples, out, flags)
            arrays = TO_FLOAT64.natives(2, pred, target, out)
            if arrays is None:
                arrays = TO_FLOAT32.natives(2, pred, target, out)
                if arrays is None:
                    return None
            p, t = arrays
            if pred.dtype is not FLOAT32 or p is pred:  # the gradient has the dtype computed in
                return self._direct(p, t, reduction, samples, out, flags)
            made = self._direct(p, t, reduction, samples, None, flags)
            if made is None or flags == 0:
                return made
            grad = TO_FLOAT32.converted(made[1], out)
            return None if grad is None else (made[0], grad)
        except (AttributeError, TypeError):
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
        given = loss_arguments(caller, pred, target, reduction, samples, self.rowwise)
        array, goal, labels, _ = given
        if array is not pred or goal is not target:  # lists, say: they may need no more
            flags = WANT_GRAD if want_grad else 0
            made = self._converted(array, goal, reduction, samples, out, flags)
            if made is not None:
                return made
        dtypes = given.dtypes
        result = dtypes.result
        if out is not None:
            check_out(caller, "out", out, array.shape, result, given.inputs)
        if array.size == 0:
            value = reduced(0.0, reduction, self.rowwise, given.samples, array.size)
            grad = np.empty(array.shape, result) if out is None else out
            return (value, grad) if want_grad else value

        def canonical(a: Array) -> Array:
            return as_native(a if a.ndim <= 2 else np.ascontiguousarray(a), dtypes.work)

        run, address = self._kernel(dtypes.work)
        native = goal
        if labels:
            assert goal is not None
            native = as_native(np.ascontiguousarray(goal), INT64).reshape(goal.shape)
        elif goal is not None:
            native = canonical(goal)
        flags = self._flags + _COLUMNS[samples] + (WANT_GRAD if want_grad else 0)
        outcome = run(canonical(array), native, None, address, _CODES[reduction], flags)
        if outcome is None:  # it has found a target that it does not take
            assert goal is not None
            self.check_target(caller, goal)
        if not want_grad:
            return outcome
        value, grad = outcome
        return value, deliver(grad, result, out)


class Loss(_Loss):
    """A loss of predictions and targets: ``fg.losses.mse`` and others.

    Attributes
    ----------
    name : str
        What the networks call it.
    formula : str
        Its terms, for people.
    rowwise : bool
        Whether there is a term per sample (softmax cross-entropy), not one per element.

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
        """Return the loss.

        Parameters
        ----------
        pred, target : array_like
            As for `value_and_grad`.
        reduction : {"mean", "sum", "samples"}
            What the sum of all terms is divided by: their number, one, the number of samples.
        samples : {"rows", "columns"}
            Which axis counts samples.

        Returns
        -------
        float
            Accumulated in float64.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, or no target.
        ValueError
            For shapes, names, classes or probabilities that do not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.losses.softmax_cross_entropy([[0.0, 0.0]], [1])
        0.6931471805599453
        """
        if target is not None:
            value: float | None = self._direct(pred, target, reduction, samples, None, 0)
            if value is None:
                value = self._converted(pred, target, reduction, samples, None, 0)
            if value is not None:
                return value
        check_target_given(self.name, target)
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
            sample. For the binary cross-entropy from 0 to 1.
        reduction : {"mean", "sum", "samples"}
            Divide the sum of all terms by their number, by one, or by the number of samples.
        samples : {"rows", "columns"}
            Which axis counts samples.
        out : ndarray, optional
            Where to put the gradient: the shape and dtype of `pred`, sharing no memory with it
            or with `target`.

        Returns
        -------
        value : float
            Accumulated in float64.
        grad : ndarray
            ``dL/dpred``, of the shape and dtype of `pred`; for integers of that which NumPy
            promotes them and `target` to, float64 beside integers.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, no target, or an `out` that is no array.
        ValueError
            For shapes, names, classes, probabilities or an `out` that do not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> value, grad = fg.losses.softmax_cross_entropy.value_and_grad([[0.0, 0.0]], [1])
        >>> grad
        array([[ 0.5, -0.5]])
        """
        if target is not None:
            pair = self._direct(pred, target, reduction, samples, out, WANT_GRAD)
            if pair is None:
                pair = self._converted(pred, target, reduction, samples, out, WANT_GRAD)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        caller = f"{self.name}.value_and_grad"
        check_target_given(caller, target)
        value, grad = self._evaluate(caller, pred, target, reduction, samples, out, True)
        return value, grad


class ArrayLoss(_Loss):
    """A loss of one array, without target: ``fg.losses.sum`` and ``fg.losses.squared_l2``.

    Attributes
    ----------
    name : str
        What the networks call it.
    formula : str
        Its terms, for people.
    rowwise : bool
        False: there is a term per element.

    Examples
    --------
    >>> import fastgrad as fg
    >>> value, grad = fg.losses.squared_l2.value_and_grad([3.0, 4.0])
    >>> value, grad.tolist()
    (25.0, [6.0, 8.0])
    """

    takes_target = False

    def __call__(self, y: ArrayLike, reduction: str = "sum", samples: str = "rows") -> float:
        """Return the loss.

        Parameters
        ----------
        y : array_like
            ``(n, d)``, ``(..., d)`` or ``(d,)``; columns: ``(d, n)`` or ``(d,)``.
        reduction : {"sum", "mean", "samples"}
            What the sum of all terms is divided by: one, their number, the number of samples.
        samples : {"rows", "columns"}
            Which axis counts samples.

        Returns
        -------
        float
            Accumulated in float64.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            For a shape or a name that does not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.losses.squared_l2([3.0, 4.0])
        25.0
        """
        value: float | None = self._direct(y, None, reduction, samples, None, 0)
        if value is None:
            value = self._converted(y, None, reduction, samples, None, 0)
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
        """Return the loss and ``grad_y``, in one pass over the data.

        Parameters
        ----------
        y, reduction, samples
            As for the call.
        out : ndarray, optional
            Where to put the gradient: the shape and dtype of `y`, sharing no memory with it.

        Returns
        -------
        value : float
            Accumulated in float64.
        grad : ndarray
            ``dL/dy``, of the shape and dtype of `y` (float64 for integers).

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, or an `out` that is no array.
        ValueError
            For a shape, a name or an `out` that does not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.losses.sum.value_and_grad([[1.0, 2.0]], "mean")
        (1.5, array([[0.5, 0.5]]))
        """
        pair = self._direct(y, None, reduction, samples, out, WANT_GRAD)
        if pair is None:
            pair = self._converted(y, None, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        caller = f"{self.name}.value_and_grad"
        value, grad = self._evaluate(caller, y, None, reduction, samples, out, True)
        return value, grad


def _lookup(name: str) -> Loss | ArrayLoss:
    return LOSSES[name]


def reduced(terms: float, reduction: str, rowwise: bool, samples: int, elements: int) -> float:
    """Return the loss whose terms add up to `terms` (`kernels.elementwise.loss.divisor`)."""
    if reduction == "sum":
        return terms
    count = samples if reduction == "samples" or rowwise else elements
    return terms / count if count else math.nan  # the mean of nothing


mse = Loss("mse", "(pred - target)**2")
mae = Loss("mae", "|pred - target|")
huber = Loss(
    "huber",
    "d**2 / 2 if |d| <= 1 else |d| - 1/2, d = pred - target",
    note="Huber's function with delta = 1 (Annals of Mathematical Statistics 35, 1964).",
)
binary_cross_entropy_with_logits = Loss(
    "binary_cross_entropy_with_logits",
    "log(1 + exp(pred)) - target * pred",
    probabilities=True,
    note="Computed as ``max(pred, 0) - target * pred + log(1 + exp(-|pred|))``, which does not "
    "overflow. The\ngradient is ``sigmoid(pred) - target``.",
)
softmax_cross_entropy = Loss(
    "softmax_cross_entropy",
    "-sum(target * log(softmax(pred)))",
    rowwise=True,
    note="Computed as ``sum(target * (log(sum(exp(pred - top))) + top - pred))`` with ``top = "
    "max(pred)``,\nwhich does not overflow. The gradient is ``softmax(pred) * sum(target) - "
    "target``. Of one class both are 0.",
)
sum = ArrayLoss("sum", "y")
squared_l2 = ArrayLoss("squared_l2", "y**2")

LOSSES: dict[str, Loss | ArrayLoss] = {
    loss.name: loss
    for loss in (
        mse, mae, huber, binary_cross_entropy_with_logits, softmax_cross_entropy, sum, squared_l2
    )
}  # fmt: skip
