"""Layers of a sparse x: `python -m benchmarks.sparse` puts them beside SciPy and a dense x.

By hand means what a script writes: ``y = np.maximum(x @ w + b, 0)``, then
``grad_z = grad_y * (y > 0)``, ``x.T @ grad_z`` and ``grad_z.sum(axis=0)``; and the products alone,
``x @ w`` and ``x.T @ grad_y``. Gradients get new arrays on both sides.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgrad as fg

from .common import DTYPES
from .timing import Pair, compare

SHAPES = {
    # samples, features, filled, outputs
    "text": (2_000, 50_000, 0.001, 100),
    "wide": (2_000, 50_000, 0.001, 10),
    "single": (2_000, 50_000, 0.001, 1),
    "fuller": (2_000, 5_000, 0.02, 100),
}
BARS = {"scipy": 1.5, "dense": 30.0}  # of "text", products alone; memory: 1.1


def data(shape: str, dtype: str) -> tuple[Any, ...]:
    """Return a CSR matrix, weights, bias and the gradient of y."""
    import scipy.sparse

    n, d, filled, k = SHAPES[shape]
    rng = np.random.default_rng(0)
    x = scipy.sparse.random_array((n, d), density=filled, format="csr", dtype=dtype, rng=rng)
    w, b, g = (rng.standard_normal(s).astype(dtype) for s in ((d, k), (k,), (n, k)))
    return x, w, b, g


def ours(x: Any, w: Any, b: Any, g: Any, activation: str | None = "relu") -> Any:
    y, cache = fg.dense_forward(x, w, b, activation)
    return y, fg.dense_backward(g, cache, need=("w", "b"))


def by_hand(x: Any, w: Any, b: Any, g: Any) -> Any:
    y = np.maximum(x @ w + b, 0)
    grad_z = g * (y > 0)
    return y, x.T @ grad_z, grad_z.sum(axis=0)


def our_products(x: Any, w: Any, b: Any, g: Any) -> Any:
    y, cache = fg.dense_forward(x, w)
    return y, fg.dense_backward(g, cache, need="w")


def scipys_products(x: Any, w: Any, b: Any, g: Any) -> Any:
    return x @ w, x.T @ g


Call = Callable[..., Any]
WAYS: dict[str, Call] = {"fastgrad": ours, "scipy": by_hand}


class SparseLayer:
    """Forward and backward, with bias and ReLU."""

    params = (tuple(WAYS), DTYPES, tuple(SHAPES))
    param_names = ("implementation", "dtype", "shape")

    def setup(self, implementation: str, dtype: str, shape: str) -> None:
        self.arrays = data(shape, dtype)
        self.call = WAYS[implementation]
        self.call(*self.arrays)

    def time_forward_and_backward(self, implementation: str, dtype: str, shape: str) -> None:
        self.call(*self.arrays)


def memory(arrays: tuple[Any, ...]) -> float:
    """Return the peak of a call and its matrix, relative to the matrix and the results."""
    x = arrays[0]
    tracemalloc.start()
    y, grads = our_products(*arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    matrix = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    return float((peak + matrix) / (matrix + y.nbytes + grads.w.nbytes))


def beside(ours: Call, theirs: Call, arrays: tuple[Any, ...], others: tuple[Any, ...]) -> Pair:
    return compare(lambda: ours(*arrays), lambda: theirs(*others), 4.0)


def main() -> None:
    fg.set_num_threads(1)
    for shape, (n, d, filled, k) in SHAPES.items():
        for dtype in DTYPES:
            arrays = data(shape, dtype)
            y, grads = ours(*arrays)
            for one, other in zip((y, grads.w, grads.b), by_hand(*arrays), strict=True):
                bound = 1e-3 if dtype == "float32" else 1e-11
                np.testing.assert_allclose(one, other, rtol=bound, atol=bound)
            print(f"{shape}: {n} x {d}, {100 * filled:g} % filled, {k} outputs, {dtype}")
            bar = f" (bar {BARS['scipy']})" if shape == "text" else ""
            for name, mine, theirs in (
                ("with bias and ReLU, beside SciPy by hand", ours, by_hand),
                ("products alone, beside SciPy's", our_products, scipys_products),
            ):
                pair = beside(mine, theirs, arrays, arrays)
                times = f"{1e3 * pair.ours.median:.2f} ms, {1e3 * pair.theirs.median:.2f} ms"
                print(f"  {name}: {times}, {pair.ratio.median:.2f}x{bar}")
            if shape == "text":
                full = (arrays[0].toarray(), *arrays[1:])
                pair = beside(our_products, our_products, arrays, full)
                print(f"  beside a dense x: {pair.ratio.median:.0f}x (bar {BARS['dense']:.0f})")
                print(f"  memory: {memory(arrays):.2f} of the matrix and the results (bar 1.1)")


if __name__ == "__main__":
    main()
