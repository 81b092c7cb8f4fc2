"""How a public function calls compiled code: one protocol, the same for all of them.

`dense`, `dense_forward`, `dense_backward`, the methods of an `Activation` and of a loss,
`MLP.predict` and `MLP.value_and_grad` take four steps, most calls only the first:

1. **As they are**, in the function's own ``try`` block: a look-up by layout, activation and dtype
   finds a compiled entry point. That gets the arguments unchanged, checks them itself and
   allocates the result: 0.4 us for an activation, 0.7 us for a layer of one sample. One more
   Python call or attribute would cost 5 % of that, so each function writes this step out;
   everything else is here. The entry point returns

   * the result: the call has ended;
   * True: it accepts the arguments, but the work is worth sharing: step 2;
   * None: it does not accept these arguments, or has found a mistake, without saying which. A
     look-up that fails (`NOT_TAKEN`) means the same: step 3.

2. **Shared**: native arrays whose shapes fit, cut into pieces for threads and for Ctrl-C.
3. **Converted**: where only the dtypes do not fit, compiled code converts the arrays as NumPy
   promotes them, and the entry point is called again: 1.3 us. It does not know float16: Python
   converts that to float32, and the results back to float16.
4. **Checked**: Python checks every argument, 8 us and more. A mistake raises an error; lists and
   other objects with an ``__array__`` become arrays, for which step 3 may be enough; the rest,
   such as odd strides and large arrays of another dtype, is converted for the kernels.

The methods of a `Call` are what differs between functions.
"""

from __future__ import annotations

from operator import is_not
from typing import Any

import numpy as np

from fastgrad.arguments import (
    REDUCTIONS,
    check_axis,
    elementwise_arguments,
)
from fastgrad.arrays import (
    FLOAT32,
    INT64,
    MOST_AXES,
    TO_FLOAT32,
    TO_FLOAT64,
    Array,
    Dtypes,
    as_native,
    common_dtypes,
    deliver,
)
from fastgrad.kernels.flags import COLUMNS, ONES, UNCHECKED, WANT_GRAD
from fastgrad.loss_arguments import LossArguments, loss_arguments
from fastgrad.results import check_out

__all__ = ["NOT_TAKEN", "Call"]

# What steps 1 and 3 raise if they do not accept the arguments: the table has no such row (yet),
# no dtype, no array; a result or a converted argument is larger than memory.
NOT_TAKEN = (AttributeError, KeyError, TypeError, ValueError, MemoryError)
_FLOATS = "efd"  # NumPy's characters of float16, float32 and float64


