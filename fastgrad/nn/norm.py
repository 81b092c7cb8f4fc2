"""Normalization as layers: of samples, and of features over a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_count, check_limit, native_dtype
from fastgrad.arrays import Array
from fastgrad.layers.batch_norm import batch_norm_backward, batch_norm_forward
from fastgrad.layers.layer_norm import layer_norm_backward, layer_norm_forward
from fastgrad.layers.norm_arguments import NormCache, check_momentum
from fastgrad.nn.jacobians import as_rows, block_diagonal
from fastgrad.nn.layer import Layer

__all__ = ["BatchNorm", "LayerNorm"]


class _Norm(Layer):
    """What both have: a gain and a bias for each feature."""

    _cache: NormCache

    def __init__(self, input_dim: int, eps: float, samples: str, dtype: str) -> None:
        super().__init__(samples)
        name = type(self).__name__
        self.input_dim = d = check_count(name, "input_dim", input_dim)
        self.eps = check_limit(name, "eps", eps)
        native = native_dtype(name, dtype)
        self.dtype, shape = native.name, (d,) if samples == "rows" else (d, 1)
        self.gain: Array = np.ones(shape, native)
        self.bias: Array = np.zeros(shape, native)
        self.grad_gain: Array | None = None
        self.grad_bias: Array | None = None

    def __repr__(self) -> str:
        dtype = [] if self.dtype == "float64" else [f"dtype={self.dtype!r}"]
        return self._repr(self.input_dim, *dtype)

    def _beside(self) -> tuple[np.dtype[Any], ...]:
        return (np.asarray(self.gain).dtype,)


class LayerNorm(_Norm):
    """The layer ``y = gain * h + bias`` of normalized samples: see `fastgrad.layer_norm_forward`.

    Parameters
    ----------
    input_dim : int
        Number of features.
    eps : float
        Added to the variance.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of gain and bias.

    Attributes
    ----------
    gain, bias : ndarray
        ``(input_dim,)``; for columns ``(input_dim, 1)``. Ones and zeros to begin with.
    grad_gain, grad_bias : ndarray
        Their gradients, summed over the samples; None before `backward`.

    Raises
    ------
    TypeError, ValueError
        For a dimension that is no positive integer, a negative `eps`, an unknown layout or dtype.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.LayerNorm(2, eps=0.0)
    >>> layer.forward([[1.0, 3.0]]).tolist()
    [[-1.0, 1.0]]
    >>> layer.backward([[1.0, 0.0]]).tolist(), layer.grad_gain.tolist()
    ([[0.0, 0.0]], [-1.0, 0.0])
    """

    def __init__(
        self, input_dim: int, eps: float = 1e-5, samples: str = "rows", dtype: str = "float64"
    ) -> None:
        super().__init__(input_dim, eps, samples, dtype)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        ones, zeros = np.ones_like(self.gain), np.zeros_like(self.gain)
        h, cache = layer_norm_forward(x, ones, zeros, self.eps, samples=self.samples)
        rows, scale = as_rows(h, self.samples), cache.kept[0][:, 2]
        d = rows.shape[1]
        centered = np.eye(d, dtype=rows.dtype) - (1 + rows[:, :, None] * rows[:, None, :]) / d
        blocks = self.gain.reshape(d, 1) * centered * scale[:, None, None]
        return block_diagonal(blocks.astype(h.dtype), self.samples, h.shape + x.shape)

    def _apply(self, x: Array) -> Array:
        return layer_norm_forward(x, self.gain, self.bias, self.eps, samples=self.samples)[0]

    def _forward(self, x: Array) -> Array:
        y, self._cache = layer_norm_forward(x, self.gain, self.bias, self.eps, samples=self.samples)
        return y

    def _backward(self, grad: Array) -> Array:
        grad_x, self.grad_gain, self.grad_bias = layer_norm_backward(grad, self._cache)
        assert grad_x is not None
        return grad_x


class BatchNorm(_Norm):
    """The layer ``y = gain * h + bias`` of normalized features: see `fastgrad.batch_norm_forward`.

    In training (`Layer.train`) mean and variance are those of the batch, and `forward` updates the
    running ones; otherwise (`Layer.eval`) the running ones are used.

    Parameters
    ----------
    input_dim : int
        Number of features.
    momentum : float
        From 0 to 1: how much of the running mean and variance stays at each forward. (PyTorch's
        momentum is what is new.)
    eps : float
        Added to the variance.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of gain, bias and the running mean and variance.

    Attributes
    ----------
    gain, bias : ndarray
        ``(input_dim,)``; for columns ``(input_dim, 1)``. Ones and zeros to begin with.
    running_mean, running_variance : ndarray
        Of the same shape. Zeros and ones to begin with.
    grad_gain, grad_bias : ndarray
        The gradients, summed over the samples; None before `backward`.

    Raises
    ------
    TypeError, ValueError
        For a dimension that is no positive integer, a negative `eps`, a momentum out of range, an
        unknown layout or dtype.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.BatchNorm(1, eps=0.0)
    >>> layer.forward([[1.0], [3.0]]).tolist(), layer.running_mean.round(3).tolist()
    ([[-1.0], [1.0]], [0.2])
    >>> layer.eval().forward([[1.2]]).round(3).tolist()
    [[1.0]]
    """

    def __init__(
        self,
        input_dim: int,
        momentum: float = 0.9,
        eps: float = 1e-5,
        samples: str = "rows",
        dtype: str = "float64",
    ) -> None:
        super().__init__(input_dim, eps, samples, dtype)
        self.momentum = check_momentum("BatchNorm", momentum)
        self.running_mean: Array = np.zeros_like(self.gain)
        self.running_variance: Array = np.ones_like(self.gain)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`.

        In training a feature of one sample depends on that of all samples.
        """
        x = self._input("jacobian", x)
        ones, zeros = np.ones_like(self.gain), np.zeros_like(self.gain)
        h, cache = self._normalize(x, ones, zeros)
        rows, scale = as_rows(h, self.samples), cache.kept[0][2]
        n, d = rows.shape
        full = np.zeros((n, d, n, d), rows.dtype)
        for j in range(d):
            block = np.eye(n, dtype=rows.dtype)
            if self.training:
                block -= (1 + np.outer(rows[:, j], rows[:, j])) / n
            full[:, j, :, j] = block * (self.gain.reshape(d)[j] * scale[j])
        turned = full.transpose(1, 0, 3, 2) if self.samples == "columns" else full
        return turned.reshape(h.shape + x.shape)

    def _normalize(self, x: Array, gain: Array, bias: Array) -> tuple[Array, NormCache]:
        """Normalize, and leave the running mean and variance as they are."""
        running = None if self.training else (self.running_mean, self.running_variance)
        return batch_norm_forward(
            x, gain, bias, running, self.training, eps=self.eps, samples=self.samples
        )

    def _apply(self, x: Array) -> Array:
        return self._normalize(x, self.gain, self.bias)[0]

    def _forward(self, x: Array) -> Array:
        y, self._cache = batch_norm_forward(
            x, self.gain, self.bias, (self.running_mean, self.running_variance), self.training,
            self.momentum, self.eps, samples=self.samples,
        )  # fmt: skip
        return y

    def _backward(self, grad: Array) -> Array:
        grad_x, self.grad_gain, self.grad_bias = batch_norm_backward(grad, self._cache)
        assert grad_x is not None
        return grad_x
