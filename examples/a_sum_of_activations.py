"""Notebook A: a sum of activations
================================

``L = sum(sigma(X @ W))`` and its gradients, for any function sigma.

The notebook writes the chain rule out by hand. With Z = X @ W and sigma' by a central difference::

    dL_dX = sigma'(Z) @ W.T        dL_dW = X.T @ sigma'(Z)

and checks one entry by a forward difference. Below is the notebook's way with ``fg.deriv``; then
one fused layer, which takes the same callable; then the layer that knows sigmoid by name and
differentiates it exactly.

Run: python examples/a_sum_of_activations.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg


def sigma(z: Any) -> Any:
    """Return the logistic function; put any other elementwise function here."""
    return 1 / (1 + np.exp(-z))


def notebook(X: Any, W: Any) -> tuple[float, Any, Any]:
    """Return L, dL_dX and dL_dW as the notebook does: its formulas, in plain NumPy."""
    Z = X @ W
    dL_dZ = fg.deriv(sigma, Z, delta=1e-3)
    return float(np.sum(sigma(Z))), dL_dZ @ W.T, X.T @ dL_dZ


def fused(X: Any, W: Any, activation: Any) -> tuple[float, Any, Any]:
    """Return L, dL_dX and dL_dW from one fused layer and the loss that sums."""
    Y, cache = fg.dense_forward(X, W, activation=activation)
    L, dL_dY = fg.losses.sum.value_and_grad(Y)
    grads = fg.dense_backward(dL_dY, cache)
    return L, grads.x, grads.w


def forward_difference(X: Any, W: Any, i: int, j: int, delta: float = 0.001) -> float:
    """Return how much L grows per unit of ``X[i, j]``: the notebook's check."""
    X_moved = X.copy()
    X_moved[i, j] += delta
    return float((np.sum(sigma(X_moved @ W)) - np.sum(sigma(X @ W))) / delta)


def main() -> dict[str, Any]:
    """Print what the notebook prints, and return it."""
    np.random.seed(42)
    X = np.random.randn(3, 3)
    W = np.random.randn(3, 2)

    L, dL_dX, dL_dW = notebook(X, W)
    print("L =", L)
    print("dL_dX =", dL_dX, sep="\n")
    print("dL_dW =", dL_dW, sep="\n")
    check = forward_difference(X, W, 0, 0)
    print("forward difference of entry (0, 0):", check, "\n")

    results: dict[str, Any] = {"L": L, "dL_dX": dL_dX, "dL_dW": dL_dW, "forward_difference": check}
    results["Z"] = X @ W
    for way, activation in (("numerical", sigma), ("exact", "sigmoid")):
        L, dL_dX, dL_dW = fused(X, W, activation)
        results |= {f"L_{way}": L, f"dL_dX_{way}": dL_dX, f"dL_dW_{way}": dL_dW}
        # deriv is off by delta**2 / 6 times the third derivative of sigma.
        gap = np.abs(dL_dX - results["dL_dX"]).max()
        print(f"fused layer, {way} derivative: L = {L}, dL_dX within {gap:.0e} of the notebook's")

    report = fg.check_grad(lambda X: fg.losses.sum(fg.dense(X, W, None, "sigmoid")), dL_dX, X)
    print(report)
    return {**results, "report": report}


# %%
# The step of the difference matters. A long one is off by the curve's bend, a short one by
# rounding: the notebook's 0.001 by 2e-8, the best by 1e-11. The exact derivative needs no step.


def draw(results: dict[str, Any]) -> None:
    """Draw the error of sigma' for many steps; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    Z = results["Z"]
    exact = fg.sigmoid.derivative(Z)
    deltas = 10.0 ** np.arange(-12, 0.6, 0.25)
    errors = [np.abs(fg.deriv(sigma, Z, delta=delta) - exact).max() for delta in deltas]
    _, axes = plt.subplots(layout="constrained")
    axes.loglog(deltas, errors, "o-", label="central difference")
    axes.loglog(deltas, deltas**2 / 48, "--", label=r"bound of the bend: $\delta^2 / 48$")
    axes.loglog(deltas, 1e-16 / deltas, ":", label=r"rounding: $10^{-16} / \delta$")
    axes.axvline(1e-3, color="grey", linewidth=1)
    axes.text(1.4e-3, 1e-11, "the notebook's", color="grey")
    axes.set(xlabel=r"step $\delta$", ylabel="largest error of sigma'", ylim=(1e-13, 1))
    axes.legend(loc="upper center")
    plt.show()


if __name__ == "__main__":
    draw(main())
