"""The table of activations, one row each, and the activations that users define.

To add one:

* a row in `_TABLE`, and its name in the unpacking below it;
* its name twice in ``fastgrad/__init__.py``, among the imports and in ``__all__``: type checkers
  and editors read both as they are written;
* its scalar formulas in ``kernels/formulas.py``; unless its derivative is a function of y, its
  name in ``KEEP_SLOPE`` of ``kernels/units.py``;
* its twins: formulas in ``reference/formulas.py`` and ``loops/formulas.py``, a row in the
  ``activations.py`` and the name in the ``__init__.py`` beside each;
* its name in ``benchmarks/common.py``.

`fastgrad.warmup`, the command line and most tests follow from the row. What is missing elsewhere,
``tests/test_architecture.py`` and ``tests/test_benchmarks_cover.py`` say; tests with a table of
their own, of true values or of PyTorch's names, fail until it has the row.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

from fastgrad.activation import ACTIVATIONS, LAYERS, Activation
from fastgrad.derivative_check import disagreement
from fastgrad.warning_categories import FastgradWarning

__all__ = ["ACTIVATIONS", "Activation", "define_activation"]


class DefinedActivation(Activation):
    """An activation made by `define_activation`: its row kernels are compiled in this process."""

    def __init__(
        self, name: str, forward: Callable[..., Any], derivative: Callable[..., Any]
    ) -> None:
        from fastgrad.kernels.front_end import numba_enabled
        from fastgrad.kernels.processor import check_processor

        check_processor()  # before Numba asks LLVM, which prints its own words
        with numba_enabled():
            from fastgrad.kernels.user import frozen_function
        super().__init__(name, f"{getattr(forward, '__name__', 'f')}(z)")
        self.functions = {
            "forward": frozen_function(name, "forward", forward),
            "backward_z": frozen_function(name, "derivative", derivative),
        }
        self.addresses: dict[tuple[str, str], int] = {}

    def __reduce__(self) -> Any:
        if ACTIVATIONS.get(self.name) is not self:
            raise pickle.PicklingError(
                f"the activation {self.name!r} has been defined again: what is pickled is its name"
            )
        return super().__reduce__()

    def __copy__(self) -> DefinedActivation:
        return self

    def __deepcopy__(self, memo: Any) -> DefinedActivation:
        return self

    def _check_made(self) -> None:
        """Its kernels are its own, also when its name has got another meaning."""

    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel, compiling it at first use."""
        from fastgrad.kernels.front_end import numba_enabled

        if (function, dtype) not in self.addresses:
            with numba_enabled():  # until it is stored: a signal that waits may raise at the end
                from fastgrad.kernels.user import row_kernel

                address = row_kernel(self.name, function, self.functions[function], dtype)
                self.addresses[function, dtype] = address
        return self.addresses[function, dtype]

    def _layer_kernels(self) -> tuple[str, str, str]:
        return "forward", "forward", "backward_z"  # z is kept


# One row per activation: name, formula, then what is special about it. The error bounds are
# tested; those of activations made of exact comparisons and one rounding are the default 0.5.
_TABLE = (
    Activation("identity", "z", from_output=True),
    Activation("sigmoid", "1 / (1 + exp(-z))", from_output=True, ulp=(2, 2)),
    Activation("tanh", "tanh(z)", from_output=True, ulp=(2, 2)),
    Activation(
        "relu", "max(z, 0)", from_output=True, kinks=(0.0,), halving=True,
        source="Nair and Hinton, ICML 2010",
    ),
    Activation("softmax", "exp(z) / sum(exp(z))", from_output=True, rowwise=True, ulp=(6, 6)),
    Activation(
        "gelu", "z * (1 + erf(z / sqrt(2))) / 2", ulp=(4, 4), halving=True,
        source="Hendrycks and Gimpel, arXiv:1606.08415, 2016",
    ),
    Activation(
        "gelu_tanh", "z * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))) / 2", ulp=(4, 4),
        halving=True, source="the approximation of gelu in Hendrycks and Gimpel, arXiv:1606.08415",
    ),
    Activation(
        "silu", "z / (1 + exp(-z))", ulp=(4, 4), halving=True,
        source="Elfwing, Uchibe and Doya, Neural Networks 107, 2018",
    ),
    Activation(
        "elu", "z if z >= 0 else exp(z) - 1", from_output=True, ulp=(2, 2), halving=True,
        source="Clevert, Unterthiner and Hochreiter, ICLR 2016, with alpha = 1",
    ),
    Activation(
        "leaky_relu", "z if z > 0 else 0.01 * z", from_output=True, kinks=(0.0,), ulp=(1, 1),
        halving=True, source="Maas, Hannun and Ng, ICML 2013",
    ),
    Activation(
        "softplus", "log(1 + exp(z))", from_output=True, ulp=(4, 4),
        source="Dugas et al., NIPS 2000",
    ),
    Activation(
        "softsign", "z / (1 + |z|)", from_output=True, ulp=(1.5, 1.5),
        source="Glorot and Bengio, AISTATS 2010",
    ),
    Activation("exp", "exp(z)", from_output=True, ulp=(1, 1)),
)  # fmt: skip

