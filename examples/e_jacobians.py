"""Notebook E: vector-Jacobian products and Jacobians
==================================================

Nodes with ``forward(x)`` and ``backward(dL_dy, use_jacobian=False)``.

A node goes back either by its vector-Jacobian product, which never makes a matrix, or by making
the explicit Jacobian ``dy/dx`` and contracting dL_dy with it. Both must agree. Samples are rows,
vectors are cast to (1, n), integers are taken, and ReLU'(0) = 0.

Run: python examples/e_jacobians.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.nn import Layer, Linear, ReLU, Sequential, Softmax


def show(name: str, array: Any) -> None:
    """Print an array in one column with those above it."""
    print(
        f"  {name:16}",
        np.array2string(array, prefix=" " * 19, max_line_width=100, suppress_small=True),
    )


def both_ways(node: Layer, x: Any, dL_dy: Any) -> dict[str, Any]:
    """Return y, and dL_dx by the product and by the Jacobian; print all three."""
    y = node.forward(x)
    dL_dx = node.backward(dL_dy)
    dL_dx_jacobian = node.backward(dL_dy, use_jacobian=True)
    jacobian = node.jacobian(x)
    print(f"{node}: the Jacobian has shape {jacobian.shape}")
    show("y", y)
    show("dL_dx, product", dL_dx)
    show("dL_dx, Jacobian", dL_dx_jacobian)
    ways = {"dL_dx": dL_dx, "dL_dx_jacobian": dL_dx_jacobian}
    return {"y": y, **ways, "jacobian": jacobian}


def main() -> dict[str, Any]:
    """Run every node of the notebook, then all of them in a row on a batch."""
    results: dict[str, Any] = {
        "softmax": both_ways(Softmax(), [0, 1, 2, 3, 4], [1, 2, 3, 2, 1]),
        "relu": both_ways(ReLU(), [0, -1, 2, -1, 4], [1, 2, 3, 2, 1]),
    }

    linear = Linear(input_dim=3, output_dim=2, bias=False)
    linear.w[...] = [[1, 2], [3, 4], [5, 6]]
    results["linear"] = both_ways(linear, [[1, 2, 3], [-1, 0, 1]], [[1, 0], [2, -1]])
    results["linear"]["dL_dw"] = linear.grad_w  # backward has set it
    show("dL_dw", linear.grad_w)

    # Jacobians multiply: a network has one too.
    net = Sequential([linear, ReLU(), Linear(2, 4, bias=False, seed=0), Softmax()])
    x = np.array([[1, 2, 3], [-1, 0, 1]])
    results["net"] = both_ways(net, x, np.arange(8).reshape(2, 4))
    analytic, numerical = net.jacobian(x), fg.jacobian(net.forward, x)
    print(f"Jacobian and central differences: {np.abs(analytic - numerical).max():.0e} apart")
    results["net"] |= {"jacobian": analytic, "jacobian_numerical": numerical}
    return results


# %%
# The Jacobians, a row for each element of y, a column for each of x. What is white is zero: of relu
# all but the diagonal, of two samples all but a block for each. The product never makes them.


def draw(results: dict[str, Any]) -> None:
    """Draw the Jacobians as heat maps; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(7, 6), layout="constrained")
    names = {"softmax": "softmax", "relu": "relu", "linear": "linear, two samples"}
    names["net"] = "linear - relu - linear - softmax"
    for panel, (name, title) in zip(panels.flat, names.items(), strict=True):
        jacobian = results[name]["jacobian"]
        matrix = jacobian.reshape(results[name]["y"].size, -1)
        top = np.abs(matrix).max()
        image = panel.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top)
        panel.set(title=title, xlabel="element of x", ylabel="element of y")
        panel.set(xticks=range(matrix.shape[1]), yticks=range(matrix.shape[0]))
        figure.colorbar(image, ax=panel, label="dy/dx", shrink=0.8)
    plt.show()


if __name__ == "__main__":
    draw(main())
