"""Arrays that go in and out: dtypes, layouts, overlap, and the texts of errors.

Kernels accept aligned native float32 or float64 arrays of any strides. The functions here convert
everything else, or raise an error: which function, which argument, its shape or dtype, and what
would be right.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLOAT16, FLOAT32, FLOAT64 = (np.dtype(t) for t in (np.float16, np.float32, np.float64))
INT64 = np.dtype(np.int64)  # of classes
MOST_AXES = 64  # of NumPy's arrays
_NUMBERS = frozenset({float, int, bool, np.float64, np.float32, np.int64})
_TAKEN = frozenset("?bhilqBHILQefd")  # NumPy's characters of bool, integers and floats
# Kernels compare dtypes by identity, so these are NumPy's own objects.
_SINGLETONS = {d.itemsize: d for d in (FLOAT16, FLOAT32, FLOAT64)}


class Dtypes(NamedTuple):
    """The dtype a call computes in, and the one its results have."""

    work: np.dtype[Any]
    result: np.dtype[Any]


def as_array(function: str, name: str, value: Any) -> Array:
    """Return `value` as an ndarray, its dtype unchanged.

    Raises
    ------
    TypeError
        If it is masked, ragged, or of a dtype fastgrad does not compute in.
    """
    array = value if type(value) is np.ndarray else _array_of(function, name, value)
    dtype = array.dtype
    if dtype.char in _TAKEN:  # an extension's types may be of any kind
        return array
    if hasattr(value, "toarray"):  # a SciPy sparse matrix: NumPy makes one object of it
        kind = type(value).__name__
        raise TypeError(f"{function}: {name} is a sparse {kind}: give {name}.toarray()")
    hint = ""
    if dtype.kind in "USTO" and name == "target":
        hint = ". Of labels, _, classes = np.unique(labels, return_inverse=True) makes classes"
    elif dtype.isbuiltin == 2 and dtype.kind != "c":  # of an extension: bfloat16, int4
        hint = f": {name}.astype('float32') makes it one of them"
    raise TypeError(
        f"{function}: {name} has dtype {dtype}: give float32, float64, float16, "
        f"an integer type or bool{hint}"
    )


def _array_of(function: str, name: str, value: Any) -> Array:
    """Convert a value that is no plain array into one."""
    kind = masked_class()
    try:
        _check_depth(value)  # NumPy never ends on a list that contains itself twice
        masked = kind and _holds_mask(value, kind)
    except RecursionError:
        raise TypeError(
            f"{function}: {name} is a list that holds itself, or is nested too deep"
        ) from None
    if masked:
        raise TypeError(
            f"{function}: {name} is a masked array, whose mask would be lost: "
            f"pass {name}.filled(value) or {name}.data"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{function}: {name} is not an array of numbers ({error})") from None
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # from its __array__: for example a tensor that needs a gradient
        kind = type(value).__name__
        raise TypeError(
            f"{function}: {name} is a {kind} that cannot be read as a NumPy array ({error}): give "
            f"a NumPy array, of a tensor {name}.detach().cpu().numpy()"
        ) from None


def _check_depth(value: Any) -> None:
    """Raise RecursionError if a list's first entry is a list, and so on without end."""
    for _ in range(MOST_AXES + 1):
        if not isinstance(value, list | tuple) or not value:
            return
        value = value[0]
    raise RecursionError


def masked_class() -> Any:
    """Return the class of masked arrays, or what stands for it in `isinstance`."""
    # `np.ma` would import it: 10 ms, and an import lock that another thread must not fork under.
    return getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())


def _holds_mask(value: Any, kind: Any) -> bool:
    """Return whether a value is of the masked `kind`, or a nested list with one in it."""
    if isinstance(value, list | tuple):
        # A row of numbers has one or two types: checking the types takes a fifth of the time.
        return not _NUMBERS.issuperset(map(type, value)) and any(
            _holds_mask(v, kind) for v in value
        )
    return isinstance(value, kind)


