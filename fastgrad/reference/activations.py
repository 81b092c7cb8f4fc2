"""Activation functions in plain NumPy: the formula, and its derivative beside it.

An activation turns the pre-activation ``z`` of a layer into its output ``y = act(z)``. Going
back, it turns ``grad_y = dL/dy`` into ``grad_z = dL/dz``. For the elementwise ones that is
``grad_y * act'(z)``; softmax mixes the entries of a sample and has a rule of its own.

Often the derivative is simplest in terms of the *output*: ``tanh' = 1 - y**2``. Then a layer can
forget ``z``, which saves memory and a second ``tanh``. ``ACTIVATIONS`` lists who can do that.

Numeric rules, the same in the whole package:

* float32 stays float32. ints and bools become float64; float16 is computed in float32.
* Nothing overflows on the way to a finite result, and an infinite ``z`` gives the limit
  (``silu(-inf) = 0``). NaN gives NaN. NumPy never warns: inf and NaN are values here, not events.
* A kink belongs to its left side: ``relu'(0) = 0``, ``leaky_relu'(0) = 0.01``. (elu has no kink
  for alpha = 1: ``elu'(0) = 1``.)
* No ``np.where`` on the sign of ``z``: random signs defeat the processor's branch prediction and
  cost more than an ``exp``. ``minimum``, ``maximum`` and ``sign`` say the same without branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Formula = Callable[[Array, "Array | None"], Array]  # (z, out) -> y; out may be z itself
Slope = Callable[[Array], Array]  # z or y -> a new array

NATIVE = (np.dtype(np.float32), np.dtype(np.float64))
HALF = np.dtype(np.float16)


# ---- what goes in ------------------------------------------------------------------------------


def promote(*arrays: Array) -> np.dtype[Any]:
    """Return the floating dtype of a result made from ``arrays``; ints and bools are float64."""
    dtype = arrays[0].dtype
    if dtype in NATIVE and all(a.dtype is dtype for a in arrays):
        return dtype
    for a in arrays:
        if a.dtype.kind not in "fiub" or a.dtype.itemsize > 8:
            raise TypeError(f"dtype {a.dtype} is not supported: give float16, 32, 64, int or bool")
    return np.result_type(*(a.dtype if a.dtype.kind == "f" else np.float64 for a in arrays))


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to compute in: float16 is too coarse for anything but storage."""
    return NATIVE[0] if dtype == HALF else dtype


def as_floats(*values: ArrayLike) -> tuple[list[Array], np.dtype[Any]]:
    """Return the values as arrays of one working dtype, and the dtype of the result."""
    arrays = [np.asarray(v) for v in values]
    dtype = promote(*arrays)
    work = working_dtype(dtype)
    return [a if a.dtype is work else a.astype(work) for a in arrays], dtype


# ---- the objects -------------------------------------------------------------------------------


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

    Examples
    --------
    >>> from fastgrad.reference import tanh
    >>> y = tanh([0.0, 0.5])
    >>> y.round(4).tolist()
    [0.0, 0.4621]
    >>> tanh.backward_from_output([1.0, 1.0], y).round(4).tolist()
    [1.0, 0.7864]
    """

    def __init__(
        self,
        name: str,
        formula: Formula,
        *,
        slope_from_z: Slope | None = None,
        slope_from_y: Slope | None = None,
    ) -> None:
        self.name = name
        self.formula = formula
        self.slope_from_y = slope_from_y
        self.slope_from_z = slope_from_z or self._slope_through_y
        self.from_output = slope_from_y is not None  # may a layer forget z?
        self._slope_from_saved = slope_from_y or self.slope_from_z
        self.__doc__ = formula.__doc__

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def __call__(self, z: ArrayLike) -> Array:
        """Return ``act(z)``, elementwise, in a new array."""
        return self._evaluate(lambda z: self.formula(z, None), z)

    def derivative(self, z: ArrayLike) -> Array:
        """Return ``act'(z)``, elementwise."""
        return self._evaluate(self.slope_from_z, z)

    def backward(self, grad_y: ArrayLike, z: ArrayLike) -> Array:
        """Return ``grad_z = grad_y * act'(z)``."""
        return self._evaluate(lambda g, z: g * self.slope_from_z(z), grad_y, z)

    def backward_from_output(self, grad_y: ArrayLike, y: ArrayLike) -> Array:
        """Return ``grad_z`` from the output ``y = act(z)``; ValueError where that is impossible."""
        slope = self.slope_from_y
        if slope is None:
            raise ValueError(
                f"{self.name}.backward_from_output: the derivative of {self.name} is not a "
                f"function of its output y; use {self.name}.backward(grad_y, z)"
            )
        return self._evaluate(lambda g, y: g * slope(y), grad_y, y)

    # What the layers call: arrays of the working dtype in, no conversions, no errstate.

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

    @staticmethod
    def _evaluate(function: Callable[..., Array], *values: ArrayLike) -> Array:
        arrays, dtype = as_floats(*values)
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        # NumPy turns 0-d results into scalars, which `out=` refuses: lend them one axis.
        arrays = [a.reshape(1) if a.ndim == 0 else a for a in arrays]
        with np.errstate(all="ignore"):
            return function(*arrays).reshape(shape).astype(dtype, copy=False)


