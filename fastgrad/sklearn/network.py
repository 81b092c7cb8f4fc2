"""What scikit-learn's estimators minimize, by a network of fastgrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad.activations import softmax as softmax_of
from fastgrad.arrays import Array
from fastgrad.networks.mlp import MLP

__all__ = ["Model", "Objective"]

_HIDDEN = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OUTPUT = {"identity": None, "logistic": "sigmoid", "softmax": "softmax", "exp": "exp"}
# The loss of each output activation, and what scikit-learn's gradient is times to be that of ours:
# it halves squares.
_LOSS = {
    "softmax": ("softmax_cross_entropy", 1.0),
    "logistic": ("binary_cross_entropy_with_logits", 1.0),
    "identity": ("mse", 2.0),
    "exp": ("poisson", 1.0),
}


class Model:
    """The flat vector of an estimator's weights, and networks that read it.

    The arrays of ``coefs_`` and ``intercepts_`` are views of it. If a user, or a pickle, replaced
    them, a vector is made of what is there.
    """

    def __init__(self, widths: Sequence[int], activation: str, output: str, dtype: Any) -> None:
        self.widths, self.output = tuple(widths), output
        self.hidden = [_HIDDEN[activation]] * (len(widths) - 2)
        self.dtype = np.dtype(dtype)
        self.vector: Array | None = None
        self._networks: dict[Any, MLP] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"vector": None, "_networks": {}}

    def predictor(self, dtype: Any) -> MLP:
        """Return the network that predicts."""
        if dtype not in self._networks:
            activations = [*self.hidden, _OUTPUT[self.output]]
            self._networks[dtype] = MLP(self.widths, activations, "squared_l2", "sum", dtype=dtype)
        return self._networks[dtype]

    def trainer(self, dtype: Any, l2: float) -> MLP:
        """Return the network whose loss is minimized: the sum of a sample's terms, averaged."""
        loss = _LOSS[self.output][0]
        return MLP(self.widths, [*self.hidden, None], loss, "samples", dtype=dtype, l2=l2)

    def take(self, coefs: list[Array], intercepts: list[Array]) -> Array:
        """Return the flat vector of these weights, which may be its own views."""
        vector = self.vector
        arrays = (*coefs, *intercepts)
        if vector is None or any(array.base is not vector for array in arrays):
            self.dtype = np.result_type(*arrays)
            network = self.predictor(self.dtype)
            vector = self.vector = network.pack(list(zip(coefs, intercepts, strict=True)))
        return vector

    def views(self, vector: Array) -> tuple[list[Array], list[Array]]:
        """Return coefs and intercepts as views of a flat vector, which is kept."""
        self.vector, self.dtype = vector, vector.dtype
        layers = self.predictor(self.dtype).layers(vector)
        return [layer.w for layer in layers], [layer.b for layer in layers]

    def predict(self, coefs: list[Array], intercepts: list[Array], x: Any) -> Array:
        """Return the outputs for checked x."""
        vector = self.take(coefs, intercepts)
        dtype = np.result_type(vector.dtype, x.dtype)
        outputs: Array = self.predictor(dtype).predict(vector.astype(dtype, copy=False), x)
        return outputs


class Objective:
    """Scikit-learn's loss of a batch, and `scale` times its gradient.

    The loss is ``(sum of weighted terms + alpha / 2 * sum(w**2)) / sum of weights``. For squares of
    several outputs it has the mean over the outputs where its gradient has the sum; the same here.
    """

    def __init__(self, model: Model, dtype: Any, alpha: float, weighted: bool) -> None:
        self.model, self.dtype, self.alpha = model, np.dtype(dtype), float(alpha)
        self.scale = _LOSS[model.output][1]
        self.squares_of_several = model.output == "identity" and model.widths[-1] > 1
        # One network for each penalty, which batches of one size share.
        self.apart = weighted or self.squares_of_several
        self.networks: dict[float, MLP] = {}

    def value_and_grad(self, params: Array, x: Any, y: Array, weights: Any, out: Array) -> float:
        """Return the loss; write the scaled gradient to `out`."""
        n = float(x.shape[0] if weights is None else weights.sum())
        penalty = 0.0 if self.apart else self.scale * self.alpha / n
        network = self.networks.get(penalty)
        if network is None:
            network = self.networks[penalty] = self.model.trainer(self.dtype, penalty)
        if weights is None:
            value, _ = network.value_and_grad(params, x, y, out=out)
        else:
            value, _ = network.value_and_grad(params, x, y, weights=weights, out=out)
            divide = x.shape[0] / n  # "samples" divides by their number, not their weight
            value *= divide
            out *= out.dtype.type(divide)
        value /= self.scale
        if self.apart:
            if self.squares_of_several:
                value /= self.model.widths[-1]
            value += self._penalize(network, params, out, n)
        return float(value)

    def clipped(self, params: Array, x: Any, y: Array, weights: Any, out: Array) -> float:
        """Return a classifier's loss, with its probabilities clipped as scikit-learn clips them.

        A term is at most -log(eps), 36 in float64. An epoch of minibatches hardly sees that; the
        line search of L-BFGS does, where a long step has classified a sample wrong for certain.
        """
        # Not fg.sigmoid: log(1 - p) of a p near 1 shows each function's own last bit.
        from scipy.special import expit

        if not isinstance(x, np.ndarray):  # sparse: networks keep no tape of it
            return self.value_and_grad(params, x, y, weights, out)
        network, n = self._plain(), float(x.shape[0] if weights is None else weights.sum())
        z, tape = network.forward(params, x)
        softmax = self.model.output == "softmax"
        p = softmax_of(z) if softmax else expit(z)
        eps = np.finfo(p.dtype).eps
        kept = np.clip(p, eps, 1 - eps)
        rows = np.arange(len(p))
        if softmax:
            terms = -np.log(kept[rows, y])
            p[rows, y] -= 1
        else:
            terms = -np.log(np.where(y != 0, kept, 1 - kept)).sum(axis=1)
            p -= y
        if weights is not None:
            p *= weights[:, None]
        p /= n
        network.backward(p, tape, need=("params",), out={"params": out})
        value = float(np.average(terms, weights=weights))
        return value + self._penalize(network, params, out, n)

    def _plain(self) -> MLP:
        if 0.0 not in self.networks:
            self.networks[0.0] = self.model.trainer(self.dtype, 0.0)
        return self.networks[0.0]

    def _penalize(self, network: MLP, params: Array, grad: Array, n: float) -> float:
        """Add the scaled gradient of the penalty; return its value."""
        if self.alpha == 0:
            return 0.0
        factor, squares = grad.dtype.type(self.scale * self.alpha / n), 0.0
        for layer, slope in zip(network.layers(params), network.layers(grad), strict=True):
            flat = layer.w.reshape(-1)
            squares += float(flat @ flat)
            slope.w[...] += factor * layer.w
        return 0.5 * self.alpha * squares / n

    def target_of(self, y: Array) -> Array:
        """Return what the network's loss takes for scikit-learn's y of shape (n, outputs)."""
        if self.model.output == "softmax":
            classes: Array = y.argmax(axis=1)
            return classes
        return np.ascontiguousarray(y, self.dtype)

    def constants(self, y: Array) -> Array | None:
        """Return what each sample's loss has that ours leaves out: the Poisson deviance's part."""
        if self.model.output != "exp":
            return None
        from scipy.special import xlogy

        made: Array = (xlogy(y, y) - y).sum(axis=1)
        return made
