"""Training curves, and when to stop
=================================

A network that is large for its data learns the training samples by heart. The loss on samples that
it does not train on shows when: ``fit(validation=...)`` computes it after every epoch,
`fg.EarlyStopping` ends the training when it has not fallen for some epochs, and
``restore_best=True`` gives the parameters of the best one.

Run: python examples/k_training_curves.py
"""

import numpy as np
from matplotlib import pyplot as plt

import fastgrad as fg
from fastgrad.command.digits import load_digits

# %%
# 300 of the 1,797 handwritten digits that come with fastgrad are for training, 500 for validation.
# 200 hidden units have almost 50 times as many weights as there are samples. And of the training
# labels one in five is random, as labels may be: these can only be learned by heart.

images, labels = load_digits()
x, t = images[:300].astype("float32"), labels[:300].copy()
held_out = images[300:800].astype("float32"), labels[300:800]
rng = np.random.default_rng(0)
t[:60] = rng.integers(0, 10, 60)

# %%
# The same training twice, without and with dropout: half of the hidden units are left out of each
# batch.


def train(dropout: float) -> fg.FitResult:
    """Return the result of at most 150 epochs."""
    net = fg.MLP((64, 200, 10), ("relu", None), "softmax_cross_entropy", dropout=dropout)
    stop = fg.EarlyStopping(patience=40)
    adam = fg.Adam(lr=2e-3)
    return net.fit(
        net.init(seed=0), x, t, adam, epochs=150, validation=held_out, callback=stop,
        restore_best=True,
    )  # fmt: skip


results = {"without dropout": train(0.0), "dropout 0.5": train(0.5)}
for name, result in results.items():
    best = result.best_epoch
    assert best is not None and result.validation_losses is not None
    print(
        f"{name}: {len(result.losses)} epochs, {result.stopped}; "
        f"the best is {best + 1}, validation loss {result.validation_losses[best]:.3f}"
    )

# %%
# The training loss falls on and on. The parameters that `fit` returns are those at the circle. The
# network with dropout needs more epochs, and is better on what it has not seen.

_, panels = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained")
for panel, (name, result) in zip(panels, results.items(), strict=True):
    best, validation = result.best_epoch, result.validation_losses
    assert best is not None and validation is not None
    epochs = range(1, len(result.losses) + 1)
    panel.plot(epochs, result.losses, label="training")
    panel.plot(epochs, validation, label="validation")
    panel.plot(best + 1, validation[best], "o", color="black", fillstyle="none", label="returned")
    panel.set(title=name, xlabel="epoch")
    panel.legend()
panels[0].set(ylabel="cross-entropy, nats a sample", ylim=(0, 2.5))
plt.show()
