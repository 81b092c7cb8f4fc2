"""Reproducible to the bit: an answer does not depend on who computes it, how, or with whom.

Not on the other rows of the batch, the memory layout, the thread, the repetition or the
processor. Every comparison here is of bits; there is no tolerance in this file.
"""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from conftest import (
    DTYPES,
    FORMS,
    LAYOUTS,
    Array,
    output,
    processors,
    rng_of,
    same_bits,
    shape_of,
    start,
    turn,
)
from truth import LOSS_TRUTH

import fastgrad as fg

NAMES = fg.activations.BUILT_IN
ALL = ("x", "w", "b", "z")

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
names = pytest.mark.parametrize("name", NAMES)


def layer(spec: str, dtype: str, samples: str = "rows", *, seed: Any = 0) -> dict[str, Array]:
    """Return x, w, b and grad_y of a layer, in the layout."""
    n, d, k = shape_of(spec, dtype)
    rng = rng_of(spec, dtype, seed)
    shapes = {"x": (n, d), "w": (d, k), "b": (k,), "g": (n, k)}
    data = {which: rng.standard_normal(shape).astype(dtype) for which, shape in shapes.items()}
    data["w"] *= 2 / np.sqrt(max(d, 1)).astype(dtype)
    return {which: turn(a, samples) if a.ndim == 2 else a for which, a in data.items()}


def run(data: dict[str, Array], name: Any, samples: str = "rows") -> list[Array]:
    """Return y and all four gradients."""
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    return [y, *fg.dense_backward(data["g"], cache, need=ALL)]


def part(a: Array, samples: str, rows: slice) -> Array:
    """Return some samples of a matrix, a view."""
    return a[:, rows] if samples == "columns" else a[rows]


# -- a sample does not depend on the others ----------------------------------------------------

# Rows, features, outputs: on every edge of the register tile, over several blocks of k, below
# and above the widths from which operands are packed, and more rows than a forward block.
ROWS = [
    "40 x 1 x 1",
    "40 x 3 x NR-1",
    "40 x 17 x NR",
    "MR+40 x KC x NR+1",
    "MR+40 x 2KC+1 x 2NR+1",
    "BB+1 x 5 x 3",
    "4BB+90 x 3 x 2",
    "70 x 45 x 1",
    "70 x 8 x 4",
    "MC+1 x 33 x 8NR-1",
    "40 x 130 x 8NR+3",
    "60 x 7 x 300",
]


@functools.cache
def rows_case(spec: str, dtype: str) -> dict[str, Array]:
    """Return a layer whose samples differ in size by a factor of 2**10, in row layout."""
    data = layer(spec, dtype, seed="rows")
    scale = np.exp2(rng_of(spec).uniform(-5, 5, (len(data["x"]), 1)))
    data["x"] = (data["x"] * scale).astype(dtype)
    return data


@names
@layouts
@dtypes
@pytest.mark.parametrize("spec", ROWS, ids=lambda s: s.replace(" x ", "x"))
def test_each_row_alone_gives_the_same_bits(spec: str, dtype: str, samples: str, name: str) -> None:
    data = rows_case(spec, dtype)
    x, w = turn(data["x"], samples), turn(data["w"], samples)
    whole = fg.dense(x, w, data["b"], name, samples=samples)
    for i in range(len(data["x"])):
        one = slice(i, i + 1)
        alone = fg.dense(part(x, samples, one), w, data["b"], name, samples=samples)
        assert same_bits(alone, part(whole, samples, one)), f"row {i}"


def test_enough_rows_are_tried() -> None:
    """The promise is tested on at least 10,000 rows, whatever the processor's tile."""
    each = sum(shape_of(spec, dtype)[0] for spec in ROWS for dtype in DTYPES)
    assert each * len(LAYOUTS) * len(NAMES) >= 10_000


