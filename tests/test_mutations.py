"""The table of seeded faults still fits the sources; `python -m tests.mutations` plants them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from faults import FAULTS, Fault

import fastgrad

ROOT = Path(fastgrad.__file__).parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_the_fault_can_be_planted(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text()
    assert text.count(fault.old) == 1, f"{fault.file}: give {fault.name} a new old text"
    assert fault.new != fault.old
    assert fault.why
    ast.parse(text.replace(fault.old, fault.new))


def test_likely_killers_exist() -> None:
    """A test file that moved or got another name would be passed over in silence."""
    tests = Path(__file__).parent
    text = (tests / "mutations.py").read_text()
    named = set(re.findall(r'"(test_\w+\.py)"', text))
    assert named <= {path.name for path in tests.glob("test_*.py")}
    sources = set(re.findall(r'^    "([\w/]+\.py)": ', text, re.MULTILINE))
    assert sources
    assert all((ROOT / source).is_file() for source in sources)


def test_there_are_enough_faults() -> None:
    """At least sixty, each by its own name, in kernels, tables and wrappers."""
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {"kernels/product/gemm.py", "losses/loss.py", "arrays.py"} <= {
        fault.file for fault in FAULTS
    }
