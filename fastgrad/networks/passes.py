"""Passes through a network, of arrays that are accepted as they are, converted, or checked.

If an entry point accepts the arrays, a pass is one compiled call; otherwise it is a `job.Job`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad.arrays import (
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT64,
    TO_FLOAT32,
    TO_FLOAT64,
    Array,
    as_array,
    as_native,
    as_natives,
    deliver,
)
from fastgrad.kernels.flags import SUM
from fastgrad.kernels.network import plan_table as at
from fastgrad.layers.dense_arguments import x_argument
from fastgrad.layers.sparse_arguments import SparseParts
from fastgrad.losses.detailed import sum_of
from fastgrad.networks.job import WINDOW, Job
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.fit_arguments import check_draw
from fastgrad.networks.shared.forms import Outputs, arrays_of, is_formed
from fastgrad.networks.shared.samples import Samples, checked_samples, inputs_of, native_params
from fastgrad.results import check_out, own_view

VALUE_AND_GRAD = "MLP.value_and_grad"


class Passes:
    """Prediction, and value and gradient, of a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.dtype = network.dtype
        self.calls = {"gradient": 0, "predict": 0}
        self.conversions = TO_FLOAT32 if self.dtype is FLOAT32 else TO_FLOAT64
        # The compiled entry points, once loaded, and their arguments. Copies of the network's
        # attributes: one more look-up is 1 % of a small network's call.
        self.direct: Callable[..., Any] | None = None
        self.direct_predict: Callable[..., Any] | None = None
        self.words: Array | None = None
        self.spaces = network.spaces

    def called_again(self, what: str) -> bool:
        """Return whether this is not the first call of its kind, so that an entry point pays.

        An entry point that is not in the cache takes a second to compile: too long for a script
        that calls its network once, or only trains it.
        """
        self.calls[what] += 1
        return self.calls[what] > 1

    def predict(self, caller: str, params: Array, x: Array, out: Array | None) -> Array:
        """Return the last layer's output for every sample."""
        sparse = isinstance(x, SparseParts)
        if self.direct_predict is None and not sparse and self.called_again("predict"):
            from fastgrad.kernels.calls.entry import entry

            self.words = self.network.plan().words
            self.direct_predict = entry("predict", "network_predict", self.dtype.name)
        if self.direct_predict is not None and out is None and not sparse:
            y = self._converted(self.direct_predict, params, x)
            if y is not None:
                return y  # type: ignore[no-any-return]
        x, network = x if sparse else own_view(x), self.network
        p, inputs = native_params(network, caller, params), inputs_of(network, caller, x)
        n, k, into = len(inputs), network.outputs, None
        if out is not None:
            shape = (k,) if x.ndim == 1 else (k, n) if network.columns else (n, k)
            into = check_out(caller, "out", out, shape, self.dtype, {"params": params, "x": x})
        y = np.empty((n, k), self.dtype)
        data = Samples(inputs, None, False, network.takes(inputs))
        if n:
            Job(network, p, None, data, n, out=y).begin().run()
        y = y[0] if x.ndim == 1 else network.turned(y)
        y = deliver(y, self.dtype, into)
        return y if out is None else out

    def value_and_grad(
        self,
        caller: str,
        params: Array,
        x: Array,
        target: Array | None,
        out: Array | None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient with respect to `params`."""
        direct = None if isinstance(x, SparseParts) else self._gradient_entry()
        if direct is not None and out is None:
            pair = self._converted(direct, params, x, target)
            if pair is not None:
                return pair[0], deliver(pair[1], self.network.gradient_dtype(params), None)
        return self._by_job(caller, params, x, target, out)

    def _gradient_entry(self) -> Callable[..., Any] | None:
        """Return the entry point of a gradient; None in the first call."""
        if self.direct is None and self.called_again("gradient"):
            from fastgrad.kernels.calls.entry import entry

            self.words = self.network.plan().words
            self.direct = entry("network", "network_value_and_grad", self.dtype.name)
        return self.direct

    def unusual_gradient(
        self, params: Any, x: Any, target: Any, weights: Any, out: Any, seed: Any, step: Any
    ) -> tuple[float, Array]:
        """Return the loss with weights or dropout, and its gradient."""
        draw, pair = None, None
        if seed is not None:
            draw = check_draw(VALUE_AND_GRAD, seed, step)
        else:
            pair = self._weighted_directly(params, x, target, weights, out)
        if pair is None and is_formed(params):
            pair = self._unusual_in_kind(params, x, target, weights, out, seed, step)
        if pair is not None:
            return pair  # type: ignore[no-any-return]
        caller, layout = "MLP.value_and_grad", "columns" if self.network.columns else "rows"
        params, x = as_array(caller, "params", params), x_argument(caller, "x", x, layout)
        goal = None if target is None else as_array(caller, "target", target)
        weights = None if weights is None else as_array(caller, "weights", weights)
        return self._by_job(caller, params, x, goal, out, weights, draw)

    def _unusual_in_kind(
        self, params: Any, x: Any, target: Any, weights: Any, out: Any, seed: Any, step: Any
    ) -> Any:
        """Return the same, in the form of the parameters."""
        network = self.network
        flat, form = network.forms.flat_of(network, VALUE_AND_GRAD, params)
        if out is None:
            value, grad = self.unusual_gradient(flat, x, target, weights, None, seed, step)
            return value, network.forms.views(network, form, grad)
        inputs = arrays_of(params) | {"x": x, "target": target, "weights": weights}
        dtype = network.gradient_dtype(flat)
        outputs = Outputs(network, VALUE_AND_GRAD, out, form, dtype, inputs)
        value, grad = self.unusual_gradient(flat, x, target, weights, outputs.flat, seed, step)
        return value, outputs.deliver(grad)

    def _weighted_directly(self, params: Any, x: Any, target: Any, weights: Any, out: Any) -> Any:
        """Return value and gradient of samples that all have a weight, in the kernels' form.

        A job takes 100 us to prepare, this 10.
        """
        network, direct = self.network, self._gradient_entry()
        plain = type(weights) is np.ndarray and weights.dtype is FLOAT64 and weights.ndim == 1
        if direct is None or not plain or type(x) is not np.ndarray or x.ndim != 2:
            return None
        if weights.shape != (x.shape[1 if network.columns else 0],) or not weights.size:
            return None
        if not (weights.flags.c_contiguous and weights.flags.aligned):
            return None
        # One comparison, which NaN fails; an infinite one makes the sum infinite.
        if not weights.min() > 0 or (out is not None and np.may_share_memory(out, weights)):
            return None
        total = network.terms_of_sample * sum_of(weights)
        if not total < np.inf:
            return None
        words = network.weighted_plan().words
        words[at.WEIGHTS_OF], words[at.WEIGHTS_EACH] = weights.ctypes.data, 1
        mean = network.reduction == "mean"
        if mean:
            divisors = np.array([total])
            words[at.DIVISORS], words[at.REDUCTION] = divisors.ctypes.data, SUM
            words[at.DIVISOR] = divisors.view(INT64)[0]
        space = network.take_space()
        pair = direct(params, x, target, out, words, space)
        self.spaces.append(space)
        if pair is None:
            return None
        return (pair[0] / total if mean else pair[0]), pair[1]

    def _by_job(
        self,
        caller: str,
        params: Array,
        x: Array,
        target: Array | None,
        out: Array | None,
        weights: Array | None = None,
        draw: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """Check all arguments, and return the loss and its gradient."""
        network = self.network
        p = native_params(network, caller, params)
        data = checked_samples(network, caller, x, target, weights)
        into, dtype = None, self.network.gradient_dtype(params)
        if out is not None:
            inputs = {"params": params, "x": x, "target": target, "weights": weights}
            into = check_out(caller, "out", out, (network.size,), dtype, inputs)
        n = len(data.x)
        if n == 0:
            grad = np.zeros(network.size, self.dtype)
            data = data._replace(weights=None)
            value = network.reduced(0.0, 0) + Job(network, p, grad, data, 1).end_empty()
            grad = deliver(grad, dtype, into)
            return value, grad if out is None else out
        usable = into is not None and into.flags.aligned and into.flags.c_contiguous
        usable = usable and dtype is self.dtype
        grad = into if usable and into is not None else np.empty(network.size, self.dtype)
        job = Job(network, p, grad, data, n).begin(draw=draw)
        job.run()
        grad = deliver(grad, dtype, into)
        return job.reduced(job.terms), grad if out is None else out

    def converted_gradient(self, params: Any, x: Any, target: Any, out: Any) -> Any:
        """Return value and gradient if converting arrays or classes is enough, else None.

        Compiled code converts: Python would take longer than a small network. For the same reason
        there are as few calls and look-ups as possible (methods would take 0.4 us more).
        """
        direct, dtype = self.direct, self.dtype
        if direct is None:
            return None
        try:
            p = params if params.dtype is dtype else self._native(params, out)
            inputs = x if x.dtype is dtype else self._native(x, out)
            goal = target
            if type(target) is list:
                goal = self._classes_of(target, None) if x.ndim == 2 else None
            elif target is not None and target.dtype is not dtype:
                classes = target.ndim == 1 and x.ndim == 2
                goal = self._classes_of(target, out) if classes else self._native(target, out)
            if goal is None and target is not None:
                return None
            wide = p is not params and params.dtype is FLOAT64
            if wide and out is not None:
                return None
            try:
                space = self.spaces.pop()
            except IndexError:
                space = self.network.take_space()
            pair = direct(p, inputs, goal, out, self.words, space)
            self.spaces.append(space)
        except (AttributeError, TypeError):  # what is no array
            return None
        if pair is not None and wide:
            return pair[0], TO_FLOAT64.converted(pair[1], None)
        return pair

    def _classes_of(self, target: Any, out: Any) -> Any:
        """Return classes as int64, of a list or of integers; None for anything else."""
        if not self.network.loss.rowwise or self._shares(out, target):
            return None
        classes = self.conversions.classes(target, None)
        if classes is None and type(target) is not list and target.dtype.kind in "iu":
            return self.conversions.classes(np.ascontiguousarray(target), None)
        return classes

    def converted_prediction(self, params: Any, x: Any, out: Any) -> Any:
        """Return the prediction if converting arrays is enough, else None."""
        direct, dtype = self.direct_predict, self.dtype
        if direct is None:
            return None
        try:
            p = params if params.dtype is dtype else self._native(params, out)
            inputs = x if x.dtype is dtype else self._native(x, out)
            try:
                space = self.spaces.pop()
            except IndexError:
                space = self.network.take_space()
            y = direct(p, inputs, out, self.words, space)
            self.spaces.append(space)
        except (AttributeError, TypeError):
            return None
        return y

    def _native(self, array: Any, out: Any) -> Any:
        """Return an array in the network's dtype; None if too large, or not compiled."""
        if array.nbytes > WINDOW or self._shares(out, array):
            return None
        if array.dtype is FLOAT16:  # compiled code does not know it
            return array.astype(self.dtype) if type(array) is np.ndarray else None
        return self.conversions.converted(array, None)

    def _shares(self, out: Any, array: Array) -> bool:
        return out is not None and np.may_share_memory(out, array)

    def _converted(
        self,
        direct: Callable[..., Any],
        params: Array,
        x: Array,
        *target: Array | None,
    ) -> Any:
        """Return an entry point's result for few samples, converted; None: check everything."""
        few = all(a is None or a.nbytes <= WINDOW for a in (x, *target))
        if not few or params.shape != (self.network.size,):
            return None
        goals = list(target)
        for i, goal in enumerate(target):
            if goal is not None:
                classes = self.network.loss.rowwise and goal.ndim == 1 and x.ndim == 2
                dtype = INT64 if classes and goal.dtype.kind in "iu" else self.dtype
                goals[i] = as_native(goal, dtype)
        native = as_natives(self.dtype, params, x)
        space = self.network.take_space()
        result = direct(*native, *goals, None, self.words, space)
        self.spaces.append(space)
        return result