class Softmax(Activation):
    """Softmax along one axis: ``y_i = exp(z_i) / sum_j exp(z_j)``.

    Every output depends on every input of its sample, so there is no elementwise derivative.
    The Jacobian is ``diag(y) - y y^T``; multiplied from the left by ``grad_y`` it needs no matrix:
    ``grad_z = y * (grad_y - sum(grad_y * y))``.

    Subtracting the largest entry first changes nothing in the quotient and keeps ``exp`` finite.
    A sample with a NaN or +inf, or with -inf only, is NaN throughout.

    Examples
    --------
    >>> from fastgrad.reference import softmax
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    def __init__(self) -> None:
        super().__init__("softmax", _identity, slope_from_y=np.ones_like)
        self.__doc__ = type(self).__doc__

    def __call__(self, z: ArrayLike, axis: int = -1) -> Array:
        """Return the softmax of ``z`` along ``axis`` (0 where samples are columns)."""
        return self._evaluate(lambda z: self.apply(z, None, axis), z)

    def derivative(self, z: ArrayLike) -> Array:
        """Raise ValueError: softmax has a Jacobian, not an elementwise derivative."""
        raise ValueError(
            "softmax.derivative: softmax is not elementwise, it has no derivative of z's shape; "
            "use softmax.backward(grad_y, z) or softmax.backward_from_output(grad_y, y)"
        )

    def backward(self, grad_y: ArrayLike, z: ArrayLike, axis: int = -1) -> Array:
        """Return ``grad_z`` from ``z``."""
        return self._evaluate(
            lambda g, z: self.pull_back(g, self.apply(z, None, axis), axis), grad_y, z
        )

    def backward_from_output(self, grad_y: ArrayLike, y: ArrayLike, axis: int = -1) -> Array:
        """Return ``grad_z`` from the output ``y``."""
        return self._evaluate(lambda g, y: self.pull_back(g, y, axis), grad_y, y)

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

    ``act'(z) ~ (f(z + d) - f(z - d)) / 2d`` in float64, ``d = eps**(1/3) * max(1, |z|)``: the step
    where the error of the formula, ~ d**2, balances that of the arithmetic, ~ eps / d. About ten
    digits come out right, for two more evaluations of ``f``.

    ``f`` may work in place, and may return a buffer of its own again and again: it is given copies,
    and what it returns is copied before it is called again.

    Examples
    --------
    >>> from fastgrad.reference import dense
    >>> dense([[1.0, 2.0]], [[1.0], [1.0]], activation=lambda z: z**2).tolist()
    [[9.0]]
    """

    def __init__(self, function: Callable[[Array], Any]) -> None:
        self.function = function
        super().__init__(
            getattr(function, "__name__", type(function).__name__),
            self._call,
            slope_from_z=self._slope,
        )

    def _call(self, z: Array, out: Array | None = None) -> Array:
        y = np.array(self.function(z.copy(order="K")), z.dtype)
        if y.shape != z.shape:
            raise ValueError(
                f"activation {self.name} returned shape {y.shape} for an array of shape {z.shape}: "
                "it must be elementwise"
            )
        if out is None:
            return y
        np.copyto(out, y)
        return out

    def _slope(self, z: Array) -> Array:
        z64 = z.astype(np.float64)
        delta = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(z64))
        above, below = z64 + delta, z64 - delta
        rise = np.array(self.function(above.copy(order="K")), np.float64)
        rise -= self.function(below.copy(order="K"))
        return np.asarray(rise / (above - below), dtype=z.dtype)


