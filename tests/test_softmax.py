"""softmax: values and gradients against mpmath, along any axis, for logits of every magnitude."""

from __future__ import annotations

import functools
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, Array, rng_of, same_bits
from tolerances import SOFTMAX_EPS
from truth import two_words

import fastgrad as fg

dtypes = pytest.mark.parametrize("dtype", DTYPES)


@functools.cache
def exact_softmax(n: int, dtype: str) -> tuple[Array, list[Any]]:
    z = (4 * rng_of("softmax", n).standard_normal(n)).astype(dtype)
    with mp.workdps(40):
        e = [mp.exp(mp.mpf(v)) for v in z.tolist()]
        total = mp.fsum(e)
        return z, [v / total for v in e]


@dtypes
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 33, 257, 1000])
def test_softmax_is_true(n: int, dtype: str) -> None:
    z, exact = exact_softmax(n, dtype)
    high, rest = two_words(exact)
    y = fg.softmax(z).astype(np.float64)
    assert (abs((y - high) - rest) <= SOFTMAX_EPS * np.finfo(dtype).eps * high).all()


@dtypes
@pytest.mark.parametrize("n", [2, 17, 257])
def test_softmax_backward_is_true(n: int, dtype: str) -> None:
    """The products of grad_y with the explicit Jacobian diag(y) - y y^T."""
    z, exact = exact_softmax(n, dtype)
    y = np.array([float(v) for v in exact])
    g = rng_of("softmax g", n).standard_normal(n).astype(dtype)
    wide = g.astype(np.float64)
    expected = (np.diag(y) - np.outer(y, y)) @ wide
    bound = 3 * SOFTMAX_EPS * np.finfo(dtype).eps * y * (abs(wide) + abs(wide) @ y)
    assert (abs(fg.softmax.backward(g, z) - expected) <= bound).all()
    assert (abs(fg.softmax.backward_from_output(g, fg.softmax(z)) - expected) <= bound).all()


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
@dtypes
def test_softmax_along_any_axis(dtype: str, axis: int) -> None:
    rng = rng_of("axis")
    z, g = (rng.standard_normal((3, 5, 4)).astype(dtype) for _ in range(2))
    y = fg.softmax(z, axis=axis)
    front = np.moveaxis(z, axis, -1)
    by_rows = np.array([fg.softmax(row) for row in front.reshape(-1, front.shape[-1])])
    assert same_bits(np.moveaxis(y, axis, -1), by_rows.reshape(front.shape))
    back = fg.softmax.backward(np.moveaxis(g, axis, -1), front)
    assert same_bits(fg.softmax.backward(g, z, axis=axis), np.moveaxis(back, -1, axis))
    again = fg.softmax.backward_from_output(g, y, axis=axis)
    assert same_bits(again, np.moveaxis(back, -1, axis))


@dtypes
def test_softmax_of_extreme_rows(dtype: str) -> None:
    inf, nan, big = np.inf, np.nan, np.finfo(dtype).max
    z = np.array(
        [[big, big, -big], [-big, -big, -big], [-inf, 0, 0], [-inf, -inf, 5], [1e4, 0, -1e4]], dtype
    )
    third = (dtype == "float32" and np.float32(1) / 3) or 1 / 3
    expected = [[0.5, 0.5, 0], [third] * 3, [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_allclose(fg.softmax(z), expected, rtol=2 * np.finfo(dtype).eps)
    bad = np.array([[nan, 0, 0], [inf, 0, 0], [-inf, -inf, -inf], [0, -inf, nan]], dtype)
    assert np.isnan(fg.softmax(bad)).all()
    long = np.full((1, 600), -inf, dtype)
    long[0, 577] = 3
    assert fg.softmax(long)[0, 577] == 1


def every_magnitude(m: int, n: int, dtype: str) -> Array:
    """Return rows of logits from 2**-8 to the largest numbers, of either sign."""
    rng = rng_of("magnitudes", n)
    size = rng.uniform(-8, np.finfo(dtype).maxexp - 1, (m, n))
    return (rng.choice([-1, 1], (m, n)) * 2.0**size).astype(dtype)


@dtypes
@pytest.mark.parametrize("n", [2, 5, 17, 300])
def test_softmax_of_logits_of_every_magnitude(n: int, dtype: str) -> None:
    """The rounding error of z - max, beside a large z large itself, does no harm."""
    for row in every_magnitude(600 // n, n, dtype):
        top = float(row.max())
        e = [mp.exp(v) if v > -800 else mp.mpf(0) for v in (mp.mpf(float(z)) - top for z in row)]
        true = np.array([float(v / mp.fsum(e)) for v in e])
        y = fg.softmax(row).astype(np.float64)
        info = np.finfo(dtype)
        bound = SOFTMAX_EPS * info.eps * true + info.smallest_subnormal
        assert (abs(y - true) <= bound).all(), row


def test_softmax_has_no_elementwise_derivative() -> None:
    with pytest.raises(ValueError) as error:
        fg.softmax.derivative([1.0, 2.0])
    assert str(error.value) == (
        "softmax.derivative: the derivative of softmax is a matrix per row, not an array like z: "
        "use softmax.backward(grad_y, z)"
    )
