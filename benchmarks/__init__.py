"""The asv suite: fastgrad beside plain NumPy and naive loops, on one thread except in `threads`.

A benchmark's parameters are strings, so that results keep their names when the code around them
changes. Each `setup` makes the call once, so that no compilation is timed.

`benchmarks.peers`, `benchmarks.limits`, `benchmarks.calls`, `benchmarks.cliffs`,
`benchmarks.compare_builds` and `benchmarks.differences` do not belong to asv: they are commands
for ``python -m``. `benchmarks.scripts` is both.
"""

import os

# Read by fastgrad and by NumPy's BLAS when they are imported. asv leaves it at one thread.
_threads = os.environ.get("BENCHMARK_THREADS", "1")
for _library in ("FASTGRAD", "OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = _threads
