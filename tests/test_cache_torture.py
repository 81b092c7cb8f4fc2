"""What the cache of compiled kernels lives through, with whole processes and a real compiler.

`test_library` plants faults into one process and counts compilations; here are the faults that
need processes of their own. Each must give the right answer, end well and write nothing to
stderr; warnings are errors.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import output, rng_of, start

import fastgrad as fg
from fastgrad.kernels import units
from fastgrad.kernels.toolchain import library, object_cache

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
exhaustive = pytest.mark.exhaustive

# One row kernel: the unit that compiles fastest. Integers, so that equality is the truth.
SMALL = """
import numpy as np, fastgrad as fg
from fastgrad.kernels.calls.entry import entry
from fastgrad.kernels.toolchain.library import LIBRARY
z = np.arange(-10, 11, dtype=np.float32).reshape(3, 7)
import ctypes
at = LIBRARY.address("rows.relu", "forward_relu", "float32")
y = np.empty_like(z)
ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 6)(at)(z.ctypes.data, 7, y.ctypes.data, 7, 3, 7)
assert (y == np.maximum(z, 0)).all()
print(len(LIBRARY.compiled))
"""
# A layer and its gradients, a loss.
UNITS = ("panel", "thin", "gemv", "dot", "gemm", "single_output", "layer", "split_k", "dense")
UNITS += ("apply_loss", "rows.relu", "loss.squared_l2")
WHOLE = """
import numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain.library import LIBRARY
x = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)
w = np.arange(8, dtype=np.float32).reshape(4, 2) - 3
y, cache = fg.dense_forward(x, w, None, "relu")
assert (y == np.maximum(x @ w, 0)).all()
value, g = fg.losses.squared_l2.value_and_grad(y)
assert value == (y * y).sum() and (g == 2 * y).all()
grads = fg.dense_backward(g, cache)
assert (grads.x == g @ w.T).all() and (grads.w == x.T @ g).all()
print(len(LIBRARY.compiled))
"""


def run(code: str, place: Path | str, **changes: str | None) -> int:
    """Run a program on a cache; return how many units it compiled."""
    return int(output(start(code, FASTGRAD_CACHE_DIR=str(place), **changes), timeout=300))


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has what `WHOLE` needs."""
    place = tmp_path_factory.mktemp("filled")
    for name in UNITS:
        library.LIBRARY.address(name, units.unit(name).functions[0], "float32")
        path = object_cache.cache_path(name, "float32")
        assert path is not None
        shutil.copy(path, place)
    assert run(WHOLE, place) == 0
    return place


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    shutil.copytree(filled, tmp_path / "cache")
    return tmp_path / "cache"


# -- many at once --------------------------------------------------------------------------------


def cold_starts(code: str, count: int, place: Path) -> None:
    """Start processes at the same moment, without a cache; check what they leave."""
    processes = [start(code, FASTGRAD_CACHE_DIR=str(place)) for _ in range(count)]
    for process in processes:
        output(process, timeout=600)
    assert all(path.suffix == ".o" for path in place.iterdir())
    assert all(object_cache.read_sealed(path) for path in place.iterdir())
    assert run(code, place) == 0


@exhaustive
@pytest.mark.parametrize("repetition", range(3))
def test_sixteen_cold_starts_of_one_unit(repetition: int, tmp_path: Path) -> None:
    cold_starts(SMALL, 16, tmp_path / "cold")


@exhaustive
def test_sixteen_cold_starts_of_a_layer(tmp_path: Path) -> None:
    cold_starts(WHOLE, 16, tmp_path / "cold")


