"""Losses with a setting: huber's delta, hinge's margin.

The value of the table's row has the plain kernels. Another one is a number that the detailed kernel
reads: nothing is compiled for it. The methods of the rows begin with the first step of `Loss`'s
own, since one more call of a method would add 0.1 us to 0.3.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arguments import check_limit
from fastgrad.arrays import Array
from fastgrad.kernels.flags import WANT_GRAD
from fastgrad.loss_arguments import (
    HINGE_MARGIN,
    HUBER_DELTA,
    check_delta,
    check_target_given,
)
from fastgrad.losses.loss import LOSSES, Loss


class AdjustedLoss(Loss):
    """A loss with another setting than the table's, as its ``with_`` returns it.

    Attributes
    ----------
    name, formula, rowwise
        As of any `Loss`.
    adjusted : dict
        The setting's name and value.

    Examples
    --------
    >>> import fastgrad as fg
    >>> loss = fg.losses.huber.with_(delta=2.0)
    >>> loss.name, loss.adjusted
    ('huber', {'delta': 2.0})
    >>> loss([3.0], [0.0])
    4.0
    >>> net = fg.MLP((2, 1), (None,), loss)
    """

    def __init__(self, of: Loss, formula: str, name: str, value: float) -> None:
        super().__init__(of.name, formula, rowwise=of.rowwise)
        self.adjusted = {name: value}
        self.setting = value

    def __repr__(self) -> str:
        ((name, value),) = (self.adjusted or {}).items()
        return f"<loss {self.name}({name}={value}): {self.formula}>"

    def __reduce__(self) -> Any:
        return _adjusted, (self.name, self.adjusted)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, AdjustedLoss) and self.name == other.name
        return same and self.adjusted == other.adjusted  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.name, self.setting))

    def address(self, dtype: str) -> int:
        """Return what a network calls in place of the plain kernel (`kernels.network.loss`)."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        return LIBRARY.address("loss_stage", "loss_stage", dtype)

    def _check_made(self) -> None:
        """Any setting has kernels."""

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> Any:
        """Return the loss, or its terms: see `Loss`."""
        check_target_given(self.name, target)
        return self._in_detail(pred, target, reduction, samples, weights)

    def value_and_grad(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_pred``: see `Loss`."""
        check_target_given(f"{self.name}.value_and_grad", target)
        return self._grad_in_detail(pred, target, reduction, samples, out, weights)


class Huber(Loss):
    """Huber's loss, whose `delta` is 1 unless given.

    Attributes
    ----------
    name, formula, rowwise
        As of any `Loss`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.losses.huber([3.0], [0.0]), fg.losses.huber([3.0], [0.0], delta=2.0)
    (2.5, 4.0)
    """

    setting = HUBER_DELTA

    def with_(self, *, delta: float) -> Loss:
        """Return this loss with another `delta`, also for `MLP`.

        Parameters
        ----------
        delta : float
            From which difference on the loss grows in a straight line, greater than 0. With inf
            the loss is half the square of the difference, everywhere.

        Returns
        -------
        Loss
            ``d**2 / 2 if |d| <= delta else delta * (|d| - delta / 2)``, as PyTorch has it.

        Raises
        ------
        TypeError, ValueError
            If `delta` is no number greater than 0.

        Examples
        --------
        >>> import fastgrad as fg, math
        >>> half_of_mse = fg.losses.huber.with_(delta=math.inf)
        >>> half_of_mse.value_and_grad([[3.0, 1.0]], [[0.0, 0.0]])
        (2.5, array([[1.5, 0.5]]))
        """
        number = check_delta(f"{self.name}.with_", delta)
        if number == self.setting:
            return self
        formula = "d**2 / 2 if |d| <= delta else delta * (|d| - delta / 2), d = pred - target"
        return AdjustedLoss(self, formula, "delta", number)

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
        delta: float | None = None,
    ) -> Any:
        """Return the loss, or its terms: see `Loss`, and `with_` of `delta`."""
        if delta is not None:
            return self.with_(delta=delta)(pred, target, reduction, samples, weights)
        if weights is None and target is not None:
            value: float | None = self._directly(pred, target, reduction, samples, None, 0)
            if value is not None:
                return value
        return super().__call__(pred, target, reduction, samples, weights)

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
        """Return the loss and ``grad_pred``: see `Loss`, and `with_` of `delta`."""
        if delta is not None:
            own = self.with_(delta=delta)
            return own.value_and_grad(pred, target, reduction, samples, out, weights)
        if weights is None and target is not None:
            pair = self._directly(pred, target, reduction, samples, out, WANT_GRAD)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        return super().value_and_grad(pred, target, reduction, samples, out, weights)


class Hinge(Loss):
    """The multiclass hinge loss, whose `margin` is 1 unless given.

    Attributes
    ----------
    name, formula, rowwise
        As of any `Loss`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> scores = [[3.2, 5.1, -1.7]]
    >>> round(fg.losses.hinge(scores, [0]), 6), round(fg.losses.hinge(scores, [0], margin=0.5), 6)
    (2.9, 2.4)
    """

    setting = HINGE_MARGIN

    def with_(self, *, margin: float) -> Loss:
        """Return this loss with another `margin`, also for `MLP`.

        Parameters
        ----------
        margin : float
            By how much the score of the class must be above the others, finite and at least 0.

        Returns
        -------
        Loss
            ``sum(max(0, pred_j - pred_c + margin))`` over the classes j other than c.

        Raises
        ------
        TypeError, ValueError
            If `margin` is no finite number of at least 0.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((2, 3), (None,), fg.losses.hinge.with_(margin=0.1))
        """
        number = check_limit(f"{self.name}.with_", "margin", margin)
        return (
            self if number == self.setting else AdjustedLoss(self, self.formula, "margin", number)
        )

    def __call__(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        reduction: str = "mean",
        samples: str = "rows",
        weights: ArrayLike | None = None,
        margin: float | None = None,
    ) -> Any:
        """Return the loss, or its terms: see `Loss`, and `with_` of `margin`."""
        if margin is not None:
            return self.with_(margin=margin)(pred, target, reduction, samples, weights)
        if weights is None and target is not None:
            value: float | None = self._directly(pred, target, reduction, samples, None, 0)
            if value is not None:
                return value
        return super().__call__(pred, target, reduction, samples, weights)

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
        """Return the loss and ``grad_pred``: see `Loss`, and `with_` of `margin`."""
        if margin is not None:
            own = self.with_(margin=margin)
            return own.value_and_grad(pred, target, reduction, samples, out, weights)
        if weights is None and target is not None:
            pair = self._directly(pred, target, reduction, samples, out, WANT_GRAD)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        return super().value_and_grad(pred, target, reduction, samples, out, weights)


def _adjusted(name: str, setting: dict[str, float]) -> Any:
    row: Any = LOSSES[name]
    return row.with_(**setting)
