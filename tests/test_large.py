"""Large layers in pieces: wherever they are cut, and over however many threads, the same bits.

A slice is made tiny here, so that small layers are cut as large ones are: along samples, along
outputs and features, and along both. Nothing is compared with a tolerance.
"""

from __future__ import annotations

import _thread
import gc
import threading
import time
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, FORMS, LAYOUTS, Array, rng_of, same_bits, turn

import fastgrad as fg
from fastgrad import threads
from fastgrad.calls import Call
from fastgrad.kernels.toolchain.target import BATCH_BLOCK
from fastgrad.layers import dense_large
from fastgrad.layers.dense_calls import DENSE_BACKWARD

ALL = ("x", "w", "b", "z")
NEEDS = (ALL, ("x",), ("w",), ("b",), ("z",), ("w", "b"), ("x", "z"))
# (n, d, k) and the multiply-adds of a slice: they cut samples only; outputs or features too;
# more features than grad_w may have at once; few samples; one sample.
CUTS = {
    "samples": ((3 * 256 + 70, 30, 20), 1 << 18),
    "both": ((256 + 70, 250, 230), 1 << 18),
    "features": ((300, 330, 120), 1 << 10),
    "few samples": ((40, 350, 320), 1 << 16),
    "one sample": ((1, 500, 300), 1 << 14),
    "no features": ((3 * 256 + 70, 0, 40), 1 << 14),
}

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
cuts = pytest.mark.parametrize("cut", list(CUTS))


