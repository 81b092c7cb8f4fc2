"""Numba as a front end: its settings while it turns the kernels' sources into LLVM IR.

Signals wait, Numba makes only LLVM IR, and no garbage is collected. All settings are restored
afterwards: the user's own functions are compiled as before.
Importing this does not import Numba.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastgrad.kernels.toolchain.fallback import numba_alone
from fastgrad.kernels.toolchain.undisturbed import compiling


@contextmanager
def numba_enabled() -> Iterator[None]:
    """Compile even under NUMBA_DISABLE_JIT: kernels on raw memory have no Python form.

    One thread at a time: each restores the settings that it found.
    """
    with compiling():
        from numba import config

        disabled, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = disabled


@contextmanager
def numba_front_end() -> Iterator[None]:
    """Have Numba make LLVM IR and no more: a unit is optimized and compiled once, as a whole.

    Its own optimization is switched off, and its engine, which makes machine code of every
    function, is replaced by one that makes none (a quarter and a fifth of the time). If another
    version of Numba keeps its engine elsewhere, that engine stays, which only costs time; if it
    asks more of its engine, `fallback` compiles without all of this.
    """
    if numba_alone():
        yield
        return
    from numba import config
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    with global_compiler_lock:  # nobody else's functions
        codegen = cpu_target.target_context.codegen()  # made with the user's own config.OPT
        level, engine = config.OPT, getattr(codegen, "_engine", None)
        config.OPT = type(config.OPT)(0)
        if engine is not None:
            codegen._engine = _NoMachineCode()
        try:
            yield
        finally:
            config.OPT = level
            if engine is not None:
                codegen._engine = engine


class _NoMachineCode:
    """An engine that makes no code, with what Numba asks of it."""

    def __init__(self) -> None:
        self._variable = ctypes.c_void_p()  # for what Numba sets in its code

    def add_module(self, module: Any) -> None:
        pass

    def finalize_object(self) -> None:
        pass

    def is_symbol_defined(self, name: str) -> bool:
        return False

    def get_global_value_address(self, name: str) -> int:
        return ctypes.addressof(self._variable)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Compile without garbage collection, which finds nothing for a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
