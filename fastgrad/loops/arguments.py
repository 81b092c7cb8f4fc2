"""What goes into a network: checks of its settings and arguments, and the texts of errors.

They name the function, the argument, its shape or dtype, and what would be right.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .activations import ACTIVATIONS, Activation, resolve
from .lists import Array, is_real
from .losses import LOSSES, ArrayLoss, Loss, SoftmaxCrossEntropy

# ---- settings ----------------------------------------------------------------------------------


def network_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the widths of a network."""
    try:
        widths = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"MLP: sizes is {sizes!r}: give a sequence of integers") from None
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise ValueError(f"MLP: sizes is {sizes!r}: give at least two positive widths")
    return widths


def network_activations(activations: Any, count: int) -> tuple[Activation, ...]:
    """Return the activations that are meant, one for each of ``count`` layers."""
    if isinstance(activations, str) or not hasattr(activations, "__iter__"):
        raise TypeError(f"MLP: activations is {activations!r}: give a sequence, one per layer")
    given = tuple(activations)
    if len(given) != count:
        raise ValueError(
            f"MLP: activations has {len(given)} entries for {count} layers: give one per layer"
        )
    for i, act in enumerate(given):
        name = act if isinstance(act, str) else getattr(act, "name", None)
        if act is not None and not isinstance(name, str):
            raise TypeError(
                f"MLP: activations[{i}] is a {type(act).__name__}: give None, a name or an "
                "activation object"
            )
        if isinstance(act, str):
            require_choice(f"activations[{i}]", act, *ACTIVATIONS)
    return tuple(resolve("MLP", act) for act in given)


def network_loss(loss: Any) -> Loss | ArrayLoss | SoftmaxCrossEntropy:
    """Return the loss that is meant."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"MLP: loss is a {type(loss).__name__}: give a name or a loss object")
    require_choice("loss", name, *LOSSES)
    return LOSSES[name]


def gradient_dtype(params: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a network's gradient: float64 if ``params`` is, else the network's."""
    given = np.asarray(params).dtype
    return np.dtype(np.float64) if given.kind == "f" and given.itemsize == 8 else dtype


def native_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64."""
    for name in ("float32", "float64"):
        try:
            if dtype is not None and np.dtype(dtype) == name:
                return np.dtype(name)
        except TypeError:
            continue
    raise ValueError(f"MLP: dtype is {dtype!r}: choose from float32, float64")


def require_choice(name: str, value: Any, *choices: str) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"MLP: {name} is {value!r}: choose from {', '.join(choices)}")


# ---- arguments ---------------------------------------------------------------------------------


def floats(function: str, name: str, value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Return ``value`` as an array of the network's dtype."""
    array = np.asarray(value)
    if not is_real(array.dtype):
        raise TypeError(
            f"{function}: {name} has dtype {array.dtype}: give float32, float64, float16, an "
            "integer type or bool"
        )
    with np.errstate(all="ignore"):  # what float32 cannot hold becomes inf
        return array.astype(dtype, copy=False)


def positive(name: str, value: Any) -> int:
    """Return ``value`` as an int, or raise unless it is a positive integer."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"MLP.fit: {name} is a {type(value).__name__}: give a positive integer")
    count = operator.index(value)
    if count <= 0:
        raise ValueError(f"MLP.fit: {name} is {count}: give a positive integer")
    return count
