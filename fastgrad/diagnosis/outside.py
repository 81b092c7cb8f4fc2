"""The gradients of any loss of a tree of arrays, seen from outside: compared with differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_array
from fastgrad.diagnosis.report import ArrayVerdict, Diagnosis, Finding
from fastgrad.gradcheck.check_grad import GradReport, check_grad
from fastgrad.trees import gradients, tree_of

__all__ = ["diagnose_loss"]

FUNCTION = "diagnose"


def diagnose_loss(
    loss: Callable[[Any], Any],
    params: Any,
    grads: Any,
    data: tuple[Any, Any],
    value: float | None,
    seconds: float,
    draw: np.random.Generator,
    progress: bool | None,
) -> Diagnosis:
    """Return the diagnosis of a loss without a description."""
    tree = tree_of(FUNCTION, "params", params)
    points = [
        np.asarray(as_array(FUNCTION, name, item)).astype(np.float64)
        for name, item in zip(tree.names("params"), tree.values(params), strict=True)
    ]
    if callable(grads):
        grads = grads(params)
    own, given = gradients(FUNCTION, tree, grads, points)
    verdicts, findings = [], []
    for i, (name, grad, point) in enumerate(zip(own.names("grads"), given, points, strict=True)):

        def f(array: Array, i: int = i) -> Any:
            arrays = [p.copy() for p in points]
            arrays[i] = array
            return loss(tree.build(iter(arrays)))

        report = check_grad(f, grad, point)
        verdicts.append(_verdict(name, report))
        if report.state == "wrong":
            findings.append(_finding(name, report))
    states = {v.verdict for v in verdicts}
    state = next((s for s in ("wrong", "inconclusive") if s in states), "ok")
    return Diagnosis(state, tuple(findings), tuple(verdicts))


def _verdict(name: str, report: GradReport) -> ArrayVerdict:
    with np.errstate(all="ignore"):
        apart = np.abs(report.analytic - report.numerical)
        difference = float((apart / (report.tolerance + report.error)).max(initial=0.0))
        relative = apart / np.abs(report.numerical).max(initial=1e-300)
    return ArrayVerdict(name, report.analytic.shape, difference, report.state, relative)


def _finding(name: str, report: GradReport) -> Finding:
    limit = report.tolerance + report.error
    sign = bool(np.all(np.abs(report.analytic + report.numerical) <= limit))
    return Finding(
        name,
        "sign" if sign else "wrong",
        None,
        f"{int(report.wrong.sum())} of {report.analytic.size} entries differ from the differences "
        f"of the loss; the worst is {report.worst_index}.",
        "Turn the sign of this gradient." if sign else "Look at how this gradient is made.",
    )
