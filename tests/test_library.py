"""The cache of compiled kernels: whatever happens to it, the answer is right and nothing warns.

Faults are planted into a cache of one small unit, ``rows.relu`` in float32. What a recompilation
would give is kept, so that most tests need no compiler: they count how often it was asked for.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import pytest
from conftest import output, rng_of, start

import fastgrad as fg
from fastgrad.kernels import units
from fastgrad.kernels.toolchain import library, object_cache

UNIT, FUNCTION, DTYPE = "rows.relu", "forward_relu", "float32"


@pytest.fixture(scope="module")
def code() -> bytes:
    """The compiled unit: from the cache of this machine if it is there."""
    library.LIBRARY.address(UNIT, FUNCTION, DTYPE)
    found = object_cache.read_sealed(object_cache.cache_path(UNIT, DTYPE))
    return found or library.build(units.unit(UNIT), DTYPE)


class Cache:
    """A cache in a directory of its own, and how often its library compiled."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.builds = directory, 0

    @property
    def path(self) -> Path:
        """The file of the unit."""
        path = object_cache.cache_path(UNIT, DTYPE)
        assert path is not None
        return path

    def check(self, builds: int) -> None:
        """Load the unit as a new process would; it computes, after `builds` compilations."""
        before = self.builds
        fresh = library.Library()
        assert relu_at(fresh.address(UNIT, FUNCTION, DTYPE))
        assert self.builds - before == builds
        assert len(fresh.compiled) == builds


def relu_at(address: int) -> bool:
    """Return whether the row kernel at `address` computes relu."""
    z = rng_of("relu").standard_normal((3, 7)).astype(np.float32)
    y = np.empty_like(z)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 6)(address)
    function(z.ctypes.data, 7, y.ctypes.data, 7, 3, 7)
    return bool((y == np.maximum(z, 0)).all())


@pytest.fixture
def cache(tmp_path: Path, code: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """A filled cache; compiling gives what was compiled before."""
    made = Cache(tmp_path / "cache")
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(made.directory))

    def build(wanted: units.Unit, dtype: str) -> bytes:
        assert (wanted, dtype) == (units.unit(UNIT), DTYPE)
        made.builds += 1
        return code

    monkeypatch.setattr(library, "build", build)
    object_cache.write_sealed(made.path, code)
    made.check(builds=0)
    yield made


# -- damaged files -------------------------------------------------------------------------------


