"""`value_and_grad` over blocks, where they are, and `serial`, the same sums in one process."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
from dask.delayed import delayed
from numpy.typing import ArrayLike

from fastgrad.arguments import check_count
from fastgrad.arrays import Array
from fastgrad.dask.blocks import Block, blocks_of, checked_params
from fastgrad.dask.sums import Draw, Sums, add, block_sums, summing, total
from fastgrad.networks.mlp import MLP

__all__ = ["finished", "serial", "sums_task", "value_and_grad"]


def value_and_grad(
    net: MLP,
    params: ArrayLike,
    x: Any,
    target: Any = None,
    weights: Any = None,
    *,
    threads: int = 1,
) -> tuple[float, Array]:
    """Return the loss and its gradient over all blocks, computed where the blocks are.

    Parameters and gradients move, the data does not. The bits are the same for every scheduler
    (threads, processes, distributed), every number of workers, and workers that are lost and
    replaced; they depend on how the samples are cut into blocks, as rounding does.

    Parameters
    ----------
    net : MLP
        The network; its reduction is over all samples of all blocks.
    params : array_like, shape (net.size,)
        The flat vector.
    x : dask.array.Array, or list of blocks
        Samples, cut along the samples: a Dask array (feature axes become one chunk), or a list of
        delayed blocks, arrays or SciPy CSR matrices. Blocks may be uneven or empty.
    target : like x, or ndarray, optional
        Targets in the same blocks. An array is cut as x is.
    weights : like target, optional
        One per sample, or per output of each.
    threads : int, optional
        Threads of fastgrad within each task. Schedulers run a task on each core: 1 is right there.

    Returns
    -------
    value : float
        The loss.
    grad : ndarray, shape (net.size,)
        Its gradient.

    Raises
    ------
    TypeError
        If x, target or weights are not in blocks.
    ValueError
        If blocks or shapes do not fit, or there is no sample; from the workers, too.

    See Also
    --------
    serial : The same bits in this process, without a scheduler.

    Notes
    -----
    Each block's sum and its gradient are computed by `fastgrad.MLP.value_and_grad`, then added 8 by
    8 in the order of the blocks, then 8 of those; values in float64, gradients in the network's
    dtype. The division by the number of terms, or by their weights, comes last.

    Examples
    --------
    >>> import dask.array, numpy as np, fastgrad as fg
    >>> from fastgrad.dask import value_and_grad
    >>> net = fg.MLP((2, 1), (None,), "mse", dtype="float64")
    >>> x = dask.array.ones((10, 2), chunks=(4, 2))
    >>> value_and_grad(net, np.zeros(3), x, np.ones((10, 1)))
    (1.0, array([-2., -2., -2.]))
    """
    vector = checked_params("dask.value_and_grad", net, params)
    blocks = blocks_of("dask.value_and_grad", net, x, target, weights)
    task = sums_task(net, vector, blocks, check_count("dask.value_and_grad", "threads", threads))
    return finished("dask.value_and_grad", net, vector, task.compute())


def serial(
    net: MLP, params: ArrayLike, x: Any, target: Any = None, weights: Any = None
) -> tuple[float, Array]:
    """Return what `value_and_grad` returns, to the bit, computed block after block right here.

    Parameters
    ----------
    net : MLP
        The network.
    params : array_like, shape (net.size,)
        The flat vector.
    x, target, weights : as in `value_and_grad`
        Blocks that are tasks are computed one after the other.

    Returns
    -------
    value : float
        The loss.
    grad : ndarray, shape (net.size,)
        Its gradient.

    Raises
    ------
    TypeError, ValueError
        As `value_and_grad`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.dask import serial
    >>> net = fg.MLP((2, 1), (None,), "mse", dtype="float64")
    >>> blocks = [np.ones((4, 2)), np.ones((6, 2))]
    >>> serial(net, np.zeros(3), blocks, [np.ones((4, 1)), np.ones((6, 1))])
    (1.0, array([-2., -2., -2.]))
    """
    vector = checked_params("dask.serial", net, params)
    sent, mean = pickle.dumps(summing(net)), net.reduction == "mean"
    parts = []
    for block in blocks_of("dask.serial", net, x, target, weights):
        (here,) = dask.compute(tuple(block))
        parts.append(block_sums(sent, mean, 1, vector, *here))
    return finished("dask.serial", net, vector, total(parts, add))


def sums_task(
    net: MLP,
    params: Array,
    blocks: Sequence[Block],
    threads: int,
    draws: Sequence[Draw] | None = None,
) -> Any:
    """Return the task that gives the sums over all blocks, or over what is drawn of each."""
    # A task of its own: so the vector is sent once, and workers get it from each other.
    vector = delayed(_itself, pure=False)(params)
    sums, adding = delayed(block_sums, pure=False), delayed(add, pure=False)
    sent, mean = delayed(_itself, pure=False)(pickle.dumps(summing(net))), net.reduction == "mean"
    parts = [
        sums(sent, mean, threads, vector, *block, *(() if draws is None else (draws[i],)))
        for i, block in enumerate(blocks)
    ]
    return total(parts, adding)


def finished(function: str, net: MLP, params: Array, sums: Sums) -> tuple[float, Array]:
    """Divide, and add the penalties."""
    value, grad, terms = sums
    if grad is None:
        raise ValueError(f"{function}: x has no samples")
    if net.reduction != "sum":
        if terms == 0:
            raise ValueError(f"{function}: the weights are all 0: their mean is not defined")
        value, grad = value / terms, grad / grad.dtype.type(terms)
    if net.l1 or net.l2:
        penalty, slope = _penalties(net, params)
        value, grad = value + penalty, grad + slope
    return value, grad


def _penalties(net: MLP, params: Array) -> tuple[float, Array]:
    """Return the penalties and their gradient: the loss of no samples."""
    columns, outputs = net.samples == "columns", net.sizes[-1]
    x = np.empty((net.sizes[0], 0) if columns else (0, net.sizes[0]), net.dtype)
    target = np.empty((outputs, 0) if columns else (0, outputs), net.dtype)
    alone = summing(net, net.l1, net.l2)
    return alone.value_and_grad(params, x, target if net.loss.takes_target else None)


def _itself(array: Any) -> Any:
    return array
