"""A check that LLVM knows the processor in Numba's variables: an unknown one ends the process.

LLVM has no list of names to search, so another process tries the name first. That takes 0.2 s, and
happens only if a kernel must be compiled for a processor other than this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from typing import NamedTuple

from fastgrad.kernels.toolchain.target import host

# Known to every LLVM, and so not tried.
_KNOWN = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "generic")

_TRY = """
import sys, llvmlite.binding as llvm
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
target = llvm.Target.from_default_triple().create_target_machine(*sys.argv[1:3])
target.emit_object(llvm.parse_assembly("define i64 @f() { ret i64 1 }"))
"""


class UnknownProcessor(ValueError):
    """NUMBA_CPU_NAME or NUMBA_CPU_FEATURES says what LLVM does not know."""


class Interpreter(NamedTuple):
    """A program that runs Python, and the environment in which it imports what this one does."""

    path: str
    environment: dict[str, str]


def interpreter() -> Interpreter | None:
    """Return this Python; None if the program is no interpreter and must not be started again."""
    if getattr(sys, "frozen", False) or "python" not in os.path.basename(sys.executable or ""):
        return None
    modules = os.pathsep.join(filter(None, sys.path))
    return Interpreter(sys.executable, {**os.environ, "PYTHONPATH": modules})


@lru_cache(maxsize=1)
def check_processor() -> None:
    """Raise UnknownProcessor unless LLVM can make code for the processor of `host`."""
    asked = {name: os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")}
    name, features = asked.values()
    if (not name or name in _KNOWN) and not features:
        return
    complaint = _complaint(host().cpu, host().features)
    if complaint is None:
        return
    settings = " and ".join(
        f"{variable} is {value!r}" for variable, value in asked.items() if value
    )
    raise UnknownProcessor(
        f"{settings}: LLVM cannot make code for that{complaint}. Unset it, or give a name that "
        "LLVM has, such as 'x86-64-v3'"
    )


def _complaint(cpu: str, features: str) -> str | None:
    """Return LLVM's complaint about a processor, None if there is none or no way to ask."""
    program = interpreter()
    if program is None:
        return None
    try:
        tried = subprocess.run(
            [program.path, "-c", _TRY, cpu, features],
            env=program.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    for line in tried.stderr.splitlines():
        if "is not a recognized" in line or line.startswith("LLVM ERROR"):
            return f" ({line.partition(' for this target')[0]})"
    return "" if tried.returncode < 0 else None
