"""Recurrent layers: values and gradients, bits, lengths, what goes in and out, and errors.

The oracles are a forward pass of this file in longdouble and in complex steps, PyTorch, and the
twins in `reference` and `loops`.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import FORMS, Array, rng_of, same_bits

import fastgrad as fg
from fastgrad import loops, reference

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
CELLS = [
    ("rnn", "tanh"), ("rnn", "relu"), ("rnn", "gelu"), ("rnn", "softmax"), ("rnn", None),
    ("lstm", "ifog"), ("lstm", "ifgo"), ("gru", "before"), ("gru", "after"),
]  # fmt: skip
MAIN = [("rnn", "tanh"), ("lstm", "ifog"), ("gru", "before"), ("gru", "after")]
# t x n x d x k: ragged; one of each; wider than a tile; more rows, or states, than a block has.
SHAPES = [(4, 3, 5, 6), (1, 1, 1, 1), (3, 2, 40, 70), (11, 30, 3, 9), (3, 2, 300, 270)]
EMPTY = [(2, 3, 0, 2), (0, 2, 3, 2), (3, 0, 2, 2)]
RTOL = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-12}

cells = pytest.mark.parametrize("cell, setting", CELLS)
main_cells = pytest.mark.parametrize("cell, setting", MAIN)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def data(
    cell: str, setting: Any, shape: tuple[int, ...], dtype: str = "float64"
) -> dict[str, Array]:
    """Return the arrays of a layer, by name."""
    t, n, d, k = shape
    width, rng = GATES[cell] * k, rng_of(cell, setting, shape)
    shapes = {
        "x": (t, n, d), "h0": (n, k), "c0": (n, k), "wx": (d, width), "wh": (k, width),
        "b": (2, width) if setting == "after" else (width,), "grad_h": (t, n, k),
        "grad_c": (t, n, k),
    }  # fmt: skip
    if cell != "lstm":
        del shapes["c0"], shapes["grad_c"]
    scales = {"wx": 1 / np.sqrt(max(d, 1)), "wh": 1 / np.sqrt(max(k, 1))}
    return {
        name: (scales.get(name, 1.0) * rng.standard_normal(size)).astype(dtype)
        for name, size in shapes.items()
    }


def forward(impl: ModuleType, cell: str, setting: Any, a: dict[str, Any], **more: Any) -> Any:
    """Return (h, cache), or (h, c, cache)."""
    arguments = [a[name] for name in ("x", "h0", "c0", "wx", "wh", "b") if name in a]
    return getattr(impl, f"{cell}_forward")(*arguments, setting, **more)


def backward(impl: ModuleType, cell: str, a: dict[str, Any], cache: Any, **more: Any) -> Any:
    """Return the gradients."""
    if "grad_c" in a:
        more["grad_c"] = a["grad_c"]
    return getattr(impl, f"{cell}_backward")(a["grad_h"], cache, **more)


def both(impl: ModuleType, cell: str, setting: Any, a: dict[str, Any], **more: Any) -> list[Array]:
    """Return states, cells and all gradients."""
    *states, cache = forward(impl, cell, setting, a, **more)
    return [*states, *(g for g in backward(impl, cell, a, cache) if g is not None)]


def assert_close(got: list[Array], expected: list[Array], dtype: str) -> None:
    for one, other in zip(got, expected, strict=True):
        one, other = np.asarray(one, np.longdouble), np.asarray(other, np.longdouble)
        assert one.shape == other.shape
        if one.size:
            assert abs(one - other).max() <= RTOL[dtype] * max(abs(other).max(), 1e-3)


# -- values and gradients ------------------------------------------------------------------------


def textbook(cell: str, setting: Any, a: dict[str, Any]) -> tuple[Any, Any]:
    """Return all states and cells, in whatever dtype the arrays are of: complex, longdouble."""

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    h, c, k = a["h0"], a.get("c0"), a["h0"].shape[1]
    wh, b = a["wh"], np.atleast_2d(a["b"])
    hs, cs = [], []
    for x in a["x"]:
        z = x @ a["wx"] + b[0]
        if cell == "rnn":
            h = {"tanh": np.tanh, None: lambda v: v}[setting](z + h @ wh)
        elif cell == "lstm":
            parts = np.split(z + h @ wh, 4, axis=1)
            i, f, o, g = (parts[setting.index(gate)] for gate in "ifog")
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            b_h = b[1] if len(b) == 2 else 0 * b[0]
            r, u = (sigmoid(z[:, p] + h @ wh[:, p] + b_h[p]) for p in (slice(k), slice(k, 2 * k)))
            last = slice(2 * k, None)
            if setting == "before":
                n = np.tanh(z[:, last] + (r * h) @ wh[:, last])
            else:
                n = np.tanh(z[:, last] + r * (h @ wh[:, last] + b_h[last]))
            h = (1 - u) * n + u * h
        hs.append(h)
        cs.append(c)
    return np.stack(hs), None if c is None else np.stack(cs)


EXACT = [(cell, setting) for cell, setting in CELLS if setting not in ("relu", "gelu", "softmax")]


@pytest.mark.parametrize("shape", SHAPES)
@dtypes
@pytest.mark.parametrize("cell, setting", EXACT)
def test_states(cell: str, setting: Any, dtype: str, shape: tuple[int, ...]) -> None:
    a = data(cell, setting, shape, dtype)
    *states, _ = forward(fg, cell, setting, a)
    wide = {name: array.astype(np.longdouble) for name, array in a.items()}
    expected = [s for s in textbook(cell, setting, wide) if s is not None]
    assert all(s.dtype == dtype for s in states)
    assert_close(states, expected, dtype)


@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("cell, setting", EXACT)
def test_gradients_by_complex_steps(cell: str, setting: Any, shape: tuple[int, ...]) -> None:
    a = data(cell, setting, shape)
    *_, cache = forward(fg, cell, setting, a)
    grads = backward(fg, cell, a, cache)._asdict()
    rng = rng_of("entries", cell, setting, shape)
    for name, grad in grads.items():
        got, expected = [], []
        for flat in rng.permutation(grad.size)[:12]:
            moved = {key: array.astype(np.complex128) for key, array in a.items()}
            moved[name].flat[flat] += 1e-30j
            h, c = textbook(cell, setting, moved)
            loss = (h * a["grad_h"]).sum() + (0 if c is None else (c * a["grad_c"]).sum())
            got.append(grad.flat[flat])
            expected.append(loss.imag / 1e-30)
        error = abs(np.subtract(got, expected)).max()
        assert error <= 1e-12 * max(abs(grad).max(), 1e-3), (name, error)


@pytest.mark.parametrize("shape", [*SHAPES[:4], *EMPTY])
@pytest.mark.parametrize("ends", [False, True])
@cells
def test_twins(cell: str, setting: Any, ends: bool, shape: tuple[int, ...]) -> None:
    a = data(cell, setting, shape)
    t, n = shape[:2]
    lengths = rng_of("lengths", shape).integers(0, t + 1, n) if ends else None
    own = both(fg, cell, setting, a, lengths=lengths)
    for impl in (reference, loops):
        assert_close(own, both(impl, cell, setting, a, lengths=lengths), "float64")


def test_more_rows_than_are_packed_at_once() -> None:
    """The gradients of weights are sums of several products: of 256 rows each, here."""
    a = data("lstm", "ifog", (3, 100, 3, 270))
    own = both(fg, "lstm", "ifog", a)
    assert_close(own, both(reference, "lstm", "ifog", a), "float64")


@pytest.mark.parametrize("shape", SHAPES)
@dtypes
@pytest.mark.parametrize(
    "cell, setting", [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "ifgo"), ("gru", "after")]
)
def test_torch(torch: Any, cell: str, setting: str, dtype: str, shape: tuple[int, ...]) -> None:
    d, k = shape[2:]
    a = data(cell, setting, shape, dtype)
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    more = {"nonlinearity": setting} if cell == "rnn" else {}
    layer = kind(d, k, dtype=getattr(torch, dtype), **more)
    biases = a["b"] if cell == "gru" else np.stack([a["b"], 0 * a["b"]])
    values = (a["wx"].T, a["wh"].T, *biases)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    inputs = [torch.tensor(a["x"], requires_grad=True)]
    inputs += [torch.tensor(a[n][None], requires_grad=True) for n in ("h0", "c0") if n in a]
    y, state = layer(inputs[0], tuple(inputs[1:]) if cell == "lstm" else inputs[1])
    loss = (y * torch.tensor(a["grad_h"])).sum()
    if cell == "lstm":
        a["grad_c"] = a["grad_c"][-1]
        loss = loss + (state[1][0] * torch.tensor(a["grad_c"])).sum()
    loss.backward()
    own = both(fg, cell, setting, a)
    gx, *gs = (i.grad.numpy() for i in inputs)
    gwx, gwh, *gb = (p.grad.numpy() for p in layer.parameters())
    gb = np.stack(gb) if cell == "gru" else gb[0]
    expected = [y.detach().numpy(), gx, *(g[0] for g in gs), gwx.T, gwh.T, gb]
    if cell == "lstm":
        assert_close([own.pop(1)[-1]], [state[1][0].detach().numpy()], dtype)
    assert_close(own, expected, dtype)


@main_cells
def test_the_last_state_alone(cell: str, setting: Any) -> None:
    a = data(cell, setting, SHAPES[0])
    *_, cache = forward(fg, cell, setting, a)
    whole = dict(a, grad_h=np.zeros_like(a["grad_h"]))
    whole["grad_h"][-1] = a["grad_h"][-1]
    last = dict(a, grad_h=a["grad_h"][-1])
    for one, other in zip(
        backward(fg, cell, last, cache), backward(fg, cell, whole, cache), strict=True
    ):
        assert same_bits(one, other)


# -- bits ----------------------------------------------------------------------------------------


@dtypes
@main_cells
def test_a_sample_alone(cell: str, setting: Any, dtype: str) -> None:
    """A sample's states have the same bits alone, in a batch, and as two axes."""
    shape = (6, 29, 7, 33)
    a = data(cell, setting, shape, dtype)
    *whole, _ = forward(fg, cell, setting, a)
    for part in (slice(4, 5), slice(0, 13), slice(28, 29)):
        some = dict(a, x=a["x"][:, part], h0=a["h0"][part])
        some |= {"c0": a["c0"][part]} if "c0" in a else {}
        *states, _ = forward(fg, cell, setting, some)
        assert all(same_bits(s, w[:, part]) for s, w in zip(states, whole, strict=True))
    one = dict(a, x=a["x"][:, 4], h0=a["h0"][4])
    one |= {"c0": a["c0"][4]} if "c0" in a else {}
    *states, _ = forward(fg, cell, setting, one)
    assert all(same_bits(s, w[:, 4]) for s, w in zip(states, whole, strict=True))


