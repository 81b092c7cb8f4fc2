"""The base of all layers, and arrays as samples."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import LAYOUTS, check_choice, check_samples, check_truth
from fastgrad.arrays import Array, as_array, promoted

__all__ = ["Layer", "Turns", "as_samples"]

_OF_LAST_FORWARD = frozenset({"_x", "_y", "_cache", "_seen", "_waiting", "_once"})


class Turns:
    """The order of forwards and backwards: a layer remembers only its last forward.

    Two backwards after one forward are right: with another gradient, or through the Jacobian. But
    after two forwards, the second backward is meant for the first forward, which is forgotten.
    """

    _waiting = 0  # forwards since the last backward
    _once = False  # whether several forwards came before it

    def _gone_forward(self) -> None:
        self._waiting += 1

    def _go_back(self, name: str) -> None:
        if self._waiting:
            self._once, self._waiting = self._waiting > 1, 0
        elif self._once:
            raise ValueError(
                f"{name}: forward has been called more than once before the last backward, and "
                "only its last call is remembered: this backward would repeat the same gradient. "
                "Call forward(x), then backward, for each x in turn"
            )


class Layer(Turns):
    """The base class of all layers.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.
    """

    input_dim: int | None = None  # None: any number of features
    training = True  # a setting of `train` and `eval`
    _x: Array
    _y: Array | None = None

    def __init__(self, samples: str) -> None:
        check_choice(type(self).__name__, "samples", samples, LAYOUTS)
        self.samples = samples

    def forward(self, x: ArrayLike) -> Array:
        """Return y, and remember what `backward` needs.

        Parameters
        ----------
        x : array_like
            Rows ``(n, d)`` or ``(..., d)``, columns ``(d, n)``; a vector ``(d,)`` is one sample.
            Not copied where it is an array of floats.

        Returns
        -------
        ndarray
            y: ``(n, k)`` or ``(..., k)``; columns ``(k, n)``. Of x's floating dtype, or that which
            it and the layer's parameters promote to.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            For another number of axes or features.
        """
        x = self._input("forward", x)
        self._y = None  # if it fails half-way, there is nothing to go back from
        self._x, self._y = x, self._forward(x)
        self._gone_forward()
        return self._y

    def backward(self, grad_y: ArrayLike, use_jacobian: bool = False) -> Array:
        """Return ``dL/dx``, given ``grad_y = dL/dy`` for the y of the last `forward`.

        A layer with parameters also sets their gradients. With `use_jacobian`, `grad_y` is
        contracted with the explicit Jacobian: the same result, for learning and checking, at the
        price of ``y.size * x.size`` numbers.

        Parameters
        ----------
        grad_y : array_like
            Of the shape of y; a vector is one sample.
        use_jacobian : bool
            Contract with the Jacobian.

        Returns
        -------
        ndarray
            ``dL/dx``, of the shape of x (as samples: ``(1, d)`` or ``(d, 1)`` for a vector).

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            Before the first `forward`, if the shapes do not fit, or if y has been changed. After
            several forwards for the second backward: only the last forward is remembered.
        """
        name = f"{type(self).__name__}.backward"
        if self._y is None:
            raise ValueError(f"{name}: there is no y to go back from: call forward(x) first")
        grad = as_samples(name, "grad_y", grad_y, self.samples, self._y.dtype)
        if grad.shape != self._y.shape:
            raise ValueError(
                f"{name}: grad_y has shape {grad.shape} but y has shape {self._y.shape}: "
                "they need the same shape"
            )
        self._go_back(name)
        grad_x = self._backward(grad)
        if use_jacobian:
            return np.tensordot(grad, self.jacobian(self._x), axes=grad.ndim)
        return grad_x

    def train(self, training: bool = True) -> Self:
        """Let layers behave as in training, as they do to begin with; return this layer.

        Only `Dropout` and `BatchNorm` behave differently.

        Parameters
        ----------
        training : bool
            False: as `eval`.

        Returns
        -------
        Layer
            This layer; of a `Sequential` all its layers have been set, too.

        Raises
        ------
        TypeError
            If `training` is an array.
        """
        self.training = check_truth(f"{type(self).__name__}.train", "training", training)
        return self

    def eval(self) -> Self:
        """Let layers behave as they do after training; return this layer: see `train`.

        Returns
        -------
        Layer
            This layer.

        Raises
        ------
        TypeError
            If it is given an argument.
        """
        return self.train(False)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula.

        Parameters
        ----------
        x : array_like
            As for `forward`, whose memory this does not touch.

        Returns
        -------
        ndarray
            ``y.shape + x.shape``, the shapes of y and x as samples: ``(n, k, n, d)`` for rows,
            ``(k, n, d, n)`` for columns. Zero between different samples.

        Raises
        ------
        TypeError, ValueError
            As for `forward`.
        """
        raise NotImplementedError

    def _beside(self) -> tuple[np.dtype[Any], ...]:
        """Return the dtypes of the parameters, with which integers in x are promoted."""
        return ()

    def _apply(self, x: Array) -> Array:
        """Return y and remember nothing."""
        raise NotImplementedError

    def _forward(self, x: Array) -> Array:
        return self._apply(x)

    def _backward(self, grad: Array) -> Array:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        # Pickles and copies do not keep the last forward, which refers to compiled code.
        return {k: v for k, v in self.__dict__.items() if k not in _OF_LAST_FORWARD}

    def _input(self, method: str, x: ArrayLike) -> Array:
        """Return x as samples, with the right number of features."""
        name, d = f"{type(self).__name__}.{method}", self.input_dim
        x = as_samples(name, "x", x, self.samples, *self._beside())
        columns = self.samples == "columns"
        if d is not None and x.shape[0 if columns else -1] != d:
            form = f"({d}, n)" if columns else f"(n, {d})"
            raise ValueError(f"{name}: x has shape {x.shape}: {self!r} takes {form} or ({d},)")
        return x

    def _repr(self, *parts: Any) -> str:
        layout = [] if self.samples == "rows" else [f"samples={self.samples!r}"]
        return f"{type(self).__name__}({', '.join([*map(str, parts), *layout])})"


def as_samples(
    function: str, name: str, value: ArrayLike, samples: str, *beside: np.dtype[Any]
) -> Array:
    """Return a floating array of at least two axes: a vector is one sample.

    Integers become what NumPy promotes them and the dtypes `beside` them to.
    """
    array = as_array(function, name, value)
    others = () if array.dtype.kind == "f" else beside
    array = array.astype(promoted(array.dtype, *others).result, copy=False)
    check_samples(function, name, array, samples)
    if array.ndim > 1:
        return array
    return array.reshape((-1, 1) if samples == "columns" else (1, -1))
