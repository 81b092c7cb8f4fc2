"""`predict`: a Dask array of outputs, chunked as the inputs are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from dask.delayed import delayed
from numpy.typing import ArrayLike

from fastgrad import threads
from fastgrad.arrays import Array
from fastgrad.dask.blocks import checked_params, is_dask_array
from fastgrad.dask.sums import received
from fastgrad.networks.mlp import MLP

__all__ = ["predict"]


def predict(net: MLP, params: ArrayLike, x: Any) -> Any:
    """Return the outputs of a network as a Dask array: lazy, in the blocks of x.

    Parameters
    ----------
    net : MLP
        The network.
    params : array_like, shape (net.size,)
        The flat vector.
    x : dask.array.Array
        Samples, in any chunks.

    Returns
    -------
    dask.array.Array
        What ``net.predict`` gives for each block, to the bit; of the network's dtype.

    Raises
    ------
    TypeError
        If x is no Dask array.
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import dask.array, fastgrad as fg
    >>> from fastgrad.dask import predict
    >>> net = fg.MLP((2, 3), (None,), "mse")
    >>> predict(net, net.init(), dask.array.ones((10, 2), chunks=(4, 1)))
    dask.array<_outputs, shape=(10, 3), dtype=float32, chunksize=(4, 3), chunktype=numpy.ndarray>
    """
    vector = checked_params("dask.predict", net, params)
    if not is_dask_array(x):
        raise TypeError(f"dask.predict: x is a {type(x).__name__}: give a Dask array")
    columns = net.samples == "columns"
    axis = 1 if columns else 0
    features, outputs = net.sizes[0], net.sizes[-1]
    if x.ndim != 2 or x.shape[1 - axis] != features:
        shape = f"({features}, n)" if columns else f"(n, {features})"
        raise ValueError(f"dask.predict: x has shape {x.shape} but the network needs {shape}")
    x = x.rechunk({1 - axis: -1})
    chunks = ((outputs,), x.chunks[1]) if columns else (x.chunks[0], (outputs,))
    # One task holds the vector; each block's task gets it from there.
    sent = delayed((pickle.dumps(net), vector), pure=True)
    meta = np.empty((0, 0), net.dtype)
    return x.map_blocks(_outputs, sent, dtype=net.dtype, chunks=chunks, meta=meta)


def _outputs(x: Array, sent: tuple[bytes, Array]) -> Array:
    with threads.limited(1):
        return received(sent[0]).predict(sent[1], x)
