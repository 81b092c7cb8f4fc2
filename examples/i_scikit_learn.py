"""scikit-learn's network, one import changed
==========================================

scikit-learn's network with one import changed: the same losses, in a fraction of the time.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from sklearn import neural_network as theirs
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastgrad import sklearn as ours
from fastgrad.command.digits import load_digits


def timed(library: Any, x: Any, y: Any) -> tuple[Any, float]:
    """Return a fitted pipeline and the seconds it took."""
    network = library.MLPClassifier((50,), batch_size=32, max_iter=15, random_state=0)
    model, start = make_pipeline(StandardScaler(), network), perf_counter()
    return model.fit(x, y), perf_counter() - start


def main() -> dict[str, tuple[list[float], float]]:
    """Fit the digits with both, and compare."""
    warnings.simplefilter("ignore")  # 15 epochs do not converge, and both say so
    x, x_test, y, y_test = train_test_split(*load_digits(), random_state=0)
    timed(ours, x[:100], y[:100])  # compiles
    (mine, fast), (other, slow) = timed(ours, x, y), timed(theirs, x, y)
    losses = [model[-1].loss_curve_ for model in (mine, other)]
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    print(f"losses differ by {apart:.1e} at most, over {len(losses[0])} epochs")
    print(f"test scores {mine.score(x_test, y_test):.4f} and {other.score(x_test, y_test):.4f}")
    print(f"{slow / fast:.1f} times as fast")
    return {"scikit-learn": (losses[1], slow), "fastgrad.sklearn": (losses[0], fast)}


# %%
# The same curve, in less time.


def draw(results: dict[str, tuple[list[float], float]]) -> None:
    """Draw the losses over time; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(layout="constrained")
    for name, (losses, seconds) in results.items():
        times = [seconds * (i + 1) / len(losses) for i in range(len(losses))]
        axes.plot(times, losses, "o-", label=name)
    axes.set(xlabel="seconds", ylabel="training loss, nats a sample", xlim=(0, None))
    axes.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
