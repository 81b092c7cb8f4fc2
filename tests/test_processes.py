"""Threads and processes of every kind, all at once: the same bits, and nobody waits for ever.

`pytest -m exhaustive tests/test_processes.py` runs the long forms. Every program has an alarm:
a hang is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import environment, output, start

import fastgrad as fg

exhaustive = pytest.mark.exhaustive
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

# One number stands for the bits of layers, gradients, activations and losses; one more workload
# is one more line.
WORKLOAD = """
import hashlib, os, signal, sys, threading, time, warnings
import numpy as np, fastgrad as fg

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside threads
if hasattr(signal, "alarm"): signal.alarm({alarm})
DATA = {{}}
for dtype in ("float32", "float64"):
    rng = np.random.default_rng(1)
    shapes = ((600, 40), (40, 50), (600, 50))
    DATA[dtype] = [rng.standard_normal(s).astype(dtype) for s in shapes]

def bits():
    digest = hashlib.sha256()
    for x, w, g in DATA.values():
        for name in ("tanh", "gelu", "softmax"):
            y, cache = fg.dense_forward(x, w, None, name)
            value, grad = fg.losses.mse.value_and_grad(y, g)
            digest.update(repr(value).encode())
            for a in (y, grad, *fg.dense_backward(grad, cache, need=("x", "w", "z"))):
                if a is not None: digest.update(np.ascontiguousarray(a).tobytes())
        digest.update(fg.sigmoid(x).tobytes())
        net = fg.MLP((40, 30, 50), ("gelu", None), "mse", dtype=x.dtype)
        value, grad = net.value_and_grad(net.init(), x, g)
        fitted = net.fit(net.init(), x, g, epochs=1, batch_size=520).params
        for a in (np.array(value), grad, fitted, net.predict(fitted, x)): digest.update(a.tobytes())
    return digest.hexdigest()
"""


def program(body: str, alarm: int = 100) -> str:
    return WORKLOAD.format(alarm=alarm) + body


@pytest.fixture(scope="module")
def expected() -> str:
    """The bits, from a process of one thread; everything is in the cache afterwards."""
    return output(start(program("print(bits())")))


# -- everyone at once ----------------------------------------------------------------------------

CROWD = """
wrong, rounds, end = [], [], time.monotonic() + {seconds}
def work():
    while time.monotonic() < end:
        rounds.append(1)
        if bits() != {expected!r}: wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert rounds and not wrong, (len(rounds), len(wrong))
print(len(rounds))
"""


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=exhaustive)])
def test_eight_threads_in_each_of_four_processes(seconds: int, expected: str) -> None:
    code = program(CROWD.format(seconds=seconds, expected=expected), alarm=seconds + 100)
    processes = [start(code) for _ in range(4)]
    rounds = [int(output(process, timeout=seconds + 110)) for process in processes]
    print(f"{sum(rounds)} rounds of 37 arrays, all equal")


CHANGING = """
x, w = np.ones((1500, 256), np.float32), np.ones((256, 256), np.float32)
x *= np.linspace(-1, 1, 256, dtype=np.float32)
def large():
    y, cache = fg.dense_forward(x, w, None, "gelu")
    return b"".join(a.tobytes() for a in (y, *fg.dense_backward(y, cache, need=("x", "w"))[:2]))
fg.set_num_threads(1)
alone, wrong, rounds, end = large(), [], [], time.monotonic() + {seconds}
def work():
    while time.monotonic() < end:
        rounds.append(1)
        if large() != alone: wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
count = 0
while time.monotonic() < end:
    count += 1
    fg.set_num_threads(1 + count % 8)
    time.sleep(0.001)