def common_dtypes(*arrays: Array) -> Dtypes:
    """Return the dtypes of a call: see `promoted`."""
    return promoted(*[a.dtype for a in arrays])


@lru_cache(maxsize=256)  # 0.2 us instead of 1.6
def promoted(*dtypes: np.dtype[Any]) -> Dtypes:
    """Return the dtypes of a call of arrays of these dtypes: what NumPy promotes them to.

    =======================  =========  =========  =========  ============
    beside                   float16    float32    float64    no floats
    =======================  =========  =========  =========  ============
    bool, int8, uint8        float16    float32    float64    float64
    int16, uint16            float32    float32    float64    float64
    int32, uint32 and wider  float64    float64    float64    float64
    float16                  float16    float32    float64
    float32                  float32    float32    float64
    float64                  float64    float64    float64
    =======================  =========  =========  =========  ============

    The last column is not NumPy's, which has integers: sums and slopes have fractions. float16
    is computed in float32.
    """
    floating = any(d.kind == "f" for d in dtypes)
    common = np.result_type(*dtypes) if floating else FLOAT64
    result = _SINGLETONS[common.itemsize]
    return Dtypes(FLOAT32 if result is FLOAT16 else result, result)


class _Conversions:
    """The compiled conversions to one dtype (`kernels.calls.convert`), loaded when asked for."""

    natives: Any  # plain attributes: read in half the time of cached properties
    converted: Any
    classes: Any

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __getattr__(self, name: str) -> Any:
        """Load one of the functions, and keep it."""
        if name == "natives":
            return self._natives_of_some
        if name not in ("converted", "classes"):
            raise AttributeError(name)
        return self._loaded(name)

    def _loaded(self, name: str) -> Any:
        from fastgrad.kernels.calls.entry import entry

        loaded = entry("convert", name, self.dtype.name)
        setattr(self, name, loaded)
        return loaded

    def _natives_of_some(self, arrays: tuple[Any, ...], outs: tuple[Any, ...]) -> Any:
        """Load `natives` only when an array needs converting: loading may compile it.

        The first call of a kernel that is not loaded also comes here, with arrays that need none.
        """
        given = (*arrays, *outs)
        if any(hasattr(a, "tocsr") for a in given):  # a sparse matrix: its path is another
            return None
        kinds = {a.dtype if type(a) is np.ndarray else None for a in given if a is not None}
        if kinds == {FLOAT32} or kinds == {FLOAT64}:
            return None
        return self._loaded("natives")(arrays, outs)


TO_FLOAT32, TO_FLOAT64 = _Conversions(FLOAT32), _Conversions(FLOAT64)


def as_native(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return `array` in a form that kernels accept: this dtype, native bytes, aligned elements."""
    if array.dtype.kind == "f" and array.dtype != dtype:
        with np.errstate(all="ignore"):  # float64 in a float32 network: inf is a value
            return _native(array, dtype)
    return _native(array, dtype)


def as_natives(dtype: np.dtype[Any], *arrays: Array | None) -> list[Any]:
    """Return each array (or None) as `as_native` does."""
    with np.errstate(all="ignore"):  # one for all arrays: it takes 0.9 us
        return [a if a is None else _native(a, dtype) for a in arrays]


def _native(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype != dtype:
        return array.astype(dtype)
    if array.dtype is not dtype:  # equal, but another object: unpickled, or with metadata
        array = array.view(dtype)
    for stride in array.strides:  # a single element may have any stride
        if stride % dtype.itemsize:
            return array.copy(order="K")
    return array if array.flags.aligned else array.copy(order="K")


def deliver(result: Array, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Return `result` in the dtype of the call's results, in `out` where one was given."""
    if out is None and result.dtype is dtype:
        return result
    with np.errstate(all="ignore"):  # float16 overflows to inf: a value, not an event
        if out is None:
            return result.astype(dtype, copy=False)
        if out is not result:
            np.copyto(out, result, casting="same_kind")
    return out
