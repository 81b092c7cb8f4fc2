"""Compiled units on disk: one file per unit, named by all that its contents depend on.

The name is a hash of the kernels' sources, the versions and the processor; the contents are sealed
with a checksum. A file is written beside its place and renamed over it, so concurrent starts,
crashes and full disks leave a whole file or none; whatever does not match its checksum is compiled
again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from fastgrad.kernels.target import host
from fastgrad.kernels.undisturbed import interrupts_deferred

with interrupts_deferred():
    import importlib.metadata

    import llvmlite
    import llvmlite.binding as llvm


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
