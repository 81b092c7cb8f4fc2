"""One dense layer, ``y = act(x @ w + b)``, forward and backward, in plain NumPy.

Shapes, for n samples with d inputs and k outputs:

=============  ============  ==========  =================  ==================
samples=       x             w           b                  y and z
=============  ============  ==========  =================  ==================
``"rows"``     ``(n, d)``    ``(d, k)``  ``(k,), (1, k)``   ``(n, k)``
``"columns"``  ``(d, n)``    ``(k, d)``  ``(k, 1), (k,)``   ``(k, n)``
=============  ============  ==========  =================  ==================

In both, ``x`` may be one sample ``(d,)``, and ``y`` is then ``(k,)``. Rows may have leading batch
axes ``(..., d)``. With ``z`` the pre-activation and ``grad_*`` short for ``dL/d*``, going back is

=========  ===========================  ===========================
gradient   rows                         columns
=========  ===========================  ===========================
grad_z     ``grad_y * act'(z)``         ``grad_y * act'(z)``
grad_x     ``grad_z @ w.T``             ``w.T @ grad_z``
grad_w     ``x.T @ grad_z``             ``grad_z @ x.T``
grad_b     ``grad_z.sum(axis=0)``       ``grad_z.sum(axis=1)``
=========  ===========================  ===========================

The code uses ``a.dot(b)``, which is ``a @ b`` for matrices at half the call overhead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .activations import Activation, identity, resolve
from .arrays import (
    NATIVE,
    Array,
    as_floats,
    as_rows,
    check_out,
    check_samples,
    promote,
    working_dtype,
)

__all__ = ["DenseCache", "DenseGrads", "dense", "dense_backward", "dense_forward"]


class DenseGrads(NamedTuple):
    """The gradients of one layer; None where not needed (or where there is no bias)."""

    x: Array | None = None
    w: Array | None = None
    b: Array | None = None
    z: Array | None = None


class DenseCache(NamedTuple):
    """What the forward pass leaves for the backward pass. Nothing is copied: do not write to it."""

    x: Array
    w: Array
    b: Array | None
    saved: Array  # y if the derivative is a function of y, else z
    activation: Activation
    samples: str
    dtype: np.dtype[Any]  # of the results; the arrays here are float32 where it is float16


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> Array:
    """Return ``y = act(x @ w + b)``. The arguments are those of `dense_forward`.

    Examples
    --------
    >>> from fastgrad.reference import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], [-5.0], "relu").tolist()
    [[0.0]]
    """
    return dense_forward(x, w, b, activation, samples=samples, out=out)[0]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, DenseCache]:
    """Return ``y = act(x @ w + b)``, or ``act(w @ x + b)`` for columns, and a cache.

    Parameters
    ----------
    x, w, b : array_like
        Input, weights and bias; shapes in the module's table. ``b=None`` means no bias.
    activation : None, str, activation object or callable
        A callable must be elementwise on arrays; it is differentiated by central differences.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Where to put ``y``: of its exact shape and dtype, sharing no memory with an input.

    Returns
    -------
    y : ndarray
        Of the dtype that NumPy promotes the inputs to; float64 where there are no floats.
    cache : DenseCache
        For `dense_backward`. It refers to ``x``, ``w`` and often ``y``: do not change them between.
        (Nobody looks whether ``y`` was, as fastgrad does: that would be 5 to 15 % of what is timed
        as NumPy's time.)

    Raises
    ------
    ValueError
        If shapes do not fit, ``out`` is unsuitable, or a name is unknown.
    TypeError
        If a dtype is not supported.

    Examples
    --------
    >>> from fastgrad.reference import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0, 2.0]], [[0.5], [0.25]], [-1.0], "tanh")
    >>> y.tolist()
    [[0.0]]
    >>> grads = dense_backward([[1.0]], cache)
    >>> grads.x.tolist(), grads.w.tolist(), grads.b.tolist()
    ([[0.5, 0.25]], [[1.0], [2.0]], [1.0])
    """
    act = resolve(activation)
    x, w, b = np.asarray(x), np.asarray(w), None if b is None else np.asarray(b)
    check_samples("dense_forward", "x", x, samples)
    rows, given = samples == "rows", (x, w, b)
    dtype = x.dtype
    if not (w.dtype is dtype and (b is None or b.dtype is dtype) and dtype in NATIVE):
        if b is None:
            (x, w), dtype = as_floats(x, w)
        else:
            (x, w, b), dtype = as_floats(x, w, b)
    if w.ndim != 2:
        raise ValueError(f"dense_forward: w has shape {w.shape}: it needs two axes")

    with np.errstate(all="ignore"):
        if not rows:
            z = w.dot(x)
        elif x.ndim <= 2:
            z = x.dot(w)
        else:  # dot hands only matrices to BLAS
            z = as_rows(x).dot(w).reshape(*x.shape[:-1], w.shape[-1])
        if b is not None:
            if b.size != w.shape[-1 if rows else 0]:
                raise ValueError(f"dense_forward: b has shape {b.shape} but w has {w.shape}")
            if rows or z.ndim == 1:
                z += b if b.ndim == 1 else b.reshape(-1)
            else:
                z += b.reshape(-1, 1)
        if out is not None:
            check_out("dense_forward", out, z.shape, dtype, *given)
        # z may be overwritten where y is all that the backward pass wants to know.
        axis = -1 if rows else 0
        y = act.apply(z, z if act.from_output else None, axis)
        cache = DenseCache(x, w, b, y if act.from_output else z, act, samples, dtype)
        if y.dtype is not dtype:
            y = y.astype(dtype, copy=False)
        if out is None:
            return y, cache
        np.copyto(out, y)
        return out, cache


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = ("x", "w", "b"),
    out: Any = None,
    accumulate: bool = False,
) -> DenseGrads:
    """Return the gradients of the loss with respect to the inputs of one layer.

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of ``y``.
    cache : DenseCache
        From `dense_forward`.
    need : iterable of {"x", "w", "b", "z"}
        Which gradients to compute; ``"z"`` is that of the pre-activation.
    out : DenseGrads, mapping or any object with fields x, w, b, z, optional
        Arrays to write to. A missing field or None means a new array.
    accumulate : bool
        Add to the arrays of ``out`` instead of overwriting them.

    Returns
    -------
    DenseGrads
        Each gradient has the shape of what it belongs to. They share no memory with each other
        or with the inputs.

    Examples
    --------
    >>> from fastgrad.reference import dense_forward, dense_backward
    >>> y, cache = dense_forward([[1.0], [2.0]], [[3.0]])
    >>> dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    DenseGrads(x=None, w=array([[3.]]), b=None, z=array([[1.],
           [1.]]))
    """
    if not _FIELDS.issuperset(need := tuple(need)):
        raise ValueError(f"dense_backward: need is {need!r}; choose from x, w, b, z")
    x, w, b, saved, act, samples, dtype = cache
    grad_y = np.asarray(grad_y)
    if grad_y.dtype is not dtype or dtype not in NATIVE:
        dtype = promote(grad_y, np.empty(0, dtype))
        work = working_dtype(dtype)
        grad_y, x, w, saved = (a.astype(work, copy=False) for a in (grad_y, x, w, saved))
    if grad_y.shape != saved.shape:
        raise ValueError(
            f"dense_backward: grad_y has shape {grad_y.shape} but y has shape {saved.shape}"
        )
    rows = samples == "rows"
    outs, add = _NO_OUT, accumulate
    if out is not None:
        outs = _fields(out)
        shapes = {"x": x.shape, "w": w.shape, "z": saved.shape}
        shapes |= {} if b is None else {"b": b.shape}
        _check_outs(outs, need, shapes, dtype, x, w, b, grad_y)

    with np.errstate(all="ignore"):
        grad_z = grad_y if act is identity else act.pull_back(grad_y, saved, -1 if rows else 0)
        # The transpose of the columns layout is the rows layout, at no cost.
        x_rows, g, w = as_rows(x, samples), as_rows(grad_z, samples), w if rows else w.T

        grad_x = grad_w = grad_b = None
        if "x" in need:
            # Written so that the result is contiguous in the caller's layout.
            grad_x = g.dot(w.T) if rows else w.dot(g.T)
            if x.ndim != 2:
                grad_x = grad_x.reshape(x.shape)
            if outs.x is not None or grad_x.dtype is not dtype:
                grad_x = _deliver(grad_x, dtype, outs.x, add)
        if "w" in need:
            grad_w = x_rows.T.dot(g) if rows else g.T.dot(x_rows)
            if outs.w is not None or grad_w.dtype is not dtype:
                grad_w = _deliver(grad_w, dtype, outs.w, add)
        if "b" in need and b is not None:
            grad_b = g.sum(axis=0)
            if b.ndim != 1:
                grad_b = grad_b.reshape(b.shape)
            if outs.b is not None or grad_b.dtype is not dtype:
                grad_b = _deliver(grad_b, dtype, outs.b, add)
        if "z" not in need:
            return DenseGrads(grad_x, grad_w, grad_b)
        if grad_z is grad_y:
            grad_z = grad_z.copy()
        return DenseGrads(grad_x, grad_w, grad_b, _deliver(grad_z, dtype, outs.z, add))


_FIELDS = frozenset("xwbz")
_NO_OUT = DenseGrads()


def _fields(out: Any) -> DenseGrads:
    """Read the fields x, w, b, z of whatever the caller gave as ``out``."""
    if isinstance(out, Mapping) and not _FIELDS.isdisjoint(out):
        return DenseGrads(*(out.get(name) for name in "xwbz"))
    if any(hasattr(out, name) for name in "xwbz"):
        return DenseGrads(*(getattr(out, name, None) for name in "xwbz"))
    raise TypeError(
        f"dense_backward: out is a {type(out).__name__}: give a DenseGrads, a mapping or an object "
        "with fields x, w, b, z"
    )


def _check_outs(
    outs: DenseGrads,
    need: Iterable[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    *inputs: Array | None,
) -> None:
    """Refuse outputs that are wanted and unfit, before anything is written."""
    taken: list[Array] = []
    for name, shape in shapes.items():
        out = getattr(outs, name)
        if name not in need or out is None:
            continue
        check_out("dense_backward", out, shape, dtype, *inputs)
        if any(np.shares_memory(out, other) for other in taken):
            raise ValueError("dense_backward: two outputs share memory")
        taken.append(out)


def _deliver(grad: Array, dtype: np.dtype[Any], out: Array | None, accumulate: bool) -> Array:
    """Return ``grad`` in ``dtype``, in or added into ``out`` where there is one."""
    if out is None:
        return grad.astype(dtype, copy=False)
    if accumulate:
        np.add(out, grad, out=out, casting="same_kind")
    else:
        np.copyto(out, grad, casting="same_kind")
    return out
