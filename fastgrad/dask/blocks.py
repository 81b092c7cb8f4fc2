"""What callers pass as data, as a list of blocks: each a task or an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.delayed import Delayed
from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.networks.mlp import MLP

__all__ = ["Block", "blocks_of", "checked_params", "is_dask_array"]


class Block(NamedTuple):
    """Samples that lie in one place, and their targets and weights."""

    x: Any
    target: Any
    weights: Any


def checked_params(function: str, net: MLP, params: ArrayLike) -> Array:
    """Return the parameters in the network's dtype; raise unless they are its vector."""
    if not isinstance(net, MLP):
        raise TypeError(f"{function}: net is a {type(net).__name__}: give an fg.MLP")
    vector = np.ascontiguousarray(params, net.dtype)
    if vector.shape != (net.size,):
        raise ValueError(
            f"{function}: params has shape {vector.shape} but the network has {net.size} "
            f"parameters: it needs shape ({net.size},)"
        )
    return vector


def is_dask_array(given: Any) -> bool:
    """Return whether this is a Dask array, without importing those."""
    return dask.is_dask_collection(given) and hasattr(given, "chunks") and hasattr(given, "blocks")


def blocks_of(function: str, net: MLP, x: Any, target: Any, weights: Any) -> list[Block]:
    """Return the blocks of samples; raise unless x, target and weights have the same ones."""
    if is_dask_array(x):
        parts = _cut_array(function, net, x)
        sizes: Any = x.chunks[_axis_of(net, x)]
    elif isinstance(x, list | tuple) and all(_is_block(part) for part in x):
        parts, sizes = list(x), None
    else:
        raise TypeError(
            f"{function}: x is a {type(x).__name__}: give a Dask array, or a list of delayed "
            "blocks or arrays"
        )
    if not parts:
        raise ValueError(f"{function}: x has no blocks")
    targets = _beside(function, net, "target", target, len(parts), sizes)
    weighted = _beside(function, net, "weights", weights, len(parts), sizes)
    return [Block(*parts) for parts in zip(parts, targets, weighted, strict=True)]


def _is_block(part: Any) -> bool:
    return isinstance(part, Delayed | np.ndarray) or dask.is_dask_collection(part) or _sparse(part)


def _sparse(part: Any) -> bool:
    return hasattr(part, "indptr") and hasattr(part, "indices")


def _axis_of(net: MLP, array: Any) -> int:
    """Return the axis of the samples."""
    return array.ndim - 1 if net.samples == "columns" else 0


def _cut_array(function: str, net: MLP, x: Any) -> list[Any]:
    features = net.sizes[0]
    if x.ndim != 2 or x.shape[1 - _axis_of(net, x)] != features:
        shape = f"({features}, n)" if net.samples == "columns" else f"(n, {features})"
        raise ValueError(f"{function}: x has shape {x.shape} but the network needs {shape}")
    return _along(net, x)


def _along(net: MLP, array: Any) -> list[Any]:
    """Cut an array along the samples only."""
    if array.ndim > 1:
        array = array.rechunk({1 - _axis_of(net, array): -1})
    return list(array.to_delayed().ravel())


def _beside(
    function: str, net: MLP, name: str, given: Any, count: int, sizes: Sequence[Any] | None
) -> list[Any]:
    """Return the parts of target or weights that belong to the blocks of x."""
    if given is None:
        return [None] * count
    known = sizes is not None and not any(np.isnan(size) for size in sizes)
    if is_dask_array(given):
        axis = _axis_of(net, given)
        own = given.chunks[axis]
        if known and not any(np.isnan(size) for size in own):
            assert sizes is not None
            if sum(own) != sum(sizes):
                raise ValueError(
                    f"{function}: {name} has {sum(own)} samples but x has {sum(sizes)}"
                )
            given = given.rechunk({axis: tuple(sizes)})
        parts = _along(net, given)
    elif known and isinstance(given, np.ndarray):
        assert sizes is not None
        axis = _axis_of(net, given)
        if given.shape[axis] != sum(sizes):
            raise ValueError(
                f"{function}: {name} has {given.shape[axis]} samples but x has {sum(sizes)}"
            )
        parts = np.split(given, np.cumsum(sizes)[:-1], axis)
    elif isinstance(given, list | tuple):
        parts = list(given)
    else:
        raise TypeError(
            f"{function}: {name} is a {type(given).__name__}: give what x is, in the same blocks"
        )
    if len(parts) != count:
        raise ValueError(f"{function}: {name} has {len(parts)} blocks but x has {count}")
    return parts
