"""Time the steps: ``python -m benchmarks.scripts [--only GROUP ...] [--seconds S]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import fastgrad as fg
from fastgrad.terminal import duration, factor, table

from ..common import measured_on
from ..timing import compare
from . import GROUPS


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what each step takes; return 1 where a bar is missed or the two do not agree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each step")
    options = parser.parse_args(arguments)
    where = measured_on()
    fg.set_num_threads(1)
    rows, ratios, wrong = [], [], False
    for group in options.only:
        for step in GROUPS[group]():
            if not step.agrees():
                print(f"{step.name}: the two do not agree")
                wrong = True
                continue
            pair = compare(step.ours, step.by_hand, options.seconds)
            ratio = pair.ratio.median
            ratios.append(ratio)
            missed = "" if ratio >= step.bar else "MISSED"
            wrong |= bool(missed)
            times = duration(pair.theirs.median), duration(pair.ours.median)
            rows.append([step.name, *times, factor(ratio), factor(step.bar), missed])
    print(table(["step", "by hand", "fastgrad", "ratio", "at least", ""], rows))
    if ratios:
        print(f"geometric mean {factor(float(np.exp(np.mean(np.log(ratios)))))}; {where}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
