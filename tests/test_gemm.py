"""Matrix products through the dense layer: exact on integers, in the rounding bound, near NumPy's.

Shapes are named by what they sit on the edge of, see ``layers.py``. Tolerances and their
derivations are in ``tolerances.py``.
"""

from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, shape_of, turn
from layers import ALL, bias_form, dashed
from tolerances import RMS_MANY_BLOCKS, RMS_RATIO, RMS_UNEVEN, U, gamma

import fastgrad as fg
from fastgrad.kernels.toolchain.target import BATCH_BLOCK, PRODUCTS
from fastgrad.kernels.toolchain.target import tile as tile_for

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)

# -- integers are exact ------------------------------------------------------------------------

EDGES = [
    " x ".join(sizes)
    for sizes in itertools.product(
        ("0", "1", "MR-1", "MR", "MR+1", "2MR+1"),
        ("0", "1", "3", "4", "5", "NR+1"),
        ("0", "1", "NR-1", "NR", "NR+1", "2NR+1"),
    )
]
BLOCKS = [
    "1 x KC-1 x NR+1",
    "MR+1 x KC x NR",
    "MR+1 x KC+1 x NR-1",
    "2MR+1 x 2KC+1 x 3",
    "MC-1 x 7 x NR+1",
    "MC x KC x 2NR",
    "MC+1 x KC+1 x NR+1",
    "BB-1 x 5 x 3",
    "BB x 5 x 3",
    "BB+1 x 5 x NR+1",
    "2BB+1 x NR+1 x 2",
    "1000 x 3 x 1",
    "MR+1 x KC+1 x 8NR-1",  # from 8 NR columns on, A is packed where its steps are wide
    "MR-1 x KC+1 x 8NR",
    "2MR+1 x 2KC+1 x 8NR+3",
    "BB+1 x 8NR+3 x KC+1",
    "MC+1 x 2 x 520",
    "3 x 520 x 2NR+1",
    "1 x 1 x 1000",
    "1 x 1000 x 1",
    "1 x 4BB+3 x 100",  # one row: several blocks of products side by side
    "1 x 2BB x 3NR",
    "1 x 5 x 4099",  # more columns than are summed at a time
    "2MR+1 x 1 x 16NR+5",  # outer products
    "1 x 1 x 4099",
    "2NR+7 x 2BB+5 x 2",  # groups of rows, and the rows left over
    "NR-1 x BB+9 x 1",
    "BB+5 x 3BB+17 x 1",  # a single output
    "3 x 20000 x 1",
    "4BB+1 x 70 x 1",
]
SHAPES = 300  # random ones, besides EDGES and BLOCKS


@layouts
@dtypes
@pytest.mark.parametrize("spec", EDGES + BLOCKS, ids=dashed)
def test_integers_are_exact(spec: str, dtype: str, samples: str) -> None:
    """Sums of products of small integers are exact in any order, so nothing may differ."""
    n, d, k = shape_of(spec, dtype)
    rng = rng_of(spec)
    x, w, b, g = (rng.integers(-4, 5, s) for s in ((n, d), (d, k), (k,), (n, k)))
    exact = {"x": g @ w.T, "w": x.T @ g, "b": g.sum(axis=0), "z": g}
    x_, w_, g_ = (turn(a, samples).astype(dtype) for a in (x, w, g))
    b_ = b.astype(dtype)

    np.testing.assert_array_equal(fg.dense(x_, w_, samples=samples), turn(x @ w, samples))
    y, cache = fg.dense_forward(x_, w_, bias_form(b_, samples), samples=samples)
    np.testing.assert_array_equal(y, turn(x @ w + b, samples))
    assert y.dtype == dtype
    grads = fg.dense_backward(g_, cache, need=ALL)
    before = {"x": x, "w": w, "b": b, "z": g}
    outs = {
        name: turn(a, samples).astype(dtype) if name != "b" else bias_form(b_, samples).copy()
        for name, a in before.items()
    }
    added = fg.dense_backward(g_, cache, need=ALL, out=outs, accumulate=True)
    for name, truth in exact.items():
        got, total = getattr(grads, name), getattr(added, name)
        truth_ = bias_form(truth, samples) if name == "b" else turn(truth, samples)
        before_ = bias_form(b, samples) if name == "b" else turn(before[name], samples)
        np.testing.assert_array_equal(got, truth_, err_msg=f"grad_{name}")
        np.testing.assert_array_equal(total, before_ + truth_, err_msg=f"accumulated {name}")
        assert got.dtype == dtype
        assert total is outs[name]


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


@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_x_larger_than_l2_with_few_outputs_is_exact(dtype: str, samples: str) -> None:
    """In columns its lines are packed for y, and parts of it that L2 holds for grad_w.

    In rows it is for grad_w what in columns it is for y.
    """
    tile = tile_for(dtype)
    n = 1024 // tile.itemsize + 2 * tile.mr + 5
    d, k = 2 * 1024 * 1024 // tile.itemsize // n + PRODUCTS, tile.nr + 3
    if samples == "rows":
        n, d = d, n
    rng = rng_of("large x", n, k)
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


# -- random data stays inside the bound --------------------------------------------------------

BOUNDED = [
    "1 x 1 x 1",
    "2 x 3 x 4",
    "MR+1 x 17 x NR+1",
    "3 x KC+1 x 5",
    "MC+1 x KC+1 x NR+1",
    "2MR+1 x 2KC+1 x 8NR+3",
    "BB+1 x 9 x NR-1",
    "2BB+3 x 2 x 3",
]


