"""One fused dense layer: ``y = act(x @ w + b)``, and its gradients.

A call first tries the compiled entry point on the arguments as they are: it takes native arrays
of fitting shapes, allocates the result itself and costs a quarter of a microsecond. What it does
not take comes back as None; then every argument is checked, converted, and the same entry point
called again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.activations import LAYERS
from fastgrad.arrays import (
    UNCHECKED,
    Array,
    Dtypes,
    as_array,
    as_native,
    check_choice,
    check_out,
    common_dtypes,
    deliver,
)
from fastgrad.large import any_backward, any_forward
from fastgrad.layer import (
    ACCUMULATE,
    ADD_X,
    WANT,
    Layer,
    apply_callable,
    callable_slope,
    compiled_layer,
)

__all__ = ["DenseCache", "DenseGrads", "dense", "dense_backward", "dense_forward"]


class DenseGrads(NamedTuple):
    """Gradients of one layer, of the shapes of what they belong to; None where not computed."""

    x: Array | None = None
    w: Array | None = None
    b: Array | None = None
    z: Array | None = None


class DenseCache(NamedTuple):
    """What the forward pass leaves for the backward pass. Nothing is copied: do not write to it."""

    x: Array
    w: Array
    b: Array | None
    saved: Array  # y where act' is a function of y, else act'(z); z of a user's function
    layer: Layer
    shape: tuple[int, ...] | None = None  # of x, where it had leading batch axes
    dtypes: Dtypes | None = None  # where the results are not of the arrays' own dtype


_NEED: tuple[str, ...] = ("x", "w", "b")
_ARRAYS = ("x", "w", "saved")  # of a cache; b may be missing
_WANTED: dict[Any, int] = {_NEED: WANT["x"] + WANT["w"] + WANT["b"]}  # by need, as calls have asked
_FIELDS = frozenset(WANT)


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> Array:
    """Return ``y = act(x @ w + b)``. The arguments are those of `dense_forward`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.dense([[1.0, 2.0]], [[1.0], [1.0]], [-5.0], "relu")
    array([[0.]])
    """
    try:
        layer = LAYERS[x.dtype, activation, samples]  # type: ignore[union-attr]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        y = layer.forward(x, w, b, out, False, layer.record, flags, None, None)
    except (KeyError, AttributeError, TypeError, ValueError):
        y = None
    if y is not None:
        return y  # type: ignore[no-any-return]
    return _forward("dense", x, w, b, activation, samples, out, keep=False)[0]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, DenseCache]:
    """Return ``y = act(x @ w + b)`` (columns: ``act(w @ x + b)``) and a cache for the way back.

    Parameters
    ----------
    x : array_like
        Rows: ``(n, d)``, ``(..., d)`` or one sample ``(d,)``. Columns: ``(d, n)`` or ``(d,)``.
    w : array_like
        Weights: ``(d, k)`` for rows, ``(k, d)`` for columns.
    b : array_like, optional
        Bias: ``(k,)``, or ``(1, k)`` for rows, ``(k, 1)`` for columns.
    activation : None, str, Activation or callable
        None is the identity. Any other callable must be an elementwise function of an array; it
        is differentiated by central differences in float64: right, but slow.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Where to put y: of its exact shape and dtype, sharing no memory with an input.

    Returns
    -------
    y : ndarray
        ``(n, k)``, ``(..., k)`` or ``(k,)``; columns: ``(k, n)`` or ``(k,)``. float32 if all
        inputs are, float16 if all are, else float64. A sample's outputs lie side by side.
    cache : DenseCache
        For `dense_backward`. It refers to `x`, `w` and often `y`: do not change them between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in.
    ValueError
        For shapes that do not fit, an unsuitable `out`, an unknown name.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dense_forward([[1.0, 2.0]], [[0.5], [0.25]], [-1.0], "tanh")
    >>> y
    array([[0.]])
    >>> grads = fg.dense_backward([[1.0]], cache)
    >>> grads.x.tolist(), grads.w.tolist(), grads.b.tolist()
    ([[0.5, 0.25]], [[1.0], [2.0]], [1.0])
    """
    try:
        layer = LAYERS[x.dtype, activation, samples]  # type: ignore[union-attr]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        pair = layer.forward(x, w, b, out, layer.keeps, layer.record, flags, DenseCache, layer)
    except (KeyError, AttributeError, TypeError, ValueError):
        pair = None
    if pair is not None:
        return pair  # type: ignore[no-any-return]
    return _forward("dense_forward", x, w, b, activation, samples, out, keep=True)


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = _NEED,
    out: Any = None,
    accumulate: bool = False,
) -> DenseGrads:
    """Return the gradients of the loss with respect to a layer's inputs.

    With ``grad_z = grad_y * act'(z)``: ``grad_x = grad_z @ w.T``, ``grad_w = x.T @ grad_z``,
    ``grad_b = grad_z.sum(axis=0)`` (columns: the transposes).

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : DenseCache
        From `dense_forward`.
    need : iterable of {"x", "w", "b", "z"}
        Which gradients to compute; ``"z"`` is that of the pre-activation.
    out : DenseGrads, mapping or object with fields x, w, b, z, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    DenseGrads
        Each gradient has the shape and memory order of what it belongs to.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dense_forward([[1.0], [2.0]], [[3.0]])
    >>> grads = fg.dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    >>> grads.w, grads.z.tolist(), grads.x
    (array([[3.]]), [[1.0], [1.0]], None)
    """
    try:
        x, w, b, saved, layer, shape, _ = cache
        if shape is None and layer.function is None:
            names = tuple(need) if type(need) is list else need
            wanted, flags, run = _WANTED[names], layer.columns, layer.backward
            if out is None and accumulate is False:
                grads = run(
                    grad_y, x, w, b, saved, layer.record, wanted, flags, DenseGrads,
                    None, None, None, None,
                )  # fmt: skip
            else:
                into = out if type(out) is DenseGrads else tuple(_fields(out).values())
                if accumulate is not False:
                    wanted = _adding(wanted, into, accumulate, b is not None)
                flags += UNCHECKED
                grads = run(grad_y, x, w, b, saved, layer.record, wanted, flags, DenseGrads, *into)
            if grads is not None:
                return grads  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # said properly below
    return _backward(grad_y, cache, need, out, accumulate)


def _adding(wanted: int, into: tuple[Any, ...], accumulate: Any, has_bias: bool) -> int:
    """Return `wanted` with its bit ACCUMULATE; raise where kernels can't add all of it."""
    grad_x, grad_w, grad_b, _ = into
    x_is_new = wanted & WANT["x"] and grad_x is None
    w_is_new = wanted & WANT["w"] and grad_w is None
    b_is_new = wanted & WANT["b"] and grad_b is None and has_bias
    if accumulate is not True or wanted & WANT["z"] or x_is_new or w_is_new or b_is_new:
        raise ValueError("not directly")
    return wanted | ACCUMULATE | (ADD_X if wanted & WANT["x"] else 0)


