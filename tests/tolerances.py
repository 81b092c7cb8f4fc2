"""Every tolerance of the suite, and where it comes from. A failing test is no reason to edit it.

``u`` is the unit roundoff, half an eps. A sum of k products done in any order, each step rounded
once, differs from the exact one by at most ``gamma(k) * (|x| @ |w|)``, element by element
(Higham, Accuracy and Stability of Numerical Algorithms, 3.5).
"""

from __future__ import annotations

import platform

from truth import TRUTH

# Unit roundoff.
U = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}

# What "1e-12 relative" of every float64 gradient means: element by element, no scaling by size.
GRADIENT_RTOL = 1e-12

# The gradient identity <J u, v> = <u, J^T v>, relative to the sum of the absolute terms.
ADJOINT_RTOL = 1e-13

# Central differences in float64 with the step eps**(1/3): truncation and rounding are each of the
# order eps**(2/3) = 4e-11 times third derivatives and values, which stay below 100 in small nets.
CENTRAL_STEP = 2.0**-17
CENTRAL_ATOL = 4e-9

# float32 gradients against float64 ones of the same numbers.
FLOAT32_RTOL = 1e-5

# RMS error of matrix products, relative to that of NumPy's. OpenBLAS cuts sums at 192 to 384
# products for x86-64, at less for ARM (1.37 times its error at 256 there, one block, one chain).
RMS_RATIO = 1.2 if platform.machine() in ("x86_64", "AMD64") else 1.5
# Between one block and two a BLAS may have two equal ones: 256 + 1 against two halves.
RMS_UNEVEN = 2**0.5
# Where all products are positive, sums of very many blocks differ by the blocks' number alone: 384
# products a block against 256, each adding a rounding error of the size of the sum so far.
RMS_MANY_BLOCKS = (384 / 256) ** 0.5


def gamma(k: int, u: float) -> float:
    """Return ``k u / (1 - k u)``: the relative error of k roundings in a row."""
    return k * u / (1 - k * u)


SMOOTHNESS = {name: row.smoothness for name, row in TRUTH.items()}

# Error of a slope or vjp factor computed at an exact argument, in units of u times
# max(1, |slope|): four roundings of a formula with an error of up to 4 ULP (8 u) inside.
SLOPE_U = 12

# Relative error, in u, of slopes that are products and quotients of positive numbers (no
# cancellation): e = exp(.) (2 u) enters e / (1 + e)**2 with at most 3 times its error; four
# roundings. The others, sums of terms of both signs, only keep SLOPE_U absolutely.
PRODUCT_SLOPES = [name for name, row in TRUTH.items() if row.product_slope]
PRODUCT_SLOPE_U = 10

# softmax, in eps relative: the bound that docs/accuracy.md states.
SOFTMAX_EPS = 6

# PyTorch's own errors are not ours to derive: its float32 kernels promise a few ULP of the
# result's scale; both sides of the comparison get these, in eps of max(1, |value|).
TORCH_EPS = 16

# Loss terms: up to four roundings in the dtype (difference, exp and log of 2 u each) before
# they become float64, in u of the sum of the absolute values of what the terms are made of.
LOSS_U = 8
# Loss gradients: at most the same per element, in u of max(|grad|, scale).
LOSS_GRAD_U = 12

# Relative error, in eps, of the NumPy reference's activations in float64 as a function of |z|:
# what test_activation_twins holds it to. gelu_tanh computes an argument that its exp magnifies.
REFERENCE_EPS = {name: (lambda size: 6.0 + 0.0 * size) for name in SMOOTHNESS}
REFERENCE_EPS["gelu_tanh"] = lambda size: 6.0 * (1 + 1.6 * size * (1 + 0.045 * size**2))

# Two implementations on tame numbers (multiples of 1/64 up to 1/4, at most 34 features or samples,
# so that sums of products are exact before the activation), in u of the largest element: exp and
# its rounding (16 u), times sums of 34 such terms (578 u), twice, since the reference errs too,
# and float32 terms of losses (8 u). Coarse: it is to tell numbers from garbage.
TAME_U = 2048

# Whole training runs in float64, fastgrad against the reference: rounding differences of 1e-16,
# magnified by up to some hundred steps of Adam, whose step m / sqrt(v) has slope 1 / |g| at a
# gradient g near zero.
TRAINING_RTOL = 1e-8
