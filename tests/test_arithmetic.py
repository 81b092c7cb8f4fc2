"""What a processor mode takes away: `show_config` names it, and nothing of it outlives the mode."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import fastgrad as fg
from fastgrad.command.environment import arithmetic

PLAIN = "IEEE 754, to nearest, with subnormals"
PROMISE = ": results are not those that docs/accuracy.md promises"

# x86: bits of MXCSR. In glibc's fenv_t it is the last of eight words.
DENORMALS_ARE_ZERO, FLUSH_TO_ZERO = 1 << 6, 1 << 15
DOWNWARDS, UPWARDS, TOWARDS_ZERO = 1 << 13, 2 << 13, 3 << 13

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="the mode is set through glibc's fenv_t of x86-64",
)


@contextmanager
def mode(bits: int) -> Iterator[None]:
    """Set bits of this thread's MXCSR for a while."""
    libm = ctypes.CDLL("libm.so.6")
    before, during = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    assert libm.fegetenv(before) == 0
    ctypes.memmove(during, before, 32)
    during[7] |= bits
    assert libm.fesetenv(during) == 0
    try:
        yield
    finally:
        assert libm.fesetenv(before) == 0


@pytest.mark.parametrize(
    ("bits", "found"),
    [
        (0, PLAIN),
        (FLUSH_TO_ZERO, "IEEE 754, to nearest, subnormal results flushed to zero" + PROMISE),
        (DENORMALS_ARE_ZERO, "IEEE 754, to nearest, subnormal arguments taken for zero" + PROMISE),
        (
            FLUSH_TO_ZERO | DENORMALS_ARE_ZERO,
            "IEEE 754, to nearest, subnormals flushed to zero, in arguments and results" + PROMISE,
        ),
        (DOWNWARDS, "IEEE 754, downwards, with subnormals" + PROMISE),
        (UPWARDS, "IEEE 754, upwards, with subnormals" + PROMISE),
        (TOWARDS_ZERO, "IEEE 754, towards zero, with subnormals" + PROMISE),
        (
            UPWARDS | FLUSH_TO_ZERO,
            "IEEE 754, upwards, subnormal results flushed to zero" + PROMISE,
        ),
    ],
)
def test_each_mode_is_named(bits: int, found: str) -> None:
    with mode(bits):
        inside = arithmetic()
    assert inside == found
    assert arithmetic() == PLAIN


def test_show_config_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    with mode(FLUSH_TO_ZERO):
        fg.show_config()
    assert "subnormal results flushed to zero" in capsys.readouterr().out
    fg.show_config()
    assert PLAIN in capsys.readouterr().out


def test_what_flush_to_zero_takes_away_is_as_documented() -> None:
    x = np.float32([-100])
    before = fg.exp(x)
    with mode(FLUSH_TO_ZERO | DENORMALS_ARE_ZERO):
        inside = fg.exp(x)
    assert before.view(np.uint32)[0] == 27  # 3.8e-44
    assert inside.view(np.uint32)[0] == 0
    assert fg.exp(x).view(np.uint32)[0] == 27


def test_a_mode_is_one_threads_alone() -> None:
    """It is this thread's: one that began before it was set does not have it."""
    ready, go, found = threading.Event(), threading.Event(), []

    def other() -> None:
        ready.set()
        go.wait()
        found.append(arithmetic())

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    with mode(FLUSH_TO_ZERO):
        go.set()
        thread.join()
    assert found == [PLAIN]


def test_threads_that_a_call_starts_round_as_the_caller_does() -> None:
    """So that the bits do not depend on the number of threads, in any mode."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2048, 256)), rng.standard_normal((256, 256))
    before, results = fg.get_num_threads(), []
    try:
        with mode(UPWARDS):
            for count in (1, 2):
                fg.set_num_threads(count)
                results.append(fg.dense(x, w))
    finally:
        fg.set_num_threads(before)
    np.testing.assert_array_equal(*results)
    assert (results[0] != fg.dense(x, w)).any()
