"""Embeddings: rows, the sums of their gradients and their order, what goes in and out, errors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import FORMS, Array, rng_of, same_bits

import fastgrad as fg
from fastgrad import loops, reference

PACKAGES = pytest.mark.parametrize("impl", [fg, reference, loops], ids=lambda m: m.__name__)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
# words, width, ids: few words that occur often; each once; one of each; none; no width.
SHAPES: list[tuple[int, int, tuple[int, ...]]] = [
    (3, 5, (300,)), (40, 17, (4, 6)), (1, 1, (1,)), (9, 4, ()), (5, 3, (0,)), (0, 3, (2, 0)),
    (6, 0, (7,)), (11, 2, (2, 3, 5)),
]  # fmt: skip
EVERY_SHAPE = pytest.mark.parametrize("words, width, shape", SHAPES)


def data(
    words: int, width: int, shape: tuple[int, ...], dtype: str = "float64"
) -> tuple[Array, Array, Array]:
    """Return ids, table and grad_y."""
    rng = rng_of(words, width, shape)
    ids = np.asarray(rng.integers(0, max(words, 1), shape))
    table = rng.standard_normal((words, width)).astype(dtype)
    return ids, table, rng.standard_normal((*shape, width)).astype(dtype)


@PACKAGES
@DTYPES
@EVERY_SHAPE
def test_rows_and_sums(
    impl: ModuleType, words: int, width: int, shape: tuple[int, ...], dtype: str
) -> None:
    """Rows are copies; sums are those of one addition after the other, in order of position."""
    ids, table, grad = data(words, width, shape, dtype)
    y, cache = impl.embedding_forward(ids, table)
    assert same_bits(y, table[ids])
    expected = np.zeros_like(table)
    for row, one in zip(ids.reshape(-1), grad.reshape(ids.size, width), strict=True):
        expected[row] = expected[row] + one
    assert same_bits(impl.embedding_backward(grad, cache).table, expected)
    found, rows = impl.embedding_backward(grad, cache, rows=True)
    assert found.dtype == np.int64 and found.tolist() == sorted(set(ids.reshape(-1).tolist()))
    assert same_bits(rows, expected[found])


@EVERY_SHAPE
def test_torch(torch: Any, words: int, width: int, shape: tuple[int, ...]) -> None:
    ids, table, grad = data(words, width, shape)
    weight = torch.tensor(table, requires_grad=True)
    theirs = torch.nn.functional.embedding(torch.tensor(ids), weight)
    theirs.backward(torch.tensor(grad))
    y, cache = fg.embedding_forward(ids, table)
    assert same_bits(y, theirs.detach().numpy())
    # A sum of 300 terms of size about 1, in any order: 300 roundings of at most 300 / 2 ulp.
    mine = fg.embedding_backward(grad, cache).table
    assert np.allclose(mine, weight.grad.numpy(), rtol=0, atol=300 * 150 * 2.0**-53)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "uint64", "longlong", "list"])
def test_ids_of_any_integer_type(kind: str) -> None:
    ids, table, grad = data(40, 3, (20,))
    given: Any = ids.tolist() if kind == "list" else ids.astype(kind)
    y, cache = fg.embedding_forward(given, table)
    assert same_bits(y, table[ids])
    expected = fg.embedding_backward(grad, fg.embedding_forward(ids, table)[1])
    assert same_bits(fg.embedding_backward(grad, cache).table, expected.table)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "scalar"])
def test_memory_layouts(form: str) -> None:
    ids, table, grad = data(13, 7, (5, 4))
    y, cache = fg.embedding_forward(FORMS[form](ids), FORMS[form](table))
    assert same_bits(y, table[ids])
    expected = fg.embedding_backward(grad, cache).table
    layout: Any = FORMS[form](grad[:, 0]) if form == "list" else FORMS[form](grad)
    if form == "list":
        cache = fg.embedding_forward(ids[:, 0], table)[1]
        expected = fg.embedding_backward(grad[:, 0].copy(), cache).table
    assert same_bits(fg.embedding_backward(layout, cache).table, expected)


def test_a_table_of_any_strides() -> None:
    ids, table, _ = data(13, 7, (30,))
    wide = np.zeros((26, 21))
    wide[::-2, ::3] = table
    for given in (table.T.copy().T, wide[::-2, ::3], np.broadcast_to(table[:1], (13, 7))):
        assert same_bits(fg.embedding_forward(ids, given)[0], given[ids])


@pytest.mark.parametrize(
    "given, result", [("float16", "float16"), ("int8", "float64"), ("bool", "float64")]
)
@PACKAGES
def test_dtypes(impl: ModuleType, given: str, result: str) -> None:
    ids, table, grad = data(5, 3, (40,))
    y, cache = impl.embedding_forward(ids, (4 * table).astype(given))
    assert y.dtype == result and same_bits(y, (4 * table).astype(given)[ids].astype(result))
    made = impl.embedding_backward(grad.astype(result), cache).table
    work = np.float32 if result == "float16" else np.float64
    sums = np.zeros(table.shape, work)
    np.add.at(sums, ids, grad.astype(result).astype(work))  # rounded once, at the end
    assert made.dtype == result and same_bits(made, sums.astype(result))
    assert impl.embedding_backward(grad, cache).table.dtype == np.float64


@PACKAGES
def test_out_and_accumulate(impl: ModuleType) -> None:
    ids, table, grad = data(6, 5, (50,), "float32")
    y, cache = impl.embedding_forward(ids, table)
    expected = impl.embedding_backward(grad, cache).table
    added = np.ones((6, 5), np.float32)
    np.add.at(added, ids, grad)
    for make in (
        np.empty,
        lambda s, t: np.empty(s[::-1], t).T,
        lambda s, t: np.empty((12, 5), t)[::2],
    ):
        out = make((6, 5), np.float32)
        out[...] = 1
        made = impl.embedding_backward(grad, cache, out={"table": out}, accumulate=True)
        assert made.table is out and same_bits(out, added)
        made = impl.embedding_backward(grad, cache, out=fg.EmbeddingGrads(out))
        assert made.table is out and same_bits(out, expected)
    rows = np.empty((5, 50), np.float32).T
    assert impl.embedding_forward(ids, table, out=rows)[0] is rows and same_bits(rows, y)
    direct = np.empty((50, 5), np.float32)
    assert impl.embedding_forward(ids, table, out=direct)[0] is direct and same_bits(direct, y)


def test_large_ones_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, table, grad = data(40, 17, (61, 5))
    y, cache = fg.embedding_forward(ids, table)
    expected = fg.embedding_backward(grad, cache).table
    monkeypatch.setattr(fg.layers.embedding, "_AT_ONCE", 100)
    assert same_bits(fg.embedding_forward(ids, table)[0], y)
    assert same_bits(fg.embedding_backward(grad, cache).table, expected)
    with pytest.raises(ValueError, match=r"ids has values from 0 to 40"):
        fg.embedding_forward([*range(30), 40], table)


@PACKAGES
def test_changed_ids_do_not_matter(impl: ModuleType) -> None:
    ids, table, grad = data(6, 5, (50,))
    _, cache = impl.embedding_forward(ids, table)
    expected = impl.embedding_backward(grad, cache).table
    ids[...] = 1000
    assert same_bits(impl.embedding_backward(grad, cache).table, expected)


def test_a_nan_stays_in_its_row() -> None:
    ids, table, grad = data(6, 5, (50,))
    grad[7, 2] = np.nan
    made = fg.embedding_backward(grad, fg.embedding_forward(ids, table)[1]).table
    assert np.isnan(made).sum() == 1 and np.isnan(made[ids[7], 2])


TABLE = np.zeros((4, 2))
BAD: list[tuple[Any, Any, type[Exception], str]] = [
    ([0, 4], TABLE, ValueError,
     "ids has values from 0 to 4 but table has 4 rows: they go from 0 to 3"),
    ([-1, 2], TABLE, ValueError, "ids has values from -1 to 2 but table has 4 rows"),
    ([0], TABLE[:0], ValueError, "ids has values from 0 to 0 but table has 0 rows"),
    (np.array([2**64 - 1], np.uint64), TABLE, ValueError, "to 18446744073709551615"),
    ([1.0], TABLE, TypeError, "ids has dtype float64: give integers, rows of the table"),
    ([True], TABLE, TypeError, "ids has dtype bool: give integers"),
    ([0], TABLE[0], ValueError, "table has shape (2,): give (words, d), one row per word"),
    ([0], TABLE.astype(complex), TypeError, "table has dtype complex128"),
]  # fmt: skip


@PACKAGES
@pytest.mark.parametrize("ids, table, error, text", BAD)
def test_what_is_refused(
    impl: ModuleType, ids: Any, table: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        impl.embedding_forward(ids, table)
    assert str(raised.value).startswith("embedding_forward: ") and text in str(raised.value)
    out = np.full((1, 2), 7.0)
    with pytest.raises((TypeError, ValueError)):
        impl.embedding_forward(ids, table, out=out)
    assert (out == 7).all()


@PACKAGES
def test_what_is_refused_on_the_way_back(impl: ModuleType) -> None:
    _, cache = impl.embedding_forward([0, 3], TABLE)
    grad = np.ones((2, 2))
    for arguments, error, text in (
        ((grad[0], cache), ValueError, "grad_y has shape (2,) but y has shape (2, 2)"),
        ((grad, None), TypeError, "cache is a NoneType: give what embedding_forward returned"),
    ):
        with pytest.raises(error) as raised:
            impl.embedding_backward(*arguments)
        assert text in str(raised.value)
    for out, text in (
        (np.ones((4, 2)), "out is a ndarray: give a EmbeddingGrads, a mapping or an object"),
        ({"table": np.ones((4, 3))}, "out.table has shape (4, 3) and dtype float64: it needs"),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            impl.embedding_backward(grad, cache, out=out)
        assert text in str(raised.value)
    with pytest.raises(ValueError, match=r"out is given and rows is True"):
        impl.embedding_backward(grad, cache, rows=True, out={"table": np.ones((4, 2))})
    with pytest.raises(TypeError, match=r"rows is a ndarray: give True or False"):
        impl.embedding_backward(grad, cache, rows=np.ones(2))
