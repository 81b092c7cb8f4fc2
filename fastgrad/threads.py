"""How many threads large layers and networks are shared over, and the sharing.

A layer is cut so that no output element is computed by two threads: y and grad_x into tiles,
grad_z by samples, grad_w by input features, grad_b by outputs (`dense_large`). A network's gradient
is added up block by block of the batch, in their order, whoever computed them (`kernels.plan`). So
each element is the same chain of operations as with one thread, and the bits do not depend on the
number of threads.

A thread does its work in slices (SLICE) and looks for Ctrl-C, or an error elsewhere, between
them: a call into compiled code cannot be stopped.

Threads are started and waited for within the call (0.1 ms, against 2 ms of work at least; as
`threading.Thread`, whose `start` waits for the new thread to run, 0.2 ms), and kernels release the
GIL: there is no pool to survive a fork, to nest or to deadlock.
"""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from fastgrad.arrays import check_count

__all__ = ["get_num_threads", "set_num_threads"]

# Multiply-adds below which one thread is as fast: about 2 ms of float32 on one core.
SHARE_FROM = 1 << 26
# Multiply-adds after which Python looks for signals: 0.03 s of float32, 0.05 s of float64, and
# some times that where processes share the cores (1 << 31: 0.77 s once to see Ctrl-C there). More
# than the 1.08e9 of a 512x1024x1024 backward pass, which in two slices packs w.T twice (3 %).
SLICE = 5 << 28


def piece(count: int) -> int:
    """Return the multiply-adds after which each of `count` threads looks for an end.

    Half a slice where there are several: as long as cores are missing they wait for each other
    (8 on 2 cores, whole slices of float64: 0.57 s).
    """
    return SLICE if count == 1 else SLICE // 2


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _initial() -> int:
    asked = os.environ.get("FASTGRAD_NUM_THREADS", "")
    number = int(asked) if asked.isdecimal() and len(asked) < 10 else 0
    return number or _available()


_count = _initial()


def set_num_threads(n: int) -> None:
    """Share large layers and networks over `n` threads from now on.

    The default is ``FASTGRAD_NUM_THREADS``, else every core this process may use. Results do
    not depend on it, to the bit.

    Parameters
    ----------
    n : int
        At least 1; more than there are cores is allowed, and slower.

    Raises
    ------
    TypeError, ValueError
        Unless `n` is a positive integer.

    Examples
    --------
    >>> import fastgrad as fg
    >>> before = fg.get_num_threads()
    >>> fg.set_num_threads(2)
    >>> fg.get_num_threads()
    2
    >>> fg.set_num_threads(before)
    """
    global _count
    _count = check_count("set_num_threads", "n", n)


def get_num_threads() -> int:
    """Return the number of threads that large layers and networks are shared over.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.get_num_threads() >= 1
    True
    """
    return _count


def shares(work: int) -> int:
    """Return over how many threads `work` multiply-adds are worth sharing."""
    return 1 if work < SHARE_FROM else min(_count, work // (SHARE_FROM // 2))


def cut(whole: slice, most: int, multiple: int) -> list[slice]:
    """Cut a range into slices of at most `most`, multiples of `multiple` and at least one of it."""
    if whole.stop - whole.start <= most:
        return [whole]
    step = max(most // multiple, 1) * multiple
    return [slice(i, min(i + step, whole.stop)) for i in range(whole.start, whole.stop, step)]


def share(whole: slice, parts: int, multiple: int) -> list[slice]:
    """Cut a range into at most `parts` slices whose lengths are multiples of `multiple`."""
    each = -(-(whole.stop - whole.start) // parts)
    return cut(whole, each + -each % multiple, multiple)


Steps = Sequence[Callable[[], Any]]


def run(tasks: Sequence[Steps]) -> None:
    """Run the steps of every task in order, the first task in this thread, the others in their own.

    Where the system gives no more threads, what is left runs in this one, too.

    After an error in any thread, Ctrl-C in this one included, no thread begins another step,
    and the error is raised when all have ended: nothing still writes to the caller's arrays.
    """
    errors: list[BaseException] = []
    begun: set[int] = set()
    ended = [threading.Event() for _ in tasks]

    def work(i: int) -> None:
        begun.add(i)
        try:
            for step in tasks[i]:
                if errors:
                    return
                step()
        except BaseException as error:
            errors.append(error)
        finally:
            ended[i].set()

    try:
        started = 1
        with suppress(RuntimeError):  # can't start new thread
            for i in range(1, len(tasks)):
                _thread.start_new_thread(work, (i,))
                started += 1
        for i in (0, *range(started, len(tasks))):
            work(i)
        for event in ended:
            _wait(event)
    except BaseException as error:  # Ctrl-C while starting or waiting
        errors.append(error)
    while errors:  # what has not begun by now will find them and do nothing
        try:
            for i in begun - {0}:
                _wait(ended[i])
            raise errors[0]
        except KeyboardInterrupt as error:
            if error is errors[0]:
                raise
            # Ctrl-C once more: they are ending already.


def _wait(event: threading.Event) -> None:
    while not event.wait(0.1):  # back in Python now and then: a signal's handler runs here
        pass
