"""Layers of any size: large ones are cut into pieces, for threads and for Ctrl-C.

One call of a kernel is one uninterruptible call of C. A layer of more work than
`threads.SLICE`, or one that several threads share, is therefore many calls, each on views of the
caller's arrays. No cut changes a bit: y, grad_x and grad_z may be cut anywhere (each element is
its own chain), grad_w and grad_b along their own axes, and along the samples at multiples of
BATCH_BLOCK, where a single call also adds block sums, in the same order.

Everything here uses the row layout: columns are the transposed views.

What remains: a piece is at least 96 x 96 outputs of y or grad_x, however many input features each
output sums over, and at least 48 rows of grad_w over 256 samples. From 145,000 features, or
109,000 outputs, and half of that with several threads, a piece takes longer than a slice should.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from fastgrad import threads
from fastgrad.activations import identity
from fastgrad.arrays import Array
from fastgrad.kernels.flags import ACCUMULATE, PIECE
from fastgrad.kernels.toolchain.target import ACTIVATION_COST, BATCH_BLOCK
from fastgrad.layers.compiled_layer import WANT, CompiledLayer

EDGE = 96  # outputs are cut at multiples of this: whole register tiles
FEATURES = 48  # and rows of grad_w of this
# Between threads, cut at any register tile: 512 rows become 264 and 248, not 288 and 224.
CUT_ROWS, CUT_COLUMNS = 12, 32

Tile = tuple[slice, slice]


def any_forward(
    layer: CompiledLayer, x: Array, w: Array, b: Array | None, out: Array | None, keeps: bool
) -> Any:
    """Run the forward kernel on native arrays of any size; return y, or (y, kept) if `keeps`."""
    rows, weights = _rows(x, layer), _rows(w, layer)
    (n, d), k = rows.shape, weights.shape[1]
    work = n * k * (d + ACTIVATION_COST)
    count = threads.shares(work)
    if count == 1 and work <= threads.SLICE:
        return layer.whole_forward(x, w, b, out, keeps, layer.record, layer.columns, None, None)
    parts = _tiles(n, k, d + ACTIVATION_COST, count, rowwise=layer.activation.rowwise)
    # A softmax needs whole rows: where rows are cut, it runs when all of z is computed.
    apart = layer.activation.rowwise and any(
        j.stop - j.start < k for part in parts for _, j in part
    )
    y = _outputs(x, k, layer) if out is None or apart else out
    z = _outputs(x, k, layer) if keeps else None
    to_y, to_z = _rows(y, layer), None if z is None else _rows(z, layer)
    bias = None if b is None else b.reshape(-1)
    record = identity.record(x.dtype.name) if apart else layer.record
    threads.run(
        [
            [
                partial(
                    layer.whole_forward, rows[i], weights[:, j], None if bias is None else bias[j],
                    to_y[i, j], False if to_z is None else to_z[i, j], record,
                    0 if j.stop - j.start == k else PIECE, None, None,
                )
                for i, j in part
            ]
            for part in parts
        ]
    )  # fmt: skip
    if apart:
        _rowwise(layer, to_y, count)
        if out is not None:
            out[...] = y
            y = out
    return y if z is None else (y, z)


def any_backward(
    layer: CompiledLayer,
    grad: Array,
    x: Array,
    w: Array,
    b: Array | None,
    saved: Array,
    flags: int,
    into: dict[str, Array | None],
) -> Any:
    """Run the backward kernel on native arrays of any size; return the four gradients."""
    rows, weights = _rows(x, layer), _rows(w, layer)
    (n, d), k = rows.shape, weights.shape[1]
    per_sample = k * (2 * d + ACTIVATION_COST)
    count = threads.shares(n * per_sample)
    if count == 1 and n * per_sample <= threads.SLICE:
        return layer.whole_backward(
            grad, x, w, b, saved, layer.record, flags, layer.columns, None,
            into["x"], into["w"], into["b"], into.get("z"),
        )  # fmt: skip
    made = {}
    for name, like in (("x", x), ("w", w), ("b", b), ("z", saved)):
        if like is not None and flags & WANT[name]:
            new = np.zeros_like if flags & ACCUMULATE and name in "wb" else np.empty_like
            made[name] = new(like) if into.get(name) is None else into[name]
    run = _Backward(layer, grad, rows, weights, b, saved, flags, made)
    if d == 0 or (count == 1 and BATCH_BLOCK * per_sample <= threads.SLICE):
        run.by_samples(threads.SLICE // per_sample)
    else:
        run.by_gradient(count)
    return tuple(made.get(name) for name in "xwbz")


class _Backward:
    """The arrays of one backward pass in the row layout, and two ways to cut it."""

    def __init__(
        self, layer: CompiledLayer, grad: Array, x: Array, w: Array, b: Array | None, saved: Array,
        flags: int, made: dict[str, Array | None],
    ) -> None:  # fmt: skip
        self.layer, self.flags = layer, flags
        self.grad, self.saved = _rows(grad, layer), _rows(saved, layer)
        self.x, self.w = x, w
        self.bias = None if b is None else b.reshape(-1)
        views = {n: None if a is None else _rows(a, layer) for n, a in made.items() if n != "b"}
        self.gx, self.gw, self.gz = (views.get(name) for name in "xwz")
        gb = made.get("b")
        self.gb = None if gb is None else gb.reshape(-1)
        self.plain = identity.record(x.dtype.name)

    def added(self, at: slice) -> int:
        """Return the flag that adds the block sums of later samples to those of earlier ones."""
        return ACCUMULATE if at.start > 0 else self.flags & ACCUMULATE

    def by_samples(self, most: int) -> None:
        """In one thread: all gradients of some samples, then those of the next samples."""
        wanted = self.flags & ~ACCUMULATE
        threads.run(
            [
                [
                    partial(
                        self.layer.whole_backward, self.grad[at], self.x[at], self.w, self.bias,
                        self.saved[at], self.layer.record, wanted | self.added(at), 0, None,
                        _part(self.gx, at), self.gw, self.gb, _part(self.gz, at),
                    )
                    for at in threads.cut(slice(0, len(self.x)), most, BATCH_BLOCK)
                ]
            ]
        )  # fmt: skip

    def by_gradient(self, count: int) -> None:
        """In `count` threads: grad_z, with it or after it grad_x, then grad_w and grad_b.

        Threads divide the samples, or the columns of grad_x if there are more of these, and then
        the rows of grad_w.
        """
        (n, d), k = self.x.shape, self.w.shape[1]
        parts = _tiles(n, d, k + ACTIVATION_COST, count)
        whole = _whole(parts, d)
        if self.gz is None and self.layer.activation is identity:
            self.gz = self.grad
        else:
            if self.gz is None:
                self.gz = np.empty((n, k), self.x.dtype)
            samples = parts if whole else _tiles(n, k, ACTIVATION_COST, count, whole_rows=True)
            self._slopes(samples, with_x=whole)
            if whole:
                parts = []
        if self.gx is not None and parts:
            self._inputs(parts)
        if self.gw is not None or self.gb is not None:
            self._sums(count)

    def _slopes(self, parts: list[list[Tile]], with_x: bool) -> None:
        gx = self.gx if with_x else None
        wanted = WANT["z"] | (WANT["x"] if gx is not None else 0)
        threads.run(
            [
                [
                    partial(
                        self.layer.whole_backward, self.grad[i], self.x[i], self.w, None,
                        self.saved[i], self.layer.record, wanted, 0, None,
                        _part(gx, i), None, None, _part(self.gz, i),
                    )
                    for i, _ in part
                ]
                for part in parts
            ]
        )  # fmt: skip

    def _inputs(self, parts: list[list[Tile]]) -> None:
        threads.run(
            [
                [partial(self._linear, i, j, WANT["x"], gx=_part(self.gx, (i, j))) for i, j in part]
                for part in parts
            ]
        )

    def _sums(self, count: int) -> None:
        """Sum over the samples: each thread some rows of grad_w, and some entries of grad_b."""
        (n, d), k = self.x.shape, self.w.shape[1]
        piece = threads.piece(count)
        tasks: list[list[Any]] = [[] for _ in range(count)]
        if self.gw is not None:
            most = max(piece // (BATCH_BLOCK * k), FEATURES)
            samples = threads.cut(
                slice(0, n), piece // (k * min(most, -(-d // count))), BATCH_BLOCK
            )
            for task, features in zip(
                tasks, threads.share(slice(0, d), count, CUT_ROWS), strict=False
            ):
                task += [
                    partial(self._linear, i, j, WANT["w"] | self.added(i), gw=self.gw[j])
                    for j in threads.cut(features, most, FEATURES)
                    for i in samples
                ]
        if self.gb is not None:
            samples = threads.cut(slice(0, n), piece // (ACTIVATION_COST * k), BATCH_BLOCK)
            for task, outputs in zip(
                tasks, threads.share(slice(0, k), count, CUT_COLUMNS), strict=False
            ):
                task += [
                    partial(
                        self._linear, i, slice(None), WANT["b"] | self.added(i), outputs,
                        gb=self.gb[outputs],
                    )
                    for i in samples
                ]  # fmt: skip
        threads.run([task for task in tasks if task])

    def _linear(
        self, i: slice, j: slice, flags: int, outputs: slice = slice(None), *,
        gx: Any = None, gw: Any = None, gb: Any = None,
    ) -> None:  # fmt: skip
        """Run the backward kernel from grad_z, for some samples, input features and outputs."""
        self.layer.whole_backward(
            _part(self.gz, (i, outputs)), self.x[i, j], self.w[j, outputs],
            _part(self.bias, outputs), None, self.plain, flags, 0, None, gx, gw, gb, None,
        )  # fmt: skip


def _rows(array: Array, layer: CompiledLayer) -> Array:
    """Return a view of an array in the row layout: a vector is one row, batch axes are merged."""
    if array.ndim > 2:
        return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    return np.atleast_2d(array.T if layer.columns else array)


def _part(array: Array | None, at: Any) -> Array | None:
    return None if array is None else array[at]


def _outputs(x: Array, k: int, layer: CompiledLayer) -> Array:
    """Return a new array for y or z, with each sample's outputs contiguous."""
    if layer.columns and x.ndim == 2:
        return np.empty((x.shape[1], k), x.dtype).T
    return np.empty((*x.shape[:-1], k), x.dtype)


