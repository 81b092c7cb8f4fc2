"""The table of activations: one row each, and what a row can do.

To add one: a row in `ACTIVATIONS` below, its scalar formulas in ``kernels/formulas.py``, its
NumPy twin in ``reference/activations.py`` and its naive loop in ``loops/activations.py``. Tests
and benchmarks follow from the row.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import (
    Array,
    Dtypes,
    as_array,
    as_native,
    check_out,
    common_dtypes,
    deliver,
)
from fastgrad.kernels.flags import COLUMNS, ELEMENTWISE, ONES, UNCHECKED

__all__ = ["ACTIVATIONS", "Activation", "define_activation"]


class Activation:
    """An activation function: its value, its derivative and its vector-Jacobian products.

    Parameters
    ----------
    name : str
        What `dense` and the networks call it.
    formula : str
        ``act(z)``, for people.
    from_output : bool
        Whether the derivative is a function of the output y, so that a layer keeps nothing else.
    kinks : tuple of float
        Where the derivative jumps; it takes the value from the left.
    ulp : tuple of float
        Largest error in ULP for float32 and float64, subnormal results included.
    rowwise : bool
        Whether an output depends on the whole row (softmax), not on its own element alone.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.sigmoid([0.0])
    array([0.5])
    >>> fg.tanh.derivative([0.0])
    array([1.])
    >>> fg.relu.backward([5.0, 5.0], [-1.0, 2.0])
    array([0., 5.])
    """

    def __init__(
        self,
        name: str,
        formula: str,
        *,
        from_output: bool = False,
        kinks: tuple[float, ...] = (),
        ulp: tuple[float, float] = (0.5, 0.5),
        rowwise: bool = False,
    ) -> None:
        self.name, self.formula = name, formula
        self.from_output, self.kinks, self.ulp, self.rowwise = from_output, kinks, ulp, rowwise
        self.__doc__ = f"{name}: y = {formula}"
        self._flags = 0 if rowwise else ELEMENTWISE
        self._records: dict[str, Array] = {}
        # By dtype: the compiled entry point and the row kernel, for calls of plain arrays.
        self._direct: dict[str, dict[np.dtype[Any], tuple[Callable[..., Any], int]]] = {
            "forward": {},
            "backward_z": {},
            "backward_y": {},
        }

    def __repr__(self) -> str:
        return f"<activation {self.name}: {self.formula}>"

    def __reduce__(self) -> Any:
        return _lookup, (self.name,)

    # -- compiled kernels -----------------------------------------------------------------
    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel: see `kernels.rows` for their names."""
        from fastgrad.kernels.library import LIBRARY

        if self.name not in BUILT_IN:
            raise ValueError(
                f"activation {self.name!r} has no kernels: make it by fg.define_activation"
            )
        kind = "slopes" if function == "backward_z" else "rows"
        return LIBRARY.address(f"{kind}.{self.name}", f"{function}_{self.name}", dtype)

    def record(self, dtype: str) -> Array:
        """Return what the compiled layers need to know: the addresses of three row kernels.

        They go forward, forward where something is kept for the way back, and back.
        """
        record = self._records.get(dtype)
        if record is None:
            words = [0, 0, 0]  # the identity has no kernels
            if self.name != "identity":
                words = [self.address(name, dtype) for name in self._layer_kernels()]
            record = self._records[dtype] = np.array(words, np.int64)
        return record

    def _layer_kernels(self) -> tuple[str, str, str]:
        if self.from_output:  # y is kept
            return "forward", "forward", "backward_y"
        return "forward", "forward_and_slope", "backward_slope"

    # -- value and derivatives ------------------------------------------------------------
    def __call__(self, z: ArrayLike, *, out: Array | None = None, **axis: int) -> Array:
        """Return ``y = act(z)``, elementwise or (softmax) along ``axis=-1``.

        Parameters
        ----------
        z : array_like
            Pre-activation, any shape.
        out : ndarray, optional
            Where to put the result: the shape and dtype of the result.

        Raises
        ------
        TypeError, ValueError
            For a dtype fastgrad does not compute in, an unsuitable `out` or a bad `axis`.
        """
        try:  # as `_directly`, which costs 0.2 us more
            run, address = self._direct["forward"][z.dtype]  # type: ignore[union-attr]
            flags = self._along(axis, z.ndim) if axis else self._flags  # type: ignore[union-attr]
            y = run(z, out, address, flags if out is None else flags + UNCHECKED)
        except (AttributeError, KeyError, TypeError):
            y = None
        if y is not None:
            return y  # type: ignore[no-any-return]
        return self._run("", "forward", {"z": z}, out, axis)

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act'(z)``, elementwise.

        Raises
        ------
        ValueError
            For softmax, whose derivative is a matrix per row: use `backward`.
        """
        if self.rowwise:
            raise ValueError(
                f"{self.name}.derivative: the derivative of {self.name} is a matrix per row, not "
                f"an array like z: use {self.name}.backward(grad_y, z)"
            )
        derivative = self._directly("backward_z", z, z, out, {}, ONES)
        if derivative is not None:
            return derivative
        return self._run(".derivative", "backward_z", {"z": z}, out, {})

    def backward(
        self, grad_y: ArrayLike, z: ArrayLike, *, out: Array | None = None, **axis: int
    ) -> Array:
        """Return ``grad_z = grad_y * act'(z)`` (softmax: ``y * (grad_y - grad_y . y)``)."""
        if not self.rowwise:
            grad_z = self._directly("backward_z", grad_y, z, out, axis)
        else:
            grad_z = self._directly_by_output(grad_y, z, out, axis)
        if grad_z is not None:
            return grad_z
        arguments = {"grad_y": grad_y, "z": z}
        if not self.rowwise:
            return self._run(".backward", "backward_z", arguments, out, axis)
        caller = f"{self.name}.backward"
        arrays, dtypes = self._check(caller, arguments, out, self._axis(caller, axis))
        z_array = arrays["z"].astype(dtypes.work, copy=False)
        y = self._run(".backward", "forward", {"z": z_array}, None, axis)
        grad_z = self._run(
            ".backward", "backward_y", {"grad_y": arrays["grad_y"], "y": y}, None, axis
        )
        return deliver(grad_z, dtypes.result, out)

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, out: Array | None = None, **axis: int
    ) -> Array:
        """Return ``grad_z`` from the output ``y = act(z)``.

        Raises
        ------
        ValueError
            Where the derivative is not a function of y: use `backward`.
        """
        if not self.from_output:
            raise ValueError(
                f"{self.name}.backward_from_output: the derivative of {self.name} is not a "
                f"function of its output: use {self.name}.backward(grad_y, z)"
            )
        grad_z = self._directly("backward_y", grad_y, y, out, axis)
        if grad_z is not None:
            return grad_z
        return self._run(
            ".backward_from_output", "backward_y", {"grad_y": grad_y, "y": y}, out, axis
        )

    def _directly(
        self, function: str, grad_y: Any, source: Any, out: Any, axis: dict[str, int], more: int = 0
    ) -> Array | None:
        """Run a backward kernel on the arguments as they are, or return None: not in its form."""
        try:
            run, address = self._direct[function][source.dtype]
            flags = more + (self._along(axis, source.ndim) if axis else self._flags)
            if out is not None:
                flags += UNCHECKED
            return run(grad_y, source, out, address, flags)  # type: ignore[no-any-return]
        except (AttributeError, KeyError, TypeError):
            return None

    def _directly_by_output(
        self, grad_y: Any, z: Any, out: Any, axis: dict[str, int]
    ) -> Array | None:
        """Run the kernels of y and of grad_z from y, or return None: not in their form."""
        try:
            if out is not None and np.may_share_memory(out, z):
                return None
            run, address = self._direct["forward"][z.dtype]
            y = run(z, None, address, self._along(axis, z.ndim) if axis else self._flags)
            return self._directly("backward_y", grad_y, y, out, axis)
        except (AttributeError, KeyError, TypeError):
            return None

    def _along(self, options: dict[str, int], ndim: int) -> int:
        """Return the flags of an `axis` that kernels take, or raise KeyError."""
        axis = options["axis"]
        if len(options) > 1 or type(axis) is not int or not self.rowwise:
            raise KeyError(axis)
        if axis in (-1, ndim - 1):
            return 0
        return {(0, 2): COLUMNS, (-2, 2): COLUMNS}[axis, ndim]

    def _run(
        self,
        method: str,
        function: str,
        arguments: dict[str, ArrayLike],
        out: Array | None,
        options: dict[str, int],
    ) -> Array:
        """Make the arguments native and contiguous, run one row kernel, deliver the result."""
        from fastgrad.kernels.library import entry

        caller = self.name + method
        axis = self._axis(caller, options)
        arrays, dtypes = self._check(caller, arguments, out, axis)
        shape = next(iter(arrays.values())).shape
        last = len(shape) - 1
        views = [
            np.moveaxis(a, axis, last) if self.rowwise else np.atleast_1d(a)
            for a in arrays.values()
        ]
        dtype = dtypes.work.name
        address = self.address(function, dtype)
        forward = function == "forward"
        run = entry("apply", "apply_forward" if forward else "apply_backward", dtype)
        self._direct[function][dtypes.work] = run, address
        flags = self._flags
        if len(views) == 1 and not forward:  # a derivative
            views, flags = 2 * views, flags + ONES
        result = run(*(as_native(v, dtypes.work) for v in views), None, address, flags)
        if result is None:  # not contiguous, or not in the same order
            rows = (np.ascontiguousarray(as_native(v, dtypes.work)) for v in views)
            result = run(*rows, None, address, flags)
        if self.rowwise:
            result = np.moveaxis(result, last, axis)
        return deliver(result.reshape(shape), dtypes.result, out)

    def _check(
        self, caller: str, arguments: dict[str, ArrayLike], out: Array | None, axis: int
    ) -> tuple[dict[str, Array], Dtypes]:
        """Return the arguments as arrays of one shape, and the dtypes of the call."""
        arrays = {name: as_array(caller, name, value) for name, value in arguments.items()}
        (first, a), (second, b) = (list(arrays.items()) * 2)[:2]
        if a.shape != b.shape:
            raise ValueError(
                f"{caller}: {first} has shape {a.shape} but {second} has shape {b.shape}: "
                "they need the same shape"
            )
        if self.rowwise and not -a.ndim <= axis < a.ndim:
            raise ValueError(f"{caller}: axis is {axis} but {first} has shape {a.shape}")
        dtypes = common_dtypes(*arrays.values())
        if out is not None:
            check_out(caller, "out", out, a.shape, dtypes.result, arrays)
        return arrays, dtypes

    def _axis(self, caller: str, options: dict[str, int]) -> int:
        unknown = [name for name in options if name != "axis" or not self.rowwise]
        if unknown:
            raise TypeError(f"{caller}: unexpected argument {', '.join(unknown)}")
        axis = options.get("axis", -1)
        index: Any = None if isinstance(axis, bool) else axis
        try:
            return operator.index(index)
        except TypeError:
            kind = type(axis).__name__
            raise TypeError(f"{caller}: axis is a {kind}: give an integer") from None


