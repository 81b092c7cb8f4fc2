"""Whole networks: value and gradient, prediction, and an epoch of training."""

from fastgrad import optimizers

from .common import COMPILED_AND_NUMPY, IMPLEMENTATIONS, MODULES, normal, ratio, sizes

# Width and batch of the three-layer network of notebook B: w in, tanh, sigmoid, w out.
SQUARE = ("4x2", "32x32", "64x64", "128x256", "256x1024", "64x4096")
SMALL = ("4x2", "32x32")
OPTIMIZERS = tuple(optimizers.OPTIMIZERS)


def square(name, shape):
    """Return a network of notebook B's kind, its parameters, input and target."""
    width, n = sizes(shape)
    net = MODULES[name].MLP((width,) * 4, ("tanh", "sigmoid", None), "mse")
    return net, net.init(), normal(1, "float32", n, width), normal(2, "float32", n, width)


def gradient_call(name, shape):
    """Return the call of `value_and_grad`, made once already."""
    net, params, x, target = square(name, shape)
    call = lambda: net.value_and_grad(params, x, target)  # noqa: E731
    call()
    return call


def epoch_call(name, optimizer, samples=10_000):
    """Return the call of one epoch of 4-32-16-4 in batches of 32, made once already."""
    module = MODULES[name]
    net = module.MLP((4, 32, 16, 4), ("tanh", "tanh", None), "mse")
    params = net.init()
    x, target = normal(1, "float32", samples, 4), normal(2, "float32", samples, 4)
    rule = getattr(module, optimizer)(lr=1e-3)
    call = lambda: net.fit(params, x, target, rule, epochs=1, batch_size=32)  # noqa: E731
    call()
    return call


class Gradient:
    """Value and gradient of the three-layer network."""

    params = (IMPLEMENTATIONS, SQUARE)
    param_names = ("implementation", "shape")

    def setup(self, implementation, shape):
        if implementation == "loops" and shape not in SMALL:
            raise NotImplementedError("loops are timed at small sizes only")
        self.call = gradient_call(implementation, shape)

    def time_value_and_grad(self, implementation, shape):
        self.call()


class Prediction:
    """The forward pass alone, from one sample to many."""

    params = (COMPILED_AND_NUMPY, ("32x1", "64x64", "64x4096"))
    param_names = ("implementation", "shape")

    def setup(self, implementation, shape):
        net, self.start, self.x, _ = square(implementation, shape)
        self.predict = net.predict
        self.predict(self.start, self.x)

    def time_predict(self, implementation, shape):
        self.predict(self.start, self.x)


class Epoch:
    """One epoch over 10,000 samples in batches of 32, shuffled."""

    params = (COMPILED_AND_NUMPY, OPTIMIZERS)
    param_names = ("implementation", "optimizer")

    def setup(self, implementation, optimizer):
        self.call = epoch_call(implementation, optimizer)

    def time_fit(self, implementation, optimizer):
        self.call()


class GradientRatio:
    """Time of fastgrad over time of NumPy: value and gradient."""

    params = SQUARE
    param_names = ("shape",)
    unit = "of NumPy's time"

    def setup(self, shape):
        self.calls = [gradient_call(name, shape) for name in COMPILED_AND_NUMPY]

    def track_ratio(self, shape):
        return ratio(*self.calls)


class EpochRatio:
    """Time of fastgrad over time of NumPy: an epoch."""

    params = OPTIMIZERS
    param_names = ("optimizer",)
    unit = "of NumPy's time"

    def setup(self, optimizer):
        self.calls = [epoch_call(name, optimizer) for name in COMPILED_AND_NUMPY]

    def track_ratio(self, optimizer):
        return ratio(*self.calls)


class GradientMemory:
    """Peak memory of a gradient over many samples; the baseline only has the arrays ready."""

    params = (COMPILED_AND_NUMPY, ("64x4096", "64x100000"))
    param_names = ("implementation", "shape")

    def setup(self, implementation, shape):
        self.net, self.start, self.x, self.target = square(implementation, shape)
        self.net.value_and_grad(self.start, self.x[:1], self.target[:1])

    def peakmem_baseline(self, implementation, shape):
        pass

    def peakmem_value_and_grad(self, implementation, shape):
        self.net.value_and_grad(self.start, self.x, self.target)
