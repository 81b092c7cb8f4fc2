"""A network as one writes it by hand: forward, loss, backward, with a bound for its rounding.

Layers count from 1, a sample is a row, whatever the script's layout:

    a[0] = x    z[l] = a[l-1] @ w[l] + b[l]    a[l] = act(z[l])          (times mask[l])
    da[L] = dL/da[L]    dz[l] = act'(da[l])    dw[l] = a[l-1].T @ dz[l]    db[l] = dz[l].sum(0)
    da[l-1] = dz[l] @ w[l].T

All in float64. `Bounds` says how far a script may be from that which computes in a dtype of unit
roundoff u: each product of m terms adds ``g(m) = u * min(m, 9 sqrt(m))`` of the product of the
absolute values (Higham and Mary, SIAM J. Sci. Comput. 41 (2019) A2815: m rounding errors of random
sign reach 9 sqrt(m) u with probability 1e-17), and each function what it makes of its argument's
error. So a kink within the error of z, and a difference of nearly equal numbers, are in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.functions import Act, Objective

__all__ = ["Bounds", "Model", "growth"]

FEW = 8.0  # roundings in an elementwise formula, and the ULP of its functions


@dataclass
class Model:
    """A network's arrays on the way forward, and the steps of the way back.

    Lists begin with layer 0, the input, so that index and layer agree.
    """

    acts: list[Act]
    loss: Objective
    w: list[Array]
    b: list[Array | None]
    x: Array
    target: Array | None
    l1: float = 0.0
    l2: float = 0.0
    masks: dict[int, Array] = field(default_factory=dict)
    # Where the way forward errs: weights that it uses, and the layer whose output it takes.
    forward_w: dict[int, Array] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    given: dict[tuple[str, int], Array] = field(default_factory=dict)  # z and a, as the script's
    start: Model | None = None  # one that is the same up to, but not in, the layer `same`
    same: int = 0
    # Where the way back uses arrays of the step before: of which layers, for dw and for dz.
    stale: Model | None = None
    stale_inputs: frozenset[int] = frozenset()
    stale_slopes: frozenset[int] = frozenset()
    stale_loss: bool = False
    a: list[Array] = field(init=False)  # what the next layer gets
    z: list[Array] = field(init=False)
    y: list[Array] = field(init=False)  # a before the dropout mask
    value: float = field(init=False)
    loss_grad: Array = field(init=False)
    own_loss_grad: Array = field(init=False)  # where `loss_grad` is that of the step before
    _slopes: dict[Any, Array] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = len(self.w) - 1
        self.a, self.z, self.y = [self.x], [self.x], [self.x]
        if self.start is not None and self.same > 1:
            done = self.start
            self.a, self.z, self.y = done.a[: self.same], done.z[: self.same], done.y[: self.same]
        for layer in range(len(self.a), self.layers + 1):
            z = self.given.get(("z", layer))
            z = self.pre_activation(layer) if z is None else z
            y = self.given.get(("y", layer))
            y = self.acts[layer].value(z) if y is None else y
            self.z.append(z)
            self.y.append(y)
            a = self.given.get(("a", layer))
            if a is None:
                a = y * self.masks[layer] if layer in self.masks else y
            self.a.append(a)
        value, self.own_loss_grad = self.loss(self.a[-1], self.target)
        self.loss_grad = self.own_loss_grad
        self.value = value + self.penalty_value()
        if self.stale is not None and self.stale_loss:
            self.loss_grad = self.stale.loss_grad

    def pre_activation(self, layer: int) -> Array:
        """Return z of a layer."""
        before = self.a[self.inputs.get(layer, layer - 1)]
        z: Array = before @ self.forward_w.get(layer, self.w[layer])
        bias = self.b[layer]
        return z if bias is None else z + bias

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.x)

    def width(self, layer: int) -> int:
        """Return the number of a layer's outputs; layer 0 is the input."""
        return int(self.a[layer].shape[1])

    # -- the steps of the way back --------------------------------------------------------------
    def through_activation(self, layer: int, grad_a: Array) -> Array:
        """Return dz of a layer, given da."""
        if layer in self.masks:
            grad_a = grad_a * self.masks[layer]
        at = self.stale if self.stale is not None and layer in self.stale_slopes else self
        return self.acts[layer].back(grad_a, at.z[layer], at.y[layer])

    def through_weights(self, layer: int, grad_z: Array) -> Array:
        """Return da of the layer before, given dz."""
        return grad_z @ self.w[layer].T

    def weights(self, layer: int, grad_z: Array) -> Array:
        """Return dw of a layer, given dz, without the penalty."""
        at = self.stale if self.stale is not None and layer in self.stale_inputs else self
        return at.a[layer - 1].T @ grad_z

    def penalty(self, layer: int) -> Array | None:
        """Return what the penalty adds to dw."""
        if not self.l1 and not self.l2:
            return None
        return self.l2 * self.w[layer] + self.l1 * np.sign(self.w[layer])

    def penalty_value(self) -> float:
        """Return what the penalty adds to the loss."""
        if not self.l1 and not self.l2:
            return 0.0
        return float(
            sum(self.l1 * np.abs(w).sum() + self.l2 / 2 * np.square(w).sum() for w in self.w[1:])
        )

    def slope(self, act: Act, form: str, source: Array) -> Array | None:
        """Return an activation's derivative by its formula of "z" or of "y", at any array."""
        key = (act.name, form, id(source))
        if key not in self._slopes:
            formula = act.slope_z if form == "z" else act.slope_y
            if formula is None:
                return None
            with np.errstate(all="ignore"):
                self._slopes[key] = formula(source)
        return self._slopes[key]

    def replaced(self, layer: int, **changes: Any) -> Model:
        """Return the model with some settings changed, all of them in `layer` or later."""
        return replace(self, start=self, same=layer, **changes)

    def gradients(self) -> tuple[list[Array], list[Array]]:
        """Return dw and db of all layers, the penalty included."""
        dw, db = [self.x] * (self.layers + 1), [self.x] * (self.layers + 1)
        grad = self.loss_grad
        for layer in range(self.layers, 0, -1):
            grad_z = self.through_activation(layer, grad)
            penalty = self.penalty(layer)
            dw[layer] = self.weights(layer, grad_z)
            if penalty is not None:
                dw[layer] += penalty
            db[layer] = grad_z.sum(axis=0)
            if layer > 1:
                grad = self.through_weights(layer, grad_z)
        return dw, db


