"""Recurrent layers as objects: all steps forward and backward, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_choice, check_count, native_dtype, random_generator
from fastgrad.arrays import Array, as_array
from fastgrad.layers import recurrent
from fastgrad.layers.compiled_layer import resolve
from fastgrad.layers.recurrent_arguments import GRU_RESETS, LSTM_GATES, check_named
from fastgrad.nn.layer import Turns

__all__ = ["GRU", "LSTM", "RNN"]

_GRADIENTS = ("wx", "wh", "b", "h0", "c0")


class Recurrent(Turns):
    """The base of the recurrent layers; not a layer itself."""

    _gates: int
    _cell: str
    _setting: Any
    _cache: Any = None

    def __init__(self, input_dim: int, state_dim: int, bias: bool, dtype: str, seed: Any) -> None:
        name = type(self).__name__
        self.input_dim = d = check_count(name, "input_dim", input_dim)
        self.state_dim = k = check_count(name, "state_dim", state_dim)
        native = native_dtype(name, dtype)
        self.dtype = native.name
        rng, width = random_generator(name, seed), self._gates * k
        limit = 1.0 / np.sqrt(k)
        self.wx: Array = rng.uniform(-limit, limit, (d, width)).astype(native)
        self.wh: Array = rng.uniform(-limit, limit, (k, width)).astype(native)
        self.b: Array | None = np.zeros(width, native) if bias else None
        for gradient in _GRADIENTS:
            setattr(self, f"grad_{gradient}", None)

    def __repr__(self) -> str:
        parts = [self.input_dim, self.state_dim, repr(self._setting), f"bias={self.b is not None}"]
        parts += [] if self.dtype == "float64" else [f"dtype={self.dtype!r}"]
        return f"{type(self).__name__}({', '.join(map(str, parts))})"

    def _first(self, x: Any, state: ArrayLike | None) -> ArrayLike:
        """Return the first state: `state`, or zeros."""
        if state is not None:
            return state
        x = as_array(f"{self._cell}_forward", "x", x)
        return np.zeros((*x.shape[1:-1], self.state_dim), self.wx.dtype)

    def _run(self, x: ArrayLike, *states: ArrayLike, lengths: ArrayLike | None) -> Any:
        self._cache = None  # if forward fails, backward has nothing to use
        forward = getattr(recurrent, f"{self._cell}_forward")
        *made, cache = forward(x, *states, self.wx, self.wh, self.b, self._setting, lengths=lengths)
        self._cache = cache
        self._gone_forward()
        return made

    def _back(self, *grads: ArrayLike | None) -> Array:
        name = f"{type(self).__name__}.backward"
        if self._cache is None:
            raise ValueError(f"{name}: there is no h to go back from: call forward(x) first")
        grad_h, *others = grads
        self._go_back(name)
        backward = getattr(recurrent, f"{self._cell}_backward")
        made = backward(grad_h, self._cache, *others)
        for gradient in made._fields[1:]:
            setattr(self, f"grad_{gradient}", getattr(made, gradient))
        grad_x: Array = made.x
        return grad_x

    def __getstate__(self) -> dict[str, Any]:
        # Pickles and copies leave out the last forward, which refers to compiled code.
        last = {"_cache", "_waiting", "_once"}
        return {k: v for k, v in self.__dict__.items() if k not in last}


class _OneState(Recurrent):
    """A layer whose only state is h."""

    def forward(
        self, x: ArrayLike, h0: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> Array:
        """Return the states after all steps, and remember what `backward` needs.

        Parameters
        ----------
        x : array_like
            ``(t, n, input_dim)``, or ``(t, input_dim)`` of one sample.
        h0 : array_like, optional
            ``(n, state_dim)``; one sample: ``(state_dim,)``. The first state; zeros if left out.
        lengths : array_like of int, optional
            ``(n,)``: how many steps each sample has. After them its state does not change.

        Returns
        -------
        ndarray
            ``(t, n, state_dim)``; one sample: ``(t, state_dim)``.

        Raises
        ------
        TypeError, ValueError
            As for the function of `fastgrad` that it calls.
        """
        made: Array
        (made,) = self._run(x, self._first(x, h0), lengths=lengths)
        return made

    def backward(self, grad_h: ArrayLike) -> Array:
        """Return ``dL/dx``, and set the gradients of the parameters and of the first state.

        Parameters
        ----------
        grad_h : array_like
            ``dL/dh`` of all states, or of the last one only.

        Returns
        -------
        ndarray
            ``dL/dx``, of the shape of x.

        Raises
        ------
        TypeError, ValueError
            Before the first `forward`, for shapes that do not fit, or if the states were changed.
            For a second backward after several forwards: only the last forward is remembered.
        """
        return self._back(grad_h)


class RNN(_OneState):
    """A simple recurrent layer, ``h[t] = act(x[t] @ wx + h[t-1] @ wh + b)``.

    Parameters
    ----------
    input_dim, state_dim : int
        Numbers of features of x and of h.
    activation : None, str or fastgrad.Activation
        As for `fastgrad.rnn_forward`.
    bias : bool
        Whether there is a b.
    dtype : {"float64", "float32"}
        Of the parameters.
    seed : int, optional
        wx and wh are ``U(-a, a)`` with ``a = 1 / sqrt(state_dim)``. b is 0.

    Attributes
    ----------
    wx, wh, b : ndarray
        ``(input_dim, state_dim)``, ``(state_dim, state_dim)`` and ``(state_dim,)``. Yours to
        change. b may be None.
    grad_wx, grad_wh, grad_b, grad_h0 : ndarray
        Gradients, summed over steps and samples; None before `backward`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown activation or dtype.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.RNN(1, 1, None)
    >>> layer.wx[:], layer.wh[:] = 1.0, 0.5
    >>> layer.forward([[1.0], [0.0]]).tolist()
    [[1.0], [0.5]]
    >>> layer.backward([1.0]).tolist(), layer.grad_wh.tolist()
    ([[0.5], [1.0]], [[1.0]])
    """

    _gates, _cell = 1, "rnn"

    def __init__(
        self,
        input_dim: int,
        state_dim: int,
        activation: Any = "tanh",
        bias: bool = True,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        check_named("RNN", activation)
        resolve("RNN", activation)
        self._setting = self.activation = activation
        super().__init__(input_dim, state_dim, bias, dtype, seed)


class GRU(_OneState):
    """A gated recurrent unit: see `fastgrad.gru_forward`.

    Parameters
    ----------
    input_dim, state_dim : int
        Numbers of features of x and of h.
    reset : {"before", "after"}
        Whether the reset gate multiplies the state or its product with wh.
    bias : bool
        Whether there is a b.
    dtype : {"float64", "float32"}
        Of the parameters.
    seed : int, optional
        wx and wh are ``U(-a, a)`` with ``a = 1 / sqrt(state_dim)``. b is 0.

    Attributes
    ----------
    wx, wh, b : ndarray
        ``(input_dim, 3 state_dim)``, ``(state_dim, 3 state_dim)`` and ``(3 state_dim,)``, or
        ``(2, 3 state_dim)`` if you give two biases. Yours to change. b may be None.
    grad_wx, grad_wh, grad_b, grad_h0 : ndarray
        Gradients, summed over steps and samples; None before `backward`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown setting or dtype.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.GRU(3, 4, seed=0)
    >>> layer.forward([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).shape, layer.wx.shape
    ((2, 4), (3, 12))
    """

    _gates, _cell = 3, "gru"

    def __init__(
        self,
        input_dim: int,
        state_dim: int,
        reset: str = "before",
        bias: bool = True,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        check_choice("GRU", "reset", reset, GRU_RESETS)
        self._setting = self.reset = reset
        super().__init__(input_dim, state_dim, bias, dtype, seed)


class LSTM(Recurrent):
    """A layer of long short-term memory: see `fastgrad.lstm_forward`.

    Parameters
    ----------
    input_dim, state_dim : int
        Numbers of features of x, and of h and c.
    gates : {"ifog", "ifgo"}
        Their order in the parameters: CS231n's, or PyTorch's.
    bias : bool
        Whether there is a b.
    dtype : {"float64", "float32"}
        Of the parameters.
    seed : int, optional
        wx and wh are ``U(-a, a)`` with ``a = 1 / sqrt(state_dim)``. b is 0.

    Attributes
    ----------
    wx, wh, b : ndarray
        ``(input_dim, 4 state_dim)``, ``(state_dim, 4 state_dim)`` and ``(4 state_dim,)``. Yours to
        change. b may be None.
    c : ndarray
        The cells after all steps of the last `forward`.
    grad_wx, grad_wh, grad_b, grad_h0, grad_c0 : ndarray
        Gradients, summed over steps and samples; None before `backward`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown setting or dtype.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.LSTM(3, 4, seed=0)
    >>> h = layer.forward([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> h.shape, layer.c.shape, layer.backward(h).shape, layer.grad_wx.shape
    ((2, 4), (2, 4), (2, 3), (3, 16))
    """

    _gates, _cell = 4, "lstm"
    c: Array | None = None

    def __init__(
        self,
        input_dim: int,
        state_dim: int,
        gates: str = "ifog",
        bias: bool = True,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        check_choice("LSTM", "gates", gates, LSTM_GATES)
        self._setting = self.gates = gates
        super().__init__(input_dim, state_dim, bias, dtype, seed)

    def forward(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        c0: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Array:
        """Return the states after all steps, and remember what `backward` needs.

        Parameters
        ----------
        x : array_like
            ``(t, n, input_dim)``, or ``(t, input_dim)`` of one sample.
        h0, c0 : array_like, optional
            ``(n, state_dim)``; one sample: ``(state_dim,)``. First state and cells; zeros if left
            out.
        lengths : array_like of int, optional
            ``(n,)``: how many steps each sample has. After them its state does not change.

        Returns
        -------
        ndarray
            ``(t, n, state_dim)``; one sample: ``(t, state_dim)``.

        Raises
        ------
        TypeError, ValueError
            As for `fastgrad.lstm_forward`.
        """
        h: Array
        h, self.c = self._run(x, self._first(x, h0), self._first(x, c0), lengths=lengths)
        return h

    def backward(self, grad_h: ArrayLike, grad_c: ArrayLike | None = None) -> Array:
        """Return ``dL/dx``, and set the gradients of the parameters and of the first state.

        Parameters
        ----------
        grad_h : array_like
            ``dL/dh`` of all states, or of the last one only.
        grad_c : array_like, optional
            ``dL/dc`` likewise.

        Returns
        -------
        ndarray
            ``dL/dx``, of the shape of x.

        Raises
        ------
        TypeError, ValueError
            Before the first `forward`, for shapes that do not fit, or if the states were changed.
            For a second backward after several forwards: only the last forward is remembered.
        """
        return self._back(grad_h, grad_c)
