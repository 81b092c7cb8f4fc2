"""Jacobians of layers by their formulas: one block per sample, as y depends on its own x only."""

from __future__ import annotations

import math

import numpy as np

from fastgrad.activations import Activation
from fastgrad.arrays import Array

__all__ = ["as_rows", "block_diagonal", "slope_blocks"]


def as_rows(a: Array, samples: str) -> Array:
    """Return the array as (samples, features)."""
    a = a.T if samples == "columns" else a
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def slope_blocks(act: Activation, z: Array, slopes: Array | None = None) -> Array:
    """Return ``dy/dz`` of each sample: ``(n, k, k)`` for z of shape ``(n, k)``."""
    n, k = z.shape
    if act.rowwise:
        y = act(z)
        softmax: Array = y[:, :, None] * (np.eye(k, dtype=y.dtype) - y[:, None, :])
        return softmax
    slopes = act.derivative(z) if slopes is None else slopes
    blocks = np.zeros((n, k, k), slopes.dtype)
    blocks[:, range(k), range(k)] = slopes
    return blocks


def block_diagonal(blocks: Array, samples: str, shape: tuple[int, ...]) -> Array:
    """Return ``dy/dx`` of all samples from that of each; it is zero between samples."""
    n, k, d = blocks.shape
    full = np.zeros((n, k, n, d), blocks.dtype)
    full[range(n), :, range(n), :] = blocks
    return (full.transpose(1, 0, 3, 2) if samples == "columns" else full).reshape(shape)
