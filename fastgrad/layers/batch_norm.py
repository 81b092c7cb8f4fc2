"""Batch normalization of features, and its gradients: each pass is one compiled call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_truth
from fastgrad.arrays import FLOAT64, INT64, Array
from fastgrad.layers.compiled_entry import compiled_entry
from fastgrad.layers.norm_arguments import (
    NormCache,
    check_momentum,
    check_running,
    norm_arguments,
    norm_gradients,
    norm_results,
)
from fastgrad.results import NormGrads


def batch_norm_forward(
    x: ArrayLike,
    gain: ArrayLike,
    bias: ArrayLike,
    running: tuple[Array, Array] | None = None,
    training: bool = True,
    momentum: float = 0.9,
    eps: float = 1e-5,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, NormCache]:
    """Return ``y = gain * h + bias`` of normalized features h, and a cache for the backward pass.

    ``h = (x - mean) / sqrt(variance + eps)``, where in training mean and variance are those of each
    feature over all samples: the variance is the mean squared difference, divided by n, not n - 1
    (Ioffe and Szegedy, arXiv:1502.03167). Then the running ones are updated in place::

        running = momentum * running + (1 - momentum) * that of the batch

    which is CS231n's convention. PyTorch's ``momentum=0.1`` is 0.9 here, and it adds to the running
    variance that with ``n - 1``; everything else is the same.

    Parameters
    ----------
    x : array_like
        ``(n, d)`` or ``(..., d)``; columns: ``(d, n)``; one sample: ``(d,)``. All axes but that of
        the features are samples.
    gain, bias : array_like
        ``(d,)`` or ``(1, d)``; columns: ``(d,)`` or ``(d, 1)``.
    running : tuple of two ndarrays, optional
        Mean and variance, floats of a shape that gain may have; to begin with, zeros and ones.
        Training without samples leaves them as they are.
    training : bool
        False: normalize by the running mean and variance, which are constants then.
    momentum : float
        From 0 to 1: how much of the running values stays.
    eps : float
        Added to the variance: finite, at least 0.
    samples : {"rows", "columns"}
        Where a sample is in x.
    out : ndarray, optional
        An array of exact shape and dtype to write y to.

    Returns
    -------
    y : ndarray
        Of the shape of x, of the dtype that NumPy promotes x, gain and bias to; float64 if all are
        integers or bools. Sums are in float64, over blocks of 256 samples that are added in order,
        and a large mean costs no digits.
    cache : NormCache
        For `batch_norm_backward`. It refers to x and gain: do not change them in between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in, `running` that is no pair of arrays.
    ValueError
        For shapes or an `out` that do not fit, numbers out of range, `training=False` without
        `running`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> running = np.zeros(1), np.ones(1)
    >>> y, cache = fg.batch_norm_forward([[1.0], [3.0]], [2.0], [0.5], running, eps=0.0)
    >>> y.tolist(), running[0].round(3).tolist()
    ([[-1.5], [2.5]], [0.2])
    >>> fg.batch_norm_backward([[1.0], [0.0]], cache).gain.tolist()
    [-1.0]
    """
    function = "batch_norm_forward"
    given = norm_arguments(function, x, gain, bias, eps, samples, out)
    training = check_truth(function, "training", training)
    stays = check_momentum(function, momentum)
    averages = check_running(function, running, given, training)
    rows, dtype = given.x, given.dtypes.work
    words = np.empty((2, rows.shape[1]), INT64)  # entry points take one dtype, and this one
    found = words.view(FLOAT64)
    if averages is not None and not training:
        found[0], found[1] = averages
    inside: Any = averages if training and _fit(averages, dtype) else (None, None)
    y, state = np.empty_like(rows), np.zeros((3, rows.shape[1]), dtype)
    if rows.size:
        compiled_entry("batch_norm", function, dtype)(
            *rows.shape, int(training), rows, given.gain, state, words, given.bias, y, given.eps,
            stays, *inside,
        )  # fmt: skip
        if training and averages is not None and inside is not averages:
            with np.errstate(all="ignore"):
                found *= 1 - stays
                for average, new in zip(averages, found, strict=True):
                    average *= stays
                    np.add(average, new, out=average, casting="same_kind")
    return norm_results("batch_norm", given, y, (state,), training)


def batch_norm_backward(
    grad_y: ArrayLike,
    cache: NormCache,
    *,
    need: Iterable[str] = NormGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> NormGrads:
    """Return the gradients of the loss with respect to x, gain and bias.

    With sums and means over samples::

        grad_gain = sum of grad_y * h          grad_bias = sum of grad_y
        grad_x = gain / sqrt(variance + eps) * (grad_y - mean(grad_y) - h * mean(grad_y * h))

    After `training=False` mean and variance are constants:
    ``grad_x = gain / sqrt(variance + eps) * grad_y``.

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : NormCache
        From `batch_norm_forward`.
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
    >>> y, cache = fg.batch_norm_forward([[1.0], [3.0], [5.0]], [1.0], [0.0], eps=0.0)
    >>> fg.batch_norm_backward([[1.0], [1.0], [1.0]], cache).x.tolist()
    [[0.0], [0.0], [0.0]]
    """
    return norm_gradients("batch_norm_backward", _gradients, cache, grad_y, need, out, accumulate)


def _fit(averages: tuple[Array, Array] | None, dtype: np.dtype[Any]) -> bool:
    """Return whether the compiled call can update running statistics in place."""
    return averages is not None and all(
        type(a) is np.ndarray and a.dtype is dtype and a.flags.carray for a in averages
    )


def _gradients(cache: NormCache, grad: Array, names: list[str]) -> dict[str, Array]:
    """Return the gradients of these names."""
    given, (state,) = cache.given, cache.kept
    words = np.zeros((2, grad.shape[1]), INT64)
    made = {"x": np.empty_like(grad)} if "x" in names else {}
    if grad.size:
        compiled_entry("batch_norm", "batch_norm_backward", grad.dtype)(
            *grad.shape, int(cache.training), given.x, given.gain, state, words, grad,
            made.get("x"),
        )  # fmt: skip
    made["bias"], made["gain"] = words.view(FLOAT64).astype(grad.dtype)
    return made
