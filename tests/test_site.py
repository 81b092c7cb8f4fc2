"""The documentation site has every public name; its links are checked, its figures drawn."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_architecture import FLOORS

import fastgrad as fg
from fastgrad.command.cli import _parser

DOCS = Path(__file__).parent.parent / "docs"
REFERENCE = DOCS / "reference"
BRIDGES = ("torch", "jax", "autograd", "sklearn", "dask")
# Names that lead to others which the reference has.
ROOMS = {"activations", "losses", "nn", "schedules"}


def script(name: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def referred() -> list[str]:
    """Return the names that the reference documents, as `fastgrad.NAME`."""
    found = []
    for page in sorted(REFERENCE.glob("*.rst")):
        text = page.read_text()
        for table in re.findall(r"^\.\. autosummary::\n(?:   :.*\n)+\n((?:   \S+\n)+)", text, re.M):
            found += table.split()
        found += re.findall(r"^\.\. auto(?:data|function|class):: (\S+)", text, re.M)
    return ["fastgrad." + name.removeprefix("fastgrad.") for name in found]


def public() -> set[str]:
    """Return every public name of fastgrad."""
    found = {f"fastgrad.{name}" for name in fg.__all__ if name not in ROOMS}
    found |= {f"fastgrad.nn.{name}" for name in fg.nn.__all__}
    found |= {f"fastgrad.schedules.{name}" for name in fg.schedules.__all__}
    kinds = (fg.losses.Loss, fg.losses.ArrayLoss)
    for name, value in vars(fg.losses).items():
        kind = isinstance(value, type) and issubclass(value, kinds) and name in fg.losses.__all__
        if kind or isinstance(value, kinds):
            found.add(f"fastgrad.losses.{name}")
    return found


def test_the_reference_has_every_public_name() -> None:
    twins = {f"fastgrad.{name}" for name in ("reference", "loops")}  # a page, not a list
    named = referred()
    assert not public() - set(named) - twins
    assert len(named) == len(set(named))


@pytest.mark.parametrize("bridge", BRIDGES)
def test_the_reference_has_every_name_of_a_bridge(bridge: str) -> None:
    root = Path(fg.__file__).parent
    files = (root / f"{bridge}.py", root / bridge / "__init__.py")
    (text,) = [file.read_text() for file in files if file.exists()]
    (names,) = re.findall(r"^__all__ = \[([^\]]*)\]", text, re.M)
    for name in re.findall(r'"(\w+)"', names):
        assert f"fastgrad.{bridge}.{name}" in referred()


def test_the_reference_has_no_other_names() -> None:
    for name in referred():
        value: Any = fg
        _, *parts = name.split(".")
        if parts[0] not in BRIDGES:
            for part in parts:
                value = getattr(value, part)
            assert value.__doc__, f"{name} has no docstring"


def test_the_page_of_the_command_line_has_every_option() -> None:
    page = (REFERENCE / "command_line.md").read_text()
    (commands,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for command, parser in commands.choices.items():
        _, found, section = page.partition(f"\n## `fastgrad {command}`\n")
        assert found, f"{REFERENCE.name}/command_line.md: no section on {command}"
        section = section.partition("\n## ")[0]
        for option in {o for action in parser._actions for o in action.option_strings}:
            assert option in ("-h", "--help") or f"`{option}" in section, f"{command}: {option}"


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DOCS / "figures"))
    yield script("figures/draw")
    sys.modules.pop("svg")


def test_the_figures_are_those_that_the_script_draws(drawings: ModuleType) -> None:
    page = (DOCS / "architecture.md").read_text()
    for name, text in drawings.drawn().items():
        assert (DOCS / "figures" / name).read_text() == text, "run docs/figures/draw.py"
        assert f"](figures/{name})" in page


def test_the_drawing_has_every_floor_in_order(drawings: ModuleType) -> None:
    drawn = [re.findall(r"[\w.]+", row[0]) for row in drawings.FLOORS]
    at = {name: number for number, names in enumerate(drawn) for name in names}
    numbers = [next((at[room] for room in rooms if room in at), None) for rooms in FLOORS]
    assert None not in numbers, f"not drawn: {FLOORS[numbers.index(None)]}"
    assert numbers == sorted(number for number in numbers if number is not None)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    check_links = script("check_links")
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<a id="here"></a><a href="sub/page.html#there">1</a><a href="#here">2</a>'
        '<a href="https://example.org/gone">3</a><img src="a%20b.png">'
    )
    (tmp_path / "a b.png").write_bytes(b"")
    (tmp_path / "sub" / "page.html").write_text('<p id="there"><a href="../index.html#here">4</a>')
    assert check_links.broken(tmp_path) == []
    (tmp_path / "sub" / "page.html").write_text('<a href="../index.html#gone">4</a>')
    (tmp_path / "a b.png").unlink()
    assert check_links.broken(tmp_path) == [
        "index.html: a%20b.png: there is no such file",
        "index.html: sub/page.html#there: no such place in it",
        "sub/page.html: ../index.html#gone: no such place in it",
    ]
    assert check_links.broken(tmp_path / "sub" / "none")
