"""Compiled entry points by unit, function and dtype, loaded when a layer first calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


@cache  # by the dtype itself: its `name` takes longer than the rest of a look-up
def compiled_entry(unit: str, function: str, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """Return a unit's compiled function. It imports llvmlite, so it is not called at import."""
    from fastgrad.kernels.calls.entry import entry

    run: Callable[..., Any] = entry(unit, function, dtype.name)
    return run
