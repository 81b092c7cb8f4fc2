"""What limits `fastgrad.dask`: ``python -m benchmarks.scaling``.

Measures, on this machine, what a step over blocks costs beside the blocks' own work, and two
one-thread workers beside one. From these constants it writes what efficiency larger clusters can
have: a model, not a measurement.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastgrad as fg
from fastgrad.terminal import duration, factor, table

from .common import measured_on

WORKERS = (8, 64, 1000)
PARAMETERS = (10**4, 10**5, 10**6, 10**7, 10**8)
# What a network of machines carries; a machine's own loopback is no measure of it.
WIRE = 10e9 / 8  # bytes per second: 10 Gbit/s


class Constants(NamedTuple):
    """Seconds, and bytes per second."""

    step: float  # of a step of one block without work
    task: float  # of one block more
    moves: float  # bytes per second from worker to worker, with what Dask does to them
    adds: float  # bytes per second of gradients added


def median_of(call: Callable[[], Any], times: int) -> float:
    call()
    taken = []
    for _ in range(times):
        began = perf_counter()
        call()
        taken.append(perf_counter() - began)
    return statistics.median(taken)


def step(net: fg.MLP, blocks: list[Any], targets: list[Any] | None) -> Callable[[], Any]:
    from fastgrad.dask import value_and_grad

    params = net.init()
    return lambda: value_and_grad(net, params, blocks, targets)


def constants() -> Constants:
    small = fg.MLP((1, 1), (None,), "mse")
    one = np.ones((1, 1), np.float32)
    few, many = 1, 201
    first, last = (median_of(step(small, [one] * n, [one] * n), 9) for n in (few, many))
    wide = fg.MLP((1000, 5000), (None,), "squared_l2", dtype="float32")  # 5e6 parameters, 20 MB
    x = np.zeros((1, 1000), np.float32)
    size = 4 * wide.size
    alone = median_of(step(wide, [x], None), 5)
    nine = median_of(step(wide, [x] * 9, None), 5)
    a, b = np.zeros(wide.size, np.float32), np.ones(wide.size, np.float32)
    adds = size / median_of(lambda: np.add(a, b, out=a), 9)
    moves = 8 * size / max(nine - alone - 8 * size / adds, 1e-9)
    return Constants(first, (last - first) / (many - few), moves, adds)


def two_workers(seconds: float) -> tuple[float, float]:
    """Return the seconds of a step of 8 blocks on one and on two workers of one thread."""
    import dask
    from distributed import Client, LocalCluster

    net = fg.MLP((784, 256, 10), ("tanh", None), "softmax_cross_entropy")
    rng = np.random.default_rng(0)
    n = 4096
    x, t = rng.standard_normal((n, 784)).astype("f"), rng.integers(0, 10, n)
    fg.set_num_threads(1)
    rate = n / median_of(lambda: net.value_and_grad(net.init(), x, t), 5)
    each = max(n, int(rate * seconds / 8))
    taken = []
    for workers in (1, 2):
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as made,
            Client(made),
        ):
            xs = [dask.delayed(_random)(i, each) for i in range(8)]
            ts = [dask.delayed(_classes)(i, each) for i in range(8)]
            xs, ts = dask.persist(xs, ts)
            taken.append(median_of(step(net, list(xs), list(ts)), 5))
    return taken[0], taken[1]


def _random(seed: int, n: int) -> Any:
    return np.random.default_rng(seed).standard_normal((n, 784), np.float32)


def _classes(seed: int, n: int) -> Any:
    return np.random.default_rng(seed).integers(0, 10, n)


def efficiency(c: Constants, workers: int, parameters: int, seconds: float) -> tuple[float, str]:
    """Return the share of a step that is the blocks' work, and what takes most of the rest.

    One block of `seconds` for each worker. The scheduler handles tasks one after the other; the
    vector goes from worker to worker, twice as many having it each time; sums go up a tree of 8.
    """
    size, moves = 4 * parameters, min(c.moves, WIRE)
    levels = math.ceil(math.log(workers, 8))
    tasks = workers + sum(math.ceil(workers / 8**i) for i in range(1, levels + 1))
    costs = {
        "scheduler": c.step + tasks * c.task,
        "parameters": math.ceil(math.log2(workers)) * size / moves,
        "tree": levels * 7 * (size / moves + size / c.adds) + 2 * size / moves,
    }
    return seconds / (seconds + sum(costs.values())), max(costs, key=costs.__getitem__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print constants, two workers beside one, and the model's table."""
    from distributed import Client, LocalCluster

    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a step on one worker")
    options = parser.parse_args(arguments)
    where = measured_on()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made,
        Client(made),
    ):
        c = constants()
    one, two = two_workers(options.seconds)
    rows = [
        ["a step of one empty block", duration(c.step)],
        ["each further block", duration(c.task)],
        ["gradients from worker to worker", f"{c.moves / 1e9:.2f} GB/s"],
        ["adding gradients", f"{c.adds / 1e9:.2f} GB/s"],
        ["8 blocks on one worker", duration(one)],
        ["8 blocks on two workers", f"{duration(two)}, {factor(one / two)}"],
    ]
    print(table(["measured", ""], rows))
    for seconds in (1.0, 10.0):
        rows = []
        for parameters in PARAMETERS:
            cells = [efficiency(c, workers, parameters, seconds) for workers in WORKERS]
            rows.append([f"{parameters:.0e}", *(f"{e:.0%} ({what})" for e, what in cells)])
        print(f"\nblocks of {seconds:.0f} s, one per worker, at most 10 Gbit/s:")
        print(table(["parameters", *(f"{workers} workers" for workers in WORKERS)], rows))
    print(where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
