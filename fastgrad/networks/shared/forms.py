"""The forms in which a script keeps a network's parameters, and the flat vector behind them.

A network takes its parameters as one flat vector, as a dict ``W1, b1, W2, ...``, or as a list of
pairs ``(w, b)``, and gives gradients in the same form: views of one flat vector, with the script's
keys and shapes. Every call looks at the dict or list anew, so an array that was bound to another is
seen. Arrays that lie in one flat vector already, as those of `MLP.named` and `MLP.layers` do, are
not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, as_array, as_native, deliver
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.samples import native_params
from fastgrad.results import check_out
from fastgrad.trees import disjoint_spans, gradients, tree_of

# What a network takes as its parameters: the flat vector, a dict of arrays, a list of pairs (w, b).
Parameters = ArrayLike | Mapping[str, Any] | Sequence[tuple[Any, Any]]


@dataclass(frozen=True)
class Form:
    """How a script keeps the parameters: what the gradient is given as.

    `keys` are those of a dict, in the order of the flat vector, or None for a list of pairs;
    `shapes` are the arrays' own: a bias may be ``(k,)`` or ``(1, k)``.
    """

    keys: tuple[str, ...] | None
    shapes: tuple[tuple[int, ...], ...]

    def arrays(self, network: Architecture, flat: Array) -> list[Array]:
        """Return a flat vector's arrays, as views."""
        parts = zip(network.parts, self.shapes, strict=True)
        return [flat[part.elements].reshape(shape) for part, shape in parts]

    def views(self, network: Architecture, flat: Array) -> Any:
        """Return a flat vector's arrays in this form."""
        arrays = self.arrays(network, flat)
        if self.keys is not None:
            return dict(zip(self.keys, arrays, strict=True))
        return layers_of(network, arrays)

    def outputs(
        self, network: Architecture, caller: str, name: str, out: Any
    ) -> tuple[list[str], list[Any]]:
        """Return the names and arrays of an `out` in this form, in the flat vector's order."""
        like = [np.broadcast_to(np.zeros((), network.dtype), shape) for shape in self.shapes]
        given: Any = layers_of(network, like)
        if self.keys is not None:
            given = dict(zip(self.keys, like, strict=True))
        own, _ = gradients(caller, tree_of(caller, "params", given), out, like, name)
        return own.names(name), own.values(out)


def named_form(network: Architecture) -> Form:
    """Return the form of a dict with the keys and shapes that the network itself would choose."""
    return Form(tuple(p.key for p in network.parts), tuple(p.shape for p in network.parts))


def is_formed(params: Any) -> bool:
    """Return whether these are parameters in another form than that of a flat vector."""
    if isinstance(params, dict):
        return True
    if isinstance(params, np.ndarray):
        return False
    if isinstance(params, Mapping):
        return True
    if not isinstance(params, list | tuple) or not params:
        return False
    first = params[0]
    return isinstance(first, list | tuple) and len(first) > 0 and _is_matrix(first[0])


def _is_matrix(value: Any) -> bool:
    if hasattr(value, "ndim"):
        return bool(value.ndim == 2)
    return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], list | tuple)


def flat_of(network: Architecture, caller: str, params: Any) -> tuple[Any, Form | None]:
    """Return parameters as a flat vector, and the form they were given in; None if that is flat."""
    if not is_formed(params):
        return params, None
    keys = None
    if isinstance(params, Mapping):
        keys = _keys(network, caller, params)
        values = [params[key] for key in keys]
        names = [f"params[{key!r}]" for key in keys]
    else:
        values, names = _of_pairs(network, caller, params)
    arrays = []
    for part, name, value in zip(network.parts, names, values, strict=True):
        array = as_array(caller, name, value)
        if array.shape not in part.forms:
            raise ValueError(f"{caller}: {name} has shape {array.shape}: it needs {part.shape}")
        arrays.append(array)
    form = Form(keys, tuple(array.shape for array in arrays))
    together = _one_vector(network, values)
    return _joined(network, arrays) if together is None else together, form


def arrays_of(params: Any) -> dict[str, Any]:
    """Return the arrays of parameters in any form by their names in errors."""
    if isinstance(params, Mapping):
        return {f"params[{key!r}]": array for key, array in params.items()}
    if not is_formed(params):
        return {"params": params}
    pairs = ((i, j, array) for i, pair in enumerate(params) for j, array in enumerate(pair))
    return {f"params[{i}][{j}]": array for i, j, array in pairs}


def vector_of(network: Architecture, caller: str, params: Any) -> Array:
    """Return parameters in any form as a contiguous vector of the network's dtype."""
    flat = as_array(caller, "params", flat_of(network, caller, params)[0])
    return native_params(network, caller, flat)


