"""Peak memory of a process that runs a large layer; the baseline only has the arrays ready."""

import subprocess
import sys

from .common import COMPILED_AND_NUMPY, DTYPES, implementation, normal, sizes

COMPILE = "import fastgrad as fg; fg.warmup()"


class Layer:
    """Subtract `peakmem_baseline`: interpreter, NumPy, fastgrad, inputs."""

    params = (COMPILED_AND_NUMPY, DTYPES, ("4096x256x256", "100000x3x2"))
    param_names = ("implementation", "dtype", "shape")

    def setup_cache(self):
        # In another process, so that a compiler's memory is not counted.
        subprocess.run([sys.executable, "-c", COMPILE], check=True)

    def setup(self, name, dtype, shape):
        n, d, k = sizes(shape)
        self.module = implementation(name, n * d * k)
        self.arrays = normal(1, dtype, n, d), normal(2, dtype, d, k), normal(3, dtype, k)
        self.grad_y = normal(4, dtype, n, k)
        small = [array[:1, :1] if array.ndim > 1 else array[:1] for array in self.arrays]
        _, cache = self.module.dense_forward(*small, "gelu")
        self.module.dense_backward(self.grad_y[:1, :1], cache)

    def peakmem_baseline(self, name, dtype, shape):
        pass

    def peakmem_forward(self, name, dtype, shape):
        self.module.dense(*self.arrays, "gelu")

    def peakmem_both(self, name, dtype, shape):
        _, cache = self.module.dense_forward(*self.arrays, "gelu")
        self.module.dense_backward(self.grad_y, cache)
