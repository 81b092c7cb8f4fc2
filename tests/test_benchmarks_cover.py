"""Every row of the tables has a benchmark, and the benchmarks name nothing else."""

import functools
import importlib
import itertools
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fastgrad.activations import BUILT_IN
from fastgrad.command.blas import blas
from fastgrad.losses import LOSSES
from fastgrad.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # the package sets them for good; undo that afterwards
    monkeypatch.syspath_prepend(ROOT)


def timed(module, axis):
    """Return the values that the parameter `axis` takes in the module's `time_` benchmarks."""
    found = set()
    for thing in vars(importlib.import_module(f"benchmarks.{module}")).values():
        names = getattr(thing, "param_names", ())
        if axis in names and any(method.startswith("time_") for method in dir(thing)):
            found.update(thing.params[names.index(axis)])
    return found


@pytest.mark.parametrize(
    ("module", "axis", "table", "rows"),
    [
        ("activations", "activation", "ACTIVATIONS", tuple(BUILT_IN)),
        ("layers", "activation", "ACTIVATIONS", tuple(BUILT_IN)),
        ("losses", "loss", "LOSSES", tuple(LOSSES)),
        ("networks", "optimizer", "OPTIMIZERS", tuple(OPTIMIZERS)),
    ],
)
def test_every_row_has_a_benchmark(module, axis, table, rows):
    found = timed(module, axis)
    missing = ", ".join(row for row in rows if row not in found)
    assert not missing, (
        f"Missing benchmarks for {missing}: add {missing} to {table} in benchmarks/common.py or "
        f"benchmarks/{module}.py, which takes the values of its parameter {axis!r}"
    )
    unknown = ", ".join(sorted(found.difference(rows)))
    assert not unknown, (
        f"benchmarks/{module}.py times {unknown}, which fastgrad does not have: "
        f"remove {unknown} from benchmarks/common.py"
    )


def test_small_parameters_of_every_implementation_run():
    common = importlib.import_module("benchmarks.common")
    for name in common.IMPLEMENTATIONS:
        for mode in common.MODES:
            for activation in common.ACTIVATIONS:
                common.layer_call(name, activation, "float32", "2x3x4", mode)()
                common.activation_call(name, activation, "float64", "3x4", mode)()
        for loss in common.LOSSES:
            common.loss_call(name, loss, "float32", "3x4")()
    with pytest.raises(NotImplementedError, match="small sizes only"):
        common.layer_call("loops", "relu", "float32", "512x1024x1024", "forward")


def test_more_layers_compute_the_same_numbers():
    more = importlib.import_module("benchmarks.more_layers")
    for layer in more.LAYERS:
        ours, numpys = (
            more.call_of(name, layer, "float64", "5x3")() for name in more.COMPILED_AND_NUMPY
        )
        for one, other in zip(ours, numpys, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14, err_msg=layer)


def test_ratio_is_that_of_the_times():
    common = importlib.import_module("benchmarks.common")
    work = list(range(20_000))
    assert 0.02 < common.ratio(lambda: sum(work[:2000]), lambda: sum(work), 0.05) < 0.5


