"""The order of every sum of products, against rational numbers that are rounded where it says.

A sum of products is one chain of fused multiply-adds per PRODUCTS of them, each from zero, the
blocks added up in order. A layer of a single output has CHAINS chains a block, added in pairs.
Whatever way a call goes (tile, thin product, row by row, in pieces), these are its bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn

import fastgrad as fg
from fastgrad.kernels.product.dot import CHAINS
from fastgrad.kernels.toolchain.target import BATCH_BLOCK, PRODUCTS

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
BITS = {"float32": 24, "float64": 53}


def test_the_definition_is_the_one_promised() -> None:
    assert (PRODUCTS, BATCH_BLOCK, CHAINS) == (256, 256, 16)


def rounded(exact: Fraction, dtype: str) -> Any:
    """Return the nearest number of a dtype, far from its limits."""
    nearest = mpmath.fdiv(exact.numerator, exact.denominator, prec=BITS[dtype])
    return np.dtype(dtype).type(float(nearest))


def chain(a: Array, b: Array, dtype: str) -> Any:
    """Return the sum of some products, each rounded once as it is added."""
    total = np.dtype(dtype).type(0)
    for x, y in zip(a, b, strict=True):
        total = rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(total)), dtype)
    return total


def blocks(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    for start in range(0, max(len(a), 1), PRODUCTS):
        yield a[start : start + PRODUCTS], b[start : start + PRODUCTS]


def in_order(sums: list[Any]) -> Any:
    total, *others = sums
    for value in others:
        total = total + value
    return total


def sum_of_products(a: Array, b: Array, dtype: str) -> Any:
    return in_order([chain(x, y, dtype) for x, y in blocks(a, b)])


def single_sum(a: Array, b: Array, dtype: str) -> Any:
    """Return the sum as a layer of a single output has it."""
    sums = []
    for x, y in blocks(a, b):
        parts = [chain(x[i::CHAINS], y[i::CHAINS], dtype) for i in range(CHAINS)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [parts[i] + parts[i + half] for i in range(half)]
        sums.append(parts[0])
    return in_order(sums)


def layer(n: int, d: int, k: int, dtype: str) -> tuple[Array, Array, Array, Array]:
    rng = rng_of("sums", n, d, k)
    shapes = ((n, d), (d, k), (k,), (n, k))
    x, w, b, g = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return x, w, b, g


def corners(*sizes: int) -> set[tuple[int, ...]]:
    """Return a few places in an array."""
    return {tuple(0 for _ in sizes), tuple(s - 1 for s in sizes), tuple(s // 2 for s in sizes)}


@layouts
@dtypes
@pytest.mark.parametrize(
    "n, d, k",
    [(1, 700, 5), (40, 513, 3), (40, 513, 2), (13, 1300, 40), (35, 257, 9), (3, 600, 300),
     (1, 1100, 60), (1, 520, 700), (5, 1, 600), (30, 256, 31)],
)  # fmt: skip
def test_order_of_sums(n: int, d: int, k: int, dtype: str, samples: str) -> None:
    """y over features, grad_x over outputs, grad_w over the batch."""
    x, w, b, g = layer(n, d, k, dtype)
    x_, w_, g_ = (turn(a, samples) for a in (x, w, g))
    y, cache = fg.dense_forward(x_, w_, b, samples=samples)
    grads = fg.dense_backward(g_, cache)
    y, grad_x, grad_w = (turn(a, samples) for a in (y, grads.x, grads.w))
    for i, j in corners(n, k):
        assert y[i, j] == sum_of_products(x[i], w[:, j], dtype) + b[j]
    for i, j in corners(n, d):
        assert grad_x[i, j] == sum_of_products(g[i], w[j], dtype)
    for i, j in corners(d, k):
        assert grad_w[i, j] == sum_of_products(x[:, i], g[:, j], dtype)


@layouts
@dtypes
@pytest.mark.parametrize("n, d, k", [(700, 40, 3), (1300, 6, 2), (600, 70, 1), (1500, 5, 1)])
def test_order_over_the_batch(n: int, d: int, k: int, dtype: str, samples: str) -> None:
    x, w, b, g = layer(n, d, k, dtype)
    x_, w_, g_ = (turn(a, samples) for a in (x, w, g))
    _, cache = fg.dense_forward(x_, w_, b, samples=samples)
    grads = fg.dense_backward(g_, cache)
    for i, j in corners(d, k):
        assert turn(grads.w, samples)[i, j] == sum_of_products(x[:, i], g[:, j], dtype)
    assert grads.b[-1] == sum_of_products(np.ones(n), g[:, -1], dtype)


SINGLE = [(1, 1), (9, 5), (33, 16), (40, 300), (1, 1000), (700, 37), (300, 515), (17, 0), (8, 17)]


@dtypes
@pytest.mark.parametrize("n, d", SINGLE)
def test_order_of_a_single_output(n: int, d: int, dtype: str) -> None:
    x, w, b, _ = layer(n, d, 1, dtype)
    y = fg.dense(x, w, b)
    for i in {0, n // 2, n - 1}:
        assert y[i, 0] == single_sum(x[i], w[:, 0], dtype) + b[0]


@dtypes
@pytest.mark.parametrize("n, d", SINGLE)
def test_all_ways_to_a_single_output(n: int, d: int, dtype: str) -> None:
    """Both layouts, any strides, sample by sample, with z kept, and in a network."""
    x, w, b, _ = layer(n, d, 1, dtype)
    wide, weights = np.zeros((2 * n, 2 * d), dtype), np.zeros((d, 3), dtype)
    wide[::2, ::2], weights[:, 1:2] = x, w
    y = fg.dense(x, w, b)
    columns = (np.ascontiguousarray(a.T) for a in (x, w))
    ways = {
        "columns": fg.dense(*columns, b, samples="columns").T,
        "sliced": fg.dense(wide[::2, ::2], weights[:, 1:2], b),
        "fortran": fg.dense(np.asfortranarray(x), w, b),
        "one by one": np.concatenate([fg.dense(row[None], w, b) for row in x]),
        "into": fg.dense(x, w, b, out=np.zeros((n, 5), dtype)[:, 2:3]),
        "kept": fg.dense_forward(x, w, b)[0],
    }
    if d:
        for samples in LAYOUTS:
            net = fg.MLP((d, 1), (None,), "mse", dtype=dtype, samples=samples)
            params = net.pack([(turn(w, samples), b)])
            ways[f"network, {samples}"] = turn(net.predict(params, turn(x, samples)), samples)
    for way, result in ways.items():
        np.testing.assert_array_equal(result, y, err_msg=way)


@dtypes
def test_one_of_several_outputs_is_no_single_one(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large layer cut so that a piece has one output has the bits of the whole."""
    from fastgrad import threads
    from fastgrad.layers import dense_large
    from fastgrad.layers.compiled_layer import LAYERS

    x, w, b, _ = layer(50, 700, 33, dtype)
    whole = fg.dense(x, w, b)
    monkeypatch.setattr(threads, "SLICE", 0)
    monkeypatch.setattr(
        dense_large, "_tiles",
        lambda rows, columns, *_, **__: [
            [(slice(0, rows), slice(i, j)) for i, j in pairwise((0, 1, 32, 33))]
        ],
    )  # fmt: skip
    in_pieces = dense_large.any_forward(LAYERS["rows"][None][x.dtype], x, w, b, None, False)
    np.testing.assert_array_equal(in_pieces, whole)


@dtypes
def test_accumulating_adds_the_whole_sum(dtype: str) -> None:
    """grad_x of more than one block of outputs: what out holds plus the sum, not in between."""
    x, w, _, g = layer(6, 5, 600, dtype)
    _, cache = fg.dense_forward(x, w)
    fresh, held = fg.dense_backward(g, cache, need="x").x, 3 * x
    out = {"x": held.copy()}
    fg.dense_backward(g, cache, need="x", out=out, accumulate=True)
    np.testing.assert_array_equal(out["x"], held + fresh)
