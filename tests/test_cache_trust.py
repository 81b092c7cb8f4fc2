"""Whose machine code is run: only what this user or root can have written, from an absolute place.

And who may use it: everybody, so an image whose kernels root compiled starts fast for every user.
"""

from __future__ import annotations

import os
import py_compile
import shutil
import stat
import subprocess
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import environment, output, start

import fastgrad
from fastgrad.kernels import units
from fastgrad.kernels.toolchain import cache_place, library, object_cache, sources

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users and modes of POSIX")
UNIT, FUNCTION, DTYPE = "rows.relu", "forward_relu", "float32"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that does not exist yet."""
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(place: Path) -> Iterator[Path]:
    """The file of a unit with a byte for its code."""
    path = object_cache.cache_path(UNIT, DTYPE)
    assert path is not None
    assert object_cache.write_sealed(path, b"code") == ""
    assert object_cache.read_sealed(path) == b"code"
    yield path
    place.chmod(0o700)


# -- modes ---------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_all_may_read_and_the_owner_alone_may_write(umask: int, place: Path) -> None:
    before = os.umask(umask)
    try:
        path = object_cache.cache_path(UNIT, DTYPE)
        assert object_cache.write_sealed(path, b"code") == ""
    finally:
        os.umask(before)
    assert path is not None
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert object_cache.read_sealed(path) == b"code"


MODES = [0o775, 0o757, 0o777, 0o1777, 0o720, 0o702]


@posix
@pytest.mark.parametrize("mode", MODES)
def test_a_directory_that_others_can_write_is_not_used(mode: int, kept: Path) -> None:
    kept.parent.chmod(mode)
    assert object_cache.read_sealed(kept) is None
    assert "others can write there" in object_cache.write_sealed(kept, b"other")
    assert f"its mode is {mode:o}" in object_cache.refusal()
    kept.parent.chmod(0o755)
    assert object_cache.read_sealed(kept) == b"code"  # and nothing was written
    assert os.listdir(kept.parent) == [kept.name]


@posix
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_can_write_is_not_used(mode: int, kept: Path) -> None:
    kept.chmod(mode)
    assert object_cache.read_sealed(kept) is None
    assert object_cache.look(kept) is None
    assert object_cache.write_sealed(kept, b"better") == ""
    assert object_cache.read_sealed(kept) == b"better"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644


@posix
@pytest.mark.parametrize("mode", [0o500, 0o555, 0o700, 0o755, 0o711])
def test_a_directory_of_ones_own_is_used(mode: int, kept: Path) -> None:
    kept.parent.chmod(mode)
    assert object_cache.read_sealed(kept) == b"code"
    assert object_cache.refusal() == ""


# -- owners --------------------------------------------------------------------------------------


def _owned(path: Path, owner: int, patch: pytest.MonkeyPatch) -> None:
    """Have `path` look as if it belonged to `owner`."""
    real, inode = os.stat, os.stat(path).st_ino

    def changed(about: os.stat_result) -> Any:
        if about.st_ino != inode:
            return about
        names = ("st_mode", "st_size", "st_ino")
        return types.SimpleNamespace(st_uid=owner, **{name: getattr(about, name) for name in names})

    patch.setattr(cache_place.os, "stat", lambda *a, **k: changed(real(*a, **k)))
    fstat = os.fstat
    patch.setattr(cache_place.os, "fstat", lambda *a: changed(fstat(*a)))


@posix
@pytest.mark.parametrize("what", ["directory", "file"])
@pytest.mark.parametrize(
    ("owner", "me", "trusted"),
    [(0, 0, True), (0, 1000, True), (1000, 1000, True), (1000, 0, False), (1000, 1001, False)],
)
def test_whose_files_are_used(
    what: str, owner: int, me: int, trusted: bool, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mine and root's; to root only root's: a user's file would run with root's rights."""
    with monkeypatch.context() as patch:
        patch.setattr(cache_place.os, "geteuid", lambda: me)
        _owned(kept, me, patch)  # where root runs the tests all belongs to root
        _owned(kept.parent, me, patch)
        _owned(kept.parent if what == "directory" else kept, owner, patch)
        assert (object_cache.read_sealed(kept) == b"code") is trusted
        if what == "directory":
            assert (object_cache.refusal() == "") is trusted
            assert ("user 1000" in object_cache.refusal()) is not trusted
            assert (object_cache.write_sealed(kept, b"code") == "") is trusted
    assert object_cache.read_sealed(kept) == b"code"


