"""Layers with weights: ``act(x @ w + b)``, and without an activation."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import native_dtype, random_generator
from fastgrad.arrays import Array
from fastgrad.layers.compiled_layer import callable_slope, resolve
from fastgrad.layers.dense import DenseCache, dense, dense_backward, dense_forward
from fastgrad.nn.jacobians import as_rows, block_diagonal, slope_blocks
from fastgrad.nn.layer import Layer

__all__ = ["Dense", "Linear"]


class Dense(Layer):
    """A fused layer ``y = act(x @ w + b)``; for columns ``act(w @ x + b)``.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features.
    activation : None, str, fastgrad.Activation or callable
        As for `fastgrad.dense_forward`.
    bias : bool
        Whether there is a b.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of w and b.
    seed : int, optional
        w is Glorot uniform: ``U(-a, a)`` with ``a = sqrt(6 / (input_dim + output_dim))``, drawn by
        ``numpy.random.Generator(PCG64(seed))``, the same numbers in both layouts and dtypes.
        b is 0.

    Attributes
    ----------
    w, b : ndarray
        Weights ``(input_dim, output_dim)`` and bias ``(output_dim,)``; for columns
        ``(output_dim, input_dim)`` and ``(output_dim, 1)``. Yours to change. b may be None.
    grad_w, grad_b : ndarray
        Their gradients, of the shapes of w and b, summed over the samples; None before `backward`.

    Raises
    ------
    TypeError
        If `activation` or `seed` is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown activation, layout or dtype, or a
        negative seed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Dense(2, 1, "relu", seed=0)
    >>> layer.w[:] = [[1.0], [2.0]]
    >>> layer.forward([3, 4])
    array([[11.]])
    >>> layer.backward([1.0])
    array([[1., 2.]])
    >>> layer.grad_w.tolist(), layer.grad_b.tolist()
    ([[3.0], [4.0]], [1.0])
    """

    _cache: DenseCache

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        activation: Any = None,
        bias: bool = True,
        samples: str = "rows",
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        super().__init__(samples)
        name = type(self).__name__
        for argument, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name}: {argument} is {size!r}: give a positive integer")
        shape = input_dim, output_dim = int(input_dim), int(output_dim)
        if math.prod(shape) > sys.maxsize // 8:
            raise ValueError(f"{name}: w of shape {shape} is larger than memory can be")
        native = native_dtype(name, dtype)
        self.dtype = native.name
        self._act, self._function = resolve(name, activation)
        # The object that forward and backward apply: its name could be redefined.
        self._applied = self._act if self._function is None else self._function
        self.input_dim, self.output_dim = shape
        self.activation = activation

        rows = samples == "rows"
        limit = math.sqrt(6.0 / (input_dim + output_dim))
        rng = random_generator(name, seed)
        w = rng.uniform(-limit, limit, shape).astype(native)
        self.w: Array = w if rows else w.T.copy()
        self.b = np.zeros((output_dim,) if rows else (output_dim, 1), native) if bias else None
        self.grad_w: Array | None = None
        self.grad_b: Array | None = None

    def __repr__(self) -> str:
        act = [] if self.activation is None else [repr(self.activation)]
        dtype = [] if self.dtype == "float64" else [f"dtype={self.dtype!r}"]
        bias = f"bias={self.b is not None}"
        return self._repr(self.input_dim, self.output_dim, *act, bias, *dtype)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        z = dense(x, self.w, self.b, samples=self.samples)
        z_rows = as_rows(z, self.samples)
        slopes = None
        if self._function is not None:
            slopes = callable_slope("Dense.jacobian", self._function, z_rows)
        w = self.w if self.samples == "columns" else self.w.T
        blocks = slope_blocks(self._act, z_rows, slopes) @ w
        return block_diagonal(blocks, self.samples, z.shape + x.shape)

    def _beside(self) -> tuple[np.dtype[Any], ...]:
        return (np.asarray(self.w).dtype,)

    def _apply(self, x: Array) -> Array:
        return dense(x, self.w, self.b, self._applied, samples=self.samples)

    def _forward(self, x: Array) -> Array:
        y, self._cache = dense_forward(x, self.w, self.b, self._applied, samples=self.samples)
        return y

    def _backward(self, grad: Array) -> Array:
        grad_x, self.grad_w, self.grad_b, _ = dense_backward(grad, self._cache)
        assert grad_x is not None
        return grad_x


class Linear(Dense):
    """The layer ``y = x @ w + b``; for columns ``w @ x + b``.

    It has the attributes of `Dense`, and draws the same weights.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features.
    bias : bool
        Whether there is a b.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of w and b.
    seed : int, optional
        Of the weights: see `Dense`.

    Raises
    ------
    TypeError
        If `seed` is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown layout or dtype, or a negative seed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Linear(2, 1)
    >>> layer.w[:], layer.b[:] = [[1.0], [2.0]], [0.5]
    >>> layer.forward([3, 4])
    array([[11.5]])
    >>> layer.jacobian([3, 4])
    array([[[[1., 2.]]]])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        bias: bool = True,
        samples: str = "rows",
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        super().__init__(input_dim, output_dim, None, bias, samples, dtype, seed)
