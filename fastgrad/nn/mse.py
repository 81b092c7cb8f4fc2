"""The mean squared error to fixed labels, as an object with forward and backward."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastgrad import losses
from fastgrad.arguments import LAYOUTS, REDUCTIONS, check_choice
from fastgrad.arrays import Array
from fastgrad.nn.layer import Turns, as_samples

__all__ = ["MSE"]


class MSE(Turns):
    """The mean squared error to fixed labels.

    Parameters
    ----------
    labels : array_like
        The targets of the predictions; a vector is one sample.
    reduction : {"mean", "sum", "samples"}
        What the sum of squares is divided by: the number of elements, one, the number of samples.
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    TypeError
        For labels of a dtype fastgrad does not compute in.
    ValueError
        For labels whose shape is not one of samples, an unknown reduction or layout.

    Examples
    --------
    >>> import fastgrad as fg
    >>> loss = fg.nn.MSE([1.0, 0.0])
    >>> loss.forward([3.0, 0.0])
    2.0
    >>> loss.backward()
    array([[2., 0.]])
    """

    _pred: Array | None = None

    def __init__(self, labels: ArrayLike, reduction: str = "mean", samples: str = "rows") -> None:
        check_choice("MSE", "reduction", reduction, REDUCTIONS)
        check_choice("MSE", "samples", samples, LAYOUTS)
        self.reduction, self.samples = reduction, samples
        self.labels = as_samples("MSE", "labels", labels, samples)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.labels.shape))
        return f"<MSE to {shape} labels, reduction={self.reduction!r}, samples={self.samples!r}>"

    def forward(self, pred: ArrayLike) -> float:
        """Return the loss, and remember `pred` for `backward`.

        Parameters
        ----------
        pred : array_like
            Of the shape of the labels; a vector is one sample.

        Returns
        -------
        float
            ``sum((pred - labels)**2)``, divided as `reduction` says.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            If the shapes differ.
        """
        self._pred = as_samples("MSE.forward", "pred", pred, self.samples, self.labels.dtype)
        value = losses.mse(self._pred, self.labels, self.reduction, self.samples)
        self._gone_forward()
        return value

    def backward(self, pred: ArrayLike | None = None) -> Array:
        """Return ``dL/dpred``.

        Parameters
        ----------
        pred : array_like, optional
            The predictions; by default those of the last `forward`.

        Returns
        -------
        ndarray
            Of the shape of the labels: ``2 * (pred - labels)``, divided as `reduction` says.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            If the shapes differ; where no `pred` is given, if there was no `forward`, or several
            for the second backward.
        """
        if pred is None:
            pred = self._pred
            if pred is None:
                raise ValueError(
                    "MSE.backward: there is no pred: give it, or call forward(pred) first"
                )
            self._go_back("MSE.backward")
        pred = as_samples("MSE.backward", "pred", pred, self.samples, self.labels.dtype)
        return losses.mse.value_and_grad(pred, self.labels, self.reduction, self.samples)[1]