for t in threads: t.join()
assert rounds and not wrong
print(count)
"""


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=exhaustive)])
def test_the_number_of_threads_changes_while_others_compute(seconds: int) -> None:
    assert int(output(start(program(CHANGING.format(seconds=seconds), seconds + 100)))) > 10


# -- children ------------------------------------------------------------------------------------

IN_CHILD = """
def in_child(check):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
FORK = (
    IN_CHILD
    + """
def in_thread(check):
    found = []
    thread = threading.Thread(target=lambda: found.append(check()))
    thread.start(); thread.join()
    return found == [True]

same = lambda: bits() == {expected!r}
grandchild = lambda: in_child(same) and same()
before = lambda: all(in_child(same) for _ in range({count}))
if {first!r} == "before": assert before()
else: assert same()
{body}
assert same()
print("all right")
"""
)
FORKS = {
    "before first use": ("before", ""),
    "after first use": ("after", "assert all(in_child(same) for _ in range({count}))"),
    "from another thread": (
        "after",
        "assert all(in_thread(lambda: in_child(same)) for _ in range({count}))",
    ),
    "grandchildren": ("after", "assert all(in_child(grandchild) for _ in range({count}))"),
    "from another thread before first use": (
        "before",
        "assert all(in_thread(lambda: in_child(grandchild)) for _ in range({count}))",
    ),
    "beside computing threads": (
        "after",
        """
stop = threading.Event()
def busy():
    while not stop.is_set(): bits()
threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads: t.start()
try: assert all(in_child(same) for _ in range({count}))
finally:
    stop.set()
    for t in threads: t.join()
""",
    ),
}


@forks
@pytest.mark.parametrize("count", [2, pytest.param(100, marks=exhaustive)])
@pytest.mark.parametrize("case", list(FORKS))
def test_fork(case: str, count: int, expected: str) -> None:
    first, body = FORKS[case]
    code = FORK.format(expected=expected, count=count, first=first, body=body.format(count=count))
    assert output(start(program(code, 100 + 6 * count)), timeout=700) == "all right"


# One layer, which is quick, and whose kernels the parent may not have loaded yet.
ONE_LAYER = (
    """
import os, signal, sys, threading, warnings
import numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain.undisturbed import COMPILE_LOCK

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside threads
signal.alarm(60)  # a hang is a failure
x = np.linspace(-1, 1, 1200 * 40, dtype=np.float32).reshape(1200, 40)
w = np.linspace(-1, 1, 40 * 50, dtype=np.float32).reshape(40, 50)

def layer(name):
    y, cache = fg.dense_forward(x, w, activation=name)
    return b"".join(a.tobytes() for a in (y, *fg.dense_backward(y, cache)[:2]))
"""
    + IN_CHILD
    + """
same = lambda: layer("relu") == before
grandchild = lambda: same() and in_child(same)
{body}
print("all right")
"""
)
ONE_LAYER_FORKS = {
    "before first use": """
before = None
assert in_child(lambda: len(layer("relu")) > 0)
before = layer("relu")
assert in_child(same)
""",
    "after use, and again, and deeper": """
before = layer("relu")
assert all(in_child(same) for _ in range(5)) and in_child(grandchild) and same()
""",
    "a unit the parent has not loaded": """
before = layer("relu")
assert in_child(lambda: layer("leaky_relu") != before) and same()
""",
    "from another thread": """
before = layer("relu")
found = []
thread = threading.Thread(target=lambda: found.append(in_child(grandchild)))
thread.start(); thread.join()
assert found == [True]
""",
    "while another thread computes": """
before = layer("relu")
stop = threading.Event()
def busy():
    while not stop.is_set():
        layer("relu")
threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads: t.start()
assert all(in_child(same) for _ in range(5))
stop.set()
for t in threads: t.join()
""",
    "while another thread loads": """
before = layer("relu")
held, release = threading.Event(), threading.Event()
def hold():
    with COMPILE_LOCK.lock:
        held.set(); release.wait()
thread = threading.Thread(target=hold)
thread.start(); held.wait()
assert in_child(lambda: same() and len(layer("leaky_relu")) > 0)
release.set(); thread.join()
""",
    "with large layers shared over threads": """
x, w = np.ones((1200, 300), np.float32), np.ones((300, 250), np.float32)
fg.set_num_threads(4)
before = layer("relu")
assert in_child(grandchild) and same()
""",
}


@forks
@pytest.mark.parametrize("case", list(ONE_LAYER_FORKS))
def test_fork_of_one_layer(case: str) -> None:
    fg.dense(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), None, "leaky_relu")
    assert output(start(ONE_LAYER.replace("{body}", ONE_LAYER_FORKS[case]))) == "all right"


COMPILING = """
import fastgrad.kernels.toolchain.library
x = np.ones((4, 4), np.float32)
def load():
    for name in {names}: fg.activations.ACTIVATIONS[name](x)
fg.activations.ACTIVATIONS["relu"](x)
thread = threading.Thread(target=load)
thread.start()
forks = 0
while thread.is_alive():
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os._exit(0 if fg.tanh(x)[0, 0] > 0.7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    forks += 1
thread.join()
assert forks
print("all right")
"""


