"""Steps 2 to 4 of a dense layer's calls: see `fastgrad.calls`."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from fastgrad.arguments import check_same_shape, check_truth
from fastgrad.arrays import (
    FLOAT64,
    Array,
    Dtypes,
    as_array,
    as_natives,
    deliver,
    promoted,
)
from fastgrad.calls import Call
from fastgrad.kernels.flags import ACCUMULATE, ADD_X, UNCHECKED
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
    without_x,
    x_argument,
)
from fastgrad.layers.dense_large import any_backward, any_forward
from fastgrad.layers.sparse import sparse_backward, sparse_forward
from fastgrad.layers.sparse_arguments import SparseParts, stored
from fastgrad.layers.sparse_rows import SparseRows, sparse_rows
from fastgrad.results import DenseGrads, check_out

__all__ = ["DENSE", "DENSE_BACKWARD", "DENSE_FORWARD"]

_NEW = (None, None, None, None)  # every gradient gets a new array


class _Forward(Call):
    """A call of `dense`, or of `dense_forward`, which must `keep` what backward needs.

    `how` is (activation, samples).
    """

    def __init__(self, function: str, keep: bool) -> None:
        self.function, self.keep = function, keep

    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        x, w, b = arrays
        (out,) = outs
        activation, samples = how
        layer = LAYERS[samples][activation][w.dtype]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        if self.keep:
            return layer.forward(x, w, b, out, layer.keeps, layer.record, flags, DenseCache, layer)
        return layer.forward(x, w, b, out, False, layer.record, flags, None, None)

    def shared(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        activation, samples = how
        layer = LAYERS[samples][activation][arrays[0].dtype]
        keeps = layer.keeps and self.keep
        x, w, b = arrays
        made = any_forward(layer, x, w, b, outs[0], keeps)
        y, saved = made if keeps else (made, made)
        return self._with_cache(y, arrays, saved, layer, None)

    def round(self, made: Any, dtypes: Dtypes) -> Any:
        """See `Call`."""
        if not self.keep:
            return made.astype(dtypes.result)
        y, cache = made
        return y.astype(dtypes.result), cache._replace(dtypes=dtypes)

    def check(self, arrays: tuple[Any, ...], how: Any) -> tuple[Any, ...]:
        """See `Call`."""
        x, w, b = arrays
        return dense_arguments(self.function, x, w, b, how[1])

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Any
    ) -> Any:
        """See `Call`."""
        function, (activation, samples), (out,) = self.function, how, outs
        dtypes = self.dtypes(arrays, how)
        x, w, b = _natives(function, "x", dtypes.work, *arrays)
        layer = compiled_layer(function, activation, samples, dtypes.work)
        sparse = isinstance(x, SparseRows)
        batched = x.ndim > 2
        if batched:  # kernels accept contiguous leading batch axes
            x = np.ascontiguousarray(x)
        y_shape = dense_shape(x, w, samples)
        if math.prod(y_shape) > sys.maxsize // dtypes.work.itemsize:
            raise ValueError(f"{function}: y of shape {y_shape} is larger than memory can be")
        if out is not None:
            inputs = {**dict(zip("xwb", arrays, strict=True)), **stored(given[0])}
            check_out(function, "out", out, y_shape, dtypes.result, inputs)
        keeps, into = layer.keeps and self.keep, None
        if _kernels_take(out, dtypes.work) and not (layer.function or batched or keeps):
            into = out if _sample_contiguous(out, layer.columns) else None
        if sparse:
            y = sparse_forward(layer, x, w, b, into, keeps)
        else:
            y = layer.forward(x, w, b, into, keeps, layer.record, layer.columns, None, None)
        if y is True:
            y = any_forward(layer, x, w, b, into, keeps)
        y, saved = y if keeps else (y, y)
        if layer.function is not None:
            y = apply_callable(function, layer.function, saved)
        kept = None if dtypes.work is dtypes.result else dtypes
        y = deliver(y, dtypes.result, out)
        return self._with_cache(y, (x, w, b), saved, layer, kept)

    def _with_cache(
        self, y: Array, arrays: tuple[Any, ...], saved: Array, layer: CompiledLayer,
        kept: Dtypes | None,
    ) -> Any:  # fmt: skip
        """Return y, or y and a cache for the backward pass."""
        if not self.keep:
            return y
        x, w, b = arrays
        return y, DenseCache(x, w, b, saved, layer, kept, mark_of(saved, layer))


def _natives(function: str, name: str, dtype: np.dtype[Any], x: Any, *others: Any) -> list[Any]:
    """Return arrays in a form that kernels accept, and a sparse x as `SparseRows`."""
    if isinstance(x, SparseParts):
        return [sparse_rows(function, name, x, dtype), *as_natives(dtype, *others)]
    return as_natives(dtype, x, *others)


DENSE, DENSE_FORWARD = _Forward("dense", keep=False), _Forward("dense_forward", keep=True)


def _kernels_take(out: Array | None, dtype: np.dtype[Any]) -> TypeGuard[Array]:
    """Return whether kernels can write to `out`: no subclass, and NumPy's own dtype object."""
    return type(out) is np.ndarray and out.dtype is dtype


