"""How far apart two careful computations of one layer may be: running error analysis.

`Bounds(dtype)` has the functions that the cases of `fastgrad compare` call: `dense_forward`,
`dense_backward` and some losses. So a case runs on it as on `fastgrad`:

>>> from fastgrad.command.bounds import Bounds
>>> fg = Bounds("float32")
>>> y, cache = fg.dense_forward([[1.0, 2.0]], [[1.0], [1.0]], activation="relu")
>>> y.value.tolist(), bool(y.error.max() < 2e-6)
([[3.0]], True)

A `Bounded` is a value, computed by `fastgrad.reference` in float64, and an error: how far the same
quantity may differ from it when computed in ``dtype``, with additions in any order. The errors are
the textbook's, to first order in the unit roundoff u (Higham, *Accuracy and Stability of Numerical
Algorithms*, chapter 3): a sum of k products is off by at most ``gamma_k = k u / (1 - k u)`` times
the sum of the products' magnitudes, errors of operands pass through a product with the other
operand's magnitude, and those of ``z`` through an activation with its slope.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgrad import reference
from fastgrad.activations import ACTIVATIONS

__all__ = ["Bounded", "Bounds"]

Array = NDArray[Any]


class Bounded(NamedTuple):
    """A value and the largest difference from it that rounding explains."""

    value: Any
    error: Any


class Grads(NamedTuple):
    """Bounded gradients of one layer; None where not computed."""

    x: Bounded | None = None
    w: Bounded | None = None
    b: Bounded | None = None
    z: Bounded | None = None


class Cache(NamedTuple):
    """What a layer's forward pass keeps for its backward pass; samples are rows here."""

    reference: Any
    x: Bounded
    w: Array
    y: Bounded
    z: Bounded
    act: Any
    columns: bool
    b_shape: tuple[int, ...] | None


class Bounds:
    """The functional API on `Bounded` numbers.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the computation under test. Its roundings and those of the float64 reference that it
        is compared with are added up.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.unit = float(np.finfo(dtype).eps + np.finfo(np.float64).eps) / 2
        self.losses = SimpleNamespace(
            mse=_Loss(self, "mse"), sum=_Loss(self, "sum"), squared_l2=_Loss(self, "squared_l2")
        )

    def gamma(self, k: int) -> float:
        """Return the relative error of a sum of k products."""
        return k * self.unit / (1 - k * self.unit)

    def dense_forward(
        self, x: Any, w: Any, b: Any = None, activation: Any = None, *, samples: str = "rows"
    ) -> tuple[Bounded, Cache]:
        """Return the bounded output of a layer, and a cache; w and b are exact."""
        x = _bounded(x)
        w = np.asarray(w, np.float64)
        b = None if b is None else np.asarray(b, np.float64)
        columns = samples == "columns"
        z_value = reference.dense(x.value, w, b, samples=samples)
        y_value, cache = reference.dense_forward(x.value, w, b, activation, samples=samples)
        act = cache.activation

        x_rows, w_rows = _turn(x, columns), w.T if columns else w
        gamma = self.gamma(w_rows.shape[0] + 1)
        z_error = (gamma * np.abs(x_rows.value) + x_rows.error) @ np.abs(w_rows)
        if b is not None:
            z_error += gamma * np.abs(b.ravel())
        z = Bounded(z_value.T if columns else z_value, z_error)
        y_rows = y_value.T if columns else y_value
        if act.name == "softmax":
            # dy_i = y_i (dz_i - sum_j y_j dz_j), and no dz is larger than the largest.
            y_error = 2 * y_rows * z_error.max(axis=-1, keepdims=True)
        else:
            y_error = _steepest(act, z) * z_error
        y_error += self._ulps(act) * np.abs(y_rows) + np.finfo(self.dtype).tiny
        y = Bounded(y_rows, y_error)
        kept = Cache(cache, x_rows, w_rows, y, z, act, columns, None if b is None else b.shape)
        return _turn(y, columns), kept

    def dense_backward(
        self, grad_y: Any, cache: Cache, *, need: Iterable[str] = ("x", "w", "b")
    ) -> Grads:
        """Return the bounded gradients."""
        grad_y = _bounded(grad_y)
        exact = reference.dense_backward(grad_y.value, cache.reference, need=(*need, "z"))
        grad_y = _turn(grad_y, cache.columns)
        assert exact.z is not None
        z = _turn(Bounded(exact.z, 0.0), cache.columns).value
        pull_back = self._softmax_error if cache.act.name == "softmax" else self._slope_error
        z_error = pull_back(grad_y, cache) + 2 * self.unit * np.abs(z) + np.finfo(self.dtype).tiny

        n, k = z.shape
        errors = {
            "x": (z_error + self.gamma(k) * np.abs(z)) @ np.abs(cache.w).T,
            "w": np.abs(cache.x.value).T @ (z_error + self.gamma(n) * np.abs(z)),
            "z": z_error,
        }
        if not isinstance(cache.x.error, float):
            errors["w"] += cache.x.error.T @ np.abs(z)
        if cache.columns:
            errors = {name: error.T for name, error in errors.items()}
        if cache.b_shape is not None:
            b_error = (z_error + self.gamma(n) * np.abs(z)).sum(axis=0)
            errors["b"] = b_error.reshape(cache.b_shape)
        return Grads(
            **{
                name: Bounded(value, errors[name])
                for name, value in exact._asdict().items()
                if value is not None and name in need
            }
        )

    def _ulps(self, act: Any) -> float:
        """Return the relative error of evaluating an activation: two ULP more for the reference."""
        return 2 * self.unit * (2 + max(ACTIVATIONS[act.name].ulp))

    def _slope_error(self, grad_y: Bounded, cache: Cache) -> Array:
        """Return the error of ``grad_y * act'(z)`` from those of z, y and grad_y."""
        act, z = cache.act, cache.z
        slope = act.derivative(z.value)
        moved = [np.abs(act.derivative(z.value + s * z.error) - slope) for s in (-1, 1)]
        # Slopes from the output are differences like 1 - y**2: their error is absolute, near 1.
        rounding = self._ulps(act) * np.maximum(1.0, np.abs(slope))
        slope_error = np.maximum(*moved) + rounding
        error: Array = np.abs(grad_y.value) * slope_error + grad_y.error * np.abs(slope)
        return error

    def _softmax_error(self, grad_y: Bounded, cache: Cache) -> Array:
        """Return the error of ``y * (grad_y - s)``, ``s = sum(grad_y * y)``."""
        y, size = cache.y, np.abs(grad_y.value)
        s = (grad_y.value * y.value).sum(axis=-1, keepdims=True)
        terms = size * (y.error + self.gamma(y.value.shape[-1]) * y.value) + grad_y.error * y.value
        s_error = terms.sum(axis=-1, keepdims=True)
        difference = size + np.abs(s)
        error: Array = y.error * difference + y.value * (
            grad_y.error + s_error + 2 * self.unit * difference
        )
        return error


