"""How long the gradients take: a class for each function that is tracked."""

import numpy as np
from model import value_and_grads  # yours

import fastgrad as fg


class ValueAndGrads:
    """Loss and gradients, for a small and a large batch."""

    params = (("float32", "float64"), (32, 1024))
    param_names = ("dtype", "samples")

    def setup(self, dtype, samples):
        rng = np.random.default_rng(0)
        shapes = {"W1": (20, 64), "b1": (64,), "W2": (64, 10), "b2": (10,)}
        params = {name: rng.normal(0, 0.1, shape).astype(dtype) for name, shape in shapes.items()}
        x, labels = rng.standard_normal((samples, 20)).astype(dtype), np.arange(samples) % 10
        self.arguments = params, x, labels

        # A faster wrong gradient is no gain: asv then says "failed" in place of a time, and what is
        # wrong. These calls compile, too, so that no compilation is timed.
        def loss(params):
            return value_and_grads(params, x, labels)[0]

        grads = value_and_grads(*self.arguments)[1]
        report = fg.check_grad(loss, grads, params, directions=2)
        assert report.state != "wrong", fg.diagnose(loss, params, grads)

    def time_value_and_grads(self, dtype, samples):
        value_and_grads(*self.arguments)
