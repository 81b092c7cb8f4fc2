"""A sparse x in dense layers: the bits of a dense x, from any format, and nothing trusted in it."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

import fastgrad as fg
from fastgrad import loops, reference, threads

Array = NDArray[Any]
PACKAGES = [fg, reference, loops]

# n d k, and how much is filled: blocks of 256 features and samples begun and ended; one output,
# which has a sum of its own; rows that no vector holds; nothing at all.
SHAPES = [
    *(
        (7, 600, 5, 0.1),
        (300, 40, 3, 0.3),
        (1, 5, 2, 0.5),
        (520, 700, 1, 0.05),
        (33, 900, 300, 0.2),
    ),
    *((0, 3, 2, 0.0), (3, 0, 2, 0.0), (4, 3, 0, 0.5), (6, 3000, 4, 0.9), (5, 8, 2, 0.0)),
]


def sparse(n: int, d: int, filled: float, dtype: str = "float64", seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * (rng.random((n, d)) < filled)
    return scipy.sparse.csr_array(x.astype(dtype))


def numbers(*shape: int, dtype: str = "float64", seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both(
    x: Any, w: Array, b: Array | None, g: Array, activation: Any = None, **how: Any
) -> list[Any]:
    """Return y, and the gradients of z, w and b."""
    y, cache = fg.dense_forward(x, w, b, activation, **how)
    grads = fg.dense_backward(g, cache, need=("z", "w", "b"))
    assert grads.x is None
    return [y, fg.dense(x, w, b, activation, **how), grads.z, grads.w, grads.b]


@pytest.mark.parametrize("activation", [None, "tanh", "gelu", "softmax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_the_bits_of_a_dense_x(activation: str | None, dtype: str, samples: str) -> None:
    for n, d, k, filled in SHAPES:
        if k == 0 and activation == "softmax":
            continue
        x = sparse(n, d, filled, dtype)
        w, b, g = (numbers(*shape, dtype=dtype) for shape in ((d, k), (k,), (n, k)))
        if samples == "columns":
            x, w, g = x.T, w.T.copy(), g.T
        expected = both(x.toarray(), w, b, g, activation, samples=samples)
        for form in ("csr", "csc", "coo"):
            found = both(x.asformat(form), w, b, g, activation, samples=samples)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other, str((n, d, k, form)))
                assert (one.dtype, one.strides) == (other.dtype, other.strides)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("package", PACKAGES)
def test_whole_numbers_exactly(package: Any, kind: str) -> None:
    """Of every dtype, as matrix and as array, with indices of 32 and 64 bits."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (9, 300)) * (rng.random((9, 300)) < 0.1)
    w, g = rng.integers(-5, 6, (300, 4)), rng.integers(-5, 6, (9, 4))
    forms = [getattr(scipy.sparse, f"{kind}_{end}") for end in ("matrix", "array")]
    for dtype in ("int8", "int64", "uint16", "bool", "float16", "float32", "float64", ">f4", ">i4"):
        data = np.abs(x).astype(dtype) if dtype in ("uint16", "bool") else x.astype(dtype)
        expected = data.astype(np.int64)
        for form in forms:
            try:
                given = form(data)
            except (TypeError, ValueError):  # SciPy takes neither float16 nor foreign bytes
                given = form(x)
                given.data = data[x != 0] if kind == "csr" else given.data.astype(dtype)
            for wide in (np.int32, np.int64):
                for name in ("indptr", "indices", "row", "col"):
                    if hasattr(given, name) and kind != "coo":
                        setattr(given, name, getattr(given, name).astype(wide))
                y, cache = package.dense_forward(given, w)
                np.testing.assert_array_equal(y, expected @ w)
                grad = package.dense_backward(g, cache).w
                np.testing.assert_array_equal(grad, expected.T @ g)


