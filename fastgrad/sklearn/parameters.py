"""The estimators' parameters: what each may be, and errors in scikit-learn's words."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["check_parameters", "check_sample_weight", "hidden_widths"]


def _real(
    low: float, high: float = math.inf, closed: str = "both"
) -> tuple[str, Callable[..., bool]]:
    left, right = "[("[closed in ("right", "neither")], "])"[closed in ("left", "neither")]

    def fits(value: Any) -> bool:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            return False
        number = float(value)
        above = number >= low if left == "[" else number > low
        return above and (number <= high if right == "]" else number < high)

    return f"a float in the range {left}{low}, {high}{right}", fits


def _integer(low: int) -> tuple[str, Callable[..., bool]]:
    def fits(value: Any) -> bool:
        return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low

    return f"an int in the range [{low}, inf)", fits


def _one_of(*names: str) -> tuple[str, Callable[..., bool]]:
    return f"a str among {set(names)}", lambda value: isinstance(value, str) and value in names


_BOOLEAN = "an instance of 'bool'", lambda value: isinstance(value, bool | np.bool_)
_MAY_BE: dict[str, list[tuple[str, Callable[..., bool]]]] = {
    "activation": [_one_of("identity", "logistic", "relu", "tanh")],
    "solver": [_one_of("adam", "lbfgs", "sgd")],
    "loss": [_one_of("poisson", "squared_error")],
    "alpha": [_real(0, closed="left")],
    "batch_size": [_one_of("auto"), _integer(1)],
    "learning_rate": [_one_of("adaptive", "constant", "invscaling")],
    "learning_rate_init": [_real(0, closed="neither")],
    "power_t": [_real(0, closed="left")],
    "max_iter": [_integer(1)],
    "shuffle": [_BOOLEAN],
    "tol": [_real(0, closed="left")],
    "verbose": [_integer(0), _BOOLEAN],
    "warm_start": [_BOOLEAN],
    "momentum": [_real(0, 1)],
    "nesterovs_momentum": [_BOOLEAN],
    "early_stopping": [_BOOLEAN],
    "validation_fraction": [_real(0, 1, "left")],
    "beta_1": [_real(0, 1, "left")],
    "beta_2": [_real(0, 1, "left")],
    "epsilon": [_real(0, closed="neither")],
    "n_iter_no_change": [_integer(1), ("inf", lambda value: value == math.inf)],
    "max_fun": [_integer(1)],
}


def check_parameters(estimator: Any) -> None:
    """Raise for the first parameter that is not what it may be."""
    for name, value in estimator.get_params(deep=False).items():
        kinds = _MAY_BE.get(name)
        if kinds is not None and not any(fits(value) for _, fits in kinds):
            rule = " or ".join(text for text, _ in kinds)
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be {rule}. Got "
                f"{value!r} instead."
            )


def hidden_widths(estimator: Any) -> list[int]:
    """Return the hidden layers' widths as a list; a number is one layer."""
    given = estimator.hidden_layer_sizes
    widths = list(given) if hasattr(given, "__iter__") else [given]
    if any(not isinstance(width, Integral) for width in widths):
        raise ValueError(f"hidden_layer_sizes must be integers, got {widths}.")
    if any(width <= 0 for width in widths):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return [int(width) for width in widths]


def check_sample_weight(sample_weight: Any, n: int, dtype: Any) -> Any:
    """Return weights of the samples, of float32 if `dtype` is; a number stands for all."""
    from sklearn.utils import check_array

    if isinstance(sample_weight, Real):
        return np.full(n, sample_weight, dtype)
    weights = check_array(
        sample_weight,
        accept_sparse=False,
        ensure_2d=False,
        dtype=[np.float64, np.float32],
        input_name="sample_weight",
    )
    if weights.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights
