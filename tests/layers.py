"""Layers to test with: their data, and a run forward and back.

Shapes are named by what they sit on the edge of: MR x NR is the register tile, KC and MC are
block sizes, BB is the batch block (see `size` in `conftest.py`).
"""

from __future__ import annotations

import functools
import math
from typing import Any

from conftest import Array, rng_of, shape_of, turn

import fastgrad as fg

ALL = ("x", "w", "b", "z")


def dashed(spec: str) -> str:
    """Return a shape spec as part of a test's name."""
    return spec.replace(" x ", "x")


def bias_form(b: Array, samples: str) -> Array:
    """Return a bias (k,) in the matrix form of a layout."""
    return b.reshape(-1, 1) if samples == "columns" else b.reshape(1, -1)


@functools.cache
def layer_data(spec: str, dtype: str) -> dict[str, Array]:
    """Return x, w, b and grad_y with pre-activations of size about 2, in row layout."""
    n, d, k = shape_of(spec, dtype)
    rng = rng_of(spec, "layer")
    shapes = {"x": (n, d), "w": (d, k), "b": (k,), "g": (n, k)}
    scale = {"x": 1.0, "w": 2.0 / math.sqrt(max(d, 1)), "b": 0.5, "g": 1.0}
    return {
        name: (scale[name] * rng.standard_normal(shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def forms_data(dtype: str, samples: str) -> dict[str, Array]:
    """Return clean arguments of a layer with ragged edges, in the layout."""
    data = layer_data("MR+1 x 5 x NR+1", dtype)
    return {name: turn(a, samples) if a.ndim == 2 else a for name, a in data.items()}


def run(data: dict[str, Any], samples: str, name: Any = "sigmoid") -> list[Array]:
    """Return y and all four gradients."""
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    return [y, *fg.dense_backward(data["g"], cache, need=ALL)]


@functools.cache
def clean_run(dtype: str, samples: str, name: str = "sigmoid") -> list[Array]:
    return run(forms_data(dtype, samples), samples, name)


def odd_layer(dtype: str, samples: str) -> dict[str, Array]:
    """Return x, w, b and grad_y of 7 samples, 5 features and 3 outputs, in the layout."""
    rng = rng_of("out", dtype, samples)
    shapes = {"x": (7, 5), "w": (5, 3), "b": (1, 3), "g": (7, 3)}
    return {
        name: turn(rng.standard_normal(shape).astype(dtype), samples)
        for name, shape in shapes.items()
    }
