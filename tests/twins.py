"""The twins: the NumPy reference and the loops, and what the tests of both share.

They share no formula and no sum, so that their agreement means something.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Array, rng_of, turn
from tolerances import FLOAT32_RTOL, GRADIENT_RTOL

import fastgrad.loops
import fastgrad.reference
from fastgrad.kernels.units import KEEP_SLOPE
from fastgrad.reference import activations, losses

IMPLS = [fastgrad.reference, fastgrad.loops]
NAMES = sorted(activations.ACTIVATIONS)
ELEMENTWISE = [name for name in NAMES if name != "softmax"]
FROM_OUTPUT = [name for name in NAMES if name not in KEEP_SLOPE]
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


# -- networks: data are made in rows, and transposed for columns ----------------------------------

NETWORK_RTOL = {"float32": FLOAT32_RTOL, "float64": GRADIENT_RTOL}

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_decay": ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum_decay": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov_decay": (
        "SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3},
    ),
    "adam": ("Adam", {}),
    "adam_all": ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    "adam_no_memory": ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    "adamw": ("AdamW", {}),
    "adamw_all": ("AdamW", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    "adamw_no_decay": ("AdamW", {"lr": 0.1, "weight_decay": 0.0}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.1, "alpha": 0.8, "momentum": 0.9}),
    "rmsprop_all": (
        "RMSprop",
        {"lr": 0.1, "eps": 1e-2, "momentum": 0.5, "centered": True, "weight_decay": 0.3},
    ),
    "rmsprop_centered": ("RMSprop", {"lr": 0.1, "alpha": 0.5, "eps": 1e-2, "centered": True}),
    "adagrad": ("Adagrad", {}),
    "adagrad_all": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.3, "initial_accumulator_value": 0.1,
         "eps": 1e-4},
    ),
}  # fmt: skip
optimizers = pytest.mark.parametrize("case", list(OPTIMIZERS))


def make(impl: ModuleType, **changes: Any) -> Any:
    """Return a network of three inputs, two outputs and eight parameters, with changes."""
    settings: dict[str, Any] = {"sizes": (3, 2), "activations": (None,), "loss": "mse"}
    return impl.MLP(**{**settings, "dtype": "float64", **changes})


def targets(loss: str, n: int, k: int) -> list[Array | None]:
    """Return targets for `loss` in row layout; softmax cross-entropy takes two kinds."""
    rng = rng_of("target", loss, n, k)
    if loss in ONE_ARRAY:
        return [None]
    if losses.LOSSES[loss].rowwise:
        weights = rng.random((n, k))
        return [rng.integers(0, k, n), weights / weights.sum(1, keepdims=True)]
    if loss == "binary_cross_entropy_with_logits":
        return [rng.random((n, k))]
    return [rng.standard_normal((n, k))]


def inputs(n: int, d: int) -> Array:
    return rng_of("x", n, d).standard_normal((n, d))


def parameters(net: Any) -> Array:
    """Return parameters with biases that are not zero."""
    return 0.7 * rng_of("params", net.size).standard_normal(net.size)


def transposed(target: Array | None, samples: str) -> Array | None:
    return None if target is None else turn(target, samples)


def assert_near(got: Any, expected: Any, rtol: float) -> None:
    """Compare, relative to the largest entry: small ones are differences of large ones."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    error, size = np.abs(got - expected).max(), np.abs(expected).max()
    assert error <= rtol * size, f"error {error / size:.2e} of the largest, {rtol:.0e} allowed"
