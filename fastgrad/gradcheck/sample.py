"""Which entries and directions of a large array are looked at: a seeded draw."""

from __future__ import annotations

import numpy as np

from fastgrad.arrays import Array

__all__ = ["directions", "drawn_entries", "some_entries"]


def directions(draw: np.random.Generator, shape: tuple[int, ...], count: int) -> Array:
    """Return random directions, ``(count, *shape)``: entries of either sign, from 0.5 to 1.5.

    No entry is near 0, so a single wrong entry shows in each direction; and no two are the same,
    so two wrong entries do not cancel.
    """
    signs = draw.integers(0, 2, (count, *shape)) * 2.0 - 1.0
    return np.asarray(signs * draw.uniform(0.5, 1.5, (count, *shape)))


def some_entries(
    draw: np.random.Generator, shape: tuple[int, ...], count: int | None
) -> list[tuple[int, ...]] | None:
    """Return drawn entries of an array, in order; None for all, if `count` is None."""
    size = int(np.prod(shape, dtype=np.int64))
    if count is None or count >= size:
        return None
    flat = np.sort(draw.choice(size, count, replace=False))
    places = zip(*np.unravel_index(flat, shape), strict=True)
    return [tuple(int(i) for i in place) for place in places]


def drawn_entries(draw: np.random.Generator, given: Array, count: int) -> Array:
    """Return flat indices: crossings of drawn rows and columns, so that both can be compared.

    Half of the rows and columns are drawn by the size of the given gradient in them: those of an
    input that is always 0 tell nothing.

    Parameters
    ----------
    draw : Generator
        The seeded draw.
    given : ndarray
        The gradient.
    count : int
        About how many.
    """
    if given.size <= count:
        return np.arange(given.size)
    matrix = given.reshape(given.shape[0], -1) if given.ndim > 1 else given.reshape(1, -1)
    sizes = np.nan_to_num(np.abs(matrix), nan=0.0, posinf=0.0)
    sizes /= sizes.max() or 1.0
    rows, columns = matrix.shape
    down = min(rows, max(1, round(count**0.5)))
    across = min(columns, max(1, count // down))
    down = min(rows, max(down, count // across))
    i = _lines(draw, sizes.sum(axis=1), down)
    j = _lines(draw, sizes[i].sum(axis=0), across)
    return np.asarray((i[:, None] * columns + j).ravel())


def _lines(draw: np.random.Generator, weights: Array, count: int) -> Array:
    """Return drawn lines, in order: half by their weights, half all alike."""
    total = float(weights.sum())
    likely = min(-(-count // 2), int(np.count_nonzero(weights)))
    chosen = (
        draw.choice(weights.size, likely, replace=False, p=weights / total)
        if likely and total
        else np.empty(0, np.int64)
    )
    rest = np.setdiff1d(np.arange(weights.size), chosen)
    more = draw.choice(rest, count - chosen.size, replace=False)
    return np.sort(np.concatenate([chosen, more]).astype(np.int64))
