"""A compiled dense layer: its kernels, its settings, and large ones shared over threads.

Everything here works on native arrays whose shapes fit: `functional` checks and converts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastgrad import threads
from fastgrad.activations import ACTIVATIONS, LAYERS, Activation, identity
from fastgrad.arrays import Array, as_array

# Bits by which the backward kernel is told what to compute, as in kernels/dense.py.
WANT = {"x": 1, "w": 2, "b": 4, "z": 8}
ACCUMULATE = 16


class Layer(NamedTuple):
    """What a layer's calls share, whatever their arrays: compiled functions and settings."""

    forward: Callable[..., Any]  # small enough for one thread, else it returns None
    backward: Callable[..., Any]
    whole_forward: Callable[..., Any]  # of any size, in one thread
    whole_backward: Callable[..., Any]
    record: Array
    columns: int
    keep_z: bool
    activation: Activation
    samples: str
    function: Callable[[Array], Array] | None = None  # a plain Python callable as activation

    def __reduce__(self) -> Any:
        """Pickle the settings; the compiled functions belong to a process."""
        dtype = np.dtype(self.forward.__name__.rpartition("_")[2])
        return compiled_layer, (
            "dense_forward",
            self.function or self.activation,
            self.samples,
            dtype,
        )


def resolve(function: str, activation: Any) -> tuple[Activation, Callable[[Array], Array] | None]:
    """Return the compiled activation, and the Python callable to apply after it if any."""
    if activation is None:
        return identity, None
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"{function}: unknown activation {activation!r}: choose from {known}")
        return ACTIVATIONS[activation], None
    if isinstance(activation, Activation):
        return activation, None
    if callable(activation):
        return identity, activation
    raise TypeError(
        f"{function}: activation is a {type(activation).__name__}: give None, a name, an "
        "fg.Activation or a callable"
    )


def compiled_layer(function: str, activation: Any, samples: str, dtype: np.dtype[Any]) -> Layer:
    """Return the compiled layer, and remember it for the direct path."""
    from fastgrad.kernels.library import entry

    act, callable_ = resolve(function, activation)
    layer = Layer(
        entry("dense", "dense_forward", dtype.name, threads.SHARE_FROM),
        entry("dense", "dense_backward", dtype.name, threads.SHARE_FROM),
        entry("dense", "dense_forward", dtype.name),
        entry("dense", "dense_backward", dtype.name),
        act.record(dtype.name),
        int(samples == "columns"),
        not act.from_output,
        act,
        samples,
        callable_,
    )
    if callable_ is None:
        LAYERS[dtype, activation, samples] = layer
    return layer


def shared_forward(
    layer: Layer, x: Array, w: Array, b: Array | None, out: Array | None, keep_z: bool
) -> Any:
    """Run the forward kernel, large batches in several threads: each has a block of samples."""
    parts = threads.shares(x.size * w.shape[layer.columns ^ 1])
    if parts == 1 or x.ndim == 1 or keep_z:
        return layer.whole_forward(x, w, b, out, keep_z, layer.record, layer.columns)
    if layer.columns:
        y = np.empty((x.shape[1], w.shape[0]), x.dtype).T if out is None else out
    else:
        y = np.empty((x.shape[0], w.shape[1]), x.dtype) if out is None else out
    threads.run(
        [
            partial(layer.whole_forward, x[at], w, b, y[at], False, layer.record, layer.columns)
            for at in _sample_slices(layer, x, parts)
        ]
    )
    return y


def shared_backward(
    layer: Layer,
    grad: Array,
    x: Array,
    w: Array,
    b: Array | None,
    saved: Array,
    flags: int,
    into: dict[str, Array | None],
) -> Any:
    """Run the backward kernel; a large one in threads: samples for x and z, features for w."""
    run, record, columns = layer.whole_backward, layer.record, layer.columns
    parts = threads.shares(2 * x.size * w.shape[columns ^ 1])
    if parts == 1 or x.ndim == 1 or not flags & WANT["w"]:
        return run(
            grad, x, w, b, saved, record, flags, columns, into["x"], into["w"], into["b"], None
        )
    adds = flags & ACCUMULATE
    want_x = flags & WANT["x"]
    gx = np.empty_like(x) if want_x and into["x"] is None else into["x"]
    gw = np.empty_like(w) if into["w"] is None else into["w"]
    gz = np.empty_like(saved)
    assert gw is not None
    threads.run(
        [
            partial(
                run, grad[at], x[at], w, b, saved[at], record, want_x | WANT["z"], columns,
                None if gx is None else gx[at], None, None, gz[at],
            )
            for at in _sample_slices(layer, x, parts)
        ]
    )  # fmt: skip
    plain = identity.record(x.dtype.name)
    features = threads.cut(x.shape[0 if columns else 1], parts, 48)
    jobs = [
        partial(
            run, gz, x[at] if columns else x[:, at], w[:, at] if columns else w[at], None, None,
            plain, WANT["w"] | adds, columns, None, gw[:, at] if columns else gw[at], None, None,
        )
        for at in features
    ]  # fmt: skip
    threads.run(jobs)
    gb = None
    if b is not None and flags & WANT["b"]:
        gb = run(gz, x, w, b, None, plain, WANT["b"] | adds, columns, None, None, into["b"], None)[
            2
        ]
    return gx if want_x else None, gw, gb, gz if flags & WANT["z"] else None


def _sample_slices(layer: Layer, x: Array, parts: int) -> list[Any]:
    """Return the indices of `parts` blocks of samples."""
    slices = threads.cut(x.shape[layer.columns], parts, 96)
    return [(slice(None), s) for s in slices] if layer.columns else list(slices)


def apply_callable(function: str, callable_: Callable[[Array], Array], z: Array) -> Array:
    """Return an elementwise callable of a copy of z, in z's dtype."""
    y = as_array(function, "what the activation returned", callable_(z.copy()))
    if y.shape != z.shape:
        raise ValueError(
            f"{function}: activation returned shape {y.shape} for an array of shape {z.shape}: "
            "it must be elementwise"
        )
    with np.errstate(over="ignore"):  # float64 numbers of a float32 layer
        return y.astype(z.dtype, copy=False)


def callable_slope(callable_: Callable[[Array], Array], z: Array) -> Array:
    """Return the derivative of an elementwise callable by central differences in float64."""
    wide = z.astype(np.float64)
    step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(wide))
    with np.errstate(all="ignore"):
        above, below = wide + step, wide - step
        rise = np.subtract(callable_(above.copy()), callable_(below.copy()), dtype=np.float64)
        slope: Array = (rise / (above - below)).astype(z.dtype)
    return slope
