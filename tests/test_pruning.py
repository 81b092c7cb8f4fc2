"""What other versions left in the cache is removed, the oldest first; nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fastgrad.kernels.toolchain import library, object_cache, pruning

Patch = pytest.MonkeyPatch
KIB = 1024
DAY = 24 * 3600


def _kernel(directory: Path, number: int, age: float, size: int = 10 * KIB) -> Path:
    """Make a file as of another version, last used `age` days ago."""
    path = directory / f"rows.relu-float32-{number:024x}.o"
    path.write_bytes(b"x" * size)
    _aged(path, age)
    return path


def _aged(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def _none(unit: str, dtype: str) -> str:
    return ""


@pytest.fixture
def small(monkeypatch: Patch) -> None:
    """A cache that may hold 50 KiB."""
    monkeypatch.setattr(pruning, "MOST_KEPT", 50 * KIB)


def test_the_oldest_go_until_the_rest_is_small_enough(tmp_path: Path, small: None) -> None:
    files = [_kernel(tmp_path, i, age=age) for i, age in enumerate((3, 9, 1, 7, 5, 2, 8))]
    pruning.prune(tmp_path, _none)
    assert [path.exists() for path in files] == [True, False, True, True, True, True, False]


def test_a_file_that_was_read_lately_is_not_old(tmp_path: Path, small: None) -> None:
    files = [_kernel(tmp_path, i, age=10 + i) for i in range(6)]
    os.utime(files[5], (time.time(), files[5].stat().st_mtime))
    pruning.prune(tmp_path, _none)
    assert [path.exists() for path in files] == [True] * 4 + [False, True]


def test_a_cache_within_its_size_is_left_alone(tmp_path: Path, small: None) -> None:
    files = [_kernel(tmp_path, i, age=1000) for i in range(5)]
    pruning.prune(tmp_path, _none)
    assert all(path.exists() for path in files)


def test_what_this_process_would_load_stays(tmp_path: Path, small: None) -> None:
    files = [_kernel(tmp_path, i, age=100 - i, size=60 * KIB) for i in range(3)]
    pruning.prune(tmp_path, lambda unit, dtype: f"{unit}-{dtype}-{0:024x}.o")
    assert [path.exists() for path in files] == [True, False, False]


OTHERS = (
    "notes.txt", "rows.relu-float32-0.o", f"rows.relu-float16-{5:024x}.o",
    f"rows.relu-float32-{5:024x}.o.bak", f"-float32-{5:024x}.o", f"a b-float32-{5:024x}.o",
    f"rows.relu-float32-{0xabc:024X}.o",
)  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files of POSIX")
def test_what_is_not_a_kernel_of_ours_stays(tmp_path: Path, small: None) -> None:
    for name in OTHERS:
        (tmp_path / name).write_bytes(b"x" * 60 * KIB)
        _aged(tmp_path / name, 1000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = _kernel(elsewhere, 1, age=1000, size=60 * KIB)
    (tmp_path / f"rows.relu-float32-{1:024x}.o").symlink_to(target)
    (tmp_path / f"rows.relu-float32-{2:024x}.o").mkdir()
    os.mkfifo(tmp_path / f"rows.relu-float32-{3:024x}.o")
    before = sorted(tmp_path.iterdir())
    pruning.prune(tmp_path, _none)
    assert sorted(tmp_path.iterdir()) == before
    assert target.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users of POSIX")
def test_files_of_another_user_stay(tmp_path: Path, small: None, monkeypatch: Patch) -> None:
    """Root, who may remove anything, does not clear up a user's directory."""
    files = [_kernel(tmp_path, i, age=9) for i in range(9)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: files[0].stat().st_uid + 1)
        pruning.prune(tmp_path, _none)
    assert all(path.exists() for path in files)


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f"rows.relu-float32-{i:024x}.o.a{i}_b.part" for i in range(2))
    foreign = tmp_path / "tmpabcdef.part"
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    _aged(old, 1.1)
    _aged(new, 0.9)
    _aged(foreign, 9)
    pruning.prune(tmp_path, _none)
    assert [path.exists() for path in (old, new, foreign)] == [False, True, True]


def test_another_process_may_be_faster(tmp_path: Path, small: None, monkeypatch: Patch) -> None:
    for i in range(9):
        _kernel(tmp_path, i, age=9)
    unlink = os.unlink

    def twice(path: str) -> None:
        unlink(path)
        unlink(path)

    monkeypatch.setattr(pruning.os, "unlink", twice)
    pruning.prune(tmp_path, _none)
    assert len(list(tmp_path.iterdir())) == 5
    pruning.prune(tmp_path / "missing", _none)


def test_only_a_process_that_wrote_looks_and_only_once(
    tmp_path: Path, small: None, monkeypatch: Patch
) -> None:
    made = library.Library()
    made.keep("rows.relu", "float32")
    code = object_cache.read_sealed(object_cache.cache_path("rows.relu", "float32")) or b""
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    looked: list[Path] = []
    real = object_cache.prune

    def prune(directory: Path, current: Any) -> None:
        looked.append(directory)
        real(directory, current)

    monkeypatch.setattr(object_cache, "prune", prune)
    monkeypatch.setattr(library, "build", lambda unit, dtype: code)
    object_cache.prune_once.cache_clear()
    (tmp_path / "cache").mkdir(mode=0o755)
    old = [_kernel(tmp_path / "cache", i, age=9, size=30 * KIB) for i in range(3)]
    library.Library().address("rows.relu", "forward_relu", "float32")
    assert looked == [tmp_path / "cache"]
    assert [path.exists() for path in old].count(True) <= 1
    kept = object_cache.cache_path("rows.relu", "float32")
    assert kept is not None and kept.exists()
    looked.clear()
    library.Library().address("rows.relu", "forward_relu", "float32")  # from the cache
    library.Library().compile("rows.relu", "float32")
    assert looked == []
    object_cache.prune_once.cache_clear()
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", "relative")
    library.Library().compile("rows.relu", "float32")
    assert looked == []  # nothing was written
