"""A compiled dense layer: its kernels, its settings, and what its passes return.

Everything here works on native arrays whose shapes fit: `dense_calls` has checked them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastgrad import threads
from fastgrad.activations import ACTIVATIONS, REDEFINED, Activation, identity
from fastgrad.arguments import check_activation, evaluated
from fastgrad.arrays import Array, Dtypes
from fastgrad.kernels.flags import COLUMNS, WANT_B, WANT_W, WANT_X, WANT_Z
from fastgrad.kernels.units import DTYPES

_CONVERTED = [np.dtype(kind) for kind in "?bBhHiIlLqQe"]
# Compiled layers by samples, activation, dtype: three look-ups, 26 ns less than one with a tuple.
LAYERS: dict[str, dict[Any, dict[Any, Any]]] = {"rows": {}, "columns": {}}
WANT = {"x": WANT_X, "w": WANT_W, "b": WANT_B, "z": WANT_Z}


@dataclass(frozen=True, slots=True)
class CompiledLayer:
    """What all calls of a layer share: compiled functions and settings.

    Reading a slot takes a fifth of the time of a named tuple's field, and every call reads four.
    """

    forward: Callable[..., Any]  # for less work than threads.SHARE_FROM, else it returns True
    backward: Callable[..., Any]
    whole_forward: Callable[..., Any]  # for any size, in one call
    whole_backward: Callable[..., Any]
    record: Array
    columns: int
    keeps: bool  # whether backward needs something other than y
    activation: Activation
    samples: str
    dtype: np.dtype[Any]
    function: Callable[[Array], Array] | None = None  # a plain Python callable as activation

    def __post_init__(self) -> None:
        if self.record is not self.activation.record(self.dtype.name):
            raise ValueError("CompiledLayer: record is not that of the activation")

    def __reduce__(self) -> Any:
        """Pickle the settings only; compiled functions belong to one process."""
        return compiled_layer, (
            "dense_forward",
            self.activation if self.function is None else self.function,
            self.samples,
            self.dtype,
        )


class DenseCache(NamedTuple):
    """What the forward pass leaves for the backward pass. Nothing is copied: do not write to it.

    Attributes
    ----------
    x, w, b : ndarray
        The inputs, in their given shapes, float32 or float64 as the kernel read them. b is None
        without a bias. A sparse x is a `SparseRows`.
    saved : ndarray
        Of the shape of y: y if act' is a function of y, else act'(z); z for a user's activation.
    layer : CompiledLayer
        The compiled layer.
    dtypes : Dtypes or None
        The dtypes of the results, if they differ from that of x.
    mark : float or None
        By which `dense_backward` detects that a y it needs has been changed. None: no check.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dense_forward([[1.0, 2.0]], [[0.5], [0.25]], activation="tanh")
    >>> cache.saved is y, cache.x.shape
    (True, (1, 2))
    """

    x: Any  # an array, or `SparseRows`
    w: Array
    b: Array | None
    saved: Array  # y if act' is a function of y, else act'(z); z for a user's function
    layer: CompiledLayer
    dtypes: Dtypes | None = None  # if the results have another dtype than the arrays
    mark: float | None = None  # of y, if y is saved


def mark_of(saved: Array, layer: CompiledLayer) -> float | None:
    """Return the number that identifies y (`kernels.calls.mark`), or None if y is not used."""
    if layer.keeps or layer.function is not None or layer.activation is identity:
        return None
    from fastgrad.kernels.calls.entry import entry

    name = saved.dtype.name if saved.dtype.name in DTYPES else layer.dtype.name
    run = entry("dense", "dense_mark", name)
    made: float | None = run(saved, layer.columns)
    if made is None:  # the cache does not come from dense_forward
        clean = np.array(saved, np.dtype(name), order="F" if layer.columns else "C")
        made = run(clean, layer.columns)
    return made


def resolve(function: str, activation: Any) -> tuple[Activation, Callable[[Array], Array] | None]:
    """Return the compiled activation, and the Python callable to apply after it if any."""
    check_activation(function, activation, ACTIVATIONS)
    if activation is None:
        return identity, None
    if isinstance(activation, str):
        return ACTIVATIONS[activation], None
    if isinstance(activation, Activation):
        return activation, None
    return identity, activation


def compiled_layer(
    function: str, activation: Any, samples: str, dtype: np.dtype[Any]
) -> CompiledLayer:
    """Return the compiled layer, and store it for the first step of later calls."""
    try:
        return LAYERS[samples][activation][dtype]  # type: ignore[no-any-return]
    except (KeyError, TypeError):  # not made yet, or activation is not hashable
        act, callable_ = resolve(function, activation)
    from fastgrad.kernels.calls.entry import entry

    layer = CompiledLayer(
        entry("dense", "dense_forward", dtype.name, threads.SHARE_FROM),
        entry("dense", "dense_backward", dtype.name, threads.SHARE_FROM),
        entry("dense", "dense_forward", dtype.name),
        entry("dense", "dense_backward", dtype.name),
        act.record(dtype.name),
        COLUMNS if samples == "columns" else 0,
        not act.from_output,
        act,
        samples,
        dtype,
        callable_,
    )
    if callable_ is None:
        known = LAYERS[samples].setdefault(activation, {})
        known[dtype] = layer
        for other in _CONVERTED:  # None: x needs converting. A third of a KeyError's time
            known.setdefault(other, layer)
    return layer


def apply_callable(function: str, callable_: Callable[[Array], Array], z: Array) -> Array:
    """Return an elementwise callable of z, in z's dtype."""
    return evaluated(function, callable_, z, z.dtype)


def callable_slope(function: str, callable_: Callable[[Array], Array], z: Array) -> Array:
    """Return the derivative of an elementwise callable by central differences in float64."""
    wide = z.astype(np.float64)
    step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(wide))
    with np.errstate(all="ignore"):
        above, below = wide + step, wide - step
        rise = evaluated(function, callable_, above, wide.dtype)
        rise -= evaluated(function, callable_, below, wide.dtype)
        slope: Array = (rise / (above - below)).astype(z.dtype)
    return slope


def _forget(name: str, previous: Activation | None) -> None:
    """Drop the compiled layers of a redefined name; an old activation object gets a new one."""
    for by_activation in LAYERS.values():
        by_activation.pop(name, None)
        if previous is not None:  # None is a key: the identity
            by_activation.pop(previous, None)


REDEFINED.append(_forget)
