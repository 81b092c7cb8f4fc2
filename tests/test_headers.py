"""What compiled code takes for granted of Python's and NumPy's objects, and what it makes of them.

Run by every Python and NumPy that is supported: a layout that moves fails here, or before the
first kernel of a process with a sentence.
"""

from __future__ import annotations

import copy
import ctypes
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from conftest import output, start

import fastgrad as fg
from fastgrad.kernels.toolchain import headers


def results() -> list[tuple[str, Any]]:
    """Return every kind of tuple that compiled code makes."""
    x, w = np.ones((2, 3)), np.ones((3, 2))
    net = fg.MLP((3, 2), (None,), "mse")
    pair = fg.dense_forward(x, w)
    return [
        ("forward", pair),
        ("cache", pair[1]),
        ("grads", fg.dense_backward(pair[0], pair[1])),
        ("no grads", fg.dense_backward(pair[0], pair[1], need=())),
        ("loss", fg.losses.mse.value_and_grad(x, x)),
        ("net", net.value_and_grad(net.init(), x, pair[0])),
    ]


def words_between(made: tuple[Any, ...]) -> list[int]:
    """Return what a tuple holds between its length and its items."""
    count = (headers.ITEMS - headers.BETWEEN) // 8
    return list((ctypes.c_ssize_t * count).from_address(id(made) + headers.BETWEEN))


@pytest.mark.parametrize("name", [name for name, _ in results()])
def test_a_tuple_is_as_python_makes_it(name: str) -> None:
    """Since 3.14 a tuple keeps its hash: 0, instead of "not yet known", was taken for it."""
    made = dict(results())[name]
    same = type(made)(*made) if hasattr(made, "_fields") else tuple(iter(made))
    assert len(made) == len(same) == len(list(made))
    assert words_between(made) == words_between(same) == list(headers.UNHASHED)
    assert sys.getsizeof(made) == sys.getsizeof(same)
    if all(item is None for item in made):
        assert hash(made) == hash(same) == hash(tuple(made))
        assert made in {same} and made == same
    else:
        for _ in range(2):
            with pytest.raises(TypeError, match="unhashable"):
                hash(made)
    assert pickle.dumps(made)
    assert type(copy.copy(made)) is type(made)


def test_the_words_before_the_items_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.14 has them, and whatever a later one may put there, on any Python."""
    from numba import njit

    from fastgrad.kernels.calls import pyobject

    monkeypatch.setattr(pyobject, "UNHASHED", (-1, 7))

    @njit
    def write(made: Any) -> None:
        pyobject._set_unhashed(made)

    instance = np.zeros(8, np.intp)
    write(instance.ctypes.data)
    at = headers.BETWEEN // 8
    assert instance[at : at + 2].tolist() == [-1, 7]
    assert np.count_nonzero(instance) == 2


def test_the_interned_objects_are_counted_as_python_does() -> None:
    """None, True and small numbers are immortal since 3.12 and counted before; either is well."""
    x, w = np.ones((2, 3)), np.ones((3, 2))
    fg.dense_backward(*fg.dense_forward(x, w), need=())
    before = [sys.getrefcount(o) for o in (None, True, np.ndarray, x.dtype)]
    for _ in range(1000):
        y, cache = fg.dense_forward(x, w)
        fg.dense_backward(y, cache, need=())
        del y, cache
    after = [sys.getrefcount(o) for o in (None, True, np.ndarray, x.dtype)]
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


MOVED = """
import sys, numpy as np, fastgrad as fg
from fastgrad.kernels.toolchain import headers
{plant}
for _ in range(2):
    try:
        fg.dense(np.ones((2, 3)), np.ones((3, 2)))
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "plant",
    [
        *(
            f"headers.{name} += 8"
            for name in ("DATA", "NDIM", "SHAPE", "STRIDES", "DESCR", "FLAGS", "TYPE", "ITEMS")
        ),
        "headers.DATA, headers.DESCR = headers.DESCR, headers.DATA",
        "headers.SHAPE, headers.STRIDES = headers.STRIDES, headers.SHAPE",
    ],
)
def test_a_layout_that_moved_is_refused_before_any_kernel(plant: str) -> None:
    printed = output(start(MOVED.format(plant=plant))).splitlines()
    assert len(printed) == 2
    assert printed[0].startswith("fastgrad does not know how Python 3.")
    assert np.__version__ in printed[0]


def test_a_python_without_the_gil_is_refused() -> None:
    plant = "sys._is_gil_enabled = lambda: False"
    printed = output(start(MOVED.format(plant=plant))).splitlines()
    assert [line[-16:] for line in printed] == ["set PYTHON_GIL=1"] * 2