@dtypes
@main_cells
def test_weights_of_any_order(cell: str, setting: Any, dtype: str) -> None:
    """A step, or a sample, reads weights where they lie, or packed: the same bits."""
    for shape in ((1, 1, 300, 290), (1, 40, 30, 33), (4, 1, 30, 70)):
        a = data(cell, setting, shape, dtype)
        turned = a | {name: np.asfortranarray(a[name]) for name in ("wx", "wh")}
        for one, other in zip(
            both(fg, cell, setting, turned), both(fg, cell, setting, a), strict=True
        ):
            assert same_bits(one, other)


@main_cells
def test_steps_in_pieces(cell: str, setting: Any) -> None:
    """Later steps from the state of earlier ones have the same bits."""
    a = data(cell, setting, (7, 5, 4, 20))
    *whole, _ = forward(fg, cell, setting, a)
    *first, _ = forward(fg, cell, setting, dict(a, x=a["x"][:3]))
    rest = dict(a, x=a["x"][3:], h0=first[0][-1])
    rest |= {"c0": first[1][-1]} if cell == "lstm" else {}
    *second, _ = forward(fg, cell, setting, rest)
    for w, s, e in zip(whole, first, second, strict=True):
        assert same_bits(w, np.concatenate([s, e]))


@pytest.mark.parametrize("form", [name for name in FORMS if name != "scalar"])
@main_cells
def test_memory_layouts(cell: str, setting: Any, form: str) -> None:
    a = data(cell, setting, SHAPES[0])
    laid_out = {name: FORMS[form](array) for name, array in a.items()}
    for one, other in zip(
        both(fg, cell, setting, laid_out), both(fg, cell, setting, a), strict=True
    ):
        assert same_bits(one, other)


