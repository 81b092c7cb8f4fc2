"""Which BLAS NumPy uses, and whether a setting slows it down.

A comparison with NumPy means little without it: OpenBLAS picks its kernels by the processor, or by
``OPENBLAS_CORETYPE``, and the kernels of another processor can take twice the time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["blas", "kernel", "slowed"]

# These make OpenBLAS use kernels or block sizes that are not for this processor.
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# The function's name in OpenBLAS, in NumPy's wheels, and with 64-bit integers.
_CORE_NAME = [
    f"{prefix}openblas_get_corename{suffix}"
    for prefix in ("scipy_", "")
    for suffix in ("64_", "_64", "")
]


def blas() -> str:
    """Return the name and version of NumPy's BLAS, and the kernels it picked.

    Examples
    --------
    >>> from fastgrad.command.blas import blas
    >>> blas()  # doctest: +SKIP
    'scipy-openblas 0.3.31.188.0, SkylakeX kernels'
    """
    built: Any = np.show_config(mode="dicts")
    found = built.get("Build Dependencies", {}).get("blas", {})
    name = " ".join(str(found[key]) for key in ("name", "version") if found.get(key))
    picked = kernel()
    return (name or "unknown") + (f", {picked} kernels" if picked else "")


def kernel() -> str | None:
    """Return the processor whose kernels OpenBLAS runs; None for another BLAS."""
    for path in _libraries():
        try:
            library = ctypes.CDLL(str(path))  # already loaded: no code runs
        except OSError:
            continue
        for name in _CORE_NAME:
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return None


def _libraries() -> Iterator[Path]:
    """Yield the files that may be NumPy's OpenBLAS: those of its wheel, then those loaded."""
    home = Path(np.__file__).parent
    for place in (home.parent / "numpy.libs", home / ".dylibs"):
        yield from sorted(place.glob("*openblas*"))
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return  # not Linux
    files = dict.fromkeys(line.partition("/")[2] for line in lines if "blas" in line)
    yield from (Path("/", name) for name in files if name)


def slowed() -> str | None:
    """Return a sentence that says why NumPy must not be timed here, or None."""
    for name in _SLOWING:
        if name in os.environ:
            return (
                f"{name}={os.environ[name]} is set: NumPy may run another processor's kernels, at "
                "half its speed, and a figure beside it would say nothing. Unset it and measure "
                "again"
            )
    return None
