"""Recurrent layers as objects: the functions' numbers, gradients, states, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import rng_of, same_bits

import fastgrad as fg

KINDS = {
    "RNN": {"activation": "tanh"}, "GRU": {"reset": "after"}, "LSTM": {"gates": "ifgo"},
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **changes: Any) -> Any:
    return getattr(fg.nn, kind)(3, 4, **{"seed": 0, **KINDS[kind], **changes})


@kinds
@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 3)])
def test_the_same_as_the_functions(kind: str, shape: tuple[int, ...]) -> None:
    layer, cell, rng = make(kind), kind.lower(), rng_of(kind, shape)
    layer.b[:] = rng.standard_normal(layer.b.shape)
    x, (setting,) = rng.standard_normal(shape), KINDS[kind].values()
    states = [rng.standard_normal((*shape[1:-1], 4)) for _ in range(2 if kind == "LSTM" else 1)]
    lengths = [3, 5] if len(shape) == 3 else None
    for given in (states, [np.zeros_like(s) for s in states]):
        h = layer.forward(x, *(given if given is states else ()), lengths=lengths)
        *made, cache = getattr(fg, f"{cell}_forward")(
            x, *given, layer.wx, layer.wh, layer.b, setting, lengths=lengths
        )
        assert same_bits(h, made[0])
        grad = rng.standard_normal(h.shape)
        more = {"grad_c": grad} if kind == "LSTM" else {}
        if kind == "LSTM":
            assert same_bits(layer.c, made[1])
        grad_x = layer.backward(grad, **more)
        expected = getattr(fg, f"{cell}_backward")(grad, cache, **more)
        assert same_bits(grad_x, expected.x)
        for name in expected._fields[1:]:
            assert same_bits(getattr(layer, f"grad_{name}"), getattr(expected, name))


@kinds
def test_gradients(kind: str) -> None:
    layer, rng = make(kind), rng_of(kind)
    x, weights = rng.standard_normal((4, 2, 3)), rng.standard_normal((2, 4))

    def loss(value: Any, name: str = "wh") -> float:
        before = getattr(layer, name)
        setattr(layer, name, value)
        last = layer.forward(x)[-1]
        setattr(layer, name, before)
        return float((last * weights).sum())

    layer.forward(x)
    layer.backward(weights)
    for name in ("wx", "wh", "b"):
        grad = getattr(layer, f"grad_{name}").copy()
        assert fg.check_grad(lambda v, name=name: loss(v, name), grad, getattr(layer, name)).ok


@kinds
def test_two_biases_no_bias_and_float32(kind: str) -> None:
    bare = make(kind, bias=False, dtype="float32")
    x = np.ones((2, 3), np.float32)
    assert bare.forward(x).dtype == np.float32
    bare.backward(np.ones(4, np.float32))
    assert bare.b is bare.grad_b is None
    assert bare.grad_wx.dtype == bare.wx.dtype == np.float32
    if kind == "GRU":
        layer = make(kind)
        layer.b = np.ones((2, 12))
        layer.backward(layer.forward([[1, 2, 3]]))
        assert layer.grad_b.shape == (2, 12)


@kinds
def test_seeds_copies_and_repr(kind: str) -> None:
    layer = make(kind)
    assert same_bits(layer.wx, make(kind).wx)
    assert not same_bits(layer.wx, make(kind, seed=1).wx)
    assert np.abs(layer.wh).max() <= 0.5 < np.abs(layer.wh).max() + 0.1
    h = layer.forward(np.ones((2, 3)))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(ValueError, match=f"{kind}.backward: there is no h to go back from"):
            other.backward(h)
        assert same_bits(other.forward(np.ones((2, 3))), h)
    assert repr(layer) == f"{kind}(3, 4, {next(iter(KINDS[kind].values()))!r}, bias=True)"
    assert repr(make(kind, bias=False, dtype="float32")).endswith("bias=False, dtype='float32')")


@kinds
def test_what_is_refused(kind: str) -> None:
    layer = make(kind)
    name, _ = next(iter(KINDS[kind].items()))
    for changes, text in (
        ({name: "other"}, f"{kind}: .*other"),
        ({"dtype": "int8"}, f"{kind}: dtype is 'int8'"),
        ({"seed": -1}, f"{kind}: seed is -1"),
    ):
        with pytest.raises(ValueError, match=text):
            make(kind, **changes)
    with pytest.raises(ValueError, match=f"{kind}: state_dim is 0: give a positive integer"):
        getattr(fg.nn, kind)(3, 0)
    with pytest.raises(ValueError, match=f"{kind}.backward: there is no h"):
        layer.backward(np.zeros(4))
    with pytest.raises(ValueError, match=f"{kind.lower()}_forward: wx has shape"):
        layer.forward(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=f"{kind.lower()}_forward: h0 has shape"):
        layer.forward(np.zeros((2, 3)), np.zeros(3))
    for _ in range(2):
        h = layer.forward(np.zeros((2, 3)))
    layer.backward(h)
    with pytest.raises(ValueError, match="forward has been called more than once"):
        layer.backward(h)
