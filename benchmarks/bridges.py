"""The bridges beside each framework's own layer: ``python -m benchmarks.bridges [--seconds S]``.

Forward, a sum, and the gradients of x, w and b, as a user of the framework writes it; one thread,
in turns, in one process. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad.terminal import duration, factor, table

from .common import measured_on
from .timing import compare

SIZES = [(1, 8, 8), (32, 64, 64), (256, 784, 256), (4096, 64, 64)]
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def in_torch(x: Any, w: Any, b: Any, name: str) -> Pair:
    import torch

    from fastgrad.torch import dense
    from fastgrad.torch.second import ACTIVATIONS

    torch.set_num_threads(1)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
    lx, lw, lb = leaves

    def step(layer: Callable[[], Any]) -> Any:
        return [g.numpy() for g in torch.autograd.grad(layer().sum(), leaves)]

    return (
        lambda: step(lambda: dense(lx, lw, lb, name)),
        lambda: step(lambda: ACTIVATIONS[name](torch.addmm(lb, lx, lw))),
    )


def in_jax(x: Any, w: Any, b: Any, name: str) -> Pair:
    import jax

    from fastgrad.jax import dense

    native = {"tanh": jax.numpy.tanh, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}[name]
    given = [jax.numpy.asarray(a) for a in (x, w, b)]

    def step(layer: Callable[..., Any]) -> Callable[[], Any]:
        gradient = jax.jit(jax.grad(lambda *args: layer(*args).sum(), (0, 1, 2)))
        return lambda: jax.block_until_ready(gradient(*given))

    return step(lambda *args: dense(*args, name)), step(lambda x, w, b: native(x @ w + b))


def in_autograd(x: Any, w: Any, b: Any, name: str) -> Pair:
    from autograd import grad
    from autograd import numpy as anp
    from autograd.scipy.special import erf

    from fastgrad.autograd import dense

    native = {"tanh": anp.tanh, "gelu": lambda z: 0.5 * z * (1 + erf(z * 0.5**0.5))}[name]

    def step(layer: Callable[..., Any]) -> Callable[[], Any]:
        gradient = grad(lambda p: anp.sum(layer(*p)))
        return lambda: gradient((x, w, b))

    return step(lambda *args: dense(*args, name)), step(lambda x, w, b: native(anp.dot(x, w) + b))


FRAMEWORKS = {"torch": in_torch, "jax": in_jax, "autograd": in_autograd}


def pairs(dtype: str) -> Iterator[tuple[str, str, Pair]]:
    rng = np.random.default_rng(0)
    for framework, make in FRAMEWORKS.items():
        for n, d, k in SIZES:
            for name in ("tanh", "gelu"):
                arrays = [rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, k), (k,))]
                arrays[1] /= np.sqrt(d)
                yield framework, f"{name} {n}x{d}x{k}", make(*arrays, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a layer takes in each framework; return 1 if results differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridges")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each cell")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # the frameworks' own
    if options.dtype == "float64":
        import jax

        jax.config.update("jax_enable_x64", True)
    where = measured_on()
    fg.set_num_threads(1)
    rows, wrong = [], False
    for framework, name, (ours, theirs) in pairs(options.dtype):
        close = 2e-3 if options.dtype == "float32" else 1e-9
        for mine, other in zip(ours(), theirs(), strict=True):
            size = float(np.abs(np.asarray(other)).max())
            if not np.allclose(np.asarray(mine), np.asarray(other), rtol=0, atol=close * size):
                print(f"{framework} {name}: the two do not agree")
                wrong = True
        pair = compare(ours, theirs, options.seconds)
        times = duration(pair.theirs.median), duration(pair.ours.median)
        rows.append([framework, name, *times, factor(pair.ratio.median)])
    print(table(["framework", "layer", "its own", "fastgrad's", "ratio"], rows))
    print(f"{options.dtype}, forward and backward, {where}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