# ---- the formulas ------------------------------------------------------------------------------
# Below, `out` may be `z`, so nothing reads z once out has been written.


def _identity(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z``; the derivative is 1."""
    return np.positive(z, out=out)


def _sigmoid(z: Array, out: Array | None = None) -> Array:
    """Return ``y = 1 / (1 + exp(-z))``; the derivative is ``y * (1 - y)``."""
    # As e / (1 + e), which keeps all digits of the small values at negative z. Above z = 40 the
    # result rounds to 1 in any case, so capping z there only keeps e from overflowing.
    e = np.minimum(z, 40.0)
    np.exp(e, out=e)
    return np.divide(e, e + 1.0, out=out)


def _sigmoid_slope_from_z(z: Array) -> Array:
    e = np.abs(z)  # sigmoid' is even, so |z| will do: e / (1 + e)**2 with e = exp(-|z|)
    np.negative(e, out=e)
    np.exp(e, out=e)
    return e / np.square(e + 1.0)


def _sigmoid_slope_from_y(y: Array) -> Array:
    slope = 1.0 - y
    slope *= y
    return slope


def _tanh(z: Array, out: Array | None = None) -> Array:
    """Return ``y = tanh(z)``; the derivative is ``1 - y**2``."""
    return np.tanh(z, out=out)


def _tanh_slope_from_z(z: Array) -> Array:
    # tanh(z) = 2 sigmoid(2z) - 1; unlike 1 - tanh(z)**2 this does not cancel at large |z|.
    return 4.0 * _sigmoid_slope_from_z(2.0 * z)


def _tanh_slope_from_y(y: Array) -> Array:
    slope: Array = y * y
    np.subtract(1.0, slope, out=slope)
    return slope


def _relu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = max(z, 0)``; the derivative is 1 for z > 0, else 0 (so 0 at the kink)."""
    return np.maximum(z, 0.0, out=out)


_relu_slope_from_y = np.sign  # y is 0, positive or NaN, and sign makes it 0, 1 or NaN


def _leaky_relu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``0.01 * z``; the derivative at the kink is 0.01."""
    return np.maximum(z, 0.01 * z, out=out)


def _leaky_relu_slope_from_y(y: Array) -> Array:
    sign = np.sign(y)
    return np.maximum(sign, 0.01, out=sign)


def _elu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z`` for z > 0, else ``exp(z) - 1``; the derivative is 1, else ``y + 1``."""
    negative = np.minimum(z, 0.0)
    np.expm1(negative, out=negative)
    return np.add(np.maximum(z, 0.0), negative, out=out)


def _elu_slope_from_z(z: Array) -> Array:
    slope = np.minimum(z, 0.0)
    return np.exp(slope, out=slope)


def _elu_slope_from_y(y: Array) -> Array:
    slope = np.minimum(y, 0.0)
    slope += 1.0
    return slope


def _softplus(z: Array, out: Array | None = None) -> Array:
    """Return ``y = log(1 + exp(z))``; the derivative is ``sigmoid(z) = 1 - exp(-y)``."""
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), and that exp is never above 1.
    tail = np.abs(z)
    np.negative(tail, out=tail)
    np.exp(tail, out=tail)
    np.log1p(tail, out=tail)
    return np.add(np.maximum(z, 0.0), tail, out=out)


def _softplus_slope_from_y(y: Array) -> Array:
    slope = np.negative(y)
    np.expm1(slope, out=slope)
    return np.negative(slope, out=slope)


