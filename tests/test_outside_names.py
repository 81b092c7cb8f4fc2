"""What is not ours and may move is written down, in kernels/toolchain/README.md, with its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgrad

ROOT = Path(fastgrad.__file__).parent
TESTS = Path(__file__).parent
README = (ROOT / "kernels" / "toolchain" / "README.md").read_text()
WRITTEN = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", README))))
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# Objects of Numba's and llvmlite's, by the names that the sources give them.
OUTSIDE = {"llvm", "cgutils", "context", "config", "codegen", "ctypes.pythonapi"}
NAMED_TUPLES = {"_fields", "_replace", "_asdict", "_make"}
C_NAME = re.compile(r"_?Py(?:[A-Z][a-z]+)+_\w+")


def _own() -> set[str]:
    """Return the names that fastgrad itself gives to something."""
    own = set()
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            own.add(node.attr)
    return own


OWN = _own() | NAMED_TUPLES


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OWN


def outside_names(tree: ast.Module) -> Iterator[str]:
    """Yield each name of another project's that a file relies on: private, or only its compiler's.

    What it imports from Numba, what it asks of Numba's objects and of LLVM, functions of CPython,
    and every attribute with a leading underscore that is nobody's here.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
            yield from [*(node.module or "").split(".")[1:], *(a.name for a in node.names)]
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("numba."))
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node.value) in OUTSIDE or _private(node.attr):
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if C_NAME.fullmatch(node.value) or node.value.startswith("numpy._"):
                yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            name = node.args[1]
            if isinstance(name, ast.Constant) and _private(str(name.value)):
                yield str(name.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_is_in_the_list(path: Path) -> None:
    for name in outside_names(TREES[path]):
        for part in name.split("."):
            assert part in WRITTEN, f"{path.name} relies on {name}: give it a row in the README"


@pytest.mark.parametrize(
    "source, name",
    [
        ("from numba.core import new_thing", "new_thing"),
        ("from numba import brand_new", "brand_new"),
        ("llvm.brand_new()", "brand_new"),
        ("array._brand_new", "_brand_new"),
        ("getattr(array, '_brand_new', None)", "_brand_new"),
        ("ExternalFunction('PyBrand_New', x)", "PyBrand_New"),
        ("import_module('numpy._brand_new')", "numpy._brand_new"),
    ],
)
def test_a_new_one_is_seen(source: str, name: str) -> None:
    assert name in list(outside_names(ast.parse(source)))
    assert not set(name.split(".")) <= WRITTEN


def _rows() -> list[list[str]]:
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in rows if "---" not in row
    ]


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0][:40])
def test_each_row_says_what_happens_and_who_notices(row: list[str]) -> None:
    """And nothing in it is of yesterday: files and tests that it names are there."""
    name, where, when_it_moves, test = row
    assert name and where and when_it_moves
    for file in re.findall(r"`(\w+\.py)`", where):
        assert list((ROOT / "kernels").rglob(file)) or (ROOT / file).exists(), file
    file = ""
    for quoted in re.findall(r"`([^`]+)`", test):
        if quoted.endswith(".py"):
            file = (TESTS / quoted).read_text()
        else:
            for part in quoted.rstrip("]").split("["):
                assert part in file, f"{test}: no {part}"
    assert file or test in ("test", "the same") or test.startswith("every test of a ")
