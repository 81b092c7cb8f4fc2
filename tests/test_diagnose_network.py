"""The gradient doctor of a network: its words, the line that mends, forms of scripts, callables."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_gradients as scripts

import fastgrad as fg
from fastgrad import reference
from fastgrad.diagnosis.network.forward import FORWARD
from fastgrad.diagnosis.network.mistakes import MISTAKES
from fastgrad.diagnosis.report import Diagnosis


def test_a_wrong_value_alone() -> None:
    case, mlp = scripts.case_of(next(n for n in scripts.NETS if n.name == "b-samples"), "float64")
    grads, (_, ys) = scripts.gradient(case), scripts.forward(case, case.params, {})
    right = scripts.value_of(case, ys[-1], {})
    assert scripts.diagnose(case, mlp, grads, value=right)
    penalty = 0.03 / 2 * sum((a**2).sum() for n, a in case.params.items() if n[0] == "W")
    for value, words in (
        (right - penalty, "without the penalty"),
        (right + penalty, "l * sum(w**2) for l / 2"),
        (right * case.net.n, "the sum where the division by 12 belongs"),
        (right * 1.2345, "these parameters give"),
    ):
        report = scripts.diagnose(case, mlp, grads, value=value)
        assert [f.array for f in report.findings] == ["value"]
        assert words in report.findings[0].evidence


def test_an_intermediate_that_nothing_explains_is_placed() -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")
    zs, ys = scripts.forward(case, case.params, {})
    zs[2] = zs[2] + np.arange(zs[2].size).reshape(zs[2].shape)
    seen = {"z1": zs[1], "a1": ys[1], "z2": zs[2]}
    report = scripts.diagnose(case, mlp, scripts.gradient(case), intermediates=seen)
    assert (report.findings[0].array, report.findings[0].kind) == ("z2", "unexplained")


def test_an_intermediate_of_the_way_back_tells_equal_mistakes_apart() -> None:
    case, mlp = scripts.case_of(next(n for n in scripts.NETS if n.name == "d"), "float64")
    _, ys = scripts.forward(case, case.params, {})
    g = scripts.loss_gradient(case, ys[-1], None)
    for wrong, dz, kind in (
        ({"weights 1": "da"}, g * ys[1] * (1 - ys[1]), "da for dz"),
        ({"activation 1": "left out"}, g, "activation' left out"),
    ):
        grads = scripts.gradient(case, wrong)
        report = scripts.diagnose(case, mlp, grads, intermediates={"dz1": dz})
        assert [f.kind for f in report.findings] == [kind]
        others = scripts.diagnose(case, mlp, grads).findings[0].evidence
        assert "The same numbers" in others


def test_da_tells_a_mistake_in_the_loss_from_one_in_the_activation() -> None:
    """A doubled cross-entropy, and the squared error without softmax', both have 2 (p - t) / n."""
    rng = np.random.default_rng(3)
    x, target = rng.standard_normal((7, 4)), np.eye(3)[rng.integers(0, 3, 7)]
    net = fg.MLP((4, 3), ("softmax",), "mse", "samples", dtype="float64")
    W, b = rng.standard_normal((4, 3)), rng.standard_normal(3)
    e = np.exp(x @ W + b)
    p = e / e.sum(axis=1, keepdims=True)
    dz = 2 * (p - target) / 7
    grads = [(x.T @ dz, dz.sum(axis=0))]
    said = {}
    for name, da in (("neither", None), ("activation", dz), ("loss", -2 * target / p / 7)):
        seen = None if da is None else {"da1": da}
        report = fg.diagnose(net, [(W, b)], grads, x=x, target=target, intermediates=seen)
        said[name] = [f.kind for f in report.findings]
        report = fg.diagnose(
            net, [(W, b)], grads, x=x, target=target, intermediates={**(seen or {}), "dz1": dz}
        )
        assert said[name] == [f.kind for f in report.findings]
    assert said["neither"] == said["activation"] == ["activation' left out"]
    assert said["loss"] == ["another loss", "factor"]