# -- the checked path --------------------------------------------------------------------------


def _check_shapes(function: str, x: Array, w: Array, b: Array | None, samples: str) -> None:
    columns = samples == "columns"
    if x.ndim == 0 or (columns and x.ndim > 2):
        forms = "(d, n) or (d,)" if columns else "(n, d), (..., d) or (d,)"
        raise ValueError(f"{function}: x has shape {x.shape}: samples={samples!r} take {forms}")
    if w.ndim != 2:
        raise ValueError(
            f"{function}: w has shape {w.shape}: it needs two axes, "
            f"{'(k, d)' if columns else '(d, k)'}"
        )
    d = x.shape[0] if columns else x.shape[-1]
    if w.shape[1 if columns else 0] != d:
        side = "columns" if columns else "rows"
        raise ValueError(
            f"{function}: w has shape {w.shape} but x has shape {x.shape}: "
            f"w needs {d} {side}, one per input feature"
        )
    k = w.shape[0 if columns else 1]
    full = (k, 1) if columns else (1, k)
    if b is not None and b.shape not in ((k,), full):
        raise ValueError(
            f"{function}: b has shape {b.shape} but w has shape {w.shape}: "
            f"b needs shape ({k},) or {full}, one entry per output"
        )


def _forward(
    function: str,
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None,
    activation: Any,
    samples: str,
    out: Array | None,
    keep: bool,
) -> tuple[Array, DenseCache]:
    check_choice(function, "samples", samples, ("rows", "columns"))
    given = {"x": as_array(function, "x", x), "w": as_array(function, "w", w)}
    if b is not None:
        given["b"] = as_array(function, "b", b)
    _check_shapes(function, given["x"], given["w"], given.get("b"), samples)
    dtypes = common_dtypes(*given.values())
    layer = compiled_layer(function, activation, samples, dtypes.work)
    native = {name: as_native(a, dtypes.work) for name, a in given.items()}
    x_array, w_array, b_array = native["x"], native["w"], native.get("b")
    shape = x_array.shape
    k = w_array.shape[layer.columns ^ 1]
    batched = len(shape) > 2
    keeps = layer.keeps and keep
    if batched:
        x_array = x_array.reshape(math.prod(shape[:-1]), shape[-1])
    y_shape = (k, *shape[1:]) if layer.columns else (*shape[:-1], k)
    if math.prod(y_shape) > sys.maxsize // dtypes.work.itemsize:
        raise ValueError(f"{function}: y of shape {y_shape} is larger than memory can be")
    if out is not None:
        check_out(function, "out", out, y_shape, dtypes.result, given)

    into = None
    if _kernels_take(out, dtypes.work) and not (layer.function or batched or keeps):
        into = out if _sample_contiguous(out, layer.columns) else None
    y = any_forward(layer, x_array, w_array, b_array, into, keeps)
    saved = y
    if keeps:
        y, saved = y
    if layer.function is not None:
        y = apply_callable(function, layer.function, saved)
    cache = DenseCache(
        x_array, w_array, b_array, saved, layer, shape if batched else None,
        None if dtypes.work is dtypes.result else dtypes,
    )  # fmt: skip
    return deliver(y.reshape(y_shape), dtypes.result, out), cache


