"""Normalization, dropout and embeddings as layer objects: the functions' numbers, modes, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import rng_of, same_bits, turn

import fastgrad as fg

LAYOUTS = pytest.mark.parametrize("samples", ["rows", "columns"])


@LAYOUTS
def test_norms_are_the_functions(samples: str) -> None:
    rng = rng_of(samples)
    x, grad = (turn(rng.standard_normal((6, 3)), samples) for _ in range(2))
    for kind, layer in (
        ("layer_norm", fg.nn.LayerNorm(3, 0.5, samples)),
        ("batch_norm", fg.nn.BatchNorm(3, 0.75, 0.5, samples)),
    ):
        layer.gain[...], layer.bias[...] = rng.standard_normal((2, *layer.gain.shape))
        running: Any = np.zeros(3), np.ones(3)
        more = {"running": running, "momentum": 0.75} if kind == "batch_norm" else {}
        y, cache = getattr(fg, f"{kind}_forward")(
            x, layer.gain, layer.bias, eps=0.5, samples=samples, **more
        )
        grads = getattr(fg, f"{kind}_backward")(grad, cache)
        assert same_bits(layer.forward(x), y) and same_bits(layer.backward(grad), grads.x)
        assert same_bits(layer.grad_gain, grads.gain) and same_bits(layer.grad_bias, grads.bias)
        if kind == "batch_norm":
            averages = layer.running_mean, layer.running_variance
            for own, other in zip(averages, running, strict=True):
                assert same_bits(own.reshape(3), other)
            layer.eval()
            y, cache = fg.batch_norm_forward(
                x, layer.gain, layer.bias, running, False, eps=0.5, samples=samples
            )
            assert same_bits(layer.forward(x), y)
            assert same_bits(layer.backward(grad), fg.batch_norm_backward(grad, cache).x)
            assert same_bits(averages[0].reshape(3), running[0])


def test_a_step_of_dropout_for_each_forward() -> None:
    layer, x = fg.nn.Dropout(0.5, seed=5, layer=2), np.ones((4, 30))
    grad = rng_of("grad").standard_normal(x.shape)
    for step in range(3):
        y, cache = fg.dropout_forward(x, 0.5, 5, step, layer=2)
        assert same_bits(layer.forward(x), y) and layer.step == step + 1
        assert same_bits(layer.backward(grad), fg.dropout_backward(grad, cache))
        assert same_bits(layer.backward(grad, use_jacobian=True), layer.backward(grad))
        assert same_bits(layer.jacobian(x).reshape(120, 120), np.diag(y.reshape(-1)))
    layer.eval()
    assert same_bits(layer.forward(x), x) and layer.step == 3
    assert same_bits(layer.backward(grad), grad)
    layer.train().forward(x)
    assert layer.step == 4


@LAYOUTS
def test_the_jacobian_of_a_batch(samples: str) -> None:
    """A feature of one sample depends on that of all samples; with leading axes, too."""
    x = turn(rng_of("batch").standard_normal((4, 3)), samples)
    layer = fg.nn.BatchNorm(3, samples=samples)
    layer.gain[...] = [[2.0], [-1.0], [0.5]] if samples == "columns" else [2.0, -1.0, 0.5]
    assert abs(layer.jacobian(x) - fg.jacobian(layer.forward, x)).max() < 1e-9
    before = layer.running_mean.copy()
    layer.jacobian(x)
    assert same_bits(layer.running_mean, before)
    if samples == "rows":
        deep = x.reshape(2, 2, 3)
        assert layer.jacobian(deep).shape == (2, 2, 3, 2, 2, 3)
        assert abs(layer.jacobian(deep) - fg.jacobian(layer.forward, deep)).max() < 1e-9


def test_modes_reach_every_layer() -> None:
    inner = fg.nn.Sequential([fg.nn.Dropout(0.5), fg.nn.BatchNorm(3)])
    net = fg.nn.Sequential([fg.nn.Linear(3, 3, seed=1), inner])
    assert net.eval() is net
    assert not any(layer.training for layer in (net, inner, *inner.layers))
    x = rng_of("modes").standard_normal((5, 3))
    assert same_bits(net.forward(x), net.forward(x))
    net.train()
    assert all(layer.training for layer in (net, inner, *inner.layers))
    assert not same_bits(net.forward(x), net.forward(x))
    with pytest.raises(TypeError, match=r"Dropout.train: training is a ndarray: give True or"):
        fg.nn.Dropout(0.5).train(np.ones(2))  # type: ignore[arg-type]


def test_training_with_all_of_them() -> None:
    """Words, averaged, are told apart; evaluation is without chance."""
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 20, (64, 4))
    target = (ids < 10).mean(1, keepdims=True)
    words = fg.nn.Embedding(20, 8, seed=1)
    net = fg.nn.Sequential(
        [
            fg.nn.BatchNorm(8), fg.nn.Dropout(0.1, seed=4), fg.nn.Dense(8, 16, "tanh", seed=2),
            fg.nn.LayerNorm(16), fg.nn.Linear(16, 1, seed=3),
        ]
    )  # fmt: skip
    opt, loss = fg.Adam(0.03), fg.nn.MSE(target)

    def value() -> float:
        return float(loss.forward(net.eval().forward(words.forward(ids).mean(1))))

    before = value()
    for _ in range(60):
        net.train()
        loss.forward(net.forward(words.forward(ids).mean(1)))
        grad = net.backward(loss.backward())
        words.backward(np.repeat(grad[:, None] / 4, 4, axis=1))
        norm, _, dense, second, linear = net.layers
        params = [words.table, norm.gain, norm.bias, dense.w, dense.b, second.gain, linear.w]
        grads = [words.grad_table, norm.grad_gain, norm.grad_bias, dense.grad_w, dense.grad_b,
                 second.grad_gain, linear.grad_w]  # fmt: skip
        opt.step(params, grads)
        assert fg.nn.Sequential([net]).layers == [net]
    assert value() < before / 5 and value() == value()


def test_an_embedding() -> None:
    layer = fg.nn.Embedding(7, 3, dtype="float32", seed=1)
    drawn = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
    assert same_bits(layer.table, drawn) and repr(layer) == "Embedding(7, 3, dtype='float32')"
    ids, grad = np.array([[1, 6], [1, 0]]), np.ones((2, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"Embedding.backward: there is no y to go back from"):
        layer.backward(grad)
    assert same_bits(layer.forward(ids), drawn[ids])
    layer.backward(grad)
    assert layer.grad_table is not None
    assert layer.grad_table.sum(1).tolist() == [3, 6, 0, 0, 0, 0, 3]
    layer.forward(ids)
    layer.forward(ids)
    layer.backward(grad)
    with pytest.raises(ValueError, match=r"forward has been called more than once"):
        layer.backward(grad)
    for one in (copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(ValueError, match=r"there is no y to go back from"):
            one.backward(grad)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: fg.nn.LayerNorm(0), "LayerNorm: input_dim is 0: give a positive integer"),
        (lambda: fg.nn.LayerNorm(3, -1.0), "LayerNorm: eps is -1.0"),
        (lambda: fg.nn.LayerNorm(3, samples="row"), "LayerNorm: samples is 'row'"),
        (lambda: fg.nn.BatchNorm(3, 2.0), "BatchNorm: momentum is 2.0: it goes from 0 to 1"),
        (lambda: fg.nn.BatchNorm(3, dtype="int8"), "BatchNorm: dtype is 'int8'"),
        (lambda: fg.nn.Dropout(2.0), "Dropout: rate is 2.0: it is a probability, from 0 to 1"),
        (lambda: fg.nn.Dropout(0.5, seed=-1), "Dropout: seed is -1: it goes from 0 to 2**64 - 1"),
        (lambda: fg.nn.Embedding(3, 0), "Embedding: output_dim is 0: give a positive integer"),
        (lambda: fg.nn.Embedding(3, 1, seed=-1), "Embedding: seed is -1: give an integer >= 0"),
        (lambda: fg.nn.LayerNorm(3).forward(np.ones(4)), "LayerNorm.forward: x has shape (1, 4)"),
    ],
)
def test_what_is_refused(make: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        make()
    assert text in str(raised.value)


def test_representations() -> None:
    for text in ("LayerNorm(3)", "BatchNorm(3, dtype='float32')", "Dropout(0.5, seed=0)",
                 "Dropout(0.5, seed=1, layer=2, samples='columns')"):  # fmt: skip
        assert repr(eval(text, vars(fg.nn))) == text