@layouts
@dtypes
def test_ten_thousand_random_rows(dtype: str, samples: str) -> None:
    """Random shapes and activations; a row as matrix, as vector, and at another place."""
    rng = rng_of("random rows", dtype, samples)
    seen = 0
    while seen < 10_000:
        n, d, k = (int(rng.integers(1, high)) for high in (200, 60, 60))
        name = NAMES[rng.integers(len(NAMES))]
        data = layer(f"{n} x {d} x {k}", dtype, samples, seed=seen)
        w, b = data["w"], data["b"] if rng.random() < 0.7 else None
        whole = fg.dense(data["x"], w, b, name, samples=samples)
        place = rng.permutation(n)
        order = (slice(None), place) if samples == "columns" else place
        moved = fg.dense(data["x"][order], w, b, name, samples=samples)
        assert same_bits(np.ascontiguousarray(whole[order]), moved)
        for i in range(n):
            row = part(data["x"], samples, slice(i, i + 1))
            alone = fg.dense(row, w, b, name, samples=samples)
            assert same_bits(alone, part(whole, samples, slice(i, i + 1)))
        vector = fg.dense(row.ravel(), w, b, name, samples=samples)
        assert same_bits(vector, alone.ravel())
        seen += n


@names
@layouts
@dtypes
def test_gradients_of_each_row_alone(dtype: str, samples: str, name: str) -> None:
    """grad_x and grad_z are a sample's own, too."""
    data = layer("MR+9 x 11 x 2NR+1", dtype, samples)
    _, x, _, _, z = run(data, name, samples)
    for i in range(data["x"].shape[samples == "columns"]):
        one = slice(i, i + 1)
        alone = {**data, "x": part(data["x"], samples, one), "g": part(data["g"], samples, one)}
        _, x_alone, _, _, z_alone = run(alone, name, samples)
        assert same_bits(x_alone, part(x, samples, one))
        assert same_bits(z_alone, part(z, samples, one))


@pytest.mark.parametrize("pieces", [2, 3, 7, 50])
@pytest.mark.parametrize("name", ["identity", "tanh", "softmax", "gelu"])
@layouts
@dtypes
def test_batch_splits(dtype: str, samples: str, name: str, pieces: int) -> None:
    """A batch cut anywhere: the outputs and the gradients of x and z are put together again."""
    n = 2 * 256 + 61
    data = layer(f"{n} x 19 x NR+3", dtype, samples)
    y, x, _, _, z = run(data, name, samples)
    cuts = np.sort(rng_of("cuts", pieces).integers(0, n + 1, pieces - 1))
    for start_, stop in zip([0, *cuts], [*cuts, n], strict=True):
        rows = slice(int(start_), int(stop))
        some = {**data, "x": part(data["x"], samples, rows), "g": part(data["g"], samples, rows)}
        y_, x_, _, _, z_ = run(some, name, samples)
        assert same_bits(y_, part(y, samples, rows))
        assert same_bits(x_, part(x, samples, rows))
        assert same_bits(z_, part(z, samples, rows))


@pytest.mark.parametrize("name", ["identity", "sigmoid"])
@layouts
@dtypes
@pytest.mark.parametrize("weights", ["9 x NR+1", "530 x 520"])
def test_gradients_are_made_of_blocks(
    weights: str, dtype: str, samples: str, name: str, count: Any
) -> None:
    """Blocks of 256 samples, added in order: their sum by hand has the bits of the whole.

    Large weights meet all blocks at once for grad_x; the sums are the same.
    """
    count(1)
    n = 3 * 256 + 5
    data = layer(f"{n} x {weights}", dtype, samples)
    _, x, w, b, _ = run(data, name, samples)
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    without_z = fg.dense_backward(data["g"], cache)
    assert all(map(same_bits, without_z[:3], (x, w, b)))
    total_w, total_b = np.zeros_like(w), np.zeros_like(b)
    for at in range(0, n, 256):
        rows = slice(at, at + 256)
        some = {**data, "x": part(data["x"], samples, rows), "g": part(data["g"], samples, rows)}
        _, x_, w_, b_, _ = run(some, name, samples)
        assert same_bits(x_, part(x, samples, rows))
        total_w += w_
        total_b += b_
    assert same_bits(w, total_w)
    assert same_bits(b, total_b)


# -- nor on how the arrays lie in memory -------------------------------------------------------

