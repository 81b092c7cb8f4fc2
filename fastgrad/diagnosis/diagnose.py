"""What is wrong with a hand-written gradient? `diagnose` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arguments import check_number, random_generator
from fastgrad.diagnosis.network.network import diagnose_network
from fastgrad.diagnosis.outside import diagnose_loss
from fastgrad.diagnosis.report import Diagnosis
from fastgrad.networks.mlp import MLP

__all__ = ["diagnose"]


def diagnose(
    net_or_loss: MLP | Callable[[Any], Any],
    params: Any,
    grads: Any,
    *,
    x: ArrayLike | None = None,
    target: ArrayLike | None = None,
    value: float | None = None,
    intermediates: dict[str, ArrayLike] | None = None,
    seconds: float = 2.0,
    seed: int = 0,
    progress: bool | None = None,
) -> Diagnosis:
    """Say which arrays of a hand-written gradient are wrong, and what the mistake is.

    For a network that an `MLP` describes, known mistakes are planted in its backward pass, each at
    every place, until one gives the numbers of `grads`: a derivative left out, a sum that is a
    mean, weights not transposed. A finding says the layer, and the line of NumPy that mends it.

    Any other loss is compared with the gradients by differences. What is wrong is named by how it
    relates to the right gradient: its sign, a factor, transposed, another array's ...

    Parameters
    ----------
    net_or_loss : MLP or callable
        A network that `MLP` describes, or the script's loss: a function of `params` that returns
        one number. It is given private float64 copies of the arrays, in dicts, lists and tuples
        like those of `params`.
    params : array_like or tree of arrays
        Where to compare: an array, or dicts, lists and tuples of arrays, nested. Never written.
    grads : array_like, tree of arrays, or callable
        The gradients to judge, like `params`; in dicts "W1" may be called "dW1" or "grad_W1".
        Or a function of `params` that returns them, which is then called twice. For an `MLP`
        also the flat vector, or a list of ``(w, b)``.
    x, target : array_like, optional
        The data; needed for an `MLP`. With a loss they only give factors their names.
    value : float, optional
        The value of the loss as the script computes it, to be compared, too. It shows mistakes of
        the way forward.
    intermediates : dict, optional
        For an `MLP`: arrays of the script by name, ``"z1"``, ``"a1"``, ``"dz2"``, ``"da1"``, layers
        counted from 1. Those of the way forward show where it errs, ``"dz1"`` and ``"da1"`` which
        of several mistakes that give the same `grads`. ``"mask1"`` is what a dropout mask
        multiplies the output of layer 1 by.
    seconds : float
        About how long the differences of a loss may take. Of large arrays, entries and directions
        are drawn at random, and the notes say how large an error would not show.
    seed : int
        Of that draw.
    progress : bool, optional
        Whether to show a progress bar. By default if standard error is a terminal.

    Returns
    -------
    Diagnosis
        True if all arrays are right: ``assert fg.diagnose(...)`` is a test. Print it to read it.

    Raises
    ------
    TypeError, ValueError
        If arrays are not of real numbers, or `grads` are not made like `params`; if the loss
        does not return one number, or ignores its argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> x, t = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]), np.array([[1.0], [0.0], [2.0]])
    >>> def loss(p):
    ...     return np.mean((np.tanh(x @ p["W"]) - t) ** 2)
    >>> params = {"W": np.array([[0.1], [-0.2]])}
    >>> y = np.tanh(x @ params["W"])
    >>> dW = x.T @ (2 * (y - t) * (1 - y**2))  # without the mean's 1 / 3
    >>> report = fg.diagnose(loss, params, {"dW": dW})
    >>> report.ok, report.findings[0].array
    (False, "grads['dW']")

    The same script, described by a network:

    >>> net = fg.MLP((2, 1), ("tanh",), "mse", bias=False, dtype="float64")
    >>> report = fg.diagnose(net, params, {"dW": dW}, x=x, target=t)
    >>> report.findings[0].kind, report.findings[0].layer, report.findings[0].hint
    ('sum for mean', 1, 'da1 = 2 * (a1 - target) / a1.size')
    """
    function = "diagnose"
    budget = check_number(function, "seconds", seconds)
    if not budget > 0:
        raise ValueError(f"{function}: seconds is {seconds}: give a positive number")
    draw = random_generator(function, seed)
    loss: Any = net_or_loss
    if isinstance(loss, MLP):
        for name, given in (("x", x), ("target", target)):
            if given is None and (name == "x" or loss.loss.takes_target):
                raise TypeError(f"{function}: {name} is None: a network needs x and target")
        return diagnose_network(loss, params, grads, x, target, value, intermediates)
    if not callable(loss):
        kind = type(loss).__name__
        raise TypeError(
            f"{function}: the first argument is a {kind}: give a function of params that returns "
            "the loss, or an fg.MLP"
        )
    return diagnose_loss(loss, params, grads, (x, target), value, budget, draw, progress)
