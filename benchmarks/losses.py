"""Losses: the value and its gradient in one call."""

from .common import COMPILED_AND_NUMPY, DTYPES, IMPLEMENTATIONS, LOSSES, loss_call, ratio

SHAPES = ("32x10", "1000x100")


class ValueAndGrad:
    """Each loss of the table, for a small batch and a large one."""

    params = (IMPLEMENTATIONS, LOSSES, DTYPES, SHAPES)
    param_names = ("implementation", "loss", "dtype", "shape")

    def setup(self, implementation, loss, dtype, shape):
        self.call = loss_call(implementation, loss, dtype, shape)

    def time_value_and_grad(self, implementation, loss, dtype, shape):
        self.call()


class Ratio:
    """Time of fastgrad over time of NumPy."""

    params = (LOSSES, DTYPES)
    param_names = ("loss", "dtype")
    unit = "of NumPy's time"

    def setup(self, loss, dtype):
        self.calls = [loss_call(name, loss, dtype, "1000x100") for name in COMPILED_AND_NUMPY]

    def track_ratio(self, loss, dtype):
        return ratio(*self.calls)
