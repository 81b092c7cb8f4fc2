"""Notebook E: vector-Jacobian products and Jacobians
==================================================

Notebook E: nodes with ``forward(x)`` and ``backward(dL_dy, use_jacobian=False)``.

A node goes back either by its vector-Jacobian product, which never makes a matrix, or by making
the explicit Jacobian ``dy/dx`` and contracting dL_dy with it. Both must agree. Samples are rows,
vectors are cast to (1, n), integers are taken, and ReLU'(0) = 0.

Run: python examples/e_jacobians.py
"""

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
    print(f"{node}: the Jacobian has shape {node.jacobian(x).shape}")
    show("y", y)
    show("dL_dx, product", dL_dx)
    show("dL_dx, Jacobian", dL_dx_jacobian)
    return {"y": y, "dL_dx": dL_dx, "dL_dx_jacobian": dL_dx_jacobian}


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


if __name__ == "__main__":
    main()
