"""Time the steps: ``python -m benchmarks.scripts [--only GROUP ...] [--peers] [--seconds S]``."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import fastgrad as fg

from ..common import measured_on
from ..limits import peak
from ..peers.__main__ import environment
from ..peers.documents import put_between
from ..timing import Call, Pair, compare
from . import GROUPS
from .adam import Alone
from .report import Alone as AloneRow
from .report import Peers, Row, of_optimizers, of_peers, of_scripts
from .script import Script

MARKS = (
    "<!-- scripts: written by `python -m benchmarks.scripts --peers --documents` -->",
    "<!-- end of scripts -->",
)
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
QUICK = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what each step takes; return 1 where a bar is missed or two do not agree."""
    options = _parser().parse_args(arguments)
    seconds = QUICK if options.quick else options.seconds
    where = measured_on()
    fg.set_num_threads(1)
    peers = _peers() if options.peers else {}
    rows: list[Row] = []
    alone: list[AloneRow] = []
    beside: list[Peers] = []
    wrong: list[str] = []
    for script in _scripts(options.only, options.match):
        if not script.agrees(script.ours()):
            wrong.append(f"{script.name}: fastgrad and by hand do not agree")
            continue
        pair = timed(script.ours().step, script.by_hand().step, seconds)
        if isinstance(script, Alone):
            least = timed(script.least(), script.ours().step, seconds / 3)
            alone.append(AloneRow(script.title, script.bar, pair, least.ours.median))
        else:
            least_seconds = script.multiply_adds / _peak(script.dtype)
            rows.append(Row(script.name, script.bar, pair, least_seconds))
        if peers:
            ratios = {}
            for name, peer in peers.items():
                ratios[name] = _beside(script, name, peer, seconds, wrong)
            beside.append(Peers(script.name, pair.ours.median, ratios))
    parts = [
        f"One thread of {where}. Medians of the processor's time in interleaved samples, "
        "each after an untimed call."
    ]
    if rows:
        parts.append(of_scripts(rows))
    if alone:
        parts.append(of_optimizers(alone))
    if beside:
        parts.append(", ".join(f"{n} {version(n)}" for n in ("torch", "jax", "optax") if _has(n)))
        parts.append(of_peers(beside, list(peers)))
        lost = [(row.name, n, r) for row in beside for n, r in row.ratios.items() if r < 1]
        if lost:
            parts.append("A peer is faster here:")
            parts.append("\n".join(f"- {name}: {peer} {r:.2f}x" for name, peer, r in lost))
    print("\n\n".join([*parts, *wrong]))
    if options.documents:
        put_between(MARKS, PERFORMANCE, "\n\n".join(parts))
    missed = [row for row in [*rows, *alone] if row.pair.ratio.median < row.bar]
    return int(bool(wrong or (missed and not options.quick)))


def timed(ours: Call, theirs: Call, seconds: float) -> Pair:
    """Time two steps as loops of their own would run, and not what else this machine does."""
    return compare(ours, theirs, seconds, warm=True, processor=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts")
    add = parser.add_argument
    add("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    add("--match", default="", metavar="TEXT", help="only scripts with this in their name")
    add("--seconds", type=float, default=3.0, help="for each step, and each peer (default: 3)")
    add("--quick", action="store_true", help="do they agree? Times are too rough for the bars")
    add("--peers", action="store_true", help="time PyTorch and JAX, too, where they are installed")
    add("--documents", action="store_true", help="write the tables of docs/performance.md")
    return parser


def _scripts(groups: Sequence[str], match: str) -> Iterator[Script]:
    for group in groups:
        for make in GROUPS[group]:
            script = make()
            if match in script.name:
                yield script


@functools.cache
def _peak(dtype: str) -> float:
    """Return the machine's multiply-adds per second."""
    return peak(dtype)


def _has(package: str) -> bool:
    return find_spec(package) is not None


def _peers() -> dict[str, Any]:
    """Return the peers that are installed; all of them, and XLA, in one thread."""
    os.environ.update(environment(1))
    found: dict[str, Any] = {}
    if _has("torch"):
        from .with_torch import Torch

        found |= {"PyTorch, foreach": Torch(fused=False), "PyTorch, fused": Torch(fused=True)}
    if _has("jax") and _has("optax"):
        from .with_jax import Jax

        found["JAX"] = Jax()
    return found


def _beside(script: Script, name: str, peer: Any, seconds: float, wrong: list[str]) -> float:
    """Return how many times as long a peer takes; NaN where it has no such step."""
    make: Callable[[Script], Any] = peer.run
    run = make(script)
    if run is None:
        return nan
    other = script.random or (name.startswith("PyTorch") and script.name.startswith("gru"))
    if not other and not script.agrees(run):
        wrong.append(f"{script.name}: {name} and by hand do not agree")
        return nan
    return timed(script.ours().step, run.step, seconds).ratio.median


if __name__ == "__main__":
    sys.exit(main())
