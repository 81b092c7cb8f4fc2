"""The entry points of one dense layer: arrays in, `dense_blocks` on their memory, arrays out.

The column layout is the row layout on transposed views (`pyobject.matrix`). The caller keeps what
backward needs: y, or act'(z) if that is not a function of y.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.calls import mark as marking
from fastgrad.kernels.calls.dense_blocks import BACKWARD, passes
from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    arguments,
    array_type,
    as_integer,
    data,
    decrement,
    dimensions,
    disjoint,
    extent,
    flags_of,
    float_new,
    float_type,
    float_value,
    increment,
    instance_new,
    matrix,
    new_array_like,
    new_outputs,
    no_memory,
    none,
    not_taken,
    receives,
    record_type,
    release_gil,
    same_batch,
    same_shape,
    sample_rows,
    share_from,
    too_large,
    true,
    tuple_new,
    tuple_set,
    type_of,
)
from fastgrad.kernels.flags import (
    ACCUMULATE,
    ADD_X,
    COLUMNS,
    PIECE,
    UNCHECKED,
    WANT_B,
    WANT_W,
    WANT_X,
    WANT_Z,
)
from fastgrad.kernels.product.microkernel import ADD
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import C_ORDER
from fastgrad.kernels.toolchain.pointers import clear, read_word
from fastgrad.kernels.toolchain.target import ACTIVATION_COST, PRODUCTS


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``dense_forward`` and ``dense_backward`` for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    forward, backward = passes(dtype_name)
    mark = marking.build(dtype_name)

    @kernel
    def pair(first: int, second: int) -> int:
        """Return a tuple that owns both references; 0, and it owns neither, if memory ran out."""
        made = tuple_new(2)
        if made == 0:
            decrement(first)
            decrement(second)
            return 0
        tuple_set(made, 0, first)
        tuple_set(made, 1, second)
        return made

    @kernel
    def result(
        like: int, given: int, wanted: bool, cleared: int, words: int, columns: int
    ) -> tuple[int, int, int, int]:
        """Return (array, data, row, col) of one gradient: `given`, or new and laid out as `like`.

        The array is a new reference: None if it is not wanted, 0 if memory ran out. A new one may
        be `cleared`, so that it can be added to.
        """
        nothing = none(words)
        if not wanted:
            increment(nothing)
            return nothing, 0, 0, 0
        array = given
        if given != nothing:
            increment(array)
        else:
            _, _, _, _, row, col = sample_rows(like, words, size, 0)
            array = new_array_like(words, like, 1 if 1 == row < col else 0)
            if array == 0:
                return 0, 0, 0, 0
            if cleared:
                m, n = extent(array)
                clear(data(array), m * n * size)
        _, at, _, _, row, col = sample_rows(array, words, size, columns)
        return array, at, row, col

    def dense_forward(self: int, args: int, count: int) -> int:
        """(x, w, b, y, z, record, flags, kind, layer) -> y, (y, z) or (y, cache).

        The flags are COLUMNS, UNCHECKED and PIECE.
        b may be None; y may be None and is then a new array. z is an array to fill, True for a new
        one, or False for none; afterwards it holds what `record` keeps for the backward pass.
        Unless the class `kind` is None, ``cache = kind(x, w, b, z or y, layer, None, mark)``: this
        takes 0.05 us here, 0.2 us in Python.
        """
        words = data(self)
        nothing = none(words)
        (
            x_object, w_object, b_object, y_object, z_given, record, flags_object, kind, layer,
        ) = arguments(args, 9)  # fmt: skip
        flags = as_integer(flags_object)
        columns = flags & COLUMNS
        ok, x, n, d, x_row, x_col = sample_rows(x_object, words, size, columns)
        w_ok, w, w_d, k, w_row, w_col = matrix(w_object, words, size, columns)
        if not (ok and w_ok and d == w_d and dimensions(w_object) == 2):
            return not_taken(words)
        if type_of(record) != record_type(words):
            return not_taken(words)
        bias, bias_step = 0, 1
        if b_object != nothing:
            ok, bias, b_rows, b_k, _, bias_step = matrix(b_object, words, size, columns)
            if not (ok and b_rows == 1 and b_k == k):
                return not_taken(words)
        if flags & UNCHECKED:
            if not receives(y_object, words) or not same_batch(y_object, x_object):
                return not_taken(words)
            ok, _, y_n, y_k, _, y_col = sample_rows(y_object, words, size, columns)
            if not (ok and y_n == n and y_k == k and y_col == 1):
                return not_taken(words)
            for other in (x_object, w_object, b_object):
                if not disjoint(y_object, other, words, size):
                    return not_taken(words)
        if n * k * (d + ACTIVATION_COST) >= share_from(words):
            return too_large(words)
        if y_object == nothing:
            y_object = new_outputs(words, x_object, k, columns)
            if y_object == 0:
                return 0
        else:
            increment(y_object)
        _, y, _, _, y_row, _ = sample_rows(y_object, words, size, columns)
        z_object, z, z_row = 0, 0, 0
        if z_given == true(words):
            z_object = new_outputs(words, x_object, k, columns)
            if z_object == 0:
                decrement(y_object)
                return 0
            _, z, _, _, z_row, _ = sample_rows(z_object, words, size, columns)
        elif type_of(z_given) == array_type(words):
            _, z, _, _, z_row, _ = sample_rows(z_given, words, size, columns)
        state = release_gil() if n * k * (d + ACTIVATION_COST) >= RELEASE_FROM else 0
        done = forward(
            n if k != 0 else 0, d, k, x, x_row, x_col, w, w_row, w_col, bias, bias_step,
            y, y_row, z, z_row, data(record), k == 1 and flags & PIECE == 0,
        )  # fmt: skip
        if state != 0:
            acquire_gil(state)
        if not done:
            decrement(y_object)
            decrement(z_object)  # Py_DecRef accepts a null pointer, too
            return no_memory()
        if kind == nothing:
            return y_object if z_object == 0 else pair(y_object, z_object)
        cache, known = instance_new(kind, 7), nothing
        if z_object != 0 or read_word(data(record) + BACKWARD) == 0:
            increment(nothing)  # backward does not read y
        else:
            known = float_new(mark(y, y_row, n, k))
        if cache == 0 or known == 0:
            for made in (cache, known, y_object, z_object):
                decrement(made)
            return 0
        tuple_set(cache, 6, known)
        if z_object == 0:
            z_object = y_object
            increment(y_object)
        tuple_set(cache, 3, z_object)
        fields = (x_object, w_object, b_object, nothing, layer, nothing)
        for i in range(6):
            if i != 3:
                increment(fields[i])
                tuple_set(cache, i, fields[i])
        return pair(y_object, cache)

    def dense_backward(self: int, args: int, count: int) -> int:
        """(grad_y, x, w, b, saved, record, wanted, flags, kind, gx .. gz, mark) -> gradients.

        `wanted` is a sum of WANT_*, ACCUMULATE and ADD_X, `flags` is COLUMNS + UNCHECKED; gx .. gz
        may be None (made where wanted), and so may b. A gradient that is accumulated but was not
        given starts from zeros. `mark` may be None or left out: then `saved` is not checked.
        Returns ``kind(gx, gw, gb, gz)``, or a plain tuple.
        """
        words = data(self)
        nothing = none(words)
        (
            g_object, x_object, w_object, b_object, saved_object, record,
            wanted_object, flags_object, kind, gx_given, gw_given, gb_given, gz_given,
        ) = arguments(args, 13)  # fmt: skip
        wanted, flags = as_integer(wanted_object), as_integer(flags_object)
        columns = flags & COLUMNS
        g_ok, g, n, k, g_row, g_col = sample_rows(g_object, words, size, columns)
        ok, x, x_n, d, x_row, x_col = sample_rows(x_object, words, size, columns)
        w_ok, w, w_d, w_k, w_row, w_col = matrix(w_object, words, size, columns)
        if not (g_ok and ok and w_ok and n == x_n and d == w_d and k == w_k):
            return not_taken(words)
        if not same_batch(g_object, x_object) or dimensions(w_object) != 2:
            return not_taken(words)
        if type_of(record) != record_type(words):  # of a cache, whose fields may be anything
            return not_taken(words)
        large = n * k * (2 * d + ACTIVATION_COST) >= share_from(words)
        add_x = wanted & WANT_X and wanted & ADD_X and gx_given != nothing
        # Only a sum of one block can be added at once.
        if add_x and (k > PRODUCTS or large):
            return not_taken(words)
        saved, saved_row, linear = 0, 0, read_word(data(record) + BACKWARD) == 0
        if large or not linear:
            ok, saved, s_n, s_k, saved_row, s_col = sample_rows(saved_object, words, size, columns)
            if not (ok and s_n == n and s_k == k and s_col == 1):
                return not_taken(words)
            known = nothing if count == 13 or linear else read_word(args + 8 * 13)
            if known != nothing:
                if type_of(known) != float_type(words):
                    return not_taken(words)
                if float_value(known) != mark(saved, saved_row, n, k):
                    return not_taken(words)
        want_b = wanted & WANT_B != 0 and b_object != nothing
        if want_b or (large and b_object != nothing):  # grad_b is made like b
            ok, _, b_rows, b_k, _, _ = matrix(b_object, words, size, columns)
            if not (ok and b_rows == 1 and b_k == k):
                return not_taken(words)
        if flags & UNCHECKED:
            for other in (b_object, saved_object):  # not checked so far, if not needed
                if other != nothing and type_of(other) != array_type(words):
                    return not_taken(words)
            if wanted & WANT_X == 0:
                gx_given = nothing
            if wanted & WANT_W == 0:
                gw_given = nothing
            if not want_b:
                gb_given = nothing
            if wanted & WANT_Z == 0:
                gz_given = nothing
            if gz_given != nothing and wanted & ACCUMULATE:
                return not_taken(words)
            outs = (gx_given, gw_given, gb_given, gz_given)
            likes = (x_object, w_object, b_object, g_object)
            for i in range(4):
                out = outs[i]
                if out == nothing:
                    continue
                if not receives(out, words) or not same_shape(out, likes[i]):
                    return not_taken(words)
                if dimensions(out) > 2 and flags_of(out) & C_ORDER == 0:
                    return not_taken(words)
                for other in (g_object, x_object, w_object, b_object, saved_object):
                    if not disjoint(out, other, words, size):
                        return not_taken(words)
                for j in range(i):
                    if not disjoint(out, outs[j], words, size):
                        return not_taken(words)
            if gz_given != nothing:
                _, _, _, _, _, gz_col = sample_rows(gz_given, words, size, columns)
                if gz_col != 1:
                    return not_taken(words)
        if large:
            return too_large(words)
        accumulate = wanted & ACCUMULATE
        gx_object, gx, gx_row, gx_col = result(
            x_object, gx_given, wanted & WANT_X != 0, 0, words, columns
        )
        gw_object, gw, gw_row, gw_col = result(
            w_object, gw_given, wanted & WANT_W != 0, accumulate, words, columns
        )
        gb_object, gb, _, _ = result(b_object, gb_given, want_b, accumulate, words, columns)
        gz_object, gz, gz_row = nothing, 0, 0
        if wanted & WANT_Z:
            gz_object = gz_given
            if gz_object != nothing:
                increment(gz_object)
            else:
                gz_object = new_outputs(words, x_object, k, columns)
            if gz_object != 0:
                _, gz, _, _, gz_row, _ = sample_rows(gz_object, words, size, columns)
        else:
            increment(nothing)
        grads = tuple_new(4) if kind == nothing else instance_new(kind, 4)
        if gx_object == 0 or gw_object == 0 or gb_object == 0 or gz_object == 0 or grads == 0:
            for made in (gx_object, gw_object, gb_object, gz_object, grads):
                decrement(made)
            return 0
        tuple_set(grads, 0, gx_object)
        tuple_set(grads, 1, gw_object)
        tuple_set(grads, 2, gb_object)
        tuple_set(grads, 3, gz_object)
        if k == 0 and (gx == 0 or d == 0):  # nothing to write, for however many samples
            n = 0
        state = release_gil() if n * k * (2 * d + ACTIVATION_COST) >= RELEASE_FROM else 0
        done = backward(
            n, d, k, g, g_row, g_col, x, x_row, x_col, w, w_row, w_col,
            saved, saved_row, data(record),
            gx, gx_row, gx_col, gw, gw_row, gw_col, gb, gz, gz_row, accumulate,
            ADD if add_x else 0,
        )  # fmt: skip
        if state != 0:
            acquire_gil(state)
        if not done:
            decrement(grads)
            return no_memory()
        return grads

    def dense_mark(self: int, args: int, count: int) -> int:
        """(saved, flags) -> the mark of a cache that holds `saved`, see `mark`."""
        words = data(self)
        y_object, flags_object = arguments(args, 2)
        columns = as_integer(flags_object) & COLUMNS
        ok, y, n, k, y_row, y_col = sample_rows(y_object, words, size, columns)
        if not (ok and y_col == 1):
            return not_taken(words)
        return float_new(mark(y, y_row, n, k))

    return assemble(
        dtype_name,
        {
            "dense_forward": (ENTRY, dense_forward),
            "dense_backward": (ENTRY, dense_backward),
            "dense_mark": (ENTRY, dense_mark),
        },
    )
