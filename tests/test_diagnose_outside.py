"""`diagnose` of any loss: every relation at every array, what calls show, large arrays, kinks."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

import mistakes
import numpy as np
import pytest
from conftest import Array

import fastgrad as fg
from fastgrad.diagnosis import look, outside
from fastgrad.gradcheck.relations import TABLE

RNG = np.random.default_rng(5)
W, B = RNG.normal(size=(3, 3)), RNG.normal(size=3)
X, T = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))


def loss(p: dict[str, Array]) -> float:
    return float(np.mean((np.tanh(X @ p["W"] + p["b"]) - T) ** 2))


def grads(p: dict[str, Array]) -> dict[str, Array]:
    y = np.tanh(X @ p["W"] + p["b"])
    dz = 2 * (y - T) / T.size * (1 - y**2)
    return {"dW": X.T @ dz, "db": dz.sum(axis=0)}


PARAMS = {"W": W, "b": B}


@pytest.fixture(autouse=True)
def no_other_process_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets are of this process's own time, so that a busy machine does not change results."""
    monkeypatch.setattr(look, "monotonic", time.process_time)
    monkeypatch.setattr(outside, "monotonic", time.process_time)


# -- the corpus ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_mistake_at_every_array_is_placed_and_named(dtype: str, number: int) -> None:
    """All placed rightly, and named; of float32 every fourth one, of which 98 % are named."""
    script = mistakes.scripts(dtype)[number]
    right = fg.diagnose(script.loss, script.params, script.wrap(script.grads))
    assert right, str(right)
    unnamed, count = [], 0
    for case in list(mistakes.cases(script))[:: 1 if dtype == "float64" else 4]:
        report = fg.diagnose(
            script.loss, script.params, case.grads, x=script.x, target=script.target
        )
        wrong = [i for i, array in enumerate(report.arrays) if array.verdict != "ok"]
        assert wrong == sorted(case.places), (case.name, str(report))
        count += 1
        named = {f.array: f.kind for f in report.findings}
        if any(named.get(report.arrays[i].name) != case.kind for i in case.places):
            unnamed.append((case.name, named))
    assert len(unnamed) <= (0 if dtype == "float64" else 0.02 * count), unnamed


def test_the_corpus_is_large_and_has_every_relation() -> None:
    every = [case for script in mistakes.scripts("float64") for case in mistakes.cases(script)]
    assert len(every) >= 400
    kinds = {case.kind for case in every}
    assert len(kinds) >= 16 and len(TABLE) == 12


def test_another_mistake_in_each_array() -> None:
    script = mistakes.scripts("float64")[1]
    names = ["sign", "l2 missing", "transposed", "zero", "per row", "times n"]
    right = [g.copy() for g in script.grads]
    kinds = []
    for i, name in enumerate(names):
        kind, plant = mistakes.MISTAKES[name]
        planted = plant(script, list(script.params.values()), script.grads, i)
        assert planted is not None
        right[i] = planted[0][1]
        kinds.append(kind)
    report = fg.diagnose(script.loss, script.params, script.wrap(right))
    found = {f.array: f.kind for f in report.findings}
    assert [found[a.name] for a in report.arrays] == kinds


def test_factors_have_names() -> None:
    x, t = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
    w = RNG.normal(size=(3, 2))

    def mean(w: Array) -> float:
        return float(np.mean((x @ w - t) ** 2))

    dw = x.T @ (x @ w - t)
    for times, text in (
        (40, "40 times the right gradient, to"),
        (40, "40 is the number of samples"),
        (1 / 40, "1/40 times"),
        (80, "80 is the number of elements of target"),
        (0.1, "0.1 times"),
        (-3, "-3 times"),
        (0.7311, "0.7311 times"),
    ):
        (finding,) = fg.diagnose(mean, w, dw * (times / 40), x=x, target=t).findings
        assert finding.kind == "factor" and text in finding.evidence, finding.evidence
    report = fg.diagnose(
        lambda p: mean(p["w1"]) + mean(p["w2"]), {"w1": w, "w2": w}, {"w1": dw, "w2": dw}
    )
    assert [f.array for f in report.findings] == ["grads['w2']", "grads['w1']"]
    assert "The same as in grads['w2']" in report.findings[1].hint


def test_one_number_is_always_a_multiple_of_another() -> None:
    """So a factor is named only if somebody may have written it."""
    for given, kind in ((8.0, "factor"), (-4.0, "sign"), (5.1234567, "unknown")):
        (finding,) = fg.diagnose(lambda p: np.sum(p**2), np.array([2.0]), [given]).findings
        assert finding.kind == kind


