"""Activation functions in plain NumPy: what they can do, and their table.

An activation turns the pre-activation ``z`` of a layer into its output ``y = act(z)``. Backward,
it turns ``grad_y = dL/dy`` into ``grad_z = dL/dz``. For an elementwise activation that is
``grad_y * act'(z)``; softmax mixes the entries of a sample and has its own rule.

Often the derivative is simplest in terms of the *output*: ``tanh' = 1 - y**2``. Then a layer need
not keep ``z``, which saves memory and a second ``tanh``. ``ACTIVATIONS`` says which activations
allow that; `formulas` has their formulas.

Numeric rules, the same in the whole package:

* Arrays promote as in NumPy; if none has floats, they become float64. float16 is computed in
  float32.
* Nothing overflows on the way to a finite result, and an infinite ``z`` gives the limit
  (``silu(-inf) = 0``). NaN gives NaN. NumPy never warns: inf and NaN are values here, not events.
* A kink belongs to its left side: ``relu'(0) = 0``, ``leaky_relu'(0) = 0.01``. (elu has no kink
  for alpha = 1: ``elu'(0) = 1``.)
* No ``np.where`` on the sign of ``z``: random signs defeat the processor's branch prediction and
  cost more than an ``exp``. ``minimum``, ``maximum`` and ``sign`` say the same without branches.
"""

from __future__ import annotations

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
from .formulas import Formula, Slope

# The table's names, in its order; the package exports them.
__all__ = [  # noqa: RUF022
    "identity", "sigmoid", "tanh", "relu", "softmax", "gelu", "gelu_tanh", "silu", "elu",
    "leaky_relu", "softplus", "softsign", "exp", "mish",
]  # fmt: skip


