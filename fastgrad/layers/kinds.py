"""The kinds of layers that a network is made of, each declared once.

A kind is a class: the names, shapes and initial values of its parameters, the cost of a sample, and
what its stages keep. The flat vector, `MLP.layers`, `pack` and `init`, the plan's rows and the
estimates of work all follow from that.

To add one
----------
``fastgrad/layers/kinds.py``
    Its class, and a row of KINDS.
``fastgrad/kernels/network/{name}.py``
    Its stages, ``stage_forward_{name}`` and ``stage_backward_{name}``.
``fastgrad/reference/{name}.py``, ``fastgrad/loops/{name}.py``
    Its twins, in NumPy and in plain loops.

The setting that asks for it, for example of `MLP`, is a change of its own, with the lines in which
the networks of the twins call their versions. For ``normalize=`` those are
``fastgrad/arguments.py``, ``fastgrad/networks/shared/architecture.py``,
``fastgrad/networks/mlp.py``, ``fastgrad/reference/network.py`` and ``fastgrad/loops/network.py``;
the tuples of parameters and gradients are in ``fastgrad/results.py``. A kind that packs weights
for its products has a third stage, and its name in PACKING of ``kernels/units.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastgrad.arrays import Array
from fastgrad.kernels.network import plan_table as at
from fastgrad.kernels.toolchain.target import ACTIVATION_COST
from fastgrad.kernels.units import PACKING
from fastgrad.results import LayerParams, NormParams

__all__ = ["KINDS", "Dense", "Layer", "LayerNorm"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a network, the base of all kinds: its widths and place in the flat vector."""

    name: ClassVar[str]
    parameters: ClassVar[Any]  # a named tuple of its arrays, in the order of the flat vector
    state: ClassVar[int] = 0  # numbers per sample that its stages keep for backward, beside x

    inputs: int
    outputs: int
    start: int  # its first element of the flat vector
    activation: Any  # an Activation, of fastgrad or of a twin

    # -- what a kind declares -----------------------------------------------------------------
    def shapes(self) -> tuple[Shape | None, ...]:
        """Return the shape of each parameter where samples are rows; None for one left out.

        Where samples are columns, matrices are transposed and vectors are columns.
        """
        raise NotImplementedError

    def init(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return each parameter's initial value: a number, or a matrix for samples in rows."""
        raise NotImplementedError

    @property
    def cost(self) -> int:
        """Multiply-adds per sample, forward and backward."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        """How many of its first parameters are weights, which `MLP` penalizes with l1 and l2."""
        return 0

    def lay_out(self, row: Array, places: at.Places, columns: bool) -> None:
        """Fill in this kind's own words of a plan's row; count the pieces of its gradient."""
        raise NotImplementedError

    # -- what follows from it -----------------------------------------------------------------
    @property
    def size(self) -> int:
        """Elements of the flat vector."""
        return sum(prod(shape) for shape in self.shapes() if shape is not None)

    def views(self, params: Array, columns: bool) -> Any:
        """Return the layer's parameters in a flat vector, as views."""
        found: list[Array | None] = []
        for place in self.places:
            if place is None:
                found.append(None)
            else:
                elements, in_rows, in_columns = place
                found.append(params[elements].reshape(in_columns if columns else in_rows))
        return self.parameters(*found)

    @cached_property
    def places(self) -> list[tuple[slice, Shape, Shape] | None]:
        """Each parameter's place in a flat vector, its shape for rows, and for columns."""
        found: list[tuple[slice, Shape, Shape] | None] = []
        end = self.start
        for shape in self.shapes():
            if shape is None:
                found.append(None)
                continue
            start, end = end, end + prod(shape)
            turned = (*shape, 1) if len(shape) == 1 else shape[::-1]
            found.append((slice(start, end), shape, turned))
        return found

    def stages(self, dtype: str) -> tuple[int, int, int]:
        """Return the addresses of the forward and the backward stage, and of packing or 0."""
        from fastgrad.kernels.toolchain.library import LIBRARY

        def address(stage: str) -> int:
            return LIBRARY.address(f"stage.{self.name}", f"stage_{stage}_{self.name}", dtype)

        pack = address("pack") if self.name in PACKING else 0
        return address("forward"), address("backward"), pack


@dataclass(frozen=True)
class Dense(Layer):
    """``activation(x @ w + b)``."""

    name = "dense"
    parameters = LayerParams
    bias: bool

    def shapes(self) -> tuple[Shape | None, ...]:
        """Return those of w and b."""
        return (self.inputs, self.outputs), (self.outputs,) if self.bias else None

    def init(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return normal weights: see `MLP.init`."""
        gain = 2 if self.activation.halving else 1
        w = rng.standard_normal((self.inputs, self.outputs)) * np.sqrt(gain / self.inputs)
        return w, 0.0

    @property
    def cost(self) -> int:
        """Three products of x, w and the gradient, and the activation forward and backward."""
        return (3 * self.inputs + 2 * ACTIVATION_COST) * self.outputs

    @property
    def weights(self) -> int:
        """All of w."""
        return self.inputs * self.outputs

    def lay_out(self, row: Array, places: at.Places, columns: bool) -> None:
        """Decide whether packed weights are transposed, and how many rows of w are a piece."""
        d, k, t = self.inputs, self.outputs, places.tile
        row[at.B] = self.start + d * k if self.bias else -1
        # Rows store w (d, k): in this order for y, transposed for grad_x. Columns: vice versa.
        # Rows of half a panel are as fast unpacked, and packing would more than double their size.
        small = d * k * t.itemsize <= t.direct_b
        for word, steps, outputs, lies in (
            (at.W_PACKED, d, k, not columns), (at.WT_PACKED, k, d, columns)
        ):  # fmt: skip
            # A single output's weights are contiguous, and stay unpacked. Layer 0 has no grad_x,
            # except where there is only the way back.
            unused = self.start == 0 and not places.back
            if word == at.W_PACKED:
                unused = k == 1 or places.back
            if not (unused or (lies and (small or outputs <= t.nr // 2))):
                row[word] = places.packed(steps, outputs)
        lines, line = (k, d) if columns else (d, k)
        row[at.PIECE] = min(lines, max(at.PIECE_BYTES // (line * t.itemsize) // t.mr * t.mr, t.mr))
        pieces = 1 + -(-lines // int(row[at.PIECE]))  # the first is grad_b
        row[at.FIRST_PIECE] = places.take_pieces(pieces, max(int(row[at.PIECE]) * line, k))


@dataclass(frozen=True)
class LayerNorm(Layer):
    """``activation(gain * (x - mean) / sqrt(variance + 1e-5) + shift)``; it follows another layer.

    Each sample has its own mean and variance: the stages' file has the formulas.
    """

    name = "layer_norm"
    parameters = NormParams
    state = 3  # mean, what rounding left of it, 1 / sqrt(variance + 1e-5)

    def shapes(self) -> tuple[Shape | None, ...]:
        """Return those of gain and shift."""
        return (self.outputs,), (self.outputs,)

    def init(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return ones and zeros, which do not change a normalized x."""
        return 1.0, 0.0

    @property
    def cost(self) -> int:
        """Six passes over the numbers of a sample cost about what two activations do."""
        return 4 * ACTIVATION_COST * self.outputs

    def lay_out(self, row: Array, places: at.Places, columns: bool) -> None:
        """Count one piece: both gradients are short."""
        row[at.FIRST_PIECE] = places.take_pieces(1, 2 * self.outputs)


KINDS = {kind.name: kind for kind in (Dense, LayerNorm)}