def stored(indptr: Any, indices: Any, data: Any, shape: Any, form: str = "csr") -> Any:
    """Return an object that SciPy does not know, nor has looked at."""
    return SimpleNamespace(
        format=form, indptr=np.array(indptr), indices=np.array(indices), data=np.array(data),
        shape=shape,
    )  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_unsorted_and_repeated_indices_are_a_sum(package: Any) -> None:
    x = stored([0, 4, 4, 6], [2, 0, 2, 1, 1, 1], [1.0, 2, 4, 8, 16, 32], (3, 4))
    full = np.array([[2.0, 8, 5, 0], [0, 0, 0, 0], [0, 48, 0, 0]])
    w, g = np.arange(12.0).reshape(4, 3), np.arange(9.0).reshape(3, 3)
    y, cache = package.dense_forward(x, w)
    np.testing.assert_array_equal(y, full @ w)
    np.testing.assert_array_equal(package.dense_backward(g, cache).w, full.T @ g)
    coo = SimpleNamespace(
        format="coo", row=np.array([2, 0, 0, 2, 0]), col=np.array([1, 2, 0, 1, 2]),
        data=np.array([16.0, 1, 2, 32, 4]), shape=(3, 4),
    )  # fmt: skip
    full[0, 1] = 0
    y, cache = package.dense_forward(coo, w)
    np.testing.assert_array_equal(y, full @ w)
    np.testing.assert_array_equal(package.dense_backward(g, cache).w, full.T @ g)
    y = package.dense(stored([0, 1, 2, 2], [1, 1], [3, 4], (2, 3), "csc"), w[:3])
    np.testing.assert_array_equal(y, [[0, 0, 0], [12, 19, 26]])
    # The last feature of one sample is the first of the next that has entries: no repetition.
    x = stored([0, 3, 3, 5], [2, 1, 2, 2, 3], [1.0, 2, 4, 8, 16], (3, 4))
    full = np.array([[0.0, 2, 5, 0], [0, 0, 0, 0], [0, 0, 8, 16]])
    y, cache = package.dense_forward(x, w)
    np.testing.assert_array_equal(y, full @ w)
    np.testing.assert_array_equal(package.dense_backward(g, cache).w, full.T @ g)


