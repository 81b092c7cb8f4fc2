"""Layer objects over the functional API: forward, backward, explicit Jacobians.

A layer remembers its last input, so that

>>> import numpy as np
>>> import fastgrad as fg
>>> net = fg.nn.Sequential([fg.nn.Linear(3, 4, seed=0), fg.nn.Tanh(), fg.nn.Linear(4, 2, seed=1)])
>>> loss = fg.nn.MSE(np.zeros((5, 2)))
>>> value = loss.forward(net.forward(np.ones((5, 3))))
>>> net.backward(loss.backward()).shape
(5, 3)
>>> net.layers[0].grad_w.shape, net.layers[0].grad_b.shape
((3, 4), (4,))

is one step of backpropagation. A vector is cast to one sample, ``(1, n)`` for rows and ``(n, 1)``
for columns; integers become float64. Arrays are not copied: leave x and y as they are between
forward and backward.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad import activations, losses
from fastgrad.arrays import (
    Array,
    as_array,
    check_choice,
    common_dtypes,
    native_dtype,
    random_generator,
)
from fastgrad.dense_layer import callable_slope, resolve
from fastgrad.functional import DenseCache, dense, dense_backward, dense_forward
from fastgrad.jacobians import as_rows, block_diagonal, slope_blocks

__all__ = [
    "MSE", "Activation", "Dense", "Layer", "Linear", "ReLU", "Sequential", "Sigmoid", "Softmax",
    "Tanh",
]  # fmt: skip


class Layer:
    """What all layers have in common; not a layer by itself.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.
    """

    input_dim: int | None = None  # None: any number of features
    _x: Array
    _y: Array | None = None

    def __init__(self, samples: str) -> None:
        check_choice(type(self).__name__, "samples", samples, losses.LAYOUTS)
        self.samples = samples

    def forward(self, x: ArrayLike) -> Array:
        """Return y, and remember what `backward` needs.

        Parameters
        ----------
        x : array_like
            Rows ``(n, d)`` or ``(..., d)``, columns ``(d, n)``; a vector ``(d,)`` is one sample.
            Not copied where it is an array of floats.

        Returns
        -------
        ndarray
            y: ``(n, k)`` or ``(..., k)``; columns ``(k, n)``. Of x's floating dtype, or that which
            it and the layer's parameters promote to.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            For another number of axes or features.
        """
        x = self._input("forward", x)
        self._y = None  # if it fails half-way, there is nothing to go back from
        self._x, self._y = x, self._forward(x)
        return self._y

    def backward(self, grad_y: ArrayLike, use_jacobian: bool = False) -> Array:
        """Return ``dL/dx``, given ``grad_y = dL/dy`` for the y of the last `forward`.

        A layer with parameters also sets their gradients. With `use_jacobian`, `grad_y` is
        contracted with the explicit Jacobian: the same result, for learning and checking, at the
        price of ``y.size * x.size`` numbers.

        Parameters
        ----------
        grad_y : array_like
            Of the shape of y; a vector is one sample.
        use_jacobian : bool
            Contract with the Jacobian.

        Returns
        -------
        ndarray
            ``dL/dx``, of the shape of x (as samples: ``(1, d)`` or ``(d, 1)`` for a vector).

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            Before the first `forward`, or if the shapes do not fit.
        """
        name = f"{type(self).__name__}.backward"
        if self._y is None:
            raise ValueError(f"{name}: there is no y to go back from: call forward(x) first")
        grad = _as_samples(name, "grad_y", grad_y, self.samples)
        if grad.shape != self._y.shape:
            raise ValueError(
                f"{name}: grad_y has shape {grad.shape} but y has shape {self._y.shape}: "
                "they need the same shape"
            )
        grad_x = self._backward(grad)
        if use_jacobian:
            return np.tensordot(grad, self.jacobian(self._x), axes=grad.ndim)
        return grad_x

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula.

        Parameters
        ----------
        x : array_like
            As for `forward`, whose memory this does not touch.

        Returns
        -------
        ndarray
            ``y.shape + x.shape``, the shapes of y and x as samples: ``(n, k, n, d)`` for rows,
            ``(k, n, d, n)`` for columns. Zero between different samples.

        Raises
        ------
        TypeError, ValueError
            As for `forward`.
        """
        raise NotImplementedError

    def _apply(self, x: Array) -> Array:
        """Return y and remember nothing."""
        raise NotImplementedError

    def _forward(self, x: Array) -> Array:
        return self._apply(x)

    def _backward(self, grad: Array) -> Array:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        # What pickles and copies keep: not the last forward, which refers to compiled code.
        return {k: v for k, v in self.__dict__.items() if k not in ("_x", "_y", "_cache")}

    def _input(self, method: str, x: ArrayLike) -> Array:
        """Return x as samples, with the right number of features."""
        name, d = f"{type(self).__name__}.{method}", self.input_dim
        x = _as_samples(name, "x", x, self.samples)
        columns = self.samples == "columns"
        if d is not None and x.shape[0 if columns else -1] != d:
            form = f"({d}, n)" if columns else f"(n, {d})"
            raise ValueError(f"{name}: x has shape {x.shape}: {self!r} takes {form} or ({d},)")
        return x

    def _repr(self, *parts: Any) -> str:
        layout = [] if self.samples == "rows" else [f"samples={self.samples!r}"]
        return f"{type(self).__name__}({', '.join([*map(str, parts), *layout])})"