AS_NOBODY = """
import os, sys
os.setgid(65534); os.setuid(65534)
os.environ["HOME"] = "/nonexistent"
import numpy as np
from fastgrad.kernels.toolchain import object_cache
from fastgrad.kernels.toolchain.library import LIBRARY
{body}
"""


def _as_nobody(body: str, place: Path) -> str:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # What is imported must be loaded before: another user may not search root's directories.
    early = "import numpy, ctypes, inspect, fastgrad.kernels.units\n"
    early += "import fastgrad.kernels.toolchain.library\n"
    early += "fastgrad.kernels.toolchain.object_cache._fingerprint()\n"
    return output(start(early + AS_NOBODY.format(body=body), FASTGRAD_CACHE_DIR=str(place)))


@pytest.fixture
def searchable() -> Iterator[Path]:
    """A directory that every user may search, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


LOADS = "LIBRARY.address('rows.relu', 'forward_relu', 'float32'); print(LIBRARY.compiled)"


@posix
def test_another_user_loads_what_root_compiled(searchable: Path) -> None:
    place = searchable / "shared"
    code = "from fastgrad.kernels.toolchain.library import LIBRARY\n" + LOADS
    assert output(start(code, FASTGRAD_CACHE_DIR=str(place))) == "['rows.relu:float32']"
    assert _as_nobody(LOADS, place) == "[]"
    cannot = "print(object_cache.write_sealed(object_cache.cache_path('panel', 'float32'), b'x'))"
    assert _as_nobody(cannot, place) == "Permission denied"
    os.chown(place, 1000, 1000)
    refused = "print(object_cache.refusal())"
    assert _as_nobody(refused, place) == "it belongs to user 1000, neither to you nor to root"


# -- places --------------------------------------------------------------------------------------

VARIABLES = ("FASTGRAD_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"FASTGRAD_CACHE_DIR": "cache", "HOME": "/home/me"}, None),
        ({"FASTGRAD_CACHE_DIR": "./cache", "XDG_CACHE_HOME": "/x"}, None),
        ({"FASTGRAD_CACHE_DIR": "~/cache", "HOME": "/home/me"}, "/home/me/cache"),
        ({"FASTGRAD_CACHE_DIR": "~/cache", "HOME": "me"}, None),
        ({"FASTGRAD_CACHE_DIR": "~", "HOME": "/home/me"}, "/home/me"),
        ({"FASTGRAD_CACHE_DIR": "", "HOME": "/home/me"}, "/home/me/.cache/fastgrad"),
        ({"XDG_CACHE_HOME": "cache", "HOME": "/home/me"}, "/home/me/.cache/fastgrad"),
        ({"XDG_CACHE_HOME": ".", "HOME": "/home/me"}, "/home/me/.cache/fastgrad"),
        ({"XDG_CACHE_HOME": "~/c", "HOME": "/home/me"}, "/home/me/c/fastgrad"),
        ({"XDG_CACHE_HOME": "cache", "HOME": "."}, None),
        ({"HOME": "."}, None),
        ({"HOME": "home"}, None),
        ({"HOME": ""}, None),
        ({}, None),
    ],
)
def test_only_absolute_places(
    settings: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert object_cache.cache_directory() == (None if found is None else Path(found))
    if found is None:
        assert object_cache.cache_path(UNIT, DTYPE) is None
        asked = settings.get("FASTGRAD_CACHE_DIR", "no home")
        assert asked in object_cache.refusal()


@pytest.mark.parametrize("variable", VARIABLES[:3])
def test_nothing_is_loaded_from_the_working_directory(variable: str, tmp_path: Path) -> None:
    """Downloaded data with a .cache directory in it must not bring its own machine code."""
    code = "from fastgrad.kernels.toolchain.library import LIBRARY\n" + LOADS
    settings: dict[str, str | None] = dict.fromkeys(VARIABLES)
    below = {VARIABLES[0]: "", VARIABLES[1]: "fastgrad", VARIABLES[2]: ".cache/fastgrad"}
    planted = tmp_path / "data" / below[variable]
    output(start(code, FASTGRAD_CACHE_DIR=str(planted)))
    assert len(list(planted.iterdir())) == 1
    settings[variable] = "data"
    env = environment(**settings)
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.stdout.strip(), run.stderr) == ("['rows.relu:float32']", "")


# -- what is no plain file -----------------------------------------------------------------------


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _socket(path: Path) -> None:
    import socket

    path.unlink()
    os.chdir(path.parent)  # its name may be too long for a socket's
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": _fifo,
    "a terabyte": _sparse,
    "link to itself": _loop,
    "socket": _socket,
    "device": _device,
}


@posix
@pytest.mark.parametrize("odd", list(ODD))
def test_what_is_no_plain_file_is_replaced(odd: str, kept: Path) -> None:
    """At once: opening a pipe to read waits for somebody who writes."""
    before = os.getcwd()
    try:
        ODD[odd](kept)
    finally:
        os.chdir(before)
    assert object_cache.read_sealed(kept) is None
    assert object_cache.write_sealed(kept, b"code") == ""
    assert object_cache.read_sealed(kept) == b"code"


@posix
def test_a_pipe_does_not_hold_up_a_process(place: Path) -> None:
    code = "from fastgrad.kernels.toolchain.library import LIBRARY\n" + LOADS
    assert output(start(code)) == "['rows.relu:float32']"
    (path,) = place.iterdir()
    _fifo(path)
    assert output(start(code), timeout=60) == "['rows.relu:float32']"
    assert output(start(code)) == "[]"


def test_a_note_is_kept_beside_the_code(kept: Path) -> None:
    object_cache.write_sealed(kept, b"\nco\nde", "one\ntwo \x00 é")
    assert object_cache.read_sealed(kept) == b"\nco\nde"
    assert object_cache.look(kept) == (6, "one two \x00 é")
    content = bytearray(kept.read_bytes())
    content[33] ^= 1  # in the note
    kept.write_bytes(content)
    assert object_cache.look(kept) is None


# -- a symbol that is not there ------------------------------------------------------------------


def test_code_without_its_function_is_compiled_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where LLVM has refused it under the name that the new code would be loaded by."""
    other = library.build(units.unit("interleave"), DTYPE)
    right = library.build(units.unit(UNIT), DTYPE)
    builds: list[bytes] = [right]
    monkeypatch.setattr(library, "build", lambda *_: builds.pop())
    path = object_cache.cache_path(UNIT, DTYPE)
    object_cache.write_sealed(path, other)
    fresh = library.Library()
    assert fresh.address(UNIT, FUNCTION, DTYPE) != 0
    assert fresh.compiled == [f"{UNIT}:{DTYPE}"]
    assert object_cache.read_sealed(path) == right

    builds[:] = [other, other]
    object_cache.write_sealed(path, other)
    wrong = library.Library()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"rows\.relu:float32 was compiled without"):
            wrong.address(UNIT, FUNCTION, DTYPE)
    assert not wrong._addresses


