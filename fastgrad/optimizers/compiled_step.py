"""An optimizer's ``step`` in one compiled call: the tables of a tree's arrays.

Contiguous arrays of the kernels' dtypes are updated in place. Others (strided views, float16,
another byte order; gradients of another dtype or order) go through buffers, which are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastgrad.arrays import Array
from fastgrad.kernels.calls.entry import Record, entry
from fastgrad.kernels.network import update_table as at
from fastgrad.kernels.toolchain.headers import C_ORDER, F_ORDER
from fastgrad.kernels.toolchain.library import LIBRARY
from fastgrad.optimizers.tree_state import TreeState, fortran, work_dtype
from fastgrad.trees import Span

if TYPE_CHECKING:
    from fastgrad.optimizers.optimizer import Optimizer


def table_of(optimizer: Optimizer, dtype: str, powers: list[float], steps: int, rows: int) -> Array:
    """Return an empty table of so many rows."""
    words = np.zeros(at.HEADER + rows * at.ROW, np.int64).view(Record)
    name = optimizer.kernel
    words[at.KERNEL] = LIBRARY.address(f"update.{name}", f"update_{name}", dtype)
    words[at.ROWS], words[at.STEPS] = rows, steps
    numbers = [*optimizer.numbers(), *powers]
    words.view(np.float64)[at.SETTINGS : at.SETTINGS + len(numbers)] = numbers
    return words


def rows_of(table: Array) -> Array:
    """Return a table's rows, as a matrix."""
    return table[at.HEADER :].reshape(-1, at.ROW)


class CompiledStep:
    """Tables that refer to a `TreeState`, and buffers for arrays that kernels cannot take.

    Only the entry point changes rows, after it has checked BUSY: another thread may be in a step.
    """

    def __init__(self, optimizer: Optimizer, state: TreeState, params: list[Array]) -> None:
        self.call = entry("step", "optimizer_step", "float64")
        self.state, self.optimizer = state, optimizer
        self.dtypes = [work_dtype(p.dtype) for p in params]
        self.orders: list[Literal["C", "F"]] = [
            "F" if any(map(fortran, some)) or (not some and fortran(p)) else "C"
            for some, p in zip(state.vectors, params, strict=True)
        ]
        self.buffers: list[list[Array | None]] = [[None] * len(params), [None] * len(params)]
        self.tables: list[Array] = []
        self.shapes: list[Array] = []
        for dtype in dict.fromkeys(self.dtypes):
            places = [i for i, other in enumerate(self.dtypes) if other is dtype]
            table = table_of(optimizer, dtype.name, state.powers, state.steps, len(places))
            for row, i in zip(rows_of(table), places, strict=True):
                self._fill(row, i, dtype)
            if self.tables:
                self.tables[-1][at.NEXT] = table.ctypes.data
            self.tables.append(table)
        if not self.tables:  # a tree without arrays
            self.tables.append(table_of(optimizer, "float64", state.powers, state.steps, 0))
        self.first, self.floats = self.tables[0], self.tables[0].view(np.float64)

    def _fill(self, row: Array, i: int, dtype: np.dtype[Any]) -> None:
        """Fill in the row of array i, except the addresses of parameters and gradient."""
        shape = np.array([len(self.state.shapes[i]), *self.state.shapes[i]], np.int64)
        self.shapes.append(shape)
        row[at.ELEMENTS], row[at.DECAYS] = shape[1:].prod(), self.state.decays[i]
        for place, vector in enumerate(self.state.vectors[i], at.VECTORS):
            row[place] = vector.ctypes.data
        row[at.PLACE], row[at.DTYPE], row[at.SIZE] = i, id(dtype), dtype.itemsize
        row[at.ORDER] = F_ORDER if self.orders[i] == "F" else C_ORDER
        row[at.SHAPE] = shape.ctypes.data

    def run(self, params: list[Array], grads: list[Array], spans: list[Span]) -> None:
        """Update checked parameters, whose memory is these spans."""
        self.take_rate()
        with np.errstate(all="ignore"):  # float64 gradients of float32 arrays: inf is a value
            native = tuple(self._native(0, i, p) for i, p in enumerate(params))
            slopes = tuple(self._native(1, i, g) for i, g in enumerate(grads))
            self.spans = np.array(sorted(span for span in spans if span[0] < span[1]), np.int64)
            self.first[at.SPANS], self.first[at.COUNT] = self.spans.ctypes.data, len(self.spans)
            if self.call(native, slopes, self.first, True) is None:
                name = type(self.optimizer).__name__
                raise RuntimeError(f"{name}.step: another thread is in a step of this optimizer")
            for p, taken in zip(params, native, strict=True):
                if p is not taken:
                    p[...] = taken

    def take_rate(self) -> None:
        """Set the learning rate of the next step."""
        name = type(self.optimizer).__name__
        rate = self.optimizer.rate(f"{name}.step", int(self.first[at.STEPS]))
        for table in self.tables:
            table.view(np.float64)[at.SETTINGS] = rate

    def _native(self, kind: int, i: int, array: Array) -> Array:
        """Return what the kernel takes: the array itself, or its buffer with a copy."""
        flags = array.flags
        ordered = flags.f_contiguous if self.orders[i] == "F" else flags.c_contiguous
        if ordered and flags.aligned and array.dtype is self.dtypes[i]:
            return array
        buffer = self.buffers[kind][i]
        if buffer is None:
            buffer = np.empty(self.state.shapes[i], self.dtypes[i], self.orders[i])
            self.buffers[kind][i] = buffer
        buffer[...] = array
        return buffer

    def synchronize(self) -> TreeState:
        """Return the state, with the powers and the number of steps, which kernels count."""
        state = self.state
        first = at.SETTINGS + len(self.optimizer.numbers())
        state.powers = self.floats[first : first + len(state.powers)].tolist()
        state.steps = int(self.first[at.STEPS])
        return state
