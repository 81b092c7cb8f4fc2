"""Fused dense-layer kernels with hand-written gradients, for NumPy arrays on the CPU."""

from __future__ import annotations

import importlib
from typing import Any

from fastgrad import activations, losses
from fastgrad.activations import (
    Activation,
    define_activation,
    elu,
    exp,
    gelu,
    gelu_tanh,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from fastgrad.functional import DenseCache, DenseGrads, dense, dense_backward, dense_forward
from fastgrad.threads import get_num_threads, set_num_threads
from fastgrad.version import __version__ as __version__
from fastgrad.warning_categories import FastgradWarning, SettingsWarning, TrainingWarning

# Loaded when first used: a script that only needs layers does not pay for them.
_LATER = {
    "nn": None,
    "reference": None,
    "loops": None,
    "deriv": "differences",
    "numerical_grad": "differences",
    "jacobian": "differences",
    "check_grad": "verify",
    "GradReport": "verify",
    "MLP": "network",
    "LayerParams": "network",
    "SGD": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "EarlyStopping": "training",
    "FitResult": "training",
    "FitState": "training",
    "warmup": "running",
    "show_config": "running",
}

__all__ = [
    "Activation",
    "DenseCache",
    "DenseGrads",
    "FastgradWarning",
    "SettingsWarning",
    "TrainingWarning",
    "activations",
    "define_activation",
    "dense",
    "dense_backward",
    "dense_forward",
    "elu",
    "exp",
    "gelu",
    "gelu_tanh",
    "get_num_threads",
    "identity",
    "leaky_relu",
    "losses",
    "relu",
    "set_num_threads",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'fastgrad' has no attribute {name!r}")
    module = _LATER[name]
    loaded = importlib.import_module(f"fastgrad.{module or name}")
    value = loaded if module is None else getattr(loaded, name)
    globals()[name] = value
    return value