class Dense(Layer):
    """A fused layer ``y = act(x @ w + b)``; for columns ``act(w @ x + b)``.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features.
    activation : None, str, fastgrad.Activation or callable
        As for `fastgrad.dense_forward`.
    bias : bool
        Whether there is a b.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of w and b.
    seed : int, optional
        w is Glorot uniform: ``U(-a, a)`` with ``a = sqrt(6 / (input_dim + output_dim))``, drawn by
        ``numpy.random.Generator(PCG64(seed))``, the same numbers in both layouts and dtypes.
        b is 0.

    Attributes
    ----------
    w, b : ndarray
        Weights ``(input_dim, output_dim)`` and bias ``(output_dim,)``; for columns
        ``(output_dim, input_dim)`` and ``(output_dim, 1)``. Yours to change. b may be None.
    grad_w, grad_b : ndarray
        Their gradients, of the shapes of w and b, summed over the samples; None before `backward`.

    Raises
    ------
    TypeError
        If `activation` or `seed` is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown activation, layout or dtype, or a
        negative seed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Dense(2, 1, "relu", seed=0)
    >>> layer.w[:] = [[1.0], [2.0]]
    >>> layer.forward([3, 4])
    array([[11.]])
    >>> layer.backward([1.0])
    array([[1., 2.]])
    >>> layer.grad_w.tolist(), layer.grad_b.tolist()
    ([[3.0], [4.0]], [1.0])
    """

    _cache: DenseCache

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        activation: Any = None,
        bias: bool = True,
        samples: str = "rows",
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        super().__init__(samples)
        name = type(self).__name__
        for argument, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name}: {argument} is {size!r}: give a positive integer")
        if input_dim * output_dim > sys.maxsize // 8:
            shape = input_dim, output_dim
            raise ValueError(f"{name}: w of shape {shape} is larger than memory can be")
        native = native_dtype(name, dtype)
        self.dtype = native.name
        self._act, self._function = resolve(name, activation)
        # What forward and backward apply: a name could get another meaning.
        self._applied = self._act if self._function is None else self._function
        self.input_dim, self.output_dim, self.activation = input_dim, output_dim, activation

        rows = samples == "rows"
        limit = math.sqrt(6.0 / (input_dim + output_dim))
        rng = random_generator(name, seed)
        w = rng.uniform(-limit, limit, (input_dim, output_dim)).astype(native)
        self.w: Array = w if rows else w.T.copy()
        self.b = np.zeros((output_dim,) if rows else (output_dim, 1), native) if bias else None
        self.grad_w: Array | None = None
        self.grad_b: Array | None = None

    def __repr__(self) -> str:
        act = [] if self.activation is None else [repr(self.activation)]
        dtype = [] if self.dtype == "float64" else [f"dtype={self.dtype!r}"]
        bias = f"bias={self.b is not None}"
        return self._repr(self.input_dim, self.output_dim, *act, bias, *dtype)

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        z = dense(x, self.w, self.b, samples=self.samples)
        z_rows = as_rows(z, self.samples)
        slopes = None
        if self._function is not None:
            slopes = callable_slope("Dense.jacobian", self._function, z_rows)
        w = self.w if self.samples == "columns" else self.w.T
        blocks = slope_blocks(self._act, z_rows, slopes) @ w
        return block_diagonal(blocks, self.samples, z.shape + x.shape)

    def _apply(self, x: Array) -> Array:
        return dense(x, self.w, self.b, self._applied, samples=self.samples)

    def _forward(self, x: Array) -> Array:
        y, self._cache = dense_forward(x, self.w, self.b, self._applied, samples=self.samples)
        return y

    def _backward(self, grad: Array) -> Array:
        grad_x, self.grad_w, self.grad_b, _ = dense_backward(grad, self._cache)
        assert grad_x is not None
        return grad_x


