"""Nothing is kept: memory, Python objects and reference counts after many calls, and errors.

`pytest -m exhaustive tests/test_memory.py` makes a million calls and 100,000 failing ones.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, output, start

import fastgrad as fg
from fastgrad import threads

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")

# Every kind of call there is, and every kind of failing call; one more workload is one more line.
CALLS = """
import gc, os, sys
import numpy as np, fastgrad as fg
rng = np.random.default_rng(0)
data = {}
for dtype in ("float32", "float64"):
    x, w, g = (rng.standard_normal(s).astype(dtype) for s in ((5, 4), (4, 3), (5, 3)))
    b, out = np.zeros(3, dtype), np.zeros((5, 3), dtype)
    outs = {"x": np.zeros_like(x), "w": np.zeros_like(w), "b": np.zeros_like(b)}
    caches = {n: fg.dense_forward(x, w, b, n)[1] for n in ("tanh", "gelu", "softmax")}
    data[dtype] = x, w, b, g, out, outs, caches
t3 = np.array([0, 1, 2, 0, 1])
nets = {d: fg.MLP((4, 6, 3), ("tanh", None), "softmax_cross_entropy", dtype=d) for d in data}
starts = {d: net.init() for d, net in nets.items()}

def right(dtype):
    x, w, b, g, out, outs, caches = data[dtype]
    yield lambda: fg.dense(x, w, b, "tanh")
    yield lambda: fg.dense(x.T, w.T, None, "relu", samples="columns")
    yield lambda: fg.dense_forward(x, w, b, "gelu")
    yield lambda: fg.dense_forward(x[::2, ::-1], w[::-1], b, "softmax", out=out[::2])
    yield lambda: fg.dense(x[0], w)
    yield lambda: fg.dense(x.tolist(), w.tolist(), activation=np.tanh)
    for cache in caches.values():
        yield lambda cache=cache: fg.dense_backward(g, cache)
        yield lambda cache=cache: fg.dense_backward(g, cache, need=("w", "z"))
    yield lambda: fg.dense_backward(g, caches["tanh"], out=outs, accumulate=True)
    yield lambda: fg.tanh(x)
    yield lambda: fg.gelu.backward(x, x)
    yield lambda: fg.softmax(x, axis=0)
    yield lambda: fg.sigmoid.derivative(x)
    yield lambda: fg.losses.mse(g, out)
    yield lambda: fg.losses.mse.value_and_grad(g, out)
    yield lambda: fg.losses.softmax_cross_entropy.value_and_grad(g, t3)
    yield lambda: fg.losses.squared_l2.value_and_grad(g, "mean", "columns")
    net, params = nets[dtype], starts[dtype]
    yield lambda: net.value_and_grad(params, x, t3)
    yield lambda: net.value_and_grad(params, x.tolist(), t3.tolist(), out=np.empty_like(params))
    yield lambda: net.predict(params, x)
    yield lambda: net.fit(params, x, t3, epochs=1, batch_size=2)

def wrong(dtype):
    x, w, b, g, out, outs, caches = data[dtype]
    yield lambda: fg.dense(x, w.T)
    yield lambda: fg.dense(x, w, b[:2])
    yield lambda: fg.dense(x, w, b, "no such")
    yield lambda: fg.dense(x.astype(complex), w)
    yield lambda: fg.dense(x, w, out=x)
    yield lambda: fg.dense_forward(x, w, samples="diagonal")
    yield lambda: fg.dense_backward(x, caches["tanh"])
    yield lambda: fg.dense_backward(g, None)
    yield lambda: fg.dense_backward(g, caches["gelu"], need=("q",))
    yield lambda: fg.dense_backward(g, caches["gelu"], out={"w": out})
    yield lambda: fg.dense(x, w, activation=lambda z: z[:1])
    yield lambda: fg.tanh(object())
    yield lambda: fg.tanh.backward(x, g)
    yield lambda: fg.softmax.derivative(x)
    yield lambda: fg.losses.mse(g, x)
    yield lambda: fg.losses.mse.value_and_grad(g, None)
    yield lambda: fg.losses.softmax_cross_entropy.value_and_grad(g, t3 + 1)
    net, params = nets[dtype], starts[dtype]
    yield lambda: net.value_and_grad(params, x, t3 + 1)
    yield lambda: net.value_and_grad(params, w, t3)
    yield lambda: net.value_and_grad(params, x, t3, out=params)
    yield lambda: net.predict(params[:3], x)
    yield lambda: net.fit(params, x, t3, epochs=0)

