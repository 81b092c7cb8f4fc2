"""Try fastgrad beside each version of Python and Numba that pip finds, and print a table.

    python -m tests.neighbours                                # every pair: half an hour
    python -m tests.neighbours --python 3.12 --numba 0.62 0.63
    python -m tests.neighbours --python ./build/python3.14t

Each pair gets a virtual environment of its own, with the package built from this tree, one release
of Numba and what that asks for, and an empty cache of kernels; in it run the tests of TESTS. Exits
with 1 if a pair fails that pyproject.toml declares: a Python among its classifiers, a Numba that
its dependencies allow.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

# All committed bits, all layouts and errors of layers, networks, how objects are laid out, and
# that the kernels can be written for a llvmlite without typed pointers.
TESTS = (
    "tests/test_golden.py::test_committed_bits",
    "tests/test_dense.py",
    "tests/test_network.py",
    "tests/test_headers.py",
    "tests/test_opaque.py::test_every_unit_is_written_without_typed_pointers[float32]",
)
NEVER_SOURCES = ("--only-binary", ":all:")
TIME_LIMIT = 1800.0  # seconds of one pair
MOST_LETTERS = 70  # of a reason

PASSED, NO_WHEEL, NO_PYTHON = "passed", "no wheel", "not found"
FAILED = "failed: "
NONE_FITS = "No matching distribution found for numba"  # pip's, for one with wheels for others

Table = dict[str, dict[str, str]]  # what became of a Python with a Numba


class Release(NamedTuple):
    """A version of Numba, as numbers to compare."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Release:
        """Return the release that "0.62.1" names."""
        return cls(tuple(map(int, text.split("."))))

    @property
    def series(self) -> str:
        """Return the first two numbers, which a column stands for."""
        return ".".join(map(str, self.numbers[:2]))

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


# -- what there is ------------------------------------------------------------------------------


def declared(pyproject: str) -> tuple[list[str], Release]:
    """Return the Pythons of pyproject.toml's classifiers and the oldest Numba it allows."""
    project = tomllib.loads(pyproject)["project"]
    found = (re.fullmatch(r".* :: Python :: (3\.\d+)", c) for c in project["classifiers"])
    pythons = [match[1] for match in found if match]
    (oldest,) = (
        match[1]
        for match in (re.fullmatch(r"numba>=([\d.]+)", d) for d in project["dependencies"])
        if match
    )
    return pythons, Release.of(oldest)


def releases(printed: str, oldest: Release) -> list[Release]:
    """Return the newest release of each series, from what ``pip index versions`` prints."""
    listed = re.search(r"^Available versions: (.*)$", printed, re.MULTILINE)
    newest: dict[str, Release] = {}
    for text in listed[1].split(", ") if listed else []:
        if re.fullmatch(r"[\d.]+", text):  # no release candidates
            release = Release.of(text)
            if release >= oldest:
                newest[release.series] = max(release, newest.get(release.series, release))
    return sorted(newest.values())


def interpreter(version: str) -> str | None:
    """Return a Python of a version ("3.12", "3.14t" without a global lock) on this machine."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = home / ".local" / "share" / "uv" / "python"
    free = "t" if version.endswith("t") else ""
    number = version.removesuffix("t")
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(map(str, pyenv.glob(f"{number}.*{free}/bin/python{version}"))),
        *sorted(map(str, uv.glob(f"cpython-{number}.*/bin/python{version}"))),
    ]
    return next((found for found in candidates if found and version_of(found) == version), None)


def version_of(python: str) -> str:
    """Return what an interpreter says it is, "" if it is none: pyenv has scripts for all."""
    asked = (
        "import sys, sysconfig; free = sysconfig.get_config_var('Py_GIL_DISABLED');"
        "print('%d.%d' % sys.version_info[:2] + 't' * bool(free))"
    )
    try:
        return _run([python, "-c", asked]).stdout.strip()
    except OSError:
        return ""


def pip(python: str) -> list[str]:
    """Return the command of this Python's pip, for another one that may have none."""
    quiet = "--disable-pip-version-check"
    return [sys.executable, "-m", "pip", "--python", python, quiet]


# -- one pair -----------------------------------------------------------------------------------