def _rowwise(layer: CompiledLayer, y: Array, count: int) -> None:
    """Replace z by act(z) in an array of contiguous rows."""
    from fastgrad.kernels.calls.entry import entry

    run, address = entry("apply", "apply_forward", y.dtype.name), int(layer.record[0])
    n, k = y.shape
    threads.run(
        [
            [partial(run, y[i], y[i], address, 0) for i, _ in part]
            for part in _tiles(n, k, ACTIVATION_COST, count, whole_rows=True)
        ]
    )


def _whole(parts: list[list[Tile]], columns: int) -> bool:
    """Return whether no row is cut."""
    return all(j.stop - j.start == columns for part in parts for _, j in part)


def _tiles(
    rows: int, columns: int, depth: int, count: int, whole_rows: bool = False, rowwise: bool = False
) -> list[list[Tile]]:
    """Cut a matrix whose elements cost `depth` each into tiles of one step, a list per thread.

    Each call packs its operands again, which costs as much as some 20 columns or rows of its
    product. So the threads divide the side that keeps more of them busy, else the longer one (the
    rows if `rowwise`). Where whole rows would make a flat tile, it is as square as possible.
    """
    most = threads.piece(count)
    height = most // (depth * columns)
    if not whole_rows:
        height = max(height, math.isqrt(most // depth))
    height = max(min(rows, height), 1)
    width = columns if whole_rows else most // (depth * height)
    down, across = threads.share(slice(0, rows), count, CUT_ROWS), [slice(0, columns)]
    others = [] if whole_rows else threads.share(slice(0, columns), count, CUT_COLUMNS)
    if len(others) > len(down) or (len(others) == len(down) and columns > rows and not rowwise):
        down, across = [slice(0, rows)], others
    return [
        [
            (i, j)
            for i in threads.cut(high, height, EDGE)
            for j in ([wide] if whole_rows else threads.cut(wide, width, EDGE))
        ]
        for high in down
        for wide in across
    ]