class Activation:
    """An elementwise activation: call it, or ask for its derivative.

    Parameters
    ----------
    name : str
        Its name in ``ACTIVATIONS``.
    formula : callable
        ``formula(z, out)`` writes ``act(z)`` into ``out`` (or a new array) and returns it.
    slope_from_z : callable, optional
        ``act'(z)``. By default ``slope_from_y(act(z))``.
    slope_from_y : callable, optional
        The same derivative as a function of ``y = act(z)``, where there is one.
    halving : bool
        Whether it passes only about half of its input; then the weights before it start with
        variance 2 / d, else 1 / d.

    Examples
    --------
    >>> from fastgrad.reference import tanh
    >>> y = tanh([0.0, 0.5])
    >>> y.round(4).tolist()
    [0.0, 0.4621]
    >>> tanh.backward_from_output([1.0, 1.0], y).round(4).tolist()
    [1.0, 0.7864]
    """

    rowwise = False  # whether an output depends on the whole sample, as for softmax
    settings: Any = ()  # a named tuple of what `with_` can replace

    def __init__(
        self,
        name: str,
        formula: Formula,
        *,
        slope_from_z: Slope | None = None,
        slope_from_y: Slope | None = None,
        halving: bool = False,
    ) -> None:
        self.name = name
        self.formula = formula
        self.halving = halving
        self.slope_from_y = slope_from_y
        self.slope_from_z = slope_from_z or self._slope_through_y
        self.from_output = slope_from_y is not None  # a layer need not keep z
        self._slope_from_saved = slope_from_y or self.slope_from_z
        self.__doc__ = formula.__doc__

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def with_(self, **settings: float) -> Activation:
        """Return this activation with another setting: leaky_relu's slope, or elu's alpha."""
        own: Activation = with_settings(self, settings, ACTIVATIONS, _SET, _made)
        return own

    def __call__(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act(z)``, elementwise, in ``out`` if given."""
        return self._evaluate("", lambda z: self.formula(z, None), out, z=z)

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act'(z)``, elementwise."""
        return self._evaluate(".derivative", self.slope_from_z, out, z=z)

    def backward(self, grad_y: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``grad_z = grad_y * act'(z)``."""
        return self._evaluate(
            ".backward", lambda g, z: g * self.slope_from_z(z), out, grad_y=grad_y, z=z
        )

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from the output ``y = act(z)``; ValueError if that is impossible."""
        check_from_output(self.name, self.from_output)
        return self._evaluate(
            ".backward_from_output",
            lambda g, y: g * self._slope_from_saved(y),
            out,
            grad_y=grad_y,
            y=y,
        )

    # The layers call these: arrays of the working dtype, no conversions, no errstate.

    def apply(self, z: Array, out: Array | None = None, axis: int = -1) -> Array:
        """Write ``act(z)`` into ``out``, which may be ``z``. ``axis`` is for softmax."""
        return self.formula(z, out)

    def pull_back(self, grad_y: Array, saved: Array, axis: int = -1) -> Array:
        """Return ``grad_z`` in a new array; ``saved`` is y if ``from_output``, else z."""
        slope = self._slope_from_saved(saved)
        return np.multiply(slope, grad_y, out=slope)

    def _slope_through_y(self, z: Array) -> Array:
        assert self.slope_from_y is not None
        return self.slope_from_y(self.formula(z, None))

    def _evaluate(
        self,
        method: str,
        function: Callable[..., Array],
        out: Array | None,
        axis: int = -1,
        **values: ArrayLike,
    ) -> Array:
        """Return ``function`` of the values, arrays of one shape, in ``out`` if given."""
        caller = self.name + method
        given = elementwise_arguments(caller, values)
        work, dtype = common_dtypes(*given.values())
        arrays = [a if a.dtype is work else a.astype(work) for a in given.values()]
        shape = arrays[0].shape
        if self.rowwise:
            check_axis(caller, axis, next(iter(given)), arrays[0])
        if out is not None:
            check_out(caller, "out", out, shape, dtype, given)
        if not shape:  # NumPy turns 0-d results into scalars, which `out=` refuses: add an axis
            arrays = [a.reshape(1) for a in arrays]
        with np.errstate(all="ignore"):
            result = function(*arrays).reshape(shape)
        return deliver(result, dtype, out)


class Softmax(Activation):
    """Softmax along one axis: ``y_i = exp(z_i) / sum_j exp(z_j)``.

    Every output depends on every input of its sample, so there is no elementwise derivative.
    The Jacobian is ``diag(y) - y y^T``; its product with ``grad_y`` needs no matrix:
    ``grad_z = y * (grad_y - sum(grad_y * y))``.

    Subtracting the largest entry first does not change the quotient and keeps ``exp`` finite.
    For a sample with a NaN or +inf, or with -inf only, all outputs are NaN.

    Examples
    --------
    >>> from fastgrad.reference import softmax
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    rowwise = True

    def __init__(self) -> None:  # not Activation's: there is no formula per element
        self.name = "softmax"
        self.halving = False
        self.from_output = True
        self.__doc__ = type(self).__doc__

    def __call__(self, z: ArrayLike, *, axis: int = -1, out: Array | None = None) -> Array:
        """Return the softmax of ``z`` along ``axis`` (0 where samples are columns)."""
        return self._evaluate("", lambda z: self.apply(z, None, axis), out, axis, z=z)

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Raise ValueError: softmax has a Jacobian, not an elementwise derivative."""
        refuse_derivative(self.name)

    def backward(
        self, grad_y: ArrayLike, z: ArrayLike, *, axis: int = -1, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from ``z``."""
        return self._evaluate(
            ".backward",
            lambda g, z: self.pull_back(g, self.apply(z, None, axis), axis),
            out,
            axis,
            grad_y=grad_y,
            z=z,
        )

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, axis: int = -1, out: Array | None = None
    ) -> Array:
        """Return ``grad_z`` from the output ``y``."""
        return self._evaluate(
            ".backward_from_output",
            lambda g, y: self.pull_back(g, y, axis),
            out,
            axis,
            grad_y=grad_y,
            y=y,
        )

    def apply(self, z: Array, out: Array | None = None, axis: int = -1) -> Array:
        """Write the softmax into ``out``, which may be ``z``."""
        # `initial` only matters for samples without any feature, where max() would raise.
        y: Array = np.subtract(z, z.max(axis=axis, keepdims=True, initial=-np.inf), out=out)
        np.exp(y, out=y)
        y /= y.sum(axis=axis, keepdims=True)
        return y

    def pull_back(self, grad_y: Array, saved: Array, axis: int = -1) -> Array:
        """Return ``y * (grad_y - sum(grad_y * y))``."""
        weighted = grad_y * saved
        total = weighted.sum(axis=axis, keepdims=True)
        weighted -= saved * total
        return weighted


class FromCallable(Activation):
    """Any elementwise Python function of arrays, differentiated by central differences.

    ``act'(z) ~ (f(z + d) - f(z - d)) / 2d`` in float64, ``d = eps**(1/3) * max(1, |z|)``: at this
    step the error of the formula, ~ d**2, balances that of the arithmetic, ~ eps / d. About ten
    digits are right. It evaluates ``f`` two more times.

    ``f`` may work in place, and may return the same buffer each time: it gets copies of its input,
    and its result is copied before the next call.

    Examples
    --------
    >>> from fastgrad.reference import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], activation=lambda z: z**2).tolist()
    [[9.0]]
    """

    def __init__(self, caller: str, function: Callable[[Array], Any]) -> None:
        self.caller, self.function = caller, function  # caller: the name that errors give
        name = getattr(function, "__name__", type(function).__name__)
        super().__init__(name, self._call, slope_from_z=self._slope)

    def _call(self, z: Array, out: Array | None = None) -> Array:
        assert out is None  # the backward pass needs z
        return evaluated(self.caller, self.function, z, z.dtype)

    def _slope(self, z: Array) -> Array:
        z64 = z.astype(np.float64)
        delta = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(z64))
        above, below = z64 + delta, z64 - delta
        rise = evaluated(self.caller, self.function, above, z64.dtype)
        rise -= evaluated(self.caller, self.function, below, z64.dtype)
        return np.asarray(rise / (above - below), dtype=z.dtype)


