"""How this thread's processor rounds: what the bits and bounds of all results rest on.

A processor keeps, for each thread, a rounding direction and whether subnormal numbers are replaced
by zero. Other libraries change them (one built with ``-ffast-math``, `torch.set_flush_denormal`,
XLA around its callbacks), and what that thread computes from then on, here and in NumPy, comes out
otherwise.
"""

from __future__ import annotations

import struct

__all__ = ["arithmetic"]


def arithmetic() -> str:
    """Return how this thread rounds, found by sums and products of Python's own.

    Returns
    -------
    str
        ``"IEEE 754, to nearest, with subnormals"``, or what differs from it.

    Examples
    --------
    >>> from fastgrad.arithmetic import arithmetic
    >>> arithmetic()
    'IEEE 754, to nearest, with subnormals'
    """
    kept = _subnormals()
    rounding = _rounding()
    text = f"IEEE 754, {rounding}, {kept}"
    if (rounding, kept) == ("to nearest", "with subnormals"):
        return text
    return f"{text}: results are not those that docs/accuracy.md promises"


def _bits(number: float) -> bytes:
    """Return a float's bytes: with denormals-are-zero, comparisons do not see subnormals."""
    return struct.pack("<d", number)


def _float(bits: int) -> float:
    """Return the float with these bits: nothing is computed, or folded when Python compiles."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _subnormals() -> str:
    least_normal, half, large = _float(1 << 52), _float(0x3FE << 52), _float(0x7FE << 52)
    flushed = _bits(least_normal * half) != _bits(_float(1 << 51))
    taken_for_zero = _bits(_float(1 << 51) * large) == _bits(_float(0))
    if flushed and taken_for_zero:
        return "subnormals flushed to zero, in arguments and results"
    if flushed:
        return "subnormal results flushed to zero"
    return "subnormal arguments taken for zero" if taken_for_zero else "with subnormals"


def _rounding() -> str:
    one, little = _float(0x3FF << 52), _float(0x3C3 << 52)  # 2**-60
    if one + little > one:
        return "upwards"
    if -one - little < -one:
        return "downwards"
    return "towards zero" if one - little < one else "to nearest"
