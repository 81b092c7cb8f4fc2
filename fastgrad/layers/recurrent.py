"""Recurrent layers over all their steps: a simple one, LSTM and GRU, and their gradients.

Each pass is one compiled call: see `recurrent_calls`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.activations import Activation
from fastgrad.arguments import check_choice
from fastgrad.arrays import Array
from fastgrad.layers.compiled_layer import resolve
from fastgrad.layers.recurrent_arguments import (
    GRU_RESETS,
    LSTM_GATES,
    RecurrentCache,
    check_named,
    recurrent_arguments,
    recurrent_gradients,
)
from fastgrad.layers.recurrent_calls import forward, gradients
from fastgrad.results import LstmGrads, RnnGrads


def rnn_forward(
    x: ArrayLike,
    h0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    activation: str | Activation | None = "tanh",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, RecurrentCache]:
    """Return the states ``h[t] = act(x[t] @ wx + h[t-1] @ wh + b)``, and a cache for backward.

    Parameters
    ----------
    x : array_like
        ``(t, n, d)``: t steps of n samples; or ``(t, d)``, one sample.
    h0 : array_like
        ``(n, k)``; one sample: ``(k,)``. The state before the first step.
    wx, wh : array_like
        ``(d, k)`` and ``(k, k)``: the weights of input and state.
    b : array_like, optional
        ``(k,)`` or ``(1, k)``.
    activation : None, str or Activation
        None is the identity.
    lengths : array_like of int, optional
        ``(n,)``: how many steps each sample has. After its last step a sample's state does not
        change, so ``h[-1]`` holds all final states; its x there may be anything, with gradient 0.

    Returns
    -------
    h : ndarray
        ``(t, n, k)``; one sample: ``(t, k)``. The state after each step, of the dtype that NumPy
        promotes the inputs to; float64 if all are integers or bools.
    cache : RecurrentCache
        For `rnn_backward`. It refers to the inputs and to h: do not change them in between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in, an `activation` of another kind.
    ValueError
        For shapes that do not fit, lengths out of range, an unknown name.

    Examples
    --------
    >>> import fastgrad as fg
    >>> h, cache = fg.rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[0.5]], activation="relu")
    >>> h.tolist()
    [[1.0], [0.5]]
    >>> fg.rnn_backward([1.0], cache).wh.tolist()
    [[1.0]]
    """
    check_named("rnn_forward", activation)
    act, _ = resolve("rnn_forward", activation)
    given = recurrent_arguments("rnn_forward", x, h0, None, wx, wh, b, lengths, 1)
    return forward("rnn", act, given)  # type: ignore[no-any-return]


def rnn_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    *,
    need: Iterable[str] = RnnGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> RnnGrads:
    """Return the gradients of the loss with respect to a recurrent layer's inputs.

    ``grad_z[t] = (grad_h[t] + grad_z[t+1] @ wh.T) * act'(z[t])``; then, with sums over all steps
    and samples, ``grad_x = grad_z @ wx.T``, ``grad_wx = sum x[t].T @ grad_z[t]``,
    ``grad_wh = sum h[t-1].T @ grad_z[t]``, ``grad_b = sum grad_z``.

    Parameters
    ----------
    grad_h : array_like
        ``dL/dh``, of the shape of h; or of ``h[-1]``, if the loss depends only on the last state.
    cache : RecurrentCache
        From `rnn_forward`.
    need : iterable of str
        Which gradients to compute, of x, h0, wx, wh, b.
    out : RnnGrads, mapping or object with these fields, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    RnnGrads
        Each gradient has the shape of its argument, in C order.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit; if the states have been changed since
        `rnn_forward` returned them.

    Examples
    --------
    >>> import fastgrad as fg
    >>> h, cache = fg.rnn_forward([[1.0], [0.0]], [0.0], [[1.0]], [[0.5]], activation=None)
    >>> grads = fg.rnn_backward([1.0], cache, need=("x", "h0"))
    >>> grads.x.tolist(), grads.h0.tolist(), grads.wx
    ([[0.5], [1.0]], [0.25], None)
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "rnn_backward", gradients, RnnGrads, cache, grad_h, None, need, out, accumulate
    )