class DefinedActivation(Activation):
    """An activation made by `define_activation`: its row kernels are compiled in this process."""

    def __init__(
        self, name: str, forward: Callable[..., Any], derivative: Callable[..., Any]
    ) -> None:
        super().__init__(name, f"{getattr(forward, '__name__', 'f')}(z)")
        self.functions = {"forward": forward, "backward_z": derivative}
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

    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel, compiling it at first use."""
        from fastgrad.kernels.front_end import numba_enabled

        if (function, dtype) in self.addresses:
            return self.addresses[function, dtype]
        with numba_enabled():
            from fastgrad.kernels.user import row_kernel

        address = row_kernel(self.name, function, self.functions[function], dtype)
        self.addresses[function, dtype] = address
        return address

    def _layer_kernels(self) -> tuple[str, str, str]:
        return "forward", "forward", "backward_z"  # z is kept


# One row per activation: name, formula, then what is special about it. The ULP bounds are
# tested; those of activations made of exact comparisons and one rounding are the default 0.5.
_TABLE = (
    Activation("identity", "z", from_output=True),
    Activation("sigmoid", "1 / (1 + exp(-z))", from_output=True, ulp=(2, 2)),
    Activation("tanh", "tanh(z)", from_output=True, ulp=(2, 2)),
    Activation("relu", "max(z, 0)", from_output=True, kinks=(0.0,)),
    Activation("softmax", "exp(z) / sum(exp(z))", from_output=True, rowwise=True, ulp=(6, 6)),
    Activation("gelu", "z * (1 + erf(z / sqrt(2))) / 2", ulp=(4, 4)),
    Activation("gelu_tanh", "z * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))) / 2", ulp=(4, 4)),
    Activation("silu", "z / (1 + exp(-z))", ulp=(4, 4)),
    Activation("elu", "z if z >= 0 else exp(z) - 1", from_output=True, ulp=(2, 2)),
    Activation(
        "leaky_relu", "z if z > 0 else 0.01 * z", from_output=True, kinks=(0.0,), ulp=(1, 1)
    ),
    Activation("softplus", "log(1 + exp(z))", from_output=True, ulp=(4, 4)),
    Activation("softsign", "z / (1 + |z|)", from_output=True, ulp=(1.5, 1.5)),
    Activation("exp", "exp(z)", from_output=True, ulp=(1, 1)),
)

ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _TABLE}
# Compiled layers by samples, activation and dtype (three look-ups: 26 ns less than one of a tuple):
# kept by `layer`, dropped here when a name gets a new meaning.
LAYERS: dict[str, dict[Any, dict[Any, Any]]] = {"rows": {}, "columns": {}}
(
    identity, sigmoid, tanh, relu, softmax, gelu, gelu_tanh, silu, elu, leaky_relu, softplus,
    softsign, exp,
) = _TABLE  # fmt: skip

BUILT_IN = tuple(ACTIVATIONS)
__all__ += list(BUILT_IN)


def _lookup(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {name!r}: define it by fg.define_activation before unpickling"
        )
    return ACTIVATIONS[name]


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
        Where one raises, as ``z**-1`` does at 0, the result is NaN.

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
    ACTIVATIONS[name] = activation
    for by_activation in LAYERS.values():
        by_activation.pop(name, None)
    return activation
