"""A job: passes of a network over samples, in pieces, shared over threads.

A job (`kernels.network.plan_table`) runs in pieces of some 50 ms, between which Python sees Ctrl-C.
Arrays that the kernel accepts are used in place. Others, for example images of bytes in a file far
larger than memory, are converted a window of samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad import threads
from fastgrad.arrays import INT64, Array
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.samples import Samples
from fastgrad.networks.shared.sparse_samples import SparseSamples
from fastgrad.networks.shared.training import Reached
from fastgrad.networks.weighing import Weighing

# Multiply-adds of a job's first piece: 2 to 20 ms. Later pieces are sized by the clock.
FIRST_PIECE, SHORTEST, LONGEST = 1 << 29, 0.02, 0.08
# The fixed cost of a block, in multiply-adds: 0.5 us, and an optimizer's step, which reads and
# writes up to seven numbers per parameter.
BLOCK_COST, STEP_COST = 1 << 14, 8
# Bytes of samples converted at a time.
WINDOW = 1 << 22


def aligned(space: Array) -> int:
    """Return the aligned start of a workspace: a cache line."""
    return -(-int(space.ctypes.data) // 64) * 64


START = Reached()


class Job:
    """Passes over samples, in batches of `batch`: a gradient, predictions, or steps of training."""

    kernel = "plan", "plan_work"  # its unit and name
    table = at.JOB  # words

    def __init__(
        self,
        network: Network,
        params: Array,
        gradient: Array | None,
        data: Samples,
        batch: int,
        *,
        optimizer: Array | None = None,
        out: Array | None = None,
        clip: float | None = None,
    ) -> None:
        from fastgrad.kernels.calls.entry import plain_function

        if isinstance(data.x, SparseSamples):
            network = network.for_sparse()
        self.network, self.data, self.batch = network, data, batch
        self.count = len(data.x)
        self.plan = network.plan() if data.weights is None else network.weighted_plan()
        self.kept = (params, gradient, optimizer, out)  # alive: the job has only addresses
        self.per_batch = -(-batch // BATCH_BLOCK)
        last = self.count % batch
        self.per_pass = self.count // batch * self.per_batch + -(-last // BATCH_BLOCK)
        # Blocks of one batch, or of a prediction, are independent.
        shares = threads.shares(self.count * network.cost_of(data.x))
        self.parts = min(shares, self.per_pass if out is not None else self.per_batch)
        cost = (
            min(batch, BATCH_BLOCK) * network.cost_of(data.x)
            + BLOCK_COST
            + STEP_COST * network.size
        )
        self.first_piece = max(1, FIRST_PIECE // cost)
        self.work = plain_function(*self.kernel, network.dtype.name, words=2)
        words = self.words = np.zeros(self.table, INT64)
        self.floats = words.view(np.float64)
        words[at.PLAN], words[at.PARAMS] = self.plan.words.ctypes.data, params.ctypes.data
        words[at.COUNT], words[at.BATCH], words[at.PASS] = self.count, batch, self.per_pass
        self.added = np.zeros(self.plan.pieces, INT64)
        words[at.PIECES] = self.added.ctypes.data
        for index, array in ((at.GRADIENT, gradient), (at.UPDATE, optimizer), (at.OUT, out)):
            words[index] = 0 if array is None else array.ctypes.data
        if gradient is not None:
            words[at.AT_END] = self.plan.words[at.END_BATCH]
        self.floats[at.CLIP] = np.inf
        if clip is not None:
            words[at.AT_END], self.floats[at.CLIP] = at.end_batch(network.dtype.name), clip
        self.weighing = None if data.weights is None else Weighing(network, data.weights, batch)
        if self.weighing is not None and self.weighing.mean:
            self.plan.words.view(np.float64)[at.DIVISOR] = self.weighing.total
        self.pass_terms = np.empty(0)
        self.window = 0  # the words point at samples up to this block

    def begin(
        self,
        passes: int = 1,
        order: Array | None = None,
        start: Reached = START,
        draw: tuple[int, int] | None = None,
    ) -> Job:
        """Go to the start of `passes` passes over the samples in this `order`.

        `order` is int64, one row per pass, or None for the samples' own order. Data that are
        converted window by window allow only one pass at a time. `draw` is the seed of dropout and
        the number of the first step to come.
        """
        words, floats = self.words, self.floats
        self.order, self.passes, self.blocks = order, passes, passes * self.per_pass
        if len(self.pass_terms) != passes:
            self.pass_terms = np.empty(passes)
            words[at.PASS_TERMS] = self.pass_terms.ctypes.data
        words[at.NEXT] = words[at.COMMITTED] = self.added[:] = start.block
        words[at.PACKING] = words[at.PACKED] = 0
        words[at.STEPS] = start.block // self.per_batch
        floats[at.TERMS], floats[at.ALL_TERMS] = start.terms, start.all_terms
        words[at.DROPS] = draw is not None and self.network.drops
        if draw is not None:
            words.view(np.uint64)[at.SEED] = draw[0]
            words[at.FIRST_STEP] = draw[1] - int(words[at.STEPS])
        if self.weighing is not None:
            self.plan.words[at.DIVISORS] = self.weighing.of_batches(passes, order)
        if self.data.native:
            if not self.window:
                self._attach(self.data.x, self.data.target, 0)
                if self.data.weights is not None:
                    self._attach_weights(self.data.weights, 0)
            self.window = self.blocks
            words[at.ORDER] = 0 if order is None else order.ctypes.data
        else:
            self.window = start.block
        return self

    def reduced(self, terms: Any) -> Any:
        """Return the loss of a pass whose terms add up to `terms`, a number or an array."""
        if self.weighing is not None and self.weighing.mean:
            return terms / self.weighing.total
        return self.network.reduced(terms, self.count)

    @property
    def done(self) -> int:
        """The number of blocks that are in the sums and the gradient."""
        return int(self.words[at.COMMITTED])

    def reached(self) -> Reached:
        """Return the progress of the current pass."""
        block = self.done % self.per_pass
        return Reached(block, float(self.floats[at.TERMS]), float(self.floats[at.ALL_TERMS]))

    def end_empty(self) -> float:
        """Add the gradient of the penalties, for no samples; return their value."""
        from fastgrad.kernels.calls.entry import plain_function

        if self.words[at.AT_END]:
            end = plain_function("batch_end", "end_batch", self.network.dtype.name, words=1)
            end(self.words.ctypes.data)
        return float(self.floats[at.ALL_TERMS])

    @property
    def terms(self) -> float:
        """The sum of the loss's terms over all samples of the first pass."""
        return float(self.pass_terms[0])

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Run all blocks; after each piece, call `progress` with the number of samples."""
        network, words = self.network, self.words
        spaces = self._spaces()
        self.parts = len(spaces)
        words[at.SHARED] = self.parts > 1
        words[at.WEIGHTS_AT] = aligned(spaces[0]) + int(self.plan.words[at.WEIGHTS])
        tasks = [partial(self._take_blocks, space) for space in spaces]
        piece, done = self.first_piece, self.done
        while done < self.blocks:
            if done == self.window:
                self.window = self._convert(done)
            stop = min(self.window, done + piece * self.parts)
            words[at.NEXT], words[at.STOP] = done, stop
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
                passes, block = divmod(done, self.per_pass)
                progress(passes * self.count + self._position(block))
        network.give_back(spaces)

    def _spaces(self) -> list[Array]:
        """Return a workspace for each part; fewer if memory runs out."""
        spaces = [self.network.take_space()]
        with suppress(MemoryError):
            while len(spaces) < self.parts:
                spaces.append(self.network.take_part_space())
        return spaces

    def _take_blocks(self, space: Array) -> None:
        # A method: it keeps the job and the workspace alive, of which the kernel has addresses.
        self.work(self.words.ctypes.data, aligned(space))

    def _position(self, block: int) -> int:
        """Return how many samples of a pass the blocks before `block` hold."""
        batches, part = divmod(block, self.per_batch)
        return min(self.count, batches * self.batch + part * BATCH_BLOCK)

    def _convert(self, block: int) -> int:
        """Convert the samples from `block` on; return up to which block."""
        data, network = self.data, self.network
        size = min(self.batch, BATCH_BLOCK)
        row = 8 * (data.x.shape[1] + network.outputs)
        last: int = min(self.blocks, block + max(1, WINDOW // (size * row)))
        first = self._position(block)
        where: Any = slice(first, self._position(last))
        if self.order is not None:
            where = self.order.reshape(-1)[where]
        self._attach(*data.converted(where, network.dtype), first)
        if data.weights is not None:
            self._attach_weights(np.ascontiguousarray(data.weights[where]), first)
        return last

    def _attach(self, x: Any, target: Array | None, first: int) -> None:
        """Point the job at arrays that begin with sample `first`, as if they began with 0."""
        self.attached, words = (x, target), self.words
        if isinstance(x, SparseSamples):  # a sample's x are two words of indptr
            words[at.X_AT] = x.indptr.ctypes.data
            words[at.X_ROW], words[at.X_COL] = 8 // self.network.dtype.itemsize, 1
            words[at.INDICES], words[at.VALUES] = x.indices.ctypes.data, x.data.ctypes.data
            words[at.WIDE] = x.indices.itemsize == 8
        else:
            words[at.X_AT] = x.ctypes.data - first * x.strides[0]
            words[at.X_ROW], words[at.X_COL] = (step // x.itemsize for step in x.strides)
        words[at.LABELS] = self.data.labels
        if target is not None:
            words[at.T_AT] = target.ctypes.data - first * target.strides[0]
            if not self.data.labels:
                words[at.T_ROW], words[at.T_COL] = (
                    step // target.itemsize for step in target.strides
                )

    def _attach_weights(self, weights: Array, first: int) -> None:
        self.attached_weights, words = weights, self.plan.words
        words[at.WEIGHTS_OF] = weights.ctypes.data - first * weights.strides[0]
        words[at.WEIGHTS_EACH] = weights.size // len(weights)
