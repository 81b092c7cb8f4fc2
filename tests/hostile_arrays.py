"""Arrays that a careless or malicious caller may pass, for test_adversarial and test_properties."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from conftest import FORMS, Array

Rng = np.random.Generator
Values = dict[str, Any]


def pick(rng: Rng, choices: Any) -> Any:
    choices = list(choices)
    return choices[rng.integers(len(choices))]


def wider(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return a shape with each axis longer by one in turn."""
    return [(*shape[:i], n + 1, *shape[i + 1 :]) for i, n in enumerate(shape)]


FLOATS = ("float32", "float64")
DTYPES = ("float16", "float32", "float64", ">f2", ">f4", ">f8", "int8", "int64", "uint8", "uint64",
          ">i2", ">u4", "bool")  # fmt: skip


def numbers(rng: Rng, shape: tuple[int, ...], dtype: str) -> Array:
    """Return numbers whose products and short sums are exact: no kink is missed by rounding."""
    kind = np.dtype(dtype).kind
    if kind == "f":
        return np.array(rng.integers(-16, 17, shape) / 64.0, dtype)
    return rng.integers(-1 if kind == "i" else 0, 2, shape).astype(dtype)


def _broadcast(rng: Rng, a: Array) -> Array:
    axis = int(rng.integers(a.ndim))
    first = a[(slice(None),) * axis + (slice(0, 1),)]
    return np.broadcast_to(first, a.shape) if a.shape[axis] else a


def _zero_strides(rng: Rng, a: Array) -> Array:
    return np.broadcast_to(a.reshape(-1)[:1].reshape(()), a.shape) if a.size else a


def _windows(rng: Rng, a: Array) -> Array:
    """Overlapping windows of one vector: elements that share memory."""
    if a.ndim < 2 or not a.size:
        return a
    pool = a.reshape(-1)[: int(np.sum(a.shape))]
    pool = np.resize(pool, int(np.sum(a.shape)))
    return np.lib.stride_tricks.as_strided(pool, a.shape, (a.itemsize,) * a.ndim)


def _memmap(rng: Rng, a: Array) -> Array:
    if not a.nbytes:
        return a
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file.name, a.dtype, "w+", shape=a.shape)
    mapped[...] = a
    return mapped


def _permuted(rng: Rng, a: Array) -> Array:
    order = tuple(rng.permutation(a.ndim))
    return np.array(a.transpose(order), order="C").transpose(tuple(np.argsort(order)))


def _metadata(rng: Rng, a: Array) -> Array:
    return a.astype(np.dtype(a.dtype, metadata={"from": "elsewhere"}))


def _some_reversed(rng: Rng, a: Array) -> Array:
    flip = tuple(slice(None, None, pick(rng, (1, -1))) for _ in a.shape)
    return a[flip].copy()[flip]


def _part_of_wider(rng: Rng, a: Array) -> Array:
    """Rows with a gap between them."""
    if not a.ndim:
        return a
    base = np.full((*a.shape[:-1], a.shape[-1] + 3), 77, a.dtype)
    base[..., : a.shape[-1]] = a
    return base[..., : a.shape[-1]]


# Every way to hold an array: those of the suite, and what only a random choice can make.
HOSTILE: dict[str, Callable[[Rng, Array], Any]] = {
    **{name: (lambda rng, a, make=make: make(a)) for name, make in FORMS.items()},
    "clean": lambda rng, a: a,
    "broadcast": _broadcast,
    "all strides zero": _zero_strides,
    "windows": _windows,
    "matrix": lambda rng, a: a.view(np.matrix) if a.ndim == 2 else a,
    "memmap": _memmap,
    "permuted": _permuted,
    "part of wider": _part_of_wider,
    "metadata": _metadata,
    "some axes reversed": _some_reversed,
    "pickled": lambda rng, a: pickle.loads(pickle.dumps(a)),
    "nested lists": lambda rng, a: a.tolist(),
    "scalar": lambda rng, a: a[()],
}
WRITABLE = ("clean", "fortran", "sliced", "reversed", "unaligned", "offset", "record_field",
            "memmap_like_subclass", "memmap", "permuted", "part of wider", "metadata",
            "some axes reversed", "pickled")  # fmt: skip
OF_NUMBERS = ("clean", "unaligned", "big_endian", "readonly", "array_protocol", "metadata",
              "pickled", "nested lists", "scalar")  # fmt: skip


def hostile(rng: Rng, array: Array) -> tuple[Any, str]:
    """Return the array, or another with its shape, in an odd form, and the form's name."""
    name = pick(rng, HOSTILE if array.ndim else OF_NUMBERS)
    if name in ("nested lists", "list") and array.size == 0 and array.ndim > 1:
        return array, "clean"  # a list forgets the axes behind an empty one
    return HOSTILE[name](rng, array), name


def _recursive() -> list[Any]:
    endless: list[Any] = []
    endless += [endless, endless]
    return endless


