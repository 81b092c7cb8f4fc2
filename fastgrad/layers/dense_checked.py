"""The checked path of a dense layer: arguments of any form, or a sentence that says what is wrong.

Every array is converted to what kernels take, and every result to what the caller expects.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_same_shape, check_truth
from fastgrad.arrays import (
    FLOAT64,
    TO_FLOAT32,
    TO_FLOAT64,
    Array,
    Dtypes,
    as_array,
    as_native,
    as_natives,
    common_dtypes,
    deliver,
    promoted,
)
from fastgrad.kernels.flags import ACCUMULATE, UNCHECKED
from fastgrad.layers.compiled_layer import (
    LAYERS,
    WANT,
    CompiledLayer,
    DenseCache,
    apply_callable,
    callable_slope,
    compiled_layer,
    mark_of,
)
from fastgrad.layers.dense_arguments import (
    check_cache,
    check_dense,
    check_outputs,
    dense_arguments,
    dense_shape,
    needed_gradients,
)
from fastgrad.layers.dense_large import any_backward, any_forward
from fastgrad.results import DenseGrads, check_out

__all__ = [
    "checked_backward",
    "checked_forward",
    "converted_backward",
    "converted_forward",
    "rounded_backward",
]

_ARRAYS = ("x", "w", "saved")  # of a cache; b may be missing


def checked_forward(
    function: str,
    x: Any,
    w: Any,
    b: Any,
    activation: Any,
    samples: str,
    out: Array | None,
    keep: bool,
) -> tuple[Array, Any]:
    """Return what `dense_forward` does; the cache is of use only if it is to `keep` what it needs.

    `function` is the caller's name for errors.
    """
    given = x, w, b
    x, w, b = dense_arguments(function, x, w, b, samples)
    if not (x is given[0] and w is given[1] and b is given[2]):  # lists, say
        made = converted_forward(x, w, b, activation, samples, out, keep)
        if made is not None:
            y, cache = made if keep else (made, None)
            return y, cache
    dtypes = common_dtypes(x, w) if b is None else common_dtypes(x, w, b)
    x_array, w_array, b_array = as_natives(dtypes.work, x, w, b)
    layer = compiled_layer(function, activation, samples, dtypes.work)
    batched = x_array.ndim > 2
    if batched:  # kernels take contiguous leading batch axes
        x_array = np.ascontiguousarray(x_array)
    y_shape = dense_shape(x_array, w_array, samples)
    if math.prod(y_shape) > sys.maxsize // dtypes.work.itemsize:
        raise ValueError(f"{function}: y of shape {y_shape} is larger than memory can be")
    if out is not None:
        check_out(function, "out", out, y_shape, dtypes.result, {"x": x, "w": w, "b": b})

    keeps, into = layer.keeps and keep, None
    if _kernels_take(out, dtypes.work) and not (layer.function or batched or keeps):
        into = out if _sample_contiguous(out, layer.columns) else None
    y = layer.forward(
        x_array, w_array, b_array, into, keeps, layer.record, layer.columns, None, None
    )
    if y is True:
        y = any_forward(layer, x_array, w_array, b_array, into, keeps)
    saved = y
    if keeps:
        y, saved = y
    if layer.function is not None:
        y = apply_callable(function, layer.function, saved)
    kept = None if dtypes.work is dtypes.result else dtypes
    mark = mark_of(saved, layer) if keep else None
    cache = DenseCache(x_array, w_array, b_array, saved, layer, kept, mark)
    return deliver(y, dtypes.result, out), cache


def converted_forward(
    x: Any, w: Any, b: Any, activation: Any, samples: str, out: Array | None, keep: bool
) -> Any:
    """Return what `dense_forward`, or `dense`, does if only dtypes have to be converted, else None.

    A call that is not taken as it is comes here first: with all checks it would take 5 us, not 1.
    """
    try:
        arrays = TO_FLOAT64.natives(3, x, w, b, out) or TO_FLOAT32.natives(3, x, w, b, out)
        if arrays is None:  # float16: an exception would take 1 us
            return None
        x, w, b = arrays
        layer = LAYERS[samples][activation][w.dtype]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        if keep:
            made = layer.forward(x, w, b, out, layer.keeps, layer.record, flags, DenseCache, layer)
        else:
            made = layer.forward(x, w, b, out, False, layer.record, flags, None, None)
    except (AttributeError, KeyError, TypeError, ValueError, MemoryError):
        return None  # not yet compiled, a callable, y or a converted x larger than memory
    return None if made is True else made


def _kernels_take(out: Array | None, dtype: np.dtype[Any]) -> TypeGuard[Array]:
    """Return whether kernels can write to `out`: no subclass, and NumPy's own dtype object."""
    return type(out) is np.ndarray and out.dtype is dtype