@functools.cache
def bounded_case(spec: str, dtype: str) -> SimpleNamespace:
    """Return data whose magnitudes span 2**20, exact products and their rounding bounds."""
    n, d, k = shape_of(spec, dtype)
    rng = rng_of(spec, "bounded")
    x, w, b, g = (
        (rng.choice([-1.0, 1.0], s) * np.exp2(rng.uniform(-10, 10, s))).astype(dtype)
        for s in ((n, d), (d, k), (k,), (n, k))
    )
    long = np.longdouble
    xl, wl, bl, gl = (a.astype(long) for a in (x, w, b, g))
    u = U[dtype]
    spare = float(np.finfo(long).eps) / 2  # of the oracle's own sums
    # Over the batch: chains of at most BATCH_BLOCK products, whose ends are added up.
    over_batch = min(n, BATCH_BLOCK) + -(-n // BATCH_BLOCK)
    exact = {"y": xl @ wl + bl, "x": gl @ wl.T, "w": xl.T @ gl, "b": gl.sum(axis=0), "z": gl}
    sizes = {
        "y": (abs(xl) @ abs(wl) + abs(bl), d + 1, d),
        "x": (abs(gl) @ abs(wl.T), k, k),
        "w": (abs(xl.T) @ abs(gl), over_batch, n),
        "b": (abs(gl).sum(axis=0), over_batch, n),
        "z": (abs(gl), 0, 0),
    }
    bounds = {
        name: (gamma(ours, u) + gamma(terms + 1, spare)) * size
        for name, (size, ours, terms) in sizes.items()
    }
    return SimpleNamespace(x=x, w=w, b=b, g=g, exact=exact, bounds=bounds)


@functools.cache
def bounded_run(spec: str, dtype: str, samples: str) -> dict[str, Array]:
    """Return what fastgrad makes of it, in row layout."""
    case = bounded_case(spec, dtype)
    x, w, g = (turn(a, samples) for a in (case.x, case.w, case.g))
    y, cache = fg.dense_forward(x, w, case.b, samples=samples)
    grads = fg.dense_backward(g, cache, need=ALL)._asdict()
    return {name: turn(a, samples) if a.ndim == 2 else a for name, a in {"y": y, **grads}.items()}


@pytest.mark.parametrize("what", ["y", *ALL])
@layouts
@dtypes
@pytest.mark.parametrize("spec", BOUNDED, ids=dashed)
def test_products_are_inside_the_rounding_bound(
    spec: str, dtype: str, samples: str, what: str
) -> None:
    case, got = bounded_case(spec, dtype), bounded_run(spec, dtype, samples)[what]
    error = abs(got.astype(np.longdouble) - case.exact[what])
    assert (error <= case.bounds[what]).all(), f"{(error / case.bounds[what]).max():.3f} x bound"


# -- the error is that of NumPy's product -----------------------------------------------------


def rms(got: Array, exact: Array) -> float:
    return float(np.sqrt(np.mean((got - exact) ** 2)))


@pytest.mark.parametrize("draw", ["standard_normal", "uniform"])
@pytest.mark.parametrize("d", [8, 64, 256, 257, 400, 784, 1024, 5000, 20000])
@dtypes
def test_rms_error_is_that_of_numpy(dtype: str, d: int, draw: str) -> None:
    """y, grad_x (contracted over outputs) and grad_w (over the batch), at every length."""
    ratio = RMS_RATIO
    if PRODUCTS < d < 2 * PRODUCTS:
        ratio *= RMS_UNEVEN
    if d > 32 * PRODUCTS and draw == "uniform":
        ratio *= RMS_MANY_BLOCKS
    rng = rng_of("rms", d)
    wide = np.float64 if dtype == "float32" else np.longdouble
    small = getattr(rng, draw)(size=(48, d)).astype(dtype)
    long = getattr(rng, draw)(size=(d, 48)).astype(dtype)
    exact = small.astype(wide) @ long.astype(wide)
    numpy = rms(small @ long, exact)
    assert rms(fg.dense(small, long), exact) <= ratio * numpy
    _, cache = fg.dense_forward(np.zeros((48, 48), dtype), np.ascontiguousarray(long.T))
    assert rms(fg.dense_backward(small, cache, need="x").x, exact) <= ratio * numpy
    _, cache = fg.dense_forward(np.ascontiguousarray(small.T), np.zeros((48, 48), dtype))
    grad_w = fg.dense_backward(long, cache, need="w").w
    assert rms(grad_w, exact) <= ratio * numpy


@pytest.mark.parametrize("draw", ["standard_normal", "uniform"])
@pytest.mark.parametrize("d", [256, 784, 5000])
@dtypes
def test_rms_error_of_a_single_output_is_that_of_numpy(dtype: str, d: int, draw: str) -> None:
    """Sixteen chains a block; longer sums of positive products: see docs/accuracy.md."""
    rng = rng_of("rms of one", d)
    wide = np.float64 if dtype == "float32" else np.longdouble
    x = getattr(rng, draw)(size=(600, d)).astype(dtype)
    w = getattr(rng, draw)(size=(d, 1)).astype(dtype)
    exact = x.astype(wide) @ w.astype(wide)
    assert rms(fg.dense(x, w), exact) <= RMS_RATIO * rms(x @ w, exact)
