"""Minimax polynomials and split constants of `vector_math`, per dtype.

Fitted by the Remez exchange in 45-digit arithmetic; the float32 ones were then rounded one
coefficient at a time, lowest power first, refitting the rest after each.
"""

from __future__ import annotations

from types import SimpleNamespace

FLOAT32 = SimpleNamespace(
    # (exp(r) - 1 - r) / r**2 on |r| <= log(2)/2; relative error of exp 2**-28.2
    exp=(
        0.4999999403953552,
        0.16666516661643982,
        0.041668105870485306,
        0.008369090035557747,
        0.001383508089929819,
    ),
)

FLOAT64 = SimpleNamespace(
    # as above; relative error of exp 2**-56.3
    exp=(
        0.5000000000000011,
        0.1666666666666641,
        0.041666666666529725,
        0.008333333333494914,
        0.0013888888943760945,
        0.00019841269505885313,
        2.480149294855125e-05,
        2.755758671992313e-06,
        2.7630306668051004e-07,
        2.5000041926713554e-08,
    ),
)
