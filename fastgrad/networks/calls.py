"""The calls of a network whose first step is not enough: their other steps (`fastgrad.calls`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_array
from fastgrad.calls import Call
from fastgrad.layers.dense_arguments import x_argument
from fastgrad.networks.passes import VALUE_AND_GRAD, Passes
from fastgrad.networks.shared.forms import Form, Outputs, arrays_of, is_formed


class _Prediction(Call):
    """A call of `MLP.predict`; the arrays are params and x, `how` is the network's `Passes`."""

    function = "MLP.predict"
    names: tuple[str, ...] = ("params", "x")

    def complete(
        self,
        outcome: Any,
        arrays: tuple[Any, ...],
        outs: tuple[Any, ...],
        how: Passes,
        given: tuple[Any, ...] | None = None,
    ) -> Any:
        """See `Call`. A network computes in its own dtype: nothing is promoted."""
        made = self.converted(arrays, outs, how)
        return self.otherwise(arrays, outs, how, given) if made is None else made

    def converted(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Passes) -> Any:
        """Run step 3."""
        params, x = arrays
        return how.converted_prediction(params, x, outs[0])

    def checked(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Passes) -> Any:
        """See `Call`. Parameters in another form than the flat vector are brought into that."""
        params, *rest = arrays
        if not is_formed(params):
            return super().checked(arrays, outs, how)
        flat, form = how.network.forms.flat_of(how.network, self.function, params)
        return self.formed(form, params, (flat, *rest), outs, how)

    def formed(
        self, form: Form, given: Any, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Passes
    ) -> Any:
        """Return what is made of a flat vector, in the form of the parameters that were `given`."""
        made = self.converted(arrays, outs, how)
        return super().checked(arrays, outs, how) if made is None else made

    def check(self, arrays: tuple[Any, ...], how: Passes) -> tuple[Array | None, ...]:
        """See `Call`. `finish` checks the shapes."""
        named = zip(self.names, arrays, strict=True)
        layout = "columns" if how.network.columns else "rows"
        return tuple(
            [
                None
                if a is None
                else x_argument(self.function, n, a, layout)
                if n == "x"
                else as_array(self.function, n, a)
                for n, a in named
            ]
        )

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Passes
    ) -> Any:
        """See `Call`."""
        return how.predict(self.function, *arrays, *outs)


class _Gradient(_Prediction):
    """A call of `MLP.value_and_grad`; its target is None where the loss has none."""

    function = VALUE_AND_GRAD
    names = ("params", "x", "target")

    def formed(
        self, form: Form, given: Any, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Passes
    ) -> Any:
        """See above; the gradient is also written to an `out`."""
        network = how.network
        into = None
        if outs[0] is not None:
            into = network.forms.output(form, outs[0])
            own = [a for a in arrays_of(given).values() if isinstance(a, np.ndarray)]
            if into is not None and any(np.may_share_memory(into, a) for a in own):
                into = None  # refused below
        if into is not None or outs[0] is None:
            value, grad = super().formed(form, given, arrays, (into,), how)
            if into is None:
                return value, network.forms.views(network, form, grad)
            return value, outs[0]
        dtype = network.gradient_dtype(arrays[0])
        inputs = arrays_of(given) | dict(zip(self.names[1:], arrays[1:], strict=True))
        outputs = Outputs(network, self.function, outs[0], form, dtype, inputs)
        value, grad = super().formed(form, given, arrays, (outputs.flat,), how)
        return value, outputs.deliver(grad)

    def converted(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Passes) -> Any:
        """Run step 3."""
        params, x, target = arrays
        return how.converted_gradient(params, x, target, outs[0])

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Passes
    ) -> Any:
        """See `Call`."""
        return how.value_and_grad(self.function, *arrays, *outs)


PREDICTION, GRADIENT = _Prediction(), _Gradient()
