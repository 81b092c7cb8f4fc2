"""Calls that once were needlessly slow, each beside what a careful person would write.

`python -m benchmarks.cliffs` prints fastgrad's time, the other time, their ratio and its bar (four
minutes; exit status 1 if a bar is missed). The other is plain NumPy, except in two groups: `fit` is
compared with a hand-written loop over `value_and_grad`, and calls whose arguments must be converted
with the same call after NumPy's own `astype`. `benchmarks.calls` covers everything that is public;
these are the calls where something was found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import fastgrad as fg
from fastgrad import reference
from fastgrad.terminal import Progress, duration, factor, table

from .common import ACTIVATIONS, DTYPES, Call, measured_on, normal
from .page_faults import large_gradients
from .timing import compare

__all__ = ["GROUPS", "Cliff", "main"]


class Cliff(NamedTuple):
    """A call of ours, the call it is compared with, and the largest ratio of their times."""

    name: str
    ours: Call
    beside: Call
    most: float


class Row(NamedTuple):
    """A result, as the table shows it."""

    name: str
    ours: str
    beside: str
    ratio: float
    most: float


Cliffs = Iterator[Cliff]

AS_NUMPY = 1.0  # at most NumPy's time
CONVERTED = 1.3  # at most this many times the native call after NumPy's own conversion
OWN_LOOP = 1.3


def fit() -> Cliffs:
    """Full batches of few samples: training beside a loop over `value_and_grad(out=)`."""
    cases = (
        ((2, 3, 1), 4, "mse"), ((2, 8, 1), 4, "binary_cross_entropy_with_logits"),
        ((4, 8, 3), 150, "softmax_cross_entropy"), ((1, 16, 1), 50, "mse"),
        ((4, 16, 16, 3), 150, "mse"),
    )  # fmt: skip
    epochs, rate = 100, 1e-3
    for dtype, (widths, n, loss), shuffle in product(DTYPES, cases, (False, True)):
        net = fg.MLP(widths, (*["tanh"] * (len(widths) - 2), None), loss, dtype=dtype)
        start, x = net.init(seed=0), normal(1, dtype, n, widths[0])
        target: Any = (normal(2, dtype, n, widths[-1]) > 0).astype(dtype)
        if loss == "softmax_cross_entropy":
            target = target.argmax(axis=1)

        def ours(f=net.fit, p=start, x=x, t=target, n=n, shuffle=shuffle) -> Any:  # type: ignore[no-untyped-def]
            return f(p, x, t, fg.SGD(lr=rate), epochs=epochs, batch_size=n, shuffle=shuffle)

        def loop(f=net.value_and_grad, p=start, x=x, t=target) -> Any:  # type: ignore[no-untyped-def]
            p, grad, losses = p.copy(), np.empty_like(p), []
            for _ in range(epochs):
                value, _ = f(p, x, t, out=grad)
                losses.append(value)
                p -= rate * grad
            return p, losses

        order = "shuffled" if shuffle else "in order"
        yield Cliff(f"fit {widths} {loss}, {n} samples, {order}, {dtype}", ours, loop, OWN_LOOP)


def one_output() -> Cliffs:
    """Logistic and linear regression."""
    shapes = ((200, 20000), (1000, 5000), (500, 784), (100, 30), (1000, 8), (32, 100))
    for (n, d), dtype in product(shapes, DTYPES):
        x, w, b, g = (normal(i, dtype, *s) for i, s in enumerate(((n, d), (d, 1), (1,), (n, 1))))
        _, cache = fg.dense_forward(x, w, b)
        where = f"{n}x{d} to 1, {dtype}"
        yield Cliff(
            f"forward {where}",
            lambda x=x, w=w, b=b: fg.dense(x, w, b),
            lambda x=x, w=w, b=b: x @ w + b,
            AS_NUMPY,
        )
        yield Cliff(
            f"backward, w and b {where}",
            lambda g=g, c=cache: fg.dense_backward(g, c, need=("w", "b")),
            lambda g=g, x=x: (x.T @ g, g.sum(axis=0)),
            AS_NUMPY,
        )
        yield Cliff(
            f"backward {where}",
            lambda g=g, c=cache: fg.dense_backward(g, c),
            lambda g=g, x=x, w=w: (g @ w.T, x.T @ g, g.sum(axis=0)),
            AS_NUMPY,
        )


def one_sample() -> Cliffs:
    """One sample in columns, against w (k, d): matrix times vector, and the outer product."""
    for (k, d), dtype in product(((200, 6400), (512, 2048), (30, 784), (10, 30)), DTYPES):
        x, w, b, g = (normal(i, dtype, *s) for i, s in enumerate(((d, 1), (k, d), (k, 1), (k, 1))))
        _, cache = fg.dense_forward(x, w, b, samples="columns")
        where = f"{d} to {k}, {dtype}"
        yield Cliff(
            f"forward {where}",
            lambda x=x, w=w, b=b: fg.dense(x, w, b, samples="columns"),
            lambda x=x, w=w, b=b: w @ x + b,
            AS_NUMPY,
        )
        yield Cliff(
            f"backward {where}",
            lambda g=g, c=cache: fg.dense_backward(g, c),
            lambda g=g, x=x, w=w: (w.T @ g, g @ x.T, g.copy()),
            AS_NUMPY,
        )
    for dtype, (k, d) in product(DTYPES, ((1024, 1024), (1024, 2048))):
        x, w, g = normal(0, dtype, d, 1), normal(1, dtype, k, d), normal(2, dtype, k, 1)
        _, cache = fg.dense_forward(x, w, samples="columns")
        out, row, product_ = {"w": np.empty_like(w)}, np.ascontiguousarray(x.T), np.empty_like(w)
        yield Cliff(
            f"outer product, out=, {w.nbytes >> 20} MiB, {dtype}",
            lambda g=g, c=cache, o=out: fg.dense_backward(g, c, need=("w",), out=o),
            lambda g=g, r=row, o=product_: np.multiply(g, r, out=o),
            AS_NUMPY,
        )
    for dtype in DTYPES:
        yield _one_image(dtype)


def _one_image(dtype: str) -> Cliff:
    """Return the gradient of 784-30-10 for one image in columns: online learning."""
    net = fg.MLP((784, 30, 10), ("sigmoid", None), "mse", samples="columns", dtype=dtype)
    params, x, t = net.init(seed=0), normal(1, dtype, 784, 1), normal(2, dtype, 10, 1)
    (w1, b1), (w2, b2) = net.layers(params)

    def by_hand() -> Any:
        a = 1 / (1 + np.exp(-(w1 @ x + b1)))
        error = w2 @ a + b2 - t
        g2 = error * (2 / error.size)
        g1 = (w2.T @ g2) * (a * (1 - a))
        return np.mean(error * error), g1 @ x.T, g1, g2 @ a.T, g2

    return Cliff(
        f"gradient of 784-30-10, {dtype}",
        lambda: net.value_and_grad(params, x, t), by_hand, AS_NUMPY,
    )  # fmt: skip


def conversions() -> Cliffs:
    """Arguments of another dtype, beside the call on arguments that NumPy has converted."""
    yield from _converted_targets()
    yield from _converted_inputs()
    for dtype, n, d, k in product(DTYPES, (1, 32), (64,), (10,)):
        x, w, b = normal(0, dtype, n, d), normal(1, dtype, d, k), normal(2, dtype, k)
        wide = [a.astype(np.float64) for a in (w, b)]
        sources = {"int64": (4 * x).astype(np.int64), "uint8": abs(4 * x).astype(np.uint8),
                   "float32": x.astype(np.float32)}  # fmt: skip
        for kind, a in sources.items() if dtype == "float64" else ():
            yield Cliff(
                f"dense of {kind} x with float64 w, {n}x{d}x{k}",
                lambda a=a, w=wide: fg.dense(a, *w),
                lambda a=a, w=wide: fg.dense(a.astype(np.float64), *w),
                CONVERTED,
            )
        g, (_, cache) = normal(3, dtype, n, k), fg.dense_forward(x, w, b)
        sums, new = {"w": np.zeros_like(w), "b": np.zeros_like(b)}, {"x": np.empty_like(x)}
        yield Cliff(
            f"backward, w and b added, x new, {n}x{d}x{k} {dtype}",
            lambda g=g, c=cache, o=sums: fg.dense_backward(g, c, out=o, accumulate=True),
            lambda g=g, c=cache, o=sums | new: fg.dense_backward(g, c, out=o, accumulate=True),
            CONVERTED,
        )
    net = fg.MLP((64, 32, 10), ("tanh", None), "softmax_cross_entropy")
    params, x, labels = net.init(seed=0), normal(1, "float64", 1797, 64), np.arange(1797) % 10

    def epochs(a: Any) -> Any:
        return net.fit(params, a, labels, fg.SGD(lr=1e-3), epochs=10).params

    yield Cliff(
        "10 epochs of float64 x in a float32 network",
        lambda: epochs(x), lambda: epochs(x.astype(np.float32)), CONVERTED,
    )  # fmt: skip


def _converted_targets() -> Cliffs:
    """Labels and targets, of a network and of a loss alone."""
    n = 32
    labels = np.arange(n) % 10
    one_hot = np.eye(10, dtype=int)[labels]
    kinds = {"a list": labels.tolist(), "int32": labels.astype(np.int32),
             "uint8": labels.astype(np.uint8), "int one-hot": one_hot}  # fmt: skip
    for dtype in DTYPES:
        net = fg.MLP((4, 8, 10), ("tanh", None), "softmax_cross_entropy", dtype=dtype)
        params, x, logits = net.init(seed=0), normal(1, dtype, n, 4), normal(2, dtype, n, 10)
        own = fg.losses.softmax_cross_entropy.value_and_grad
        for kind, t in kinds.items():
            native: Any = dtype if kind == "int one-hot" else np.int64
            yield Cliff(
                f"network's labels {kind}, {dtype}",
                lambda f=net.value_and_grad, p=params, x=x, t=t: f(p, x, t),
                lambda f=net.value_and_grad, p=params, x=x, t=t, to=native: f(
                    p, x, np.array(t, to)
                ),
                CONVERTED,
            )
            yield Cliff(
                f"loss's labels {kind}, {dtype}",
                lambda z=logits, t=t, f=own: f(z, t),
                lambda z=logits, t=t, to=native, f=own: f(z, np.array(t, to)),
                CONVERTED,
            )
        other = "float64" if dtype == "float32" else "float32"
        regression = fg.MLP((4, 8, 10), ("tanh", None), "mse", dtype=dtype)
        for kind in ("bool", "int64", other):
            target = one_hot.astype(kind)
            yield Cliff(
                f"network's targets {kind}, {dtype}",
                lambda f=regression.value_and_grad, p=params, x=x, t=target: f(p, x, t),
                lambda f=regression.value_and_grad, p=params, x=x, t=target, to=dtype: f(
                    p, x, t.astype(to)
                ),
                CONVERTED,
            )
            result: Any = np.result_type(dtype, target if kind != "bool" else dtype)
            yield Cliff(
                f"mse of targets {kind}, predictions {dtype}",
                lambda z=logits, t=target: fg.losses.mse.value_and_grad(z, t),
                lambda z=logits, t=target, to=result: fg.losses.mse.value_and_grad(
                    z.astype(to, copy=False), t.astype(to)
                ),
                CONVERTED,
            )


def _converted_inputs() -> Cliffs:
    """Inputs and parameters of a network."""
    for dtype in DTYPES:
        other = "float64" if dtype == "float32" else "float32"
        net = fg.MLP((4, 8, 10), ("tanh", None), "softmax_cross_entropy", dtype=dtype)
        params, x, labels = net.init(seed=0), abs(4 * normal(1, dtype, 32, 4)), np.arange(32) % 10
        for kind in ("int64", "uint8", other):
            a = x.astype(kind)
            yield Cliff(
                f"network's gradient with {kind} x, {dtype}",
                lambda f=net.value_and_grad, p=params, a=a, t=labels: f(p, a, t),
                lambda f=net.value_and_grad, p=params, a=a, t=labels, to=dtype: f(
                    p, a.astype(to), t
                ),
                CONVERTED,
            )
            yield Cliff(
                f"network's prediction of {kind} x, {dtype}",
                lambda f=net.predict, p=params, a=a: f(p, a),
                lambda f=net.predict, p=params, a=a, to=dtype: f(p, a.astype(to)),
                CONVERTED,
            )

        def converted(
            p: Any, f: Any = net.value_and_grad, x: Any = x, t: Any = labels, to: str = dtype
        ) -> Any:
            value, grad = f(p.astype(to), x, t)
            return value, grad.astype(np.result_type(p, grad))

        given = params.astype(other)
        yield Cliff(
            f"network's gradient with {other} parameters, {dtype}",
            lambda f=net.value_and_grad, p=given, x=x, t=labels: f(p, x, t),
            lambda f=converted, p=given: f(p),
            CONVERTED,
        )


def ragged() -> Cliffs:
    """A large layer whose sizes are multiples of no tile, forward and backward."""
    n, d, k = 600, 900, 700

    def both(m: Any, act: str, x: Any, w: Any, b: Any, g: Any) -> Any:
        y, cache = m.dense_forward(x, w, b, act)
        return y, m.dense_backward(g, cache)

    for dtype in DTYPES:
        a = [normal(i, dtype, *s) for i, s in enumerate(((n, d), (d, k), (k,), (n, k)))]
        a[1] /= d**0.5
        for act in ACTIVATIONS:
            yield Cliff(
                f"{n}x{d}x{k} {act} {dtype}",
                lambda act=act, a=a: both(fg, act, *a),
                lambda act=act, a=a: both(reference, act, *a),
                1 / 1.05,
            )


GROUPS: dict[str, Callable[[], Cliffs]] = {
    "fit": fit,
    "one output": one_output,
    "one sample": one_sample,
    "conversions": conversions,
    "ragged": ragged,
}


# -- rows: those with `match` in their name, measured for so many seconds --------------------------

Rows = Callable[[str, float], Iterator[Row]]


def timed(group: Callable[[], Cliffs]) -> Rows:
    """Return what times the calls of a group."""

    def rows(match: str, seconds: float) -> Iterator[Row]:
        for cliff in group():
            if match not in cliff.name:
                continue
            pair = compare(cliff.ours, cliff.beside, seconds)
            times = duration(pair.ours.median), duration(pair.theirs.median)
            yield Row(cliff.name, *times, 1 / pair.ratio.median, cliff.most)

    return rows


def page_faults(match: str, seconds: float) -> Iterator[Row]:
    """Yield gradients that take new memory at each call: time and page faults, without `out=`."""
    for name, (ours, theirs) in large_gradients(match, seconds):
        times = duration(ours.seconds), duration(theirs.seconds)
        yield Row(name, *times, ours.seconds / theirs.seconds, AS_NUMPY)
        # 50 more: a new array or two of a few pages, which NumPy keeps and we do not.
        pages = f"{ours.pages:.0f} pages", f"{theirs.pages:.0f} pages"
        yield Row(name, *pages, ours.pages / max(theirs.pages, 50.0), 1.1)


LENGTHS = (256, 257, 400, 784, 1000, 1024, 3000, 5000, 10_000, 30_000, 100_000)


def long_sums(match: str, seconds: float) -> Iterator[Row]:
    """Yield the RMS error of long sums, in u * (|x| @ |w|), beside NumPy's."""
    for dtype, kind, d in product(DTYPES, ("normal", "uniform"), LENGTHS):
        name = f"RMS error over {d} {kind} {dtype}"
        if match not in name:
            continue
        ours, theirs = rms_errors(dtype, kind, d)
        yield Row(name, f"{ours:.2f} u", f"{theirs:.2f} u", ours / theirs, 1.2)


