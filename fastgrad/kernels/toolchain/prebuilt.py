"""Kernels compiled in advance, which a wheel may hold: object files for a level of processors.

``FASTGRAD_PREBUILD=1 pip wheel .`` puts them there. A process takes a kernel from the user's own
cache first, where it was compiled for this very processor, then from here, and compiles it only if
neither has it. Finding one here imports no Numba.

A file's name is a hash of all that its code depends on, which is less than in the cache: users have
other releases of NumPy and Numba than the machine that built the wheel. README.md in this folder
says why each fact is or is not in it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

from fastgrad.kernels.toolchain import headers
from fastgrad.kernels.toolchain.object_cache import file_name, look, read_sealed, sources_hash
from fastgrad.kernels.toolchain.target import Target, host, target_of
from fastgrad.kernels.version import __version__

FOLDER = Path(__file__).parents[2] / "data" / "prebuilt"


class Level(NamedTuple):
    """Instructions that many processors share: its name, LLVM's for it, and what it needs."""

    name: str
    cpu: str
    features: frozenset[str]  # as LLVM names them


# The levels of the x86-64 psABI, "Micro-Architecture Levels". LLVM's answer about this machine has
# a feature only if the system saves its registers, too.
_V2 = frozenset({"cmov", "crc32", "cx16", "cx8", "fxsr", "mmx", "popcnt", "sahf", "sse", "sse2",
                 "sse3", "sse4.1", "sse4.2", "ssse3"})  # fmt: skip
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_X86 = Level("x86-64-v4", "x86-64-v4", _V4), Level("x86-64-v3", "x86-64-v3", _V3)
_ARM = (Level("neon", "generic", frozenset()),)  # every 64-bit ARM processor has NEON
# By the architecture in LLVM's triple, the best level first.
LEVELS = {"x86_64": _X86, "aarch64": _ARM, "arm64": _ARM}


def levels() -> tuple[Level, ...]:
    """Return the levels of this architecture, the best one first."""
    return LEVELS.get(_architecture(), ())


def _architecture() -> str:
    return llvm.get_process_triple().partition("-")[0]


@lru_cache(maxsize=1)
def level() -> Level | None:
    """Return the best level that this processor has, None where there is none.

    Kernels of one process pass packed blocks to each other, whichever file they are from. So only a
    level with this processor's register tile is taken. What NUMBA_CPU_NAME and NUMBA_CPU_FEATURES
    ask for, if anything, must be the level itself.
    """
    asked = "NUMBA_CPU_FEATURES" in os.environ or os.environ.get("NUMBA_CPU_NAME")
    target = host()
    has = {name[1:] for name in target.features.split(",") if name.startswith("+")}
    for each in levels():
        made_for = target_of(each.cpu, {})
        if target == made_for:
            return each
        if not asked and each.features <= has and _vectors(made_for) == _vectors(target):
            return each
    return None


def _vectors(target: Target) -> tuple[int, int]:
    return target.vector_bytes, target.vector_registers


@lru_cache(maxsize=1)
def _fingerprint() -> bytes:
    """Hash all that a file for this process depends on except the unit; b"" if there is none."""
    chosen = level()
    if chosen is None or not sources_hash():
        return b""
    digest = hashlib.sha256(sources_hash())
    for fact in (
        __version__,
        *(chosen.name, _architecture(), sys.platform),
        *(sys.implementation.cache_tag, getattr(sys, "abiflags", "")),
        f"{headers.HEADER} {headers.ITEMS} {headers.UNHASHED}",
        f"{headers.numpy_abi():x}",
    ):
        digest.update(f"{fact}\0".encode())
    return digest.digest()


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    """Return the folder of this processor's level, None if this installation has none."""
    if not FOLDER.is_dir():  # a wheel of sources alone: no more is asked
        return None
    chosen = level()
    return None if chosen is None or not _fingerprint() else FOLDER / chosen.name


def prebuilt_path(unit_name: str, dtype: str) -> Path | None:
    """Return the file that would hold a unit for this process, None where there is none."""
    folder = _folder()
    return folder and folder / file_name(_fingerprint(), unit_name, dtype)


def prebuilt(unit_name: str, dtype: str) -> bytes | None:
    """Return a unit's code that came with this installation and fits this process, else None."""
    return read_sealed(prebuilt_path(unit_name, dtype), beside=__file__)


def look_prebuilt(unit_name: str, dtype: str) -> tuple[int, str] | None:
    """Return the size of a unit's code and the note beside it, None where `prebuilt` does."""
    return look(prebuilt_path(unit_name, dtype), beside=__file__)


def path_to_write(folder: Path, unit_name: str, dtype: str) -> Path:
    """Return where below `folder` a unit of this process belongs, compiled for its level.

    Raises
    ------
    RuntimeError
        If this process does not compile for a level.
    """
    chosen = level()
    if chosen is None or host() != target_of(chosen.cpu, {}):
        raise RuntimeError(f"fastgrad: {host().cpu} is no level that kernels are prebuilt for")
    return folder / chosen.name / file_name(_fingerprint(), unit_name, dtype)
