"""The entry point that runs one loss kernel over whole arrays, as `apply` does for activations.

Terms are added row by row, whatever the arrays' strides: rows that are not contiguous are gathered,
some at a time.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls.apply import one_piece, row_views
from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    are_classes,
    arguments,
    array_type,
    as_integer,
    data,
    decrement,
    dimensions,
    disjoint,
    flags_of,
    float_new,
    free,
    malloc,
    native,
    no_memory,
    none,
    not_taken,
    release_gil,
    same_shape,
    shape_of,
    tuple_new,
    tuple_set,
    type_of,
)
from fastgrad.kernels.elementwise.loss import divisor, target_check
from fastgrad.kernels.elementwise.rows import CHUNK
from fastgrad.kernels.flags import COLUMNS, PER_SAMPLE, PROBABILITIES, UNCHECKED, WANT_GRAD
from fastgrad.kernels.product import gather as gathering
from fastgrad.kernels.toolchain.compile import assemble, kernel
from fastgrad.kernels.toolchain.headers import C_ORDER
from fastgrad.kernels.toolchain.pointers import address_of, call_address, least, read_word, scratch
from fastgrad.kernels.toolchain.target import ACTIVATION_COST


@kernel
def one_per_row(target: int, pred: int, columns: int) -> bool:
    """Return whether a target has the shape of pred without the axis along a row."""
    axes = dimensions(target)
    if axes != dimensions(pred) - 1:
        return False
    skipped = 1 if columns else 0
    for i in range(axes):
        if read_word(shape_of(target) + 8 * i) != read_word(shape_of(pred) + 8 * (skipped + i)):
            return False
    return True


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``apply_loss`` for one dtype."""
    wide: Any = types.float64
    size = getattr(types, dtype_name).bitwidth // 8
    rows_of, result, writable = row_views(dtype_name)
    gather, rows_at_once, room = gathering.build(dtype_name)
    probabilities = target_check(dtype_name)

    @kernel
    def gathered(
        pred: int, p_row: int, p_col: int, target: int, t_row: int, t_col: int, labels: int,
        grad: int, m: int, n: int, address: int, cells: int,
    ) -> bool:  # fmt: skip
        """Run a loss on rows gathered from pred and target; return False where memory ran out."""
        multiple = CHUNK  # whole chunks, as for a contiguous array: the same sums
        while multiple > 1 and multiple // 2 * n % CHUNK == 0:
            multiple //= 2
        most = rows_at_once(m, n, multiple)
        bytes_each = room(most, n)
        space = malloc(2 * bytes_each)
        if space == 0:
            return False
        for start in range(0, m, most):
            rows = least(most, m - start)
            gather(pred + start * p_row * size, p_row, p_col, rows, n, space)
            at = 0
            if labels:
                at = target + start * 8
            elif target != 0:
                at = space + bytes_each
                gather(target + start * t_row * size, t_row, t_col, rows, n, at)
            to = grad + start * n * size if grad != 0 else 0
            call_address(address, (space, n, at, n, to, n, rows, n, labels, cells, cells + 8))
        free(space)
        return True

    def apply_loss(self: int, args: int, count: int) -> int:
        """(pred, target or None, grad or None, kernel address, reduction, flags) -> the loss.

        The target is an array like pred, or an int64 class per sample. The flags are COLUMNS,
        UNCHECKED (for a user's `grad`), PER_SAMPLE (one term per sample), PROBABILITIES (the target
        must hold only these) and WANT_GRAD (the result is then (loss, grad)).
        """
        words = data(self)
        nothing = none(words)
        pred, target, given, address, code, flags_object = arguments(args, 6)
        flags = as_integer(flags_object)
        if not native(pred, words) or dimensions(pred) == 0:
            return not_taken(words)
        if dimensions(pred) == 1:
            flags &= ~COLUMNS
        columns = flags & COLUMNS
        order = one_piece(flags_of(pred), flags)
        ok, p_at, m, n, p_row, p_col = rows_of(pred, words, order, columns)
        if not ok or m * n == 0:
            return not_taken(words)
        t_at, t_row, t_col, labels = 0, n, 1, 0
        if target != nothing:
            if type_of(target) != array_type(words):
                return not_taken(words)
            if flags & PER_SAMPLE and one_per_row(target, pred, columns):
                if not are_classes(target, words, m, n):
                    return not_taken(words)
                t_at, labels = data(target), 1
            else:
                if not native(target, words) or not same_shape(pred, target):
                    return not_taken(words)
                order = one_piece(flags_of(target), flags)
                ok, t_at, _, _, t_row, t_col = rows_of(target, words, order, columns)
                if not ok:
                    return not_taken(words)
                if flags & PROBABILITIES and not probabilities(t_at, t_row, t_col, m, n):
                    return not_taken(words)
        if flags & UNCHECKED:
            if not writable(given, pred, nothing if labels else target, words):
                return not_taken(words)
            if labels and not disjoint(given, target, words, 8):
                return not_taken(words)
        grad, g_at = 0, 0
        if flags & WANT_GRAD:
            order = 0 if columns else C_ORDER  # either way its rows follow each other
            grad, g_at, _ = result(given, pred, words, order, columns)
            if grad == 0 or grad == nothing:
                return grad
        cells = scratch(2, wide)
        by = divisor(as_integer(code), flags & PER_SAMPLE, m, n)
        cells[0] = 1.0 / by
        cells[1] = 0.0
        state = release_gil() if m * n >= RELEASE_FROM // ACTIVATION_COST else 0
        kernel_at, cells_at, done = as_integer(address), address_of(cells), True
        if p_col == 1 and t_col == 1 and (m == 1 or (p_row == n and t_row == n)):
            call_address(
                kernel_at, (p_at, n, t_at, n, g_at, n, m, n, labels, cells_at, cells_at + 8)
            )
        else:
            done = gathered(
                p_at, p_row, p_col, t_at, t_row, t_col, labels, g_at, m, n, kernel_at, cells_at
            )
        if state != 0:
            acquire_gil(state)
        value = pair = 0
        if done:
            value = float_new(cells[1] / by)
            if flags & WANT_GRAD == 0:
                return value
            pair = tuple_new(2)
        if value == 0 or pair == 0:
            for made in (grad, value, pair):  # Py_DecRef accepts a null pointer, too
                decrement(made)
            return 0 if done else no_memory()
        tuple_set(pair, 0, value)
        tuple_set(pair, 1, grad)
        return pair

    return assemble(dtype_name, {"apply_loss": (ENTRY, apply_loss)})
