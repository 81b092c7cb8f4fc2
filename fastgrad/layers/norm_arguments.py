"""The arguments of layer and batch normalization, their cache, and how gradients are returned.

fastgrad, reference and loops share all of it. Each has its own passes over checked arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import (
    LAYOUTS,
    check_choice,
    check_limit,
    check_number,
    check_same_shape,
    check_samples,
    check_truth,
)
from fastgrad.arrays import (
    FLOAT32,
    FLOAT64,
    Array,
    Dtypes,
    as_array,
    as_native,
    as_natives,
    common_dtypes,
    deliver,
    masked_class,
    promoted,
)
from fastgrad.layers.dense_arguments import check_outputs, needed_gradients
from fastgrad.results import NormGrads, check_out

_GRADIENTS = NormGrads._fields
_ROWS = sys.intern("rows")  # what a literal, and the default, are: no other type is compared


class NormArguments(NamedTuple):
    """The checked arguments: arrays of one native dtype, a sample per row."""

    x: Array  # (n, d), contiguous
    gain: Array  # (d,)
    bias: Array  # (d,)
    eps: float
    columns: bool
    shapes: dict[str, tuple[int, ...]]  # of the arguments as given
    dtypes: Dtypes
    out: Array | None


class NormCache(NamedTuple):
    """What a normalization keeps for its backward pass. Do not write to it.

    Attributes
    ----------
    kind : {"layer_norm", "batch_norm"}
        Which of the two.
    given : NormArguments
        The arguments, converted. They may be those of the call: do not change them in between.
    kept : tuple of ndarray
        Means and scales, or what else the backward pass needs.
    training : bool
        Whether mean and variance are those of x.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.layer_norm_forward([[1.0, 3.0]], [1.0, 1.0], [0.0, 0.0])
    >>> cache.kind, cache.given.x.shape
    ('layer_norm', (1, 2))
    """

    kind: str
    given: NormArguments
    kept: tuple[Array, ...]
    training: bool


def norm_arguments(
    function: str, x: Any, gain: Any, bias: Any, eps: Any, samples: Any, out: Any
) -> NormArguments:
    """Return checked arguments."""
    if samples is _ROWS and out is None and _as_kernels_take(x, gain, bias):  # 2 us instead of 8
        shapes = {"x": x.shape, "gain": gain.shape, "bias": bias.shape}
        small, dtypes = check_limit(function, "eps", eps), promoted(x.dtype)
        return NormArguments(x, gain, bias, small, False, shapes, dtypes, None)
    check_choice(function, "samples", samples, LAYOUTS)
    given = {"x": x, "gain": gain, "bias": bias}
    arrays = {name: as_array(function, name, value) for name, value in given.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    check_samples(function, "x", arrays["x"], samples)
    columns = samples == "columns"
    d = shapes["x"][0 if columns else -1]
    for name in ("gain", "bias"):
        if shapes[name] not in vectors(d, columns):
            fitting = " or ".join(map(str, vectors(d, columns)))
            raise ValueError(
                f"{function}: {name} has shape {shapes[name]} but x has shape {shapes['x']}: "
                f"{name} needs shape {fitting}, one number per feature"
            )
    small = check_limit(function, "eps", eps)
    dtypes = common_dtypes(*arrays.values())
    if out is not None:
        check_out(function, "out", out, shapes["x"], dtypes.result, arrays)
    rows, weights, shifts = as_natives(dtypes.work, *arrays.values())
    vector = {
        name: np.ascontiguousarray(one).reshape(d)
        for name, one in (("gain", weights), ("bias", shifts))
    }
    rows = as_samples(rows, columns)
    return NormArguments(rows, vector["gain"], vector["bias"], small, columns, shapes, dtypes, out)


def _as_kernels_take(x: Any, *vectors: Any) -> bool:
    """Return whether arrays are contiguous, of one native dtype and shapes (n, d) and (d,)."""
    if type(x) is not np.ndarray or x.ndim != 2 or not x.flags.aligned:
        return False
    dtype, shape = x.dtype, x.shape[1:]
    size = dtype.itemsize
    if not (dtype is FLOAT32 or dtype is FLOAT64) or x.strides != (shape[0] * size, size):
        return False
    for one in vectors:
        if type(one) is not np.ndarray or one.dtype is not dtype or one.shape != shape:
            return False
        if one.strides != (size,) or not one.flags.aligned:
            return False
    return True


def vectors(d: int, columns: bool) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that a vector of d features may have."""
    return ((d,), (d, 1)) if columns else ((d,), (1, d))


def as_samples(array: Array, columns: bool) -> Array:
    """Return an array as contiguous rows, one per sample."""
    if array.ndim == 2 and not columns and array.flags.c_contiguous:
        return array
    turned = array.T if columns and array.ndim == 2 else array
    count = np.broadcast_to(0, turned.shape[:-1]).size  # also where there are no features
    return np.ascontiguousarray(turned.reshape(count, turned.shape[-1]))


def as_given(rows: Array, shape: tuple[int, ...], columns: bool) -> Array:
    """Undo `as_samples`: return rows in the layout of x."""
    return rows.T if columns and len(shape) == 2 else rows.reshape(shape)


