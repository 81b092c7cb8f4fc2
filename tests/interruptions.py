"""Calls that many threads share, under bursts of signals.

``python tests/interruptions.py KIND COUNT [THREADS [SEED]]``

KIND is ``ctrl-c``, two SIGINTs within 0.3 ms from another process, or ``alarm``, a timer whose
handler raises TimeoutError, once or again every 0.2 to 5 ms. After each of COUNT exceptions no
array may change any more, Ctrl-C in `MLP.fit` leaves its `result`, and the next calls give the
bits of calls that nobody disturbed. A hang of 30 s ends the program with a traceback.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgrad as fg

live = [False]  # whether signals raise: setting an element is no call, so nothing comes between


def raise_interrupt(*_: Any) -> None:
    if live[0]:
        raise KeyboardInterrupt


def raise_timeout(*_: Any) -> None:
    if live[0]:
        raise TimeoutError("alarm")


class Alarm:
    """A timer of this process."""

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, raise_timeout)

    def start(self, delay: float, rng: random.Random) -> None:
        signal.setitimer(signal.ITIMER_REAL, delay, rng.choice([0, 2e-4, 1e-3, 5e-3]))

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


class CtrlC:
    """A process that sends two SIGINTs when told to."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, raise_interrupt)
        told, self._tell = os.pipe()
        self._sent, sent = os.pipe()
        target = os.getpid()
        self.sender = os.fork()
        if self.sender:
            os.close(told)
            os.close(sent)
            return
        os.close(self._tell)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while words := os.read(told, 24).split():
            delay, gap = (int(word) * 1e-6 for word in words)
            time.sleep(delay)
            os.kill(target, signal.SIGINT)
            end = time.perf_counter() + gap
            while time.perf_counter() < end:  # a sleep would take longer
                pass
            os.kill(target, signal.SIGINT)
            os.write(sent, b"x")
        os._exit(0)

    def start(self, delay: float, rng: random.Random) -> None:
        os.write(self._tell, b"%11d %11d" % (delay * 1e6, rng.randrange(300)))

    def stop(self) -> None:
        os.read(self._sent, 1)


def calls() -> list[tuple[Callable[[], Any], list[Any]]]:
    """Return calls of some 10 ms that are shared over threads, and the arrays each writes to."""
    rng = np.random.default_rng(0)
    x, w, grad = (
        rng.standard_normal(s, np.float32) for s in ((1024, 512), (512, 512), (1024, 512))
    )
    net = fg.MLP((128, 128, 10), ("tanh", None), "softmax_cross_entropy")
    params, samples = net.init(), rng.standard_normal((8192, 128), np.float32)
    classes = rng.integers(0, 10, 8192)
    y, gradient = np.empty_like(grad), np.empty_like(params)
    predicted = np.empty((8192, 10), np.float32)
    _, cache = fg.dense_forward(x, w, None, "tanh")
    into = fg.DenseGrads(np.empty_like(x), np.empty_like(w), None, None)
    return [
        (lambda: fg.dense(x, w, None, "tanh", out=y), [y]),
        (lambda: fg.dense_backward(grad, cache, need=("x", "w"), out=into), [into.x, into.w]),
        (lambda: net.value_and_grad(params, samples, classes, out=gradient), [gradient]),
        (lambda: net.predict(params, samples, out=predicted), [predicted]),
        (lambda: net.fit(params, samples, classes, epochs=3, batch_size=4096), []),
    ]


def disturbed(call: Callable[[], Any], start: Callable[[], None]) -> BaseException | None:
    """Return what a call under fire raised, when no signal raises any more."""
    caught: BaseException | None = None
    try:
        start()
        live[0] = True
        for _ in range(20):
            call()
        live[0] = False
    except (KeyboardInterrupt, TimeoutError) as error:
        live[0] = False
        caught = error
    return caught


def owes_result(error: BaseException) -> bool:
    """Return whether an exception left `MLP.fit` after that had made its copy of the parameters."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_name == "train" and "so_far" in step.tb_frame.f_locals:
            return True
        step = step.tb_next
    return False


def main(kind: str, count: int, parts: int = 8, seed: int = 0) -> None:
    fg.set_num_threads(parts)
    rng = random.Random(seed)
    shared = calls()
    expected = []
    for call, arrays in shared:
        call()
        call()  # by the direct way, whose entry points are compiled now
        expected.append([a.copy() for a in arrays])
    source = CtrlC() if kind == "ctrl-c" else Alarm()
    left: list[str] = []
    raised = results = 0
    while raised < count:
        faulthandler.dump_traceback_later(30, exit=True)
        number = rng.randrange(len(shared))
        call, arrays = shared[number]
        for array in arrays:
            array.fill(7)
        delay = rng.uniform(0, 0.025)
        error = disturbed(call, lambda delay=delay: source.start(delay, rng))
        if hasattr(error, "result"):
            arrays = [error.result.params]
            results += 1
        elif kind == "ctrl-c" and error is not None and owes_result(error):
            left.append("no result")
        before = [a.copy() for a in arrays]
        source.stop()
        if error is None:
            continue
        raised += 1
        del error
        time.sleep(0.02)
        if not all(map(np.array_equal, arrays, before)):
            left.append("written")
        if raised % 10 == 0:
            for (call, arrays), values in zip(shared, expected, strict=True):
                call()
                if not all(map(np.array_equal, arrays, values)):
                    left.append("wrong")
        faulthandler.cancel_dump_traceback_later()
    if isinstance(source, CtrlC):
        os.close(source._tell)
        os.waitpid(source.sender, 0)
    assert kind == "alarm" or results > count // 20
    print(f"{raised} exceptions, {({fault: left.count(fault) for fault in left}) or 'all right'}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
