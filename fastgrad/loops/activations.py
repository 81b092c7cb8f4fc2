"""Activation functions one number at a time: what they can do, and their table.

Every formula takes and returns Python floats, so it reads like the textbook (see `formulas`);
loops over the samples and features do the rest. Python floats are float64: for float32 arrays the
computation is in float64 and each result is rounded once.

`fastgrad.reference` computes the same in NumPy and shares no formula with this package, so the two
check each other. It states the numeric rules: an infinite z gives the limit, NaN gives NaN,
and a kink belongs to its left side (``relu'(0) = 0``, ``leaky_relu'(0) = 0.01``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import (
    SETTINGS,
    check_activation,
    check_axis,
    check_from_output,
    elementwise_arguments,
    evaluated,
    name_with,
    named_settings,
    refuse_derivative,
    with_settings,
)
from fastgrad.arrays import Array, common_dtypes, deliver
from fastgrad.results import check_out

from . import formulas
from .formulas import Scalar
from .lists import Row, from_rows, to_rows

# The table's names, in its order; the package exports them.
__all__ = [  # noqa: RUF022
    "identity", "sigmoid", "tanh", "relu", "softmax", "gelu", "gelu_tanh", "silu", "elu",
    "leaky_relu", "softplus", "softsign", "exp", "mish",
]  # fmt: skip


class Activation:
    """An elementwise activation made of scalar functions.

    Parameters
    ----------
    name : str
        Its name in ``ACTIVATIONS``.
    formula : callable
        ``y = formula(z)`` for floats.
    slope_from_z : callable
        The derivative at ``z``.
    slope_from_y : callable, optional
        The same derivative as a function of ``y``, where there is one.
    halving : bool
        Whether the weights before it start with variance 2 / d, else 1 / d.

    Examples
    --------
    >>> from fastgrad.loops import relu
    >>> relu([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    >>> relu.derivative([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 1.0]
    """

    rowwise = False  # whether an output depends on the whole sample, as for softmax
    settings: Any = ()  # a named tuple of what `with_` can replace

    def __init__(
        self,
        name: str,
        formula: Scalar,
        slope_from_z: Scalar,
        slope_from_y: Scalar | None = None,
        *,
        halving: bool = False,
    ) -> None:
        self.name = name
        self.formula = formula
        self.halving = halving
        self.slope_from_z = slope_from_z
        self.slope_from_y = slope_from_y
        self.from_output = slope_from_y is not None
        self.__doc__ = formula.__doc__

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def with_(self, **settings: float) -> Activation:
        """Return this activation with another setting: leaky_relu's slope, or elu's alpha."""
        own: Activation = with_settings(self, settings, ACTIVATIONS, _SET, _made)
        return own

    def __call__(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act(z)``, elementwise, in ``out`` if given."""
        return self._map_rows("", self.forward_row, -1, out, z=z)

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act'(z)``, elementwise."""
        return self._map_rows(
            ".derivative", lambda row: [self.slope_from_z(z) for z in row], -1, out, z=z
        )

    def backward(self, grad_y: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``grad_z = grad_y * act'(z)``."""
        return self._map_rows(
            ".backward",
            lambda grad, row: [g * self.slope_from_z(z) for g, z in zip(grad, row, strict=True)],
            -1,
            out,
            grad_y=grad_y,
            z=z,
        )

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from the output ``y = act(z)``; ValueError if that is impossible."""
        check_from_output(self.name, self.from_output)
        return self._map_rows(
            ".backward_from_output", self.backward_row, -1, out, grad_y=grad_y, y=y
        )

    # The layers call these, for one sample.

    def forward_row(self, row: Row) -> Row:
        """Return the outputs of one sample."""
        y = []
        for z in row:
            y.append(self.formula(z))
        return y

    def backward_row(self, grad_row: Row, saved: Row) -> Row:
        """Return grad_z of one sample; ``saved`` is y if ``from_output``, else z."""
        slope = self.slope_from_y or self.slope_from_z
        grad_z = []
        for g, value in zip(grad_row, saved, strict=True):
            grad_z.append(g * slope(value))
        return grad_z

    def _map_rows(
        self,
        method: str,
        function: Callable[..., Row],
        axis: int,
        out: Array | None,
        **values: ArrayLike,
    ) -> Array:
        """Apply ``function`` to every vector along ``axis`` of the values, all of one shape."""
        caller = self.name + method
        arrays = elementwise_arguments(caller, values)
        name, first = next(iter(arrays.items()))
        if self.rowwise:
            check_axis(caller, axis, name, first)
        dtype = common_dtypes(*arrays.values()).result
        if out is not None:
            check_out(caller, "out", out, first.shape, dtype, arrays)
        results = []
        for rows in zip(*(to_rows(array, axis) for array in arrays.values()), strict=True):
            results.append(function(*rows))
        return deliver(from_rows(results, first.shape, dtype, axis), dtype, out)


class Softmax(Activation):
    """Softmax along one axis: ``y_i = exp(z_i) / sum_j exp(z_j)``.

    Backward: ``grad_z_i = y_i * (grad_y_i - sum_j grad_y_j y_j)``.

    Examples
    --------
    >>> from fastgrad.loops import softmax
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    rowwise = True

    def __init__(self) -> None:  # not Activation's: there is no formula per number
        self.name = "softmax"
        self.halving = False
        self.from_output = True
        self.__doc__ = type(self).__doc__

    def __call__(self, z: ArrayLike, *, axis: int = -1, out: Array | None = None) -> Array:
        """Return the softmax of ``z`` along ``axis`` (0 where samples are columns)."""
        return self._map_rows("", self.forward_row, axis, out, z=z)

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Raise ValueError: softmax has a Jacobian, not an elementwise derivative."""
        refuse_derivative(self.name)

    def backward(
        self, grad_y: ArrayLike, z: ArrayLike, *, axis: int = -1, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from ``z``."""
        return self._map_rows(
            ".backward",
            lambda grad, row: self.backward_row(grad, self.forward_row(row)),
            axis,
            out,
            grad_y=grad_y,
            z=z,
        )

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, axis: int = -1, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from the output ``y``."""
        return self._map_rows(
            ".backward_from_output", self.backward_row, axis, out, grad_y=grad_y, y=y
        )

    def forward_row(self, row: Row) -> Row:
        """Return the softmax of one sample."""
        largest = -math.inf
        for z in row:
            if z > largest:
                largest = z
        y = [formulas.exp(z - largest) for z in row]
        total = 0.0
        for value in y:
            total += value
        return [value / total for value in y]

    def backward_row(self, grad_row: Row, saved: Row) -> Row:
        """Return grad_z of one sample from its output."""
        weighted = 0.0
        for g, y in zip(grad_row, saved, strict=True):
            weighted += g * y
        return [y * (g - weighted) for g, y in zip(grad_row, saved, strict=True)]


class FromCallable(Activation):
    """Any elementwise Python function of arrays, differentiated by central differences.

    ``act'(z) ~ (f(z + d) - f(z - d)) / 2d`` in float64, with ``d = eps**(1/3) * max(1, |z|)``.

    Examples
    --------
    >>> from fastgrad.loops import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], activation=lambda z: z**2).tolist()
    [[9.0]]
    """

    def __init__(self, caller: str, function: Callable[[Array], Any]) -> None:
        self.caller, self.function = caller, function  # caller: the name that errors give
        name = getattr(function, "__name__", type(function).__name__)
        super().__init__(name, self._call, self._slope)

    def _call(self, z: float) -> float:
        with np.errstate(all="ignore"):
            y = evaluated(self.caller, self.function, np.array([z]), np.dtype(np.float64))
        return float(y[0])

    def _slope(self, z: float) -> float:
        delta = math.pow(2.0, -52 / 3) * max(1.0, abs(z))
        above, below = z + delta, z - delta
        return (self._call(above) - self._call(below)) / (above - below)


# ---- the table ---------------------------------------------------------------------------------

identity = Activation("identity", formulas.identity, formulas.one, formulas.one)
sigmoid = Activation(
    "sigmoid", formulas.sigmoid, formulas.sigmoid_slope, formulas.sigmoid_slope_from_y
)
tanh = Activation("tanh", formulas.tanh, formulas.tanh_slope, formulas.tanh_slope_from_y)
relu = Activation("relu", formulas.relu, formulas.relu_slope, formulas.relu_slope, halving=True)
softmax = Softmax()
gelu = Activation("gelu", formulas.gelu, formulas.gelu_slope, halving=True)
gelu_tanh = Activation("gelu_tanh", formulas.gelu_tanh, formulas.gelu_tanh_slope, halving=True)
silu = Activation("silu", formulas.silu, formulas.silu_slope, halving=True)
elu = Activation("elu", formulas.elu, formulas.elu_slope, formulas.elu_slope_from_y, halving=True)
leaky_relu = Activation(
    "leaky_relu",
    formulas.leaky_relu,
    formulas.leaky_relu_slope,
    formulas.leaky_relu_slope,
    halving=True,
)
softplus = Activation(
    "softplus", formulas.softplus, formulas.sigmoid, formulas.softplus_slope_from_y
)
softsign = Activation(
    "softsign", formulas.softsign, formulas.softsign_slope, formulas.softsign_slope_from_y
)
exp = Activation("exp", formulas.exp, formulas.exp, formulas.identity)
mish = Activation("mish", formulas.mish, formulas.mish_slope, halving=True)

ACTIVATIONS: dict[str, Activation] = {name: globals()[name] for name in __all__}

for _name, _settings in SETTINGS.items():
    ACTIVATIONS[_name].settings = _settings
# Formula, slope from z and slope from y of those with a setting, which is the first argument.
_WITH_SETTING: dict[str, tuple[Callable[..., Any], ...]] = {
    "leaky_relu": (
        formulas.leaky_relu_of,
        formulas.leaky_relu_slope_of,
        formulas.leaky_relu_slope_of,
    ),
    "elu": (formulas.elu_of, formulas.elu_slope_of, formulas.elu_slope_from_y_of),
}
_SET: dict[str, dict[Any, Activation]] = {name: {} for name in SETTINGS}  # those made so far


def _made(family: str, settings: Any) -> Activation:
    """Return an activation with other settings than the table's."""
    (value,) = settings
    forward, slope, slope_of_y = _WITH_SETTING[family]
    activation = Activation(
        name_with(family, settings),
        partial(forward, value),
        slope_from_z=partial(slope, value),
        slope_from_y=partial(slope_of_y, value) if settings.of_output() else None,
        halving=True,
    )
    activation.__doc__, activation.settings = forward.__doc__, settings
    return activation


def resolve(function: str, activation: Any) -> Activation:
    """Return the Activation meant by None, a name, an activation of any package, or a callable."""
    if activation is None:
        return identity
    if isinstance(activation, Activation):
        return activation
    name = activation if isinstance(activation, str) else getattr(activation, "name", None)
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    family, settings = named_settings(activation)
    if family:
        return ACTIVATIONS[family].with_(**settings._asdict())
    check_activation(function, activation, ACTIVATIONS)
    return FromCallable(function, activation)
