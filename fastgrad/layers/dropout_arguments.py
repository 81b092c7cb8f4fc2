"""The arguments of dropout, and its cache. fastgrad, reference and loops share both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arguments import check_below, check_number, check_same_shape
from fastgrad.arrays import Array, as_array, promoted
from fastgrad.results import check_out


class Choice(NamedTuple):
    """What decides which elements are dropped."""

    rate: float
    seed: int
    step: int
    layer: int
    start: int  # the place of the first element


class DropoutCache(NamedTuple):
    """What `dropout_backward` needs to draw the same elements again. No array is kept.

    Attributes
    ----------
    choice : Choice
        Rate, seed, step, layer and start of the call.
    shape : tuple of int
        The shape of x.
    dtype : dtype
        The dtype of y.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dropout_forward([1.0, 2.0], 0.5, seed=0, step=3)
    >>> cache.shape, cache.choice.step
    ((2,), 3)
    """

    choice: Choice
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def dropout_arguments(
    x: Any, rate: Any, seed: Any, step: Any, layer: Any, start: Any, out: Any
) -> tuple[Array, Choice, Any]:
    """Return x as an array, what decides about its elements, and the dtypes of the call."""
    function = "dropout_forward"
    array = as_array(function, "x", x)
    choice = Choice(
        check_rate(function, rate),
        check_below(function, "seed", seed, 64),
        check_below(function, "step", step, 32),
        check_below(function, "layer", layer, 32),
        check_below(function, "start", start, 62),
    )
    dtypes = promoted(array.dtype)
    if out is not None:
        check_out(function, "out", out, array.shape, dtypes.result, {"x": array})
    return array, choice, dtypes


def check_rate(function: str, rate: Any) -> float:
    """Return the rate as a float, or raise unless it is from 0 to 1."""
    chance = check_number(function, "rate", rate)
    if not 0 <= chance <= 1:
        raise ValueError(f"{function}: rate is {rate!r}: it is a probability, from 0 to 1")
    return chance


def dropout_gradient(grad_y: Any, cache: Any, out: Any) -> tuple[Array, Any]:
    """Return grad_y as an array that fits the cache, and the dtypes of the call."""
    function = "dropout_backward"
    if not isinstance(cache, DropoutCache):
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}: give what dropout_forward returned"
        )
    array = as_array(function, "grad_y", grad_y)
    check_same_shape(function, "grad_y", array.shape, "y", cache.shape)
    dtypes = promoted(cache.dtype, array.dtype)
    if out is not None:
        check_out(function, "out", out, array.shape, dtypes.result, {"grad_y": array})
    return array, dtypes