LAYING = ("fortran", "sliced", "reversed", "offset", "unaligned", "record_field")


@names
@layouts
@dtypes
@pytest.mark.parametrize("form", LAYING)
def test_memory_layouts(form: str, dtype: str, samples: str, name: str) -> None:
    """Over blocks of k and of the batch, where each layout takes another path of packing."""
    data = layer("BB+3 x 21 x NR+1", dtype, samples)
    clean = run(data, name, samples)
    assert all(
        map(same_bits, run({n: FORMS[form](a) for n, a in data.items()}, name, samples), clean)
    )


@pytest.mark.parametrize("spec", ["MC+1 x KC+1 x NR+1", "MR-1 x 2KC+1 x 8NR+3", "1 x KC+9 x 5"])
@layouts
@dtypes
@pytest.mark.parametrize("form", LAYING)
def test_memory_layouts_of_large_products(form: str, dtype: str, samples: str, spec: str) -> None:
    data = layer(spec, dtype, samples)
    clean = run(data, "identity", samples)
    for which in ("x", "w", "g"):
        given = {**data, which: FORMS[form](data[which])}
        assert all(map(same_bits, run(given, "identity", samples), clean))
    given = {which: FORMS[form](a) for which, a in data.items()}
    assert all(map(same_bits, run(given, "identity", samples), clean))


@names
@dtypes
@pytest.mark.parametrize("spec", ["MR+1 x 9 x NR+1", "BB+1 x 4 x 3"])
def test_columns_are_the_transposed_rows(spec: str, dtype: str, name: str) -> None:
    data = layer(spec, dtype)
    transposed = {n: turn(a, "columns") if a.ndim == 2 else a for n, a in data.items()}
    rows, columns = run(data, name), run(transposed, name, "columns")
    for a, b in zip(rows, columns, strict=True):
        assert same_bits(a, np.ascontiguousarray(b.T))


@pytest.mark.parametrize("lead", range(0, 68, 4))
def test_every_alignment(lead: int) -> None:
    """float32 at each address within a cache line: the same bits, vectors aligned or not."""
    data = layer("MR+2 x 13 x 2NR+3", "float32")
    given = {}
    for n, a in data.items():
        raw = np.empty(a.nbytes + 136, np.uint8)
        at = -raw.ctypes.data % 64 + lead
        given[n] = raw[at : at + a.nbytes].view(np.float32).reshape(a.shape)
        given[n][...] = a
    assert all(map(same_bits, run(given, "tanh"), run(data, "tanh")))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257, 1000])
