"""A network forward, and backward from any gradient of its output: the compiled calls.

Step 1 of a call (`fastgrad.calls`) is here, and so is what follows where it is not enough. What the
compiled entry points accept is one call of them; much work, or samples that must be shared over
threads, is a `tape_job`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_native, deliver
from fastgrad.kernels.flags import ADD_GRADIENT, ADD_INPUTS, WANT_GRADIENT, WANT_INPUTS
from fastgrad.kernels.network.tape_table import WHOLE, make_places
from fastgrad.layers.dense_arguments import output_fields_of
from fastgrad.networks import tape_job
from fastgrad.networks.plan import Network, WayBack
from fastgrad.networks.shared.forms import Form, Parameters, is_formed
from fastgrad.networks.shared.samples import inputs_of
from fastgrad.networks.shared.tapes import (
    BACKWARD,
    FORWARD,
    Backward,
    Forward,
    Given,
    Tape,
    check_backward,
    check_forward,
    check_tape,
    refuse_changed,
)
from fastgrad.results import NetworkGrads, own_view

NEED = ("params", "x")
# Bits by `need`, for the first step; what is not here is checked.
_WANTED = {
    NEED: WANT_GRADIENT + WANT_INPUTS,
    ("x", "params"): WANT_GRADIENT + WANT_INPUTS,
    ("params",): WANT_GRADIENT,
    "params": WANT_GRADIENT,
    ("x",): WANT_INPUTS,
    "x": WANT_INPUTS,
}
_ADDING = {False: 0, True: ADD_GRADIENT + ADD_INPUTS}


class Opened:
    """The forward and the backward pass of a network, as two calls."""

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.back = WayBack(
            network.layers, network.loss, network.reduction, network.columns, network.dtype
        )
        self.places = make_places(network.layers)
        # The compiled entry points and the plans' words, once a call was found to be right.
        self.run_forward: Any = None
        self.run_backward: Any = None
        self.words: Any = None
        self.back_words: Any = None
        self.marks: Any = None

    def _load(self) -> None:
        if self.run_backward is None:
            from fastgrad.kernels.calls.entry import entry

            dtype = self.network.dtype.name
            self.words, self.back_words = self.network.plan().words, self.back.plan().words
            self.marks = entry("opened", "network_marks", dtype)
            self.run_forward = entry("opened", "network_forward", dtype)
            self.run_backward = entry("opened", "network_backward", dtype)

    # -- forward ------------------------------------------------------------------------------
    def forward(self, params: Parameters, x: ArrayLike, out: Array | None) -> tuple[Array, Tape]:
        """Return the output, and what the way back needs."""
        made = None
        if self.run_forward is not None:
            made = self._forward(params, x, out)
            if made is None and is_formed(params):
                made = self._forward_in_kind(params, x, out)
        return self._checked_forward(params, x, out) if made is None else made

    def _forward(self, params: Any, x: Any, out: Any) -> Any:
        space = self.network.take_space()
        made = self.run_forward(params, x, out, self.words, space, self.places, Tape, self.name)
        self.network.spaces.append(space)
        return made

    def _forward_in_kind(self, params: Any, x: Any, out: Any) -> Any:
        network = self.network
        flat, form = network.forms.flat_of(network, FORWARD, params)
        made = self._forward(flat, x, out)
        if made is None:
            return None
        y, tape = made
        return y, tape._replace(given=Given(network.dtype, network.dtype, form))

    def _checked_forward(self, params: Any, x: Any, out: Any) -> tuple[Array, Tape]:
        call = check_forward(self.network, params, x, out)
        self._load()
        made = self._forward(call.params, call.x, call.out)
        y, tape = self._long_forward(call) if made is None else made
        if call.given is not None:
            tape = tape._replace(given=call.given)
        return (y if out is None else out), tape

    def _long_forward(self, call: Forward) -> tuple[Array, Tape]:
        network = self.network
        rows = inputs_of(network, FORWARD, call.x)
        y = np.empty((len(rows), network.outputs), network.dtype)
        kept = np.empty(len(rows) * int(self.places[WHOLE]), network.dtype)
        if len(rows):
            job = tape_job.Forward(network, call.params, rows, y, kept, self.places)
            job.begin().run()
        of_params, of_x = self.marks(call.params, call.x, self.words)
        tape = Tape(call.params, call.x, kept, of_params, of_x, self.name)
        y = network.turned(y).reshape(call.shape)
        return deliver(y, network.dtype, call.out), tape

    # -- backward -----------------------------------------------------------------------------
    def backward(
        self,
        grad_y: ArrayLike,
        tape: Tape,
        need: Iterable[str],
        out: Any,
        accumulate: bool,
    ) -> NetworkGrads:
        """Return the gradients for the gradient of the output."""
        if self.run_backward is not None and type(tape) is Tape:
            form, native, into, into_x = None, True, None, None
            if tape.given is not None:
                params_dtype, x_dtype, form = tape.given
                native = params_dtype is x_dtype is self.network.dtype
            try:
                what = _WANTED[need] + _ADDING[accumulate]  # type: ignore[index]
                if out is not None:
                    fields = out
                    if type(out) is not NetworkGrads:
                        fields = output_fields_of(BACKWARD, out, NetworkGrads).values()
                    into, into_x = fields
            except (KeyError, TypeError):
                what = 0
            if what and native and tape.network == self.name:
                if form is None:
                    made = self._backward(grad_y, tape, into, into_x, what)
                else:
                    made = self._backward_in_kind(form, grad_y, tape, into, into_x, what)
                if made is not None:
                    return made  # type: ignore[no-any-return]
        return self._checked_backward(grad_y, tape, need, out, accumulate)

    def _backward_in_kind(
        self, form: Form, grad_y: Any, tape: Tape, into: Any, into_x: Any, what: int
    ) -> Any:
        forms = self.network.forms
        if not what & WANT_GRADIENT or into is None:
            made = self._backward(grad_y, tape, None, into_x, what)
            if made is None or made.params is None:
                return made
            return made._replace(params=forms.views(self.network, form, made.params))
        flat = forms.output(form, into)
        made = None if flat is None else self._backward(grad_y, tape, flat, into_x, what)
        return None if made is None else made._replace(params=into)

    def _backward(self, grad_y: Any, tape: Tape, into: Any, into_x: Any, what: int) -> Any:
        params, x, kept, params_mark, x_mark, _, _ = tape
        space = self.back.take_space()
        made = self.run_backward(
            grad_y, params, x, kept, params_mark, x_mark, into, into_x, what,
            self.back_words, space, self.places, NetworkGrads,
        )  # fmt: skip
        self.back.spaces.append(space)
        return made

    def _checked_backward(
        self, grad_y: Any, tape: Any, need: Iterable[str], out: Any, accumulate: Any
    ) -> NetworkGrads:
        network = self.network
        check_tape(self.name, tape)
        call = check_backward(network, grad_y, tape, need, out, accumulate)
        if not call.names:
            return NetworkGrads()
        self._load()
        tape = self._whole(tape, call.names)
        outputs, adds, add_x = call.outputs, call.accumulate, call.accumulate
        into, into_x = outputs.flat, None
        if into is None and outputs.arrays and adds and outputs.dtype is network.dtype:
            into = outputs.start()
        if call.out_x is not None and call.x_dtype is network.dtype:
            into_x = self._rows_alike(call.out_x, add_x)
        what = WANT_GRADIENT * ("params" in call.names) + WANT_INPUTS * ("x" in call.names)
        what += ADD_GRADIENT * (adds and into is not None)
        what += ADD_INPUTS * (add_x and into_x is not None)
        made = self._backward(call.grad_y, tape, into, into_x, what)
        if made is None:
            made = self._long_backward(call, tape, into, into_x, what)
        grads: dict[str, Any] = {}
        if "params" in call.names:
            grad = made.params
            if adds and into is None and outputs.arrays:
                grad = outputs.added(grad)
            grads["params"] = outputs.deliver(grad)
        if "x" in call.names:
            grad_x = made.x
            if add_x and into_x is None and call.out_x is not None:
                with np.errstate(all="ignore"):
                    grad_x = call.out_x + grad_x
            made_x = deliver(grad_x, call.x_dtype, call.out_x)
            grads["x"] = made_x if call.out_x is None else call.given_x
        return NetworkGrads(**grads)

    def _rows_alike(self, out: Array, adds: bool) -> Array | None:
        """Return what the kernel may write grad_x to: `out` itself, or a copy to add to."""
        wanted = out.T if self.network.columns else out
        if wanted.flags.c_contiguous and wanted.flags.aligned:
            return out
        return np.array(out, order="F" if self.network.columns else "C") if adds else None

    def _whole(self, tape: Tape, names: list[str]) -> Tape:
        """Return a tape with arrays as kernels take them; raise if what it refers to has changed.

        A tape may have been pickled, or be a tuple that somebody made.
        """
        network, dtype = self.network, self.network.dtype
        params, x, kept = (as_native(own_view(a), dtype) for a in tape[:3])
        whole = len(inputs_of(network, BACKWARD, x)) * int(self.places[WHOLE])
        if params.shape != (network.size,) or kept.shape != (whole,):
            raise ValueError(f"{BACKWARD}: tape is not as MLP.forward returned it")
        params, kept = np.ascontiguousarray(params), np.ascontiguousarray(kept)
        marks = self.marks(params, x, self.words)
        if marks[0] != tape.params_mark:
            refuse_changed("params")
        if "params" in names and marks[1] != tape.x_mark:
            refuse_changed("x")
        return tape._replace(params=params, x=x, kept=kept)

    def _long_backward(
        self, call: Backward, tape: Tape, into: Array | None, into_x: Array | None, what: int
    ) -> NetworkGrads:
        network = self.back
        rows, grad_y = inputs_of(network, BACKWARD, tape.x), call.grad_y
        grad_y = grad_y[None] if grad_y.ndim == 1 else network.turned(grad_y)
        grad = grad_x = None
        if what & WANT_GRADIENT:
            grad = np.empty(network.size, network.dtype) if into is None else into
        if what & WANT_INPUTS:
            grad_x = into_x
            if grad_x is None:
                grad_x = network.turned(np.empty(rows.shape, network.dtype)).reshape(tape.x.shape)
        if len(rows):
            adds = bool(what & ADD_GRADIENT), bool(what & ADD_INPUTS)
            tape_job.Backward(
                network, tape.params, rows, grad_y, tape.kept, self.places, grad, grad_x, adds
            ).begin().run()
        elif grad is not None and not what & ADD_GRADIENT:
            grad[:] = 0
        return NetworkGrads(grad, grad_x)
