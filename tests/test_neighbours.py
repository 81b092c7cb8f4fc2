"""What `python -m tests.neighbours` reads and prints, without a network or another Python."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import neighbours
import pytest
from neighbours import NO_PYTHON, NO_WHEEL, PASSED, Release

PRINTED = """numba (0.65.1)
Available versions: 0.65.1, 0.65.0, 0.65.0rc1, 0.64.0, 0.62.1, 0.62.0, 0.61.2, 0.9.0
  INSTALLED: 0.64.0
  LATEST:    0.65.1
"""


def test_the_newest_release_of_each_series() -> None:
    found = neighbours.releases(PRINTED, Release.of("0.62"))
    assert [str(release) for release in found] == ["0.62.1", "0.64.0", "0.65.1"]
    assert [release.series for release in found] == ["0.62", "0.64", "0.65"]


def test_a_release_is_compared_by_numbers() -> None:
    found = neighbours.releases("x\nAvailable versions: 0.100.0, 0.99.1", Release.of("0.62"))
    assert [str(release) for release in found] == ["0.99.1", "0.100.0"]


@pytest.mark.parametrize("printed", ["", "ERROR: No matching distribution found for numba\n"])
def test_no_release(printed: str) -> None:
    assert neighbours.releases(printed, Release.of("0.62")) == []


def test_what_is_declared() -> None:
    pythons, oldest = neighbours.declared((neighbours.ROOT / "pyproject.toml").read_text())
    assert pythons[:3] == ["3.11", "3.12", "3.13"]
    assert oldest == Release.of("0.62")


def test_the_tests_are_there() -> None:
    for test in neighbours.TESTS:
        file, _, name = test.partition("::")
        text = (neighbours.ROOT / file).read_text()
        assert not name or f"def {name.partition('[')[0]}(" in text


def test_this_python() -> None:
    free = "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}{free}"
    assert neighbours.version_of(sys.executable) == version
    found = neighbours.interpreter(version)
    assert found is None or neighbours.version_of(found) == version
    assert neighbours.interpreter("3.1") is None


def test_a_script_that_runs_no_python(tmp_path: Path) -> None:
    """Such as pyenv's for a version that is not chosen."""
    script = tmp_path / "python3.99"
    assert neighbours.version_of(str(script)) == ""
    script.write_text("#!/bin/sh\necho 'python3.99: command not found' >&2\nexit 127\n")
    script.chmod(0o755)
    assert neighbours.version_of(str(script)) == ""


def test_reasons() -> None:
    pip = (
        "ERROR: Ignored the following versions\n"
        "ERROR: No matching distribution found for numba==0.62.1, see https://a.host/simple/b\n"
    )
    assert neighbours.pip_reason(pip) == (
        "No matching distribution found for numba==0.62.1, see ..."
    )
    assert neighbours.pip_reason("") == "pip"
    failed = (
        "..F\nFAILED tests/test_dense.py::b[1] - assert 1 | 2\n"
        "FAILED tests/test_dense.py::d\n1 failed in 2 s\n"
    )
    assert neighbours.pytest_reason(failed) == "tests/test_dense.py::b[1] - assert 1 / 2"
    assert neighbours.pytest_reason("\nSegmentation fault\n\n") == "Segmentation fault"
    assert neighbours.pytest_reason("") == "nothing printed"
    assert len(neighbours.pytest_reason("x" * 500)) == neighbours.MOST_LETTERS


TABLE: neighbours.Table = {
    "3.11": {"0.62": PASSED, "0.100": PASSED},
    "3.13": {"0.100": "failed: crash", "0.99": PASSED},
    "3.14": {},
    "3.14t": {"0.100": "failed: no lock"},
}


def test_the_table() -> None:
    assert neighbours.markdown(TABLE).splitlines() == [
        "| Python | Numba 0.62 | Numba 0.99 | Numba 0.100 |",
        "| --- | --- | --- | --- |",
        f"| 3.11 | passed | {NO_WHEEL} | passed |",
        f"| 3.13 | {NO_WHEEL} | passed | failed: crash |",
        f"| 3.14 | {NO_PYTHON} | {NO_PYTHON} | {NO_PYTHON} |",
        f"| 3.14t | {NO_WHEEL} | {NO_WHEEL} | failed: no lock |",
    ]


def test_only_a_declared_pair_is_a_failure() -> None:
    assert neighbours.failures(TABLE, ["3.11", "3.13"]) == [
        "Python 3.13, Numba 0.100: failed: crash"
    ]
    assert neighbours.failures(TABLE, ["3.11"]) == []
    assert neighbours.failures({"3.14": {}}, ["3.14"]) == ["no pair was tried"]
