"""The gradient doctor beside hand-written scripts: every mistake at every place, no false alarm.

The scripts, their mistakes and what these should be called are those of `wrong_gradients`. A
mistake that changes nothing, such as a derivative left out where it is 1, is no case.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import wrong_gradients as scripts

import fastgrad as fg
from fastgrad import reference
from fastgrad.diagnosis.report import Diagnosis

# What must be seen of a mistake, relative to the largest entry: above the bounds of rounding.
VISIBLE = {"float64": 1e-9, "float32": 1e-3}
# Of 885 cases two are missed in float64, four in float32; of 120 pairs two and three.
NAMED, PAIRS = 0.995, 0.95


class Outcome(NamedTuple):
    """What the doctor said of one case."""

    case: str
    placed: bool
    named: bool
    said: list[tuple[str, int | None]]


def apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest difference, relative to each array's largest entry."""
    with np.errstate(all="ignore"):
        return max(
            np.nan_to_num(np.abs(a[k] - b[k]).max() / np.abs(b[k]).max())
            if a[k].shape == b[k].shape
            else 1.0
            for k in b
        )


def is_said(report: Diagnosis, kinds: str, layer: int) -> bool:
    """Return whether a mistake is among the findings, or is what one of them is equal to."""
    texts = [*report.notes, *(f.evidence for f in report.findings if f.layer == layer)]
    found = {f.kind for f in report.findings if f.layer == layer}
    return any(
        kind in found or any(f"({kind})" in text for text in texts) for kind in kinds.split("|")
    )


def with_zero(case: scripts.Case, grads: dict[str, Any], right: dict[str, Any]) -> str:
    """Return what else a mistake may be called: zero, if an array is zero but for the penalty."""
    for name, array in grads.items():
        if array.shape == right[name].shape:
            penalty = case.net.l2 * case.params[name[1:]] if name[1] == "W" else 0.0
            if np.abs(array - penalty).max() < 1e-13 * np.abs(right[name]).max():
                return "|zero"
    return ""


@functools.cache
def singles(dtype: str) -> list[Outcome]:
    """Return what is said of each mistake at each place."""
    found = []
    for net in scripts.NETS:
        case, mlp = scripts.case_of(net, dtype)
        wide = scripts.wide(case)
        right = scripts.gradient(wide)
        for wrong, kinds, layer, _ in scripts.places(net):
            with np.errstate(all="ignore"):
                grads, exact = scripts.gradient(case, wrong), scripts.gradient(wide, wrong)
            finite = all(np.isfinite(a).all() for a in grads.values())
            if not finite or apart(exact, right) < VISIBLE[dtype]:
                continue
            report = scripts.diagnose(case, mlp, grads)
            kinds += with_zero(wide, exact, right)
            findings = report.findings
            placed = bool(findings) and findings[0].layer == layer
            named = len(findings) == 1 and is_said(report, kinds, layer)
            said = [(f.kind, f.layer) for f in findings]
            found.append(Outcome(f"{net.name}: {wrong}", placed, named, said))
    return found


@pytest.mark.parametrize("dtype", scripts.DTYPES)
def test_every_mistake_at_every_place(dtype: str) -> None:
    found = singles(dtype)
    assert len(found) >= 880
    lost = [f"{o.case}: {o.said}" for o in found if not o.placed]
    assert not lost, f"not placed: {lost}"
    missed = [f"{o.case}: {o.said}" for o in found if not o.named]
    assert len(missed) <= (1 - NAMED) * len(found), f"{len(missed)} not named: {missed}"


def independent(
    rng: np.random.Generator, dtype: str
) -> Iterator[tuple[scripts.Case, Any, dict[str, Any], list[tuple[str, int]]]]:
    """Yield pairs of mistakes, each of which shows beside the other.

    Two that cancel, such as two turned signs, leave a right gradient, which is no case.
    """
    while True:
        net = scripts.NETS[rng.integers(len(scripts.NETS))]
        case, mlp = scripts.case_of(net, dtype)
        wide = scripts.wide(case)
        alone = [
            p for p in scripts.places(net)
            if "stale" not in p[0].values() and not {"swapped", "all"} & set(p[0])
        ]  # fmt: skip
        (one, *first), (two, *second) = (alone[i] for i in rng.choice(len(alone), 2, replace=False))
        both = {**one, **two}
        if set(one) & set(two):
            continue
        right = scripts.gradient(wide)
        with np.errstate(all="ignore"):
            grads, exact = scripts.gradient(case, both), scripts.gradient(wide, both)
            parts = [scripts.gradient(wide, w) for w in (one, two)]
        seen = [apart(exact, p) for p in parts] + [apart(p, right) for p in (*parts, exact)]
        finite = all(np.isfinite(a).all() for a in grads.values())
        if not finite or min(seen) < VISIBLE[dtype]:
            continue
        zero = with_zero(wide, exact, right)
        yield case, mlp, grads, [(first[0] + zero, first[1]), (second[0] + zero, second[1])]


@pytest.mark.parametrize("dtype", scripts.DTYPES)
def test_two_independent_mistakes(dtype: str) -> None:
    pairs, named, missed = 120, 0, []
    for _, (case, mlp, grads, wanted) in zip(
        range(pairs), independent(np.random.default_rng(7), dtype), strict=False
    ):
        report = scripts.diagnose(case, mlp, grads)
        said = [(f.kind, f.layer) for f in report.findings]
        # Whatever they are called: the first wrong array is where the first one enters.
        assert max(f.layer or 0 for f in report.findings) == max(layer for _, layer in wanted)
        if all(is_said(report, kinds, layer) for kinds, layer in wanted):
            named += 1
        else:
            missed.append(f"{case.net.name}: {wanted}: {said}")
    assert named >= PAIRS * pairs, missed


