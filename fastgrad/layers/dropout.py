"""Dropout: elements chosen at random become 0, forward, and the same ones on the way back.

The random numbers are those of a counter (`kernels.elementwise.philox`), so there is no generator
whose state the order of calls would change, and no mask to keep.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad import threads
from fastgrad.arrays import Array, as_native, deliver
from fastgrad.layers.compiled_entry import compiled_entry
from fastgrad.layers.dropout_arguments import (
    Choice,
    DropoutCache,
    dropout_arguments,
    dropout_gradient,
)

_WORDS = 1 << 32  # how many values a random word has
_COST = 16  # of an element, in multiply-adds
_SLICE = threads.SLICE // _COST // 2  # elements after which Python looks for signals: 40 ms


def dropout_forward(
    x: ArrayLike,
    rate: float,
    seed: int,
    step: int = 0,
    *,
    layer: int = 0,
    start: int = 0,
    out: Array | None = None,
) -> tuple[Array, DropoutCache]:
    """Return x with some elements set to 0 and the others divided by ``1 - rate``, and a cache.

    ("Inverted" dropout: Srivastava et al., JMLR 15, 2014; each element of y has the mean of its x.)
    Element p, counted in C order of x whatever its memory layout, is dropped if word ``q % 4`` of
    Philox4x32-10 with counter ``(q // 4, step, layer)`` and key ``seed`` is less than
    ``rate * 2**32``, where ``q = start + p``. So which elements are dropped depends on nothing
    else: not on threads, dtype, layout or earlier calls, and x may be cut into pieces.

    Parameters
    ----------
    x : array_like
        Of any shape.
    rate : float
        The probability to drop an element, from 0 to 1.
    seed : int
        From 0 to ``2**64 - 1``.
    step : int
        From 0 to ``2**32 - 1``. Count it up at each training step: other elements are dropped.
    layer : int
        From 0 to ``2**32 - 1``. Layers that share a seed need different numbers: with the same one
        they would drop the same places.
    start : int
        From 0 to ``2**62 - 1``: the place of x's first element in the array of which x is a piece.
        Rows from i on of an array with k columns start at ``i * k``.
    out : ndarray, optional
        An array of exact shape and dtype to write y to.

    Returns
    -------
    y : ndarray
        Of the shape of x and its dtype; float64 for integers and bools. Dropped elements are 0,
        even where x is NaN or infinite.
    cache : DropoutCache
        For `dropout_backward`. It holds no array.

    Raises
    ------
    TypeError, ValueError
        For a dtype fastgrad does not compute in, numbers out of range, an `out` that does not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dropout_forward([[1.0, 2.0, 3.0, 4.0]], 0.5, seed=3)
    >>> y.tolist()
    [[2.0, 0.0, 6.0, 8.0]]
    >>> fg.dropout_backward([[1.0, 1.0, 1.0, 1.0]], cache).tolist()
    [[2.0, 0.0, 2.0, 2.0]]
    """
    array, choice, dtypes = dropout_arguments(x, rate, seed, step, layer, start, out)
    y = _dropped(array, choice, dtypes, out)
    return y, DropoutCache(choice, array.shape, dtypes.result)


def dropout_backward(grad_y: ArrayLike, cache: DropoutCache, *, out: Array | None = None) -> Array:
    """Return the gradient of the loss with respect to dropout's x.

    ``grad_x = grad_y / (1 - rate)`` where x was kept, 0 where it was dropped. The random numbers
    are drawn again, which takes less time than to write a mask and read it.

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : DropoutCache
        From `dropout_forward`.
    out : ndarray, optional
        An array of exact shape and dtype to write to.

    Returns
    -------
    ndarray
        Of the dtype that NumPy promotes y and grad_y to.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes or an `out` that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> _, cache = fg.dropout_forward([1.0, 2.0], 0.0, seed=0)
    >>> fg.dropout_backward([3.0, 4.0], cache).tolist()
    [3.0, 4.0]
    """
    array, dtypes = dropout_gradient(grad_y, cache, out)
    return _dropped(array, cache.choice, dtypes, out)


def _dropped(array: Array, choice: Choice, dtypes: Any, out: Array | None) -> Array:
    """Return the elements that stay, scaled, and 0 for the others."""
    native = np.ascontiguousarray(as_native(array, dtypes.work))
    direct = out is not None and out.dtype is dtypes.work and out.flags.carray
    y = out if out is not None and direct else np.empty(array.shape, dtypes.work)
    rate, seed, step, layer, start = choice
    threshold = math.ceil(rate * _WORDS)
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    key = seed if seed < 1 << 63 else seed - (1 << 64)
    run = compiled_entry("dropout", "dropout", dtypes.work)
    if array.size < _SLICE:
        run(array.size, native, y, start, key, step, layer, threshold, scale)
        return deliver(y, dtypes.result, out)
    flat, target = native.reshape(-1), y.reshape(-1)
    count = threads.shares(array.size * _COST)
    threads.run(
        [
            [
                partial(
                    run, part.stop - part.start, flat[part], target[part], start + part.start,
                    key, step, layer, threshold, scale,
                )
                for part in threads.cut(piece, threads.piece(count) // _COST, 4)
            ]
            for piece in threads.share(slice(0, array.size), count, 4)
        ]
    )  # fmt: skip
    return deliver(y, dtypes.result, out)