@exhaustive
@pytest.mark.parametrize("rounds", [3])
def test_sixteen_warm_starts_while_files_vanish(rounds: int, copy: Path) -> None:
    """Files are deleted and put back, whole and half, under the eyes of starting processes."""
    kept = {path: path.read_bytes() for path in copy.iterdir()}
    rng = rng_of("vanish")
    for _ in range(rounds):
        processes = [start(WHOLE, FASTGRAD_CACHE_DIR=str(copy)) for _ in range(16)]
        relu = next(path for path in kept if path.name.startswith("rows.relu"))
        while any(process.poll() is None for process in processes):
            fault = int(rng.integers(3))
            if fault == 0:
                relu.unlink(missing_ok=True)
            else:
                relu.write_bytes(kept[relu][: len(kept[relu]) // fault])
            time.sleep(0.005)
        for process in processes:
            output(process)
    relu.write_bytes(kept[relu])
    assert run(WHOLE, copy) == 0


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=exhaustive)])
def test_flipped_bits_and_cuts_of_every_file(count: int, copy: Path) -> None:
    """In all units: no damaged file is ever taken for a whole one."""
    files = sorted(copy.iterdir())
    rng = rng_of("flips")
    kept = {path: path.read_bytes() for path in files}
    for step in range(count):
        path = files[step % len(files)]
        content = bytearray(kept[path])
        at = int(rng.integers(len(content)))
        if step % 3:
            content[at] ^= 1 << int(rng.integers(8))
        else:
            del content[at:]
        path.write_bytes(content)
        assert object_cache.read_sealed(path) is None
        path.write_bytes(kept[path])


def test_files_swapped_in_a_ring(copy: Path) -> None:
    """Each whole, each under the name of another: all are compiled again, once."""
    files = sorted(copy.glob("*.o"))
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert all(object_cache.read_sealed(path) is None for path in files)
    # One of them in a process of its own, the rest by what was just asserted.
    for path, content in zip(files, contents, strict=True):
        if not path.name.startswith("rows.relu"):
            path.write_bytes(content)
    assert run(WHOLE, copy) == 1
    assert run(WHOLE, copy) == 0


