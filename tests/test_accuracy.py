"""The accuracy of every activation, in bulk: a stratified million of float32, millions of float64.

The oracle is a wider format (`wide.py`), which mpmath checks at the points where an activation errs
most. Figures: `python -m tests.accuracy`; every float32 there is: `pytest -m exhaustive`.
"""

from __future__ import annotations

import accuracy
import numpy as np
import pytest
import wide
from conftest import DTYPES, rng_of
from truth import ELEMENTWISE, TABLE

MILLION = 1 << 20

pytestmark = pytest.mark.skipif(not wide.SUITABLE, reason="long double is no wider than float64")
names = pytest.mark.parametrize("name", ELEMENTWISE)


def check(name: str, dtype: str, measured: accuracy.Measured) -> None:
    """Within the row's ULP, and no special value wrong: NaN, inf, signed zero, subnormal."""
    limit = TABLE[name].ulp[DTYPES.index(dtype)]
    assert measured.mismatches == 0, measured
    assert measured.worst <= limit + accuracy.ORACLE, measured


@names
def test_a_stratified_million_of_float32(name: str) -> None:
    """One from every 4096 neighbours, so of every binade, of subnormals and of NaNs."""
    words = np.arange(MILLION, dtype=np.uint32) << np.uint32(12)
    words |= rng_of("million").integers(0, 4096, MILLION, np.uint32)
    check(name, "float32", accuracy.measure(name, words.view(np.float32)))


@names
def test_float64_in_bulk(name: str) -> None:
    check(name, "float64", accuracy.measure(name, accuracy.log_uniform(100_000, "bulk")))


@names
@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_points_against_mpmath(name: str, dtype: str) -> None:
    """The points of a bulk sample where the error is largest: true bounds, true oracle."""
    z = accuracy.log_uniform(20_000, "hard")
    z = z[abs(z) < 1e30].astype(dtype)
    for hard in accuracy.hard_points(name, z, 100):
        assert hard.error <= TABLE[name].ulp[DTYPES.index(dtype)], hard
        assert abs(hard.error - hard.by_oracle) <= accuracy.ORACLE, hard


@pytest.mark.exhaustive
@names
def test_every_float32(name: str) -> None:
    check(name, "float32", accuracy.every_float32(name))


@pytest.mark.exhaustive
@names
def test_ten_million_of_float64(name: str) -> None:
    """And the thousand worst of them against mpmath."""
    measured = accuracy.many_float64(name)
    check(name, "float64", measured)
    for hard in accuracy.hard_points(name, measured.points, 1000):
        assert hard.error <= TABLE[name].ulp[1], hard
        assert abs(hard.error - hard.by_oracle) <= accuracy.ORACLE, hard
