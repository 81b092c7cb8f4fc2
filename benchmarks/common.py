"""What the benchmarks share: names of parameters, seeded data, and the calls that are timed."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import fastgrad.loops
import fastgrad.reference

from .timing import compare

# Imported here, once: asv forks a process per combination of parameters after this.
MODULES: dict[str, ModuleType] = {
    "fastgrad": fastgrad,
    "numpy": fastgrad.reference,
    "loops": fastgrad.loops,
}
IMPLEMENTATIONS = tuple(MODULES)
COMPILED_AND_NUMPY = ("fastgrad", "numpy")
DTYPES = ("float32", "float64")
MODES = ("forward", "backward", "both")

# Written out, not read from fastgrad's tables: older commits must know the same parameters.
# tests/test_benchmarks_cover.py compares them with the tables.
ACTIVATIONS = (
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "softmax",
    "gelu",
    "gelu_tanh",
    "silu",
    "elu",
    "leaky_relu",
    "softplus",
    "softsign",
    "exp",
    "mish",
)
LOSSES = (
    "mse",
    "mae",
    "huber",
    "log_cosh",
    "binary_cross_entropy_with_logits",
    "poisson",
    "softmax_cross_entropy",
    "hinge",
    "nll",
    "sum",
    "squared_l2",
)
LOSSES_OF_ONE_ARRAY = ("sum", "squared_l2")

LOOPS_MOST = 32 * 64 * 64  # multiply-adds of the largest layer that loops are timed on: 50 ms

Call = Callable[[], Any]


def implementation(name: str, work: int) -> ModuleType:
    """Return the module called `name`; skip the benchmark where loops would take too long."""
    if name == "loops" and work > LOOPS_MOST:
        raise NotImplementedError("loops are timed at small sizes only")
    return MODULES[name]


def sizes(shape: str) -> tuple[int, ...]:
    """Return the numbers of a shape such as ``"32x64x64"``."""
    return tuple(int(part) for part in shape.split("x"))


def normal(seed: int, dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    """Return seeded normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.dtype(dtype))  # type: ignore[arg-type]


def layer_call(name: str, activation: str, dtype: str, shape: str, mode: str) -> Call:
    """Return the layer's call to time, made once already; `shape` is n x d x k.

    The mode "into" is "both", with the caller's arrays for all results.
    """
    n, d, k = sizes(shape)
    module = implementation(name, n * d * k)
    x, b = normal(1, dtype, n, d), normal(2, dtype, k)
    w = normal(3, dtype, d, k)
    w /= math.sqrt(d)
    grad_y = normal(4, dtype, n, k)
    dense, forward, backward = module.dense, module.dense_forward, module.dense_backward

    y, outs = np.empty((n, k), dtype), {"x": x.copy(), "w": w.copy(), "b": b.copy()}

    def both() -> Any:
        _, cache = forward(x, w, b, activation)
        return backward(grad_y, cache)

    def into() -> Any:
        _, cache = forward(x, w, b, activation, out=y)
        return backward(grad_y, cache, out=outs)

    if mode == "forward":
        call = lambda: dense(x, w, b, activation)  # noqa: E731
    elif mode == "backward":
        _, kept = forward(x, w, b, activation)
        call = lambda: backward(grad_y, kept)  # noqa: E731
    else:
        call = {"both": both, "into": into}[mode]
    call()
    return call


def activation_call(name: str, activation: str, dtype: str, shape: str, mode: str) -> Call:
    """Return the call of an activation alone, made once already; `shape` is rows x columns."""
    rows, columns = sizes(shape)
    function = implementation(name, rows * columns).activations.ACTIVATIONS[activation]
    z, grad_y = normal(1, dtype, rows, columns), normal(2, dtype, rows, columns)
    call = (lambda: function(z)) if mode == "forward" else (lambda: function.backward(grad_y, z))
    call()
    return call


def loss_call(name: str, loss: str, dtype: str, shape: str) -> Call:
    """Return the call of a loss's `value_and_grad`, made once already; `shape` is n x d."""
    n, d = sizes(shape)
    module = implementation(name, n * d)
    function = getattr(module.losses, loss).value_and_grad
    arrays = [normal(1, dtype, n, d)]
    if loss not in LOSSES_OF_ONE_ARRAY:
        target = np.random.default_rng(2).random((n, d), dtype=np.dtype(dtype))  # type: ignore[arg-type]
        target /= target.sum(axis=1, keepdims=True)  # probabilities: fit for every loss
        arrays.append(target)
    call = lambda: function(*arrays)  # noqa: E731
    call()
    return call


def measured_on() -> str:
    """Return the machine that is compared on; end the command if NumPy is slowed down there."""
    from fastgrad.command.blas import blas, slowed  # not at the top: old builds lack it
    from fastgrad.command.machine import processor

    if sentence := slowed():
        raise SystemExit(f"benchmarks: {sentence}")
    return f"{processor()}, NumPy {np.__version__} on {blas()}"


def ratio(fast: Call, plain: Call, seconds: float = 0.1) -> float:
    """Return the time of `fast` over that of `plain`: medians of interleaved samples."""
    pair = compare(fast, plain, seconds)
    return pair.ours.median / pair.theirs.median
