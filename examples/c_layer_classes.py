"""Notebook C: layer classes
=========================

A network of layer objects, Linear - Sigmoid - Linear - MSE, samples are columns.

The notebook feeds one sample of shape (d, 1) at a time ("does not support batching") and has two
mistakes, which this script shows beside the right values:

* its MSE gradient is averaged to one number. But every prediction has a derivative of its own,
  ``2 * (pred - labels) / pred.size``.
* its bias gradient is grad_y itself. That is right for one sample only; b is added to every
  sample, so its gradient is the sum over the batch, of the shape of b.

Run: python examples/c_layer_classes.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.nn import MSE, Linear, Sequential, Sigmoid


def step(net: Sequential, x: Any, labels: Any) -> tuple[float, Any, Any]:
    """Go forward and backward once; return the loss and its gradients wrt pred and x."""
    loss = MSE(labels, samples="columns")
    pred = net.forward(x)
    L = loss.forward(pred)
    grad_pred = loss.backward()
    return L, grad_pred, net.backward(grad_pred)


def forward_differences(net: Sequential, parameter: Any, x: Any, labels: Any) -> Any:
    """Return dL/dparameter by forward differences of 1e-5, extrapolated as in notebook B."""
    loss, original = MSE(labels, samples="columns"), parameter.copy()

    def f(value: Any) -> float:
        parameter[...] = value  # the layer's own array
        return loss.forward(net.forward(x))

    D1, D2 = (fg.numerical_grad(f, original, method="forward", delta=k * 1e-5) for k in (1, 2))
    parameter[...] = original
    return 2 * D1 - D2


def main() -> dict[str, Any]:
    """Do one sample, then a batch; print what is right and what the notebook has."""
    first = Linear(3, 4, samples="columns", seed=0)
    last = Linear(4, 2, samples="columns", seed=1)
    net = Sequential([first, Sigmoid(samples="columns"), last])
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))

    # One sample, as in the notebook.
    x, labels = X[:, :1], Y[:, :1]
    L, grad_pred, grad_x = step(net, x, labels)
    averaged = np.mean(2 * (net.forward(x) - labels))
    print("one sample: L =", L)
    print("  dL/dpred =", grad_pred.ravel(), "  the notebook's:", averaged, "for both")
    one = {"L": L, "grad_pred": grad_pred, "grad_x": grad_x, "grad_pred_notebook": averaged}

    # The whole batch at once.
    L, grad_pred, grad_x = step(net, X, Y)
    grads: dict[str, Any] = {}
    numerical: dict[str, Any] = {}
    for name, layer in (("first", first), ("last", last)):
        grads |= {f"{name}.w": layer.grad_w, f"{name}.b": layer.grad_b}
        numerical[f"{name}.w"] = forward_differences(net, layer.w, X, Y)
        numerical[f"{name}.b"] = forward_differences(net, layer.b, X, Y)

    print("batch of 6: L =", L)
    print("  dL/db =", grads["last.b"].ravel(), "of shape", grads["last.b"].shape)
    print("  the notebook's is of shape", grad_pred.shape, "and does not fit b")
    print("  largest differences from forward differences:")
    for name, grad in grads.items():
        print(f"    dL/d{name} {grad.shape}: {np.abs(grad - numerical[name]).max():.0e}")
    batch = {"L": L, "grad_pred": grad_pred, "grad_x": grad_x, **grads}
    return {"one": one, "batch": batch, "numerical": numerical}


# %%
# One number for both predictions: the right gradient pushes them apart, the notebook's moves both
# the same way.


def draw(results: dict[str, Any]) -> None:
    """Draw dL/dpred beside the notebook's; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    one, at = results["one"], np.arange(2)
    _, axes = plt.subplots(layout="constrained")
    axes.bar(at - 0.2, one["grad_pred"].ravel(), 0.4, label="2 (pred - labels) / pred.size")
    axes.bar(at + 0.2, one["grad_pred_notebook"], 0.4, label="the notebook's average")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="output of the network", ylabel="dL/dpred", xticks=at)
    axes.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
