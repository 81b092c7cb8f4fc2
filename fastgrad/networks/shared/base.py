"""The base of all MLPs: checked settings, and parameters in a flat vector."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import (
    LAYOUTS,
    REDUCTIONS,
    check_choice,
    check_dropout,
    check_limit,
    check_normalize,
    native_dtype,
    random_generator,
)
from fastgrad.arrays import Array, as_array, as_native
from fastgrad.networks.shared.architecture import Architecture, lay_out
from fastgrad.networks.shared.forms import named_form, vector_of
from fastgrad.networks.shared.samples import check_params
from fastgrad.networks.shared.settings import activations_of, check_learns, widths


class BaseMLP:
    """The settings of a network, and its flat vector.

    Each package adds its computations, and its activations and losses.
    """

    _architecture: type[Architecture] = Architecture

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[Any],
        loss: Any,
        reduction: str = "mean",
        bias: bool = True,
        samples: str = "rows",
        dtype: Any = "float32",
        normalize: str | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        self._settle(
            sizes, activations, loss, reduction, bias, samples, dtype, normalize, l1, l2, dropout
        )

    # -- the package's own --------------------------------------------------------------------
    def _activation(self, given: Any) -> Any:
        """Return an activation of the package; None is the identity."""
        raise NotImplementedError

    def _loss(self, given: Any) -> Any:
        """Return a loss of the package."""
        raise NotImplementedError

    # -- settings -----------------------------------------------------------------------------
    def _settle(
        self,
        sizes: Sequence[int],
        activations: Sequence[Any],
        loss: Any,
        reduction: str,
        bias: bool,
        samples: str,
        dtype: Any,
        normalize: str | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        """Check the settings and set up the network."""
        self.sizes = widths(sizes)
        self.activations = activations_of(activations, len(self.sizes) - 1, self._activation)
        self.loss = self._loss(loss)
        check_learns(self.sizes, self.activations, self.loss)
        check_choice("MLP", "reduction", reduction, REDUCTIONS)
        check_choice("MLP", "samples", samples, LAYOUTS)
        self.dtype = native_dtype("MLP", dtype)
        check_normalize(self.sizes, normalize)
        self.reduction, self.bias, self.samples = reduction, bool(bias), samples
        self.normalize = normalize
        self.l1, self.l2 = check_limit("MLP", "l1", l1), check_limit("MLP", "l2", l2)
        rates = check_dropout(len(self.sizes) - 2, dropout)
        self.dropout = dropout if isinstance(dropout, float | int) else rates
        identity = self._activation(None)
        layers = lay_out(self.sizes, self.activations, identity, self.bias, normalize)
        columns = samples == "columns"
        self._network = self._architecture(
            layers, self.loss, reduction, columns, self.dtype, self.l1, self.l2, rates
        )
        self.size = self._network.size
        if self.size > sys.maxsize // 8:
            raise ValueError(
                f"MLP: sizes is {self.sizes}: {self.size} parameters are more than memory can be"
            )

    def __repr__(self) -> str:
        names = tuple(a.name for a in self.activations)
        given = (
            ("normalize", self.normalize),
            ("l1", self.l1),
            ("l2", self.l2),
            ("dropout", self.dropout),
        )
        others = "".join(f", {name}={value!r}" for name, value in given if value)
        return (
            f"MLP({self.sizes}, activations={names}, loss={self.loss.name!r}, "
            f"reduction={self.reduction!r}, bias={self.bias}, samples={self.samples!r}, "
            f"dtype={self.dtype.name!r}{others})"
        )

    # -- the flat vector --------------------------------------------------------------------
    def init(self, seed: int = 0) -> Array:
        """Return random parameters: normal weights, biases of zero.

        The weights' variance is 1 / d for d inputs (LeCun et al., Efficient BackProp, 1998), and
        2 / d before ReLU and similar ones (He et al., ICCV 2015): see `Activation.halving`. For a
        normalized layer it is 1 / d; gains are 1, shifts 0.

        Parameters
        ----------
        seed : int
            Of ``numpy.random.default_rng``. Equal seeds draw equal numbers in both layouts, and
            in both dtypes but for the rounding.

        Returns
        -------
        ndarray
            The flat vector, ``(size,)`` of the network's dtype.

        Raises
        ------
        TypeError, ValueError
            For a seed that NumPy does not accept.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((4, 2), (None,), "mse")
        >>> net.init(seed=1).shape
        (10,)
        """
        return self._network.init(random_generator("MLP.init", seed))

    def layers(self, params: Array) -> list[Any]:
        """Return the weights and biases in a flat vector (of parameters, or a gradient), as views.

        Parameters
        ----------
        params : ndarray
            The flat vector, ``(size,)`` of any dtype.

        Returns
        -------
        list of LayerParams
            A pair ``(w, b)`` per layer; writing to them changes `params`. After that of a
            normalized layer comes a `NormParams`, a pair ``(gain, shift)``.

        Raises
        ------
        TypeError
            If `params` is no NumPy array: there would be nothing to view.
        ValueError
            For another shape.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((4, 2), (None,), "mse")
        >>> [layer.w.shape for layer in net.layers(net.init())]
        [(4, 2)]
        """
        _check_vector(self._network, "MLP.layers", params)
        return self._network.views(params)

    def named(self, params: Array) -> dict[str, Array]:
        """Return the arrays of a flat vector (of parameters, or a gradient) by name, as views.

        A network takes its parameters in three forms, and gives the gradient in the form that it
        got: the flat vector; this dict, in which a bias may also have the shape ``(1, k)`` or
        ``(k, 1)``, and w1 may be the key instead of W1; and a list of pairs ``(w, b)``, as `layers`
        returns. Each call looks into the dict anew: an array that a key was bound to since the last
        call counts. Arrays that are views of one flat vector, as here, are not copied.

        Parameters
        ----------
        params : ndarray
            The flat vector, ``(size,)`` of any dtype.

        Returns
        -------
        dict of ndarray
            ``W1, b1, W2, b2, ...``; behind those of a normalized layer its ``gain1, shift1``.
            Writing to them changes `params`.

        Raises
        ------
        TypeError
            If `params` is no NumPy array: there would be nothing to view.
        ValueError
            For another shape.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((4, 2), (None,), "mse", dtype="float64")
        >>> params = net.named(net.init())
        >>> value, grads = net.value_and_grad(params, [1.0, 2.0, 3.0, 4.0], [0.0, 0.0])
        >>> {key: grad.shape for key, grad in grads.items()}
        {'W1': (4, 2), 'b1': (2,)}
        """
        _check_vector(self._network, "MLP.named", params)
        return named_form(self._network).views(self._network, params)  # type: ignore[no-any-return]

    def pack(
        self, layers: Sequence[tuple[ArrayLike, ArrayLike | None]] | dict[str, ArrayLike]
    ) -> Array:
        """Return the flat vector of weights and biases ``[(w1, b1), (w2, b2), ...]``.

        Where hidden layers are normalized: ``[(w1, b1), (gain1, shift1), (w2, b2), ...]``.

        Parameters
        ----------
        layers : sequence of pairs of array_like, or a dict
            Per layer w of shape ``(d, k)`` and b of shape ``(k,)``, ``(1, k)`` or ``(k, 1)``;
            columns: w ``(k, d)``. b is None for a network without biases. `gain` and `shift` have
            the shapes of b. A dict is one of arrays ``W1, b1, ...``: see `named`.

        Returns
        -------
        ndarray
            A new vector, ``(size,)`` of the network's dtype.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in.
        ValueError
            Unless there is one pair per layer, of its shapes.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((2, 1), (None,), "mse", dtype="float64")
        >>> net.pack([([[1.0], [2.0]], [3.0])])
        array([1., 2., 3.])
        """
        caller = "MLP.pack"
        if isinstance(layers, dict):
            return np.array(vector_of(self._network, caller, layers))
        if not hasattr(layers, "__iter__"):
            kind = type(layers).__name__
            raise TypeError(f"{caller}: layers is a {kind}: give a pair (w, b) per layer")
        pairs, own = list(layers), self._network.layers
        names = dict.fromkeys(layer.parameters._fields for layer in own)
        first = ", ".join(f"({', '.join(f'{name}1' for name in kind)})" for kind in names)
        if len(pairs) != len(own):
            kinds = " or ".join(f"({', '.join(kind)})" for kind in names)
            raise ValueError(
                f"{caller}: layers holds {len(pairs)} things: give {len(own)} pairs "
                f"{kinds}, one per layer: [{first}, ...]"
            )
        params = np.empty(self.size, self.dtype)
        for i, (pair, layer) in enumerate(zip(pairs, own, strict=True)):
            places = layer.views(params, self.samples == "columns")
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                kind = ", ".join(places._fields)
                raise ValueError(
                    f"{caller}: layer {i} is not a pair ({kind}): give pairs [{first}, ...]"
                )
            for name, given, place, shape in zip(
                places._fields, pair, places, layer.shapes(), strict=True
            ):
                if name == "b" and (given is None) != (place is None):
                    rule = f"{name} must be {'None' if place is None else 'given'}"
                    raise ValueError(f"{caller}: layer {i}: bias={self.bias}, so {rule}")
                if place is None or shape is None:
                    continue
                array, k = as_array(caller, f"{name} of layer {i}", given), place.size
                forms = [(k,), (1, k), (k, 1)] if len(shape) == 1 else [place.shape]
                if array.shape not in forms:
                    raise ValueError(
                        f"{caller}: {name} of layer {i} has shape {array.shape}: it needs "
                        f"{place.shape}"
                    )
                place[...] = as_native(array, self.dtype).reshape(place.shape)
        return params


def _check_vector(network: Architecture, caller: str, params: Any) -> None:
    """Raise unless `params` is a NumPy array of the network's size."""
    if not isinstance(params, np.ndarray):
        raise TypeError(f"{caller}: params is a {type(params).__name__}: give a NumPy array")
    check_params(network, caller, params)
