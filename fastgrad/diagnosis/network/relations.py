"""What can be said of a wrong array that no known mistake gives: its relation to the right one."""

from __future__ import annotations

import numpy as np

from fastgrad.arrays import Array

__all__ = ["relations"]

FEW = 4  # numbers behind a coefficient, at least, so that it says something


def relations(seen: Array, right: Array, near: Array, before: Array, grad_z: Array) -> str:
    """Return sentences on how dw (or db) relates to the right one.

    `before` and `grad_z` are the layer's input and dz: a factor per sample shows in them.
    """
    with np.errstate(all="ignore"):
        apart = seen - right
        wrong = ~(np.abs(apart) <= 2.0 * near)
        tolerance = 100.0 * float(np.nanmax(near)) + 1e-300
        found = []
        if seen.ndim == 2:
            found += _factors(seen, right, tolerance)
            found += _samples(seen, before, grad_z, tolerance)
            found += _low_rank(apart, tolerance)
        count, size = int(wrong.sum()), wrong.size
        where = f"{count} of {size} entries differ"
        if seen.ndim == 2 and count < size:
            rows, columns = wrong.any(axis=1), wrong.any(axis=0)
            if rows.sum() < len(rows):
                where += f", in rows {_list(rows)} of the layout of rows"
            if columns.sum() < len(columns):
                where += f", of outputs {_list(columns)}"
        elif count < size:
            where += f": {_list(wrong)}"
        largest = float(np.nanmax(np.abs(apart))) if apart.size else 0.0
        scale = float(np.abs(right).max(initial=0.0))
        found.append(f"{where}, by up to {largest:.3g}; the largest right one is {scale:.3g}.")
    return " ".join(found)


def _list(marks: Array) -> str:
    places = [str(i) for i in np.flatnonzero(marks)]
    return ", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")


def _factors(seen: Array, right: Array, tolerance: float) -> list[str]:
    """Return whether a factor per output, or per input, makes the right array."""
    found = []
    for axis, name, where in ((0, "output", "dz"), (1, "input", "the layer's input")):
        if right.shape[axis] < 2:
            continue
        square = (right * right).sum(axis=axis, keepdims=True)
        factor = (seen * right).sum(axis=axis, keepdims=True) / np.where(square == 0, 1.0, square)
        if (np.abs(seen - factor * right) <= tolerance * np.maximum(1.0, np.abs(factor))).all():
            low, high = float(factor.min()), float(factor.max())
            found.append(
                f"Each {name} has a factor of its own, from {low:.3g} to {high:.3g}: look at what "
                f"multiplies {where}."
            )
    return found


def _samples(seen: Array, before: Array, grad_z: Array, tolerance: float) -> list[str]:
    """Return whether a factor per sample makes the array."""
    n = len(grad_z)
    if n < 2 or seen.size < n + FEW or seen.size * n > 2e6:
        return []
    parts = np.einsum("ni,nj->ijn", before, grad_z).reshape(-1, n)
    factor, _, rank, _ = np.linalg.lstsq(parts, seen.reshape(-1), rcond=1e-10)
    if rank < n or (np.abs(parts @ factor - seen.reshape(-1)) > tolerance * 10).any():
        return []
    odd = np.abs(factor - 1.0) > 1e-6
    words = f"{int(odd.sum())} of {n} samples have" if odd.sum() < n else "Each sample has"
    return [
        f"{words} a factor other than 1, from {factor[odd].min():.3g} to "
        f"{factor[odd].max():.3g} (the first: sample {int(np.argmax(odd))}): look at weights and "
        "slices of samples."
    ]


def _low_rank(apart: Array, tolerance: float) -> list[str]:
    """Return whether the difference is of low rank."""
    small = min(apart.shape)
    if small < 3 or apart.size > 1e6 or not np.isfinite(apart).all():
        return []
    values = np.linalg.svd(apart, compute_uv=False)
    rank = int((values > tolerance * 10).sum())
    if 0 < rank < small:
        words = "an outer product of two vectors" if rank == 1 else f"of rank {rank}"
        return [
            f"The difference is {words}: a term of a few samples or outputs is too much or missing."
        ]
    return []
