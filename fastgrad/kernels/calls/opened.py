"""Entry points of a network that is opened: forward with a tape, and backward from it."""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.calls import mark as marks
from fastgrad.kernels.calls.network import job_opener
from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    arguments,
    array_maker,
    array_type,
    as_integer,
    data,
    decrement,
    dimensions,
    disjoint,
    flags_of,
    float_new,
    float_type,
    float_value,
    increment,
    instance_new,
    make_array,
    matrix,
    native,
    new_array_like,
    new_outputs,
    none,
    not_taken,
    receives,
    release_gil,
    same_shape,
    shape_of,
    tuple_new,
    tuple_set,
    type_number,
    type_of,
)
from fastgrad.kernels.flags import ADD_GRADIENT, ADD_INPUTS, WANT_GRADIENT, WANT_INPUTS
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network import tape_table as kept
from fastgrad.kernels.network.blocks import FIRST, ROW
from fastgrad.kernels.network.plan import WORK
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.headers import C_ORDER
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    read_word,
    round_up,
    scratch,
    word,
)

JOB = kept.JOB


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the three entry points for one dtype."""
    size = getattr(types, dtype_name).bitwidth // 8
    tape_forward = external("tape_forward", dtype_name, WORK)
    tape_backward = external("tape_backward", dtype_name, WORK)
    open_job = job_opener(dtype_name)
    mark: Any = marks.build_strided(dtype_name)

    @kernel
    def mark_params(params: int) -> float:
        """Return the number that tells whether the flat vector has changed."""
        return mark(data(params), 0, 1, 1, read_word(shape_of(params)))

    @kernel
    def changed(known: int, words: int, found: float) -> bool:
        """Return whether a mark in a tape, a float, is another."""
        if type_of(known) != float_type(words):
            return True
        return float_value(known) != found

    @kernel
    def outputs(plan: int) -> int:
        """Return the width of the last layer."""
        return word(plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW, at.OUTPUTS)

    def network_forward(self: int, args: int, count: int) -> int:
        """(params, x, out or None, plan, workspace, places, kind, network) -> (y, tape).

        The tape is ``kind(params, x, kept, mark of params, mark of x, network, None)``.
        """
        words = data(self)
        nothing = none(words)
        params, x, given, plan_object, space, places, kind, network = arguments(args, 8)
        plan = data(plan_object)
        columns, k = word(plan, at.COLUMNS), outputs(plan)
        job = scratch(JOB, types.intp)
        n = open_job(words, params, x, plan, address_of(job))
        if n == 0:
            return not_taken(words)
        y = given
        if given == nothing:
            y = new_outputs(words, x, k, columns)
            if y == 0:
                return 0
        else:
            if not receives(given, words) or dimensions(given) != dimensions(x):
                return not_taken(words)
            _, _, y_n, y_k, row, col = matrix(given, words, size, columns)
            if y_n != n or y_k != k or col != 1 or (row != k and n > 1):
                return not_taken(words)
            for other in (params, x):
                if not disjoint(given, other, words, size):
                    return not_taken(words)
            increment(given)
        shape = scratch(1, types.intp)
        shape[0] = n * word(data(places), kept.WHOLE)
        tape = make_array(
            array_maker(words), array_type(words), type_number(words), 1, address_of(shape), 0
        )
        made, pair = instance_new(kind, 7), tuple_new(2)
        d = word(plan + FIRST, at.INPUTS)
        of_params = float_new(mark_params(params))
        of_x = float_new(mark(job[at.X_AT], job[at.X_ROW], job[at.X_COL], n, d))
        if tape == 0 or made == 0 or pair == 0 or of_params == 0 or of_x == 0:
            for item in (y, tape, made, pair, of_params, of_x):
                decrement(item)  # Py_DecRef accepts a null pointer, too
            return 0
        job[at.GRADIENT], job[at.OUT] = 0, data(y)
        job[kept.TAPE], job[kept.PLACES] = data(tape), data(places)
        at_space = round_up(data(space), 64)
        job[at.WEIGHTS_AT] = at_space + word(plan, at.WEIGHTS)
        for item in (params, x, network, nothing):
            increment(item)
        fields = (params, x, tape, of_params, of_x, network, nothing)
        for i in range(7):
            tuple_set(made, i, fields[i])
        state = release_gil() if word(plan, at.SIZE) * n >= RELEASE_FROM else 0
        tape_forward(address_of(job), at_space)
        if state != 0:
            acquire_gil(state)
        tuple_set(pair, 0, y)
        tuple_set(pair, 1, made)
        return pair

    @kernel
    def gradient_of(like: int, given: int, wanted: int, words: int, fortran: int) -> int:
        """Return a new reference to the array of one gradient: None if it is not wanted."""
        if not wanted:
            increment(none(words))
            return none(words)
        if given == none(words):
            return new_array_like(words, like, fortran)
        increment(given)
        return given

    def network_backward(self: int, args: int, count: int) -> int:
        """(grad_y, params, x, kept, marks, into_params, into_x, what, plan, space, places, kind).

        The marks are two arguments. `what` is a sum of WANT_GRADIENT, WANT_INPUTS, ADD_GRADIENT and
        ADD_INPUTS. Each `into` may be None, for a new array. Returns ``kind(grad, grad_x)``.
        """
        words = data(self)
        nothing = none(words)
        (
            g_object, params, x, tape, known, known_x, into, into_x, what_object, plan_object,
            space, places, kind,
        ) = arguments(args, 13)  # fmt: skip
        plan, what = data(plan_object), as_integer(what_object)
        columns, k = word(plan, at.COLUMNS), outputs(plan)
        job = scratch(JOB, types.intp)
        n = open_job(words, params, x, plan, address_of(job))
        if n == 0:
            return not_taken(words)
        ok, g, g_n, g_k, g_row, g_col = matrix(g_object, words, size, columns)
        if not ok or g_n != n or g_k != k or dimensions(g_object) != dimensions(x):
            return not_taken(words)
        # A tape is a tuple, and may hold anything.
        if not native(tape, words) or flags_of(tape) & C_ORDER == 0 or dimensions(tape) != 1:
            return not_taken(words)
        if read_word(shape_of(tape)) != n * word(data(places), kept.WHOLE):
            return not_taken(words)
        d = word(plan + FIRST, at.INPUTS)
        if changed(known, words, mark_params(params)):
            return not_taken(words)
        if what & WANT_GRADIENT and changed(
            known_x, words, mark(job[at.X_AT], job[at.X_ROW], job[at.X_COL], n, d)
        ):
            return not_taken(words)
        if what & WANT_GRADIENT and into != nothing:
            if not receives(into, words) or not same_shape(into, params):
                return not_taken(words)
            for other in (g_object, params, x, tape):
                if not disjoint(into, other, words, size):
                    return not_taken(words)
        if what & WANT_INPUTS and into_x != nothing:
            if not receives(into_x, words) or not same_shape(into_x, x):
                return not_taken(words)
            _, _, _, _, row, col = matrix(into_x, words, size, columns)
            if (col != 1 and d > 1) or (row != d and n > 1):
                return not_taken(words)
            for other in (g_object, params, x, tape):
                if not disjoint(into_x, other, words, size):
                    return not_taken(words)
            if what & WANT_GRADIENT and into != nothing and not disjoint(into_x, into, words, size):
                return not_taken(words)
        grad = gradient_of(params, into, what & WANT_GRADIENT, words, 0)
        grad_x = gradient_of(x, into_x, what & WANT_INPUTS, words, columns)
        made = instance_new(kind, 2)
        if grad == 0 or grad_x == 0 or made == 0:
            for item in (grad, grad_x, made):
                decrement(item)
            return 0
        job[at.OUT], job[at.GRADIENT], job[kept.INTO_X] = 0, 0, 0
        if grad != nothing:
            job[at.GRADIENT] = data(grad)
        if grad_x != nothing:
            job[kept.INTO_X] = data(grad_x)
        job[kept.ADD_GRADIENT] = what & ADD_GRADIENT and into != nothing
        job[kept.ADD_X] = what & ADD_INPUTS and into_x != nothing
        job[kept.TAPE], job[kept.PLACES] = data(tape), data(places)
        job[at.T_AT], job[at.T_ROW], job[at.T_COL] = g, g_row, g_col
        at_space = round_up(data(space), 64)
        job[at.WEIGHTS_AT] = at_space + word(plan, at.WEIGHTS)
        state = release_gil() if word(plan, at.SIZE) * n >= RELEASE_FROM // 2 else 0
        tape_backward(address_of(job), at_space)
        if state != 0:
            acquire_gil(state)
        tuple_set(made, 0, grad)
        tuple_set(made, 1, grad_x)
        return made

    def network_marks(self: int, args: int, count: int) -> int:
        """(params, x, plan) -> a tuple of the marks of both, native arrays that fit."""
        words = data(self)
        params, x_object, plan_object = arguments(args, 3)
        ok, x, n, d, row, col = matrix(x_object, words, size, word(data(plan_object), at.COLUMNS))
        if not ok or not native(params, words) or dimensions(params) != 1:
            return not_taken(words)
        pair, first = tuple_new(2), float_new(mark_params(params))
        second = float_new(mark(x, row, col, n, d))
        if pair == 0 or first == 0 or second == 0:
            for item in (pair, first, second):
                decrement(item)
            return 0
        tuple_set(pair, 0, first)
        tuple_set(pair, 1, second)
        return pair

    return assemble(
        dtype_name,
        {
            "network_forward": (ENTRY, network_forward),
            "network_backward": (ENTRY, network_backward),
            "network_marks": (ENTRY, network_marks),
        },
    )