# What is no array of numbers, by name.
BAD_VALUES: dict[str, Callable[[Array], Any]] = {
    "complex": lambda a: a.astype(complex),
    "longdouble": lambda a: a.astype(np.longdouble),
    "object": lambda a: a.astype(object),
    "string": lambda a: a.astype("U8"),
    "bytes": lambda a: a.astype("S8"),
    "datetime": lambda a: np.zeros(a.shape, "M8[D]"),
    "structured": lambda a: np.zeros(a.shape, [("a", "f8")]),
    "masked": np.ma.masked_array,
    "ragged": lambda a: [[1.0], [1.0, 2.0]],
    "nested ragged": lambda a: [[[1.0], [2.0]], [[1.0], 2.0]],
    "text": lambda a: "abc",
    "mapping": lambda a: {"a": 1},
    "thing": lambda a: object(),
    "huge integers": lambda a: [2**70],
    "recursive": lambda a: _recursive(),
    "masked in a list": lambda a: [np.ma.masked_array([1.0, 2.0], [True, False])],
}
SPECIALS = {
    "nan": (np.nan,),
    "infinite": (np.inf, -np.inf),
    "nan and infinite": (np.nan, np.inf, -np.inf, -0.0, 0.0),
    "subnormal": ("tiny", "-tiny"),
    "largest": ("max", "-max"),
}


def special(rng: Rng, array: Array, kind: str) -> Array:
    """Return a copy with special numbers in some places."""
    copy, info = np.array(array), np.finfo(array.dtype)
    names = {"tiny": info.smallest_subnormal, "max": info.max}
    for _ in range(int(rng.integers(1, 4)) if copy.size else 0):
        value = pick(rng, SPECIALS[kind])
        if isinstance(value, str):
            value = -names[value[1:]] if value[0] == "-" else names[value]
        copy[np.unravel_index(rng.integers(copy.size), copy.shape)] = value
    return copy


# -- outputs that must be refused -----------------------------------------------------------------


def _read_only(rng: Rng, out: Array, values: Values) -> Array:
    out.flags.writeable = False
    return out


def _same_place(rng: Rng, out: Array, values: Values) -> Array | None:
    """Move an input of the same shape and dtype onto `out`."""
    if not out.size:
        return None
    for n, v in values.items():
        if v.shape == out.shape and v.dtype == out.dtype:
            out[...] = v
            values[n] = out
            return out
    return None


def _partly(rng: Rng, out: Array, values: Values) -> Array | None:
    """Move an input of the same dtype into memory that begins or ends within `out`."""
    fitting = [n for n, v in values.items() if v.size and v.dtype == out.dtype]
    if not (fitting and out.size):
        return None
    name = pick(rng, fitting)
    value = values[name]
    pool = np.zeros(out.size + value.size - 1, out.dtype)
    a, b = pool[: out.size], pool[out.size - 1 :]
    if rng.random() < 0.5:
        a, b = pool[value.size - 1 :], pool[: value.size]
    a.reshape(out.shape)[...] = out
    values[name] = b.reshape(value.shape)
    values[name][...] = value
    return a.reshape(out.shape)


def _self_overlapping(rng: Rng, out: Array, values: Values) -> Array | None:
    axes = [i for i, n in enumerate(out.shape) if n > 1]
    if not (axes and out.size):
        return None
    strides = list(out.strides)
    strides[pick(rng, axes)] = pick(rng, (0, 0, 1, out.itemsize // 2))
    return np.lib.stride_tricks.as_strided(out, out.shape, strides)


def _swapped_bytes(rng: Rng, out: Array, values: Values) -> Array:
    return out.astype(out.dtype.newbyteorder())


def _of_dtype(*dtypes: Any) -> Any:
    def make(rng: Rng, out: Array, values: Values) -> Array:
        return out.astype(pick(rng, [t for t in dtypes if np.dtype(t) != out.dtype]))

    return make


BAD_OUTS: dict[str, Callable[[Rng, Array, Values], Any]] = {
    "read-only": _read_only,
    "an input": _same_place,
    "partly an input": _partly,
    "overlaps itself": _self_overlapping,
    "other bytes": _swapped_bytes,
    "other dtype": _of_dtype("f2", "f4", "f8", "i8", "c16", "O", "g", "U4", "?"),
    "longer": lambda rng, out, values: np.zeros(wider(out.shape)[0], out.dtype)
    if out.ndim else None,
    "an axis more": lambda rng, out, values: np.zeros((*out.shape, 1), out.dtype),
    "list": lambda rng, out, values: out.tolist(),
    "number": lambda rng, out, values: 0.0,
    "scalar": lambda rng, out, values: out.dtype.type(0),
}  # fmt: skip


# -- caches that no longer fit --------------------------------------------------------------------


def _resized(array: Array) -> Array:
    copy = array.copy()
    copy.resize((*array.shape[:-1], array.shape[-1] + 3), refcheck=False)
    return copy


CACHE_DAMAGE: dict[str, Callable[[Array], Any]] = {
    "same in another form": lambda a: FORMS["sliced"](a),
    "resized": _resized,
    "an axis more": lambda a: a[..., None, None],
    "an axis less": lambda a: a.reshape(-1)[: max(a.size - 1, 0)].reshape(-1, 1, 1),
    "a number": lambda a: 1.0,
    "text": lambda a: "abc",
    "complex": lambda a: a.astype(complex),
    "object": lambda a: a.astype(object),
    "masked": np.ma.masked_array,
    "function": lambda a: abs,
}

# -- guarding memory -----------------------------------------------------------------------------


def root(array: Array) -> Array:
    """Return the array that owns the memory, also what lies between the elements."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _bytes(array: Array) -> bytes:
    return np.asarray(array).tobytes()


class Guard:
    """Notices writes to arrays, their surroundings included."""

    def __init__(self, arrays: Iterator[Any]) -> None:
        self.roots = [root(a) for a in arrays if isinstance(a, np.ndarray)]
        self.before = [_bytes(r) for r in self.roots]

    def intact(self) -> bool:
        return all(_bytes(r) == b for r, b in zip(self.roots, self.before, strict=True))