def _sample_contiguous(array: Array, columns: int) -> bool:
    """Return whether a kernel can write the outputs of each sample side by side into `array`."""
    step = array.strides[0 if columns else -1]
    native = array.dtype.isnative and array.flags.aligned
    return native and step == array.itemsize and all(s % step == 0 for s in array.strides)


def checked_backward(
    grad_y: ArrayLike, cache: DenseCache, need: Iterable[str], out: Any, accumulate: bool
) -> DenseGrads:
    """Return what `dense_backward` does."""
    function = "dense_backward"
    check_cache(function, cache, DenseCache)
    names = needed_gradients(function, need)
    accumulate = check_truth(function, "accumulate", accumulate)
    x, w, b, saved, layer, kept, _ = _checked_cache(function, cache)
    grad = as_array(function, "grad_y", grad_y)
    check_same_shape(function, "grad_y", grad.shape, "y", saved.shape)
    given = grad
    dtypes = promoted(grad.dtype, saved.dtype if kept is None else kept.result)
    if dtypes.work != layer.dtype:  # float64 grad_y for a float32 layer, say
        layer = replace(
            compiled_layer(function, layer.activation, layer.samples, dtypes.work),
            function=layer.function,
        )
    x, w, b, saved, grad = as_natives(dtypes.work, x, w, b, saved, grad)
    if x.ndim > 2:
        x, grad, saved = (np.ascontiguousarray(a) for a in (x, grad, saved))
    elif not _sample_contiguous(saved, layer.columns):
        saved = saved.copy(order="F" if layer.columns else "C")
    if layer.function is not None:
        slope = callable_slope(function, layer.function, saved)
        with np.errstate(all="ignore"):
            grad = grad * slope

    shapes = {"x": x.shape, "w": w.shape, "z": saved.shape}
    if b is not None:
        shapes["b"] = b.shape
    names = [n for n in names if n in shapes]
    inputs = {"grad_y": given, "x": cache.x, "w": cache.w, "b": cache.b, "the cache": cache.saved}
    outs = check_outputs(function, out, names, shapes, dtypes.result, inputs)
    into: dict[str, Array | None] = dict.fromkeys("xwb")
    adding = {n for n in names if accumulate and n in outs and n in "xz"}  # kernels add w, b
    for name, like in (("x", x), ("w", w), ("b", b)):
        if name in names and like is not None and name not in adding:
            into[name] = _kernel_output(name, outs.get(name), like, accumulate)
    flags = sum(WANT[n] for n in names) | (ACCUMULATE if accumulate else 0)
    grads = any_backward(layer, grad, x, w, b, saved, flags, into)
    results = dict(zip("xwbz", grads, strict=True))
    for name in names:
        result = results[name]
        if name in adding:
            with np.errstate(all="ignore"):
                result = result + outs[name]
        results[name] = deliver(result, dtypes.result, outs.get(name))
    return DenseGrads(**results)


