"""The table of the arrays that a flat vector holds: what each word is. Imports no Numba.

Beside it, the offset in an array's header of what its memory belongs to, a field that only views
of a vector need (`toolchain.headers` has the others).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad.kernels.toolchain.headers import HEADER as HEADER_BYTES

COUNT, SIZE, HEADER = range(3)  # how many arrays, elements of the vector
START, LENGTH, AXES, SHAPE, _, PART = range(6)  # of one array: its elements, one or two axes


BASE = HEADER_BYTES + 32  # NumPy's PyArrayObject_fields.base


def knows_base() -> bool:
    """Return whether this NumPy keeps an array's base where kernels read and write it."""
    whole = np.zeros(3)
    view = whole[1:]
    found = [ctypes.c_ssize_t.from_address(id(a) + BASE).value for a in (whole, view)]
    return found == [0, id(whole)]


def make_table(size: int, parts: Sequence[tuple[slice, tuple[int, ...]]]) -> Any:
    """Return the table of arrays of these elements and shapes."""
    words = np.zeros(HEADER + len(parts) * PART, np.int64)
    words[[COUNT, SIZE]] = len(parts), size
    for i, (elements, shape) in enumerate(parts):
        row = words[HEADER + i * PART :][:PART]
        row[[START, LENGTH, AXES]] = elements.start, elements.stop - elements.start, len(shape)
        row[SHAPE : SHAPE + len(shape)] = shape
    return words
