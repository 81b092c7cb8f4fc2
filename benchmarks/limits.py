"""fastgrad against the machine's limits: `python -m benchmarks.limits` prints them.

The multiply-add peak is the register tile on operands that stay in L1; products are given as a part
of it. Then row kernels, threads, memory and start-up follow, each with its target.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.kernels.calls.entry import plain_function
from fastgrad.kernels.toolchain.target import tile

from .common import DTYPES, layer_call
from .first_gradient import start_up
from .networks import gradient_call
from .threads import with_threads
from .timing import compare

LARGE = "512x1024x1024"


def best(call: Callable[[], Any], seconds: float = 1.0) -> float:
    """Return the shortest of many samples."""
    call()
    end, shortest = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def peak(dtype: str) -> float:
    """Return multiply-adds per second of the register tile, everything in L1."""
    t, m, k = tile(dtype), 600, 256
    panel = plain_function("panel", "panel", dtype, words=15)
    a, b, c = np.ones(k, dtype), np.ones((k, t.nr), dtype), np.zeros(t.nr, dtype)
    words = (m, k, a.ctypes.data, 0, 1, 0, b.ctypes.data, t.nr, 0, 0,
             c.ctypes.data, 0, 0, 0, t.nr)  # fmt: skip
    return m * k * t.nr / best(lambda: panel(*words), 0.5)


def products(dtype: str, top: float) -> None:
    """Print what part of the peak the products of a 512x1024x1024 layer reach."""
    t, n, d, k = tile(dtype), 512, 1024, 1024
    gemm = plain_function("gemm", "gemm", dtype, words=15)
    pack = plain_function("gemm", "pack_b", dtype, words=6)
    rng = np.random.default_rng(0)
    x, w, g = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), (n, k)))
    space, packed, out = (np.empty(s, dtype) for s in (t.a_pack // t.itemsize, d * k, (d, k)))
    at = {name: a.ctypes.data for name, a in
          (("x", x), ("w", w), ("g", g), ("s", space), ("p", packed), ("o", out))}  # fmt: skip
    cases = {
        "x @ w": (n, k, d, at["x"], d, 1, (d, k, at["w"], k, 1, at["p"])),
        "grad_z @ w.T": (n, d, k, at["g"], k, 1, (k, d, at["w"], 1, k, at["p"])),
        "x.T @ grad_z": (d, k, 256, at["x"], 1, d, (256, k, at["g"], k, 1, at["p"])),
    }
    for name, (rows, columns, depth, a, a_row, a_col, b) in cases.items():
        words = (rows, columns, depth, a, a_row, a_col, at["p"], t.nr, t.nr * depth, 0,
                 at["o"], columns, 0, 0, at["s"])  # fmt: skip
        pack(*b)
        work = rows * columns * depth
        alone = work / best(lambda words=words: gemm(*words)) / top
        with_packing = work / best(lambda w=words, b=b: (pack(*b), gemm(*w))) / top
        print(f"  {name:14} {alone:4.0%} of the peak, {with_packing:4.0%} with packing its operand")


def spent(function: Callable[..., Any], words: tuple[int, ...], size: int) -> float:
    """Return a kernel's time minus the call's: the time of the same call with 0 for `size`."""
    nothing = (*words[:size], 0, *words[size + 1 :])
    return best(lambda: function(*words), 0.3) - best(lambda: function(*nothing), 0.1)


ROWS = {name: f"forward_{name}" for name in ("sigmoid", "tanh", "gelu", "softmax", "exp")}
WITH_SLOPE = "gelu with its slope"


def row_kernels(dtype: str, rows: int) -> dict[str, float]:
    """Return the times of row kernels over `rows` rows of 64 elements."""
    z = np.random.default_rng(0).standard_normal((rows, 64)).astype(dtype)
    y, times = np.empty_like(z), {}
    words = (z.ctypes.data, 64, y.ctypes.data, 64, rows, 64)
    for label, function in (ROWS | {WITH_SLOPE: "forward_and_slope_gelu"}).items():
        unit = f"rows.{function.rpartition('_')[2]}"
        if label == WITH_SLOPE:
            z *= 0.5  # its slopes replace it, and stay between 0 and 1.2 from then on
        times[label] = spent(plain_function(unit, function, dtype, words=6), words, size=4)
    return times


def elements(dtype: str) -> None:
    """Print the time of row kernels over 64 x 64 elements."""
    times = row_kernels(dtype, 64)
    shown = (f"{label} {time / 64**2 * 1e9:.2f}" for label, time in times.items())
    print(f"  ns per element: {', '.join(shown)}")


def parts(dtype: str, top: float) -> None:
    """Print what the kernels of a layer of 32x64x64 take, forward and backward."""
    t, n, d, k = tile(dtype), 32, 64, 64
    gemm = plain_function("gemm", "gemm", dtype, words=15)
    pack = plain_function("gemm", "pack_b", dtype, words=6)
    slope = plain_function("rows.tanh", "backward_y_tanh", dtype, words=8)
    x, w, g, y, out, packed, space, one = (
        np.ones(s, dtype)
        for s in (n * d, d * k, n * k, n * k, d * k, d * k, t.a_pack // t.itemsize, 1)
    )
    x_, w_, g_, y_, out_, packed_, space_, one_ = (
        a.ctypes.data for a in (x, w, g, y, out, packed, space, one)
    )
    times = {
        "x @ w": (gemm, (n, k, d, x_, d, 1, w_, k, t.nr, 0, out_, k, 0, 0, space_), 0),
        "packing w.T": (pack, (k, d, w_, 1, k, packed_), 1),
        "grad_z @ w.T": (
            gemm, (n, d, k, g_, k, 1, packed_, t.nr, t.nr * k, 0, out_, d, 0, 0, space_), 0
        ),
        "x.T @ grad_z": (gemm, (d, k, n, x_, 1, d, g_, k, t.nr, 0, out_, k, 0, 0, space_), 0),
        "grad_b": (gemm, (1, k, n, one_, 0, 0, g_, k, t.nr, 0, out_, k, 0, 0, space_), 0),
        "slope": (slope, (g_, k, y_, k, out_, k, n, k), 6),
    }  # fmt: skip
    shown = [f"{label} {spent(*case) * 1e6:.2f}" for label, case in times.items()]
    shown += [f"{label} {time * 1e6:.2f}" for label, time in row_kernels(dtype, n).items()]
    print(f"  32x64x64, us: multiply-adds {3 * n * d * k / top * 1e6:.1f}, {', '.join(shown)}")


def calls() -> None:
    """Print the time of calls so small that only their overhead counts."""
    x, w, b, g = (np.ones(s, np.float32) for s in ((1, 8), (8, 8), 8, (1, 8)))
    y, outs = np.empty_like(g), {"x": x.copy(), "w": w.copy(), "b": b.copy()}
    grads, lists = fg.DenseGrads(**outs), x.tolist()
    _, cache = fg.dense_forward(x, w, b, "tanh")
    net = fg.MLP((784, 100, 10), ("tanh", None), "softmax_cross_entropy")
    params, image = net.init(), np.ones((1, 784), np.float32)
    (w1, b1), (w2, b2) = net.layers(params)
    net.predict(params, image)
    cases: dict[str, Callable[[], Any]] = {
        "forward": lambda: fg.dense_forward(x, w, b, "tanh"),
        "backward": lambda: fg.dense_backward(g, cache),
        "forward, out=": lambda: fg.dense_forward(x, w, b, "tanh", out=y),
        "backward, out= a dict": lambda: fg.dense_backward(g, cache, out=outs),
        "backward, out= DenseGrads": lambda: fg.dense_backward(g, cache, out=grads),
        "forward of lists": lambda: fg.dense_forward(lists, w, b, "tanh"),
        "784-100-10, one sample": lambda: net.predict(params, image),
        "784-100-10, one sample, by hand in NumPy": lambda: np.tanh(image @ w1 + b1) @ w2 + b2,
    }
    for name, call in cases.items():
        print(f"  {name:42} {best(call, 0.3) * 1e6:.1f} us")


def two_threads() -> None:
    """Print by how much two threads are faster than one."""
    cases = {
        f"512x1024x1024 {dtype} {mode}": layer_call(
            "fastgrad", "relu", dtype, "512x1024x1024", mode
        )
        for dtype in DTYPES
        for mode in ("forward", "backward")
    }
    cases |= {
        f"network {s}": gradient_call("fastgrad", s) for s in ("256x1024", "64x4096", "64x64")
    }
    for name, call in cases.items():
        gain = compare(with_threads(2, call), with_threads(1, call), seconds=3.0).ratio
        print(f"  {name:32} {gain.median:.2f}x ({gain.p25:.2f}-{gain.p75:.2f})")
    fg.set_num_threads(1)


def memory() -> None:
    """Print how much a gradient over a million samples adds to the process."""
    net = fg.MLP((64,) * 4, ("tanh", "sigmoid", None), "mse")
    x = np.ones((1_000_000, 64), np.float32)
    params, out = net.init(), np.empty(net.size, np.float32)
    net.value_and_grad(params, x[:10], x[:10], out=out)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.value_and_grad(params, x, x, out=out)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"  a million samples of 64-64-64-64: {grown / 1024:.1f} MiB more (at most 16)")


def import_time() -> None:
    """Print what `import fastgrad` costs a script that imports NumPy anyway."""

    def run(code: str) -> float:
        variables = {**os.environ}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env=variables, check=True)
        return time.perf_counter() - start

    plain = min(run("import numpy") for _ in range(10))
    added = min(run("import numpy, fastgrad") for _ in range(10)) - plain
    print(f"  import fastgrad adds {added * 1000:.0f} ms to import numpy (at most 30)")


def main() -> None:
    """Print everything, or one part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--start-up", action="store_true", help="only the times of fresh processes")
    parser.add_argument("--wheel", type=Path, metavar="FILE",
                        help="also with the prebuilt kernels of this wheel")  # fmt: skip
    options = parser.parse_args()
    if not options.start_up:
        _speed()
    print("start-up, in turns, each with an empty cache or a warm one")
    import_time()
    start_up(options.wheel)


def _speed() -> None:
    fg.set_num_threads(1)
    for dtype in DTYPES:
        top = peak(dtype)
        print(f"{dtype}: {2 * top / 1e9:.1f} GFLOP/s of multiply-adds at most")
        products(dtype, top)
        elements(dtype)
        parts(dtype, top)
    print("calls, 1x8x8 float32")
    calls()
    print("two threads over one: median, quartiles")
    two_threads()
    print("memory")
    memory()


if __name__ == "__main__":
    main()
