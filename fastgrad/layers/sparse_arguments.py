"""A sparse x: SciPy's CSR, CSC and COO formats, recognized by their attributes.

SciPy is not imported: an object with ``format``, ``shape``, ``data`` and ``indptr`` and ``indices``
(or ``row`` and ``col``, or ``coords``) is taken. Nothing in it is trusted: arrays and numbers are
checked before a kernel or a twin reads by them.

Shared by fastgrad, reference and loops; nothing is computed here.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastgrad.arrays import Array, as_array

__all__ = [
    "SparseEntries",
    "SparseParts",
    "check_lines",
    "is_sparse",
    "refuse_entry",
    "sparse_entries",
    "sparse_parts",
    "stored",
]

_FORMATS = ("csr", "csc", "coo")
_OTHERS = ("bsr", "dia", "dok", "lil")  # SciPy's, which have a method tocsr
_MOST = 1 << 32  # features: kernels read the lower half of a 64-bit index


class SparseParts(NamedTuple):
    """A sparse matrix as its arrays; `check` or a kernel has yet to look at their numbers."""

    starts: Array | None  # of each line of entries: rows of CSR, columns of CSC; None for COO
    lines: Array | None  # of COO: which line an entry is in
    indices: Array  # within the line
    data: Array
    by_sample: bool  # whether lines are samples; else they are features
    shape: tuple[int, ...]
    samples: int
    features: int
    sample_format: str  # the format whose lines are samples

    @property
    def ndim(self) -> int:
        """The number of axes: one for a single sample."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the stored numbers."""
        return self.data.dtype

    @property
    def extent(self) -> tuple[int, int]:
        """How many lines there are, and how long they are."""
        ends = self.samples, self.features
        return ends if self.by_sample else ends[::-1]


class SparseEntries(NamedTuple):
    """The entries of a sparse matrix, in any order: where each is, and its number."""

    rows: Array  # the sample of each
    columns: Array  # its feature
    data: Array
    shape: tuple[int, ...]
    samples: int

    @property
    def ndim(self) -> int:
        """The number of axes: one for a single sample."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the stored numbers."""
        return self.data.dtype


def is_sparse(value: Any) -> bool:
    """Return whether a value says that it is a sparse matrix."""
    kind = getattr(value, "format", None)
    return isinstance(kind, str) and (kind in _FORMATS or kind in _OTHERS)


def sparse_parts(function: str, name: str, value: Any, samples: str) -> SparseParts:
    """Return the arrays of a sparse matrix; raise unless their dtypes and lengths fit its shape."""
    kind, layout = type(value).__name__, value.format
    if layout in _OTHERS:
        raise TypeError(f"{function}: {name} is a sparse {kind}: give {name}.tocsr()")
    shape = _shape(function, name, value)
    data = _vector(function, f"{name}.data", _attribute(function, value, "data"))
    columns = samples == "columns"
    own = "csc" if columns and len(shape) == 2 else "csr"
    n, d = (1, shape[0]) if len(shape) == 1 else shape[::-1] if columns else shape
    if d > _MOST:
        raise ValueError(f"{function}: {name} has {d} features: at most 2**32 are possible")
    if layout == "coo":
        lines, indices = _coordinates(function, name, value, shape, columns)
        found = {"lines": lines, "indices": indices}
        parts = SparseParts(None, lines, indices, data, True, shape, n, d, own)
    else:
        starts = _indices(function, f"{name}.indptr", _attribute(function, value, "indptr"))
        indices = _indices(function, f"{name}.indices", _attribute(function, value, "indices"))
        found = {"indices": indices}
        parts = SparseParts(starts, None, indices, data, layout == own, shape, n, d, own)
        count = parts.extent[0] + 1
        if starts.shape != (count,):
            raise ValueError(
                f"{function}: {name}.indptr has shape {starts.shape} but {name} is a {kind} of "
                f"shape {shape}: it needs shape ({count},)"
            )
    if any(array.shape != data.shape for array in found.values()):
        shapes = " and ".join(str(array.shape) for array in found.values())
        raise ValueError(
            f"{function}: {name}.data has shape {data.shape} but its indices have {shapes}: "
            "they need one for each number"
        )
    return parts


def stored(matrix: Any) -> dict[str, Any]:
    """Return the arrays of a sparse matrix by name, which no output may share memory with."""
    return {f"x.{n}": getattr(matrix, n, None) for n in ("data", "indices", "indptr", "row", "col")}