def test_a_factor_beside_another() -> None:
    """An averaged bias in a gradient that is n * k times too large everywhere."""
    x, t = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
    params = {"W": RNG.normal(size=(3, 2)), "b": np.zeros(2)}

    def f(p: dict[str, Array]) -> float:
        return float(np.mean((x @ p["W"] + p["b"] - t) ** 2))

    dy = 2 * (x @ params["W"] - t)
    report = fg.diagnose(f, params, {"W": x.T @ dy, "b": dy.mean(axis=0)}, x=x, target=t)
    found = {finding.array: finding for finding in report.findings}
    hints = found["grads['W']"].hint + found["grads['b']"].hint
    assert "Beside the factor of grads['b'] it is 8 (8 is the number of samples)" in hints


def test_the_hints_mend() -> None:
    """What a hint says, done to the gradient, makes the next diagnosis ok."""
    script = mistakes.scripts("float64")[0]
    params = script.params
    for name in ("times n", "over n", "twice", "l2 missing", "l2 too much", "l1 missing", "sign"):
        for case in mistakes.cases(script):
            if case.name != name:
                continue
            (finding,) = fg.diagnose(
                script.loss, params, case.grads, x=script.x, target=script.target
            ).findings
            grads: dict[str, Array] = dict(case.grads)
            place, hint = finding.array, finding.hint
            wrong = eval(place)
            if found := re.match(r"Divide by (\d+):", hint):
                mended = wrong / int(found[1])
            elif found := re.match(r"It is divided by (\d+) too often", hint):
                mended = wrong * int(found[1])
            elif found := re.match(r"Add (.+?): ", hint):
                mended = wrong + eval(found[1])
            elif found := re.match(r"Take (.+?) out of it", hint):
                mended = wrong - eval(found[1])
            else:
                assert hint.startswith("Turn a sign")
                mended = -wrong
            key = re.findall(r"'(\w+)'", place)[0]
            assert fg.diagnose(script.loss, params, {**grads, key: mended}), (case.name, hint)


# -- calls -----------------------------------------------------------------------------------------


def test_a_function_of_the_gradients() -> None:
    assert fg.diagnose(loss, PARAMS, grads)
    assert fg.diagnose(loss, PARAMS, lambda p: (loss(p), grads(p)))
    assert not fg.diagnose(loss, PARAMS, lambda p: {"dW": -grads(p)["dW"], "db": grads(p)["db"]})


def test_a_loss_that_is_random() -> None:
    rng = np.random.default_rng(0)
    report = fg.diagnose(lambda p: loss(p) * rng.uniform(0.9, 1.1), PARAMS, grads(PARAMS))
    assert report.state == "inconclusive"
    assert (report.findings[0].array, report.findings[0].kind) == (
        "loss",
        "not the same in two calls",
    )


def test_a_loss_that_drifts() -> None:
    calls = iter(range(10**6))
    report = fg.diagnose(lambda p: loss(p) * (1 + 1e-8 * next(calls)), PARAMS, grads(PARAMS))
    assert not report


def test_a_loss_that_writes_to_params() -> None:
    def careless(p: dict[str, Array]) -> float:
        value = loss(p)
        p["W"] *= 0.5
        return value

    report = fg.diagnose(careless, PARAMS, grads(PARAMS))
    (finding,) = report.findings
    assert (finding.array, finding.kind) == ("params['W']", "changed by the loss")
    assert [a.verdict for a in report.arrays] == ["ok", "ok"] and not report
    assert "`W -= ...`" in finding.hint


def test_gradients_that_write_to_params() -> None:
    def careless(p: dict[str, Array]) -> dict[str, Array]:
        found = grads(p)
        p["b"] -= 0.1 * found["db"]
        return found

    before = B.copy()
    report = fg.diagnose(loss, PARAMS, careless)
    (finding,) = report.findings
    assert (finding.array, finding.kind) == ("params['b']", "changed by the gradients")
    np.testing.assert_array_equal(B, before)


@pytest.mark.parametrize("begin", [0.0, 3.0])
def test_gradients_that_add_up(begin: float) -> None:
    kept = {"dW": np.full((3, 3), begin), "db": np.zeros(3)}

    def careless(p: dict[str, Array]) -> dict[str, Array]:
        found = grads(p)
        kept["dW"] += found["dW"]
        kept["db"] = found["db"]
        return kept

    report = fg.diagnose(loss, PARAMS, careless)
    (finding,) = report.findings
    assert (finding.array, finding.kind) == ("grads['dW']", "added up")
    assert [a.verdict for a in report.arrays] == ["wrong", "ok"]


