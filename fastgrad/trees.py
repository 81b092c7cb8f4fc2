"""Trees: a script's parameters, as an array or nested dicts, lists and tuples of arrays.

`tree_of` returns a tree's structure. Errors name an array by its place in it: ``params['W1']``,
``params[0][1]``. None is no array: a layer without bias. The gradients of a tree are a tree of the
same structure, in whose dicts "W1" may also be called "dW1" or "grad_W1".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from fastgrad.arrays import Array, as_array

__all__ = [
    "Tree",
    "changed",
    "check_like",
    "disjoint_spans",
    "gradients",
    "of_any_shape",
    "tree_of",
    "updated",
]

DEEPEST = 64  # a list that contains itself is endless
PREFIXES = ("", "d", "grad_")  # of a gradient's name, before its parameter's name


@dataclass(frozen=True)
class Tree:
    """A tree's structure: the kind of a node, and its parts by their keys."""

    kind: str  # "array", "dict", "sequence" or "none"
    keys: tuple[Any, ...] = ()
    parts: tuple[Tree, ...] = ()

    def same(self, other: Tree) -> bool:
        """Return whether two trees have the same structure, in any order of keys in dicts."""
        if self.kind != other.kind or set(self.keys) != set(other.keys):
            return False
        theirs = dict(zip(other.keys, other.parts, strict=True))
        return all(p.same(theirs[key]) for key, p in zip(self.keys, self.parts, strict=True))

    def paths(self, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the keys that lead to each array."""
        if self.kind == "array":
            return [before]
        parts = zip(self.keys, self.parts, strict=True)
        return [path for key, part in parts for path in part.paths((*before, key))]

    def names(self, name: str) -> list[str]:
        """Return each array's name if the tree is called `name`."""
        return [name + "".join(f"[{key!r}]" for key in path) for path in self.paths()]

    def values(self, tree: Any) -> list[Any]:
        """Return what a tree of this structure holds in the arrays' places."""
        if self.kind == "array":
            return [tree]
        parts = zip(self.keys, self.parts, strict=True)
        return [value for key, part in parts for value in part.values(tree[key])]

    def build(self, values: Iterator[Any]) -> Any:
        """Return a tree of this structure, of dicts and lists, with these values in order."""
        if self.kind == "array":
            return next(values)
        if self.kind == "none":
            return None
        made = [part.build(values) for part in self.parts]
        return dict(zip(self.keys, made, strict=True)) if self.kind == "dict" else made

    def gatherer(self) -> Callable[[Any], tuple[Any, ...]]:
        """Return a quick `values`, which raises LookupError or TypeError for another structure."""
        if self.kind == "array":
            return lambda tree: (tree,)
        count, flat = len(self.keys), all(part.kind == "array" for part in self.parts)
        if not flat or count < 2:
            parts = [
                (key, part.gatherer()) for key, part in zip(self.keys, self.parts, strict=True)
            ]

            def gather(tree: Any) -> tuple[Any, ...]:
                if tree is None or len(tree) != count:
                    raise LookupError
                found: tuple[Any, ...] = ()
                for key, inner in parts:
                    found += inner(tree[key])
                return found

            return gather if self.kind != "none" else _nothing
        if self.kind == "sequence":
            return tuple
        get = itemgetter(*self.keys)

        def gather_dict(tree: Any) -> tuple[Any, ...]:
            if len(tree) != count:
                raise LookupError
            found: tuple[Any, ...] = get(tree)
            return found

        return gather_dict


def _nothing(tree: Any) -> tuple[Any, ...]:
    if tree is not None:
        raise LookupError
    return ()


def tree_of(function: str, name: str, value: Any, depth: int = 0) -> Tree:
    """Return a tree's structure."""
    if depth > DEEPEST:
        raise TypeError(f"{function}: {name} holds itself, or is nested too deep")
    if value is None:
        return Tree("none")
    if isinstance(value, dict):
        keys, parts, kind = tuple(value), tuple(value.values()), "dict"
    elif isinstance(value, list | tuple):
        keys, parts, kind = tuple(range(len(value))), tuple(value), "sequence"
    else:
        return Tree("array")
    return Tree(
        kind,
        keys,
        tuple(
            tree_of(function, f"{name}[{key!r}]" if depth < DEEPEST else name, part, depth + 1)
            for key, part in zip(keys, parts, strict=True)
        ),
    )


def updated(function: str, name: str, tree: Tree, value: Any) -> list[Array]:
    """Return the arrays of a tree that is changed in place, checked one by one."""
    found = []
    for called, item in zip(tree.names(name), tree.values(value), strict=True):
        if not isinstance(item, np.ndarray):
            kind = type(item).__name__
            raise TypeError(
                f"{function}: {called} is a {kind}: give a NumPy array, which is changed in place"
            )
        array = np.asarray(as_array(function, called, item))
        if array.dtype.kind != "f":
            raise TypeError(
                f"{function}: {called} has dtype {array.dtype}, and is changed in place: give "
                "float32, float64 or float16"
            )
        if not array.flags.writeable:
            raise ValueError(f"{function}: {called} is read-only, and is changed in place")
        repeated = (n > 1 and not step for n, step in zip(array.shape, array.strides, strict=True))
        if array.size and any(repeated):
            raise ValueError(
                f"{function}: {called} has elements that share memory (a broadcast view), and is "
                "changed in place: give a copy"
            )
        found.append(array)
    return found


def changed(function: str, name: str, value: Any) -> list[Array]:
    """Return the arrays of a tree that is changed in place, checked also for sharing memory."""
    tree = tree_of(function, name, value)
    arrays = updated(function, name, tree, value)
    disjoint_spans(function, tree.names(name), arrays, len(arrays))
    return arrays


def gradients(
    function: str,
    tree: Tree,
    grads: Any,
    params: list[Array],
    name: str = "grads",
    called: str = "params",
) -> tuple[Tree, list[Array]]:
    """Return the structure of a tree of gradients, and its arrays, checked with the parameters."""
    own, found = of_any_shape(function, tree, grads, name, called)
    names = zip(own.names(name), tree.names(called), strict=True)
    for (theirs, ours), array, param in zip(names, found, params, strict=True):
        check_like(function, theirs, array, ours, param)
    return own, found


def of_any_shape(
    function: str, tree: Tree, grads: Any, name: str = "grads", called: str = "params"
) -> tuple[Tree, list[Array]]:
    """Return the structure of a tree of gradients, and its arrays, of whatever shapes."""
    own = _like(function, name, tree, grads, called)
    values = zip(own.names(name), own.values(grads), strict=True)
    return own, [as_array(function, theirs, value) for theirs, value in values]


def check_like(function: str, theirs: str, array: Array, ours: str, param: Array) -> None:
    """Raise unless a gradient has the shape of its parameter."""
    if array.shape != param.shape:
        raise ValueError(
            f"{function}: {theirs} has shape {array.shape} but {ours} has shape "
            f"{param.shape}: they need the same shape"
        )


def _like(function: str, name: str, tree: Tree, grads: Any, params: str) -> Tree:
    """Return the structure of `grads`; the parameters' is `tree`."""
    if tree.kind == "array":
        if grads is None or isinstance(grads, dict):
            kind = type(grads).__name__
            raise TypeError(f"{function}: {name} is a {kind} but {params} is an array: give one")
        return tree
    if tree.kind == "none":
        if grads is not None:
            kind = type(grads).__name__
            raise ValueError(f"{function}: {name} is a {kind} but {params} is None: give None")
        return tree
    wanted: Any = dict if tree.kind == "dict" else (list, tuple)
    if not isinstance(grads, wanted):
        kind, needed = type(grads).__name__, "dict" if tree.kind == "dict" else "list"
        raise TypeError(
            f"{function}: {name} is a {kind} but {params} is a {needed}: give a {needed}"
        )
    if tree.kind == "dict":
        keys = tuple(_gradient_key(function, name, key, grads, params) for key in tree.keys)
        extra = [key for key in grads if key not in set(keys)]
        if extra:
            raise ValueError(
                f"{function}: {name}[{extra[0]!r}] is the gradient of nothing in {params}: give "
                f"those of {', '.join(repr(key) for key in tree.keys)} alone"
            )
    else:
        keys = tree.keys
        if len(grads) != len(keys):
            raise ValueError(
                f"{function}: {name} has {len(grads)} entries but {params} has {len(keys)}: give "
                "one for each"
            )
    parts = zip(keys, tree.keys, tree.parts, strict=True)
    return Tree(
        tree.kind,
        keys,
        tuple(
            _like(function, f"{name}[{key!r}]", part, grads[key], f"{params}[{ours!r}]")
            for key, ours, part in parts
        ),
    )


def _gradient_key(function: str, name: str, key: Any, grads: Any, params: str) -> Any:
    """Return the key of the gradient of a parameter."""
    known = [f"{prefix}{key}" for prefix in PREFIXES] if isinstance(key, str) else [key]
    for candidate in known:
        if candidate in grads:
            return candidate
    raise ValueError(
        f"{function}: {name} has no {' or '.join(repr(k) for k in known)}: {params} has {key!r}"
    )


Span = tuple[int, int]


def _span(array: Array) -> Span:
    """Return an array's first address, and the one after its last."""
    low = high = int(array.__array_interface__["data"][0])
    if not array.size:
        return low, low
    for size, step in zip(array.shape, array.strides, strict=True):
        if step < 0:
            low += (size - 1) * step
        else:
            high += (size - 1) * step
    return low, high + array.itemsize


def disjoint_spans(
    function: str, names: list[str], arrays: list[Array], written: int
) -> list[Span]:
    """Return each array's span; raise if one of the first `written` shares memory with another."""
    spans = [_span(array) for array in arrays]
    reaching: list[int] = []  # arrays that begin before the current one, and may overlap it
    for i in sorted(range(len(spans)), key=spans.__getitem__):
        start, end = spans[i]
        if start == end:
            continue
        reaching = [j for j in reaching if spans[j][1] > start]
        for j in reaching:
            first, second = min(i, j), max(i, j)
            if first < written and np.shares_memory(arrays[first], arrays[second]):
                raise ValueError(
                    f"{function}: {names[first]} and {names[second]} share memory: what is changed "
                    "in place must lie apart, and be given once"
                )
        reaching.append(i)
    return spans