def _flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def _cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def _swap(path: Path, unit: str, dtype: str) -> None:
    """Put the sealed file of another unit in its place, as a careless copy would."""
    other = object_cache.cache_path(unit, dtype)
    assert other is not None
    object_cache.write_sealed(other, object_cache.read_sealed(path) or b"")
    os.replace(other, path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").touch()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


FAULTS: dict[str, Callable[[Path], Any]] = {
    "deleted": lambda path: path.unlink(),
    "whole directory deleted": lambda path: shutil.rmtree(path.parent),
    "empty": lambda path: path.write_bytes(b""),
    "one byte": lambda path: _cut(path, 1),
    "half a seal": lambda path: _cut(path, 16),
    "a seal and no code": lambda path: _cut(path, 32),
    "one byte of code": lambda path: _cut(path, 33),
    "half": lambda path: _cut(path, path.stat().st_size // 2),
    "last byte missing": lambda path: _cut(path, -1),
    "a byte too many": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("not an object file"),
    "seal flipped": lambda path: _flip(path, 7),
    "code flipped": lambda path: _flip(path, 40),
    "last byte flipped": lambda path: _flip(path, -1, 7),
    "of another unit": lambda path: _swap(path, "rows.tanh", DTYPE),
    "of the other dtype": lambda path: _swap(path, UNIT, "float64"),
    "dangling link": _dangling,
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_damaged_file_is_compiled_again(fault: str, cache: Cache) -> None:
    FAULTS[fault](cache.path)
    cache.check(builds=1)
    cache.check(builds=0)  # and was put right


def test_every_flipped_bit_is_noticed(cache: Cache) -> None:
    whole, rng = cache.path.read_bytes(), rng_of("bits")
    places = rng.integers(0, len(whole), 200)
    for at, bit in zip(places.tolist(), rng.integers(0, 8, 200).tolist(), strict=True):
        _flip(cache.path, at, bit)
        assert object_cache.read_sealed(cache.path) is None
        cache.path.write_bytes(whole)
    cache.check(builds=0)


@pytest.mark.parametrize("obstacle", ["directory in place of the file", "file for the directory"])
def test_what_cannot_be_replaced_is_left(obstacle: str, cache: Cache) -> None:
    if obstacle.startswith("directory"):
        _directory(cache.path)
    else:
        shutil.rmtree(cache.directory)
        cache.directory.write_text("in the way")
    for _ in range(2):
        cache.check(builds=1)
    if cache.directory.is_dir():
        assert [p.name for p in cache.directory.iterdir()] == [cache.path.name]


def test_what_a_killed_writer_leaves_is_ignored(cache: Cache, code: bytes) -> None:
    """SIGKILL between writing the temporary file and renaming it."""
    cache.path.unlink()
    died = start(
        f"""
import os, signal
from fastgrad.kernels.toolchain import library
library.build = lambda *_: {code[:1000]!r}
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
library.Library().address({UNIT!r}, {FUNCTION!r}, {DTYPE!r})
""",
        FASTGRAD_CACHE_DIR=str(cache.directory),
    )
    died.communicate(timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert not cache.path.exists()
    assert [p.suffix for p in cache.directory.iterdir()] == [".part"]
    cache.check(builds=1)
    cache.check(builds=0)


# -- nowhere to write ----------------------------------------------------------------------------


def _fails(error: OSError) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


class _FullDisk:
    """A file that takes a few bytes and then no more."""

    def __init__(self, descriptor: int, *_: Any) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self.descriptor)

    def write(self, content: bytes) -> None:
        os.write(self.descriptor, content[:100])
        raise OSError(28, "No space left on device")


REFUSALS: dict[str, tuple[Any, str, Any]] = {
    "read-only directory": (
        object_cache.tempfile,
        "mkstemp",
        _fails(PermissionError(13, "denied")),
    ),
    "read-only parent": (Path, "mkdir", _fails(PermissionError(13, "denied"))),
    "full disk": (os, "fdopen", _FullDisk),
    "no rename": (os, "replace", _fails(PermissionError(1, "not permitted"))),
    "vanished": (os, "replace", _fails(FileNotFoundError(2, "no such file"))),
}


@pytest.mark.parametrize("refusal", list(REFUSALS))
def test_a_cache_that_cannot_be_written(
    refusal: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process compiles for itself, and leaves nothing half-written."""
    cache.path.unlink()
    monkeypatch.setattr(*REFUSALS[refusal])
    for _ in range(2):
        cache.check(builds=1)
    assert list(cache.directory.iterdir()) == []


def test_without_a_home_directory(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FASTGRAD_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert object_cache.cache_directory() is None
    assert object_cache.cache_path(UNIT, DTYPE) is None
    cache.check(builds=1)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("FASTGRAD_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert object_cache.cache_directory() == Path("/home/somebody/.cache/fastgrad")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/x")
    assert object_cache.cache_directory() == Path("/var/x/fastgrad")
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", "/var/y")
    assert object_cache.cache_directory() == Path("/var/y")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of POSIX")
def test_nobody_else_can_write_there(cache: Cache) -> None:
    """Who can could have this process run their code; all may read: see test_cache_trust."""
    assert cache.directory.stat().st_mode & 0o022 == 0
    assert cache.path.stat().st_mode & 0o022 == 0


# -- what a file's name depends on ---------------------------------------------------------------


@pytest.fixture
def fingerprint() -> Iterator[Callable[[], bytes]]:
    """The fingerprint, computed afresh at each call."""

    def fresh() -> bytes:
        object_cache._fingerprint.cache_clear()
        object_cache.sources_hash.cache_clear()
        return object_cache._fingerprint()

    yield fresh
    object_cache._fingerprint.cache_clear()
    object_cache.sources_hash.cache_clear()


KERNELS = Path(object_cache.__file__).parents[1]
SOURCES = sorted(p.relative_to(KERNELS).as_posix() for p in KERNELS.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES)
def test_an_edit_of_any_kernel_file_means_new_files(
    source: str,
    tmp_path: Path,
    fingerprint: Callable[[], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of a callee in another file, which Numba's own cache does not see."""
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(KERNELS / name, tmp_path / name)
    before = fingerprint()
    monkeypatch.setattr(object_cache, "__file__", str(tmp_path / "toolchain" / "object_cache.py"))
    assert fingerprint() == before
    with open(tmp_path / source, "a") as file:
        file.write("\n# edited\n")
    assert fingerprint() != before


FACTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "cpu": lambda patch: patch.setattr(object_cache, "host", lambda: _changed(cpu="other")),
    "features": lambda patch: patch.setattr(
        object_cache, "host", lambda: _changed(features="-avx")
    ),
    "python": lambda patch: patch.setattr(sys, "version", "4.0"),
    "llvmlite": lambda patch: patch.setattr(llvmlite, "__version__", "9.9"),
    "numpy": lambda patch: patch.setattr(np, "__version__", "9.9"),
    "numba": lambda patch: patch.setattr("importlib.metadata.version", lambda _: "9.9"),
    "platform": lambda patch: patch.setattr(llvmlite.binding, "get_process_triple", lambda: "z80"),
}


def _changed(**facts: str) -> Any:
    host = object_cache.host.__wrapped__() if hasattr(object_cache.host, "__wrapped__") else None
    values = {"cpu": "a", "features": "b"} if host is None else vars(host)
    return types.SimpleNamespace(**{**values, **facts})


@pytest.mark.parametrize("fact", list(FACTS))
def test_another_machine_or_version_means_new_files(
    fact: str, fingerprint: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    with monkeypatch.context() as patch:
        FACTS[fact](patch)
        assert fingerprint() != before
    assert fingerprint() == before


def test_every_unit_and_dtype_has_its_own_file(cache: Cache) -> None:
    from fastgrad.command import environment as running

    names = running.units()
    paths = {object_cache.cache_path(name, dtype) for name in names for dtype in units.DTYPES}
    assert len(paths) == 2 * len(names)


# -- loading -------------------------------------------------------------------------------------

WARM = """
import sys, numpy as np, fastgrad as fg
z = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
y, cache = fg.dense_forward(z, z.T.copy(), activation="relu")
grads = fg.dense_backward(y, cache)
assert np.allclose(y, np.maximum(z @ z.T, 0), atol=1e-6)
assert np.allclose(grads.x, y @ z, atol=1e-6)
assert fg.losses.mse(y, y) == 0.0
assert (fg.relu(z) == np.maximum(z, 0)).all()
from fastgrad.kernels.toolchain.library import LIBRARY
print(sorted(m for m in ("numba", "scipy", "torch") if m in sys.modules), LIBRARY.compiled)
"""


def test_a_second_process_neither_compiles_nor_imports_numba() -> None:
    x = np.ones((2, 2), np.float32)
    y, kept = fg.dense_forward(x, x, activation="relu")
    fg.dense_backward(y, kept)
    fg.losses.mse(y, y)
    fg.relu(x)  # in the cache now, if it was not before
    assert output(start(WARM)) == "[] []"


@pytest.mark.parametrize(
    "module",
    [
        "fastgrad",
        "fastgrad.nn",
        "fastgrad.gradcheck.check_grad",
        "fastgrad.command.cli",
        "fastgrad.reference",
    ],
)
def test_importing_is_light(module: str) -> None:
    heavy = ("numba", "llvmlite", "scipy", "matplotlib", "torch")
    code = f"import sys, {module}\nprint([m for m in {heavy} if m in sys.modules])"
    assert output(start(code)) == "[]"


COLD = f"""
import ctypes, numpy as np
from fastgrad.kernels.toolchain.library import LIBRARY
address = LIBRARY.address({UNIT!r}, {FUNCTION!r}, {DTYPE!r})
z = np.linspace(-1, 1, 21, dtype={DTYPE!r})
y = np.empty_like(z)
ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 6)(address)(z.ctypes.data, 7, y.ctypes.data, 7, 3, 7)
print((y == np.maximum(z, 0)).all(), LIBRARY.compiled)
"""


def test_concurrent_cold_starts(tmp_path: Path) -> None:
    """Four processes and no cache: all are right, one whole file is left."""
    place = str(tmp_path / "cold")
    processes = [start(COLD, FASTGRAD_CACHE_DIR=place) for _ in range(4)]
    answers = [output(process) for process in processes]
    assert all(answer.startswith("True") for answer in answers)
    (left,) = Path(place).iterdir()
    assert object_cache.read_sealed(left) is not None
    assert output(start(COLD, FASTGRAD_CACHE_DIR=place)) == "True []"


def test_threads_compile_once(cache: Cache) -> None:
    cache.path.unlink()
    fresh, barrier, right = library.Library(), threading.Barrier(8), []

    def work() -> None:
        barrier.wait()
        right.append(relu_at(fresh.address(UNIT, FUNCTION, DTYPE)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert right == [True] * 8
    assert cache.builds == 1


def test_a_failing_compilation_is_tried_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, or Ctrl-C, in the middle leaves nothing that the next call trips over."""
    cache.path.unlink()
    fresh, works = library.Library(), library.build
    monkeypatch.setattr(library, "build", _fails(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        fresh.address(UNIT, FUNCTION, DTYPE)
    monkeypatch.setattr(library, "build", works)
    assert relu_at(fresh.address(UNIT, FUNCTION, DTYPE))


def test_at_most_two_versions_of_a_kernel() -> None:
    """Layouts, orders, flags and shapes compile nothing: there is one unit per dtype."""
    x, w = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
    fg.dense_backward(*fg.dense_forward(x, w, activation="relu"))
    before = list(library.LIBRARY.compiled), dict(library.LIBRARY._addresses)
    for a in (x, x[::-1], np.asfortranarray(x), x[0], x[:, ::2].repeat(2, axis=1), x[:0]):
        y, kept = fg.dense_forward(a, w, activation="relu")
        for need in (("x",), ("w", "z"), "xwbz"):
            outs = {"w": np.zeros_like(w)}
            fg.dense_backward(y, kept, need=need, out=outs, accumulate=True)
        if a.ndim == 2:
            fg.dense(a.T, w.T, np.ones(2, np.float32), "relu", samples="columns")
    assert (list(library.LIBRARY.compiled), dict(library.LIBRARY._addresses)) == before
    assert len(set(before[0])) == len(before[0])
