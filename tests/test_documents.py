"""README.md and docs/ are true: what they name exists, what they show runs."""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rng_of

import fastgrad as fg

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(
        page
        for page in (ROOT / "docs").rglob("*.md")
        if not {"_build", "gallery", "generated"} & set(page.parts)
    ),
]
SOURCES = [*(ROOT / "fastgrad").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
SOURCES += [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").glob("*.py")]

# Where a file that a text names may lie, beside the text itself.
PLACES = ("", "fastgrad", "fastgrad/kernels", "tests", "benchmarks", "docs")
FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|json))`")
TEST = re.compile(r"(?<![\w/])tests/\w+\.py")  # as commands name it
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:python -m ([\w.]+)|\b(fastgrad)(?= \w))( \w+)?(.*)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*DOCUMENTS, *sorted(SOURCES)], ids=name_of)
def test_files_that_are_named_exist(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for file in FILE.findall(line) + TEST.findall(line):
            places = [path.parent, *(ROOT / place for place in PLACES)]
            assert any((place / file).exists() for place in places), (
                f"{name_of(path)}:{number} names {file}: there is no such file"
            )


def commands() -> list[Any]:
    """Return (document, module, arguments) of each command of ours that a document shows.

    Arguments are options, and what `fastgrad` is to do.
    """
    found = []
    for path in DOCUMENTS:
        shown = [body for kind, body in BLOCK.findall(path.read_text()) if kind == "sh"]
        shown += re.findall(r"`([^`\n]+)`", path.read_text())
        for line in "\n".join(shown).splitlines():
            for part in line.split("#")[0].split("&&"):
                if match := COMMAND.search(part):
                    module = match[1] or "fastgrad"
                    if module.split(".")[0] in ("fastgrad", "tests", "benchmarks"):
                        arguments = re.findall(r"(?<!\S)--[\w-]+", match[4])
                        if match[3] and module == "fastgrad":
                            arguments.append(match[3].strip())
                        found.append((path, module, tuple(arguments)))
    return [
        pytest.param(*c, id=f"{c[0].name}: {c[1]} {' '.join(c[2])}") for c in dict.fromkeys(found)
    ]


@pytest.mark.parametrize(("path", "module", "arguments"), commands())
def test_commands_that_are_shown_exist(path: Path, module: str, arguments: tuple[str, ...]) -> None:
    home = ROOT / module.replace(".", "/")
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    assert all(file.exists() for file in files), f"{name_of(path)} runs {module}: there is none"
    taken = "".join(file.read_text() for file in files)
    for argument in arguments:
        assert f'"{argument}"' in taken, f"{name_of(path)}: {module} does not take {argument}"


def test_the_example_runs() -> None:
    (code,) = [body for kind, body in BLOCK.findall(README.read_text()) if kind == "python"]
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 7  # an import and six lines
    rng = rng_of("README")
    x, w, b, grad_y = (rng.standard_normal(shape) for shape in ((5, 3), (3, 4), (4,), (5, 4)))
    images, labels = rng.standard_normal((20, 64)), rng.integers(0, 10, 20)
    names: dict[str, Any] = {"x": x, "w": w, "b": b, "grad_y": grad_y}
    names |= {"images": images, "labels": labels}
    exec(code, names)
    assert names["grads"].w.shape == w.shape
    assert np.isfinite(names["params"]).all()


PAGES = [page for page in DOCUMENTS if page.is_relative_to(ROOT / "docs")]
LANGUAGES = {"python", "diff", "sh", "text", "toml", "yaml", "json", "bibtex"}
DIRECTIVE = re.compile(r"\{[\w-]+\}")
# What a page may need and the tests need not have: the bridges' libraries, and SciPy.
LIBRARIES = {"torch", "jax", "autograd", "sklearn", "scipy", "dask", "distributed"}
# What another BLAS rounds otherwise, and what depends on that.
ROUNDED = re.compile(r"the bit|\d(\.\d+)?e-\d+")


def programs() -> list[Any]:
    """Return (page, its blocks) of each page with Python in it."""
    found = [(page, BLOCK.findall(page.read_text())) for page in PAGES]
    return [
        pytest.param(page, blocks, id=page.relative_to(ROOT / "docs").as_posix())
        for page, blocks in found
        if any(kind == "python" for kind, _ in blocks)
    ]


@pytest.mark.usefixtures("same_environment")
@pytest.mark.parametrize(("page", "blocks"), programs())
def test_pages_run(
    page: Path, blocks: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A page's Python blocks are one program. It prints the block of text that follows a block."""
    names: dict[str, Any] = {"__name__": page.stem}
    tables: list[dict[str, Any]] = [fg.activations.ACTIVATIONS, fg.losses.LOSSES]
    before = [dict(table) for table in tables]
    follows = [*blocks[1:], ("", "")]
    with warnings.catch_warnings():
        if LIBRARIES & set(re.findall(r"(?:import|from) (\w+)", str(blocks))):
            warnings.simplefilter("ignore")  # the libraries' own
        try:
            for number, ((kind, code), (after, text)) in enumerate(
                zip(blocks, follows, strict=True)
            ):
                if kind != "python":
                    continue
                exec(compile(code, f"{name_of(page)}, block {number}", "exec"), names)
                printed = capsys.readouterr().out
                if after == "text" and printed:
                    assert ROUNDED.sub("...", printed).startswith(ROUNDED.sub("...", text))
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] not in LIBRARIES:
                raise
            pytest.skip(f"{missing.name} is not installed")
        finally:
            for table, known in zip(tables, before, strict=True):
                for defined in set(table) - set(known):
                    del table[defined]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_of_pages_say_their_language(page: Path) -> None:
    """So no Python is shown that does not run."""
    fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
    for info in fences[::2]:
        assert info in LANGUAGES or DIRECTIVE.match(info), f"{name_of(page)}: a block of {info!r}"
    assert not any(fences[1::2]), f"{name_of(page)}: a block that does not end"


LINK = re.compile(r"\]\(([^)\s]+)\)")


def places(path: Path) -> set[str]:
    """Return the anchors that GitHub, and the site, give to a page's headings."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """They work where the files lie, as on GitHub; `docs/check_links.py` checks the built site."""
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, place = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{name_of(page)} links to {link}: there is no such file"
        if place and target.suffix == ".md":
            assert place in places(target), f"{name_of(page)} links to {link}: no such heading"


def public_names() -> list[str]:
    """Return the names in README.md's table of all there is: `fg.nn.Linear Dense` are two."""
    found = []
    for line in README.read_text().split("## What there is")[1].split("\n## ")[0].splitlines():
        for quoted in re.findall(r"`(fg\.[^`]+)`", line):
            first, *others = re.sub(r"\(.*", "", quoted).split()
            owner = first.rpartition(".")[0]
            found += [first, *(f"{owner}.{other}" for other in others)]
    return found


def test_all_that_there_is_is_public_and_the_other_way_round() -> None:
    named = {name.removeprefix("fg.") for name in public_names()}
    for name in named:
        value: Any = fg
        for part in name.split("."):
            value = getattr(value, part, None)
        assert value is not None, f"README.md names fg.{name}: there is no such thing"
    # Results and their like come with what returns them.
    made = {
        "DenseCache",
        "DenseGrads",
        "DropoutCache",
        "EmbeddingCache",
        "EmbeddingGrads",
        "EmbeddingRows",
        "FitResult",
        "FitState",
        "GradReport",
        "LayerParams",
        "LstmGrads",
        "NormCache",
        "NormGrads",
        "NetworkGrads",
        "NormParams",
        "RecurrentCache",
        "RnnGrads",
        "Tape",
    }
    modules = {"activations", "losses", "nn", "reference", "loops", "schedules", "Activation"}
    missing = set(fg.__all__) - named - made - modules
    assert not missing, f"README.md's table of all there is lacks {sorted(missing)}"


def test_tables_are_those_of_the_performance_page() -> None:
    """Each row of figures on the first screen is one of docs/performance.md."""
    table = README.read_text().split("<!-- end of table -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    known = set((ROOT / "docs" / "performance.md").read_text().splitlines())
    assert len(rows) > 10
    for row in rows:
        assert row in known, f"README.md: docs/performance.md has no such row: {row}"


def test_what_an_index_shows_links_to_no_files() -> None:
    """`.ci/long_description.py` took the links out when this was built."""
    try:
        found = importlib.metadata.distribution("fastgrad")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fastgrad is imported from the checkout, and not installed")
    shown = found.metadata["Description"]  # not the payload: importlib_metadata empties it
    assert "# fastgrad" in shown
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", shown) == []
