"""What an optimizer's ``step`` remembers of a script's arrays, each by its place in the tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgrad.arrays import FLOAT32, FLOAT64, Array
from fastgrad.trees import Tree

ONE_TREE = "an optimizer serves one tree: opt.reset() forgets it"


def work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which arrays of a dtype are updated: float32 for float16."""
    return FLOAT64 if dtype.itemsize == 8 else FLOAT32


@dataclass
class TreeState:
    """What an optimizer remembers from one step to the next."""

    tree: Tree
    shapes: list[tuple[int, ...]]
    dtypes: list[np.dtype[Any]]
    decays: list[bool]  # whether each array gets weight decay
    vectors: list[list[Array]]  # for each array, in the order of the optimizer's names
    powers: list[float]  # settings to the power of the number of steps
    steps: int = 0
    names: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.names = self.tree.names("params")

    def check_tree(self, function: str, tree: Tree) -> None:
        """Raise unless the tree has the structure of earlier steps."""
        if tree.same(self.tree):
            return
        names = tree.names("params")
        new = [name for name in names if name not in self.names]
        gone = [name for name in self.names if name not in names]
        what = f"has {new[0]}, which is new" if new else "is made in another way"
        what = f"has no {gone[0]} any more" if gone else what
        raise ValueError(f"{function}: params {what}: {ONE_TREE}")

    def check_arrays(self, function: str, params: list[Array]) -> None:
        """Raise unless each array has the shape and dtype of earlier steps."""
        for name, array, shape, dtype in zip(
            self.names, params, self.shapes, self.dtypes, strict=True
        ):
            if array.shape != shape:
                raise ValueError(
                    f"{function}: {name} has shape {array.shape} but had shape {shape} in the "
                    f"steps before: {ONE_TREE}"
                )
            if array.dtype != dtype:
                raise ValueError(
                    f"{function}: {name} has dtype {array.dtype} but had dtype {dtype} in the "
                    f"steps before: {ONE_TREE}"
                )

    def copy(self) -> TreeState:
        """Return a copy that shares no memory."""
        vectors = [[v.copy(order="K") for v in some] for some in self.vectors]
        return TreeState(
            self.tree, self.shapes, self.dtypes, self.decays, vectors, list(self.powers), self.steps
        )


def began(
    tree: Tree,
    params: list[Array],
    names: tuple[str, ...],
    first_value: float,
    powers: int,
    decays: list[bool],
) -> TreeState:
    """Return the memory before the first step: for each array, vectors of these names."""
    vectors = [
        [
            np.full(p.shape, first_value, work_dtype(p.dtype), "F" if fortran(p) else "C")
            for _ in names
        ]
        for p in params
    ]
    shapes, dtypes = [p.shape for p in params], [p.dtype for p in params]
    return TreeState(tree, shapes, dtypes, decays, vectors, [1.0] * powers)


def fortran(array: Array) -> bool:
    """Return whether an array is in Fortran order and not in C order."""
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)
