"""The command line: what it prints, what it writes, and what it returns."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import environment

import fastgrad
from fastgrad import reference
from fastgrad.activations import BUILT_IN
from fastgrad.command import blas, cli, compare
from fastgrad.command.bounds import Bounds
from fastgrad.command.cases import NETS, layer_case, net_case
from fastgrad.command.machine import THREAD_VARIABLES

ROOT = Path(cli.__file__).parents[1]
TINY = ["compare", "--quick", "--shapes", "3x4x5", "--dtype", "float32"]

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def few_samples(runs: Any, calls: Any, rounds: int, time: Any = compare._time) -> Any:
    return time(runs, dict.fromkeys(runs, 1), 1)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: Patch) -> None:
    """Take as few samples as there can be."""
    monkeypatch.setattr(compare, "_time", few_samples)


def rows_of(text: str) -> list[list[str]]:
    """Return the table's rows as words."""
    return [line.split() for line in text.splitlines() if line.endswith((" ok", " FAIL"))]


# -- compare -----------------------------------------------------------------------------------


def test_compare_prints_a_row_for_each_layer_and_net(capsys: Capture) -> None:
    assert cli.main([*TINY, "--layers", "tanh,softmax,net-A", "--dtype", "both"]) == 0
    out, err = capsys.readouterr()
    assert [row[:4] for row in rows_of(out)] == [
        [name, shape, dtype, source]
        for names, shape, source in (
            (["tanh", "softmax"], "3x4x5", "seeded"),
            (["net-A"], "64x64-10", "digits"),
        )
        for dtype in ("float32", "float64")
        for name in names
    ]
    assert "geometric mean, layers" in out
    assert "6 of 6 cases agree with the NumPy reference" in out
    assert err == ""  # no progress bar where no terminal is


def test_compare_leaves_out_loops_where_they_take_long(capsys: Capture) -> None:
    assert cli.main(["compare", "--quick", "--layers", "relu", "--shapes", "256x64x64"]) == 0
    for row in rows_of(capsys.readouterr().out):
        assert row[4] == "-"


@pytest.mark.parametrize("wrong", ["x", "w", "b"])
def test_compare_names_the_row_that_disagrees_with_the_reference(
    wrong: str, monkeypatch: Patch, capsys: Capture
) -> None:
    right = reference.dense_backward

    def sabotaged(grad_y: Any, cache: Any, **options: Any) -> Any:
        grads = right(grad_y, cache, **options)
        if cache.activation.name != "tanh":
            return grads
        return grads._replace(**{wrong: getattr(grads, wrong) * (1 + 1e-4)})

    monkeypatch.setattr(reference, "dense_backward", sabotaged)
    assert cli.main([*TINY, "--layers", "relu,tanh"]) == 1
    out = capsys.readouterr().out
    assert f"tanh 3x4x5 float32: grad_{wrong} of fastgrad is " in out
    assert "relu 3x4x5 float32:" not in out
    assert [(row[0], row[-1]) for row in rows_of(out)] == [("relu", "ok"), ("tanh", "FAIL")]


