"""Index arithmetic beyond 2**31 and 2**32, in elements and in bytes.

Few elements, far apart in memory that is never touched: views of a sparse file, whose last
element is more than 2**32 elements from the first. Every result equals that of a compact copy to
the bit, and only the elements of an output are written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, output, rng_of, same_bits, start, turn
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad.losses import LOSSES, ArrayLoss

FAR = 2**32 + 2**20  # elements
# Sizes that need several register tiles, and more than one block of the batch.
N, D, K = 300, 21, 37

Spread = Callable[..., Array]


@pytest.fixture(scope="module")
def spread() -> Iterator[Spread]:
    """Return a function that puts an array into sparse memory, with one huge stride."""
    with tempfile.TemporaryFile() as file:
        try:
            os.truncate(file.fileno(), 8 * 40 * FAR)
        except OSError as error:
            pytest.skip(f"no sparse files here: {error}")
        begin = 0

        def place(array: Array, axis: int = 0, backwards: bool = False) -> Array:
            nonlocal begin
            size, length = array.dtype.itemsize, array.shape[axis]
            step = -(-FAR // max(length - 1, 1))
            others = [s for i, s in enumerate(array.shape) if i != axis]
            steps = np.cumprod([1, *others[::-1]])[:-1][::-1].tolist()
            steps.insert(axis, step)
            pool = np.memmap(file, np.uint8, "r+", begin, (size * (FAR + step + array.size),))
            begin += 1 << 24  # beside what was placed before
            view = np.lib.stride_tricks.as_strided(
                pool.view(np.ndarray)[: pool.size // size * size].view(array.dtype),
                array.shape,
                [size * s for s in steps],
            )
            if backwards:
                view = view[(slice(None),) * axis + (slice(None, None, -1),)]
            view[...] = array
            assert np.ptp([0, *(s * (n - 1) for s, n in zip(view.strides, view.shape, strict=True))]
                          ) > 2**32 * size  # fmt: skip
            return view

        yield place


def numbers(*shape: int, dtype: str) -> Array:
    return rng_of("big index", shape).standard_normal(shape).astype(dtype)


dtypes = pytest.mark.parametrize("dtype", DTYPES)
axes = pytest.mark.parametrize("axis", [0, 1])
directions = pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])


@directions
@axes
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_dense(dtype: str, samples: str, axis: int, backwards: bool, spread: Spread) -> None:
    """All arguments and all outputs at once, forward, backward and added."""
    x, w, g = (turn(numbers(*shape, dtype=dtype), samples) for shape in ((N, D), (D, K), (N, K)))
    b = numbers(K, dtype=dtype)
    far = {n: spread(a, axis, backwards) for n, a in (("x", x), ("w", w), ("g", g))}
    far_b = spread(b, 0, backwards)
    for name in ("tanh", "silu"):
        y, cache = fg.dense_forward(x, w, b, name, samples=samples)
        grads = fg.dense_backward(g, cache, need="xwbz")
        out = spread(np.zeros_like(y), axis, backwards)
        far_y, far_cache = fg.dense_forward(
            far["x"], far["w"], far_b, name, samples=samples, out=out
        )
        assert far_y is out
        assert same_bits(out, y)
        assert same_bits(fg.dense(far["x"], far["w"], far_b, name, samples=samples), y)
        outs = {
            n: spread(np.zeros_like(a), axis if a.ndim == 2 else 0, backwards)
            for n, a in grads._asdict().items()
        }
        fg.dense_backward(far["g"], far_cache, need="xwbz", out=outs)
        for n, a in grads._asdict().items():
            assert same_bits(outs[n], a), n
        fg.dense_backward(far["g"], far_cache, need="xwbz", out=outs, accumulate=True)
        fg.dense_backward(g, cache, need="xwbz", out=grads, accumulate=True)
        for n, a in grads._asdict().items():
            assert same_bits(outs[n], a), n


@axes
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "softmax"])
@dtypes
def test_activations(dtype: str, name: str, axis: int, spread: Spread) -> None:
    act = fg.activations.ACTIVATIONS[name]
    z, g = numbers(N, D, dtype=dtype), numbers(2 * N, D, dtype=dtype)[N:]
    far_z, far_g = spread(z, axis), spread(g, axis)
    out = spread(np.zeros_like(z), axis)
    assert same_bits(act(far_z, out=out), act(z))
    assert same_bits(act(far_z), act(z))
    assert same_bits(act.backward(far_g, far_z, out=out), act.backward(g, z))


@axes
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("name", list(LOSSES))
@dtypes
def test_losses(dtype: str, name: str, samples: str, axis: int, spread: Spread) -> None:
    loss: Any = LOSSES[name]
    pred = LOSS_TRUTH[name].domain(numbers(N, D, dtype=dtype))
    target = abs(numbers(D, N, dtype=dtype).T) / 4  # from 0 to 1
    near = [pred] if isinstance(loss, ArrayLoss) else [pred, target]
    far = [spread(a, axis) for a in near]
    value, grad = loss.value_and_grad(*near, "mean", samples)
    out = spread(np.zeros_like(pred), axis)
    far_value, far_grad = loss.value_and_grad(*far, "mean", samples, out=out)
    assert far_grad is out
    assert far_value == value == loss(*far, "mean", samples)
    assert same_bits(out, grad)


@axes
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_classes(dtype: str, samples: str, axis: int, spread: Spread) -> None:
    loss = fg.losses.softmax_cross_entropy
    pred = turn(numbers(N, D, dtype=dtype), samples)
    labels = rng_of("labels").integers(0, D, N)
    value, grad = loss.value_and_grad(pred, labels, "mean", samples)
    far_value, far_grad = loss.value_and_grad(spread(pred, axis), spread(labels), "mean", samples)
    assert far_value == value
    assert same_bits(far_grad, grad)


@axes
@pytest.mark.parametrize("samples", LAYOUTS)
@dtypes
def test_networks(dtype: str, samples: str, axis: int, spread: Spread) -> None:
    net = fg.MLP((D, 8, K), ("tanh", None), "mse", samples=samples, dtype=dtype)
    params = net.init(seed=0)
    x, target = (turn(numbers(N, s, dtype=dtype), samples) for s in (D, K))
    value, grad = net.value_and_grad(params, x, target)
    far = spread(params), spread(x, axis), spread(target, axis)
    out = spread(np.zeros_like(params))
    far_value, far_grad = net.value_and_grad(*far, out=out)
    assert far_grad is out
    assert far_value == value
    assert same_bits(out, grad)
    y = net.predict(params, x)
    assert same_bits(net.predict(far[0], far[1], out=spread(np.zeros_like(y), axis)), y)
    fitted, far_fitted = (
        net.fit(p, a, t, fg.SGD(lr=0.1), epochs=1) for p, a, t in ((params, x, target), far)
    )
    assert same_bits(fitted.params, far_fitted.params)


# Empty results of 2**40 samples: nothing is to be computed, so it takes no time. In a process of
# its own, since a loop over them would never end.
EMPTY = """
import numpy as np, fastgrad as fg
many = 2**40
none = np.empty((many, 0))
x, w = np.broadcast_to(1.0, (many, 3)), np.empty((3, 0))
for samples, x, w in (("rows", x, w), ("columns", x.T, w.T), ("rows", none, w[:0])):
    for name in (None, "tanh", "silu", "softmax"):
        for _ in range(2):  # checked, then direct
            y, cache = fg.dense_forward(x, w, None, name, samples=samples)
            assert y.size == 0 and many in y.shape
            need = "wz" if x.size else "xwz"
            grads = fg.dense_backward(y, cache, need=need)
            assert grads.w.shape == w.shape and grads.z.shape == y.shape
