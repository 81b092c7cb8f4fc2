"""Exit, NUMBA_DISABLE_JIT, alarms and subinterpreters beside compilation: nothing breaks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import output, start

# -- the end of Python, beside a daemon thread that compiles ---------------------------------------

WAITS = """
import os, threading, time
import numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain import library
from fastgrad.kernels.elementwise import user
module, name = {place}
begun = threading.Event()
def slow(*arguments):
    begun.set()
    time.sleep(1)
    os.write(1, b"compiled")
    raise SystemExit
setattr(module, name, slow)
x = np.ones((4, 4), "f4")
threading.Thread(target=lambda: {call}, daemon=True).start()
begun.wait()
"""
WAITING = {
    "a layer": ("(library, 'build')", "fg.dense(x, x, None, 'relu')"),
    "a user's function": (
        "(user, '_compile')",
        "fg.define_activation('own', lambda z: z, lambda z: 1.0)(x)",
    ),
}


@pytest.mark.parametrize("case", list(WAITING))
def test_the_end_waits_for_a_compilation(case: str, tmp_path: Path) -> None:
    """And for one only: the thread ends there, as Python would end it a moment later."""
    place, call = WAITING[case]
    process = start(WAITS.format(place=place, call=call), FASTGRAD_CACHE_DIR=str(tmp_path))
    assert output(process) == "compiled"


LATE = """
import atexit, threading
ending = threading.Event()
@atexit.register
def last():  # registered before our import, so called after what that registers
    ending.set()
    worker.join(30)
    print(worker.is_alive(), len(done), fg.dense(x, x, None, "relu")[0, 0])
import numpy as np, fastgrad as fg
x, done = np.ones((4, 4), "f4"), []
fg.dense(x, x, None, "relu")
def work():
    ending.wait()
    fg.dense(x, x, None, "tanh")
    done.append(1)
worker = threading.Thread(target=work, daemon=True)
worker.start()
"""


def test_at_the_end_only_the_main_thread_begins_to_compile(tmp_path: Path) -> None:
    """Who waits for a thread that wants a kernel then does not wait for ever."""
    assert output(start(LATE, FASTGRAD_CACHE_DIR=str(tmp_path))) == "False 0 4.0"


HELD = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # Python 3.12: fork beside threads
import fastgrad
from fastgrad.kernels.toolchain import undisturbed
undisturbed.FORK_PATIENCE = undisturbed.END_PATIENCE = 0.2
lock, held = undisturbed.COMPILE_LOCK, threading.Event()
def hold():
    with lock.lock:
        held.set()
        time.sleep(60)
if {who!r} == "the main thread":
    lock.lock.acquire()
else:
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
if {who!r} == "a thread of the parent":
    child = os.fork()
    if child == 0:
        undisturbed.END_PATIENCE = 60
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("all right", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.parametrize("who", ["the main thread", "another thread", "a thread of the parent"])
def test_the_end_is_no_deadlock(who: str) -> None:
    assert output(start(HELD.format(who=who)), timeout=30) == "all right"


COLD = """
import threading, time
import numpy as np, fastgrad as fg
x = np.ones((4, 4), "f4")
def work():
    for name in ("tanh", "gelu", "softmax", "elu", "silu"):
        y, cache = fg.dense_forward(x, x, None, name)
        fg.dense_backward(y, cache)
threading.Thread(target=work, daemon=True).start()
time.sleep({delay})
"""


@pytest.mark.parametrize("delay", [0.5, 1.5])
def test_ending_at_any_moment_of_a_cold_start(delay: float, tmp_path: Path) -> None:
    assert output(start(COLD.format(delay=delay), FASTGRAD_CACHE_DIR=str(tmp_path))) == ""


@pytest.mark.exhaustive
def test_ending_at_many_moments(tmp_path: Path) -> None:
    for i in range(40):
        code = COLD.format(delay=0.3 + 0.07 * i)
        assert output(start(code, FASTGRAD_CACHE_DIR=str(tmp_path / str(i)))) == ""


# -- NUMBA_DISABLE_JIT --------------------------------------------------------------------------

DISABLED = """
import threading, time
import numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain.front_end import numba_enabled
from numba import config
seen, inside = [], threading.Event()
def first():
    with numba_enabled():
        inside.set()
        time.sleep(0.2)
def second():
    inside.wait()
    with numba_enabled():
        time.sleep(0.4)
        seen.append(config.DISABLE_JIT)
