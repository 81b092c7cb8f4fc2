"""Derivatives from z, for `Activation.backward`, of activations whose layers use y instead."""

from __future__ import annotations

from fastgrad.kernels.elementwise.formulas import formulas
from fastgrad.kernels.elementwise.rows import BACKWARD, INTERLEAVE, backward_kernel
from fastgrad.kernels.toolchain.compile import assemble


def build(dtype_name: str, activation: str) -> str:
    """Return the LLVM IR of ``backward_z`` of one activation."""
    slope = formulas(dtype_name)[activation].derivative
    functions = {f"backward_z_{activation}": (BACKWARD, backward_kernel(dtype_name, slope))}
    return assemble(dtype_name, functions, INTERLEAVE)
