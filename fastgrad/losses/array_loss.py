"""What a loss of one array can do, without a target: values, gradients, terms, weights."""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.calls import VALUE, VALUE_AND_GRAD
from fastgrad.kernels.flags import WANT_GRAD
from fastgrad.loss_arguments import is_none
from fastgrad.losses.loss import BaseLoss


class ArrayLoss(BaseLoss):
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

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        y: ArrayLike,
        reduction: Literal["none"],
        samples: str = ...,
        weights: ArrayLike | None = ...,
    ) -> Array: ...
    @overload
    def __call__(
        self,
        y: ArrayLike,
        reduction: str = ...,
        samples: str = ...,
        weights: ArrayLike | None = ...,
    ) -> float: ...
    def __call__(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        weights: ArrayLike | None = None,
    ) -> float | Array:
        """Return the loss, or its terms.

        Parameters
        ----------
        y : array_like
            ``(n, d)``, ``(..., d)`` or ``(d,)``; columns: ``(d, n)`` or ``(d,)``.
        reduction : {"sum", "mean", "samples", "none"}
            What the sum of all terms is divided by: one, their number, the number of samples. With
            ``"none"`` the terms are not added.
        samples : {"rows", "columns"}
            Which axis counts samples.
        weights : array_like, optional
            As for `Loss.value_and_grad`.

        Returns
        -------
        float or ndarray
            Accumulated in float64. With ``reduction="none"`` the terms, times their weights: of
            the shape of `y`, in float64.

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
        if weights is not None:
            return self._in_detail(y, None, reduction, samples, weights)  # type: ignore[no-any-return]
        value: float | None = self._directly(y, None, reduction, samples, None, 0)
        if value is not None:
            return value
        if is_none(reduction):
            return self._in_detail(y, None, reduction, samples, weights)  # type: ignore[no-any-return]
        return VALUE.complete(None, (y, None), (None,), (self, reduction, samples, y))  # type: ignore[no-any-return]

    def value_and_grad(
        self,
        y: ArrayLike,
        reduction: str = "sum",
        samples: str = "rows",
        out: Array | None = None,
        weights: ArrayLike | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and ``grad_y``, in one pass over the data.

        Parameters
        ----------
        y, reduction, samples, weights
            As for the call, but for ``"none"``.
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
        if weights is not None:
            return self._grad_in_detail(y, None, reduction, samples, out, weights)
        pair = self._directly(y, None, reduction, samples, out, WANT_GRAD)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        how = self, reduction, samples, y
        return VALUE_AND_GRAD.complete(None, (y, None), (out,), how)  # type: ignore[no-any-return]