class Linear(Dense):
    """The layer ``y = x @ w + b``; for columns ``w @ x + b``.

    It has the attributes of `Dense`, and draws the same weights.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features.
    bias : bool
        Whether there is a b.
    samples : {"rows", "columns"}
        Which axis counts samples.
    dtype : {"float64", "float32"}
        Of w and b.
    seed : int, optional
        Of the weights: see `Dense`.

    Raises
    ------
    TypeError
        If `seed` is of the wrong kind.
    ValueError
        If a dimension is no positive integer; for an unknown layout or dtype, or a negative seed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Linear(2, 1)
    >>> layer.w[:], layer.b[:] = [[1.0], [2.0]], [0.5]
    >>> layer.forward([3, 4])
    array([[11.5]])
    >>> layer.jacobian([3, 4])
    array([[[[1., 2.]]]])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        bias: bool = True,
        samples: str = "rows",
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        super().__init__(input_dim, output_dim, None, bias, samples, dtype, seed)


class Activation(Layer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : str or fastgrad.Activation
        Which one.
    samples : {"rows", "columns"}
        Which axis counts samples: softmax runs along the other.

    Raises
    ------
    TypeError
        If `activation` is of another kind. Of a plain function `define_activation` makes one.
    ValueError
        If the name or `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Activation("relu")
    >>> layer.forward([0, -1, 2, -1, 4]).tolist()
    [[0.0, 0.0, 2.0, 0.0, 4.0]]
    >>> layer.backward([1, 2, 3, 2, 1]).tolist()
    [[0.0, 0.0, 3.0, 0.0, 1.0]]
    """

    def __init__(self, activation: str | activations.Activation, samples: str = "rows") -> None:
        super().__init__(samples)
        self._act, function = resolve(type(self).__name__, activation)
        if function is not None:
            raise TypeError("Activation: activation is a function: name it by define_activation")
        axis = 0 if samples == "columns" else -1
        self._options: dict[str, Any] = {"axis": axis} if self._act.rowwise else {}

    def __repr__(self) -> str:
        return self._repr(*([repr(self._act.name)] if type(self) is Activation else []))

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, by its formula: see `Layer.jacobian`."""
        x = self._input("jacobian", x)
        blocks = slope_blocks(self._act, as_rows(x, self.samples))
        return block_diagonal(blocks, self.samples, x.shape + x.shape)

    def _apply(self, x: Array) -> Array:
        return self._act(x, **self._options)

    def _backward(self, grad: Array) -> Array:
        if self._act.from_output:
            assert self._y is not None
            return self._act.backward_from_output(grad, self._y, **self._options)
        return self._act.backward(grad, self._x, **self._options)


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))`` as a layer.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Sigmoid()
    >>> layer.forward([0.0])
    array([[0.5]])
    >>> layer.backward([1.0])
    array([[0.25]])
    """

    def __init__(self, samples: str = "rows") -> None:
        super().__init__("sigmoid", samples)


class Tanh(Activation):
    """``tanh(x)`` as a layer.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Tanh()
    >>> layer.forward([0.0, 0.5])
    array([[0.        , 0.46211716]])
    >>> layer.backward([1.0, 0.0])
    array([[1., 0.]])
    """

    def __init__(self, samples: str = "rows") -> None:
        super().__init__("tanh", samples)


class ReLU(Activation):
    """``max(x, 0)`` as a layer; its derivative at 0 is 0.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.ReLU()
    >>> layer.forward([-1, 0, 2])
    array([[0., 0., 2.]])
    >>> layer.backward([5, 5, 5])
    array([[0., 0., 5.]])
    """

    def __init__(self, samples: str = "rows") -> None:
        super().__init__("relu", samples)


class Softmax(Activation):
    """Softmax over the features of each sample, as a layer.

    Parameters
    ----------
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    ValueError
        If `samples` is unknown.

    Examples
    --------
    >>> import fastgrad as fg
    >>> layer = fg.nn.Softmax(samples="columns")
    >>> layer.forward([[0.0, 0.0], [0.0, 0.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    >>> layer.backward([[1.0, 0.0], [0.0, 0.0]])
    array([[ 0.25,  0.  ],
           [-0.25,  0.  ]])
    """

    def __init__(self, samples: str = "rows") -> None:
        super().__init__("softmax", samples)


