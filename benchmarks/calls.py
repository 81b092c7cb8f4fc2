"""Every public function on every form of argument, beside its NumPy twin.

`python -m benchmarks.calls` times some 2,400 pairs of calls (two minutes) and prints, for each
group, by how much fastgrad is faster, and then every call that is slower. `benchmarks.peers`
measures how fast the usual calls are; this finds unusual calls that are slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

import fastgrad as fg
from fastgrad import reference
from fastgrad.terminal import Progress, duration, factor, table

from .common import ACTIVATIONS, DTYPES, LOSSES, LOSSES_OF_ONE_ARRAY, Call, measured_on, normal
from .timing import compare

Calls = Iterator[tuple[str, Call]]
SAMPLES = ("rows", "columns")


def transposed(array: Any, samples: str) -> Any:
    """Return row-layout data in a layout, contiguous."""
    return np.ascontiguousarray(array.T) if samples == "columns" else array


def sliced(array: Any) -> Any:
    """Return the same numbers as every second row and column of a larger array."""
    wide = np.zeros([2 * size for size in array.shape], array.dtype)
    wide[::2, ::2] = array
    return wide[::2, ::2]


def forms(arrays: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the arrays of a call in several forms; the first is x."""
    x, *others = arrays
    other = np.float64 if x.dtype == np.float32 else np.float32
    return {
        "plain": arrays,
        "Fortran": tuple(np.asfortranarray(a) for a in arrays),
        "sliced": (sliced(x), *others),
        "integers": ((4 * x).astype(int), *others),
        f"x {np.dtype(other).name}": (x.astype(other), *others),
        "float16": tuple(a.astype(np.float16) for a in arrays),
    }


