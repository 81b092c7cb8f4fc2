"""Row kernels of the user's own scalar functions, compiled in this process and not cached.

Their source may be anything a closure can hold, so no cache key would be safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from numba import NumbaError

from fastgrad.kernels.toolchain import fallback
from fastgrad.kernels.toolchain.front_end import collector_paused, numba_enabled, numba_front_end
from fastgrad.kernels.toolchain.library import LIBRARY
from fastgrad.kernels.toolchain.processor import check_processor
from fastgrad.kernels.units import symbol

_kept: list[Any] = []  # networks and layers know their code by its address


# What people write, and what Numba has for single numbers in its place.
_INSTEAD = {
    "clip": "min(max(z, low), high)",
    "heaviside": "1.0 if z > 0 else 0.0",
    "select": "if and else",
    "piecewise": "if and else",
    "expit": "1 / (1 + math.exp(-z))",
}


def frozen_function(
    name: str, what: str, function: Callable[..., Any], caller: str = "define_activation"
) -> Any:
    """Return a user's function with the current values of all its names, or raise ValueError."""
    with numba_enabled():
        from fastgrad.kernels.toolchain.frozen import frozen

        try:
            return frozen(function)
        except TypeError as error:
            raise ValueError(f"{caller}: {what} of {name!r} {error}") from None


def _compile(function: str, user_function: Callable[..., Any], dtype: str) -> int:
    """Return the address of a row kernel, whose code is kept until the process ends.

    As an object file of our own it takes 0.1 MB; Numba's engine would keep 5 MB of modules. But
    only that engine can link code that calls Numba's runtime, for example to allocate an array.
    """
    # Here, not at the top: kernels are compiled as they are imported, which `fallback` guards.
    from fastgrad.kernels.elementwise.rows import BACKWARD, FORWARD, backward_kernel, forward_kernel
    from fastgrad.kernels.toolchain.compile import assemble_alone, c_function, scalar
    from fastgrad.kernels.toolchain.frozen import frozen

    signature, make = (
        (FORWARD, forward_kernel) if function == "forward" else (BACKWARD, backward_kernel)
    )
    if not fallback.numba_alone():
        kernel = make(dtype, scalar(user_function), parallel=False)
        with numba_front_end(), collector_paused():
            text = assemble_alone(dtype, function, signature, kernel)
        if text is not None:
            return LIBRARY.add(text, symbol(function, dtype))
    again = frozen(user_function)  # the front end leaves no machine code of a function's parts
    _kept.append(c_function(signature, make(dtype, scalar(again), parallel=False)))
    return int(_kept[-1].address)


def row_kernel(name: str, function: str, user_function: Callable[..., Any], dtype: str) -> int:
    """Return the address of the row kernel ``forward`` or ``backward_z`` made of `user_function`.

    Raises
    ------
    ValueError
        If Numba cannot compile it, with the line of Numba's report that says why.
    """
    what = "forward" if function == "forward" else "derivative"
    made = partial(_compile, function, user_function, dtype)
    return _made(made, "define_activation", name, what, f"{function} {dtype}")


def loss_kernel(
    name: str, kind: str, value: Callable[..., Any], derivative: Callable[..., Any], dtype: str
) -> int:
    """Return the address of a loss kernel made of a user's functions of (pred, target).

    Parameters
    ----------
    name : str
        The loss's name.
    kind : {"loss", "terms"}
        The plain kernel (`loss`), or the detailed one (`loss_terms`).
    value, derivative : callable
        Frozen functions: see `frozen_function`.
    dtype : {"float32", "float64"}
        What it computes in.

    Raises
    ------
    ValueError
        As for `row_kernel`.
    """
    made = partial(_compile_loss, kind, value, derivative, dtype)
    return _made(made, "define_loss", name, "value or derivative", f"{kind} {dtype}")


def _compile_loss(
    kind: str, value: Callable[..., Any], derivative: Callable[..., Any], dtype: str
) -> int:
    """Return the address of a loss kernel, as `_compile` does of a row kernel."""
    from fastgrad.kernels.elementwise.loss import LOSS, user_terms
    from fastgrad.kernels.elementwise.loss import elementwise as plain
    from fastgrad.kernels.elementwise.loss_terms import TERMS_KERNEL
    from fastgrad.kernels.elementwise.loss_terms import elementwise as detailed
    from fastgrad.kernels.toolchain.compile import assemble_alone, c_function
    from fastgrad.kernels.toolchain.frozen import frozen

    signature, make = (LOSS, plain) if kind == "loss" else (TERMS_KERNEL, detailed)
    if not fallback.numba_alone():
        kernel = make(dtype, user_terms(dtype, value, derivative))
        with numba_front_end(), collector_paused():
            text = assemble_alone(dtype, kind, signature, kernel)
        if text is not None:
            return LIBRARY.add(text, symbol(kind, dtype))
    again = user_terms(dtype, frozen(value), frozen(derivative))
    _kept.append(c_function(signature, make(dtype, again)))
    return int(_kept[-1].address)


def _made(make: Callable[[], int], caller: str, name: str, what: str, which: str) -> int:
    """Return the address that `make` returns, or raise ValueError where Numba compiles nothing."""
    check_processor()
    rule = "take and return one number"
    if caller == "define_loss":
        rule = "take two numbers, pred and target, return one"
    try:
        with numba_enabled():
            return fallback.compiled(f"{name} {which}", make)
    except (NumbaError, AssertionError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed")), "")
        reason = reason.partition(': %"')[0]  # LLVM IR follows
        missing = re.search(r"<(?:function|ufunc) '?(\w+)|function 'numpy\.(\w+)'", reason)
        known = missing and (missing[1] or missing[2])
        if known in _INSTEAD:
            reason = f"{known} is not among it: write {_INSTEAD[known]}"
        raise ValueError(
            f"{caller}: {what} of {name!r} must {rule} and use only what Numba "
            f"compiles{': ' if reason else ''}{reason}"
        ) from None
