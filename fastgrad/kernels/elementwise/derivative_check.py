"""Is one function the derivative of another? Two compiled row kernels, compared at a few points."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Disagreement", "disagreement", "disagreement_of"]

Array = NDArray[np.float64]

# On both sides of zero, and where activations rarely have a kink.
_SIDE = np.array([0.0371, 0.1937, 0.4113, 0.7771, 1.2377, 1.9131, 2.7183, 3.1871, 4.7713])
POINTS = np.concatenate([-_SIDE[::-1], _SIDE])
STEP = 2.0**-17  # about the cube root of eps
# Constants written with five digits are not reported as wrong.
TOLERANCE = 1e-4


class Disagreement(NamedTuple):
    """Where a derivative is wrong."""

    z: float
    given: float
    differences: float
    wrong: int  # how many of the points
    points: int
    of_output: bool  # it is right as a function of y


def disagreement(forward: int, backward: int) -> Disagreement | None:
    """Compare a derivative with central differences, in float64.

    Parameters
    ----------
    forward, backward : int
        The addresses of the float64 row kernels ``forward`` and ``backward_z``.

    Returns
    -------
    Disagreement or None
        Where the two are farthest apart; None where they agree, or forward is not finite.
    """
    return disagreement_of(
        lambda z: _run(forward, [z]), lambda z: _run(backward, [np.ones_like(z), z])
    )


def disagreement_of(
    value: Callable[[Array], Array], derivative: Callable[[Array], Array]
) -> Disagreement | None:
    """Compare two functions of float64 arrays: see `disagreement`."""
    h = STEP * np.maximum(1.0, np.abs(POINTS))
    grid = POINTS + np.arange(-2, 3)[:, None] * h
    values = value(grid)
    with np.errstate(all="ignore"):
        # As in `slopes`: two step sizes, and the slopes to both sides, bound the error.
        slope, wider = (values[3] - values[1]) / (2 * h), (values[4] - values[0]) / (4 * h)
        bends = [values[2 + k] - 2 * values[2] + values[2 - k] for k in (1, 2)]
        jump = 2 * bends[0] / h - bends[1] / (2 * h)
        rounding = 8 * np.finfo(np.float64).eps * np.abs(values).max(axis=0) / h
        allowed = 2 * (rounding + np.abs(wider - slope) + np.abs(jump) / 2)
        allowed += TOLERANCE * np.abs(slope)
    known = np.isfinite(slope) & np.isfinite(allowed)

    def apart(at: Array) -> tuple[Array, Array]:
        given = derivative(at)
        with np.errstate(all="ignore"):
            difference = np.where(known, np.nan_to_num(np.abs(given - slope), nan=np.inf), 0.0)
        return given, np.where(difference > allowed, difference, 0.0)

    given, wrong = apart(POINTS)
    if not wrong.any():
        return None
    worst = int(wrong.argmax())
    return Disagreement(
        float(POINTS[worst]),
        float(given[worst]),
        float(slope[worst]),
        int(np.count_nonzero(wrong)),
        int(known.sum()),
        not apart(values[2])[1].any(),
    )


def _run(address: int, arrays: list[Array]) -> Array:
    """Return what a row kernel makes of contiguous float64 arrays."""
    out = np.empty_like(arrays[0])
    words = [word for a in (*arrays, out) for word in (a.ctypes.data, a.size)]
    kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * (len(words) + 2))(address)
    kernel(*words, 1, out.size)
    return out
