"""The result types of calls, and the checks of `out=`.

The types are named tuples of arrays; fastgrad, reference and loops share them. Nothing is computed
here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad.arrays import Array, masked_class


class DenseGrads(NamedTuple):
    """Gradients of one layer, each of the shape of what it belongs to.

    Attributes
    ----------
    x, w, b, z : ndarray or None
        ``dL/dx``, ``dL/dw``, ``dL/db`` (of the shape b was given in) and, on request, ``dL/dz`` of
        the pre-activation (the shape of y). None where not needed, and b where there is no bias.
        Of the dtype that NumPy promotes all arrays of the call to; float64 for integers.

    Examples
    --------
    >>> import fastgrad as fg
    >>> _, cache = fg.dense_forward([[1.0, 2.0]], [[3.0], [4.0]])
    >>> grads = fg.dense_backward([[1.0]], cache)
    >>> grads.x, grads.w.shape, grads.b
    (array([[3., 4.]]), (2, 1), None)
    """

    x: Array | None = None
    w: Array | None = None
    b: Array | None = None
    z: Array | None = None


class LayerParams(NamedTuple):
    """Weights and bias of one layer, views of a flat vector.

    Attributes
    ----------
    w : ndarray
        ``(d, k)``; columns: ``(k, d)``.
    b : ndarray or None
        ``(k,)``; columns: ``(k, 1)``. None where there is none.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP((3, 2), (None,), "mse")
    >>> w, b = net.layers(net.init())[0]
    >>> w.shape, b.shape
    ((3, 2), (2,))
    """

    w: Array
    b: Array | None


class NormParams(NamedTuple):
    """Gain and shift of a layer normalization, views of a flat vector.

    Attributes
    ----------
    gain, shift : ndarray
        ``(k,)``; columns: ``(k, 1)``.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP((3, 2, 1), ("tanh", None), "mse", normalize="layer")
    >>> gain, shift = net.layers(net.init())[1]
    >>> gain.tolist(), shift.tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """

    gain: Array
    shift: Array


class LayerNormGrads(NamedTuple):
    """Gradients of one layer normalization, of the shapes of what they belong to."""

    x: Array
    gain: Array
    shift: Array


class NormGrads(NamedTuple):
    """Gradients of a layer or batch normalization, each of the shape of what it belongs to.

    Attributes
    ----------
    x, gain, bias : ndarray or None
        None where not needed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> _, cache = fg.layer_norm_forward([[1.0, 3.0]], [1.0, 1.0], [0.0, 0.0])
    >>> fg.layer_norm_backward([[1.0, 2.0]], cache, need=("bias",)).bias.tolist()
    [1.0, 2.0]
    """

    x: Array | None = None
    gain: Array | None = None
    bias: Array | None = None


class NetworkGrads(NamedTuple):
    """Gradients of a whole network, each like what it belongs to.

    Attributes
    ----------
    params : ndarray, dict, list or None
        The flat vector, or in the form the parameters had. None where not needed.
    x : ndarray or None
        Of the shape of x.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP((2, 1), (None,), "mse", bias=False, dtype="float64")
    >>> y, tape = net.forward([3.0, 4.0], [[1.0, 2.0]])
    >>> net.backward([[1.0]], tape)
    NetworkGrads(params=array([1., 2.]), x=array([[3., 4.]]))
    """

    params: Any = None
    x: Array | None = None


class RnnGrads(NamedTuple):
    """Gradients of a simple recurrent layer, or of a GRU, each of the shape of what it belongs to.

    Attributes
    ----------
    x, h0, wx, wh, b : ndarray or None
        None where not needed, and b where there is no bias.

    Examples
    --------
    >>> import fastgrad as fg
    >>> h, cache = fg.rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[2.0]], activation=None)
    >>> fg.rnn_backward([[1.0], [1.0]], cache, need="x").x.tolist()
    [[3.0], [1.0]]
    """

    x: Array | None = None
    h0: Array | None = None
    wx: Array | None = None
    wh: Array | None = None
    b: Array | None = None


class LstmGrads(NamedTuple):
    """Gradients of an LSTM, each of the shape of what it belongs to.

    Attributes
    ----------
    x, h0, c0, wx, wh, b : ndarray or None
        None where not needed, and b where there is no bias.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.LstmGrads._fields
    ('x', 'h0', 'c0', 'wx', 'wh', 'b')
    """

    x: Array | None = None
    h0: Array | None = None
    c0: Array | None = None
    wx: Array | None = None
    wh: Array | None = None
    b: Array | None = None


class EmbeddingGrads(NamedTuple):
    """The gradient of an embedding's table.

    Attributes
    ----------
    table : ndarray
        ``(words, d)``; rows that have not been used are 0.

    Examples
    --------
    >>> import fastgrad as fg
    >>> _, cache = fg.embedding_forward([1, 1], [[0.0], [0.0]])
    >>> fg.embedding_backward([[2.0], [3.0]], cache).table.tolist()
    [[0.0], [5.0]]
    """

    table: Array | None = None


class EmbeddingRows(NamedTuple):
    """The rows of an embedding's table that have been used, and their gradients.

    Attributes
    ----------
    ids : ndarray of int64
        ``(m,)``, in increasing order, each once.
    rows : ndarray
        ``(m, d)``: ``grad_table[ids]``.

    Examples
    --------
    >>> import fastgrad as fg
    >>> _, cache = fg.embedding_forward([1, 1], [[0.0], [0.0]])
    >>> fg.embedding_backward([[2.0], [3.0]], cache, rows=True).rows.tolist()
    [[5.0]]
    """

    ids: Array
    rows: Array


# -- out= of one result -------------------------------------------------------------------------


def check_out(
    function: str,
    name: str,
    given: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: dict[str, Any],
) -> Array:
    """Return a view of `given`, an `out=`; raise unless it can receive a result.

    It needs the exact shape and dtype, must be writeable, and share no memory with an input.
    """
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{function}: {name} is a {type(given).__name__}: give a NumPy array")
    if isinstance(given, masked_class()):
        raise TypeError(f"{function}: {name} is a masked array: give its data")
    out = own_view(given)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{function}: {name} has shape {out.shape} and dtype {out.dtype}: "
            f"it needs shape {shape} and dtype {dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: {name} is read-only")
    if out.size and _overlaps_itself(out):
        raise ValueError(f"{function}: {name} has elements that share memory with each other")
    for other, array in inputs.items():
        if isinstance(array, np.ndarray) and np.shares_memory(out, array):
            raise ValueError(f"{function}: {name} shares memory with {other}")
    return out


def own_view(array: Array) -> Array:
    """Return a plain view of an array, with a header that nobody else can change.

    A subclass may override its properties with anything; another thread or a callback may set
    the caller's ``x.shape`` or ``x.dtype`` after the checks.
    """
    plain: Array = np.ndarray.view(array, np.ndarray)
    return plain


def _overlaps_itself(array: Array) -> bool:
    """Return whether two elements may share memory: each step must clear all smaller ones."""
    extent = array.itemsize
    steps = zip(array.strides, array.shape, strict=True)
    for step, length in sorted((abs(s), n) for s, n in steps if n > 1):
        if step < extent:
            return True
        extent += step * (length - 1)
    return False