def test_what_lies_before_an_unexplained_dz_is_judged_given_it() -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")
    p, (_, ys) = case.params, scripts.forward(case, case.params, {})
    dz = {3: 2 * (ys[3] - case.target) / case.target.size}
    dz[2] = (p["W3"].T @ dz[3]) * np.cos(np.arange(40.0)).reshape(4, 10)
    dz[1] = p["W2"].T @ dz[2]  # and without the derivative of tanh
    grads = {f"dW{i}": dz[i] @ ys[i - 1].T for i in dz}
    grads |= {f"db{i}": dz[i].sum(axis=1, keepdims=True) for i in dz}
    grads["db2"] = dz[2].mean(axis=1, keepdims=True)
    report = scripts.diagnose(case, mlp, grads, intermediates={"dz2": dz[2]})
    said = [(f.kind, f.layer) for f in report.findings]
    assert said == [("unexplained", 2), ("mean for sum", 2), ("activation' left out", 1)]
    assert "dz2 is not what its lines give" in report.findings[0].evidence
    assert "was not judged" in str(scripts.diagnose(case, mlp, grads))


# -- dropout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backward", "details"),
    [
        (lambda g, m: g * m, None),
        (lambda g, m: g, "missing"),
        (lambda g, m: g * (m > 0), "without its scale"),
        (lambda g, m: g * m * m, "scaled twice"),
    ],
)
def test_dropout_masks(backward: Any, details: str | None) -> None:
    rng = np.random.default_rng(5)
    W1, W2 = rng.standard_normal((4, 6)), rng.standard_normal((6, 2))
    x, target = rng.standard_normal((9, 4)), rng.standard_normal((9, 2))
    mask = (rng.uniform(size=(9, 6)) < 0.6) / 0.6
    y1 = np.tanh(x @ W1)
    a1 = y1 * mask
    dz2 = 2 * (a1 @ W2 - target) / target.size
    dz1 = backward(dz2 @ W2.T, mask) * (1 - y1**2)
    net = fg.MLP((4, 6, 2), ("tanh", None), "mse", bias=False, dtype="float64")
    grads = [x.T @ dz1, a1.T @ dz2]
    report = fg.diagnose(net, [W1, W2], grads, x=x, target=target, intermediates={"mask1": mask})
    if details is None:
        assert report
    else:
        assert [f.kind for f in report.findings] == ["dropout mask"]
        assert details in report.findings[0].evidence


# -- gradients that are computed by a callable ----------------------------------------------------


def of_callable(make: Any) -> Diagnosis:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")

    def grads(params: Any, wrong: Any = None, before: Any = None) -> Any:
        own = scripts.wide(case)
        own.params, own.before = params, before or {}
        return scripts.gradient(own, wrong)

    x = case.x.copy()
    return fg.diagnose(mlp, case.params, make(grads, x), x=x, target=case.target)


def test_a_callable_that_keeps_nothing_is_right() -> None:
    assert of_callable(lambda grads, x: grads)


def test_gradients_that_add_up() -> None:
    total: dict[str, Any] = {}

    def make(grads: Any, x: Any) -> Any:
        def adding(params: Any) -> Any:
            for name, array in grads(params).items():
                total.setdefault(name, np.zeros_like(array))[...] += array  # in one buffer
            return total

        return adding

    report = of_callable(make)
    assert [f.kind for f in report.findings] == ["added up"]


@pytest.mark.parametrize("place", ["weights 2", "weights 3", "activation 1", "activation 2"])
def test_caches_of_the_call_before(place: str) -> None:
    kept: dict[str, Any] = {}

    def make(grads: Any, x: Any) -> Any:
        def stale(params: Any) -> Any:
            found = grads(params, {place: "stale"}, kept.get("params"))
            kept["params"] = {name: array.copy() for name, array in params.items()}
            return found

        return stale

    report = of_callable(make)
    assert [(f.kind, f.layer) for f in report.findings] == [("stale cache", int(place[-1]))]


def test_one_call_behind() -> None:
    kept: dict[str, Any] = {}

    def make(grads: Any, x: Any) -> Any:
        def behind(params: Any) -> Any:
            found = grads(kept.get("params", params))
            kept["params"] = {name: array.copy() for name, array in params.items()}
            return found

        return behind

    report = of_callable(make)
    assert [f.kind for f in report.findings] == ["step before"]


def test_arrays_that_a_call_changes() -> None:
    def make(grads: Any, x: Any) -> Any:
        def updating(params: Any) -> Any:
            found = grads(params)
            for name in params:
                params[name] -= 0.1 * found[f"d{name}"]
            x[...] *= 2.0
            return found

        return updating

    case, _ = scripts.case_of(scripts.NETS[2], "float64")
    before = {name: array.copy() for name, array in case.params.items()}
    report = of_callable(make)
    assert [(f.array, f.kind) for f in report.findings] == [
        ("params", "params changed"),
        ("x", "input changed"),
    ]
    for name, array in before.items():
        np.testing.assert_array_equal(case.params[name], array)