def test_what_all_gradients_do_is_said_once() -> None:
    kept = {"dW": np.zeros((3, 3)), "db": np.zeros(3)}

    def careless(p: dict[str, Array]) -> dict[str, Array]:
        for key, found in grads(p).items():
            kept[key] += found
        return kept

    report = fg.diagnose(loss, PARAMS, careless)
    said = [(f.array, f.kind) for f in report.findings]
    assert said == [("grads['dW']", "added up"), ("grads['db']", "added up")]
    assert [a.verdict for a in report.arrays] == ["wrong", "wrong"]
    text = " ".join(str(report).split())
    assert text.count("each call adds its gradient to what is there") == 1
    assert report.findings[1].hint == "The same as for grads['dW']."


def test_gradients_that_are_random() -> None:
    rng = np.random.default_rng(0)
    report = fg.diagnose(loss, PARAMS, lambda p: {"W": grads(p)["dW"], "b": rng.normal(size=3)})
    assert report.findings[0].kind == "not the same in two calls"
    assert [a.verdict for a in report.arrays] == ["ok", "wrong"]


def test_a_loss_that_ignores_an_array() -> None:
    wrong = {**grads(PARAMS), "c": np.ones(2)}
    report = fg.diagnose(loss, {**PARAMS, "c": np.ones(2)}, wrong)
    assert [(f.array, f.kind) for f in report.findings] == [
        ("grads['c']", "loss does not depend on it")
    ]
    wrong["c"] = np.zeros(2)
    assert fg.diagnose(loss, {**PARAMS, "c": np.ones(2)}, wrong)
    with pytest.raises(ValueError, match="f ignores its argument"):
        fg.diagnose(lambda p: loss(PARAMS), PARAMS, grads(PARAMS))


def test_a_loss_that_is_not_finite() -> None:
    report = fg.diagnose(lambda p: loss(p) + np.inf, PARAMS, grads(PARAMS))
    assert report.state == "inconclusive" and report.findings[0].kind == "not finite"


def test_the_value() -> None:
    right = loss(PARAMS)
    assert fg.diagnose(loss, PARAMS, grads, value=right)
    report = fg.diagnose(loss, PARAMS, grads, value=18 * right, x=X, target=T)
    (finding,) = report.findings
    assert finding.array == "value" and "18 is the number of elements" in finding.evidence
    assert not report


# -- shapes and trees ------------------------------------------------------------------------------


class Layer(NamedTuple):
    w: Any
    b: Any


def test_trees() -> None:
    found = grads(PARAMS)
    dw, db = found["dW"], found["db"]
    for params, given, f in (
        (W, dw, lambda w: loss({"W": w, "b": B})),
        ([W, B], [dw, db], lambda p: loss({"W": p[0], "b": p[1]})),
        ((W, B), (dw, db), lambda p: loss({"W": p[0], "b": p[1]})),
        ([Layer(W, B)], [(dw, db)], lambda p: loss({"W": p[0].w, "b": p[0].b})),
        ([(W, None)], [(dw, None)], lambda p: loss({"W": p[0][0], "b": B})),
        ({"l": {"W": W}, "b": B}, {"l": {"grad_W": dw}, "db": db}, lambda p: loss({**p, **p["l"]})),
        ([1.0, 2.0], [2.0, 4.0], lambda v: np.sum(v**2)),
        (3.0, 6.0, lambda v: v**2),
    ):
        report = fg.diagnose(f, params, given)
        assert report, str(report)


def test_shapes_that_only_lie_another_way() -> None:
    w = RNG.normal(size=(3, 2))

    def f(p: dict[str, Array]) -> float:
        return float(np.sum((X @ p["w"] + p["b"].ravel()) ** 2))

    params = {"w": w, "b": np.ones((2, 1))}
    dz = 2 * (X @ w + 1)
    right: dict[str, Array] = {"w": X.T @ dz, "b": dz.sum(axis=0)[:, None]}
    assert fg.diagnose(f, params, right)
    report = fg.diagnose(f, params, {**right, "w": right["w"].T})
    assert [(x.array, x.kind) for x in report.findings] == [("grads['w']", "transposed")]
    assert [a.verdict for a in report.arrays] == ["wrong", "ok"]
    report = fg.diagnose(f, params, {**right, "b": right["b"].ravel()})
    assert [(x.array, x.kind) for x in report.findings] == [("grads['b']", "shape")]
    assert "shape (2, 2)" in report.findings[0].evidence
    row = {"w": w, "b": np.ones((1, 2))}
    report = fg.diagnose(f, row, {**right, "b": right["b"].ravel()})
    assert report and "compared entry by entry" in report.notes[0]
    with pytest.raises(ValueError, match=r"grads\['w'\] has shape \(3, 3\) but params\['w'\]"):
        fg.diagnose(f, params, {**right, "w": np.ones((3, 3))})


