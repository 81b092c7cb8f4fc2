"""What a row of the table of losses can do: values, gradients, terms, weights, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.calls import CODES, COLUMNS_IF, NOT_TAKEN, VALUE, VALUE_AND_GRAD
from fastgrad.kernels.flags import PER_SAMPLE, PROBABILITIES, UNCHECKED, WANT_GRAD
from fastgrad.loss_arguments import check_probabilities, check_target_given, is_none
from fastgrad.losses.detailed import detailed

if TYPE_CHECKING:
    from fastgrad.losses.array_loss import ArrayLoss

LOSSES: dict[str, Loss | ArrayLoss] = {}  # the table: `fastgrad.losses` fills it


class BaseLoss:
    """What all losses share: the kernel's address, and the first step of a call."""

    _made = False

    takes_target = True
    setting = 0.0  # of the detailed kernel
    adjusted: dict[str, float] | None = None  # a setting by its name, unless it is the table's

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
        self.__doc__ = f"{name}: ``{formula}``" + (f"\n\n{note}" if note else "")
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

        self._check_made()
        return LIBRARY.address(f"loss.{self.name}", f"loss_{self.name}", dtype)

    def detailed_address(self, dtype: str) -> int:
        """Return the address of the detailed kernel (`kernels.elementwise.loss_terms`)."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        self._check_made()
        return LIBRARY.address(f"terms.{self.name}", f"terms_{self.name}", dtype)

    def _check_made(self) -> None:
        if LOSSES.get(self.name) is not self:
            raise ValueError(f"loss {self.name!r} has no kernels: take one of fg.losses")

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

    def _divisor(self, reduction: str, samples: int, elements: int) -> int:
        """Return what the sum of the terms is divided by (`kernels.elementwise.loss.divisor`)."""
        if reduction in ("sum", "none"):
            return 1
        return samples if reduction == "samples" or self.rowwise else elements

    def _reduced(self, terms: float, reduction: str, samples: int, elements: int) -> float:
        """Return the loss, given the sum of its terms."""
        count = self._divisor(reduction, samples, elements)
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

    def _in_detail(self, pred: Any, target: Any, reduction: str, samples: str, weights: Any) -> Any:
        """Return the value, or the terms, of a call that the plain kernels can't run."""
        made = detailed(self, "", pred, target, reduction, samples, weights)
        return made.value if made.terms is None else made.terms

    def _grad_in_detail(
        self, pred: Any, target: Any, reduction: str, samples: str, out: Any, weights: Any
    ) -> tuple[float, Array]:
        """Return value and gradient of such a call."""
        method = ".value_and_grad"
        made = detailed(self, method, pred, target, reduction, samples, weights, out=out, grad=True)
        return made[:2]  # type: ignore[return-value]


class Loss(BaseLoss):
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

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: Literal["none"],
        samples: str = ...,
        weights: ArrayLike | None = ...,
    ) -> Array: ...
    @overload
    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = ...,
        samples: str = ...,
        weights: ArrayLike | None = ...,
    ) -> float: ...
    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> float | Array:
        """Return the loss, or its terms.

        Parameters
        ----------
        pred, target, weights : array_like
            As for `value_and_grad`.
        reduction : {"mean", "sum", "samples", "none"}
            What the sum of all terms is divided by: their number (with `weights`, the sum of
            these), one, the number of samples. With ``"none"`` the terms are not added.
        samples : {"rows", "columns"}
            Which axis counts samples.

        Returns
        -------
        float or ndarray
            Accumulated in float64. With ``reduction="none"`` the terms, times their weights, in
            float64: of the shape of `pred`, or of the `rowwise` losses one per sample.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, or no target.
        ValueError
            For shapes, names, classes, probabilities or weights that do not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.losses.softmax_cross_entropy([[0.0, 0.0]], [1])
        0.6931471805599453
        >>> fg.losses.mse([[1.0, 2.0]], [[0.0, 0.0]], "none")
        array([[1., 4.]])
        >>> fg.losses.mse([[1.0], [2.0], [9.0]], [[0.0], [0.0], [0.0]], weights=[3.0, 1.0, 0.0])
        1.75
        """
        if target is None or weights is not None:
            check_target_given(self.name, target)
            return self._in_detail(pred, target, reduction, samples, weights)  # type: ignore[no-any-return]
        value: float | None = self._directly(pred, target, reduction, samples, None, 0)
        if value is not None:
            return value
        if is_none(reduction):
            return self._in_detail(pred, target, reduction, samples, weights)  # type: ignore[no-any-return]
        return VALUE.complete(None, (pred, target), (None,), (self, reduction, samples, pred))  # type: ignore[no-any-return]

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
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
        weights : array_like, optional
            What each term is multiplied by, finite and at least 0: one per sample, or (unless
            the loss is `rowwise`) of the shape of `pred`. ``"mean"`` then divides by the sum of
            the weights of all terms. A term of weight 0 is left out: its prediction, target or
            class may be anything, NaN included, and its gradient is 0.

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
            For shapes, names, classes, probabilities, weights or an `out` that do not fit, and
            for a mean over weights that are all 0.

        Examples
        --------
        >>> import fastgrad as fg
        >>> value, grad = fg.losses.softmax_cross_entropy.value_and_grad([[0.0, 0.0]], [1])
        >>> grad
        array([[ 0.5, -0.5]])
        """
        if target is None or weights is not None:
            check_target_given(f"{self.name}.value_and_grad", target)
            return self._grad_in_detail(pred, target, reduction, samples, out, weights)
        pair = self._directly(pred, target, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        how = self, reduction, samples, pred
        return VALUE_AND_GRAD.complete(None, (pred, target), (out,), how)  # type: ignore[no-any-return]


class LogitLoss(Loss):
    """A loss of logits, which hands out the probabilities that it computes.

    Attributes
    ----------
    name, formula, rowwise
        As of any `Loss`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.losses.softmax_cross_entropy
    <loss softmax_cross_entropy: -sum(target * log(softmax(pred)))>
    """

    def value_grad_and_probabilities(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array, Array]:
        """Return the loss, ``grad_pred``, and the probabilities of the logits, in one pass.

        Parameters
        ----------
        pred, target, reduction, samples, weights
            As for `value_and_grad`.

        Returns
        -------
        value : float
        grad : ndarray
        probabilities : ndarray
            ``softmax(pred)`` of softmax cross-entropy, along the axis of the classes;
            ``sigmoid(pred)`` of the binary one. Of the shape and dtype of `grad`. Where the weight
            is 0, too.

        Raises
        ------
        TypeError, ValueError
            As for `value_and_grad`.

        Examples
        --------
        >>> import fastgrad as fg
        >>> loss = fg.losses.softmax_cross_entropy
        >>> value, grad, p = loss.value_grad_and_probabilities([[0.0, 0.0]], [1])
        >>> grad.tolist(), p.tolist()
        ([[0.5, -0.5]], [[0.5, 0.5]])
        """
        method = ".value_grad_and_probabilities"
        check_target_given(self.name + method, target)
        made = detailed(
            self, method, pred, target, reduction, samples, weights,
            grad=True, probabilities=True,
        )  # fmt: skip
        return made.value, made.grad, made.probabilities  # type: ignore[return-value]


def _lookup(name: str) -> Loss | ArrayLoss:
    """Return the loss of this name; its pickles call this."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: define it by fg.define_loss before unpickling")
    return LOSSES[name]
