"""Fastgrad in HIPS autograd: a fused layer as a primitive that keeps float32.

``pip install "fastgrad[autograd]"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autograd.extend import Box, defvjp_argnums, primitive

from fastgrad.arrays import Array
from fastgrad.layers import batched

__all__ = ["dense"]


def dense(x: Any, w: Any, b: Any = None, activation: Any = None) -> Any:
    """Return ``y = activation(x @ w + b)``, differentiable by autograd.

    The forward pass is `fastgrad.dense_forward`, the backward pass `fastgrad.dense_backward`; only
    the gradients that are asked for are computed.

    Parameters
    ----------
    x : ndarray, shape (..., d) or (d,)
        Samples in rows; float32 or float64.
    w : ndarray, shape (d, k)
        Weights.
    b : ndarray, shape (k,), optional
        Bias.
    activation : None, str, Activation or callable, optional
        As in `fastgrad.dense`.

    Returns
    -------
    ndarray, shape (..., k)
        Of the arguments' dtype, as the gradients are: float32 stays float32.

    Raises
    ------
    TypeError, ValueError
        As `fastgrad.dense`.
    NotImplementedError
        When a gradient of this gradient is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from fastgrad.autograd import dense
    >>> x, w = np.ones((2, 3)), np.full((3, 1), 0.5)
    >>> grad(lambda w: dense(x, w, None, "tanh").sum())(w).T
    array([[0.36141328, 0.36141328, 0.36141328]])
    """
    return _dense(x, w, b, activation)[0]


@primitive
def _dense(x: Any, w: Any, b: Any, activation: Any) -> tuple[Array, Array]:
    """Return y and what backward needs: a second output, which has no gradient."""
    return batched.forward(x, w, b, activation)


def _vjp(
    argnums: tuple[int, ...], ans: tuple[Array, Array], args: tuple[Any, ...], kwargs: Any
) -> Callable[[tuple[Array, Array]], list[Array]]:
    x, w, b, activation = args
    need = tuple("xwb"[argnum] for argnum in argnums)

    def vjp(grads: tuple[Array, Array]) -> list[Array]:
        if any(isinstance(given, Box) for given in (grads, x, w, b, ans)):
            raise NotImplementedError("autograd.dense: it has first derivatives only")
        made = iter(batched.backward(grads[0], x, w, b, ans[1], activation, need))
        by_name = {name: next(made) for name in "xwb" if name in need}
        return [by_name[name] for name in need]

    return vjp


defvjp_argnums(_dense, _vjp)