# -- right gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", scripts.DTYPES)
@pytest.mark.parametrize("net", scripts.NETS, ids=lambda n: n.name)
def test_no_false_alarm_of_scripts(net: scripts.Net, dtype: str) -> None:
    for seed in range(5):
        case = scripts.make(net, scripts.DTYPES[dtype], seed)
        report = scripts.diagnose(case, scripts.network(net), scripts.gradient(case))
        assert report, report
        assert not report.findings


ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "gelu", "gelu_tanh", "silu", "elu", "leaky_relu", "softplus",
    "softsign", "mish", "softmax", None,
)  # fmt: skip
LOSSES = (
    "mse", "mae", "huber", "log_cosh", "binary_cross_entropy_with_logits",
    "softmax_cross_entropy", "squared_l2",
)  # fmt: skip


@pytest.mark.parametrize("dtype", scripts.DTYPES)
def test_no_false_alarm_of_any_network(dtype: str) -> None:
    """Of 60 right gradients of the plain NumPy twin, at any sizes, scales and losses."""
    rng = np.random.default_rng(3)
    for trial in range(60):
        sizes = tuple(int(k) for k in rng.integers(2, 40, rng.integers(2, 6)))
        loss, n = str(rng.choice(LOSSES)), int(rng.choice([1, 2, 7, 33, 150]))
        settings: dict[str, Any] = {
            "activations": [ACTIVATIONS[rng.integers(len(ACTIVATIONS))] for _ in sizes[1:]],
            "loss": loss, "reduction": str(rng.choice(["mean", "sum", "samples"])),
            "bias": bool(rng.integers(4)), "samples": str(rng.choice(["rows", "columns"])),
            "dtype": dtype, "l2": float(rng.choice([0.0, 0.01])),
        }  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fg.SettingsWarning)
            net, twin = fg.MLP(sizes, **settings), reference.MLP(sizes, **settings)
        params = net.init(trial) * rng.choice([0.1, 1.0, 4.0])
        params = (params + 0.1 * rng.standard_normal(params.size)).astype(dtype)
        x = rng.standard_normal((n, sizes[0])).astype(dtype)
        if rng.integers(3) == 0:
            x = np.round(x)  # z of exactly 0, the kink of relu
        target: Any = rng.uniform(0, 1, (n, sizes[-1])).astype(dtype)
        if settings["samples"] == "columns":
            x, target = x.T, target.T
        if loss == "softmax_cross_entropy":
            target = rng.integers(0, sizes[-1], n)
        elif loss == "squared_l2":
            target = None
        value, grad = twin.value_and_grad(params, x, target)
        report = fg.diagnose(net, params, grad, x=x, target=target, value=value)
        assert report, f"{net}: {report}"


def test_float32_digits_are_no_mistake() -> None:
    case, mlp = scripts.case_of(scripts.NETS[2], "float32")
    grads = {k: a.astype(np.float64) for k, a in scripts.gradient(case).items()}
    report = scripts.diagnose(case, mlp, grads)
    assert report
    grads = {k: a * (1 + 1e-7) for k, a in grads.items()}  # of a float64 script with one such step
    report = scripts.diagnose(case, mlp, grads)
    assert report
    assert "digits of float32" in str(report)


# -- the way forward -----------------------------------------------------------------------------


def forward_mistakes(net: scripts.Net) -> Iterator[tuple[dict[str, Any], str, int]]:
    layers = range(1, len(net.acts) + 1)
    for i in layers:
        act = net.acts[i - 1]
        if net.bias:
            yield {f"forward {i}": "no bias"}, "bias forgotten", i
        if act not in ("identity", "softmax"):
            yield {f"forward {i}": "flipped"}, "activation flipped", i
        if act != "softmax":
            yield {f"forward {i}": "other"}, "wrong activation", i
        for j in layers:
            if j > i and act != net.acts[j - 1] and "softmax" not in net.acts:
                yield {"order": (i, j)}, "wrong layer order", i


@pytest.mark.parametrize("given", ["gradients", "value", "z", "z and a"])
def test_mistakes_of_the_way_forward(given: str) -> None:
    dtype = "float32" if given == "z" else "float64"
    nets = scripts.NETS if given == "value" else scripts.NETS[2::2]
    for net in nets:
        case, mlp = scripts.case_of(net, dtype)
        for wrong, kind, layer in forward_mistakes(net):
            grads = scripts.gradient(case, wrong)
            zs, ys = scripts.forward(case, case.params, wrong)
            more: dict[str, Any] = {}
            if given == "value":
                more["value"] = scripts.value_of(case, ys[-1], wrong)
            elif given.startswith("z"):
                seen = {f"z{i}": z for i, z in enumerate(zs) if i}
                if given != "z":
                    seen |= {f"a{i}": y for i, y in enumerate(ys) if i}
                more["intermediates"] = seen
            report = scripts.diagnose(case, mlp, grads, **more)
            assert len(report.findings) == 1, f"{net.name}: {wrong}: {report}"
            assert is_said(report, kind, layer), f"{net.name}: {wrong}: {report}"
