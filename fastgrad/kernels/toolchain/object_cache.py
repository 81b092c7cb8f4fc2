"""Compiled units on disk: one file per unit, named by all that its contents depend on.

The name is a hash of the kernels' sources, the versions and the processor. The file holds a
checksum, a line of text and the object code. It is written beside its place and then renamed, so
concurrent starts, crashes and full disks leave a whole file or none; whatever does not match its
checksum is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from fastgrad.kernels.toolchain import cache_place
from fastgrad.kernels.toolchain.cache_place import cache_directory
from fastgrad.kernels.toolchain.pruning import prune
from fastgrad.kernels.toolchain.sources import contents
from fastgrad.kernels.toolchain.target import host
from fastgrad.kernels.toolchain.undisturbed import interrupts_deferred
from fastgrad.kernels.version import __version__

with interrupts_deferred():
    import importlib.metadata

    import llvmlite
    import llvmlite.binding as llvm

_SEAL = 32  # bytes of a SHA-256


@lru_cache(maxsize=1)
def sources_hash() -> bytes:
    """Hash what kernels are made from; b"" if it cannot be read."""
    digest, empty = hashlib.sha256(), True
    for name, content in contents(Path(__file__).parents[1], globals().get("__loader__")):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
        empty = False
    return b"" if empty else digest.digest()


@lru_cache(maxsize=1)
def _fingerprint() -> bytes:
    """Hash all that compiled code depends on except the unit; b"" if that cannot be read."""
    if not sources_hash():
        return b""
    version, digest, target = importlib.metadata.version, hashlib.sha256(sources_hash()), host()
    for fact in (
        __version__,  # of the running code, if the files have been replaced since
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
    """Return the file that holds a unit, whether it exists or not; None where there is no place."""
    directory = cache_directory()
    if directory is None or not _fingerprint():
        return None
    return directory / file_name(_fingerprint(), unit_name, dtype)


def file_name(fingerprint: bytes, unit_name: str, dtype: str) -> str:
    """Return the name of the file of a unit that depends on what `fingerprint` is the hash of."""
    key = hashlib.sha256(fingerprint + f"{unit_name}:{dtype}".encode()).hexdigest()
    return f"{unit_name}-{dtype}-{key[:24]}.o"


def refusal() -> str:
    """Return why no compiled code is kept or loaded from the cache; "" if it is."""
    return cache_place.refusal() or ("" if _fingerprint() else "fastgrad's own files are not there")


def read_sealed(path: Path | None, beside: str = "") -> bytes | None:
    """Return the code that `write_sealed` wrote, or None.

    It is None if the file is missing, damaged or may be somebody else's: see `cache_place.read`.
    """
    _, code = _read(path, beside)
    return code or None


def look(path: Path | None, beside: str = "") -> tuple[int, str] | None:
    """Return the size of a file's code and the note beside it, None where `read_sealed` does."""
    note, code = _read(path, beside)
    return (len(code), note.decode(errors="replace")) if code else None


def _read(path: Path | None, beside: str) -> tuple[bytes, bytes]:
    """Return note and code of a file, both empty where there is none to be trusted."""
    content = cache_place.read(path, beside) if path is not None else None
    if path is None or content is None:
        return b"", b""
    if content[:_SEAL] != _seal(path, content[_SEAL:]):
        return b"", b""
    note, _, code = content[_SEAL:].partition(b"\n")
    return note, code


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + content).digest()


@lru_cache(maxsize=1)
def prune_once() -> None:
    """Remove old kernels of other versions from the cache, the first time in a process."""
    directory = cache_directory()
    if directory is not None:
        prune(directory, lambda name, dtype: file_name(_fingerprint(), name, dtype))


def write_sealed(path: Path | None, code: bytes, note: str = "") -> str:
    """Write `code`, a line about it and their checksum to `path`, in one step.

    Returns
    -------
    str
        Why it could not be written. That is not an error: the next process compiles again.
    """
    if path is None:
        return refusal()
    content = " ".join(note.split()).encode() + b"\n" + code
    temporary = None
    try:
        cache_place.make(path.parent)
        handle, temporary = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_seal(path, content) + content)
        os.chmod(temporary, 0o644)  # mkstemp lets nobody else read it
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        return error.strerror or str(error)
    return ""
