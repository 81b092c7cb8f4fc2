"""A recurrent layer over all its steps, forward and backward, on raw memory.

The input's product is one for all steps, as are the gradients of weights and x: rows are the
samples of the first step, then the second ... The recurrent product, whose weights are packed once,
is added to a step's gates; row kernels (`elementwise.cells`) do the rest while these are in cache.

Sums over the rows are those of blocks of BATCH_BLOCK rows, added in order. If samples have lengths,
the state of a sample stays the same after its last step.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.elementwise import cells
from fastgrad.kernels.elementwise.rows import FORWARD
from fastgrad.kernels.network import recurrent_table as at
from fastgrad.kernels.network.layer import LAYER_FORWARD, MULTIPLY
from fastgrad.kernels.product.gemm import GEMM, PACK_B
from fastgrad.kernels.product.microkernel import ADD
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    clear,
    copy_elements,
    greatest,
    least,
    round_up,
    scratch,
    word,
)
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.kernels.toolchain.target import tile as tile_for

STEPS = types.void(types.intp)  # the table


def workspaces(dtype_name: str) -> Any:
    """Return the kernel that lays out a call's workspaces, for callers in another unit."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    NR, A_PACK = tile.nr, tile.a_pack
    # Bytes of gradients of gates that are packed for one product.
    AT_ONCE = 4 * 1024 * 1024

    @kernel
    def lay_out(table: int, back: bool, space: int) -> int:
        """Write the words of the workspaces, which begin at `space`; return where they end."""
        words, n, d = as_pointer(table, types.intp), word(table, at.SAMPLES), word(table, at.INPUTS)
        k, width, rows = word(table, at.STATES), word(table, at.GATES), word(table, at.STEPS) * n
        wide = round_up(k, NR)
        words[at.A_SPACE] = space = round_up(space, 64)
        words[at.W_SPACE] = space = space + A_PACK
        words[at.B_SPACE] = space = space + (width * wide + 2 * k * wide) * size
        if not back:
            return space + d * round_up(width, NR) * size
        blocks = greatest(AT_ONCE // (BATCH_BLOCK * width * size), 1)
        words[at.CHUNK] = blocks * BATCH_BLOCK
        packed = least(rows, blocks * BATCH_BLOCK) * round_up(width, NR)
        words[at.DA] = space = space + greatest(packed, width * round_up(d, NR)) * size
        words[at.DA_ROW] = 4 * k if word(table, at.CELL) == at.GRU_AFTER else width
        words[at.PART] = space = space + rows * words[at.DA_ROW] * size
        words[at.ZEROS] = space = space + n * k * size
        return space + n * k * size

    return lay_out


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``steps_forward`` and ``steps_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    tile = tile_for(dtype_name)
    NR, DIRECT_B = tile.nr, tile.direct_b
    # Bytes of a step's gates that row kernels pass over one after the other.
    IN_CACHE = 16 * 1024
    gemm = external("gemm", dtype_name, GEMM)
    pack_b = external("pack_b", dtype_name, PACK_B)
    layer_forward = external("layer_forward", dtype_name, LAYER_FORWARD)
    multiply = external("multiply", dtype_name, MULTIPLY)
    sigmoid = external("forward_sigmoid", dtype_name, FORWARD)
    tanh = external("forward_tanh", dtype_name, FORWARD)
    lstm_state = external("lstm_state", dtype_name, cells.LSTM_STATE)
    lstm_back = external("lstm_back", dtype_name, cells.LSTM_BACK)
    gru_state = external("gru_state", dtype_name, cells.GRU_STATE)
    gru_back = external("gru_back", dtype_name, cells.GRU_BACK)
    gru_reset_back = external("gru_reset_back", dtype_name, cells.GRU_RESET_BACK)
    gated = external("gated", dtype_name, cells.GATED)
    add_gated = external("add_gated", dtype_name, cells.ADD_GATED)

    @kernel
    def hold(k: int, n: int, step: int, lengths: int, before: int, now: int) -> None:
        """Keep the state before this step for each sample that has ended."""
        for i in range(n):
            if step >= word(lengths, i):
                source = as_pointer(before + i * k * size, dtype)
                copy_elements(as_pointer(now + i * k * size, dtype), source, k)

    @kernel
    def add(count: int, some: int, total: int) -> None:
        values, sums = as_pointer(some, dtype), as_pointer(total, dtype)
        for i in range(count):
            sums[i] = sums[i] + values[i]

    @kernel
    def lstm_gates(
        table: int, n: int, k: int, a: int, before: int, c: int, kept: int, h: int
    ) -> None:
        o_at, g_at = word(table, at.O_AT), word(table, at.G_AT)
        row, adjacent = 4 * k, o_at == 2 * k
        rows = greatest(IN_CACHE // (row * size), 1)
        for i in range(0, n, rows):
            m, gates, states = least(rows, n - i), a + i * row * size, i * k * size
            sigmoid(gates, row, gates, row, m, 3 * k if adjacent else 2 * k)
            if not adjacent:
                sigmoid(gates + o_at * size, row, gates + o_at * size, row, m, k)
            tanh(gates + g_at * size, row, gates + g_at * size, row, m, k)
            lstm_state(m, k, g_at, gates, before + states, c + states)
            tanh(c + states, k, kept + states, k, m, k)
            gated(m, k, gates + o_at * size, row, kept + states, h + states)

    def steps_forward(table: int) -> None:
        cell, steps, n = word(table, at.CELL), word(table, at.STEPS), word(table, at.SAMPLES)
        d, k, width = word(table, at.INPUTS), word(table, at.STATES), word(table, at.GATES)
        a, h, c, kept = (
            word(table, at.A), word(table, at.H), word(table, at.C), word(table, at.KEPT),
        )  # fmt: skip
        a_space, b_space = word(table, at.A_SPACE), word(table, at.B_SPACE)
        wx, wx_row, wx_col = word(table, at.WX), word(table, at.WX_ROW), word(table, at.WX_COL)
        rows, panel, pack = steps * n, NR, b_space if d * width * size > DIRECT_B else 0
        if wx_col != 1 and rows > 1:
            pack_b(d, width, wx, wx_row, wx_col, b_space)
            wx, wx_row, wx_col, panel, pack = b_space, NR, 1, greatest(d, 1) * NR, 0
        layer_forward(
            rows, d, width, word(table, at.X), d, 1, wx, wx_row, wx_col, panel, pack,
            word(table, at.B), a, width, 0, 0, 0, a_space,
        )  # fmt: skip
        wh, wh_row, wh_col = word(table, at.WH), word(table, at.WH_ROW), word(table, at.WH_COL)
        packed, lengths = word(table, at.W_SPACE), word(table, at.LENGTHS)
        first = width if cell < at.GRU_BEFORE else 2 * k
        second = packed + k * round_up(first, NR) * size
        w_row, w_panel = NR, k * NR
        # A single row, or a single step, reads unpacked weights as fast: packing would be most of
        # its time (one step of one sample, 512 states: 340 us, not 90).
        if wh_col == 1 and (n == 1 or steps == 1):
            packed, second, w_row, w_panel = wh, wh + first * size, wh_row, NR
        else:
            pack_b(k, first, wh, wh_row, wh_col, packed)
            if first != width:
                pack_b(k, k, wh + first * wh_col * size, wh_row, wh_col, second)
        activation, bn = word(table, at.ACTIVATION), word(table, at.BN)
        states = n * k * size
        for t in range(steps):
            gates, before, now = a + t * n * width * size, h + t * states, h + (t + 1) * states
            gemm(
                n, first, k, before, k, 1, packed, w_row, w_panel, 0,
                gates, width, ADD, 0, a_space,
            )  # fmt: skip
            new, q = gates + first * size, kept + t * states
            if cell == at.RNN:
                if activation != 0:
                    call_address(activation, (gates, k, now, k, n, k))
            elif cell == at.LSTM:
                held = c + t * states
                lstm_gates(table, n, k, gates, held, held + states, q, now)
                if lengths != 0:
                    hold(k, n, t, lengths, held, held + states)
            else:
                sigmoid(gates, width, gates, width, n, first)
                if cell == at.GRU_BEFORE:
                    gated(n, k, gates, width, before, q)
                    gemm(n, k, k, q, k, 1, second, w_row, w_panel, 0, new, width, ADD, 0, a_space)
                else:
                    gemm(n, k, k, before, k, 1, second, w_row, w_panel, 0, q, k, 0, bn, a_space)
                    add_gated(n, k, gates, width, q, new)
                tanh(new, width, new, width, n, k)
                gru_state(n, k, gates, before, now)
            if lengths != 0:
                hold(k, n, t, lengths, before, now)

    @kernel
    def back_to_gates(table: int, t: int, i: int, m: int, following: int) -> None:
        """Turn the gradient of a step's state into that of its gates, for m samples from i on."""
        cell, n, k = word(table, at.CELL), word(table, at.SAMPLES), word(table, at.STATES)
        width, da_row, row = word(table, at.GATES), word(table, at.DA_ROW), t * n + i
        a, da = word(table, at.A) + row * width * size, word(table, at.DA) + row * da_row * size
        states, following = row * k * size, following + i * k * size
        dh, before = word(table, at.DH) + i * k * size, word(table, at.H) + states
        q = word(table, at.KEPT) + states
        if cell == at.RNN:
            activation = word(table, at.ACTIVATION)
            source, target = as_pointer(dh, dtype), as_pointer(da, dtype)
            if activation != 0:
                call_address(activation, (dh, k, a, k, da, k, m, k))
            else:
                copy_elements(target, source, m * k)
            copy_elements(source, as_pointer(following, dtype), m * k)
        elif cell == at.LSTM:
            lstm_back(
                m, k, word(table, at.O_AT), word(table, at.G_AT), a, word(table, at.C) + states, q,
                dh, word(table, at.DC) + i * k * size, following, da,
            )  # fmt: skip
        else:
            gru_back(m, k, a, before, dh, following, da, da_row, q if cell == at.GRU_AFTER else 0)

    @kernel
    def weights(table: int, first: int, second: int) -> None:
        """Sum the gradients of weights and bias over the rows of all steps."""
        cell, n, d, k = (
            word(table, at.CELL), word(table, at.SAMPLES), word(table, at.INPUTS),
            word(table, at.STATES),
        )  # fmt: skip
        rows, width, da_row = (
            word(table, at.STEPS) * n,
            word(table, at.GATES),
            word(table, at.DA_ROW),
        )
        a_space, b_space = word(table, at.A_SPACE), word(table, at.B_SPACE)
        gwx, gwh, gb, gbn = (
            word(table, at.GWX), word(table, at.GWH), word(table, at.GB), word(table, at.GBN),
        )  # fmt: skip
        before = word(table, at.H)
        reset = word(table, at.KEPT) if cell == at.GRU_BEFORE else before
        ones = scratch(1, dtype)
        ones[0] = dtype(1)
        one = address_of(ones)
        chunk = word(table, at.CHUNK)
        for i in range(0, rows, chunk):
            m, mode = least(chunk, rows - i), ADD if i > 0 else 0
            x, da = word(table, at.X) + i * d * size, word(table, at.DA) + i * da_row * size
            states = i * k * size
            if gb != 0:
                gemm(1, width, m, one, 0, 0, da, da_row, NR, 0, gb, 0, mode, 0, a_space)
            if gbn != 0:
                at_q = da + second * size
                gemm(1, k, m, one, 0, 0, at_q, da_row, NR, 0, gbn, 0, mode, 0, a_space)
            if gwx != 0:
                multiply(d, width, m, x, 1, d, da, da_row, 1, gwx, width, 1, mode, a_space, b_space)
            if gwh != 0:
                multiply(
                    k, first, m, before + states, 1, k, da, da_row, 1,
                    gwh, width, 1, mode, a_space, b_space,
                )  # fmt: skip
                if first != width:
                    multiply(
                        k, k, m, reset + states, 1, k, da + second * size, da_row, 1,
                        gwh + first * size, width, 1, mode, a_space, b_space,
                    )  # fmt: skip

    def steps_backward(table: int) -> None:
        cell, steps, n = word(table, at.CELL), word(table, at.STEPS), word(table, at.SAMPLES)
        d, k, width = word(table, at.INPUTS), word(table, at.STATES), word(table, at.GATES)
        da_row, lengths = word(table, at.DA_ROW), word(table, at.LENGTHS)
        a_space, b_space = word(table, at.A_SPACE), word(table, at.B_SPACE)
        grad_h, grad_c, zeros = (
            word(table, at.GRAD_H), word(table, at.GRAD_C), word(table, at.ZEROS),
        )  # fmt: skip
        dh, dc, part = word(table, at.DH), word(table, at.DC), word(table, at.PART)
        wh, wh_row, wh_col = word(table, at.WH), word(table, at.WH_ROW), word(table, at.WH_COL)
        packed = word(table, at.W_SPACE)
        first = width if cell < at.GRU_BEFORE else 2 * k
        second = 3 * k if cell == at.GRU_AFTER else 2 * k  # where its gradient is in a row
        other = packed + first * round_up(k, NR) * size
        pack_b(first, k, wh, wh_col, wh_row, packed)
        if first != width:
            pack_b(k, k, wh + first * wh_col * size, wh_col, wh_row, other)
        states = n * k * size
        clear(zeros, states)
        last = as_pointer(grad_h + (steps - 1) * states, dtype)
        copy_elements(as_pointer(dh, dtype), last, n * k)
        for back in range(steps):
            t = steps - 1 - back
            following = grad_h + (t - 1) * states if t > 0 else zeros
            da = word(table, at.DA) + t * n * da_row * size
            if grad_c != 0:
                add(n * k, grad_c + t * states, dc)
            if lengths == 0:
                back_to_gates(table, t, 0, n, following)
            for i in range(n if lengths != 0 else 0):
                if t < word(lengths, i):
                    back_to_gates(table, t, i, 1, following)
                else:
                    copy_zeros = as_pointer(da + i * da_row * size, dtype)
                    for j in range(da_row):
                        copy_zeros[j] = dtype(0)
                    add(k, following + i * k * size, dh + i * k * size)
            at_second = da + second * size
            if cell == at.GRU_BEFORE:
                gemm(n, k, k, at_second, da_row, 1, other, NR, k * NR, 0, part, k, 0, 0, a_space)
                gates = word(table, at.A) + t * n * width * size
                gru_reset_back(n, k, gates, word(table, at.H) + t * states, part, dh, da)
            elif cell == at.GRU_AFTER:
                gemm(n, k, k, at_second, da_row, 1, other, NR, k * NR, 0, dh, k, ADD, 0, a_space)
            gemm(n, k, first, da, da_row, 1, packed, NR, first * NR, 0, dh, k, ADD, 0, a_space)
        if word(table, at.GX) != 0:
            multiply(
                steps * n, d, width, word(table, at.DA), da_row, 1,
                word(table, at.WX), word(table, at.WX_COL), word(table, at.WX_ROW),
                word(table, at.GX), d, 1, 0, a_space, b_space,
            )  # fmt: skip
        weights(table, first, second)

    functions = {"steps_forward": steps_forward, "steps_backward": steps_backward}
    return assemble(dtype_name, {name: (STEPS, made) for name, made in functions.items()})
