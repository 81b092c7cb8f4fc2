"""Checks of arguments. An error names the function, the argument, and what would be right.

fastgrad, reference and loops share them: all three refuse the same arguments with the same texts.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastgrad.arrays import FLOAT32, FLOAT64, Array, as_array

FINFO32 = np.finfo(np.float32)
LAYOUTS = ("rows", "columns")  # what `samples` may be: which axis of x counts them
REDUCTIONS = ("mean", "sum", "samples")  # what the sum of a loss's terms may be divided by
NORMALIZATIONS = ("layer",)  # what may be done to hidden layers before their activation


def check_choice(function: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        allowed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{function}: {name} is {value!r}: choose from {allowed}")


def check_normalize(sizes: tuple[int, ...], normalize: Any) -> None:
    """Raise unless `normalize` is a choice that lets a network of these sizes learn."""
    if normalize is None:
        return
    if not isinstance(normalize, str) or normalize not in NORMALIZATIONS:
        rule = " or ".join(map(repr, (None, *NORMALIZATIONS)))
        raise ValueError(f"MLP: normalize is {normalize!r}: choose {rule}")
    if 1 in sizes[1:-1]:
        raise ValueError(
            f"MLP: sizes is {sizes}: one output, normalized, is always 0, so layer "
            f"{sizes.index(1, 1) - 1} passes nothing on. Give it more outputs, or normalize=None"
        )


def check_dropout(hidden: int, dropout: Any) -> tuple[float, ...]:
    """Return the rate of each hidden layer, or raise unless each is from 0 to below 1."""
    several = not isinstance(dropout, str | bytes) and hasattr(dropout, "__iter__")
    rates = tuple(dropout) if several else (dropout,) * hidden
    if len(rates) != hidden:
        raise ValueError(
            f"MLP: {len(rates)} rates of dropout for {hidden} hidden layers: give one number, or "
            "one per hidden layer"
        )
    for rate in rates if several else (dropout,):
        if not 0 <= check_number("MLP", "dropout", rate) < 1:
            raise ValueError(f"MLP: dropout is {rate!r}: give a rate from 0 to below 1")
    return tuple(float(rate) for rate in rates)


def check_samples(function: str, name: str, array: Array, samples: str) -> None:
    """Raise unless an array can hold samples in this layout; a vector is one sample."""
    columns = samples == "columns"
    if array.ndim == 0 or (columns and array.ndim > 2):
        forms = "(d, n) or (d,)" if columns else "(n, d), (..., d) or (d,)"
        raise ValueError(
            f"{function}: {name} has shape {array.shape}: samples={samples!r} take {forms}"
        )


def check_truth(function: str, name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise: an array has no truth value."""
    try:
        return bool(value)
    except ValueError:
        kind = type(value).__name__
        raise TypeError(f"{function}: {name} is a {kind}: give True or False") from None


def check_same_shape(
    function: str,
    name: str,
    shape: tuple[int, ...],
    other: str,
    expected: tuple[int, ...],
    hint: str = "",
) -> None:
    """Raise unless the shapes of two arguments are the same."""
    # NumPy would broadcast (n, 1) against (n,) to (n, n): a classic silent mistake.
    if shape != expected:
        raise ValueError(
            f"{function}: {name} has shape {shape} but {other} has shape {expected}: "
            f"they need the same shape{hint}"
        )


def native_dtype(caller: str, dtype: Any) -> np.dtype[Any]:
    """Return NumPy's own float32 or float64 object: kernels compare dtypes by identity."""
    for native in (FLOAT32, FLOAT64):
        try:
            if np.dtype(dtype) == native and dtype is not None:
                return native
        except TypeError:
            break
    raise ValueError(f"{caller}: dtype is {dtype!r}: choose 'float32' or 'float64'")


def check_count(function: str, name: str, value: Any) -> int:
    """Return `value` as an int, or raise unless it is a positive integer."""
    index: Any = None if isinstance(value, bool) else value
    try:
        count = operator.index(index)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{function}: {name} is a {kind}: give a positive integer") from None
    if count < 1:
        raise ValueError(f"{function}: {name} is {count}: give a positive integer")
    return count


def check_below(function: str, name: str, value: Any, bits: int) -> int:
    """Return `value` as an int, or raise unless it is an integer from 0 to ``2**bits - 1``."""
    if type(value) is int and 0 <= value < 1 << bits:
        return value
    index: Any = None if isinstance(value, bool) else value
    try:
        number = operator.index(index)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{function}: {name} is a {kind}: give an integer") from None
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{function}: {name} is {number}: it goes from 0 to 2**{bits} - 1")
    return number


