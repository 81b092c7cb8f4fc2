"""The compiled kernels: found in the cache, or compiled once and kept there.

A *unit* is a handful of C functions for one dtype in one relocatable object. Loading one
takes a few milliseconds and does not import Numba; only a unit that is not in the cache
does. Units call each other by symbol, activations are reached through their addresses, so
nothing is ever compiled twice into two callers.

The cache is one file per unit, named by everything its contents depend on (the kernels'
sources, versions, processor) and sealed with a checksum. A file is written beside its place
and renamed over it, so concurrent starts, crashes and full disks leave a whole file or none;
whatever does not match its checksum is compiled again.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fastgrad.kernels.front_end import (
    collector_paused,
    interrupts_deferred,
    numba_enabled,
    numba_front_end,
)
from fastgrad.kernels.target import host

with interrupts_deferred():
    # These two hook into forks, and Numba imports them: not while a fork waits for a compilation.
    import concurrent.futures.thread  # noqa: F401
    import importlib.metadata
    import logging  # noqa: F401

    import llvmlite
    import llvmlite.binding as llvm

DTYPES = ("float32", "float64")

# Activations whose derivative is not a function of the output y: layers keep it beside y.
KEEP_SLOPE = ("gelu", "gelu_tanh", "silu")


@dataclass(frozen=True)
class Unit:
    """What one object file holds: functions built by ``module.build``, and what they call."""

    module: str
    functions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    argument: str | None = None  # passed to build: which row of a table


# The units without a row of a table, in the order they build on each other.
UNITS = {
    "lay_down": Unit("lay_down", ("lay_down", "take_up")),
    "panel": Unit("microkernel", ("panel",)),
    "thin": Unit("thin", ("thin",)),
    "gemm": Unit("gemm", ("gemm", "pack_b"), ("panel", "thin")),
    "layer": Unit("layer", ("layer_forward", "layer_backward", "multiply"), ("gemm",)),
    "side_by_side": Unit("side_by_side", ("side_by_side",)),
    "dense": Unit("dense", ("dense_forward", "dense_backward"), ("layer", "side_by_side")),
    "plan": Unit("plan", ("plan_work",), ("layer",)),
    "network": Unit("network", ("network_value_and_grad",), ("plan",)),
    "predict": Unit("predict", ("network_predict",), ("plan",)),
    "update": Unit("update", ("update_sgd", "update_adam")),
    "apply": Unit("apply", ("apply_forward", "apply_backward")),
    "apply_loss": Unit("apply_loss", ("apply_loss",)),
}


def unit(name: str) -> Unit:
    """Return the unit called `name`: ``"dense"``, ``"rows.tanh"``, ``"loss.mse"`` ..."""
    kind, _, row = name.partition(".")
    if kind == "rows":
        functions: tuple[str, ...] = (f"forward_{row}", f"backward_y_{row}")
        if row in KEEP_SLOPE:
            functions = f"forward_{row}", f"forward_and_slope_{row}", f"backward_slope_{row}"
        if row == "softmax":
            return Unit("softmax", functions, ("lay_down",))
        return Unit("rows", functions, argument=row)
    if kind == "slopes":  # what layers do not need is not compiled with them
        return Unit("slopes", (f"backward_z_{row}",), argument=row)
    if kind == "loss":
        return Unit("loss", (f"loss_{row}",), argument=row)
    return UNITS[name]


def symbol(function: str, dtype: str) -> str:
    """Return the name under which a unit exports `function`."""
    return f"fastgrad_{function}_{dtype}"


FORK_PATIENCE = 5.0  # seconds that a fork waits for another thread that compiles


class Library:
    """The units loaded into this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._addresses: dict[str, int] = {}
        self._engines: list[Any] = []
        self.compiled: list[str] = []  # units compiled, not found, by this process
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold_lock,
                after_in_parent=self._release_lock,
                after_in_child=self._renew_lock,
            )

    def _hold_lock(self) -> None:
        # Fork between loads, not in one: the child would find LLVM's lock held for ever. But not
        # at any price: the thread that loads may be waiting for this one.
        self._lock.acquire(timeout=FORK_PATIENCE)

    def _release_lock(self) -> None:
        # The lock knows who holds it: a flag of ours would be that of whichever thread forks last.
        with suppress(RuntimeError):  # not this thread, which lost patience
            self._lock.release()

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    def address(self, unit_name: str, function: str, dtype: str) -> int:
        """Return the address of a unit's function, loading the unit if need be."""
        name = symbol(function, dtype)
        with self._lock:
            if name not in self._addresses:
                self._load(unit_name, dtype)
            return self._addresses[name]

    def _load(self, unit_name: str, dtype: str) -> None:
        wanted = unit(unit_name)
        link_externals()
        for other in wanted.needs:
            self.address(other, unit(other).functions[0], dtype)
        path = cache_path(unit_name, dtype)
        code = read_sealed(path)
        if code is None:
            code = build(wanted, dtype)
            self.compiled.append(f"{unit_name}:{dtype}")
            write_sealed(path, code)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self._engines.append(engine)
        for function in wanted.functions:
            name = symbol(function, dtype)
            self._addresses[name] = engine.get_function_address(name)
            llvm.add_symbol(name, self._addresses[name])


