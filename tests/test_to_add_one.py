"""The text "To add one" at the head of each table names the places of every row that there is.

Whoever adds a row follows that text; this test follows it for the rows that are there. Each step
begins at the margin with the files it is about, ``{name}`` standing for the row's name: they must
exist and mention the row. A table's own file, or its package, is the first.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from fastgrad.activations import BUILT_IN
from fastgrad.layers.kinds import KINDS
from fastgrad.losses import LOSSES
from fastgrad.optimizers import OPTIMIZERS

ROOT = Path(__file__).parent.parent
# Module whose docstring has the text, and the rows of its table.
TABLES: dict[str, Iterable[str]] = {
    "fastgrad.activations": BUILT_IN,
    "fastgrad.layers.kinds": KINDS,
    "fastgrad.losses": LOSSES,
    "fastgrad.optimizers": OPTIMIZERS,
}
# Rows without a line in one of the files: AdamW's step is Adam's kernel, and losses of several
# classes stand in loss_rows.py beside the others, which the text says.
NOT_THERE = {
    ("AdamW", "fastgrad/kernels/network/update.py"),
    ("hinge", "fastgrad/kernels/elementwise/loss.py"),
    ("nll", "fastgrad/kernels/elementwise/loss.py"),
}
PATH = re.compile(r"``([\w/{}]+\.(?:py|md))``")


def places(module: str) -> list[str]:
    """Return the files that a module's text sends the reader to."""
    text = importlib.import_module(module).__doc__ or ""
    _, heading, steps = text.partition("To add one\n----------\n")
    assert heading, f"the docstring of {module} has no section 'To add one'"
    # A step is a line of files at the margin, and indented beneath it what to do there.
    headings = re.findall(r"^(``.*)\n {4}", steps, re.MULTILINE)
    return [path for files in headings for path in PATH.findall(files)]


@pytest.mark.parametrize("module", TABLES)
def test_the_table_itself_is_named(module: str) -> None:
    assert places(module)[0].startswith(module.replace(".", "/"))


@pytest.mark.parametrize(
    "module, name", [(module, name) for module, names in TABLES.items() for name in names]
)
def test_every_row_is_where_the_text_says(module: str, name: str) -> None:
    for path in places(module):
        file = ROOT / path.format(name=name)
        assert file.exists(), f"{module}: 'To add one' names {path}, but there is no {file.name}"
        mentions = re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", file.read_text(), re.IGNORECASE)
        assert mentions or (name, path) in NOT_THERE, (
            f"{path.format(name=name)} does not mention {name}, which the text at the head of "
            f"{module} says it does"
        )
