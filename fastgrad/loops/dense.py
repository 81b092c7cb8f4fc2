"""One dense layer, ``y = act(x @ w + b)``, forward and backward, as plain Python loops.

A matrix product is three nested loops, and every sum of the textbook is visible:

* ``z[i][j] = b[j] + sum_p x[i][p] * w[p][j]``
* ``grad_x[i][p] = sum_j grad_z[i][j] * w[p][j]``
* ``grad_w[p][j] = sum_i x[i][p] * grad_z[i][j]``
* ``grad_b[j] = sum_i grad_z[i][j]``

for samples i, inputs p and outputs j. Columns are transposed to rows on the way in and back on the
way out. Shapes are those of `fastgrad.reference.dense_forward`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .activations import Activation, resolve
from .lists import (
    Array,
    Row,
    check_out,
    check_samples,
    deliver,
    feature_axis,
    from_rows,
    result_dtype,
    to_rows,
)

__all__ = ["DenseCache", "DenseGrads", "dense", "dense_backward", "dense_forward"]


class DenseGrads(NamedTuple):
    """The gradients of one layer; None where not needed (or where there is no bias)."""

    x: Array | None = None
    w: Array | None = None
    b: Array | None = None
    z: Array | None = None


class DenseCache(NamedTuple):
    """What the forward pass leaves for the backward pass; lists are in rows layout."""

    x: list[Row]
    w: list[Row]
    saved: list[Row]  # y if the derivative is a function of y, else z
    x_array: Array
    w_array: Array
    b_array: Array | None
    y_shape: tuple[int, ...]
    activation: Activation
    samples: str
    dtype: np.dtype[Any]


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
    >>> from fastgrad.loops import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], [-5.0], "relu").tolist()
    [[0.0]]
    """
    return dense_forward(x, w, b, activation, samples=samples, out=out)[0]


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
        Input, weights and bias. For rows ``(n, d), (d, k), (k,)``, for columns
        ``(d, n), (k, d), (k, 1)``. ``x`` may be one sample ``(d,)``; rows may have leading batch
        axes.
    activation : None, str, activation object or callable
        A callable must be elementwise on arrays; it is differentiated by central differences.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Where to put ``y``: of its exact shape and dtype, sharing no memory with an input.

    Returns
    -------
    y : ndarray
        Of the dtype that NumPy promotes the inputs to; float64 where there are no floats.
    cache : DenseCache
        For `dense_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, ``out`` is unsuitable, or a name is unknown.
    TypeError
        If a dtype is not supported.

    Examples
    --------
    >>> from fastgrad.loops import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0, 2.0]], [[0.5], [0.25]], [-1.0], "tanh")
    >>> y.tolist()
    [[0.0]]
    >>> grads = dense_backward([[1.0]], cache)
    >>> grads.x.tolist(), grads.w.tolist(), grads.b.tolist()
    ([[0.5, 0.25]], [[1.0], [2.0]], [1.0])
    """
    act = resolve(activation)
    x, w = np.asarray(x), np.asarray(w)
    b = None if b is None else np.asarray(b)
    check_samples("dense_forward", "x", x, samples)
    dtype = result_dtype(x, w) if b is None else result_dtype(x, w, b)
    if w.ndim != 2:
        raise ValueError(f"dense_forward: w has shape {w.shape}: it needs two axes")
    axis = feature_axis(samples)

    # Everything in rows layout, as nested lists of Python floats.
    x_rows, w_rows = to_rows(x, axis), to_rows(w, axis)
    d, k = _inputs_and_outputs(w, samples)
    bias: Row = [0.0] * k if b is None else b.astype(np.float64).reshape(-1).tolist()
    if x.shape[axis] != d or len(bias) != k:
        raise ValueError(
            f"dense_forward: x has shape {x.shape} and w {w.shape}, b has length {len(bias)}: "
            "they do not fit"
        )

    z = []
    for i in range(len(x_rows)):
        z_row = []
        for j in range(k):
            total = bias[j]
            for p in range(d):
                total += x_rows[i][p] * w_rows[p][j]
            z_row.append(total)
        z.append(z_row)
    y = [act.forward_row(z_row) for z_row in z]

    if x.ndim == 1:
        y_shape: tuple[int, ...] = (k,)
    else:
        y_shape = (k, x.shape[1]) if samples == "columns" else (*x.shape[:-1], k)
    result = from_rows(y, y_shape, dtype, axis)
    saved = y if act.from_output else z
    cache = DenseCache(x_rows, w_rows, saved, x, w, b, y_shape, act, samples, dtype)
    return deliver("dense_forward", result, out, x, w, b), cache


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = ("x", "w", "b"),
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
        Which gradients to compute; ``"z"`` is that of the pre-activation.
    out : DenseGrads, mapping or any object with fields x, w, b, z, optional
        Arrays to write to. A missing field or None means a new array.
    accumulate : bool
        Add to the arrays of ``out`` instead of overwriting them.

    Returns
    -------
    DenseGrads
        Each gradient has the shape of what it belongs to.

    Examples
    --------
    >>> from fastgrad.loops import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0], [2.0]], [[3.0]])
    >>> dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    DenseGrads(x=None, w=array([[3.]]), b=None, z=array([[1.],
           [1.]]))
    """
    need = tuple(need)
    for name in need:
        if name not in DenseGrads._fields:
            raise ValueError(f"dense_backward: need is {need!r}; choose from x, w, b, z")
    grad_y = np.asarray(grad_y)
    if grad_y.shape != cache.y_shape:
        raise ValueError(
            f"dense_backward: grad_y has shape {grad_y.shape} but y has shape {cache.y_shape}"
        )
    dtype = result_dtype(grad_y, np.empty(0, cache.dtype))
    x, w, axis = cache.x, cache.w, feature_axis(cache.samples)
    n, (d, k) = len(x), _inputs_and_outputs(cache.w_array, cache.samples)
    inputs = (cache.x_array, cache.w_array, cache.b_array, grad_y)
    outs = DenseGrads() if out is None else _fields(out)
    shapes = {"x": cache.x_array.shape, "w": cache.w_array.shape, "z": cache.y_shape}
    shapes |= {} if cache.b_array is None else {"b": cache.b_array.shape}
    _check_outs(outs, need, shapes, dtype, *inputs)

    grad_z = []
    for grad_row, saved_row in zip(to_rows(grad_y, axis), cache.saved, strict=True):
        grad_z.append(cache.activation.backward_row(grad_row, saved_row))

    def finish(name: str, rows: list[Row], shape: tuple[int, ...]) -> Array:
        grad = from_rows(rows, shape, dtype, axis)
        return deliver("dense_backward", grad, getattr(outs, name), *inputs, add=accumulate)

    grad_x = grad_w = grad_b = None
    if "x" in need:
        x_rows = []
        for i in range(n):
            row = []
            for p in range(d):
                total = 0.0
                for j in range(k):
                    total += grad_z[i][j] * w[p][j]
                row.append(total)
            x_rows.append(row)
        grad_x = finish("x", x_rows, cache.x_array.shape)
    if "w" in need:
        w_rows = []
        for p in range(d):
            row = []
            for j in range(k):
                total = 0.0
                for i in range(n):
                    total += x[i][p] * grad_z[i][j]
                row.append(total)
            w_rows.append(row)
        grad_w = finish("w", w_rows, cache.w_array.shape)
    if "b" in need and cache.b_array is not None:
        b_row = []
        for j in range(k):
            total = 0.0
            for i in range(n):
                total += grad_z[i][j]
            b_row.append(total)
        grad_b = finish("b", [b_row], cache.b_array.shape)
    return DenseGrads(
        grad_x, grad_w, grad_b, finish("z", grad_z, cache.y_shape) if "z" in need else None
    )


def _inputs_and_outputs(w: Array, samples: str) -> tuple[int, int]:
    d, k = w.shape if samples == "rows" else w.shape[::-1]
    return d, k


_FIELDS = frozenset("xwbz")


def _fields(out: Any) -> DenseGrads:
    """Read the fields x, w, b, z of whatever the caller gave as ``out``."""
    if isinstance(out, Mapping) and not _FIELDS.isdisjoint(out):
        return DenseGrads(*(out.get(name) for name in "xwbz"))
    if any(hasattr(out, name) for name in "xwbz"):
        return DenseGrads(*(getattr(out, name, None) for name in "xwbz"))
    raise TypeError(
        f"dense_backward: out is a {type(out).__name__}: give a DenseGrads, a mapping or an object "
        "with fields x, w, b, z"
    )


def _check_outs(
    outs: DenseGrads,
    need: Iterable[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    *inputs: Array | None,
) -> None:
    """Refuse outputs that are wanted and unfit, before anything is written."""
    taken: list[Array] = []
    for name, shape in shapes.items():
        out = getattr(outs, name)
        if name not in need or out is None:
            continue
        check_out("dense_backward", out, shape, dtype, *inputs)
        if any(np.shares_memory(out, other) for other in taken):
            raise ValueError("dense_backward: two outputs share memory")
        taken.append(out)
