"""The number of threads for large layers and networks, and how they share the work.

Two threads never compute the same output element of a layer: y and grad_x are cut into tiles,
grad_z by samples, grad_w by input features, grad_b by outputs (`dense_large`). A network adds up
its gradient block by block, in the batch's order, whichever thread computed a block
(`kernels.network.plan`). So each element has the same chain of operations as with one thread, and
the bits do not depend on the number of threads.

A call into compiled code cannot be stopped. So a thread works in slices (SLICE), and looks for
Ctrl-C, or an error in another thread, between them.

Each call starts its threads and waits for them: 0.1 ms, for at least 2 ms of work. (A
`threading.Thread`, whose `start` waits until the new thread runs, takes 0.2 ms.) Kernels release
the GIL. There is no pool that would have to survive a fork, could nest or deadlock.

However the call ends, no thread writes to the caller's arrays afterwards. A signal's handler may
raise between any two Python steps of the main thread, also while that waits after an earlier
exception, so no wait written in Python is safe (17 of 90 calls under a repeating alarm left threads
writing). Therefore the main thread starts only one thread; that starts the others and waits for
them, where no handler runs. After an exception the main thread waits in one call of C.
"""

from __future__ import annotations

import ctypes
import os
from _thread import _local, allocate_lock, start_new_thread
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType
from typing import Any

from fastgrad.arguments import check_count

__all__ = ["get_num_threads", "set_num_threads"]

# With fewer multiply-adds one thread is as fast: about 2 ms of float32 on one core.
SHARE_FROM = 1 << 26
# Multiply-adds after which Python looks for signals: 0.03 s of float32, 0.05 s of float64, a few
# times longer where processes share the cores (there, with 1 << 31, Ctrl-C once took 0.77 s). More
# than the 1.08e9 of a 512x1024x1024 backward pass: two slices would pack w.T twice (3 %).
SLICE = 5 << 28


def piece(count: int) -> int:
    """Return the multiply-adds after which each of `count` threads checks whether to stop.

    Half a slice if there are several: threads that share a core wait for each other (8 on 2 cores
    with whole slices of float64: 0.57 s).
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

    The default is ``FASTGRAD_NUM_THREADS``, else every core this process may use. No bit of a
    result depends on it.

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


_here = _local()  # what `limited` set in this thread


@contextmanager
def limited(n: int) -> Iterator[None]:
    """Share over at most `n` threads what this thread calls: it may be one of many that call."""
    before = getattr(_here, "limit", None)
    _here.limit = n
    try:
        yield
    finally:
        _here.limit = before


def shares(work: int) -> int:
    """Return the number of threads worth using for `work` multiply-adds."""
    if work < SHARE_FROM:
        return 1
    limit = getattr(_here, "limit", None)
    return min(_count if limit is None else min(limit, _count), work // (SHARE_FROM // 2))


def cut(whole: slice, most: int, multiple: int) -> list[slice]:
    """Cut a range into slices of at most `most`, in multiples (at least one) of `multiple`."""
    if whole.stop - whole.start <= most:
        return [whole]
    step = max(most // multiple, 1) * multiple
    return [slice(i, min(i + step, whole.stop)) for i in range(whole.start, whole.stop, step)]


def share(whole: slice, parts: int, multiple: int) -> list[slice]:
    """Cut a range into at most `parts` slices whose lengths are multiples of `multiple`."""
    each = -(-(whole.stop - whole.start) // parts)
    return cut(whole, each + -each % multiple, multiple)


Steps = Sequence[Callable[[], Any]]


# -- running ------------------------------------------------------------------------------------


def _c_function(name: str, result: Any, *arguments: Any) -> Any:
    """Return a function of CPython's stable ABI, called without the GIL."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


