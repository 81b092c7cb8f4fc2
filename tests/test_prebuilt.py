"""Kernels that come with an installation: which files are loaded, on which processor, and by whom.

The key says what machine code depends on: a file for another Python, NumPy ABI, level or source is
never loaded. Whatever is wrong with a file, the kernel is compiled, without a word.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import llvmlite
import llvmlite.binding as llvm
import numpy as np
import pytest
from conftest import environment, output, processors, start

import fastgrad
from fastgrad.command import environment as command
from fastgrad.command import prebuild
from fastgrad.kernels.toolchain import headers, library, object_cache, prebuilt, target
from fastgrad.kernels.toolchain.library import CACHED, COMPILED, LIBRARY, PREBUILT, Library
from fastgrad.kernels.toolchain.target import Target

Patch = pytest.MonkeyPatch

UNIT, FUNCTION, DTYPE = "rows.relu", "forward_relu", "float32"
NAME = f"{UNIT}:{DTYPE}"
ROOT = Path(__file__).parents[1]
V4, V3 = prebuilt.LEVELS["x86_64"]
x86_64 = pytest.mark.skipif(
    not llvm.get_process_triple().startswith("x86_64"), reason="levels of x86-64"
)


@pytest.fixture
def fresh() -> Iterator[Callable[[], None]]:
    """Forgets what processor and installation this is."""

    def forget() -> None:
        for known in (target.host, prebuilt.level, prebuilt._fingerprint, prebuilt._folder):
            known.cache_clear()
        object_cache.sources_hash.cache_clear()

    forget()
    yield forget
    forget()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: Patch, fresh: Callable[[], None]) -> Path:
    """A prebuilt file of one unit, and an empty cache. The code is this processor's own."""
    LIBRARY.keep(UNIT, DTYPE)
    code = object_cache.read_sealed(object_cache.cache_path(UNIT, DTYPE))
    assert code is not None
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")
    (tmp_path / "prebuilt").mkdir()
    level = prebuilt.Level("here", target.host().cpu, frozenset())
    monkeypatch.setattr(prebuilt, "levels", lambda: (level,))
    monkeypatch.setattr(prebuilt, "target_of", lambda cpu, features: target.host())
    path = prebuilt.prebuilt_path(UNIT, DTYPE)
    assert path is not None
    assert object_cache.write_sealed(path, code) == ""
    return path


def loaded(monkeypatch: Patch) -> str:
    """Return where a new library gets the unit from; what it compiles is this processor's code."""
    code = object_cache.read_sealed(object_cache.cache_path(UNIT, DTYPE))
    compiled = code or KEPT[0]
    monkeypatch.setattr(library, "build", lambda unit, dtype: compiled)
    one = Library()
    assert one.address(UNIT, FUNCTION, DTYPE) != 0
    assert (one.compiled == [NAME]) == (one.origins[NAME] == COMPILED)
    return one.origins[NAME]


KEPT: list[bytes] = []


@pytest.fixture(autouse=True, scope="module")
def _kept() -> None:
    LIBRARY.keep(UNIT, DTYPE)
    KEPT.append(object_cache.read_sealed(object_cache.cache_path(UNIT, DTYPE)) or b"")
    assert KEPT[0]


# -- which file is taken -------------------------------------------------------------------------


def test_the_cache_comes_first_then_the_installation(installed: Path, monkeypatch: Patch) -> None:
    assert loaded(monkeypatch) == PREBUILT
    assert list(installed.parents[2].joinpath("cache").glob("*")) == []  # nothing to keep
    cached = object_cache.cache_path(UNIT, DTYPE)
    assert object_cache.write_sealed(cached, KEPT[0]) == ""
    assert loaded(monkeypatch) == CACHED
    assert cached is not None
    cached.unlink()
    installed.unlink()
    assert loaded(monkeypatch) == COMPILED


