"""Fresh processes: import, and the first gradient with and without compiled kernels on disk."""

import os
import subprocess
import sys
import tempfile

from .common import DTYPES

FIRST_GRADIENT = """
import numpy as np
import fastgrad as fg
x, w, b = np.ones((8, 4), {dtype!r}), np.ones((4, 3), {dtype!r}), np.ones(3, {dtype!r})
y, cache = fg.dense_forward(x, w, b, "tanh")
fg.dense_backward(y, cache)
"""


def first_gradient(dtype: str, **environment: str) -> None:
    """Run a process from its start to its first gradient and its end."""
    subprocess.run(
        [sys.executable, "-c", FIRST_GRADIENT.format(dtype=dtype)],
        env=os.environ | environment,
        check=True,
    )


class _Once:
    """Each sample is one process: nothing to warm up, nothing to repeat within it."""

    number = 1
    rounds = 1
    warmup_time = 0.0


class Import(_Once):
    """What a script pays for `import fastgrad`, and for NumPy, which it imports anyway."""

    repeat = 10

    def timeraw_import(self):
        return "import fastgrad", "import numpy"

    def timeraw_import_numpy(self):
        return "import numpy"


class WarmStart(_Once):
    """From the start of a process to its first gradient, kernels compiled before."""

    params = DTYPES
    param_names = ("dtype",)
    repeat = 5

    def setup(self, dtype):
        first_gradient(dtype)

    def time_first_gradient(self, dtype):
        first_gradient(dtype)


class ColdCompile(_Once):
    """The same with an empty cache: everything the gradient needs is compiled."""

    params = DTYPES
    param_names = ("dtype",)
    repeat = 2

    def time_first_gradient(self, dtype):
        with tempfile.TemporaryDirectory() as empty:
            first_gradient(dtype, FASTGRAD_CACHE_DIR=empty)
