"""Gradient descent in plain NumPy: the steps of the optimizers of `fastgrad.optimizers`.

An optimizer holds only its settings. What the method remembers (velocity, means, number of steps)
is a `Memory`: ``start(params)`` begins with an empty one, ``start(params, memory)`` continues with
a given one. Both return a function ``step(grad)``, which changes ``params`` and the memory in place
and overwrites ``grad`` as scratch space.

p are the parameters and g their gradient. Everything is computed in the dtype of p; scalars such
as ``lr / (1 - beta1**t)`` are Python floats, which NumPy rounds to that dtype.
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

# What the package exports.
__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "clip_norm", "clip_value"]

Step = Callable[[Array], None]


@dataclass
class Memory:
    """What a method remembers from step to step."""

    vectors: list[Array]  # as the optimizer names them, of the parameters' shape and dtype
    steps: int = 0


class Optimizer(optimizers.Optimizer):
    """The base of all optimizers here: settings, and `start`, which begins a training."""

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``, which changes ``params`` in place and overwrites ``grad``."""
        raise NotImplementedError

    def memory(self, params: Array) -> Memory:
        """Return the memory before the first step."""
        return Memory([np.full_like(params, self.first_value()) for _ in self.vectors()])

    def _run(
        self, state: TreeState, params: list[Array], grads: list[Array], spans: Any, own: Any
    ) -> None:
        """Make a checked step on the arrays of a tree, one by one."""
        for i, (p, grad) in enumerate(zip(params, grads, strict=True)):
            with np.errstate(all="ignore"):  # rounding may give inf; that is the right answer
                work = p.astype(work_dtype(p.dtype), copy=False)  # float16 is computed in float32
                memory = Memory(state.vectors[i], state.steps)
                self.at_step(state.steps, state.decays[i]).start(work, memory)(
                    grad.astype(work.dtype)
                )
                if work is not p:
                    p[...] = work
        state.steps += 1
        betas = self.betas if self.powers else ()  # type: ignore[attr-defined]
        state.powers = [b * power for b, power in zip(betas, state.powers, strict=True)]
        self._keep(state)


def _fade(mean: Array) -> None:
    """Set what is subnormal in a mean or velocity to 0: it decays, and would stay there for good.

    Arithmetic with subnormal numbers takes 25 times as long, and no parameter sees the difference.
    """
    mean[np.abs(mean) < np.finfo(mean.dtype).smallest_normal] = 0