def rms_errors(dtype: str, kind: str, d: int, outputs: int = 32) -> tuple[float, float]:
    """Return fastgrad's and NumPy's RMS error in sums over d products, by a wider format."""
    rng = np.random.default_rng(d)
    draw = rng.standard_normal if kind == "normal" else rng.random
    x, w = (draw(s, np.dtype(dtype)) for s in ((outputs, d), (d, outputs)))  # type: ignore[operator]
    wide = np.float64 if dtype == "float32" else np.longdouble
    wide_x, wide_w = x.astype(wide), w.astype(wide)
    truth, unit = wide_x @ wide_w, abs(wide_x) @ abs(wide_w) * np.finfo(dtype).eps / 2

    def rms(got: Any) -> float:
        return float(np.sqrt(np.mean(((got - truth) / unit) ** 2)))

    return rms(fg.dense(x, w)), rms(x @ w)


ROWS: dict[str, Rows] = {
    **{name: timed(group) for name, group in GROUPS.items()},
    "page faults": page_faults,
    "long sums": long_sums,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the groups; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cliffs", description=__doc__)
    parser.add_argument(
        "--only", default=",".join(ROWS), metavar="GROUP,...", help=f"some of: {', '.join(ROWS)}"
    )
    parser.add_argument("--match", default="", help="rows with this in their name")
    parser.add_argument("--seconds", type=float, default=0.3, help="per row (default: 0.3)")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(f"no group is called {unknown[0]!r}: choose from {', '.join(ROWS)}")
    print(f"{measured_on()}, one thread\n")
    fg.set_num_threads(1)
    missed = 0
    with Progress() as bar:
        for index, name in enumerate(chosen):
            lines = []
            for row in ROWS[name](options.match, options.seconds):
                bar.update(index, len(chosen), row.name)
                over = row.ratio > row.most
                missed += over
                verdict = "MISSED" if over else ""
                lines.append([row.name, row.ours, row.beside, factor(row.ratio),
                              factor(row.most), verdict])  # fmt: skip
            if lines:
                header = [name, "fastgrad", "beside it", "ratio", "at most", ""]
                print(table(header, lines) + "\n", flush=True)
    print(f"{missed} bars missed" if missed else "every bar is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