# ---- the table ---------------------------------------------------------------------------------

identity = Activation("identity", formulas.identity, slope_from_y=np.ones_like)
sigmoid = Activation(
    "sigmoid",
    formulas.sigmoid,
    slope_from_z=formulas.sigmoid_slope_from_z,
    slope_from_y=formulas.sigmoid_slope_from_y,
)
tanh = Activation(
    "tanh",
    formulas.tanh,
    slope_from_z=formulas.tanh_slope_from_z,
    slope_from_y=formulas.tanh_slope_from_y,
)
relu = Activation("relu", formulas.relu, slope_from_y=formulas.relu_slope_from_y, halving=True)
softmax = Softmax()
gelu = Activation("gelu", formulas.gelu, slope_from_z=formulas.gelu_slope_from_z, halving=True)
gelu_tanh = Activation(
    "gelu_tanh", formulas.gelu_tanh, slope_from_z=formulas.gelu_tanh_slope_from_z, halving=True
)
silu = Activation("silu", formulas.silu, slope_from_z=formulas.silu_slope_from_z, halving=True)
elu = Activation(
    "elu",
    formulas.elu,
    slope_from_z=formulas.elu_slope_from_z,
    slope_from_y=formulas.elu_slope_from_y,
    halving=True,
)
leaky_relu = Activation(
    "leaky_relu", formulas.leaky_relu, slope_from_y=formulas.leaky_relu_slope_from_y, halving=True
)
softplus = Activation(
    "softplus",
    formulas.softplus,
    slope_from_z=formulas.sigmoid,
    slope_from_y=formulas.softplus_slope_from_y,
)
softsign = Activation(
    "softsign",
    formulas.softsign,
    slope_from_z=formulas.softsign_slope_from_z,
    slope_from_y=formulas.softsign_slope_from_y,
)
exp = Activation("exp", formulas.exp, slope_from_y=np.positive)
mish = Activation("mish", formulas.mish, slope_from_z=formulas.mish_slope_from_z, halving=True)

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
    "elu": (formulas.elu_of, formulas.elu_slope_from_z_of, formulas.elu_slope_from_y_of),
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