# -- the forms of parameters and gradients --------------------------------------------------------


def forms(grads: dict[str, Any], params: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    p, g = params, grads
    yield "pairs", [(p["W1"], p["b1"]), (p["W2"], p["b2"])], [
        (g["dW1"], g["db1"]), (g["dW2"], g["db2"])
    ]  # fmt: skip
    yield "one list", [p["W1"], p["b1"], p["W2"], p["b2"]], [
        g["dW1"], g["db1"], g["dW2"], g["db2"]
    ]  # fmt: skip
    yield "weights first", [p["W1"], p["W2"], p["b1"], p["b2"]], [
        g["dW1"], g["dW2"], g["db1"], g["db2"]
    ]  # fmt: skip
    yield "from zero", {"w0": p["W1"], "w1": p["W2"], "b0": p["b1"], "b1": p["b2"]}, {
        "grad_w0": g["dW1"], "grad_w1": g["dW2"], "grad_b0": g["db1"], "grad_b1": g["db2"]
    }  # fmt: skip
    yield "nested", {
        "layer1": {"weight": p["W1"], "bias": p["b1"]},
        "layer2": {"weight": p["W2"], "bias": p["b2"]},
    }, {
        "layer1": {"weight": g["dW1"], "bias": g["db1"]},
        "layer2": {"weight": g["dW2"], "bias": g["db2"]},
    }  # fmt: skip
    flat = np.concatenate([p[k].ravel() for k in ("W1", "b1", "W2", "b2")])
    yield "flat", flat, np.concatenate([g[k].ravel() for k in ("dW1", "db1", "dW2", "db2")])
    yield "flat, and a dict", flat, g


@pytest.mark.parametrize("name", ["c", "classes-l2"])
def test_all_forms_of_a_script(name: str) -> None:
    net = next(n for n in scripts.NETS if n.name == name)
    case, mlp = scripts.case_of(net, "float64")
    for wrong, kind in (({}, None), ({"bias 2": "mean"}, "mean for sum")):
        for form, params, grads in forms(scripts.gradient(case, wrong), case.params):
            report = fg.diagnose(mlp, params, grads, x=case.x, target=case.target)
            said = [(f.kind, f.layer) for f in report.findings]
            assert said == ([] if kind is None else [(kind, 2)]), f"{form}: {report}"


def test_what_is_refused() -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")
    p, g, data = case.params, scripts.gradient(case), {"x": case.x, "target": case.target}
    for params, grads, more, error, text in (
        (p, g, {"target": case.target}, TypeError, "diagnose: x is None"),
        (p, g, {"x": case.x}, TypeError, "diagnose: target is None"),
        (p["W1"], g, data, ValueError, "diagnose: params has shape (5, 3) but the network has 54"),
        ({**p, "W1": p["W2"]}, g, data, ValueError, "the network needs W1 (5, 3), b1 (5, 1)"),
        (p, {**g, "dW1": g["dW2"]}, data, ValueError, "has shape (4, 5) but W1 has shape (5, 3)"),
        (p, {**g, "dz1": 1}, data, ValueError, "grads['dz1'] is the gradient of nothing"),
        (p, g, {**data, "intermediates": {"h": 1}}, ValueError, "intermediates has 'h'"),
        (p, g, {**data, "intermediates": {"z9": 1}}, ValueError, "intermediates has 'z9'"),
        (p, g, {**data, "intermediates": {"z1": case.x}}, ValueError, "but layer 1 has shape"),
        (p, g, {**data, "intermediates": 3}, TypeError, "intermediates is a int"),
        (p, g, {**data, "x": case.x * np.inf}, ValueError, "give finite params, x and target"),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            fg.diagnose(mlp, params, grads, **more)
        assert text in str(caught.value), caught.value


# -- words ----------------------------------------------------------------------------------------


def test_a_sentence_says_how_exactly_and_what_comes_next() -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")
    report = scripts.diagnose(case, mlp, scripts.gradient(case, {"activation 1": "left out"}))
    (finding,) = report.findings
    assert finding.array == "grads['dW1']"
    assert finding.layer == 1
    assert "dz1 without the derivative of tanh" in finding.evidence
    exactness = float(finding.evidence.split("numbers to ")[1].split(";")[0])
    assert exactness < 1e-14
    assert float(finding.evidence.split("differs by ")[1].split(".  ")[0].rstrip(".")) > 0.01
    assert finding.hint == "dz1 = da1 * (1 - a1**2)"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no penalty", "left out"),
        ("twice", "added twice"),
        ("half", "halved"),
        ("penalty / n", "divided by the 12 samples"),
    ],
)
def test_penalties_by_name(how: str, words: str) -> None:
    case, mlp = scripts.case_of(next(n for n in scripts.NETS if n.name == "b-samples"), "float64")
    (finding,) = scripts.diagnose(case, mlp, scripts.gradient(case, {"weights 2": how})).findings
    assert (finding.kind, finding.layer) == ("penalty", 2)
    assert f"dW2 with the penalty {words}" in finding.evidence
    assert finding.hint == "dW2 = dz2 @ a1.T + 0.03 * W2"


