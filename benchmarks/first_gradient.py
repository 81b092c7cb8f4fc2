"""Fresh processes, from their start to their first gradient: compiled, prebuilt, cached.

`python -m benchmarks.limits --start-up --wheel FILE` prints it. FILE is what
``FASTGRAD_PREBUILD=1 pip wheel --no-deps .`` has built; without one, prebuilt kernels are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["start_up"]

ROOT = Path(__file__).parents[1]
ROUNDS = 3

LAYER = """
x, w, b = (np.sin(np.arange(12.0, dtype="f4") + i).reshape(s)
           for i, s in enumerate(((4, 3), (3, 4), (4, 3))))
y, cache = fg.dense_forward(x, w, b[0, :1].repeat(4), "gelu")
results = y, *fg.dense_backward(y, cache)[:3]
"""
NETWORK = """
net = fg.MLP((5, 7, 6, 3), ("tanh", "sigmoid", None), "mse")
x = np.sin(np.arange(64.0, dtype="f4")).reshape(8, 8)
value, grad = net.value_and_grad(net.init(seed=0), x[:, :5], x[:, 5:])
results = np.array(value), grad
"""
TELL = """
import hashlib, json, sys
from fastgrad.kernels.toolchain.library import LIBRARY
bits = hashlib.sha256(b"".join(np.ascontiguousarray(r).tobytes() for r in results)).hexdigest()
origins = sorted(set(LIBRARY.origins.values()))
print(json.dumps([fg.__file__, bits, origins, "numba" in sys.modules]))
"""


class Start(NamedTuple):
    """A process: its seconds, its results' bits, where its kernels were from, Numba or not."""

    seconds: float
    bits: str
    origins: tuple[str, ...]
    numba: bool


def _run(build: Path, body: str, cache: str, tell: bool) -> Start:
    """Run a process of a build; `tell` costs some milliseconds and is not to be timed."""
    variables = {
        **os.environ, "PYTHONPATH": str(build), "FASTGRAD_CACHE_DIR": cache,
    }  # fmt: skip
    for name in ("PYTHONDONTWRITEBYTECODE", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        variables.pop(name, None)  # pip compiles what it installs
    code = f"import numpy as np, fastgrad as fg\n{body}{TELL if tell else ''}"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, check=True, capture_output=True, cwd=build
    )
    seconds = time.perf_counter() - start
    if not tell:
        return Start(seconds, "", (), False)
    where, bits, origins, numba = json.loads(done.stdout)
    if Path(where).parents[1].resolve() != build.resolve():
        raise SystemExit(f"{build} was to be measured, {where} was imported")
    return Start(seconds, bits, tuple(origins), numba)


def start_up(wheel: Path | None) -> None:
    """Print the times of `ROUNDS` processes of each kind, taken in turns: medians."""
    with tempfile.TemporaryDirectory() as place:
        builds = {"compiled": ROOT, "cached": ROOT}
        if wheel is not None:
            with zipfile.ZipFile(wheel) as content:
                content.extractall(Path(place, "wheel"))
            builds["prebuilt"] = Path(place, "wheel")
            told = hashlib.sha256(wheel.read_bytes()).hexdigest()[:8]
            size = wheel.stat().st_size / 2**20
            print(f"  {wheel.name} ({told}): {size:.2f} MiB (at most 6)")
        for name, body in (("layer with gelu", LAYER), ("network", NETWORK)):
            _report(name, body, builds, Path(place, name.split()[0]))


def _report(name: str, body: str, builds: dict[str, Path], place: Path) -> None:
    caches = {kind: place / kind for kind in builds}

    def cache(kind: str, turn: int) -> str:
        return str(caches[kind] if kind == "cached" else caches[kind] / str(turn))

    told = {kind: _run(build, body, cache(kind, -1), tell=True) for kind, build in builds.items()}
    told["cached"] = _run(builds["cached"], body, cache("cached", -1), tell=True)
    taken: dict[str, list[float]] = {kind: [] for kind in builds}
    for turn in range(ROUNDS):
        for kind, build in builds.items():
            taken[kind].append(_run(build, body, cache(kind, turn), tell=False).seconds)
    medians = {kind: statistics.median(times) for kind, times in taken.items()}
    same = len({start.bits for start in told.values()}) == 1
    for kind, seconds in medians.items():
        ratio = medians["compiled"] / seconds
        bound = {"compiled": "at most 6 s", "prebuilt": "at least 20"}.get(kind, "at most 1.3 s")
        numba = "imports Numba" if told[kind].numba else "never imports Numba"
        origins = ", ".join(told[kind].origins)
        print(f"  first gradient of a {name}, {kind}: {seconds:.3f} s, compiled over it "
              f"{ratio:.1f} ({bound}); all kernels {origins}; {numba}")  # fmt: skip
    print(f"  {name}: {'the same bits' if same else 'DIFFERENT BITS'}")
