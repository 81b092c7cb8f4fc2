"""What is timed: layers of nine shapes and the networks of scripts, as cells with their data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = ["NETWORKS", "TRAININGS", "WORKLOADS", "Cell", "Network", "Training", "cells"]

Array = np.ndarray[Any, Any]

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "softmax", "gelu")
DTYPES = ("float32", "float64")
MODES = ("forward", "backward", "both")
SHAPES = (
    "1x8x8", "32x16x16", "32x64x64", "64x128x128", "128x256x256", "256x784x256", "512x1024x1024",
    "4096x64x64", "100000x3x2",
)  # fmt: skip
ALONE = ("sigmoid", "tanh", "gelu", "softmax")  # activations timed without a layer
ALONE_SHAPE = (64, 64)


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    workload: str
    name: str
    shape: str
    dtype: str
    mode: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.shape} {self.dtype} {self.mode}"


class Network(NamedTuple):
    sizes: tuple[int, ...]
    activations: tuple[str | None, ...]
    loss: str
    samples: int
    dtype: str


class Training(NamedTuple):
    """An epoch of Adam. Not shuffled where scikit-learn is to see the same batches."""

    network: Network
    batch: int
    shuffle: bool


def _notebook_b(width: int, samples: int) -> Network:
    return Network((width,) * 4, ("tanh", "sigmoid", None), "mse", samples, "float32")


# By name and shape.
NETWORKS = {
    **{
        ("notebook B", f"{width}/{batch}"): _notebook_b(width, batch)
        for width, batch in ((4, 2), (32, 32), (64, 64), (128, 256), (256, 1024), (64, 4096))
    },
    ("SimpleChains", "24-8-2/200"): Network((24, 8, 2), ("tanh", None), "mse", 200, "float64"),
    ("classifier", "784-100-10/64"): Network(
        (784, 100, 10), ("relu", None), "softmax_cross_entropy", 64, "float32"
    ),
}
TRAININGS = {
    ("10,000 samples", "4-32-16-4/32"): Training(
        Network((4, 32, 16, 4), ("tanh", "tanh", None), "mse", 10_000, "float32"), 32, True
    ),
    ("digits", "64-64-10/32"): Training(
        Network((64, 64, 10), ("relu", None), "softmax_cross_entropy", 1797, "float32"), 32, False
    ),
}
WORKLOADS = ("layers", "activations", "networks", "training")


def cells(workloads: Iterable[str] = WORKLOADS, quick: bool = False, match: str = "") -> list[Cell]:
    """Return the cells of some workloads, those with `match` in their label."""
    found = [cell for name in workloads for cell in _MAKERS[name](quick)]
    return [cell for cell in found if match in cell.label]


def _layers(quick: bool) -> Iterator[Cell]:
    shapes = ("1x8x8", "32x16x16", "32x64x64") if quick else SHAPES
    activations = ("tanh", "relu") if quick else ACTIVATIONS
    modes = ("both",) if quick else MODES
    for shape in shapes:
        for dtype in DTYPES:
            for activation in activations:
                for mode in modes:  # innermost: they share their data
                    yield Cell("layers", activation, shape, dtype, mode)


def _alone(quick: bool) -> Iterator[Cell]:
    shape = "x".join(map(str, ALONE_SHAPE))
    for dtype in DTYPES[: 1 if quick else None]:
        for activation in ALONE:
            yield Cell("activations", activation, shape, dtype, "forward")


def _networks(quick: bool) -> Iterator[Cell]:
    for (name, shape), network in NETWORKS.items():
        if not (quick and network.samples > 64):
            yield Cell("networks", name, shape, network.dtype, "value and gradient")


def _trainings(quick: bool) -> Iterator[Cell]:
    for (name, shape), training in TRAININGS.items():
        yield Cell("training", name, shape, training.network.dtype, "epoch")


_MAKERS = {
    "layers": _layers,
    "activations": _alone,
    "networks": _networks,
    "training": _trainings,
}


# -- data --------------------------------------------------------------------------------------


def layer_data(cell: Cell) -> tuple[Array, Array, Array, Array]:
    """Return x, w, b and grad_y of a layer."""
    from fastgrad.command.cases import layer_case

    n, d, k = map(int, cell.shape.split("x"))
    case = layer_case(cell.name, (n, d, k), cell.dtype)
    return case.arrays["x"], case.arrays["w"], case.arrays["b"], case.weight


def activation_data(cell: Cell) -> Array:
    return 2 * np.random.default_rng(0).standard_normal(ALONE_SHAPE, np.dtype(cell.dtype))


def network_data(network: Network) -> tuple[list[Array], Array, Array]:
    """Return the parameters w, b, w, b ..., the input and the target."""
    rng = np.random.default_rng(0)
    params: list[Array] = []
    for d, k in pairwise(network.sizes):
        params += [rng.standard_normal((d, k)) / np.sqrt(d), 0.1 * rng.standard_normal(k)]
    if network.samples == 1797:  # the digits
        from fastgrad.command.digits import load_digits

        x, target = load_digits()
    else:
        x = rng.standard_normal((network.samples, network.sizes[0]))
        if network.loss == "softmax_cross_entropy":
            target = rng.integers(0, network.sizes[-1], network.samples)
        else:
            target = rng.standard_normal((network.samples, network.sizes[-1]))
    if target.dtype.kind == "f":
        target = target.astype(network.dtype)
    return [p.astype(network.dtype) for p in params], x.astype(network.dtype), target


def order_of(training: Training) -> Array:
    """Return the samples in the order in which `fit` with seed 0 takes them."""
    n = training.network.samples
    return np.random.default_rng(0).permutation(n) if training.shuffle else np.arange(n)