def fails(call):
    try:
        call()
    except (TypeError, ValueError):
        return
    raise AssertionError("it did not fail")

good = [call for dtype in data for call in right(dtype)]
bad = [call for dtype in data for call in wrong(dtype)]

def many(calls, failures):
    for _ in range(calls // len(good) + 1):
        for call in good:
            call()
    for _ in range(failures // len(bad) + 1):
        for call in bad:
            fails(call)
"""

RSS = """
def rss():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
many({warm}, {warm} // 5)
before = rss()
many({calls}, {failures})
print(f"{{rss() - before:.3f}}")
"""


@linux
@pytest.mark.parametrize(
    ("calls", "failures"),
    [(100_000, 10_000), pytest.param(1_000_000, 100_000, marks=pytest.mark.exhaustive)],
)
def test_resident_memory(calls: int, failures: int) -> None:
    """At most 1 MiB more after all those calls than after the first few."""
    code = CALLS + RSS.format(warm=calls // 20, calls=calls, failures=failures)
    grown = float(output(start(code), timeout=1200))
    print(f"{calls} calls, {failures} errors: {grown} MiB")
    assert grown <= 1.0


def test_nothing_is_kept() -> None:
    """Python's and NumPy's own account of memory: no byte stays, call by call."""
    code = (
        CALLS
        + """
import tracemalloc
many(500, 200)
tracemalloc.start(1)
many(100, 100)
gc.collect()
ignore = [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, "<string>")]
grown, before = [], tracemalloc.take_snapshot().filter_traces(ignore)
for _ in range(8):
    many(1000, 1000)
    gc.collect()
    after = tracemalloc.take_snapshot().filter_traces(ignore)
    grown.append(sum(s.size_diff for s in after.compare_to(before, "filename")))
    before = after
print(min(grown))
"""
    )
    # What caches hold comes and goes; a leak is in each of the eight rounds. One object of one
    # kind of call would be 20 x 2 x 50 bytes of them.
    assert int(output(start(code), timeout=300)) < 1000


# -- reference counts ----------------------------------------------------------------------------


def counts(objects: list[Any]) -> list[int]:
    return [sys.getrefcount(o) for o in objects]


@pytest.mark.parametrize("dtype", DTYPES)
def test_reference_counts(dtype: str) -> None:
    """Of every argument, of None, of True: after results, conversions and errors."""
    x, w, b, g = (np.ones(s, dtype) for s in ((5, 4), (4, 3), 3, (5, 3)))
    out, target = np.zeros((5, 3), dtype), np.array([0, 1, 2, 0, 1])
    outs = {"x": np.zeros_like(x), "w": np.zeros_like(w), "b": np.zeros_like(b)}
    cache = fg.dense_forward(x, w, b, "gelu")[1]
    record = fg.activations.ACTIVATIONS["gelu"].record(dtype)
    watched = [x, w, b, g, out, target, *outs.values(), cache, cache.saved, record]
    watched += [np.dtype(dtype), np.ndarray, float]

    def everything() -> None:
        fg.dense(x, w, b, "tanh")
        fg.dense(x, w, b, "tanh", out=out)
        fg.dense_forward(x, w, None, "gelu")
        fg.dense(x[::2], w[:, ::-1])
        fg.dense_backward(g, cache)
        fg.dense_backward(g, cache, need=("z",))
        fg.dense_backward(g, cache, out=outs, accumulate=True)
        fg.losses.mse.value_and_grad(g, out)
        fg.losses.softmax_cross_entropy.value_and_grad(g, target)
        fg.losses.softmax_cross_entropy(g, target)
        fg.gelu(x)
        fg.gelu.backward(x, x, out=outs["x"])
        for fails in (
            lambda: fg.dense(x, w.T),
            lambda: fg.dense(x, w, b, out=out[:1]),
            lambda: fg.dense_backward(x, cache),
            lambda: fg.dense_backward(g, cache, out={"w": g}),
            lambda: fg.losses.mse.value_and_grad(g, x),
            lambda: fg.losses.softmax_cross_entropy.value_and_grad(g, target + 1),
            lambda: fg.gelu.backward(x, g),
        ):
            with pytest.raises(ValueError):
                fails()

    for _ in range(3):
        everything()
    gc.collect()  # what other tests left must not go now: 6 references to ndarray, once
    singletons = counts([None, True, False])
    before = counts(watched)
    for _ in range(1000):
        everything()
    assert counts(watched) == before
    # Other parts of Python use these, too: a count per call would be thousands.
    after = counts([None, True, False])
    assert all(abs(a - b) < 500 for a, b in zip(after, singletons, strict=True))


# -- out of memory -------------------------------------------------------------------------------

# Room for 100 MiB more. Each failing call gets its first array (60 MiB) and not the second.
NO_ROOM = """
import gc, resource, sys
import numpy as np, fastgrad as fg
MB = 2**20
dtype = np.dtype({dtype!r})
n = 60 * MB // dtype.itemsize // 2
x, w = np.zeros((n, 1), dtype), np.ones((1, 2), dtype)
wide = np.zeros((n, 2), dtype)
small = np.ones((4, 1), dtype)
fg.set_num_threads({threads})
for name in ("gelu", "tanh"):  # everything is loaded before room is short
    y, cache = fg.dense_forward(small, w, None, name)
    fg.dense_backward(y, cache, need=("x", "w", "z"))
fg.losses.mse.value_and_grad(y, y)
fg.gelu(y)
cache = cache._replace(x=wide, w=np.ones((2, 2), dtype), saved=wide, mark=None)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * MB,) * 2)

