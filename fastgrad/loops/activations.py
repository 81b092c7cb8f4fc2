"""Activation functions one number at a time, with the math module.

Every formula here takes and returns Python floats, so it reads like the textbook; loops over the
samples and features do the rest. Python floats are float64: for float32 arrays the computation is
in float64 and each result is rounded once.

`fastgrad.reference` computes the same in NumPy without sharing a line with this file, so the two
check each other. The numeric rules are stated there: an infinite z gives the limit, NaN gives NaN,
and a kink belongs to its left side (``relu'(0) = 0``, ``leaky_relu'(0) = 0.01``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Row = list[float]  # the features of one sample
Scalar = Callable[[float], float]


# ---- arrays to lists and back ------------------------------------------------------------------


def result_dtype(*arrays: Array) -> np.dtype[Any]:
    """Return the dtype of a result: that of the inputs, where ints and bools count as float64."""
    dtypes = []
    for array in arrays:
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind in "iub":
            dtypes.append(np.dtype(np.float64))
        elif kind == "f" and size <= 8:
            dtypes.append(array.dtype)
        else:
            raise TypeError(f"{array.dtype} is not supported; use float16, float32 or float64")
    return np.result_type(*dtypes)


def to_rows(array: Array, axis: int = -1) -> list[Row]:
    """Return a list of the vectors along ``axis``, each a list of Python floats."""
    if array.ndim == 0:
        return [[float(array)]]
    moved = np.moveaxis(array, axis, -1)
    count, length = math.prod(moved.shape[:-1]), moved.shape[-1]
    rows: list[Row] = moved.astype(np.float64).reshape(count, length).tolist()
    return rows


def from_rows(
    rows: list[Row], shape: tuple[int, ...], dtype: np.dtype[Any], axis: int = -1
) -> Array:
    """Undo `to_rows`: return an array of this shape and dtype."""
    with np.errstate(all="ignore"):  # rounding to float32 may give inf; that is the right answer
        flat = np.array(rows, dtype=np.float64).astype(dtype)
    if len(shape) == 0:
        return flat.reshape(())
    moved = list(shape)
    length = moved.pop(axis)
    return np.ascontiguousarray(np.moveaxis(flat.reshape(*moved, length), -1, axis))


# ---- the objects -------------------------------------------------------------------------------


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

    Examples
    --------
    >>> from fastgrad.loops import relu
    >>> relu([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    >>> relu.derivative([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 1.0]
    """

    def __init__(
        self,
        name: str,
        formula: Scalar,
        slope_from_z: Scalar,
        slope_from_y: Scalar | None = None,
    ) -> None:
        self.name = name
        self.formula = formula
        self.slope_from_z = slope_from_z
        self.slope_from_y = slope_from_y
        self.from_output = slope_from_y is not None
        self.__doc__ = formula.__doc__

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def __call__(self, z: ArrayLike) -> Array:
        """Return ``act(z)``, elementwise, in a new array."""
        return _map_rows(self.forward_row, -1, z)

    def derivative(self, z: ArrayLike) -> Array:
        """Return ``act'(z)``, elementwise."""
        return _map_rows(lambda row: [self.slope_from_z(z) for z in row], -1, z)

    def backward(self, grad_y: ArrayLike, z: ArrayLike) -> Array:
        """Return ``grad_z = grad_y * act'(z)``."""
        return _map_rows(
            lambda grad, row: [g * self.slope_from_z(z) for g, z in zip(grad, row, strict=True)],
            -1,
            grad_y,
            z,
        )

    def backward_from_output(self, grad_y: ArrayLike, y: ArrayLike) -> Array:
        """Return ``grad_z`` from the output ``y = act(z)``; ValueError where that is impossible."""
        if not self.from_output:
            raise ValueError(
                f"{self.name}.backward_from_output: the derivative of {self.name} is not a "
                f"function of its output y; use {self.name}.backward(grad_y, z)"
            )
        return _map_rows(self.backward_row, -1, grad_y, y)

    # What the layers call, for one sample.

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


