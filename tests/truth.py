"""The true values: what activations and losses are in mathematics, one row each, and in PyTorch.

Nothing here is fastgrad's: values by mpmath, by long double and by complex arithmetic are three
oracles, each written for itself. A new activation needs a row in `TRUTH`, a new loss one in
`LOSS_TRUTH`; the tests, the tolerances and ``python -m tests.accuracy`` read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import wide
from conftest import Array

import fastgrad as fg
from fastgrad.activations import BUILT_IN

TABLE = {name: fg.activations.ACTIVATIONS[name] for name in BUILT_IN}
ELEMENTWISE = [name for name, row in TABLE.items() if not row.rowwise]
DIGITS = 60

Function = Callable[[Any], Any]


class Smoothness(NamedTuple):
    """How an activation passes errors on. All are suprema over the real line, rounded up.

    With ``relative`` they are multiplied by the output itself (exp: every derivative is y;
    softmax: dy_i = y_i (dz_i - sum y_j dz_j), at most 2 y_i max|dz|).
    """

    slope: float  # sup |act'|
    curvature: float  # sup |act''|
    relative: bool = False


def _of_rows(_: Any) -> Any:
    raise TypeError("softmax is no function of one number")


class Truth(NamedTuple):
    """An activation as mathematics and PyTorch have it; a kink belongs to its left side.

    `slope_of_y` is the derivative as a function of the output, where it is one. `limits` are the
    values at inf, -inf and 0, `limit_slopes` the derivatives there.
    """

    smoothness: Smoothness
    analytic: Function  # of complex arrays
    torch: Callable[[Any, Any], Any]  # of the module torch and a tensor
    value: Function = _of_rows  # of an mpmath number, as the next
    slope: Function = _of_rows
    wide: Function = _of_rows  # of an array of the next wider format: see `wide`
    limits: tuple[float, float, float] = (math.nan,) * 3
    limit_slopes: tuple[float, float, float] = (math.nan,) * 3
    slope_of_y: Function | None = None  # of an array of long doubles
    # Whether act(z) ~ c z at 0, so that signed zeros pass through.
    keeps_sign_of_zero: bool = False
    # Whether the slope is a product of positive numbers, in which nothing cancels.
    product_slope: bool = False
    torch_nan: tuple[float, ...] = ()  # where PyTorch returns NaN, not the limit


# -- by mpmath -----------------------------------------------------------------------------------


def _capped(z: Any) -> Any:
    """Return z where exp(-|z|) is not yet nothing in any precision we look at."""
    return max(min(z, mp.mpf(3000)), mp.mpf(-3000))


def _cdf(z: Any) -> Any:
    return mp.erfc(-_capped(z) / mp.sqrt(2)) / 2


def _density(z: Any) -> Any:
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def _logistic(z: Any) -> Any:
    return 1 / (1 + mp.exp(-_capped(z)))


def _softplus(z: Any) -> Any:
    return max(z, mp.mpf(0)) + mp.log1p(mp.exp(-abs(_capped(z))))


def _gelu_argument(z: Any) -> Any:
    return mp.sqrt(8 / mp.pi) * (z + mp.mpf("0.044715") * z**3)


def _gelu_tanh_slope(z: Any) -> Any:
    s = _logistic(_gelu_argument(z))
    inner = mp.sqrt(8 / mp.pi) * (1 + 3 * mp.mpf("0.044715") * z**2)
    return s + z * s * _logistic(-_gelu_argument(z)) * inner


# -- as analytic functions of complex arrays ---------------------------------------------------

_erfc = np.vectorize(math.erfc, otypes=[float])


def _normal_cdf(z: Array) -> Array:
    density = np.exp(-(z.real**2) / 2) / math.sqrt(2 * math.pi)
    return _erfc(-z.real / math.sqrt(2)) / 2 + 1j * z.imag * density


def _complex_softmax(z: Array) -> Array:
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _sign(z: Array) -> Array:
    return np.sign(z.real)


# -- the table -----------------------------------------------------------------------------------

TRUTH: dict[str, Truth] = {
    "identity": Truth(
        value=lambda z: z,
        slope=lambda z: mp.mpf(1),
        slope_of_y=np.ones_like,
        wide=lambda z: z,
        analytic=lambda z: z,
        torch=lambda torch, z: z * 1,
        limits=(np.inf, -np.inf, 0),
        limit_slopes=(1, 1, 1),
        smoothness=Smoothness(1, 0),
        keeps_sign_of_zero=True,
        product_slope=True,
    ),
    "sigmoid": Truth(
        value=_logistic,
        slope=lambda z: _logistic(z) * _logistic(-z),
        slope_of_y=lambda y: y * (1 - y),
        wide=wide.sigmoid,
        analytic=lambda z: 1 / (1 + np.exp(-z)),
        torch=lambda torch, z: torch.sigmoid(z),
        limits=(1, 0, 0.5),
        limit_slopes=(0, 0, 0.25),
        smoothness=Smoothness(0.25, 0.0963),  # |y (1 - y) (1 - 2 y)| <= 1 / (6 sqrt(3))
        product_slope=True,
    ),
    "tanh": Truth(
        value=lambda z: mp.tanh(_capped(z)),
        slope=lambda z: mp.sech(_capped(z)) ** 2,
        slope_of_y=lambda y: (1 - y) * (1 + y),
        wide=np.tanh,
        analytic=lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
        torch=lambda torch, z: torch.tanh(z),
        limits=(1, -1, 0),
        limit_slopes=(0, 0, 1),
        smoothness=Smoothness(1, 0.77),  # |2 y (1 - y**2)| <= 4 / (3 sqrt(3))
        keeps_sign_of_zero=True,
        product_slope=True,
    ),
    "relu": Truth(
        value=lambda z: max(z, mp.mpf(0)),
        slope=lambda z: mp.mpf(int(z > 0)),
        slope_of_y=lambda y: (y > 0) * np.ones_like(y),
        wide=lambda z: np.where(z < 0, 0, z),
        analytic=lambda z: z * (z.real > 0),
        torch=lambda torch, z: torch.relu(z),
        limits=(np.inf, 0, 0),
        limit_slopes=(1, 0, 0),
        smoothness=Smoothness(1, 0),  # away from the kink
        product_slope=True,
    ),
    "softmax": Truth(
        analytic=_complex_softmax,
        torch=lambda torch, z: torch.softmax(z, -1),
        smoothness=Smoothness(2, 4, relative=True),
    ),
    "gelu": Truth(
        value=lambda z: z * _cdf(z),
        slope=lambda z: _cdf(z) + z * _density(z),
        wide=wide.gelu,
        analytic=lambda z: z * _normal_cdf(z),
        torch=lambda torch, z: torch.nn.functional.gelu(z),
        limits=(np.inf, 0, 0),
        limit_slopes=(1, 0, 0.5),
        smoothness=Smoothness(1.13, 0.8),  # |phi(z) (2 - z**2)| <= 2 phi(0)
        keeps_sign_of_zero=True,
        torch_nan=(-np.inf,),  # -inf times 0
    ),
    "gelu_tanh": Truth(
        value=lambda z: z * _logistic(_gelu_argument(z)),
        slope=_gelu_tanh_slope,
        wide=wide.gelu_tanh,
        analytic=lambda z: z / (1 + np.exp(-math.sqrt(8 / math.pi) * (z + 0.044715 * z**3))),
        torch=lambda torch, z: torch.nn.functional.gelu(z, approximate="tanh"),
        limits=(np.inf, 0, 0),
        limit_slopes=(1, 0, 0.5),
        smoothness=Smoothness(1.13, 0.81),
        keeps_sign_of_zero=True,
        torch_nan=(-np.inf,),  # -inf times 0
    ),
    "silu": Truth(
        value=lambda z: z * _logistic(z),
        slope=lambda z: _logistic(z) * (1 + z * _logistic(-z)),
        wide=wide.silu,
        analytic=lambda z: z / (1 + np.exp(-z)),
        torch=lambda torch, z: torch.nn.functional.silu(z),
        limits=(np.inf, 0, 0),
        limit_slopes=(1, 0, 0.5),
        smoothness=Smoothness(1.1, 0.5),
        keeps_sign_of_zero=True,
        torch_nan=(-np.inf,),  # -inf times 0
    ),
    "elu": Truth(
        value=lambda z: z if z > 0 else mp.expm1(z),
        slope=lambda z: mp.mpf(1) if z > 0 else mp.exp(z),
        slope_of_y=lambda y: np.where(y >= 0, 1, y + 1),
        wide=lambda z: np.where(z < 0, np.expm1(np.minimum(z, 0)), z),
        analytic=lambda z: np.where(z.real > 0, z, np.exp(z) - 1),
        torch=lambda torch, z: torch.nn.functional.elu(z),
        limits=(np.inf, -1, 0),
        limit_slopes=(1, 0, 1),
        smoothness=Smoothness(1, 1),
        keeps_sign_of_zero=True,
        product_slope=True,
    ),
    "leaky_relu": Truth(
        value=lambda z: z if z > 0 else z / 100,
        slope=lambda z: mp.mpf(1) if z > 0 else mp.mpf("0.01"),
        slope_of_y=lambda y: np.where(y > 0, 1, np.longdouble(1) / 100),
        wide=lambda z: np.where(z < 0, z / 100, z),
        analytic=lambda z: z * np.where(z.real > 0, 1, 0.01),
        torch=lambda torch, z: torch.nn.functional.leaky_relu(z),
        limits=(np.inf, -np.inf, 0),
        limit_slopes=(1, 0.01, 0.01),
        smoothness=Smoothness(1, 0),  # away from the kink
        keeps_sign_of_zero=True,
        product_slope=True,
    ),
    "softplus": Truth(
        value=lambda z: max(z, mp.mpf(0)) + mp.log1p(mp.exp(-abs(_capped(z)))),
        slope=_logistic,
        slope_of_y=lambda y: -np.expm1(-y),
        wide=lambda z: np.where(z < 0, 0, z) + np.log1p(np.exp(-abs(z))),
        analytic=lambda z: np.log(1 + np.exp(z)),
        # Above its threshold, 20 by default, PyTorch returns z itself.
        torch=lambda torch, z: torch.nn.functional.softplus(z, threshold=100),
        limits=(np.inf, 0, math.log(2)),
        limit_slopes=(1, 0, 0.5),
        smoothness=Smoothness(1, 0.25),
        product_slope=True,
    ),
    "softsign": Truth(
        value=lambda z: z / (1 + abs(z)),
        slope=lambda z: 1 / (1 + abs(z)) ** 2,
        slope_of_y=lambda y: (1 - abs(y)) ** 2,
        wide=lambda z: np.where(np.isinf(z), np.sign(z), z / (1 + abs(z))),
        analytic=lambda z: z / (1 + z * _sign(z)),
        torch=lambda torch, z: torch.nn.functional.softsign(z),
        limits=(1, -1, 0),
        limit_slopes=(0, 0, 1),
        smoothness=Smoothness(1, 2),
        keeps_sign_of_zero=True,
        product_slope=True,
        torch_nan=(np.inf, -np.inf),  # inf / inf
    ),
    "exp": Truth(
        value=lambda z: mp.exp(_capped(z)),
        slope=lambda z: mp.exp(_capped(z)),
        slope_of_y=lambda y: y,
        wide=np.exp,
        analytic=np.exp,
        torch=lambda torch, z: torch.exp(z),
        limits=(np.inf, 0, 1),
        limit_slopes=(np.inf, 0, 1),
        smoothness=Smoothness(1, 1, relative=True),
        product_slope=True,
    ),
    "mish": Truth(
        value=lambda z: z * mp.tanh(_softplus(z)),
        slope=lambda z: mp.tanh(_softplus(z)) + z * mp.sech(_softplus(z)) ** 2 * _logistic(z),
        wide=wide.mish,
        analytic=lambda z: z * (1 - 2 / (1 + (1 + np.exp(z)) ** 2)),
        torch=lambda torch, z: torch.nn.functional.mish(z),
        limits=(np.inf, 0, 0),
        limit_slopes=(1, 0, 0.6),
        smoothness=Smoothness(1.1, 0.65),
        keeps_sign_of_zero=True,
        torch_nan=(-np.inf,),  # -inf times 0
    ),
}


# -- losses --------------------------------------------------------------------------------------


def _any(numbers: Array) -> Array:
    return numbers


def _between_0_and_1(numbers: Array) -> Array:
    """Return 1 / (1 + |z|), rounded to the dtype of z; NaN stays."""
    return 1 / (1 + abs(numbers))


CLASSES = ("classes", "one_hot", "probabilities")


class LossTruth(NamedTuple):
    """A loss's terms of prediction p and target t: one per element, or per sample.

    `domain` makes predictions that the loss takes of any numbers, `output` is the last activation
    that does so in a network. `targets` are the kinds of targets.
    """

    analytic: Callable[[Array, Array], Array]  # of complex arrays: the terms
    torch: Callable[[Any, Any, Any], Any]  # of torch.nn.functional and tensors: their sum
    value: Callable[[Any, Any], Any]  # of mpmath numbers, or of a sample's lists of them
    targets: tuple[str, ...] = ("array",)
    domain: Callable[[Array], Array] = _any
    output: str | None = None


def _complex_huber(d: Array) -> Array:
    size = d * _sign(d)
    return np.where(size.real <= 1, d * d / 2, size - 0.5)


def _complex_cross_entropy(z: Array, t: Array) -> Array:
    return t.sum(axis=1) * np.log(np.exp(z).sum(axis=1)) - (t * z).sum(axis=1)


def _cross_entropy(z: list[Any], t: list[Any]) -> Any:
    log = mp.log(mp.fsum(map(mp.exp, z)))
    return mp.fsum(weight * (log - v) for v, weight in zip(z, t, strict=True))


def _complex_hinge(z: Array, t: Array) -> Array:
    """Every class but c is over the margin or not, of which the class c itself adds exactly 1."""
    over = z[:, None, :] - z[:, :, None] + 1
    return (t * (np.where(over.real > 0, over, 0).sum(axis=2) - 1)).sum(axis=1)


def _hinge(z: list[Any], t: list[Any]) -> Any:
    return mp.fsum(
        times * mp.fsum(max(mp.mpf(0), v - z[c] + 1) for j, v in enumerate(z) if j != c)
        for c, times in enumerate(t)
    )


def _torch_hinge(functional: Any, p: Any, t: Any) -> Any:
    """PyTorch takes classes, and divides by their number."""
    torch_hinge, count = functional.multi_margin_loss, p.shape[1]
    if t.ndim == 1:
        return torch_hinge(p, t, reduction="sum") * count
    terms = [torch_hinge(p, (t[:, c] * 0 + c).long(), reduction="none") for c in range(count)]
    return sum((t[:, c] * terms[c]).sum() for c in range(count)) * count


def _complex_nll(p: Array, t: Array) -> Array:
    return -(t * np.log(p)).sum(axis=1)


def _nll(p: list[Any], t: list[Any]) -> Any:
    return -mp.fsum(times * mp.log(v) for v, times in zip(p, t, strict=True) if times)


def _torch_nll(functional: Any, p: Any, t: Any) -> Any:
    if t.ndim == 1:
        return functional.nll_loss(p.log(), t, reduction="sum")
    return -(t * p.log()).sum()


LOSS_TRUTH: dict[str, LossTruth] = {
    "mse": LossTruth(
        value=lambda p, t: (p - t) ** 2,
        analytic=lambda p, t: (p - t) ** 2,
        torch=lambda functional, p, t: functional.mse_loss(p, t, reduction="sum"),
    ),
    "mae": LossTruth(
        value=lambda p, t: abs(p - t),
        analytic=lambda p, t: (p - t) * _sign(p - t),
        torch=lambda functional, p, t: functional.l1_loss(p, t, reduction="sum"),
    ),
    "huber": LossTruth(
        value=lambda p, t: (p - t) ** 2 / 2 if abs(p - t) <= 1 else abs(p - t) - mp.mpf(1) / 2,
        analytic=lambda p, t: _complex_huber(p - t),
        torch=lambda functional, p, t: functional.huber_loss(p, t, reduction="sum"),
    ),
    "log_cosh": LossTruth(
        value=lambda p, t: mp.log(mp.cosh(p - t)),
        analytic=lambda p, t: np.log((np.exp(p - t) + np.exp(t - p)) / 2),
        torch=lambda functional, p, t: (
            (p - t).abs() + functional.softplus(-2 * (p - t).abs()) - math.log(2)
        ).sum(),
    ),
    "binary_cross_entropy_with_logits": LossTruth(
        value=lambda p, t: mp.log1p(mp.exp(p)) - t * p,
        analytic=lambda p, t: np.log(1 + np.exp(p)) - t * p,
        torch=lambda functional, p, t: functional.binary_cross_entropy_with_logits(
            p, t, reduction="sum"
        ),
    ),
    "poisson": LossTruth(
        value=lambda p, t: mp.exp(p) - t * p,
        analytic=lambda p, t: np.exp(p) - t * p,
        torch=lambda functional, p, t: functional.poisson_nll_loss(
            p, t, log_input=True, full=False, reduction="sum"
        ),
    ),
    "softmax_cross_entropy": LossTruth(
        value=_cross_entropy,
        analytic=_complex_cross_entropy,
        torch=lambda functional, p, t: functional.cross_entropy(p, t, reduction="sum"),
        targets=CLASSES,
    ),
    "hinge": LossTruth(
        value=_hinge,
        analytic=_complex_hinge,
        torch=_torch_hinge,
        targets=CLASSES,
    ),
    "nll": LossTruth(
        value=_nll,
        analytic=_complex_nll,
        torch=_torch_nll,
        targets=CLASSES,
        domain=_between_0_and_1,
        output="softmax",
    ),
    "sum": LossTruth(
        value=lambda p, t: p,
        analytic=lambda p, t: p,
        torch=lambda functional, p, t: p.sum(),
    ),
    "squared_l2": LossTruth(
        value=lambda p, t: p**2,
        analytic=lambda p, t: p * p,
        torch=lambda functional, p, t: (p**2).sum(),
    ),
}


def as_float(value: Any) -> float:
    """Return an mpmath number rounded to float64, infinite where that overflows."""
    try:
        return float(value)
    except OverflowError:
        return float(mp.sign(value)) * np.inf


def two_words(values: list[Any]) -> tuple[Array, Array]:
    """Return mpmath numbers as float64 and what float64 leaves of them."""
    high = [as_float(v) for v in values]
    low = [float(v - h) if np.isfinite(h) else 0.0 for v, h in zip(values, high, strict=True)]
    return np.array(high), np.array(low)