def layers(m: ModuleType) -> Calls:
    """Yield layers: forms of x, choices of gradients, outputs."""
    shapes = ((1, 8, 8), (32, 16, 16), (64, 100, 10), (256, 64, 64), (1000, 784, 10))
    for dtype, samples, act, shape in product(DTYPES, SAMPLES, (None, "tanh", "softmax"), shapes):
        n, d, k = shape
        x, w, g = (transposed(normal(i, dtype, *s), samples)
                   for i, s in enumerate(((n, d), (d, k), (n, k))))  # fmt: skip
        b = normal(3, dtype, k)
        variants = forms((x, w, b, g))
        if n == 1:
            variants["vector"] = x.ravel(), w, b, g.ravel()
        elif samples == "rows":
            variants["batch axes"] = x.reshape(4, n // 4, d), w, b, g.reshape(4, n // 4, k)
        where = f"{act} {dtype} {n}x{d}x{k} {samples}"

        def both(x: Any, w: Any, b: Any, g: Any, act: Any = act, s: str = samples, **o: Any) -> Any:
            _, cache = m.dense_forward(x, w, b, act, samples=s)
            return m.dense_backward(g, cache, **o)

        for form, a in variants.items():
            yield (
                f"dense, {form}: {where}",
                lambda a=a, act=act, s=samples: m.dense(*a[:3], act, samples=s),
            )
            yield f"both passes, {form}: {where}", lambda a=a, both=both: both(*a)
        for need in (("w", "b"), ("x",), ("z",), ("x", "w", "b", "z")):
            yield (
                f"both passes, need {''.join(need)}: {where}",
                lambda f=both, a=variants["plain"], need=need: f(*a, need=need),
            )
        _, cache = m.dense_forward(x, w, b, act, samples=samples)
        out = m.dense_backward(g, cache)
        for accumulate in (False, True):
            options = {"out": out, "accumulate": accumulate}
            yield (
                f"backward, out=, accumulate={accumulate}: {where}",
                lambda g=g, cache=cache, o=options: m.dense_backward(g, cache, **o),
            )


def activations(m: ModuleType) -> Calls:
    """Yield activations alone: value, derivative, gradient."""
    for dtype, shape in product(
        DTYPES, ((8,), (1, 8), (32, 10), (256, 64), (4096, 10), (500, 500))
    ):
        z, g = normal(1, dtype, *shape), normal(2, dtype, *shape)
        for name in ACTIVATIONS:
            act, where = m.activations.ACTIVATIONS[name], f"{name} {dtype} {shape}"
            if name != "softmax":
                yield where, lambda act=act, z=z: act(z)
                yield f"{where} derivative", lambda act=act, z=z: act.derivative(z)
                yield f"{where} backward", lambda act=act, z=z, g=g: act.backward(g, z)
                continue
            for axis in range(len(shape)):
                yield f"{where} axis={axis}", lambda z=z, a=axis, act=act: act(z, axis=a)
                yield (
                    f"{where} backward axis={axis}",
                    lambda z=z, g=g, a=axis, act=act: act.backward(g, z, axis=a),
                )


def losses(m: ModuleType) -> Calls:
    """Yield losses: the value alone and with the gradient, both layouts, kinds of target."""
    shapes = ((1, 8), (32, 10), (256, 64), (4096, 10), (500, 500))
    for dtype, samples, name, shape in product(DTYPES, SAMPLES, LOSSES, shapes):
        loss = getattr(m.losses, name)
        pred, target = normal(1, dtype, *shape), abs(normal(2, dtype, *shape))
        target /= target.sum(axis=1, keepdims=True)
        if name == "nll":
            pred = 1 / (1 + abs(pred))
        pred = transposed(pred, samples)
        targets: dict[str, tuple[Any, ...]] = {"": (transposed(target, samples),)}
        if name in LOSSES_OF_ONE_ARRAY:
            targets = {"": ()}
        elif loss.rowwise:
            targets[" classes"] = (target.argmax(axis=1),)
        for kind, t in targets.items():
            where = f"{name}{kind} {dtype} {shape[0]}x{shape[1]} {samples}"
            yield where, lambda f=loss, p=pred, t=t, s=samples: f(p, *t, samples=s)
            yield (
                f"{where} with gradient",
                lambda f=loss, p=pred, t=t, s=samples: f.value_and_grad(p, *t, samples=s),
            )


def networks(m: ModuleType) -> Calls:
    """Yield networks: predictions and gradients, dtypes and kinds of target."""
    nets = ((1, (2, 3, 2)), (1, (4, 8, 4)), (32, (4, 16, 4)), (64, (784, 100, 10)))
    names = ("mse", "softmax_cross_entropy")
    for dtype, samples, (n, widths), loss in product(DTYPES, SAMPLES, nets, names):
        net = m.MLP(widths, ("tanh", None), loss, samples=samples, dtype=dtype)
        params, where = net.init(seed=0), f"{widths} {loss} {dtype} {n} {samples}"
        x, target = normal(1, dtype, n, widths[0]), abs(normal(2, dtype, n, widths[-1]))
        variants = forms((transposed(x, samples), transposed(target, samples)))
        for form, (a, _) in variants.items():
            yield f"predict, {form}: {where}", lambda f=net, p=params, a=a: f.predict(p, a)
        if loss == "softmax_cross_entropy":
            classes = target.argmax(axis=1)
            variants["classes"] = variants["plain"][0], classes
            variants["list of classes"] = variants["plain"][0], classes.tolist()
        for form, (a, t) in variants.items():
            yield (
                f"gradient, {form}: {where}",
                lambda f=net, p=params, a=a, t=t: f.value_and_grad(p, a, t),
            )
        a, t = variants["plain"]
        y, grad = net.predict(params, a), np.empty_like(params)
        yield f"predict, out=: {where}", lambda f=net, p=params, a=a, y=y: f.predict(p, a, out=y)
        yield (
            f"gradient, out=: {where}",
            lambda f=net, p=params, a=a, t=t, g=grad: f.value_and_grad(p, a, t, out=g),
        )


GROUPS: tuple[Callable[[ModuleType], Calls], ...] = (layers, activations, losses, networks)


def main(seconds: float = 0.03) -> None:
    """Time every pair for so many seconds, and print the tables."""
    machine = measured_on()
    fg.set_num_threads(1)
    summary, slower = [], []
    with Progress() as bar:
        for index, group in enumerate(GROUPS):
            ratios = []
            for (name, ours), (_, theirs) in zip(group(fg), group(reference), strict=True):
                bar.update(index, len(GROUPS), f"{group.__name__} {len(ratios)}: {name}")
                ours()  # the first call sets up the direct path
                pair = compare(ours, theirs, seconds)
                ratios.append(pair.theirs.median / pair.ours.median)
                if ratios[-1] < 1:
                    times = duration(pair.ours.median), duration(pair.theirs.median)
                    slower.append((ratios[-1], (f"{group.__name__}: {name}", *times)))
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            below = sum(r < 1 for r in ratios)
            summary.append(
                [group.__name__, str(len(ratios)), factor(mean), factor(min(ratios)), str(below)]
            )
    print(table(["group", "calls", "geometric mean", "least", "below 1"], summary))
    if slower:
        rows = [[*what, factor(ratio)] for ratio, what in sorted(slower)]
        print("\n" + table(["slower than NumPy", "fastgrad", "NumPy", "ratio"], rows))
    print(f"\n{machine}, one thread")


if __name__ == "__main__":
    main()
