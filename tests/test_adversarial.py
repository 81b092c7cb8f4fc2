"""Thousands of hostile calls, in processes of their own: see adversarial.py.

A process runs a few hundred cases and prints each one's title first, so that a crash or a hang
names its case. ``python tests/adversarial.py NUMBER 1`` runs one case again.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from adversarial import KINDS, OPERATIONS, generate
from conftest import environment

SCRIPT = Path(__file__).with_name("adversarial.py")
BATCH = 500
CASES = 3000
SECONDS = 120.0  # for a batch, which takes one or two


def run(first: int) -> None:
    """Run a batch of cases; fail with the name of every case that went wrong."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "faulthandler", str(SCRIPT), str(first), str(BATCH)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"no end after {SECONDS} s of\n{last_case(out)}")
    if process.returncode < 0:
        pytest.fail(f"signal {-process.returncode} in\n{last_case(out)}\n{err}")
    wrong = out[out.find("WRONG") :] if "WRONG" in out else last_case(out)
    assert process.returncode == 0, f"{wrong}\n{err}"
    assert err == ""
    assert out.splitlines()[-1] == f"done: {BATCH} cases, 0 wrong"


def last_case(out: str) -> str:
    """Return the title of the case that was running."""
    titles = [line for line in out.splitlines() if line.startswith("case ")]
    return titles[-1] if titles else "no case"


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_hostile_calls(first: int) -> None:
    run(first)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(CASES, 11 * CASES, BATCH))
def test_ten_times_as_many_hostile_calls(first: int) -> None:
    run(first)


def test_every_operation_meets_every_kind_of_case() -> None:
    """At least twice each, but for kinds that turn into others where they do not exist."""
    met = Counter((generate(n)[0], list(OPERATIONS)[n % len(OPERATIONS)]) for n in range(CASES))
    assert set(met) == {(kind, name) for kind in KINDS for name in OPERATIONS}
    assert min(met.values()) >= 2
