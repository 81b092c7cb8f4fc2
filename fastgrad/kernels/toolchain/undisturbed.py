"""Kernels are loaded and compiled by one thread at a time, without interruption.

Signals wait: if an exception stopped an import of Numba or llvmlite, or left LLVM's lock held, the
process could not use them again. Forks wait: the lock would stay held in the child for ever. The
end of Python waits: C's `exit` destroys the data LLVM works on, and a daemon thread that is
compiling would crash the process (as did one of twelve runs that ended within a compilation). All
of them take effect as soon as the kernels are compiled.

Importing this imports neither Numba nor llvmlite.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

FORK_PATIENCE = 5.0  # seconds that a fork waits for another thread
# The same for the end of Python: a unit takes at most a second, several on a loaded machine.
END_PATIENCE = 30.0


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Delay the handlers of signals until the end, and then run each of them once.

    In a thread that runs no handlers, as all but the main thread of the main interpreter, nothing
    has to wait.
    """
    before: dict[int, Callable[..., Any]] = {}
    waiting: dict[int, Any] = {}
    over: list[bool] = []

    def note(number: int, frame: Any) -> None:
        if over:  # an exception ended the loop that puts the handlers back
            before[number](number, frame)
        else:
            waiting[number] = frame

    try:
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                try:
                    signal.signal(number, note)
                except ValueError:  # this thread runs no handlers
                    if len(before) > 1:  # it does: a handler raised this meanwhile
                        raise
                    before.clear()
                    break
        yield
    finally:
        try:
            for each, known in before.items():
                signal.signal(each, known)
        finally:
            over += [True]  # not earlier: a signal in the loop would end it
            with ExitStack() as stack:  # all the others, even if one raises
                for each, frame in waiting.items():
                    stack.callback(before[each], each, frame)


class CompileLock:
    """The lock of all loading and compiling, which forks and the end of Python wait for."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ending: int | None = None  # the thread in which Python ends
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.hold, after_in_parent=self.release, after_in_child=self.renew
            )
        atexit.register(self.end)

    def hold(self) -> None:
        """Wait for another thread that loads, but not for ever: it may be waiting for this one."""
        end = time.monotonic() + FORK_PATIENCE
        while _importing() and time.monotonic() < end:
            time.sleep(0.01)
        self.lock.acquire(timeout=FORK_PATIENCE)

    def release(self) -> None:
        """Go on after a fork."""
        # The lock knows who holds it: a flag of ours would belong to the thread that forks last.
        with suppress(RuntimeError):  # not this thread, which lost patience
            self.lock.release()

    def renew(self) -> None:
        """Go on in the child."""
        self.lock, self.ending = threading.RLock(), None

    def end(self) -> None:
        """Wait for another thread that loads; from now on only this one may."""
        self.ending = threading.get_ident()
        if self.lock.acquire(timeout=END_PATIENCE):
            self.lock.release()


def _importing() -> bool:
    """Return whether a thread imports a module of ours: the child would wait for its lock."""
    specs = (
        getattr(module, "__spec__", None)
        for name, module in list(sys.modules.items())
        if name.startswith("fastgrad.kernels.")
    )
    return any(getattr(spec, "_initializing", False) for spec in specs)


COMPILE_LOCK = CompileLock()


@contextmanager
def compiling() -> Iterator[None]:
    """Load or compile, undisturbed.

    Raises
    ------
    SystemExit
        If Python is ending in another thread: this one ends here, as it would a moment later.
    """
    with COMPILE_LOCK.lock:
        if COMPILE_LOCK.ending not in (None, threading.get_ident()):
            raise SystemExit
        with interrupts_deferred():
            yield
