"""A network that is opened: the tape between forward and backward, and the checks of both.

fastgrad, reference and loops share this; what they keep on the tape is their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_truth
from fastgrad.arrays import Array, as_array, as_native
from fastgrad.layers.dense_arguments import needed_gradients, output_fields_of
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.forms import Form, Outputs, flat_of
from fastgrad.networks.shared.samples import inputs_of, native_params
from fastgrad.results import NetworkGrads, check_out, own_view

FORWARD, BACKWARD = "MLP.forward", "MLP.backward"


class Given(NamedTuple):
    """In what form the arguments of `forward` were given: the gradients are given in the same."""

    params: np.dtype[Any]
    x: np.dtype[Any]
    form: Form | None  # None: a flat vector


class Tape(NamedTuple):
    """What `MLP.forward` leaves for `MLP.backward`; it grows with the number of samples.

    Attributes
    ----------
    params, x : ndarray
        The flat vector and the samples, of the network's dtype: not copied if they were so already.
    kept : object
        Of each sample, the outputs of the layers, and what some kinds keep beside them: a copy.
    params_mark, x_mark : object
        By which `MLP.backward` detects that `params` or `x` has been changed.
    network : str
        The settings of the network it belongs to.
    given : object
        The form of `params` and the dtypes, where the gradients need another than the network's.

    Examples
    --------
    >>> import fastgrad as fg, numpy as np
    >>> net = fg.MLP((3, 4, 2), ("relu", None), "mse")
    >>> y, tape = net.forward(net.init(), np.ones((5, 3), np.float32))
    >>> tape.kept.size  # 4 numbers of each sample: the last y is not needed
    20
    """

    params: Array
    x: Array
    kept: Any
    params_mark: Any
    x_mark: Any
    network: str
    given: Given | None = None


class Forward(NamedTuple):
    """The checked arguments of `forward`."""

    params: Array  # native
    x: Array  # native, as given
    given: Given | None
    out: Array | None
    shape: tuple[int, ...]  # of y


class Backward(NamedTuple):
    """The checked arguments of `backward`."""

    names: list[str]
    grad_y: Array  # native, like y
    outputs: Outputs
    out_x: Array | None  # a view of `given_x`
    given_x: Array | None
    x_dtype: np.dtype[Any]
    accumulate: bool


def output_shape(network: Architecture, x: Array) -> tuple[int, ...]:
    """Return the shape of the output for checked samples."""
    k = network.outputs
    if x.ndim == 1:
        return (k,)
    return (k, x.shape[1]) if network.columns else (x.shape[0], k)


def check_forward(network: Architecture, params: Any, x: Any, out: Any) -> Forward:
    """Return the checked and converted arguments of `forward`."""
    flat, form = flat_of(network, FORWARD, params)
    vector, samples = as_array(FORWARD, "params", flat), as_array(FORWARD, "x", x)
    native = native_params(network, FORWARD, vector)
    inputs_of(network, FORWARD, samples)
    shape = output_shape(network, samples)
    if out is not None:
        inputs = {"params": flat, "x": x}
        out = check_out(FORWARD, "out", out, shape, network.dtype, inputs)
    dtype, wide = network.dtype, network.gradient_dtype
    given = Given(wide(vector), wide(samples), form)
    plain = form is None and given.params is dtype and given.x is dtype
    x = as_native(own_view(samples), dtype)
    return Forward(native, x, None if plain else given, out, shape)


def check_tape(name: str, tape: Any) -> None:
    """Raise unless this is the tape of a network with this `name`."""
    if not isinstance(tape, Tape):
        kind = type(tape).__name__
        raise TypeError(f"{BACKWARD}: tape is a {kind}: give what MLP.forward returned")
    if tape.network != name:
        raise ValueError(
            f"{BACKWARD}: tape is that of {tape.network}: give what forward of this network "
            f"returned, {name}"
        )


def refuse_changed(what: str) -> None:
    """Raise the error for parameters or samples that were changed in place."""
    raise ValueError(
        f"{BACKWARD}: {what} has been changed in place since MLP.forward, and the way back needs "
        f"it as it was: call backward before the update, or give forward a copy"
    )


def check_backward(
    network: Architecture,
    grad_y: Any,
    tape: Tape,
    need: Iterable[str],
    out: Any,
    accumulate: Any,
) -> Backward:
    """Return the checked and converted arguments of `backward`, whose tape fits."""
    need = (need,) if isinstance(need, str) else need
    names = needed_gradients(BACKWARD, need, NetworkGrads._fields)
    accumulate = check_truth(BACKWARD, "accumulate", accumulate)
    array, shape = as_array(BACKWARD, "grad_y", grad_y), output_shape(network, tape.x)
    if array.shape != shape:
        raise ValueError(
            f"{BACKWARD}: grad_y has shape {array.shape} but y has shape {shape}: they need the "
            "same shape"
        )
    given = tape.given or Given(network.dtype, network.dtype, None)
    fields = dict.fromkeys(NetworkGrads._fields)
    if out is not None:
        fields = output_fields_of(BACKWARD, out, NetworkGrads)
    inputs = {"grad_y": grad_y, "params": tape.params, "x": tape.x, "tape": tape.kept}
    into = fields["params"] if "params" in names else None
    outputs = Outputs(network, BACKWARD, into, given.form, given.params, inputs, "out.params")
    given_x = fields["x"] if "x" in names else None
    out_x = None
    if given_x is not None:
        written = outputs.arrays
        others = inputs | {f"array {i} of out.params": a for i, a in enumerate(written)}
        out_x = check_out(BACKWARD, "out.x", given_x, tape.x.shape, given.x, others)
    native = as_native(own_view(array), network.dtype)
    return Backward(names, native, outputs, out_x, given_x, given.x, accumulate)
