"""How many threads a large layer is shared over, and the sharing.

Work is cut so that no output element is computed by two threads: blocks of samples for y,
grad_x and grad_z, blocks of input features for grad_w. Each element is therefore the same chain
of operations as with one thread, and the bits do not depend on the number of threads.

Threads are started and joined within the call (0.1 ms, against 2 ms of work at least), and
kernels release the GIL: there is no pool to survive a fork, to nest or to deadlock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["get_num_threads", "set_num_threads"]

# Multiply-adds below which one thread is as fast: about 2 ms of float32 on one core.
SHARE_FROM = 1 << 26


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _initial() -> int:
    asked = os.environ.get("FASTGRAD_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else _available()


_count = _initial()


def set_num_threads(n: int) -> None:
    """Share large layers over `n` threads from now on.

    The default is ``FASTGRAD_NUM_THREADS``, else every core this process may use. Results do
    not depend on it, to the bit.

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
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: n is a {type(n).__name__}: give a positive integer")
    if n < 1:
        raise ValueError(f"set_num_threads: n is {n}: give a positive integer")
    _count = int(n)


def get_num_threads() -> int:
    """Return the number of threads large layers are shared over."""
    return _count


def shares(work: int) -> int:
    """Return over how many threads `work` multiply-adds are worth sharing."""
    return 1 if work < SHARE_FROM else min(_count, work // (SHARE_FROM // 2))


def cut(length: int, parts: int, multiple: int) -> list[slice]:
    """Cut a range into at most `parts` slices whose lengths are multiples of `multiple`."""
    step = -(-length // parts)
    step = -(-step // multiple) * multiple
    return [slice(i, min(i + step, length)) for i in range(0, length, step)]


def run(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run every task, the first in this thread; return their results or raise the first error."""
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException] = []

    def work(i: int) -> None:
        try:
            results[i] = tasks[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, len(tasks))]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
