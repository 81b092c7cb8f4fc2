"""A loss of a tree of arrays, as a function of one of its arrays.

The loss is given private float64 arrays in a tree made like the script's: dicts, lists, tuples and
named tuples stay what they are. The array that varies is a copy for each call, the others are the
same arrays in all calls, unless the loss writes to what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_array
from fastgrad.gradcheck.function import Function
from fastgrad.trees import Tree, tree_of

__all__ = ["TreeLoss", "as_tree", "is_tree", "rebuilt"]


def as_tree(function: str, name: str, value: Any) -> tuple[Tree, Any]:
    """Return a tree's structure, and the tree; a list that holds only numbers is one array."""
    if isinstance(value, list | tuple) and not _holds_arrays(value):
        return Tree("array"), as_array(function, name, value)
    return tree_of(function, name, value), value


def is_tree(value: Any) -> bool:
    """Return whether a value is a tree; arrays of one shape in a list are one array."""
    return isinstance(value, dict) or (_holds_arrays(value) and _stacked(value) is None)


def _stacked(value: Any) -> tuple[int, ...] | None:
    """Return the shape of the array that nested lists make, or None."""
    if not isinstance(value, list | tuple):
        return None if value is None or isinstance(value, dict) else np.shape(value)
    shapes = {_stacked(part) for part in value}
    shape = shapes.pop() if len(shapes) == 1 else None
    return None if shape is None else (len(value), *shape)


def _holds_arrays(value: Any, above: tuple[int, ...] = ()) -> bool:
    """Return whether arrays stand in a list, or in a list of lists, instead of numbers."""
    if isinstance(value, list | tuple):
        if id(value) in above:  # it holds itself
            return False
        return any(_holds_arrays(part, (*above, id(value))) for part in value)
    return value is None or isinstance(value, dict | np.ndarray)


def rebuilt(like: Any, arrays: Iterator[Array]) -> Any:
    """Return a tree made as `like` is, with other arrays."""
    if like is None:
        return None
    if isinstance(like, dict):
        return {key: rebuilt(part, arrays) for key, part in like.items()}
    if isinstance(like, list | tuple):
        parts = [rebuilt(part, arrays) for part in like]
        if isinstance(like, list):
            return parts
        return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
    return next(arrays)


class TreeLoss:
    """A loss at a point that is a tree.

    Parameters
    ----------
    caller : str
        The function named in errors.
    loss : callable
        A function of the tree that returns one number.
    params : array_like or tree of arrays
        The point.

    Attributes
    ----------
    tree : Tree
        The structure of params.
    names : list of str
        ``params['W1']``
    arrays : list of ndarray
        float64.
    like : tree
        params, as they were given.
    given : list of ndarray
        Its arrays, as they were given.
    joint : Function
        Of all arrays in one vector; `measure` measures its rounding.
    careful : bool
        Whether each call gets copies of all arrays: set it if the loss writes to them.
    again : float
        What the call of `writes` returned.
    calls : int
        How often the loss was called.
    """

    def __init__(
        self, caller: str, loss: Callable[[Any], Any], params: Any, name: str = "params"
    ) -> None:
        self._caller, self._loss = caller, loss
        self.tree, self.like = as_tree(caller, name, params)
        self.names = self.tree.names(name)
        self.given = [
            np.asarray(as_array(caller, called, item))
            for called, item in zip(self.names, self.tree.values(self.like), strict=True)
        ]
        if not self.given:
            raise ValueError(f"{caller}: {name} holds no array: give at least one")
        with np.errstate(all="ignore"):
            self.arrays = [array.astype(np.float64) for array in self.given]
        self.careful, self.calls = False, 0
        vector = np.concatenate([array.ravel() for array in self.arrays])
        self.joint = Function(caller, lambda v: self(self.parts(v)), vector, scalar=True)

    def build(self, arrays: list[Array]) -> Any:
        """Return a tree like params with these arrays."""
        return rebuilt(self.like, iter(arrays))

    def __call__(self, arrays: list[Array]) -> Any:
        """Return what the loss returns for these arrays, which it may keep."""
        self.calls += 1
        return self._loss(self.build(arrays))

    def writes(self) -> list[str]:
        """Call the loss; return the names of the arrays that it writes to, and be careful then."""
        vector = self.joint.point.copy()
        self.again = float(self.joint(vector))
        changed = [
            name
            for name, part, before in zip(self.names, self.parts(vector), self.arrays, strict=True)
            if not np.array_equal(part, before, equal_nan=True)
        ]
        self.careful = bool(changed)
        return changed

    def along(self, rays: list[Array]) -> Function:
        """Return the loss as a function of t, at the arrays plus each t times its direction."""
        count = len(rays[0])

        def moved(t: Array) -> Any:
            return self([a + np.tensordot(t, r, 1) for a, r in zip(self.arrays, rays, strict=True)])

        return Function(self._caller, moved, np.zeros(count), scalar=True)

    def parts(self, vector: Array) -> list[Array]:
        """Return the arrays that lie in one vector."""
        ends = np.cumsum([a.size for a in self.arrays])[:-1]
        parts = zip(np.split(vector, ends), self.arrays, strict=True)
        return [part.reshape(a.shape) for part, a in parts]

    def measure(self) -> None:
        """Measure the rounding of the loss; if it is that of float32, round the arrays to it."""
        self.joint.measure()
        self.arrays = self.parts(self.joint.point)

    def of(self, i: int) -> Function:
        """Return the loss as a function of array `i`, as exact as `measure` found it."""

        def alone(array: Array) -> Any:
            arrays = [a.copy() for a in self.arrays] if self.careful else list(self.arrays)
            arrays[i] = array
            return self(arrays)

        return Function.like(self.joint, alone, self.arrays[i])
