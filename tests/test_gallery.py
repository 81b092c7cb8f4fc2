"""The examples' pictures: drawn without a display, every axis with its name; none are needed."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_examples import EXAMPLES, load, results

import fastgrad as fg

SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def plt() -> Iterator[Any]:
    """Return pyplot without a window."""
    matplotlib = pytest.importorskip("matplotlib")
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.close("all")
    yield pyplot
    pyplot.close("all")
    matplotlib.use(backend)


def named(plt: Any) -> None:
    """Assert that there is a figure, with data, and that its axes say what they show."""
    assert len(plt.get_fignums()) == 1
    plt.gcf().canvas.draw()
    assert plt.gcf().axes
    for panel in plt.gcf().axes:
        assert panel.has_data() or panel.texts or panel.get_label() == "<colorbar>"
        # Pixels of a heat map have a title instead; panels in a row share the left one's name.
        place = panel.get_subplotspec()
        assert panel.get_xlabel() or panel.get_title() or panel.get_label() == "<colorbar>"
        assert panel.get_ylabel() or panel.get_title() or (place and not place.is_first_col())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_begins_with_its_title(path: Path) -> None:
    """As sphinx-gallery takes it: a line, underlined, and what the script does."""
    title, line, blank, *rest = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")
    assert line == "=" * len(line)
    assert len(line) >= len(title)
    assert blank == ""
    assert "".join(rest)


@pytest.mark.parametrize("letter", list("abcdefg"))
def test_pictures_of_the_notebooks(letter: str, plt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: None)
    module, found = load(letter), results(letter)
    with monkeypatch.context() as without:
        without.setattr(module, "find_spec", lambda name: None)
        module.draw(found)
    assert not plt.get_fignums()
    module.draw(found)
    named(plt)


def run(letter: str, plt: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script that is all cells; return its names."""
    monkeypatch.setattr(plt, "show", lambda: None)
    (path,) = EXAMPLES.glob(f"{letter}_*.py")
    names = runpy.run_path(str(path), run_name="__main__")
    named(plt)
    return names


def test_training_stops_early_and_returns_the_best(
    plt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run("k", plt, monkeypatch)
    images, labels = names["held_out"]
    for dropout, result in zip((0.0, 0.5), names["results"].values(), strict=True):
        assert result.stopped == "early stopping"
        assert len(result.losses) == result.best_epoch + 41 < 150
        net = fg.MLP((64, 200, 10), ("relu", None), "softmax_cross_entropy", dropout=dropout)
        loss = net.value_and_grad(result.params, images, labels)[0]
        np.testing.assert_allclose(loss, result.validation_losses.min(), rtol=1e-6)
        # The last one is worse, while the training loss went on falling.
        assert result.validation_losses[-1] > 1.05 * loss
        assert result.losses[-1] < 0.8 * result.losses[result.best_epoch]


def test_two_hidden_layers_tell_spirals_apart(plt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line, shape = run("l", plt, monkeypatch)["right"].values()
    assert 0.5 < line < 0.8
    assert shape > 0.98


def test_logistic_regression_finds_the_minimum(plt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    names = run("m", plt, monkeypatch)
    x, passed, (w, b) = names["x"], names["passed"], (names["w"], names["b"])
    # The gradient by hand, penalty included.
    slope = (1 / (1 + np.exp(-(x @ w + b))) - passed) / len(x)
    assert np.abs(x.T @ slope + 1e-3 * w).max() < 1e-8
    assert abs(slope.sum()) < 1e-8
    assert names["result"].nfev < 30
    assert 0 < names["descent"][-1] - names["result"].fun < 1e-6


def test_loops_are_slower(plt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = fg.get_num_threads()
    try:
        times = run("n", plt, monkeypatch)["times"]
    finally:
        fg.set_num_threads(threads)
    assert [len(of_size) for of_size in times.values()] == [3, 4, 4]
    for size, slow in times["loops"].items():
        assert slow > 5 * times["fastgrad"][size]
