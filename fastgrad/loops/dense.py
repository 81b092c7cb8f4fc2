"""One dense layer, ``y = act(x @ w + b)``, forward and backward, as plain Python loops.

A matrix product is three nested loops, and every sum of the textbook is visible:

* ``z[i][j] = b[j] + sum_p x[i][p] * w[p][j]``
* ``grad_x[i][p] = sum_j grad_z[i][j] * w[p][j]``
* ``grad_w[p][j] = sum_i x[i][p] * grad_z[i][j]``
* ``grad_b[j] = sum_i grad_z[i][j]``

for samples i, inputs p and outputs j. Columns are transposed to rows first, and the results
back to columns. Shapes are those of `fastgrad.reference.dense_forward`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_same_shape, check_truth
from fastgrad.arrays import Array, as_array, common_dtypes, deliver, promoted
from fastgrad.layers.dense_arguments import (
    NEED,
    check_cache,
    check_outputs,
    dense_arguments,
    dense_shape,
    needed_gradients,
    without_x,
)
from fastgrad.layers.sparse_arguments import SparseEntries, SparseParts, sparse_entries, stored
from fastgrad.results import DenseGrads, check_out

from .activations import Activation, resolve
from .lists import Row, feature_axis, from_rows, to_rows

__all__ = ["DenseCache", "DenseGrads", "dense", "dense_backward", "dense_forward"]


class DenseCache(NamedTuple):
    """What the forward pass keeps for the backward pass; lists are in rows layout."""

    x: list[Any]  # rows; of a sparse x, each a list of (p, x[i][p])
    w: list[Row]
    saved: list[Row]  # y if the derivative is a function of y, else z
    x_array: Any
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

    Arguments, results and errors are those of `fastgrad.dense_forward`.

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
    return _forward("dense_forward", x, w, b, activation, samples, out)


def _forward(
    function: str, x: Any, w: Any, b: Any, activation: Any, samples: str, out: Array | None
) -> tuple[Array, DenseCache]:
    """Do the work of `function`, the name that errors give."""
    act = resolve(function, activation)
    given = x
    x, w, b = dense_arguments(function, x, w, b, samples)
    if isinstance(x, SparseParts):
        x = sparse_entries(function, "x", x)
    dtype = (common_dtypes(x, w) if b is None else common_dtypes(x, w, b)).result
    y_shape = dense_shape(x, w, samples)
    if out is not None:
        inputs = {"x": x, "w": w, "b": b, **stored(given)}
        check_out(function, "out", out, y_shape, dtype, inputs)

    # Everything in rows layout, as nested lists of Python floats.
    axis = feature_axis(samples)
    sparse = isinstance(x, SparseEntries)
    x_rows: list[Any] = _entries(x) if sparse else to_rows(x, axis)
    w_rows = to_rows(w, axis)
    d, k = _inputs_and_outputs(w, samples)
    bias: Row = [0.0] * k if b is None else to_rows(b.reshape(-1))[0]

    z = []
    for i in range(len(x_rows)):
        z_row = []
        for j in range(k):
            total = bias[j]
            if sparse:
                for p, value in x_rows[i]:
                    total += value * w_rows[p][j]
            else:
                for p in range(d):
                    total += x_rows[i][p] * w_rows[p][j]
            z_row.append(total)
        z.append(z_row)
    y = [act.forward_row(z_row) for z_row in z]

    saved = y if act.from_output else z
    cache = DenseCache(x_rows, w_rows, saved, x, w, b, y_shape, act, samples, dtype)
    return deliver(from_rows(y, y_shape, dtype, axis), dtype, out), cache


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = NEED,
    out: Any = None,
    accumulate: bool = False,
) -> DenseGrads:
    """Return the gradients of the loss with respect to the inputs of one layer.

    Arguments, results and errors are those of `fastgrad.dense_backward`.

    Examples
    --------
    >>> from fastgrad.loops import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0], [2.0]], [[3.0]])
    >>> dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    DenseGrads(x=None, w=array([[3.]]), b=None, z=array([[1.],
           [1.]]))
    """
    function = "dense_backward"
    check_cache(function, cache, DenseCache)
    names, sparse = needed_gradients(function, need), isinstance(cache.x_array, SparseEntries)
    if sparse:
        names = without_x(function, need, names)
    accumulate = check_truth(function, "accumulate", accumulate)
    grad_y = as_array(function, "grad_y", grad_y)
    check_same_shape(function, "grad_y", grad_y.shape, "y", cache.y_shape)
    dtype = promoted(grad_y.dtype, cache.dtype).result
    arrays = {"x": cache.x_array, "w": cache.w_array, "b": cache.b_array}
    shapes = {name: array.shape for name, array in arrays.items() if array is not None}
    shapes["z"] = cache.y_shape
    need = [name for name in names if name in shapes]
    inputs = {"grad_y": grad_y, **arrays, **stored(cache.x_array)}
    outs = check_outputs(function, out, need, shapes, dtype, inputs)

    x, w, axis = cache.x, cache.w, feature_axis(cache.samples)
    n, (d, k) = len(x), _inputs_and_outputs(cache.w_array, cache.samples)
    rows: dict[str, list[Row]] = {}  # of each gradient
    grad_z = []
    for grad_row, saved_row in zip(to_rows(grad_y, axis), cache.saved, strict=True):
        grad_z.append(cache.activation.backward_row(grad_row, saved_row))

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
        rows["x"] = x_rows
    if "w" in need and sparse:
        w_rows = [[0.0] * k for _ in range(d)]
        for i in range(n):
            for p, value in x[i]:
                for j in range(k):
                    w_rows[p][j] += value * grad_z[i][j]
        rows["w"] = w_rows
    elif "w" in need:
        w_rows = []
        for p in range(d):
            row = []
            for j in range(k):
                total = 0.0
                for i in range(n):
                    total += x[i][p] * grad_z[i][j]
                row.append(total)
            w_rows.append(row)
        rows["w"] = w_rows
    if "b" in need:
        b_row = []
        for j in range(k):
            total = 0.0
            for i in range(n):
                total += grad_z[i][j]
            b_row.append(total)
        rows["b"] = [b_row]
    if "z" in need:
        rows["z"] = grad_z

    grads = {}
    for name in need:
        grad = from_rows(rows[name], shapes[name], dtype, axis)
        if accumulate and name in outs:
            with np.errstate(all="ignore"):
                grad = outs[name] + grad
        grads[name] = deliver(grad, dtype, outs.get(name))
    return DenseGrads(**grads)


def _entries(x: SparseEntries) -> list[list[tuple[int, float]]]:
    """Return, for each sample, its stored features and their values."""
    rows: list[list[tuple[int, float]]] = [[] for _ in range(x.samples)]
    for i, p, value in zip(x.rows.tolist(), x.columns.tolist(), x.data.tolist(), strict=True):
        rows[i].append((p, float(value)))
    return rows


def _inputs_and_outputs(w: Array, samples: str) -> tuple[int, int]:
    d, k = w.shape if samples == "rows" else w.shape[::-1]
    return d, k
