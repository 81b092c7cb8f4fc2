"""A network for the kernels: its layers in the flat vector, its plan, and workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastgrad import threads
from fastgrad.arguments import REDUCTIONS
from fastgrad.arrays import INT64, Array
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.network.plan_table import Plan, make_plan
from fastgrad.kernels.toolchain.undisturbed import COMPILE_LOCK
from fastgrad.layers.sparse_arguments import SparseParts
from fastgrad.layers.sparse_rows import sparse_rows
from fastgrad.networks.quick_forms import Forms
from fastgrad.networks.shared.architecture import Architecture
from fastgrad.networks.shared.sparse_samples import SparseSamples
from fastgrad.networks.sparse_input import sparse_input


class Network(Architecture):
    """A network for the kernels: with a plan, and the workspaces to run it in."""

    back = False  # whether only the way back is run, as far as x

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cost = sum(layer.cost for layer in self.layers)
        # Workspaces that no call is using, kept as long as the network.
        self.spaces: list[Array] = []
        self.part_spaces: list[Array] = []
        self.plan_layers: Sequence[Any] = self.layers
        self._sparse: Network | None = None
        self._plan: Plan | None = None
        self.forms = Forms()
        self._detailed_plan: Plan | None = None

    def plan(self) -> Plan:
        """Return the table the kernel reads; compiles or loads what it refers to.

        It is made only once, even if several threads call first: jobs refer to it by address.
        """
        if self._plan is None:
            dtype = self.dtype.name
            loss = (
                self.loss.address(dtype),
                REDUCTIONS.index(self.reduction),
                self.loss.rowwise,
                not self.loss.takes_target,
                self.loss.probabilities,
            )
            # Fewer samples are one uninterruptible call in one thread.
            most = max(2, threads.SHARE_FROM // self.cost)
            with COMPILE_LOCK.lock:
                if self._plan is None:
                    plan = make_plan(
                        self.plan_layers,
                        dtype,
                        self.size,
                        self.columns,
                        most,
                        loss,
                        (self.l1, self.l2),
                        self.rates,
                        self.back,
                    )
                    if self.loss.adjusted:
                        self._in_detail(plan.words)
                    self._plan = plan
        return self._plan

    def for_sparse(self) -> Network:
        """Return this network with a plan, and workspaces, for a sparse x."""
        if self._sparse is None:
            made, first = replace(self), self.layers[0]
            made.plan_layers = [sparse_input(first, self.dtype.itemsize), *self.layers[1:]]
            made.cost -= 3 * first.inputs * first.outputs  # as many products as there are entries
            self._sparse = made
        return self._sparse

    def _sparse_samples(self, caller: str, x: SparseParts) -> SparseSamples:
        rows = sparse_rows(caller, "x", x, self.dtype)
        starts = rows.indptr.astype(INT64, copy=False)
        return SparseSamples(starts, rows.indices, rows.data, self.inputs)

    def cost_of(self, x: Any) -> int:
        """Return the multiply-adds of a sample, forward and backward."""
        if not isinstance(x, SparseSamples):
            return self.cost
        return self.cost + 3 * self.layers[0].outputs * -(-len(x.indices) // max(len(x), 1))

    def _in_detail(self, words: Array) -> None:
        """Let a plan's loss be `kernels.network.loss`, which knows of settings and weights."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        dtype = self.dtype.name
        words[at.LOSS] = LIBRARY.address("loss_stage", "loss_stage", dtype)
        words[at.TERMS_OF_LOSS] = self.loss.detailed_address(dtype)
        words.view(np.float64)[at.SETTING] = self.loss.setting

    def detailed_plan(self) -> Plan:
        """Return the plan whose loss knows of weights."""
        plan = self.plan()
        with COMPILE_LOCK.lock:
            if self._detailed_plan is None:
                words = plan.words.copy()
                self._in_detail(words)
                self._detailed_plan = replace(plan, words=words)
        return self._detailed_plan

    def weighted_plan(self) -> Plan:
        """Return a new copy of that plan, to write a call's weights to."""
        plan = self.detailed_plan()
        return replace(plan, words=plan.words.copy())

    def takes(self, *arrays: Array) -> bool:
        """Return whether kernels read these arrays as they are."""
        return all(
            isinstance(a, SparseSamples)
            or (
                a.dtype == self.dtype
                and a.flags.aligned
                and all(step % a.itemsize == 0 for step in a.strides)
            )
            for a in arrays
        )

    @property
    def terms_of_sample(self) -> int:
        """The number of the loss's terms of each sample."""
        return 1 if self.loss.rowwise else self.outputs

    def reduced(self, terms: Any, n: int) -> Any:
        """Return the loss of n samples whose terms add up to `terms`, a number or an array."""
        return self.loss._reduced(terms, self.reduction, n, n * self.outputs)

    # -- workspaces ---------------------------------------------------------------------------
    def take_space(self) -> Array:
        """Return a workspace with room for packed weights: enough for a single thread."""
        try:
            return self.spaces.pop()
        except IndexError:
            return np.empty(self.plan().bytes_whole + 64, np.uint8)

    def take_part_space(self) -> Array:
        """Return a workspace for a thread that reads the packed weights in another workspace."""
        try:
            return self.part_spaces.pop()
        except IndexError:
            return np.empty(self.plan().bytes_part + 64, np.uint8)

    def give_back(self, spaces: Sequence[Array]) -> None:
        """Keep one workspace, and one part for each possible thread, for the next call."""
        if not self.spaces:
            self.spaces.append(spaces[0])
        room = threads.get_num_threads() - 1 - len(self.part_spaces)
        self.part_spaces.extend(spaces[1 : 1 + max(room, 0)])


class WayBack(Network):
    """The same network with a plan for the way back alone, which needs other packed weights."""

    back = True
