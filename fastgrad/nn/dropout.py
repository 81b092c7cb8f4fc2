"""Dropout as a layer: other elements at each forward of training, none otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_below
from fastgrad.arrays import Array
from fastgrad.layers.dropout import dropout_backward, dropout_forward
from fastgrad.layers.dropout_arguments import DropoutCache, check_rate
from fastgrad.nn.layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """A layer that sets elements to 0 at random in training: see `fastgrad.dropout_forward`.

    In training (`Layer.train`) each `forward` is a step of its own, so other elements are dropped;
    otherwise (`Layer.eval`) y is a copy of x.

    Parameters
    ----------
    rate : float
        The probability to drop an element, from 0 to 1.
    seed : int
        From 0 to ``2**64 - 1``.
    layer : int
        From 0 to ``2**32 - 1``: different numbers for layers that share a seed.
    samples : {"rows", "columns"}
        Which axis counts samples.

    Attributes
    ----------
    rate, seed, layer
        As given.
    step : int
        The number of forwards in training so far: the next one's step.

    Raises
    ------
    TypeError, ValueError
        For a number out of range, an unknown layout.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Dropout(0.5, seed=3)
    >>> layer.forward([[1.0, 2.0, 3.0, 4.0]]).tolist()
    [[2.0, 0.0, 6.0, 8.0]]
    >>> layer.backward([[1.0, 1.0, 1.0, 1.0]]).tolist()
    [[2.0, 0.0, 2.0, 2.0]]
    >>> layer.eval().forward([[1.0, 2.0, 3.0, 4.0]]).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    _cache: DropoutCache | None

    def __init__(self, rate: float, seed: int = 0, layer: int = 0, samples: str = "rows") -> None:
        super().__init__(samples)
        self.rate = check_rate("Dropout", rate)
        self.seed = check_below("Dropout", "seed", seed, 64)
        self.layer = check_below("Dropout", "layer", layer, 32)
        self.step = 0

    def __repr__(self) -> str:
        layer = [f"layer={self.layer}"] if self.layer else []
        return self._repr(self.rate, f"seed={self.seed}", *layer)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, for the elements of the last `forward`: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        slopes = self._apply(np.ones_like(x))
        return np.diag(slopes.reshape(-1)).reshape(x.shape + x.shape)

    def _apply(self, x: Array) -> Array:
        return self._drop(x, max(self.step - 1, 0))[0]

    def _drop(self, x: Array, step: int) -> tuple[Array, DropoutCache | None]:
        if not self.training:
            return x.copy(), None
        return dropout_forward(x, self.rate, self.seed, step, layer=self.layer)

    def _forward(self, x: Array) -> Array:
        y, self._cache = self._drop(x, self.step)
        self.step += self.training
        return y

    def _backward(self, grad: Array) -> Array:
        return grad.copy() if self._cache is None else dropout_backward(grad, self._cache)
