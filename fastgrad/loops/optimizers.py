"""Gradient descent one parameter at a time: the steps of the optimizers of `fastgrad.optimizers`.

Every formula is in Python floats, so the moments are float64; a parameter is rounded to its dtype
once per step. An optimizer holds only its settings: ``start(params, memory)`` returns
``step(grad)``, which changes ``params`` and ``memory`` in place; ``start(params)`` begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import optimizers
from fastgrad.arguments import check_limit
from fastgrad.arrays import Array
from fastgrad.optimizers.tree_state import TreeState, work_dtype
from fastgrad.trees import changed

from .lists import Row

# What the package exports.
__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "clip_norm", "clip_value"]

Step = Callable[[Array], None]


@dataclass
class Memory:
    """What a method remembers: for each vector a number per parameter, and the number of steps."""

    vectors: list[Row]
    steps: int = 0


class Optimizer(optimizers.Optimizer):
    """The base of all optimizers here: settings, and `start`, which begins a training."""

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``, which changes ``params`` in place."""
        raise NotImplementedError

    def memory(self, params: Array) -> Memory:
        """Return the memory before the first step."""
        return Memory([[self.first_value()] * len(params) for _ in self.vectors()])

    def _run(
        self, state: TreeState, params: list[Array], grads: list[Array], spans: Any, own: Any
    ) -> None:
        """Make a checked step on the arrays of a tree, one by one."""
        for i, (p, grad) in enumerate(zip(params, grads, strict=True)):
            flat = p.flatten()
            memory = Memory([vector.ravel().tolist() for vector in state.vectors[i]], state.steps)
            self.at_step(state.steps, state.decays[i]).start(flat, memory)(grad.ravel())
            p[...] = flat.reshape(p.shape)
            for vector, row in zip(state.vectors[i], memory.vectors, strict=True):
                _write(vector, np.reshape(row, vector.shape))
        state.steps += 1
        betas = self.betas if self.powers else ()  # type: ignore[attr-defined]
        state.powers = [b * power for b, power in zip(betas, state.powers, strict=True)]
        self._keep(state)


class SGD(Optimizer, optimizers.SGD):
    """Stochastic gradient descent, with optional momentum and weight decay.

    ``g += weight_decay * p``; ``v = momentum * v + g``; ``p -= lr * v``, or with ``nesterov``
    ``p -= lr * (g + momentum * v)``. v starts at zero. Settings: see `fastgrad.SGD`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import SGD
    >>> p = np.array([1.0, 2.0])
    >>> step = SGD(lr=0.5, momentum=0.5).start(p)
    >>> step(np.array([1.0, 0.0]))
    >>> step(np.array([0.0, 1.0]))
    >>> p.tolist()
    [0.25, 1.5]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = memory or self.memory(params)
        velocity = kept.vectors[0] if self.momentum else [0.0] * len(params)

        def step(grad: Array) -> None:
            p = params.tolist()
            for i, g in enumerate(grad.tolist()):
                g += self.weight_decay * p[i]
                velocity[i] = self.momentum * velocity[i] + g
                direction = g + self.momentum * velocity[i] if self.nesterov else velocity[i]
                p[i] -= self.lr * direction
            _fade(velocity, params)
            _write(params, p)

        return step


class Adam(Optimizer, optimizers.Adam):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay added to the gradient.

    ``g += weight_decay * p``; ``m = b1 * m + (1 - b1) * g``; ``v = b2 * v + (1 - b2) * g**2``;
    ``p -= lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`` in step t = 1, 2, ...
    Settings: see `fastgrad.Adam`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import Adam
    >>> p = np.array([1.0, 2.0])
    >>> step = Adam(lr=0.125).start(p)
    >>> step(np.array([1e-3, -1e3]))
    >>> p.round(4).tolist()
    [0.875, 2.125]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        b1, b2 = self.betas
        kept = memory or self.memory(params)
        m, v = kept.vectors
        of_gradient, of_params = self.weight_decay, 0.0
        if self.decoupled:
            of_gradient, of_params = 0.0, self.weight_decay

        def step(grad: Array) -> None:
            kept.steps += 1
            t = kept.steps
            p = params.tolist()
            for i, g in enumerate(grad.tolist()):
                g += of_gradient * p[i]
                p[i] *= 1.0 - self.lr * of_params
                m[i] = b1 * m[i] + (1.0 - b1) * g
                v[i] = b2 * v[i] + (1.0 - b2) * (g * g)
                root = math.sqrt(v[i]) / math.sqrt(1.0 - b2**t)
                p[i] -= self.lr / (1.0 - b1**t) * m[i] / (root + self.eps)
            _fade(m, params)
            _write(params, p)

        return step


class AdamW(Adam, optimizers.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` without decay in its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import AdamW
    >>> p = np.array([1.0, 2.0])
    >>> step = AdamW(lr=0.125, weight_decay=1.0).start(p)
    >>> step(np.array([0.0, 0.0]))
    >>> p.tolist()
    [0.875, 1.75]
    """


