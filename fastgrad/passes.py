"""Passes of a network over samples: checks, conversion, and jobs in pieces, shared over threads.

A job (`kernels.plan_table`) is run in pieces of some 50 ms, between which Python sees Ctrl-C.
Arrays that the kernel takes are used where they lie. Others, say images of bytes in a file far
larger than memory, are converted a window of samples at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastgrad import threads
from fastgrad.activations import Activation
from fastgrad.arrays import INT64, Array, as_array, as_native, as_natives, check_out, deliver
from fastgrad.kernels import plan_table as at
from fastgrad.kernels.plan_table import Plan, Stage, make_plan
from fastgrad.kernels.target import ACTIVATION_COST, BATCH_BLOCK
from fastgrad.losses import REDUCTIONS, ArrayLoss, Loss, are_classes, check_range

# Multiply-adds of the first piece of a job: 2 to 20 ms. Later pieces follow the clock.
FIRST_PIECE, SHORTEST, LONGEST = 1 << 29, 0.02, 0.08
# Bytes of samples converted at a time.
WINDOW = 1 << 22


class Layer(NamedTuple):
    """One layer of a network: widths, places in the flat vector, activation."""

    inputs: int
    outputs: int
    w: slice
    b: slice | None
    activation: Activation


class Samples(NamedTuple):
    """Checked inputs and targets, one sample a row; views of what was given."""

    x: Array  # (n, d)
    target: Array | None  # (n, k), or the classes (n,)
    labels: bool
    native: bool  # whether the kernel takes both as they are


@dataclass
class Network:
    """What `MLP` compiles to: a plan, workspaces, and the ways to run it."""

    layers: Sequence[Layer]
    size: int
    loss: Loss | ArrayLoss
    reduction: str
    columns: bool
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.layers[0].inputs, self.layers[-1].outputs
        # Multiply-adds per sample, forward and backward.
        self.cost = sum((3 * a.inputs + 2 * ACTIVATION_COST) * a.outputs for a in self.layers)
        self.words: Array | None = None
        self.calls = {"gradient": 0, "predict": 0}
        # The compiled entry points, once they are loaded.
        self.direct: Callable[..., Any] | None = None
        self.direct_predict: Callable[..., Any] | None = None
        # Workspaces that no call is using: for one thread, and for threads that share a job.
        self.spaces: list[Array] = []
        self.shared_spaces: list[Array] = []
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        """Return the table the kernel reads; compiles or loads what it refers to."""
        if self._plan is None:
            dtype = self.dtype.name
            stages = [
                Stage(
                    layer.inputs, layer.outputs, layer.w.start,
                    -1 if layer.b is None else layer.b.start,
                    layer.activation.record(dtype), not layer.activation.from_output,
                )
                for layer in self.layers
            ]  # fmt: skip
            loss = (
                self.loss.address(dtype),
                REDUCTIONS.index(self.reduction),
                self.loss.rowwise,
                isinstance(self.loss, ArrayLoss),
            )
            # Fewer samples are one uninterruptible call in one thread.
            most = max(2, threads.SHARE_FROM // self.cost)
            plan = make_plan(stages, dtype, self.size, self.columns, most, loss)
            self._plan, self.words = plan, plan.words
        return self._plan

    def take_space(self, shared: bool = False) -> Array:
        """Return a workspace for one thread, alone or sharing the work with others."""
        try:
            return (self.shared_spaces if shared else self.spaces).pop()
        except IndexError:
            plan = self.plan()
            return np.empty((plan.bytes_shared if shared else plan.bytes_alone) + 64, np.uint8)

    def called_again(self, what: str) -> bool:
        """Return whether this is not the first call of its kind: now the direct way pays.

        Its entry point takes a second to compile, where it is not in the cache: not for a script
        whose network is called once, or only trained.
        """
        self.calls[what] += 1
        return self.calls[what] > 1

    # -- checks -------------------------------------------------------------------------------
    def check_params(self, caller: str, params: Array) -> None:
        """Raise unless `params` is a vector of as many parameters as there are."""
        if params.shape != (self.size,):
            raise ValueError(
                f"{caller}: params has shape {params.shape} but the network has {self.size} "
                f"parameters: it needs shape ({self.size},)"
            )

    def native_params(self, caller: str, params: ArrayLike) -> Array:
        """Return `params` as a contiguous vector of the network's dtype."""
        array = as_array(caller, "params", params)
        self.check_params(caller, array)
        return np.ascontiguousarray(as_native(array, self.dtype))

    def samples(self, caller: str, x: ArrayLike, target: ArrayLike | None) -> Samples:
        """Return checked inputs and targets; `target` None is right for losses of one array."""
        given = as_array(caller, "x", x)
        inputs = self._inputs(caller, given)
        n, single = len(inputs), given.ndim == 1
        if isinstance(self.loss, ArrayLoss) != (target is None):
            rule = "takes no target" if target is not None else "needs a target"
            raise TypeError(f"{caller}: the loss {self.loss.name} {rule}")
        if target is None:
            return Samples(inputs, None, False, self._takes(inputs))
        goal = as_array(caller, "target", target)
        shape = (self.outputs,) if single else (n, self.outputs)
        if self.columns and not single:
            shape = shape[::-1]
        if self.loss.rowwise and goal.ndim == len(shape) - 1:
            classes = self._classes(caller, goal.reshape(-1) if single else goal, n)
            return Samples(inputs, classes, True, self._takes(inputs))
        if goal.shape != shape:
            classes_too = f", or classes of shape ({n},)" if self.loss.rowwise else ""
            raise ValueError(
                f"{caller}: target has shape {goal.shape} but the network's output for "
                f"x of shape {given.shape} has shape {shape}{classes_too}"
            )
        goal = goal[None] if single else goal.T if self.columns else goal
        return Samples(inputs, goal, False, self._takes(inputs, goal))

    def _inputs(self, caller: str, array: Array) -> Array:
        """Return x with one sample a row."""
        forms = f"({self.inputs}, n)" if self.columns else f"(n, {self.inputs})"
        axis = 0 if self.columns else -1
        if array.ndim not in (1, 2) or array.shape[axis] != self.inputs:
            raise ValueError(
                f"{caller}: x has shape {array.shape} but the network has {self.inputs} inputs: "
                f"it needs shape {forms} or ({self.inputs},)"
            )
        return array[None] if array.ndim == 1 else array.T if self.columns else array

    def _classes(self, caller: str, classes: Array, n: int) -> Array:
        if not are_classes(classes, (n,)):
            raise ValueError(
                f"{caller}: target has shape {classes.shape} and dtype {classes.dtype}: give "
                f"integer classes of shape ({n},), or an array like the network's output"
            )
        self.check_range(caller, classes)
        return np.ascontiguousarray(classes, INT64)

    def check_range(self, caller: str, classes: Array) -> None:
        """Raise unless there are as many outputs as the classes need."""
        check_range(caller, classes, self.outputs, f"the network has {self.outputs} outputs")

    def _takes(self, *arrays: Array) -> bool:
        return all(
            a.dtype == self.dtype
            and a.flags.aligned
            and all(step % a.itemsize == 0 for step in a.strides)
            for a in arrays
        )

    # -- passes -------------------------------------------------------------------------------
    def predict(self, caller: str, params: ArrayLike, x: ArrayLike, out: Array | None) -> Array:
        """Return the last layer's output for every sample."""
        params, x = as_array(caller, "params", params), as_array(caller, "x", x)
        if self.direct_predict is None and self.called_again("predict"):
            from fastgrad.kernels.library import entry

            self.plan()
            self.direct_predict = entry("predict", "network_predict", self.dtype.name)
        if self.direct_predict is not None and out is None:
            y = self._converted(self.direct_predict, params, x)
            if y is not None:
                return y  # type: ignore[no-any-return]
        p, inputs = self.native_params(caller, params), self._inputs(caller, x)
        n, k = len(inputs), self.outputs
        if out is not None:
            shape = (k,) if x.ndim == 1 else (k, n) if self.columns else (n, k)
            check_out(caller, "out", out, shape, self.dtype, {"params": params, "x": x})
        y = np.empty((n, k), self.dtype)
        data = Samples(inputs, None, False, self._takes(inputs))
        if n:
            Job(self, p, None, data, n, out=y).run()
        y = y[0] if x.ndim == 1 else y.T if self.columns else y
        return deliver(y, self.dtype, out)

    def value_and_grad(
        self,
        caller: str,
        params: ArrayLike,
        x: ArrayLike,
        target: ArrayLike | None,
        out: Array | None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient with respect to `params`."""
        params, x = as_array(caller, "params", params), as_array(caller, "x", x)
        target = None if target is None else as_array(caller, "target", target)
        if self.direct is None and self.called_again("gradient"):
            from fastgrad.kernels.library import entry

            self.plan()
            self.direct = entry("network", "network_value_and_grad", self.dtype.name)
        if self.direct is not None and out is None:
            pair = self._converted(self.direct, params, x, target)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        p, data = self.native_params(caller, params), self.samples(caller, x, target)
        if out is not None:
            inputs = {"params": params, "x": x, "target": target}
            check_out(caller, "out", out, (self.size,), self.dtype, inputs)
        n = len(data.x)
        if n == 0:
            return self.reduced(0.0, 0), deliver(np.zeros(self.size, self.dtype), self.dtype, out)
        usable = out is not None and out.flags.aligned and out.flags.c_contiguous
        grad = out if usable and out is not None else np.empty(self.size, self.dtype)
        job = Job(self, p, grad, data, n)
        job.run()
        return self.reduced(job.all_terms, n), deliver(grad, self.dtype, out)

    def _converted(
        self,
        direct: Callable[..., Any],
        params: Array,
        x: Array,
        *target: Array | None,
    ) -> Any:
        """Return what an entry point makes of few samples, converted, or None: check everything."""
        p, inputs, goals = params, x, list(target)
        few = all(a is None or a.nbytes <= WINDOW for a in (inputs, *goals))
        if not few or p.shape != (self.size,):
            return None
        p, inputs = as_natives(self.dtype, p, inputs)
        for i, goal in enumerate(goals):
            if goal is not None:
                classes = self.loss.rowwise and goal.ndim == 1 and inputs.ndim == 2
                dtype = INT64 if classes and goal.dtype.kind in "iu" else self.dtype
                goals[i] = as_native(goal, dtype)
        space = self.take_space()
        result = direct(p, inputs, *goals, None, self.words, space)
        self.spaces.append(space)
        return result

    def reduced(self, terms: float, n: int) -> float:
        """Return the loss of n samples whose terms add up to `terms`."""
        if self.reduction == "sum":
            return terms
        per_sample = self.reduction == "samples" or self.loss.rowwise
        count = n if per_sample else n * self.outputs
        return terms / count if count else math.nan  # the mean of nothing


class Job:
    """One pass over samples, in batches of `batch`: a gradient, predictions or an epoch's steps."""

    def __init__(
        self,
        network: Network,
        params: Array,
        gradient: Array | None,
        data: Samples,
        batch: int,
        *,
        order: Array | None = None,
        optimizer: Array | None = None,
        out: Array | None = None,
    ) -> None:
        self.network, self.data, self.batch, self.order = network, data, batch, order
        self.count = len(data.x)
        self.kept = (params, gradient, optimizer, out)  # the job's words are only addresses
        per_batch = -(-batch // BATCH_BLOCK)
        last = self.count % batch
        self.blocks = self.count // batch * per_batch + -(-last // BATCH_BLOCK)
        # Blocks of one batch, or of a prediction, do not wait for each other.
        shares = threads.shares(self.count * network.cost)
        self.parts = min(shares, self.blocks if out is not None else per_batch)
        words = self.words = np.zeros(at.JOB, INT64)
        words[at.PLAN], words[at.PARAMS] = network.plan().words.ctypes.data, params.ctypes.data
        words[at.COUNT], words[at.BATCH] = self.count, batch
        words[at.SHARED] = self.parts > 1
        for index, array in ((at.GRADIENT, gradient), (at.UPDATE, optimizer), (at.OUT, out)):
            words[index] = 0 if array is None else array.ctypes.data

    @property
    def all_terms(self) -> float:
        """The sum of the loss's terms over all samples so far."""
        return float(self.words.view(np.float64)[at.ALL_TERMS])

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Run all blocks; `progress` is told the number of samples after each piece."""
        from fastgrad.kernels.library import plain_function

        network = self.network
        spaces = [network.take_space(self.parts > 1) for _ in range(self.parts)]
        work = plain_function("plan", "plan_work", network.dtype.name, words=2)
        tasks = [
            partial(work, self.words.ctypes.data, -(-space.ctypes.data // 64) * 64)
            for space in spaces
        ]
        piece = max(1, FIRST_PIECE // (min(self.batch, BATCH_BLOCK) * network.cost))
        done = window = 0
        while done < self.blocks:
            if done == window:
                window = self._attach(done)
            stop = min(window, done + piece * self.parts)
            self.words[[at.NEXT, at.COMMITTED, at.STOP]] = done, done, stop
            start = perf_counter()
            if self.parts == 1:
                tasks[0]()
            else:
                threads.run([[task] for task in tasks])
            seconds = perf_counter() - start
            if seconds < SHORTEST:
                piece *= 2
            elif seconds > LONGEST:
                piece = max(1, piece // 2)
            done = stop
            if progress is not None:
                progress(self._position(done))
        (network.shared_spaces if self.parts > 1 else network.spaces).extend(spaces)

    def _position(self, block: int) -> int:
        """Return how many samples the blocks before `block` hold."""
        per_batch = -(-self.batch // BATCH_BLOCK)
        batches, part = divmod(block, per_batch)
        return min(self.count, batches * self.batch + part * BATCH_BLOCK)

    def _attach(self, block: int) -> int:
        """Point the job at the samples from `block` on; return up to which block that holds."""
        data, dtype = self.data, self.network.dtype
        if data.native:
            arrays, first, last, order = (data.x, data.target), 0, self.blocks, self.order
        else:
            size = min(self.batch, BATCH_BLOCK)
            row = 8 * (data.x.shape[1] + self.network.outputs)
            last = min(self.blocks, block + max(1, WINDOW // (size * row)))
            first = self._position(block)
            where: Any = slice(first, self._position(last))
            if self.order is not None:
                where = self.order[where]
            x = as_native(data.x[where], dtype)
            target = None if data.target is None else data.target[where]
            if target is not None and not data.labels:
                target = as_native(target, dtype)
            arrays, order = (x, target), None
        self.attached = arrays
        words, (x, target) = self.words, arrays
        words[at.ORDER] = 0 if order is None else order.ctypes.data
        # As if the window began at sample 0.
        words[at.X_AT] = x.ctypes.data - first * x.strides[0]
        words[[at.X_ROW, at.X_COL]] = [step // x.itemsize for step in x.strides]
        words[at.LABELS], words[at.T_AT] = data.labels, 0
        if target is not None:
            words[at.T_AT] = target.ctypes.data - first * target.strides[0]
            if not data.labels:
                words[[at.T_ROW, at.T_COL]] = [step // target.itemsize for step in target.strides]
        return last
