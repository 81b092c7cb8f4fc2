"""What goes into a network: checks of its settings and arguments, and the texts of errors.

They name the function, the argument, its shape or dtype, and what would be right.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .activations import ACTIVATIONS, Activation, resolve
from .arrays import NATIVE, Array, is_real
from .losses import LOSSES, ArrayLoss, Loss, SoftmaxCrossEntropy

# ---- settings ----------------------------------------------------------------------------------


def check_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the widths of a network."""
    try:
        widths = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"MLP: sizes is {sizes!r}: give a sequence of integers") from None
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"MLP: sizes is {sizes!r}: give at least two positive widths")
    return widths


def check_activations(activations: Any, count: int) -> tuple[Activation, ...]:
    """Return the activations, one per layer."""
    if isinstance(activations, str) or not hasattr(activations, "__iter__"):
        raise TypeError(f"MLP: activations is {activations!r}: give a sequence, one per layer")
    given = tuple(activations)
    if len(given) != count:
        raise ValueError(
            f"MLP: activations has {len(given)} entries for {count} layers: give one per layer"
        )
    for i, act in enumerate(given):
        if isinstance(act, str) and act not in ACTIVATIONS:
            raise ValueError(
                f"MLP: activations[{i}] is {act!r}: choose from {', '.join(ACTIVATIONS)}"
            )
        if not (act is None or isinstance(act, str) or isinstance(getattr(act, "name", 0), str)):
            raise TypeError(
                f"MLP: activations[{i}] is a {type(act).__name__}: give None, a name or an "
                "activation object"
            )
    return tuple(resolve("MLP", act) for act in given)


def check_loss(loss: Any) -> Loss | ArrayLoss | SoftmaxCrossEntropy:
    """Return the loss that is meant."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"MLP: loss is a {type(loss).__name__}: give a name or a loss object")
    if name not in LOSSES:
        raise ValueError(f"MLP: loss is {name!r}: choose from {', '.join(LOSSES)}")
    return LOSSES[name]


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"MLP: {name} is {value!r}: choose from {', '.join(choices)}")


def gradient_dtype(params: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a network's gradient: float64 if ``params`` is, else the network's."""
    given = np.asarray(params).dtype
    return np.dtype(np.float64) if given.kind == "f" and given.itemsize == 8 else dtype


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as NumPy's own object."""
    for native in NATIVE:
        try:
            if dtype is not None and np.dtype(dtype) == native:
                return native
        except TypeError:
            break
    raise ValueError(f"MLP: dtype is {dtype!r}: choose from float32, float64")


# ---- arguments ---------------------------------------------------------------------------------


def numbers(function: str, name: str, value: ArrayLike) -> Array:
    """Return ``value`` as an array of real numbers of at most 8 bytes."""
    array = np.asarray(value)
    if not is_real(array.dtype):
        raise TypeError(
            f"{function}: {name} has dtype {array.dtype}: give float32, float64, float16, an "
            "integer type or bool"
        )
    return array


def check_count(name: str, value: Any) -> int:
    """Return ``value`` as an int, or raise unless it is a positive integer."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"MLP.fit: {name} is a {type(value).__name__}: give a positive integer")
    if (count := operator.index(value)) < 1:
        raise ValueError(f"MLP.fit: {name} is {count}: give a positive integer")
    return count
