"""Dense layers: every activation at one shape, two activations at many shapes."""

from .common import (
    ACTIVATIONS,
    COMPILED_AND_NUMPY,
    DTYPES,
    IMPLEMENTATIONS,
    MODES,
    layer_call,
    ratio,
)

SHAPES = ("32x16x16", "64x128x128", "128x256x256", "256x784x256", "4096x64x64")
THIN = ("4096x64x1", "100000x3x2")  # a few outputs: other kernels
TWO_ACTIVATIONS = ("relu", "gelu")


class EveryActivation:
    """Each activation of the table in a layer of 32 samples, 64 inputs and 64 outputs."""

    params = (IMPLEMENTATIONS, ACTIVATIONS, DTYPES)
    param_names = ("implementation", "activation", "dtype")

    def setup(self, implementation, activation, dtype):
        self.call = layer_call(implementation, activation, dtype, "32x64x64", "both")

    def time_forward_and_backward(self, implementation, activation, dtype):
        self.call()


class EveryShape:
    """A free activation and an expensive one, from small shapes to large."""

    params = (COMPILED_AND_NUMPY, TWO_ACTIVATIONS, DTYPES, (*SHAPES, *THIN), MODES)
    param_names = ("implementation", "activation", "dtype", "shape", "mode")

    def setup(self, implementation, activation, dtype, shape, mode):
        self.call = layer_call(implementation, activation, dtype, shape, mode)

    def time_layer(self, implementation, activation, dtype, shape, mode):
        self.call()


class MatrixProduct:
    """The product alone, at a size where nothing else counts."""

    params = (COMPILED_AND_NUMPY, DTYPES, MODES)
    param_names = ("implementation", "dtype", "mode")

    def setup(self, implementation, dtype, mode):
        self.call = layer_call(implementation, "identity", dtype, "512x1024x1024", mode)

    def time_512x1024x1024(self, implementation, dtype, mode):
        self.call()


class CallOverhead:
    """A layer so small that only the call's overhead counts."""

    params = (IMPLEMENTATIONS, DTYPES, MODES)
    param_names = ("implementation", "dtype", "mode")

    def setup(self, implementation, dtype, mode):
        self.call = layer_call(implementation, "sigmoid", dtype, "1x8x8", mode)

    def time_1x8x8(self, implementation, dtype, mode):
        self.call()


class CallOverheadInto:
    """The same forward and backward, into the caller's arrays."""

    params = (COMPILED_AND_NUMPY, DTYPES)
    param_names = ("implementation", "dtype")

    def setup(self, implementation, dtype):
        self.call = layer_call(implementation, "sigmoid", dtype, "1x8x8", "into")

    def time_1x8x8(self, implementation, dtype):
        self.call()


class ActivationRatio:
    """Time of fastgrad over time of NumPy, forward and backward at 32x64x64."""

    params = (ACTIVATIONS, DTYPES)
    param_names = ("activation", "dtype")
    unit = "of NumPy's time"

    def setup(self, activation, dtype):
        self.calls = [
            layer_call(name, activation, dtype, "32x64x64", "both") for name in COMPILED_AND_NUMPY
        ]

    def track_ratio(self, activation, dtype):
        return ratio(*self.calls)


class ShapeRatio:
    """Time of fastgrad over time of NumPy, forward and backward with ReLU."""

    params = (DTYPES, ("1x8x8", *SHAPES, *THIN))
    param_names = ("dtype", "shape")
    unit = "of NumPy's time"

    def setup(self, dtype, shape):
        self.calls = [layer_call(name, "relu", dtype, shape, "both") for name in COMPILED_AND_NUMPY]

    def track_ratio(self, dtype, shape):
        return ratio(*self.calls)
