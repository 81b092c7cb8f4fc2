"""Compiling in several processes: each is told a unit, compiles it into the cache, asks again."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue

from fastgrad.kernels.toolchain.processor import interpreter

__all__ = ["compile_in_processes"]

# A line is a unit and a dtype. The answer is an empty line, or why the unit is not in the cache.
_WORKER = """
import sys
from fastgrad.kernels.toolchain.library import LIBRARY
for line in sys.stdin:
    unit, dtype = line.split()
    LIBRARY.compile(unit, dtype)
    print(LIBRARY.not_kept.get(f"{unit}:{dtype}", ""), flush=True)
"""

Work = tuple[str, str]  # unit and dtype


def compile_in_processes(
    work: Sequence[Work], jobs: int, progress: Callable[[int, str, str], None]
) -> list[Work]:
    """Compile units into the cache, in `jobs` processes, and return those that got there.

    A process that fails says nothing: whoever loads the unit compiles it again, and sees why.

    Parameters
    ----------
    work : sequence of (unit, dtype)
        What to compile. Compiling a unit needs no other one.
    jobs : int
        How many processes, at most.
    progress : callable
        Called as ``progress(done, unit, dtype)`` after each.
    """
    program = interpreter()
    if program is None:
        return []
    todo: SimpleQueue[Work | None] = SimpleQueue()
    answers: SimpleQueue[tuple[Work, bool] | None] = SimpleQueue()
    count = min(jobs, len(work))
    for item in (*work, *[None] * count):
        todo.put(item)
    done = []
    with ExitStack() as running:
        for _ in range(count):
            process = running.enter_context(
                subprocess.Popen(
                    [program.path, "-c", _WORKER], env=program.environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
            running.callback(process.kill)
            threading.Thread(target=_feed, args=(process, todo, answers), daemon=True).start()
        left = count
        while left:
            try:
                answer = answers.get(timeout=0.5)  # not for ever: then Ctrl-C would wait, too
            except Empty:
                continue
            if answer is None:
                left -= 1
                continue
            item, kept = answer
            if kept:
                done.append(item)
                progress(len(done), *item)
    return done


def _feed(
    process: subprocess.Popen[str],
    todo: SimpleQueue[Work | None],
    answers: SimpleQueue[tuple[Work, bool] | None],
) -> None:
    """Tell a process one unit after another, until there are none or it has died."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError, ValueError):  # its pipe is closed
        while (item := todo.get()) is not None:
            print(*item, file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                break
            answers.put((item, line == "\n"))
    answers.put(None)
