"""The text "To add one" at the head of each table names the places of every row that there is.

Whoever adds a row follows that text; this test follows it for the rows that are there. A path
in double quotes (and so no other) must exist, ``{name}`` standing for the row's name, and mention
the row.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from fastgrad.layers.kinds import KINDS

ROOT = Path(__file__).parent.parent
# Module whose docstring has the text, and the rows of its table.
TABLES: dict[str, Iterable[str]] = {
    "fastgrad.layers.kinds": KINDS,
}
PATH = re.compile(r"``(\w+/[\w/{}]+\.py)``")


def places(module: str) -> list[str]:
    """Return the files that a module's text sends the reader to."""
    text = importlib.import_module(module).__doc__ or ""
    _, heading, steps = text.partition("To add one\n----------\n")
    assert heading, f"the docstring of {module} has no section 'To add one'"
    # Steps begin at the margin: what is indented says what to do there.
    return [path for line in steps.splitlines() if line[:2] == "``" for path in PATH.findall(line)]


@pytest.mark.parametrize("module", TABLES)
def test_the_table_itself_is_named(module: str) -> None:
    assert f"{module.replace('.', '/')}.py" in places(module)


@pytest.mark.parametrize(
    "module, name", [(module, name) for module, names in TABLES.items() for name in names]
)
def test_every_row_is_where_the_text_says(module: str, name: str) -> None:
    for path in places(module):
        file = ROOT / path.format(name=name)
        assert file.exists(), f"{module}: 'To add one' names {path}, but there is no {file.name}"
        assert re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", file.read_text()), (
            f"{path.format(name=name)} does not mention {name}, which the text at the head of "
            f"{module} says it does"
        )