for name, act in fg.activations.ACTIVATIONS.items():
    for z in (none, none.T):
        for _ in range(2):
            assert act(z).shape == act.backward(z, z).shape == z.shape
for name, loss in fg.losses.LOSSES.items():
    arrays = [none] if isinstance(loss, fg.losses.ArrayLoss) else [none, none]
    for samples in ("rows", "columns"):
        for _ in range(2):
            assert loss.value_and_grad(*arrays, "sum", samples)[0] == 0
try:
    fg.dense(none, none.T)
except ValueError as error:
    print(error)
"""


def test_empty_results_of_very_many_samples() -> None:
    expected = "dense: y of shape (1099511627776, 1099511627776) is larger than memory can be"
    assert output(start(EMPTY), timeout=60) == expected


def test_indexing_is_64_bit() -> None:
    """Offsets beyond 2**31 elements, on a broadcast view: nothing of that size is allocated."""
    row = np.arange(4.0, dtype=np.float32)
    tall = np.lib.stride_tricks.as_strided(row, (2**31 + 8, 4), (0, 4), writeable=False)
    part = tall[2**31 :]
    w = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(fg.dense(part, w), part)


@pytest.mark.exhaustive
def test_arrays_of_more_elements_than_32_bits_count() -> None:
    """No views: y has 2**31 elements and a few more, each one checked.

    One dtype after the other: two tests at once would find the same memory free.
    """
    n, d = 2**30 + 512, 2
    for dtype in DTYPES:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        needed = n * d * np.dtype(dtype).itemsize
        if available < 1.3 * needed:
            pytest.skip(f"{dtype} needs {needed >> 30} GiB of memory")
        x = np.broadcast_to(np.array([2.0, 3.0], dtype), (n, d))
        w, b = np.array([[1, 2], [4, 8]], dtype), np.array([1, 2], dtype)
        y, cache = fg.dense_forward(x, w, b)
        for i in range(0, n, 1 << 26):
            assert (y[i : i + (1 << 26)] == [15, 30]).all()
        grad_y = np.broadcast_to(np.array([1.0, 0.5], dtype), (n, d))
        grads = fg.dense_backward(grad_y, cache, need="b")
        assert grads.b is not None
        # Sums of ones over blocks are exact, and so are sums of the blocks up to 2**24 times 256.
        np.testing.assert_array_equal(grads.b, np.array([n, n / 2], dtype))
        del y, cache