def growth(unit: float, terms: int) -> float:
    """Return g(m): the relative error of a sum of m products, each rounded."""
    return unit * (min(float(terms), 9.0 * math.sqrt(terms)) + 2.0)


@dataclass
class Bounds:
    """How far each array of a script may be from the model's: absolute, per element.

    `forward` bounds z and a; `backward` those of the way back from a given ``da[L]``.
    """

    model: Model
    unit: float

    def __post_init__(self) -> None:
        kind = {2.0**-11: "float16", 2.0**-24: "float32"}.get(self.unit, "float64")
        self.tiny = float(np.finfo(np.dtype(kind)).tiny)  # of each result: it may underflow
        self.z: list[Array] = [np.zeros_like(self.model.x)]
        self.a: list[Array] = [np.zeros_like(self.model.x)]
        self._slopes: dict[int, Array] = {}
        with np.errstate(all="ignore"):
            for layer in range(1, self.model.layers + 1):
                self._forward(layer)
            self.loss_grad = self._loss()

    def _forward(self, layer: int) -> None:
        m, u = self.model, self.unit
        source = m.inputs.get(layer, layer - 1)
        weights, bias = np.abs(m.forward_w.get(layer, m.w[layer])), m.b[layer]
        g = growth(u, len(weights))
        inner = g * np.abs(m.a[source]) + self.a[source]
        error = inner @ weights + self.tiny * len(weights)
        if bias is not None:
            error += g * np.abs(bias)
        self.z.append(error)
        z, y, act = m.z[layer], m.y[layer], m.acts[layer]
        if act.rowwise:
            worst = error.max(axis=1, keepdims=True) + u * np.abs(z).max(axis=1, keepdims=True)
            moved = y * (2.0 * worst + growth(u, y.shape[1]))
        else:
            moved = _moved(act.value, z, y, error)
        error_a = moved + FEW * u * np.abs(y) + self.tiny
        if act.cancels:
            error_a += FEW / 2 * u * np.abs(z)
        if layer in m.masks:
            error_a = error_a * np.abs(m.masks[layer])
        self.a.append(error_a)

    def _loss(self) -> Array:
        m, u = self.model, self.unit
        pred, error = m.a[-1], self.a[-1]
        target = 0.0 if m.target is None else np.abs(m.target)
        step = error + u * (np.abs(pred) + target)
        if m.loss.rowwise:
            # Not elementwise: a row's entries move each other. Twice the worst of a few patterns.
            signs = np.random.default_rng(0).choice([-1.0, 1.0], (4, *pred.shape))
            found = [np.abs(m.loss(pred + s * step, m.target)[1] - m.own_loss_grad) for s in signs]
            worst = np.max(found, axis=0).max(axis=1, keepdims=True)
            moved = 2.0 * worst + FEW * u / m.loss.divisor(pred)
        else:
            moved = _moved(lambda p: m.loss(p, m.target)[1], pred, m.own_loss_grad, step)
            if m.loss.name.startswith("binary"):  # sigmoid(z) - t, whose terms are about 1
                moved = moved + FEW * u / m.loss.divisor(pred)
        return np.asarray(moved + FEW * u * np.abs(m.loss_grad) + self.tiny)

    def slope(self, layer: int) -> Array:
        """Return the bound of a layer's derivative."""
        if layer not in self._slopes:
            m, act, z, y = self.model, self.model.acts[layer], self.model.z[layer], self.a[layer]
            if act.rowwise:
                self._slopes[layer] = y
            else:
                at = m.slope(act, "z", z)
                assert at is not None
                moved = _moved(act.slope_z, z, at, self.z[layer])
                self._slopes[layer] = moved + FEW * self.unit * np.maximum(1.0, np.abs(at))
        return self._slopes[layer]

    def through_activation(self, layer: int, grad_a: Array, error: Array) -> Array:
        """Return the bound of dz, given da and its bound."""
        m, u = self.model, self.unit
        if layer in m.masks:
            grad_a, error = grad_a * m.masks[layer], error * np.abs(m.masks[layer])
        size, y = np.abs(grad_a), m.y[layer]
        if m.acts[layer].rowwise:
            spread: Array = size + (size * y).sum(axis=1, keepdims=True)
            wide: Array = error + (error * y).sum(axis=1, keepdims=True)
            wide += (size * self.a[layer]).sum(axis=1, keepdims=True)
            return y * wide + (self.a[layer] + growth(u, y.shape[1]) * y) * spread + self.tiny
        at = np.abs(m.acts[layer].slope(m.z[layer], y))
        own = self.slope(layer)
        return np.asarray(error * (at + own) + size * (own + 2.0 * u * at) + self.tiny)

    def through_weights(self, layer: int, grad_z: Array, error: Array) -> Array:
        """Return the bound of da of the layer before, given dz and its bound."""
        weights = np.abs(self.model.w[layer])
        inner: Array = growth(self.unit, weights.shape[1]) * np.abs(grad_z) + error
        bound: Array = inner @ weights.T
        return np.asarray(bound + self.tiny * weights.shape[1])

    def weights(self, layer: int, grad_z: Array, error: Array) -> Array:
        """Return the bound of dw, given dz and its bound."""
        m = self.model
        size, before = np.abs(grad_z), np.abs(m.a[layer - 1])
        bound: Array = growth(self.unit, m.n) * (before.T @ size) + _over_samples(before, error)
        if layer > 1:
            bound += _over_samples(self.a[layer - 1], size)
        bound += self.tiny * m.n
        penalty = m.penalty(layer)
        if penalty is not None:
            bound += FEW * self.unit * np.abs(penalty)
        return bound

    def bias(self, grad_z: Array, error: Array) -> Array:
        """Return the bound of db, given dz and its bound."""
        own: Array = growth(self.unit, self.model.n) * np.abs(grad_z) + self.tiny
        ones = np.ones((len(error), 1))
        return np.asarray(own.sum(axis=0) + _over_samples(ones, error)[0])

    def value(self) -> float:
        """Return the bound of the loss's value."""
        m = self.model
        moved = float((np.abs(m.loss_grad) * self.a[-1]).sum())
        return moved + 2.0 * growth(self.unit, m.a[-1].size) * abs(m.value)


def _over_samples(left: Array, right: Array) -> Array:
    """Return the bound of ``left.T @ right``, of which one factor is an error per sample.

    Errors of different samples are independent: the root of their squares, four times, bounds what
    their sum is in a large batch. Added up, 5,000 errors would be 18 times as much.
    """
    if len(left) <= 4**2:
        return np.asarray(left.T @ right)
    return np.asarray(4.0 * np.sqrt(np.square(left).T @ np.square(right)))


def _moved(function: Any, at: Array, value: Array, error: Array) -> Array:
    """Return how far an elementwise function moves when its argument does."""
    up: Array = np.abs(function(at + error) - value)
    return np.asarray(np.maximum(up, np.abs(function(at - error) - value)))
