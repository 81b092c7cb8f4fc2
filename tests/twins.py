"""The twins: the NumPy reference and the loops, and what the tests of both share.

They share no code, so that their agreement means something.
"""

import numpy as np
import pytest

import fastgrad.loops
import fastgrad.reference
from fastgrad.reference import activations

IMPLS = [fastgrad.reference, fastgrad.loops]
NAMES = sorted(activations.ACTIVATIONS)
ELEMENTWISE = [name for name in NAMES if name != "softmax"]
FROM_OUTPUT = [name for name in NAMES if name not in ("gelu", "gelu_tanh", "silu")]
ONE_ARRAY = ("sum", "squared_l2")
DTYPES = ["float16", "float32", "float64"]  # their functions compute in float16, too
# Results of one dtype differ by rounding, by a few eps each way, and near 0 by a few eps absolute.
RTOL = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-12}
ATOL = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}

impls = pytest.mark.parametrize("impl", IMPLS, ids=lambda m: m.__name__.rsplit(".", 1)[-1])
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", ["rows", "columns"])


def assert_close(got, expected, dtype):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=RTOL[dtype], atol=ATOL[dtype])


def random(shape, dtype="float64", seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal(shape)).astype(dtype)
