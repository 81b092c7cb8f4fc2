"""Activations as layers of their own."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastgrad import activations
from fastgrad.arrays import Array
from fastgrad.kernels.flags import MARK_SAMPLES
from fastgrad.layers.compiled_layer import resolve
from fastgrad.nn.jacobians import as_rows, block_diagonal, slope_blocks
from fastgrad.nn.layer import Layer

__all__ = ["Activation", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Layer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : str or fastgrad.Activation
        Which one.
    samples : {"rows", "columns"}
        Which axis counts samples: softmax runs along the other.

    Raises
    ------
    TypeError
        If `activation` is of another kind. `fastgrad.define_activation` makes one from a plain
        function.
    ValueError
        If the name or `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Activation("relu")
    >>> layer.forward([0, -1, 2, -1, 4]).tolist()
    [[0.0, 0.0, 2.0, 0.0, 4.0]]
    >>> layer.backward([1, 2, 3, 2, 1]).tolist()
    [[0.0, 0.0, 3.0, 0.0, 1.0]]
    """

    def __init__(self, activation: str | activations.Activation, samples: str = "rows") -> None:
        super().__init__(samples)
        self._act, function = resolve(type(self).__name__, activation)
        if function is not None:
            raise TypeError("Activation: activation is a function: name it by define_activation")
        axis = 0 if samples == "columns" else -1
        self._options: dict[str, Any] = {"axis": axis} if self._act.rowwise else {}

    def __repr__(self) -> str:
        return self._repr(*([repr(self._act.name)] if type(self) is Activation else []))

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        blocks = slope_blocks(self._act, as_rows(x, self.samples))
        return block_diagonal(blocks, self.samples, x.shape + x.shape)

    def _apply(self, x: Array) -> Array:
        return self._act(x, **self._options)

    def _forward(self, x: Array) -> Array:
        y = self._apply(x)
        self._seen = _some(y) if self._act.from_output else b""
        return y

    def _backward(self, grad: Array) -> Array:
        if self._act.from_output:
            assert self._y is not None
            if _some(self._y) != self._seen:
                raise ValueError(
                    f"{type(self).__name__}.backward: y has been changed since forward returned "
                    "it, and the derivative is taken from it: y = y * mask, not y *= mask"
                )
            return self._act.backward_from_output(grad, self._y, **self._options)
        return self._act.backward(grad, self._x, **self._options)


def _some(y: Array) -> bytes:
    """Return some elements of y, all if it is small, to detect later changes."""
    return y.flat[:: (y.size // MARK_SAMPLES) | 1].tobytes()


class _Named(Activation):
    """A layer of the activation that its class names.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.

    """

    _name: str

    def __init__(self, samples: str = "rows") -> None:
        super().__init__(self._name, samples)

    def __init_subclass__(cls) -> None:
        """Complete a class's docstring, a title and an example, with the sections above."""
        if cls.__doc__ and _Named.__doc__:  # `python -OO` has none
            title, _, example = cls.__doc__.partition("\n\n")
            _, _, shared = _Named.__doc__.partition("\n\n")
            cls.__doc__ = f"{title}\n\n{shared.rstrip()}\n\n{example}"


class Sigmoid(_Named):
    """``1 / (1 + exp(-x))`` as a layer.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Sigmoid()
    >>> layer.forward([0.0])
    array([[0.5]])
    >>> layer.backward([1.0])
    array([[0.25]])
    """

    _name = "sigmoid"


class Tanh(_Named):
    """``tanh(x)`` as a layer.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Tanh()
    >>> layer.forward([0.0, 0.5])
    array([[0.        , 0.46211716]])
    >>> layer.backward([1.0, 0.0])
    array([[1., 0.]])
    """

    _name = "tanh"


class ReLU(_Named):
    """``max(x, 0)`` as a layer; its derivative at 0 is 0.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.ReLU()
    >>> layer.forward([-1, 0, 2])
    array([[0., 0., 2.]])
    >>> layer.backward([5, 5, 5])
    array([[0., 0., 5.]])
    """

    _name = "relu"


class Softmax(_Named):
    """Softmax over the features of each sample, as a layer.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Softmax(samples="columns")
    >>> layer.forward([[0.0, 0.0], [0.0, 0.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    >>> layer.backward([[1.0, 0.0], [0.0, 0.0]])
    array([[ 0.25,  0.  ],
           [-0.25,  0.  ]])
    """

    _name = "softmax"
