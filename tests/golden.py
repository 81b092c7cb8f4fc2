"""Workloads whose every bit is known: their SHA-256 are in ``golden_hashes.json``.

    python -m tests.golden            # does this machine compute the same bits? exits with 1 if not
    python -m tests.golden --write    # after a change that is meant to change results

A workload's inputs are integers of a bit generator, scaled by powers of two: no function of the
platform takes part in them. Its hash must not depend on processor, threads, memory layout,
alignment, layout of samples or on how the batch is cut: `digest` takes each as an argument.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastgrad as fg
from fastgrad.optimizers import OPTIMIZERS

Array = NDArray[Any]
HASHES = Path(__file__).with_name("golden_hashes.json")
DTYPES = ("float32", "float64")
# n x d x k: less than a tile; ragged edges; two blocks of the batch; wide enough to pack both
# operands and for rows of several chunks.
LAYERS = ((7, 5, 3), (61, 600, 37), (300, 19, 41), (13, 70, 300))
# Several k-blocks; and packed operands of them for several blocks of rows.
DEEP = ((61, 1300, 37), (300, 1300, 300))
# A few inputs and outputs: rows in vectors, several blocks of the batch side by side.
THIN = (
    (2400, 3, 2),
    (1100, 5, 1),
    (1150, 1, 6),
    (1030, 2, 3),
    (1030, 4, 3),
    (270, 40, 3),
    (45, 9, 8),
)
# Few outputs: in columns vectors hold samples where they would be emptier else. Also more outputs
# than a register tile has columns without AVX-512; several blocks of samples, and parts of them.
FEW = ((270, 40, 10), (150, 30, 13), (64, 7, 9), (90, 33, 6), (1700, 420, 15))
# A single output: several blocks of features, and of the batch.
SINGLE = ((61, 700, 1), (1300, 37, 1))
# From 2**26 multiply-adds on a layer is shared over threads, samples or features.
LARGE = ((700, 300, 400), (300, 700, 400))
BATCH = (1000, 9, 19)


def integers(key: str, size: int) -> Array:
    """Return 64-bit words that depend on nothing but the key."""
    return np.random.PCG64(zlib.crc32(key.encode())).random_raw(size)


def numbers(key: str, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> Array:
    """Return multiples of a power of two between -scale and scale, a power of two itself."""
    bits = 24 if dtype == "float32" else 53
    words = (integers(key, int(np.prod(shape))) >> np.uint64(64 - bits)).astype(np.int64)
    return ((words - 2 ** (bits - 1)) * (scale * 2.0 ** (1 - bits))).astype(dtype).reshape(shape)


def as_it_is(array: Array) -> Array:
    return array


def turn(array: Array, samples: str) -> Array:
    """Return a matrix from the row layout in the other one, or back; C-contiguous."""
    flip = samples == "columns" and array.ndim == 2
    return np.ascontiguousarray(array.T if flip else array)


def data(shape: tuple[int, int, int], dtype: str) -> dict[str, Array]:
    """Return x, w, b and grad_y of a layer, in row layout; z is of size about 2."""
    n, d, k = shape
    name = f"{n}x{d}x{k}"
    return {
        "x": numbers(f"x {name}", (n, d), dtype, 2.0),
        "w": numbers(f"w {name}", (d, k), dtype, 4.0 / 2 ** (int(d).bit_length() // 2)),
        "b": numbers(f"b {name}", (k,), dtype),
        "g": numbers(f"g {name}", (n, k), dtype),
    }


def layers(
    activation: Any, dtype: str, shapes: tuple[Any, ...] = LAYERS, samples: str = "rows",
    form: Callable[[Array], Array] = as_it_is,
) -> Iterator[Array]:  # fmt: skip
    """Yield output and gradients of layers, in row layout."""
    for shape in shapes:
        a = {name: form(turn(value, samples)) for name, value in data(shape, dtype).items()}
        y, cache = fg.dense_forward(a["x"], a["w"], a["b"], activation, samples=samples)
        grads = fg.dense_backward(a["g"], cache, need=("x", "w", "b", "z"))
        for result in (y, *grads):
            yield turn(result, samples)


def batch(
    activation: str, dtype: str, pieces: int = 1, samples: str = "rows",
    form: Callable[[Array], Array] = as_it_is,
) -> Iterator[Array]:  # fmt: skip
    """Yield the outputs of a batch that is computed in pieces."""
    a = data(BATCH, dtype)
    w, b = form(turn(a["w"], samples)), form(a["b"])
    for part in np.array_split(a["x"], pieces):
        yield turn(fg.dense(form(turn(part, samples)), w, b, activation, samples=samples), samples)


def function(
    activation: Any, dtype: str, form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield values and slopes at arguments of every size, infinities and zeros among them."""
    row = fg.activations.ACTIVATIONS.get(activation, activation)
    size = 64 * 64
    words = integers("arguments", size) >> np.uint64(32 if dtype == "float32" else 0)
    z = words.astype(np.uint32 if dtype == "float32" else np.uint64).view(dtype)
    z = np.where(np.isfinite(z), z, z.dtype.type(1))
    z[::2] = numbers("ordinary arguments", (size // 2,), dtype, 32.0)
    z[:4] = np.inf, -np.inf, 0.0, -0.0
    z, g = form(z.reshape(64, 64)), form(numbers("slopes", (64, 64), dtype))
    yield row(z)
    yield row.backward(g, z)


def predictions(name: str, shape: tuple[int, int], dtype: str) -> Array:
    """Return predictions of a loss, between 0 and 1 where it takes probabilities."""
    found = numbers(f"pred {shape}", shape, dtype, 4.0)
    return 1 / (1 + abs(found)) if name == "nll" else found


def activation_settings(
    dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield what layers and the functions themselves give: from y, and from z."""
    for activation in (
        fg.leaky_relu.with_(slope=0.2), fg.leaky_relu.with_(slope=-0.5),
        fg.elu.with_(alpha=0.3), fg.elu.with_(alpha=-1.5),
    ):  # fmt: skip
        yield from layers(activation, dtype, LAYERS[:2], samples, form)
        yield from function(activation, dtype, form=form)


def loss(
    name: str, dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield values and gradients of a loss, for rows below and above a chunk."""
    row = fg.losses.LOSSES[name]
    for shape in ((19, 33), (5, 300)):
        pred = form(turn(predictions(name, shape, dtype), samples))
        target = form(turn(abs(numbers(f"target {shape}", shape, dtype)), samples))
        targets: tuple[Any, ...] = () if isinstance(row, fg.losses.ArrayLoss) else (target,)
        choices = [targets]
        if row.rowwise:
            words = integers(f"classes {shape}", shape[0]) % np.uint64(shape[1])
            choices.append((words.astype(np.int64),))
        for arguments in choices:
            for reduction in ("mean", "sum", "samples"):
                value, grad = row.value_and_grad(pred, *arguments, reduction, samples)
                yield np.array([value])
                yield turn(grad, samples)


def weighted(
    name: str, dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield terms, weighted values and gradients of a loss; probabilities of logits."""
    row = fg.losses.LOSSES[name]
    for shape in ((19, 33), (5, 300)):
        pred = form(turn(predictions(name, shape, dtype), samples))
        target = form(turn(abs(numbers(f"target {shape}", shape, dtype)), samples))
        targets: tuple[Any, ...] = () if isinstance(row, fg.losses.ArrayLoss) else (target,)
        choices = [targets]
        if row.rowwise:
            words = integers(f"classes {shape}", shape[0]) % np.uint64(shape[1])
            choices.append((words.astype(np.int64),))
        weights = abs(numbers(f"weights {shape}", shape[:1], "float64"))
        weights[1] = 0.0
        each = form(turn(abs(numbers(f"each {shape}", shape, "float64")), samples))
        for arguments in choices:
            terms: Any = row(pred, *arguments, "none", samples)
            yield terms if row.rowwise else turn(terms, samples)
            for own in (form(weights),) if row.rowwise else (form(weights), each):
                value, grad = row.value_and_grad(pred, *arguments, "mean", samples, weights=own)
                yield np.array([value])
                yield turn(grad, samples)
            if isinstance(row, fg.losses.LogitLoss):
                logits = pred, *arguments
                yield turn(row.value_grad_and_probabilities(*logits, "sum", samples)[2], samples)


def network(
    dtype: str,
    normalize: str | None = None,
    weighted: bool = False,
    clipped: bool = False,
    samples: str = "rows",
    form: Callable[[Array], Array] = as_it_is,
    **settings: float,
) -> Iterator[Array]:
    """Yield value, gradient and prediction of networks, and what three epochs make of them."""
    for sizes, activations, name in (
        ((9, 33, 20, 5), ("tanh", "gelu", None), "mse"),
        ((9, 70, 5), ("relu", None), "softmax_cross_entropy"),
    ):
        options: dict[str, Any] = {"samples": samples, "dtype": dtype, "normalize": normalize}
        net = fg.MLP(sizes, activations, name, **options, **settings)
        key = f"network {sizes}"
        layers = []
        for i, (d, k) in enumerate(pairwise(sizes)):
            w = turn(numbers(f"{key} w{i}", (d, k), dtype, 0.5), samples)
            layers.append((w, numbers(f"{key} b{i}", (k,), dtype)))
            if normalize is not None and i < len(sizes) - 2:
                gain = numbers(f"{key} gain{i}", (k,), dtype)
                layers.append((gain, numbers(f"{key} shift{i}", (k,), dtype)))
        params = form(net.pack(layers))
        x = form(turn(numbers(f"{key} x", (700, sizes[0]), dtype, 2.0), samples))
        target = form(turn(abs(numbers(f"{key} target", (700, sizes[-1]), dtype)), samples))
        weights = None
        if weighted:
            weights = abs(numbers(f"{key} weights", (700,), "float64"))
            weights[:3] = 0.0
            weights = form(weights)
        value, grad = net.value_and_grad(params, x, target, weights)
        optimizer = fg.Adam(lr=2.0**-8)
        order = {"epochs": 3, "batch_size": 300, "shuffle": False, "weights": weights}
        if clipped:
            order |= {"clip_norm": 0.25, "validation": (x, target)}
        fitted = net.fit(params, x, target, optimizer, **order)  # type: ignore[arg-type]
        yield np.array([value])
        yield turn(net.predict(params, x), samples)
        for vector in (grad, fitted.params):
            for layer in net.layers(vector):
                first, second = layer
                yield (
                    turn(first, samples) if isinstance(layer, fg.LayerParams) else first.reshape(-1)
                )
                yield second.reshape(-1)
        yield fitted.losses
        if fitted.validation_losses is not None:
            yield fitted.validation_losses


def opened(
    dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield outputs of networks, and gradients from any gradient of these, twice summed."""
    for sizes, activations, normalize in (
        ((9, 33, 20, 5), ("tanh", "gelu", None), None),
        ((40, 70, 1), ("relu", "sigmoid"), "layer"),
    ):
        net = fg.MLP(
            sizes, activations, "squared_l2", samples=samples, dtype=dtype, normalize=normalize
        )
        key = f"opened {sizes}"
        params = net.named(np.empty(net.size, dtype))
        for name, array in params.items():
            turned = array.T if samples == "columns" else array
            rows = turned if name.startswith("W") else array.reshape(-1)
            rows[...] = numbers(f"{key} {name}", rows.shape, dtype, 0.5)
        x = form(turn(numbers(f"{key} x", (700, sizes[0]), dtype, 2.0), samples))
        grad_y = form(turn(numbers(f"{key} grad", (700, sizes[-1]), dtype), samples))
        y, tape = net.forward(params, x)
        grads = net.backward(grad_y, tape)
        total = net.backward(grad_y, tape, "params", out=grads, accumulate=True)
        yield turn(y, samples)
        yield turn(grads.x, samples)
        for name, array in total.params.items():
            yield turn(array, samples) if name.startswith("W") else array.reshape(-1)


CELLS = {"rnn": (1, "tanh"), "lstm": (4, "ifog"), "gru": (3, "before"), "gru after": (3, "after")}


def recurrent(
    name: str, dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield states and gradients of recurrent layers, which have one layout of samples.

    Ragged; more rows of all steps, and more states, than a sum has in a block; one sample.
    """
    (gates, setting), cell = CELLS[name], name.split()[0]
    for t, n, d, k in ((5, 7, 9, 19), (6, 61, 70, 33), (3, 13, 5, 300), (9, 1, 40, 50)):
        shapes = {
            "x": (t, n, d), "h0": (n, k), "c0": (n, k), "wx": (d, gates * k), "wh": (k, gates * k),
            "b": (2, gates * k) if setting == "after" else (gates * k,),
        }  # fmt: skip
        if cell != "lstm":
            del shapes["c0"]
        key = f"{t}x{n}x{d}x{k}"
        arrays = [form(numbers(f"{a} {key}", shape, dtype, 0.5)) for a, shape in shapes.items()]
        *states, cache = getattr(fg, f"{cell}_forward")(*arrays, setting)
        grad = form(numbers(f"grad {key}", (t, n, k), dtype))
        more = {"grad_c": grad} if cell == "lstm" else {}
        yield from (*states, *getattr(fg, f"{cell}_backward")(grad, cache, **more))


def dropout(
    dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield outputs and gradients of dropout, which has one layout of samples."""
    for shape, start in (((61, 97), 0), ((3, 1), 7), ((300, 300), 2**34 - 3)):
        x, g = (form(numbers(f"dropout {a} {shape}", shape, dtype)) for a in "xg")
        y, cache = fg.dropout_forward(x, 0.375, 2**40 + 5, 3, layer=2, start=start)
        yield from (y, fg.dropout_backward(g, cache))


def norms(
    kind: str, dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield outputs, gradients and running statistics of normalizations, in row layout."""
    for n, d in ((61, 37), (600, 5), (1, 300)):
        x, g = (form(turn(numbers(f"{a} {n}x{d}", (n, d), dtype, 4.0), samples)) for a in "xg")
        gain, bias = (form(numbers(f"{a} {d}", (d,), dtype)) for a in ("gain", "bias"))
        running = np.zeros(d, dtype), np.ones(d, dtype)
        more = {"running": running} if kind == "batch" else {}
        y, cache = getattr(fg, f"{kind}_norm_forward")(x, gain, bias, samples=samples, **more)
        grads = getattr(fg, f"{kind}_norm_backward")(g, cache)
        yield from (turn(y, samples), turn(grads.x, samples), grads.gain, grads.bias)
        yield from more.get("running", ())


def embedding(
    dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield rows of tables, and the sums of their gradients, which have one layout of samples."""
    for words, width, shape in ((7, 19, (300,)), (1000, 33, (61, 5)), (3, 1, (500,))):
        table = form(numbers(f"table {shape}", (words, width), dtype))
        ids = form((integers(f"ids {shape}", int(np.prod(shape))) % words).reshape(shape))
        y, cache = fg.embedding_forward(ids.astype(np.int64), table)
        grad = form(numbers(f"rows {shape}", (*shape, width), dtype))
        yield from (y, *fg.embedding_backward(grad, cache))
        used, sums = fg.embedding_backward(grad, cache, rows=True)
        yield from (used.astype(dtype), sums)


def steps(
    name: str, dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield what five steps make of the arrays of a script, its gradients clipped."""
    settings: dict[str, dict[str, Any]] = {
        "SGD": {"momentum": 0.875, "nesterov": True},
        "RMSprop": {"momentum": 0.5, "centered": True},
        "Adagrad": {"lr_decay": 0.125},
    }  # fmt: skip
    opt = getattr(fg, name)(lr=2.0**-5, weight_decay=2.0**-4, **settings.get(name, {}))
    shapes = {"W": (37, 21), "b": (21,), "rest": (5, 4)}
    params = {k: form(turn(numbers(f"step {k}", s, dtype), samples)) for k, s in shapes.items()}
    for i in range(5):
        grads = {k: form(numbers(f"step {k} {i}", shape, dtype)) for k, shape in shapes.items()}
        yield np.array([fg.clip_norm(grads, 2.0)])
        opt.step(params, {k: form(turn(grad, samples)) for k, grad in grads.items()})
    for array in params.values():
        yield turn(array, samples)


SPARSE = ((61, 600, 37), (300, 19, 41), (600, 1300, 9), (61, 700, 1))


def sparse(
    dtype: str, samples: str = "rows", form: Callable[[Array], Array] = as_it_is
) -> Iterator[Array]:
    """Yield output and gradients of layers of a sparse x, in row layout."""
    for shape in SPARSE:
        (n, d, _), rows = shape, data(shape, dtype)
        kept = (integers(f"kept {n}x{d}", n * d) % np.uint64(8) == 0).reshape(n, d)
        x = SimpleNamespace(
            format="csr" if samples == "rows" else "csc",
            shape=(n, d) if samples == "rows" else (d, n),
            indptr=np.concatenate([[0], kept.sum(1).cumsum()]),
            indices=kept.nonzero()[1].astype(np.int32),
            data=rows["x"][kept],
        )
        a = {name: form(turn(rows[name], samples)) for name in "wbg"}
        y, cache = fg.dense_forward(x, a["w"], a["b"], "gelu", samples=samples)
        grads = fg.dense_backward(a["g"], cache, need=("w", "b", "z"))
        for result in (y, grads.z, grads.w, grads.b):
            yield turn(result, samples)


WORKLOADS: dict[str, Callable[..., Iterator[Array]]] = {}
for _dtype in DTYPES:
    for _name in fg.activations.BUILT_IN:
        WORKLOADS[f"layers {_name} {_dtype}"] = partial(layers, _name, _dtype)
        WORKLOADS[f"batch {_name} {_dtype}"] = partial(batch, _name, _dtype)
        WORKLOADS[f"function {_name} {_dtype}"] = partial(function, _name, _dtype)
    for _name in fg.losses.LOSSES:
        WORKLOADS[f"loss {_name} {_dtype}"] = partial(loss, _name, _dtype)
        WORKLOADS[f"weighted {_name} {_dtype}"] = partial(weighted, _name, _dtype)
    WORKLOADS[f"activation settings {_dtype}"] = partial(activation_settings, _dtype)
    WORKLOADS[f"network {_dtype}"] = partial(network, _dtype)
    WORKLOADS[f"layer norm {_dtype}"] = partial(network, _dtype, "layer")
    WORKLOADS[f"opened {_dtype}"] = partial(opened, _dtype)
    WORKLOADS[f"penalties {_dtype}"] = partial(network, _dtype, l1=2.0**-7, l2=0.3)
    WORKLOADS[f"weighted network {_dtype}"] = partial(network, _dtype, weighted=True)
    WORKLOADS[f"network dropout {_dtype}"] = partial(network, _dtype, dropout=0.3)
    WORKLOADS[f"clipped {_dtype}"] = partial(network, _dtype, clipped=True)
    for _name in OPTIMIZERS:
        WORKLOADS[f"steps {_name} {_dtype}"] = partial(steps, _name, _dtype)
    for _name in ("tanh", "softmax"):
        WORKLOADS[f"thin {_name} {_dtype}"] = partial(layers, _name, _dtype, THIN)
    for _name in CELLS:
        WORKLOADS[f"recurrent {_name} {_dtype}"] = partial(recurrent, _name, _dtype)
    WORKLOADS[f"dropout {_dtype}"] = partial(dropout, _dtype)
    WORKLOADS[f"embedding {_dtype}"] = partial(embedding, _dtype)
    for _name in ("layer", "batch"):
        WORKLOADS[f"norms {_name} {_dtype}"] = partial(norms, _name, _dtype)
    WORKLOADS[f"sparse {_dtype}"] = partial(sparse, _dtype)
    WORKLOADS[f"few {_dtype}"] = partial(layers, "tanh", _dtype, FEW)
    WORKLOADS[f"single {_dtype}"] = partial(layers, "tanh", _dtype, SINGLE)
    WORKLOADS[f"deep {_dtype}"] = partial(layers, "tanh", _dtype, DEEP)
    WORKLOADS[f"large {_dtype}"] = partial(layers, "tanh", _dtype, LARGE)


def digest(name: str, **variation: Any) -> str:
    """Return the SHA-256 of what a workload yields; every NaN counts as the same."""
    total = hashlib.sha256()
    for array in WORKLOADS[name](**variation):
        clean = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        total.update(clean.astype(clean.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def committed() -> dict[str, str]:
    """Return the hashes of the file."""
    hashes: dict[str, str] = json.loads(HASHES.read_text())
    return hashes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("--write", action="store_true", help="write golden_hashes.json anew")
    options = parser.parse_args(arguments)
    found = {name: digest(name) for name in WORKLOADS}
    if options.write:
        HASHES.write_text(json.dumps(found, indent=2) + "\n")
        return 0
    known = committed()
    transposed = {name: digest(name, samples="columns") for name in found if "function" not in name}
    wrong = [name for name in {**known, **found} if known.get(name) != found.get(name)]
    wrong_transposed = [name for name in transposed if known.get(name) != transposed[name]]
    for name in wrong:
        print(f"{name}: {found.get(name)}, not {known.get(name)}")
    for name in wrong_transposed:
        print(f"{name} in columns: {transposed[name]}, not {known.get(name)}")
    wrong = sorted({*wrong, *wrong_transposed})
    print(f"{len(found) - len(wrong)} of {len(found)} workloads have the committed bits")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
