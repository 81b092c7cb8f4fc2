"""Sound calls of a layer, of which a test makes one argument wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastgrad as fg

X, W, B = np.ones((3, 4)), np.ones((4, 2)), np.ones(2)
Y = np.ones((3, 2))


def dense(**changes: Any) -> Callable[[], Any]:
    """Return a call of dense_forward with some arguments changed."""
    arguments: dict[str, Any] = {"x": X, "w": W, "b": B, "activation": "tanh", **changes}
    return lambda: fg.dense_forward(**arguments)


def columns(**changes: Any) -> Callable[[], Any]:
    return dense(**{"x": X.T, "w": W.T, "samples": "columns", **changes})


def cache_of(**changes: Any) -> fg.DenseCache:
    _, cache = dense(**changes)()
    return cache


def backward(grad_y: Any = Y, cache: Any = None, **options: Any) -> Callable[[], Any]:
    """Return a call of dense_backward."""
    return lambda: fg.dense_backward(grad_y, cache_of() if cache is None else cache, **options)
