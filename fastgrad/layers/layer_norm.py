"""Layer normalization of samples, and its gradients: each pass is one compiled call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.layers.compiled_entry import compiled_entry
from fastgrad.layers.norm_arguments import (
    NormCache,
    norm_arguments,
    norm_gradients,
    norm_results,
)
from fastgrad.results import NormGrads


def layer_norm_forward(
    x: ArrayLike,
    gain: ArrayLike,
    bias: ArrayLike,
    eps: float = 1e-5,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Return ``y = gain * h + bias`` of normalized samples h, and a cache for the backward pass.

    ``h = (x - mean) / sqrt(variance + eps)``, where mean and variance are those of each sample's d
    numbers: the variance is their mean squared difference, divided by d, not d - 1 (Ba, Kiros and
    Hinton, arXiv:1607.06450).

    Parameters
    ----------
    x : array_like
        ``(n, d)`` or ``(..., d)``; columns: ``(d, n)``; one sample: ``(d,)``.
    gain, bias : array_like
        ``(d,)`` or ``(1, d)``; columns: ``(d,)`` or ``(d, 1)``.
    eps : float
        Added to the variance: finite, at least 0.
    samples : {"rows", "columns"}
        Where a sample is in x.
    out : ndarray, optional
        An array of exact shape and dtype to write y to.

    Returns
    -------
    y : ndarray
        Of the shape of x, of the dtype that NumPy promotes the inputs to; float64 if all are
        integers or bools. Sums are in float64, and a large mean costs no digits.
    cache : NormCache
        For `layer_norm_backward`. It refers to x and gain: do not change them in between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in.
    ValueError
        For shapes or an `out` that do not fit, an `eps` below 0.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.layer_norm_forward([[1.0, 3.0]], [1.0, 2.0], [0.0, 0.5], eps=0.0)
    >>> y.tolist()
    [[-1.0, 2.5]]
    >>> fg.layer_norm_backward([[1.0, 0.0]], cache).gain.tolist()
    [-1.0, 0.0]
    """
    given = norm_arguments("layer_norm_forward", x, gain, bias, eps, samples, out)
    rows, dtype = given.x, given.dtypes.work
    y, state = np.empty_like(rows), np.empty((len(rows), 3), dtype)
    if rows.size:
        compiled_entry("layer_norm", "layer_norm_forward", dtype)(
            *rows.shape, rows, given.gain, given.bias, state, y, given.eps
        )
    return norm_results("layer_norm", given, y, (state,), True)


def layer_norm_backward(
    grad_y: ArrayLike,
    cache: NormCache,
    *,
    need: Iterable[str] = NormGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> NormGrads:
    """Return the gradients of the loss with respect to x, gain and bias.

    With means over a sample's numbers and sums over samples::

        grad_x = (g - mean(g) - h * mean(g * h)) / sqrt(variance + eps),  g = gain * grad_y
        grad_gain = sum of grad_y * h          grad_bias = sum of grad_y

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : NormCache
        From `layer_norm_forward`.
    need : iterable of str
        Which gradients to compute, of x, gain, bias.
    out : NormGrads, mapping or object with these fields, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    NormGrads
        Each gradient has the shape of its argument; None where not needed.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.layer_norm_forward([[1.0, 3.0, 5.0]], [1.0] * 3, [0.0] * 3, eps=0.0)
    >>> fg.layer_norm_backward([[1.0, 1.0, 1.0]], cache).x.tolist()
    [[0.0, 0.0, 0.0]]
    """
    return norm_gradients("layer_norm_backward", _gradients, cache, grad_y, need, out, accumulate)


def _gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
    """Return the gradients of these names."""
    given, (state,) = cache.given, cache.kept
    like = {"x": grad, "gain": given.gain, "bias": given.bias}
    made = {name: np.zeros_like(like[name]) for name in names}
    if grad.size and names:
        compiled_entry("layer_norm", "layer_norm_backward", grad.dtype)(
            *grad.shape, given.x, given.gain, grad, state, *map(made.get, NormGrads._fields)
        )
    return made
