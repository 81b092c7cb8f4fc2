"""Entry point of a gradient: arrays in, a job for `plan`, value and gradient out."""

from __future__ import annotations

import math
from typing import Any

from numba import types

from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    are_classes,
    arguments,
    array_type,
    data,
    decrement,
    dimensions,
    disjoint,
    float_new,
    increment,
    matrix,
    new_array_like,
    none,
    not_taken,
    receives,
    release_gil,
    same_shape,
    tuple_new,
    tuple_set,
    type_of,
)
from fastgrad.kernels.elementwise.loss import divisor, target_check
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network.blocks import FIRST, ROW
from fastgrad.kernels.network.plan import WORK
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import address_of, as_pointer, round_up, scratch, word
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

JOB = at.JOB


def job_opener(dtype_name: str) -> Any:
    """Return a kernel that describes one pass over all samples of an array."""
    dtype, wide = getattr(types, dtype_name), types.float64
    size = dtype.bitwidth // 8

    @kernel
    def open_job(words: int, params: int, x_object: int, plan: int, job_at: int) -> int:
        """Fill in a job for all samples of x; return their number, 0 for `not_taken`."""
        ok, p, _, parameters, _, step = matrix(params, words, size, 0)
        whole = dimensions(params) == 1 and step == 1 and parameters == word(plan, at.SIZE)
        if not (ok and whole):
            return 0
        ok, x, n, d, x_row, x_col = matrix(x_object, words, size, word(plan, at.COLUMNS))
        if not ok or d != word(plan + FIRST, at.INPUTS) or n >= word(plan, at.MOST):
            return 0
        job = as_pointer(job_at, types.intp)
        job[at.PLAN], job[at.PARAMS], job[at.UPDATE], job[at.ORDER] = plan, p, 0, 0
        job[at.X_AT], job[at.X_ROW], job[at.X_COL] = x, x_row, x_col
        job[at.COUNT], job[at.BATCH], job[at.SHARED] = n, n, 0
        job[at.STOP] = (n + BATCH_BLOCK - 1) // BATCH_BLOCK
        job[at.PASS], job[at.PASS_TERMS] = job[at.STOP], 0
        job[at.NEXT], job[at.COMMITTED], job[at.STEPS] = 0, 0, 0
        job[at.AT_END], job[at.DROPS] = word(plan, at.END_BATCH), 0
        numbers = as_pointer(job_at, wide)
        numbers[at.ALL_TERMS], numbers[at.CLIP] = 0.0, math.inf
        return n

    return open_job


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``network_value_and_grad`` for one dtype."""
    dtype, wide = getattr(types, dtype_name), types.float64
    size = dtype.bitwidth // 8
    work = external("plan_work", dtype_name, WORK)
    open_job = job_opener(dtype_name)
    probabilities = target_check(dtype_name)

    def network_value_and_grad(self: int, args: int, count: int) -> int:
        """(params, x, target, grad, plan, workspace) -> (value, grad).

        `target` is an array like the prediction, a vector of classes, or None for losses of one
        array; `grad` is an array or None for a new one.
        """
        words = data(self)
        nothing = none(words)
        params, x_object, target, given, plan_object, space = arguments(args, 6)
        plan = data(plan_object)
        columns = word(plan, at.COLUMNS)
        k = word(plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW, at.OUTPUTS)
        job = scratch(JOB, types.intp)
        n = open_job(words, params, x_object, plan, address_of(job))
        if n == 0:
            return not_taken(words)
        parameters = word(plan, at.SIZE)
        job[at.T_AT], job[at.T_ROW], job[at.T_COL], job[at.LABELS] = 0, 0, 1, 0
        one_array = word(plan, at.ONE_ARRAY) != 0
        if one_array != (target == nothing):
            return not_taken(words)
        if target != nothing:
            if type_of(target) != array_type(words):
                return not_taken(words)
            ok, t, t_n, t_k, t_row, t_col = matrix(target, words, size, columns)
            if ok:
                if t_n != n or t_k != k or dimensions(target) != dimensions(x_object):
                    return not_taken(words)
                if word(plan, at.PROBABILITIES) and not probabilities(t, t_row, t_col, n, k):
                    return not_taken(words)
            else:
                if word(plan, at.PER_SAMPLE) == 0 or dimensions(target) != 1:
                    return not_taken(words)
                if dimensions(x_object) != 2 or not are_classes(target, words, n, k):
                    return not_taken(words)
                t = data(target)
                job[at.LABELS] = 1
            job[at.T_AT], job[at.T_ROW], job[at.T_COL] = t, t_row, t_col
        grad = given
        if given == nothing:
            grad = new_array_like(words, params, 0)
            if grad == 0:
                return 0
        else:
            if not receives(given, words) or not same_shape(given, params):
                return not_taken(words)
            for other in (params, x_object):
                if not disjoint(given, other, words, size):
                    return not_taken(words)
            if not disjoint(given, target, words, 8 if job[at.LABELS] else size):
                return not_taken(words)
            increment(given)
        job[at.GRADIENT], job[at.OUT] = data(grad), 0
        at_space = round_up(data(space), 64)
        job[at.WEIGHTS_AT] = at_space + word(plan, at.WEIGHTS)
        state = release_gil() if parameters * n >= RELEASE_FROM // 4 else 0
        work(address_of(job), at_space)
        if state != 0:
            acquire_gil(state)
        terms = as_pointer(address_of(job), wide)[at.ALL_TERMS]
        value = float_new(
            terms / divisor(word(plan, at.REDUCTION), word(plan, at.PER_SAMPLE), n, k)
        )
        pair = tuple_new(2)
        if value == 0 or pair == 0:
            for made in (grad, value, pair):  # Py_DecRef accepts a null pointer, too
                decrement(made)
            return 0
        tuple_set(pair, 0, value)
        tuple_set(pair, 1, grad)
        return pair

    functions = {"network_value_and_grad": (ENTRY, network_value_and_grad)}
    return assemble(dtype_name, functions)
