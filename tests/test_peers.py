"""The command that times fastgrad beside its peers. No peer is needed: NumPy always is one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import environment

from fastgrad.command.blas import blas

ROOT = Path(__file__).parents[1]
CELL = {"workload": "layers", "name": "tanh", "shape": "1x8x8", "dtype": "float32", "mode": "both"}

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the package, which is not installed."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # the package sets them for good; undo that afterwards
    monkeypatch.syspath_prepend(ROOT)
    names = ("bars", "chart", "implementations", "report", "verify", "worker")
    modules = {name: importlib.import_module(f"benchmarks.peers.{name}") for name in names}
    modules["timing"] = importlib.import_module("benchmarks.timing")
    workloads = importlib.import_module("benchmarks.peers.workloads")
    main = importlib.import_module("benchmarks.peers.__main__")
    yield SimpleNamespace(main=main, workloads=workloads, **modules)


def record(peer: str, ratio: float, ours: float = 1e-6, **cell: str) -> dict[str, Any]:
    spread = [ours, ours, ours]
    theirs = [ratio * ours] * 3
    return {
        "peer": peer, "cell": CELL | cell, "status": "timed", "ours": spread, "theirs": theirs,
        "ratio": [ratio, 0.9 * ratio, 1.1 * ratio], "rounds": 5,
    }  # fmt: skip


def rows(peers: SimpleNamespace, records: list[dict[str, Any]]) -> list[Any]:
    cells = [peers.workloads.Cell(**r["cell"]) for r in records]
    return peers.report.rows_of(dict.fromkeys(cells), records)


# -- the cells -------------------------------------------------------------------------------------


def test_cells_are_those_of_the_design(peers: SimpleNamespace) -> None:
    cells = peers.workloads.cells()
    assert len(set(cells)) == len(cells)
    count = {name: sum(c.workload == name for c in cells) for name in peers.workloads.WORKLOADS}
    assert count == {"layers": 6 * 2 * 9 * 3, "activations": 8, "networks": 8, "training": 2}
    assert peers.workloads.Cell(**CELL) in cells
    assert len(peers.workloads.cells(["layers"], match="tanh 1x8x8 float32")) == 3
    assert set(peers.workloads.cells(quick=True)) < set(cells)


def test_every_bar_is_about_some_cells(peers: SimpleNamespace) -> None:
    cells = peers.workloads.cells()
    for bar in peers.bars.BARS:
        assert any(map(bar.cells, cells)), bar.text
        assert set(bar.peers) <= set(peers.implementations.PEERS)


def test_order_is_that_of_fit(peers: SimpleNamespace) -> None:
    trainings = list(peers.workloads.TRAININGS.values())
    for training in trainings:
        order = peers.workloads.order_of(training)
        assert (np.sort(order) == np.arange(training.network.samples)).all()
        assert (np.diff(order) == 1).all() != training.shuffle


# -- arguments -------------------------------------------------------------------------------------


def test_a_blas_that_was_slowed_down_is_not_measured(
    peers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert peers.main.main(["--quick"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "OPENBLAS_CORETYPE=Haswell is set: NumPy may run another" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--peers", "tensorflow"], "unknown 'tensorflow': choose from numpy, torch"),
        (["--workloads", ""], "unknown nothing: choose from layers"),
        (["--threads", "0"], "'0' is not a number of threads: give 1 or more"),
        (["--json", "/no/such/out.json"], "cannot write /no/such/out.json"),
        (["--match", "no such cell"], "no cell is called 'no such cell'"),
        (["--load", "/no/such/in.json"], "cannot read /no/such/in.json"),
        (["--documents", "--quick"], "--documents writes tables of all cells"),
    ],
)
def test_bad_arguments_are_refused(
    peers: SimpleNamespace, arguments: list[str], sentence: str, capsys: Capture
) -> None:
    assert peers.main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]


# -- arithmetic ------------------------------------------------------------------------------------


def test_means_are_geometric_and_best_is_of_each_cell(peers: SimpleNamespace) -> None:
    found = peers.report.means(
        rows(peers, [
            record("numpy", 2.0), record("torch", 32.0),
            record("numpy", 8.0, shape="32x16x16"), record("torch", 2.0, shape="32x16x16"),
        ])
    )  # fmt: skip
    assert found == {"layers": pytest.approx({"numpy": 4.0, "torch": 8.0, "best": 2.0})}


def test_means_keep_the_modes_apart(peers: SimpleNamespace) -> None:
    found = peers.report.means(
        rows(peers, [record("numpy", 2.0), record("numpy", 3.0, mode="forward")])
    )
    assert found["layers both"]["numpy"] == pytest.approx(2.0)
    assert found["layers forward"]["numpy"] == pytest.approx(3.0)


def test_every_loss_is_named(peers: SimpleNamespace) -> None:
    measured = rows(peers, [record("numpy", 0.89), record("torch", 1.5),
                            record("torch", 0.5, shape="32x16x16")])  # fmt: skip
    lost = [(r.cell.shape, peer) for r, peer, _ in peers.report.losing(measured)]
    assert lost == [("32x16x16", "torch"), ("1x8x8", "numpy")]
    text = peers.report.report(measured)
    assert "A peer is faster in 2 of 3 comparisons, in 2 beyond the spread" in text
    assert "tanh 32x16x16 float32 both PyTorch 0.50x (0.45-0.55)" in " ".join(text.split())
    none = peers.report.report(rows(peers, [record("numpy", 1.1)]))
    assert "No peer is faster than fastgrad in any of 1 comparisons." in none


def test_bars_are_met_or_missed(peers: SimpleNamespace) -> None:
    measured = rows(peers, [
        record("numpy", 6.0), record("jax", 3.0), record("torch", 40.0),
        record("numpy", 4.9, shape="32x16x16"), record("torch", 29.0, shape="32x16x16"),
        record("numpy", 3.0, ours=4096 * 0.5e-9, workload="activations", mode="forward"),
        record("numpy", 3.0, ours=4096 * 9e-9, workload="activations", mode="forward",
               dtype="float64"),
    ])  # fmt: skip
    found = {bar: (text, verdict) for bar, _, text, verdict in peers.bars.verdicts(measured)}
    mean, verdict = found["layers, both: geometric mean over the best of NumPy, PyTorch, JAX"]
    assert mean == "3.83x"  # of 3.0 and 4.9
    assert verdict == "met; measured 2 of 108"
    worst, verdict = found["layers, both, 1x8x8 and 32x16x16: each over NumPy"]
    assert worst == "4.90x (tanh 32x16x16 float32 both, numpy)"
    assert verdict == "MISSED in 1 of 2; measured 2 of 24"
    assert found["Adam epoch of 4-32-16-4: over PyTorch"] == ("-", "not measured")
    assert found["activations, 4096 of float32: each"][1] == "met; measured 1 of 4"
    assert found["activations, 4096 of float64: each"][1] == "MISSED by tanh; measured 1 of 4"


def test_markdown_has_the_readmes_rows(peers: SimpleNamespace) -> None:
    text = peers.report.markdown(rows(peers, [record("numpy", 6.0), record("torch", 4.0),
                                             record("numpy", 5.0, mode="forward")]))  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == "| times as long as fastgrad | | fastgrad | NumPy | PyTorch |"
    assert lines[2] == "| tanh 1x8x8, layer | float32 | 1.00 us | 6.00x | **4.00x** |"
    assert lines[3:] == [
        "| *geometric mean, layers forward + backward (1)* | | | 6.00x | 4.00x |",
        "| *geometric mean, layers forward (1)* | | | 5.00x |  |",
        "",
        "A peer is faster in 0 of 3 comparisons.",
    ]
    text = peers.report.markdown(rows(peers, [record("numpy", 0.5)]))
    assert text.splitlines()[-3:] == [
        "A peer is faster in 1 of 1 comparisons, in 1 beyond the spread of the samples "
        "(quartiles):",
        "",
        "- tanh 1x8x8 float32 both (NumPy 0.50x, 0.45-0.55)",
    ]


def test_spread_and_interleaving(peers: SimpleNamespace) -> None:
    """Twice the work is about twice the time, and the two take turns at going first."""
    order: list[str] = []

    def work(name: str, size: int) -> None:
        if order[-1:] != [name]:
            order.append(name)
        sum(range(size))

    pair = peers.timing.compare(lambda: work("a", 2_000), lambda: work("b", 20_000), 0.02)
    assert pair.rounds >= 5
    assert 3 < pair.ratio.median < 30
    assert pair.ratio.p25 <= pair.ratio.median <= pair.ratio.p75
    # First calls, then rounds: a b | b a | ..., so one word per change is a b a b ...
    assert len(order) >= pair.rounds


# -- verification ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["layers", "activations", "networks", "training"])
def test_a_wrong_peer_is_refused(
    peers: SimpleNamespace, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ten-thousandth off in one element (an epoch, in float64: a billionth) is not timed."""

    class Wrong(peers.implementations.Functional):  # type: ignore[name-defined,misc]
        def _spoilt(self, function: Any, factor: float = 1 + 1e-4) -> Any:
            def run(*arguments: Any) -> Any:
                result = function(*arguments)
                if not isinstance(result, tuple):
                    result = (result,)
                last = result[-1].copy()
                last.flat[np.abs(last).argmax()] *= factor
                result = (*result[:-1], last)
                return result if len(result) > 1 else last

            return run

        def both(self, activation: str) -> Any:
            return self._spoilt(super().both(activation))

        def activation(self, name: str) -> Any:
            return self._spoilt(super().activation(name))

        def value_and_grad(self, network: Any) -> Any:
            return self._spoilt(super().value_and_grad(network))

        def epoch(self, *arguments: Any) -> Any:
            return self._spoilt(super().epoch(*arguments), 1 + 1e-9)

    monkeypatch.setattr(peers.worker, "compare", lambda *_: pytest.fail("timed all the same"))
    match = {"layers": "tanh 32x16x16 float32 both", "activations": "tanh 64x64 float32",
             "networks": "notebook B 32/32", "training": "digits"}[what]  # fmt: skip
    (cell,) = peers.workloads.cells([what], match=match)
    (found,) = peers.worker.run(Wrong(1, "fastgrad.reference"), [cell], seconds=0.0)
    assert found["status"] == "wrong"
    assert found["reason"].startswith("the peer: ")
    assert "times what rounding explains" in found["reason"]
    measured = peers.report.rows_of([cell], [{"peer": "numpy", **found}])
    assert "WRONG" in peers.report.report(measured)


