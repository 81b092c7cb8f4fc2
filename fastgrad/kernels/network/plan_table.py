"""The tables that drive a network's kernel: what each word of a *plan* and of a *job* holds.

A plan describes a network: one row per layer, and the places of everything in a workspace. It is
data, so a new network compiles nothing. A job is one call: its arrays and how far it has come.
Imports no Numba.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad.kernels.toolchain.target import BATCH_BLOCK, tile

# -- a plan: HEADER words, then LAYER words for each layer ---------------------------------------
(
    LAYERS, SIZE, COLUMNS,
    MOST,  # from this many samples on, Python runs the job in pieces, over threads
    LOSS, REDUCTION, PER_SAMPLE, ONE_ARRAY,  # PER_SAMPLE: one term per sample; ONE_ARRAY: no target
    PROBABILITIES,  # its targets must be between 0 and 1
    # Where LOSS is `network.loss`: the detailed kernel's address, and its setting, float64. Of a
    # call with weights, whose plan is a copy, float64: the address of the samples' weights, 1 or
    # one per output each, side by side; of a mean the address of what the gradient of each batch is
    # divided by, and what the sum of all terms will be divided by; or 0.
    TERMS_OF_LOSS, SETTING, WEIGHTS_OF, WEIGHTS_EACH, DIVISORS, DIVISOR,
    GRAD, OTHER_GRAD, X_ROWS, TARGET_ROWS, A_SPACE, B_SPACE, PARTIAL,  # places in the workspace
    WEIGHTS,  # the place of packed weights, behind all others
    IN_PIECES,  # whether threads add a block's gradient in pieces, or as a whole
    END_BATCH,  # with penalties the address of what `batch_end` does, else 0
    L1, L2,  # float64: the factors of both penalties
    HEADER,
) = range(28)  # fmt: skip
(
    FORWARD, BACKWARD, PACK,  # addresses of the stages of the layer's kind; PACK may be 0
    INPUTS, OUTPUTS,
    ACTIVATE, ACTIVATE_KEEPING, ACTIVATE_BACK,  # addresses of the activation's row kernels
    PARAMETERS,  # offset in the flat vector, in elements
    Y, KEPT,  # places of the output and of what the activation's backward also needs (or 0)
    STATE,  # the place of what the stage keeps for its backward pass, or 0
    FIRST_PIECE,  # the number of the first piece of the layer's gradient
    PENALIZED,  # how many parameters, from PARAMETERS on, are weights: penalties are for them
    # Words of dense layers alone.
    B,  # offset in the flat vector, in elements; -1 if there is no bias
    W_PACKED, WT_PACKED,  # places from WEIGHTS on; 0 where the weights are used unpacked
    PIECE,  # rows of w whose gradient is a piece
    # Of the first layer, if x is sparse: its features, and the place of a workspace.
    FEATURES, ENTRIES_SPACE,
    # Words of hidden layers with dropout, else 0: the address of `dropout`, the place of what it
    # leaves of Y, the least of 2**32 random words that keeps an element, 1 / (1 - rate) in float64,
    # and the number of the hidden layer.
    DROP, DROPPED, THRESHOLD, SCALE, NUMBER,
    LAYER,
) = range(26)  # fmt: skip

# -- a job ----------------------------------------------------------------------------------------
(
    PLAN, PARAMS, GRADIENT, UPDATE,  # addresses; UPDATE: an optimizer's table, or 0
    X_AT, X_ROW, X_COL, T_AT, T_ROW, T_COL, LABELS,  # LABELS: the target is one int64 per sample
    ORDER,  # address of the order of the samples, int64, of each pass; 0 is their own
    COUNT, BATCH,  # samples in all, and per step
    PASS,  # blocks of a pass over all samples: training makes several
    PASS_TERMS,  # address of float64, one for each pass: its sum of the loss's terms; or 0
    OUT,  # predict: where the contiguous rows go; 0 for value and gradient
    WEIGHTS_AT,  # address of the packed weights, of all threads
    SHARED,  # whether several threads work on it
    PACKING, PACKED,  # shared: layers whose packing has begun and ended in this step
    PIECES,  # shared: address of a word for each piece: how many blocks have added theirs
    STOP, NEXT, COMMITTED, STEPS,  # blocks of BATCH_BLOCK samples; steps are batches
    TERMS, ALL_TERMS,  # float64: sums of the loss's terms over this batch, over this pass so far
    AT_END,  # address of ``end_batch(job)``, called before the optimizer's step; or 0
    CLIP,  # float64: the greatest norm of a batch's gradient; inf: any
    INDICES, WIDE, VALUES,  # of a sparse x: addresses, and whether indices have 64 bits
    DROPS,  # whether layers with dropout drop something
    SEED, FIRST_STEP,  # what chooses it: a step's number is FIRST_STEP + STEPS
    JOB,
) = range(37)  # fmt: skip

# Bytes between places: most places are whole pages long, and without a gap all would start in the
# same lines of L1 (an Adam epoch of 4-32-16-4: 1.97 to 1.58 ms).
SKEW = 704
ONE = 64  # place of the constant 1; place 0 stands for "none"
# Bytes of a gradient that a thread has room for. A larger one is computed and added in pieces of
# this size: they take 2 % more time than the whole, and those of 16 threads at most 16 MiB.
PIECE_BYTES = 1 << 20


class Places:
    """Places in a workspace: bytes from its start, or from that of the packed weights."""

    def __init__(self, dtype: str, back: bool = False) -> None:
        self.tile, self.back = tile(dtype), back
        self.used = self.weights = 2 * ONE
        self.pieces, self.longest = 0, 0  # of gradients: their number, the bytes of the longest

    def place(self, length: int) -> int:
        """Return the place of `length` bytes."""
        at, self.used = self.used, self.used + -(-length // 64) * 64 + SKEW
        return at

    def rows(self, width: int) -> int:
        """Return the place of a block of samples, `width` numbers each."""
        return self.place(BATCH_BLOCK * width * self.tile.itemsize)

    def packed(self, steps: int, outputs: int) -> int:
        """Return the place of packed weights, behind WEIGHTS."""
        at, length = self.weights, self.panels(steps, outputs)
        self.weights += -(-length // 64) * 64 + SKEW
        return at

    def panels(self, rows: int, columns: int) -> int:
        """Return the bytes of a packed matrix: whole panels."""
        t = self.tile
        return rows * -(-columns // t.nr) * t.nr * t.itemsize

    def take_pieces(self, count: int, elements: int) -> int:
        """Return the number of the first of `count` pieces of a gradient."""
        first, self.pieces = self.pieces, self.pieces + count
        self.longest = max(self.longest, elements * self.tile.itemsize)
        return first


def drop_block(dtype: str) -> int:
    """Return the address of dropout."""
    from fastgrad.kernels.toolchain.library import LIBRARY

    return LIBRARY.address("drop_block", "drop_block", dtype)


def end_batch(dtype: str) -> int:
    """Return the address of what is done to a batch's gradient before the optimizer's step."""
    from fastgrad.kernels.toolchain.library import LIBRARY

    return LIBRARY.address("batch_end", "end_batch", dtype)


@dataclass(frozen=True)
class Plan:
    """A plan's words, and what running it needs.

    `bytes_whole` sizes a workspace with the packed weights, for a single thread or the first of
    several; `bytes_part` one without, for each other. `pieces` is the number of words at PIECES.
    """

    words: Any
    bytes_whole: int
    bytes_part: int
    pieces: int


def make_plan(
    layers: Sequence[Any],
    dtype: str,
    size: int,
    columns: bool,
    most: int,
    loss: tuple[int, int, bool, bool, bool],
    penalties: tuple[float, float],
    rates: Sequence[float | None],
    back: bool = False,
) -> Plan:
    """Return the plan of a network of `size` parameters and these `layers.kinds.Layer`.

    `most` is the word MOST; `loss` is the address of its kernel, the reduction, PER_SAMPLE,
    ONE_ARRAY and PROBABILITIES; `penalties` are l1 and l2; `rates` are the layers' rates of
    dropout. With `back` the plan is for the way back alone, as far as x.
    """
    places = Places(dtype, back)
    words = np.zeros(HEADER + len(layers) * LAYER, np.int64)
    for i, layer in enumerate(layers):
        row = words[HEADER + i * LAYER :][:LAYER]
        row[[FORWARD, BACKWARD, PACK]] = layer.stages(dtype)
        row[[INPUTS, OUTPUTS, PARAMETERS]] = layer.inputs, layer.outputs, layer.start
        row[PENALIZED] = layer.weights
        row[[ACTIVATE, ACTIVATE_KEEPING, ACTIVATE_BACK]] = layer.activation.record(dtype)
        layer.lay_out(row, places, columns)
        row[Y] = places.rows(layer.outputs)
        row[KEPT] = 0 if layer.activation.from_output else places.rows(layer.outputs)
        row[STATE] = places.rows(layer.state) if layer.state else 0
        if rate := rates[i]:
            row[DROP], row[DROPPED] = drop_block(dtype), places.rows(layer.outputs)
            row[THRESHOLD] = math.ceil(rate * 2**32)
            row.view(np.float64)[SCALE] = 1 / (1 - rate)
            row[NUMBER] = sum(other is not None for other in rates[:i])
    words[[LAYERS, SIZE, COLUMNS, MOST]] = len(layers), size, columns, most
    words[[LOSS, REDUCTION, PER_SAMPLE, ONE_ARRAY, PROBABILITIES]] = loss
    words[END_BATCH] = end_batch(dtype) if any(penalties) else 0
    words.view(np.float64)[[L1, L2]] = penalties
    first, last, widest = layers[0].inputs, layers[-1].outputs, max(a.outputs for a in layers)
    itemsize = places.tile.itemsize
    words[GRAD], words[OTHER_GRAD] = places.rows(widest), places.rows(widest)
    words[X_ROWS] = places.rows(first)
    words[TARGET_ROWS] = places.place(BATCH_BLOCK * max(last * itemsize, 8))
    words[A_SPACE] = places.place(places.tile.a_pack)
    words[B_SPACE] = places.place(places.panels(BATCH_BLOCK, max(first, widest)))
    words[IN_PIECES] = size * itemsize > PIECE_BYTES
    words[PARTIAL] = places.place(places.longest if words[IN_PIECES] else size * itemsize)
    words[WEIGHTS] = places.used
    return Plan(words, places.used + places.weights, places.used, places.pieces)
