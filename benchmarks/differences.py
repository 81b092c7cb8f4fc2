"""Where other libraries give other numbers: a table in docs/accuracy.md.

`python -m benchmarks.differences` computes and prints it with the installed libraries (``pip
install ".[peers]"`` and optax). A cell is empty if a library lacks the function, or is missing.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

import fastgrad as fg

__all__ = ["COLUMNS", "DIFFERENCES", "Difference", "row", "table", "titles"]

Cell = Callable[[], Any]
# A column's name, and the packages it needs (and whose versions its title gives).
COLUMNS = {
    "fastgrad": (),
    "numpy": ("numpy", "scipy"),
    "torch": ("torch",),
    "jax": ("jax", "optax"),
    "autograd": ("autograd",),
}
NAMES = {"numpy": "NumPy", "scipy": "SciPy", "torch": "PyTorch", "jax": "JAX"}


class Difference(NamedTuple):
    """What is computed, the cells by column, and whether they depend on the processor."""

    what: str
    cells: dict[str, Cell]
    by_processor: bool = False


# -- the libraries, imported when asked ------------------------------------------------------------


def module(name: str) -> Any:
    return importlib.import_module(name)


def tensor(a: Any) -> Any:
    return module("torch").from_numpy(np.array(a))


def device(a: Any) -> Any:
    return module("jax.numpy").asarray(np.array(a))


def functional() -> Any:
    return module("torch.nn.functional")


def slope_by_torch(function: Callable[[Any], Any], at: float) -> Any:
    leaf = tensor(single(at)).requires_grad_(True)
    function(leaf).sum().backward()
    return leaf.grad


def slope_by_jax(function: Callable[[Any], Any], at: float) -> Any:
    return module("jax").grad(lambda z: function(z).sum())(device(single(at)))


def slope_by_autograd(name: str, *others: float) -> Callable[[float], Any]:
    """Return the slope of ``autograd.numpy``'s function of that name."""

    def slope(at: float) -> Any:
        function = getattr(module("autograd.numpy"), name)
        return module("autograd").elementwise_grad(lambda z: function(z, *others))(single(at))

    return slope


def single(*values: float) -> Any:
    return np.array(values, np.float32)


# -- the rows --------------------------------------------------------------------------------------


BYTES = np.array([0, 1, 2], np.uint8)
LOGITS, PROBABILITIES = single(-np.inf, 0, 1)[None], single(0, 1, 0)[None]
FAR = single(-100)


def gelu_by_erf(z: Any) -> Any:
    return np.float32(0.5) * z * (1 + module("scipy.special").erf(z / np.float32(np.sqrt(2))))


def mae_slope(at: float) -> Any:
    return fg.losses.mae.value_and_grad(single(at), single(0))[1]


def alone(product: Callable[[Any, Any], Any], convert: Callable[[Any], Any]) -> str:
    """Return how many rows of a product have other bits when they are computed alone."""
    rng = np.random.default_rng(0)
    x, w = (convert(rng.standard_normal(s, np.float32)) for s in ((64, 300), (300, 37)))
    y = np.asarray(product(x, w))
    rows = [np.asarray(product(x[i : i + 1], w))[0] for i in range(len(y))]
    return f"{sum((a != b).any() for a, b in zip(y, rows, strict=True))} of {len(y)}"


def in_callback(function: Callable[[Any], Any]) -> Any:
    """Return a function's result within a callback of a jitted JAX function."""
    jax = module("jax")
    like = jax.ShapeDtypeStruct(FAR.shape, FAR.dtype)
    run = jax.jit(lambda z: jax.pure_callback(lambda a: function(np.asarray(a)), like, z))
    return np.asarray(run(device(FAR)))


def flushed(function: Callable[[], Any]) -> Any:
    """Return a result computed while PyTorch makes this thread flush subnormals."""
    torch = module("torch")
    torch.set_flush_denormal(True)
    try:
        return function()
    finally:
        torch.set_flush_denormal(False)


@functools.cache
def tenth() -> Any:
    return fg.define_activation("a_tenth", lambda z: 0.1 * z, lambda z: 0.1)


def slopes(of: str, at: float, fastgrad: Cell, **others: Cell) -> Difference:
    return Difference(f"slope of {of} at {at:g}", {"fastgrad": fastgrad, **others})


