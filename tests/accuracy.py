"""How accurate the activations are: the table of docs/accuracy.md.

    python -m tests.accuracy                  # every float32, 10 million float64: hours
    python -m tests.accuracy --quick          # every 64th float32
    python -m tests.accuracy --only tanh
    python -m tests.accuracy --hard           # the oracle against mpmath: seconds
    python -m tests.accuracy --products       # matrix products against NumPy's: a second

Prints a row per activation: bound, largest error in ULP and where, for float32 and float64; then
the number of special values (NaN, infinities, signed zeros) that are not what they should be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import mpmath as mp
import numpy as np
import wide
from conftest import DTYPES, Array, rng_of, ulp
from truth import DIGITS, ELEMENTWISE, TABLE, TRUTH

import fastgrad as fg

# What the oracle may be off by, in ULP of float64.
ORACLE = 0.003
CHUNK = 1 << 20
POINTS = 10_000_000
HARD = 1000


class Measured(NamedTuple):
    """What was found: the largest error in ULP, where, special values that differ, worst points."""

    worst: float
    at: float
    mismatches: int
    points: Array


class Hard(NamedTuple):
    """One point: the error in ULP by mpmath, and by the oracle."""

    at: float
    error: float
    by_oracle: float


def log_uniform(size: int, key: str) -> Array:
    """Return float64 numbers of both signs: half from every binade there is, half from 2**-40 on.

    The latter end at 2**10, above which nothing happens.
    """
    rng = rng_of("log-uniform", key)
    exponents = np.concatenate(
        [rng.uniform(-1074, 1024, size // 2), rng.uniform(-40, 10, size - size // 2)]
    )
    return rng.choice([-1.0, 1.0], size) * np.exp2(exponents)


def errors(name: str, z: Array) -> tuple[Array, Array]:
    """Return errors in ULP of z's dtype, and where special values differ.

    Special: NaN or infinite after correct rounding, or a zero, whose sign must be that of the
    exact result.
    """
    got, exact = TABLE[name](z), wide.evaluate(TRUTH[name].wide, z)
    with np.errstate(all="ignore"):
        rounded = exact.astype(z.dtype)
        spacing = ulp(rounded.astype(np.float64), z.dtype.name)
        error = (abs(got.astype(exact.dtype) - exact) / spacing).astype(np.float64)
    nan = np.isnan(got) | np.isnan(rounded)
    infinite = np.isinf(got) | np.isinf(rounded)
    zero = (got == 0) | (exact == 0)
    wrong = nan & ~(np.isnan(got) & np.isnan(rounded))
    wrong |= infinite & ~nan & (got != rounded)
    wrong |= zero & (np.signbit(got) != np.signbit(exact))
    wrong |= (exact == 0) & (got != 0)
    error[nan | infinite] = 0.0
    return error, wrong


def measure(name: str, z: Array) -> Measured:
    """Return the errors of one array of arguments."""
    error, wrong = errors(name, z)
    hardest = np.argsort(error)[-HARD:]
    worst = int(hardest[-1])
    return Measured(float(error[worst]), float(z[worst]), int(wrong.sum()), z[hardest])


def over(name: str, chunks: Iterator[Array]) -> Measured:
    """Return the errors of many arrays of arguments."""
    total = Measured(0.0, 0.0, 0, np.empty(0))
    for z in chunks:
        part = measure(name, z)
        points = np.concatenate([total.points.astype(z.dtype), part.points])
        if points.size > HARD:
            points = measure(name, points).points
        worst, at = max((total.worst, total.at), (part.worst, part.at))
        total = Measured(worst, at, total.mismatches + part.mismatches, points)
    return total


def every_float32(name: str, step: int = 1) -> Measured:
    """Return the errors over all 2**32 float32, or over every `step`-th of them."""
    starts = range(0, 1 << 32, CHUNK * step)
    words = (np.arange(s, s + CHUNK * step, step, np.uint64).astype(np.uint32) for s in starts)
    return over(name, (w.view(np.float32) for w in words))


def many_float64(name: str, size: int = POINTS) -> Measured:
    """Return the errors over log-uniform float64."""
    parts = max(size // CHUNK, 1)
    return over(name, (log_uniform(size // parts, f"part {i}") for i in range(parts)))


def hard_points(name: str, z: Array, count: int) -> list[Hard]:
    """Return the errors by mpmath at the `count` points of z where they are largest."""
    error, _ = errors(name, z)
    found = []
    for i in np.argsort(error)[-count:]:
        at = z[i : i + 1]
        got = mp.mpf(float(TABLE[name](at)[0]))
        with mp.workdps(DIGITS):
            exact = TRUTH[name].value(mp.mpf(float(at[0])))
            spacing = ulp(np.array([float(exact)]), z.dtype.name)[0]
            found.append(Hard(float(at[0]), float(abs(got - exact) / spacing), float(error[i])))
    return found


def row(name: str, quick: bool) -> str:
    """Return a row of the table in docs/accuracy.md."""
    bounds: Any = TABLE[name].ulp
    single = every_float32(name, 64 if quick else 1)
    double = many_float64(name)
    cells = [f"`{name}`"]
    for bound, measured in zip(bounds, (single, double), strict=True):
        cells += [f"{bound:g}", f"{measured.worst:.3f}", f"`{measured.at:.9g}`"]
    cells.append(str(single.mismatches + double.mismatches))
    return "| " + " | ".join(cells) + " |"


def rms_errors(d: int, dtype: str, draw: str, k: int) -> tuple[float, float]:
    """Return the RMS error of x @ w by fastgrad and by NumPy, over d products, in u |x| @ |w|."""
    rng = rng_of("products", d)
    x, w = (getattr(rng, draw)(size=s).astype(dtype) for s in ((4096 // k, d), (d, k)))
    format_ = np.float64 if dtype == "float32" else wide.Long
    exact, size = x.astype(format_) @ w.astype(format_), abs(x).astype(float) @ abs(w).astype(float)
    unit = size * np.finfo(dtype).eps / 2

    def rms(got: Array) -> float:
        return float(np.sqrt(np.mean(((got - exact) / unit) ** 2)))

    return rms(fg.dense(x, w)), rms(x @ w)


def products() -> None:
    """Print the table of matrix products."""
    for k, d in product((64, 1), (8, 64, 256, 257, 400, 784, 1024, 5000, 20000)):
        cells = [str(d), str(k)]
        for draw in ("standard_normal", "uniform"):
            for dtype in DTYPES:
                ours, numpy = rms_errors(d, dtype, draw, k)
                cells.append(f"{ours:.2f}, {ours / numpy:.2f}x")
        print("| " + " | ".join(cells) + " |")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy")
    parser.add_argument("--quick", action="store_true", help="every 64th float32 only")
    parser.add_argument("--only", default="", help="activations whose name contains this")
    parser.add_argument("--hard", action="store_true", help="worst points against mpmath instead")
    parser.add_argument("--products", action="store_true", help="matrix products instead")
    options = parser.parse_args(arguments)
    if options.products:
        products()
        return 0
    for name in (n for n in ELEMENTWISE if options.only in n):
        if options.hard:
            found = hard_points(name, log_uniform(300_000, "hard points"), HARD)
            off = max(abs(hard.error - hard.by_oracle) for hard in found)
            print(f"| `{name}` | {max(hard.error for hard in found):.3f} | {off:.4f} |", flush=True)
        else:
            print(row(name, options.quick), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
