"""Networks of a sparse x: the bits of a dense one, in every pass, for every number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

import fastgrad as fg
from fastgrad import loops, reference, threads
from fastgrad.kernels.network import plan_table

Array = NDArray[Any]

# More features than a block of products has, with a bias and classes; a single output without.
NETWORKS = {
    "classes": ((700, 9, 3), ("tanh", None), "softmax_cross_entropy", True),
    "single": ((300, 1), (None,), "mse", False),
    "slope": ((40, 6, 2), ("gelu", None), "mse", True),
}
N = 600  # two blocks of samples, and a part of one


def problem(name: str, dtype: str = "float32", n: int = N) -> tuple[Any, Array, Any, Array]:
    """Return a network, its parameters, a CSR x, and the target."""
    sizes, activations, loss, bias = NETWORKS[name]
    net = fg.MLP(sizes, activations, loss, bias=bias, dtype=dtype)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, sizes[0])) * (rng.random((n, sizes[0])) < 0.05)
    x[1] = 0
    target: Array = rng.standard_normal((n, sizes[-1])).astype(dtype)
    if name == "classes":
        target = rng.integers(0, sizes[-1], n)
    return net, net.init(seed=0), scipy.sparse.csr_array(x.astype(dtype)), target


def assert_same(one: tuple[float, Array], other: tuple[float, Array]) -> None:
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_a_dense_x(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, params, x, target = problem(name, dtype)
    weights = np.random.default_rng(4).integers(0, 3, N) / 2
    for given in (x, x.tocsc(), x.tocoo(), x.astype("float32"), x.astype("float64")):
        full = given.toarray()
        out = np.empty((N, net.sizes[-1]), dtype)
        assert net.predict(params, given, out=out) is out
        for made in (out, net.predict(params, given)):
            np.testing.assert_array_equal(made, net.predict(params, full))
        for how in ({}, {"weights": weights}):
            expected = net.value_and_grad(params, full, target, **how)
            assert_same(net.value_and_grad(params, given, target, **how), expected)
    monkeypatch.setattr("fastgrad.networks.job.WINDOW", 1 << 12)  # of foreign targets: a block
    foreign = target.astype("int8" if name == "classes" else "float16")
    expected = net.value_and_grad(params, x.toarray(), foreign)
    assert_same(net.value_and_grad(params, x, foreign), expected)
    wide = x.copy()
    wide.indices, wide.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    expected = net.value_and_grad(params, x.toarray(), target)
    assert_same(net.value_and_grad(params, wide, target), expected)


@pytest.mark.parametrize("how", [{}, {"shuffle": False}, {"batch_size": 300}, {"clip_norm": 0.5}])
@pytest.mark.parametrize("name", ["classes", "single"])
def test_fit(name: str, how: dict[str, Any]) -> None:
    net, params, x, target = problem(name)
    full = x.toarray()
    result, expected = (
        net.fit(params, a, target, epochs=3, validation=(a[:50], target[:50]), **how)
        for a in (x, full)
    )
    np.testing.assert_array_equal(result.losses, expected.losses)
    np.testing.assert_array_equal(result.params, expected.params)
    np.testing.assert_array_equal(result.validation_losses, expected.validation_losses)
    more = net.fit(None, x.tocoo(), target, epochs=2, resume=result, **how)
    again = net.fit(None, full, target, epochs=2, resume=expected, **how)
    np.testing.assert_array_equal(more.params, again.params)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("piece", [1 << 20, 1 << 10])
def test_threads_and_pieces(count: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients that are added as a whole, and in pieces: 28 features of the first layer each."""
    net, params, x, target = problem("classes")
    expected = net.value_and_grad(params, x.toarray(), target)
    monkeypatch.setattr(threads, "SHARE_FROM", 2)
    monkeypatch.setattr(plan_table, "PIECE_BYTES", piece)
    net = problem("classes")[0]
    before = fg.get_num_threads()
    fg.set_num_threads(count)
    try:
        for _ in range(5):
            assert_same(net.value_and_grad(params, x, target), expected)
    finally:
        fg.set_num_threads(before)


