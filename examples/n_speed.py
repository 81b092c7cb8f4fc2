"""How much faster?
================

A tanh layer, forward and backward, of some sizes: as fused kernels, as a careful person writes it
in NumPy (``fastgrad.reference``), and as the naive loops that say what a layer is
(``fastgrad.loops``). All three have the same functions, so one line times them all.

These are times of the machine that built this page; ``fastgrad compare`` draws a chart of yours.

Run: python examples/n_speed.py
"""

from timeit import Timer
from types import ModuleType

import numpy as np
from matplotlib import pyplot as plt

import fastgrad as fg
from fastgrad import loops, reference

# %%
# What is timed. The results are compared first.


def layer(module: ModuleType, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """Go forward and backward; return dL/dw."""
    x, w, b, grad_y = arrays
    _, cache = module.dense_forward(x, w, b, "tanh")
    grad_w: np.ndarray = module.dense_backward(grad_y, cache).w
    return grad_w


def seconds(module: ModuleType, arrays: tuple[np.ndarray, ...]) -> float:
    """Return the least time of a call, in some 0.15 s."""
    timer = Timer(lambda: layer(module, arrays))
    once = min(timer.repeat(3, 1))
    number = max(1, int(0.005 / max(once, 1e-7)))
    return min(timer.repeat(max(3, int(0.15 / (number * once))), number)) / number


fg.set_num_threads(1)
ways = {"loops": loops, "NumPy": reference, "fastgrad": fg}
sizes = {"1 x 8 x 8": (1, 8, 8), "32 x 16 x 16": (32, 16, 16), "64 x 64 x 64": (64, 64, 64),
         "256 x 256 x 256": (256, 256, 256)}  # fmt: skip
rng = np.random.default_rng(0)
times: dict[str, dict[str, float]] = {name: {} for name in ways}
for size, (n, d, k) in sizes.items():
    shapes = ((n, d), (d, k), (k,), (n, k))
    x, w, b, grad_y = (rng.standard_normal(shape).astype("float32") for shape in shapes)
    arrays = (x, w / np.float32(np.sqrt(d)), b, grad_y)
    expected = layer(reference, arrays)
    for name, module in ways.items():
        if name == "loops" and n * d * k > 1_000_000:
            continue  # seconds for each call
        np.testing.assert_allclose(layer(module, arrays), expected, rtol=1e-3, atol=1e-4)
        times[name][size] = seconds(module, arrays)

# %%
# The axis is logarithmic: each grid line is ten times the one below.

_, axes = plt.subplots(figsize=(7, 4), layout="constrained")
colours = {"loops": "tab:grey", "NumPy": "tab:orange", "fastgrad": "tab:blue"}
for i, (name, of_size) in enumerate(times.items()):
    at = np.arange(len(sizes))[: len(of_size)] + 0.27 * (i - 1)
    microseconds = [1e6 * time for time in of_size.values()]
    bars = axes.bar(at, microseconds, 0.25, label=name, color=colours[name])
    axes.bar_label(bars, fmt=lambda us: f"{us:,.0f}" if us > 99 else f"{us:.3g}", fontsize=8)
axes.set(yscale="log", ylabel="microseconds", xlabel="samples x inputs x outputs, float32")
axes.set_xticks(np.arange(len(sizes)), list(sizes))
axes.grid(axis="y", alpha=0.3)
axes.legend()
plt.show()
