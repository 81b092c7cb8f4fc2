"""Gradient descent in plain NumPy: the steps of the optimizers of `fastgrad.optimizers`.

An optimizer is only its settings. What the method remembers (velocity, means, the number of steps)
is a `Memory`; ``start(params)`` begins with an empty one, ``start(params, memory)`` goes on. Both
return a function ``step(grad)`` that changes ``params`` and the memory in place, and uses ``grad``
as scratch space.

With p the parameters and g their gradient, everything is computed in the dtype of p; scalars such
as ``lr / (1 - beta1**t)`` are Python floats, which NumPy rounds to that dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import optimizers
from fastgrad.arrays import Array
from fastgrad.optimizers.tree_state import TreeState, work_dtype

__all__ = ["SGD", "Adam", "AdamW", "Memory", "Optimizer"]

Step = Callable[[Array], None]


@dataclass
class Memory:
    """What a method remembers from step to step."""

    vectors: list[Array]  # those that the optimizer names, of the parameters' shape and dtype
    steps: int = 0


class Optimizer(optimizers.Optimizer):
    """What all optimizers are here: settings that `start` a training."""

    def start(self, params: Array, memory: Memory | None = None) -> Step:
        """Return ``step(grad)``, which changes ``params`` in place and uses up ``grad``."""
        raise NotImplementedError

    def memory(self, params: Array) -> Memory:
        """Return what there is to remember before the first step."""
        return Memory([np.zeros_like(params) for _ in self.vectors()])

    def _run(
        self, state: TreeState, params: list[Array], grads: list[Array], spans: Any, own: Any
    ) -> None:
        """Make a checked step on the arrays of a tree, one by one."""
        for i, (p, grad) in enumerate(zip(params, grads, strict=True)):
            with np.errstate(all="ignore"):  # rounding may give inf; that is the right answer
                work = p.astype(work_dtype(p.dtype), copy=False)  # float16 is computed in float32
                memory = Memory(state.vectors[i], state.steps)
                self._for_array(state.decays[i]).start(work, memory)(grad.astype(work.dtype))
                if work is not p:
                    p[...] = work
        state.steps += 1
        betas = getattr(self, "betas", ())
        state.powers = [b * power for b, power in zip(betas, state.powers, strict=True)]
        self._keep(state)


class SGD(Optimizer, optimizers.SGD):
    """Stochastic gradient descent, with momentum and weight decay if asked for.

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
                if self.nesterov:
                    grad += np.multiply(velocity, self.momentum, out=scratch)
                else:
                    grad = velocity
            params -= np.multiply(grad, self.lr, out=scratch)

        return step


class Adam(Optimizer, optimizers.Adam):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay as part of the gradient.

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

    ``p *= 1 - lr * weight_decay``, then a step of `Adam` whose gradient has no decay in it.

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
