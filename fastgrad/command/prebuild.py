"""Compile every kernel for each level of this architecture, into the folder of a wheel.

``FASTGRAD_PREBUILD=1 pip wheel .`` runs it (`.ci/prebuilt_wheel.py`)::

    python -m fastgrad.command.prebuild FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from fastgrad.command import environment
from fastgrad.kernels.units import DTYPES

__all__ = ["main"]

ONE = "--this-level"


def main(arguments: list[str]) -> None:
    """Fill the folder that is the first argument."""
    from fastgrad.kernels.toolchain.prebuilt import levels

    folder = Path(arguments[0]).resolve()
    if ONE in arguments:
        _compile(folder)
        return
    for level in levels():
        # A process of its own: what kernels are compiled for is settled once in each.
        variables = {**os.environ, "NUMBA_CPU_NAME": level.cpu}
        variables.pop("NUMBA_CPU_FEATURES", None)
        with tempfile.TemporaryDirectory() as cache:
            variables["FASTGRAD_CACHE_DIR"] = cache
            command = [sys.executable, "-m", "fastgrad.command.prebuild", str(folder), ONE]
            subprocess.run(command, env=variables, check=True)


def _compile(folder: Path) -> None:
    """Compile all units for the level that this process was told, and write them to `folder`."""
    from fastgrad.kernels.toolchain.object_cache import (
        cache_path,
        look,
        read_sealed,
        write_sealed,
    )
    from fastgrad.kernels.toolchain.prebuilt import path_to_write

    environment.warmup(jobs=os.cpu_count() or 1)
    compilers = f"Numba {version('numba')}, llvmlite {version('llvmlite')}"
    for name, dtype in ((name, dtype) for dtype in DTYPES for name in environment.units()):
        kept = cache_path(name, dtype)
        code, about = read_sealed(kept), look(kept)
        if code is None or about is None:
            raise SystemExit(f"{name} {dtype} is not in {kept}")
        note = ": ".join(filter(None, (compilers, about[1])))
        if reason := write_sealed(path_to_write(folder, name, dtype), code, note):
            raise SystemExit(f"cannot write to {folder}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
