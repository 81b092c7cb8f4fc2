"""The command `python -m benchmarks.peers`: arguments, a process per peer, and the outputs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastgrad.command.blas import slowed
from fastgrad.command.cli import output_path, thread_count
from fastgrad.terminal import Progress

from . import documents
from .bars import checklist, verdicts
from .implementations import PEERS
from .report import markdown, means, report, rows_of
from .workloads import WORKLOADS, Cell, cells

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
QUICK_PEERS = ("numpy", "torch", "jax")
MAY_FAIL = {"torch.compile"}  # it needs a C++ compiler, and does not take everything


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0; 1 if results disagree or a peer fails; 2 for bad arguments."""
    parser = _parser()
    try:
        args = parser.parse_args(argv)
        if args.load is None and (sentence := slowed()):
            parser.error(sentence)
        if args.documents and (args.match or args.quick or args.workloads != list(WORKLOADS)):
            parser.error("--documents writes tables of all cells: leave the choice of cells out")
        plan = cells(args.workloads, args.quick, args.match)
        if not plan:
            parser.error(f"no cell is called {args.match!r}")
        found = _measure(args, plan) if args.load is None else args.load
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return 130
    return _show(found, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Verify and time fastgrad beside NumPy, PyTorch, JAX, autograd and "
        "scikit-learn. Exit status 1 if any result disagrees. pip install '.[peers]' gets them.",
    )
    add = parser.add_argument
    add(
        "--peers",
        type=_names(PEERS),
        metavar="NAME,...",
        help=f"default: those installed of {','.join(PEERS)} (quick: {','.join(QUICK_PEERS)})",
    )
    add(
        "--workloads",
        type=_names(WORKLOADS),
        default=list(WORKLOADS),
        metavar="NAME,...",
        help=f"default: {','.join(WORKLOADS)}",
    )
    add(
        "--match",
        default="",
        metavar="TEXT",
        help="only cells with this in their name, such as 'tanh 1x8x8 float32 both'",
    )
    add("--threads", type=thread_count, default=1, metavar="N", help="of each library (default: 1)")
    add(
        "--seconds",
        type=float,
        metavar="S",
        help="of timing per cell and peer (default: 0.3; documents: 0.2; quick: 0.05)",
    )
    add("--quick", action="store_true", help="a few small cells and three peers")
    add(
        "--from-numpy",
        action="store_true",
        help="let peers convert from NumPy arrays, and back, at each call (but in training)",
    )
    add("--json", type=output_path, metavar="FILE", help="write everything there")
    add("--load", type=_input, metavar="FILE", help="show what --json wrote; measure nothing")
    add("--chart", type=output_path, metavar="FILE.png", help="draw it (needs matplotlib)")
    add(
        "--markdown",
        type=output_path,
        metavar="FILE",
        help="write the table of docs/performance.md there",
    )
    add("--documents", action="store_true",
        help="write the tables of README.md and docs/performance.md, in place: all cells, beside "
        f"{','.join(documents.PEERS)} unless told otherwise (some 9 minutes)")  # fmt: skip
    add("--progress", action=argparse.BooleanOptionalAction,
        help="show a progress bar (default: if standard error is a terminal)")  # fmt: skip
    return parser


def _names(known: Sequence[str] | dict[str, Any]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(filter(None, text.split(","))))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"unknown {', '.join(map(repr, unknown)) or 'nothing'}: choose from "
                f"{', '.join(known)}"
            )
        return names

    return parse


