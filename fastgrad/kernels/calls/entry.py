"""Compiled functions as Python calls them, and the words that entry points compare with."""

from __future__ import annotations

import ctypes
import sys
from functools import cache, lru_cache
from typing import Any

import numpy as np

from fastgrad.kernels.toolchain.headers import check, numpy_functions
from fastgrad.kernels.toolchain.library import LIBRARY


@cache
def plain_function(unit_name: str, function: str, dtype: str, words: int) -> Any:
    """Return a unit's C function of `words` words (ctypes: 1 us a call, without the GIL)."""
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * words)
    return kind(LIBRARY.address(unit_name, function, dtype))


class _MethodDef(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


# The dtypes that kernels convert from. With float32, those before it promote to float32, those
# after it to float64. The last two are C's other names for 64-bit integers.
KINDS = (
    *("bool", "int8", "uint8", "int16", "uint16", "float32"),
    *("int32", "uint32", "int64", "uint64", "float64", "longlong", "ulonglong"),
)
_METH_FASTCALL = 0x0080
_PYARRAY_NEW = 93  # index in NumPy's C-API table, part of its stable ABI
_keep_alive: list[Any] = []
_kinds = np.array([id(np.dtype(kind)) for kind in KINDS], np.intp)  # NumPy keeps these for ever


class Record(np.ndarray):
    """Addresses that compiled code calls: entry points accept no other class for them."""


def record_of(words: list[int]) -> Record:
    """Return a record that nobody can write to: its memory is a bytes object."""
    return np.frombuffer(np.array(words, np.int64).tobytes(), np.int64).view(Record)


@lru_cache(maxsize=4)
def context(dtype: str, share_from: int) -> Any:
    """Return the words entry points read: object identities they compare with, NumPy's allocator.

    They are in the order in which `pyobject` reads them.
    """
    check()
    table = numpy_functions()
    descr, classes = np.dtype(dtype), np.dtype(np.int64)
    objects = (np.ndarray, descr, None, True)
    words = [*map(id, objects), table[_PYARRAY_NEW], descr.num, share_from]
    words += [id(classes), id(Record), classes.num, id(list), id(int)]
    words += [_kinds.ctypes.data, KINDS.index(dtype), id(float)]
    return np.array(words, np.intp)


@cache
def entry(unit_name: str, function: str, dtype: str, share_from: int = sys.maxsize) -> Any:
    """Return a unit's function as a Python callable (CPython's vectorcall: 35 ns a call).

    It leaves work of `share_from` multiply-adds or more to Python, which shares it over threads.
    """
    address = LIBRARY.address(unit_name, function, dtype)
    method = _MethodDef(f"{function}_{dtype}".encode(), address, _METH_FASTCALL, None)
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    _keep_alive.append(method)
    return new(ctypes.addressof(method), context(dtype, share_from), None)