def check_number(function: str, name: str, value: Any) -> float:
    """Return `value` as a float, or raise unless it is a real number."""
    if type(value) is float:  # a tenth of the time
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{function}: {name} is a {type(value).__name__}: give a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{function}: {name} is too large: give a float64 number") from None


def check_limit(function: str, name: str, value: Any) -> float:
    """Return `value` as a float, or raise unless it is finite and not negative."""
    number = check_number(function, name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{function}: {name} is {value!r}: it must be finite and at least 0")
    return number


def random_generator(function: str, seed: Any) -> np.random.Generator:
    """Return NumPy's generator for this seed, or raise NumPy's error with the function's name."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: seed is {seed!r}: give an integer >= 0") from None


# -- an activation -----------------------------------------------------------------------------


def check_activation(function: str, activation: Any, known: Iterable[str]) -> None:
    """Raise unless a layer's `activation` is None, the name of one, or callable."""
    if isinstance(activation, str):
        if activation not in known:
            rest = choices(activation, known)
            raise ValueError(f"{function}: unknown activation {activation!r}: {rest}")
    elif activation is not None and not callable(activation):
        raise TypeError(
            f"{function}: activation is a {type(activation).__name__}: give None, a name, an "
            "fg.Activation or a callable"
        )


def check_definition(
    function: str, name: Any, built_in: Collection[str], functions: dict[str, Any]
) -> None:
    """Raise unless `name` is a new name for what a user defines, of callable `functions`."""
    if not isinstance(name, str):
        raise TypeError(f"{function}: name is a {type(name).__name__}: give a str")
    if not name.isidentifier() or name in built_in:
        reason = "is built in" if name in built_in else "is not an identifier"
        raise ValueError(f"{function}: the name {name!r} {reason}: choose another")
    for label, given in functions.items():
        if not callable(given):
            raise TypeError(f"{function}: {label} is not callable")


class LeakyReluSettings(NamedTuple):
    """The settings of leaky_relu.

    Attributes
    ----------
    slope : float
        ``y = slope * z`` for z < 0.
    """

    slope: float = 0.01

    def of_output(self) -> bool:
        """Return whether y tells on which side of the kink z is."""
        return self.slope > 0


class EluSettings(NamedTuple):
    """The settings of elu.

    Attributes
    ----------
    alpha : float
        ``y = alpha * (exp(z) - 1)`` for z < 0.
    """

    alpha: float = 1.0

    def of_output(self) -> bool:
        """Return whether y tells on which side of the kink z is."""
        return self.alpha >= 0


# The activations with settings, and those of the table's row. Each has one number.
SETTINGS: dict[str, Any] = {"leaky_relu": LeakyReluSettings(), "elu": EluSettings()}


def check_settings(name: str, present: Any, given: dict[str, Any]) -> Any:
    """Return an activation's settings with those given in place of the present ones, or raise.

    A float32 layer holds them as float32 numbers: none may be infinite or lose digits there.
    """
    caller, (low, high) = f"{name}.with_", (float(FINFO32.tiny), float(FINFO32.max))
    if not present:
        raise ValueError(f"{caller}: {name} has no settings")
    made = {}
    for key, value in given.items():
        if key not in present._fields:
            rest = choices(key, present._fields)
            raise TypeError(f"{caller}: {name} has no setting {key!r}: {rest}")
        number = check_number(caller, key, value)
        if not (number == 0 or low <= abs(number) <= high):
            raise ValueError(
                f"{caller}: {key} is {value!r}: it must be 0, or of a size from {low:.3g} to "
                f"{high:.3g}, which float32 holds"
            )
        made[key] = number + 0.0  # not -0.0, which is equal but has other bits
    return present._replace(**made)


def name_with(name: str, settings: Any) -> str:
    """Return what an activation with these settings is called."""
    listed = ", ".join(f"{key}={value!r}" for key, value in settings._asdict().items())
    return f"{name}({listed})"


def named_settings(activation: Any) -> tuple[str, Any]:
    """Return the row of the table that an activation with settings is of, and these; or "", ()."""
    settings = getattr(activation, "settings", ())
    for name, default in SETTINGS.items():
        if type(settings) is type(default):
            return name, settings
    return "", ()


def with_settings(
    activation: Any,
    given: dict[str, Any],
    table: dict[str, Any],
    made: dict[str, dict[Any, Any]],
    make: Callable[[str, Any], Any],
) -> Any:
    """Return an activation with other settings: the table's, one of those made, or a new one."""
    family, _ = named_settings(activation)
    chosen = check_settings(family or activation.name, activation.settings, given)
    if chosen == SETTINGS[family]:
        return table[family]
    found = made[family].get(chosen)
    return found or made[family].setdefault(chosen, make(family, chosen))


def evaluated(
    function: str, callable_: Callable[[Array], Any], z: Array, dtype: np.dtype[Any]
) -> Array:
    """Call a user's elementwise function on a copy of z; return the result as a new array.

    The function may work in place, or return the same buffer each time.
    """
    y = as_array(function, "what the activation returned", callable_(z.copy(order="K")))
    if y.shape != z.shape:
        raise ValueError(
            f"{function}: activation returned shape {y.shape} for an array of shape {z.shape}: "
            "it must be elementwise"
        )
    with np.errstate(all="ignore"):  # float64 results may overflow in a float32 layer
        return y.astype(dtype)


def check_axis(caller: str, axis: Any, name: str, array: Array) -> int:
    """Return the axis as an int, or raise unless it is one of the array's."""
    index: Any = None if isinstance(axis, bool) else axis
    try:
        index = operator.index(index)
    except TypeError:
        kind = type(axis).__name__
        raise TypeError(f"{caller}: axis is a {kind}: give an integer") from None
    if not -array.ndim <= index < array.ndim:
        raise ValueError(f"{caller}: axis is {index} but {name} has shape {array.shape}")
    return int(index)


def refuse_derivative(name: str) -> NoReturn:
    """Raise: an output of this activation depends on the whole row."""
    raise ValueError(
        f"{name}.derivative: the derivative of {name} is a matrix per row, not "
        f"an array like z: use {name}.backward(grad_y, z)"
    )


def check_from_output(name: str, from_output: bool) -> None:
    """Raise unless the derivative of this activation is a function of its output."""
    if not from_output:
        raise ValueError(
            f"{name}.backward_from_output: the derivative of {name} is not a "
            f"function of its output: use {name}.backward(grad_y, z)"
        )


def elementwise_arguments(caller: str, arguments: dict[str, Any]) -> dict[str, Array]:
    """Return one or two arguments, by their names, as arrays of one shape."""
    arrays = {name: as_array(caller, name, value) for name, value in arguments.items()}
    if len(arrays) == 2:
        (first, a), (second, b) = arrays.items()
        check_same_shape(caller, first, a.shape, second, b.shape)
    return arrays


# -- names that people know from elsewhere, and what they are called here ----------------------

# Keys are letters and digits only.
_ELSEWHERE = {
    "linear": "None or 'identity'",
    "none": "None or 'identity'",
    "logistic": "'sigmoid'",
    "expit": "'sigmoid'",
    "swish": "'silu'",
    "lrelu": "'leaky_relu'",
    "bce": "'binary_cross_entropy_with_logits'",
    "bcewithlogits": "'binary_cross_entropy_with_logits'",
    "binarycrossentropy": "'binary_cross_entropy_with_logits', which takes logits",
    "logloss": "'binary_cross_entropy_with_logits' or 'softmax_cross_entropy'",
    "ce": "'softmax_cross_entropy'",
    "crossentropy": "'softmax_cross_entropy'",
    "categoricalcrossentropy": "'softmax_cross_entropy', which takes logits",
    "sparsecategoricalcrossentropy": "'softmax_cross_entropy', which takes logits and classes",
    "meansquarederror": "'mse'",
    "squarederror": "'mse'",
    "l2": "'mse' or 'squared_l2'",
    "meanabsoluteerror": "'mae'",
    "l1": "'mae'",
    "smoothl1": "'huber'",
    "halfmse": "'huber' with delta=math.inf: fg.losses.huber.with_(delta=math.inf)",
    "poissonnll": "'poisson'",
}


def choices(name: str, known: Iterable[str]) -> str:
    """Return what to choose instead of `name`: a guess, where there is one, and all choices."""
    names = list(known)
    plain = _squeezed(name)
    if plain not in _ELSEWHERE:
        plain = plain.removesuffix("loss")
    ours = {_squeezed(other): other for other in names}
    meant = _ELSEWHERE.get(plain)
    # A network's losses and a layer's activations are different lists.
    if meant is not None and not any(f"'{other}'" in meant for other in names):
        meant = None
    near = difflib.get_close_matches(plain, ours, 1, 0.8)
    if meant is None and near:
        meant = repr(ours[near[0]])
    listed = f"choose from {', '.join(names)}"
    return listed if meant is None else f"did you mean {meant}? Else {listed}"


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