def test_a_result_of_another_dtype_is_refused(peers: SimpleNamespace) -> None:
    class Double(peers.implementations.Functional):  # type: ignore[name-defined,misc]
        def both(self, activation: str) -> Any:
            function = super().both(activation)
            return lambda *arrays: function(*(a.astype(np.float64) for a in arrays))

    cell = peers.workloads.Cell(**CELL)
    (found,) = peers.worker.run(Double(1, "fastgrad.reference"), [cell], seconds=0.0)
    assert found["reason"] == "the peer: y is float64 instead of float32"


def test_a_peer_that_raises_is_reported(peers: SimpleNamespace) -> None:
    class Broken(peers.implementations.Functional):  # type: ignore[name-defined,misc]
        def both(self, activation: str) -> Any:
            raise OSError("no compiler\nand more")

    cell = peers.workloads.Cell(**CELL)
    (found,) = peers.worker.run(Broken(1, "fastgrad.reference"), [cell], seconds=0.0)
    assert found == {"cell": CELL, "status": "failed", "reason": "OSError: no compiler"}
    text = peers.report.report(peers.report.rows_of([cell], [{"peer": "torch.compile", **found}]))
    assert "tanh 1x8x8 float32 both, torch.compile: OSError: no compiler" in text


def test_nothing_is_timed_that_no_peer_can_do(peers: SimpleNamespace) -> None:
    cell = peers.workloads.Cell(**CELL)
    (found,) = peers.worker.run(peers.implementations.Implementation(), [cell], seconds=0.0)
    assert found == {"cell": CELL, "status": "unsupported"}