NAN = float("nan")
DIFFERENCES = [
    Difference(
        "softmax of the uint8 0, 1, 2",
        {
            "fastgrad": lambda: fg.softmax(BYTES),
            "numpy": lambda: module("scipy.special").softmax(BYTES),
            "torch": lambda: module("torch").softmax(tensor(BYTES), -1),
            "jax": lambda: module("jax").nn.softmax(device(BYTES)),
        },
    ),
    Difference(
        "sigmoid(-100), float32",
        {
            "fastgrad": lambda: fg.sigmoid(FAR),
            "numpy": lambda: module("scipy.special").expit(FAR),
            "torch": lambda: module("torch").sigmoid(tensor(FAR)),
            "jax": lambda: module("jax").nn.sigmoid(device(FAR)),
        },
    ),
    Difference(
        "gelu(-10), float32 (NumPy: by SciPy's erf)",
        {
            "fastgrad": lambda: fg.gelu(single(-10)),
            "numpy": lambda: gelu_by_erf(single(-10)),
            "torch": lambda: functional().gelu(tensor(single(-10))),
            "jax": lambda: module("jax").nn.gelu(device(single(-10)), approximate=False),
        },
    ),
    Difference(
        "cross-entropy of logits -inf, 0, 1 with probabilities 0, 1, 0",
        {
            "fastgrad": lambda: fg.losses.softmax_cross_entropy(LOGITS, PROBABILITIES),
            "torch": lambda: functional().cross_entropy(tensor(LOGITS), tensor(PROBABILITIES)),
            "jax": lambda: module("optax").softmax_cross_entropy(
                device(LOGITS), device(PROBABILITIES)
            ),
        },
    ),
    *(
        slopes(
            "relu", at,
            lambda at=at: fg.relu.derivative(single(at)),
            torch=lambda at=at: slope_by_torch(module("torch").relu, at),
            jax=lambda at=at: slope_by_jax(module("jax").nn.relu, at),
            autograd=lambda at=at: slope_by_autograd("maximum", 0)(at),
        )
        for at in (0.0, NAN)
    ),
    *(
        slopes(
            "leaky_relu", at,
            lambda at=at: fg.leaky_relu.derivative(single(at)),
            torch=lambda at=at: slope_by_torch(functional().leaky_relu, at),
            jax=lambda at=at: slope_by_jax(module("jax").nn.leaky_relu, at),
        )
        for at in (0.0, NAN)
    ),
    slopes(
        "elu", NAN,
        lambda: fg.elu.derivative(single(NAN)),
        torch=lambda: slope_by_torch(functional().elu, NAN),
        jax=lambda: slope_by_jax(module("jax").nn.elu, NAN),
    ),
    *(
        slopes(
            "the absolute value (mae)", at,
            lambda at=at: mae_slope(at),
            torch=lambda at=at: slope_by_torch(module("torch").abs, at),
            jax=lambda at=at: slope_by_jax(module("jax.numpy").abs, at),
            autograd=lambda at=at: slope_by_autograd("abs")(at),
        )
        for at in (0.0, NAN)
    ),
    Difference(
        "rows of a 64x300x37 product that have other bits when computed alone",
        {
            "fastgrad": lambda: alone(fg.dense, np.asarray),
            "numpy": lambda: alone(np.matmul, np.asarray),
            "torch": lambda: alone(lambda x, w: x @ w, tensor),
            "jax": lambda: alone(lambda x, w: x @ w, device),
        },
        by_processor=True,
    ),
    Difference(
        "exp(-100), float32",
        {
            "fastgrad": lambda: fg.exp(FAR),
            "numpy": lambda: np.exp(FAR),
            "torch": lambda: module("torch").exp(tensor(FAR)),
            "jax": lambda: module("jax.numpy").exp(device(FAR)),
        },
    ),
    Difference(
        "the same, within `jax.pure_callback`",
        {"fastgrad": lambda: in_callback(fg.exp), "numpy": lambda: in_callback(np.exp)},
    ),
    Difference(
        "the same, after `torch.set_flush_denormal(True)`",
        {
            "fastgrad": lambda: flushed(lambda: fg.exp(FAR)),
            "numpy": lambda: flushed(lambda: np.exp(FAR)),
            "torch": lambda: flushed(lambda: module("torch").exp(tensor(FAR))),
        },
    ),
    Difference(
        "0.1 * z of the float32 9 (fastgrad: in `define_activation`)",
        {
            "fastgrad": lambda: f"{tenth()(single(9))[0]:.9g}",
            "numpy": lambda: f"{(0.1 * single(9))[0]:.9g}",
            "torch": lambda: f"{(0.1 * tensor(single(9))).item():.9g}",
            "jax": lambda: f"{np.asarray(0.1 * device(single(9)))[0]:.9g}",
            "autograd": lambda: f"{(0.1 * single(9))[0]:.9g}",
        },
    ),
]  # fmt: skip


# -- the table -------------------------------------------------------------------------------------


def shown(result: Any) -> str:
    """Return numbers with three digits; they are all that a cell shows."""
    if isinstance(result, str):
        return result
    if hasattr(result, "detach"):
        result = result.detach()
    return ", ".join(f"{value:.3g}" for value in np.ravel(np.asarray(result)).tolist())


def row(difference: Difference) -> list[str]:
    """Return a row's cells; "" where there is no such function, or a library is missing."""
    found = [difference.what]
    for column, packages in COLUMNS.items():
        cell = difference.cells.get(column)
        if cell is None or not all(map(find_spec, packages)):
            found.append("")
            continue
        with warnings.catch_warnings():  # the libraries' own: overflow, deprecations
            warnings.simplefilter("ignore")
            try:
                found.append(shown(cell()))
            except NotImplementedError as error:
                found.append(type(error).__name__)
            except ImportError:  # jax.pure_callback, say, for NumPy's cell
                found.append("")
    return found


def titles() -> list[str]:
    """Return the columns' titles, with the versions that are installed."""
    found = [""]
    for column, packages in COLUMNS.items():
        parts = []
        for package in packages:
            try:
                parts.append(f"{NAMES.get(package, package)} {version(package).partition('+')[0]}")
            except PackageNotFoundError:
                parts.append(f"no {package} here")
        found.append(", ".join(parts) or column)
    return found


def table() -> str:
    """Return the table in Markdown."""
    lines = [titles(), ["---", *["---:"] * len(COLUMNS)], *map(row, DIFFERENCES)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