def lstm_forward(
    x: ArrayLike,
    h0: ArrayLike,
    c0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    gates: str = "ifog",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, Array, RecurrentCache]:
    """Return the states and cells of an LSTM after each step, and a cache for the backward pass.

    With ``a = x[t] @ wx + h[t-1] @ wh + b``, cut into the gates i, f, o and g::

        c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g)
        h[t] = sigmoid(o) * tanh(c[t])

    Parameters
    ----------
    x : array_like
        ``(t, n, d)``: t steps of n samples; or ``(t, d)``, one sample.
    h0 : array_like
        ``(n, k)``; one sample: ``(k,)``. The state before the first step.
    c0 : array_like
        Of the shape of h0. The cells before the first step.
    wx, wh : array_like
        ``(d, 4 k)`` and ``(k, 4 k)``: the weights of input and state, of all gates.
    b : array_like, optional
        ``(4 k,)`` or ``(1, 4 k)``. The sum of PyTorch's two.
    gates : {"ifog", "ifgo"}
        The order of the gates: CS231n's, or PyTorch's.
    lengths : array_like of int, optional
        ``(n,)``: how many steps each sample has. After its last step a sample's state does not
        change, so ``h[-1]`` holds all final states; its x there may be anything, with gradient 0.

    Returns
    -------
    h, c : ndarray
        ``(t, n, k)``; one sample: ``(t, k)``. State and cells after each step, of the dtype that
        NumPy promotes the inputs to; float64 if all are integers or bools.
    cache : RecurrentCache
        For `lstm_backward`. It refers to the inputs, h and c: do not change them in between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in.
    ValueError
        For shapes that do not fit, lengths out of range, an unknown name.

    Examples
    --------
    >>> import fastgrad as fg
    >>> w = [[0.0, 0.0, 0.0, 9.0]]
    >>> h, c, cache = fg.lstm_forward([[1.0], [1.0]], [0.0], [0.0], w, w)
    >>> c.round(3).tolist()
    [[0.5], [0.75]]
    """
    check_choice("lstm_forward", "gates", gates, LSTM_GATES)
    given = recurrent_arguments("lstm_forward", x, h0, c0, wx, wh, b, lengths, 4)
    return forward("lstm", gates, given)  # type: ignore[no-any-return]


