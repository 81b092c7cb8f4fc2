"""The process of one build: on command, it makes the same calls as the other build's process.

`benchmarks.compare_builds` starts two of them. Each reads commands from standard input, one line of
JSON each, and answers with a line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from time import perf_counter
from typing import Any

__all__ = ["GROUPS", "cells"]

Call = Callable[[], Any]
Cells = Iterator[tuple[str, Call]]
# Groups of `benchmarks.calls`, of `benchmarks.cliffs`, the workloads of `benchmarks.peers`, and
# `SHAPES` of every layer.
GROUPS = ("layers", "activations", "losses", "networks", "cliffs", "workloads", "shapes")
SHAPES = ("1x8x8", "32x64x64", "256x784x256", "4096x64x64")
LAYERS = ("identity", "sigmoid", "tanh", "relu", "softmax", "gelu")


def cells(group: str) -> Cells:
    """Yield the names and calls of a group, made by the fastgrad of this process."""
    import fastgrad as fg

    if group == "cliffs":
        from . import cliffs

        for title, made in cliffs.GROUPS.items():
            yield from ((f"{title}: {cliff.name}", cliff.ours) for cliff in made())
    elif group == "shapes":
        from .common import DTYPES, layer_call

        for cell in product(SHAPES, DTYPES, LAYERS, ("forward", "backward", "both")):
            shape, dtype, layer, mode = cell
            yield " ".join(cell), layer_call("fastgrad", layer, dtype, shape, mode)
    elif group == "workloads":
        from .peers import worker, workloads
        from .peers.implementations import load

        ours = load("fastgrad", 1)
        for cell in workloads.cells():
            yield f"{cell.workload}: {cell.label}", worker.call_of(cell, ours)
    else:
        from . import calls

        yield from getattr(calls, group)(fg)


def answers() -> Iterator[Any]:
    """Yield each command's result; the first is where fastgrad was imported from."""
    import fastgrad as fg

    fg.set_num_threads(1)
    gc.disable()
    yield fg.__file__
    current: Cells = iter(())
    call: Call = lambda: None  # noqa: E731
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "group":
            current = cells(arguments[0])
            yield None
        elif command == "next":  # the name of the next call; None after the last; an error
            try:
                name, call = next(current, (None, lambda: None))
            except Exception as error:  # an old build lacks what the rest of the group needs
                name, call = {"error": f"{type(error).__name__}: {error}"}, lambda: None
            yield name
        elif command == "warm":  # seconds of one call; the error, if it raises one
            yield _warm(call)
        else:  # "time": seconds of each of so many calls, after one that warms the caches
            call()
            start = perf_counter()
            for _ in range(arguments[0]):
                call()
            yield (perf_counter() - start) / arguments[0]


def _warm(call: Call) -> float | str:
    gc.collect()
    try:
        call()
        start = perf_counter()
        call()
        call()
        return (perf_counter() - start) / 2
    except Exception as error:  # this build does not have it, or refuses it
        return f"{type(error).__name__}: {error}"


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {int(sys.argv[1])})
    for answer in answers():
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
