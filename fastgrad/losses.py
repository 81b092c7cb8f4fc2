"""The table of losses: one row each, and what a row can do.

A loss is a sum of terms: one per element, or one per sample for softmax cross-entropy. `reduction`
says what the sum is divided by: ``"mean"`` the number of terms, ``"sum"`` nothing, ``"samples"``
the number of samples.

To add one
----------
``fastgrad/losses.py``
    An object below, and its name in `LOSSES`.
``fastgrad/kernels/elementwise/loss.py``
    Its terms and slopes. Terms are float64 for both dtypes; functions of ``vector_math`` are
    bound to local names outside of the term: Numba does not look into a namespace.
``fastgrad/reference/losses.py``, ``fastgrad/loops/losses.py``
    Its twins.
``tests/truth.py``
    Its true terms, and its name in PyTorch.
``benchmarks/common.py``
    Its name, to have it timed.
``README.md``
    Its name in the table of all.

Most tests follow from the row, and ``tests/test_architecture.py``, ``tests/test_to_add_one.py`` and
``tests/test_benchmarks_cover.py`` say what is missing elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_probabilities, check_target_given
from fastgrad.arrays import Array
from fastgrad.calls import CODES, COLUMNS_IF, NOT_TAKEN, VALUE, VALUE_AND_GRAD
from fastgrad.kernels.flags import PER_SAMPLE, PROBABILITIES, UNCHECKED, WANT_GRAD


class _Loss:
    """What all losses share: the kernel's address, and the first step of a call."""

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
        self._direct: dict[np.dtype[Any], tuple[Callable[..., Any], int]] = {}
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute once: kernels and networks rely on its first value."""
        # Reading __dict__ creates it, which makes each attribute slower (40 ns of a 400 ns call):
        # so not in __init__.
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

    def _entry(self, dtype: np.dtype[Any]) -> tuple[Callable[..., Any], int]:
        """Return the compiled entry point and the kernel's address; later calls find both."""
        from fastgrad.kernels.calls.entry import entry

        found = entry("apply_loss", "apply_loss", dtype.name), self.address(dtype.name)
        self._direct[dtype] = found
        return found

    def check_target(self, caller: str, target: Array) -> None:
        """Raise if a target must hold probabilities and does not."""
        if self.probabilities:
            check_probabilities(caller, self.name, target)

    def _reduced(self, terms: float, reduction: str, samples: int, elements: int) -> float:
        """Return the loss, given the sum of its terms (`kernels.elementwise.loss.divisor`)."""
        if reduction == "sum":
            return terms
        count = samples if reduction == "samples" or self.rowwise else elements
        return terms / count if count else math.nan  # the mean of nothing

    def _directly(
        self, pred: Any, target: Any, reduction: str, samples: str, out: Any, flags: int
    ) -> Any:
        """Run the first step of a call (`fastgrad.calls`); return None if that is not enough."""
        try:
            run, address = self._direct[pred.dtype]
            flags += self._flags + COLUMNS_IF[samples]
            if out is not None:
                flags += UNCHECKED
            return run(pred, target, out, address, CODES[reduction], flags)
        except NOT_TAKEN:
            return None


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
        if target is None:
            check_target_given(self.name, target)
        value: float | None = self._directly(pred, target, reduction, samples, None, 0)
        if value is not None:
            return value
        return VALUE.complete(None, (pred, target), (None,), (self, reduction, samples, pred))  # type: ignore[no-any-return]

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
            ``dL/dpred``, of the shape and dtype of `pred`. For integers, of the dtype that NumPy
            promotes them and `target` to; float64 if both are integers.

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
        if target is None:
            check_target_given(f"{self.name}.value_and_grad", target)
        pair = self._directly(pred, target, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        how = self, reduction, samples, pred
        return VALUE_AND_GRAD.complete(None, (pred, target), (out,), how)  # type: ignore[no-any-return]


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
        value: float | None = self._directly(y, None, reduction, samples, None, 0)
        if value is not None:
            return value
        return VALUE.complete(None, (y, None), (None,), (self, reduction, samples, y))  # type: ignore[no-any-return]

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
        pair = self._directly(y, None, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        how = self, reduction, samples, y
        return VALUE_AND_GRAD.complete(None, (y, None), (out,), how)  # type: ignore[no-any-return]


def _lookup(name: str) -> Loss | ArrayLoss:
    return LOSSES[name]


mse = Loss("mse", "(pred - target)**2")
mae = Loss("mae", "|pred - target|")
huber = Loss(
    "huber",
    "d**2 / 2 if |d| <= 1 else |d| - 1/2, d = pred - target",
    note="Huber's function with delta = 1 (Annals of Mathematical Statistics 35, 1964).",
)
log_cosh = Loss(
    "log_cosh",
    "log(cosh(pred - target))",
    note="About half the square of a small difference, and the size of a large one less log(2). "
    "The gradient\nis ``tanh(pred - target)``.",
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
        mse, mae, huber, log_cosh, binary_cross_entropy_with_logits, softmax_cross_entropy, sum,
        squared_l2,
    )
}  # fmt: skip
