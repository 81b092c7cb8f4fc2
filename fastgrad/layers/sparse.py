"""A dense layer of a sparse x: ``y = act(x @ w + b)`` and its gradients, but for x.

The kernels (`kernels.product.sparse`) sum as those of a dense x do: the bits are the same, with
any number of threads. Everything here works on checked arrays, in the row layout: columns are the
transposed views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastgrad import threads
from fastgrad.activations import identity
from fastgrad.arrays import INT64, Array
from fastgrad.kernels.flags import ACCUMULATE, WANT_B, WANT_W, WANT_Z
from fastgrad.kernels.product.sparse_table import gradient_space
from fastgrad.kernels.toolchain.target import ACTIVATION_COST
from fastgrad.layers.compiled_layer import CompiledLayer
from fastgrad.layers.dense_large import any_backward
from fastgrad.layers.sparse_rows import SparseRows

__all__ = ["sparse_backward", "sparse_forward"]

# Words of an activation's record: its kernels forward, and forward keeping the slope.
_FORWARD, _FORWARD_KEEPING = 0, 1


def sparse_forward(
    layer: CompiledLayer, x: SparseRows, w: Array, b: Array | None, out: Array | None, keeps: bool
) -> Any:
    """Return y, or (y, kept) if `keeps`, which goes without `out`."""
    from fastgrad.kernels.calls.entry import plain_function

    weights = _rows(w, layer)
    if weights.strides[1] != w.itemsize or weights.shape[1] == 1:
        weights = np.ascontiguousarray(weights)
    n, k, dtype = x.samples, weights.shape[1], layer.dtype
    y = _outputs(x, k, layer) if out is None else out
    z = _outputs(x, k, layer) if keeps else None
    y_rows, z_rows = _rows(y, layer), None if z is None else _rows(z, layer)
    bias = None if b is None else np.ascontiguousarray(b.reshape(-1))
    row = y_rows.strides[0]
    starts, step, *entries = x.matrix
    function = plain_function("sparse", "sparse_forward", dtype.name, words=16)
    activation = int(layer.record[_FORWARD_KEEPING if keeps else _FORWARD])

    def run(first: int, end: int) -> None:
        function(
            end - first, k, starts + first * x.indptr.itemsize, step, *entries,
            weights.ctypes.data, weights.strides[0] // dtype.itemsize, 0, _address(bias),
            y_rows.ctypes.data + first * row,
            0 if z_rows is None else z_rows.ctypes.data + first * row,
            row // dtype.itemsize, activation,
        )  # fmt: skip

    count, parts = _parts(x, k, n)
    if parts == 1:
        run(0, n)
    else:  # of equal work
        work = x.indptr.astype(INT64) + ACTIVATION_COST * np.arange(n + 1)
        edges = np.searchsorted(work, np.linspace(0, work[-1], parts + 1)).tolist()
        _share(run, edges, count)
    return y if z is None else (y, z)


def sparse_backward(
    layer: CompiledLayer, grad: Array, x: SparseRows, w: Array, b: Array | None, saved: Array,
    flags: int, into: dict[str, Array | None],
) -> Any:  # fmt: skip
    """Return the four gradients, None for x; `flags` are those of `dense_large.any_backward`."""
    own = flags & (WANT_B | WANT_Z | ACCUMULATE)
    if flags & WANT_W and layer.activation is not identity:
        own |= WANT_Z
    # What does not depend on x: the gradients of a layer of no features.
    nothing = np.empty((0, *saved.shape[1:]) if layer.columns else (*saved.shape[:-1], 0), w.dtype)
    without = w[:, :0] if layer.columns else w[:0]
    _, _, gb, gz = any_backward(
        layer, grad, nothing, without, b, saved, own, {**into, "x": None, "w": None}
    )
    gw = None
    if flags & WANT_W:
        gw = np.empty_like(w) if into["w"] is None else into["w"]
        grad_z = np.ascontiguousarray(_rows(grad if gz is None else gz, layer))
        _weights(layer, x, grad_z, _rows(gw, layer), flags & ACCUMULATE)
    return None, gw, gb, gz if flags & WANT_Z else None


def _weights(layer: CompiledLayer, x: SparseRows, g: Array, gw: Array, add: int) -> None:
    """Write, or add, ``x.T @ g`` to `gw`, of any strides."""
    from fastgrad.kernels.calls.entry import plain_function

    (n, k), d, dtype = g.shape, len(gw), layer.dtype
    target = gw if gw.flags.c_contiguous else np.ascontiguousarray(gw)
    function = plain_function("sparse", "sparse_gradient", dtype.name, words=15)

    def run(first: int, end: int) -> None:
        space = np.empty(gradient_space(n), np.uint8)
        function(
            n, k, *x.matrix, _address(g), k, first, end, _address(target), add, _address(space)
        )

    count, parts = _parts(x, k, d)
    _share(run, np.linspace(0, d, parts + 1).astype(int).tolist(), count)
    if target is not gw:
        gw[...] = target


def _parts(x: SparseRows, k: int, lines: int) -> tuple[int, int]:
    """Return how many threads share a product of so many lines, and in how many parts."""
    work = (len(x.indices) + ACTIVATION_COST * lines) * k
    count = threads.shares(work)
    parts = max(1, -(-work // threads.piece(count)))
    return count, min(lines, -(-parts // count) * count) or 1


def _share(run: Callable[[int, int], None], edges: list[int], count: int) -> None:
    """Run all parts, in `count` threads."""
    steps = [partial(run, *part) for part in pairwise(edges)]
    each = -(-len(steps) // count)
    threads.run([steps[i : i + each] for i in range(0, len(steps), each)])


def _address(array: Array | None) -> int:
    return 0 if array is None else array.ctypes.data


def _rows(array: Array, layer: CompiledLayer) -> Array:
    """Return a view of an array in the row layout; a vector is one row."""
    return np.atleast_2d(array.T if layer.columns else array)


def _outputs(x: SparseRows, k: int, layer: CompiledLayer) -> Array:
    """Return a new array for y or z, with each sample's outputs contiguous."""
    if x.ndim == 1:
        return np.empty(k, layer.dtype)
    made = np.empty((x.samples, k), layer.dtype)
    return made.T if layer.columns else made
