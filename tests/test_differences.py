"""Where peers differ: our column is true, and the table in docs/accuracy.md is measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import mpmath as mp
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "accuracy.md"


@pytest.fixture
def differences(monkeypatch: pytest.MonkeyPatch, restored: None) -> ModuleType:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # the package sets them for good; undo that afterwards
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.differences")


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def documented() -> list[list[str]]:
    """Return the titles and rows of the table in the document."""
    section = PAGE.read_text().split("## Where peers differ")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [cells_of(line) for line in (lines[0], *lines[2:])]


def test_ours_is_the_true_value(differences: ModuleType) -> None:
    """By mpmath, rounded to the format of the result; slopes at kinks are as documented."""
    with mp.workdps(50):
        total = sum(mp.e**k for k in range(3))
        tail = -10 * mp.ncdf(-10)
        right = {
            "softmax of": [mp.e**k / total for k in range(3)],
            "sigmoid": [np.float32(float(1 / (1 + mp.e**100)))],
            "gelu": [np.float32(float(tail))],
            "cross-entropy": [mp.log(1 + mp.e)],
            "exp(-100)": [np.float32(float(mp.e**-100))],
        }
        expected = {k: ", ".join(f"{float(v):.3g}" for v in vs) for k, vs in right.items()}
    expected |= {
        "slope of relu at 0": "0", "slope of leaky_relu at 0": "0.01",
        "slope of the absolute value (mae) at 0": "0", "rows of": "0 of 64",
        "0.1 * z": f"{np.float32(0.1 * 9.0):.9g}",
    }  # fmt: skip
    seen = set()
    for one in differences.DIFFERENCES:
        if "the same, " in one.what:
            continue  # a mode that takes something away: the next test
        (known,) = [k for k in (*expected, "at nan") if k in one.what]
        seen.add(known)
        assert differences.shown(one.cells["fastgrad"]()) == expected.get(known, "nan"), one.what
    assert seen == {*expected, "at nan"}


def test_the_table_is_what_the_installed_libraries_give(differences: ModuleType) -> None:
    """Columns whose versions are those of the document; a row of one processor only for us."""
    (_, *titles), *rows = documented()
    installed = differences.titles()[1:]
    same = [i for i, (a, b) in enumerate(zip(titles, installed, strict=True)) if a == b]
    assert same[0] == 0
    found = [differences.row(one) for one in differences.DIFFERENCES]
    assert [row[0] for row in found] == [row[0] for row in rows]
    for one, (what, *measured), (_, *written) in zip(
        differences.DIFFERENCES, found, rows, strict=True
    ):
        for i in same[:1] if one.by_processor else same:
            if measured[i] or "the same, " not in what:  # needs a library of another column
                assert measured[i] == written[i], f"{what}: {titles[i]}"


def test_every_row_shows_a_difference(differences: ModuleType) -> None:
    for what, ours, *theirs in documented()[1:]:
        others = {cell for cell in theirs if cell}
        assert others - {ours} or "the same, " in what, what
