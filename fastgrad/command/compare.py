"""Verify cases, time them and report the results: the work of `fastgrad compare`."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

import fastgrad
from fastgrad import loops, reference
from fastgrad.command.bounds import Bounded, Bounds
from fastgrad.command.cases import Case
from fastgrad.gradcheck.check_grad import check_grad
from fastgrad.terminal import duration, factor, table

__all__ = ["Result", "Timing", "geometric_means", "report", "run_case"]

APIS = {"loops": loops, "numpy": reference, "fastgrad": fastgrad}
# A case of at most so many multiply-adds is small: it also runs as naive loops, which take about
# 70 ms for a million, and its gradient is checked by differences.
SMALL = 1_000_000
SAMPLE = 5e-4  # seconds of calls in a sample: far above the clock's resolution


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the fastest and the median of all samples."""

    min: float
    median: float
    samples: int
    calls_per_sample: int


@dataclass
class Result:
    """The results of a case: its error, its failures, its times.

    Attributes
    ----------
    error_eps : float
        The largest difference from the reference, in eps of the largest entry of its array.
    of_bound : float
        The largest difference as a fraction of what rounding explains; above 1 is a failure.
    gradient_checked : bool
        Whether the case was small enough to check its gradient by central differences.
    failures : list of str
        Empty if everything is right.
    times : dict of str to Timing
        By implementation: ``"fastgrad"``, ``"numpy"`` and, if the case is small, ``"loops"``.
    """

    case: Case
    error_eps: float = 0.0
    of_bound: float = 0.0
    gradient_checked: bool = False
    failures: list[str] = field(default_factory=list)
    times: dict[str, Timing] = field(default_factory=dict)

    def speedup(self, over: str) -> float | None:
        """Return the median time of `over` divided by fastgrad's."""
        if over not in self.times:
            return None
        return self.times[over].median / self.times["fastgrad"].median

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        case = self.case
        return {
            "layer": case.name,
            "shape": case.shape,
            "dtype": case.dtype,
            "input": case.source,
            "error_eps": _number(self.error_eps),
            "error_of_bound": _number(self.of_bound),
            "gradient_checked": self.gradient_checked,
            "failures": self.failures,
            "seconds": {name: vars(timing) for name, timing in self.times.items()},
            "speedup_over_numpy": self.speedup("numpy"),
            "speedup_over_loops": self.speedup("loops"),
        }


def _number(value: float) -> float | None:
    """Return None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def run_case(case: Case, seconds: float) -> Result:
    """Verify a case, then time NumPy and fastgrad for about so many seconds."""
    result = Result(case)
    runs = {name: case.build(api, *case.arrays.values()) for name, api in APIS.items()}
    if case.multiply_adds > SMALL:
        del runs["loops"]
    _verify(result, runs)
    # Loops are timed apart: they take a thousand times as long, and would leave the caches cold.
    if "loops" in runs:
        result.times |= _time({"loops": runs.pop("loops")}, {"loops": 1}, rounds=3)
    once = {name: min(_sample(run, 1) for _ in range(3)) for name, run in runs.items()}
    calls = {name: max(1, math.ceil(SAMPLE / t)) for name, t in once.items()}
    round_time = sum(calls[name] * once[name] for name in runs)
    result.times |= _time(runs, calls, max(5, min(200, int(seconds / round_time))))
    return result


# -- verification ------------------------------------------------------------------------------


def _verify(result: Result, runs: Mapping[str, Callable[[], Any]]) -> None:
    """Compare fastgrad with the reference and, if small, its gradient with differences."""
    case = result.case
    output, gradients = case.build(Bounds(case.dtype), *case.arrays.values())()
    expected = _by_name(case, output, gradients)
    for api in runs.keys() - {"numpy"}:  # the reference gives the expected values
        got = _by_name(case, *runs[api]())
        for name, (truth, bound) in expected.items():
            error_eps, of_bound = _errors(got[name], Bounded(truth, bound), case.dtype)
            if api == "fastgrad":
                result.error_eps = max(result.error_eps, error_eps)
                result.of_bound = max(result.of_bound, of_bound)
            if not of_bound <= 1:
                result.failures.append(
                    f"{name} of {api} is {error_eps:.3g} eps off the reference, "
                    f"{of_bound:.3g} times what rounding explains"
                )
    if case.multiply_adds <= SMALL:
        result.gradient_checked = True
        _check_gradients(result)


def _by_name(case: Case, output: Any, gradients: Iterable[Any]) -> dict[str, Any]:
    """Return the results by name; gradients beyond the names are all None."""
    names = [f"grad_{name}" for name in case.arrays]
    return {"loss" if case.is_net else "y": output, **dict(zip(names, gradients, strict=False))}


def _errors(got: Any, expected: Bounded, dtype: str) -> tuple[float, float]:
    """Return the largest error in eps of the largest entry, and as a fraction of the bound."""
    truth = np.asarray(expected.value)
    if np.shape(got) != truth.shape or (truth.ndim and got.dtype != dtype):
        return math.inf, math.inf
    difference = np.abs(got - truth)
    largest = np.abs(truth).max(initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_bound = np.where(difference == 0, 0.0, difference / expected.error)
    error_eps = difference.max(initial=0.0) / (largest or 1.0) / np.finfo(dtype).eps
    return _nan_is_infinite(error_eps), _nan_is_infinite(of_bound.max(initial=0.0))


def _nan_is_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else float(value)


def _check_gradients(result: Result) -> None:
    """Check the derivative of fastgrad's float64 loss along one random direction per array.

    One direction detects any single wrong entry: the derivative along it is a sum over all
    entries, accurate to ten digits.
    """
    case = result.case.in_float64()
    arrays = case.arrays
    rng = np.random.default_rng(1)
    _, gradients = case.build(fastgrad, *arrays.values())()
    for (name, array), gradient in zip(arrays.items(), gradients, strict=False):
        # Its length makes pre-activations change by about the step.
        direction = rng.standard_normal(array.shape) / math.sqrt(max(array.shape))

        def loss(step: Any, name: str = name, direction: Any = direction) -> Any:
            moved = arrays | {name: arrays[name] + step * direction}
            return np.sum(case.weight * case.build(fastgrad, *moved.values())()[0])

        report = check_grad(loss, np.vdot(gradient, direction), 0.0)
        if not report:
            result.failures.append(
                f"grad_{name}: its slope along a random direction is {float(report.analytic):.9g}, "
                f"central differences say {float(report.numerical):.9g}"
            )


# -- timing ------------------------------------------------------------------------------------


def _time(
    runs: Mapping[str, Callable[[], Any]], calls: Mapping[str, int], rounds: int
) -> dict[str, Timing]:
    """Time functions in turns, so that a busy moment of the machine hits all of them."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(rounds):
            # Forward and reverse order, so that no function always follows the same one.
            for name in list(runs)[:: 1 if i % 2 else -1]:
                samples[name].append(_sample(runs[name], calls[name]))
    finally:
        if collecting:
            gc.enable()
    return {
        name: Timing(min(values), statistics.median(values), rounds, calls[name])
        for name, values in samples.items()
    }


