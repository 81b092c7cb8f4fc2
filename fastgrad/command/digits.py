"""Real input that comes with the package: the UCI digits (source and licence: data/README.md)."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits"]


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 1,797 images of handwritten digits, and the digits.

    Returns
    -------
    images : ndarray of float64, shape (1797, 64)
        8 x 8 pixels, row by row, from 0 (paper) to 1 (ink).
    labels : ndarray of int64, shape (1797,)
        The digits, 0 to 9.

    Examples
    --------
    >>> from fastgrad.command.digits import load_digits
    >>> images, labels = load_digits()
    >>> images.shape, labels[:10].tolist()
    ((1797, 64), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    packed = (files("fastgrad") / "data" / "digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.int64)
    return table[:, :-1] / 16.0, table[:, -1].copy()
