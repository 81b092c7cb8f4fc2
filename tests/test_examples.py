"""The five notebooks' jobs give the notebooks' numbers, and the right ones where they erred."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import environment, output

import fastgrad as fg

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(p.stem for p in EXAMPLES.glob("[a-f]_*.py"))
# Extrapolated forward differences of 1e-5: six digits of the largest entry, and they show ten.
SIX_DIGITS = 1e-6


@functools.cache
def load(letter: str) -> Any:
    """Return an example as a module."""
    (path,) = EXAMPLES.glob(f"{letter}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def results(letter: str) -> Any:
    """Return what an example's main returns."""
    return load(letter).main()


def six_digits(got: Any, numerical: Any) -> None:
    """Assert that a gradient has the shape and six digits of a numerical one."""
    assert got.shape == numerical.shape
    np.testing.assert_allclose(got, numerical, rtol=0, atol=SIX_DIGITS * np.abs(numerical).max())


def close(got: Any, expected: Any, eps: float = 1e-14) -> None:
    np.testing.assert_allclose(got, expected, rtol=eps, atol=eps)


def test_there_is_one_per_notebook_and_a_recurrent_one():
    assert [name[0] for name in SCRIPTS] == list("abcdef")


SAID = {
    "a": "forward difference of entry (0, 0): 0.03687974340",
    "b": "reduction='samples': C = 8.690635",
    "c": "the notebook's is of shape (2, 6) and does not fit b",
    "d": "f     = 1.689134   with the flipped sign 0.3556",
    "f": "dL/dwh against differences: right",
    "e": "[[0.01165623 0.03168492 0.08612854 0.23412166 0.63640865]]",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_from_a_shell(name: str):
    # Where there is a display, matplotlib says that Agg has no window.
    warn = ("-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive")
    command = [sys.executable, *warn, str(EXAMPLES / f"{name}.py")]
    pipe, env = subprocess.PIPE, environment(MPLBACKEND="Agg")
    run = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)
    assert SAID[name[0]] in output(run)


# -- A ----------------------------------------------------------------------------------------


def test_a_prints_the_notebooks_numbers():
    a = results("a")
    close(a["L"], 3.067006496510426, 1e-15)
    expected = [
        [0.03685663, -0.05665209, -0.6691846],
        [-0.02524588, -0.01606117, -0.72432314],
        [-0.027645, -0.0145585, -0.72786339],
    ]
    np.testing.assert_allclose(a["dL_dX"], expected, rtol=0, atol=5.01e-9)  # all printed digits
    # L is rounded to 4e-16; a difference over 0.001 carries that to 1e-12.
    close(a["forward_difference"], 0.0368797434000534, 2e-12)


@pytest.mark.parametrize("way", ["numerical", "exact"])
def test_a_fused_layer_agrees(way: str):
    a = results("a")
    close(a[f"L_{way}"], a["L"], 1e-15)
    # sigma''' is at most 1/8, so deriv is off by 1e-6 / 48, times a sum over two or three.
    for name in ("dL_dX", "dL_dW"):
        np.testing.assert_allclose(a[f"{name}_{way}"], a[name], rtol=0, atol=1e-7)
    np.testing.assert_allclose(a[f"dL_dX_{way}"], a["report"].numerical, rtol=0, atol=1e-9)
    assert a["report"].ok


# -- B and C ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "samples"])
@pytest.mark.parametrize("name", ["w1", "b1", "w2", "b2", "w3", "b3"])
def test_b_has_six_digits(reduction: str, name: str):
    found = results("b")[reduction]
    six_digits(found["d" + name], found["numerical"][name])


def test_b_normalisations_and_intermediates():
    mean, samples = results("b")["mean"], results("b")["samples"]
    outputs, n = mean["dz3"].shape
    assert n > 1
    for name in ("C", "dw1", "db2", "dz1", "dz2", "dz3"):
        close(np.multiply(outputs, mean[name]), samples[name])
    for i in (1, 2, 3):
        close(mean[f"dz{i}"].sum(axis=1, keepdims=True), mean[f"db{i}"])


@pytest.mark.parametrize("name", ["first.w", "first.b", "last.w", "last.b"])
def test_c_has_six_digits(name: str):
    c = results("c")
    assert c["batch"]["grad_pred"].shape[1] > 1
    six_digits(c["batch"][name], c["numerical"][name])


