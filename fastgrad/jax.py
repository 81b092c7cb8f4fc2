"""Fastgrad in JAX: a fused layer under `jit`, `grad` and `vmap`.

``pip install "fastgrad[jax]"``. The kernels run in callbacks (`jax.pure_callback`), on the CPU.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from fastgrad.arrays import Array
from fastgrad.layers import batched

__all__ = ["dense"]


def dense(x: Any, w: Any, b: Any = None, activation: Any = None) -> jax.Array:
    """Return ``y = activation(x @ w + b)``, differentiable in JAX.

    The forward pass is `fastgrad.dense_forward`, the backward pass `fastgrad.dense_backward`: one
    callback each. JAX copies what goes into a callback and what comes out of it.

    Parameters
    ----------
    x : array_like, shape (..., d) or (d,)
        Samples in rows; float32, or float64 where ``jax_enable_x64`` is set.
    w : array_like, shape (d, k)
        Weights.
    b : array_like, shape (k,), optional
        Bias.
    activation : None, str, Activation or callable, optional
        As in `fastgrad.dense`. A callable gets NumPy arrays; it is differentiated by differences.

    Returns
    -------
    jax.Array, shape (..., k)
        Of the same dtype.

    Raises
    ------
    TypeError
        If an argument is not float32 or float64, or of another dtype than x.
    ValueError
        If the shapes do not fit.

    Notes
    -----
    - Under ``vmap``, one w and b for all samples stay one fused call; gradients for each sample, or
      a w for each, are one product for each in the same callback.
    - Reverse mode only (``custom_vjp``), first derivatives only: `jax.jvp` and gradients of
      gradients are refused by JAX.
    - JAX's CPU threads flush subnormal numbers to zero while a callback runs. So values below
      1.2e-38 (float32) or 2.2e-308 (float64) become 0 here, where `fastgrad.dense` keeps them.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from fastgrad.jax import dense
    >>> x, w = jnp.ones((2, 3)), jnp.full((3, 1), 0.5)
    >>> jax.jit(jax.grad(lambda w: dense(x, w, activation="tanh").sum()))(w).T
    Array([[0.36141324, 0.36141324, 0.36141324]], dtype=float32)
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    b = None if b is None else jnp.asarray(b)
    _check(x, w, b)
    batched.saves_apart("jax.dense", activation)  # an unknown activation: say so now
    y: jax.Array = _dense(x, w, b, activation)
    return y


def _check(x: Any, w: Any, b: Any) -> None:
    """Refuse what the kernel would: an error in a callback would come out as JAX's own."""
    for name, array in (("x", x), ("w", w), ("b", b)):
        if array is not None and array.dtype not in (np.float32, np.float64):
            raise TypeError(f"jax.dense: {name} has dtype {array.dtype}: float32 or float64 needed")
        if array is not None and array.dtype != x.dtype:
            raise TypeError(
                f"jax.dense: {name} has dtype {array.dtype} but x has {x.dtype}: convert one"
            )
    if x.ndim == 0 or w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise ValueError(
            f"jax.dense: w has shape {w.shape} but x has shape {x.shape}: w needs 2 axes and "
            f"{x.shape[-1] if x.ndim else 'as many'} rows, one per input feature"
        )
    if b is not None and b.shape not in ((w.shape[1],), (1, w.shape[1])):
        raise ValueError(
            f"jax.dense: b has shape {b.shape} but w has shape {w.shape}: b needs shape "
            f"({w.shape[1]},), one per output"
        )


def _call(function: Any, like: Any, *arrays: Any) -> Any:
    """Call NumPy code on `arrays`; `vmap` puts axes of size 1 or of the batch in front of them."""
    axes = arrays[0].ndim

    def run(*given: Any) -> Any:
        given = tuple(None if a is None else np.asarray(a) for a in given)
        return function(*given, lead=given[0].ndim - axes)

    return jax.pure_callback(run, like, *arrays, vmap_method="expand_dims")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _dense(x: Any, w: Any, b: Any, activation: Any) -> Any:
    def run(x: Array, w: Array, b: Array | None, lead: int) -> Array:
        return batched.value(x, w, b, activation, lead)

    return _call(run, _like_y(x, w), x, w, b)


def _forward(x: Any, w: Any, b: Any, activation: Any) -> Any:
    y_like = _like_y(x, w)
    if not batched.saves_apart("jax.dense", activation):
        y = _dense(x, w, b, activation)
        return y, (x, w, b, y)

    def run(x: Array, w: Array, b: Array | None, lead: int) -> tuple[Array, Array]:
        return batched.forward(x, w, b, activation, lead)

    y, saved = _call(run, (y_like, y_like), x, w, b)
    return y, (x, w, b, saved)


def _backward(activation: Any, kept: Any, grad_y: Any) -> Any:
    x, w, b, saved = kept
    need = ("x", "w") if b is None else ("x", "w", "b")

    def run(
        grad_y: Array, x: Array, w: Array, b: Array | None, saved: Array, lead: int
    ) -> tuple[Array, ...]:
        return batched.backward(grad_y, x, w, b, saved, activation, need, lead)

    like = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w, b) if a is not None)
    made = _call(run, like, grad_y, x, w, b, saved)
    return made if b is not None else (*made, None)


_dense.defvjp(_forward, _backward)


def _like_y(x: Any, w: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*x.shape[:-1], w.shape[1]), x.dtype)
