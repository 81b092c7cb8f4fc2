"""The asv suite: fastgrad beside plain NumPy and naive loops, all on one thread.

A benchmark's parameters are strings, so that results keep their names when the code around them
changes. Each `setup` makes the call once, so that no compilation is timed.
"""

import os

# Read by fastgrad and by NumPy's BLAS when they are imported.
for _library in ("FASTGRAD", "OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"