def test_a_block_of_few_entries_waits_for_one_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part of each piece is ready long before, and is added after."""
    monkeypatch.setattr(plan_table, "PIECE_BYTES", 1 << 10)
    net = fg.MLP((5000, 9, 3), ("tanh", None), "mse")
    params, rng = net.init(seed=0), np.random.default_rng(5)
    full, target = (rng.standard_normal((512, k)).astype("float32") for k in (5000, 3))
    full[256:] *= rng.random((256, 5000)) < 0.001
    x, before = scipy.sparse.csr_array(full), fg.get_num_threads()
    monkeypatch.setattr(threads, "SHARE_FROM", 2)
    try:
        fg.set_num_threads(1)
        expected = net.value_and_grad(params, x, target)
        fg.set_num_threads(2)
        for _ in range(5):
            assert_same(net.value_and_grad(params, x, target), expected)
    finally:
        fg.set_num_threads(before)


@pytest.mark.parametrize("package", [reference, loops])
def test_twins(package: Any) -> None:
    net, params, x, target = problem("classes", "float64", 12)
    sizes, activations, loss, _ = NETWORKS["classes"]
    twin = package.MLP(sizes, activations, loss, dtype="float64")
    weights = np.arange(12.0) % 3
    for given in (x, x.tocsc(), x.tocoo()):
        for how in ({}, {"weights": weights}):
            value, grad = twin.value_and_grad(params, given, target, **how)
            expected = net.value_and_grad(params, x, target, **how)
            np.testing.assert_allclose(value, expected[0], rtol=1e-13)
            np.testing.assert_allclose(grad, expected[1], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(
            twin.predict(params, given), net.predict(params, x), rtol=1e-12, atol=1e-14
        )
    result = twin.fit(params, x, target, package.Adam(), epochs=2, batch_size=5)
    expected = net.fit(params, x, target, epochs=2, batch_size=5)
    np.testing.assert_allclose(result.losses, expected.losses, rtol=1e-11)


def test_one_sample() -> None:
    net, params, x, _ = problem("slope", "float64")
    one = scipy.sparse.coo_array(x[[3]].toarray()[0])
    np.testing.assert_array_equal(net.predict(params, one), net.predict(params, one.toarray()))
    target = np.ones(2)
    expected = net.value_and_grad(params, one.toarray(), target)
    assert_same(net.value_and_grad(params, one, target), expected)


def test_no_samples() -> None:
    net, params, x, target = problem("slope")
    assert net.predict(params, x[:0]).shape == (0, 2)
    expected = net.value_and_grad(params, x[:0].toarray(), target[:0])
    np.testing.assert_equal(net.value_and_grad(params, x[:0], target[:0]), expected)


@pytest.mark.parametrize("package", [fg, reference, loops])
def test_what_is_refused(package: Any) -> None:
    net = package.MLP((3, 2), (None,), "mse", dtype="float64")
    columns = package.MLP((3, 2), (None,), "mse", samples="columns")
    params, x = net.init(), scipy.sparse.csr_array(np.eye(3))
    with pytest.raises(ValueError, match=r"MLP\.predict: x is sparse: .* samples='rows'"):
        columns.predict(params, x)
    with pytest.raises(ValueError, match=r"MLP\.fit: x has shape \(3, 2\) but the network has 3"):
        net.fit(params, x[:, :2], np.zeros((3, 2)))
    x.indices[1] = 7
    for call in (net.value_and_grad, net.fit):
        with pytest.raises(ValueError, match="x has an entry 7 in an axis of length 3"):
            call(params, x, np.zeros((3, 2)))


def test_the_sample_that_diverged_is_named() -> None:
    net, params, x, target = problem("slope")
    x.data[x.indptr[17]] = np.nan
    with pytest.warns(fg.TrainingWarning, match="x of sample 17 is not finite"):
        net.fit(params, x, target, epochs=2)


def test_what_changed_in_between_is_seen() -> None:
    """The job keeps what it reads, and reads it where it is."""
    net, params, x, target = problem("slope")
    before = net.value_and_grad(params, x, target)
    x.data *= 2
    assert_same(
        net.value_and_grad(params, x, target), net.value_and_grad(params, x.toarray(), target)
    )
    assert before[0] != net.value_and_grad(params, x, target)[0]