def _keys(network: Architecture, caller: str, params: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the dict's key of each array: W1 may be w1."""
    found = []
    for part in network.parts:
        known = [key for key in dict.fromkeys((part.key, part.key.lower())) if key in params]
        if not known:
            raise ValueError(
                f"{caller}: params has no {part.key!r}: give "
                f"{', '.join(p.key for p in network.parts)}"
            )
        found.append(known[0])
    extra = [key for key in params if key not in found]
    if extra:
        raise ValueError(
            f"{caller}: params has {extra[0]!r}, which the network has not: give "
            f"{', '.join(p.key for p in network.parts)} alone"
        )
    return tuple(found)


def _of_pairs(network: Architecture, caller: str, params: Any) -> tuple[list[Any], list[str]]:
    """Return the arrays of pairs (w, b), one per layer, and their names."""
    layers = network.layers
    if len(params) != len(layers):
        raise ValueError(
            f"{caller}: params holds {len(params)} pairs but the network has {len(layers)} layers "
            "with parameters: give one pair for each"
        )
    values, names = [], []
    for i, (pair, layer) in enumerate(zip(params, layers, strict=True)):
        fields, shapes = layer.parameters._fields, layer.shapes()
        if not isinstance(pair, list | tuple) or len(pair) != len(fields):
            raise ValueError(f"{caller}: params[{i}] is not a pair ({', '.join(fields)})")
        for j, (field, value, shape) in enumerate(zip(fields, pair, shapes, strict=True)):
            if (value is None) != (shape is None):
                rule = "None" if shape is None else "given"
                raise ValueError(f"{caller}: params[{i}][{j}]: {field} must be {rule}")
            if shape is not None:
                values.append(value)
                names.append(f"params[{i}][{j}]")
    return values, names


def layers_of(network: Architecture, arrays: list[Any]) -> list[Any]:
    """Return a tuple of arrays for each layer, None for a bias that is left out."""
    rest = iter(arrays)
    return [
        layer.parameters(*(None if shape is None else next(rest) for shape in layer.shapes()))
        for layer in network.layers
    ]


def _one_vector(network: Architecture, values: list[Any]) -> Array | None:
    """Return the flat vector that all arrays are views of, in order; None if there is none."""
    dtype, first = network.dtype, values[0]
    base = first.base if type(first) is np.ndarray else None
    if base is None:
        return None
    at = int(first.__array_interface__["data"][0])
    for part, array in zip(network.parts, values, strict=True):
        if type(array) is not np.ndarray or array.base is not base or array.dtype is not dtype:
            return None
        place = at + part.elements.start * dtype.itemsize
        if not array.flags.c_contiguous or array.__array_interface__["data"][0] != place:
            return None
    own = type(base) is np.ndarray and base.shape == (network.size,) and base.dtype is dtype
    if own and base.flags.c_contiguous and base.__array_interface__["data"][0] == at:
        return base
    return as_strided(first.reshape(-1), (network.size,), (dtype.itemsize,))


def _joined(network: Architecture, arrays: list[Array]) -> Array:
    """Return a new flat vector of these arrays' values; float64 if one of them is."""
    wide = [network.gradient_dtype(array) for array in arrays]
    dtype = next((d for d in wide if d is not network.dtype), network.dtype)
    flat = np.empty(network.size, dtype)
    for part, array in zip(network.parts, arrays, strict=True):
        flat[part.elements] = as_native(array, dtype).reshape(-1)
    return flat


class Outputs:
    """Where the gradient of the parameters goes: an `out=`, flat or in the form of `params`."""

    def __init__(
        self,
        network: Architecture,
        caller: str,
        out: Any,
        form: Form | None,
        dtype: np.dtype[Any],
        inputs: dict[str, Any],
        name: str = "out",
    ) -> None:
        self.network, self.out, self.dtype, self.form = network, out, dtype, form
        self.arrays: list[Array] = []
        self.flat: Array | None = None  # where a kernel may write the gradient
        if out is None:
            return
        if form is None:
            whole = check_out(caller, name, out, (network.size,), dtype, inputs)
            self.arrays = [whole]
            if dtype is network.dtype and whole.flags.aligned and whole.flags.c_contiguous:
                self.flat = whole
            return
        names, values = form.outputs(network, caller, name, out)
        for called, shape, value in zip(names, form.shapes, values, strict=True):
            self.arrays.append(check_out(caller, called, value, shape, dtype, {}))
        others = {n: a for n, a in inputs.items() if isinstance(a, np.ndarray)}
        arrays = [*self.arrays, *others.values()]
        disjoint_spans(caller, [*names, *others], arrays, len(values))
        if dtype is network.dtype:
            self.flat = _one_vector(network, values)

    def parts(self, flat: Array) -> list[Array]:
        """Return the views of a flat vector that belong to the arrays."""
        return [flat] if self.form is None else self.form.arrays(self.network, flat)

    def start(self) -> Array:
        """Return a flat vector of what is there: to add to."""
        flat = np.empty(self.network.size, self.network.dtype)
        with np.errstate(all="ignore"):
            for view, array in zip(self.parts(flat), self.arrays, strict=True):
                view[...] = array
        return flat

    def added(self, grad: Array) -> Array:
        """Return the sum of what is there and a new gradient, a flat vector."""
        total = np.empty(self.network.size, self.dtype)
        with np.errstate(all="ignore"):
            rows = zip(self.parts(total), self.arrays, self.parts(grad), strict=True)
            for view, array, some in rows:
                np.add(array, some, out=view)
        return total

    def deliver(self, grad: Array) -> Any:
        """Return the gradient as it was asked for, written to `out` if that was given."""
        if self.out is None:
            grad = deliver(grad, self.dtype, None)
            return grad if self.form is None else self.form.views(self.network, grad)
        if grad is not self.flat:
            for view, array in zip(self.parts(grad), self.arrays, strict=True):
                deliver(view, self.dtype, array)
        return self.out