def test_a_call_to_nobody_is_an_error_before_llvm_ends_the_process() -> None:
    import llvmlite.binding as llvm

    text = "declare void @{0}()\ndefine void @f() {{ call void @{0}()\nret void }}"
    for name in ("PyTuple_New", "malloc", "fastgrad_gemm_float32", "llvm.donothing"):
        library.check_externals(llvm.parse_assembly(text.format(name)))
    with pytest.raises(RuntimeError, match="a kernel calls numba_new_helper"):
        library.check_externals(llvm.parse_assembly(text.format("numba_new_helper")))


def test_code_that_calls_nobody_is_not_loaded() -> None:
    """LLVM's older linker ended the process."""
    text = "declare void @nobody()\ndefine void @f() { call void @nobody()\nret void }"
    with pytest.raises(RuntimeError, match="symbols"):
        library.LIBRARY.add(text, "f")
    assert library.LIBRARY.add("define i64 @f() { ret i64 7 }", "f") != 0


# -- what the name of a file depends on ----------------------------------------------------------

ROOT = Path(fastgrad.__file__).parent
TELL = """
import sys
from fastgrad.kernels.toolchain import object_cache
print(object_cache._fingerprint().hex() if object_cache._fingerprint() else "none")
"""


def _fingerprint(path: Path) -> str:
    env = environment()
    env["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", TELL],
        env=env,
        cwd=path.parent,  # not where another fastgrad may lie
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _sources(tmp_path: Path, name: str) -> Path:
    shutil.copytree(ROOT, tmp_path / name / "fastgrad", ignore=lambda *_: ["__pycache__"])
    return tmp_path / name


