"""L-BFGS over a cluster
=====================

L-BFGS over a cluster: SciPy minimizes, the workers compute value and gradient of their blocks.

Run it as it is: it starts two workers on this machine. On a cluster, give the client its address.
"""

from __future__ import annotations

from importlib.util import find_spec

import dask.array
import numpy as np
from distributed import Client, LocalCluster
from scipy.optimize import minimize

import fastgrad as fg
from fastgrad.dask import serial, value_and_grad

NET = fg.MLP((8, 16, 3), ("tanh", None), "softmax_cross_entropy", dtype="float64", l2=1e-3)


def blocks(samples: int = 6000, each: int = 1000) -> tuple[dask.array.Array, dask.array.Array]:
    """Three kinds of points in 8 dimensions, in blocks that the workers make themselves."""
    rng = dask.array.random.default_rng(0)
    kinds = rng.integers(0, 3, samples, chunks=each)
    noise = rng.standard_normal((samples, 8), chunks=(each, 8))
    centers = np.random.default_rng(1).standard_normal((3, 8))
    points = kinds.map_blocks(lambda k: centers[k], new_axis=1, chunks=(each, 8), dtype=float)
    return dask.persist(points + 0.7 * noise, kinds)


def main() -> list[float]:
    """Minimize, and compare the last gradient with that of one process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        x, kinds = blocks()
        start = NET.init(seed=0)
        losses = [value_and_grad(NET, start, x, kinds)[0]]
        result = minimize(
            lambda params: value_and_grad(NET, params, x, kinds),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 15},
            callback=lambda intermediate_result: losses.append(intermediate_result.fun),
        )
        print(f"loss {losses[0]:.4f} -> {result.fun:.4f}")
        value, grad = value_and_grad(NET, result.x, x, kinds)
        alone, same = serial(NET, result.x, x, kinds)
        print(f"two workers and one process: same bits {value == alone and (grad == same).all()}")
    return losses


def draw(losses: list[float]) -> None:
    """Draw the loss of each step; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(layout="constrained")
    axes.plot(losses, "o-")
    axes.set(xlabel="step of L-BFGS", ylabel="loss, nats a sample", ylim=(0, None))
    plt.show()


if __name__ == "__main__":
    draw(main())