def _input(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(Path(text).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error}") from None
    return found


# -- measuring ---------------------------------------------------------------------------------


def _measure(args: argparse.Namespace, plan: Sequence[Cell]) -> dict[str, Any]:
    usual = documents.PEERS if args.documents else QUICK_PEERS if args.quick else PEERS
    wanted = args.peers or list(usual)
    there = [name for name in wanted if find_spec(PEERS[name].module)]
    seconds = args.seconds or (0.05 if args.quick else 0.2 if args.documents else 0.3)
    records: list[dict[str, Any]] = []
    crashed: dict[str, str] = {}
    start = time.monotonic()
    with Progress(args.progress) as progress:
        for i, peer in enumerate(there):
            task = {
                "peer": peer, "cells": [asdict(cell) for cell in plan], "seconds": seconds,
                "threads": args.threads, "from_numpy": args.from_numpy,
            }  # fmt: skip
            try:
                for done, record in enumerate(_work(task)):
                    records.append({"peer": peer, **record})
                    following = plan[done + 1].label if done + 1 < len(plan) else ""
                    progress.update(
                        i * len(plan) + done + 1, len(there) * len(plan), f"{peer}: {following}"
                    )
            except RuntimeError as error:
                crashed[peer] = str(error)
    return {
        "about": _about(there, args, seconds),
        "missing": [name for name in wanted if name not in there],
        "crashed": crashed,
        "elapsed": time.monotonic() - start,
        "cells": [asdict(cell) for cell in plan],
        "records": records,
    }


def environment(threads: int) -> dict[str, str]:
    """Return a worker's environment: as many threads for everybody, read at import."""
    flags = [os.environ.get("XLA_FLAGS", "")]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    return {
        **os.environ,
        "BENCHMARK_THREADS": str(threads),  # benchmarks/__init__.py passes it on
        "NPROC": str(threads),  # of XLA's pool
        "XLA_FLAGS": " ".join(filter(None, flags)),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }


def _work(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the process of one peer finds; raise RuntimeError if it dies."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker"],
            env=environment(task["threads"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError), process.stdin as stdin:  # dead: its status tells
                json.dump(task, stdin)
            yield from map(json.loads, process.stdout)
            if process.wait():
                errors.seek(0)
                raise RuntimeError("".join(errors.readlines()[-20:]))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _about(peers: Sequence[str], args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    from fastgrad.command.machine import facts

    about = facts()
    return {
        "fastgrad": about["fastgrad"],
        "processor": about["processor"],
        "BLAS": about["BLAS"],
        "python": about["python"],
        "versions": {PEERS[name].package: version(PEERS[name].package) for name in peers},
        "threads": args.threads,
        "seconds per cell": seconds,
        "from NumPy": args.from_numpy,
    }


# -- showing -----------------------------------------------------------------------------------


def _show(found: dict[str, Any], args: argparse.Namespace) -> int:
    rows = rows_of((Cell(**cell) for cell in found["cells"]), found["records"])
    footnote = footnote_of(found["about"])
    failed = {peer for row in rows for peer in row.reasons if peer not in row.wrong} - MAY_FAIL
    ok = not (found["crashed"] or failed or any(row.wrong for row in rows))
    if args.json is not None:
        bars = [dict(zip(("bar", "wanted", "measured", "verdict"), v, strict=True))
                for v in verdicts(rows)]  # fmt: skip
        content = {"ok": ok, **found, "geometric_means": means(rows), "bars": bars}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    if args.markdown is not None:
        args.markdown.write_text(markdown(rows))
    if args.chart is not None:
        from .chart import draw

        draw(rows, args.chart, footnote)
    if args.documents:
        documents.write(rows, found["about"], found["elapsed"], ROOT)
    # Last: whoever reads it may stop.
    print(f"{footnote}\n\n{report(rows)}\n\n{checklist(rows)}\n")
    for name in found["missing"]:
        print(f"{PEERS[name].title} is not installed: pip install '.[peers]'")
    for name, error in found["crashed"].items():
        print(f"{PEERS[name].title}'s process died:\n{error}")
    print(f"{len(rows)} cells, {len(found['records'])} comparisons in {found['elapsed']:.0f} s")
    for path in filter(None, (args.json, args.markdown, args.chart)):
        print(f"wrote {path}")
    return 0 if ok else 1


def footnote_of(about: dict[str, Any]) -> str:
    """Return what was measured on what, in a sentence or two."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    blas = f" (NumPy on {about['BLAS']})" if "BLAS" in about else ""  # not in files of old
    threads = "one thread" if about["threads"] == 1 else f"{about['threads']} threads"
    arrays = "peers convert from and to NumPy" if about["from NumPy"] else "peers' own arrays"
    return (
        f"{about['processor']}, {threads}, {arrays}. fastgrad {about['fastgrad']}, "
        f"{versions}{blas}. Medians of interleaved samples."
    )


if __name__ == "__main__":
    sys.exit(main())
