"""Sums of weights: of all samples of each batch, in an order that only the batches decide."""

from __future__ import annotations

from numba import types

from fastgrad.kernels.toolchain.compile import assemble
from fastgrad.kernels.toolchain.pointers import as_pointer, least, read_word
from fastgrad.kernels.toolchain.target import BATCH_BLOCK

SUMS = types.void(*([types.intp] * 7))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of ``weight_sums``, whose weights and sums are float64 for any dtype."""
    wide = types.float64

    def weight_sums(
        weights: int, each: int, order: int, count: int, batch: int, passes: int, out: int
    ) -> None:
        """Write the sum of the weights of each batch of each pass to `out`.

        A sample has `each` weights, side by side. `order` is the address of the samples' indices,
        one row per pass, or 0 for their own order.
        """
        w, sums, step = as_pointer(weights, wide), as_pointer(out, wide), 0
        for one_pass in range(passes):
            for first in range(0, count, batch):
                end = least(first + batch, count)
                total = 0.0
                for start in range(first, end, BATCH_BLOCK):
                    part = 0.0
                    for i in range(start, least(start + BATCH_BLOCK, end)):
                        row = i
                        if order != 0:
                            row = read_word(order + 8 * (one_pass * count + i))
                        for j in range(each):
                            part += w[row * each + j]
                    total += part
                sums[step] = total
                step += 1

    return assemble(dtype_name, {"weight_sums": (SUMS, weight_sums)})