def machine() -> Any:
    """Return LLVM's code generator for the target processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = host()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, codemodel="jitdefault"
    )


# What kernels call outside themselves; fma and the mem* come from LLVM's own lowering.
_PYTHON = [
    "Py_IncRef",
    "Py_DecRef",
    "PyErr_NoMemory",
    "PyTuple_New",
    "PyType_GenericAlloc",
    "PyLong_AsSsize_t",
    "PyFloat_FromDouble",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
]
_C = ["malloc", "free", "memcpy", "memmove", "memset", "fma", "fmaf"]


@lru_cache(maxsize=1)
def link_externals() -> None:
    """Make the C functions that kernels call known to LLVM's linker."""
    found = {name: getattr(ctypes.pythonapi, name) for name in _PYTHON}
    if sys.platform == "win32":
        found |= {name: getattr(ctypes.cdll.msvcrt, name) for name in _C}
        found["sched_yield"] = ctypes.windll.kernel32.SwitchToThread
    else:
        found |= {name: getattr(ctypes.CDLL(None), name) for name in [*_C, "sched_yield"]}
    for name, function in found.items():
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        llvm.add_symbol(name, address)


def build(wanted: Unit, dtype: str) -> bytes:
    """Compile a unit to an object file."""
    with interrupts_deferred(), numba_enabled(), numba_front_end(), collector_paused():
        module = importlib.import_module(f"fastgrad.kernels.{wanted.module}")
        arguments = (dtype,) if wanted.argument is None else (dtype, wanted.argument)
        assembly: str = module.build(*arguments)
    return bytes(machine().emit_object(llvm.parse_assembly(assembly)))


# -- the cache ----------------------------------------------------------------------------


def cache_directory() -> Path | None:
    """Return where compiled units are kept, or None where there is no place for them.

    ``FASTGRAD_CACHE_DIR``, else the user's cache directory. Never a shared temporary
    directory: whoever can write there could have this process run their code.
    """
    asked = os.environ.get("FASTGRAD_CACHE_DIR")
    if asked:
        return Path(asked)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) / "fastgrad" if local else None
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared:
        return Path(shared) / "fastgrad"
    home = os.environ.get("HOME")
    if not home:
        return None
    return Path(home) / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fastgrad"


@lru_cache(maxsize=1)
def _fingerprint() -> bytes:
    """Hash everything compiled code depends on but the unit itself."""
    version = importlib.metadata.version
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    target = host()
    for fact in (
        sys.version,
        version("numba"),
        llvmlite.__version__,
        np.__version__,
        target.cpu,
        target.features,
        llvm.get_process_triple(),
    ):
        digest.update(fact.encode() + b"\0")
    return digest.digest()


def cache_path(unit_name: str, dtype: str) -> Path | None:
    """Return the file that holds a unit, whether it exists or not."""
    directory = cache_directory()
    if directory is None:
        return None
    key = hashlib.sha256(_fingerprint() + f"{unit_name}:{dtype}".encode()).hexdigest()
    return directory / f"{unit_name}-{dtype}-{key[:24]}.o"


def read_sealed(path: Path | None) -> bytes | None:
    """Return what `write_sealed` wrote, or None if the file is missing or damaged."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, code = content[:32], content[32:]
    return code if code and hashlib.sha256(path.name.encode() + code).digest() == seal else None


def write_sealed(path: Path | None, code: bytes) -> None:
    """Write `code` and its checksum to `path` in one step; a failure to write is no error."""
    if path is None:
        return
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(path.name.encode() + code).digest() + code)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


LIBRARY = Library()


# -- functions callable from Python --------------------------------------------------------


@cache
def plain_function(unit_name: str, function: str, dtype: str, words: int) -> Any:
    """Return a unit's C function of so many words (ctypes: 1 us a call, without the GIL)."""
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


_METH_FASTCALL = 0x0080
_PYARRAY_NEW = 93  # index in NumPy's C-API table, part of its stable ABI
_keep_alive: list[Any] = []


@lru_cache(maxsize=4)
def context(dtype: str, share_from: int) -> Any:
    """Return the words entry points read: object identities they compare with, NumPy's allocator.

    Order: as `pyobject` reads them.
    """
    capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    descr, classes = np.dtype(dtype), np.dtype(np.int64)
    objects = (np.ndarray, descr, None, True)
    words = [*map(id, objects), table[_PYARRAY_NEW], descr.num, share_from, id(classes)]
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