def _kernels_take(out: Array | None, dtype: np.dtype[Any]) -> TypeGuard[Array]:
    """Return whether kernels can write to `out`: no subclass, and NumPy's own dtype object."""
    return type(out) is np.ndarray and out.dtype is dtype


def _sample_contiguous(array: Array, columns: int) -> bool:
    """Return whether a kernel can write the outputs of each sample side by side into `array`."""
    step = array.strides[0 if columns else -1]
    native = array.dtype.isnative and array.flags.aligned
    return native and step == array.itemsize and all(s % step == 0 for s in array.strides)


def _backward(
    grad_y: ArrayLike, cache: DenseCache, need: Iterable[str], out: Any, accumulate: bool
) -> DenseGrads:
    function = "dense_backward"
    if not isinstance(cache, DenseCache):
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}: give what dense_forward returned"
        )
    names = _needed(function, need)
    try:
        accumulate = bool(accumulate)
    except ValueError:  # an array has no truth value
        kind = type(accumulate).__name__
        raise TypeError(f"{function}: accumulate is a {kind}: give True or False") from None
    if isinstance(need, (tuple, list, str)):
        key = need if isinstance(need, str) else tuple(need)
        _WANTED[key] = sum(WANT[n] for n in names)  # the next such call is direct
    x, w, b, saved, layer, shape, kept = _checked_cache(function, cache)
    grad = as_array(function, "grad_y", grad_y)
    y_shape = saved.shape if shape is None else (*shape[:-1], saved.shape[-1])
    if grad.shape != y_shape:
        raise ValueError(
            f"{function}: grad_y has shape {grad.shape} but y has shape {y_shape}: "
            "they need the same shape"
        )
    given = grad
    dtypes = common_dtypes(grad, np.empty(0, saved.dtype if kept is None else kept.result))
    if dtypes.work != saved.dtype:  # float64 grad_y for a float32 layer, say
        layer = replace(
            compiled_layer(function, layer.activation, layer.samples, dtypes.work),
            function=layer.function,
        )
    x, w, saved = (as_native(a, dtypes.work) for a in (x, w, saved))
    b = None if b is None else as_native(b, dtypes.work)
    if not _sample_contiguous(saved, layer.columns):
        saved = saved.copy(order="F" if layer.columns else "C")
    grad = as_native(grad, dtypes.work).reshape(saved.shape)
    if layer.function is not None:
        slope = callable_slope(layer.function, saved)
        with np.errstate(all="ignore"):
            grad = grad * slope

    shapes = {"x": shape or x.shape, "w": w.shape, "z": y_shape}
    if b is not None:
        shapes["b"] = b.shape
    names = [n for n in names if n in shapes]
    inputs = {"grad_y": given, "x": cache.x, "w": cache.w, "b": cache.b, "the cache": cache.saved}
    outs = _outputs(function, out, names, shapes, dtypes.result, inputs)
    into: dict[str, Array | None] = dict.fromkeys("xwb")
    adding = {n for n in names if accumulate and n in outs and n in "xz"}  # kernels add w, b
    for name, like in (("x", x), ("w", w), ("b", b)):
        if name in names and like is not None and name not in adding:
            into[name] = _kernel_output(name, outs.get(name), like, accumulate)
    flags = sum(WANT[n] for n in names) | (ACCUMULATE if accumulate else 0)
    grads = any_backward(layer, grad, x, w, b, saved, flags, into)
    results = dict(zip("xwbz", grads, strict=True))
    for name in names:
        result = results[name].reshape(shapes[name])
        if name in adding:
            with np.errstate(all="ignore"):
                result = result + outs[name]
        results[name] = deliver(result, dtypes.result, outs.get(name))
    return DenseGrads(**results)


