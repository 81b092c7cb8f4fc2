"""Gradients that take new memory at each call: their time, and the pages that the system maps.

Calls are made in blocks, not alternately: the end of the heap after one call decides what the next
call costs, and the other library's calls in between would hide that.
"""

from __future__ import annotations

import resource
import statistics
from collections.abc import Iterator
from itertools import product
from time import perf_counter
from typing import NamedTuple

import fastgrad as fg

from .common import DTYPES, Call, normal

__all__ = ["Cost", "large_gradients"]

BLOCK = 10  # calls

# Samples, inputs, outputs: grad_x is far larger than grad_w, as large, or far smaller.
SHAPES = ((209, 12288, 20), (2000, 784, 10), (64, 4096, 1000), (20000, 64, 10))


class Cost(NamedTuple):
    """Of one call."""

    seconds: float
    pages: float


def large_gradients(match: str, seconds: float) -> Iterator[tuple[str, tuple[Cost, Cost]]]:
    """Yield each layer's name with what its backward pass costs fastgrad, and NumPy."""
    for (n, d, k), dtype in product(SHAPES, DTYPES):
        name = f"backward {n}x{d}x{k} {dtype}"
        if match not in name:
            continue
        x, w, b, g = (normal(i, dtype, *s) for i, s in enumerate(((n, d), (d, k), (k,), (n, k))))
        _, cache = fg.dense_forward(x, w, b)
        ours: Call = lambda g=g, c=cache: fg.dense_backward(g, c)  # noqa: E731
        theirs: Call = lambda g=g, x=x, w=w: (g @ w.T, x.T @ g, g.sum(axis=0))  # noqa: E731
        yield name, blocks(ours, theirs, seconds)


def blocks(ours: Call, theirs: Call, seconds: float) -> tuple[Cost, Cost]:
    """Return the medians over blocks of calls, both libraries' blocks in turns."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    ours(), theirs()
    end = perf_counter() + seconds
    while len(costs[0]) < 3 or perf_counter() < end:
        for call, found in zip((ours, theirs), costs, strict=True):
            call()  # the first call after the other library's is not counted
            start, before = perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(BLOCK):
                call()
            after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found.append(Cost((perf_counter() - start) / BLOCK, (after - before) / BLOCK))
    first, second = (Cost(*map(statistics.median, zip(*of, strict=True))) for of in costs)
    return first, second
