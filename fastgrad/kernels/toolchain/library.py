"""The compiled kernels of this process: units are loaded from a file, or compiled once.

The file is the cache's, else one that came with the installation (`prebuilt`). Loading takes a few
milliseconds and does not import Numba; only a unit that neither has does.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

from fastgrad.kernels.toolchain import fallback
from fastgrad.kernels.toolchain.fallback import compiled
from fastgrad.kernels.toolchain.front_end import collector_paused, numba_enabled, numba_front_end
from fastgrad.kernels.toolchain.processor import check_processor
from fastgrad.kernels.toolchain.undisturbed import COMPILE_LOCK, compiling
from fastgrad.kernels.units import Unit, symbol, unit

with compiling():
    # Numba imports these two, which hook into forks: not while a fork waits for a compilation.
    import concurrent.futures.thread  # noqa: F401
    import logging  # noqa: F401

    import llvmlite.binding as llvm

    from fastgrad.kernels.toolchain.object_cache import (
        cache_path,
        look,
        prune_once,
        read_sealed,
        write_sealed,
    )
    from fastgrad.kernels.toolchain.prebuilt import prebuilt
    from fastgrad.kernels.toolchain.target import host

CACHED, PREBUILT, COMPILED = "from the cache", "prebuilt", "compiled"  # where a unit came from
LARGEST_FOLLOWED = 32 * 1024 * 1024 - 64 * 1024  # bytes: glibc's own header must fit, too


class Library:
    """The units loaded into this process."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._loaded: list[Any] = []  # LLVM unloads what has no reference
        self._linker: Any = None
        self._names = count()  # one for each attempt: a failed one keeps its name
        self.origins: dict[str, str] = {}  # where each loaded unit came from
        self.compiled: list[str] = []  # units that this process compiled, not found in a file
        self.not_kept: dict[str, str] = {}  # units that could not be written to the cache, and why

    def address(self, unit_name: str, function: str, dtype: str) -> int:
        """Return the address of a unit's function, loading the unit if need be."""
        name = symbol(function, dtype)
        with COMPILE_LOCK.lock:
            if name not in self._addresses:
                with compiling():
                    self._load(unit_name, dtype)
            return self._addresses[name]

    def keep(self, unit_name: str, dtype: str) -> None:
        """Load a unit, and have it in the cache: compiled for this very processor, not a level."""
        with COMPILE_LOCK.lock, compiling():
            origin = self.origins.get(f"{unit_name}:{dtype}")
            if origin is None:
                self._load(unit_name, dtype, kept=True)
            elif origin == PREBUILT and look(cache_path(unit_name, dtype)) is None:
                self.compile(unit_name, dtype)

    def compile(self, unit_name: str, dtype: str) -> bytes:
        """Compile a unit, write it to the cache, and return its code."""
        with COMPILE_LOCK.lock, compiling():
            wanted, name = unit(unit_name), f"{unit_name}:{dtype}"
            code = build(wanted, dtype)
            self.compiled.append(name)
            note = fallback.reasons.get(symbol(wanted.functions[0], dtype), "")
            if reason := write_sealed(cache_path(unit_name, dtype), code, note):
                self.not_kept[name] = reason
            else:
                prune_once()
            return code

    def _load(self, unit_name: str, dtype: str, kept: bool = False) -> None:
        wanted, name = unit(unit_name), f"{unit_name}:{dtype}"
        for other in wanted.needs:
            self.address(other, unit(other).functions[0], dtype)
        calls = [symbol(function, dtype) for function in called_by(wanted)]
        names = [symbol(function, dtype) for function in wanted.functions]
        for origin, code in _files(unit_name, dtype, kept):
            with suppress(RuntimeError):  # it lacks one of them
                self._addresses |= self._link(code, names, calls)
                self.origins[name] = origin
                return
        code = self.compile(unit_name, dtype)
        try:
            self._addresses |= self._link(code, names, calls)
        except RuntimeError as error:
            raise RuntimeError(
                f"fastgrad: {name} was compiled without one of {wanted.functions}"
            ) from error
        self.origins[name] = COMPILED

    def _link(self, code: bytes, names: list[str], calls: Sequence[str] = ()) -> dict[str, int]:
        """Return the addresses of an object file's functions; RuntimeError if one is not there.

        `calls` are the functions of other units that it calls. LLVM is told of no others, since it
        keeps them for each file: 0.5 MB for all there are.

        LLVM's LLJIT took 0.7 of the time of its older MCJIT for the cached units of a first
        gradient (43 and 59 ms on a loaded machine, medians of 20), and 4.5 MB less memory.
        """
        if self._linker is None:
            self._linker = llvm.create_lljit_compiler(machine(), suppress_errors=True)
        part = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name, address in externals().items():
            part.import_symbol(name, address)
        for name in calls:
            part.import_symbol(name, self._addresses[name])
        for name in names:
            part.export_symbol(name)
        loaded = part.link(self._linker, f"fastgrad {next(self._names)}")
        self._loaded.append(loaded)
        return {name: loaded[name] for name in names}

    def add(self, assembly: str, name: str) -> int:
        """Return the address of a function in LLVM IR that is compiled for this process only."""
        with COMPILE_LOCK.lock, compiling():
            code = bytes(machine().emit_object(llvm.parse_assembly(assembly)))
            return self._link(code, [name])[name]