def _bytecode(tree: Path) -> Path:
    """Leave bytecode alone, beside where its source was."""
    for path in tree.rglob("*.py"):
        py_compile.compile(str(path), str(path) + "c", doraise=True)
        path.unlink()
    return tree


def _zipped(tree: Path) -> Path:
    archive = tree.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*.py*")):
            file.write(path, path.relative_to(tree))
    return archive


def _unchecked(tree: Path) -> Path:
    """Bytecode that Python runs whatever the source beside it says, as some builds install it."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for path in tree.rglob("*.py"):
        py_compile.compile(str(path), doraise=True, invalidation_mode=mode)
    return tree


FORMS: dict[str, Callable[[Path], Path]] = {
    "sources": lambda tree: tree,
    "bytecode": _bytecode,
    "zip": _zipped,
    "zip of bytecode": lambda tree: _zipped(_bytecode(tree)),
    "unchecked": _unchecked,
}
EDITS = {
    "a kernel": ("kernels/elementwise/formulas.py", "\nEDITED = 1\n"),
    "the version": ("kernels/version.py", "\n__version__ = '0.1.1'\n"),
    "a folder below": ("kernels/below/deeper/tile.py", "EDITED = 1\n"),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_two_versions_never_share_code(form: str, tmp_path: Path) -> None:
    """However they are installed; and one version has one name for its code."""
    first = _fingerprint(FORMS[form](_sources(tmp_path, "first")))
    found = {"first": first}
    for name, (file, text) in EDITS.items():
        tree = _sources(tmp_path, name.replace(" ", "_"))
        path = tree / "fastgrad" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as opened:
            opened.write(text)
        found[name] = _fingerprint(FORMS[form](tree))
    assert len(set(found.values())) == len(found), found
    assert "none" not in found.values()
    if form == "sources":
        assert _fingerprint(_sources(tmp_path, "again")) == first


def test_old_bytecode_that_runs_has_a_name_of_its_own(tmp_path: Path) -> None:
    tree = _unchecked(_sources(tmp_path, "tree"))
    before = _fingerprint(tree)
    path = tree / "fastgrad/kernels/elementwise/formulas.py"
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    stale = _fingerprint(tree)  # the new source beside the bytecode of the old one
    shutil.rmtree(path.parent / "__pycache__")
    assert len({before, stale, _fingerprint(tree)}) == 3


def test_without_files_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program frozen into one file: no key can be made, so no code is shared."""
    assert list(sources.contents(tmp_path / "frozen", None)) == []
    monkeypatch.setattr(object_cache, "__file__", str(tmp_path / "frozen" / "object_cache.py"))
    monkeypatch.setattr(object_cache, "__loader__", None)
    object_cache._fingerprint.cache_clear()
    object_cache.sources_hash.cache_clear()
    try:
        assert object_cache.cache_path(UNIT, DTYPE) is None
        assert object_cache.refusal() == "fastgrad's own files are not there"
    finally:
        object_cache._fingerprint.cache_clear()
        object_cache.sources_hash.cache_clear()