def converted_backward(
    grad_y: Any, cache: DenseCache, wanted: int, flags: int, into: tuple[Any, ...]
) -> DenseGrads | None:
    """Return what `dense_backward` does if only dtypes have to be converted, else None.

    `wanted`, `flags` and `into` are what the entry point takes.
    """
    x, w, b, saved, layer, _, mark = cache
    outs = into if flags & UNCHECKED else ()
    try:
        arrays = TO_FLOAT64.natives(5, grad_y, x, w, b, saved, *outs)
        if arrays is None:
            arrays = TO_FLOAT32.natives(5, grad_y, x, w, b, saved, *outs)
    except MemoryError:  # a grad_y of the wrong shape, it may be
        return None
    if arrays is None:
        return None
    grad, x, w, b, kept = arrays
    if kept is not saved:  # float64 grad_y for a float32 layer
        if mark is not None and mark_of(saved, layer) != mark:
            return None
        mark = None  # it is not that of the copy
        layer = compiled_layer("dense_backward", layer.activation, layer.samples, FLOAT64)
    gx, gw, gb, gz = into
    made = layer.backward(
        grad, x, w, b, kept, layer.record, wanted, flags, DenseGrads, gx, gw, gb, gz, mark
    )
    return None if made is True else made


def rounded_backward(grad_y: Any, cache: DenseCache, wanted: int, flags: int) -> DenseGrads | None:
    """Return what `dense_backward` does if the cache is of float16, else None.

    It holds what float16 became, float32: only grad_y and the results have to be converted. With
    all checks that would take 22 us, not 10.
    """
    x, w, b, saved, layer, kept, mark = cache
    if flags & UNCHECKED or type(kept) is not Dtypes or type(grad_y) is not np.ndarray:
        return None
    dtypes = promoted(grad_y.dtype, kept.result)
    if dtypes.work is not saved.dtype or grad_y.dtype.char not in "efd":
        return None
    made = layer.backward(
        as_native(grad_y, dtypes.work), x, w, b, saved, layer.record, wanted, flags, DenseGrads,
        None, None, None, None, mark,
    )  # fmt: skip
    if made is None or made is True:
        return None
    with np.errstate(all="ignore"):  # once for all: it takes 0.9 us
        return DenseGrads(*[g if g is None else g.astype(dtypes.result, copy=False) for g in made])


def _checked_cache(function: str, cache: DenseCache) -> DenseCache:
    """Return the cache; raise if its fields are no longer what dense_forward made them."""
    for name, kind in (("layer", CompiledLayer), ("dtypes", Dtypes | None), ("mark", float | None)):
        value = getattr(cache, name)
        if not isinstance(value, kind):
            raise TypeError(
                f"{function}: cache.{name} is a {type(value).__name__}: "
                "leave it as dense_forward made it"
            )
    x, w, saved = (as_array(function, f"cache.{n}", getattr(cache, n)) for n in _ARRAYS)
    b = None if cache.b is None else as_array(function, "cache.b", cache.b)
    layer = cache.layer
    check_dense(function, x, w, b, layer.samples)
    expected = dense_shape(x, w, layer.samples)
    if saved.shape != expected:
        raise ValueError(
            f"{function}: cache holds an output of shape {saved.shape}: its x and w make it "
            f"{expected}. Leave the arrays of a layer as they are between forward and backward"
        )
    if cache.mark is not None and mark_of(saved, layer) not in (None, cache.mark):
        raise ValueError(
            f"{function}: cache: y has been changed since dense_forward returned it, and the "
            f"derivative of {layer.activation.name} is taken from it. Leave it as it is: "
            "y = y * mask, not y *= mask, and an out= of its own for each step"
        )
    return DenseCache(x, w, b, saved, layer, cache.dtypes, cache.mark)


def _kernel_output(name: str, out: Array | None, like: Array, accumulate: bool) -> Array | None:
    """Return the array the kernel writes: `out` itself where it can, else a stand-in, or None.

    When accumulating, the stand-in starts from what `out` holds, so that the sum is made in
    the same order, to the same bits, as in place.
    """
    in_one_piece = like.ndim <= 2 or (out is not None and out.flags.c_contiguous)
    if _kernels_take(out, like.dtype) and out.shape == like.shape and in_one_piece:
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