def fails(call):
    kept = [sys.getrefcount(a) for a in (x, w, wide)]
    try:
        call()
    except MemoryError:
        pass
    else:
        raise AssertionError("there was room")
    assert [sys.getrefcount(a) for a in (x, w, wide)] == kept

calls = [
    lambda: fg.dense_forward(x, w, None, "gelu"),  # y, then z
    lambda: fg.dense_backward(wide, cache, need=("x", "z")),
    lambda: fg.dense_backward(wide, cache, need=("w", "x", "z")),
]
for call in calls:
    for _ in range(20):
        fails(call)
    whole = fg.dense(x, w, None, "tanh")  # all of the room is there again
    assert whole.shape == (n, 2) and not whole.any()
    del whole
print("all right")
"""


@linux
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_of_memory(dtype: str, threads: int) -> None:
    """A MemoryError, again and again: what was made before it is given back."""
    code = NO_ROOM.format(dtype=dtype, threads=threads)
    # glibc may reserve 64 MB of addresses for the memory of a new thread.
    assert output(start(code, MALLOC_ARENA_MAX="1")) == "all right"


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("begins", [True, False])
def test_a_thread_that_ends_after_its_call_keeps_no_array(
    begins: bool, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that has done its work, nor one that has not begun when the call fails."""
    real, go = threads.start_new_thread, threading.Event()

    def start_late(function: Callable[..., None], arguments: tuple[Any, ...]) -> int:
        def run() -> None:
            if begins:
                function(*arguments)
            assert go.wait(60)
            if not begins:
                function(*arguments)

        return real(run, ())

    def first() -> None:
        if not begins:
            raise ZeroDivisionError

    monkeypatch.setattr(threads, "start_new_thread", start_late)
    arrays = [np.ones(3) for _ in range(others)]
    alive = [weakref.ref(array) for array in arrays]
    with nullcontext() if begins else pytest.raises(ZeroDivisionError):
        threads.run([[first], *([partial(np.sum, array)] for array in arrays)])
    try:
        del arrays
        assert [one() for one in alive] == [None] * others
    finally:
        go.set()
