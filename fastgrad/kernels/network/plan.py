"""A whole network in one call: forward, loss, backward and update, driven by tables.

A plan is run depth first: a block of BATCH_BLOCK samples goes forward through all layers, through
the loss and backward through all layers, adding to the gradient, before the next block starts. So
every activation is read while it is in cache, and the workspace does not grow with the batch.

Blocks are numbered through the whole call, over all batches of all epochs in it: one epoch of a
few samples takes less time than a call from Python. Several threads may work on one job: each
takes the next block, computes its part of the gradient piece by piece in a workspace of its own,
and adds each piece when the pieces of all earlier blocks have been added. So the order of the
additions, and every bit, is that of one thread. The thread that ends the last block of a batch
updates the parameters; blocks of the next batch wait for that, and then the threads pack the new
weights together, only once. A thread that never starts takes no block, so no other waits for it.

Nothing here knows what a layer computes: the plan's row of a layer holds the addresses of its
stages, and each block calls one forward and one backward (a network of 4-5-5-3 takes as long as
with calls by name: 1.13 us for one sample). `stage` describes their arguments, `plan_table` the
words of a plan and a job.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.elementwise.loss import divisor
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import run_table as now
from fastgrad.kernels.network.blocks import FIRST, ROW, pack_weights, row_taker
from fastgrad.kernels.network.stage import turns, yield_processor
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    fetch_add,
    least,
    read_shared,
    scratch,
    word,
    write_shared,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

RUN = now.RUN
WORK = types.void(types.intp, types.intp)  # job, workspace


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``plan_work`` for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64
    size = dtype.bitwidth // 8
    add_in_turn, take_rows = turns(dtype_name), row_taker(dtype_name)

    @kernel
    def forward(run_at: int, out: int) -> None:
        """Run all layers and keep what backward needs; or only write the last output, to `out`."""
        run = as_pointer(run_at, types.intp)
        plan, space = run[now.PLAN], run[now.SPACE]
        layers = word(plan, at.LAYERS)
        drops = word(run[now.JOB], at.DROPS) != 0
        for i in range(layers):
            row = plan + FIRST + i * ROW
            kept = word(row, at.KEPT)
            y, z, activation = space + word(row, at.Y), 0, word(row, at.ACTIVATE)
            if kept != 0 and out == 0:
                z, activation = space + kept, word(row, at.ACTIVATE_KEEPING)
            if i == layers - 1 and out != 0:
                y = out
            run[now.Y], run[now.Z], run[now.ACTIVATION] = y, z, activation
            call_address(word(row, at.FORWARD), (row, run_at))
            run[now.X], run[now.X_ROW], run[now.X_COL] = y, word(row, at.OUTPUTS), 1
            if drops and word(row, at.DROP) != 0:
                run[now.X] = space + word(row, at.DROPPED)
                call_address(word(row, at.DROP), (row, run_at, y, run[now.X]))

    @kernel
    def backward(run_at: int, x: int, x_row: int, x_col: int) -> None:
        """Run all layers backward, from the gradient of the last output, at GRAD."""
        run = as_pointer(run_at, types.intp)
        plan, space, m = run[now.PLAN], run[now.SPACE], run[now.SAMPLES]
        g, other = space + word(plan, at.GRAD), space + word(plan, at.OTHER_GRAD)
        drops = word(run[now.JOB], at.DROPS) != 0
        for j in range(word(plan, at.LAYERS)):
            i = word(plan, at.LAYERS) - 1 - j
            row = plan + FIRST + i * ROW
            activation, k = word(row, at.ACTIVATE_BACK), word(row, at.OUTPUTS)
            if drops and word(row, at.DROP) != 0:
                call_address(word(row, at.DROP), (row, run_at, g, g))
            if activation != 0:
                saved = word(row, at.KEPT)
                if saved == 0:
                    saved = word(row, at.Y)
                call_address(activation, (g, k, space + saved, k, g, k, m, k))
            run[now.X], run[now.X_ROW], run[now.X_COL] = x, x_row, x_col
            if i > 0:
                read = at.DROPPED if drops and word(row - ROW, at.DROP) != 0 else at.Y
                run[now.X], run[now.X_ROW] = space + word(row - ROW, read), word(row, at.INPUTS)
                run[now.X_COL] = 1
            run[now.GRAD], run[now.GRAD_X] = g, other if i > 0 else 0
            call_address(word(row, at.BACKWARD), (row, run_at))
            g, other = other, g
        job = run[now.JOB]
        if word(job, at.SHARED) and not run[now.IN_TURN]:
            part, count = space + word(plan, at.PARTIAL), word(plan, at.SIZE)
            add_in_turn(run_at, 0, word(job, at.GRADIENT), part, count)

    @kernel
    def loss_terms(
        job: int, order: int, space: int, first: int, m: int, batch: int, step: int
    ) -> float:
        """Write the gradient of the last output of m samples to GRAD; return the sum of terms."""
        plan = word(job, at.PLAN)
        last = plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW
        k = word(last, at.OUTPUTS)
        target, row, labels = word(job, at.T_AT), word(job, at.T_ROW), word(job, at.LABELS)
        space_for_targets = space + word(plan, at.TARGET_ROWS)
        if labels:
            target += first * 8
            if order != 0:
                classes = as_pointer(space_for_targets, types.intp)
                for i in range(m):
                    classes[i] = word(word(job, at.T_AT), word(order, first + i))
                target = space_for_targets
        elif target != 0:
            col = word(job, at.T_COL)
            # Terms are summed in an order that row strides decide: they must all be k.
            if order != 0 or col != 1 or row != k:
                take_rows(order, first, m, k, target, row, col, space_for_targets)
                target, row = space_for_targets, k
            else:
                target += first * row * size
        by = divisor(word(plan, at.REDUCTION), word(plan, at.PER_SAMPLE), batch, k)
        cells = scratch(7, wide)
        cells[0] = 1.0 / by
        cells[1] = 0.0
        cells[2] = by  # from here on for `network.loss`
        where = as_pointer(address_of(cells), types.intp)
        where[3], where[4], where[5], where[6] = job, order, first, step
        call_address(
            word(plan, at.LOSS),
            (space + word(last, at.Y), k, target, row, space + word(plan, at.GRAD), k,
             m, k, labels, address_of(cells), address_of(cells) + 8),
        )  # fmt: skip
        return cells[1]

    @kernel
    def commit(job: int, terms: float, opens: bool, closes: bool, ended: int) -> None:
        """Add a block's terms to the batch's; after the last one, update the parameters.

        `ended` is the number of the pass whose last block this is, or -1.
        """
        total = as_pointer(job, wide)
        total[at.TERMS] = terms if opens else total[at.TERMS] + terms
        if closes:
            total[at.ALL_TERMS] += total[at.TERMS]
            before_step = word(job, at.AT_END)
            if before_step != 0:
                call_address(before_step, (job,))
            optimizer = word(job, at.UPDATE)
            if optimizer != 0:
                call_address(word(optimizer, 0), (optimizer,))
            # Nobody is packing any more: each thread that did has added its block.
            write_shared(job + 8 * at.PACKING, 0)
            write_shared(job + 8 * at.PACKED, 0)
        passes = word(job, at.PASS_TERMS)
        if ended >= 0 and passes != 0:
            as_pointer(passes, wide)[ended] = total[at.ALL_TERMS]
            total[at.ALL_TERMS] = 0.0

    def work(job: int, space: int) -> None:
        """Take blocks of a job until STOP."""
        plan, orders = word(job, at.PLAN), word(job, at.ORDER)
        count, batch, stop = word(job, at.COUNT), word(job, at.BATCH), word(job, at.STOP)
        shared, out, per_pass = word(job, at.SHARED), word(job, at.OUT), word(job, at.PASS)
        x_at, d = word(job, at.X_AT), word(plan + FIRST, at.INPUTS)
        k = word(plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW, at.OUTPUTS)
        as_pointer(space + at.ONE, dtype)[0] = dtype(1)
        per_batch = (batch + BATCH_BLOCK - 1) // BATCH_BLOCK
        in_turn = shared and word(plan, at.IN_PIECES)
        gradient = word(job, at.GRADIENT)
        if shared and not in_turn:
            gradient = space + word(plan, at.PARTIAL)
        run = scratch(RUN, types.intp)
        run_at = address_of(run)
        run[now.JOB], run[now.PLAN], run[now.PARAMS] = job, plan, word(job, at.PARAMS)
        run[now.WEIGHTS], run[now.SPACE] = word(job, at.WEIGHTS_AT), space
        run[now.IN_TURN], run[now.SUMS] = in_turn, gradient
        packed_for = -1
        while True:
            block = fetch_add(job + 8 * at.NEXT, 1)
            if block >= stop:
                return
            this_pass, within, order, step = 0, block, orders, 0
            if block >= per_pass:
                this_pass = block // per_pass
                within = block - this_pass * per_pass
                step = this_pass * ((count + batch - 1) // batch)
                if orders != 0:
                    order = orders + 8 * this_pass * count
            number = within // per_batch
            step += number
            part = (within - number * per_batch) * BATCH_BLOCK
            first = number * batch + part
            in_batch = least(batch, count - number * batch)
            m = least(BATCH_BLOCK, in_batch - part)
            fresh = step != packed_for
            if fresh:
                while read_shared(job + 8 * at.STEPS) < step:
                    yield_processor()
                if in_batch > 1:  # a single sample reads them unpacked
                    pack_weights(run_at, plan, 0)
                    fresh = not shared
                packed_for = step
            x_row, x_col = word(job, at.X_ROW), word(job, at.X_COL)
            x = x_at + first * x_row * size
            if order != 0:
                x = space + word(plan, at.X_ROWS)
                take_rows(order, first, m, d, x_at, x_row, x_col, x)
                x_row, x_col = d, 1
            y = out + first * k * size if out != 0 else 0
            run[now.SAMPLES], run[now.BLOCK], run[now.FRESH] = m, block, fresh
            run[now.X], run[now.X_ROW], run[now.X_COL] = x, x_row, x_col
            forward(run_at, y)
            if out != 0:
                continue
            opens, closes = part == 0, part + m == in_batch
            terms = loss_terms(job, order, space, first, m, in_batch, step)
            run[now.OPENS], run[now.ADDS] = opens, not (opens or shared)
            if word(job, at.GRADIENT) != 0:
                backward(run_at, x, x_row, x_col)
            if shared:
                while read_shared(job + 8 * at.COMMITTED) < block:
                    yield_processor()
            ended = this_pass if within == per_pass - 1 else -1
            commit(job, terms, opens, closes, ended)
            if closes:
                write_shared(job + 8 * at.STEPS, step + 1)
            write_shared(job + 8 * at.COMMITTED, block + 1)

    return assemble(dtype_name, {"plan_work": (WORK, work)})