def test_forks_at_once_beside_a_thread_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lost patience must not leave the lock held that another one got."""
    from fastgrad.kernels.toolchain import undisturbed

    lock, (holds, goes_on, released, ends) = (
        undisturbed.CompileLock(),
        [threading.Event() for _ in range(4)],
    )
    monkeypatch.setattr(undisturbed, "FORK_PATIENCE", 0.01)

    def patient() -> None:
        lock.hold()
        holds.set()
        goes_on.wait(30)
        lock.release()
        released.set()
        ends.wait(30)  # else the next thread may get this one's number, and with it the lock

    def impatient() -> None:
        lock.hold()
        lock.release()

    forks, other = threading.Thread(target=patient), threading.Thread(target=impatient)
    forks.start()
    assert holds.wait(30)
    other.start()
    other.join()
    goes_on.set()
    assert released.wait(30)
    free = lock.lock.acquire(timeout=5)
    ends.set()
    forks.join()
    assert free


@forks
@pytest.mark.parametrize(
    "names", [("elu",), pytest.param(fg.activations.BUILT_IN, marks=exhaustive)], ids=len
)
def test_fork_beside_a_thread_that_compiles(names: tuple[str, ...], tmp_path: Path) -> None:
    """LLVM has a lock: a child of that moment would wait for it for ever."""
    code = program(COMPILING.format(names=names), 550)
    assert output(start(code, FASTGRAD_CACHE_DIR=str(tmp_path)), timeout=600) == "all right"


def start_script(place: Path, code: str) -> subprocess.Popen[str]:
    """Start Python on `code` in a file, which is what processes that are no forks import."""
    script = place / "main.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, script],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SPAWN = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def child(_): return bits()
if __name__ == "__main__":
    assert bits() == {expected!r}
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(2, context, max_tasks_per_child=1) as pool:
        assert set(pool.map(child, range({count}))) == {{ {expected!r} }}
    print("all right")
"""


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=exhaustive)])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start(method: str, count: int, expected: str, tmp_path: Path) -> None:
    body = SPAWN.format(method=method, expected=expected, count=count)
    process = start_script(tmp_path, program(body, 100 + 6 * count))
    assert output(process, timeout=720) == "all right"


PICKLED = """
import multiprocessing, numpy as np, fastgrad as fg
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    x = np.linspace(-1, 1, 12).reshape(3, 4)
    here = fg.dense(x, x.T, None, "relu")
    with ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
        there = pool.submit(fg.dense, x, x.T, None, "relu").result(60)
        act = pool.submit(fg.tanh, x).result(60)
        loss = pool.submit(fg.losses.mse, x, x).result(60)
    assert there.tobytes() == here.tobytes() and loss == 0.0 and (act == fg.tanh(x)).all()
    print("all right")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_functions_travel_by_pickle(method: str, tmp_path: Path) -> None:
    """And arguments, losses and activations, to processes that are no forks."""
    process = start_script(tmp_path, PICKLED.format(method=method))
    assert output(process) == "all right"


# -- other people's threads ----------------------------------------------------------------------

COMPANY = """
import numba
@numba.njit(parallel=True)
def own(a):
    total = 0.0
    for i in numba.prange(a.shape[0]):
        total += a[i]
    return total
ones, square = np.ones(100_000), np.ones((300, 300))
assert own(ones) == 100_000.0  # compiled, its threads started
wrong, rounds, end = [], [], time.monotonic() + {seconds}
def ours():
    while time.monotonic() < end:
        rounds.append(1)
        if bits() != {expected!r}: wrong.append("ours")
def blas():
    while time.monotonic() < end:
        if (square @ square != 300.0).any(): wrong.append("blas")
threads = [threading.Thread(target=f) for f in (ours, ours, blas)]
for t in threads: t.start()
while time.monotonic() < end:  # one thread only: Numba's workqueue allows no more
    if own(ones) != 100_000.0: wrong.append("numba")
for t in threads: t.join()
assert rounds and wrong == []
print("all right")
"""


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=exhaustive)])
def test_beside_parallel_numba_and_blas(seconds: int, expected: str) -> None:
    code = program(COMPANY.format(seconds=seconds, expected=expected), seconds + 200)
    process = start(
        code, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2",
        FASTGRAD_NUM_THREADS="2",
    )  # fmt: skip
    assert output(process, timeout=seconds + 210) == "all right"
