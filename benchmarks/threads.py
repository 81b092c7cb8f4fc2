"""One thread against two: time of two threads over time of one, lower is better."""

import fastgrad as fg

from .common import DTYPES, layer_call, ratio
from .networks import gradient_call


def with_threads(count, call):
    """Return the call, made with so many threads."""

    def run():
        fg.set_num_threads(count)
        call()

    return run


class _TwoThreads:
    unit = "of one thread's time"

    def teardown(self, *_):
        fg.set_num_threads(1)

    def scaling(self, call):
        return ratio(with_threads(2, call), with_threads(1, call), seconds=1.0)


class LayerThreads(_TwoThreads):
    """A layer of 512 samples, 1024 inputs and 1024 outputs."""

    params = (DTYPES, ("forward", "backward"))
    param_names = ("dtype", "mode")

    def setup(self, dtype, mode):
        self.call = layer_call("fastgrad", "relu", dtype, "512x1024x1024", mode)

    def track_two_threads(self, dtype, mode):
        return self.scaling(self.call)


class NetworkThreads(_TwoThreads):
    """Value and gradient of the three-layer network, large and too small to share."""

    params = ("64x64", "64x4096", "256x1024")
    param_names = ("shape",)

    def setup(self, shape):
        self.call = gradient_call("fastgrad", shape)

    def track_two_threads(self, shape):
        return self.scaling(self.call)