@names
@dtypes
def test_activations_at_every_place_of_a_vector(dtype: str, name: str, size: int) -> None:
    """An element's value and slope do not depend on the lane, the chunk or the tail it is in."""
    act = fg.activations.ACTIVATIONS[name]
    rng = rng_of("lanes", size)
    z, g = (3 * rng.standard_normal((2, size))).astype(dtype)
    if act.rowwise:  # an element is a row
        z, g = (np.stack([a, a[::-1], 0 * a], axis=1) for a in (z, g))
    y, slope = act(z), act.backward(g, z)
    for i in sorted({0, size // 3, size // 2, size - 1}):
        assert same_bits(y[i : i + 1], act(z[i : i + 1]))
        assert same_bits(slope[i : i + 1], act.backward(g[i : i + 1], z[i : i + 1]))
    assert same_bits(y[::-1].copy(), act(z[::-1]))
    assert same_bits(slope[::-1].copy(), act.backward(g[::-1], z[::-1]))


# -- nor on when and where they are computed ----------------------------------------------------


@names
@layouts
@dtypes
def test_repeated_calls(dtype: str, samples: str, name: str) -> None:
    data = layer("MC+1 x 23 x NR+1", dtype, samples)
    first = run(data, name, samples)
    for _ in range(5):
        assert all(map(same_bits, run(data, name, samples), first))


@pytest.mark.parametrize("threads", [2, 8])
@layouts
@dtypes
def test_threads_at_once(dtype: str, samples: str, threads: int) -> None:
    """Each thread its own layer, all at the same moment, large enough to release the GIL."""
    specs = ["3 x 5 x 7", "BB+1 x 33 x NR+1", "MC+1 x KC+1 x 2NR+1", "600 x 40 x 50"]
    jobs = [(layer(spec, dtype, samples), name) for spec in specs for name in ("tanh", "softmax")]
    alone = [run(data, name, samples) for data, name in jobs]
    barrier, wrong = threading.Barrier(threads), []

    def work(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            for step in range(3 * len(jobs)):
                which = (number + step) % len(jobs)
                data, name = jobs[which]
                if not all(map(same_bits, run(data, name, samples), alone[which])):
                    wrong.append(which)
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not any(worker.is_alive() for worker in workers)
    assert wrong == []


@pytest.mark.parametrize("loss", list(fg.losses.LOSSES))
@dtypes
def test_losses(dtype: str, loss: str) -> None:
    """One value and one gradient, in any memory layout and in both layouts of samples."""
    row = fg.losses.LOSSES[loss]
    rng = rng_of("losses")
    pred, target = rng.standard_normal((37, 11)), rng.uniform(0.1, 1, (37, 11))
    pred, target = LOSS_TRUTH[loss].domain(pred).astype(dtype), target.astype(dtype)
    single = isinstance(row, fg.losses.ArrayLoss)

    def both(p: Array, t: Array, samples: str = "rows") -> tuple[float, Array]:
        arguments = (p,) if single else (p, t)
        value, grad = row.value_and_grad(*arguments, samples=samples)
        assert value == row(*arguments, samples=samples)
        return value, grad

    value, grad = both(pred, target)
    for form in LAYING:
        value_, grad_ = both(FORMS[form](pred), FORMS[form](target))
        assert value_ == value
        assert same_bits(grad_, grad)
    value_, grad_ = both(pred.T, target.T, "columns")
    assert value_ == value
    assert same_bits(np.ascontiguousarray(grad_.T), grad)


# -- nor on the processor ------------------------------------------------------------------------

# Two golden workloads: layers ragged in every direction, over blocks of k and of the batch, and of
# few outputs. The others: test_golden.py, with `-m exhaustive`.
WORKLOAD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import golden
from fastgrad.kernels.toolchain.target import host, tile
print(golden.digest("layers tanh float32"), host().cpu, tile("float32").lanes)
for workload in ("layers tanh float32", "layers tanh float64", "few float32", "few float64"):
    for samples in ("rows", "columns"):
        assert golden.digest(workload, samples=samples) == golden.committed()[workload]
"""


def test_every_processor_gives_the_same_bits(tmp_path: Path) -> None:
    """Software fma and 4 lanes, AVX2 and 8 lanes, whatever this host has: one SHA-256."""
    cpus = processors()
    if len(cpus) == 1:
        pytest.skip("only one processor's code runs here")
    processes = {
        cpu: start(
            WORKLOAD,
            FASTGRAD_CACHE_DIR=str(tmp_path / (cpu or "host")),
            NUMBA_CPU_NAME=cpu or None,
            NUMBA_CPU_FEATURES=None,
        )
        for cpu in cpus
    }
    said = {cpu: output(process, timeout=600).split() for cpu, process in processes.items()}
    assert {words[0] for words in said.values()} == {golden.committed()["layers tanh float32"]}
    assert all(words[1] == cpu for cpu, words in said.items() if cpu)  # it did what was asked
    assert len({words[2] for words in said.values()}) > 1, said


def test_every_processor_has_its_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Code for one processor is never found by another, which may lack its instructions."""
    from fastgrad.kernels.toolchain import object_cache, target

    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    cpus = ("x86-64", "haswell", "znver3", "skylake-avx512")
    paths = set()
    try:
        for cpu in cpus:
            monkeypatch.setenv("NUMBA_CPU_NAME", cpu)
            target.host.cache_clear()
            object_cache._fingerprint.cache_clear()
            paths.add(object_cache.cache_path("panel", "float32"))
    finally:
        monkeypatch.undo()
        target.host.cache_clear()
        object_cache._fingerprint.cache_clear()
    assert len(paths) == len(cpus)