def _softsign(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z / (1 + |z|)``; the derivative is ``1 / (1 + |z|)**2 = (1 - |y|)**2``."""
    largest = np.finfo(z.dtype).max  # inf / inf would be NaN; the limit is 1
    z = np.clip(z, -largest, largest)
    return np.divide(z, 1.0 + np.abs(z), out=out)


def _softsign_slope_from_z(z: Array) -> Array:
    return np.square(1.0 / (1.0 + np.abs(z)))  # 1 / square(...) would overflow first


def _softsign_slope_from_y(y: Array) -> Array:
    return np.square(1.0 - np.abs(y))


def _exp(z: Array, out: Array | None = None) -> Array:
    """Return ``y = exp(z)``; the derivative is y."""
    return np.exp(z, out=out)


def _silu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * sigmoid(z)`` (also called swish)."""
    # Below -800 the sigmoid is 0; the bound only keeps -inf * 0 from becoming NaN.
    return np.multiply(np.maximum(z, -800.0), _sigmoid(z), out=out)


def _silu_slope_from_z(z: Array) -> Array:
    z = np.clip(z, -800.0, 80.0)  # beyond, the slope is 0 or 1
    s, rest = _sigmoid_and_rest(z)
    return s * (1.0 + z * rest)


def _sigmoid_and_rest(z: Array) -> tuple[Array, Array]:
    """Return ``s = sigmoid(z)`` and ``1 - s``, which would cancel if subtracted."""
    e = np.exp(np.minimum(z, 80.0))
    rest = 1.0 / (1.0 + e)
    e *= rest
    return e, rest


# gelu(z) = z * Phi(z), where Phi is the normal distribution function. NumPy has no erf, so its
# tail Q(t) = Phi(-t), t >= 0, comes from a series whose every digit counts however small Q is:
#
#     Q(t) = exp(-t**2 / 2) / (1 + t) * sum_i TAIL[i] * T_i(u),     u = (t - 5) / (t + 5)
#
# T_i are Chebyshev polynomials; u maps 0 <= t < inf to -1 <= u < 1. The sum varies only between
# 0.40 and 0.5. TAIL is its Chebyshev interpolation at 48 nodes with mpmath, 40 digits, cut where
# the terms fall below 1e-17. (Idea: Shepherd and Laframboise, Math. Comp. 36 (1981) 249-253.)
# fmt: off
TAIL = [
    0.4619742120721857, -0.065165202394912636, -0.0054587815011365674,
    0.012296199045563439, -0.0064708729157036881, 0.0022407355224168305,
    -0.00056386237746519738, 9.9840310829258118e-05, -9.8495148431684927e-06,
    -4.0324942330452172e-07, 2.99023962013034e-07, -3.0320707484428141e-08,
    -4.6176657139290272e-09, 1.3298288008382692e-09, 3.007242719019045e-11,
    -4.4299537255328156e-11, 1.3999857147018152e-12, 1.4718957028912571e-12,
    -9.325953119165372e-14, -5.2946811690676952e-14, 3.9581884144145169e-15,
    2.1048214642963194e-15, -1.3456712861361439e-16,
]
# fmt: on
# As powers of u, highest first, for Horner's rule; 13 terms are enough for float32.
TAIL_POWERS = {NATIVE[0]: cheb2poly(TAIL[:13])[::-1], NATIVE[1]: cheb2poly(TAIL)[::-1]}


def _normal_tail(z: Array) -> tuple[Array, Array, Array]:
    """Return ``t = min(|z|, 40)``, ``Q(t)`` and ``exp(-t**2 / 2)``, all float64."""
    t = np.minimum(np.abs(z), 40.0).astype(np.float64)  # Q(40) is 0 in float64
    u = t - 5.0
    u /= t + 5.0
    first, *rest = TAIL_POWERS[z.dtype]
    tail = np.full_like(u, first)
    for coefficient in rest:
        tail *= u
        tail += coefficient
    tail /= 1.0 + t
    # The rounding error of t*t would be magnified by exp. With t = head + (t - head), where head
    # has 24 bits, head*head is exact, and the rest is small. (For float32, head is all of t.)
    head = t.astype(np.float32).astype(np.float64)
    bell = np.exp(-0.5 * head * head)
    if z.dtype != NATIVE[0]:
        bell *= np.exp(-0.5 * (t - head) * (t + head))
    tail *= bell
    return t, tail, bell


def _gelu(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * Phi(z) = z * erfc(-z / sqrt(2)) / 2``, the exact form."""
    # z*Phi(z) is z*Q(|z|) for z < 0 and z - z*Q(z) for z >= 0; in one formula, max(z, 0) - t*Q(t).
    t, tail, _ = _normal_tail(z)
    tail *= t
    y: Array = np.subtract(np.maximum(z, 0.0), tail.astype(z.dtype, copy=False), out=out)
    return y


def _gelu_slope_from_z(z: Array) -> Array:
    # Phi(z) + z * phi(z), phi the normal density: Q - t*phi for z < 0, 1 - (Q - t*phi) for z > 0.
    t, tail, bell = _normal_tail(z)
    bell *= t / np.sqrt(2.0 * np.pi)
    bell -= tail
    sign = np.sign(z)
    slope: Array = 0.5 + 0.5 * sign + sign * bell
    return slope.astype(z.dtype, copy=False)


# gelu_tanh replaces Phi(z) by (1 + tanh(v)) / 2 = sigmoid(2v), v = sqrt(2/pi) (z + 0.044715 z**3).
# The sigmoid does not cancel at negative z as 1 + tanh does. At |z| = 40 it has long been 0 or 1.
SQRT_8_OVER_PI = float(np.sqrt(8.0 / np.pi))


def _gelu_tanh(z: Array, out: Array | None = None) -> Array:
    """Return ``y = z * (1 + tanh(sqrt(2/pi) * (z + 0.044715 * z**3))) / 2`` (Hendrycks, Gimpel)."""
    c = np.clip(z, -40.0, 40.0)
    s = _sigmoid(SQRT_8_OVER_PI * c * (1.0 + 0.044715 * c * c))
    return np.multiply(np.maximum(z, -40.0), s, out=out)


def _gelu_tanh_slope_from_z(z: Array) -> Array:
    z = np.clip(z, -40.0, 40.0)
    square = z * z
    s, rest = _sigmoid_and_rest(SQRT_8_OVER_PI * z * (1.0 + 0.044715 * square))
    slope_of_2v = SQRT_8_OVER_PI * (1.0 + 3.0 * 0.044715 * square)
    return s * (1.0 + z * rest * slope_of_2v)


# ---- the table ---------------------------------------------------------------------------------

identity = Activation("identity", _identity, slope_from_y=np.ones_like)
sigmoid = Activation(
    "sigmoid", _sigmoid, slope_from_z=_sigmoid_slope_from_z, slope_from_y=_sigmoid_slope_from_y
)
tanh = Activation("tanh", _tanh, slope_from_z=_tanh_slope_from_z, slope_from_y=_tanh_slope_from_y)
relu = Activation("relu", _relu, slope_from_y=_relu_slope_from_y)
softmax = Softmax()
gelu = Activation("gelu", _gelu, slope_from_z=_gelu_slope_from_z)
gelu_tanh = Activation("gelu_tanh", _gelu_tanh, slope_from_z=_gelu_tanh_slope_from_z)
silu = Activation("silu", _silu, slope_from_z=_silu_slope_from_z)
elu = Activation("elu", _elu, slope_from_z=_elu_slope_from_z, slope_from_y=_elu_slope_from_y)
leaky_relu = Activation("leaky_relu", _leaky_relu, slope_from_y=_leaky_relu_slope_from_y)
softplus = Activation(
    "softplus", _softplus, slope_from_z=_sigmoid, slope_from_y=_softplus_slope_from_y
)
softsign = Activation(
    "softsign",
    _softsign,
    slope_from_z=_softsign_slope_from_z,
    slope_from_y=_softsign_slope_from_y,
)
exp = Activation("exp", _exp, slope_from_y=np.positive)

ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        identity, sigmoid, tanh, relu, softmax, gelu, gelu_tanh, silu, elu, leaky_relu, softplus,
        softsign, exp,
    )
}  # fmt: skip


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