ACTIVATIONS |= {row.name: row for row in _TABLE}
(
    identity, sigmoid, tanh, relu, softmax, gelu, gelu_tanh, silu, elu, leaky_relu, softplus,
    softsign, exp,
) = _TABLE  # fmt: skip

BUILT_IN = tuple(ACTIVATIONS)
__all__ += list(BUILT_IN)


def define_activation(
    name: str, forward: Callable[[float], float], derivative: Callable[[float], float]
) -> Activation:
    """Make an activation of two scalar functions, compiled; it is then known by its name.

    Parameters
    ----------
    name : str
        A new name, an identifier.
    forward, derivative : callable
        ``act(z)`` and ``act'(z)`` of one number, in the Python and ``math`` that Numba compiles.
        Where one raises, as ``z**-1`` does at 0 and ``TABLE[int(z)]`` beyond its ends, the result
        is NaN; ``1 / z`` there is inf, as in NumPy. Names of globals and closures, arrays and
        functions among them, mean what they are now, for every dtype. A `functools.partial` that
        leaves one argument is a function, too.

    Returns
    -------
    Activation
        Also usable as ``activation=name``. Defining it compiles two short loops per dtype, never
        the matrix product.

    Raises
    ------
    ValueError
        If the name is taken by a built-in activation or is no identifier, or a function does not
        compile to one number.
    TypeError
        If an argument is of the wrong kind.

    Warns
    -----
    FastgradWarning
        Where `derivative` is not that of `forward`: both are compared at a few points.

    Examples
    --------
    >>> import fastgrad as fg
    >>> cube = fg.define_activation("cube", lambda z: z**3, lambda z: 3 * z**2)
    >>> fg.dense([[2.0]], [[1.0]], activation="cube")
    array([[8.]])
    """
    if not isinstance(name, str):
        raise TypeError(f"define_activation: name is a {type(name).__name__}: give a str")
    if not name.isidentifier() or name in BUILT_IN:
        reason = "is built in" if name in BUILT_IN else "is not an identifier"
        raise ValueError(f"define_activation: the name {name!r} {reason}: choose another")
    for label, function in (("forward", forward), ("derivative", derivative)):
        if not callable(function):
            raise TypeError(f"define_activation: {label} is not callable")
    activation = DefinedActivation(name, forward, derivative)
    activation.record("float64")  # compile now: a mistake shows here, not in the first layer
    found = disagreement(*(activation.address(f, "float64") for f in ("forward", "backward_z")))
    if found is not None:
        hint = "; it is right as a function of y: write it as one of z" if found.of_output else ""
        warnings.warn(
            f"define_activation: derivative of {name!r} is not that of forward: at z = {found.z:g} "
            f"it gives {found.given:.6g}, differences of forward {found.differences:.6g} "
            f"({found.wrong} of {found.points} points differ){hint}",
            FastgradWarning,
            stacklevel=2,
        )
    previous = ACTIVATIONS.get(name, name)
    ACTIVATIONS[name] = activation
    for by_activation in LAYERS.values():
        by_activation.pop(name, None)
        by_activation.pop(previous, None)  # who still has it gets a new layer
    return activation
