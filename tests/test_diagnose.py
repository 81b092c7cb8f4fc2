"""The report of `diagnose`: true or false, the place first, tables, pictures, errors."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array

import fastgrad as fg
from fastgrad.diagnosis.report import ArrayVerdict, Diagnosis

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))
PARAMS = {"W1": RNG.normal(size=(3, 4)), "b1": RNG.normal(size=4), "W2": RNG.normal(size=(4, 2))}


def loss(p: dict[str, Array]) -> float:
    y = np.tanh(X @ p["W1"] + p["b1"]) @ p["W2"]
    return float(np.mean((y - T) ** 2))


def grads(p: dict[str, Array]) -> dict[str, Array]:
    h = np.tanh(X @ p["W1"] + p["b1"])
    dy = 2 * (h @ p["W2"] - T) / T.size
    dz = dy @ p["W2"].T * (1 - h**2)
    return {"dW1": X.T @ dz, "db1": dz.sum(axis=0), "dW2": h.T @ dy}


def test_a_right_gradient() -> None:
    report = fg.diagnose(loss, PARAMS, grads(PARAMS))
    assert report
    assert report.ok and report.state == "ok" and report.findings == ()
    assert [a.name for a in report.arrays] == ["grads['dW1']", "grads['db1']", "grads['dW2']"]
    assert [a.shape for a in report.arrays] == [(3, 4), (4,), (4, 2)]
    assert all(a.difference <= 1 for a in report.arrays)
    assert str(report).startswith("ok: 3 arrays")


def test_a_wrong_gradient_has_its_place_first() -> None:
    wrong = grads(PARAMS)
    wrong["db1"] = -wrong["db1"]
    report = fg.diagnose(loss, PARAMS, wrong)
    assert not report and report.state == "wrong"
    assert [a.verdict for a in report.arrays] == ["ok", "wrong", "ok"]
    (finding,) = report.findings
    assert (finding.array, finding.kind, finding.layer) == ("grads['db1']", "sign", None)
    assert str(report).splitlines()[0] == "WRONG: grads['db1'] (sign)"
    assert repr(report) == str(report)
    assert max(map(len, str(report).splitlines())) <= 100
    assert finding.evidence.split()[0] in str(report) and finding.hint.split()[0] in str(report)


def test_in_jupyter() -> None:
    wrong = {**grads(PARAMS), "dW2": np.zeros((4, 2))}
    text = fg.diagnose(loss, PARAMS, wrong)._repr_html_()
    assert text.count("<tr>") == 4 and "grads[&#x27;dW2&#x27;]" in text
    assert not re.search(r"<(?!/?(b|i|br|ul|li|table|tr|th|td)>)", text)


def test_the_worst_three_places_are_in_the_first_line() -> None:
    found = tuple(fg.Finding(f"g{i}", "sign", i, "evidence", "hint") for i in range(1, 6))
    report = Diagnosis("wrong", found, ())
    assert str(report).splitlines()[0] == "WRONG: g1 (sign), g2 (sign), g3 (sign), and 2 more"
    assert str(found[0]) == "g1 (layer 1): sign"
    vague = Diagnosis("inconclusive", (), (ArrayVerdict("g", (2,), np.nan, "inconclusive"),))
    assert str(vague).splitlines()[0] == "INCONCLUSIVE: g"
    assert not vague


def test_the_report_of_check_grad_is_of_the_family() -> None:
    x = np.array([1.0, 2.0, 3.0])
    right = np.exp(x)
    for grad, kind, text in (
        (-right, "sign", "Times -1"),
        (3 * right, "factor", "3 is axis 0 of x"),
        (right + 0.1 * x, "penalty l2 too much", "0.1 * x"),
        (right + np.eye(3)[1], "some entries", "1 of 3 entries are wrong"),
        (0 * right, "zero", "reach 20.1"),
        (right * [1, np.nan, 1], "not finite", "the first one at [1]"),
    ):
        (finding,) = fg.check_grad(lambda x: np.sum(np.exp(x)), grad, x).findings
        assert (finding.array, finding.kind) == ("grad", kind) and text in finding.evidence
        assert finding.hint
    assert fg.check_grad(lambda x: np.sum(x**2), [2.0, 4.0], [1.0, 2.0]).findings == ()
    assert fg.check_grad(lambda x: np.abs(x).sum(), [0.0], [0.0]).findings == ()


def test_pytest_shows_the_report_when_an_assert_fails(tmp_path: Path) -> None:
    """All of it, line by line: of another repr it shows 240 characters in one line."""
    test = tmp_path / "test_mine.py"
    test.write_text(
        "import numpy as np\nimport fastgrad as fg\n"
        "def test_gradient():\n"
        "    params = {k: np.ones(3) + i for i, k in enumerate(['a', 'b', 'c', 'd'])}\n"
        "    grads = {k: -2 * p for k, p in params.items()}\n"
        "    f = lambda p: sum(np.sum(a**2) for a in p.values())\n"
        "    assert fg.diagnose(f, params, grads)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    lines = [line.removeprefix("E").strip() for line in shown.stdout.splitlines()]
    params = {k: np.ones(3) + i for i, k in enumerate("abcd")}
    report = fg.diagnose(
        lambda p: sum(np.sum(a**2) for a in p.values()),
        params,
        {k: -2 * p for k, p in params.items()},
    )
    for line in str(report).splitlines()[1:-1]:
        assert line.strip() in lines, shown.stdout
    assert any("WRONG: grads['d'] (sign), grads['c'] (sign)" in line for line in lines)


def test_the_repr_is_the_text() -> None:
    report = fg.diagnose(loss, PARAMS, {**grads(PARAMS), "dW2": np.zeros((4, 2))})
    text = repr(report)
    assert text == str(report) and text.splitlines() == str(report).splitlines()
    assert text.replace("a", "b") == str(report).replace("a", "b")
    assert f"{text:>3}" == str(report) and text.encode() == str(report).encode()


# -- the picture -----------------------------------------------------------------------------------


def test_a_panel_for_each_array() -> None:
    pytest.importorskip("matplotlib")
    wrong = grads(PARAMS)
    wrong["dW1"][1, 2] *= 3
    figure = fg.diagnose(loss, PARAMS, wrong).plot()
    panels = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in panels] == [
        "grads['dW1'] (3, 4)",
        "grads['db1'] (4,)",
        "grads['dW2'] (4, 2)",
    ]
    image = panels[0].images[0].get_array()
    assert image.shape == (3, 4) and np.argmax(image) == 6
    figure.canvas.draw()


def test_what_was_not_looked_at_is_left_out_of_the_picture() -> None:
    pytest.importorskip("matplotlib")
    relative = np.full((5, 7), np.nan)
    relative[np.ix_([1, 3], [0, 2, 6])] = [[0, 1e-3, 1], [2, 1e-20, np.inf]]
    seen = ArrayVerdict("g", (5, 7), 2.0, "wrong", relative)
    unseen = ArrayVerdict("h", (3,), np.nan, "wrong")
    figure = Diagnosis("wrong", (), (seen, unseen)).plot()
    (image,) = [image for axis in figure.axes for image in axis.images][:1]
    assert np.asarray(image.get_array()).shape == (2, 3)
    figure.canvas.draw()


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    report = fg.diagnose(loss, PARAMS, grads(PARAMS))
    there = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'fastgrad\[plot\]'"):
        report.plot()


# -- networks and errors ---------------------------------------------------------------------------


def test_a_network() -> None:
    net = fg.MLP((3, 4, 2), ("tanh", None), "mse", dtype="float64")
    params = net.init(seed=0)
    grad = net.value_and_grad(params, X, T)[1]
    assert fg.diagnose(net, params, grad, x=X, target=T)
    assert not fg.diagnose(net, params, 2 * grad, x=X, target=T)


def test_errors() -> None:
    right = grads(PARAMS)
    net = fg.MLP((3, 4, 2), ("tanh", None), "mse", dtype="float64")
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: fg.diagnose(3, PARAMS, right), TypeError, "the first argument is a int"),  # type: ignore[arg-type]
        (lambda: fg.diagnose(loss, PARAMS, right, seconds=0), ValueError, "seconds is 0"),
        (lambda: fg.diagnose(loss, PARAMS, right, seed=-1), ValueError, "seed is -1"),
        (lambda: fg.diagnose(loss, PARAMS, {"dW1": right["dW1"]}), ValueError, "has no 'b1'"),
        (lambda: fg.diagnose(net, net.init(), net.init(), x=X), TypeError, "target is None"),
    ]
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()
