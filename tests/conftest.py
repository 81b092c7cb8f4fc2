"""What the tests share: symbolic sizes, seeded data, array forms and ULP distances."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastgrad
from fastgrad.kernels.toolchain.target import BATCH_BLOCK, Tile, tile

Array = NDArray[Any]

DTYPES = ("float32", "float64")
BRIDGES = ("autograd", "dask", "jax", "sklearn", "torch")  # named after whom they lead to
LAYOUTS = ("rows", "columns")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker of the long tests whatever the configuration file says."""
    config.addinivalue_line("markers", "exhaustive: takes minutes; run with `pytest -m exhaustive`")


# -- sizes ------------------------------------------------------------------------------------


def size(name: str, dtype: str) -> int:
    """Return the number a symbolic size stands for: ``"MR-1"``, ``"2NR+1"``, ``"BB+1"``, ``"7"``.

    MR x NR is the register tile, MC and KC are the block sizes of the matrix product, BB is the
    batch block. They differ between processors; the names of the tests do not.
    """
    t: Tile = tile(dtype)
    values = {"MR": t.mr, "NR": t.nr, "MC": t.mc, "KC": t.kc, "BB": BATCH_BLOCK}
    for symbol, value in values.items():
        if symbol in name:
            factor, _, rest = name.partition(symbol)
            return int(factor or 1) * value + int(rest or 0)
    return int(name)


def shape_of(spec: str, dtype: str) -> tuple[int, int, int]:
    """Return (n, d, k) of a spec such as ``"MR+1 x 3 x NR-1"``."""
    n, d, k = (size(part, dtype) for part in spec.split(" x "))
    return n, d, k


# -- data -------------------------------------------------------------------------------------


def rng_of(*key: Any) -> np.random.Generator:
    """Return a generator seeded by the words of `key`: the same data for the same test."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the name of the test."""
    return rng_of(request.node.name)


@pytest.fixture
def restored() -> Any:
    """Take activations that a test defines out of the table again."""
    known = dict(fastgrad.activations.ACTIVATIONS)
    yield
    fastgrad.activations.ACTIVATIONS.clear()
    fastgrad.activations.ACTIVATIONS.update(known)


@pytest.fixture
def count() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads; it is put back."""
    before = fastgrad.get_num_threads()
    yield fastgrad.set_num_threads
    fastgrad.set_num_threads(before)


@pytest.fixture
def python_handler() -> Iterator[None]:
    """Ctrl-C as in a fresh Python, though the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def torch() -> Any:
    """PyTorch; a test that asks for it is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, at import
        return pytest.importorskip("torch", exc_type=ImportError)


def turn(array: Array, samples: str) -> Array:
    """Return row-layout data in the layout `samples`, C-contiguous; vectors stay."""
    return np.ascontiguousarray(array.T) if samples == "columns" else array


# -- comparing --------------------------------------------------------------------------------


def ulp(value: Array, dtype: str) -> Array:
    """Return the spacing of `dtype` at the float64 numbers `value`, subnormals included."""
    info = np.finfo(dtype)
    _, exponent = np.frexp(np.abs(np.asarray(value, np.float64)))
    lowest = info.minexp + 1  # frexp's exponent of the smallest normal number
    return np.ldexp(1.0, np.maximum(exponent, lowest) - 1 - info.nmant)


def ulp_distance(got: Array, exact: Array, rest: Array | float = 0.0) -> Array:
    """Return the error of `got` in ULP of its dtype, where the truth is ``exact + rest``.

    `exact` and `rest` are float64; two words are needed where `got` is float64 itself. Agreeing
    infinities and NaN are no error; any other disagreement of specials is an infinite one.
    """
    wide, exact = np.asarray(got, np.float64), np.asarray(exact, np.float64)
    with np.errstate(all="ignore"):
        error = np.abs((wide - exact) - rest) / ulp(exact, got.dtype.name)
        same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
        special = ~np.isfinite(wide) | ~np.isfinite(exact)
    error[special] = np.inf
    error[special & same] = 0.0
    return error


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays have one shape, one dtype and the same bits, NaN included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


# -- array forms: the same numbers, laid out otherwise -----------------------------------------


def _sliced(a: Array) -> Array:
    """Every second element along each axis of a larger array, which holds NaN (or 77) elsewhere."""
    base = np.full([2 * s + 1 for s in a.shape], np.nan if a.dtype.kind == "f" else 77, a.dtype)
    view = base[tuple(slice(0, 2 * s, 2) for s in a.shape)]
    view[...] = a
    return view


def _reversed(a: Array) -> Array:
    """Negative strides on every axis."""
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    return a[flip].copy()[flip]


def _unaligned(a: Array) -> Array:
    """Elements at addresses that are not multiples of their size."""
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _field(a: Array) -> Array:
    """A field of packed records: strides that are not multiples of the element size."""
    records = np.zeros(a.shape, [("tag", np.int8), ("value", a.dtype)])
    records["value"] = a
    return records["value"]


def _readonly(a: Array) -> Array:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _offset(a: Array) -> Array:
    """Aligned to the element only: the address is no multiple of a vector."""
    raw = np.empty(a.size + 1, a.dtype)[1:]
    raw[:] = a.ravel()
    return raw.reshape(a.shape)


class _Wrapped:
    """Something that is no array but can become one."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype)


# Each keeps shape, values and (but for "list" of float32) dtype.
FORMS: dict[str, Callable[[Array], Any]] = {
    "fortran": np.asfortranarray,
    "sliced": _sliced,
    "reversed": _reversed,
    "unaligned": _unaligned,
    "offset": _offset,
    "record_field": _field,
    "readonly": _readonly,
    "big_endian": lambda a: a.astype(a.dtype.newbyteorder()),
    "big_endian_reversed": lambda a: _reversed(a.astype(a.dtype.newbyteorder())),
    "array_protocol": _Wrapped,
    "list": lambda a: [[a.dtype.type(v) for v in row] for row in a] if a.ndim == 2 else list(a),
    "memmap_like_subclass": lambda a: a.copy().view(type("Subclass", (np.ndarray,), {})),
}


# -- processes --------------------------------------------------------------------------------


def environment(**changes: str | None) -> dict[str, str]:
    """Return the environment for a Python process that imports this fastgrad; None removes."""
    env = dict(os.environ)
    env["PYTHONPATH"] = str(Path(fastgrad.__file__).parents[1])
    for name, value in changes.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


def processors() -> list[str]:
    """Return the names this host's code can be compiled for and run; "" is the host itself."""
    import llvmlite.binding as llvm

    if not llvm.get_process_triple().startswith("x86_64"):
        return [""]
    features = dict(llvm.get_host_cpu_features())
    wider = {"haswell": "avx2", "skylake-avx512": "avx512f"}
    return ["x86-64", *(name for name, needs in wider.items() if features.get(needs)), ""]


def start(code: str, **changes: str | None) -> subprocess.Popen[str]:
    """Start Python on `code`, warnings being errors; `changes` are environment variables."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str], timeout: float = 120.0) -> str:
    """Return what a process printed; fail unless it ended well and wrote nothing to stderr."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, f"exit status {process.returncode}\n{out}\n{err}"
    assert err == ""
    return out.strip()


@pytest.fixture
def same_environment() -> Iterator[None]:
    """Undo what a cluster leaves in the environment: MALLOC_TRIM_THRESHOLD_ slows later tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