class RMSprop(Optimizer, optimizers.RMSprop):
    """RMSprop, as in PyTorch.

    ``g += weight_decay * p``; ``v = alpha * v + (1 - alpha) * g**2``; ``d = g / (sqrt(v) + eps)``;
    ``p -= lr * d``. If ``centered``, v minus the square of the running mean of g replaces v;
    with ``momentum``, ``u = momentum * u + d; p -= lr * u``. Settings: see `fastgrad.RMSprop`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import RMSprop
    >>> p = np.array([1.0, 2.0])
    >>> step = RMSprop(lr=0.5, alpha=0.75).start(p)
    >>> step(np.array([4.0, -1e3]))
    >>> p.round(6).tolist()
    [0.0, 3.0]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = memory or self.memory(params)
        zeros = [0.0] * len(params)
        v, *others = kept.vectors
        m = others[0] if self.centered else zeros
        u = others[-1] if self.momentum else zeros

        def step(grad: Array) -> None:
            p = params.tolist()
            for i, g in enumerate(grad.tolist()):
                g += self.weight_decay * p[i]
                v[i] = self.alpha * v[i] + (1.0 - self.alpha) * (g * g)
                square = v[i]
                if self.centered:
                    m[i] = self.alpha * m[i] + (1.0 - self.alpha) * g
                    square -= m[i] * m[i]
                direction = g / (_root(square) + self.eps)
                if self.momentum:
                    u[i] = self.momentum * u[i] + direction
                    direction = u[i]
                p[i] -= self.lr * direction
            _fade(m, params)
            _fade(u, params)
            _write(params, p)

        return step


class Adagrad(Optimizer, optimizers.Adagrad):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011).

    ``g += weight_decay * p``; ``s += g**2``;
    ``p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`` in step t = 1, 2, ...
    Settings: see `fastgrad.Adagrad`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import Adagrad
    >>> p = np.array([1.0, 2.0])
    >>> step = Adagrad(lr=0.25).start(p)
    >>> step(np.array([3.0, -1e3]))
    >>> p.round(6).tolist()
    [0.75, 2.25]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = memory or self.memory(params)
        (total,) = kept.vectors

        def step(grad: Array) -> None:
            p = params.tolist()
            rate = self.lr / (1.0 + kept.steps * self.lr_decay)
            kept.steps += 1
            for i, g in enumerate(grad.tolist()):
                g += self.weight_decay * p[i]
                total[i] += g * g
                p[i] -= rate * (g / (math.sqrt(total[i]) + self.eps))
            _write(params, p)

        return step


def clip_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients in place so that the norm of all arrays as one vector is at most `max_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import clip_norm
    >>> grads = [np.array([3.0]), np.array([4.0])]
    >>> clip_norm(grads, 1.0), grads[1].tolist()
    (5.0, [0.8])
    """
    limit = check_limit("clip_norm", "max_norm", max_norm)
    arrays = changed("clip_norm", "grads", grads)
    norm = 0.0
    for array in arrays:
        for g in array.ravel().tolist():
            norm = math.hypot(norm, g)  # no square overflows
    if norm > limit:
        for array in arrays:
            scaled = [g * (limit / norm) for g in array.ravel().tolist()]
            _write(array, np.reshape(scaled, array.shape))
    return norm


def clip_value(grads: Any, limit: float) -> None:
    """Clip each element of gradients in place to between ``-limit`` and ``limit``; NaN stays.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.loops import clip_value
    >>> grad = np.array([-7.0, 0.5])
    >>> clip_value(grad, 5.0)
    >>> grad.tolist()
    [-5.0, 0.5]
    """
    most = check_limit("clip_value", "limit", limit)
    arrays = changed("clip_value", "grads", grads)
    for array in arrays:
        clipped = []
        for g in array.ravel().tolist():
            g = most if g > most else g
            clipped.append(-most if g < -most else g)
        _write(array, np.reshape(clipped, array.shape))


def _fade(mean: Row, params: Array) -> None:
    """Set what the parameters' dtype holds only as a subnormal number to 0: it would stay so."""
    smallest = float(np.finfo(work_dtype(params.dtype)).smallest_normal)
    for i, value in enumerate(mean):
        if abs(value) < smallest:
            mean[i] = 0.0


def _root(square: float) -> float:
    """Return the square root; NaN of what rounding made less than 0, where `math.sqrt` raises."""
    return math.sqrt(square) if square >= 0.0 else math.nan


def _write(params: Array, values: Row | Array) -> None:
    with np.errstate(all="ignore"):  # rounding to float32 may give inf; that is the right answer
        params[...] = values
