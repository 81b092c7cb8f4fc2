"""Two builds side by side: what became slower is found, and what did not is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

ROOT = Path(__file__).parents[1]
SLEEP = "    import time\n    time.sleep(0.002)\n"


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.compare_builds", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def slowed(tmp_path: Path) -> Path:
    """A build whose public `dense` sleeps first."""
    shutil.copytree(ROOT / "fastgrad", tmp_path / "fastgrad")
    path = tmp_path / "fastgrad" / "layers" / "dense.py"
    source = path.read_text()
    start = source.index("def dense(")
    body = source.index('    """\n', source.index('"""', start) + 3) + len('    """\n')
    path.write_text(source[:body] + SLEEP + source[body:])
    return tmp_path


def test_what_became_slower_is_named(slowed: Path) -> None:
    cell = "dense, plain: tanh float32 1x8x8 rows"
    done = compare(str(ROOT), str(slowed), "--groups", "layers", "--match", cell, "--seconds", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"layers, {cell}" in done.stdout
    assert "1 cells of 1 seemed more than 3% slower; measured 3 times more" in done.stdout


def test_what_became_faster_is_no_complaint(slowed: Path) -> None:
    cell = "dense, plain: tanh float64 1x8x8 rows"
    done = compare(str(slowed), str(ROOT), "--groups", "layers", "--match", cell, "--seconds", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 cells of 1 seemed more than 3% slower" in done.stdout


def test_builds_that_lack_something_are_compared_all_the_same(tmp_path: Path) -> None:
    """The benchmarks are those here, and a build may be older than what they need."""
    shutil.copytree(ROOT / "fastgrad", tmp_path / "fastgrad")
    for name in ("blas.py", "machine.py"):  # which no call needs
        (tmp_path / "fastgrad" / "command" / name).unlink()
    losses = tmp_path / "fastgrad" / "losses" / "__init__.py"
    losses.write_text(losses.read_text() + "\ndel squared_l2\n")
    done = compare(str(tmp_path), str(ROOT), "--groups", "losses", "--seconds", "0",
                   "--match", "sum float32 1x8 rows", "--limit", "100")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not in the old build: losses, the rest: AttributeError" in done.stdout
    assert "0 cells of 3 seemed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["HEAD", "--groups", "layer"], "no group is called 'layer': choose from layers"),
        (["no-such-commit"], "compare_builds: no-such-commit: "),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], sentence: str) -> None:
    done = compare(*arguments)
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]
