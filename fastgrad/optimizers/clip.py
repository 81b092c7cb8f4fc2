"""Clip gradients in place, all arrays of a tree in one call: by norm, or by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastgrad.arguments import check_limit
from fastgrad.arrays import FLOAT32, FLOAT64, Array
from fastgrad.trees import changed

__all__ = ["clip_norm", "clip_value"]


class _Calls:
    """The compiled functions, loaded when first asked for."""

    clip_norm: Any
    clip_value: Any

    def __getattr__(self, name: str) -> Any:
        """Load one of the functions, and keep it."""
        if name.startswith("__"):
            raise AttributeError(name)
        from fastgrad.kernels.calls.entry import entry

        loaded = entry("clip", name, "float64")
        setattr(self, name, loaded)
        return loaded


_CALLS = _Calls()


def clip_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients in place so that the norm of all arrays as one vector is at most `max_norm`.

    ``norm = sqrt(sum of g**2 of all arrays)``; if ``norm > max_norm``, ``g *= max_norm / norm``.
    (PyTorch divides by ``norm + 1e-6``.)

    Parameters
    ----------
    grads : array, or dict, list or tuple of arrays, nested
        float32, float64 or float16, of any strides; changed in place.
    max_norm : float
        Not negative.

    Returns
    -------
    float
        The norm before scaling. If it is NaN, nothing is scaled; if it is infinite, finite
        elements become 0 and the others NaN, as the formula says.

    Raises
    ------
    TypeError, ValueError
        For arrays that are read-only, share memory or have another dtype; for a bad `max_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> grads = {"dW": np.array([[3.0, 0.0]]), "db": np.array([4.0])}
    >>> fg.clip_norm(grads, 1.0), grads["db"].tolist()
    (5.0, [0.8])
    """
    norm: float | None = _CALLS.clip_norm(_leaves(grads), max_norm, FLOAT32, FLOAT64)
    if norm is not None:
        return norm
    limit = check_limit("clip_norm", "max_norm", max_norm)
    arrays = changed("clip_norm", "grads", grads)
    native = _native(arrays)
    norm = _CALLS.clip_norm(native, limit, FLOAT32, FLOAT64)
    if norm is None:  # squares overflow or underflow: scale the numbers first
        norm = _scaled_norm(native)
        if norm > limit:
            with np.errstate(all="ignore"):
                for array in native:
                    np.multiply(array, limit / norm, out=array)
    _put_back(arrays, native)
    return norm


def clip_value(grads: Any, limit: float) -> None:
    """Clip each element of gradients in place to between ``-limit`` and ``limit``; NaN stays.

    Parameters
    ----------
    grads : array, or dict, list or tuple of arrays, nested
        float32, float64 or float16, of any strides; changed in place.
    limit : float
        Not negative.

    Raises
    ------
    TypeError, ValueError
        For arrays that are read-only, share memory or have another dtype; for a bad `limit`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> grads = [np.array([-7.0, 0.5]), np.array([[6.0]])]
    >>> fg.clip_value(grads, 5.0)
    >>> grads
    [array([-5. ,  0.5]), array([[5.]])]
    """
    if _CALLS.clip_value(_leaves(grads), limit, FLOAT32, FLOAT64) is None:
        most = check_limit("clip_value", "limit", limit)
        arrays = changed("clip_value", "grads", grads)
        native = _native(arrays)
        _CALLS.clip_value(native, most, FLOAT32, FLOAT64)
        _put_back(arrays, native)


def _leaves(grads: Any) -> tuple[Any, ...]:
    """Return the arrays of a tree that is not nested; for other trees, anything."""
    if isinstance(grads, dict):
        return tuple(grads.values())
    return tuple(grads) if isinstance(grads, list | tuple) else (grads,)


def _native(arrays: list[Array]) -> tuple[Array, ...]:
    """Return the arrays, or copies, in a form that kernels take; float16 as float32."""
    dtypes = [FLOAT64 if a.dtype.itemsize == 8 else FLOAT32 for a in arrays]
    return tuple(np.require(a, d, ["C", "A"]) for a, d in zip(arrays, dtypes, strict=True))


def _put_back(arrays: list[Array], native: tuple[Array, ...]) -> None:
    """Copy clipped copies back to their arrays."""
    for array, taken in zip(arrays, native, strict=True):
        if taken is not array:
            array[...] = taken


def _scaled_norm(arrays: tuple[Array, ...]) -> float:
    """Return the norm of arrays whose squares are too large or too small for float64."""
    greatest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    if greatest == 0 or not math.isfinite(greatest):
        return greatest
    parts = (np.square(a.astype(FLOAT64) / greatest).sum() for a in arrays)
    return greatest * math.sqrt(sum(map(float, parts)))
