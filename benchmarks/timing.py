"""Two functions timed in turns."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Pair", "Spread", "compare"]

# Seconds of calls in a sample: far above the clock's resolution, and far below the time after
# which a busy machine gives the processor to another process.
SAMPLE = 2e-4
ROUNDS = 5, 2001  # at least and at most

Call = Callable[[], Any]


class Spread(NamedTuple):
    """The median and the quartiles around it."""

    median: float
    p25: float
    p75: float


class Pair(NamedTuple):
    """Seconds per call of both, and their ratio round by round: theirs over ours."""

    ours: Spread
    theirs: Spread
    ratio: Spread
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Spread(float(middle), float(low), float(high))


def compare(
    ours: Call, theirs: Call, seconds: float, *, warm: bool = False, processor: bool = False
) -> Pair:
    """Time for about so many seconds, with at least `ROUNDS[0]` rounds.

    With `warm`, a call that is not timed precedes each sample: the caches hold what this function
    left in them, as in a loop of its own, and not what the other one did. With `processor` the
    time is the processor's for this process: a busy machine gives it to others in between.
    """
    calls = (ours, theirs)
    clock = process_time if processor else perf_counter
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        # The first call may compile; the second says how many make a sample.
        once = [min(sample(call, 1, clock) for _ in range(3)) for call in calls]
        times = [max(1, math.ceil(SAMPLE / t)) for t in once]
        samples: list[tuple[float, float]] = []
        end = perf_counter() + seconds
        while len(samples) < ROUNDS[0] or (perf_counter() < end and len(samples) < ROUNDS[1]):
            pair = {}
            for i in (0, 1) if len(samples) % 2 == 0 else (1, 0):
                if warm:
                    calls[i]()
                pair[i] = sample(calls[i], times[i], clock)
            samples.append((pair[0], pair[1]))
    finally:
        if collecting:
            gc.enable()
    first_all, second_all = zip(*samples, strict=True)
    ratios = [b / a for a, b in samples]
    return Pair(spread(first_all), spread(second_all), spread(ratios), len(samples))


def sample(call: Call, times: int, clock: Callable[[], float] = perf_counter) -> float:
    """Return the seconds that one of so many calls takes."""
    start = clock()
    for _ in range(times):
        call()
    return (clock() - start) / times
