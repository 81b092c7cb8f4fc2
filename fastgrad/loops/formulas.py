"""The formula and the derivative of every elementwise activation, for one number.

Everything takes and returns a Python float, with the math module. ``act_slope`` is the derivative
as a function of the pre-activation z, ``act_slope_from_y`` of the output ``y = act(z)``.
softmax is not elementwise: see `activations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Scalar = Callable[[float], float]


def identity(z: float) -> float:
    """Return ``y = z``; the derivative is 1."""
    return z


def one(_: float) -> float:
    """Return 1: the derivative of the identity."""
    return 1.0


def sigmoid(z: float) -> float:
    """Return ``y = 1 / (1 + exp(-z))``; the derivative is ``y * (1 - y)``."""
    if z >= 0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


def sigmoid_slope(z: float) -> float:
    """Return ``sigmoid(z) * (1 - sigmoid(z))``."""
    return sigmoid(z) * sigmoid(-z)  # 1 - sigmoid(z) = sigmoid(-z), which does not cancel


def sigmoid_slope_from_y(y: float) -> float:
    """Return ``y * (1 - y)``."""
    return y * (1.0 - y)


def tanh(z: float) -> float:
    """Return the hyperbolic tangent y; the derivative is ``1 - y**2``."""
    return math.tanh(z)


def tanh_slope(z: float) -> float:
    """Return ``1 / cosh(z)**2``."""
    return 1.0 / math.cosh(z) ** 2 if abs(z) < 300.0 else 4.0 * math.exp(-2.0 * abs(z))


def tanh_slope_from_y(y: float) -> float:
    """Return ``1 - y**2``."""
    return 1.0 - y * y


def relu(z: float) -> float:
    """Return ``y = max(z, 0)``; the derivative is 1 for z > 0, else 0 (so 0 at the kink)."""
    return 0.0 if z <= 0 else z  # NaN is not <= 0 and goes through


def relu_slope(z: float) -> float:
    """Return 1 for z > 0, else 0; the same function also takes y."""
    if math.isnan(z):
        return z
    return 1.0 if z > 0 else 0.0


def leaky_relu(z: float) -> float:
    """Return ``y = z`` for z > 0, else ``0.01 * z``; the derivative at the kink is 0.01."""
    return 0.01 * z if z <= 0 else z


def leaky_relu_slope(z: float) -> float:
    """Return 1 for z > 0, else 0.01; the same function also takes y."""
    if math.isnan(z):
        return z
    return 1.0 if z > 0 else 0.01


def elu(z: float) -> float:
    """Return ``y = z`` for z > 0, else ``exp(z) - 1``; the derivative is 1, else ``y + 1``."""
    return math.expm1(z) if z <= 0 else z


def elu_slope(z: float) -> float:
    """Return 1 for z >= 0, else ``exp(z)``."""
    if math.isnan(z):
        return z
    return math.exp(z) if z < 0 else 1.0


def elu_slope_from_y(y: float) -> float:
    """Return 1 for y >= 0, else ``y + 1``."""
    if math.isnan(y):
        return y
    return y + 1.0 if y < 0 else 1.0


def leaky_relu_of(slope: float, z: float) -> float:
    """Return ``y = z`` for z > 0, else ``slope * z``, of any slope."""
    if z <= 0:
        return slope * z if slope != 0 else 0.0  # 0 * -inf would be NaN
    return z


def leaky_relu_slope_of(slope: float, z: float) -> float:
    """Return 1 for z > 0, else the slope; for y as for z if the slope is positive."""
    if math.isnan(z):
        return z
    return 1.0 if z > 0 else slope


def elu_of(alpha: float, z: float) -> float:
    """Return ``y = z`` for z > 0, else ``alpha * (exp(z) - 1)``."""
    return alpha * math.expm1(z) if z <= 0 else z


def elu_slope_of(alpha: float, z: float) -> float:
    """Return 1 for z > 0, else ``alpha * exp(z)``: also at 0, the kink."""
    if math.isnan(z):
        return z
    return alpha * math.exp(z) if z <= 0 else 1.0


def elu_slope_from_y_of(alpha: float, y: float) -> float:
    """Return 1 for y > 0, else ``y + alpha``: for an alpha of at least 0."""
    if math.isnan(y):
        return y
    return y + alpha if y <= 0 else 1.0


def softplus(z: float) -> float:
    """Return ``y = log(1 + exp(z))``; the derivative is ``sigmoid(z) = 1 - exp(-y)``."""
    if z > 0:
        return z + math.log1p(math.exp(-z))
    return math.log1p(math.exp(z))


def softplus_slope_from_y(y: float) -> float:
    """Return ``1 - exp(-y)``."""
    return -math.expm1(-y)


def softsign(z: float) -> float:
    """Return ``y = z / (1 + |z|)``; the derivative is ``1 / (1 + |z|)**2 = (1 - |y|)**2``."""
    if math.isinf(z):
        return math.copysign(1.0, z)
    return z / (1.0 + abs(z))


def softsign_slope(z: float) -> float:
    """Return ``1 / (1 + |z|)**2``."""
    r = 1.0 / (1.0 + abs(z))
    return r * r


def softsign_slope_from_y(y: float) -> float:
    """Return ``(1 - |y|)**2``."""
    return (1.0 - abs(y)) * (1.0 - abs(y))


def exp(z: float) -> float:
    """Return y, e to the power of z, inf where ``math.exp`` raises; the derivative is y."""
    return math.exp(z) if not z > 709.782712893384 else math.inf


def silu(z: float) -> float:
    """Return ``y = z * sigmoid(z)`` (also called swish)."""
    return z * sigmoid(z) if z != -math.inf else 0.0


def silu_slope(z: float) -> float:
    """Return ``s * (1 + z * (1 - s))``, s the sigmoid."""
    if math.isinf(z):
        return 1.0 if z > 0 else 0.0
    return sigmoid(z) * (1.0 + z * sigmoid(-z))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))  # erfc, because 1 + erf cancels at negative z


def _normal_density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def gelu(z: float) -> float:
    """Return ``y = z * Phi(z) = z * erfc(-z / sqrt(2)) / 2``, the exact form."""
    return z * _normal_cdf(z) if z != -math.inf else 0.0


def gelu_slope(z: float) -> float:
    """Return ``Phi(z) + z * phi(z)``, phi the normal density."""
    if math.isinf(z):
        return 1.0 if z > 0 else 0.0
    return _normal_cdf(z) + z * _normal_density(z)


def _gelu_tanh_inner(z: float) -> float:
    return math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z)


def gelu_tanh(z: float) -> float:
    """Return ``y = z * (1 + tanh(sqrt(2/pi) * (z + 0.044715 * z**3))) / 2`` (Hendrycks, Gimpel)."""
    # (1 + tanh(v)) / 2 = sigmoid(2 v), which does not cancel at negative z.
    return z * sigmoid(2.0 * _gelu_tanh_inner(z)) if z != -math.inf else 0.0


def gelu_tanh_slope(z: float) -> float:
    """Return ``s * (1 + z * (1 - s) * (2 v)')``, s the sigmoid of ``2 v``."""
    if abs(z) > 40.0:  # there the sigmoid is 0 or 1
        return 1.0 if z > 0 else 0.0
    v = _gelu_tanh_inner(z)
    slope_of_inner = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * z * z)
    return sigmoid(2.0 * v) * (1.0 + z * sigmoid(-2.0 * v) * 2.0 * slope_of_inner)


def mish(z: float) -> float:
    """Return ``y = z * tanh(softplus(z))``."""
    return z * math.tanh(softplus(z)) if z != -math.inf else 0.0


def mish_slope(z: float) -> float:
    """Return ``t + z * sigmoid(z) / cosh(softplus(z))**2``, ``t = tanh(softplus(z))``."""
    if math.isinf(z):
        return 1.0 if z > 0 else 0.0
    return math.tanh(softplus(z)) + z * sigmoid(z) * tanh_slope(softplus(z))
