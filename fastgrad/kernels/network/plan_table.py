"""The tables that drive a network's kernel: what each word of a *plan* and of a *job* holds.

A plan describes a network: one row per layer, and where in a workspace each thing lies. It is
data, so a new network compiles nothing. A job is one call: its arrays and how far it has come.
Imports no Numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad.kernels.toolchain.target import BATCH_BLOCK, tile

# -- a plan: HEADER words, then LAYER words for each layer ---------------------------------------
(
    LAYERS, SIZE, COLUMNS,
    MOST,  # samples from which on Python runs the job: in pieces, over threads
    LOSS, REDUCTION, PER_SAMPLE, ONE_ARRAY,  # the loss has a term a sample; it takes no target
    PROBABILITIES,  # its targets must lie between 0 and 1
    GRAD, OTHER_GRAD, X_ROWS, TARGET_ROWS, A_SPACE, B_SPACE, PARTIAL,  # places in the workspace
    WEIGHTS,  # the place of packed weights, behind all others
    IN_PIECES,  # whether threads add a block's gradient in pieces, or as a whole
    HEADER,
) = range(19)  # fmt: skip
(
    INPUTS, OUTPUTS,
    FORWARD, FORWARD_KEEPING, BACKWARD,  # addresses of the activation's row kernels
    W, B,  # elements into the flat vector; B is -1 where there is no bias
    Y, KEPT,  # places: output, and what backward needs beside it (else 0)
    W_PACKED, WT_PACKED,  # places from WEIGHTS on; 0 where the weights are used as they lie
    PIECE, FIRST_PIECE,  # rows of w whose gradient is a piece; the number of the layer's first
    LAYER,
) = range(14)  # fmt: skip

# -- a job ----------------------------------------------------------------------------------------
(
    PLAN, PARAMS, GRADIENT, UPDATE,  # addresses; UPDATE: an optimizer's table, or 0
    X_AT, X_ROW, X_COL, T_AT, T_ROW, T_COL, LABELS,  # LABELS: the target is one int64 per sample
    ORDER,  # address of the order of the samples, int64, of each pass; 0 is their own
    COUNT, BATCH,  # samples in all, and per step
    PASS,  # blocks of a pass over all samples: training makes several
    PASS_TERMS,  # address of float64, one for each pass: its sum of the loss's terms; or 0
    OUT,  # predict: where to, rows side by side; 0 for value and gradient
    WEIGHTS_AT,  # address of the packed weights, of all threads
    SHARED,  # whether several threads work on it
    PACKING, PACKED,  # shared: layers whose packing has begun and ended in this step
    PIECES,  # shared: address of a word for each piece, how many blocks have added theirs
    STOP, NEXT, COMMITTED, STEPS,  # blocks of BATCH_BLOCK samples; steps are batches
    TERMS, ALL_TERMS,  # float64: sums of the loss's terms over this batch, over this pass so far
    JOB,
) = range(29)  # fmt: skip

# -- an optimizer: float64 settings; FIRST and SECOND are the addresses of its state vectors -----
(
    RATE, DECAY, DECOUPLED,
    MOMENTUM, NESTEROV,
    BETA1, BETA2, EPS, POWER1, POWER2,  # POWER: beta to the number of steps taken
    FIRST, SECOND, STEP,  # STEP: address of the kernel
    OPTIMIZER,
) = range(14)  # fmt: skip
POWERS = slice(POWER1, POWER2 + 1)

# Bytes between places: most are whole pages long, and without a gap all would start in the same
# lines of L1 (an Adam epoch of 4-32-16-4: 1.97 to 1.58 ms).
SKEW = 704
ONE = 64  # place of the constant 1; place 0 stands for "none"
# Bytes of a gradient that a thread has room for. A larger one is computed and added in pieces of so
# many: they take 2 % more time to compute than the whole, and 16 threads' no more than 16 MiB.
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Stage:
    """One layer: widths, places of w and b in the flat vector, record of the activation."""

    inputs: int
    outputs: int
    w: int
    b: int
    record: Any  # addresses of the activation's row kernels, 0 for the identity
    keeps: bool  # something beside y for the way back


@dataclass(frozen=True)
class Plan:
    """A plan's words, and what running it needs.

    `bytes_whole` is a workspace with the packed weights, of a thread alone or the first of several;
    `bytes_part` one without, of each other thread. `pieces` is the number of words at PIECES.
    """

    words: Any
    bytes_whole: int
    bytes_part: int
    pieces: int


def make_plan(
    stages: Sequence[Stage],
    dtype: str,
    size: int,
    columns: bool,
    most: int,
    loss: tuple[int, int, bool, bool, bool],
) -> Plan:
    """Return the plan of a network of `size` parameters.

    `most` is the word MOST; `loss` is the address of its kernel, the reduction, PER_SAMPLE,
    ONE_ARRAY and PROBABILITIES.
    """
    t = tile(dtype)
    used = weights = 2 * ONE

    def place(length: int) -> int:
        nonlocal used
        at, used = used, used + -(-length // 64) * 64 + SKEW
        return at

    def place_of_weights(length: int) -> int:
        nonlocal weights
        at, weights = weights, weights + -(-length // 64) * 64 + SKEW
        return at

    def panels(rows: int, columns: int) -> int:
        return rows * -(-columns // t.nr) * t.nr * t.itemsize

    def rows(width: int) -> int:
        return BATCH_BLOCK * width * t.itemsize

    words = np.zeros(HEADER + len(stages) * LAYER, np.int64)
    pieces = longest = 0
    widths = [stages[0].inputs, *(stage.outputs for stage in stages)]
    for i, stage in enumerate(stages):
        d, k = stage.inputs, stage.outputs
        row = words[HEADER + i * LAYER :][:LAYER]
        small = d * k * t.itemsize <= t.direct_b
        row[[INPUTS, OUTPUTS, W, B]] = d, k, stage.w, stage.b
        row[[FORWARD, FORWARD_KEEPING, BACKWARD]] = stage.record
        # Rows keep w (d, k): as it lies for y, transposed for grad_x. Columns the other way round.
        # Rows of half a panel are as fast unpacked, and packing would more than double them.
        for word, steps, outputs, lies in (
            (W_PACKED, d, k, not columns), (WT_PACKED, k, d, columns)
        ):  # fmt: skip
            # A single output's weights are contiguous, and read so.
            unused = (word == WT_PACKED and i == 0) or (word == W_PACKED and k == 1)
            if not (unused or (lies and (small or outputs <= t.nr // 2))):
                row[word] = place_of_weights(panels(steps, outputs))
        lines, width = (k, d) if columns else (d, k)
        line = width * t.itemsize
        row[PIECE] = min(lines, max(PIECE_BYTES // line // t.mr * t.mr, t.mr))
        row[FIRST_PIECE] = pieces
        pieces += 1 + -(-lines // int(row[PIECE]))  # the first is grad_b
        longest = max(longest, int(row[PIECE]) * line, k * t.itemsize)
        row[Y] = place(rows(k))
        row[KEPT] = place(rows(k)) if stage.keeps else 0
    words[[LAYERS, SIZE, COLUMNS, MOST]] = len(stages), size, columns, most
    words[[LOSS, REDUCTION, PER_SAMPLE, ONE_ARRAY, PROBABILITIES]] = loss
    words[GRAD], words[OTHER_GRAD] = place(rows(max(widths[1:]))), place(rows(max(widths[1:])))
    words[X_ROWS] = place(rows(widths[0]))
    words[TARGET_ROWS] = place(max(rows(widths[-1]), BATCH_BLOCK * 8))
    words[A_SPACE] = place(t.a_pack)
    words[B_SPACE] = place(panels(BATCH_BLOCK, max(widths)))
    words[IN_PIECES] = size * t.itemsize > PIECE_BYTES
    words[PARTIAL] = place(longest if words[IN_PIECES] else size * t.itemsize)
    words[WEIGHTS] = used
    return Plan(words, used + weights, used, pieces)