# -- the command line ----------------------------------------------------------------------------


def _command(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run ``fastgrad`` with a warmup of one unit."""
    one = "from fastgrad.command import environment; environment.units = lambda: ['rows.relu']\n"
    code = f"import sys\n{one}from fastgrad.command.cli import main\n"
    code += f"sys.exit(main({list(arguments)!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(**changes), capture_output=True, text=True
    )


def test_warmup_says_that_it_kept_nothing(tmp_path: Path) -> None:
    """A container build that would go on in silence stops."""
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    reasons = {
        str(tmp_path / "file" / "below"): "Not a directory",
        str(tmp_path / "file"): "Not a directory",
        "cache": "FASTGRAD_CACHE_DIR is 'cache': give an absolute path",
    }
    if hasattr(os, "geteuid"):
        reasons[str(tmp_path / "open")] = "others can write there"
    if Path("/proc/self").exists():
        reasons["/proc/fastgrad"] = "No such file or directory"  # nobody can write there, nor root
    for place, reason in reasons.items():
        done = _command("warmup", "--dtype", "float32", FASTGRAD_CACHE_DIR=place)
        assert done.returncode == 1, place
        (line,) = done.stderr.splitlines()
        assert line.startswith("fastgrad: kernels are not kept in ")
        assert "so every process compiles again: " in line
        assert reason in line
        assert done.stdout.startswith("compiled 1 kernels in ")
    fine = _command("warmup", "--dtype", "float32", FASTGRAD_CACHE_DIR=str(tmp_path / "fine"))
    assert (fine.returncode, fine.stderr) == (0, "")


def test_info_says_why_nothing_is_kept(tmp_path: Path) -> None:
    done = _command("info", FASTGRAD_CACHE_DIR="cache")
    assert done.returncode == 0
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert dict(lines)["cache"] == "none: FASTGRAD_CACHE_DIR is 'cache': give an absolute path"
    done = _command("info", FASTGRAD_CACHE_DIR=str(tmp_path))
    assert dict(line.split(maxsplit=1) for line in done.stdout.splitlines())["cache"] == str(
        tmp_path
    )


# -- a processor that nobody has -------------------------------------------------------------------

ASKS = """
import fastgrad as fg
own = lambda z: fg.define_activation("own", lambda z: z, lambda z: 1.0)(z)
for compute in (fg.sigmoid, own):
    try:
        print(compute(1.0))
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NUMBA_CPU_NAME", "nonsense"),
        ("NUMBA_CPU_NAME", "i386"),
        ("NUMBA_CPU_FEATURES", "+nonsense"),
    ],
)
def test_an_unknown_processor_is_an_error(variable: str, value: str, tmp_path: Path) -> None:
    """LLVM would print a line for each function and end the process."""
    import llvmlite.binding as llvm

    if value == "i386" and not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("a name of another architecture is just unknown")
    told = output(start(ASKS, FASTGRAD_CACHE_DIR=str(tmp_path), **{variable: value})).splitlines()
    assert len(told) == 2
    for line in told:
        assert line.startswith(f"{variable} is {value!r}: LLVM cannot make code for that (")
    done = _command("warmup", FASTGRAD_CACHE_DIR=str(tmp_path), **{variable: value})
    assert (done.returncode, done.stderr.strip()) == (2, f"fastgrad: {told[0]}")
