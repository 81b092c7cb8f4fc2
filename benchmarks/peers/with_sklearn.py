"""scikit-learn's MLPClassifier: one `partial_fit` over all samples is one epoch of batches."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .implementations import Function, Implementation, Unsupported
from .workloads import Array, Training


class ScikitLearn(Implementation):
    def __init__(self, threads: int) -> None:
        self.module: Any = importlib.import_module("sklearn.neural_network")

    def epoch(
        self, training: Training, params: list[Array], x: Array, target: Array, eps: float
    ) -> Function:
        network = training.network
        hidden = network.activations[:-1]
        if network.loss != "softmax_cross_entropy" or len(set(hidden)) > 1 or training.shuffle:
            raise Unsupported  # one activation, and its own shuffling
        model = self.module.MLPClassifier(
            network.sizes[1:-1], activation=hidden[0], solver="adam", alpha=0.0,
            batch_size=training.batch, learning_rate_init=1e-3, epsilon=eps, shuffle=False,
        )  # fmt: skip
        classes = np.arange(network.sizes[-1])
        model.partial_fit(x[: training.batch], target[: training.batch], classes=classes)
        weights = [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]

        def run() -> tuple[float, list[Array]]:
            for weight, start in zip(weights, params, strict=True):
                weight[...] = start
            del model._optimizer  # so that Adam starts anew
            model.partial_fit(x, target)
            return model.loss_, weights

        return run
