"""Ctrl-C inside a large layer: KeyboardInterrupt soon, and the next call is right."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import output, start

import fastgrad as fg
from fastgrad import threads

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of POSIX"),
    pytest.mark.usefixtures("python_handler", "no_collection"),
]

PATIENCE = 60  # seconds after which a signal is lost
SOON = 0.5  # seconds from the signal to the exception


def forward(dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return some seconds of work, and a small call of the same kind."""
    x, w = np.ones((24_000, 1500), dtype), np.ones((1500, 1500), dtype)
    return lambda: fg.dense(x, w, None, "tanh"), lambda: fg.dense(x[:3], w[:, :5])[2, 4]


def backward(dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    x, w = np.ones((9000, 1500), dtype), np.ones((1500, 1500), dtype)
    y, cache = fg.dense_forward(x[:3], w[:, :5])
    _, large = fg.dense_forward(np.ones((1, 1500), dtype), w)
    large = large._replace(x=x, saved=np.ones((9000, 1500), dtype))
    grad = np.ones((9000, 1500), dtype)
    small = lambda: fg.dense_backward(np.ones_like(y), cache).b or fg.dense(x[:1], w)[0, 0]  # noqa: E731
    return lambda: fg.dense_backward(grad, large), small


def large_weights(dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """256 samples alone would take longer than a slice: cut over outputs and features."""
    x, w = np.ones((512, 6000), dtype), np.ones((6000, 6000), dtype)
    _, cache = fg.dense_forward(np.ones((1, 6000), dtype), w)
    cache = cache._replace(x=x, saved=np.ones((512, 6000), dtype))
    grad = np.ones((512, 6000), dtype)
    return lambda: fg.dense_backward(grad, cache), lambda: fg.dense(x[:1, :1500], w[:1500, :1])[
        0, 0
    ]


def network(dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """One gradient over samples enough for seconds."""
    net = fg.MLP((1000, 1000, 1), (None, None), "sum", reduction="sum", bias=False, dtype=dtype)
    params = np.ones(net.size, net.dtype)
    x = np.broadcast_to(np.ones(1000, dtype), (100_000, 1000))
    small = fg.MLP((1500, 1), (None,), "sum", bias=False, dtype=dtype)
    return lambda: net.value_and_grad(params, x), lambda: small.predict(
        np.ones(1500, dtype), np.ones((1, 1500), dtype)
    )[0, 0]


CASES = {
    "forward": forward,
    "backward": backward,
    "large weights": large_weights,
    "network": network,
}


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Without garbage collection, half a second for all that pytest and the other tests left.

    A signal that comes meanwhile waits for it, and is lost if a finalizer of that garbage is the
    first Python code to run: Python ignores what finalizers raise.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def interrupt(work: Callable[[], Any], after: float) -> float:
    """Send SIGINT to this process in mid-call; return how long the exception took."""
    sent: list[float] = []

    def send() -> None:
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    with pytest.raises(KeyboardInterrupt):
        sender.start()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:  # until the signal comes: no machine is too fast
            work()
    came = time.monotonic()
    sender.join()
    return came - sent[0]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", list(CASES))
def test_interrupting_a_large_layer(case: str, parts: int, count: Callable[[int], None]) -> None:
    """In float32, and within what a loaded machine allows: the median of three is what counts."""
    count(parts)
    work, small = CASES[case]("float32")
    alive = _thread._count()
    took = sorted(interrupt(work, after) for after in (0.1, 0.2, 0.35))
    time.sleep(0.1)
    assert _thread._count() == alive  # no thread is left writing
    assert took[1] < SOON, took
    assert small() == 1500


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [1, 2, 8])
@pytest.mark.parametrize("case", list(CASES))
def test_interrupting_at_any_moment(
    case: str, parts: int, dtype: str, count: Callable[[int], None], record_property: Any
) -> None:
    count(parts)
    work, small = CASES[case](dtype)
    took = sorted(interrupt(work, after) for after in np.linspace(0.02, 1.2, 20))
    record_property("seconds", took)
    print(f"{case} {dtype} {parts}: median {took[10]:.3f} s, longest {took[-1]:.3f} s")
    assert took[-2] < SOON, took
    assert small() == 1500


COLD = """
import os, signal, threading, time
import numpy as np, fastgrad as fg
signal.signal(signal.SIGINT, signal.default_int_handler)
x = np.ones((3, 4), "f4")
threading.Timer({after}, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    fg.dense(x, x.T, None, "relu")
    time.sleep(30)
except KeyboardInterrupt:
    print(fg.dense(x, x.T, None, "relu").tolist() == [[4.0] * 3] * 3)
"""


@pytest.mark.parametrize(
    "after", [0.1, *(pytest.param(t, marks=pytest.mark.exhaustive) for t in (0.2, 0.3, 0.5, 1, 2))]
)
def test_interrupting_the_first_compilation(after: float, tmp_path: Path) -> None:
    """It waits for the kernel at hand, and the next call compiles what is missing."""
    process = start(COLD.format(after=after), FASTGRAD_CACHE_DIR=str(tmp_path))
    assert output(process) == "True"


IMPORTING = """
import os, signal, sys
import numpy as np, fastgrad as fg
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt(event, arguments):
    if event == "import" and arguments[0] == "{module}":
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
x = np.ones((3, 4), "f4")
try:
    fg.dense(x, x.T, None, "relu")
except KeyboardInterrupt:
    print(fg.dense(x, x.T, None, "relu").tolist() == [[4.0] * 3] * 3)
"""


@pytest.mark.parametrize("module", ["llvmlite.binding.newpassmanagers", "numba.core.types"])
def test_interrupting_an_import(module: str, tmp_path: Path) -> None:
    """A package whose import was cut short half way cannot be imported again: Ctrl-C waits."""
    process = start(IMPORTING.format(module=module), FASTGRAD_CACHE_DIR=str(tmp_path))
    assert output(process) == "True"


class Working:
    """Steps of threads, and how many are running."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.running: list[int] = []

    def step(self) -> None:
        self.begun.append(1)
        self.running.append(1)
        time.sleep(0.15)
        self.running.pop()


def test_a_second_interrupt_waits_for_the_threads() -> None:
    """Ctrl-C twice: the exception leaves only when no thread works any more."""
    working = Working()

    def twice() -> None:
        for _ in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=twice)
    with pytest.raises(KeyboardInterrupt):
        sender.start()
        threads.run([[lambda: time.sleep(0.01)], [working.step] * 20, [working.step] * 20])
    assert working.running == []
    assert len(working.begun) <= 4
    sender.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a finalizer
@pytest.mark.parametrize("interval", [0, 2e-4, 0.02])
def test_an_alarm_waits_for_the_threads(interval: float) -> None:
    """Whatever the handler raises, and however often: nobody works when it leaves."""
    working, live = Working(), [True]

    def handler(*_: Any) -> None:
        if live[0]:
            raise TimeoutError("alarm")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, interval)
        threads.run([[lambda: time.sleep(0.01)], *([working.step] * 20 for _ in range(7))])
    except TimeoutError:
        live[0] = False  # no call comes before this
        running = list(working.running)
    finally:
        live[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert running == []
    assert len(working.begun) <= 14


@pytest.mark.parametrize("kind", ["ctrl-c", "alarm"])
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_bursts_of_signals(kind: str, count: int) -> None:
    """Calls that eight threads share: none hangs, none is written to after the exception."""
    here = str(Path(__file__).parent)
    process = start(
        f"import sys; sys.path.insert(0, {here!r})\n"
        f"import interruptions; interruptions.main({kind!r}, {count})"
    )
    assert output(process, timeout=120 + count) == f"{count} exceptions, all right"


FORKING = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore")  # Python 3.12: fork beside threads
from fastgrad import threads
def handler(*_):
    global child
    child = os.fork()
    if child == 0 and {child!r} == "exits":
        sys.exit(7)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
end = []
try:
    threads.run([[lambda: None], [lambda: time.sleep(0.5), lambda: end.append(1)]])
except RuntimeError as error:
    assert child == 0 and "forked" in str(error)
    os._exit(7)
assert child != 0 and end == [1]
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("all right")
"""


@pytest.mark.parametrize("child", ["exits", "goes on"])
def test_a_handler_that_forks(child: str) -> None:
    """The child has none of the threads: it gets an error instead of waiting for ever."""
    process = start(FORKING.format(child=child))
    assert output(process, timeout=30) == "all right"
