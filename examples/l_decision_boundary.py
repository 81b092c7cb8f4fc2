"""A decision boundary
===================

Two spirals of points, one inside the other. One layer can only draw a straight line between them;
two hidden layers learn the shape. `predict` takes the 40,000 points of the picture at once.

Run: python examples/l_decision_boundary.py
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgrad as fg

# %%
# The data: 400 points, and which spiral each is of.

rng = np.random.default_rng(0)
angle = 3 * np.pi * np.sqrt(rng.random(400))
spiral = rng.integers(0, 2, 400)
points = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) / (3 * np.pi)
points = points * (1 - 2 * spiral[:, None]) + 0.02 * rng.standard_normal((400, 2))

# %%
# Two networks, trained alike.

networks = {
    "one layer": fg.MLP((2, 2), (None,), "softmax_cross_entropy", dtype="float64"),
    "2-32-32-2, tanh": fg.MLP(
        (2, 32, 32, 2), ("tanh", "tanh", None), "softmax_cross_entropy", dtype="float64"
    ),
}
fitted, right = {}, {}
for name, net in networks.items():
    result = net.fit(net.init(seed=1), points, spiral, fg.Adam(lr=0.01), epochs=300)
    fitted[name] = result.params
    right[name] = float(np.mean(net.predict(result.params, points).argmax(axis=1) == spiral))
    print(f"{name}: loss {result.losses[-1]:.4f}, {right[name]:.1%} right")

# %%
# How sure each is of the second spiral, everywhere.

side = np.linspace(-1.15, 1.15, 200)
grid = np.stack(np.meshgrid(side, side), axis=-1)
figure, panels = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, layout="constrained")
for panel, (name, net) in zip(panels, networks.items(), strict=True):
    odds = fg.softmax(net.predict(fitted[name], grid.reshape(-1, 2)))[:, 1].reshape(200, 200)
    filled = panel.contourf(
        side, side, odds, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7
    )
    panel.contour(side, side, odds, levels=[0.5], colors="black", linewidths=1)
    for kind, colour, marker in ((0, "navy", "o"), (1, "darkred", "^")):
        x, y = points[spiral == kind].T
        panel.scatter(x, y, s=12, c=colour, marker=marker, label=f"spiral {kind}", linewidths=0)
    panel.set(title=f"{name}: {right[name]:.1%} right", xlabel="x", aspect="equal")
panels[0].set_ylabel("y")
panels[0].legend(loc="upper left")
figure.colorbar(filled, ax=panels, label="probability of spiral 1")
plt.show()
