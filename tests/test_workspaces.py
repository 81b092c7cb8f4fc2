"""The memory a network works in: what it holds, how much it is, and when it is given back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS

import fastgrad as fg
from fastgrad import threads
from fastgrad.kernels.network import plan_table

Array = Any


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share even small work over threads, of which there may be any number."""
    monkeypatch.setattr(threads, "SHARE_FROM", 1 << 10)
    before = fg.get_num_threads()
    yield
    fg.set_num_threads(before)


def problem(
    sizes: tuple[int, ...], n: int, dtype: str, samples: str, bias: bool = True
) -> tuple[fg.MLP, Array, Array, Array]:
    hidden = ("tanh",) * (len(sizes) - 2)
    net = fg.MLP(sizes, (*hidden, None), "mse", bias=bias, samples=samples, dtype=dtype)
    rng = np.random.default_rng(1)
    x, target = (rng.standard_normal((n, k)).astype(dtype) for k in (sizes[0], sizes[-1]))
    if samples == "columns":
        x, target = x.T, target.T
    return net, net.init(), x, target


def poison(net: fg.MLP) -> None:
    """Fill the workspace of the next call with NaN: what is read was written."""
    space = net._network.take_space()
    space[:] = 255
    net._network.spaces.append(space)


# -- what it holds -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 4, 5, 8, 9, 16, 17, 32, 33])
def test_narrow_layers_of_wide_inputs(k: int, dtype: str, samples: str, order: Any) -> None:
    """With x in Fortran order, blocks after the first read weights that nobody had packed."""
    net, params, x, target = problem((2100, k, 2), 600, dtype, samples)
    x = np.array(x, order=order)
    poison(net)
    value, grad = net.value_and_grad(params, x, target)
    poison(net)
    y = net.predict(params, x)
    assert np.isfinite(value)
    parts = [
        net.value_and_grad(params, x[at], target[at])[1]
        for i in range(0, 600, 256)
        for at in [(slice(i, i + 256),) if samples == "rows" else (slice(None), slice(i, i + 256))]
    ]
    eps = np.finfo(dtype).eps
    weights = np.array([256, 256, 88]) / 600
    np.testing.assert_allclose(
        grad, sum(w * p for w, p in zip(weights, parts, strict=True)),
        rtol=0, atol=8 * eps * max(abs(p).max() for p in parts),
    )  # fmt: skip
    single = x[:, 500] if samples == "columns" else x[500]
    np.testing.assert_array_equal(
        y[:, 500] if samples == "columns" else y[500], net.predict(params, single)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("piece", [64, 4096, 1 << 20])
def test_pieces_change_no_bit(
    piece: int,
    dtype: str,
    samples: str,
    bias: bool,
    many_threads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients that threads add piece by piece, of many blocks, in several steps."""
    monkeypatch.setattr(plan_table, "PIECE_BYTES", piece)
    net, params, x, target = problem((70, 90, 35, 6), 1601, dtype, samples, bias)
    fg.set_num_threads(1)
    expected = net.value_and_grad(params, x, target)
    optimizer, settings = fg.Adam(lr=1e-2), {"epochs": 2, "batch_size": 800}
    serial = net.fit(params, x, target, optimizer, **settings)
    y = net.predict(params, x)
    for count in (2, 3, 5):
        fg.set_num_threads(count)
        poison(net)
        value, grad = net.value_and_grad(params, x, target)
        assert value == expected[0]
        np.testing.assert_array_equal(grad, expected[1])
        shared = net.fit(params, x, target, optimizer, **settings)
        np.testing.assert_array_equal(shared.params, serial.params)
        np.testing.assert_array_equal(shared.losses, serial.losses)
        np.testing.assert_array_equal(net.predict(params, x), y)


@pytest.mark.parametrize("samples", LAYOUTS)
def test_weights_that_another_thread_is_packing(samples: str, many_threads: None) -> None:
    """One thread packs the last layer in no time, and must then wait for the first one's."""
    net, params, x, target = problem((1500, 1400, 40), 300, "float32", samples)
    fg.set_num_threads(1)
    expected = net.value_and_grad(params, x, target)
    fg.set_num_threads(2)
    for _ in range(5):
        poison(net)
        value, grad = net.value_and_grad(params, x, target)
        assert value == expected[0]
        np.testing.assert_array_equal(grad, expected[1])


# -- how much it is ------------------------------------------------------------------------------


def kept(net: fg.MLP) -> int:
    network = net._network
    return sum(space.nbytes for space in [*network.spaces, *network.part_spaces])


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("count", [1, 2, 16])
def test_the_bound_that_the_notes_state(count: int, samples: str, many_threads: None) -> None:
    """Weights are packed once for all threads; the rest does not depend on their number."""
    sizes = (1400, 1500, 1400)
    net, params, x, target = problem(sizes, 256 * count, "float32", samples)
    fg.set_num_threads(count)
    net.value_and_grad(params, x, target)
    # Per thread: 256 samples of each layer and of the widest, five times, and a piece. Packed
    # weights: rows of whole tiles of at most 32.
    fixed = 4 * 256 * (sum(sizes) + 6 * max(sizes)) + plan_table.PIECE_BYTES + (1 << 20)
    assert kept(net) <= 2 * 1.03 * params.nbytes + count * fixed
    assert len(net._network.part_spaces) == count - 1
    fg.set_num_threads(1)
    net.value_and_grad(params, x, target)


@pytest.mark.parametrize("width", [1, 3, 10])
def test_narrow_layers_are_not_padded(width: int) -> None:
    net = fg.MLP((100_000, width), (None,), "mse")
    plan = net._network.plan()
    assert plan.bytes_whole - plan.bytes_part < 4096


def test_as_many_threads_as_memory_allows(
    many_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, params, x, target = problem((20, 30, 4), 2000, "float64", "rows")
    fg.set_num_threads(1)
    expected = net.value_and_grad(params, x, target)
    fg.set_num_threads(6)
    network, given = net._network, 0

    def take() -> Array:
        nonlocal given
        given += 1
        if given > room:
            raise MemoryError
        return np.empty(network.plan().bytes_part + 64, np.uint8)

    monkeypatch.setattr(network, "take_part_space", take)
    for room in (0, 1, 3):
        given = 0
        value, grad = net.value_and_grad(params, x, target)
        assert given == room + 1
        assert value == expected[0]
        np.testing.assert_array_equal(grad, expected[1])


# -- when it is given back -----------------------------------------------------------------------


def test_workspaces_go_with_their_network(many_threads: None) -> None:
    net, params, x, target = problem((20, 30, 4), 2000, "float64", "rows")
    fg.set_num_threads(3)
    net.fit(params, x, target, epochs=1, batch_size=600)
    net.predict(params, x)
    network = net._network
    assert len(network.spaces) == 1
    assert len(network.part_spaces) == 2
    spaces = [weakref.ref(space) for space in [*network.spaces, *network.part_spaces]]
    gc.disable()  # at once, not when a collector runs
    try:
        del net, network
        assert all(space() is None for space in spaces)
    finally:
        gc.enable()


def test_no_more_is_kept_than_one_call_needs(many_threads: None) -> None:
    net, params, x, target = problem((20, 30, 4), 2000, "float64", "rows")
    network = net._network
    for count in (4, 2, 4, 3):
        fg.set_num_threads(count)
        many = [network.take_space() for _ in range(3)]
        for space in many:
            network.give_back([space, *(network.take_part_space() for _ in range(5))])
        net.value_and_grad(params, x, target)
        assert len(network.spaces) == 1
        assert len(network.part_spaces) <= 3
