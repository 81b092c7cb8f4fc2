"""fastgrad in plain NumPy, as a careful person would write it: the specification.

Dense layers, activations, losses, networks and optimizers have the same names and signatures as
in `fastgrad`, so that

>>> import fastgrad.reference as fg
>>> y, cache = fg.dense_forward([[1.0, 2.0]], [[1.0], [1.0]], activation="relu")
>>> value, grad_y = fg.losses.squared_l2.value_and_grad(y)
>>> fg.dense_backward(grad_y, cache).x.tolist()
[[6.0, 6.0]]

is the readable version of the same computation. It imports only numpy. The compiled kernels are
compared with it: it shares the checks of arguments with `fastgrad`, but no formula and no sum.

It has no layer objects (`nn`), `define_activation`, `define_loss`, `EarlyStopping` or gradient
checking, and nothing about threads and compiling. The gradient checks and callbacks of `fastgrad`
also accept these functions and networks. Activations and losses of any of the packages are
accepted, by their names; a cache or an optimizer works only in the package that made it.
"""

from fastgrad.networks.shared.training import FitResult, FitState
from fastgrad.warning_categories import TrainingWarning

from . import activations, losses, optimizers
from .activations import *  # noqa: F403 - its __all__ is the table
from .activations import ACTIVATIONS
from .dense import DenseGrads, dense, dense_backward, dense_forward
from .dropout import DropoutCache, dropout_backward, dropout_forward
from .embedding import (
    EmbeddingCache,
    EmbeddingGrads,
    EmbeddingRows,
    embedding_backward,
    embedding_forward,
)
from .losses import LOSSES
from .network import MLP, LayerParams, NormParams
from .normalization import (
    NormCache,
    NormGrads,
    batch_norm_backward,
    batch_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .optimizers import *  # noqa: F403 - its __all__ is what is public
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
    "DenseGrads",
    "DropoutCache",
    "EmbeddingCache",
    "EmbeddingGrads",
    "EmbeddingRows",
    "FitResult",
    "FitState",
    "LayerParams",
    "LstmGrads",
    "NormCache",
    "NormGrads",
    "NormParams",
    "RecurrentCache",
    "RnnGrads",
    "TrainingWarning",
    "activations",
    "batch_norm_backward",
    "batch_norm_forward",
    "dense",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "gru_backward",
    "gru_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "losses",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
    *activations.__all__,
    *optimizers.__all__,
]