def _files(unit_name: str, dtype: str, kept: bool) -> Iterator[tuple[str, bytes]]:
    """Yield where a unit's code is to be found, and the code; with `kept` in the cache only."""
    if code := read_sealed(cache_path(unit_name, dtype)):
        yield CACHED, code
    if not kept and (code := prebuilt(unit_name, dtype)):
        yield PREBUILT, code


def called_by(wanted: Unit) -> set[str]:
    """Return the functions of the units that a unit needs, and of those that they need."""
    needed = [unit(name) for name in wanted.needs]
    return {name for other in needed for name in (*other.functions, *called_by(other))}


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
    "PyErr_Clear",
    "PyList_Size",
    "PyList_GetItem",
    "PyTuple_New",
    "PyType_GenericAlloc",
    "PyLong_AsSsize_t",
    "PyFloat_AsDouble",
    "PyFloat_FromDouble",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
]
_C = ["malloc", "free", "memcpy", "memmove", "memset", "fma", "fmaf"]


@lru_cache(maxsize=1)
def externals() -> dict[str, int]:
    """Return the addresses of the C functions that kernels call."""
    keep_freed_memory()
    found = {name: getattr(ctypes.pythonapi, name) for name in _PYTHON}
    if sys.platform == "win32":
        found |= {name: getattr(ctypes.cdll.msvcrt, name) for name in _C}
        found["sched_yield"] = ctypes.windll.kernel32.SwitchToThread
    else:
        names = [*_C, "sched_yield", "madvise"]
        found |= {name: getattr(ctypes.CDLL(None), name) for name in names}
    return {name: ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in found.items()}


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that were freed, as it does once any large block was freed.

    It maps blocks of 128 KiB and more one by one, and returns the end of its heap to the system
    beyond 256 KiB. Both limits follow the largest such block that was freed, up to 32 MiB. The
    results and the workspace of a layer are several blocks of one size, together more than twice
    the largest, so each call mapped all its pages again (12288 inputs, 20 outputs, 209 samples in
    columns: 5,900 page faults, 19 ms; 9 without). An untouched block costs two system calls. Limits
    that a user has set (MALLOC_TRIM_THRESHOLD_ ...) stay.
    """
    if sys.platform.startswith("linux"):
        c = ctypes.CDLL(None)
        c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        c.free.restype, c.free.argtypes = None, [ctypes.c_void_p]
        c.free(c.malloc(LARGEST_FOLLOWED))


def build(wanted: Unit, dtype: str) -> bytes:
    """Compile a unit to an object file."""
    check_processor()

    def assembly() -> Any:
        with numba_enabled(), numba_front_end(), collector_paused():
            module = importlib.import_module(f"fastgrad.kernels.{wanted.module}")
            arguments = (dtype,) if wanted.argument is None else (dtype, wanted.argument)
            made = llvm.parse_assembly(module.build(*arguments))
        check_externals(made)
        return made

    made = compiled(symbol(wanted.functions[0], dtype), assembly)
    return bytes(machine().emit_object(made))


def check_externals(module: Any) -> None:
    """Raise RuntimeError if a unit calls what nobody provides."""
    for function in module.functions:
        name = function.name
        ours = name.startswith(("llvm.", "fastgrad_"))  # instructions; units that it needs
        there = ours or name in externals() or llvm.address_of_symbol(name) is not None
        if function.is_declaration and not there:
            raise RuntimeError(f"fastgrad: a kernel calls {name}, which it is not linked with")


LIBRARY = Library()
