"""The table of activations, one row each, and the activations that users define.

To add one
----------
``fastgrad/activations.py``
    A row of `_TABLE`, and its name in the unpacking below it.
``fastgrad/kernels/elementwise/formulas.py``
    Its scalar formulas. One with an exponential in it is written as a `Staged` in
    ``kernels/elementwise/vector_math.py``, with a row in each table of
    ``tests/test_vector_math.py``. Unless its derivative is a function of y, also its name in
    KEEP_SLOPE of ``kernels/units.py``.
``fastgrad/reference/formulas.py``, ``fastgrad/loops/formulas.py``
    The formulas of its twins.
``fastgrad/reference/activations.py``, ``fastgrad/loops/activations.py``
    A row for each twin, and its name in ``__all__``, which is the twin's table.
``fastgrad/__init__.py``
    Its name, to make it public: among the imports and in ``__all__``. Type checkers and editors
    read both as they are written.
``tests/truth.py``
    Its true values, slopes and limits, and its name in PyTorch.
``benchmarks/common.py``
    Its name, to have it timed.
``README.md``, ``docs/accuracy.md``
    Its name in the table of all; the row that ``python -m tests.accuracy --quick --only`` prints.

`fastgrad.warmup`, the command line and most tests follow from the row.
``tests/test_architecture.py`` and ``tests/test_benchmarks_cover.py`` name what is missing
elsewhere.
"""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import (
    SETTINGS,
    check_definition,
    check_from_output,
    name_with,
    named_settings,
    refuse_derivative,
    with_settings,
)
from fastgrad.arrays import Array
from fastgrad.calls import (
    ALONG,
    BACKWARD,
    BACKWARD_BY_OUTPUT,
    DERIVATIVE,
    FORWARD,
    FROM_OUTPUT,
    LAST_AXIS,
    NOT_TAKEN,
    Application,
)
from fastgrad.kernels.elementwise.derivative_check import disagreement
from fastgrad.kernels.flags import ELEMENTWISE, ONES, UNCHECKED
from fastgrad.kernels.units import KEEP_SLOPE
from fastgrad.warning_categories import FastgradWarning

__all__ = ["ACTIVATIONS", "Activation", "define_activation"]

ACTIVATIONS: dict[str, Activation] = {}
# Called with a name and what it meant before, when `define_activation` gives it a new meaning.
REDEFINED: list[Callable[[str, Activation | None], None]] = []


