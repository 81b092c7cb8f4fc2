"""The estimators beside scikit-learn's: ``python -m benchmarks.estimators [--epochs N]``.

The digits, one thread, in turns, in one process; losses are compared before times.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.command.digits import load_digits
from fastgrad.terminal import duration, factor, table

from .common import measured_on
from .timing import compare

NETWORKS = [(64,), (100,), (50, 50), (256, 128)]
FIT, PREDICT_ONE, PREDICT_ALL = (6.0, 2.2), 3.0, 1.5  # geometric mean and least; least
SPARSE = 4.0


def pair(cls: str, **settings: Any) -> tuple[Any, Any]:
    from sklearn import neural_network

    from fastgrad import sklearn as ours

    return getattr(ours, cls)(**settings), getattr(neural_network, cls)(**settings)


def sparse_text(dtype: str) -> tuple[Any, Any]:
    """Return 5,000 texts of 30,000 words: counts, 100 words each, common ones more often."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    words = (30000 * rng.random((5000, 100)) ** 3).astype(np.int64)
    rows = np.repeat(np.arange(5000), 100)
    x = sparse.csr_matrix((np.ones(500000, dtype), (rows, words.ravel())), (5000, 30000))
    return x, words[:, :20].sum(axis=1) % 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return 1 if losses differ or a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators")
    parser.add_argument("--epochs", type=int, default=20, help="of a fit")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # so few epochs do not converge
    where = measured_on()
    fg.set_num_threads(1)
    images, labels = load_digits()
    rows, ratios, wrong = [], [], False
    for dtype in ("float32", "float64"):
        x = images.astype(dtype)
        for hidden in NETWORKS:
            for batch in (32, 200):
                ours, theirs = pair(
                    "MLPClassifier",
                    hidden_layer_sizes=hidden,
                    batch_size=batch,
                    max_iter=options.epochs,
                    random_state=0,
                )

                def run(model: Any, x: Any = x) -> Callable[[], Any]:
                    return lambda: model.fit(x, labels)

                losses = [run(model)().loss_curve_ for model in (ours, theirs)]
                # In float32 trainings part after some steps: one rounding bends a ReLU's kink.
                some, most = (None, 1e-6) if dtype == "float64" else (1, 1e-5)
                close = np.allclose(losses[0][:some], losses[1][:some], rtol=most, atol=0)
                made = compare(run(ours), run(theirs), options.seconds)
                ratios.append(made.ratio.median)
                one = compare(
                    lambda o=ours, x=x: o.predict(x[:1]),
                    lambda t=theirs, x=x: t.predict(x[:1]),
                    0.3,
                ).ratio.median
                every = compare(
                    lambda o=ours, x=x: o.predict(x), lambda t=theirs, x=x: t.predict(x), 0.3
                ).ratio.median
                wrong |= not close or one < PREDICT_ONE or every < PREDICT_ALL
                times = duration(made.theirs.median), duration(made.ours.median)
                name = f"{','.join(map(str, hidden))} batch {batch} {dtype}"
                ratio = factor(made.ratio.median)
                same = "" if close else "DIFFERS"
                rows.append([name, *times, ratio, factor(one), factor(every), same])
    heads = ["fit of the digits", "scikit-learn", "fastgrad", "ratio", "predict 1", "predict 1797"]
    print(table([*heads, "losses"], rows))
    for dtype in ("float32", "float64"):
        texts, kinds = sparse_text(dtype)
        settings = {"hidden_layer_sizes": (64,), "max_iter": 1, "random_state": 0}
        made = compare(
            *(
                lambda model=model, x=texts, y=kinds: model.fit(x, y)
                for model in pair("MLPClassifier", **settings)
            ),
            options.seconds,
        )
        wrong |= made.ratio.median < SPARSE
        times = duration(made.theirs.median), duration(made.ours.median)
        rows.append([f"CSR 5000x30000 {dtype}", *times, factor(made.ratio.median), "", "", ""])
    print()
    print(table(["an epoch of sparse texts", "scikit-learn", "fastgrad", "ratio"],
                [row[:4] for row in rows[-2:]]))  # fmt: skip
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"fit: geometric mean {factor(mean)}, least {factor(min(ratios))}; {where}")
    return int(wrong or mean < FIT[0] or min(ratios) < FIT[1])


if __name__ == "__main__":
    sys.exit(main())
