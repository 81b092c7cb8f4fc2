"""Compiling in advance, in one process or several: the same files, and a bar that moves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import environment

import fastgrad as fg
from fastgrad.command import cli, processes
from fastgrad.command import environment as command
from fastgrad.kernels.toolchain import library, object_cache
from fastgrad.kernels.toolchain.library import LIBRARY

Patch = pytest.MonkeyPatch
UNITS = ["rows.relu", "rows.leaky_relu", "clip"]


@pytest.fixture
def few(tmp_path: Path, monkeypatch: Patch) -> Path:
    """Three units in all, and a cache with one of them."""
    LIBRARY.keep("rows.relu", "float32")
    code = object_cache.read_sealed(object_cache.cache_path("rows.relu", "float32"))
    assert code is not None
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o755)
    assert object_cache.write_sealed(object_cache.cache_path("rows.relu", "float32"), code) == ""
    monkeypatch.setattr(command, "units", lambda: UNITS)
    return tmp_path


def test_two_processes_compile_what_is_missing(
    few: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(unit: Any, dtype: str) -> bytes:
        raise AssertionError(f"this process compiles {unit.functions}")

    monkeypatch.setattr(library, "build", build)
    monkeypatch.setattr(library, "LIBRARY", library.Library())  # nothing is loaded yet
    assert cli.main(["warmup", "--dtype", "float32", "--jobs", "2", "--progress"]) == 0
    out, err = capsys.readouterr()
    assert re.match(r"compiled 2 kernels in [\d.]+ s\ncached: 3 of 6 kernels", out)
    assert "1/3" in err
    assert len(list(few.glob("*.o"))) == len(list(few.iterdir())) == 3


def test_progress_counts_what_is_there_and_what_is_done(few: Path) -> None:
    told: list[tuple[int, int, str]] = []
    fg.warmup("float32", lambda *about: told.append(about), jobs=8)
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert {name for _, _, name in told} == {"", "rows.leaky_relu float32", "clip float32"}


@pytest.mark.parametrize("worker", ["raise SystemExit(3)", "print('no', flush=True)", "input()"])
def test_a_process_that_fails_leaves_its_work_to_this_one(
    worker: str, few: Path, monkeypatch: Patch
) -> None:
    made: list[str] = []
    code = object_cache.read_sealed(object_cache.cache_path("rows.relu", "float32")) or b""

    def build(unit: Any, dtype: str) -> bytes:
        made.append(unit.functions[0])
        return code

    monkeypatch.setattr(command, "units", lambda: ["rows.relu"])
    object_cache.cache_path("rows.relu", "float32").unlink()  # type: ignore[union-attr]
    monkeypatch.setattr(processes, "_WORKER", worker)
    monkeypatch.setattr(library, "build", build)
    monkeypatch.setattr(library, "LIBRARY", library.Library())
    fg.warmup("float32", jobs=2)
    assert made == ["forward_relu"]


def test_a_program_that_is_no_interpreter_is_not_started(few: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert processes.compile_in_processes([("clip", "float32")], 2, lambda *about: None) == []


def test_without_a_place_to_keep_them_there_is_one_process(few: Path, monkeypatch: Patch) -> None:
    def several(*arguments: Any) -> None:
        raise AssertionError("what others compile would be lost")

    monkeypatch.setattr(processes, "compile_in_processes", several)
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", "relative")
    monkeypatch.setattr(command, "units", lambda: ["rows.relu"])
    fg.warmup("float32", jobs=2)


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "2", None, True])
def test_jobs_is_a_number_of_processes(jobs: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"warmup: jobs is .*: "):
        fg.warmup((), jobs=jobs)


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_the_command_line_says_so_too(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup", f"--jobs={text}"]) == 2
    assert f"{text!r} is not a number of processes: give 1 or more" in capsys.readouterr().err


def test_ctrl_c_ends_all_processes(few: Path) -> None:
    """No process is left compiling for nobody."""
    code = """
import _thread, os, signal, threading
import fastgrad as fg
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from fastgrad.command import environment, processes
processes._WORKER = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
real = processes.subprocess.Popen
started = []
def popen(*arguments, **options):
    started.append(real(*arguments, **options))
    if len(started) == 2:
        threading.Timer(0.5, _thread.interrupt_main).start()
    return started[-1]
processes.subprocess.Popen = popen
processes._feed = lambda process, todo, answers: None
try:
    fg.warmup("float32", jobs=2)
except KeyboardInterrupt:
    print([process.poll() is None for process in started])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env=environment(FASTGRAD_CACHE_DIR=str(few / "new")),
    )  # fmt: skip
    assert done.stdout.strip() == "[False, False]", done.stderr