@pytest.mark.parametrize("fault", ["flipped", "cut", "empty", "deleted"])
def test_one_damaged_file_is_one_compilation(fault: str, copy: Path) -> None:
    (path,) = copy.glob("rows.relu*")
    content = path.read_bytes()
    damaged = {
        "flipped": content[:-9] + bytes([content[-9] ^ 16]) + content[-8:],
        "cut": content[: len(content) // 2],
        "empty": b"",
    }
    if fault == "deleted":
        path.unlink()
    else:
        path.write_bytes(damaged[fault])
    assert run(WHOLE, copy) == 1
    assert run(WHOLE, copy) == 0


# -- what the code was made from -------------------------------------------------------------------


def test_an_edited_callee_is_compiled_anew(tmp_path: Path) -> None:
    """The helper is in another file than the unit: Numba's own cache would not notice."""
    package = tmp_path / "site" / "fastgrad"
    shutil.copytree(Path(fg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import sys; sys.path.insert(0, {site!r})
import ctypes, numpy as np, fastgrad as fg
assert fg.__file__.startswith({site!r})
from fastgrad.kernels.toolchain.library import LIBRARY
at = LIBRARY.address("rows.softsign", "forward_softsign", "float32")
z, y = np.full((1, 1), 3, np.float32), np.zeros((1, 1), np.float32)
ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 6)(at)(z.ctypes.data, 1, y.ctypes.data, 1, 1, 1)
assert y[0, 0] == {value}, y
print(len(LIBRARY.compiled))
"""
    site, cache = str(tmp_path / "site"), tmp_path / "cache"
    assert run(code.format(site=site, value="np.float32(0.75)"), cache) == 1
    assert run(code.format(site=site, value="np.float32(0.75)"), cache) == 0
    helper = package / "kernels" / "elementwise" / "formulas.py"
    source = helper.read_text()
    found = SOFTSIGN in source
    assert found, "the formula of softsign is written otherwise: edit this test"
    helper.write_text(source.replace(SOFTSIGN, SOFTSIGN_EDITED))
    assert run(code.format(site=site, value="np.float32(1.5)"), cache) == 1
    helper.write_text(source)
    assert run(code.format(site=site, value="np.float32(0.75)"), cache) == 0  # the old file


SOFTSIGN, SOFTSIGN_EDITED = "else z / (one + fabs(z))", "else (z + z) / (one + fabs(z))"


def test_another_cpu_name_is_another_file(copy: Path) -> None:
    import llvmlite.binding as llvm

    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("no other processor's code runs here")
    before = set(copy.iterdir())
    other = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": None}
    assert run(SMALL, copy, **other) == 1
    assert run(SMALL, copy, **other) == 0
    assert len(set(copy.iterdir()) - before) == 1
    assert run(SMALL, copy) == 0


FAKED = """
import importlib.metadata as metadata
real = metadata.version
metadata.version = lambda name: "0.0.0" if name == "{package}" else real(name)
"""


def test_another_numba_is_another_file(copy: Path) -> None:
    before = set(copy.iterdir())
    code = FAKED.format(package="numba") + SMALL
    assert [run(code, copy), run(code, copy), run(SMALL, copy)] == [1, 0, 0]
    assert len(set(copy.iterdir()) - before) == 1


# -- nowhere to write ------------------------------------------------------------------------------


def _missing(place: Path) -> dict[str, str | None]:
    return {"FASTGRAD_CACHE_DIR": str(place / "not" / "yet" / "there")}


def _homeless(place: Path) -> dict[str, str | None]:
    names = ("FASTGRAD_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")
    return dict.fromkeys(names)


def _no_directory(place: Path) -> dict[str, str | None]:
    return {"FASTGRAD_CACHE_DIR": "/dev/null/cache"}


def _not_writable(place: Path) -> dict[str, str | None]:
    """A directory that refuses even root: /proc takes no files."""
    return {"FASTGRAD_CACHE_DIR": "/proc/1"}


PLACES: dict[str, tuple[Callable[[Path], dict[str, str | None]], bool]] = {
    "a missing directory": (_missing, True),
    "no home": (_homeless, False),
    "no directory possible": (_no_directory, False),
    "not writable": (_not_writable, False),
}


@posix
@pytest.mark.parametrize("where", list(PLACES))
def test_places(where: str, tmp_path: Path) -> None:
    """It compiles, and keeps what it compiled where there is a place."""
    make, kept = PLACES[where]
    changes = make(tmp_path)
    assert int(output(start(SMALL, **changes))) == 1
    if kept:
        assert int(output(start(SMALL, **changes))) == 0


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_directory(copy: Path) -> None:
    (path,) = copy.glob("rows.relu*")
    path.unlink()
    copy.chmod(0o500)
    try:
        assert [run(SMALL, copy), run(SMALL, copy)] == [1, 1]
    finally:
        copy.chmod(0o700)


@pytest.mark.exhaustive
@posix
def test_a_read_only_directory_as_another_user(copy: Path, tmp_path: Path) -> None:
    """Root may write anywhere: become somebody else first."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    (path,) = copy.glob("rows.relu*")
    path.unlink()
    for directory in (copy, *list(copy.parents)[:3]):
        directory.chmod(0o755)
    # What is imported on the way comes first: the interpreter itself may lie in root's home.
    code = (
        """
import os
from fastgrad.kernels.toolchain import library
from fastgrad.kernels.toolchain import object_cache
from fastgrad.kernels import units
library.build(units.unit("rows.relu"), "float32")
object_cache.cache_path("rows.relu", "float32")
os.setgid(65534); os.setuid(65534); assert os.geteuid() != 0
"""
        + SMALL
    )
    assert [run(code, copy), run(code, copy)] == [1, 1]
    assert not any(p.suffix == ".part" for p in copy.iterdir())


# A limit on the size of files stops a write in the middle, as a full disk does; Python ignores
# the signal that comes with it.
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"


@posix
@pytest.mark.parametrize("size", [2000, *(pytest.param(n, marks=exhaustive) for n in (0, 33, 100))])
def test_a_disk_that_fills_up_in_mid_write(size: int, copy: Path) -> None:
    (path,) = copy.glob("rows.relu*")
    path.unlink()
    before = set(copy.iterdir())
    code = LIMITED.format(size=size) + SMALL
    assert run(code, copy) == 1
    assert set(copy.iterdir()) == before
    assert run(SMALL, copy) == 1  # the limit is gone: written now
    assert run(SMALL, copy) == 0


@exhaustive
@posix
def test_a_full_disk(tmp_path: Path) -> None:
    """A file system of 16 KiB; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this process may not mount a file system")
    try:
        with pytest.raises(OSError) as full:
            (place / "fill").write_bytes(bytes(1 << 20))
        assert full.value.errno == errno.ENOSPC
        assert [run(SMALL, place), run(SMALL, place)] == [1, 1]
        assert [path.name for path in place.iterdir()] == ["fill"]
        (place / "fill").unlink()
        assert [run(SMALL, place), run(SMALL, place)] == [1, 0]
    finally:
        subprocess.run(["umount", str(place)], check=True)


# -- killed ----------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("count", [3, pytest.param(60, marks=exhaustive)])
def test_killed_at_any_moment(count: int, copy: Path) -> None:
    """SIGKILL while compiling, writing or renaming; the next start is none the worse.

    The compiler is replaced by a reader of what it made, and the write is slowed down, so that
    most kills hit the write.
    """
    (path,) = copy.glob("rows.relu*")
    kept = path.with_name("kept").absolute()
    kept.write_bytes(object_cache.read_sealed(path) or b"")
    code = f"""
import os, time
from fastgrad.kernels.toolchain import library
from fastgrad.kernels.toolchain import object_cache
from fastgrad.kernels import units
library.build = lambda *_: open({str(kept)!r}, "rb").read()
fdopen = os.fdopen
class Slow:
    def __init__(self, *a): self.file = fdopen(*a)
    def __enter__(self): return self
    def __exit__(self, *a): self.file.close()
    def write(self, content):
        print("writing", flush=True)
        for i in range(0, len(content), 64):
            self.file.write(content[i:i + 64]); self.file.flush(); time.sleep(0.001)
os.fdopen = Slow
library.LIBRARY.address("rows.relu", "forward_relu", "float32")
time.sleep(60)
"""
    rng, killed = rng_of("kill"), 0
    for _ in range(count):
        path.unlink(missing_ok=True)
        process = start(code, FASTGRAD_CACHE_DIR=str(copy))
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert not path.exists() or object_cache.read_sealed(path) is not None
    assert killed == count
    for part in copy.glob("*.part"):
        assert object_cache.read_sealed(part) is None
    assert run(WHOLE, copy) <= 1
    assert run(WHOLE, copy) == 0


# -- Numba's own variables -------------------------------------------------------------------------

VARIABLES = ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK", "NUMBA_DEBUGINFO"]


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_of_numba_change_nothing(name: str, copy: Path) -> None:
    """Kernels on raw memory are always compiled, and to the same code: one cache for all."""
    assert run(WHOLE, copy, **{name: "1"}) == 0
    (path,) = copy.glob("rows.relu*")
    made = []
    for value in (None, "1"):
        path.unlink()
        assert run(WHOLE, copy, **{name: value}) == 1
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert run(WHOLE, copy) == 0


DEFINED = """
import math, numpy as np, fastgrad as fg
cube = fg.define_activation("cube", lambda z: z * z * z, lambda z: 3 * z * z)
z = np.arange(-4, 5, dtype=np.float32)
assert (cube(z) == z**3).all() and (cube.derivative(z) == 3 * z**2).all()
import numba
assert numba.config.DISABLE_JIT == {disabled} and numba.config.BOUNDSCHECK in (None, 0, 1)
calls = []
@numba.njit
def own(a):
    calls.append(a)
    return a
if {disabled}:
    assert own(3) == 3 and calls == [3]  # the user's own functions are Python, as asked
print(1)
"""


@pytest.mark.parametrize("name", VARIABLES)
def test_activations_of_ones_own_under_variables_of_numba(name: str, filled: Path) -> None:
    code = DEFINED.format(disabled=int(name == "NUMBA_DISABLE_JIT"))
    assert run(code, filled, **{name: "1"}) == 1