def check_momentum(function: str, momentum: Any) -> float:
    """Return how much of running values stays, or raise unless it is from 0 to 1."""
    stays = check_number(function, "momentum", momentum)
    if not 0 <= stays <= 1:
        raise ValueError(f"{function}: momentum is {momentum!r}: it goes from 0 to 1")
    return stays


def check_running(
    function: str, running: Any, given: NormArguments, training: bool
) -> tuple[Array, Array] | None:
    """Return the running mean and variance as vectors, views that can be written to in training."""
    if running is None:
        if not training:
            raise ValueError(
                f"{function}: running is None and training is False: give the mean and the "
                "variance that training has left, running=(mean, variance)"
            )
        return None
    if type(running) is tuple and len(running) == 2 and training:
        arrays = given.x, given.gain, given.bias
        if _as_kernels_take(given.x, *running) and _apart(running, arrays):
            return running
    if not isinstance(running, tuple | list) or len(running) != 2:
        raise TypeError(
            f"{function}: running is a {type(running).__name__}: give two arrays, (mean, variance)"
        )
    d = len(given.gain)
    inputs: dict[str, Any] = {"x": given.x, "gain": given.gain, "bias": given.bias}
    found = []
    for name, array in zip(("running[0]", "running[1]"), running, strict=True):
        if not isinstance(array, np.ndarray) or isinstance(array, masked_class()):
            raise TypeError(f"{function}: {name} is a {type(array).__name__}: give a NumPy array")
        if array.dtype.kind != "f" or as_array(function, name, array).shape not in vectors(
            d, given.columns
        ):
            fitting = " or ".join(map(str, vectors(d, given.columns)))
            raise ValueError(
                f"{function}: {name} has shape {array.shape} and dtype {array.dtype}: it needs "
                f"floats of shape {fitting}, one per feature"
            )
        if training:
            check_out(function, name, array, array.shape, array.dtype, inputs)
            inputs[name] = array
        flat = array if array.ndim == 1 else array[:, 0] if given.columns else array[0]
        found.append(flat)
    return found[0], found[1]


def _apart(running: tuple[Array, Array], arrays: tuple[Array, ...]) -> bool:
    """Return whether both can surely be written to: `check_out` takes ten times as long."""
    first, second = running
    if not (first.flags.writeable and second.flags.writeable):
        return False
    if np.may_share_memory(first, second):
        return False
    for array in arrays:
        if np.may_share_memory(first, array) or np.may_share_memory(second, array):
            return False
    return True


def norm_results(
    kind: str, given: NormArguments, rows: Array, kept: tuple[Array, ...], training: bool
) -> tuple[Array, NormCache]:
    """Return y in the layout of x, and the cache."""
    y = as_given(rows, given.shapes["x"], given.columns)
    kept_of = given if given.out is None else given._replace(out=None)
    cache = NormCache(kind, kept_of, kept, training)
    return deliver(y, given.dtypes.result, given.out), cache


def _is_like_y(grad_y: Any, given: NormArguments) -> bool:
    """Return whether kernels take dL/dy as it is."""
    return (
        _as_kernels_take(grad_y)
        and grad_y.dtype is given.dtypes.result
        and grad_y.shape == given.shapes["x"]
        and not given.columns
    )


def norm_gradients(
    function: str,
    gradients: Callable[[NormCache, Array, list[str]], dict[str, Array]],
    cache: Any,
    grad_y: Any,
    need: Iterable[str],
    out: Any,
    accumulate: Any,
) -> NormGrads:
    """Return the gradients; `gradients` computes those of these names from checked arrays."""
    kind = function.removesuffix("_backward")
    if not isinstance(cache, NormCache) or cache.kind != kind:
        of = f" of {cache.kind}" if isinstance(cache, NormCache) else ""
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}{of}: give what {kind}_forward returned"
        )
    given = cache.given
    if need is _GRADIENTS and out is None and accumulate is False and _is_like_y(grad_y, given):
        made = gradients(cache, grad_y, list(need))  # 2 us instead of 7 beside this
        of_gain, of_bias = (made[name].reshape(given.shapes[name]) for name in ("gain", "bias"))
        return NormGrads(made["x"], of_gain, of_bias)
    names = needed_gradients(function, [need] if isinstance(need, str) else need, _GRADIENTS)
    accumulate = check_truth(function, "accumulate", accumulate)
    array = as_array(function, "grad_y", grad_y)
    check_same_shape(function, "grad_y", array.shape, "y", given.shapes["x"])
    dtypes = promoted(given.dtypes.result, array.dtype)
    inputs = {"grad_y": array, "x": given.x, "gain": given.gain}
    outs = check_outputs(function, out, names, given.shapes, dtypes.result, inputs, NormGrads)
    if dtypes.work is not given.dtypes.work:
        x, gain, bias, *kept = as_natives(dtypes.work, *given[:3], *cache.kept)
        given = given._replace(x=x, gain=gain, bias=bias)
        cache = cache._replace(given=given, kept=tuple(kept))
    made = gradients(cache, as_samples(as_native(array, dtypes.work), given.columns), names)
    for name in names:
        grad, shape = made[name], given.shapes[name]
        grad = as_given(grad, shape, given.columns) if name == "x" else grad.reshape(shape)
        if accumulate and name in outs:
            with np.errstate(all="ignore"):
                grad = outs[name] + grad
        made[name] = deliver(grad, dtypes.result, outs.get(name))
    return NormGrads(**{name: made[name] for name in names})
