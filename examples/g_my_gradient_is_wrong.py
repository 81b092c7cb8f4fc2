"""My gradient is wrong
====================

The mistakes of notebooks C and D, found: `fg.diagnose` says what is wrong, and in which line.

* C averages the gradient of its MSE to one number before it goes through the layers.
* C's gradient of a bias is grad_y itself: right for one sample, not summed over a batch.
* D's sigmoid is ``1 / (1 + exp(z))``. Its test point has Z = 0, where nothing is wrong with it; at
  another point the value of the loss shows it.

Each script computes its gradient by hand, in plain NumPy. The network is described by `fg.MLP`; a
report names the layer and the mistake, and prints the line that mends it.

Run: python examples/g_my_gradient_is_wrong.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg

NAMES = ("dW1", "db1", "dW2", "db2")


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def notebook_c(p: dict[str, Any], x: Any, labels: Any, mistake: str) -> dict[str, Any]:
    """Return the gradients of Linear - Sigmoid - Linear - MSE, samples are columns."""
    z1 = p["W1"] @ x + p["b1"]
    a1 = sigmoid(z1)
    a2 = p["W2"] @ a1 + p["b2"]
    if mistake == "averaged":
        dz2 = np.full_like(a2, np.mean(2 * (a2 - labels)))
    else:
        dz2 = 2 * (a2 - labels) / a2.size
    dz1 = (p["W2"].T @ dz2) * a1 * (1 - a1)
    if mistake == "bias":
        db2, db1 = dz2, dz1
    else:
        db2, db1 = dz2.sum(axis=1, keepdims=True), dz1.sum(axis=1, keepdims=True)
    return {"dW1": dz1 @ x.T, "db1": db1, "dW2": dz2 @ a1.T, "db2": db2}


def notebook_d(W: Any, x: Any) -> tuple[float, Any]:
    """Return ``f = ||sigmoid(W @ x)||^2`` and df/dW, with the notebook's flipped sign."""
    y = 1 / (1 + np.exp(W @ x))
    dZ = 2 * y * y * (1 - y)
    return float((y**2).sum()), dZ @ x.T


def main() -> dict[str, Any]:
    """Diagnose each script, and print the reports."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    net = fg.MLP((3, 4, 2), ("sigmoid", None), "mse", samples="columns", dtype="float64")
    p = {"W1": rng.standard_normal((4, 3)), "b1": rng.standard_normal((4, 1)),
         "W2": rng.standard_normal((2, 4)), "b2": rng.standard_normal((2, 1))}  # fmt: skip
    x, labels = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))
    for mistake in ("none", "averaged", "bias"):
        grads = notebook_c(p, x, labels, mistake)
        found[mistake] = fg.diagnose(net, p, grads, x=x, target=labels)

    net = fg.MLP((3, 3), ("sigmoid",), "squared_l2", "sum", bias=False, samples="columns")
    W = np.array([[2, 1, 2], [1, 3, 1], [7, 4, 7]], np.float32)
    for name, point in (("at Z = 0", [[1], [0], [-1]]), ("elsewhere", [[0.5], [-0.25], [0.125]])):
        x = np.array(point, np.float32)
        f, dW = notebook_d(W, x)
        found[name] = fg.diagnose(net, {"W": W}, {"dW": dW}, x=x, value=f)

    for name, report in found.items():
        print(f"---- {name}", report, sep="\n")
    return found


# %%
# Where the gradients are wrong, entry by entry. With the averaged loss every array is; the layer
# that the report names is the last, where it began. Gradients of biases that were not summed have a
# column for each sample; their sums are right.


def draw(found: dict[str, Any]) -> None:
    """Draw the relative differences of notebook C's script; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    titles = {"none": "right", "averaged": "loss averaged", "bias": "bias not summed"}
    figure, panels = plt.subplots(3, 4, figsize=(8, 6), layout="constrained")
    image: Any = None
    for row, (name, title) in zip(panels, titles.items(), strict=True):
        row[0].set_ylabel(title)
        for panel, array, short in zip(row, found[name].arrays, NAMES, strict=True):
            panel.set(xticks=[], yticks=[], title=f"{short} {array.shape}")
            shown = np.log10(np.maximum(array.relative, 1e-16))
            image = panel.imshow(shown, vmin=-16, vmax=0, cmap="magma", aspect="auto")
            if short in ("db1", "db2") and name == "bias":
                middle = {"ha": "center", "va": "center", "transform": panel.transAxes}
                panel.text(0.5, 0.5, "right, if summed", color="white", **middle)
    figure.colorbar(image, ax=panels, label="log10 of difference / largest entry")
    plt.show()


if __name__ == "__main__":
    draw(main())