class SGD(Optimizer, optimizers.SGD):
    """Stochastic gradient descent, with optional momentum and weight decay.

    ``g += weight_decay * p``; ``v = momentum * v + g``; ``p -= lr * v``, or with ``nesterov``
    ``p -= lr * (g + momentum * v)``. v starts at zero. Settings: see `fastgrad.SGD`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import SGD
    >>> p = np.array([1.0, 2.0])
    >>> step = SGD(lr=0.5, momentum=0.5).start(p)
    >>> step(np.array([1.0, 0.0]))
    >>> step(np.array([0.0, 1.0]))
    >>> p.tolist()
    [0.25, 1.5]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = self.memory(params) if memory is None else memory
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params  # changed in place
            if self.weight_decay:
                grad += np.multiply(params, self.weight_decay, out=scratch)
            if self.momentum:
                (velocity,) = kept.vectors
                velocity *= self.momentum
                velocity += grad
                _fade(velocity)
                if self.nesterov:
                    grad += np.multiply(velocity, self.momentum, out=scratch)
                else:
                    grad = velocity
            params -= np.multiply(grad, self.lr, out=scratch)

        return step


class Adam(Optimizer, optimizers.Adam):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay added to the gradient.

    ``g += weight_decay * p``; ``m = b1 * m + (1 - b1) * g``; ``v = b2 * v + (1 - b2) * g**2``;
    ``p -= lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`` in step t = 1, 2, ...
    m and v start at zero. Settings: see `fastgrad.Adam`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import Adam
    >>> p = np.array([1.0, 2.0])
    >>> step = Adam(lr=0.125).start(p)
    >>> step(np.array([1e-3, -1e3]))
    >>> p.round(4).tolist()
    [0.875, 2.125]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        beta1, beta2 = self.betas
        kept = self.memory(params) if memory is None else memory
        mean, square = kept.vectors
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params, mean, square, scratch  # changed in place
            kept.steps += 1
            t = kept.steps
            if self.decoupled:
                params *= 1 - self.lr * self.weight_decay
            elif self.weight_decay:
                grad += np.multiply(params, self.weight_decay, out=scratch)
            mean *= beta1
            mean += np.multiply(grad, 1 - beta1, out=scratch)
            _fade(mean)
            square *= beta2
            grad *= grad
            grad *= 1 - beta2
            square += grad

            np.sqrt(square, out=scratch)
            scratch /= math.sqrt(1 - beta2**t)
            scratch += self.eps
            np.multiply(mean, self.lr / (1 - beta1**t), out=grad)
            grad /= scratch
            params -= grad

        return step


class AdamW(Adam, optimizers.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` without decay in its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import AdamW
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
    >>> from fastgrad.reference import RMSprop
    >>> p = np.array([1.0, 2.0])
    >>> step = RMSprop(lr=0.5, alpha=0.75).start(p)
    >>> step(np.array([4.0, -1e3]))
    >>> p.round(6).tolist()
    [0.0, 3.0]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = self.memory(params) if memory is None else memory
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params  # changed in place
            square, *others = kept.vectors
            if self.weight_decay:
                grad += np.multiply(params, self.weight_decay, out=scratch)
            square *= self.alpha
            np.multiply(grad, grad, out=scratch)
            square += np.multiply(scratch, 1 - self.alpha, out=scratch)
            scratch[...] = square
            if self.centered:
                mean = others[0]
                mean *= self.alpha
                mean += grad * (1 - self.alpha)
                _fade(mean)
                scratch[...] -= mean * mean
            np.sqrt(scratch, out=scratch)
            scratch[...] += self.eps
            grad /= scratch
            if self.momentum:
                velocity = others[-1]
                velocity *= self.momentum
                velocity += grad
                _fade(velocity)
                grad = velocity
            params -= np.multiply(grad, self.lr, out=scratch)

        return step


class Adagrad(Optimizer, optimizers.Adagrad):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011).

    ``g += weight_decay * p``; ``s += g**2``;
    ``p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`` in step t = 1, 2, ...
    Settings: see `fastgrad.Adagrad`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import Adagrad
    >>> p = np.array([1.0, 2.0])
    >>> step = Adagrad(lr=0.25).start(p)
    >>> step(np.array([3.0, -1e3]))
    >>> p.round(6).tolist()
    [0.75, 2.25]
    """

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``."""
        kept = self.memory(params) if memory is None else memory
        scratch = np.empty_like(params)

        def step(grad: Array) -> None:
            nonlocal params  # changed in place
            (total,) = kept.vectors
            rate = self.lr / (1 + kept.steps * self.lr_decay)
            kept.steps += 1
            if self.weight_decay:
                grad += np.multiply(params, self.weight_decay, out=scratch)
            total += np.multiply(grad, grad, out=scratch)
            np.sqrt(total, out=scratch)
            scratch[...] += self.eps
            grad /= scratch
            params -= np.multiply(grad, rate, out=scratch)

        return step


def clip_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients in place so that the norm of all arrays as one vector is at most `max_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import clip_norm
    >>> grads = [np.array([3.0]), np.array([4.0])]
    >>> clip_norm(grads, 1.0), grads[1].tolist()
    (5.0, [0.8])
    """
    limit = check_limit("clip_norm", "max_norm", max_norm)
    arrays = changed("clip_norm", "grads", grads)
    wide = [array.astype(np.longdouble) for array in arrays]  # in which squares do not overflow
    norm = np.sqrt(sum((array * array).sum() for array in wide))
    if norm > limit:
        with np.errstate(all="ignore"):
            for array, exact in zip(arrays, wide, strict=True):
                array[...] = exact * (limit / norm)
    return float(norm)


def clip_value(grads: Any, limit: float) -> None:
    """Clip each element of gradients in place to between ``-limit`` and ``limit``; NaN stays.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.reference import clip_value
    >>> grad = np.array([-7.0, 0.5])
    >>> clip_value(grad, 5.0)
    >>> grad.tolist()
    [-5.0, 0.5]
    """
    most = check_limit("clip_value", "limit", limit)
    arrays = changed("clip_value", "grads", grads)
    for array in arrays:
        np.clip(array, -most, most, out=array)
