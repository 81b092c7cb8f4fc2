"""Layer objects over the functional API: forward, backward, explicit Jacobians.

A layer remembers its last input, so that

>>> import numpy as np
>>> import fastgrad as fg
>>> net = fg.nn.Sequential([fg.nn.Linear(3, 4, seed=0), fg.nn.Tanh(), fg.nn.Linear(4, 2, seed=1)])
>>> loss = fg.nn.MSE(np.zeros((5, 2)))
>>> value = loss.forward(net.forward(np.ones((5, 3))))
>>> net.backward(loss.backward()).shape
(5, 3)
>>> net.layers[0].grad_w.shape, net.layers[0].grad_b.shape
((3, 4), (4,))

is one step of backpropagation. A vector is one sample, ``(1, n)`` for rows and ``(n, 1)`` for
columns; integers become what NumPy promotes them and the layer's weights to, or float64 if it has
none. Arrays are not copied: do not change x and y between forward and backward.
"""

from __future__ import annotations

from fastgrad.nn.activation import Activation, ReLU, Sigmoid, Softmax, Tanh
from fastgrad.nn.dense import Dense, Linear
from fastgrad.nn.dropout import Dropout
from fastgrad.nn.embedding import Embedding
from fastgrad.nn.layer import Layer
from fastgrad.nn.mse import MSE
from fastgrad.nn.norm import BatchNorm, LayerNorm
from fastgrad.nn.recurrent import GRU, LSTM, RNN
from fastgrad.nn.sequential import Sequential

__all__ = [
    "GRU", "LSTM", "MSE", "RNN", "Activation", "BatchNorm", "Dense", "Dropout", "Embedding",
    "Layer", "LayerNorm", "Linear", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh",
]  # fmt: skip
