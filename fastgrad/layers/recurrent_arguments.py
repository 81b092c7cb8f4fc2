"""The arguments of a recurrent layer, its cache, and how its gradients are returned.

fastgrad, reference and loops share all of it. Each has its own forward and backward pass over
checked arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_truth
from fastgrad.arrays import Array, Dtypes, as_array, as_native, common_dtypes, deliver, promoted
from fastgrad.layers.dense_arguments import check_outputs, needed_gradients

LSTM_GATES = ("ifog", "ifgo")  # the order of an LSTM's gates
GRU_RESETS = ("before", "after")  # a GRU applies its reset gate before or after h @ wh


class RecurrentArguments(NamedTuple):
    """A recurrent layer's checked arguments: arrays of one native dtype, steps first."""

    x: Array  # (t, n, d), zero after a sample's last step
    h0: Array  # (n, k)
    c0: Array | None  # of an LSTM
    wx: Array  # (d, gates * k)
    wh: Array  # (k, gates * k)
    b: Array | None  # (gates * k,), or two rows: one for the product with x, one for h
    lengths: Array | None  # (n,), int64
    shapes: dict[str, tuple[int, ...]]  # of the arguments as given
    dtypes: Dtypes


def recurrent_arguments(
    function: str, x: Any, h0: Any, c0: Any, wx: Any, wh: Any, b: Any, lengths: Any,
    gates: int, two_biases: bool = False,
) -> RecurrentArguments:  # fmt: skip
    """Return a recurrent layer's checked arguments; `c0` is None if it has no cells."""
    given = {"x": x, "h0": h0, "c0": c0, "wx": wx, "wh": wh, "b": b}
    arrays = {n: as_array(function, n, a) for n, a in given.items() if a is not None or n == "h0"}
    shapes = {name: array.shape for name, array in arrays.items()}
    shape, wide = shapes["x"], "k" if gates == 1 else f"{gates} k"
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{function}: x has shape {shape}: give (t, n, d), or (t, d) of one sample"
        )
    t, n, d = shape if len(shape) == 3 else (shape[0], 1, shape[1])
    if len(shapes["wh"]) != 2 or shapes["wh"][1] != gates * shapes["wh"][0]:
        raise ValueError(f"{function}: wh has shape {shapes['wh']}: it needs shape (k, {wide})")
    k, width = shapes["wh"]
    if shapes["wx"] != (d, width):
        raise ValueError(
            f"{function}: wx has shape {shapes['wx']} but x has shape {shape} and wh has shape "
            f"{shapes['wh']}: wx needs shape {d, width}, (d, {wide})"
        )
    for name in ("h0", "c0"):
        state = (n, k) if len(shape) == 3 else (k,)
        if name in shapes and shapes[name] != state:
            raise ValueError(
                f"{function}: {name} has shape {shapes[name]} but x has shape {shape} and wh has "
                f"shape {shapes['wh']}: {name} needs shape {state}"
            )
    fitting = [(width,), (1, width), *([(2, width)] if two_biases else [])]
    if "b" in shapes and shapes["b"] not in fitting:
        raise ValueError(
            f"{function}: b has shape {shapes['b']} but wh has shape {shapes['wh']}: b needs shape "
            f"{' or '.join(map(str, fitting))}"
        )
    ends = None if lengths is None else check_lengths(function, lengths, shape, t, n)
    dtypes = common_dtypes(*arrays.values())
    arrays = {name: as_native(array, dtypes.work) for name, array in arrays.items()}
    x, b, c0 = arrays["x"].reshape(t, n, d), arrays.get("b"), arrays.get("c0")
    if ends is not None:  # these elements may be anything, even NaN
        x = np.where((np.arange(t)[:, None] < ends)[:, :, None], x, x.dtype.type(0))
    if b is not None:
        b = np.ascontiguousarray(b if shapes["b"] == (2, width) else b.reshape(width))
    return RecurrentArguments(
        np.ascontiguousarray(x),
        arrays["h0"].reshape(n, k),
        None if c0 is None else c0.reshape(n, k),
        arrays["wx"],
        arrays["wh"],
        b,
        ends,
        shapes,
        dtypes,
    )


def check_lengths(function: str, lengths: Any, shape: tuple[int, ...], t: int, n: int) -> Array:
    """Return each sample's number of steps as int64; raise unless these fit x."""
    ends = as_array(function, "lengths", lengths)
    if ends.dtype.kind not in "iu" or ends.shape not in ((n,), (n,) if len(shape) == 3 else ()):
        raise ValueError(
            f"{function}: lengths has shape {ends.shape} and dtype {ends.dtype} but x has shape "
            f"{shape}: give {n} integers, one per sample"
        )
    if ends.size and (ends.min() < 0 or ends.max() > t):
        raise ValueError(
            f"{function}: lengths has values from {ends.min()} to {ends.max()} but x has {t} "
            f"steps: they go from 0 to {t}"
        )
    return ends.astype(np.int64).reshape(n)


def check_named(function: str, activation: Any) -> None:
    """Raise if an activation is a plain function, for which there is no compiled kernel."""
    if callable(activation) and not hasattr(activation, "name"):
        raise TypeError(
            f"{function}: activation is a {type(activation).__name__}: give None, a name or an "
            "fg.Activation (fg.define_activation makes one)"
        )