def test_weights_that_are_not_transposed() -> None:
    case, mlp = scripts.case_of(next(n for n in scripts.NETS if n.name == "b-samples"), "float64")
    grads = scripts.gradient(case, {"input 3": "not transposed"})
    (finding,) = scripts.diagnose(case, mlp, grads).findings
    assert (finding.kind, finding.layer) == ("weights not transposed", 2)
    assert finding.hint == "da2 = W3.T @ dz3"


def test_gradients_without_an_explanation_are_related() -> None:
    net = next(n for n in scripts.NETS if n.name == "classes")
    case, mlp = scripts.case_of(net, "float64")
    right = scripts.gradient(case)
    dW = right["dW2"]
    for wrong, words in (
        (dW * np.linspace(0.3, 2.7, dW.shape[1]), "Each output has a factor of its own"),
        (dW * np.linspace(0.3, 2.7, dW.shape[0])[:, None], "Each input has a factor of its own"),
        (dW + np.outer(dW[:, 1], dW[2] + 1), "an outer product of two vectors"),
        (dW + np.eye(5), "5 of 25 entries differ"),
    ):
        report = scripts.diagnose(case, mlp, right | {"dW2": wrong})
        assert [(f.array, f.kind) for f in report.findings] == [("grads[1][0]", "unexplained")]
        assert words in report.findings[0].evidence
        assert report.findings[0].hint == "dW2 = a1.T @ dz2"


@pytest.mark.parametrize("array", ["dW2", "db1"])
def test_entries_that_are_not_finite(array: str) -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float64")
    grads = scripts.gradient(case)
    grads[array] = grads[array].copy()
    grads[array][0, 0] = np.nan
    (finding,) = scripts.diagnose(case, mlp, grads).findings
    assert (finding.array, finding.kind) == (f"grads['{array}']", "not finite")
    assert "1 entries that are NaN" in finding.evidence


# -- the mending lines -----------------------------------------------------------------------------

