"""Mistakes between two steps of training: gradients and arrays of the step before.

The parameters of the step before are not known, but plain gradient descent leads from there to the
ones given: ``p = q - lr * grad(q)``. So there is one unknown, the learning rate, for hundreds of
numbers: it is fitted, and what then agrees to rounding is no coincidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.model import Model

__all__ = ["hypotheses", "model_with", "of_calls"]

STEPS = 8  # of the fit of the learning rate
FIRST_RATE, LARGEST_RATE = 1e-4, 10.0
FIXED_POINT = 30  # iterations for q; the change falls by lr times the curvature
Vector = Array


def vector(gradients: tuple[list[Array], list[Array]], model: Model) -> Vector:
    """Return gradients of all layers in one vector."""
    dw, db = gradients
    parts = [dw[i].ravel() for i in range(1, model.layers + 1)]
    parts += [db[i] for i in range(1, model.layers + 1) if model.b[i] is not None]
    return np.concatenate(parts)


def model_at(model: Model, move: Vector) -> Model:
    """Return the model with its parameters moved by a vector like its gradient's."""
    w, b, end = list(model.w), list(model.b), 0
    for i in range(1, model.layers + 1):
        size = w[i].size
        w[i] = w[i] + move[end : end + size].reshape(w[i].shape)
        end += size
    for i in range(1, model.layers + 1):
        bias = b[i]
        if bias is not None:
            b[i] = bias + move[end : end + bias.size]
            end += bias.size
    return replace(model, w=w, b=b, start=None, same=0)


def model_with(model: Model, values: dict[tuple[str, int], Array]) -> Model:
    """Return the model with other parameters."""
    w, b = list(model.w), list(model.b)
    for (role, layer), value in values.items():
        if role == "w":
            w[layer] = value
        else:
            b[layer] = value
    return replace(model, w=w, b=b, start=None, same=0)


class Before:
    """The network one step of gradient descent before, for any learning rate."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.grad = vector(model.gradients(), model)

    def at(self, rate: float) -> Model:
        """Return the model at q, where ``p = q - rate * grad(q)``."""
        grad, made = self.grad, self.model
        for _ in range(FIXED_POINT):
            made = model_at(self.model, rate * grad)
            new = vector(made.gradients(), made)
            change = float(np.abs(new - grad).max(initial=0.0))
            grad = new
            if not change > 1e-15 * float(np.abs(grad).max(initial=0.0)):
                break
        return model_at(self.model, rate * grad)


def fitted_rate(make: Callable[[float], Vector], seen: Vector) -> float | None:
    """Return the learning rate at which `make` gives `seen`; None if it leads elsewhere."""
    start = make(0.0)
    wanted = seen - start
    size = float(wanted @ wanted)

    def projected(rate: float) -> tuple[float, float]:
        """Return the rate that fits best along the chord up to `rate`, and what is then left."""
        along = (make(rate) - start) / rate
        square = float(along @ along)
        if not square > 0 or not np.isfinite(square):
            return np.nan, np.inf
        best = float(wanted @ along) / square
        left = wanted - best * along
        return best, float(left @ left) / size

    first, left = projected(FIRST_RATE)
    if not (0 < first < LARGEST_RATE and left < 0.5):
        return None
    # Secant steps to the fixed point: the chord up to a rate names that rate.
    old, rate, old_gap = FIRST_RATE, first, first - FIRST_RATE
    for _ in range(STEPS):
        best, _ = projected(rate)
        gap = best - rate
        if not np.isfinite(gap) or abs(gap) <= 1e-15 * rate:
            break
        slope = (gap - old_gap) / (rate - old) if rate != old else 0.0
        new = rate - gap / slope if slope else best
        old, old_gap = rate, gap
        rate = new if 0 < new < LARGEST_RATE else best
        if not 0 < rate < LARGEST_RATE:
            return None
    return rate


def hypotheses(model: Model, seen: Vector) -> Iterator[tuple[str, str, int, str, Model | Vector]]:
    """Yield ``(kind, step, layer, sentence, what explains it)``.

    What explains it is a model to walk on, or gradients to subtract before the walk.
    """
    last = model.layers
    right = vector(model.gradients(), model)
    more = seen - right
    rate = fitted_rate(lambda lr: _gradient(model_at(model, lr * more)), more)
    if rate is not None:
        words = (
            f"the sum of this step's gradient and that before, with a learning rate of {rate:.4g}"
        )
        added = _gradient(model_at(model, rate * more))
        yield "added up", "loss", last, f"{words}: not set to zero", added
    rate = fitted_rate(lambda lr: _gradient(model_at(model, lr * seen)), seen)
    if rate is not None:
        words = f"the gradient of the step before, with a learning rate of {rate:.4g}"
        yield "step before", "loss", last, words, model_at(model, rate * seen)
    before = Before(model)
    for kind_step, layer, words, make in _stale(model):

        def made(lr: float, make: Callable[[Model], Model] = make) -> Vector:
            return _gradient(make(before.at(lr)))

        rate = fitted_rate(made, seen)
        if rate is not None:
            text = f"{words} of the step before, with a learning rate of {rate:.4g}"
            yield "stale cache", kind_step, layer, text, make(before.at(rate))


def of_calls(model: Model, before: Model) -> Iterator[tuple[str, str, int, str, Model]]:
    """Yield the same where the parameters of the call before are known."""
    words = "the gradient of the parameters of the call before"
    yield "step before", "loss", model.layers, words, before
    for step, layer, words, make in _stale(model):
        yield "stale cache", step, layer, f"{words} of the call before", make(before)


def _gradient(model: Model) -> Vector:
    return vector(model.gradients(), model)


def _stale(model: Model) -> Iterator[tuple[str, int, str, Callable[[Model], Model]]]:
    """Yield where arrays of the step before may be used, and the model that does."""
    every = frozenset(range(1, model.layers + 1))

    def all_of(before: Model, loss: bool) -> Model:
        return replace(model, stale=before, stale_inputs=every, stale_slopes=every, stale_loss=loss)

    def at_inputs(before: Model, i: int) -> Model:
        return replace(model, stale=before, stale_inputs=frozenset({i}))

    def at_slopes(before: Model, i: int) -> Model:
        return replace(model, stale=before, stale_slopes=frozenset({i}))

    yield (
        "loss",
        model.layers,
        "all arrays of the way forward are those",
        partial(all_of, loss=True),
    )
    for i in range(model.layers, 0, -1):
        if i > 1:
            yield "weights", i, f"dw{i} with a{i - 1}", partial(at_inputs, i=i)
        if model.acts[i].name != "identity":
            words = f"dz{i} with the derivative at z{i}"
            yield "activation", i, words, partial(at_slopes, i=i)
    words = "the way back with the arrays"
    yield "activation", model.layers, words, partial(all_of, loss=False)