@main_cells
def test_many_threads_at_once(cell: str, setting: Any) -> None:
    a = data(cell, setting, (9, 40, 30, 50))
    expected = both(fg, cell, setting, a)
    results: list[Any] = [None] * 8

    def run(i: int) -> None:
        results[i] = both(fg, cell, setting, a)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert all(same_bits(r, e) for r, e in zip(result, expected, strict=True))


@main_cells
def test_a_nan_stays_in_its_sample(cell: str, setting: Any) -> None:
    a = data(cell, setting, (5, 8, 4, 11))
    *expected, _ = forward(fg, cell, setting, a)
    a["x"][2, 3] = np.nan
    *states, _ = forward(fg, cell, setting, a)
    for s, e in zip(states, expected, strict=True):
        assert np.isnan(s[2:, 3]).all()
        s[2:, 3] = e[2:, 3]
        assert same_bits(s, e)


# -- lengths -------------------------------------------------------------------------------------


@main_cells
def test_lengths(cell: str, setting: Any) -> None:
    """Each sample is as if alone with its steps; what stands behind them is not looked at."""
    t, n, d, k = 6, 5, 4, 9
    a, lengths = data(cell, setting, (t, n, d, k)), np.array([6, 3, 0, 1, 5])
    for i, end in enumerate(lengths):
        a["x"][end:, i] = np.nan
    *states, cache = forward(fg, cell, setting, a, lengths=lengths)
    grads = backward(fg, cell, a, cache)
    sums = {name: np.zeros_like(getattr(grads, name)) for name in ("wx", "wh", "b")}
    for i, end in enumerate(lengths):
        one = {key: v[:, i] if v.ndim == 3 else v for key, v in a.items()}
        one |= {key: v[i] for key, v in a.items() if key in ("h0", "c0")}
        starts = [one["h0"], one.get("c0")]
        one["x"] = one["x"][:end]
        # What comes after the end is a gradient of the final state.
        for key in ("grad_h", "grad_c"):
            if key in one:
                late = one[key][max(end - 1, 0) :].sum(axis=0)
                one[key] = np.concatenate([one[key][: max(end - 1, 0)], late[None]])[:end]
        *alone, own = forward(fg, cell, setting, one)
        for state, some, start in zip(states, alone, starts, strict=False):
            assert same_bits(state[:end, i], some)
            assert (state[end:, i] == (some[-1] if end else start)).all()
        if end:
            gradient = backward(fg, cell, one, own)
            assert_close([grads.x[:end, i], grads.h0[i]], [gradient.x, gradient.h0], "float64")
            for name, total in sums.items():
                total += getattr(gradient, name)
        assert (grads.x[end:, i] == 0).all()
    assert_close([getattr(grads, name) for name in sums], list(sums.values()), "float64")
    assert_close([grads.h0[2]], [a["grad_h"][:, 2].sum(axis=0)], "float64")


