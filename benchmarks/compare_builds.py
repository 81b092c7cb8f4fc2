"""Two builds of fastgrad side by side: did anything become slower?

    python -m benchmarks.compare_builds REV             # a commit, and the files as they are
    python -m benchmarks.compare_builds OLD NEW         # two commits
    python -m benchmarks.compare_builds HEAD~3 --groups layers,networks --match float32
    python -m benchmarks.compare_builds . . --groups shapes --new-set NUMBA_CPU_NAME=x86-64-v4

Each build has its own process, on the same processor, with the same benchmarks (those of this
tree). Old and new take turns every millisecond or two, so that a busy moment of the machine hits
both. A cell's ratio is the smaller of two: the median of the ratios of neighbours, and the fastest
over the fastest. A cell that is more than `--limit` slower is measured again, longer, by new
processes (memory addresses differ between processes, which can cost a few per cent): it counts only
if it is slower each time. A build may also be a directory that holds `fastgrad/`. Exit
status 1 if a cell is slower.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from fastgrad.terminal import Progress, duration, factor, table

from .build_worker import GROUPS

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
SAMPLE = 1e-3  # seconds of calls: long compared with a switch of processes
ROUNDS = 7  # at least
AGAIN = 3, 5  # how often a slower cell is measured again, and how many times as long


class Found(NamedTuple):
    """A cell: median seconds per call of both builds, and the ratio, new over old."""

    old: float
    new: float
    ratio: float


class Refused(NamedTuple):
    """A cell that one build cannot do, and why."""

    build: str
    reason: str


class Worker:
    """A process with one build."""

    def __init__(
        self, build: Path, core: int, processes: ExitStack, variables: dict[str, str]
    ) -> None:
        self._process = processes.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.build_worker", str(core)],
                env={
                    **os.environ, **variables,
                    "PYTHONPATH": os.pathsep.join([str(build), str(ROOT)]),
                },
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=build,
            )
        )  # fmt: skip
        processes.callback(self._process.kill)
        found = Path(self._answer())
        if found.parents[1].resolve() != build.resolve():
            raise SystemExit(f"compare_builds: {build} was to be measured, {found} was imported")

    def ask(self, *command: Any) -> Any:
        """Send a command and return the answer."""
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("compare_builds: a build's process died; what it said is above")
        return json.loads(line)


def measure(
    builds: Sequence[Path], groups: Sequence[str], seconds: float, core: int,
    match: str = "", only: Sequence[str] | None = None, bar: Progress | None = None,
    newer_first: bool = False, variables: Sequence[dict[str, str]] = ({}, {}),
) -> dict[str, Found | Refused]:  # fmt: skip
    """Return the time of each cell with `match` in its name, or of the cells named."""
    results: dict[str, Found | Refused] = {}
    with ExitStack() as processes:
        order = (1, 0) if newer_first else (0, 1)
        started = {i: Worker(builds[i], core, processes, variables[i]) for i in order}
        workers = [started[0], started[1]]
        for index, group in enumerate(groups):
            for worker in workers:
                worker.ask("group", group)
            while True:
                old_name, new_name = (worker.ask("next") for worker in workers)
                if isinstance(old_name, dict) or isinstance(new_name, dict):
                    lacking = ("old", old_name) if isinstance(old_name, dict) else ("new", new_name)
                    results[f"{group}, the rest"] = Refused(lacking[0], lacking[1]["error"])
                    break
                if old_name != new_name:
                    raise SystemExit(
                        f"compare_builds: {group}: one build has {old_name!r} where the other has "
                        f"{new_name!r}"
                    )
                if new_name is None:
                    break
                name = f"{group}, {new_name}"
                if match not in name or not (only is None or name in only):
                    continue
                if bar is not None:
                    bar.update(index, len(groups), f"{len(results)}: {name}")
                results[name] = _cell(workers, seconds)
    return results


def _cell(workers: Sequence[Worker], seconds: float) -> Found | Refused:
    once = [worker.ask("warm") for worker in workers]
    for build, answer in zip(("old", "new"), once, strict=True):
        if isinstance(answer, str):
            return Refused(build, answer)
    calls = max(1, math.ceil(SAMPLE / max(min(once), 1e-9)))
    samples: list[tuple[float, float]] = []
    end = perf_counter() + seconds
    while len(samples) < ROUNDS or perf_counter() < end:
        order = (0, 1) if len(samples) % 2 else (1, 0)
        taken = {i: workers[i].ask("time", calls) for i in order}
        samples.append((taken[0], taken[1]))
    old, new = zip(*samples, strict=True)
    ratio = min(statistics.median(n / o for o, n in samples), min(new) / min(old))
    return Found(statistics.median(old), statistics.median(new), ratio)


def copy_of(name: str, place: Path) -> Path:
    """Make `place` a directory with `fastgrad/` of a commit or of another directory in it.

    Both builds are copies, in paths of the same length, so that only their sources differ, and
    edits during the run have no effect.
    """
    place.mkdir()
    if Path(name, "fastgrad").is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(name, "fastgrad"), place / "fastgrad", ignore=ignored)
        return place
    command = ["git", "archive", "--format=tar", name, "fastgrad"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    if done.returncode:
        raise SystemExit(f"compare_builds: {name}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(place, filter="data")
    return place


def _report(found: dict[str, Found | Refused]) -> str:
    """Return a line per group: geometric mean and extremes of the ratios."""
    groups: dict[str, list[float]] = {}
    for name, cell in found.items():
        if isinstance(cell, Found):
            groups.setdefault(name.partition(",")[0], []).append(cell.ratio)
    lines = [
        [group, str(len(r)), factor(statistics.geometric_mean(r)), factor(min(r)), factor(max(r))]
        for group, r in groups.items()
    ]
    return table(["new over old", "cells", "geometric mean", "least", "most"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if the new build is slower anywhere."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare_builds", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("old", help="a commit, or a directory with fastgrad/ in it")
    add("new", nargs="?", default=str(ROOT), help="another (default: the files here)")
    add("--groups", default=",".join(GROUPS[:-2]), help=f"some of {', '.join(GROUPS)} "
        "(default: all but the last two)")  # fmt: skip
    for option, kind in (("--old-set", "old"), ("--new-set", "new")):
        add(option, action="append", default=[], metavar="NAME=VALUE", type=_variable,
            help=f"an environment variable of the {kind} build's process")  # fmt: skip
    add("--match", default="", metavar="TEXT", help="only cells with this in their name")
    add("--seconds", type=float, default=0.05, help="per cell (default: 0.05)")
    add("--limit", type=float, default=0.03, help="what counts as slower (default: 0.03)")
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="default: the last")
    options = parser.parse_args(arguments)
    groups = options.groups.split(",")
    if unknown := [group for group in groups if group not in GROUPS]:
        parser.error(f"no group is called {unknown[0]!r}: choose from {', '.join(GROUPS)}")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        builds = [copy_of(getattr(options, kind), home / kind) for kind in ("old", "new")]
        bar = stack.enter_context(Progress())
        variables = dict(options.old_set), dict(options.new_set)
        found = measure(
            builds, groups, options.seconds, options.core, options.match, bar=bar,
            variables=variables,
        )  # fmt: skip
        slower = {n: [c] for n, c in found.items() if _is_slower(c, options.limit)}
        times, longer = AGAIN
        first = len(slower)
        for turn in range(times if slower else 0):
            again = measure(
                builds, sorted({n.partition(",")[0] for n in slower}, key=groups.index),
                longer * options.seconds, options.core, only=list(slower), bar=bar,
                newer_first=turn % 2 == 0, variables=variables,
            )  # fmt: skip
            slower = {
                n: [*before, again[n]]
                for n, before in slower.items()
                if _is_slower(again[n], options.limit)
            }
    print(f"{options.old} beside {'the files here' if options.new == str(ROOT) else options.new}")
    print(f"{_report(found)}\n")
    for name, cell in found.items():
        if isinstance(cell, Refused):
            print(f"not in the {cell.build} build: {name}: {cell.reason}")
    print(f"{first} cells of {len(found)} seemed more than {options.limit:.0%} slower; measured "
          f"{times} times more, each time by new processes, {len(slower)} are")  # fmt: skip
    if slower:
        header = ["slower", "old", "new", "ratio, each time"]
        ranked = sorted(slower.items(), key=lambda item: -min(c.ratio for c in item[1]))
        lines = [
            [n, duration(c[-1].old), duration(c[-1].new), " ".join(f"{f.ratio:.3f}" for f in c)]
            for n, c in ranked
        ]
        print("\n" + table(header, lines))
    return 1 if slower else 0


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return name, value


def _is_slower(cell: Found | Refused, limit: float) -> bool:
    return isinstance(cell, Found) and cell.ratio > 1 + limit


if __name__ == "__main__":
    sys.exit(main())
