"""`define_loss`: losses of a user's own scalar functions, compiled in this process."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad.arguments import check_definition
from fastgrad.arrays import Array
from fastgrad.kernels.elementwise.derivative_check import Disagreement, disagreement_of
from fastgrad.losses.detailed import detailed
from fastgrad.losses.loss import LOSSES, Loss
from fastgrad.warning_categories import FastgradWarning

# Targets that the derivative is checked at: classes 0 and 1, and numbers on both sides.
TARGETS = (0.0, 1.0, -0.6180, 0.3217, 2.2360)


class DefinedLoss(Loss):
    """A loss made by `define_loss`: a term for each element.

    Attributes
    ----------
    name, formula, rowwise
        As of any `Loss`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fourth = fg.define_loss(
    ...     "fourth", lambda p, t: (p - t) ** 4, lambda p, t: 4 * (p - t) ** 3
    ... )
    >>> fourth([3.0], [1.0])
    16.0
    """

    def __init__(
        self, name: str, value: Callable[..., Any], derivative: Callable[..., Any]
    ) -> None:
        from fastgrad.kernels.toolchain.front_end import numba_enabled
        from fastgrad.kernels.toolchain.processor import check_processor

        check_processor()  # before Numba asks LLVM, which prints messages of its own
        with numba_enabled():
            from fastgrad.kernels.elementwise.user import frozen_function
        super().__init__(name, f"{getattr(value, '__name__', 'f')}(pred, target)")
        self.functions = tuple(
            frozen_function(name, what, function, "define_loss")
            for what, function in (("value", value), ("derivative", derivative))
        )
        self.addresses: dict[tuple[str, str], int] = {}

    def __reduce__(self) -> Any:
        if LOSSES.get(self.name) is not self:
            raise pickle.PicklingError(
                f"the loss {self.name!r} has been defined again: what is pickled is its name"
            )
        return super().__reduce__()

    def __copy__(self) -> DefinedLoss:
        return self

    def __deepcopy__(self, memo: Any) -> DefinedLoss:
        return self

    def _check_made(self) -> None:
        """Do nothing: it has kernels of its own, even after its name is redefined."""

    def address(self, dtype: str) -> int:
        """Return the address of the loss kernel, compiling it at first use."""
        return self._compiled("loss", dtype)

    def detailed_address(self, dtype: str) -> int:
        """Return the address of the detailed kernel, compiling it at first use."""
        return self._compiled("terms", dtype)

    def _compiled(self, kind: str, dtype: str) -> int:
        from fastgrad.kernels.toolchain.front_end import numba_enabled

        if (kind, dtype) not in self.addresses:
            with numba_enabled():  # includes the store: a deferred signal may raise at the end
                from fastgrad.kernels.elementwise.user import loss_kernel

                value, derivative = self.functions
                address = loss_kernel(self.name, kind, value, derivative, dtype)
                self.addresses[kind, dtype] = address
        return self.addresses[kind, dtype]


BUILT_IN: list[str] = []  # the names of the table: `fastgrad.losses` fills it


def define_loss(
    name: str,
    value: Callable[[float, float], float],
    derivative: Callable[[float, float], float],
) -> Loss:
    """Compile a loss from two scalar functions, and register it under its name.

    Parameters
    ----------
    name : str
        A new name, an identifier.
    value, derivative : callable
        The term of one prediction and its target, ``value(pred, target)``, and its derivative with
        respect to `pred`, in the Python and ``math`` that Numba compiles. Both get float64 numbers;
        the derivative is rounded once, to the dtype of `pred`. Where one raises, the result is NaN;
        ``1 / pred`` at 0 is inf, as in NumPy. Globals and closure variables, including arrays and
        functions, keep their present values.

    Returns
    -------
    Loss
        Like those of `fastgrad.losses`, for any reduction and with weights; also for `MLP`, there
        by its name, too.

    Raises
    ------
    ValueError
        If the name is taken by a built-in loss or is no identifier, or a function does not compile
        to one number.
    TypeError
        If an argument is of the wrong kind.

    Warns
    -----
    FastgradWarning
        Where `derivative` is not that of `value`: both are compared at a few points.

    Examples
    --------
    The pinball loss, whose best prediction is the 0.9 quantile:

    >>> import fastgrad as fg
    >>> q = 0.9
    >>> pinball = fg.define_loss(
    ...     "pinball",
    ...     lambda p, t: max(q * (t - p), (q - 1) * (t - p)),
    ...     lambda p, t: -q if t > p else 1 - q,
    ... )
    >>> round(pinball([0.0], [1.0]), 6), round(pinball([1.0], [0.0]), 6)
    (0.9, 0.1)
    >>> net = fg.MLP((1, 8, 1), ("tanh", None), "pinball")
    """
    functions = {"value": value, "derivative": derivative}
    check_definition("define_loss", name, BUILT_IN, functions)
    for label, function in functions.items():
        if isinstance(function, functools.partial):
            raise TypeError(
                f"define_loss: {label} is a functools.partial: write lambda pred, target: ..."
            )
    loss = DefinedLoss(name, value, derivative)
    loss.address("float64")  # compile now: a mistake shows here, not in the first call
    for target in TARGETS:
        found = _disagreement(loss, target)
        if found is not None:
            warnings.warn(
                f"define_loss: derivative of {name!r} is not that of value: at pred = {found.z:g}, "
                f"target = {target:g} it gives {found.given:.6g}, differences of value "
                f"{found.differences:.6g} ({found.wrong} of {found.points} points differ)",
                FastgradWarning,
                stacklevel=2,
            )
            break
    LOSSES[name] = loss
    return loss


def _disagreement(loss: DefinedLoss, target: float) -> Disagreement | None:
    """Compare value and derivative at some predictions, for one target."""

    def of(pred: Array, reduction: str, grad: bool) -> Any:
        goal = np.full(pred.shape, target)
        return detailed(loss, "", pred, goal, reduction, "rows", None, grad=grad)

    return disagreement_of(
        lambda p: of(p, "none", False).terms,
        lambda p: of(p, "sum", True).grad,
    )
