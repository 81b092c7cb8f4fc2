"""Progress: a bar on a terminal, plain lines elsewhere, silence where nothing can be written."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rng_of

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.terminal import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Failing(io.StringIO):
    """A stream whose writes, or flushes, raise."""

    def __init__(self, error: BaseException, where: str) -> None:
        super().__init__()
        self.error, self.where = error, where

    def write(self, text: str) -> int:
        if self.where == "write":
            raise self.error
        return len(text)

    def flush(self) -> None:
        if self.where == "flush":
            raise self.error


class Broken(Failing):
    def isatty(self) -> bool:
        return True


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN: dict[str, Any] = {
    "none": None,
    "closed": closed(),
    "no file": object(),
    **{
        f"{kind.__name__} {where} {name}": kind(error, where)
        for kind in (Failing, Broken)
        for where in ("write", "flush")
        for name, error in (
            ("no reader", BrokenPipeError(errno.EPIPE, "Broken pipe")),
            ("full", OSError(errno.ENOSPC, "No space left on device")),
            ("encoding", UnicodeEncodeError("ascii", "é", 0, 1, "no")),
        )
    },
}


def training(package: Any = fg, **options: Any) -> Any:
    net = package.MLP((2, 3, 1), ("tanh", None), "mse", dtype="float64")
    x = rng_of("progress").standard_normal((20, 2))
    return net.fit(net.init(), x, x[:, :1], epochs=5, **options)


def test_a_terminal_gets_a_bar_that_is_wiped() -> None:
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress.update(0, 2, "tanh")
        progress.update(1, 2, "relu")
    drawn = stream.getvalue()
    assert "0/2" in drawn
    assert "1/2" in drawn
    assert "relu" in drawn
    assert drawn.endswith("\r\033[K")


def test_a_log_file_gets_lines_without_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        training(progress=True)
    text = (tmp_path / "log").read_text()
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
    first, last = text.splitlines()  # five epochs take less than ten seconds
    assert "epoch 1/5" in first
    assert last.startswith("5 epochs  loss ")
    assert last.endswith(" samples/s")


def test_lines_are_some_time_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), 100.0
    monkeypatch.setattr("fastgrad.terminal.time.monotonic", lambda: now)
    progress = Progress(show=True, stream=stream)
    for i in range(100):  # of one second each
        progress.update(i, 100, "")
        now += 1.0
    assert len(stream.getvalue().splitlines()) == 10


@pytest.mark.parametrize("name", list(BROKEN))
@pytest.mark.parametrize("package", [fg, reference, loops], ids=lambda m: m.__name__)
def test_training_goes_on_where_nothing_can_be_written(
    package: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = training(package)
    monkeypatch.setattr(sys, "stderr", BROKEN[name])
    result = training(package, progress=True)
    np.testing.assert_array_equal(result.params, expected.params)
    np.testing.assert_array_equal(result.losses, expected.losses)
    assert capsys.readouterr().out == ""


def test_an_alarm_while_writing_is_no_broken_stream() -> None:
    progress = Progress(show=True, stream=Failing(TimeoutError("time is up"), "write"))
    with pytest.raises(TimeoutError, match="time is up"):
        progress.update(0, 1, "")


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "2> >(exec true)"])
def test_training_in_a_process_without_a_standard_error(redirect: str) -> None:
    code = (
        "import time, fastgrad as fg; net = fg.MLP((1, 1), (None,), 'mse'); time.sleep(.2); "
        "print(len(net.fit(net.init(), [[1.0]], [[1.0]], epochs=7, progress=True).losses))"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirect}', sys.executable, code],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "7\n"