# -- what goes in and out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, result",
    [
        ("float16", "float16"), ("float32", "float32"), ("int64", "float64"), (">f8", "float64"),
        ("?", "float64"),
    ],
)  # fmt: skip
@main_cells
def test_dtypes(cell: str, setting: Any, given: str, result: str) -> None:
    a = {name: v.astype(given) for name, v in data(cell, setting, SHAPES[0]).items()}
    for impl in (fg, reference, loops):
        got = both(impl, cell, setting, a)
        assert all(g.dtype == result for g in got)
    wide = {name: v.astype("float64") for name, v in a.items()}
    assert_close(both(fg, cell, setting, a), both(fg, cell, setting, wide), result)


@main_cells
def test_a_wider_gradient(cell: str, setting: Any) -> None:
    """A float64 gradient of a float32 layer gives float64 gradients."""
    a = data(cell, setting, SHAPES[0], "float32")
    for impl in (fg, reference, loops):
        *_, cache = forward(impl, cell, setting, a)
        wide = {name: v.astype("float64") for name, v in a.items()}
        grads = backward(impl, cell, wide, cache)
        assert all(g.dtype == "float64" for g in grads)
        assert_close(list(grads), both(fg, cell, setting, wide)[-len(grads) :], "float32")


@main_cells
def test_lists_and_no_bias(cell: str, setting: Any) -> None:
    a = data(cell, setting, (3, 2, 2, 2))
    bare = {name: v.tolist() for name, v in a.items() if name != "b"} | {"b": None}
    expected = both(fg, cell, setting, dict(a, b=0 * a["b"]))[:-1]
    for impl in (fg, reference, loops):
        assert_close(both(impl, cell, setting, bare), expected, "float64")