LOSS_LINES = {
    "mse": "dz2 = 2 * (a2 - target) / a2.size",
    "binary_cross_entropy_with_logits": "dz2 = (1 / (1 + np.exp(-a2)) - target) / a2.size",
}
ROWS = """\
z1 = x @ W1 + b1
a1 = np.tanh(z1)
z2 = a1 @ W2 + b2
a2 = z2
LOSS
dW2 = a1.T @ dz2 + 0.01 * W2
db2 = dz2.sum(axis=0)
da1 = dz2 @ W2.T
dz1 = da1 * (1 - a1**2)
dW1 = x.T @ dz1 + 0.01 * W1
db1 = dz1.sum(axis=0)
"""
COLUMNS = """\
z1 = W1 @ x + b1
a1 = 1 / (1 + np.exp(-z1))
z2 = W2 @ a1 + b2
a2 = z2
LOSS
dW2 = dz2 @ a1.T
db2 = dz2.sum(axis=1, keepdims=True)
da1 = W2.T @ dz2
dz1 = da1 * a1 * (1 - a1)
dW1 = dz1 @ x.T
db1 = dz1.sum(axis=1, keepdims=True)
"""
# What a script has in place of a right line.
WRONG_LINES = [
    (ROWS, "mse", "LOSS", "dz2 = 2 * (a2 - target)"),
    (ROWS, "mse", "LOSS", "dz2 = np.full(a2.shape, np.mean(2 * (a2 - target)))"),
    (ROWS, "mse", "LOSS", "dz2 = 2 * (target - a2) / a2.size"),
    (ROWS, "mse", "dW2 = a1.T @ dz2 + 0.01 * W2", "dW2 = a1.T @ dz2"),
    (ROWS, "mse", "dW2 = a1.T @ dz2 + 0.01 * W2", "dW2 = z1.T @ dz2 + 0.01 * W2"),
    (ROWS, "mse", "db2 = dz2.sum(axis=0)", "db2 = dz2[0]"),
    (ROWS, "mse", "db1 = dz1.sum(axis=0)", "db1 = dz1.mean(axis=0)"),
    (ROWS, "mse", "db1 = dz1.sum(axis=0)", "db1 = dz1"),
    (ROWS, "mse", "dz1 = da1 * (1 - a1**2)", "dz1 = da1"),
    (ROWS, "mse", "dz1 = da1 * (1 - a1**2)", "dz1 = da1 * (1 - z1**2)"),
    (ROWS, "mse", "da1 = dz2 @ W2.T", "da1 = dz2 @ (W2 - 0.5 * dW2).T"),
    (ROWS, "mse", "a1 = np.tanh(z1)", "a1 = np.maximum(z1, 0)"),
    (COLUMNS, "binary_cross_entropy_with_logits", "LOSS",
     "dz2 = (1 / (1 + np.exp(-a2))) / a2.size"),
    (COLUMNS, "binary_cross_entropy_with_logits", "LOSS",
     "p = 1 / (1 + np.exp(-a2)); dz2 = p * (1 - p) * (p - target) / a2.size"),
    (COLUMNS, "mse", "dW1 = dz1 @ x.T", "dW1 = dz1[:, :1] @ x[:, :1].T"),
    (COLUMNS, "mse", "db2 = dz2.sum(axis=1, keepdims=True)", "db2 = dz2[:, -1:]"),
    (COLUMNS, "mse", "dz1 = da1 * a1 * (1 - a1)", "dz1 = da1 * z1 * (1 - z1)"),
    (COLUMNS, "mse", "a1 = 1 / (1 + np.exp(-z1))", "a1 = 1 / (1 + np.exp(z1))"),
    (COLUMNS, "mse", "z1 = W1 @ x + b1", "z1 = W1 @ x"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "loss", "right", "wrong"), WRONG_LINES)
def test_the_line_that_is_printed_mends_the_script(
    script: str, loss: str, right: str, wrong: str
) -> None:
    rng = np.random.default_rng(11)
    columns = script is COLUMNS
    names: dict[str, Any] = {
        "W1": rng.standard_normal((3, 4)), "b1": rng.standard_normal(4),
        "W2": rng.standard_normal((4, 2)), "b2": rng.standard_normal(2),
        "x": rng.standard_normal((8, 3)), "target": rng.integers(0, 2, (8, 2)).astype(float),
    }  # fmt: skip
    if columns:
        names = {k: a[:, None] if a.ndim == 1 else a.T.copy() for k, a in names.items()}
    net = fg.MLP(
        (3, 4, 2), ("sigmoid" if columns else "tanh", None), loss, dtype="float64",
        samples="columns" if columns else "rows", l2=0.0 if columns else 0.01,
    )  # fmt: skip
    params = {key: names[key] for key in ("W1", "b1", "W2", "b2")}

    def diagnosed(lines: str) -> Diagnosis:
        space = {"np": np, "fg": fg, **names}
        exec(lines.replace("LOSS", LOSS_LINES[loss]), space)
        grads = {f"d{key}": space[f"d{key}"] for key in params}
        return fg.diagnose(net, params, grads, x=names["x"], target=names["target"])

    assert diagnosed(script)
    broken = script.replace(right, wrong)
    report = diagnosed(broken)
    (finding,) = report.findings
    assert diagnosed(broken.replace(wrong, finding.hint)), finding


