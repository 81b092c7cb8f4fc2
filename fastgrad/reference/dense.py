"""One dense layer, ``y = act(x @ w + b)``, forward and backward, in plain NumPy.

Shapes, for n samples with d inputs and k outputs:

=============  ============  ==========  =================  ==================
samples=       x             w           b                  y and z
=============  ============  ==========  =================  ==================
``"rows"``     ``(n, d)``    ``(d, k)``  ``(k,), (1, k)``   ``(n, k)``
``"columns"``  ``(d, n)``    ``(k, d)``  ``(k, 1), (k,)``   ``(k, n)``
=============  ============  ==========  =================  ==================

In both, ``x`` may be one sample ``(d,)``, and ``y`` is then ``(k,)``. Rows may have leading batch
axes ``(..., d)``. ``z`` is the pre-activation, ``grad_*`` means ``dL/d*``. The backward pass is

=========  ===========================  ===========================
gradient   rows                         columns
=========  ===========================  ===========================
grad_z     ``grad_y * act'(z)``         ``grad_y * act'(z)``
grad_x     ``grad_z @ w.T``             ``w.T @ grad_z``
grad_w     ``x.T @ grad_z``             ``grad_z @ x.T``
grad_b     ``grad_z.sum(axis=0)``       ``grad_z.sum(axis=1)``
=========  ===========================  ===========================

The code uses ``a.dot(b)``, which is ``a @ b`` for matrices at half the call overhead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_same_shape, check_truth
from fastgrad.arrays import (
    FLOAT32,
    FLOAT64,
    Array,
    as_array,
    as_natives,
    common_dtypes,
    deliver,
    promoted,
)
from fastgrad.layers.dense_arguments import (
    NEED,
    check_cache,
    check_outputs,
    dense_arguments,
    dense_shape,
    needed_gradients,
    without_x,
)
from fastgrad.layers.sparse_arguments import (
    SparseEntries,
    SparseParts,
    sparse_entries,
    stored,
)
from fastgrad.results import DenseGrads, check_out

from .activations import Activation, identity, resolve

__all__ = ["DenseCache", "DenseGrads", "as_rows", "dense", "dense_backward", "dense_forward"]

_USUAL_NEEDS = (NEED, ("w", "b"))


class DenseCache(NamedTuple):
    """What the forward pass keeps for the backward pass. Nothing is copied: do not write to it."""

    x: Any  # an array, or `SparseEntries`
    w: Array
    b: Array | None
    saved: Array  # y if the derivative is a function of y, else z
    activation: Activation
    samples: str
    dtype: np.dtype[Any]  # of the results; if it is float16, the arrays here are float32


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> Array:
    """Return ``y = act(x @ w + b)``. The arguments are those of `dense_forward`.

    Examples
    --------
    >>> from fastgrad.reference import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], [-5.0], "relu").tolist()
    [[0.0]]
    """
    return _forward("dense", x, w, b, activation, samples, out)[0]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, DenseCache]:
    """Return ``y = act(x @ w + b)``, or ``act(w @ x + b)`` for columns, and a cache.

    Parameters
    ----------
    x, w, b : array_like
        Input, weights and bias; shapes in the module's table. ``b=None`` means no bias.
    activation : None, str, activation object or callable
        A callable must be elementwise on arrays; it is differentiated by central differences.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Array for ``y``, of its exact shape and dtype, that shares no memory with an input.

    Returns
    -------
    y : ndarray
        Of the dtype that NumPy promotes the inputs to; float64 if there are no floats.
    cache : DenseCache
        For `dense_backward`. It refers to ``x``, ``w`` and often ``y``: do not change them in
        between. (fastgrad detects a changed ``y``, this does not: the check would add 5 to 15 %
        to what is timed as NumPy's time.)

    Raises
    ------
    ValueError
        If shapes do not fit, ``out`` is unsuitable, or a name is unknown.
    TypeError
        If a dtype is not supported.

    Examples
    --------
    >>> from fastgrad.reference import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0, 2.0]], [[0.5], [0.25]], [-1.0], "tanh")
    >>> y.tolist()
    [[0.0]]
    >>> grads = dense_backward([[1.0]], cache)
    >>> grads.x.tolist(), grads.w.tolist(), grads.b.tolist()
    ([[0.5, 0.25]], [[1.0], [2.0]], [1.0])
    """
    return _forward("dense_forward", x, w, b, activation, samples, out)


def _forward(
    function: str, x: Any, w: Any, b: Any, activation: Any, samples: str, out: Array | None
) -> tuple[Array, DenseCache]:
    """Do the work of `function`, the name that errors give."""
    act = resolve(function, activation)
    if out is None and _fit(x, w, b, samples):
        dtype = x.dtype
    else:
        given = x
        x, w, b = dense_arguments(function, x, w, b, samples)
        if isinstance(x, SparseParts):
            x = sparse_entries(function, "x", x)
        work, dtype = common_dtypes(x, w) if b is None else common_dtypes(x, w, b)
        if out is not None:
            shape = dense_shape(x, w, samples)
            inputs = {"x": x, "w": w, "b": b, **stored(given)}
            check_out(function, "out", out, shape, dtype, inputs)
        x, w, b = _natives(work, x, w, b)

    rows = samples == "rows"
    with np.errstate(all="ignore"):
        if isinstance(x, SparseEntries):
            z = _sparse_product(x, w, samples)
        elif not rows:
            z = w.dot(x)
        elif x.ndim <= 2:
            z = x.dot(w)
        else:  # dot uses BLAS only for matrices
            z = as_rows(x).dot(w).reshape(*x.shape[:-1], w.shape[-1])
        if b is not None:
            if rows or z.ndim == 1:
                z += b if b.ndim == 1 else b.reshape(-1)
            else:
                z += b.reshape(-1, 1)
        # z may be overwritten if the backward pass needs only y.
        y = act.apply(z, z if act.from_output else None, -1 if rows else 0)
    cache = DenseCache(x, w, b, y if act.from_output else z, act, samples, dtype)
    return (y if out is None and y.dtype is dtype else deliver(y, dtype, out)), cache


def _natives(work: np.dtype[Any], x: Any, *others: Array | None) -> list[Any]:
    """Return all arrays, and the numbers of a sparse x, in the dtype to compute in."""
    if isinstance(x, SparseEntries):
        data, *arrays = as_natives(work, x.data, *others)
        return [x._replace(data=data), *arrays]
    return as_natives(work, x, *others)


def _sparse_product(x: SparseEntries, w: Array, samples: str) -> Array:
    """Return ``x @ w`` (columns: ``w @ x``): each entry adds its multiple of a row of weights."""
    weights = w if samples == "rows" else w.T
    z = np.zeros((x.samples, weights.shape[1]), w.dtype)
    np.add.at(z, x.rows, x.data[:, None] * weights[x.columns])
    if x.ndim == 1:
        z = z[0]
    return z if samples == "rows" else z.T


def _fit(x: Any, w: Any, b: Any, samples: str) -> bool:
    """Return whether these are the usual case, matrices that fit: then all checks would pass.

    This takes 0.3 us, the checks and conversions take 2 us.
    """
    if not (type(x) is type(w) is np.ndarray and x.ndim == w.ndim == 2):
        return False
    dtype = x.dtype
    if w.dtype is not dtype or (dtype is not FLOAT32 and dtype is not FLOAT64):
        return False
    if samples == "rows":
        d, k = w.shape
        fit = x.shape[1] == d
    else:
        k, d = w.shape
        fit = x.shape[0] == d and samples == "columns"
    return fit and (b is None or (type(b) is np.ndarray and b.dtype is dtype and b.shape == (k,)))


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = NEED,
    out: Any = None,
    accumulate: bool = False,
) -> DenseGrads:
    """Return the gradients of the loss with respect to the inputs of one layer.

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of ``y``.
    cache : DenseCache
        From `dense_forward`.
    need : iterable of {"x", "w", "b", "z"}
        Which gradients to compute; ``"z"`` is the pre-activation's.
    out : DenseGrads, mapping or any object with fields x, w, b, z, optional
        Arrays to write to. A missing field or None means a new array.
    accumulate : bool
        Add to the arrays of ``out`` instead of overwriting them.

    Returns
    -------
    DenseGrads
        Each gradient has the shape of its input. They share no memory with each other or with
        the inputs.

    Examples
    --------
    >>> from fastgrad.reference import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0], [2.0]], [[3.0]])
    >>> dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    DenseGrads(x=None, w=array([[3.]]), b=None, z=array([[1.],
           [1.]]))
    """
    check_cache("dense_backward", cache, DenseCache)
    if type(need) is not tuple or need not in _USUAL_NEEDS:
        need = needed_gradients("dense_backward", need)
    dtype, saved = cache.dtype, cache.saved
    if (
        type(grad_y) is np.ndarray
        and grad_y.dtype is dtype is saved.dtype
        and grad_y.shape == saved.shape
        and type(cache.x) is np.ndarray
        and out is None
        and accumulate is False
    ):
        return _gradients(grad_y, cache, need)

    if isinstance(cache.x, SparseEntries):
        need = without_x("dense_backward", need, list(need))
    accumulate = check_truth("dense_backward", "accumulate", accumulate)
    grad = as_array("dense_backward", "grad_y", grad_y)
    check_same_shape("dense_backward", "grad_y", grad.shape, "y", saved.shape)
    x, w, b = cache.x, cache.w, cache.b
    work, dtype = promoted(grad.dtype, dtype)
    shapes = {"x": x.shape, "w": w.shape, "b": () if b is None else b.shape, "z": saved.shape}
    inputs = {"grad_y": grad, "x": x, "w": w, "b": b, "the cache": saved, **stored(x)}
    names = [name for name in need if name != "b" or b is not None]
    outs = check_outputs("dense_backward", out, names, shapes, dtype, inputs)
    x, w, saved, grad = _natives(work, x, w, saved, grad)
    grads = _gradients(grad, cache._replace(x=x, w=w, saved=saved), need)
    return DenseGrads(
        *(
            None if grad is None else _delivered(grad, dtype, outs.get(name), accumulate)
            for name, grad in zip("xwbz", grads, strict=True)
        )
    )


def _gradients(grad_y: Array, cache: DenseCache, need: Iterable[str]) -> DenseGrads:
    """Return new arrays, of the dtype of ``grad_y`` and of the arrays in the cache."""
    x, w, b, saved, act, samples, _ = cache
    rows = samples == "rows"
    grad_x = grad_w = grad_b = None
    with np.errstate(all="ignore"):
        grad_z = grad_y if act is identity else act.pull_back(grad_y, saved, -1 if rows else 0)
        # Transposing the columns layout gives the rows layout, at no cost.
        g, w = as_rows(grad_z, samples), w if rows else w.T
        if "x" in need:
            # Written so that the result is contiguous in the caller's layout.
            grad_x = g.dot(w.T) if rows else w.dot(g.T)
            if x.ndim != 2:
                grad_x = grad_x.reshape(x.shape)
        if "w" in need and isinstance(x, SparseEntries):
            grad_w = np.zeros(w.shape, w.dtype)  # rows
            np.add.at(grad_w, x.columns, x.data[:, None] * g[x.rows])
            grad_w = grad_w if rows else grad_w.T
        elif "w" in need:
            x_rows = as_rows(x, samples)
            grad_w = x_rows.T.dot(g) if rows else g.T.dot(x_rows)
        if "b" in need and b is not None:
            grad_b = g.sum(axis=0)
            if b.ndim != 1:
                grad_b = grad_b.reshape(b.shape)
    if "z" not in need:
        return DenseGrads(grad_x, grad_w, grad_b)
    return DenseGrads(grad_x, grad_w, grad_b, grad_z.copy() if grad_z is grad_y else grad_z)


def _delivered(grad: Array, dtype: np.dtype[Any], out: Array | None, accumulate: bool) -> Array:
    """Return ``grad`` in ``dtype``, written or added into ``out`` if given."""
    if out is None or not accumulate:
        return deliver(grad, dtype, out)
    with np.errstate(all="ignore"):
        np.add(out, grad, out=out, casting="same_kind")
    return out


def as_rows(array: Array, samples: str = "rows") -> Array:
    """Return a view (samples, features): a vector is one sample, leading axes are merged."""
    if samples == "columns":
        array = array.T  # a vector stays as it is
    if array.ndim == 2:
        return array
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