class Activation:
    """An activation function: its value, its derivative and its vector-Jacobian products.

    The built-in ones are ``fg.tanh``, ``fg.relu`` and so on; ``fg.tanh.__doc__`` has the formula
    and its source. `define_activation` makes others.

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
        Bound of the error for float32 and float64: in units in the last place of the result,
        subnormal results included; for a rowwise one in eps times the result.
    rowwise : bool
        Whether an output depends on the whole row (softmax), not on its own element alone.
    halving : bool
        Whether it lets about half of its input through: then `MLP.init` doubles the variance of
        the weights before it.
    source : str
        Who described it, where that is not a textbook's common knowledge.
    settings : named tuple
        What `with_` can replace; empty for most.

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

    _made = False

    def __init__(
        self,
        name: str,
        formula: str,
        *,
        from_output: bool = False,
        kinks: tuple[float, ...] = (),
        ulp: tuple[float, float] = (0.5, 0.5),
        rowwise: bool = False,
        halving: bool = False,
        source: str = "",
        settings: tuple[float, ...] = (),
    ) -> None:
        self.settings = settings
        self.name, self.formula = name, formula
        self.from_output, self.kinks, self.ulp, self.rowwise = from_output, kinks, ulp, rowwise
        self.halving, self.source = halving, source
        self.__doc__ = f"{name}: ``y = {formula}``" + (f" ({source})" if source else "")
        self._flags = 0 if rowwise else ELEMENTWISE
        self._axes = ALONG if rowwise else {}
        self._records: dict[str, Array] = {}
        # By dtype: the compiled entry point and the row kernel, for calls of plain arrays.
        self._direct: dict[str, dict[np.dtype[Any], tuple[Callable[..., Any], int]]] = {
            "forward": {},
            "backward_z": {},
            "backward_y": {},
        }
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute once: kernels, layers and networks rely on its first value."""
        # Reading __dict__ creates it, which makes each attribute slower: so not in __init__.
        if self._made and name in self.__dict__:
            raise AttributeError(f"activation {self.name!r}: {name} can't be changed")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<activation {self.name}: {self.formula}>"

    def __reduce__(self) -> Any:
        return lookup, (self.name,)

    def with_(self, **settings: float) -> Activation:
        """Return this activation with another setting: leaky_relu's slope, or elu's alpha.

        Parameters
        ----------
        settings : float
            ``slope`` of leaky_relu: ``y = slope * z`` for z < 0 (0.01 unless given). ``alpha`` of
            elu: ``y = alpha * (exp(z) - 1)`` for z < 0 (1 unless given). 0, or of a size that
            float32 holds; negative ones are allowed.

        Returns
        -------
        Activation
            Also for layers and networks. The same object for the same settings; the built-in
            activation for its own. At the kink, 0, the derivative is that from the left. A new
            value compiles a unit of its own at its first use, some short loops per dtype, which
            the cache keeps; never the matrix product.

        Raises
        ------
        TypeError
            If a setting is not one of this activation, or no number.
        ValueError
            If this activation has no settings, or one is not finite or too small for float32.

        Notes
        -----
        With a slope of 0 or less, or an alpha below 0, the sign of y does not tell that of z:
        layers keep z, and `backward_from_output` refuses.

        Examples
        --------
        >>> import fastgrad as fg
        >>> leaky = fg.leaky_relu.with_(slope=0.25)
        >>> leaky
        <activation leaky_relu(slope=0.25): z if z > 0 else 0.25 * z>
        >>> leaky.settings
        LeakyReluSettings(slope=0.25)
        >>> leaky([-2.0, 2.0]), leaky.derivative([-2.0, 2.0])
        (array([-0.5,  2. ]), array([0.25, 1.  ]))
        >>> net = fg.MLP((4, 8, 1), (leaky, None), "mse")
        """
        own: Activation = with_settings(self, settings, ACTIVATIONS, _SET, SetActivation)
        return own

    # -- compiled kernels -----------------------------------------------------------------
    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel, compiled or loaded at first use.

        Parameters
        ----------
        function : str
            ``"forward"``, ``"backward_y"``, ``"backward_z"`` ...: see `kernels.elementwise.rows`.
        dtype : {"float32", "float64"}
            What it computes in.

        Returns
        -------
        int
            Valid as long as the process.

        Raises
        ------
        ValueError
            For an activation made by hand: nothing was compiled for it.
        """
        from fastgrad.kernels.toolchain.library import LIBRARY

        self._check_made()
        kind = "slopes" if function == "backward_z" else "rows"
        return LIBRARY.address(f"{kind}.{self.name}", f"{function}_{self.name}", dtype)

    def record(self, dtype: str) -> Array:
        """Return what the compiled layers need to know: the addresses of three row kernels.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            What they compute in.

        Returns
        -------
        ndarray
            int64, ``(3,)``: forward, forward that keeps something for the backward pass, and
            backward; zeros for the identity. Read-only, of the one class that layers accept.

        Raises
        ------
        ValueError
            As for `address`.
        """
        record = self._records.get(dtype)
        if record is None:
            from fastgrad.kernels.calls.entry import record_of

            words = [0, 0, 0]  # the identity has no kernels
            self._check_made()
            if self.name != "identity":
                words = [self.address(name, dtype) for name in self._layer_kernels()]
            record = self._records[dtype] = record_of(words)
        return record

    def _check_made(self) -> None:
        """Raise ValueError for an activation made by hand: nothing was compiled for it."""
        if ACTIVATIONS.get(self.name) is not self:
            raise ValueError(
                f"activation {self.name!r} has no kernels: make it by fg.define_activation"
            )

    def _layer_kernels(self) -> tuple[str, str, str]:
        if self.from_output:  # y is kept
            return "forward", "forward", "backward_y"
        return "forward", "forward_and_slope", "backward_slope"

    # -- value and derivatives ------------------------------------------------------------
    def __call__(self, z: ArrayLike, *, out: Array | None = None, axis: int = LAST_AXIS) -> Array:
        """Return ``y = act(z)``, elementwise or (softmax) along an axis.

        Parameters
        ----------
        z : array_like
            Pre-activation, any shape; for softmax at least one axis.
        out : ndarray, optional
            Where to put y: of its shape and dtype, sharing no memory with z.
        axis : int, optional
            Softmax only: the axis whose outputs add up to 1, by default -1; 0 where samples are
            columns.

        Returns
        -------
        ndarray
            The shape of z; float32 if z is, float16 if z is, else float64.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, an `out` that is no array, an axis that is no
            integer, and any axis of an elementwise activation.
        ValueError
            For an `out` of another shape or dtype, read-only or overlapping z, and an axis that z
            does not have.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.softmax([[0.0, 1.0], [0.0, 1.0]], axis=0).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
        """
        try:
            run, address = self._direct["forward"][z.dtype]  # type: ignore[union-attr]
            flags = self._flags if axis is LAST_AXIS else self._axes[type(axis), axis, z.ndim]  # type: ignore[union-attr]
            y = run(z, out, address, flags if out is None else flags + UNCHECKED)
            if y is not None:
                return y  # type: ignore[no-any-return]
        except NOT_TAKEN:
            pass
        return FORWARD.complete(None, (z,), (out,), (self, axis))  # type: ignore[no-any-return]

    def derivative(self, z: ArrayLike, *, out: Array | None = None) -> Array:
        """Return ``act'(z)``, elementwise.

        Parameters
        ----------
        z : array_like
            Pre-activation, any shape.
        out : ndarray, optional
            Where to put the result: of its shape and dtype, sharing no memory with z.

        Returns
        -------
        ndarray
            The shape of z; float32 if z is, float16 if z is, else float64. At a kink the value
            from the left: ``relu'(0) = 0``.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, or an `out` that is no array.
        ValueError
            For softmax, whose derivative is a matrix per row: use `backward`. For an `out` of
            another shape or dtype, read-only or overlapping z.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.sigmoid.derivative([0.0])
        array([0.25])
        """
        if self.rowwise:
            refuse_derivative(self.name)
        slope = self._directly("backward_z", z, z, out, LAST_AXIS, ONES)
        if slope is not None:
            return slope
        return DERIVATIVE.complete(None, (z,), (out,), (self, LAST_AXIS))  # type: ignore[no-any-return]

    def backward(
        self, grad_y: ArrayLike, z: ArrayLike, *, out: Array | None = None, axis: int = LAST_AXIS
    ) -> Array:
        """Return ``grad_z = dL/dz``, the vector-Jacobian product, from the pre-activation.

        ``grad_y * act'(z)``; for softmax, with ``y = softmax(z)``, ``y * (grad_y - sum(grad_y *
        y))``, the sum along `axis`.

        Parameters
        ----------
        grad_y : array_like
            ``dL/dy``, of the shape of z.
        z : array_like
            Pre-activation, any shape; for softmax at least one axis.
        out : ndarray, optional
            Where to put grad_z: of its shape and dtype, sharing no memory with grad_y or z.
        axis : int, optional
            Softmax only: as for the call.

        Returns
        -------
        ndarray
            The shape of z; Of the dtype that NumPy promotes both to; float64 for integers.

        Raises
        ------
        TypeError
            For a dtype fastgrad does not compute in, an `out` that is no array, an axis that is no
            integer, and any axis of an elementwise activation.
        ValueError
            If the shapes differ, `out` has another or is read-only or overlaps, or z has no such
            axis.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.softmax.backward([[1.0, 0.0]], [[0.0, 0.0]])
        array([[ 0.25, -0.25]])
        """
        if self.rowwise:
            grad_z = self._directly_by_output(grad_y, z, out, axis)
            call: Application = BACKWARD_BY_OUTPUT
        else:
            grad_z = self._directly("backward_z", grad_y, z, out, axis)
            call = BACKWARD
        if grad_z is not None:
            return grad_z
        return call.complete(None, (grad_y, z), (out,), (self, axis))  # type: ignore[no-any-return]

    def backward_from_output(
        self, grad_y: ArrayLike, y: ArrayLike, *, out: Array | None = None, axis: int = LAST_AXIS
    ) -> Array:
        """Return ``grad_z = dL/dz`` from the output ``y = act(z)``, without z.

        Parameters
        ----------
        grad_y : array_like
            ``dL/dy``, of the shape of y.
        y : array_like
            What the activation returned for z.
        out : ndarray, optional
            Where to put grad_z: of its shape and dtype, sharing no memory with grad_y or y.
        axis : int, optional
            Softmax only: as for the call.

        Returns
        -------
        ndarray
            The shape of y; Of the dtype that NumPy promotes both to; float64 for integers.

        Raises
        ------
        TypeError
            As for `backward`.
        ValueError
            Where the derivative is not a function of y (`from_output` is false): use `backward`.
            Otherwise as for `backward`.

        Examples
        --------
        >>> import fastgrad as fg
        >>> y = fg.tanh([0.0, 0.5])
        >>> fg.tanh.backward_from_output([1.0, 1.0], y).round(4)
        array([1.    , 0.7864])
        """
        if not self.from_output:
            check_from_output(self.name, False)
        grad_z = self._directly("backward_y", grad_y, y, out, axis)
        if grad_z is not None:
            return grad_z
        return FROM_OUTPUT.complete(None, (grad_y, y), (out,), (self, axis))  # type: ignore[no-any-return]

    # -- the first step of a call: see `fastgrad.calls` ---------------------------------------
    def _directly(
        self, kernel: str, grad_y: Any, source: Any, out: Any, axis: int, more: int = 0
    ) -> Array | None:
        """Run a backward kernel on the arguments as they are; return None if it refuses them."""
        try:
            run, address = self._direct[kernel][source.dtype]
            flags = self._flags if axis is LAST_AXIS else self._axes[type(axis), axis, source.ndim]
            if out is not None:
                flags += UNCHECKED
            return run(grad_y, source, out, address, flags + more)  # type: ignore[no-any-return]
        except NOT_TAKEN:
            return None

    def _directly_by_output(self, grad_y: Any, z: Any, out: Any, axis: int) -> Array | None:
        """Compute y, then grad_z from y; return None if a kernel refuses the arguments."""
        try:
            if out is not None and np.may_share_memory(out, z):
                return None
            run, address = self._direct["forward"][z.dtype]
            flags = self._flags if axis is LAST_AXIS else self._axes[type(axis), axis, z.ndim]
            y = run(z, None, address, flags)
            return self._directly("backward_y", grad_y, y, out, axis)
        except NOT_TAKEN:
            return None

    def _entry(self, kernel: str, dtype: np.dtype[Any]) -> tuple[Callable[..., Any], int]:
        """Return a row kernel's compiled entry point and its address; later calls find both.

        Parameters
        ----------
        kernel : str
            As for `address`.
        dtype : dtype
            float32 or float64.

        Returns
        -------
        callable
            See `kernels.calls.apply`.
        int
            The address of the row kernel.
        """
        from fastgrad.kernels.calls.entry import entry

        address = self.address(kernel, dtype.name)
        run = entry("apply", f"apply_{kernel.partition('_')[0]}", dtype.name)
        self._direct[kernel][dtype] = run, address
        return run, address


def lookup(name: str) -> Activation:
    """Return the activation of this name; its pickles call this."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {name!r}: define it by fg.define_activation before unpickling"
        )
    return ACTIVATIONS[name]


