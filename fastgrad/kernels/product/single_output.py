"""A layer of a single output, ``y = x @ w + b`` for one column w, at the speed of memory.

Its sums are not those of the register tile: see `dot` for their order. Samples that are contiguous
rows are dot products. Samples that are columns go through `gemv`, separately for each of a block's
CHAINS chains: the features i, i + CHAINS, ... of all samples. Other samples are copied, one block
of a sample at a time.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.product.dot import CHAINS
from fastgrad.kernels.product.gemm import GEMV
from fastgrad.kernels.toolchain.compile import assemble, external, kernel
from fastgrad.kernels.toolchain.pointers import address_of, as_pointer, least, scratch, shift
from fastgrad.kernels.toolchain.target import PRODUCTS

# m k | a row | b | c row | bias
DOT = types.void(*([types.intp] * 8))
# m d | x row col | w | y row | bias
SINGLE_OUTPUT = types.void(*([types.intp] * 9))


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the C function ``single_output`` for one dtype.

    ``single_output(m, d, x, x_row, x_col, w, y, y_row, bias)``: w contiguous; `bias` may be null.
    """
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    dot = external("dot", dtype_name, DOT)
    gemv = external("gemv", dtype_name, GEMV)
    SAMPLES = 2048 // size  # side by side: CHAINS sums of each are 16 KiB
    SUMS = CHAINS * SAMPLES

    @kernel
    def in_pairs(sums: Any) -> Any:
        """Return the sum of a sample's chains, which are SAMPLES apart."""
        s = SAMPLES
        even = ((sums[0] + sums[8 * s]) + (sums[4 * s] + sums[12 * s])) + (
            (sums[2 * s] + sums[10 * s]) + (sums[6 * s] + sums[14 * s])
        )
        odd = ((sums[s] + sums[9 * s]) + (sums[5 * s] + sums[13 * s])) + (
            (sums[3 * s] + sums[11 * s]) + (sums[7 * s] + sums[15 * s])
        )
        return even + odd

    @kernel
    def by_columns(
        m: int, d: int, x: int, x_col: int, w: int, y_at: int, y_row: int, bias: int
    ) -> None:
        """Samples side by side, at most SAMPLES."""
        sums = scratch(SUMS, dtype)
        y, shifts = as_pointer(y_at, dtype), as_pointer(bias, dtype)
        for first in range(0, d, PRODUCTS):
            left = least(PRODUCTS, d - first)
            for i in range(CHAINS):
                chain = shift(sums, i * SAMPLES)
                if i < left:
                    gemv(
                        m, (left - i + CHAINS - 1) // CHAINS, w + (first + i) * size, CHAINS,
                        x + (first + i) * x_col * size, CHAINS * x_col, address_of(chain), 1, 0,
                    )  # fmt: skip
                else:
                    for j in range(m):
                        chain[j] = dtype(0)
            for j in range(m):
                total = in_pairs(shift(sums, j))
                y[j * y_row] = total if first == 0 else y[j * y_row] + total
        if bias != 0:
            for j in range(m):
                y[j * y_row] = y[j * y_row] + shifts[0]

    @kernel
    def copied(d: int, x_at: int, x_col: int, w: int, y_at: int, bias: int) -> None:
        """One sample, its features at any stride."""
        block, part = scratch(PRODUCTS, dtype), scratch(1, dtype)
        y, x = as_pointer(y_at, dtype), as_pointer(x_at, dtype)
        for first in range(0, d, PRODUCTS):
            left = least(PRODUCTS, d - first)
            for p in range(left):
                block[p] = x[(first + p) * x_col]
            dot(1, left, address_of(block), 0, w + first * size, address_of(part), 0, 0)
            y[0] = part[0] if first == 0 else y[0] + part[0]
        if bias != 0:
            y[0] = y[0] + as_pointer(bias, dtype)[0]

    def single_output(
        m: int, d: int, x: int, x_row: int, x_col: int, w: int, y: int, y_row: int, bias: int
    ) -> None:
        if x_col == 1 or d <= 1:
            dot(m, d, x, x_row, w, y, y_row, bias)
        elif x_row == 1:
            for i in range(0, m, SAMPLES):
                by_columns(
                    least(SAMPLES, m - i), d, x + i * size, x_col, w, y + i * y_row * size, y_row,
                    bias,
                )  # fmt: skip
        else:
            for i in range(m):
                copied(d, x + i * x_row * size, x_col, w, y + i * y_row * size, bias)

    return assemble(dtype_name, {"single_output": (SINGLE_OUTPUT, single_output)})
