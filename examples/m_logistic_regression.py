"""Logistic regression with SciPy
==============================

A network without a hidden layer and SciPy's L-BFGS: `value_and_grad` is what
``minimize(..., jac=True)`` wants, penalty included. The loss is convex, so both optimizers find the
one minimum; L-BFGS needs far fewer gradients than gradient descent.

Run: python examples/m_logistic_regression.py
"""

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import minimize

import fastgrad as fg

# %%
# Two marks of 200 students, and who passed: the chance depends on the weighted sum of both.

rng = np.random.default_rng(0)
marks = rng.uniform(20, 100, (200, 2))
chance = fg.sigmoid(0.12 * marks[:, 0] + 0.08 * marks[:, 1] - 12.0)
passed = (rng.random(200) < chance).astype(float)[:, None]
x = (marks - marks.mean(axis=0)) / marks.std(axis=0)

# %%
# The model, and its minimum.

net = fg.MLP((2, 1), (None,), "binary_cross_entropy_with_logits", dtype="float64", l2=1e-3)
start = net.init(seed=0)
quasi_newton: list[float] = []
result = minimize(
    net.value_and_grad, start, args=(x, passed), jac=True, method="L-BFGS-B",
    callback=lambda params: quasi_newton.append(net.value_and_grad(params, x, passed)[0]),
    options={"ftol": 1e-15, "gtol": 1e-9},
)  # fmt: skip
_, gradient = net.value_and_grad(result.x, x, passed)
w, b = net.layers(result.x)[0]
print(f"{result.nfev} gradients, loss {result.fun:.6f}, |gradient| {np.abs(gradient).max():.0e}")
print("weights", w.ravel().round(3), "bias", b.round(3))

# %%
# Gradient descent from the same start, its rate as large as is good here:

params, descent = start.copy(), []
for _ in range(200):
    value, grad = net.value_and_grad(params, x, passed)
    descent.append(value)
    params -= 4.0 * grad

# %%
# The line is where the model says one half.

_, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for kind, colour, marker, label in ((0, "darkred", "x", "failed"), (1, "navy", "o", "passed")):
    first, second = marks[passed[:, 0] == kind].T
    left.scatter(first, second, s=18, c=colour, marker=marker, label=label)
edge = np.linspace(20, 100, 2)
scaled = -(w[0] * (edge - marks[:, 0].mean()) / marks[:, 0].std() + b) / w[1]
left.plot(edge, scaled * marks[:, 1].std() + marks[:, 1].mean(), "k-", label="chance 1/2")
left.set(xlabel="first mark, points", ylabel="second mark, points", ylim=(15, 105))
left.legend(loc="lower left")
right.semilogy(np.array(descent) - result.fun, label="gradient descent")
right.semilogy(np.array(quasi_newton[:-1]) - result.fun, "o-", label="L-BFGS")
right.set(xlabel="step", ylabel="loss above the minimum, nats a sample", ylim=(1e-14, 1))
right.legend()
plt.show()