class _Loss:
    """A loss whose gradient is ``slope * (pred - target)`` or, for the sum, one."""

    def __init__(self, bounds: Bounds, name: str) -> None:
        self.bounds, self.name = bounds, name

    def value_and_grad(self, pred: Any, *target: Any, **options: Any) -> tuple[Bounded, Bounded]:
        """Return the bounded loss and its bounded gradient."""
        pred = _bounded(pred)
        exact = [np.asarray(t, np.float64) for t in target]
        loss: Any = reference.LOSSES[self.name]
        value, grad = loss.value_and_grad(pred.value, *exact, **options)
        unit, size = self.bounds.unit, np.abs(grad)
        grad_error = 4 * unit * size + np.finfo(self.bounds.dtype).tiny
        if self.name != "sum":  # quadratic: the gradient is 2 * scale * (pred - target)
            ones = np.ones_like(pred.value)
            _, twice = loss.value_and_grad(ones, *(np.zeros_like(t) for t in exact), **options)
            grad_error = grad_error + np.abs(twice) * pred.error
        # Errors of pred are multiplied by the gradient; terms are rounded, then added in float64.
        rounding = 4 * unit * (np.abs(value) if self.name != "sum" else np.abs(pred.value).sum())
        value_error = (size * pred.error).sum() + rounding
        return Bounded(value, value_error), Bounded(grad, grad_error)


def _bounded(value: Any) -> Bounded:
    """Return the value as a Bounded; a plain array is exact."""
    return value if isinstance(value, Bounded) else Bounded(np.asarray(value, np.float64), 0.0)


def _turn(bounded: Bounded, columns: bool) -> Bounded:
    """Return columns as rows or rows as columns."""
    if not columns:
        return bounded
    error = bounded.error if isinstance(bounded.error, float) else bounded.error.T
    return Bounded(bounded.value.T, error)


def _steepest(act: Any, z: Bounded) -> Array:
    """Return the largest slope within the error of z: at its ends or its middle."""
    slopes = [np.abs(act.derivative(z.value + s * z.error)) for s in (-1, 0, 1)]
    steepest: Array = np.maximum.reduce(slopes)
    return steepest
