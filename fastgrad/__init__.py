"""Fused dense-layer kernels with hand-written gradients, for NumPy arrays on the CPU."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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
    mish,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from fastgrad.kernels.version import __version__ as __version__
from fastgrad.layers.dense import DenseCache, DenseGrads, dense, dense_backward, dense_forward
from fastgrad.losses import define_loss
from fastgrad.threads import get_num_threads, set_num_threads
from fastgrad.warning_categories import FastgradWarning, SettingsWarning, TrainingWarning

# Loaded when first used: a script that only needs layers does not pay for them.
_LATER = {
    "nn": None,
    "reference": None,
    "loops": None,
    "deriv": "gradcheck.differences",
    "numerical_grad": "gradcheck.differences",
    "jacobian": "gradcheck.differences",
    "check_grad": "gradcheck.check_grad",
    "GradReport": "gradcheck.check_grad",
    "diagnose": "diagnosis.diagnose",
    "Diagnosis": "diagnosis.report",
    "Finding": "diagnosis.report",
    "MLP": "networks.mlp",
    "LayerParams": "networks.mlp",
    "NormParams": "networks.mlp",
    "NetworkGrads": "results",
    "Tape": "networks.shared.tapes",
    "rnn_forward": "layers.recurrent",
    "rnn_backward": "layers.recurrent",
    "lstm_forward": "layers.recurrent",
    "lstm_backward": "layers.recurrent",
    "gru_forward": "layers.recurrent",
    "gru_backward": "layers.recurrent",
    "RnnGrads": "results",
    "LstmGrads": "results",
    "RecurrentCache": "layers.recurrent",
    "dropout_forward": "layers.dropout",
    "dropout_backward": "layers.dropout",
    "DropoutCache": "layers.dropout",
    "layer_norm_forward": "layers.layer_norm",
    "layer_norm_backward": "layers.layer_norm",
    "batch_norm_forward": "layers.batch_norm",
    "batch_norm_backward": "layers.batch_norm",
    "NormCache": "layers.norm_arguments",
    "NormGrads": "results",
    "embedding_forward": "layers.embedding",
    "embedding_backward": "layers.embedding",
    "EmbeddingCache": "layers.embedding",
    "EmbeddingGrads": "results",
    "EmbeddingRows": "results",
    "SGD": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "RMSprop": "optimizers",
    "Adagrad": "optimizers",
    "schedules": "optimizers",
    "clip_norm": "optimizers.clip",
    "clip_value": "optimizers.clip",
    "EarlyStopping": "networks.shared.training",
    "FitResult": "networks.shared.training",
    "FitState": "networks.shared.training",
    "warmup": "command.environment",
    "show_config": "command.environment",
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
    "define_loss",
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
    "mish",
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


class _Moved(ModuleType):
    """A module under its name in fastgrad 0.1, which old pickles refer to."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # import and inspection must not load the new module
            raise AttributeError(name)
        return getattr(importlib.import_module(f"fastgrad.{_MOVED[self.__name__]}"), name)


_MOVED = {
    "fastgrad.activation": "activations",
    "fastgrad.data": "command.digits",
    "fastgrad.dense_layer": "layers.dense_calls",
    "fastgrad.functional": "layers.dense",
    "fastgrad.network": "networks.mlp",
    "fastgrad.training": "networks.shared.training",
    "fastgrad.verify": "gradcheck.check_grad",
}
for _old in _MOVED:
    sys.modules.setdefault(_old, _Moved(_old))
