"""Matrix products through the dense layer: exact on integers, and as accurate as NumPy's.

The componentwise bound ``gamma_k |x| |w|`` is held in `test_dense.py`, next to the other layers.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, turn
from test_dense import BLOCKS, EDGES
from tolerances import BATCH_RMS_RATIO, RMS_LENGTH, RMS_RATIO

import fastgrad as fg
from fastgrad.kernels.target import BATCH_BLOCK
from fastgrad.kernels.target import tile as tile_for

dtypes = pytest.mark.parametrize("dtype", DTYPES)
SHAPES = 300  # random ones, besides EDGES and BLOCKS


@pytest.mark.parametrize("part", range(10))
@dtypes
def test_integers_are_exact_on_random_shapes(dtype: str, part: int) -> None:
    """y and all gradients; sizes of every order up to 700, strides of every kind."""
    rng = rng_of("random shapes", part)
    for i in range(SHAPES // 10):
        n, d, k = (int(2 ** rng.uniform(0, high)) for high in rng.permutation([9.5, 7, 5]))
        samples = LAYOUTS[i % 2]
        x, w, b, g = (rng.integers(-4, 5, s) for s in ((n, d), (d, k), (k,), (n, k)))
        x_, w_, g_ = (turn(a, samples).astype(dtype, order="CF"[i % 3 == 0]) for a in (x, w, g))
        y, cache = fg.dense_forward(x_, w_, b.astype(dtype), samples=samples)
        grads = fg.dense_backward(g_, cache)
        np.testing.assert_array_equal(y, turn(x @ w + b, samples))
        np.testing.assert_array_equal(grads.x, turn(g @ w.T, samples))
        np.testing.assert_array_equal(grads.w, turn(x.T @ g, samples))
        np.testing.assert_array_equal(grads.b, g.sum(axis=0))


@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_weights_larger_than_l2_are_exact(dtype: str, samples: str) -> None:
    """From 2 MiB on what is packed is packed by itself: w, w.T, and grad_z for grad_w.

    And the rows of x lie 4 KiB apart, which wide tiles have packed.
    """
    tile = tile_for(dtype)
    d, most = 4096 // tile.itemsize, 2 * 1024 * 1024 // tile.itemsize
    for n, k in (
        (2 * tile.mr + 5, most // d + tile.nr + 3),
        (BATCH_BLOCK, most // BATCH_BLOCK + 5),
    ):
        rng = rng_of("large weights", n, k)
        x, w, g = (rng.integers(-4, 5, s) for s in ((n, d), (d, k), (n, k)))
        x_, w_, g_ = (turn(a, samples).astype(dtype) for a in (x, w, g))
        y, cache = fg.dense_forward(x_, w_, samples=samples)
        grads = fg.dense_backward(g_, cache)
        wide = np.float64  # exact, and a BLAS makes it quick
        np.testing.assert_array_equal(y, turn(x.astype(wide) @ w, samples))
        np.testing.assert_array_equal(grads.x, turn(g.astype(wide) @ w.T, samples))
        np.testing.assert_array_equal(grads.w, turn(x.T.astype(wide) @ g, samples))


def test_enough_shapes_are_tried() -> None:
    assert len(set(EDGES + BLOCKS)) + SHAPES >= 500


def rms(got: Array, exact: Array) -> float:
    return float(np.sqrt(np.mean((got - exact) ** 2)))


@pytest.mark.parametrize("d", [8, 64, 256, 257, 400, 784, 1024, 4096])
@dtypes
def test_rms_error_is_that_of_numpy(dtype: str, d: int) -> None:
    """y, grad_x (contracted over outputs) and grad_w (over the batch) of normal data.

    Longer sums over features than RMS_LENGTH are one chain from end to end, and a BLAS's are not:
    their error may grow as the square root of the length, not more.
    """
    ratio = RMS_RATIO * (1 if d <= RMS_LENGTH else (2 * d / RMS_LENGTH) ** 0.5)
    rng = rng_of("rms", d)
    wide = np.float64 if dtype == "float32" else np.longdouble
    small = rng.standard_normal((48, d)).astype(dtype)
    long = rng.standard_normal((d, 48)).astype(dtype)
    exact = small.astype(wide) @ long.astype(wide)
    numpy = rms(small @ long, exact)
    assert rms(fg.dense(small, long), exact) <= ratio * numpy
    _, cache = fg.dense_forward(np.zeros((48, 48), dtype), np.ascontiguousarray(long.T))
    assert rms(fg.dense_backward(small, cache, need="x").x, exact) <= ratio * numpy
    _, cache = fg.dense_forward(np.ascontiguousarray(small.T), np.zeros((48, 48), dtype))
    grad_w = fg.dense_backward(long, cache, need="w").w
    assert rms(grad_w, exact) <= BATCH_RMS_RATIO * numpy