def test_the_order_of_the_entries_changes_no_bit() -> None:
    x = sparse(40, 700, 0.3, "float32")
    w, g = numbers(700, 6, dtype="float32"), numbers(40, 6, dtype="float32")
    expected = both(x, w, None, g)
    rng, mixed = np.random.default_rng(2), x.copy()
    for i in range(40):
        line = slice(*x.indptr[i : i + 2])
        order = rng.permutation(line.stop - line.start)
        mixed.indices[line], mixed.data[line] = x.indices[line][order], x.data[line][order]
    mixed.has_sorted_indices = False
    zeros = x.copy()
    zeros.data[::7] = 0
    for one, other in ((mixed, x), (zeros, scipy.sparse.csr_array(zeros.toarray()))):
        for a, b in zip(both(one, w, None, g), both(other, w, None, g), strict=True):
            np.testing.assert_array_equal(a, b)
    entries = rng.permutation(x.nnz)
    coo = x.tocoo()
    coo = scipy.sparse.coo_array(
        (coo.data[entries], (coo.row[entries], coo.col[entries])), shape=x.shape
    )
    for a, b in zip(both(coo, w, None, g), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_repeated_entries_are_added_in_their_order() -> None:
    data = np.array([1.0, 2.0**-30, 2.0**-53, -1.0, 3.0])
    y = fg.dense(stored([0, 5], [1, 1, 1, 1, 0], data, (1, 2)), np.array([[0.0], [1.0]]))
    assert y[0, 0] == ((1.0 + 2.0**-30) + 2.0**-53) - 1.0
    # They are added up before the product: 3 * 1, where a chain of products gives 3 + 2**-51.
    y = fg.dense(stored([0, 3], [0, 0, 0], [1.0, 2.0**-53, 2.0**-53], (1, 1)), np.array([[3.0]]))
    assert y[0, 0] == 3.0


@pytest.mark.parametrize("package", PACKAGES)
def test_one_sample(package: Any) -> None:
    full = np.array([0.0, 2, 0, 3])
    w = np.arange(8.0).reshape(4, 2)
    for x in (scipy.sparse.coo_array(full), stored([0, 2], [1, 3], [2.0, 3.0], (4,))):
        y, cache = package.dense_forward(x, w, [1, 1])
        np.testing.assert_array_equal(y, full @ w + 1)
        grads = package.dense_backward([1.0, 2.0], cache)
        np.testing.assert_array_equal(grads.w, np.outer(full, [1, 2]))
        np.testing.assert_array_equal(package.dense(x, w.T, samples="columns"), full @ w)


def coo(row: Any, col: Any, shape: Any) -> Any:
    return SimpleNamespace(
        format="coo", row=np.array(row), col=np.array(col), data=np.ones(len(row)), shape=shape
    )


TWO = [1.0, 2.0]
WRONG: dict[str, tuple[Any, str]] = {
    "index": (
        stored([0, 1, 2], [0, 3], TWO, (2, 3)),
        "x has an entry 3 in an axis of length 3 (entry 1 of its indices): it needs 0 to 2",
    ),
    "negative": (stored([0, 1, 2], [-1, 0], TWO, (2, 3)), "x has an entry -1 in an axis"),
    "no samples": (stored([0, 1, 1, 1], [0], [1.0], (0, 3), "csc"), "it can have none"),
    "start": (stored([1, 1, 2], [0, 0], TWO, (2, 3)), "x.indptr[0] is 1: it needs 0"),
    "order": (stored([0, 2, 1], [0, 1], TWO, (2, 3)), "x.indptr[2] is 1: it needs 2"),
    "end": (stored([0, 1, 9], [0, 1], TWO, (2, 3)), "x.indptr[2] is 9: x has 2 entries"),
    "end, by one": (stored([0, 1, 3], [0, 1], TWO, (2, 3)), "x.indptr[2] is 3: x has 2 entries"),
    "indptr": (stored([0, 2], [0, 1], TWO, (2, 3)), "x.indptr has shape (2,)"),
    "lengths": (stored([0, 1, 1], [0, 1], [1.0], (2, 3)), "x.data has shape (1,)"),
    "axes": (stored([0, 1, 1], [[0]], [1.0], (2, 3)), "x.indices has shape (1, 1)"),
    "float": (stored([0, 1, 1], [0.0], [1.0], (2, 3)), "x.indices has dtype float64"),
    "complex": (stored([0, 1, 1], [0], [1j], (2, 3)), "x.data has dtype complex128"),
    "shape": (stored([0, 0], [], [], (2, 3, 4)), "of shape (2, 3, 4): give one or two"),
    "w": (
        stored([0, 0, 0], np.zeros(0, int), [], (2, 4)),
        "w has shape (3, 2) but x has shape (2, 4): w needs 4 rows, one per input feature",
    ),
    "csc": (stored([0, 1, 1, 1], [2], [1.0], (2, 3), "csc"), "entry 2 in an axis of length 2"),
    "row": (coo([2], [0], (2, 3)), "entry 2 in an axis of length 2"),
    "col": (coo([0, 1], [0, 3], (2, 3)), "entry 3 in an axis of length 3 (entry 1"),
    "lacks": (SimpleNamespace(format="csr", shape=(2, 3), data=np.ones(1)), "but has no indptr"),
    "format": (scipy.sparse.lil_array((2, 3)), "x is a sparse lil_array: give x.tocsr()"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    x, part = WRONG[name]
    texts = set()
    for package in PACKAGES:
        with pytest.raises((TypeError, ValueError)) as caught:
            package.dense_forward(x, np.zeros((3, 2)))
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert part in texts.pop()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_gradient_of_x(package: Any) -> None:
    y, cache = package.dense_forward(sparse(3, 4, 0.5), numbers(4, 2), [0.0, 0.0])
    grads = package.dense_backward(y, cache)
    assert grads.x is None
    assert grads.w.shape == (4, 2)
    assert grads.b.shape == (2,)
    for need in (("x",), "xw", ["w", "x"]):
        with pytest.raises(ValueError, match=r"need contains 'x', but x is sparse: .* not offered"):
            package.dense_backward(y, cache, need=need)


@pytest.mark.parametrize("samples", ["rows", "columns"])
@pytest.mark.parametrize("package", PACKAGES)
def test_outputs(package: Any, samples: str) -> None:
    """`out` and `accumulate` as for a dense x, with the same bits in fastgrad."""
    rows = samples == "rows"
    x = sparse(300, 20, 0.4, "float32") if package is fg else sparse(5, 20, 0.4, "float32")
    w, g = numbers(20, 6, dtype="float32"), numbers(x.shape[0], 6, dtype="float32")
    if not rows:
        x, w, g = x.T, w.T, g.T
    results = []
    for given in (x, x.toarray()):
        y = np.full_like(g, 7)
        made, cache = package.dense_forward(given, w, None, "tanh", samples=samples, out=y)
        assert made is y
        # Laid out like w; in another order; with gaps.
        for out in (
            np.ones_like(w),
            np.ones_like(w.T).T,
            np.ones((50, 50), "float32")[: w.shape[0], : 2 * w.shape[1] : 2],
        ):
            grads = package.dense_backward(g, cache, need="w", out={"w": out}, accumulate=True)
            assert grads.w is out
            package.dense_backward(g, cache, need="w", out={"w": out}, accumulate=True)
            results.append(out.copy())
        package.dense_backward(g, cache, need="w", out={"w": out})
        results += [out.copy(), y]
    for one, other in zip(results[:5], results[5:], strict=True):
        if package is fg:
            np.testing.assert_array_equal(one, other)
        else:  # sums of 300 products in another order
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    given = stored([0, 12], np.arange(12), np.zeros(12, "float32"), (1, 12))
    with pytest.raises(ValueError, match=r"shares memory with x\.data"):
        package.dense(given, np.zeros((12, 12), "float32"), out=given.data[None])


def test_a_cache_that_was_changed() -> None:
    x, w = sparse(6, 9, 0.5), numbers(9, 2)
    y, cache = fg.dense_forward(x, w)
    x.indices[3] = 1 << 30
    with pytest.raises(
        ValueError, match=r"cache\.x has an entry 1073741824 in an axis of length 9"
    ):
        fg.dense_backward(y, cache)
    for x_field in (
        cache.x._replace(indptr=np.zeros(3, int)),
        cache.x._replace(shape=(6, 8)),
        None,
    ):
        with pytest.raises((TypeError, ValueError)):
            fg.dense_backward(y, cache._replace(x=x_field))


def test_a_cache_can_be_pickled_and_keeps_no_copy() -> None:
    x, w = sparse(6, 9, 0.5), numbers(9, 2)
    y, cache = fg.dense_forward(x, w, None, "gelu")
    assert all(
        np.shares_memory(getattr(cache.x, n), getattr(x, n)) for n in ("data", "indices", "indptr")
    )
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(fg.dense_backward(y, again).w, fg.dense_backward(y, cache).w)


@pytest.mark.parametrize("k", [2, 9])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_and_pieces(count: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sparse(700, 500, 0.05, "float32")
    w, b, g = (numbers(*s, dtype="float32") for s in ((500, k), (k,), (700, k)))
    whole = both(x, w, b, g, "tanh")
    monkeypatch.setattr(threads, "SHARE_FROM", 2)
    monkeypatch.setattr(threads, "SLICE", 1 << 14)
    before = fg.get_num_threads()
    fg.set_num_threads(count)
    try:
        for one, other in zip(both(x, w, b, g, "tanh"), whole, strict=True):
            np.testing.assert_array_equal(one, other)
        empty = both(scipy.sparse.csr_array((700, 500), dtype="float32"), w, b, g)
        assert not empty[3].any()
    finally:
        fg.set_num_threads(before)


def test_many_samples_and_many_entries() -> None:
    """More samples than are collected together; features with more entries than there is room."""
    rng = np.random.default_rng(5)
    n = 40_000
    x = np.zeros((n, 3), "float32")
    x[:, 0] = rng.standard_normal(n)
    x[::3, 2] = rng.standard_normal(len(x[::3]))
    for k in (2, 5):
        w, g = numbers(3, k, dtype="float32"), numbers(n, k, dtype="float32")
        found = both(scipy.sparse.csr_array(x), w, None, g)
        for one, other in zip(found, both(x, w, None, g), strict=True):
            np.testing.assert_array_equal(one, other)


def test_many_features() -> None:
    """More than the sums of few outputs are kept of at a time, and than are sorted together."""
    x = sparse(260, 33_000, 0.01, "float32")
    for k in (1, 2, 5):
        w, g = numbers(33_000, k, dtype="float32"), numbers(260, k, dtype="float32")
        found = both(x, w, None, g)
        for one, other in zip(found, both(x.toarray(), w, None, g), strict=True):
            np.testing.assert_array_equal(one, other)


def test_callables_and_own_activations() -> None:
    x, w, g = sparse(5, 7, 0.5), numbers(7, 3), numbers(5, 3)
    for activation in (np.sin, fg.softplus):
        for one, other in zip(
            both(x, w, None, g, activation), both(x.toarray(), w, None, g, activation), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("package", [reference, loops])
@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_twins(package: Any, samples: str) -> None:
    x, w, b, g = sparse(6, 11, 0.4), numbers(11, 3), numbers(3), numbers(6, 3)
    if samples == "columns":
        x, w, g = x.T, w.T, g.T
    for form in ("csr", "csc", "coo"):
        y, cache = package.dense_forward(x.asformat(form), w, b, "sigmoid", samples=samples)
        grads = package.dense_backward(g, cache, need=("w", "b", "z"))
        expected = both(x, w, b, g, "sigmoid", samples=samples)
        for one, other in zip(
            (y, grads.z, grads.w, grads.b), (expected[0], *expected[2:]), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)


def test_the_gradient_by_complex_steps() -> None:
    x, w, g = sparse(6, 8, 0.5), numbers(8, 3), numbers(6, 3)
    _, cache = fg.dense_forward(x, w, None, "tanh")
    found = fg.dense_backward(g, cache).w
    loss: Callable[[Any], Any] = lambda v: (np.tanh(x.toarray() @ v) * g).sum()  # noqa: E731
    expected = fg.numerical_grad(loss, w, method="complex")
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_memory() -> None:
    """Nothing of the size of the dense x, or of the weights, beside the results."""
    x = scipy.sparse.random_array(
        (1000, 20_000), density=0.002, format="csr", dtype="float32", rng=np.random.default_rng(0)
    )
    w, g = numbers(20_000, 50, dtype="float32"), numbers(1000, 50, dtype="float32")
    fg.dense_backward(g, fg.dense_forward(x, w)[1])
    tracemalloc.start()
    try:
        y, cache = fg.dense_forward(x, w)
        grads = fg.dense_backward(g, cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrix = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    results = y.nbytes + grads.w.nbytes
    assert peak + matrix <= 1.1 * (matrix + results) + 700_000  # a workspace of this size, always
