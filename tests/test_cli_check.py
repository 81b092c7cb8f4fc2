"""``fastgrad check``: exit status, what is printed, and sentences for scripts that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastgrad.command import cli

Capture = pytest.CaptureFixture[str]

SCRIPT = """\
import numpy as np
rng = np.random.default_rng(0)
x, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
params = {"W": rng.normal(size=(3, 2)), "b": np.zeros(2)}

def loss(p):
    return np.mean((x @ p["W"] + p["b"] - target) ** 2)

def gradient(p):
    dy = 2 * (x @ p["W"] + p["b"] - target) / target.size
    return {"dW": x.T @ dy, "db": dy.sum(axis=0)}
"""
RIGHT = SCRIPT + "grads = gradient(params)\n"
WRONG = SCRIPT + "grads = {**gradient(params), 'db': 5 * gradient(params)['db']}\n"


def check(tmp_path: Path, text: str, *arguments: str, name: str = "") -> int:
    path = tmp_path / "train.py"
    path.write_text(text)
    return cli.main(["check", f"{path}{name}", *arguments])


def test_a_right_gradient_exits_with_0(tmp_path: Path, capsys: Capture) -> None:
    assert check(tmp_path, RIGHT) == 0
    assert capsys.readouterr().out.startswith("ok: 2 arrays")


def test_a_wrong_gradient_exits_with_1(tmp_path: Path, capsys: Capture) -> None:
    before = list(sys.path), dict(sys.modules)
    assert check(tmp_path, WRONG) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("WRONG: grads['db'] (factor)")
    assert "5 is the number of samples" in " ".join(printed.out.split()) and printed.err == ""
    assert not list(tmp_path.glob("__pycache__"))
    assert set(sys.modules) - set(before[1]) <= {"train"} and len(sys.path) - len(before[0]) <= 1


def test_what_cannot_be_told_exits_with_1(tmp_path: Path, capsys: Capture) -> None:
    kink = "import numpy as np\nparams = grads = np.zeros(2)\ndef loss(p): return np.abs(p).sum()\n"
    assert check(tmp_path, kink) == 1
    assert capsys.readouterr().out.startswith("INCONCLUSIVE: grads (kink)")


@pytest.mark.parametrize(
    "result", ["loss, params, gradient", "dict(loss=loss, params=params, grads=gradient)"]
)
def test_a_function_that_returns_them(tmp_path: Path, result: str, capsys: Capture) -> None:
    text = f"{SCRIPT}\ndef parts():\n    return {result}\n"
    assert check(tmp_path, text, name=":parts") == 0
    assert capsys.readouterr().out.startswith("ok")


def test_a_network(tmp_path: Path, capsys: Capture) -> None:
    text = SCRIPT + (
        "import fastgrad as fg\n"
        "net = fg.MLP((3, 4, 2), ('tanh', None), 'mse', dtype='float64')\n"
        "def parts():\n"
        "    p = net.init(seed=0)\n"
        "    return net, p, FACTOR * net.value_and_grad(p, x, target)[1], x, target\n"
    )
    assert check(tmp_path, text.replace("FACTOR", "1"), name=":parts") == 0
    assert check(tmp_path, text.replace("FACTOR", "-1"), name=":parts") == 1
    assert "sign" in capsys.readouterr().out
    top = text.replace("FACTOR", "1") + "net, params, grads, x, target = parts()\ndel loss\n"
    assert check(tmp_path, top) == 0


def test_neighbours_of_the_script_are_found_and_its_main_part_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "layers_of_mine.py").write_text("two = 2.0\n")
    text = (
        "from dataclasses import dataclass\nfrom layers_of_mine import two\nimport numpy as np\n"
        "@dataclass\nclass P:\n    a: int\n"
        "params = np.ones(3)\nloss = lambda p: np.sum(p**2)\ngrads = two * params\n"
        "if __name__ == '__main__':\n    raise SystemExit(7)\n"
    )
    try:
        assert check(tmp_path, text) == 0
    finally:
        sys.modules.pop("layers_of_mine", None)


def test_the_picture(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "gradient.png"
    assert check(tmp_path, WRONG, "--plot", str(picture)) == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {picture}" in capsys.readouterr().out


SENTENCES = {
    "params = 1\n": "defines no loss and no grads: it needs loss, params and grads, or net, params",
    "net = params = grads = 1\n": "defines no x and no target: it needs",
    "import numpy\nx = numpy.zeros(3)[7]\n": "train.py:2 in <module>: x = numpy.zeros(3)[7]\n  In",
    "x = (\n": "SyntaxError",
    "raise SystemExit(3)\n": "ended itself (3): put what parses arguments",
    SCRIPT + "grads = {'dW': 1.0}\n": "diagnose: grads has no 'b' or 'db' or 'grad_b'",
    RIGHT + "def loss(p):\n    return p['V']\n": "in loss: return p['V']\n  KeyError: 'V'",
    RIGHT + "loss = 3\n": "diagnose: the first argument is a int",
}


@pytest.mark.parametrize("text", SENTENCES, ids=range(len(SENTENCES)))
def test_scripts_that_cannot_be_checked(text: str, tmp_path: Path, capsys: Capture) -> None:
    assert check(tmp_path, text) == 2
    printed = capsys.readouterr()
    assert SENTENCES[text] in printed.err and printed.out == ""
    assert printed.err.startswith("fastgrad: ") and "Traceback" not in printed.err


@pytest.mark.parametrize(
    "name, sentence",
    [
        (":nothing", "has no nothing: NAME is a function that returns loss, params and grads"),
        (":params", "params is a dict: NAME is a function"),
        (":gradient", "TypeError: gradient() missing 1 required positional argument: 'p'"),
        (":number", "number() returned a int: return loss, params and grads"),
        (":some", "some() returned no grads"),
    ],
)
def test_functions_that_return_something_else(
    name: str, sentence: str, tmp_path: Path, capsys: Capture
) -> None:
    text = SCRIPT + "def number(): return 3\ndef some(): return {'loss': loss, 'params': 1}\n"
    assert check(tmp_path, text, name=name) == 2
    assert sentence in capsys.readouterr().err


def test_bad_arguments(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["check", str(tmp_path / "no.py")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert check(tmp_path, RIGHT, "--seconds", "0") == 2
    assert "'0' is not a number of seconds" in capsys.readouterr().err
    assert check(tmp_path, RIGHT, "--seed", "-1") == 2
    assert "seed is -1" in capsys.readouterr().err
    assert cli.main(["check"]) == 2