class DefinedActivation(Activation):
    """An activation made by `define_activation`: its row kernels are compiled in this process."""

    def __init__(
        self, name: str, forward: Callable[..., Any], derivative: Callable[..., Any]
    ) -> None:
        from fastgrad.kernels.toolchain.front_end import numba_enabled
        from fastgrad.kernels.toolchain.processor import check_processor

        check_processor()  # before Numba asks LLVM, which prints messages of its own
        with numba_enabled():
            from fastgrad.kernels.elementwise.user import frozen_function
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
        """Do nothing: it has kernels of its own, even after its name is redefined."""

    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel, compiling it at first use."""
        from fastgrad.kernels.toolchain.front_end import numba_enabled

        if (function, dtype) not in self.addresses:
            with numba_enabled():  # includes the store: a deferred signal may raise at the end
                from fastgrad.kernels.elementwise.user import row_kernel

                address = row_kernel(self.name, function, self.functions[function], dtype)
                self.addresses[function, dtype] = address
        return self.addresses[function, dtype]

    def _layer_kernels(self) -> tuple[str, str, str]:
        return "forward", "forward", "backward_z"  # z is kept


class SetActivation(Activation):
    """An activation with other settings than the table's, as `Activation.with_` returns it."""

    def __init__(self, family: str, settings: Any) -> None:
        (value,) = settings
        below = "* z" if family == "leaky_relu" else "* (exp(z) - 1)"
        super().__init__(
            name_with(family, settings),
            f"z if z > 0 else {value!r} {below}",
            from_output=settings.of_output(),
            kinks=(0.0,),
            # The product has one rounding, expm1 up to four; float32 rounds the setting, too.
            ulp=(2, 0.5) if family == "leaky_relu" else (6, 5),
            halving=True,
            source=ACTIVATIONS[family].source.partition(", with")[0],
            settings=settings,
        )
        self._row = f"{family}_{struct.pack('>d', value).hex()}"

    def __reduce__(self) -> Any:
        return _with, named_settings(self)

    def _check_made(self) -> None:
        """Do nothing: any settings have kernels."""

    def address(self, function: str, dtype: str) -> int:
        """Return the address of a row kernel, compiled or loaded at first use."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        kind = "keeps_y" if self.from_output else "keeps_z"
        return LIBRARY.address(f"{kind}.{self._row}", f"{function}_{self._row}", dtype)

    def _layer_kernels(self) -> tuple[str, str, str]:
        return "forward", "forward", "backward_y" if self.from_output else "backward_z"


# Those there are: by activation, since tuples of two classes may be equal; by settings.
_SET: dict[str, dict[Any, Activation]] = {name: {} for name in SETTINGS}


def _with(family: str, settings: Any) -> Activation:
    return ACTIVATIONS[family].with_(**settings._asdict())


def _row(name: str, formula: str, **special: Any) -> Activation:
    settings, of_output = SETTINGS.get(name, ()), name not in KEEP_SLOPE
    return Activation(name, formula, from_output=of_output, settings=settings, **special)


# One row per activation: name, formula, then what is special about it. The error bounds are
# tested; those of activations made of exact comparisons and one rounding are the default 0.5.
_TABLE = (
    _row("identity", "z"),
    _row("sigmoid", "1 / (1 + exp(-z))", ulp=(2, 2)),
    _row("tanh", "tanh(z)", ulp=(2, 2)),
    _row(
        "relu", "max(z, 0)", kinks=(0.0,), halving=True,
        source="Nair and Hinton, ICML 2010",
    ),
    _row("softmax", "exp(z) / sum(exp(z))", rowwise=True, ulp=(6, 6)),
    _row(
        "gelu", "z * (1 + erf(z / sqrt(2))) / 2", ulp=(4, 4), halving=True,
        source="Hendrycks and Gimpel, arXiv:1606.08415, 2016",
    ),
    _row(
        "gelu_tanh", "z * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))) / 2", ulp=(4, 4),
        halving=True, source="the approximation of gelu in Hendrycks and Gimpel, arXiv:1606.08415",
    ),
    _row(
        "silu", "z / (1 + exp(-z))", ulp=(4, 4), halving=True,
        source="Elfwing, Uchibe and Doya, Neural Networks 107, 2018",
    ),
    _row(
        "elu", "z if z >= 0 else exp(z) - 1", ulp=(2, 2), halving=True,
        source="Clevert, Unterthiner and Hochreiter, ICLR 2016, with alpha = 1",
    ),
    _row(
        "leaky_relu", "z if z > 0 else 0.01 * z", kinks=(0.0,), ulp=(1, 1),
        halving=True, source="Maas, Hannun and Ng, ICML 2013",
    ),
    _row(
        "softplus", "log(1 + exp(z))", ulp=(4, 4),
        source="Dugas et al., NIPS 2000",
    ),
    _row(
        "softsign", "z / (1 + |z|)", ulp=(1.5, 1.5),
        source="Glorot and Bengio, AISTATS 2010",
    ),
    _row("exp", "exp(z)", ulp=(1, 1)),
    _row(
        "mish", "z * tanh(log(1 + exp(z)))", ulp=(4, 4), halving=True,
        source="Misra, BMVC 2020, arXiv:1908.08681",
    ),
)  # fmt: skip

ACTIVATIONS |= {row.name: row for row in _TABLE}
(
    identity, sigmoid, tanh, relu, softmax, gelu, gelu_tanh, silu, elu, leaky_relu, softplus,
    softsign, exp, mish,
) = _TABLE  # fmt: skip

BUILT_IN = tuple(ACTIVATIONS)
__all__ += list(BUILT_IN)


def define_activation(
    name: str, forward: Callable[[float], float], derivative: Callable[[float], float]
) -> Activation:
    """Compile an activation from two scalar functions, and register it under its name.

    Parameters
    ----------
    name : str
        A new name, an identifier.
    forward, derivative : callable
        ``act(z)`` and ``act'(z)`` of one number, in the Python and ``math`` that Numba compiles.
        Where one raises, as ``z**-1`` does at 0 and ``TABLE[int(z)]`` beyond its ends, the result
        is NaN; ``1 / z`` at 0 is inf, as in NumPy. Globals and closure variables, including
        arrays and functions, keep their present values, for every dtype. A `functools.partial`
        that leaves one argument is accepted, too.

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
    functions = {"forward": forward, "derivative": derivative}
    check_definition("define_activation", name, BUILT_IN, functions)
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
    previous = ACTIVATIONS.get(name)
    ACTIVATIONS[name] = activation
    for forget in REDEFINED:
        forget(name, previous)
    return activation