def _shape(function: str, name: str, value: Any) -> tuple[int, ...]:
    try:
        shape = tuple(int(length) for length in value.shape)
    except (AttributeError, TypeError, ValueError):
        shape = ()
    if len(shape) not in (1, 2) or min(shape) < 0:
        given = getattr(value, "shape", None)
        raise ValueError(f"{function}: {name} is sparse, of shape {given}: give one or two axes")
    return shape


def _attribute(function: str, value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        kind = type(value).__name__
        raise TypeError(
            f"{function}: a {kind} says that its format is {value.format!r}, but has no {name}"
        ) from None


def _vector(function: str, name: str, value: Any) -> Array:
    array = as_array(function, name, value)
    if array.ndim != 1:
        raise ValueError(f"{function}: {name} has shape {array.shape}: it needs one axis")
    return array


def _indices(function: str, name: str, value: Any) -> Array:
    """Return an array of indices as kernels read them: contiguous, int32 or int64."""
    array = _vector(function, name, value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} has dtype {array.dtype}: it needs int32 or int64")
    wide = array.dtype.kind == "u" or array.dtype.itemsize != 4
    return np.require(array, np.int64 if wide else np.int32, ["C", "A"])


def _coordinates(
    function: str, name: str, value: Any, shape: tuple[int, ...], columns: bool
) -> tuple[Array, Array]:
    """Return the sample and the feature of each entry of a COO matrix."""
    if len(shape) == 1:
        coords = tuple(_attribute(function, value, "coords"))
        if len(coords) != 1:
            raise ValueError(f"{function}: {name}.coords has {len(coords)} axes: it needs one")
        features = _indices(function, f"{name}.coords[0]", coords[0])
        return np.zeros(features.shape, np.int32), features
    rows, cols = (
        _indices(function, f"{name}.{a}", _attribute(function, value, a)) for a in ("row", "col")
    )
    return (cols, rows) if columns else (rows, cols)


def refuse_entry(
    function: str, name: str, parts: SparseParts, mistake: str, place: int
) -> NoReturn:
    """Raise for a number in the arrays of a matrix that cannot be."""
    starts = parts.starts
    if mistake in ("index", "line"):
        array, length = parts.indices, parts.extent[1]
        if mistake == "line" and parts.lines is not None:
            array, length = parts.lines, parts.extent[0]
        rule = f"it needs 0 to {length - 1}" if length else "it can have none"
        raise ValueError(
            f"{function}: {name} has an entry {int(array[place])} in an axis of length {length} "
            f"(entry {place} of its indices): {rule}"
        )
    assert starts is not None
    if mistake == "start":
        rule = "it needs 0"
    elif mistake == "order":
        rule = f"it needs {int(starts[place - 1])}, the number before it, or more"
    else:
        rule = f"{name} has {len(parts.indices)} entries"
    raise ValueError(f"{function}: {name}.indptr[{place}] is {int(starts[place])}: {rule}")


def check_lines(function: str, name: str, parts: SparseParts) -> None:
    """Raise unless the lines of the entries of a COO matrix are within its shape."""
    assert parts.lines is not None
    wrong = (parts.lines < 0) | (parts.lines >= parts.extent[0])
    if wrong.any():
        refuse_entry(function, name, parts, "line", int(wrong.argmax()))


def sparse_entries(function: str, name: str, parts: SparseParts) -> SparseEntries:
    """Return the entries of a matrix; raise for one that is not within its shape."""
    starts, lines, indices = parts.starts, parts.lines, parts.indices
    if starts is None:
        check_lines(function, name, parts)
    else:
        falls = starts[1:] < starts[:-1]
        if starts[0] != 0:
            refuse_entry(function, name, parts, "start", 0)
        if falls.any():
            refuse_entry(function, name, parts, "order", int(falls.argmax()) + 1)
        if starts[-1] > len(indices):
            refuse_entry(function, name, parts, "end", len(starts) - 1)
        lines = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        indices = indices[: len(lines)]
    wrong = (indices < 0) | (indices >= parts.extent[1])
    if wrong.any():
        refuse_entry(function, name, parts, "index", int(wrong.argmax()))
    assert lines is not None
    rows, columns = (lines, indices) if parts.by_sample else (indices, lines)
    return SparseEntries(rows, columns, parts.data[: len(lines)], parts.shape, parts.samples)
