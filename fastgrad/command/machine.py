"""What a measurement was made on: versions, processor, threads."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from fastgrad.command.blas import blas
from fastgrad.command.environment import configuration

__all__ = ["THREAD_VARIABLES", "blas_threads", "facts", "processor"]

# The variables that limit our threads and those of NumPy's BLAS. Read once, at import.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
    "FASTGRAD_NUM_THREADS",
)
_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve")


def processor() -> str:
    """Return the processor's usual name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def blas_threads() -> str:
    """Return how many threads NumPy's BLAS is set to use, or that it is not set."""
    told = {os.environ[name] for name in THREAD_VARIABLES[:-1] if name in os.environ}
    return " or ".join(sorted(told)) or "not set"


def facts() -> dict[str, Any]:
    """Return `environment.configuration`, the processor's name, and NumPy's BLAS."""
    from fastgrad.kernels.toolchain.target import host

    has = set(host().features.split(","))
    return {
        **configuration(),
        "processor": processor(),
        "features": " ".join(name for name in _FEATURES if f"+{name}" in has),
        "cores": os.cpu_count(),
        "BLAS": blas(),
        "BLAS threads": blas_threads(),
    }
