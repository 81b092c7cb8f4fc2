"""Losses: the value and its gradient in one call."""

from .common import COMPILED_AND_NUMPY, DTYPES, IMPLEMENTATIONS, LOSSES, loss_call, ratio


class ValueAndGrad:
    """Each loss of the table for a batch of 64 samples with 64 outputs."""

    params = (IMPLEMENTATIONS, LOSSES, DTYPES)
    param_names = ("implementation", "loss", "dtype")

    def setup(self, implementation, loss, dtype):
        self.call = loss_call(implementation, loss, dtype, "64x64")

    def time_64x64(self, implementation, loss, dtype):
        self.call()


class Ratio:
    """Time of fastgrad over time of NumPy, in float32, for 1,000 samples with 100 outputs."""

    params = LOSSES
    param_names = ("loss",)
    unit = "of NumPy's time"

    def setup(self, loss):
        self.calls = [loss_call(name, loss, "float32", "1000x100") for name in COMPILED_AND_NUMPY]

    def track_ratio(self, loss):
        return ratio(*self.calls)
