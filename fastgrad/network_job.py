"""A job: one pass of a network over samples, in pieces, shared over threads.

A job (`kernels.plan_table`) is run in pieces of some 50 ms, between which Python sees Ctrl-C.
Arrays that the kernel takes are used where they lie. Others, say images of bytes in a file far
larger than memory, are converted a window of samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastgrad import threads
from fastgrad.arrays import INT64, Array, as_native
from fastgrad.kernels import plan_table as at
from fastgrad.kernels.target import BATCH_BLOCK
from fastgrad.planned_network import PlannedNetwork

# Multiply-adds of the first piece of a job: 2 to 20 ms. Later pieces follow the clock.
FIRST_PIECE, SHORTEST, LONGEST = 1 << 29, 0.02, 0.08
# Bytes of samples converted at a time.
WINDOW = 1 << 22


class Samples(NamedTuple):
    """Checked inputs and targets, one sample a row; views of what was given."""

    x: Array  # (n, d)
    target: Array | None  # (n, k), or the classes (n,)
    labels: bool
    native: bool  # whether the kernel takes both as they are


class Job:
    """One pass over samples, in batches of `batch`: a gradient, predictions or an epoch's steps."""

    def __init__(
        self,
        network: PlannedNetwork,
        params: Array,
        gradient: Array | None,
        data: Samples,
        batch: int,
        *,
        order: Array | None = None,
        optimizer: Array | None = None,
        out: Array | None = None,
    ) -> None:
        self.network, self.data, self.batch, self.order = network, data, batch, order
        self.count = len(data.x)
        self.plan = network.plan()
        self.kept = (params, gradient, optimizer, out)  # the job's words are only addresses
        per_batch = -(-batch // BATCH_BLOCK)
        last = self.count % batch
        self.blocks = self.count // batch * per_batch + -(-last // BATCH_BLOCK)
        # Blocks of one batch, or of a prediction, do not wait for each other.
        shares = threads.shares(self.count * network.cost)
        self.parts = min(shares, self.blocks if out is not None else per_batch)
        words = self.words = np.zeros(at.JOB, INT64)
        words[at.PLAN], words[at.PARAMS] = self.plan.words.ctypes.data, params.ctypes.data
        words[at.COUNT], words[at.BATCH] = self.count, batch
        words[at.SHARED] = self.parts > 1
        for index, array in ((at.GRADIENT, gradient), (at.UPDATE, optimizer), (at.OUT, out)):
            words[index] = 0 if array is None else array.ctypes.data

    @property
    def all_terms(self) -> float:
        """The sum of the loss's terms over all samples so far."""
        return float(self.words.view(np.float64)[at.ALL_TERMS])

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Run all blocks; `progress` is told the number of samples after each piece."""
        from fastgrad.kernels.entry import plain_function

        network = self.network
        spaces = [network.take_space(self.parts > 1) for _ in range(self.parts)]
        work = plain_function("plan", "plan_work", network.dtype.name, words=2)
        tasks = [partial(self._take_blocks, work, space) for space in spaces]
        piece = max(1, FIRST_PIECE // (min(self.batch, BATCH_BLOCK) * network.cost))
        done = window = 0
        while done < self.blocks:
            if done == window:
                window = self._attach(done)
            stop = min(window, done + piece * self.parts)
            self.words[[at.NEXT, at.COMMITTED, at.STOP]] = done, done, stop
            start = perf_counter()
            if self.parts == 1:
                tasks[0]()
            else:
                threads.run([[task] for task in tasks])
            seconds = perf_counter() - start
            if seconds < SHORTEST:
                piece *= 2
            elif seconds > LONGEST:
                piece = max(1, piece // 2)
            done = stop
            if progress is not None:
                progress(self._position(done))
        network.unused(self.parts > 1).extend(spaces)

    def _take_blocks(self, work: Callable[[int, int], None], space: Array) -> None:
        # A method, so that whoever runs it holds the job and the workspace, not their addresses.
        work(self.words.ctypes.data, -(-space.ctypes.data // 64) * 64)

    def _position(self, block: int) -> int:
        """Return how many samples the blocks before `block` hold."""
        per_batch = -(-self.batch // BATCH_BLOCK)
        batches, part = divmod(block, per_batch)
        return min(self.count, batches * self.batch + part * BATCH_BLOCK)

    def _attach(self, block: int) -> int:
        """Point the job at the samples from `block` on; return up to which block that holds."""
        data, dtype = self.data, self.network.dtype
        if data.native:
            arrays, first, last, order = (data.x, data.target), 0, self.blocks, self.order
        else:
            size = min(self.batch, BATCH_BLOCK)
            row = 8 * (data.x.shape[1] + self.network.outputs)
            last = min(self.blocks, block + max(1, WINDOW // (size * row)))
            first = self._position(block)
            where: Any = slice(first, self._position(last))
            if self.order is not None:
                where = self.order[where]
            x = as_native(data.x[where], dtype)
            target = None if data.target is None else data.target[where]
            if target is not None and not data.labels:
                target = as_native(target, dtype)
            arrays, order = (x, target), None
        self.attached = arrays
        words, (x, target) = self.words, arrays
        words[at.ORDER] = 0 if order is None else order.ctypes.data
        # As if the window began at sample 0.
        words[at.X_AT] = x.ctypes.data - first * x.strides[0]
        words[[at.X_ROW, at.X_COL]] = [step // x.itemsize for step in x.strides]
        words[at.LABELS], words[at.T_AT] = data.labels, 0
        if target is not None:
            words[at.T_AT] = target.ctypes.data - first * target.strides[0]
            if not data.labels:
                words[[at.T_ROW, at.T_COL]] = [step // target.itemsize for step in target.strides]
        return last