def _checked_cache(function: str, cache: DenseCache) -> DenseCache:
    """Return the cache; raise if its fields are no longer what dense_forward made them."""
    layer, shape, dtypes = cache[4:]
    for name, value, kind in (("layer", layer, Layer), ("dtypes", dtypes, Dtypes | None)):
        if not isinstance(value, kind):
            raise TypeError(
                f"{function}: cache.{name} is a {type(value).__name__}: "
                "leave it as dense_forward made it"
            )
    x, w, saved = (as_array(function, f"cache.{n}", getattr(cache, n)) for n in _ARRAYS)
    b = None if cache.b is None else as_array(function, "cache.b", cache.b)
    _check_shapes(function, x, w, b, layer.samples)
    if x.ndim > 2 or (shape and (math.prod(shape[:-1]), shape[-1]) != x.shape):
        was = f"of shape {shape}" if shape else "of one or two axes"
        raise ValueError(f"{function}: cache.x has shape {x.shape}: it was {was}")
    k = w.shape[layer.columns ^ 1]
    expected = (k, *x.shape[1:]) if layer.columns else (*x.shape[:-1], k)
    if saved.shape != expected:
        raise ValueError(
            f"{function}: cache holds an output of shape {saved.shape}: its x and w make it "
            f"{expected}. Leave the arrays of a layer as they are between forward and backward"
        )
    return DenseCache(x, w, b, saved, layer, shape, dtypes)


def _needed(function: str, need: Iterable[str]) -> list[str]:
    try:
        names = list(need)
    except TypeError:
        names = [str(need)]
    for name in names:
        check_choice(function, "need", name, tuple(WANT))
    return [name for name in WANT if name in names]


def _fields(out: Any) -> dict[str, Any]:
    """Return the fields x, w, b, z of `out`; None stands for one it does not have."""
    if isinstance(out, (dict, Mapping)) and not _FIELDS.isdisjoint(out):  # a dict answers sooner
        return {n: out.get(n) for n in "xwbz"}
    if any(hasattr(out, n) for n in "xwbz"):
        return {n: getattr(out, n, None) for n in "xwbz"}
    raise TypeError(
        f"dense_backward: out is a {type(out).__name__}: give a DenseGrads, a mapping or an "
        "object with fields x, w, b, z"
    )


def _outputs(
    function: str,
    out: Any,
    names: list[str],
    shapes: dict[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    inputs: dict[str, Any],
) -> dict[str, Array]:
    """Return the arrays of `out` that are wanted, checked."""
    if out is None:
        return {}
    fields = _fields(out)
    taken: dict[str, Array] = {}
    for name in names:
        field = fields[name]
        if field is not None:
            others = {**inputs, **{f"out.{n}": a for n, a in taken.items()}}
            check_out(function, f"out.{name}", field, shapes[name], dtype, others)
            taken[name] = field
    return taken


def _kernel_output(name: str, out: Array | None, like: Array, accumulate: bool) -> Array | None:
    """Return the array the kernel writes: `out` itself where it can, else a stand-in, or None.

    When accumulating, the stand-in starts from what `out` holds, so that the sum is made in
    the same order, to the same bits, as in place.
    """
    if _kernels_take(out, like.dtype) and out.shape == like.shape:
        steps = [s for s, length in zip(out.strides, out.shape, strict=True) if length != 1]
        whole = out.dtype.isnative and out.flags.aligned
        whole = whole and all(s % out.itemsize == 0 for s in steps)
        if whole and (not steps or out.itemsize in steps):
            return out
    if not accumulate or name == "x":
        return None
    stand_in: Array = np.zeros_like(like)
    if out is not None:
        stand_in[...] = out.reshape(like.shape)
    return stand_in