threads = [threading.Thread(target=f) for f in (first, second)]
for t in threads: t.start()
for t in threads: t.join()
def own(i):
    f = fg.define_activation(f"own{i}", lambda z: z * i, lambda z: 1.0 * i)
    seen.append(float(f(np.ones(1))[0]) - i)
threads = [threading.Thread(target=own, args=(i,)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(seen, config.DISABLE_JIT)
"""


def test_threads_that_compile_where_numba_is_disabled() -> None:
    """Each with the compiler on, and the user's setting is what it was."""
    process = start(DISABLED, NUMBA_DISABLE_JIT="1")
    assert output(process) == "[0, 0.0, 0.0, 0.0, 0.0] 1"


# -- signals ------------------------------------------------------------------------------------

ALARMS = """
import signal, time
import numpy as np, fastgrad as fg
left = list(range(20))
def alarm(*_):
    if left.pop(): raise TimeoutError
    signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
x = np.ones((3, 4), "f4")
while left:
    try:
        ours = fg.define_activation("own", lambda z: z + 1.0, lambda z: 1.0)
        y = fg.dense(x, x.T, None, ours)
    except TimeoutError:
        pass
y = fg.dense(x, x.T, None, ours)
assert y.tolist() == [[5.0] * 3] * 3
assert signal.getsignal(signal.SIGALRM) is alarm
print("all right")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_alarms_in_the_first_compilation() -> None:
    """Numba, stopped in its own import, would be of no use to this process again."""
    assert output(start(ALARMS)) == "all right"


PUT_BACK = """
import signal, time
from fastgrad.kernels.toolchain.undisturbed import interrupts_deferred
called = []
def alarm(*_):
    called.append(True)
    raise TimeoutError
signal.signal(signal.SIGALRM, alarm)
lost = 0
for i in range(2000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 3e-5 + i % 400 * 1e-6)
        with interrupts_deferred():
            time.sleep(1e-4)
        time.sleep(4e-4)
    except TimeoutError:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    lost += signal.getsignal(signal.SIGALRM) is not alarm
    signal.signal(signal.SIGALRM, alarm)
print(len(called), lost)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_handlers_are_put_back_whenever_the_signal_comes() -> None:
    """Within the loop that puts them back, too: there one of fifty alarms made it end early."""
    assert output(start(PUT_BACK)) == "2000 0"


DEFERRED = """
import os, signal
from fastgrad.kernels.toolchain.undisturbed import interrupts_deferred
called = []
def handler(number, frame):
    called.append(number)
    raise {error}
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, handler)
for _ in range(3):
    try:
        with interrupts_deferred():
            for _ in range(2):
                for number in (signal.SIGUSR1, signal.SIGINT):
                    os.kill(os.getpid(), number)
            assert called == []
        assert False
    except {error}:
        assert sorted(called) == [signal.SIGINT, signal.SIGUSR1]
        called.clear()
    assert all(signal.getsignal(n) is handler for n in (signal.SIGINT, signal.SIGTERM))
print("all right")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError", "SystemExit"])
def test_every_handler_waits_and_none_is_lost(error: str) -> None:
    assert output(start(DEFERRED.format(error=error))) == "all right"


# -- subinterpreters ----------------------------------------------------------------------------

DIVIDED = """
import sys, warnings
try:
    import _interpreters as interpreters  # Python 3.13
    create = lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(isolated=False)
code = '''
import warnings
warnings.simplefilter("ignore")  # NumPy's: it is not made for this
import numpy as np, fastgrad as fg
x = np.ones((3, 4), "f4")
y = fg.dense(x, x.T, None, "relu")
net = fg.MLP((4, 3), (None,), "mse")
fitted = net.fit(net.init(), x, x[:, :3], epochs=2)
own = fg.define_activation("own", lambda z: z + 1.0, lambda z: 1.0)
print(y.tolist(), len(fitted.losses), own(x)[0, 0], flush=True)
'''
assert not interpreters.run_string(create(), code)
"""


def test_in_the_main_thread_of_a_subinterpreter(tmp_path: Path) -> None:
    """It computes; no handler runs there that would have to wait."""
    process = start(
        "import warnings; warnings.simplefilter('ignore')" + DIVIDED,
        FASTGRAD_CACHE_DIR=str(tmp_path),
    )
    assert output(process) == "[[4.0, 4.0, 4.0], [4.0, 4.0, 4.0], [4.0, 4.0, 4.0]] 2 2.0"