class RecurrentCache(NamedTuple):
    """What a recurrent layer's forward pass keeps for the backward pass. Do not write to it.

    Attributes
    ----------
    cell : {"rnn", "lstm", "gru"}
        The kind of layer.
    setting : object
        The activation, the order of the gates, or when the reset gate is applied.
    given : RecurrentArguments
        The arguments, converted.
    h, c : ndarray
        ``(t + 1, n, k)``: the first state, then each step's. c is None except in an LSTM.
    kept : tuple of ndarray
        The gates, and what else the backward pass needs.
    mark : bytes
        Lets the backward pass detect that the states have been changed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> h, cache = fg.rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[2.0]])
    >>> cache.cell, cache.h.shape
    ('rnn', (3, 1, 1))
    """

    cell: str
    setting: Any
    given: RecurrentArguments
    h: Array
    c: Array | None
    kept: tuple[Array, ...]
    mark: bytes


def recurrent_results(
    cell: str, setting: Any, given: RecurrentArguments, h: Array, c: Array | None,
    kept: tuple[Array, ...],
) -> Any:  # fmt: skip
    """Return the results of a forward pass: the states of all steps, and the cache."""
    shape = (*given.shapes["x"][:-1], h.shape[-1])
    cache = RecurrentCache(cell, setting, given, h, c, kept, _mark(h) + _mark(c))
    states = [
        deliver(s[1:].reshape(shape), given.dtypes.result, None) for s in (h, c) if s is not None
    ]
    return (*states, cache)


def _mark(states: Array | None) -> bytes:
    """Return some 64 elements, or all if there are fewer."""
    if states is None:
        return b""
    flat = states.reshape(-1)
    return flat[:: max(1, flat.size // 64)].tobytes()


def recurrent_gradients(
    function: str,
    gradients: Callable[..., dict[str, Array]],
    kind: Any,
    cache: Any,
    grad_h: Any,
    grad_c: Any,
    need: Iterable[str],
    out: Any,
    accumulate: Any,
) -> Any:
    """Return a layer's gradients as this `kind`; `gradients` computes them from checked arrays.

    It is called as ``gradients(cache, grad_h, grad_c, names)``; grad_c may be None.
    """
    cell = function.partition("_")[0]
    if not isinstance(cache, RecurrentCache) or cache.cell != cell:
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}"
            f"{' of ' + cache.cell if isinstance(cache, RecurrentCache) else ''}: "
            f"give what {cell}_forward returned"
        )
    given = cache.given
    names = needed_gradients(function, need, kind._fields)
    names = [name for name in names if name in given.shapes]
    accumulate = check_truth(function, "accumulate", accumulate)
    states = {"grad_h": grad_h, "grad_c": grad_c}
    arrays = {
        n: as_array(function, n, a) for n, a in states.items() if a is not None or n == "grad_h"
    }
    shape = (*given.shapes["x"][:-1], cache.h.shape[-1])
    for name, array in arrays.items():
        if array.shape not in (shape, shape[1:]):
            raise ValueError(
                f"{function}: {name} has shape {array.shape} but {name[-1]} has shape {shape}: it "
                f"needs that shape, or {shape[1:]}, of the last step alone"
            )
    if _mark(cache.h) + _mark(cache.c) != cache.mark:
        raise ValueError(
            f"{function}: cache: states have been changed since {cell}_forward returned them, and "
            "the way back needs them. Leave them as they are: h = h * mask, not h *= mask"
        )
    dtypes = promoted(given.dtypes.result, *[a.dtype for a in arrays.values()])
    outs: dict[str, Array] = {}
    if out is not None:
        inputs = {**arrays, **given._asdict(), "h": cache.h, "c": cache.c}
        outs = check_outputs(function, out, names, given.shapes, dtypes.result, inputs, kind)
    if dtypes.work is not given.dtypes.work:
        cache = _converted(cache, dtypes)
    whole_shape = (len(cache.given.x), *cache.h.shape[1:])
    whole = {}
    for name, array in arrays.items():
        native = as_native(array, dtypes.work)
        if array.shape != shape:
            native, last = np.zeros(shape, dtypes.work), native
            native[-1:] = last
        whole[name] = np.ascontiguousarray(native.reshape(whole_shape))
    made = gradients(cache, whole["grad_h"], whole.get("grad_c"), names)
    for name in names:
        grad = made[name].reshape(given.shapes[name])
        if accumulate and name in outs:
            with np.errstate(all="ignore"):
                grad = outs[name] + grad
        made[name] = deliver(grad, dtypes.result, outs.get(name))
    return kind(**{name: made[name] for name in names})


def _converted(cache: RecurrentCache, dtypes: Dtypes) -> RecurrentCache:
    """Return the cache in the gradient's dtype."""

    def wide(array: Any) -> Any:
        floats = isinstance(array, np.ndarray) and array.dtype.kind == "f"
        return as_native(array, dtypes.work) if floats else array

    given = RecurrentArguments(*map(wide, cache.given))._replace(dtypes=dtypes)
    kept = tuple(map(wide, cache.kept))
    return cache._replace(given=given, h=wide(cache.h), c=wide(cache.c), kept=kept)
