"""Memory that a layer takes at each call: no pages mapped anew, and the same bits in parts."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from conftest import LAYOUTS, rng_of, same_bits, turn

import fastgrad as fg

# A fresh process: what others have freed before decides what glibc gives back.
CALLS = """
import resource, numpy as np, fastgrad as fg
fg.set_num_threads(1)
n, d, k, samples, call = {arguments}
x, w = (np.ones(s, np.float32) for s in ((n, d), (d, k)))
if samples == "columns":
    x, w = np.ascontiguousarray(x.T), np.ascontiguousarray(w.T)
b = np.zeros(k, np.float32)
y, cache = fg.dense_forward(x, w, b, "tanh", samples=samples)
net = fg.MLP((d, k), ("tanh",), "mse", samples=samples)
params, g = net.init(), np.ones_like(y)
calls = dict(
    forward=lambda: fg.dense_forward(x, w, b, "tanh", samples=samples),
    backward=lambda: fg.dense_backward(g, cache),
    both=lambda: fg.dense_backward(g, fg.dense_forward(x, w, b, "tanh", samples=samples)[1]),
    network=lambda: net.value_and_grad(params, x, g),
)
for _ in range(3):
    calls[call]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    calls[call]()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limits are glibc's")
@pytest.mark.parametrize(
    "arguments",
    [
        (209, 12288, 20, "columns", "backward"),
        (256, 784, 256, "columns", "backward"),
        (600, 900, 700, "columns", "backward"),
        (600, 900, 700, "rows", "both"),
        (600, 900, 700, "columns", "network"),
        (16, 3072, 3072, "rows", "forward"),
    ],
    ids=str,
)
def test_pages_are_used_again(arguments: tuple[int, int, int, str, str]) -> None:
    code = CALLS.format(arguments=arguments)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(run.stdout) < 30, "pages mapped by each call; 300 to 9,000 without the cure"


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("act", [None, "tanh", "gelu", "softmax"])
@pytest.mark.parametrize("n", [30, 100])
def test_weights_packed_in_parts(n: int, act: str | None, samples: str) -> None:
    """8 MiB at a time: the outputs are those of fewer weights, and activations see whole rows."""
    d, k = 2100, 1111
    rng = rng_of("packed", n, act, samples)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((n, d), (d, k), (k,)))
    w /= 50
    y, cache = fg.dense_forward(turn(x, samples), turn(w, samples), b, act, samples=samples)
    parts = [
        fg.dense(turn(x, samples), turn(w[:, j : j + 100], samples), b[j : j + 100], None,
                 samples=samples)
        for j in range(0, k, 100)
    ]  # fmt: skip
    z = np.concatenate(parts, axis=1 if samples == "rows" else 0)
    if act == "softmax":
        expected = fg.softmax(z, axis=1 if samples == "rows" else 0)
    else:
        expected = z if act is None else fg.activations.ACTIVATIONS[act](z)
    assert same_bits(y, expected)
    if act == "gelu":
        assert same_bits(cache.saved, fg.gelu.derivative(z))