def test_warmup_compiles_for_this_processor_what_is_prebuilt(
    installed: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(library, "build", lambda unit, dtype: KEPT[0])
    cached = object_cache.cache_path(UNIT, DTYPE)
    assert cached is not None
    one = Library()
    one.address(UNIT, FUNCTION, DTYPE)
    assert one.origins[NAME] == PREBUILT
    one.keep(UNIT, DTYPE)  # what is loaded stays as it is, and the next process has its own
    assert (one.origins[NAME], one.compiled, cached.exists()) == (PREBUILT, [NAME], True)
    one.keep(UNIT, DTYPE)
    assert one.compiled == [NAME]
    cached.unlink()
    another = Library()
    another.keep(UNIT, DTYPE)
    assert (another.origins[NAME], another.compiled) == (COMPILED, [NAME])
    assert loaded(monkeypatch) == CACHED


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_unit(path: Path) -> None:
    """A whole file, under a name that is not its own."""
    other = path.with_name(path.name.replace("relu", "tanh"))
    object_cache.write_sealed(other, KEPT[0])
    os.replace(other, path)


def _without_its_function(path: Path) -> None:
    made = llvm.parse_assembly("define i64 @something_else() { ret i64 1 }")
    object_cache.write_sealed(path, bytes(library.machine().emit_object(made)))


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _for_all_to_write(path: Path) -> None:
    path.chmod(0o646)


def _in_a_place_for_all_to_write(path: Path) -> None:
    path.parent.chmod(0o777)


def _gone(path: Path) -> None:
    shutil.rmtree(path.parents[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files and modes of POSIX")
@pytest.mark.parametrize(
    "spoil",
    [_flipped, _cut, _empty, _of_another_unit, _without_its_function, _a_directory, _a_pipe,
     _for_all_to_write, _in_a_place_for_all_to_write, _gone],
)  # fmt: skip
def test_a_file_that_is_not_right_is_compiled(
    spoil: Callable[[Path], None], installed: Path, monkeypatch: Patch, recwarn: Any
) -> None:
    spoil(installed)
    assert loaded(monkeypatch) == COMPILED
    assert not recwarn.list


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users and modes of POSIX")
@pytest.mark.parametrize(
    ("mode", "source", "owner", "taken"),
    [
        (0o644, 0o644, 0, True),
        (0o664, 0o664, 0, True),  # with umask 002 pip installs all files so
        (0o664, 0o644, 0, False),
        (0o646, 0o664, 0, False),
        (0o644, 0o644, 1234, True),  # an environment that somebody else installed
        (0o646, 0o646, 1234, True),  # nothing is worse than the source beside it
    ],
)
def test_a_file_is_trusted_as_the_sources_beside_it(
    mode: int, source: int, owner: int, taken: bool, installed: Path, monkeypatch: Patch
) -> None:
    """Who can change a source can run code here already."""
    module = installed.parents[1] / "module.py"
    module.write_text("")
    monkeypatch.setattr(prebuilt, "__file__", str(module))
    module.chmod(source)
    installed.chmod(mode)
    real, fstat = os.stat, os.fstat
    inodes = {real(p).st_ino for p in (module, installed, installed.parent)}

    def owned(about: os.stat_result) -> Any:
        fields = {n: getattr(about, n) for n in ("st_mode", "st_size", "st_ino", "st_gid")}
        mine = about.st_ino not in inodes
        return types.SimpleNamespace(st_uid=about.st_uid if mine else owner, **fields)

    place = object_cache.cache_place
    with monkeypatch.context() as patch:
        patch.setattr(place.os, "stat", lambda *a, **k: owned(real(*a, **k)))
        patch.setattr(place.os, "fstat", lambda *a: owned(fstat(*a)))
        assert (prebuilt.prebuilt(UNIT, DTYPE) is not None) is taken
        assert object_cache.read_sealed(installed) is None or (mode == 0o644 and owner == 0)


# -- what a file's name depends on ---------------------------------------------------------------


def _set(module: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, name, value)


IN_THE_KEY: dict[str, Callable[[Patch], None]] = {
    "fastgrad": _set(prebuilt, "__version__", "9.9"),
    "sources": _set(prebuilt, "sources_hash", lambda: b"other"),
    "level": _set(prebuilt, "level", lambda: prebuilt.Level("other", "other", frozenset())),
    "architecture": _set(prebuilt, "_architecture", lambda: "riscv64"),
    "system": _set(sys, "platform", "haiku"),
    "Python minor version": _set(sys.implementation, "cache_tag", "cpython-399"),
    "a build of Python": _set(sys, "abiflags", "d"),
    "header of an object": _set(headers, "HEADER", 32),
    "items of a tuple": _set(headers, "ITEMS", 40),
    "what a tuple holds": _set(headers, "UNHASHED", (7,)),
    "NumPy's ABI": _set(headers, "numpy_abi", lambda: 0x03000000),
}
# What made the code, and does not matter once it is made: see kernels/toolchain/README.md.
NOT_IN_THE_KEY: dict[str, Callable[[Patch], None]] = {
    "NumPy release": _set(np, "__version__", "2.99"),
    "Numba": _set(importlib.metadata, "version", lambda _: "9.9"),
    "llvmlite": _set(llvmlite, "__version__", "9.9"),
    "Python patch release": _set(sys, "version", "3.11.99"),
    "processor of that level": lambda patch: patch.setattr(
        prebuilt, "host", lambda: Target("other", "", 32, 16)
    ),
}


@pytest.mark.parametrize("fact", [*IN_THE_KEY, *NOT_IN_THE_KEY])
def test_what_the_name_of_a_file_depends_on(fact: str, installed: Path, monkeypatch: Patch) -> None:
    before = prebuilt._fingerprint()
    with monkeypatch.context() as patch:
        prebuilt._fingerprint.cache_clear()
        (IN_THE_KEY | NOT_IN_THE_KEY)[fact](patch)
        after = prebuilt._fingerprint()
    prebuilt._fingerprint.cache_clear()
    assert before
    assert (after != before) is (fact in IN_THE_KEY)
    if fact in IN_THE_KEY:
        with monkeypatch.context() as patch:
            patch.setattr(prebuilt, "_fingerprint", lambda: after)
            assert loaded(patch) == COMPILED


def test_every_unit_has_a_file_of_its_own_apart_from_the_cache(installed: Path) -> None:
    every = [(name, dtype) for name in command.units() for dtype in ("float32", "float64")]
    paths = {prebuilt.prebuilt_path(*one) for one in every}
    names = {path.name for path in paths if path}
    assert len(paths) == len(names) == len(every)
    assert not names & {path.name for one in every if (path := object_cache.cache_path(*one))}


def test_numpy_says_its_abi() -> None:
    """The number that `import_array` compares: 2.x has 0x02000000."""
    assert headers.numpy_abi() == int(np.__version__.split(".")[0]) << 24


# -- which level a processor has -----------------------------------------------------------------


def _processor(patch: Patch, cpu: str, features: set[str] | None, **asked: str) -> str | None:
    """Return the level of a processor with these features; None means LLVM was not asked."""
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        patch.delenv(name, raising=False)
    for name, value in asked.items():
        patch.setenv(name, value)
    flags = dict.fromkeys(features or (), True)
    patch.setattr(prebuilt, "host", lambda: target.target_of(cpu, flags))
    prebuilt.level.cache_clear()
    chosen = prebuilt.level()
    return chosen and chosen.name


@x86_64
def test_a_processor_has_all_that_a_level_asks_for(
    fresh: Callable[[], None], monkeypatch: Patch
) -> None:
    every = set(V4.features)
    assert _processor(monkeypatch, "znver5", every | {"vaes"}) == "x86-64-v4"
    for feature in V4.features - V3.features:
        # With half of AVX-512 the tile is of 64 bytes, and of v3 it is not.
        expected = "x86-64-v3" if feature == "avx512f" else None
        assert _processor(monkeypatch, "somebody's", every - {feature}) == expected, feature
    assert _processor(monkeypatch, "znver3", set(V3.features)) == "x86-64-v3"
    for feature in V3.features:
        assert _processor(monkeypatch, "somebody's", set(V3.features) - {feature}) is None, feature


@x86_64
def test_a_system_that_does_not_save_the_registers_has_no_level(
    fresh: Callable[[], None], monkeypatch: Patch
) -> None:
    """LLVM then reports neither AVX nor AVX-512, whatever the processor can do."""
    without = {f for f in V4.features if not f.startswith("avx512")}
    assert _processor(monkeypatch, "skylake-avx512", without) == "x86-64-v3"
    assert _processor(monkeypatch, "skylake-avx512", without - {"avx", "avx2", "fma"}) is None


@x86_64
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"NUMBA_CPU_NAME": "x86-64-v3"}, "x86-64-v3"),
        ({"NUMBA_CPU_NAME": "x86-64-v4"}, "x86-64-v4"),
        ({"NUMBA_CPU_NAME": "haswell"}, None),
        ({"NUMBA_CPU_NAME": "x86-64"}, None),
        ({"NUMBA_CPU_FEATURES": "+avx2"}, None),
        ({"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "-fma"}, None),
        ({"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}, None),
        ({"NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in sorted(V4.features))}, None),
    ],
)
def test_variables_are_obeyed(
    asked: dict[str, str], expected: str | None, fresh: Callable[[], None], monkeypatch: Patch
) -> None:
    """Who asks for a processor gets code for it, not for something like it."""
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    fresh()
    chosen = prebuilt.level()
    assert (chosen and chosen.name) == expected


def test_arm_has_one_level(fresh: Callable[[], None], monkeypatch: Patch) -> None:
    monkeypatch.setattr(llvm, "get_process_triple", lambda: "aarch64-unknown-linux-gnu")
    assert _processor(monkeypatch, "neoverse-n1", {"neon", "fp-armv8"}) == "neon"
    assert _processor(monkeypatch, "generic", None) == "neon"
    assert _processor(monkeypatch, "neoverse-n1", None, NUMBA_CPU_NAME="neoverse-n1") is None
    monkeypatch.setattr(llvm, "get_process_triple", lambda: "riscv64-unknown-linux-gnu")
    assert _processor(monkeypatch, "generic", None) is None


@x86_64
@pytest.mark.parametrize("level", [V4, V3], ids=lambda level: level.name)
def test_a_level_has_whole_registers_and_their_tile(level: prebuilt.Level) -> None:
    """By itself LLVM uses half of the registers for x86-64-v4."""
    ours = target.target_of(level.cpu, {})
    assert (ours.vector_bytes, ours.vector_registers) == ((64, 32) if level is V4 else (32, 16))
    assert ("-prefer-256-bit" in ours.features) is (level is V4)


# -- the same numbers ----------------------------------------------------------------------------

WORKLOAD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import golden, fastgrad as fg
from fastgrad.kernels.toolchain import object_cache, prebuilt
from fastgrad.kernels.toolchain.library import LIBRARY
prebuilt.FOLDER = Path({{folder!r}})
for samples in ("rows", "columns"):
    print(golden.digest("layers gelu float32", samples=samples))
"""
WRITE = """
for name in LIBRARY.compiled:
    unit, _, dtype = name.partition(":")
    code = object_cache.read_sealed(object_cache.cache_path(unit, dtype))
    path = prebuilt.path_to_write(prebuilt.FOLDER, unit, dtype)
    assert object_cache.write_sealed(path, code, "Numba 9.9") == ""
print(sorted(LIBRARY.compiled))
"""
TELL = """
print(sorted(LIBRARY.origins))
assert set(LIBRARY.origins.values()) == {"prebuilt"}, LIBRARY.origins
assert not LIBRARY.compiled
assert "numba" not in sys.modules
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as printed:
    fg.show_config()
facts = dict(line.split(maxsplit=1) for line in printed.getvalue().splitlines())
assert facts["loaded"] == f"{len(LIBRARY.origins)} prebuilt", facts
assert facts["prebuilt"].startswith(f"{len(LIBRARY.origins)} of "), facts
assert f"for {prebuilt.level().name}, by Numba 9.9" in facts["prebuilt"], facts
"""


@x86_64
def test_each_level_gives_the_same_bits_and_needs_no_numba(tmp_path: Path) -> None:
    wider = {"haswell": V3, "skylake-avx512": V4}
    levels = [wider[name] for name in processors() if name in wider]
    if not levels:
        pytest.skip("this processor has no level")
    code = WORKLOAD.format(folder=str(tmp_path / "prebuilt"))

    def run(level: prebuilt.Level, then: str, cache: str, asked: bool = True) -> list[str]:
        return output(
            start(
                code + then,
                FASTGRAD_CACHE_DIR=str(tmp_path / cache),
                NUMBA_CPU_NAME=level.cpu if asked else None,
                NUMBA_CPU_FEATURES=None,
            )
        ).splitlines()

    expected = golden.committed()["layers gelu float32"]
    for level in levels:
        made = run(level, WRITE, level.name)
        assert made[:2] == [expected] * 2
        assert run(level, TELL, "empty") == made
        assert (tmp_path / "prebuilt" / level.name).is_dir()
    # And so this very processor is served, where nobody asked for a level.
    assert run(levels[-1], TELL, "empty", asked=False)[:2] == [expected] * 2
    assert not (tmp_path / "empty").exists()


# -- the wheel -----------------------------------------------------------------------------------


@pytest.fixture
def hook(monkeypatch: Patch) -> Callable[..., Any]:
    """Makes the hook of the build, with a compiler that writes one file for each level."""
    pytest.importorskip("hatchling")
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    spec = importlib.util.spec_from_file_location("hook", ROOT / ".ci" / "prebuilt_wheel.py")
    assert spec is not None and spec.loader is not None

    def make(wanted: str | None) -> Any:
        if wanted is None:
            monkeypatch.delenv("FASTGRAD_PREBUILD", raising=False)
        else:
            monkeypatch.setenv("FASTGRAD_PREBUILD", wanted)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def run(command: list[str], env: dict[str, str], check: bool) -> None:
            assert check
            assert env["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
            for level in ("x86-64-v3", "x86-64-v4"):
                (Path(command[-1]) / level).mkdir()

        monkeypatch.setattr(module.subprocess, "run", run)
        metadata = ProjectMetadata(str(ROOT), PluginManager())
        return module.PrebuiltKernels(str(ROOT), {}, None, metadata, str(ROOT), "wheel")

    return make


@pytest.mark.parametrize("wanted", [None, "", "0"])
def test_a_wheel_is_of_sources_alone_unless_asked(
    wanted: str | None, hook: Callable[..., Any]
) -> None:
    made, about = hook(wanted), {"force_include": {}, "pure_python": True, "infer_tag": False}
    assert made.dependencies() == []
    made.initialize("standard", about)
    made.finalize("standard", about, "")
    assert about == {"force_include": {}, "pure_python": True, "infer_tag": False}


def test_a_wheel_with_kernels_says_for_whom_it_is(hook: Callable[..., Any]) -> None:
    made, about = hook("1"), {"force_include": {}, "pure_python": True, "infer_tag": False}
    assert {word.partition(">")[0] for word in made.dependencies()} == {"numpy", "numba"}
    made.initialize("editable", about)
    assert about["pure_python"]
    made.initialize("standard", about)
    places = {f"fastgrad/data/prebuilt/{level}" for level in ("x86-64-v3", "x86-64-v4")}
    assert set(about["force_include"].values()) == places
    assert (about["pure_python"], about["infer_tag"]) == (False, True)
    folder = Path(next(iter(about["force_include"]))).parent
    made.finalize("standard", about, "")
    assert not folder.exists()


@pytest.mark.exhaustive
def test_the_wheel(tmp_path: Path) -> None:
    """Build it, look at it, install it, and run it: minutes."""
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)],
        env=environment(FASTGRAD_PREBUILD="1"),
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert f"-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-" in wheel.name
    assert wheel.stat().st_size < 6 << 20
    with zipfile.ZipFile(wheel) as content:
        held = [n for n in content.namelist() if n.startswith("fastgrad/data/prebuilt/")]
        content.extractall(tmp_path / "site")
    assert len(held) == 2 * len(command.units()) * len(prebuilt.levels())
    code = WORKLOAD.format(folder=str(tmp_path / "site" / "fastgrad" / "data" / "prebuilt"))
    code += "print(fg.__file__, set(LIBRARY.origins.values()), 'numba' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment(
            PYTHONPATH=str(tmp_path / "site"), FASTGRAD_CACHE_DIR=str(tmp_path / "empty"),
            NUMBA_CPU_NAME=None,
        ),
    )  # fmt: skip
    *bits, told = done.stdout.splitlines()
    assert set(bits) == {golden.committed()["layers gelu float32"]}
    assert told == f"{tmp_path / 'site' / 'fastgrad' / '__init__.py'} {{'prebuilt'}} False"


def test_prebuild_writes_every_unit_for_the_level(
    tmp_path: Path, monkeypatch: Patch, fresh: Callable[[], None]
) -> None:
    chosen = prebuilt.levels()
    if not chosen:
        pytest.skip("no level of this architecture")
    monkeypatch.setenv("NUMBA_CPU_NAME", chosen[0].cpu)
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    fresh()
    monkeypatch.setattr(command, "units", lambda: [UNIT])
    monkeypatch.setattr(command, "warmup", lambda jobs: None)
    monkeypatch.setattr(object_cache, "_fingerprint", lambda: b"cache")
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    for dtype in ("float32", "float64"):
        object_cache.write_sealed(object_cache.cache_path(UNIT, dtype), b"code")
    prebuild.main([str(tmp_path / "out"), prebuild.ONE])
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "out")
    prebuilt._folder.cache_clear()
    assert prebuilt.prebuilt(UNIT, "float64") == b"code"
    about = prebuilt.look_prebuilt(UNIT, "float32")
    assert about is not None and about[1].startswith("Numba ")
    assert len(list((tmp_path / "out").rglob("*.o"))) == 2
    mode = (tmp_path / "out" / chosen[0].name).stat().st_mode
    assert stat.S_IMODE(mode) == 0o755
    monkeypatch.delenv("NUMBA_CPU_NAME")
    fresh()
    if target.host() != target.target_of(chosen[0].cpu, {}):
        with pytest.raises(RuntimeError, match="is no level that kernels are prebuilt for"):
            prebuild.main([str(tmp_path / "out"), prebuild.ONE])
    assert fastgrad.__file__  # this tree's


EVERY_FUNCTION = """
import sys
import numpy as np, fastgrad as fg
from fastgrad.command.environment import units
from fastgrad.activations import ACTIVATIONS, BUILT_IN
from fastgrad.kernels.toolchain import library
asked = set()
real = library.Library._load
def load(self, unit, dtype, kept=False):
    asked.add(unit)
    self._addresses |= {f"fastgrad_{f}_{dtype}": 1 for f in library.unit(unit).functions}
library.Library._load = load
for name in BUILT_IN:
    row = ACTIVATIONS[name]
    names = ["forward", *(() if row.rowwise else ("backward_z",))]
    for function in (*names, *(("backward_y",) if row.from_output else ())):
        row.address(function, "float32")
print(sorted(asked - set(units())))
"""


def test_every_row_of_the_table_of_activations_is_prebuilt() -> None:
    """Also what no layer needs: `fg.identity`, and a slope from z where layers keep it."""
    assert output(start(EVERY_FUNCTION)) == "[]"
