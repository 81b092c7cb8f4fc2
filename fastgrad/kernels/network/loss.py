"""The loss of a block of samples by a detailed kernel: with weights, or a setting of the loss.

It stands in the plan's word LOSS in place of a plain kernel (`kernels.elementwise.loss`), so that
neither plan nor plain kernels know of weights. What it needs beside their arguments lies behind
the cell of the sum: see `plan.loss_terms`.
"""

from __future__ import annotations

from numba import types

from fastgrad.kernels.elementwise import loss_table as to
from fastgrad.kernels.elementwise.loss import LOSS
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.toolchain.compile import assemble
from fastgrad.kernels.toolchain.pointers import (
    address_of,
    as_pointer,
    call_address,
    scratch,
    word,
)

CALL = to.CALL


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``loss_stage`` for one dtype."""
    wide = types.float64

    def loss_stage(
        pred: int, pred_row: int, target: int, target_row: int, grad: int, grad_row: int,
        m: int, n: int, labels: int, scale_at: int, total_at: int,
    ) -> None:  # fmt: skip
        job, order, first, step = (
            word(total_at, 2), word(total_at, 3), word(total_at, 4), word(total_at, 5),
        )  # fmt: skip
        plan = word(job, at.PLAN)
        weights, divisors = word(plan, at.WEIGHTS_OF), word(plan, at.DIVISORS)
        call = scratch(CALL, types.intp)
        numbers = as_pointer(address_of(call), wide)
        call[to.PRED], call[to.PRED_ROW] = pred, pred_row
        call[to.TARGET], call[to.TARGET_ROW], call[to.LABELS] = target, target_row, labels
        call[to.GRAD], call[to.GRAD_ROW] = grad, grad_row
        call[to.ROWS], call[to.COLUMNS] = m, n
        call[to.TERMS], call[to.PROBABILITIES], call[to.ORDER] = 0, 0, 0
        call[to.SETTING] = word(plan, at.SETTING)
        each = word(plan, at.WEIGHTS_EACH)  # of a sample: 1, or one for each output
        if weights != 0:
            if order != 0:
                call[to.ORDER] = order + 8 * first
            else:
                weights += 8 * first * each
        call[to.WEIGHTS], call[to.WEIGHTS_ROW] = weights, each
        call[to.WEIGHTS_COL] = 1 if each > 1 else 0
        numbers[to.BY] = as_pointer(total_at, wide)[1]
        if divisors != 0:
            numbers[to.BY] = as_pointer(divisors, wide)[step]
        numbers[to.TOTAL] = 0.0
        call_address(word(plan, at.TERMS_OF_LOSS), (address_of(call),))
        as_pointer(total_at, wide)[0] += numbers[to.TOTAL]

    return assemble(dtype_name, {"loss_stage": (LOSS, loss_stage)})
