"""A whole network in one call: forward, loss, backward and update, driven by tables.

A plan is run depth first: a block of BATCH_BLOCK samples goes forward through all layers, through
the loss and backward through all layers, adding to the gradient, before the next block starts. So
every activation is read while it is in cache, and the workspace does not grow with the batch.

Blocks are numbered through the whole call, over all batches of all epochs in it: one epoch of a
few samples takes less time than a call from Python. Several threads may work on one job: each
takes the next block, computes its part of the gradient piece by piece in a workspace of its own,
and adds each piece when those of all blocks before have been added. The order of the additions, and
so every bit, is that of one thread. Whoever ends the last block of a batch updates the parameters;
blocks of the next batch wait for that, and then the threads pack the new weights together, once for
all. A thread that never starts takes no block, so nobody waits for it. `plan_table` says what the
words of a plan and a job are.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.elementwise.loss import divisor
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network.layer import LAYER_BACKWARD, LAYER_FORWARD, MULTIPLY
from fastgrad.kernels.product.gemm import GEMM, PACK_B
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    copy_elements,
    fetch_add,
    least,
    read_shared,
    read_word,
    scratch,
    word,
    write_shared,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.kernels.toolchain.target import tile as tile_for

FIRST, ROW = 8 * at.HEADER, 8 * at.LAYER  # bytes: from a plan to its first layer's row, and on
WORK = types.void(types.intp, types.intp)  # job, workspace
yield_processor = types.ExternalFunction("sched_yield", types.intc())


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``plan_work`` for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    NR = tile.nr
    gemm = external("gemm", dtype_name, GEMM)
    layer_forward = external("layer_forward", dtype_name, LAYER_FORWARD)
    layer_backward = external("layer_backward", dtype_name, LAYER_BACKWARD)
    multiply = external("multiply", dtype_name, MULTIPLY)
    pack_b = external("pack_b", dtype_name, PACK_B)

    @kernel
    def pack_layer(
        plan: int, i: int, params: int, weights: int, as_they_lie: bool, backward: bool
    ) -> None:
        """Pack the weights that products read the other way round, or also those that they don't.

        One thread alone packs these as it first reads them; but single panels now, which are
        also read in another way (`layer.transposed_product`).
        """
        columns = word(plan, at.COLUMNS)
        layer = plan + FIRST + i * ROW
        d, k = word(layer, at.INPUTS), word(layer, at.OUTPUTS)
        w = params + word(layer, at.W) * size
        row, col = (1, d) if columns else (k, 1)
        packed, transposed = word(layer, at.W_PACKED), word(layer, at.WT_PACKED)
        if packed != 0 and (columns or as_they_lie or k <= NR):
            pack_b(d, k, w, row, col, weights + packed)
        if transposed != 0 and backward and (not columns or as_they_lie):
            pack_b(k, d, w, col, row, weights + transposed)

    @kernel
    def pack_weights(job: int, backward: bool) -> None:
        """Pack the weights of a step: alone, or each thread the layers that no other has taken."""
        plan, params, weights = word(job, at.PLAN), word(job, at.PARAMS), word(job, at.WEIGHTS_AT)
        layers = word(plan, at.LAYERS)
        if not word(job, at.SHARED):
            for i in range(layers):
                pack_layer(plan, i, params, weights, False, backward)
            return
        i = fetch_add(job + 8 * at.PACKING, 1)
        while i < layers:
            pack_layer(plan, i, params, weights, True, backward)
            fetch_add(job + 8 * at.PACKED, 1)
            i = fetch_add(job + 8 * at.PACKING, 1)
        while read_shared(job + 8 * at.PACKED) < layers:
            yield_processor()

    @kernel
    def operand(
        w: int, row: int, steps: int, packed: int, reads: bool
    ) -> tuple[int, int, int, int]:
        """Return address, row, panel and pack of weights at `w` as the B of a product.

        With a place `packed` for them they are there, unless this product `reads` them first.
        """
        if packed == 0 or reads:
            return w, row, NR, packed
        return packed, NR, steps * NR, 0

    @kernel
    def forward(
        plan: int, params: int, space: int, weights: int, x: int, x_row: int, x_col: int, m: int,
        out: int, fresh: bool,
    ) -> None:  # fmt: skip
        """Run all layers, for the way back; or only for the last one's output, to `out`.

        With new weights (`fresh`) they are packed, for this block of samples and later ones.
        """
        layers, columns = word(plan, at.LAYERS), word(plan, at.COLUMNS)
        for i in range(layers):
            layer = plan + FIRST + i * ROW
            d, k = word(layer, at.INPUTS), word(layer, at.OUTPUTS)
            packed = word(layer, at.W_PACKED)
            w, w_row, w_panel, w_pack = operand(
                params + word(layer, at.W) * size, k, d, weights + packed if packed != 0 else 0,
                fresh and not columns and k > NR,
            )  # fmt: skip
            b, kept = word(layer, at.B), word(layer, at.KEPT)
            y, z, activation = space + word(layer, at.Y), 0, word(layer, at.FORWARD)
            if kept != 0 and out == 0:
                z, activation = space + kept, word(layer, at.FORWARD_KEEPING)
            if i == layers - 1 and out != 0:
                y = out
            bias, a_space = params + b * size if b >= 0 else 0, space + word(plan, at.A_SPACE)
            w_col = 1
            if k == 1:
                w_panel = 0
            elif m == 1 and fresh and columns:  # nothing is packed for a single sample
                w, w_row, w_col, w_pack = params + word(layer, at.W) * size, 1, d, 0
            layer_forward(
                m, d, k, x, x_row, x_col, w, w_row, w_col, w_panel, w_pack,
                bias, y, k, z, k, activation, a_space,
            )  # fmt: skip
            x, x_row, x_col = y, k, 1

    @kernel
    def add_in_turn(
        job: int, piece: int, block: int, opens: bool, whole: int, part: int, count: int
    ) -> None:
        """Add a piece of a block's gradient when those of all blocks before have been added."""
        added = word(job, at.PIECES) + 8 * piece
        total, some = as_pointer(whole, dtype), as_pointer(part, dtype)
        while read_shared(added) < block:
            yield_processor()
        if opens:
            copy_elements(total, some, count)
        else:
            for i in range(count):
                total[i] += some[i]
        write_shared(added, block + 1)

    @kernel
    def gradients(
        job: int, space: int, i: int, block: int, opens: bool, m: int,
        g: int, source: int, source_row: int, source_col: int,
    ) -> None:  # fmt: skip
        """Add a block's part of the gradients of layer i: at once, or piece by piece in turn."""
        plan = word(job, at.PLAN)
        layer, columns = plan + FIRST + i * ROW, word(plan, at.COLUMNS)
        d, k = word(layer, at.INPUTS), word(layer, at.OUTPUTS)
        a_space, b_space = space + word(plan, at.A_SPACE), space + word(plan, at.B_SPACE)
        one, part, b = space + at.ONE, space + word(plan, at.PARTIAL), word(layer, at.B)
        shared, whole = word(job, at.SHARED), word(job, at.GRADIENT)
        in_pieces = shared and word(plan, at.IN_PIECES)
        if shared and not in_pieces:
            whole = part
        gw, gb = whole + word(layer, at.W) * size, whole + b * size if b >= 0 else 0
        if not in_pieces:
            layer_backward(
                m, d, k, g, k, source, source_row, source_col,
                gw, 1 if columns else k, d if columns else 1, gb, 0 if opens or shared else 1,
                one, a_space, b_space,
            )  # fmt: skip
            return
        piece, lines = word(layer, at.FIRST_PIECE), word(layer, at.PIECE)
        if gb != 0:
            layer_backward(
                m, d, k, g, k, source, source_row, source_col, 0, 0, 0, part, 0, one,
                a_space, b_space,
            )  # fmt: skip
            add_in_turn(job, piece, block, opens, gb, part, k)
        height, width = (k, d) if columns else (d, k)
        for line in range(0, height, lines):
            count = least(lines, height - line)
            if columns:
                layer_backward(
                    m, d, count, g + line * size, k, source, source_row, source_col,
                    part, 1, d, 0, 0, one, a_space, b_space,
                )  # fmt: skip
            else:
                layer_backward(
                    m, count, k, g, k, source + line * source_col * size, source_row, source_col,
                    part, k, 1, 0, 0, one, a_space, b_space,
                )  # fmt: skip
            piece += 1
            add_in_turn(job, piece, block, opens, gw + line * width * size, part, count * width)

    @kernel
    def backward(
        job: int, space: int, x: int, x_row: int, x_col: int, m: int, block: int, opens: bool,
        fresh: bool,
    ) -> None:  # fmt: skip
        """Go back from the last output's gradient, at GRAD."""
        plan, params, weights = word(job, at.PLAN), word(job, at.PARAMS), word(job, at.WEIGHTS_AT)
        columns = word(plan, at.COLUMNS)
        g, other = space + word(plan, at.GRAD), space + word(plan, at.OTHER_GRAD)
        for j in range(word(plan, at.LAYERS)):
            i = word(plan, at.LAYERS) - 1 - j
            layer = plan + FIRST + i * ROW
            d, k = word(layer, at.INPUTS), word(layer, at.OUTPUTS)
            activation = word(layer, at.BACKWARD)
            if activation != 0:
                saved = word(layer, at.KEPT)
                if saved == 0:
                    saved = word(layer, at.Y)
                call_address(activation, (g, k, space + saved, k, g, k, m, k))
            w, a_space = word(layer, at.W), space + word(plan, at.A_SPACE)
            source, source_row, source_col = x, x_row, x_col
            if i > 0:
                source, source_row, source_col = space + word(layer - ROW, at.Y), d, 1
                packed = word(layer, at.WT_PACKED)
                wt, wt_row, wt_panel, wt_pack = operand(
                    params + w * size, d, k, weights + packed if packed != 0 else 0,
                    fresh and columns,
                )  # fmt: skip
                if m == 1 and fresh and not columns:
                    multiply(
                        1, d, k, g, k, 1, params + w * size, 1, k, other, d, 1, 0, a_space,
                        space + word(plan, at.B_SPACE),
                    )  # fmt: skip
                else:
                    gemm(m, d, k, g, k, 1, wt, wt_row, wt_panel, wt_pack, other, d, 0, 0, a_space)
            gradients(job, space, i, block, opens, m, g, source, source_row, source_col)
            g, other = other, g
        if word(job, at.SHARED) and not word(plan, at.IN_PIECES):
            part, count = space + word(plan, at.PARTIAL), word(plan, at.SIZE)
            add_in_turn(job, 0, block, opens, word(job, at.GRADIENT), part, count)

    @kernel
    def take_rows(
        order: int, first: int, m: int, n: int, a: int, a_row: int, a_col: int, out: int
    ) -> None:
        """Copy m rows of n elements, the ones that `order` names or the next, side by side."""
        for i in range(m):
            row = first + i
            if order != 0:
                row = read_word(order + 8 * row)
            source = as_pointer(a + row * a_row * size, dtype)
            target = as_pointer(out + i * n * size, dtype)
            if a_col == 1 and n >= 32:
                copy_elements(target, source, n)
            else:
                for j in range(n):
                    target[j] = source[j * a_col]

    @kernel
    def loss_terms(job: int, order: int, space: int, first: int, m: int, batch: int) -> float:
        """Put the gradient of the last output of m samples at GRAD; return the sum of terms."""
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
        cells = scratch(2, wide)
        cells[0] = 1.0 / divisor(word(plan, at.REDUCTION), word(plan, at.PER_SAMPLE), batch, k)
        cells[1] = 0.0
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
            optimizer = word(job, at.UPDATE)
            if optimizer != 0:
                count = word(word(job, at.PLAN), at.SIZE)
                call_address(
                    word(optimizer, at.STEP),
                    (word(job, at.PARAMS), word(job, at.GRADIENT), count, optimizer),
                )
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
                if in_batch > 1:  # a single sample reads them as they lie
                    pack_weights(job, out == 0)
                    fresh = not shared
                packed_for = step
            x_row, x_col = word(job, at.X_ROW), word(job, at.X_COL)
            x = x_at + first * x_row * size
            if order != 0:
                x = space + word(plan, at.X_ROWS)
                take_rows(order, first, m, d, x_at, x_row, x_col, x)
                x_row, x_col = d, 1
            y = out + first * k * size if out != 0 else 0
            forward(
                plan, word(job, at.PARAMS), space, word(job, at.WEIGHTS_AT), x, x_row, x_col, m,
                y, fresh,
            )  # fmt: skip
            if out != 0:
                continue
            opens, closes = part == 0, part + m == in_batch
            terms = loss_terms(job, order, space, first, m, in_batch)
            backward(job, space, x, x_row, x_col, m, block, opens, fresh)
            if shared:
                while read_shared(job + 8 * at.COMMITTED) < block:
                    yield_processor()
            ended = this_pass if within == per_pass - 1 else -1
            commit(job, terms, opens, closes, ended)
            if closes:
                write_shared(job + 8 * at.STEPS, step + 1)
            write_shared(job + 8 * at.COMMITTED, block + 1)

    return assemble(dtype_name, {"plan_work": (WORK, work)})