def test_c_shows_what_the_notebook_averaged_away():
    c = results("c")
    one, batch = c["one"], c["batch"]
    assert one["grad_pred"].shape == (2, 1)
    close(one["grad_pred"].sum(), one["grad_pred_notebook"])
    assert np.abs(one["grad_pred"] - one["grad_pred_notebook"]).max() > 1  # one number is not two
    # The last layer is linear: its bias gradient is dL/dpred summed over the batch.
    close(batch["last.b"], batch["grad_pred"].sum(axis=1, keepdims=True))


# -- D ----------------------------------------------------------------------------------------


def test_d_prints_the_notebooks_numbers():
    d = results("d")["the notebook's point"]
    assert d["f"] == d["f_flipped"] == 0.75  # the flipped sign does not show
    for name, expected in {
        "df/dy": [[1.0]] * 3,
        "df/dZ": [[0.25]] * 3,
        "df/dW": [[0.25, 0.0, -0.25]] * 3,
        "df/dx": [[2.5], [2.0], [2.5]],
    }.items():
        np.testing.assert_array_equal(d[name], np.array(expected, np.float32), strict=True)


def test_d_second_point_shows_the_flipped_sign():
    d = results("d")["a point with Z != 0"]
    W, x = load("d").W.astype(float), d["x"].astype(float)

    def f(W: Any, x: Any) -> Any:
        return np.sum((1 / (1 + np.exp(-(W @ x)))) ** 2)

    close(d["f"], f(W, x), 1e-6)
    close(d["f_flipped"], f(-W, x), 1e-6)
    assert abs(d["f"] - d["f_flipped"]) > 1
    assert fg.check_grad(lambda x: f(W, x), d["df/dx"], x)
    assert fg.check_grad(lambda W: f(W, x), d["df/dW"], W)
    assert all(d[name].dtype == np.float32 for name in ("y", "df/dy", "df/dZ", "df/dW", "df/dx"))


@pytest.mark.parametrize("point", ["the notebook's point", "a point with Z != 0"])
def test_d_agrees_with_pytorch(point: str):
    pytest.importorskip("torch")
    d = results("d")[point]
    for name, expected in d["torch"].items():
        # Both lose a few float32 eps in 1 - y, where y is near 1; W adds up 11 of them.
        np.testing.assert_allclose(d[name], expected, rtol=2e-6, atol=2e-6, err_msg=name)


# -- E ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "y", "dL_dx"),
    [
        (
            "softmax",
            [[0.01165623, 0.03168492, 0.08612854, 0.23412166, 0.63640865]],
            [[-0.00510617, 0.01780491, 0.1345273, 0.13156147, -0.27878751]],
        ),
        ("relu", [[0, 0, 2, 0, 4]], [[0, 0, 3, 0, 1]]),
        ("linear", [[22, 28], [4, 4]], [[1, 3, 5], [0, 2, 4]]),
    ],
)
def test_e_prints_the_notebooks_numbers(node: str, y: Any, dL_dx: Any):
    e = results("e")[node]
    np.testing.assert_allclose(e["y"], np.array(y, float), rtol=0, atol=5.01e-9, strict=True)
    np.testing.assert_allclose(
        e["dL_dx"], np.array(dL_dx, float), rtol=0, atol=5.01e-9, strict=True
    )


@pytest.mark.parametrize("node", ["softmax", "relu", "linear", "net"])
def test_e_jacobian_route_equals_the_product(node: str):
    e = results("e")[node]
    close(e["dL_dx_jacobian"], e["dL_dx"])


def test_e_gradients_of_the_rest():
    e = results("e")
    np.testing.assert_array_equal(e["linear"]["dL_dw"], [[-1.0, 1.0], [2.0, 0.0], [5.0, -1.0]])
    np.testing.assert_allclose(
        e["net"]["jacobian"], e["net"]["jacobian_numerical"], rtol=0, atol=1e-9
    )


# -- F ----------------------------------------------------------------------------------------


def test_f_learns_what_it_has_to_remember():
    f = results("f")
    assert f["report"].ok
    assert f["losses"][0] > 1 > 0.3 > f["losses"][-1]
    assert f["right"] == len(f["lines"]) > 5
    assert not any(line in f["before"] for line in f["lines"])