def _sample_contiguous(array: Array, columns: int) -> bool:
    """Return whether `array` stores the outputs of each sample contiguously, as kernels write."""
    step = array.strides[0 if columns else -1]
    native = array.dtype.isnative and array.flags.aligned
    return native and step == array.itemsize and all(s % step == 0 for s in array.strides)


class _Backward(Call):
    """A call of `dense_backward`, whose arrays are grad_y and those of the cache.

    `how` is (cache, need, out, accumulate). If only the arrays remain to be checked, the bits of
    the gradients wanted and the flags for the entry point follow.
    """

    function = "dense_backward"

    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        grad, x, w, b, saved = arrays
        cache, _, _, _, wanted, flags = how
        layer, mark = cache.layer, cache.mark
        if saved is not cache.saved:  # float64 grad_y for a float32 layer
            if mark is not None and mark_of(cache.saved, layer) != mark:
                return None
            mark = None  # the copy has another mark
            layer = compiled_layer(self.function, layer.activation, layer.samples, FLOAT64)
        gx, gw, gb, gz = outs or _NEW
        return layer.backward(
            grad, x, w, b, saved, layer.record, wanted, flags, DenseGrads, gx, gw, gb, gz, mark
        )

    def shared(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        layer, wanted = how[0].layer, how[4] & ~ADD_X
        grad, x, w, b, saved = arrays
        into = dict(zip("xwbz", outs or _NEW, strict=True))
        return DenseGrads(*any_backward(layer, grad, x, w, b, saved, wanted, into))

    def dtypes(self, arrays: tuple[Any, ...], how: Any) -> Dtypes:
        """See `Call`."""
        return _promoted(arrays[0], arrays[4], how[0].dtypes)

    def round(self, made: Any, dtypes: Dtypes) -> Any:
        """See `Call`."""
        return DenseGrads(*[g if g is None else g.astype(dtypes.result, copy=False) for g in made])

    def checked(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        function, (cache, need, out, accumulate) = self.function, how[:4]
        check_cache(function, cache, DenseCache)
        names = needed_gradients(function, need)
        accumulate = check_truth(function, "accumulate", accumulate)
        x, w, b, saved, layer, kept, _ = _checked_cache(function, cache)
        if isinstance(x, SparseParts):
            names = without_x(function, need, names)
        grad = as_array(function, "grad_y", arrays[0])
        check_same_shape(function, "grad_y", grad.shape, "y", saved.shape)
        given = grad
        dtypes = _promoted(grad, saved, kept)
        if dtypes.work != layer.dtype:  # for example float64 grad_y for a float32 layer
            layer = replace(
                compiled_layer(function, layer.activation, layer.samples, dtypes.work),
                function=layer.function,
            )
        x, w, b, saved, grad = _natives(function, "cache.x", dtypes.work, x, w, b, saved, grad)
        sparse = isinstance(x, SparseRows)
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
        inputs = {"grad_y": given, "x": cache.x, "w": cache.w, "b": cache.b}
        inputs["the cache"] = cache.saved
        inputs |= stored(cache.x)
        taken = check_outputs(function, out, names, shapes, dtypes.result, inputs)
        into: dict[str, Array | None] = dict.fromkeys("xwb")
        adding = {n for n in names if accumulate and n in taken and n in "xz"}  # kernels add w, b
        for name, like in (("x", x), ("w", w), ("b", b)):
            if name in names and like is not None and name not in adding:
                into[name] = _kernel_output(name, taken.get(name), like, accumulate)
        flags = sum(WANT[n] for n in names) | (ACCUMULATE if accumulate else 0)
        backward = sparse_backward if sparse else any_backward
        grads = backward(layer, grad, x, w, b, saved, flags, into)
        results = dict(zip("xwbz", grads, strict=True))
        for name in names:
            result = results[name]
            if name in adding:
                with np.errstate(all="ignore"):
                    result = result + taken[name]
            results[name] = deliver(result, dtypes.result, taken.get(name))
        return DenseGrads(**results)


DENSE_BACKWARD = _Backward()


def _promoted(grad: Array, saved: Array, kept: Dtypes | None) -> Dtypes:
    """Return the dtypes of a backward pass: those of grad_y and of what the forward pass made."""
    return promoted(grad.dtype, saved.dtype if kept is None else kept.result)


def _checked_cache(function: str, cache: DenseCache) -> DenseCache:
    """Return the cache; raise if its fields have changed since dense_forward made it."""
    for name, kind in (("layer", CompiledLayer), ("dtypes", Dtypes | None), ("mark", float | None)):
        value = getattr(cache, name)
        if not isinstance(value, kind):
            raise TypeError(
                f"{function}: cache.{name} is a {type(value).__name__}: "
                "leave it as dense_forward made it"
            )
    layer = cache.layer
    w, saved = (as_array(function, f"cache.{n}", getattr(cache, n)) for n in ("w", "saved"))
    x = x_argument(function, "cache.x", cache.x, layer.samples)
    b = None if cache.b is None else as_array(function, "cache.b", cache.b)
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
    """Return the array the kernel writes: `out` itself where possible, else a temporary, or None.

    When accumulating, the temporary starts as a copy of `out`, so the sum has the same order, and
    the same bits, as in place.
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