class Call:
    """Steps 2 to 4 of one public function.

    There is one object for each function. Its methods pass on the arguments of a call: `arrays`,
    which are converted together (None for a missing optional one); `outs`, the arrays to write
    results to, None for a new array; `how`, all the rest.
    """

    def complete(
        self,
        outcome: Any,
        arrays: tuple[Any, ...],
        outs: tuple[Any, ...],
        how: Any,
        given: tuple[Any, ...] | None = None,
    ) -> Any:
        """Return the result of a call whose step 1 returned `outcome`, True or None.

        Step 3 is written out here: as a method of its own it took 60 ns more. Step 4 runs it again
        for the arrays that it has made from what was `given`.
        """
        if outcome is True:
            return self.shared(arrays, outs, how)
        try:
            natives = TO_FLOAT64.natives(arrays, outs) or TO_FLOAT32.natives(arrays, outs)
            if natives is None:  # perhaps float16
                made = self.rounded(arrays, outs, how)
            else:
                made = self.run(natives, outs, how)
            if made is not None and made is not True:
                return made
        except NOT_TAKEN:
            pass
        return self.otherwise(arrays, outs, how, given)

    def otherwise(
        self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any,
        given: tuple[Any, ...] | None,
    ) -> Any:  # fmt: skip
        """Run step 4 where step 3 was not enough."""
        if given is None:
            return self.checked(arrays, outs, how)
        return self.finish(arrays, given, outs, how)

    def rounded(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """Compute new results in float32 from float16 and other arrays that promote to float32."""
        half = False
        for array in arrays:
            if array is not None:
                if type(array) is not np.ndarray or array.dtype.char not in _FLOATS:
                    return None
                half |= array.dtype.char == "e"
        if not half:
            return None
        for out in outs:
            if out is not None:  # it may share memory with what is converted
                return None
        dtypes = self.dtypes(arrays, how)
        if dtypes.work is not FLOAT32:
            return None
        with np.errstate(all="ignore"):  # float16 overflows to inf: a value, not an event
            natives = [a if a is None or a.dtype is FLOAT32 else a.astype(FLOAT32) for a in arrays]
            made = self.run(tuple(natives), outs, how)
            if made is None or made is True:
                return None
            return made if dtypes.result is FLOAT32 else self.round(made, dtypes)

    def checked(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """Run step 4."""
        clean = self.check(arrays, how)
        if any(map(is_not, clean, arrays)):  # for example lists
            return self.complete(None, clean, outs, how, arrays)
        return self.finish(clean, arrays, outs, how)

    # -- what differs -------------------------------------------------------------------------
    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """Call the entry point; return what it returns. `arrays` are native, of any shapes."""
        raise NotImplementedError

    def shared(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """Run step 2."""
        raise NotImplementedError

    def dtypes(self, arrays: tuple[Any, ...], how: Any) -> Dtypes:
        """Return the dtypes in which a call of plain float arrays computes and returns."""
        return common_dtypes(*[a for a in arrays if a is not None])

    def round(self, made: Any, dtypes: Dtypes) -> Any:
        """Convert what `run` has made, float32, to the results' dtype."""
        return made.astype(dtypes.result)

    def check(self, arrays: tuple[Any, ...], how: Any) -> tuple[Array | None, ...]:
        """Return `arrays` as arrays that fit, their dtypes unchanged; raise where that fails."""
        raise NotImplementedError

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Any
    ) -> Any:
        """Check `outs`; return the result for checked `arrays`, which come from `given`."""
        raise NotImplementedError


# -- row kernels over arrays --------------------------------------------------------------------


class _Last(int):
    """-1 as an argument's default, so that a -1 given by the caller is another object."""


LAST_AXIS = _Last(-1)
# Flags by (type, axis, dimensions) for axes that kernels support: the last one, and both of a
# matrix. The key has the type because a dictionary takes True for 1.
ALONG = {(int, axis, n): 0 for n in range(1, MOST_AXES + 1) for axis in (-1, n - 1)}
ALONG |= {(int, 0, 2): COLUMNS, (int, -2, 2): COLUMNS}


class Application(Call):
    """A call of one of an activation's methods; `how` is (activation, axis).

    Parameters
    ----------
    method : str
        What follows the activation's name in errors.
    kernel : str
        The row kernel's name: see `Activation.address`.
    names : tuple of str
        The arguments' names.
    """

    def __init__(self, method: str, kernel: str, names: tuple[str, ...]) -> None:
        self.method, self.kernel, self.names = method, kernel, names
        self.forward = kernel == "forward"
        self.ones = ONES if len(names) == 1 and not self.forward else 0  # the derivative alone

    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        activation, axis = how
        source, out = arrays[-1], outs[0]
        if not self.forward:
            return activation._directly(self.kernel, arrays[0], source, out, axis, self.ones)
        run, address = activation._direct["forward"][source.dtype]
        flags = activation._flags
        if axis is not LAST_AXIS:
            flags = activation._axes[type(axis), axis, source.ndim]
        return run(source, out, address, flags if out is None else flags + UNCHECKED)

    def check(self, arrays: tuple[Any, ...], how: Any) -> tuple[Array | None, ...]:
        """See `Call`."""
        activation, axis = how
        caller = activation.name + self.method
        if axis is not LAST_AXIS and not activation.rowwise:
            raise TypeError(f"{caller}: unexpected argument axis")
        clean = elementwise_arguments(caller, dict(zip(self.names, arrays, strict=True)))
        if activation.rowwise:
            check_axis(caller, axis, self.names[0], clean[self.names[0]])
        return tuple(clean.values())

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Any
    ) -> Any:
        """See `Call`. Makes the arguments native and contiguous, and runs the row kernel."""
        activation, axis = how
        dtypes, shape = self.dtypes(arrays, how), arrays[0].shape
        self.check_out(arrays, outs, activation, dtypes)
        last = len(shape) - 1
        views = [
            np.moveaxis(a, axis, last) if activation.rowwise else np.atleast_1d(a) for a in arrays
        ]
        run, address = activation._entry(self.kernel, dtypes.work)
        flags = activation._flags + self.ones
        if self.ones:
            views = 2 * views
        result = run(*(as_native(v, dtypes.work) for v in views), None, address, flags)
        if result is None:  # not contiguous, or not in the same order
            rows = (np.ascontiguousarray(as_native(v, dtypes.work)) for v in views)
            result = run(*rows, None, address, flags)
        if activation.rowwise:
            result = np.moveaxis(result, last, axis)
        return deliver(result.reshape(shape), dtypes.result, outs[0])

    def check_out(
        self, arrays: tuple[Any, ...], outs: tuple[Any, ...], activation: Any, dtypes: Dtypes
    ) -> None:
        """Raise unless `outs` can receive the result."""
        if outs[0] is not None:
            caller, inputs = activation.name + self.method, zip(self.names, arrays, strict=True)
            check_out(caller, "out", outs[0], arrays[0].shape, dtypes.result, dict(inputs))


class ApplicationByOutput(Application):
    """A call of a rowwise activation's `backward`: compute y, then grad_z from y."""

    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`."""
        return how[0]._directly_by_output(*arrays, *outs, how[1])

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Any
    ) -> Any:
        """See `Call`."""
        grad_y, z = arrays
        dtypes = self.dtypes(arrays, how)
        self.check_out(arrays, outs, how[0], dtypes)
        z = z.astype(dtypes.work, copy=False)
        y = FORWARD.finish((z,), (z,), (None,), how)
        grad_z = FROM_OUTPUT.finish((grad_y, y), (grad_y, y), (None,), how)
        return deliver(grad_z, dtypes.result, outs[0])


FORWARD = Application("", "forward", ("z",))
DERIVATIVE = Application(".derivative", "backward_z", ("z",))
BACKWARD = Application(".backward", "backward_z", ("grad_y", "z"))
BACKWARD_BY_OUTPUT = ApplicationByOutput(".backward", "backward_y", ("grad_y", "z"))
FROM_OUTPUT = Application(".backward_from_output", "backward_y", ("grad_y", "y"))

CODES = {name: code for code, name in enumerate(REDUCTIONS)}  # the kernels' numbers for reductions
COLUMNS_IF = {"rows": 0, "columns": COLUMNS}  # flags by layout


class Evaluation(Call):
    """A call of one of a loss's methods; `how` is (loss, reduction, samples, pred as given).

    Parameters
    ----------
    method : str
        What follows the loss's name in errors.
    flags : int
        WANT_GRAD, or 0.
    """

    def __init__(self, method: str, flags: int) -> None:
        self.method, self.flags = method, flags

    def run(self, arrays: tuple[Any, ...], outs: tuple[Any, ...], how: Any) -> Any:
        """See `Call`. The gradient has pred's dtype, if that is a float."""
        pred, target = arrays
        loss, reduction, samples, given = how
        if pred is given or self.flags == 0 or type(given) is list or given.dtype is not FLOAT32:
            return loss._directly(pred, target, reduction, samples, outs[0], self.flags)
        made = loss._directly(pred, target, reduction, samples, None, self.flags)
        if made is None:
            return None
        grad = TO_FLOAT32.converted(made[1], outs[0])
        return None if grad is None else (made[0], grad)

    def complete(
        self,
        outcome: Any,
        arrays: tuple[Any, ...],
        outs: tuple[Any, ...],
        how: Any,
        given: tuple[Any, ...] | None = None,
    ) -> Any:
        """See `Call`. Classes are not promoted with pred."""
        if not how[0].rowwise:
            return Call.complete(self, outcome, arrays, outs, how, given)  # super(): 50 ns more
        pred, target = arrays
        try:
            if type(target) is not list and target.ndim >= pred.ndim:
                return Call.complete(self, outcome, arrays, outs, how, given)
            classes = TO_FLOAT64.classes(target, outs[0])
            made = None if classes is None else self.run((pred, classes), outs, how)
            if made is not None:
                return made
        except NOT_TAKEN:
            pass
        return self.otherwise(arrays, outs, how, given)

    def dtypes(self, arrays: tuple[Any, ...], how: Any) -> Dtypes:
        """See `Call`."""
        return self._given(arrays, how).dtypes

    def round(self, made: Any, dtypes: Dtypes) -> Any:
        """See `Call`."""
        return (made[0], made[1].astype(dtypes.result)) if self.flags else made

    def check(self, arrays: tuple[Any, ...], how: Any) -> tuple[Array | None, ...]:
        """See `Call`."""
        loss, reduction, samples, _ = how
        caller = loss.name + self.method
        pred, target = arrays
        return loss_arguments(caller, pred, target, reduction, samples, loss.rowwise)[:2]

    def finish(
        self, arrays: tuple[Any, ...], given: tuple[Any, ...], outs: tuple[Any, ...], how: Any
    ) -> Any:
        """See `Call`."""
        (loss, reduction, samples, _), (pred, target), (out,) = how, arrays, outs
        checked = self._given(arrays, how)
        dtypes = checked.dtypes
        if out is not None:
            caller = loss.name + self.method
            check_out(caller, "out", out, pred.shape, dtypes.result, checked.inputs)
        if pred.size == 0:
            value = loss._reduced(0.0, reduction, checked.samples, pred.size)
            grad = np.empty(pred.shape, dtypes.result) if out is None else out
            return (value, grad) if self.flags else value

        def canonical(a: Array) -> Array:
            return as_native(a if a.ndim <= 2 else np.ascontiguousarray(a), dtypes.work)

        native = target
        if checked.classes:
            native = as_native(np.ascontiguousarray(target), INT64).reshape(target.shape)
        elif target is not None:
            native = canonical(target)
        run, address = loss._entry(dtypes.work)
        flags = self.flags + loss._flags + COLUMNS_IF[samples]
        outcome = run(canonical(pred), native, None, address, CODES[reduction], flags)
        if outcome is None:  # the kernel has found a target that it does not accept
            loss.check_target(loss.name + self.method, target)
        if not self.flags:
            return outcome
        value, grad = outcome
        return value, deliver(grad, dtypes.result, out)

    def _given(self, arrays: tuple[Any, ...], how: Any) -> LossArguments:
        """Return checked arrays as `LossArguments`."""
        pred, target = arrays
        classes = target is not None and target.ndim < pred.ndim
        return LossArguments(pred, target, classes, how[2] == "columns" and pred.ndim > 1)


VALUE, VALUE_AND_GRAD = Evaluation("", 0), Evaluation(".value_and_grad", WANT_GRAD)
