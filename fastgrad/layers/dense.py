"""One fused dense layer: ``y = act(x @ w + b)``, and its gradients.

Each function is the first step of a call (`fastgrad.calls`); `dense_calls` has the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.calls import NOT_TAKEN
from fastgrad.kernels.flags import ACCUMULATE, ADD_X, UNCHECKED
from fastgrad.layers.compiled_layer import LAYERS, WANT, DenseCache
from fastgrad.layers.dense_arguments import NEED as _NEED
from fastgrad.layers.dense_arguments import output_fields
from fastgrad.layers.dense_calls import DENSE, DENSE_BACKWARD, DENSE_FORWARD
from fastgrad.results import DenseGrads

__all__ = ["DenseCache", "DenseGrads", "dense", "dense_backward", "dense_forward"]


_ALL = sum(WANT[name] for name in _NEED)
# Bits by `need`, in any order, as tuples and as strings; what is not here is checked.
_WANTED: dict[Any, int] = {
    key: sum(WANT[name] for name in names)
    for count in range(len(WANT) + 1)
    for names in permutations(WANT, count)
    for key in (names, "".join(names))
}
# Bits by `accumulate`; what is not here is checked.
_ADDING = {True: ACCUMULATE + ADD_X}


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> Array:
    """Return ``y = act(x @ w + b)`` (columns: ``act(w @ x + b)``), without a cache for backward.

    Parameters
    ----------
    x : array_like
        Rows: ``(n, d)``, ``(..., d)`` or one sample ``(d,)``. Columns: ``(d, n)`` or ``(d,)``.
        Or a SciPy sparse matrix or array (CSR, CSC or COO): see `dense_forward`.
    w : array_like
        Weights: ``(d, k)`` for rows, ``(k, d)`` for columns.
    b : array_like, optional
        Bias: ``(k,)``, or ``(1, k)`` for rows, ``(k, 1)`` for columns.
    activation : None, str, Activation or callable
        None is the identity. Any other callable must be an elementwise function of an array.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Where to put y: of its exact shape and dtype, sharing no memory with an input.

    Returns
    -------
    ndarray
        y: ``(n, k)``, ``(..., k)`` or ``(k,)``; columns: ``(k, n)`` or ``(k,)``. Of the
        dtype that NumPy promotes the inputs to; float64 where all are integers or bools.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in, an `activation` of another kind, an `out` that is
        no array.
    ValueError
        For shapes that do not fit, an unsuitable `out`, an unknown name.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.dense([[1.0, 2.0]], [[1.0], [1.0]], [-5.0], "relu")
    array([[0.]])
    """
    try:
        layer = LAYERS[samples][activation][x.dtype]  # type: ignore[union-attr]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        y = layer.forward(x, w, b, out, False, layer.record, flags, None, None)
        if y is not None and y is not True:
            return y  # type: ignore[no-any-return]
    except NOT_TAKEN:
        y = None
    return DENSE.complete(y, (x, w, b), (out,), (activation, samples))  # type: ignore[no-any-return]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: Any = None,
    *,
    samples: str = "rows",
    out: Array | None = None,
) -> tuple[Array, DenseCache]:
    """Return ``y = act(x @ w + b)`` (columns: ``act(w @ x + b)``) and a cache for backward.

    Parameters
    ----------
    x : array_like
        Rows: ``(n, d)``, ``(..., d)`` or one sample ``(d,)``. Columns: ``(d, n)`` or ``(d,)``.
        Or a SciPy sparse matrix or array (CSR, CSC or COO): see the notes.
    w : array_like
        Weights: ``(d, k)`` for rows, ``(k, d)`` for columns.
    b : array_like, optional
        Bias: ``(k,)``, or ``(1, k)`` for rows, ``(k, 1)`` for columns.
    activation : None, str, Activation or callable
        None is the identity. Any other callable must be an elementwise function of an array; it
        is differentiated by central differences in float64: right, but slow.
    samples : {"rows", "columns"}
        Which axis counts samples.
    out : ndarray, optional
        Where to put y: of its exact shape and dtype, sharing no memory with an input.

    Returns
    -------
    y : ndarray
        ``(n, k)``, ``(..., k)`` or ``(k,)``; columns: ``(k, n)`` or ``(k,)``. Of the dtype that
        NumPy promotes the inputs to; float64 where all are integers or bools. A sample's outputs
        are contiguous.
    cache : DenseCache
        For `dense_backward`. It refers to `x`, `w` and often `y`: do not change them in between.
        If `dense_backward` needs y, it checks some 64 of its elements (all of a smaller y).

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in.
    ValueError
        For shapes that do not fit, an unsuitable `out`, an unknown name.

    Notes
    -----
    A sparse x gives the bits of ``x.toarray()`` in the time that its entries take: CSR (where
    samples are columns, CSC) is read in place, other formats are converted in each call. Entries
    that are not stored take no part: they do not meet an infinity or a NaN of w. Unsorted indices
    are sorted in a copy, several entries for one place added up. Its indices are checked in each
    call. `dense_backward` gives dense gradients of w and b, but none of x.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dense_forward([[1.0, 2.0]], [[0.5], [0.25]], [-1.0], "tanh")
    >>> y
    array([[0.]])
    >>> grads = fg.dense_backward([[1.0]], cache)
    >>> grads.x.tolist(), grads.w.tolist(), grads.b.tolist()
    ([[0.5, 0.25]], [[1.0], [2.0]], [1.0])
    """
    try:
        layer = LAYERS[samples][activation][x.dtype]  # type: ignore[union-attr]
        flags = layer.columns if out is None else layer.columns + UNCHECKED
        pair = layer.forward(x, w, b, out, layer.keeps, layer.record, flags, DenseCache, layer)
        if pair is not None and pair is not True:
            return pair  # type: ignore[no-any-return]
    except NOT_TAKEN:
        pair = None
    return DENSE_FORWARD.complete(pair, (x, w, b), (out,), (activation, samples))  # type: ignore[no-any-return]


def dense_backward(
    grad_y: ArrayLike,
    cache: DenseCache,
    *,
    need: Iterable[str] = _NEED,
    out: Any = None,
    accumulate: bool = False,
) -> DenseGrads:
    """Return the gradients of the loss with respect to a layer's inputs.

    With ``grad_z = grad_y * act'(z)``: ``grad_x = grad_z @ w.T``, ``grad_w = x.T @ grad_z``,
    ``grad_b = grad_z.sum(axis=0)`` (columns: the transposes).

    Parameters
    ----------
    grad_y : array_like
        ``dL/dy``, of the shape of y.
    cache : DenseCache
        From `dense_forward`.
    need : iterable of {"x", "w", "b", "z"}
        Which gradients to compute; ``"z"`` is that of the pre-activation. ``"x"`` is not offered
        for a sparse x: there the default is w and b.
    out : DenseGrads, mapping or object with fields x, w, b, z, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    DenseGrads
        Each gradient has the shape and memory order of its array; C order if there are leading
        batch axes.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit; if act' is computed from y, and y
        has been changed since `dense_forward` returned it.

    Examples
    --------
    >>> import fastgrad as fg
    >>> y, cache = fg.dense_forward([[1.0], [2.0]], [[3.0]])
    >>> grads = fg.dense_backward([[1.0], [1.0]], cache, need=("w", "z"))
    >>> grads.w, grads.z.tolist(), grads.x
    (array([[3.]]), [[1.0], [1.0]], None)
    """
    grads: Any = None
    known: Any = None  # what steps 2 and 3 need
    try:
        x, w, b, saved, layer, dtypes, mark = cache
        if layer.function is None:
            # A look-up takes 60 ns.
            wanted = _ALL if need is _NEED else _WANTED[tuple(need) if type(need) is list else need]
            flags, run = layer.columns, layer.backward
            if out is None and accumulate is False:
                into: Any = ()
                grads = run(
                    grad_y, x, w, b, saved, layer.record, wanted, flags, DenseGrads,
                    None, None, None, None, mark,
                )  # fmt: skip
            else:
                into = out if type(out) is DenseGrads else output_fields(out)
                if accumulate is not False:
                    wanted += _ADDING[accumulate]
                flags += UNCHECKED
                grads = run(
                    grad_y, x, w, b, saved, layer.record, wanted, flags, DenseGrads, *into, mark
                )
            if grads is not None and grads is not True:
                return grads  # type: ignore[no-any-return]
            # A float16 cache holds float32 arrays: with int8 these would promote to float32.
            if dtypes is None or grad_y.dtype.kind == "f":  # type: ignore[union-attr]
                how = cache, need, out, accumulate, wanted, flags
                known = (grad_y, x, w, b, saved), into, how
    except NOT_TAKEN:
        pass
    if known is None:
        return DENSE_BACKWARD.checked((grad_y,), (), (cache, need, out, accumulate))  # type: ignore[no-any-return]
    return DENSE_BACKWARD.complete(grads, *known)  # type: ignore[no-any-return]
