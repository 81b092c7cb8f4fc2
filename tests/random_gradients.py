"""Right gradients of random networks and layers, wrong ones made of them, and what is said of them.

``python tests/random_gradients.py 500`` prints how often `check_grad` says what.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from truth import LOSS_TRUTH

import fastgrad as fg

Array = NDArray[Any]

# Without those that others stand for, and exp, which overflows on data of size 100. softmax is
# drawn for layers only.
ACTIVATIONS = [name for name in fg.activations.BUILT_IN
               if name not in ("identity", "softmax", "gelu_tanh", "exp")]  # fmt: skip
LOSSES = list(fg.losses.LOSSES)


class Gradient(NamedTuple):
    """A function of an array, an array, the gradient there; how to differentiate it."""

    f: Callable[[Array], Any]
    x: Array
    grad: Array
    method: str
    dtype: str


def pick(rng: np.random.Generator, names: list[str]) -> str:
    """Return one of the names: a row new in a table takes its share, and moves no other draw."""
    draw = rng.integers(2**32)
    return max(names, key=lambda name: random.Random(f"{draw} {name}").random())


def random_gradient(seed: int) -> Gradient:
    """Return a gradient of a network (two of three) or a layer, data of any scale, either dtype."""
    rng = np.random.default_rng(seed)
    dtype = str(rng.choice(["float32", "float64"]))
    method = str(rng.choice(["central", "central", "forward"]))
    n, d, k = int(rng.integers(1, 40)), int(rng.integers(1, 8)), int(rng.integers(2, 6))
    x = (10.0 ** rng.uniform(-2, 2) * rng.normal(size=(n, d))).astype(dtype)
    if rng.random() < 2 / 3:
        f, at, grad = _network(rng, x, k, dtype)
    else:
        f, at, grad = _layer(rng, x, k, dtype)
    return Gradient(f, at, grad, method, dtype)


def _network(rng: np.random.Generator, x: Array, k: int, dtype: str) -> tuple[Any, Array, Array]:
    n, d = x.shape
    loss, act = pick(rng, LOSSES), pick(rng, ACTIVATIONS)
    hidden = (int(rng.integers(1, 9)),) * int(rng.integers(1, 3))
    reduction = str(rng.choice(["mean", "sum", "samples"]))
    acts = (act,) * len(hidden) + (LOSS_TRUTH[loss].output,)
    net = fg.MLP((d, *hidden, k), acts, loss, dtype=dtype, reduction=reduction)
    scale = 10.0 ** rng.uniform(-0.5, 0.5)
    params = (scale * (net.init(seed=1) + 0.1 * rng.normal(size=net.size))).astype(dtype)
    if rng.random() < 0.2:  # float64 parameters, which a float32 network rounds
        params = params * (1 + 1e-9 * rng.normal(size=net.size))
    target: tuple[Any, ...] = (rng.normal(size=(n, k)).astype(dtype),)
    if net.loss.rowwise:
        target = (rng.integers(0, k, n),)
    elif loss == "binary_cross_entropy_with_logits":
        target = (rng.integers(0, 2, (n, k)).astype(dtype),)
    elif loss in ("sum", "squared_l2"):
        target = ()
    _, grad = net.value_and_grad(params, x, *target)
    return (lambda p: net.value_and_grad(p, x, *target)[0]), params, grad


def _layer(rng: np.random.Generator, x: Array, k: int, dtype: str) -> tuple[Any, Array, Array]:
    n, d = x.shape
    act = pick(rng, [*ACTIVATIONS, "softmax"])
    arrays = {
        "x": x,
        "w": rng.normal(size=(d, k)).astype(dtype),
        "b": rng.normal(size=k).astype(dtype),
    }
    grad_y = rng.normal(size=(n, k)).astype(dtype)
    _, cache = fg.dense_forward(*arrays.values(), act)
    which = str(rng.choice(list(arrays)))
    grad = getattr(fg.dense_backward(grad_y, cache), which)

    def f(value: Array) -> float:
        y = fg.dense(**(arrays | {which: value.astype(dtype)}), activation=act)
        return float((grad_y * y).sum(dtype="float64"))

    return f, arrays[which], grad


def wrong_gradients(grad: Array, seed: int) -> Iterator[tuple[str, Array]]:
    """Yield the mistakes people make, by name; the first six spoil the largest entry."""
    if not grad.any():
        return
    rng = np.random.default_rng(seed)
    largest = np.unravel_index(np.abs(grad).argmax(), grad.shape)
    one, none, some = grad.copy(), grad.copy(), grad.copy()
    one[largest] *= 1.5
    none[largest] = 0
    some[tuple(rng.integers(0, s) for s in grad.shape)] *= 1.1
    yield "twice", 2 * grad
    yield "zero", 0 * grad
    yield "sign", -grad
    yield "a quarter more", 1.25 * grad
    yield "largest entry 1.5 times", one
    yield "largest entry 0", none
    if not np.array_equal(np.roll(grad, 1), grad):
        yield "entries shifted by one", np.roll(grad, 1)
    yield "1 % more", 1.01 * grad
    if not np.array_equal(some, grad):
        yield "any entry 10 % more", some


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    said: Counter[tuple[str, str, str]] = Counter()
    for seed in range(options.first, options.first + options.count):
        case = random_gradient(seed)
        for name, grad in (("right", case.grad), *wrong_gradients(case.grad, seed)):
            report = fg.check_grad(case.f, grad, case.x, method=case.method)
            said[name, case.dtype, report.state] += 1
            if name == "right" and report.state == "wrong":
                print(f"false alarm, seed {seed}:\n{report}")
    states = ("ok", "wrong", "inconclusive")
    print(f"{'gradient':28}{'dtype':10}{''.join(f'{s:>14}' for s in states)}")
    for name, dtype in dict.fromkeys(key[:2] for key in sorted(said)):
        counts = "".join(f"{said[name, dtype, s]:14}" for s in states)
        print(f"{name:28}{dtype:10}{counts}")


if __name__ == "__main__":
    main()