def test_a_large_batch_in_float32_is_not_explained_by_its_rounding() -> None:
    """The sum of 3,000 samples cancels; a bound that grows with them would fit anything."""
    rng = np.random.default_rng(0)
    net = fg.MLP((50, 20, 5), ("tanh", None), "softmax_cross_entropy", dtype="float32")
    twin = reference.MLP((50, 20, 5), ("tanh", None), "softmax_cross_entropy", dtype="float32")
    params = net.init(0)
    x = rng.standard_normal((3000, 50)).astype(np.float32)
    target = rng.integers(0, 5, 3000)
    grad = twin.value_and_grad(params, x, target)[1]
    assert fg.diagnose(net, params, grad, x=x, target=target)
    net.layers(grad)[1].w[...] *= rng.uniform(0.5, 2.0, (20, 5))
    (finding,) = fg.diagnose(net, params, grad, x=x, target=target).findings
    assert (finding.array, finding.kind) == ("dW2", "unexplained")


@pytest.mark.parametrize("factor", [1 / 64, 1 / 640])
def test_what_is_small_is_not_zero(factor: float) -> None:
    """In float32 the kinks of relu make bounds as large as a gradient divided by the batch."""
    rng = np.random.default_rng(0)
    net = fg.MLP((300, 50, 10), ("relu", None), "softmax_cross_entropy", dtype="float32")
    twin = reference.MLP((300, 50, 10), ("relu", None), "softmax_cross_entropy", dtype="float32")
    params = net.init(0)
    x, target = rng.standard_normal((64, 300)).astype(np.float32), rng.integers(0, 10, 64)
    right = twin.value_and_grad(params, x, target)[1]
    for slot in ("all", "b"):
        grad = right.copy()
        layers = net.layers(grad)
        if slot == "all":
            grad *= np.float32(factor)
        else:
            layers[0].b[...] *= np.float32(factor)
        (finding,) = fg.diagnose(net, params, grad, x=x, target=target).findings
        assert finding.kind in ("factor", "mean for sum"), finding


# -- the page and the example ---------------------------------------------------------------------


def test_the_page_has_every_kind() -> None:
    page = (Path(__file__).parent.parent / "docs" / "my_gradient_is_wrong.md").read_text()
    kinds = {m.kind for m in MISTAKES} | {m.kind for m in FORWARD}
    kinds |= {"sum for mean", "mean for sum", "sign", "factor", "zero", "not finite", "swapped"}
    kinds |= {"stale cache", "step before", "unexplained", "loss's value", "not summed", "shape"}
    kinds |= {"params changed", "input changed"}
    assert not [kind for kind in kinds if f"`{kind}`" not in page]


def test_the_notebooks_mistakes_are_found() -> None:
    path = Path(__file__).parent.parent / "examples" / "g_my_gradient_is_wrong.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = {
        name: [(f.array, f.kind, f.layer) for f in report.findings]
        for name, report in module.main().items()
    }
    assert said == {
        "none": [],
        "averaged": [("grads['dW2']", "loss averaged", 2)],
        "bias": [("grads['db2']", "not summed", 2), ("grads['db1']", "not summed", 1)],
        "at Z = 0": [],
        "elsewhere": [("a1", "activation flipped", 1)],
    }


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "n", "limit"), [((4, 5, 5, 3), 16, 0.020), ((784, 100, 10), 64, 0.5)]
)
def test_a_diagnosis_takes_milliseconds(sizes: tuple[int, ...], n: int, limit: float) -> None:
    """In processor time, the best of some: other processes share the machine."""
    rng = np.random.default_rng(0)
    acts = ("tanh",) * (len(sizes) - 2) + (None,)
    net = fg.MLP(sizes, acts, "softmax_cross_entropy", dtype="float64")
    twin = reference.MLP(sizes, acts, "softmax_cross_entropy", dtype="float64")
    params = net.init(0)
    x, target = rng.standard_normal((n, sizes[0])), rng.integers(0, sizes[-1], n)
    _, grad = twin.value_and_grad(params, x, target)
    right = grad
    for wrong in ("", "layer 1", "bias", "last layer"):
        grad = right.copy()
        first, *_, last = net.layers(grad)
        if wrong == "layer 1":
            first.w[...] *= -1.0
            first.b[...] *= -1.0
        elif wrong == "bias":
            last.b[...] /= n
        elif wrong == "last layer":
            grad *= n
        spent = []
        for _ in range(5):
            start = time.process_time()
            report = fg.diagnose(net, params, grad, x=x, target=target)
            spent.append(time.process_time() - start)
        assert bool(report) == (not wrong)
        assert min(spent) <= limit, f"{wrong}: {min(spent)} s"