@main_cells
def test_inputs_are_not_written(cell: str, setting: Any) -> None:
    a = data(cell, setting, SHAPES[0])
    before = {name: v.copy() for name, v in a.items()}
    for v in a.values():
        v.flags.writeable = False
    for impl in (fg, reference, loops):
        results = both(impl, cell, setting, a, lengths=np.array([1, 4, 2]))
        for result in results:
            assert not any(np.shares_memory(result, v) for v in a.values())
            result += 1
    assert all(same_bits(a[name], v) for name, v in before.items())


@main_cells
def test_need_out_and_accumulate(cell: str, setting: Any) -> None:
    a = data(cell, setting, SHAPES[0])
    *_, cache = forward(fg, cell, setting, a)
    expected = backward(fg, cell, a, cache)
    for name in expected._fields:
        grads = backward(fg, cell, a, cache, need=(name,))
        for field, grad in grads._asdict().items():
            assert (grad is None) != (field == name)
        assert same_bits(getattr(grads, name), getattr(expected, name))
    out = {name: np.ones_like(grad) for name, grad in expected._asdict().items()}
    grads = backward(fg, cell, a, cache, out=out)
    for name, grad in expected._asdict().items():
        assert getattr(grads, name) is out[name]
        assert same_bits(out[name], grad)
    for impl in (fg, reference, loops):
        *_, own = forward(impl, cell, setting, a)
        backward(impl, cell, a, own, out=out)
        backward(impl, cell, a, own, out=out, accumulate=True)
        assert_close(list(out.values()), [2 * g for g in expected], "float64")


@pytest.mark.parametrize("impl", [fg, reference, loops], ids=lambda m: m.__name__)
def test_changed_states_are_seen(impl: ModuleType) -> None:
    a = data("lstm", "ifog", SHAPES[0])
    for which in (0, 1):
        *states, cache = forward(impl, "lstm", "ifog", a)
        states[which] *= 2
        with pytest.raises(ValueError, match=r"lstm_backward: cache: states have been changed"):
            backward(impl, "lstm", a, cache)


def test_own_activation(restored: Any) -> None:
    """One defined by a user, whose slope is kept beside the states."""
    own = fg.define_activation(
        "twice_tanh", lambda z: 2 * np.tanh(z), lambda z: 2 / np.cosh(z) ** 2
    )
    a = data("rnn", "tanh", SHAPES[0])
    *_, cache = forward(fg, "rnn", own, a)
    grads = backward(fg, "rnn", a, cache)

    def loss(wh: Array) -> float:
        h, _ = fg.rnn_forward(a["x"], a["h0"], a["wx"], wh, a["b"], "twice_tanh")
        return float((h * a["grad_h"]).sum())

    assert fg.check_grad(loss, grads.wh, a["wh"]).ok


# -- errors --------------------------------------------------------------------------------------

