"""A network forward and backward in two calls, with a tape in between.

As in `plan`, a block of BATCH_BLOCK samples goes through all layers before the next one, and
several threads may take blocks of one job. But a block's outputs go to the tape (`tape_table`),
from which a later call reads them: so that the gradient of the last output may come from anywhere,
and that of x is to be had. A block's part of the gradient is added in the order of the blocks: for
the gradient of a loss, every bit is that of `plan`.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network import tape_table as kept
from fastgrad.kernels.network.blocks import FIRST, ROW, pack_weights, row_taker
from fastgrad.kernels.network.plan import RUN, WORK
from fastgrad.kernels.network.stage import turns
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    copy_elements,
    fetch_add,
    least,
    scratch,
    word,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

PLACES, PLACE = 8 * kept.LAYERS, 8 * kept.LAYER  # bytes to the first layer's, and from one to next


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``tape_forward`` and ``tape_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    add_in_turn, take_rows = turns(dtype_name), row_taker(dtype_name)

    @kernel
    def place(job: int, layer: int, what: int, first: int, width: int) -> int:
        """Return the address of rows from sample `first` on, `width` wide, or 0."""
        before = word(word(job, kept.PLACES) + PLACES + layer * PLACE, what)
        if before == kept.NOWHERE:
            return 0
        return word(job, kept.TAPE) + (before * word(job, at.COUNT) + first * width) * size

    @kernel
    def copy_state(
        job: int, layer: int, first: int, m: int, row: int, space: int, back: bool
    ) -> None:
        """Copy what a layer's stage keeps of m samples from the workspace to the tape, or back."""
        width = word(word(job, kept.PLACES) + PLACES + layer * PLACE, kept.STATE_WIDTH)
        if width != 0:
            there, here = place(job, layer, kept.STATE, first, width), space + word(row, at.STATE)
            if back:
                there, here = here, there
            copy_elements(as_pointer(there, dtype), as_pointer(here, dtype), m * width)

    @kernel
    def begin(run_at: int, job: int, space: int) -> None:
        """Write what is the same for all blocks."""
        run = as_pointer(run_at, types.intp)
        run[now.JOB], run[now.PLAN], run[now.SPACE] = job, word(job, at.PLAN), space
        run[now.PARAMS], run[now.WEIGHTS] = word(job, at.PARAMS), word(job, at.WEIGHTS_AT)
        as_pointer(space + at.ONE, dtype)[0] = dtype(1)

    @kernel
    def pack(run_at: int, layer: int) -> bool:
        """Pack the weights from a layer on; return whether stages read what is not packed yet."""
        job = word(run_at, now.JOB)
        if word(job, at.COUNT) == 1:  # read unpacked
            return True
        pack_weights(run_at, word(run_at, now.PLAN), layer)
        return word(job, at.SHARED) == 0

    def tape_forward(job: int, space: int) -> None:
        """Take blocks of a job until STOP: fill in the tape, and write the last output."""
        run = scratch(RUN, types.intp)
        run_at = address_of(run)
        begin(run_at, job, space)
        plan, n, out = word(job, at.PLAN), word(job, at.COUNT), word(job, at.OUT)
        layers, packed, fresh = word(plan, at.LAYERS), False, False
        while True:
            block = fetch_add(job + 8 * at.NEXT, 1)
            if block >= word(job, at.STOP):
                return
            if not packed:
                packed, fresh = True, pack(run_at, 0)
            first = block * BATCH_BLOCK
            m = least(BATCH_BLOCK, n - first)
            run[now.SAMPLES], run[now.BLOCK], run[now.FRESH] = m, block, fresh
            fresh = False
            run[now.X_ROW], run[now.X_COL] = word(job, at.X_ROW), word(job, at.X_COL)
            run[now.X] = word(job, at.X_AT) + first * run[now.X_ROW] * size
            for i in range(layers):
                row = plan + FIRST + i * ROW
                k = word(row, at.OUTPUTS)
                y, z = place(job, i, kept.Y, first, k), place(job, i, kept.KEPT, first, k)
                copied = y
                if i == layers - 1:
                    y = out + first * k * size
                run[now.Y], run[now.Z] = y, z
                run[now.ACTIVATION] = word(row, at.ACTIVATE if z == 0 else at.ACTIVATE_KEEPING)
                call_address(word(row, at.FORWARD), (row, run_at))
                copy_state(job, i, first, m, row, space, False)
                if i == layers - 1 and copied != 0:
                    copy_elements(as_pointer(copied, dtype), as_pointer(y, dtype), m * k)
                run[now.X], run[now.X_ROW], run[now.X_COL] = y, k, 1

    @kernel
    def back(run_at: int, first: int) -> None:
        """Run all layers backward for one block, from the gradient of the last output, at GRAD."""
        run = as_pointer(run_at, types.intp)
        job, plan, space, m = run[now.JOB], run[now.PLAN], run[now.SPACE], run[now.SAMPLES]
        g, other = space + word(plan, at.GRAD), space + word(plan, at.OTHER_GRAD)
        for j in range(word(plan, at.LAYERS)):
            i = word(plan, at.LAYERS) - 1 - j
            row = plan + FIRST + i * ROW
            activation, k = word(row, at.ACTIVATE_BACK), word(row, at.OUTPUTS)
            d = word(row, at.INPUTS)
            if activation != 0:
                saved = place(job, i, kept.KEPT, first, k)
                if saved == 0:
                    saved = place(job, i, kept.Y, first, k)
                call_address(activation, (g, k, saved, k, g, k, m, k))
            run[now.GRAD], run[now.GRAD_X] = g, other
            if i > 0:
                run[now.X], run[now.X_ROW] = place(job, i - 1, kept.Y, first, d), d
                run[now.X_COL] = 1
            else:
                run[now.X_ROW], run[now.X_COL] = word(job, at.X_ROW), word(job, at.X_COL)
                run[now.X] = word(job, at.X_AT) + first * run[now.X_ROW] * size
                into = word(job, kept.INTO_X)
                if into != 0:
                    into += first * d * size
                    if word(job, kept.ADD_X):
                        into = space + word(plan, at.X_ROWS)
                run[now.GRAD_X] = into
            copy_state(job, i, first, m, row, space, True)
            call_address(word(row, at.BACKWARD), (row, run_at))
            g, other = other, g

    def tape_backward(job: int, space: int) -> None:
        """Take blocks of a job until STOP: add to the gradient, and write that of x."""
        run = scratch(RUN, types.intp)
        run_at = address_of(run)
        begin(run_at, job, space)
        plan, n, shared = word(job, at.PLAN), word(job, at.COUNT), word(job, at.SHARED)
        d = word(plan + FIRST, at.INPUTS)
        k = word(plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW, at.OUTPUTS)
        gradient, packed, fresh = word(job, at.GRADIENT), False, False
        # Without grad_x, the first layer's weights are not read.
        unread = 1 if word(job, kept.INTO_X) == 0 else 0
        threads_add = shared != 0 and gradient != 0
        whole = threads_add and word(plan, at.IN_PIECES) == 0
        partial = space + word(plan, at.PARTIAL)
        run[now.IN_TURN] = threads_add and not whole
        run[now.SUMS] = partial if whole else gradient
        while True:
            block = fetch_add(job + 8 * at.NEXT, 1)
            if block >= word(job, at.STOP):
                return
            if not packed:
                packed, fresh = True, pack(run_at, unread)
            first = block * BATCH_BLOCK
            m = least(BATCH_BLOCK, n - first)
            adds = block > 0 or word(job, kept.ADD_GRADIENT) != 0
            run[now.SAMPLES], run[now.BLOCK], run[now.FRESH] = m, block, fresh
            run[now.OPENS], run[now.ADDS] = not adds, adds and shared == 0
            fresh = False
            take_rows(
                0, first, m, k, word(job, at.T_AT), word(job, at.T_ROW), word(job, at.T_COL),
                space + word(plan, at.GRAD),
            )  # fmt: skip
            back(run_at, first)
            if whole:
                add_in_turn(run_at, 0, gradient, partial, word(plan, at.SIZE))
            into = word(job, kept.INTO_X)
            if into != 0 and word(job, kept.ADD_X):
                total = as_pointer(into + first * d * size, dtype)
                some = as_pointer(space + word(plan, at.X_ROWS), dtype)
                for i in range(m * d):
                    total[i] += some[i]

    return assemble(
        dtype_name,
        {"tape_forward": (WORK, tape_forward), "tape_backward": (WORK, tape_backward)},
    )
