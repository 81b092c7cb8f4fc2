"""Dicts and lists of parameters at the speed of a flat vector: a form that was met twice is known.

Python looks into the dict at each call; compiled code checks the arrays, finds the vector that they
are views of or copies them into a new one, and makes the views of a gradient: 2 us, where
`shared.forms`, which finds the mistakes, takes 40.
"""

from __future__ import annotations

from itertools import chain
from operator import itemgetter
from typing import Any

from fastgrad.arrays import Array
from fastgrad.kernels.network.form_table import knows_base, make_table
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.forms import Form, flat_of, layers_of


class _Known:
    """The compiled way to a flat vector and back, of one form."""

    def __init__(self, network: Architecture, form: Form) -> None:
        from fastgrad.kernels.calls.entry import entry

        parts = [p.elements for p in network.parts]
        self.form, self.count = form, len(parts)
        self.table = make_table(network.size, list(zip(parts, form.shapes, strict=True)))
        self.gather = entry("forms", "form_gather", network.dtype.name)
        self.split = entry("forms", "form_views", network.dtype.name)
        self.get: Any = None
        if form.keys is not None and len(parts) > 1:
            self.get = itemgetter(*form.keys)

    def flat(self, params: Any) -> Any:
        """Return the flat vector; None if something is another than it was."""
        try:
            if self.get is None:
                pairs = [len(pair) == 2 for pair in params]
                values = tuple(chain.from_iterable(params)) if all(pairs) else ()
            else:
                values = self.get(params) if len(params) == self.count else ()
            return self.gather(values, self.table)
        except (LookupError, TypeError):
            return None

    def views(self, network: Architecture, flat: Array) -> Any:
        """Return the views of a vector in this form."""
        arrays = self.split(flat, self.table)
        if arrays is None:
            return self.form.views(network, flat)
        if self.form.keys is not None:
            return dict(zip(self.form.keys, arrays, strict=True))
        return layers_of(network, arrays)


def _arrays(params: Any) -> list[Any]:
    """Return the arrays of a dict or of pairs."""
    return list(params.values()) if isinstance(params, dict) else list(chain.from_iterable(params))


class Forms:
    """The form in which a network's parameters come."""

    def __init__(self) -> None:
        self.known: _Known | None = None
        self.met: Form | None = None

    def flat_of(self, network: Architecture, caller: str, params: Any) -> tuple[Any, Any]:
        """Return parameters as a flat vector, and their form: see `shared.forms.flat_of`."""
        known = self.known
        if known is not None:
            flat = known.flat(params)
            if flat is not None:
                return flat, known.form
        flat, form = flat_of(network, caller, params)
        if form is not None and (known is None or form != known.form):
            # A script that calls once does not wait for a compiler.
            if form == self.met and knows_base():
                self.known = _Known(network, form)
            self.met = form
        return flat, form

    def output(self, form: Form, out: Any) -> Any:
        """Return the flat vector that an `out` is the views of.

        None if that is for `shared.forms` to say: where arrays lie apart, or may not be written to.
        """
        known = self.known
        if known is None or form is not known.form or out is None:
            return None
        whole = known.flat(out)
        if whole is None:
            return None
        arrays = _arrays(out)
        if arrays[0].base is not whole or not all(array.flags.writeable for array in arrays):
            return None
        return whole

    def views(self, network: Architecture, form: Form, flat: Array) -> Any:
        """Return a flat vector's arrays in a form that `flat_of` has returned."""
        known = self.known
        if known is not None and form is known.form:
            return known.views(network, flat)
        return form.views(network, flat)
