"""The table of seeded faults still fits the sources; `python -m tests.mutations` plants them."""

from __future__ import annotations

import ast
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


def test_there_are_enough_faults() -> None:
    """At least sixty, each by its own name, in kernels, tables and wrappers."""
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {"kernels/gemm.py", "losses.py", "arrays.py"} <= {fault.file for fault in FAULTS}
