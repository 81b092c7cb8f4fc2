"""The arguments of a dense layer: arrays whose shapes fit, the gradients needed, and their `out=`.

Shared by fastgrad, reference and loops; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastgrad.arguments import LAYOUTS, check_choice, check_samples
from fastgrad.arrays import Array, as_array
from fastgrad.layers.sparse_arguments import is_sparse, sparse_parts
from fastgrad.results import DenseGrads, check_out

__all__ = [
    "NEED",
    "check_cache",
    "check_dense",
    "check_outputs",
    "dense_arguments",
    "dense_shape",
    "needed_gradients",
    "output_fields",
    "output_fields_of",
    "without_x",
    "x_argument",
]


# The gradients that dense_backward computes by default: this object, not an equal one.
NEED: tuple[str, ...] = ("x", "w", "b")


def dense_arguments(
    function: str, x: Any, w: Any, b: Any, samples: str
) -> tuple[Any, Array, Array | None]:
    """Return x, w and b as arrays whose shapes fit each other, their dtypes unchanged.

    A sparse x is returned as `SparseParts`.
    """
    check_choice(function, "samples", samples, LAYOUTS)
    x, w = x_argument(function, "x", x, samples), as_array(function, "w", w)
    if b is not None:
        b = as_array(function, "b", b)
    check_dense(function, x, w, b, samples)
    return x, w, b


def x_argument(function: str, name: str, value: Any, samples: str) -> Any:
    """Return an input as an array, its dtype unchanged; a sparse one as `SparseParts`."""
    if is_sparse(value):
        return sparse_parts(function, name, value, samples)
    return as_array(function, name, value)


def check_dense(function: str, x: Any, w: Array, b: Array | None, samples: str) -> None:
    """Raise unless the shapes of a layer's arrays fit each other."""
    check_samples(function, "x", x, samples)
    columns = samples == "columns"
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


def dense_shape(x: Any, w: Array, samples: str) -> tuple[int, ...]:
    """Return the shape of a layer's output."""
    if samples == "columns":
        return (w.shape[0], *x.shape[1:])
    return (*x.shape[:-1], w.shape[1])


def check_cache(function: str, cache: Any, kind: type) -> None:
    """Raise unless a cache is of the kind that this package's dense_forward returns."""
    if not isinstance(cache, kind):
        raise TypeError(
            f"{function}: cache is a {type(cache).__name__}: give what dense_forward returned"
        )


def needed_gradients(
    function: str, need: Iterable[str], fields: tuple[str, ...] = DenseGrads._fields
) -> list[str]:
    """Return which of `fields` are in `need`, in their order."""
    try:
        names = list(need)
    except TypeError:
        names = [str(need)]
    for name in names:
        check_choice(function, "need", name, fields)
    return [name for name in fields if name in names]


def without_x(function: str, need: Iterable[str], names: list[str]) -> list[str]:
    """Return the gradients of a layer of a sparse x: without x by default; raise if it is named."""
    if need is NEED or "x" not in names:
        return [name for name in names if name != "x"]
    raise ValueError(
        f"{function}: need contains 'x', but x is sparse: its gradient is not offered. Leave it "
        "out: need=('w', 'b')"
    )


_FIELDS = frozenset(DenseGrads._fields)


def output_fields(out: Any) -> tuple[Any, Any, Any, Any]:
    """Return the fields x, w, b, z of `out`; None stands for one it does not have."""
    if isinstance(out, (dict, Mapping)) and not _FIELDS.isdisjoint(out):  # dict is faster
        field = out.get
        return field("x"), field("w"), field("b"), field("z")
    x, w, b, z = output_fields_of("dense_backward", out, DenseGrads).values()
    return x, w, b, z


def output_fields_of(function: str, out: Any, kind: Any) -> dict[str, Any]:
    """Return the fields of `out` that this `kind` of gradients has; None for a missing one."""
    names = kind._fields
    if isinstance(out, Mapping) and not set(names).isdisjoint(out):
        return {name: out.get(name) for name in names}
    if any(hasattr(out, name) for name in names):
        return {name: getattr(out, name, None) for name in names}
    raise TypeError(
        f"{function}: out is a {type(out).__name__}: give a {kind.__name__}, a mapping or an "
        f"object with fields {', '.join(names)}"
    )


def check_outputs(
    function: str,
    out: Any,
    names: list[str],
    shapes: dict[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    inputs: dict[str, Any],
    kind: Any = DenseGrads,
) -> dict[str, Array]:
    """Return the arrays of `out` for the gradients of these `names`; raise if one is unfit."""
    if out is None:
        return {}
    fields = output_fields_of(function, out, kind)
    taken: dict[str, Array] = {}
    for name in names:
        field = fields[name]
        if field is not None:
            others = {**inputs, **{f"out.{n}": a for n, a in taken.items()}}
            check_out(function, f"out.{name}", field, shapes[name], dtype, others)
            taken[name] = field
    return taken
