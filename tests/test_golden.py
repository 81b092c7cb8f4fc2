"""One SHA-256 per workload, whatever the threads, alignments, layouts, splits and repetitions.

Each test compares with the committed hash (see `golden.py`), so it also holds this machine
against the one that wrote the hashes. Processors: `test_bits.py` for one workload, here for all.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, Array, environment, processors, same_bits

import fastgrad as fg

HASHES = golden.committed()
NAMES = fg.activations.BUILT_IN

dtypes = pytest.mark.parametrize("dtype", DTYPES)
names = pytest.mark.parametrize("name", NAMES)
workloads = pytest.mark.parametrize("workload", golden.WORKLOADS)


def test_every_workload_has_a_hash() -> None:
    assert list(HASHES) == list(golden.WORKLOADS)
    assert len(set(HASHES.values())) == len(HASHES)


@workloads
def test_committed_bits(workload: str) -> None:
    assert golden.digest(workload) == HASHES[workload]


@pytest.mark.parametrize("workload", [w for w in golden.WORKLOADS if w.startswith("function")])
def test_hashes_are_of_numbers(workload: str) -> None:
    """Arguments of every size give no NaN, but for softmax's row of 64 with an infinity in it."""
    expected = 64 if "softmax" in workload else 0
    assert all(np.isnan(a).sum() == expected for a in golden.WORKLOADS[workload]())


FORMS_HERE = ("fortran", "sliced", "reversed", "unaligned", "record_field")
LAID_OUT = [
    (workload, form, samples)
    for workload in golden.WORKLOADS
    for form in (FORMS_HERE[:1] if workload.startswith(("large", "deep")) else FORMS_HERE)
    for samples in (("rows",) if workload.startswith("function") else LAYOUTS)
]


@pytest.mark.parametrize("workload, form, samples", LAID_OUT, ids=lambda v: v)
def test_memory_layouts(workload: str, form: str, samples: str) -> None:
    variation: dict[str, Any] = {"form": FORMS[form]}
    if not workload.startswith("function"):  # which has no samples
        variation["samples"] = samples
    assert golden.digest(workload, **variation) == HASHES[workload]


def at_address(array: Array, lead: int) -> Array:
    """Return a copy that starts `lead` bytes after a cache line."""
    raw = np.empty(array.nbytes + 256, np.uint8)
    at = -raw.ctypes.data % 128 + lead
    view = raw[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("place", range(16))
@dtypes
@pytest.mark.parametrize("kind", ["layers tanh", "layers softmax", "function gelu", "loss mse"])
def test_sixteen_alignments(kind: str, dtype: str, place: int) -> None:
    form = functools.partial(at_address, lead=place * np.dtype(dtype).itemsize)
    workload = f"{kind} {dtype}"
    assert golden.digest(workload, form=form) == HASHES[workload]


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
@names
def test_batch_splits(name: str, dtype: str, samples: str, pieces: int) -> None:
    workload = f"batch {name} {dtype}"
    assert golden.digest(workload, samples=samples, pieces=pieces) == HASHES[workload]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_threads(dtype: str, samples: str, threads: int) -> None:
    workload, before = f"large {dtype}", fg.get_num_threads()
    fg.set_num_threads(threads)
    try:
        assert golden.digest(workload, samples=samples) == HASHES[workload]
    finally:
        fg.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_threads_accumulate(dtype: str, samples: str, threads: int) -> None:
    """Into what out holds; on integers, where nothing rounds."""
    given = golden.data(golden.LARGE[0], dtype)
    x, w, g = (golden.turn(np.rint(2 * given[key]), samples) for key in "xwg")
    _, cache = fg.dense_forward(x, w, np.zeros_like(given["b"]), samples=samples)
    fresh = fg.dense_backward(g, cache)[:3]
    out = {key: np.ones_like(a) for key, a in zip("xwb", fresh, strict=True)}
    before = fg.get_num_threads()
    fg.set_num_threads(threads)
    try:
        fg.dense_backward(g, cache, out=out, accumulate=True)
    finally:
        fg.set_num_threads(before)
    for key, alone in zip("xwb", fresh, strict=True):
        assert same_bits(out[key], alone + 1)


@dtypes
@pytest.mark.parametrize("kind", ["layers tanh", "layers softmax", "function gelu", "loss mse"])
def test_a_hundred_repeats(kind: str, dtype: str) -> None:
    workload = f"{kind} {dtype}"
    assert {golden.digest(workload) for _ in range(100)} == {HASHES[workload]}


@pytest.mark.exhaustive
@workloads
def test_a_hundred_repeats_of_everything(workload: str) -> None:
    assert {golden.digest(workload) for _ in range(100)} == {HASHES[workload]}


@pytest.mark.exhaustive
@pytest.mark.parametrize("cpu", processors())
def test_every_processor(cpu: str, tmp_path: Path) -> None:
    """All workloads: software fma and 4 lanes, AVX2 and 8, AVX-512 and 16, and this host."""
    changes = {"FASTGRAD_CACHE_DIR": str(tmp_path), "NUMBA_CPU_FEATURES": None}
    env = environment(NUMBA_CPU_NAME=cpu or None, **changes)
    env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.golden"],
        env=env, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
