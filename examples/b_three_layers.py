"""Notebook B: three layers, samples are columns
=============================================

A three-layer network whose samples are columns, and every gradient in it::

    z1 = w1 @ S + b1     a1 = tanh(z1)
    z2 = w2 @ a1 + b2    a2 = sigmoid(z2)
    z3 = w3 @ a2 + b3    C  = quadratic cost of z3 and T

The cost comes in two normalisations: the mean over all elements (``reduction="mean"``), and the
sum over the outputs divided by the number of samples (``"samples"``). The notebook writes dz3,
dz2, dz1 and the six parameter gradients out by hand and checks each by forward differences. Here
each layer is one fused call; ``need=(..., "z")`` hands out its dz as well.

Run: python examples/b_three_layers.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg

ACTIVATIONS = ("tanh", "sigmoid", None)
NAMES = ("w1", "b1", "w2", "b2", "w3", "b3")


def cost(p: dict[str, Any], S: Any, T: Any, reduction: str) -> float:
    """Return the cost alone: what the checks differentiate."""
    a = S
    for i, activation in enumerate(ACTIVATIONS, 1):
        a = fg.dense(a, p[f"w{i}"], p[f"b{i}"], activation, samples="columns")
    return fg.losses.mse(a, T, reduction, samples="columns")


def gradients(p: dict[str, Any], S: Any, T: Any, reduction: str) -> tuple[float, dict[str, Any]]:
    """Return the cost, and dw1 ... db3, dz1, dz2, dz3."""
    a, caches = S, []
    for i, activation in enumerate(ACTIVATIONS, 1):
        a, cache = fg.dense_forward(a, p[f"w{i}"], p[f"b{i}"], activation, samples="columns")
        caches.append(cache)
    C, dC = fg.losses.mse.value_and_grad(a, T, reduction, samples="columns")

    da: Any = dC
    d = {}
    for i in (3, 2, 1):
        grads = fg.dense_backward(da, caches[i - 1], need=("x", "w", "b", "z"))
        d[f"dw{i}"], d[f"db{i}"], d[f"dz{i}"] = grads.w, grads.b, grads.z
        da = grads.x
    return C, d


def forward_differences(p: dict[str, Any], name: str, S: Any, T: Any, reduction: str) -> Any:
    """Return the cost's gradient with respect to one parameter, by forward differences of 1e-5.

    One such difference D is off by delta / 2 times the curvature, so its sixth digit is wrong.
    ``2 * D(delta) - D(2 * delta)`` cancels that.
    """

    def f(value: Any) -> float:
        return cost({**p, name: value}, S, T, reduction)

    D1, D2 = (fg.numerical_grad(f, p[name], method="forward", delta=k * 1e-5) for k in (1, 2))
    return 2 * D1 - D2


def main() -> dict[str, Any]:
    """Print the costs and, for each gradient, how far it is from forward differences."""
    rng = np.random.default_rng(0)
    n0, n1, n2, n3, samples = 3, 5, 4, 2, 10
    S, T = rng.standard_normal((n0, samples)), rng.standard_normal((n3, samples))
    p = {}
    for i, (n_in, n_out) in enumerate(((n0, n1), (n1, n2), (n2, n3)), 1):
        p[f"w{i}"] = rng.standard_normal((n_out, n_in))
        p[f"b{i}"] = rng.standard_normal((n_out, 1))

    results: dict[str, Any] = {}
    for reduction in ("mean", "samples"):
        C, d = gradients(p, S, T, reduction)
        numerical = {name: forward_differences(p, name, S, T, reduction) for name in NAMES}
        results[reduction] = {"C": C, **d, "numerical": numerical, "point": (p, S, T)}
        print(f"reduction={reduction!r}: C = {C:.6f}")
        for name in NAMES:
            gap = np.abs(d["d" + name] - numerical[name]).max()
            print(f"  d{name} {d['d' + name].shape!s:7} differs by at most {gap:.0e}")
    print("dz3 =", results["mean"]["dz3"], sep="\n")
    return results


# %%
# How good can such a check be? The extrapolated difference has two digits more than a forward
# difference of the same step. The gradient itself has all but the last.


def draw(results: dict[str, Any]) -> None:
    """Draw how far differences of many steps are from dw1; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    p, S, T = results["mean"]["point"]
    exact = results["mean"]["dw1"]

    def f(w1: Any) -> float:
        return cost({**p, "w1": w1}, S, T, "mean")

    def differences(delta: float, method: Any = "forward") -> Any:
        return fg.numerical_grad(f, p["w1"], method=method, delta=delta)

    deltas = 10.0 ** np.arange(-9, -0.9, 0.5)
    ways = {
        "forward": lambda delta: differences(delta),
        "forward, extrapolated": lambda delta: 2 * differences(delta) - differences(2 * delta),
        "central": lambda delta: differences(delta, "central"),
    }
    _, axes = plt.subplots(layout="constrained")
    for (name, way), marker in zip(ways.items(), "os^", strict=True):
        gaps = [np.abs(way(delta) - exact).max() / np.abs(exact).max() for delta in deltas]
        axes.loglog(deltas, gaps, marker + "-", label=name)
    axes.axvline(1e-5, color="grey", linewidth=1)
    axes.text(1.2e-5, 2e-3, "used here", color="grey")
    axes.set(xlabel="step of the difference", ylabel="distance from dw1, of its largest entry")
    axes.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