def test_calls_are_the_same_ones_of_both(capsys, monkeypatch):
    calls = importlib.import_module("benchmarks.calls")
    for group in calls.GROUPS:
        names = [name for name, _ in group(calls.fg)]
        assert len(set(names)) == len(names) > 300
        assert names == [name for name, _ in group(calls.reference)]
    some = [
        functools.wraps(group)(lambda m, group=group: itertools.islice(group(m), 0, 300, 30))
        for group in calls.GROUPS
    ]
    monkeypatch.setattr(calls, "GROUPS", some)
    calls.main(seconds=0.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith(f"NumPy {np.__version__} on {blas()}, one thread")
    assert [line.split()[:2] for line in lines[2:6]] == [[g.__name__, "10"] for g in calls.GROUPS]


def test_cliffs_have_names_of_their_own_and_calls_that_agree():
    """What stands beside fastgrad computes the same numbers."""
    cliffs = importlib.import_module("benchmarks.cliffs")
    names = []
    for title, group in cliffs.GROUPS.items():
        for cliff in group():
            names.append(f"{title}: {cliff.name}")
            if title in ("ragged", "fit") or "added" in cliff.name:
                continue  # large; results in another form; called in turns it adds to the same sums
            ours, beside = (numbers(call()) for call in (cliff.ours, cliff.beside))
            assert ours.size == beside.size, cliff.name
            np.testing.assert_allclose(
                ours, beside, rtol=2e-4, atol=2e-4 * abs(beside).max(), err_msg=cliff.name
            )
    assert len(set(names)) == len(names) > 100


def numbers(result):
    """Return all numbers of a result in one vector, those of each array in order."""
    parts = result if isinstance(result, tuple) else (result,)
    arrays = [np.ravel(np.asarray(a, float)) for a in parts if a is not None]
    return np.concatenate(arrays)


def test_cliffs_say_which_bars_are_missed(capsys):
    cliffs = importlib.import_module("benchmarks.cliffs")
    found = cliffs.main(["--only", "one output,long sums", "--match", "uniform float32"])
    out = capsys.readouterr().out
    missed = [line for line in out.splitlines() if line.endswith("MISSED")]
    assert found == bool(missed)
    rows = [line.split() for line in out.splitlines() if line.startswith("RMS error over")]
    assert [row[3] for row in rows] == list(map(str, cliffs.LENGTHS))
    assert f"{len(missed)} bars missed" in out or (not missed and "every bar is met" in out)
    with pytest.raises(SystemExit):
        cliffs.main(["--only", "sums"])


@pytest.mark.parametrize("name", ["calls", "cliffs"])
def test_a_numpy_that_was_slowed_down_is_not_measured(name, monkeypatch):
    command = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    with pytest.raises(SystemExit, match="OPENBLAS_CORETYPE=Haswell is set: NumPy may run another"):
        command.main()


def test_scripts_steps_agree_with_those_by_hand():
    scripts = importlib.import_module("benchmarks.scripts")
    names = []
    for make in itertools.chain(*scripts.GROUPS.values()):
        script = make()
        names.append(script.name)
        assert script.agrees(script.ours()), script.name
        assert script.multiply_adds > 0 or script.title
    assert len(set(names)) == len(names) >= 18


@pytest.mark.parametrize(("name", "wrong"), [("b2", 1e-6), ("b2", np.nan), ("W1", np.nan)])
def test_scripts_that_do_not_agree_are_told_apart(name, wrong):
    script = importlib.import_module("benchmarks.scripts.columns").OneSample()
    run = script.ours()
    run.params()[name][3] += wrong
    assert not script.agrees(run)


def test_scripts_steps_agree_with_those_of_peers():
    """In a process of its own: JAX does not bear a fork, and its settings are global."""
    peers = [name for name in ("torch", "jax", "optax") if find_spec(name)]
    if not peers:
        pytest.skip("neither PyTorch nor JAX is installed")
    command = [sys.executable, "-m", "benchmarks.scripts", "--quick", "--peers"]
    done = subprocess.run(
        [*command, "--match", "one sample"], cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    assert (done.returncode, done.stderr) == (0, "")
    beside = done.stdout.split("times as long as fastgrad")[1].splitlines()
    columns = 2 * ("torch" in peers) + ("optax" in peers and "jax" in peers)
    rows = [line.strip("|").split("|") for line in beside[2:6]]
    assert [len(row) for row in rows] == [2 + columns] * 4
    assert all(re.fullmatch(r" \d[\d.]*x ", cell) for row in rows for cell in row[2:])


def test_scripts_say_which_bars_are_missed(capsys, monkeypatch):
    scripts = importlib.import_module("benchmarks.scripts")
    command = importlib.import_module("benchmarks.scripts.__main__")

    def make(bar, place):
        script = scripts.GROUPS[place][0]()
        script.bar = bar
        return script

    bars = {"never": 1e9, "always": 0.0}
    groups = {
        name: [functools.partial(make, bar, place) for place in ("recurrent", "optimizers")]
        for name, bar in bars.items()
    }
    monkeypatch.setattr(command, "GROUPS", groups)
    assert command.main(["--only", "always", "--seconds", "0"]) == 0
    assert "MISSED" not in capsys.readouterr().out
    assert command.main(["--only", "never", "--seconds", "0"]) == 1
    assert capsys.readouterr().out.count("MISSED") == 2
    assert command.main(["--only", "never", "--quick", "--match", "char"]) == 0
    assert capsys.readouterr().out.count("MISSED") == 1


def test_scripts_are_tracked():
    scripts = importlib.import_module("benchmarks.scripts")
    tracked = importlib.import_module("benchmarks.scripts.tracked").Scripts
    made = [make().name for make in itertools.chain(*scripts.GROUPS.values())]
    assert list(tracked.params) == made
    rows, script = tracked(), next(name for name in tracked.params if name.startswith("gru"))
    rows.setup(script)
    assert 0.005 < rows.track_ratio(script) < 1
