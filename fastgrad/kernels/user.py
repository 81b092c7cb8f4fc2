"""Row kernels of the user's own scalar functions, compiled in this process and not cached.

Their source may be anything a closure can hold, so no cache key would be safe.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import NumbaError

from fastgrad.kernels import fallback
from fastgrad.kernels.front_end import numba_enabled
from fastgrad.kernels.processor import check_processor

_kept: list[Any] = []  # networks and layers know their code by its address


def _compile(function: str, user_function: Callable[..., Any], dtype: str) -> Any:
    # Here, not at the top: kernels are compiled as they are imported, which `fallback` guards.
    from fastgrad.kernels.compile import c_function, scalar
    from fastgrad.kernels.rows import BACKWARD, FORWARD, backward_kernel, forward_kernel

    compiled = scalar(user_function)
    if function == "forward":
        return c_function(FORWARD, forward_kernel(dtype, compiled, parallel=False))
    return c_function(BACKWARD, backward_kernel(dtype, compiled, parallel=False))


def row_kernel(name: str, function: str, user_function: Callable[..., Any], dtype: str) -> int:
    """Return the address of the row kernel ``forward`` or ``backward_z`` made of `user_function`.

    Raises
    ------
    ValueError
        If Numba cannot compile it, with the line of Numba's report that says why.
    """
    what = "forward" if function == "forward" else "derivative"
    check_processor()
    try:
        with numba_enabled():
            made = partial(_compile, function, user_function, dtype)
            _kept.append(fallback.compiled(f"{name} {function} {dtype}", made))
            return int(_kept[-1].address)
    except (NumbaError, AssertionError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed")), "")
        reason = reason.partition(': %"')[0]  # LLVM IR follows
        raise ValueError(
            f"define_activation: {what} of {name!r} must take and return one number and use only "
            f"what Numba compiles{': ' if reason else ''}{reason}"
        ) from None
