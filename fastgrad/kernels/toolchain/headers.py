"""The offsets that compiled code uses in the headers of Python's and NumPy's objects.

Offsets in bytes: CPython's ``PyObject``, ``PyVarObject`` and ``PyTupleObject``, NumPy's
``PyArrayObject_fields``. The first ones are computed from what Python reports, and `check` compares
the rest with an array before any kernel reads one. Imports no Numba.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
import sys
from typing import Any

import numpy as np

HEADER = object.__basicsize__  # reference count and type; the type is its last word
assert struct.calcsize("P") == 8, "fastgrad needs a 64-bit Python"
TYPE = HEADER - 8
DATA, NDIM, SHAPE, STRIDES, DESCR, FLAGS = (HEADER + o for o in (0, 8, 16, 24, 40, 48))
C_ORDER, F_ORDER = 0x0001, 0x0002  # NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_F_CONTIGUOUS
ALIGNED, WRITEABLE = 0x0100, 0x0400  # NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE
MOST_AXES = 64  # NPY_MAXDIMS
_ARRAY_C_VERSION = 0  # PyArray_GetNDArrayCVersion's index in NumPy's C-API table

# A tuple: its length, what is between, its items. Between them is nothing, or since Python 3.14 the
# hash, which is -1 until somebody asks: it is read from a tuple that nobody has hashed.
BETWEEN, ITEMS = HEADER + 8, tuple.__basicsize__
_NEW = tuple(iter("?"))
UNHASHED = tuple((ctypes.c_ssize_t * ((ITEMS - BETWEEN) // 8)).from_address(id(_NEW) + BETWEEN))


def numpy_functions() -> Any:
    """Return the addresses of NumPy's C functions: its C-API table."""
    capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))


def numpy_abi() -> int:
    """Return the number of NumPy's ABI, which `import_array` compares in compiled modules."""
    version = ctypes.CFUNCTYPE(ctypes.c_uint)(numpy_functions()[_ARRAY_C_VERSION])
    return int(version())


def check() -> None:
    """Raise RuntimeError unless this Python and NumPy lay out objects as kernels read them."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(
            "fastgrad reads arrays under Python's global lock, which this Python runs without: "
            "set PYTHON_GIL=1"
        )
    array, instance = np.empty((2, 3), np.float32)[::-1, 1:], (None, True)
    if _described(array) != _expected(array) or _items(instance) != [id(item) for item in instance]:
        raise RuntimeError(
            f"fastgrad does not know how Python {sys.version.split()[0]} and NumPy "
            f"{np.__version__} lay out their objects: install a newer fastgrad, or an older NumPy"
        )


def _described(array: Any) -> tuple[Any, ...]:
    def word(offset: int, kind: Any = ctypes.c_ssize_t) -> Any:
        return kind.from_address(id(array) + offset).value

    axes = word(NDIM, ctypes.c_int)
    pair = ctypes.c_ssize_t * 2
    if (word(TYPE), axes) != (id(np.ndarray), 2) or not word(SHAPE) or not word(STRIDES):
        return ()
    places = tuple(tuple(pair.from_address(word(at))) for at in (SHAPE, STRIDES))
    return *places, word(DATA), word(DESCR), word(FLAGS, ctypes.c_int)


def _expected(array: Any) -> tuple[Any, ...]:
    return array.shape, array.strides, array.ctypes.data, id(array.dtype), array.flags.num


def _items(instance: tuple[Any, ...]) -> list[int]:
    return list((ctypes.c_ssize_t * len(instance)).from_address(id(instance) + ITEMS))