BAD = [
    ("rnn", {"x": np.zeros(3)}, "rnn_forward: x has shape (3,): give (t, n, d), or (t, d) of one"),
    ("rnn", {"wh": np.zeros((6, 5))}, "rnn_forward: wh has shape (6, 5): it needs shape (k, k)"),
    ("lstm", {"wh": np.zeros((6, 6))}, "lstm_forward: wh has shape (6, 6): it needs shape (k, 4 k"),
    ("gru", {"wx": np.zeros((4, 18))},
     "gru_forward: wx has shape (4, 18) but x has shape (4, 3, 5) and wh has shape (6, 18): wx "
     "needs shape (5, 18), (d, 3 k)"),
    ("rnn", {"h0": np.zeros((1, 6))},
     "rnn_forward: h0 has shape (1, 6) but x has shape (4, 3, 5) and wh has shape (6, 6): h0 needs "
     "shape (3, 6)"),
    ("lstm", {"c0": np.zeros(6)}, "lstm_forward: c0 has shape (6,) but x has shape (4, 3, 5)"),
    ("lstm", {"b": np.zeros(6)},
     "lstm_forward: b has shape (6,) but wh has shape (6, 24): b needs shape (24,) or (1, 24)"),
    ("gru", {"b": np.zeros((2, 18))}, "b needs shape (18,) or (1, 18)"),
    ("rnn", {"x": np.zeros((4, 3, 5), complex)}, "rnn_forward: x has dtype complex128: give"),
    ("rnn", {"h0": None}, "rnn_forward: h0 has dtype object: give"),
    ("rnn", {"lengths": [1.0, 2.0, 3.0]},
     "rnn_forward: lengths has shape (3,) and dtype float64 but x has shape (4, 3, 5): give 3"),
    ("rnn", {"lengths": [1, 2]}, "rnn_forward: lengths has shape (2,) and dtype int64"),
    ("rnn", {"lengths": [1, 5, 2]},
     "rnn_forward: lengths has values from 1 to 5 but x has 4 steps: they go from 0 to 4"),
    ("rnn", {"activation": "tahn"}, "rnn_forward: unknown activation 'tahn': choose from"),
    ("rnn", {"activation": np.tanh}, "rnn_forward: activation is a ufunc: give None, a name or an"),
    ("lstm", {"gates": "iofg"}, "lstm_forward: gates is 'iofg': choose from 'ifog', 'ifgo'"),
    ("gru", {"reset": "never"}, "gru_forward: reset is 'never': choose from 'before', 'after'"),
]  # fmt: skip


@pytest.mark.parametrize("impl", [fg, reference, loops], ids=lambda m: m.__name__)
@pytest.mark.parametrize("cell, changes, text", BAD)
def test_what_is_refused(impl: ModuleType, cell: str, changes: dict[str, Any], text: str) -> None:
    a: dict[str, Any] = data(cell, None, SHAPES[0])
    a = {name: v for name, v in a.items() if not name.startswith("grad")} | changes
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(impl, f"{cell}_forward")(**a)
    assert text in str(caught.value)


BAD_BACK = [
    ({"grad_h": np.zeros((4, 3, 5))},
     "rnn_backward: grad_h has shape (4, 3, 5) but h has shape (4, 3, 6): it needs that shape, or "
     "(3, 6), of the last step alone"),
    ({"cache": 5}, "rnn_backward: cache is a int: give what rnn_forward returned"),
    ({"need": ("w",)}, "rnn_backward: need is 'w': choose from 'x', 'h0', 'wx', 'wh', 'b'"),
    ({"out": 5}, "rnn_backward: out is a int: give a RnnGrads, a mapping or an object with fields"),
    ({"out": {"wx": np.zeros((5, 5))}}, "rnn_backward: out.wx has shape (5, 5) and dtype float64"),
    ({"accumulate": np.zeros(2)}, "rnn_backward: accumulate is a ndarray: give True or False"),
]  # fmt: skip


@pytest.mark.parametrize("impl", [fg, reference, loops], ids=lambda m: m.__name__)
@pytest.mark.parametrize("changes, text", BAD_BACK)
def test_what_is_refused_on_the_way_back(
    impl: ModuleType, changes: dict[str, Any], text: str
) -> None:
    a = data("rnn", "tanh", SHAPES[0])
    _, cache = forward(impl, "rnn", "tanh", a)
    with pytest.raises((TypeError, ValueError)) as caught:
        impl.rnn_backward(**{"grad_h": a["grad_h"], "cache": cache, **changes})
    assert text in str(caught.value)


def test_the_cache_of_another_cell() -> None:
    a = data("gru", "before", SHAPES[0])
    _, cache = forward(fg, "gru", "before", a)
    with pytest.raises(TypeError, match="rnn_backward: cache is a RecurrentCache of gru: give"):
        fg.rnn_backward(a["grad_h"], cache)
