"""Parameters and samples of a network's call: checked views, with one sample per row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import INT64, Array, as_native
from fastgrad.layers.sparse_arguments import SparseParts
from fastgrad.loss_arguments import (
    are_classes,
    check_not_all_zero,
    check_probabilities,
    check_weights,
    one_class,
    use_astype,
    use_ravel,
)
from fastgrad.loss_arguments import check_classes as check_classes_of
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.sparse_samples import SparseSamples
from fastgrad.results import own_view


class Samples(NamedTuple):
    """Checked inputs and targets, one sample per row; views of the caller's arrays."""

    x: Any  # (n, d), an array or `SparseSamples`
    target: Array | None  # (n, k), or the classes (n,)
    labels: bool
    native: bool  # whether the kernel reads both as they are
    weights: Array | None = None  # float64, contiguous: (n,), or (n, k) of each output
    # Which samples have no weight, if any: their x becomes 0, as 0 times NaN would be NaN.
    left_out: Array | None = None

    def converted(self, samples: Any, dtype: np.dtype[Any]) -> tuple[Any, Array | None]:
        """Return x and target of some samples, converted for the kernel."""
        x: Any = self.x[samples]
        target = self.target
        x = x.of(dtype) if isinstance(x, SparseSamples) else as_native(x, dtype)
        if target is not None:
            target = target[samples] if self.labels else as_native(target[samples], dtype)
        if self.left_out is not None:
            x = np.where(self.left_out[samples, None], dtype.type(0), x)
        return x, target


def check_params(network: Architecture, caller: str, params: Array) -> None:
    """Raise unless `params` is a vector of the network's size."""
    if params.shape != (network.size,):
        raise ValueError(
            f"{caller}: params has shape {params.shape} but the network has {network.size} "
            f"parameters: it needs shape ({network.size},)"
        )


def native_params(network: Architecture, caller: str, params: Array) -> Array:
    """Return `params` as a contiguous vector of the network's dtype."""
    params = own_view(params)
    check_params(network, caller, params)
    return np.ascontiguousarray(as_native(params, network.dtype))


def checked_samples(
    network: Architecture, caller: str, x: Any, target: Array | None, weights: Any = None
) -> Samples:
    """Return checked inputs, targets and weights; `target` is None for losses of one array."""
    x = x if isinstance(x, SparseParts) else own_view(x)
    target = None if target is None else own_view(target)
    inputs = inputs_of(network, caller, x)
    n, single = len(inputs), x.ndim == 1
    if weights is not None:
        return _weighted(network, caller, x, target, weights)
    if network.loss.takes_target == (target is None):
        rule = "takes no target" if target is not None else "needs a target"
        raise TypeError(f"{caller}: the loss {network.loss.name} {rule}")
    if target is None:
        return Samples(inputs, None, False, network.takes(inputs))
    shape = (network.outputs,) if single else (n, network.outputs)
    if network.columns and not single:
        shape = shape[::-1]
    if network.loss.rowwise and single:
        target = one_class(target)
    if network.loss.rowwise and target.ndim == len(shape) - 1:
        classes = _classes(network, caller, target.reshape(-1) if single else target, n)
        return Samples(inputs, classes, True, network.takes(inputs))
    if target.shape != shape:
        classes_too = ""
        if network.loss.rowwise:
            form = "one class, a scalar" if single else f"classes of shape ({n},)"
            classes_too = f", or {form}{use_ravel(target, n)}"
        raise ValueError(
            f"{caller}: target has shape {target.shape} but the network's output for "
            f"x of shape {x.shape} has shape {shape}{classes_too}"
        )
    if network.loss.probabilities:
        check_probabilities(caller, network.loss.name, target)
    goal = target[None] if single else network.turned(target)
    if isinstance(inputs, SparseSamples):  # once: windows of samples are for arrays
        goal = as_native(goal, network.dtype)
    return Samples(inputs, goal, False, network.takes(inputs, goal))


def _weighted(
    network: Architecture, caller: str, x: Any, target: Array | None, weights: Any
) -> Samples:
    """Return checked samples with their weights: what is left out may be anything."""
    n, k, single = len(inputs_of(network, caller, x)), network.outputs, x.ndim == 1
    each = () if single else (n,)
    terms = (*each, k) if single or not network.columns else (k, n)
    shapes = (each,) if network.loss.rowwise else (each, terms)
    reason = f"x has shape {x.shape}"
    if getattr(weights, "shape", None) == (network.size,):
        reason += " (give out by its name, out=)"
    given = check_weights(caller, weights, shapes, reason)
    check_not_all_zero(caller, given, network.reduction)
    if target is not None and not given.all():
        zero = target.dtype.type(0)
        if target.shape == given.shape:  # classes, or each output has a weight
            target = np.where(given == 0, zero, target)
        elif target.shape == terms:
            over = given if network.columns or single else given[:, None]
            target = np.where(over == 0, zero, target)
    data = checked_samples(network, caller, x, target)
    if given.shape == each:
        given = given.reshape(-1)
    else:
        given = np.ascontiguousarray(given[None] if single else network.turned(given))
    left_out = np.logical_not(given.reshape(n, given.size // max(n, 1)).any(axis=1))
    if not left_out.any():
        return data._replace(weights=given)
    if isinstance(data.x, SparseSamples):
        return data._replace(x=data.x.without(left_out), weights=given)
    return data._replace(weights=given, left_out=left_out, native=False)


def inputs_of(network: Architecture, caller: str, array: Any) -> Any:
    """Return x with one sample per row: an array, or `SparseSamples`."""
    axis = 0 if network.columns else -1
    if array.ndim not in (1, 2) or array.shape[axis] != network.inputs:
        forms = f"({network.inputs}, n)" if network.columns else f"(n, {network.inputs})"
        raise ValueError(
            f"{caller}: x has shape {array.shape} but the network has {network.inputs} inputs: "
            f"it needs shape {forms} or ({network.inputs},)"
        )
    if isinstance(array, SparseParts):
        return network.sparse_samples(caller, array)
    return array[None] if array.ndim == 1 else network.turned(array)


def _classes(network: Architecture, caller: str, classes: Array, n: int) -> Array:
    if not are_classes(classes, (n,)):
        raise ValueError(
            f"{caller}: target has shape {classes.shape} and dtype {classes.dtype}: give "
            f"integer classes of shape ({n},){use_astype(classes, n)}, or an array like the "
            "network's output"
        )
    check_classes(network, caller, classes)
    return np.ascontiguousarray(classes, INT64)


def check_classes(network: Architecture, caller: str, classes: Array) -> None:
    """Raise unless there are as many outputs as the classes need."""
    k = network.outputs
    check_classes_of(caller, classes, k, f"the network has {k} outputs")
