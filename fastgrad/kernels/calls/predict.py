"""Entry point of prediction, which training and gradients do without: a unit of its own."""

from __future__ import annotations

from numba import types

from fastgrad.kernels.calls.network import job_opener
from fastgrad.kernels.calls.pyobject import (
    ENTRY,
    RELEASE_FROM,
    acquire_gil,
    arguments,
    data,
    dimensions,
    disjoint,
    increment,
    matrix,
    new_outputs,
    none,
    not_taken,
    receives,
    release_gil,
)
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network.blocks import FIRST, ROW
from fastgrad.kernels.network.plan import WORK
from fastgrad.kernels.toolchain.compile import assemble, external
from fastgrad.kernels.toolchain.pointers import address_of, round_up, scratch, word

JOB = at.JOB


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``network_predict`` for one dtype."""
    size = getattr(types, dtype_name).bitwidth // 8
    work = external("plan_work", dtype_name, WORK)
    open_job = job_opener(dtype_name)

    def network_predict(self: int, args: int, count: int) -> int:
        """(params, x, out or None, plan, workspace) -> the last layer's output."""
        words = data(self)
        params, x_object, given, plan_object, space = arguments(args, 5)
        plan = data(plan_object)
        columns = word(plan, at.COLUMNS)
        k = word(plan + FIRST + (word(plan, at.LAYERS) - 1) * ROW, at.OUTPUTS)
        job = scratch(JOB, types.intp)
        n = open_job(words, params, x_object, plan, address_of(job))
        if n == 0:
            return not_taken(words)
        y = given
        if given == none(words):
            y = new_outputs(words, x_object, k, columns)
            if y == 0:
                return 0
        else:
            if not receives(given, words) or dimensions(given) != dimensions(x_object):
                return not_taken(words)
            _, _, y_n, y_k, row, col = matrix(given, words, size, columns)
            if y_n != n or y_k != k or col != 1 or (row != k and n > 1):
                return not_taken(words)
            for other in (params, x_object):
                if not disjoint(given, other, words, size):
                    return not_taken(words)
            increment(given)
        job[at.GRADIENT], job[at.OUT] = 0, data(y)
        at_space = round_up(data(space), 64)
        job[at.WEIGHTS_AT] = at_space + word(plan, at.WEIGHTS)
        state = release_gil() if word(plan, at.SIZE) * n >= RELEASE_FROM else 0
        work(address_of(job), at_space)
        if state != 0:
            acquire_gil(state)
        return y

    return assemble(dtype_name, {"network_predict": (ENTRY, network_predict)})
