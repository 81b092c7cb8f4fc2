"""The asv suite: fastgrad beside plain NumPy and naive loops, all on one thread.

A benchmark's parameters are strings, so that results keep their names when the code around them
changes. Each `setup` makes the call once, so that no compilation is timed.
"""

import os

# NumPy's BLAS reads these when it is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
