"""Activations alone: 4,096 numbers that stay in the cache, and a million that do not."""

from .common import (
    ACTIVATIONS,
    COMPILED_AND_NUMPY,
    DTYPES,
    IMPLEMENTATIONS,
    activation_call,
    ratio,
)

SHAPES = ("64x64", "1000x1000")


class Alone:
    """Each activation of the table, without a layer around it."""

    params = (IMPLEMENTATIONS, ACTIVATIONS, DTYPES, SHAPES, ("forward", "backward"))
    param_names = ("implementation", "activation", "dtype", "shape", "mode")

    def setup(self, implementation, activation, dtype, shape, mode):
        self.call = activation_call(implementation, activation, dtype, shape, mode)

    def time_activation(self, implementation, activation, dtype, shape, mode):
        self.call()


class Ratio:
    """Time of fastgrad over time of NumPy, forward: the activations that call `exp` and `erf`."""

    params = (("sigmoid", "tanh", "softmax", "gelu"), DTYPES, SHAPES)
    param_names = ("activation", "dtype", "shape")
    unit = "of NumPy's time"

    def setup(self, activation, dtype, shape):
        self.calls = [
            activation_call(name, activation, dtype, shape, "forward")
            for name in COMPILED_AND_NUMPY
        ]

    def track_ratio(self, activation, dtype, shape):
        return ratio(*self.calls)
