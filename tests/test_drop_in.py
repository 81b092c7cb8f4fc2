"""The pages of docs/drop_in show a script before and after, run both, and compare.

That their blocks run is tested with those of the other pages, in `test_documents.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent / "docs" / "drop_in"
PAGES = sorted(page for page in HOME.glob("*.md") if page.stem != "index")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(text: str, kind: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text) if found == kind]


def sides(page: Path) -> tuple[str, str]:
    """Return the program before, and all that comes after it."""
    _, _, rest = page.read_text().partition("# Before\n")
    before, _, after = rest.partition("# After")
    return "\n".join(blocks(before, "python")), "\n".join(blocks("\n# After" + after, "python"))


@pages
def test_before_is_plain_numpy_and_must_agree(page: Path) -> None:
    before, after = sides(page)
    assert "def by_hand(" in before
    assert not re.search(r"\b(fg|net)\.", before)
    assert "def with_fastgrad(" in after
    compared = [block for block in blocks(page.read_text(), "python") if "assert" in block]
    assert any("by_hand(" in block and "with_fastgrad(" in block for block in compared)


@pages
def test_lines_that_change_are_those_of_the_programs(page: Path) -> None:
    before, after = ({line.strip() for line in code.splitlines()} for code in sides(page))
    (change,) = blocks(page.read_text(), "diff")
    assert len(change.splitlines()) <= 16
    assert {"-", "+"} <= {line[:1] for line in change.splitlines()}
    for line in change.splitlines():
        sign, code = line[:1], line[1:].strip()
        assert code in before or sign in "+" or not code, f"{page.name}: {line} is not before"
        assert code in after or sign in "-" or not code, f"{page.name}: {line} is not after"


def test_the_table_has_every_page() -> None:
    index = (HOME / "index.md").read_text()
    (contents,) = re.findall(r"```\{toctree\}\n:hidden:\n\n(.*?)```", index, re.DOTALL)
    names = [page.stem for page in PAGES]
    assert sorted(contents.split()) == sorted(names)
    assert sorted(re.findall(r"^\| \[.*\]\((\w+)\.md\): ", index, re.MULTILINE)) == sorted(names)