# -- what differences cannot tell ------------------------------------------------------------------


def test_entries_at_a_kink() -> None:
    x = np.array([1.0, 0.0, -2.0])
    report = fg.diagnose(lambda x: np.maximum(x, 0).sum(), x, np.array([1.0, 0.0, 0.0]))
    assert report.state == "inconclusive"
    (finding,) = report.findings
    assert finding.kind == "kink" and "At [1]" in finding.evidence
    wrong = fg.diagnose(lambda x: np.maximum(x, 0).sum(), x, np.array([1.0, 3.0, 0.0]))
    assert wrong.state == "wrong"


def test_what_this_precision_cannot_tell() -> None:
    x = np.array([0.1234, 1.3719])
    report = fg.diagnose(
        lambda p: float(np.float32(1000 + 1e-5 * p["a"].sum() + np.sum(p["b"] ** 2))),
        {"a": x, "b": x},
        {"a": np.full(2, 1e-5), "b": 2 * x},
    )
    assert report.state == "inconclusive"
    assert {f.kind for f in report.findings} == {"cannot be told"}


def test_digits_of_float32_are_no_mistake() -> None:
    right = grads(PARAMS)
    rounded = {key: g.astype(np.float32).astype(np.float64) for key, g in right.items()}
    report = fg.diagnose(loss, PARAMS, rounded)
    assert report and "float32" in report.notes[0]
    off = {**right, "dW": right["dW"] + 1e-6 * np.eye(3)[0]}
    assert not fg.diagnose(loss, PARAMS, off)