def _sample(run: Callable[[], Any], calls: int) -> float:
    """Return the seconds that one of so many calls takes."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


# -- the report --------------------------------------------------------------------------------


def geometric_means(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Return the geometric mean of the speed-ups, by group and by compared implementation."""
    groups = {
        "layers": [r for r in results if not r.case.is_net],
        "layers float32": [r for r in results if not r.case.is_net and r.case.dtype == "float32"],
        "layers float64": [r for r in results if not r.case.is_net and r.case.dtype == "float64"],
        "networks": [r for r in results if r.case.is_net],
    }
    means: dict[str, dict[str, float]] = {}
    for group, members in groups.items():
        for over in ("numpy", "loops"):
            ratios = [s for r in members if (s := r.speedup(over)) is not None]
            if ratios:
                means.setdefault(group, {})[over] = statistics.geometric_mean(ratios)
    return means


def report(results: Sequence[Result]) -> str:
    """Return the table, the geometric means and the verdict as text."""
    header = ["layer", "shape", "dtype", "input", "loops", "NumPy", "fastgrad"]
    header += ["vs NumPy", "vs loops", "error/eps", "of bound", "check"]
    rows: list[list[str] | None] = []
    for _, group in groupby(results, key=lambda r: "networks" if r.case.is_net else r.case.shape):
        rows += [None, *map(_row, group)]
    lines = [table(header, rows[1:], left=4), ""]
    for name, means in geometric_means(results).items():
        against = ", ".join(
            f"{factor(mean)} {'NumPy' if over == 'numpy' else over}" for over, mean in means.items()
        )
        lines.append(f"geometric mean, {name}: {against}")
    lines.append(_verdict(results))
    return "\n".join(lines)


def _row(result: Result) -> list[str]:
    case = result.case
    times = [duration(t.median if t else None) for t in map(result.times.get, APIS)]
    return [
        case.name, case.shape, case.dtype, case.source, *times,
        factor(result.speedup("numpy")), factor(result.speedup("loops")),
        f"{result.error_eps:.2g}", f"{100 * result.of_bound:.0f} %",
        "FAIL" if result.failures else "ok",
    ]  # fmt: skip


def _verdict(results: Sequence[Result]) -> str:
    """Return one line if all is right, else one for each failure."""
    wrong = [f"{r.case.label}: {failure}" for r in results for failure in r.failures]
    if wrong:
        return "\n".join(["", "FAILED:", *(f"  {line}" for line in wrong)])
    checked = sum(r.gradient_checked for r in results)
    return (
        f"verified: {len(results)} of {len(results)} cases agree with the NumPy reference within "
        f"rounding, {checked} small ones also with central differences"
    )
