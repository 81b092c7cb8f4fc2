"""Notebook A: a sum of activations
================================

Notebook A: ``L = sum(sigma(X @ W))`` and its gradients, for any function sigma.

The notebook writes the chain rule out by hand. With Z = X @ W and sigma' by a central difference::

    dL_dX = sigma'(Z) @ W.T        dL_dW = X.T @ sigma'(Z)

and checks one entry by a forward difference. Below is the notebook's way with ``fg.deriv``; then
one fused layer, which takes the same callable; then the layer that knows sigmoid by name and
differentiates it exactly.

Run: python examples/a_sum_of_activations.py
"""

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
    for way, activation in (("numerical", sigma), ("exact", "sigmoid")):
        L, dL_dX, dL_dW = fused(X, W, activation)
        results |= {f"L_{way}": L, f"dL_dX_{way}": dL_dX, f"dL_dW_{way}": dL_dW}
        # deriv is off by delta**2 / 6 times the third derivative of sigma.
        gap = np.abs(dL_dX - results["dL_dX"]).max()
        print(f"fused layer, {way} derivative: L = {L}, dL_dX within {gap:.0e} of the notebook's")

    report = fg.check_grad(lambda X: fg.losses.sum(fg.dense(X, W, None, "sigmoid")), dL_dX, X)
    print(report)
    return {**results, "report": report}


if __name__ == "__main__":
    main()
