"""The compiled kernels of this process: units are loaded from the cache, or compiled once.

Loading a unit takes a few milliseconds and does not import Numba; only one that is not in the
cache does.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import lru_cache
from typing import Any

from fastgrad.kernels.toolchain import fallback
from fastgrad.kernels.toolchain.fallback import compiled
from fastgrad.kernels.toolchain.front_end import collector_paused, numba_enabled, numba_front_end
from fastgrad.kernels.toolchain.processor import check_processor
from fastgrad.kernels.toolchain.undisturbed import COMPILE_LOCK, compiling
from fastgrad.kernels.units import Unit, symbol, unit

with compiling():
    # These two hook into forks, and Numba imports them: not while a fork waits for a compilation.
    import concurrent.futures.thread  # noqa: F401
    import logging  # noqa: F401

    import llvmlite.binding as llvm

    from fastgrad.kernels.toolchain.object_cache import cache_path, read_sealed, write_sealed
    from fastgrad.kernels.toolchain.target import host

LARGEST_FOLLOWED = 32 * 1024 * 1024 - 64 * 1024  # bytes: glibc's own header must fit, too


class Library:
    """The units loaded into this process."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._engines: list[Any] = []
        self.compiled: list[str] = []  # units compiled, not found, by this process
        self.not_kept: dict[str, str] = {}  # those that the cache did not take, and why

    def address(self, unit_name: str, function: str, dtype: str) -> int:
        """Return the address of a unit's function, loading the unit if need be."""
        name = symbol(function, dtype)
        with COMPILE_LOCK.lock:
            if name not in self._addresses:
                with compiling():
                    self._load(unit_name, dtype)
            return self._addresses[name]

    def _load(self, unit_name: str, dtype: str) -> None:
        wanted = unit(unit_name)
        link_externals()
        for other in wanted.needs:
            self.address(other, unit(other).functions[0], dtype)
        path = cache_path(unit_name, dtype)
        code = read_sealed(path)
        if code is not None and self._link(code, wanted, dtype):
            return
        code = build(wanted, dtype)
        name = f"{unit_name}:{dtype}"
        self.compiled.append(name)
        note = fallback.reasons.get(symbol(wanted.functions[0], dtype), "")
        if reason := write_sealed(path, code, note):
            self.not_kept[name] = reason
        if not self._link(code, wanted, dtype):
            raise RuntimeError(f"fastgrad: {name} was compiled without one of {wanted.functions}")

    def _link(self, code: bytes, wanted: Unit, dtype: str) -> bool:
        """Make a unit's functions known; False, and nothing is, if the code lacks one."""
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        names = [symbol(function, dtype) for function in wanted.functions]
        found = {name: engine.get_function_address(name) for name in names}
        if not all(found.values()):  # 0 is what the engine calls a symbol that is not there
            return False
        self._engines.append(engine)
        for name, address in found.items():
            self._addresses[name] = address
            llvm.add_symbol(name, address)
        return True

    def add(self, assembly: str, name: str) -> int:
        """Return the address of a function in LLVM IR that is compiled for this process only."""
        with COMPILE_LOCK.lock, compiling():
            link_externals()
            code = bytes(machine().emit_object(llvm.parse_assembly(assembly)))
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            engine.finalize_object()
            self._engines.append(engine)
            address: int = engine.get_function_address(name)
            return address


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
def link_externals() -> None:
    """Make the C functions that kernels call known to LLVM's linker."""
    keep_freed_memory()
    found = {name: getattr(ctypes.pythonapi, name) for name in _PYTHON}
    if sys.platform == "win32":
        found |= {name: getattr(ctypes.cdll.msvcrt, name) for name in _C}
        found["sched_yield"] = ctypes.windll.kernel32.SwitchToThread
    else:
        names = [*_C, "sched_yield", "madvise"]
        found |= {name: getattr(ctypes.CDLL(None), name) for name in names}
    for name, function in found.items():
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        llvm.add_symbol(name, address)


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that were freed, as it does once any large block was freed.

    It takes blocks of 128 KiB and more from the system one by one, and gives the end of its heap
    back beyond 256 KiB. Both limits follow the largest such block that was freed, up to 32 MiB.
    The results and the workspace of a layer are some blocks of one size, and so came to more than
    twice the largest: each call mapped all its pages anew (12288 inputs, 20 outputs, 209 samples in
    columns: 5,900 page faults, 19 ms; 9 without). A block that nobody touches costs two calls of
    the system. Where a user has set the limits (MALLOC_TRIM_THRESHOLD_ ...) they stay.
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
    """Raise RuntimeError if a unit calls what nobody provides: LLVM would end the process."""
    link_externals()
    for function in module.functions:
        name = function.name
        ours = name.startswith(("llvm.", "fastgrad_"))  # instructions; units that it needs
        if function.is_declaration and not ours and llvm.address_of_symbol(name) is None:
            raise RuntimeError(f"fastgrad: a kernel calls {name}, which it is not linked with")


LIBRARY = Library()