class Softmax(Activation):
    """Softmax along one axis: ``y_i = exp(z_i) / sum_j exp(z_j)``.

    Backward: ``grad_z_i = y_i * (grad_y_i - sum_j grad_y_j y_j)``.

    Examples
    --------
    >>> from fastgrad.loops import softmax
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    def __init__(self) -> None:
        super().__init__("softmax", _identity, _one, _one)
        self.__doc__ = type(self).__doc__

    def __call__(self, z: ArrayLike, axis: int = -1) -> Array:
        """Return the softmax of ``z`` along ``axis`` (0 where samples are columns)."""
        return _map_rows(self.forward_row, axis, z)

    def derivative(self, z: ArrayLike) -> Array:
        """Raise ValueError: softmax has a Jacobian, not an elementwise derivative."""
        raise ValueError(
            "softmax.derivative: softmax is not elementwise, it has no derivative of z's shape; "
            "use softmax.backward(grad_y, z) or softmax.backward_from_output(grad_y, y)"
        )

    def backward(self, grad_y: ArrayLike, z: ArrayLike, axis: int = -1) -> Array:
        """Return ``grad_z`` from ``z``."""
        return _map_rows(
            lambda grad, row: self.backward_row(grad, self.forward_row(row)), axis, grad_y, z
        )

    def backward_from_output(self, grad_y: ArrayLike, y: ArrayLike, axis: int = -1) -> Array:
        """Return ``grad_z`` from the output ``y``."""
        return _map_rows(self.backward_row, axis, grad_y, y)

    def forward_row(self, row: Row) -> Row:
        """Return the softmax of one sample."""
        largest = -math.inf
        for z in row:
            if z > largest:
                largest = z
        y = [safe_exp(z - largest) for z in row]
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

    def __init__(self, function: Callable[[Array], Any]) -> None:
        self.function = function
        name = getattr(function, "__name__", type(function).__name__)
        super().__init__(name, self._call, self._slope)

    def _call(self, z: float) -> float:
        # An array of its own for each number, and a float made of the result at once: the function
        # may work in place, or return the same buffer again and again.
        with np.errstate(all="ignore"):
            y = np.asarray(self.function(np.array([z])))
        if y.shape != (1,):
            raise ValueError(
                f"activation {self.name} returned shape {y.shape} for an array of shape (1,): it "
                "must be elementwise"
            )
        return float(y[0])

    def _slope(self, z: float) -> float:
        delta = math.pow(2.0, -52 / 3) * max(1.0, abs(z))
        above, below = z + delta, z - delta
        return (self._call(above) - self._call(below)) / (above - below)


def _map_rows(function: Callable[..., Row], axis: int, *values: ArrayLike) -> Array:
    """Apply ``function`` to every vector along ``axis`` of the (broadcast) values."""
    arrays = [np.asarray(v) for v in values]
    dtype = result_dtype(*arrays)
    arrays = list(np.broadcast_arrays(*arrays))
    results = []
    for rows in zip(*(to_rows(a, axis) for a in arrays), strict=True):
        results.append(function(*rows))
    return from_rows(results, arrays[0].shape, dtype, axis)


# ---- the formulas, each with its derivative ----------------------------------------------------


def safe_exp(z: float) -> float:
    """Return ``exp(z)``, inf where ``math.exp`` would raise OverflowError."""
    return math.exp(z) if not z > 709.782712893384 else math.inf


def _one(_: float) -> float:
    return 1.0


def _identity(z: float) -> float:
    """Return ``y = z``; the derivative is 1."""
    return z


def _sigmoid(z: float) -> float:
    """Return ``y = 1 / (1 + exp(-z))``; the derivative is ``y * (1 - y)``."""
    if z >= 0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


def _sigmoid_slope(z: float) -> float:
    return _sigmoid(z) * _sigmoid(-z)  # 1 - sigmoid(z) = sigmoid(-z), which does not cancel


def _sigmoid_slope_from_y(y: float) -> float:
    return y * (1.0 - y)


def _tanh(z: float) -> float:
    """Return ``y = tanh(z)``; the derivative is ``1 - y**2``."""
    return math.tanh(z)


def _tanh_slope(z: float) -> float:
    return 1.0 / math.cosh(z) ** 2 if abs(z) < 300.0 else 4.0 * math.exp(-2.0 * abs(z))


def _tanh_slope_from_y(y: float) -> float:
    return 1.0 - y * y


def _relu(z: float) -> float:
    """Return ``y = max(z, 0)``; the derivative is 1 for z > 0, else 0 (so 0 at the kink)."""
    return 0.0 if z <= 0 else z  # NaN is not <= 0 and goes through


def _relu_slope(z: float) -> float:
    if math.isnan(z):
        return z
    return 1.0 if z > 0 else 0.0


def _leaky_relu(z: float) -> float:
    """Return ``y = z`` for z > 0, else ``0.01 * z``; the derivative at the kink is 0.01."""
    return 0.01 * z if z <= 0 else z


def _leaky_relu_slope(z: float) -> float:
    if math.isnan(z):
        return z
    return 1.0 if z > 0 else 0.01


def _elu(z: float) -> float:
    """Return ``y = z`` for z > 0, else ``exp(z) - 1``; the derivative is 1, else ``y + 1``."""
    return math.expm1(z) if z <= 0 else z


def _elu_slope(z: float) -> float:
    if math.isnan(z):
        return z
    return math.exp(z) if z < 0 else 1.0


def _elu_slope_from_y(y: float) -> float:
    if math.isnan(y):
        return y
    return y + 1.0 if y < 0 else 1.0


def _softplus(z: float) -> float:
    """Return ``y = log(1 + exp(z))``; the derivative is ``sigmoid(z) = 1 - exp(-y)``."""
    if z > 0:
        return z + math.log1p(math.exp(-z))
    return math.log1p(math.exp(z))


def _softplus_slope_from_y(y: float) -> float:
    return -math.expm1(-y)


def _softsign(z: float) -> float:
    """Return ``y = z / (1 + |z|)``; the derivative is ``1 / (1 + |z|)**2 = (1 - |y|)**2``."""
    if math.isinf(z):
        return math.copysign(1.0, z)
    return z / (1.0 + abs(z))


def _softsign_slope(z: float) -> float:
    r = 1.0 / (1.0 + abs(z))
    return r * r


def _softsign_slope_from_y(y: float) -> float:
    return (1.0 - abs(y)) * (1.0 - abs(y))


def _silu(z: float) -> float:
    """Return ``y = z * sigmoid(z)`` (also called swish)."""
    return z * _sigmoid(z) if z != -math.inf else 0.0


def _silu_slope(z: float) -> float:
    if math.isinf(z):
        return 1.0 if z > 0 else 0.0
    return _sigmoid(z) * (1.0 + z * _sigmoid(-z))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))  # erfc, because 1 + erf cancels at negative z


def _normal_density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _gelu(z: float) -> float:
    """Return ``y = z * Phi(z) = z * erfc(-z / sqrt(2)) / 2``, the exact form."""
    return z * _normal_cdf(z) if z != -math.inf else 0.0


def _gelu_slope(z: float) -> float:
    if math.isinf(z):
        return 1.0 if z > 0 else 0.0
    return _normal_cdf(z) + z * _normal_density(z)


def _gelu_tanh_inner(z: float) -> float:
    return math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z)


def _gelu_tanh(z: float) -> float:
    """Return ``y = z * (1 + tanh(sqrt(2/pi) * (z + 0.044715 * z**3))) / 2`` (Hendrycks, Gimpel)."""
    # (1 + tanh(v)) / 2 = sigmoid(2 v), which does not cancel at negative z.
    return z * _sigmoid(2.0 * _gelu_tanh_inner(z)) if z != -math.inf else 0.0


def _gelu_tanh_slope(z: float) -> float:
    if abs(z) > 40.0:  # by then the sigmoid is 0 or 1
        return 1.0 if z > 0 else 0.0
    v = _gelu_tanh_inner(z)
    slope_of_inner = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * z * z)
    return _sigmoid(2.0 * v) * (1.0 + z * _sigmoid(-2.0 * v) * 2.0 * slope_of_inner)


# ---- the table ---------------------------------------------------------------------------------

identity = Activation("identity", _identity, _one, _one)
sigmoid = Activation("sigmoid", _sigmoid, _sigmoid_slope, _sigmoid_slope_from_y)
tanh = Activation("tanh", _tanh, _tanh_slope, _tanh_slope_from_y)
relu = Activation("relu", _relu, _relu_slope, _relu_slope)
softmax = Softmax()
gelu = Activation("gelu", _gelu, _gelu_slope)
gelu_tanh = Activation("gelu_tanh", _gelu_tanh, _gelu_tanh_slope)
silu = Activation("silu", _silu, _silu_slope)
elu = Activation("elu", _elu, _elu_slope, _elu_slope_from_y)
leaky_relu = Activation("leaky_relu", _leaky_relu, _leaky_relu_slope, _leaky_relu_slope)
softplus = Activation("softplus", _softplus, _sigmoid, _softplus_slope_from_y)
softsign = Activation("softsign", _softsign, _softsign_slope, _softsign_slope_from_y)
exp = Activation("exp", safe_exp, safe_exp, _identity)

ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "softmax": softmax,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "elu": elu,
    "leaky_relu": leaky_relu,
    "softplus": softplus,
    "softsign": softsign,
    "exp": exp,
}


def resolve(activation: Any) -> Activation:
    """Return the Activation meant by None, a name, an activation of any package, or a callable."""
    if activation is None:
        return identity
    if isinstance(activation, Activation):
        return activation
    name = activation if isinstance(activation, str) else getattr(activation, "name", None)
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if callable(activation):
        return FromCallable(activation)
    raise ValueError(f"unknown activation {activation!r}: choose from {', '.join(ACTIVATIONS)}")