def lstm_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    grad_c: ArrayLike | None = None,
    *,
    need: Iterable[str] = LstmGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> LstmGrads:
    """Return the gradients of the loss with respect to an LSTM's inputs.

    Parameters
    ----------
    grad_h : array_like
        ``dL/dh``, of the shape of h; or of ``h[-1]``, if the loss depends only on the last state.
    cache : RecurrentCache
        From `lstm_forward`.
    grad_c : array_like, optional
        ``dL/dc``, of the shape of c, or of ``c[-1]``.
    need : iterable of str
        Which gradients to compute, of x, h0, c0, wx, wh, b.
    out : LstmGrads, mapping or object with these fields, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    LstmGrads
        Each gradient has the shape of its argument, in C order.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit; if the states have been changed since
        `lstm_forward` returned them.

    Examples
    --------
    >>> import fastgrad as fg
    >>> w = [[0.0, 0.0, 0.0, 9.0]]
    >>> h, c, cache = fg.lstm_forward([[1.0], [1.0]], [0.0], [0.0], w, w)
    >>> fg.lstm_backward([0.0], cache, grad_c=[1.0], need=("c0",)).c0.round(3).tolist()
    [0.25]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "lstm_backward", gradients, LstmGrads, cache, grad_h, grad_c, need, out, accumulate
    )


def gru_forward(
    x: ArrayLike,
    h0: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    b: ArrayLike | None = None,
    reset: str = "before",
    *,
    lengths: ArrayLike | None = None,
) -> tuple[Array, RecurrentCache]:
    """Return the states of a GRU after each step, and a cache for the backward pass.

    Its gates r (reset), z (how much of the state stays) and n (the new state) are in this order in
    wx, wh and b. With ``a = x[t] @ wx + b``::

        r = sigmoid(a_r + h[t-1] @ wh_r)
        z = sigmoid(a_z + h[t-1] @ wh_z)
        n = tanh(a_n + (r * h[t-1]) @ wh_n)           reset="before" the product
        n = tanh(a_n + r * (h[t-1] @ wh_n + b_hn))    reset="after" it, as PyTorch
        h[t] = (1 - z) * n + z * h[t-1]

    Parameters
    ----------
    x : array_like
        ``(t, n, d)``: t steps of n samples; or ``(t, d)``, one sample.
    h0 : array_like
        ``(n, k)``; one sample: ``(k,)``. The state before the first step.
    wx, wh : array_like
        ``(d, 3 k)`` and ``(k, 3 k)``: the weights of input and state, of all gates.
    b : array_like, optional
        ``(3 k,)`` or ``(1, 3 k)``. With ``reset="after"`` also ``(2, 3 k)``: added to the
        product with x, and to the product with h, ``b_h``.
    reset : {"before", "after"}
        Whether the reset gate multiplies the state or its product with wh.
    lengths : array_like of int, optional
        ``(n,)``: how many steps each sample has. After its last step a sample's state does not
        change, so ``h[-1]`` holds all final states; its x there may be anything, with gradient 0.

    Returns
    -------
    h : ndarray
        ``(t, n, k)``; one sample: ``(t, k)``. The state after each step, of the dtype that NumPy
        promotes the inputs to; float64 if all are integers or bools.
    cache : RecurrentCache
        For `gru_backward`. It refers to the inputs and to h: do not change them in between.

    Raises
    ------
    TypeError
        For a dtype fastgrad does not compute in.
    ValueError
        For shapes that do not fit, lengths out of range, an unknown name.

    Examples
    --------
    >>> import fastgrad as fg
    >>> w = [[0.0, 0.0, 9.0]]
    >>> h, cache = fg.gru_forward([[1.0], [1.0]], [0.0], w, w)
    >>> h.round(3).tolist()
    [[0.5], [0.75]]
    """
    check_choice("gru_forward", "reset", reset, GRU_RESETS)
    given = recurrent_arguments(
        "gru_forward", x, h0, None, wx, wh, b, lengths, 3, two_biases=reset == "after"
    )
    return forward("gru", reset, given)  # type: ignore[no-any-return]


def gru_backward(
    grad_h: ArrayLike,
    cache: RecurrentCache,
    *,
    need: Iterable[str] = RnnGrads._fields,
    out: Any = None,
    accumulate: bool = False,
) -> RnnGrads:
    """Return the gradients of the loss with respect to a GRU's inputs.

    Parameters
    ----------
    grad_h : array_like
        ``dL/dh``, of the shape of h; or of ``h[-1]``, if the loss depends only on the last state.
    cache : RecurrentCache
        From `gru_forward`.
    need : iterable of str
        Which gradients to compute, of x, h0, wx, wh, b.
    out : RnnGrads, mapping or object with these fields, optional
        Arrays to write to, of exact shape and dtype. A missing field or None is a new array.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    RnnGrads
        Each gradient has the shape of its argument, in C order.

    Raises
    ------
    TypeError, ValueError
        For shapes, dtypes, names or outputs that do not fit; if the states have been changed since
        `gru_forward` returned them.

    Examples
    --------
    >>> import fastgrad as fg
    >>> w = [[0.0, 0.0, 9.0]]
    >>> h, cache = fg.gru_forward([[1.0], [1.0]], [0.0], w, [[0.0, 0.0, 0.0]])
    >>> fg.gru_backward([1.0], cache, need=("h0",)).h0.tolist()
    [0.25]
    """
    return recurrent_gradients(  # type: ignore[no-any-return]
        "gru_backward", gradients, RnnGrads, cache, grad_h, None, need, out, accumulate
    )