# Locks of C: unlike with those of `_thread`, waiting for them runs no signal handlers.
_new_lock = _c_function("PyThread_allocate_lock", ctypes.c_void_p)
_acquire = _c_function(
    "PyThread_acquire_lock_timed",
    ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int,
)  # fmt: skip
_release = _c_function("PyThread_release_lock", None, ctypes.c_void_p)
_FOREVER, _SOME_TIME = -1, 100_000  # microseconds, after which Python looks for signals
_ACQUIRED = 1
_gates: list[int] = []  # locked, for later calls

# False where gevent or eventlet has replaced the function: theirs starts no thread.
_STARTS_THREADS = isinstance(start_new_thread, BuiltinFunctionType)

_forks = 0  # between this process and the first one


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def run(tasks: Sequence[Steps]) -> None:
    """Run the steps of every task in order, the first task in this thread, the others in their own.

    If the system refuses more threads, an existing one runs the remaining tasks.

    After an error in any thread, or an exception from a signal's handler in this one, no thread
    begins another step, and the exception is raised when all have ended: nothing still writes to
    the caller's arrays.
    """
    if len(tasks) < 2 or not _STARTS_THREADS:
        for steps in tasks:
            for step in steps:
                step()
        return
    gate = _gates.pop() if _gates else _new_gate()
    family = _forks
    rest = list(tasks[1:])
    errors: list[BaseException] = []
    # Flags, each set as soon as its list holds something.
    stop: list[bool] = []
    begun: list[bool] = []  # the other thread runs: wait for it from now on
    refused: list[bool] = []  # there is no other thread
    ended: list[bool] = []

    def work(steps: Steps) -> None:
        for step in steps:
            if stop:
                return
            step()

    def others() -> None:
        begun.append(True)  # before reading the others: so one of two threads sees the other's flag
        try:
            if not (refused or stop):
                _side_by_side(rest, work, stop, errors)
        except BaseException as error:  # no memory for a lock
            errors.append(error)
        finally:
            rest.clear()  # this thread ends later than the call: it must keep no array alive
            ended.append(True)
            _release(gate)

    try:
        try:
            start_new_thread(others, ())
        except RuntimeError:  # can't start new thread
            refused += [True]
            if begun:  # the thread did start: a signal's handler raised this
                raise
        for steps in tasks if refused else tasks[:1]:
            work(steps)
        if not refused:
            while _acquire(gate, _SOME_TIME, True) != _ACQUIRED:
                if family != _forks:
                    raise RuntimeError(
                        "fastgrad: the handler of a signal forked this process in the middle of a "
                        "call, whose other threads did not come along: let it exec or _exit"
                    )
            _gates.append(gate)
        if errors:
            raise errors[0]
    except BaseException:
        # Until the wait ends nothing here calls Python or loops, so no handler runs.
        stop += [True]
        if begun and not ended and family == _forks:
            _acquire(gate, _FOREVER, False)
        rest.clear()  # nor one that has not begun
        raise
    finally:
        errors.clear()  # else exception, frame and list keep the caller's arrays alive


def _side_by_side(
    tasks: Sequence[Steps],
    work: Callable[[Steps], None],
    stop: list[bool],
    errors: list[BaseException],
) -> None:
    """Run every task, the first one here, the others in threads of their own; return when all end.

    Call it outside the main thread, where no signal's handler interrupts it.
    """
    locks = [allocate_lock() for _ in tasks]

    def run_one(i: int) -> None:
        try:
            work(tasks[i])
        except BaseException as error:
            errors.append(error)
            stop.append(True)
        finally:
            locks[i].release()

    started = 1
    for lock in locks:
        lock.acquire()
    try:
        for i in range(1, len(tasks)):
            start_new_thread(run_one, (i,))
            started += 1
    except (RuntimeError, MemoryError):  # can't start new thread
        pass
    for i in (0, *range(started, len(tasks))):
        run_one(i)
    for lock in locks:
        lock.acquire()


def _new_gate() -> int:
    """Return a lock of C, locked."""
    gate: int | None = _new_lock()
    if gate is None:
        raise MemoryError("fastgrad: no memory for a lock")
    _acquire(gate, _FOREVER, False)
    return gate
