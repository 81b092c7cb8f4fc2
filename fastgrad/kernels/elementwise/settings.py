"""Row kernels of leaky_relu and elu with a setting of the user's: one small unit for each value.

The value is a constant of the code, as that of the table's row is: the loops are the same, and no
kernel's signature grows for two activations. A row is called ``leaky_relu_3fc999999999999a``:
the activation, and the bits of the value as a float64 number.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from fastgrad.kernels.elementwise import vector_math
from fastgrad.kernels.elementwise.formulas import Formula
from fastgrad.kernels.elementwise.rows import (
    BACKWARD,
    FORWARD,
    INTERLEAVE,
    backward_kernel,
    forward_kernel,
)
from fastgrad.kernels.toolchain.compile import assemble, inlined


def leaky_relu(dtype: Any, value: float) -> Formula:
    """Return the formulas of one slope; from the output if that has the sign of z."""
    real = dtype.type
    zero, one, slope = real(0), real(1), real(value)
    derivative = inlined(lambda z: one if z > zero else (slope if z <= zero else z))
    if value == 0:  # 0 * -inf would be NaN
        return Formula(inlined(lambda z: zero if z < zero else z), derivative)
    forward = inlined(lambda z: slope * z if z < zero else z)
    return Formula(forward, derivative, derivative if value > 0 else None)


def elu(dtype: Any, value: float) -> Formula:
    """Return the formulas of one alpha; from the output if that is not above 0 where z is not."""
    m, real = vector_math.build(dtype), dtype.type
    exp, expm1 = m.exp, m.expm1
    zero, one, alpha = real(0), real(1), real(value)
    return Formula(
        inlined(lambda z: z if z > zero else alpha * expm1(z)),
        inlined(lambda z: one if z > zero else alpha * exp(z)),
        inlined(lambda y: one if y > zero else y + alpha) if value >= 0 else None,
    )


FAMILIES = {"leaky_relu": leaky_relu, "elu": elu}


def build(dtype_name: str, row: str) -> str:
    """Return the LLVM IR of ``forward``, ``backward_z`` and, where there is one, ``backward_y``."""
    name, _, bits = row.rpartition("_")
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    formula = FAMILIES[name](np.dtype(dtype_name), value)
    functions: dict[str, Any] = {
        f"forward_{row}": (FORWARD, forward_kernel(dtype_name, formula.value)),
        f"backward_z_{row}": (BACKWARD, backward_kernel(dtype_name, formula.derivative)),
    }
    if formula.from_output is not None:
        by_output = backward_kernel(dtype_name, formula.from_output)
        functions[f"backward_y_{row}"] = (BACKWARD, by_output)
    return assemble(dtype_name, functions, INTERLEAVE)