class Sequential(Layer):
    """Layers one after the other.

    Parameters
    ----------
    layers : iterable of Layer
        At least one, all of the same `samples`, none of them twice.

    Attributes
    ----------
    layers : list of Layer
        Their parameters and gradients are found there.

    Raises
    ------
    TypeError
        If one is not a layer; losses follow by themselves.
    ValueError
        If there is none, one is there twice, or their `samples` differ.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.nn.Sequential([fg.nn.Linear(3, 2), fg.nn.ReLU()])
    Sequential([Linear(3, 2, bias=True), ReLU()])
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        if not hasattr(layers, "__iter__"):
            kind = type(layers).__name__
            raise TypeError(f"Sequential: layers is a {kind}: give layers in a sequence")
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("Sequential: layers is empty: give at least one")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                kind = type(layer).__name__
                raise TypeError(f"Sequential: layers[{i}] is a {kind}: give layers (losses follow)")
        seen: set[int] = set()
        for i, layer in enumerate(self.layers):
            for leaf in map(id, _leaves(layer)):
                if leaf in seen:
                    raise ValueError(
                        f"Sequential: layers[{i}] is, or holds, a layer that is there already: a "
                        "layer remembers one forward. Give a copy.copy of it, which shares w and b"
                    )
                seen.add(leaf)
        super().__init__(self.layers[0].samples)
        if mixed := {layer.samples for layer in self.layers} - {self.samples}:
            raise ValueError(
                f"Sequential: layers have samples={self.samples!r} and {mixed.pop()!r}: "
                "they need the same"
            )

    def __repr__(self) -> str:
        return f"Sequential({self.layers!r})"

    def jacobian(self, x: ArrayLike) -> Array:
        """Return ``dy/dx`` at x, the product of the layers' Jacobians: see `Layer.jacobian`."""
        y = self._input("jacobian", x)
        total = self.layers[0].jacobian(y)
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            y = before._apply(y)
            total = np.tensordot(layer.jacobian(y), total, axes=y.ndim)
        return total

    def _apply(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer._apply(layer._input("forward", x))
        return x

    def _forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def _backward(self, grad: Array) -> Array:
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad


def _leaves(layer: Layer) -> Iterator[Layer]:
    """Yield the layers that a layer is made of."""
    if not isinstance(layer, Sequential):
        yield layer
        return
    for inner in layer.layers:
        yield from _leaves(inner)


class MSE:
    """The mean squared error to fixed labels.

    Parameters
    ----------
    labels : array_like
        What the predictions should be; a vector is one sample.
    reduction : {"mean", "sum", "samples"}
        What the sum of squares is divided by: the number of elements, one, the number of samples.
    samples : {"rows", "columns"}
        Which axis counts samples.

    Raises
    ------
    TypeError
        For labels of a dtype fastgrad does not compute in.
    ValueError
        For labels of no shape of samples, an unknown reduction or layout.

    Examples
    --------
    >>> import fastgrad as fg
    >>> loss = fg.nn.MSE([1.0, 0.0])
    >>> loss.forward([3.0, 0.0])
    2.0
    >>> loss.backward()
    array([[2., 0.]])
    """

    _pred: Array | None = None

    def __init__(self, labels: ArrayLike, reduction: str = "mean", samples: str = "rows") -> None:
        check_choice("MSE", "reduction", reduction, losses.REDUCTIONS)
        check_choice("MSE", "samples", samples, losses.LAYOUTS)
        self.reduction, self.samples = reduction, samples
        self.labels = _as_samples("MSE", "labels", labels, samples)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.labels.shape))
        return f"<MSE to {shape} labels, reduction={self.reduction!r}, samples={self.samples!r}>"

    def forward(self, pred: ArrayLike) -> float:
        """Return the loss, and remember `pred` for `backward`.

        Parameters
        ----------
        pred : array_like
            Of the shape of the labels; a vector is one sample.

        Returns
        -------
        float
            ``sum((pred - labels)**2)``, divided as `reduction` says.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            If the shapes differ.
        """
        self._pred = _as_samples("MSE.forward", "pred", pred, self.samples)
        return losses.mse(self._pred, self.labels, self.reduction, self.samples)

    def backward(self, pred: ArrayLike | None = None) -> Array:
        """Return ``dL/dpred``.

        Parameters
        ----------
        pred : array_like, optional
            Where; by default that of the last `forward`.

        Returns
        -------
        ndarray
            Of the shape of the labels: ``2 * (pred - labels)``, divided as `reduction` says.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            If the shapes differ, or there was no `forward` and no `pred` is given.
        """
        pred = self._pred if pred is None else pred
        if pred is None:
            raise ValueError("MSE.backward: there is no pred: give it, or call forward(pred) first")
        pred = _as_samples("MSE.backward", "pred", pred, self.samples)
        return losses.mse.value_and_grad(pred, self.labels, self.reduction, self.samples)[1]


# -- arrays ------------------------------------------------------------------------------------


def _as_samples(function: str, name: str, value: ArrayLike, samples: str) -> Array:
    """Return a floating array of at least two axes: a vector is one sample."""
    array = as_array(function, name, value)
    array = array.astype(common_dtypes(array).result, copy=False)
    columns = samples == "columns"
    if array.ndim == 1:
        return array.reshape((-1, 1) if columns else (1, -1))
    if array.ndim == 0 or (columns and array.ndim > 2):
        forms = "(d, n) or (d,)" if columns else "(n, d), (..., d) or (d,)"
        raise ValueError(
            f"{function}: {name} has shape {array.shape}: samples={samples!r} take {forms}"
        )
    return array
