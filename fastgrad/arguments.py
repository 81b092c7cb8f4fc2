"""Checks of arguments. A failure says: which function, which argument, and what would be right."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from fastgrad.arrays import FLOAT32, FLOAT64, Array, masked_class

LAYOUTS = ("rows", "columns")  # what `samples` may be: which axis of x counts them


def check_choice(function: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        allowed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{function}: {name} is {value!r}: choose from {allowed}")


def check_samples(function: str, name: str, array: Array, samples: str) -> None:
    """Raise unless an array can hold samples in this layout, of which a vector is one."""
    columns = samples == "columns"
    if array.ndim == 0 or (columns and array.ndim > 2):
        forms = "(d, n) or (d,)" if columns else "(n, d), (..., d) or (d,)"
        raise ValueError(
            f"{function}: {name} has shape {array.shape}: samples={samples!r} take {forms}"
        )


def native_dtype(caller: str, dtype: Any) -> np.dtype[Any]:
    """Return NumPy's own object of float32 or float64, with which kernels compare."""
    for native in (FLOAT32, FLOAT64):
        try:
            if np.dtype(dtype) == native and dtype is not None:
                return native
        except TypeError:
            break
    raise ValueError(f"{caller}: dtype is {dtype!r}: choose 'float32' or 'float64'")


def check_count(function: str, name: str, value: Any) -> int:
    """Return `value` as an int, or raise unless it is a positive integer."""
    index: Any = None if isinstance(value, bool) else value
    try:
        count = operator.index(index)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{function}: {name} is a {kind}: give a positive integer") from None
    if count < 1:
        raise ValueError(f"{function}: {name} is {count}: give a positive integer")
    return count


def check_number(function: str, name: str, value: Any) -> float:
    """Return `value` as a float, or raise unless it is a real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{function}: {name} is a {type(value).__name__}: give a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{function}: {name} is too large: give a float64 number") from None


def random_generator(function: str, seed: Any) -> np.random.Generator:
    """Return NumPy's generator of this seed, or raise by name what NumPy raises."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: seed is {seed!r}: give an integer >= 0") from None


def check_out(
    function: str,
    name: str,
    given: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: dict[str, Any],
) -> Array:
    """Return a view of `given`, an `out=`; raise unless it can receive a result.

    It needs the exact shape and dtype, must be writeable, and share no memory with an input.
    """
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{function}: {name} is a {type(given).__name__}: give a NumPy array")
    if isinstance(given, masked_class()):
        raise TypeError(f"{function}: {name} is a masked array: give its data")
    out = own_view(given)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{function}: {name} has shape {out.shape} and dtype {out.dtype}: "
            f"it needs shape {shape} and dtype {dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: {name} is read-only")
    if out.size and _overlaps_itself(out):
        raise ValueError(f"{function}: {name} has elements that share memory with each other")
    for other, array in inputs.items():
        if isinstance(array, np.ndarray) and np.shares_memory(out, array):
            raise ValueError(f"{function}: {name} shares memory with {other}")
    return out


def own_view(array: Array) -> Array:
    """Return a plain view of an array, with a header that nobody else can change.

    The properties of a subclass may say what they like; another thread, or a callback, may set
    the caller's ``x.shape`` or ``x.dtype`` after it has been checked.
    """
    plain: Array = np.ndarray.view(array, np.ndarray)
    return plain


def _overlaps_itself(array: Array) -> bool:
    """Return whether two elements may share memory: each step must clear all smaller ones."""
    extent = array.itemsize
    steps = zip(array.strides, array.shape, strict=True)
    for step, length in sorted((abs(s), n) for s, n in steps if n > 1):
        if step < extent:
            return True
        extent += step * (length - 1)
    return False


# -- names that people know from elsewhere, and what they are called here ----------------------

# By letters and digits alone.
_ELSEWHERE = {
    "linear": "None or 'identity'",
    "none": "None or 'identity'",
    "logistic": "'sigmoid'",
    "expit": "'sigmoid'",
    "swish": "'silu'",
    "lrelu": "'leaky_relu'",
    "bce": "'binary_cross_entropy_with_logits'",
    "bcewithlogits": "'binary_cross_entropy_with_logits'",
    "binarycrossentropy": "'binary_cross_entropy_with_logits', which takes logits",
    "logloss": "'binary_cross_entropy_with_logits' or 'softmax_cross_entropy'",
    "ce": "'softmax_cross_entropy'",
    "crossentropy": "'softmax_cross_entropy'",
    "categoricalcrossentropy": "'softmax_cross_entropy', which takes logits",
    "sparsecategoricalcrossentropy": "'softmax_cross_entropy', which takes logits and classes",
    "meansquarederror": "'mse'",
    "squarederror": "'mse'",
    "l2": "'mse' or 'squared_l2'",
    "meanabsoluteerror": "'mae'",
    "l1": "'mae'",
    "smoothl1": "'huber'",
}


def choices(name: str, known: Iterable[str]) -> str:
    """Return what to choose instead of `name`: what is meant, where that can be told, and all."""
    names = list(known)
    plain = _squeezed(name)
    if plain not in _ELSEWHERE:
        plain = plain.removesuffix("loss")
    ours = {_squeezed(other): other for other in names}
    meant = _ELSEWHERE.get(plain)
    # A network's losses and a layer's activations are different lists.
    if meant is not None and not any(f"'{other}'" in meant for other in names):
        meant = None
    near = difflib.get_close_matches(plain, ours, 1, 0.8)
    if meant is None and near:
        meant = repr(ours[near[0]])
    listed = f"choose from {', '.join(names)}"
    return listed if meant is None else f"did you mean {meant}? Else {listed}"


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