def try_pair(python: str, release: Release, wheel: Path, tests: Iterable[str] = TESTS) -> str:
    """Return what becomes of one Python with one Numba: PASSED, NO_WHEEL, or FAILED and why."""
    with tempfile.TemporaryDirectory(prefix="neighbours-") as name:
        work = Path(name)
        # Beside the tests there is no fastgrad/ that would be imported in place of the wheel's.
        shutil.copytree(ROOT / "tests", work / "tests", ignore=shutil.ignore_patterns("__py*"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, work)
        made = _run([python, "-m", "venv", "--without-pip", str(work / "venv")])
        if made.returncode:
            return FAILED + "no virtual environment"
        own = str(work / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        wanted = [str(wheel), f"numba=={release}", "pytest"]
        installed = _run([*pip(own), "install", "-q", *NEVER_SOURCES, *wanted])
        if installed.returncode:
            reason = pip_reason(installed.stderr)
            return NO_WHEEL if NONE_FITS in reason else FAILED + reason
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        environment |= {"FASTGRAD_CACHE_DIR": str(work / "cache"), "OMP_NUM_THREADS": "1"}
        if version_of(python).endswith("t"):
            environment["PYTHON_GIL"] = "1"  # what fastgrad's own error asks for
        command = [own, "-m", "pytest", "-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider"]
        try:
            ended = _run([*command, *tests], cwd=work, env=environment)
        except subprocess.TimeoutExpired:
            return FAILED + f"not done in {TIME_LIMIT:.0f} s"
        return PASSED if ended.returncode == 0 else FAILED + pytest_reason(ended.stdout)


def pip_reason(printed: str) -> str:
    """Return the last error that pip prints, without addresses of what it looked at."""
    errors = re.findall(r"^ERROR: (.*)$", printed, re.MULTILINE)
    return _short(re.sub(r"\w+://\S+", "...", errors[-1]) if errors else "pip")


def pytest_reason(printed: str) -> str:
    """Return the first failure of pytest's summary, or the last line of what it printed."""
    failures = re.findall(r"^(?:FAILED|ERROR) (.*)$", printed, re.MULTILINE)
    lines = [line for line in printed.splitlines() if line.strip()]
    return _short(failures[0] if failures else lines[-1] if lines else "nothing printed")


def _short(text: str) -> str:
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 3] + "..."


def _run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"capture_output": True, "text": True, "timeout": TIME_LIMIT}
    return subprocess.run(command, **(options | more))  # type: ignore[call-overload,no-any-return]


# -- the table ----------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """Return the table with a row for each Python and a column for each series of Numba."""
    columns = sorted(
        {series for row in table.values() for series in row}, key=lambda s: Release.of(s).numbers
    )
    header = ["Python", *(f"Numba {series}" for series in columns)]
    lines = [header, ["---"] * len(header)]
    for python, row in table.items():
        empty = NO_WHEEL if row else NO_PYTHON
        lines.append([python, *(row.get(series, empty) for series in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def failures(table: Table, pythons: list[str]) -> list[str]:
    """Return the pairs that failed, of those that are declared, and Pythons that got none."""
    failed = [
        f"Python {python}, Numba {series}: {outcome}"
        for python, row in table.items()
        for series, outcome in row.items()
        if python in pythons and outcome.startswith(FAILED)
    ]
    return failed + ([] if any(table.values()) else ["no pair was tried"])


def main(arguments: list[str] | None = None) -> int:
    """Try the pairs that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    pythons, oldest = declared((ROOT / "pyproject.toml").read_text())
    free = [f"{version}t" for version in pythons[-2:]]
    parser.add_argument("--python", nargs="+", metavar="VERSION", default=[*pythons, *free])
    parser.add_argument("--numba", nargs="+", metavar="SERIES", help="such as 0.62; default: all")
    options = parser.parse_args(arguments)
    table: Table = {}
    with tempfile.TemporaryDirectory(prefix="neighbours-") as name:
        built = _run([*pip(sys.executable), "wheel", "-q", "--no-deps", "-w", name, str(ROOT)])
        if built.returncode:
            print(f"no wheel of fastgrad: {pip_reason(built.stderr)}", file=sys.stderr)
            return 2
        (wheel,) = Path(name).glob("fastgrad-*.whl")
        for asked in options.python:
            python = asked if os.sep in asked else interpreter(asked)
            row = table[version_of(python) if python and os.sep in asked else asked] = {}
            if not python:
                continue
            index = [*pip(python), "index", "versions", "numba", *NEVER_SOURCES]
            for release in releases(_run(index).stdout, oldest):
                if options.numba and release.series not in options.numba:
                    continue
                outcome = row[release.series] = try_pair(python, release, wheel)
                print(f"Python {asked}, Numba {release}: {outcome}", file=sys.stderr, flush=True)
    print(markdown(table))
    failed = failures(table, pythons)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
