"""What all optimizers share: checks of their settings, the table of their kernel, and `step`."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from fastgrad.arguments import check_number
from fastgrad.arrays import Array, as_array
from fastgrad.optimizers.tree_state import TreeState, began, fortran, work_dtype
from fastgrad.trees import Span, disjoint_spans, gradients, tree_of, updated

Range = tuple[int, int, bool]  # of a flat vector: first, one after the last, whether it decays


class Memory(NamedTuple):
    """What an optimizer remembers of earlier steps on one flat vector."""

    vectors: list[Array]  # of the parameters' shape and dtype
    powers: list[float]  # settings to the power of the number of steps
    steps: int = 0

    def copy(self) -> Memory:
        """Return a copy."""
        return Memory([vector.copy() for vector in self.vectors], list(self.powers), self.steps)


class Optimizer:
    """What all optimizers share: settings, and steps on the arrays of a script.

    What ``step`` remembers is stored beside the settings: ``==`` and ``repr`` ignore it, pickles
    and copies include it.
    """

    kernel: ClassVar[str]  # update_KERNEL in kernels/network/update.py
    settings: ClassVar[tuple[str, ...]]  # attributes that the kernel gets, as float64
    lr: Any  # a number, or a callable of the step
    weight_decay: float
    decay: Callable[[Any, Array], Any] | None
    powers: ClassVar[int] = 0  # how many settings it keeps to the power of the number of steps
    _state: TreeState | None = None
    _compiled: Any = None  # the CompiledStep of the state
    _again: Any = None  # the step of a tree like the last one; None if there is none

    def vectors(self) -> tuple[str, ...]:
        """Return the names of the vectors that a step needs from earlier steps."""
        raise NotImplementedError

    def first_value(self) -> float:
        """Return the first value of these vectors' elements."""
        return 0.0

    # -- steps on a flat vector, for MLP.fit ------------------------------------------------------
    def begin(self, size: int, dtype: str) -> Memory:
        """Return the memory before the first step of `size` parameters."""
        vectors = [np.full(size, self.first_value(), dtype) for _ in self.vectors()]
        return Memory(vectors, [1.0] * self.powers)

    def table(self, memory: Memory, params: Array, gradient: Array, ranges: list[Range]) -> Array:
        """Return the kernel's table, which refers to these arrays and holds the memory's powers."""
        from fastgrad.kernels.network import update_table as at
        from fastgrad.optimizers.compiled_step import rows_of, table_of

        count, size = len(ranges), params.itemsize
        table = table_of(self, params.dtype.name, memory.powers, memory.steps, count)
        for row, (first, last, decays) in zip(rows_of(table), ranges, strict=True):
            vectors = [vector.ctypes.data + first * size for vector in memory.vectors]
            row[at.PARAMS] = params.ctypes.data + first * size
            row[at.GRAD] = gradient.ctypes.data + first * size
            row[at.ELEMENTS], row[at.DECAYS] = last - first, decays
            row[at.VECTORS : at.VECTORS + len(vectors)] = vectors
        return table

    def take_rates(self, table: Array, count: int) -> Array | None:
        """Give a table the learning rates of the next steps; return the object that holds them."""
        from fastgrad.kernels.network import update_table as at

        if not callable(self.lr):
            return None
        first = int(table[at.STEPS])
        rates = np.array([self.rate("MLP.fit", first + i) for i in range(count)])
        table[at.RATES], table[at.FIRST_RATE] = rates.ctypes.data, first
        return rates

    def memory_of(self, table: Array, vectors: list[Array]) -> Memory:
        """Return the memory after the steps that a table has made."""
        from fastgrad.kernels.network import update_table as at

        first = at.SETTINGS + len(self.numbers())
        powers = table.view(np.float64)[first : first + self.powers].tolist()
        return Memory(vectors, powers, int(table[at.STEPS]))

    def rate(self, function: str, step: int) -> float:
        """Return the checked learning rate of a step; the first step is 0."""
        if not callable(self.lr):
            return float(self.lr)
        value: Any = self.lr(step)
        kind = type(value).__name__
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{function}: lr({step}) is a {kind}: a schedule returns a number")
        if not 0 <= float(value) < math.inf:
            raise ValueError(
                f"{function}: lr({step}) is {value!r}: a schedule returns what is finite and at "
                "least 0"
            )
        return float(value)

    def numbers(self) -> list[float]:
        """Return the settings' values; a pair gives two."""
        values = [getattr(self, name) for name in self.settings]
        values = [0.0 if callable(value) else value for value in values]  # a schedule
        return [float(x) for v in values for x in (v if isinstance(v, tuple) else (v,))]

    # -- steps on the arrays of a script ----------------------------------------------------------
    def step(self, params: Any, grads: Any) -> None:
        """Update every array of `params` in place, by its gradient.

        In the first step an optimizer learns the structure of its tree. Later steps need the same
        structure; the arrays may be others of the same shapes.

        Parameters
        ----------
        params : array, or dict, list or tuple of arrays, nested
            float32, float64 or float16 (computed in float32), of any strides; None is no array.
        grads : like `params`
            Of the same shapes, of any dtype that NumPy converts to numbers. The keys of `params`,
            also with ``d`` or ``grad_`` in front: ``W1``, ``dW1``, ``grad_W1``.

        Raises
        ------
        TypeError, ValueError
            If an array is missing, unexpected, of another shape, read-only, or shares memory with
            one that is updated. Then nothing has been updated.

        Notes
        -----
        Weight decay is for arrays of two axes or more and for an array that is the whole tree. If
        `decay` is given, it is for arrays whose ``decay(key, array)`` is true; the key of a nested
        array is the tuple of all keys that lead to it. `decay` is called in the first step.

        The optimizer stores what it remembers in arrays like `params`, by their place in the tree.
        After the first step it makes no new arrays. A contiguous array is updated in place, others
        through buffers that are kept.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> params = {"W": np.ones((2, 3)), "b": np.zeros(3)}
        >>> opt = fg.SGD(lr=0.5)
        >>> opt.step(params, {"dW": np.ones((2, 3)), "db": np.ones(3)})
        >>> params["W"][0].tolist(), params["b"].tolist()
        ([0.5, 0.5, 0.5], [-0.5, -0.5, -0.5])
        """
        if self._again is None or self._again(params, grads) is None:
            self._checked_step(params, grads)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what ``step`` remembers.

        Returns
        -------
        dict
            "optimizer", "steps", "powers", and each vector by its name, as a tree like the
            parameters, of dicts and lists. After `load_state_dict`, steps continue to the bit.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt = fg.Adam()
        >>> opt.step({"W": np.ones(2)}, {"W": np.ones(2)})
        >>> state = opt.state_dict()
        >>> state["steps"], state["mean"]["W"].round(3).tolist()
        (1, [0.1, 0.1])
        """
        state = self._synchronized()
        made: dict[str, Any] = {"optimizer": type(self).__name__, "steps": 0}
        if state is not None:
            made |= {"steps": state.steps, "powers": list(state.powers), "decays": None}
            made["decays"] = state.tree.build(iter(state.decays))
            made["dtypes"] = state.tree.build(iter([dtype.str for dtype in state.dtypes]))
            made["shapes"] = state.tree.build(iter(state.shapes))
            for number, name in enumerate(self.vectors()):
                copies = [some[number].copy(order="K") for some in state.vectors]
                made[name] = state.tree.build(iter(copies))
        return made

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` of an optimizer of the same kind returned.

        Raises
        ------
        TypeError, ValueError
            If it is anything else.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt, p = fg.SGD(lr=0.1, momentum=0.9), np.ones(2)
        >>> opt.step(p, p.copy())
        >>> other = fg.SGD(lr=0.1, momentum=0.9)
        >>> other.load_state_dict(opt.state_dict())
        """
        kind = type(self).__name__
        caller = f"{kind}.load_state_dict"
        if not isinstance(state, dict) or "optimizer" not in state:
            raise TypeError(f"{caller}: state is a {type(state).__name__}: give a state_dict")
        if state["optimizer"] != kind:
            raise ValueError(f"{caller}: state is of {state['optimizer']}: give that of {kind}")
        needed = {"steps", "powers", "decays", "dtypes", "shapes", *self.vectors()}
        if "powers" not in state:
            self.reset()
            return
        if missing := sorted(needed - set(state)):
            raise ValueError(
                f"{caller}: state has no {missing[0]!r}: {kind} needs it with these settings"
            )
        tree = tree_of(caller, "state['decays']", state["decays"])
        shapes = [tuple(shape) for shape in tree.values(state["shapes"])]
        dtypes = [np.dtype(dtype) for dtype in tree.values(state["dtypes"])]
        vectors: list[list[Array]] = [[] for _ in shapes]
        for name in self.vectors():
            for called, value, shape, dtype, kept in zip(
                tree.names(name), tree.values(state[name]), shapes, dtypes, vectors, strict=True
            ):
                array = as_array(caller, called, value)
                one_for_all = kept[0] if kept else array
                order: Literal["C", "F"] = "F" if fortran(one_for_all) else "C"
                vector = np.array(array, work_dtype(dtype), order=order)
                if vector.shape != shape:
                    raise ValueError(f"{caller}: {called} has shape {vector.shape}, not {shape}")
                kept.append(vector)
        decays = [bool(decay) for decay in tree.values(state["decays"])]
        powers, steps = [float(number) for number in state["powers"]], int(state["steps"])
        self._keep(TreeState(tree, shapes, dtypes, decays, vectors, powers, steps))

    def reset(self) -> None:
        """Forget all that ``step`` remembers: the next step is a first step, of any tree.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt = fg.Adam(lr=0.1)
        >>> opt.step(np.ones(2), np.ones(2))
        >>> opt.reset()
        >>> opt.step({"W": np.ones(3)}, {"dW": np.ones(3)})
        """
        self._keep(None)

    def _keep(self, state: TreeState | None, compiled: Any = None, again: Any = None) -> None:
        for name, value in (("_state", state), ("_compiled", compiled), ("_again", again)):
            object.__setattr__(self, name, value)

    def _synchronized(self) -> TreeState | None:
        return self._state if self._compiled is None else self._compiled.synchronize()

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings and a copy of what ``step`` remembers."""
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_compiled", "_again")}
        state = self._synchronized()
        return kept if state is None else kept | {"_state": state.copy()}

    def _checked_step(self, params: Any, grads: Any) -> None:
        """Check all arguments, then make the step."""
        caller = f"{type(self).__name__}.step"
        tree = tree_of(caller, "params", params)
        state = self._state
        if state is not None:
            state.check_tree(caller, tree)
            tree = state.tree
        arrays = updated(caller, "params", tree, params)
        if state is not None:
            state.check_arrays(caller, arrays)
        own, slopes = gradients(caller, tree, grads, arrays)
        names = [*tree.names("params"), *own.names("grads")]
        spans = disjoint_spans(caller, names, [*arrays, *slopes], len(arrays))[: len(arrays)]
        if state is None:
            decays = [
                self.decays(path[0] if len(path) == 1 else path, a, a.ndim > 1 or not path)
                for path, a in zip(tree.paths(), arrays, strict=True)
            ]
            state = began(tree, arrays, self.vectors(), self.first_value(), self.powers, decays)
        self._run(state, arrays, slopes, spans, own)

    def _run(
        self, state: TreeState, params: list[Array], grads: list[Array], spans: list[Span], own: Any
    ) -> None:
        """Make a checked step, compiled; `own` is the structure of the gradients."""
        from fastgrad.optimizers.compiled_step import CompiledStep

        compiled = self._compiled
        if compiled is None or compiled.state is not state:
            compiled = CompiledStep(self, state, params)
        compiled.run(params, grads, spans)
        again = _again(compiled, state.tree.gatherer(), own.gatherer())
        self._keep(state, compiled, again if not callable(self.lr) else _scheduled(compiled, again))

    def at_step(self, step: int, decays: bool) -> Any:
        """Return the same optimizer with this step's learning rate, without decay if asked."""
        rule = object.__new__(type(self))
        rule.__dict__.update({k: v for k, v in self.__dict__.items() if not k.startswith("_")})
        rule.__dict__["lr"] = self.rate(f"{type(self).__name__}.step", step)
        if not decays:
            rule.__dict__["weight_decay"] = 0.0
        return rule

    def decays(self, key: Any, array: Array, default: bool) -> bool:
        """Return whether weight decay is for an array: what `decay` says, if given."""
        return default if self.decay is None else bool(self.decay(key, array))

    def _check_decay(self) -> None:
        if self.decay is not None and not callable(self.decay):
            kind, given = type(self).__name__, type(self.decay).__name__
            raise TypeError(f"{kind}: decay is a {given}: give a function of key and array")

    def _check(self, **bounds: tuple[float, float]) -> None:
        """Raise unless each named setting is a number from its first bound to below its second."""
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if name == "lr" and callable(value):
                continue
            for number in value if isinstance(value, tuple) else (value,):
                kind = type(self).__name__
                check_number(kind, name, number)
                positive = name in ("lr", "eps")
                if not low <= number < high or (positive and number == 0):
                    rule = "positive" if positive else "at least 0"
                    rule += "" if high == math.inf else f" and below {high:g}"
                    raise ValueError(f"{kind}: {name} is {value!r}: it must be finite and {rule}")


def _again(compiled: Any, gather: Any, gather_grads: Any) -> Any:
    """Return a quick step for trees like the last one; for others it returns None."""
    call, table = compiled.call, compiled.first

    def again(params: Any, grads: Any) -> Any:
        try:
            return call(gather(params), gather_grads(grads), table, None)
        except (LookupError, TypeError):
            return None

    return again


def _scheduled(compiled: Any, again: Any) -> Any:
    """Return what `_again` does, with the learning rate of each step."""

    def scheduled(params: Any, grads: Any) -> Any:
        compiled.take_rate()
        return again(params, grads)

    return scheduled
