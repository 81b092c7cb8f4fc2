"""The fallback if Numba's private parts have moved: plain Numba compiles, more slowly.

Kernels are compiled with a selection of Numba's passes, with its engine replaced and its own
optimization off. None of that is Numba's public interface, and a later version may refuse it. Then
the same kernel is compiled again without any of it. README.md in this folder lists the parts.
Imports no Numba.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

reasons: dict[str, str] = {}  # what Numba had to compile alone in this process, and why

_this_thread = threading.local()


def numba_alone() -> bool:
    """Return whether this thread compiles by nothing but Numba's public interface."""
    return getattr(_this_thread, "alone", False)


def compiled(name: str, make: Callable[[], T]) -> T:
    """Return what `make` compiles; by Numba alone after an error that its source did not cause."""
    try:
        return make()
    except Exception as error:
        if isinstance(error, MemoryError) or numba_alone() or _of_the_source(error):
            raise
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    _this_thread.alone = True
    try:
        made = make()
    finally:
        _this_thread.alone = False
    reasons[name] = why
    return made


def _of_the_source(error: Exception) -> bool:
    """Return whether Numba could not type the kernel: a second attempt would fail, too."""
    return any(kind.__name__ == "TypingError" for kind in type(error).__mro__)