# -- the command -----------------------------------------------------------------------------------


def command(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *arguments],
        env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def test_one_cell_beside_numpy_end_to_end(peers: SimpleNamespace, tmp_path: Path) -> None:
    path, table = tmp_path / "out.json", tmp_path / "out.md"
    done = command(
        "--peers", "numpy", "--workloads", "layers", "--match", "tanh 1x8x8 float32 both",
        "--seconds", "0.01", "--json", str(path), "--markdown", str(table),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["ok"] is True
    assert found["about"]["versions"] == {"numpy": np.__version__}
    assert f"(NumPy on {blas()})" in done.stdout.splitlines()[0]
    (one,) = found["records"]
    assert (one["cell"], one["status"]) == (CELL, "timed")
    assert one["ratio"][1] <= one["ratio"][0] <= one["ratio"][2]
    assert found["geometric_means"]["layers"]["numpy"] == pytest.approx(one["ratio"][0])
    assert len(found["bars"]) == len(peers.bars.BARS) + 2
    assert "| tanh 1x8x8, layer | float32 |" in table.read_text()
    for part in ("tanh", "Geometric means", "Bars", "1 cells, 1 comparisons"):
        assert part in done.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("peer", ["torch", "torch.compile", "jax", "autograd", "sklearn"])
@pytest.mark.parametrize("convert", [[], ["--from-numpy"]])
def test_every_peer_that_is_installed_agrees(
    peers: SimpleNamespace, peer: str, convert: list[str], tmp_path: Path
) -> None:
    """All cells but the large ones, forward, backward and both."""
    pytest.importorskip(peers.implementations.PEERS[peer].module)
    path = tmp_path / "out.json"
    for match in (["--quick"], ["--match", " 32x16x16 "]):
        arguments = [*match, *convert, "--peers", peer, "--seconds", "0.001", "--json", str(path)]
        done = command(*arguments, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(path.read_text())["records"]
        assert {r["status"] for r in found} <= {"timed", "unsupported"}
        assert any(r["status"] == "timed" for r in found) or peer == "sklearn"


def test_load_shows_what_was_written(
    peers: SimpleNamespace, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "in.json"
    wrong = {"peer": "numpy", "cell": CELL, "status": "wrong", "reason": "y is off"}
    about = {"processor": "an abacus", "fastgrad": "1", "python": "3", "versions": {"numpy": "2"},
             "threads": 2, "seconds per cell": 1, "from NumPy": False}  # fmt: skip
    found = {"about": about, "missing": ["jax"], "crashed": {}, "elapsed": 1.0, "cells": [CELL],
             "records": [wrong, record("torch", 3.0)]}  # fmt: skip
    path.write_text(json.dumps(found))
    assert peers.main.main(["--load", str(path)]) == 1
    out = capsys.readouterr().out
    assert "an abacus, 2 threads" in out
    assert "JAX is not installed: pip install '.[peers]'" in out
    assert "tanh 1x8x8 float32 both, NumPy: y is off" in out
    assert "3.00x (2.70-3.30)" in out


def test_a_process_that_dies_is_reported(
    peers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "benchmarks" / "peers").mkdir(parents=True)
    for name in ("__init__", "peers/__init__"):
        (tmp_path / "benchmarks" / f"{name}.py").touch()
    (tmp_path / "benchmarks/peers/worker.py").write_text("raise SystemExit('out of order')")
    monkeypatch.setattr(peers.main, "ROOT", tmp_path)
    monkeypatch.chdir("/")
    assert peers.main.main(["--quick", "--peers", "numpy", "--match", "tanh 1x8x8"]) == 1
    assert "NumPy's process died:\nout of order" in capsys.readouterr().out


def test_threads_are_set_before_anything_is_imported(peers: SimpleNamespace) -> None:
    code = "import benchmarks, os; print(*(os.environ[n] for n in os.environ['ASK'].split(',')))"
    names = "OMP_NUM_THREADS,OPENBLAS_NUM_THREADS,MKL_NUM_THREADS,FASTGRAD_NUM_THREADS,NPROC"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**peers.main.environment(2), "ASK": names},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["2"] * 5


def test_chart_is_a_picture(peers: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    measured = rows(peers, [record("numpy", 6.0), record("torch", 0.5),
                            record("jax", 3.0, workload="networks", name="notebook B",
                                   shape="4/2", mode="value and gradient")])  # fmt: skip
    peers.chart.draw(measured, tmp_path / "out.png", "a footnote")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_chart_shows_means_by_shape(peers: SimpleNamespace) -> None:
    measured = rows(peers, [record("numpy", 2.0), record("numpy", 8.0, name="relu")])
    (groups,) = peers.chart.panels_of(measured).values()
    assert groups == {"1×8×8": {"numpy": pytest.approx(4.0)}}


def test_asv_can_import_everything_without_the_peers() -> None:
    """It imports every module under benchmarks, where nothing but fastgrad need be installed."""
    code = """
import importlib, pkgutil, re, sys
absent = {"torch", "jax", "autograd", "sklearn", "matplotlib", "scipy"}
for name in absent:
    sys.modules[name] = None  # importing it raises ImportError
import benchmarks
for _, name, _ in pkgutil.walk_packages(benchmarks.__path__, "benchmarks."):
    module = importlib.import_module(name)
    if name.startswith("benchmarks.peers"):
        assert not any(re.match("(time|timeraw|track|mem|peakmem)_|Time[A-Z_]|Track[A-Z_]", n)
                       for n in vars(module)), name
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=dict(os.environ),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_documents_are_written_in_place(peers: SimpleNamespace, tmp_path: Path) -> None:
    """Between the marks of the real documents; everything else stays."""
    documents = importlib.import_module("benchmarks.peers.documents")
    (tmp_path / "docs").mkdir()
    names = ("README.md", "docs/performance.md")
    for name in names:
        (tmp_path / name).write_text((ROOT / name).read_text())
    measured = rows(peers, [
        record("numpy", 6.0), record("torch", 4.0, shape="32x64x64"),
        record("numpy", 0.5, name="softmax", shape="32x16x16"),
        record("jax", 2.0, name="gelu", shape="4096x64x64", dtype="float64"),
    ])  # fmt: skip
    about = {"processor": "an abacus", "python": "3", "versions": {"numpy": "2"}, "threads": 1,
             "BLAS": "beads, Abacus kernels"}  # fmt: skip
    documents.write(measured, about, 500.0, tmp_path)
    readme, page = ((tmp_path / name).read_text() for name in names)
    for text, name in zip((readme, page), names, strict=True):
        old = (ROOT / name).read_text()
        for mark, part in zip(documents.MARKS, (0, 1), strict=True):
            assert text.split(mark)[part] == old.split(mark)[part]
        assert (
            "One thread of an abacus, Python 3, numpy 2;\nNumPy on beads, Abacus kernels." in text
        )
        assert "| tanh 1x8x8, layer | float32 | 1.00 us | **6.00x** |" in text
    assert "(8 minutes, after" in readme
    assert "In 1 of 4 comparisons a\npeer was faster" in readme
    assert "softmax 32x16x16 float32 both (NumPy 0.50x, 0.45-0.55)" in page
    table = page.split(documents.MARKS[0])[1].split(documents.MARKS[1])[0]
    only_there = set(table.splitlines()) - set(readme.splitlines())
    assert any("softmax 32x16x16" in line for line in only_there)
    assert any("gelu 4096x64x64, layer | float64" in line for line in only_there)