class Pieces:
    """Slices of another size, and how often the kernels were called."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.steps = patch, 0
        run = threads.run

        def counting(tasks: Any) -> None:
            self.steps += sum(map(len, tasks))
            run(tasks)

        patch.setattr(threads, "run", counting)

    def of(self, work: int) -> None:
        """Every layer of more multiply-adds is cut from now on, also those of the direct path."""
        self.patch.setattr(threads, "SLICE", work)
        self.patch.setattr(threads, "SHARE_FROM", 2)
        layers: dict[str, Any] = {"rows": {}, "columns": {}}
        for module in ("dense", "dense_calls", "compiled_layer"):
            self.patch.setattr(f"fastgrad.layers.{module}.LAYERS", layers)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Pieces:
    return Pieces(monkeypatch)


def layer(shape: tuple[int, int, int], dtype: str, samples: str) -> dict[str, Array]:
    n, d, k = shape
    rng = rng_of(shape, dtype)
    x, w, g = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), (n, k)))
    w *= 2 / np.sqrt(max(d, 1)).astype(dtype)
    b = rng.standard_normal(k).astype(dtype)
    return {"x": turn(x, samples), "w": turn(w, samples), "b": b, "g": turn(g, samples)}


def run(data: dict[str, Array], name: Any, samples: str) -> list[Array | None]:
    """Return y, the gradients of every choice of them, and accumulated ones."""
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    results: list[Array | None] = [y, fg.dense(data["x"], data["w"], None, name, samples=samples)]
    for need in NEEDS:
        results += fg.dense_backward(data["g"], cache, need=need)
    outs = {n: np.full(a.shape, 0.3, a.dtype) for n, a in zip("xwbz", results[2:6], strict=True)}
    results += fg.dense_backward(data["g"], cache, need=ALL, out=outs, accumulate=True)
    some = {n: np.full(a.shape, 0.7, a.dtype) for n, a in zip("wb", results[3:5], strict=True)}
    results += fg.dense_backward(data["g"], cache, need="wb", out=some, accumulate=True)
    out = np.empty_like(y)
    results.append(fg.dense(data["x"], data["w"], data["b"], name, samples=samples, out=out))
    return results


def agree(a: list[Array | None], b: list[Array | None]) -> bool:
    return all(
        q is None if p is None else q is not None and same_bits(p, q)
        for p, q in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", [None, "tanh", "gelu", "softmax"])
@pytest.mark.parametrize("parts", [1, 3])
@cuts
@layouts
@dtypes
def test_pieces_have_the_bits_of_the_whole(
    dtype: str, samples: str, cut: str, parts: int, name: str | None, pieces: Pieces, count: Any
) -> None:
    shape, work = CUTS[cut]
    data = layer(shape, dtype, samples)
    whole = run(data, name, samples)
    assert pieces.steps == 0
    pieces.of(work)
    count(parts)
    assert agree(run(data, name, samples), whole)
    assert pieces.steps > 20  # it was indeed cut


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("cut", ["samples", "both"])
@layouts
def test_pieces_of_other_forms(
    samples: str, cut: str, form: str, pieces: Pieces, count: Any
) -> None:
    """Strides, byte orders and array-likes; a list of float32 is float64 in NumPy's eyes."""
    shape, work = CUTS[cut]
    data = layer(tuple(s // 2 for s in shape), "float64", samples)  # type: ignore[arg-type]
    whole = run(data, "gelu", samples)
    pieces.of(work // 4)
    count(2)
    assert agree(run({n: FORMS[form](a) for n, a in data.items()}, "gelu", samples), whole)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softmax"])
@layouts
def test_pieces_of_a_vector_and_of_batch_axes(
    samples: str, name: str, pieces: Pieces, count: Any
) -> None:
    data = layer((1, 500, 300), "float32", samples)
    vector = {n: a.reshape(-1) if n in "xg" else a for n, a in data.items()}
    cube = layer((24, 200, 150), "float32", "rows")
    cube = {n: a.reshape(4, 6, -1) if n in "xg" else a for n, a in cube.items()}
    whole = run(vector, name, samples), run(cube, name, "rows")
    pieces.of(1 << 14)
    count(2)
    assert agree(run(vector, name, samples), whole[0])
    assert agree(run(cube, name, "rows"), whole[1])


def test_a_callable_and_a_bias_of_two_axes(pieces: Pieces, count: Any) -> None:
    data = layer((70, 210, 130), "float32", "columns")
    data["b"] = data["b"].reshape(-1, 1)
    whole = [run(data, act, "columns") for act in (np.tanh, "tanh")]
    pieces.of(1 << 16)
    count(3)
    for act, expected in zip((np.tanh, "tanh"), whole, strict=True):
        assert agree(run(data, act, "columns"), expected)


def test_small_layers_take_the_direct_path(pieces: Pieces) -> None:
    """Not one call of the machinery, whatever the number of threads."""
    for shape in ((1, 8, 8), (256, 64, 64), (512, 200, 256)):
        run(layer(shape, "float32", "rows"), "tanh", "rows")
    assert pieces.steps == 0


def test_the_block_of_samples_is_the_kernels() -> None:
    assert dense_large.BATCH_BLOCK == BATCH_BLOCK


# -- cutting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_rows", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 7, 9), (1000, 3, 2), (97, 5000, 700), (96, 96, 1)]
)
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_tiles_cover_everything_once(
    shape: tuple[int, int, int], parts: int, whole_rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns, depth = shape
    for work in (1, 1000, 1 << 16, 1 << 31):
        monkeypatch.setattr(threads, "SLICE", work)
        tiles = dense_large._tiles(rows, columns, depth, parts, whole_rows)
        seen = np.zeros((rows, columns), int)
        for part in tiles:
            for i, j in part:
                seen[i, j] += 1
                size = (i.stop - i.start) * (j.stop - j.start) * depth
                smallest = dense_large.EDGE * depth * (columns if whole_rows else dense_large.EDGE)
                assert size <= max(work, smallest)
        assert (seen == 1).all()
        assert len(tiles) <= parts


@pytest.mark.parametrize(
    ("shape", "parts", "rowwise", "cut"),
    [
        ((512, 1024), 2, False, "columns"),  # each packs its half of w
        ((512, 1024), 2, True, "rows"),  # a softmax needs them whole
        ((1024, 512), 2, False, "rows"),
        ((192, 200), 16, False, "rows"),  # 7 parts of the columns
        ((13, 5000), 3, True, "columns"),
    ],
)
def test_threads_share_the_side_that_pays(
    shape: tuple[int, int], parts: int, rowwise: bool, cut: str
) -> None:
    tiles = dense_large._tiles(*shape, 1000, parts, rowwise=rowwise)
    assert len(tiles) == parts
    assert all(len(part) == 1 for part in tiles)
    across = {(j.start, j.stop) for (_, j), *_ in tiles}
    assert len(across) == (parts if cut == "columns" else 1)


NO_NUMBERS = ("²", "0", "two", "9" * 5000)


@pytest.mark.parametrize(("asked", "count"), [("3", 3), *((text, None) for text in NO_NUMBERS)])
def test_threads_asked_for(asked: str, count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRAD_NUM_THREADS", asked)
    assert threads._initial() == (count or threads._available())


@pytest.mark.parametrize("whole", [slice(0, 1), slice(0, 95), slice(5, 1000)])
def test_cutting_and_sharing(whole: slice) -> None:
    for most, multiple in ((1, 1), (7, 3), (100, 48), (1000, 256), (1, 256)):
        slices = threads.cut(whole, most, multiple)
        assert [s.start for s in slices] == [whole.start, *(s.stop for s in slices[:-1])]
        assert slices[-1].stop == whole.stop
        assert all(s.stop - s.start <= max(most, multiple) for s in slices)
        assert all((s.stop - s.start) % multiple == 0 for s in slices[:-1])
    assert len(threads.share(whole, 3, 1)) <= 3


# -- threads ------------------------------------------------------------------------------------


def test_steps_of_a_task_run_in_order_and_the_first_task_here() -> None:
    seen: list[list[tuple[int, int]]] = [[], [], []]
    places: list[int] = [0, 0, 0]

    def step(task: int, number: int) -> None:
        seen[task].append((task, number))
        places[task] = threading.get_ident()

    threads.run([[lambda t=t, i=i: step(t, i) for i in range(20)] for t in range(3)])
    assert seen == [[(t, i) for i in range(20)] for t in range(3)]
    assert places[0] == threading.get_ident()
    assert places[0] not in places[1:]


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_without_more_threads_the_work_is_done_all_the_same(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, seen, starts = _thread.start_new_thread, [], []

    def refuses(function: Any, arguments: Any) -> Any:
        starts.append(1)
        if len(starts) > allowed:
            raise RuntimeError("can't start new thread")
        return start(function, arguments)

    monkeypatch.setattr(threads, "start_new_thread", refuses)
    tasks: list[Any] = [[lambda t=t: seen.append((t, threading.get_ident()))] for t in range(5)]
    # In a thread of its own: what is never done would be waited for without end.
    runs = threading.Thread(target=threads.run, args=(tasks,), daemon=True)
    runs.start()
    runs.join(20)
    assert not runs.is_alive()
    assert sorted(t for t, _ in seen) == [0, 1, 2, 3, 4]
    assert (0, runs.ident) in seen
    assert len({thread for _, thread in seen}) <= allowed + 1


def test_where_threads_are_simulated_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gevent does it: what it starts would run only when this thread lets it."""
    monkeypatch.setattr(threads, "_STARTS_THREADS", False)
    seen: list[int] = []
    threads.run([[lambda t=t, i=i: seen.append((t, i)) for i in range(2)] for t in range(3)])
    assert seen == [(t, i) for t in range(3) for i in range(2)]


@pytest.mark.parametrize("where", [0, 1])
def test_after_an_error_nothing_begins(where: int) -> None:
    """The others end what they are at and no more; the error comes when they have."""
    begun, running = [], []

    def slow() -> None:
        begun.append(1)
        running.append(1)
        time.sleep(0.05)
        running.pop()

    def fails() -> None:
        time.sleep(0.01)
        raise MemoryError("planted")

    tasks: list[Any] = [[slow] * 50, [slow] * 50]
    tasks.insert(where, [fails, slow])
    with pytest.raises(MemoryError, match="planted"):
        threads.run(tasks)
    assert len(begun) <= 4
    assert running == []


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_keeps_no_array(where: int) -> None:
    """Without garbage collection: no cycle of exception, frame and list."""
    array = np.ones(3)
    alive = weakref.ref(array)

    def fails(_: Any) -> None:
        raise MemoryError("planted")

    tasks: list[Any] = [[lambda: None], [lambda: None]]
    tasks.insert(where, [partial(fails, array)])
    del array
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(MemoryError, match="planted"):
            threads.run(tasks)
        tasks.clear()
        end = time.monotonic() + 10
        while alive() is not None and time.monotonic() < end:
            time.sleep(0.01)  # the thread itself may end a little later
        assert alive() is None
    finally:
        gc.enable()


def test_threads_within_threads() -> None:
    """A step may share work itself."""
    seen: list[tuple[int, int]] = []

    def inner(t: int) -> None:
        threads.run([[lambda i=i: seen.append((t, i))] for i in range(3)])

    threads.run([[lambda t=t: inner(t)] for t in range(4)])
    assert sorted(seen) == [(t, i) for t in range(4) for i in range(3)]


@pytest.mark.parametrize("name", ["gelu", "softmax"])
@pytest.mark.parametrize("cut", ["both", "few samples", "one sample"])
@layouts
def test_large_native_arrays_are_not_checked_again(
    samples: str, cut: str, name: str, pieces: Pieces, count: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, work = CUTS[cut]
    data = layer(shape, "float32", samples)
    pieces.of(work)
    count(2)
    before = run(data, name, samples)
    need = ("x", "w", "b")  # an accumulated grad_z is always checked

    def unexpected(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("checked")

    for kind in (Call, type(DENSE_BACKWARD)):
        monkeypatch.setattr(kind, "checked", unexpected)
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    out = np.empty_like(y)
    again = fg.dense(data["x"], data["w"], data["b"], name, samples=samples, out=out)
    assert again is out and same_bits(y, before[0]) and same_bits(out, before[0])
    grads = fg.dense_backward(data["g"], cache, need=need)
    assert agree([grads.x, grads.w, grads.b], before[2:5])
    for kind in (dict, fg.DenseGrads):
        outs = kind(**{n: np.empty_like(getattr(grads, n)) for n in need})
        fg.dense_backward(data["g"], cache, out=outs)
        values = outs.values() if kind is dict else outs
        assert agree(list(values)[:3], before[2:5])


@pytest.mark.parametrize("field", ["saved", "b", "x", "w"])
def test_a_large_layers_cache_is_looked_at(field: str, pieces: Pieces, count: Any) -> None:
    """Also what its activation, or the gradients wanted, do not need."""
    shape, work = CUTS["both"]
    data = layer(shape, "float32", "rows")
    pieces.of(work)
    count(2)
    _, cache = fg.dense_forward(data["x"], data["w"], data["b"], None)
    for value in ("nothing", np.zeros((2, 3), "float32")):
        with pytest.raises((TypeError, ValueError), match=r"^dense_backward: "):
            fg.dense_backward(data["g"], cache._replace(**{field: value}), need=("x", "w"))
