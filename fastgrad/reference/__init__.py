"""fastgrad in plain NumPy, as a careful person writes it: the specification.

Dense layers, activations, losses, networks and optimizers have the names and signatures that they
have in `fastgrad`, so that

>>> import fastgrad.reference as fg
>>> y, cache = fg.dense_forward([[1.0, 2.0]], [[1.0], [1.0]], activation="relu")
>>> value, grad_y = fg.losses.squared_l2.value_and_grad(y)
>>> fg.dense_backward(grad_y, cache).x.tolist()
[[6.0, 6.0]]

is the readable version of the same computation. It imports numpy alone. The compiled kernels are
held against it: it has the checks of arguments in common with `fastgrad`, and no formula, no sum.

Left out are layer objects (`nn`), `define_activation`, `EarlyStopping`, gradient checking, and what
is about threads and compiling; the gradient checks and callbacks of `fastgrad` take these functions
and networks too. Activations and losses of any package are known here by their names; caches and
optimizers stay in the package they come from.
"""

from fastgrad.networks.shared.training import FitResult, FitState
from fastgrad.warning_categories import TrainingWarning

from . import activations, losses
from .activations import (
    ACTIVATIONS,
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
from .dense import DenseGrads, dense, dense_backward, dense_forward
from .losses import LOSSES
from .network import MLP, LayerParams, NormParams
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, clip_norm, clip_value
from .recurrent import (
    LstmGrads,
    RecurrentCache,
    RnnGrads,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "DenseGrads",
    "FitResult",
    "FitState",
    "LayerParams",
    "LstmGrads",
    "NormParams",
    "RMSprop",
    "RecurrentCache",
    "RnnGrads",
    "TrainingWarning",
    "activations",
    "clip_norm",
    "clip_value",
    "dense",
    "dense_backward",
    "dense_forward",
    "elu",
    "exp",
    "gelu",
    "gelu_tanh",
    "gru_backward",
    "gru_forward",
    "identity",
    "leaky_relu",
    "losses",
    "lstm_backward",
    "lstm_forward",
    "mish",
    "relu",
    "rnn_backward",
    "rnn_forward",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]
