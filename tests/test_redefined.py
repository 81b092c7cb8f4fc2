"""An activation defined again: the old one is let go, and goes on where it is still used."""

from __future__ import annotations

import gc
import os
import sys
import weakref

import numpy as np
import pytest

import fastgrad as fg
from fastgrad.layers.compiled_layer import LAYERS

pytestmark = pytest.mark.usefixtures("restored")

X, W = np.array([[1.0, 2.0]]), np.array([[1.0], [1.0]])


def define(factor: float) -> fg.Activation:
    """Define "times" as z -> factor * z."""
    return fg.define_activation("times", lambda z: factor * z, lambda z: factor)


def entries() -> int:
    return sum(map(len, LAYERS.values()))


@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_nothing_is_kept_of_the_old_one(samples: str) -> None:
    """A notebook's cell that defines and uses an activation may be run a thousand times."""
    w = W if samples == "rows" else np.array([[1.0]])
    sizes, gone = [], []
    for factor in (2.0, 3.0, 4.0):
        act = define(factor)
        by_object = fg.dense(X, w, activation=act, samples=samples)
        assert np.array_equal(by_object, fg.dense(X, w, activation="times", samples=samples))
        sizes.append(entries())
        gone.append(weakref.ref(act))
    del act
    gc.collect()
    assert sizes[0] == sizes[1] == sizes[2]
    assert [ref() is None for ref in gone] == [True, True, False]  # the last is the name's


def test_what_still_uses_the_old_one_goes_on() -> None:
    old = define(2.0)
    _, cache = fg.dense_forward(X, W, activation=old)
    _, by_name = fg.dense_forward(X, W, activation="times")
    net = fg.MLP((2, 1), (old,), "sum", reduction="sum", bias=False, dtype="float64")
    assert net.value_and_grad([1.0, 1.0], X)[0] == 6
    define(5.0)
    for kept in (cache, by_name):
        assert fg.dense_backward([[1.0]], kept).x.tolist() == [[2.0, 2.0]]
    for _ in range(3):  # the third time by the compiled entry point
        value, grad = net.value_and_grad([1.0, 1.0], X)
        assert (value, grad.tolist()) == (6, [2.0, 4.0])
    for _ in range(2):  # made again, then found
        assert fg.dense(X, W, activation=old).tolist() == [[6.0]]
        assert fg.dense(X, W, activation="times").tolist() == [[15.0]]


def test_a_new_name_drops_no_other_layer() -> None:
    fg.dense(X, W)
    fg.dense(X, W, activation="tanh")
    before = {key: LAYERS["rows"][key] for key in (None, "tanh")}
    for _ in range(2):
        define(2.0)
        assert {key: LAYERS["rows"].get(key) for key in before} == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_definition_keeps_little_memory() -> None:
    """It kept 5 MB: Numba's modules. What is left is the object code and what LLVM needs for it."""
    with open("/proc/self/statm") as file:
        page = os.sysconf("SC_PAGE_SIZE")

        def resident() -> int:
            gc.collect()
            file.seek(0)
            return int(file.read().split()[1]) * page

        for factor in range(3):
            define(float(factor))
        before = resident()
        for factor in range(8):
            define(float(factor))
        assert resident() - before < 8 * 2**20