def test_a_gradient_that_is_nothing_but_rounding() -> None:
    """A bias before a softmax that is the same for all classes: its sum has no slope."""

    def f(p: dict[str, Array]) -> float:
        z = X @ p["W"] + p["c"]
        z = z - z.max(axis=1, keepdims=True)
        return float(-np.mean((z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[:, 0]))

    z = np.exp(X @ W)
    dz = (z / z.sum(axis=1, keepdims=True) - np.eye(3)[0]) / len(X)
    report = fg.diagnose(f, {"W": W, "c": np.array(0.3)}, {"W": X.T @ dz, "c": dz.sum()})
    assert report, str(report)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_no_false_alarm_where_the_loss_computes_in_float32(activation: str) -> None:
    """Steps that float32 can tell cross many kinks of relu: their jumps cancel by chance."""
    f, slope = mistakes.ACTIVATIONS[activation]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = np.maximum(rng.normal(size=(64, 200)), 0).astype(np.float32)
        t = rng.normal(size=(64, 3)).astype(np.float32)
        params = {"w": rng.normal(size=(200, 30)) / 14, "b": np.zeros(30), "v": np.ones((30, 3))}
        params = {key: p.astype(np.float32) for key, p in params.items()}

        def loss32(p: dict[str, Array], x: Array = x, t: Array = t) -> np.float32:
            w, b, v = (p[key].astype(np.float32) for key in "wbv")
            return np.float32(np.mean((f(x @ w + b) @ v - t) ** 2))

        z = x @ params["w"] + params["b"]
        dy = 2 * (f(z) @ params["v"] - t) / np.float32(t.size)
        dz = dy @ params["v"].T * slope(z)
        right = {"w": x.T @ dz, "b": dz.sum(axis=0), "v": f(z).T @ dy}
        report = fg.diagnose(loss32, params, right, seconds=1)
        assert report.state != "wrong", str(report)
        report = fg.diagnose(loss32, params, {**right, "w": right["w"] / 64}, x=x, seconds=1)
        assert report.findings[0].array == "grads['w']" and report.findings[0].kind == "factor"


# -- large arrays ----------------------------------------------------------------------------------


class Large(NamedTuple):
    loss: Any
    params: dict[str, Array]
    grads: dict[str, Array]


def large(dtype: str, activation: str, n: int = 16) -> Large:
    """Return 79,510 parameters: images of 784 pixels, 100 hidden units, 10 classes."""
    rng = np.random.default_rng(0)
    f, slope = mistakes.ACTIVATIONS[activation]
    x = np.maximum(rng.normal(size=(n, 784)), 0).astype(dtype)
    x[:, :60] = 0  # the border
    t = np.eye(10, dtype=dtype)[rng.integers(0, 10, n)]
    params = {
        "W1": (rng.normal(size=(784, 100)) / 28).astype(dtype),
        "b1": np.zeros(100, dtype),
        "W2": (rng.normal(size=(100, 10)) / 10).astype(dtype),
        "b2": np.zeros(10, dtype),
    }

    def forward(p: dict[str, Array]) -> tuple[Array, Array, Array]:
        z = x @ p["W1"] + p["b1"]
        y = f(z) @ p["W2"] + p["b2"]
        y = y - y.max(axis=1, keepdims=True)
        return z, f(z), y - np.log(np.exp(y).sum(axis=1, keepdims=True))

    z, h, logs = forward(params)
    dy = (np.exp(logs) - t) / n
    dz = dy @ params["W2"].T * slope(z)
    found = {"dW1": x.T @ dz, "db1": dz.sum(axis=0), "dW2": h.T @ dy, "db2": dy.sum(axis=0)}
    return Large(lambda p: -np.sum(forward(p)[2] * t) / n, params, found)


@pytest.mark.parametrize("dtype, activation", [("float64", "relu"), ("float32", "tanh")])
def test_large_arrays(dtype: str, activation: str) -> None:
    f, params, right = large(dtype, activation)
    begin = time.process_time()
    report = fg.diagnose(f, params, right, seconds=4)
    assert report, str(report)
    assert time.process_time() - begin < 4
    assert any("of 78400 entries were drawn" in note for note in report.notes)
    pattern = 1 + np.arange(100, dtype=dtype)
    for key, change, kind in (
        ("dW1", lambda g: 16 * g, "factor"),
        ("dW1", lambda g: g + g.dtype.type(0.01) * params["W1"], "penalty l2 too much"),
        ("dW1", lambda g: g * pattern, "factor per column"),
        ("dW2", lambda g: g.reshape(10, 100).T, "order of elements"),
        ("dW2", lambda g: 0 * g, "zero"),
    ):
        report = fg.diagnose(f, params, {**right, key: change(right[key])}, seconds=4)
        (finding,) = report.findings
        assert (finding.array, finding.kind) == (f"grads['{key}']", kind), str(report)
    assert np.isnan(report.arrays[0].relative).sum() > 70_000  # type: ignore[arg-type]


def test_one_wrong_entry_of_a_large_array_is_found() -> None:
    f, params, right = large("float64", "tanh")
    right["dW1"][300, 7] += 1e-3
    report = fg.diagnose(f, params, right, seconds=6)
    (finding,) = report.findings
    assert finding.array == "grads['dW1']" and finding.kind == "some entries"
    assert "[300, 7]" in finding.evidence


def test_a_large_array_of_which_the_loss_uses_one_entry() -> None:
    """All the right entries that are drawn are 0, and their length divides nothing."""
    w, given = RNG.normal(size=(100, 100)), RNG.normal(size=(100, 100))
    given[99, 99] = 0.0
    report = fg.diagnose(lambda p: p[99, 99] ** 2, w, given, seconds=1)
    (finding,) = report.findings
    assert finding.kind == "unknown" and "All the right ones looked at are 0." in finding.evidence


def test_the_draw_is_seeded() -> None:
    f, params, right = large("float64", "tanh", 4)
    first, again, other = (
        fg.diagnose(f, params, right, seconds=9, seed=seed).arrays[0].relative for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(np.isnan(first) != np.isnan(other))  # type: ignore[arg-type]


def test_a_slow_loss_is_looked_at_a_little_only() -> None:
    calls = 0

    def slow(p: dict[str, Array]) -> float:
        nonlocal calls
        calls += 1
        until = time.process_time() + 0.002
        while time.process_time() < until:
            pass
        return loss(p)

    report = fg.diagnose(slow, PARAMS, grads(PARAMS), seconds=0.05)
    assert report and calls < 200


def test_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    fg.diagnose(loss, PARAMS, grads, progress=True)
    assert capsys.readouterr().out == ""


def test_where_the_mistake_enters() -> None:
    script = mistakes.scripts("float64")[4]
    wrong = [g.copy() for g in script.grads]
    for g in wrong[:4]:
        g += RNG.normal(size=g.shape)
    report = fg.diagnose(script.loss, script.params, wrong)
    assert any("the mistake is between them" in note for note in report.notes)
