"""The tables of a tape, which keeps what a network's way back needs of every sample.

A tape is one vector. It has a place for each layer's output, for the slope that some activations
keep beside it, and for a layer's state; each place holds the rows of all n samples. So the place
begins n times as many elements into the tape as PLACES says. Imports no Numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad.kernels.network import plan_table as at

# Words of a job behind those of `plan_table`. The target is grad_y.
(
    TAPE, PLACES,  # addresses of the tape, and of the table below
    INTO_X,  # address of contiguous rows for grad_x; 0 if it is not needed
    ADD_GRADIENT, ADD_X,  # whether to add to what is there
    JOB,
) = range(at.JOB, at.JOB + 6)  # fmt: skip

# The table of places: the numbers of one sample, then words for each layer: elements before its
# place for one sample, or NOWHERE, and how many numbers its state is.
WHOLE, LAYERS = range(2)
Y, KEPT, STATE, STATE_WIDTH, LAYER = range(5)
NOWHERE = -1


def make_places(layers: Sequence[Any]) -> Any:
    """Return the table of a network of these `layers.kinds.Layer`."""
    words = np.full(LAYERS + len(layers) * LAYER, NOWHERE, np.int64)
    used = 0
    for i, layer in enumerate(layers):
        row = words[LAYERS + i * LAYER :][:LAYER]
        slope = not layer.activation.from_output
        # The next layer reads y. Of the last y, the caller's, a copy is kept if backward reads it.
        reads = i < len(layers) - 1 or not (slope or layer.activation.name == "identity")
        for word, width, kept in (
            (Y, layer.outputs, reads),
            (KEPT, layer.outputs, slope),
            (STATE, layer.state, layer.state > 0),
        ):
            if kept:
                row[word], used = used, used + width
        row[STATE_WIDTH] = layer.state
    words[WHOLE] = used
    return words
