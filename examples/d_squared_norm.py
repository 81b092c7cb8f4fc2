"""Notebook D: a squared norm in float32
=====================================

``f = ||sigmoid(W @ x)||^2`` in float32, with all gradients on the way::

    Z = W @ x    y = sigmoid(Z)    f = sum(y**2)
    df/dy = 2 y    df/dZ = df/dy * y * (1 - y)    df/dW = df/dZ @ x.T    df/dx = W.T @ df/dZ

The notebook's sigmoid is ``1 / (1 + exp(z))``: its sign is flipped. Nobody saw, for the test point
has Z = 0, where both are 1/2. At a second point, below, f and all gradients would be wrong.
Where PyTorch is installed, both points are compared with it, as the notebook does.

Run: python examples/d_squared_norm.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg

W = np.array([[2, 1, 2], [1, 3, 1], [7, 4, 7]], np.float32)
POINTS = {
    "the notebook's point": np.array([[1], [0], [-1]], np.float32),
    "a point with Z != 0": np.array([[0.5], [-0.25], [0.125]], np.float32),
}


def gradients(W: Any, x: Any) -> dict[str, Any]:
    """Return f, y and every gradient; all arrays stay float32."""
    y, cache = fg.dense_forward(x, W, activation="sigmoid", samples="columns")
    f, df_dy = fg.losses.squared_l2.value_and_grad(y)
    grads = fg.dense_backward(df_dy, cache, need=("x", "w", "z"))
    return {"f": f, "y": y, "df/dy": df_dy, "df/dZ": grads.z, "df/dW": grads.w, "df/dx": grads.x}


def flipped(W: Any, x: Any) -> float:
    """Return f as the notebook computes it, with exp(z) where exp(-z) belongs."""
    return float(np.sum((1 / (1 + np.exp(W @ x))) ** 2))


def torch_gradients(W: Any, x: Any) -> dict[str, Any]:
    """Return the same numbers by PyTorch's autograd."""
    import torch

    W, x = (torch.tensor(a, requires_grad=True) for a in (W, x))
    Z = W @ x
    y = torch.sigmoid(Z)
    f = (y**2).sum()
    names = ("df/dy", "df/dZ", "df/dW", "df/dx")
    grads = torch.autograd.grad(f, (y, Z, W, x))
    found = {name: grad.numpy() for name, grad in zip(names, grads, strict=True)}
    return {"f": f.item(), "y": y.detach().numpy(), **found}


def main() -> dict[str, Any]:
    """Print both points, PyTorch's difference, and what the flipped sign does."""
    results: dict[str, Any] = {}
    for title, x in POINTS.items():
        found = gradients(W, x)
        results[title] = found | {"x": x, "f_flipped": flipped(W, x)}
        print(f"{title}: x = {x.ravel()}")
        print(f"  f     = {found['f']:.8g}   with the flipped sign {flipped(W, x):.8g}")
        for name in ("df/dy", "df/dZ", "df/dW", "df/dx"):
            print(f"  {name} = {np.array2string(found[name].squeeze(), prefix=' ' * 10)}")
        if find_spec("torch"):
            torch = torch_gradients(W, x)
            gap = max(np.abs(found[name] - torch[name]).max() for name in found)
            results[title]["torch"] = torch
            print(f"  PyTorch differs by at most {gap:.0e}")
    return results


# %%
# Between the two points, and beyond them: with the flipped sign f is the mirror image, and the two
# curves meet just where the notebook looked.


def draw(results: dict[str, Any]) -> None:
    """Draw f along a line through both points; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    first, second = POINTS.values()
    steps = np.linspace(-2, 2, 81)
    line = [first + np.float32(step) * (second - first) for step in steps]
    _, axes = plt.subplots(layout="constrained")
    axes.plot(steps, [gradients(W, x)["f"] for x in line], label="1 / (1 + exp(-z))")
    axes.plot(steps, [flipped(W, x) for x in line], "--", label="the notebook's 1 / (1 + exp(z))")
    axes.plot(0, results["the notebook's point"]["f"], "ko", label="the notebook's point")
    axes.axvline(1, color="grey", linewidth=1)
    axes.text(1.05, 1.0, "the second point", color="grey")
    axes.set(xlabel="along the line through both points", ylabel=r"f = ||sigmoid(W x)||$^2$")
    axes.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
