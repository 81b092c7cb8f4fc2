"""The message about training that met numbers that are not finite."""

from __future__ import annotations

import numpy as np

from fastgrad.networks.job import WINDOW
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.samples import Samples
from fastgrad.networks.shared.sparse_samples import SparseSamples


def what_diverged(
    network: Network, data: Samples, epoch: int, loss: float | None, kept: int
) -> str:
    """Return a sentence about the epoch that diverged; the result keeps `kept` epochs.

    If `loss` is None, it is unknown whether the loss or the parameters were not finite.
    """
    what = "parameters that are not finite"
    if loss is None:
        what = f"a loss or {what}"
    elif not np.isfinite(loss):
        what = f"a loss of {loss}"
    bad = first_bad_sample(network, data)
    if bad is None:
        why = "every sample is finite: try a smaller learning rate, or scale x and target"
    else:
        name, sample = bad
        why = f"{name} of sample {sample} is not finite (in {network.dtype})"
    return (
        f"epoch {epoch} (the first is 0) gave {what}; {why}. Training stopped, the result has the "
        f"parameters from before epoch {kept}"
    )


def first_bad_sample(network: Network, data: Samples) -> tuple[str, int] | None:
    """Return which of x and target is not finite, and in which sample first."""
    step = max(1, WINDOW // (8 * (data.x.shape[1] + network.outputs)))
    for first in range(0, len(data.x), step):
        x, target = data.converted(slice(first, first + step), network.dtype)
        found = [("x", x)] if data.labels or target is None else [("x", x), ("target", target)]
        rows = [
            (
                name,
                array.not_finite()
                if isinstance(array, SparseSamples)
                else ~np.isfinite(array).all(axis=1),
            )
            for name, array in found
        ]
        bad = [(int(wrong.argmax()), name) for name, wrong in rows if wrong.any()]
        if bad:
            sample, name = min(bad, key=lambda pair: pair[0])
            return name, first + sample
    return None