def test_compare_fails_on_nan_and_still_writes_json(
    monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    right = reference.dense_forward

    def sabotaged(*args: Any, **options: Any) -> Any:
        y, cache = right(*args, **options)
        return y * np.nan, cache

    monkeypatch.setattr(reference, "dense_forward", sabotaged)
    path = tmp_path / "out.json"
    assert cli.main([*TINY, "--layers", "relu", "--json", str(path)]) == 1
    assert "relu 3x4x5 float32: y of fastgrad" in capsys.readouterr().out
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert not found["ok"]
    assert found["cases"][0]["error_eps"] is None


@pytest.mark.parametrize("name", ["gelu", "net-E"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_gradient_differs_from_central_differences(
    name: str, dtype: str, monkeypatch: Patch
) -> None:
    """Even if the reference had the same mistake: differences need no reference."""
    case = net_case(name, dtype) if name in NETS else layer_case(name, (5, 4, 3), dtype)

    def failures() -> list[str]:
        result = compare.Result(case)
        compare._check_gradients(result)
        return result.failures

    assert failures() == []
    right = fastgrad.dense_backward

    def sabotaged(grad_y: Any, cache: Any, **options: Any) -> Any:
        grads = right(grad_y, cache, **options)
        return grads._replace(w=grads.w * 1.0001)

    monkeypatch.setattr(fastgrad, "dense_backward", sabotaged)
    assert failures()
    assert all("central differences say" in line for line in failures())


def test_json_has_everything(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert cli.main([*TINY, "--layers", "sigmoid,net-A", "--json", str(path)]) == 0
    capsys.readouterr()
    found = json.loads(path.read_text())
    assert found["ok"] is True
    assert found["machine"]["numpy"] == np.__version__
    layer, net = found["cases"]
    assert (layer["layer"], layer["shape"], layer["dtype"]) == ("sigmoid", "3x4x5", "float32")
    assert (net["layer"], net["input"]) == ("net-A", "digits")
    for case in (layer, net):
        seconds = case["seconds"]
        assert seconds.keys() == {"loops", "numpy", "fastgrad"}
        ratio = seconds["numpy"]["median"] / seconds["fastgrad"]["median"]
        assert case["speedup_over_numpy"] == pytest.approx(ratio)
        assert 0 <= case["error_of_bound"] <= 1
        assert case["gradient_checked"]
        assert case["failures"] == []
    assert found["geometric_mean_speedups"]["layers"].keys() == {"numpy", "loops"}


def test_plot_is_a_picture(capsys: Capture, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "out.png"
    assert cli.main([*TINY, "--layers", "relu,net-A", "--plot", str(path)]) == 0
    capsys.readouterr()
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_says_how_to_get_it(
    monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main([*TINY, "--plot", str(tmp_path / "out.png")]) == 2
    assert "pip install 'fastgrad[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "--layers", "tanhh"], "unknown layer 'tanhh': choose from identity,"),
        (["compare", "--layers", ""], "--layers: give at least one"),
        (["compare", "--shapes", "3x4"], "'3x4' is not a shape: give samples x inputs x outputs"),
        (["compare", "--shapes", "3x0x4"], "'3x0x4' is not a shape"),
        (["compare", "--shapes", f"1x1x{10**20}"], "is larger than memory can be"),
        (["compare", "--threads", "0"], "'0' is not a number of threads: give 1 or more"),
        (["compare", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["compare", "--json", "/no/such/out.json"], "cannot write /no/such/out.json"),
        (["compare", "--plot", "out.txt"], "'out.txt' must end in .png"),
        (["warmup", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["train"], "invalid choice: 'train'"),
        ([], "the following arguments are required: command"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: list[str], sentence: str, capsys: Capture
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]


def test_a_full_disk_is_said_so(capsys: Capture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert cli.main([*TINY, "--layers", "relu", "--json", "/dev/full"]) == 2
    out, err = capsys.readouterr()
    assert err == "fastgrad: cannot write /dev/full: No space left on device\n"
    assert rows_of(out)  # what was measured is shown all the same


COMMAND = [sys.executable, "-m", "fastgrad"]
SMALL = ["compare", "--quick", "--layers", "relu", "--shapes", "1x2x3", "--dtype", "float32"]


@pytest.mark.parametrize("where", ["full disk", "broken pipe", "nowhere"])
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(SMALL, None), (SMALL, "1"), (["info"], None), (["info"], "1"), (["--help"], None)],
    ids=["compare", "compare -u", "info", "info -u", "--help"],
)
def test_output_that_nobody_takes_ends_with_a_sentence(
    arguments: list[str], unbuffered: str | None, where: str, tmp_path: Path
) -> None:
    if where == "full disk" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    if where == "nowhere" and arguments == ["--help"]:
        pytest.skip("argparse prints it on standard error then")
    path = tmp_path / "out.json"
    arguments = [*arguments, "--json", str(path)] if arguments is SMALL else arguments
    variables = environment(PYTHONUNBUFFERED=unbuffered)
    if where == "nowhere":  # closed from the start: Python has no standard output then
        shell = f"{shlex.join([*COMMAND, *arguments])} >&-"
        done = subprocess.run(["sh", "-c", shell], env=variables, cwd=ROOT, timeout=180,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    else:
        read, write = os.pipe()
        os.close(read)
        with open("/dev/full" if where == "full disk" else write, "w") as out:
            done = subprocess.run([*COMMAND, *arguments], env=variables, cwd=ROOT, timeout=180,
                                  stdout=out, stderr=subprocess.PIPE, text=True)  # fmt: skip
            if where == "full disk":
                os.close(write)
        reason = {"full disk": "No space left on device", "broken pipe": "Broken pipe"}[where]
        assert done.returncode == 2
        (sentence,) = done.stderr.splitlines()
        assert sentence == f"fastgrad: cannot print: {reason}"
    if path.name in " ".join(arguments):
        assert json.loads(path.read_text())["ok"] is True


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_sigterm_leaves_no_process_behind() -> None:
    """The process that pins the threads of BLAS is not another one beside the first."""
    free = {name: value for name, value in environment().items() if name not in THREAD_VARIABLES}
    process = subprocess.Popen([*COMMAND, "compare", "--progress"], env=free, cwd=ROOT,
                               start_new_session=True, stderr=subprocess.PIPE)  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.read(1)  # it measures
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):  # nobody of its group is left
            os.killpg(process.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_no_figure_of_a_blas_that_was_slowed_down(monkeypatch: Patch, capsys: Capture) -> None:
    for name, value in (("OPENBLAS_CORETYPE", "Haswell"), ("OPENBLAS_L2_SIZE", "1024")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert cli.main(TINY) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"fastgrad: {name}={value} is set: NumPy may run another processor's")
        assert err.endswith("Unset it and measure again\n")


def test_the_kernels_of_blas_are_those_that_threadpoolctl_finds() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    home = Path(np.__file__).parents[1]
    found = [info["architecture"] for info in threadpoolctl.threadpool_info()
             if info["internal_api"] == "openblas" and Path(info["filepath"]).is_relative_to(home)
             and "scipy.libs" not in info["filepath"]]  # fmt: skip
    assert [blas.kernel()] == (found or [None])
    if found:
        assert blas.blas().endswith(f", {found[0]} kernels")


def test_a_new_process_pins_the_threads_of_blas() -> None:
    free = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    command = [*COMMAND, *SMALL]
    done = subprocess.run(command, env=free, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "Threads: 1, BLAS 1." in done.stdout


# -- the cases and their bounds ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*BUILT_IN, *NETS])
def test_fastgrad_and_numpy_lie_within_the_bounds(name: str, dtype: str) -> None:
    case = net_case(name, dtype) if name in NETS else layer_case(name, (33, 64, 17), dtype)
    assert case.source == "digits"
    expected = compare._by_name(case, *case.build(Bounds(dtype), *case.arrays.values())())
    for api in (fastgrad, reference):
        got = compare._by_name(case, *case.build(api, *case.arrays.values())())
        for what, bounded in expected.items():
            error_eps, of_bound = compare._errors(got[what], bounded, dtype)
            assert of_bound <= 1, (api.__name__, what, error_eps)


@pytest.mark.parametrize("name", ["tanh", "softmax", "gelu"])
def test_bounds_are_not_generous(name: str) -> None:
    case = layer_case(name, (32, 64, 10), "float32")
    output, grads = case.build(Bounds("float32"), *case.arrays.values())()
    for bounded in (output, *grads[:3]):
        assert np.max(bounded.error) < 1e-3 * np.max(np.abs(bounded.value))


# -- info, warmup, progress --------------------------------------------------------------------


def test_info_prints_versions(capsys: Capture) -> None:
    assert cli.main(["info"]) == 0
    facts = dict(re.split("  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["fastgrad"] == fastgrad.__version__
    assert facts["numpy"] == np.__version__
    assert {"python", "numba", "cpu", "cache", "threads"} <= facts.keys()
    assert facts["BLAS"] == blas.blas()
    assert facts["arithmetic"] == "IEEE 754, to nearest, with subnormals"


@pytest.mark.parametrize("name", ["y" * 300, "file/below"])
def test_info_of_a_cache_that_cannot_be(
    name: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("FASTGRAD_CACHE_DIR", str(tmp_path / name))
    assert cli.main(["info"]) == 0
    assert re.search(r"^cached +0 of \d+ kernels, 0 KiB$", capsys.readouterr().out, re.MULTILINE)


def test_version(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert fastgrad.__version__ in capsys.readouterr().out


def test_warmup_asks_for_the_dtypes_and_shows_how_far_it_is(
    monkeypatch: Patch, capsys: Capture
) -> None:
    asked: list[str] = []

    def warmup(dtypes: Any, progress: Any, jobs: int) -> None:
        asked.extend([*dtypes, str(jobs)])
        progress(1, 2, "gemm")

    monkeypatch.setattr(fastgrad, "warmup", warmup)
    assert cli.main(["warmup", "--dtype", "float32", "--progress"]) == 0
    out, err = capsys.readouterr()
    assert asked == ["float32", "1"]
    assert "1/2" in err
    assert "gemm" in err
    assert "cached: " in out
