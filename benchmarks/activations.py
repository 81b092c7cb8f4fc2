"""Activations alone: 4,096 numbers that stay in the cache, and a million that do not."""

from .common import (
    ACTIVATIONS,
    COMPILED_AND_NUMPY,
    DTYPES,
    IMPLEMENTATIONS,
    activation_call,
    ratio,
)

EXPENSIVE = ("sigmoid", "tanh", "softmax", "gelu")
SHAPES = ("64x64", "1000x1000")


class Alone:
    """Each activation of the table, without a layer around it."""

    params = (IMPLEMENTATIONS, ACTIVATIONS, DTYPES)
    param_names = ("implementation", "activation", "dtype")

    def setup(self, implementation, activation, dtype):
        self.call = activation_call(implementation, activation, dtype, "64x64", "forward")

    def time_4096(self, implementation, activation, dtype):
        self.call()


class Million:
    """Those that call `exp` and `erf`, on numbers that come from memory."""

    params = (COMPILED_AND_NUMPY, EXPENSIVE, DTYPES, ("forward", "backward"))
    param_names = ("implementation", "activation", "dtype", "mode")

    def setup(self, implementation, activation, dtype, mode):
        self.call = activation_call(implementation, activation, dtype, "1000x1000", mode)

    def time_1000000(self, implementation, activation, dtype, mode):
        self.call()


class Ratio:
    """Time of fastgrad over time of NumPy, forward: the activations that call `exp` and `erf`."""

    params = (EXPENSIVE, DTYPES, SHAPES)
    param_names = ("activation", "dtype", "shape")
    unit = "of NumPy's time"

    def setup(self, activation, dtype, shape):
        self.calls = [
            activation_call(name, activation, dtype, shape, "forward")
            for name in COMPILED_AND_NUMPY
        ]

    def track_ratio(self, activation, dtype, shape):
        return ratio(*self.calls)
