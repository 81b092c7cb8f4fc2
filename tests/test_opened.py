"""A network opened: `MLP.forward` and `MLP.backward`, for gradients that come from anywhere.

Bits are compared with `value_and_grad` and `predict`, which have their own tests; gradients of
other losses with complex steps through a network of plain NumPy.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from tolerances import GRADIENT_RTOL
from twins import NETWORK_RTOL, assert_near

import fastgrad as fg
from fastgrad import loops, reference, threads
from fastgrad.kernels.network import plan_table

dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", LAYOUTS)
impls = pytest.mark.parametrize(
    "impl", [fg, reference, loops], ids=lambda m: m.__name__.rpartition(".")[2]
)
normalized = pytest.mark.parametrize("normalize", [None, "layer"])


def network(impl: ModuleType = fg, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "sizes": (5, 7, 4, 3), "activations": ("tanh", "gelu", "sigmoid"), "loss": "squared_l2",
        "reduction": "sum", "dtype": "float64",
    }  # fmt: skip
    return impl.MLP(**{**settings, **changes})


def data(net: Any, n: int | None = 6) -> tuple[Array, Array, Array]:
    """Return parameters, samples and the gradient of some output."""
    rng = np.random.default_rng(3)
    params = (0.5 * rng.standard_normal(net.size)).astype(net.dtype)
    shapes = [(n, k) if n is not None else (k,) for k in (net.sizes[0], net.sizes[-1])]
    x, grad_y = (rng.standard_normal(shape).astype(net.dtype) for shape in shapes)
    if n is not None:
        x, grad_y = turn(x, net.samples), turn(grad_y, net.samples)
    return params, x, grad_y


# -- bits -----------------------------------------------------------------------------------------

ACTIVATIONS = [("tanh", "gelu", None), ("relu", "silu", "softmax"), ("gelu", "tanh", "gelu")]


@dtypes
@layouts
@normalized
@pytest.mark.parametrize("n", [None, 1, 3, 256, 257, 600])
def test_the_gradient_of_its_own_loss_has_the_bits_of_value_and_grad(
    n: int | None, normalize: Any, samples: str, dtype: str
) -> None:
    for sizes in ((5, 7, 6, 3), (40, 33, 50, 1), (20, 70, 5, 40)):
        for activations in ACTIVATIONS:
            if sizes[-1] == 1 and activations[-1] == "softmax":
                continue
            net = network(
                sizes=sizes, activations=activations, samples=samples, dtype=dtype,
                normalize=normalize,
            )  # fmt: skip
            params, x, _ = data(net, n)
            value, grad = net.value_and_grad(params, x)
            y, tape = net.forward(params, x)
            assert same_bits(y, net.predict(params, x))
            own, grad_y = fg.losses.squared_l2.value_and_grad(y, "sum", samples)
            grads = net.backward(grad_y, tape)
            assert own == pytest.approx(value, rel=1e-12 if dtype == "float64" else 1e-6)
            assert same_bits(grads.params, grad)
            assert grads.x.shape == x.shape
            only = net.backward(grad_y, tape, need="params")
            assert only.x is None
            assert same_bits(only.params, grad)
            only = net.backward(grad_y, tape, need=["x"])
            assert only.params is None
            assert same_bits(only.x, grads.x)


@dtypes
@layouts
def test_a_sample_has_the_same_bits_alone_and_among_others(samples: str, dtype: str) -> None:
    net = network(samples=samples, dtype=dtype, sizes=(40, 33, 7, 3), normalize="layer")
    params, x, grad_y = data(net, 300)
    y, tape = net.forward(params, x)
    grad_x = net.backward(grad_y, tape, need=("x",)).x
    for i in (0, 255, 256, 299):
        one, its = turn(x, samples)[i], turn(grad_y, samples)[i]
        own, tape = net.forward(params, one)
        assert same_bits(own, np.ascontiguousarray(turn(y, samples)[i]))
        found = net.backward(its, tape, need=("x",)).x
        assert same_bits(found, np.ascontiguousarray(turn(grad_x, samples)[i]))


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(threads, "SHARE_FROM", 1 << 10)
    before = fg.get_num_threads()
    yield monkeypatch
    fg.set_num_threads(before)


@dtypes
@layouts
@normalized
@pytest.mark.parametrize("piece", [plan_table.PIECE_BYTES, 512], ids=["whole", "pieces"])
def test_bits_do_not_depend_on_threads(
    piece: int, normalize: Any, samples: str, dtype: str, many_threads: pytest.MonkeyPatch
) -> None:
    """Shared work is in a job, one thread's is one compiled call."""
    many_threads.setattr(plan_table, "PIECE_BYTES", piece)
    expected: Any = None
    for count in (1, 2, 4):
        fg.set_num_threads(count)
        net = network(sizes=(20, 40, 9, 3), samples=samples, dtype=dtype, normalize=normalize)
        params, x, grad_y = data(net, 1500)
        y, tape = net.forward(params, x)
        both = net.backward(grad_y, tape)
        parts = [net.backward(grad_y, tape, need=name) for name in ("params", "x")]
        twice = fg.NetworkGrads(both.params.copy(), both.x.copy(order="K"))
        net.backward(grad_y, tape, out=twice, accumulate=True)
        found = [y, *both, parts[0].params, parts[1].x, *twice]
        expected = found if expected is None else expected
        for array, other in zip(found, expected, strict=True):
            assert same_bits(array, other)
    many_threads.setattr(threads, "SHARE_FROM", 1 << 40)
    net = network(sizes=(20, 40, 9, 3), samples=samples, dtype=dtype, normalize=normalize)
    y, tape = net.forward(params, x)
    for array, other in zip([y, *net.backward(grad_y, tape)], expected[:3], strict=True):
        assert same_bits(array, other)


# -- gradients ------------------------------------------------------------------------------------


def complex_network(net: Any, flat: Array, x: Array) -> Array:
    """Return the output of a tanh network, of complex numbers if need be; samples in rows."""
    y, at = x, 0
    for d, k in zip(net.sizes, net.sizes[1:], strict=False):
        w, b = flat[at : at + d * k], flat[at + d * k : at + d * k + k]
        y = y @ (w.reshape(d, k) if net.samples == "rows" else w.reshape(k, d).T) + b
        if k != net.sizes[-1]:
            y = np.tanh(y)
        at += d * k + k
    return y


@impls
@layouts
def test_gradients_of_an_own_loss_by_complex_steps(impl: ModuleType, samples: str) -> None:
    """``sum(cos(y) * y**2)``, which no loss of the library is."""
    net = network(impl, activations=("tanh", "tanh", None), samples=samples)
    params, x, _ = data(net)
    y, tape = net.forward(params, x)
    grads = net.backward(2 * y * np.cos(y) - y**2 * np.sin(y), tape)

    def loss(flat: Array, rows: Array) -> Any:
        out = complex_network(net, flat, rows)
        return (np.cos(out) * out**2).sum()

    rows = turn(x, samples)
    for got, array, function in (
        (grads.params, params, lambda p: loss(p, rows)),
        (turn(grads.x, samples), rows, lambda r: loss(params, r)),
    ):
        expected = fg.numerical_grad(function, np.array(array), method="complex")
        assert_near(got, expected, GRADIENT_RTOL)


@impls
@layouts
@normalized
@pytest.mark.parametrize("n", [None, 1, 5])
def test_twins_agree(n: int | None, normalize: Any, samples: str, impl: ModuleType) -> None:
    first = network(reference, normalize=normalize, samples=samples)
    params, x, grad_y = data(first, n)
    net = network(impl, normalize=normalize, samples=samples)
    found = []
    for one in (net, first):
        y, tape = one.forward(params, x)
        found.append([y, *one.backward(grad_y, tape)])
    for got, expected in zip(*found, strict=True):
        assert_near(got, expected, 8 * GRADIENT_RTOL)


@dtypes
def test_pytorch_agrees(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    net = network(dtype=dtype, activations=("tanh", "relu", "sigmoid"))
    params, x, grad_y = data(net, 9)
    flat, inputs = (torch.tensor(a, requires_grad=True) for a in (params, x))
    y, at = inputs, 0
    functions = (torch.tanh, torch.relu, torch.sigmoid)
    for function, d, k in zip(functions, net.sizes, net.sizes[1:], strict=False):
        w, b = flat[at : at + d * k].reshape(d, k), flat[at + d * k : at + d * k + k]
        y, at = function(y @ w + b), at + d * k + k
    y.backward(torch.tensor(grad_y))
    _, tape = net.forward(params, x)
    grads = net.backward(grad_y, tape)
    assert_near(grads.params, flat.grad.numpy(), NETWORK_RTOL[dtype])
    assert_near(grads.x, inputs.grad.numpy(), NETWORK_RTOL[dtype])


# -- what people do with it -----------------------------------------------------------------------


@impls
def test_policy_gradient(impl: ModuleType) -> None:
    """The gradient of ``-mean(log p(action) * advantage)`` of a softmax policy."""
    net = network(impl, sizes=(4, 8, 3), activations=("tanh", "softmax"))
    params, x, _ = data(net, 20)
    rng = np.random.default_rng(0)
    actions, advantage = rng.integers(0, 3, 20), rng.standard_normal(20)
    rows = np.arange(20)

    def objective(flat: Array) -> float:
        p = net.predict(flat, x)
        return float(-np.mean(np.log(p[rows, actions]) * advantage))

    p, tape = net.forward(params, x)
    grad_p = np.zeros_like(p)
    grad_p[rows, actions] = -advantage / p[rows, actions] / 20
    grads = net.backward(grad_p, tape, need=("params",))
    assert fg.check_grad(objective, grads.params, params)
    # The same from logits, where the loss's gradient is p - one_hot.
    net = network(impl, sizes=(4, 8, 3), activations=("tanh", None))
    logits, tape = net.forward(params, x)
    grad = np.exp(logits - logits.max(1, keepdims=True))
    grad /= grad.sum(1, keepdims=True)
    grad[rows, actions] -= 1
    grad *= advantage[:, None] / 20
    assert_near(net.backward(grad, tape).params, grads.params, 1e-11)


@impls
def test_actor_critic(impl: ModuleType) -> None:
    """An actor follows the gradient of its critic with respect to the action."""
    actor = network(impl, sizes=(3, 8, 2), activations=("relu", "tanh"))
    critic = network(
        impl, sizes=(5, 8, 1), activations=("relu", None), loss="mse", reduction="mean"
    )
    states = np.random.default_rng(1).standard_normal((16, 3))
    own, others = actor.named(data(actor)[0].copy()), data(critic)[0]
    target = {key: array.copy() for key, array in own.items()}
    optimizer, before = impl.Adam(lr=1e-2), {key: array.copy() for key, array in own.items()}

    def worth(params: Any) -> float:
        actions = actor.predict(params, states)
        return float(critic.predict(others, np.hstack([states, actions])).mean())

    first = worth(own)
    for step in range(5):
        actions, tape = actor.forward(own, states)
        q, critics = critic.forward(others, np.hstack([states, actions]))
        grad_in = critic.backward(np.full_like(q, -1 / len(q)), critics, need=("x",)).x
        grads = actor.backward(grad_in[:, 3:], tape, need=("params",)).params
        if step == 0:
            flat = actor.pack(own)
            assert fg.check_grad(lambda p: -worth(p), actor.pack(grads), flat)
        optimizer.step(own, grads)
        for key in target:
            target[key] = 0.9 * target[key] + 0.1 * own[key]
    assert worth(own) > first
    assert worth(before) == first
    assert first < worth(target) < worth(own)


@impls
def test_gradient_penalty(impl: ModuleType) -> None:
    """``mean(|df/dx|**2) / 2`` has a gradient by differences along df/dx of exact gradients."""
    net = network(impl, sizes=(3, 8, 1), activations=("tanh", None))
    params, x, _ = data(net, 10)
    ones = np.full((10, 1), 1 / np.sqrt(10))

    def slope(flat: Array) -> Array:
        _, tape = net.forward(flat, x)
        grad: Array = net.backward(ones, tape, need=("x",)).x
        return grad

    along, step, sides = slope(params), 1e-4, []
    for sign in (1, -1):
        _, tape = net.forward(params, x + sign * step * along)
        sides.append(net.backward(ones, tape, need=("params",)).params)
    grad = (sides[0] - sides[1]) / (2 * step)
    expected = fg.numerical_grad(lambda p: 0.5 * (slope(p) ** 2).sum(), params)
    # Of a difference: step**2 times third derivatives, rounding / step.
    np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-7 * abs(expected).max())


def test_adversarial_example() -> None:
    """Against the gradient of x the loss of a classifier rises."""
    net = network(sizes=(6, 16, 3), activations=("relu", None), loss="softmax_cross_entropy")
    params, x, _ = data(net, 30)
    labels = net.predict(params, x).argmax(1)
    logits, tape = net.forward(params, x)
    value, grad = fg.losses.softmax_cross_entropy.value_and_grad(logits, labels)
    grad_x = net.backward(grad, tape, need="x").x
    worse = fg.losses.softmax_cross_entropy(net.predict(params, x + 0.1 * np.sign(grad_x)), labels)
    assert worse > value


@impls
@layouts
@pytest.mark.parametrize("n", [3, 300])
def test_a_tape_goes_back_with_its_own_parameters(n: int, samples: str, impl: ModuleType) -> None:
    """Whatever a call of other parameters has left in between. Whole numbers: all exact."""
    net = network(impl, sizes=(5, 9, 3), activations=("relu", None), samples=samples)
    rng = np.random.default_rng(8)
    x, grad_y = (rng.integers(-3, 4, (n, k)).astype(float) for k in (5, 3))
    vectors = [rng.integers(-3, 4, net.size).astype(float) for _ in range(2)]
    tapes = [net.forward(params, turn(x, samples))[1] for params in vectors]
    for params, tape in zip(vectors, tapes, strict=True):
        grads = net.backward(turn(grad_y, samples), tape)
        (w1, b1), (w2, _) = ((turn(w, samples), b.reshape(-1)) for w, b in net.layers(params))
        z = x @ w1 + b1
        grad_z = grad_y @ w2.T * (z > 0)
        expected = [
            (x.T @ grad_z, grad_z.sum(0)),
            (np.maximum(z, 0).T @ grad_y, grad_y.sum(0)),
        ]
        assert (turn(grads.x, samples) == grad_z @ w1.T).all()
        for (grad_w, grad_b), (true_w, true_b) in zip(
            net.layers(grads.params), expected, strict=True
        ):
            assert (turn(grad_w, samples) == true_w).all()
            assert (grad_b.reshape(-1) == true_b).all()


# -- sums over calls ------------------------------------------------------------------------------


@impls
@layouts
def test_gradients_accumulate_over_calls(impl: ModuleType, samples: str) -> None:
    net = network(impl, samples=samples, normalize="layer")
    params, x, grad_y = data(net, 7)
    total = fg.NetworkGrads(np.zeros(net.size), np.zeros_like(x))
    expected: list[Any] = [0.0, 0.0]
    for part in range(3):
        _, tape = net.forward(params, x + part)
        grads = net.backward(grad_y, tape)
        expected = [a + b for a, b in zip(expected, grads, strict=True)]
        made = net.backward(grad_y, tape, out=total, accumulate=True)
        assert made.params is total.params
        assert made.x is total.x
    for got, sum_ in zip(total, expected, strict=True):
        np.testing.assert_allclose(got, sum_, rtol=1e-14, atol=1e-14)


@dtypes
def test_accumulating_blocks_adds_them_one_after_the_other(dtype: str) -> None:
    """As one longer batch would: 256 and 256 samples are 512, to the bit."""
    net = network(dtype=dtype)
    params, x, grad_y = data(net, 512)
    _, tape = net.forward(params, x)
    whole = net.backward(grad_y, tape, need="params").params
    out = None
    for half in (slice(0, 256), slice(256, 512)):
        _, tape = net.forward(params, x[half])
        out = net.backward(grad_y[half], tape, "params", out=out, accumulate=True)
    assert same_bits(out.params, whole)


@impls
@pytest.mark.parametrize("form", ["reversed", "wide"])
def test_outputs_of_any_strides_and_of_float64(impl: ModuleType, form: str) -> None:
    net = network(impl, dtype="float32", samples="columns")
    params, x, grad_y = data(net, 7)
    wide = np.float64 if form == "wide" else np.float32
    params, x = params.astype(wide), x.astype(wide)
    _, tape = net.forward(params, x)
    expected = net.backward(grad_y, tape)
    assert expected.params.dtype == expected.x.dtype == wide
    out = {"params": np.ones(net.size, wide)[::-1], "x": np.ones((14, 10), wide)[::2, ::2].T}
    made = net.backward(grad_y, tape, out=out)
    assert made.params is out["params"]
    assert same_bits(np.ascontiguousarray(made.params), expected.params)
    assert same_bits(np.ascontiguousarray(made.x), np.ascontiguousarray(expected.x))
    net.backward(grad_y, tape, out=out, accumulate=True)
    assert same_bits(np.ascontiguousarray(made.params), 2 * expected.params)
    assert same_bits(np.ascontiguousarray(made.x), np.ascontiguousarray(2 * expected.x))
    y = np.ones((6, 7), np.float32)[::2]
    assert net.forward(params, x, out=y)[0] is y
    assert same_bits(np.ascontiguousarray(y), np.ascontiguousarray(net.predict(params, x)))


@impls
@layouts
def test_no_samples(impl: ModuleType, samples: str) -> None:
    net = network(impl, samples=samples)
    params, x, grad_y = data(net, 0)
    y, tape = net.forward(params, x)
    assert y.shape == grad_y.shape
    grads = net.backward(grad_y, tape)
    assert grads.x.shape == x.shape
    assert not grads.params.any()
    out = fg.NetworkGrads(np.ones(net.size))
    assert (net.backward(grad_y, tape, "params", out, accumulate=True).params == 1).all()


@impls
def test_nothing_needed_is_nothing(impl: ModuleType) -> None:
    net = network(impl)
    params, x, grad_y = data(net)
    assert net.backward(grad_y, net.forward(params, x)[1], need=()) == (None, None)


# -- the tape -------------------------------------------------------------------------------------


@impls
@pytest.mark.parametrize("n", [None, 6, 300])
def test_a_tape_of_changed_arrays_is_refused(impl: ModuleType, n: int | None) -> None:
    net = network(impl)
    params, x, grad_y = data(net, n)
    _, tape = net.forward(params, x)
    kept = x.copy()
    x += 1
    with pytest.raises(ValueError) as error:
        net.backward(grad_y, tape)
    assert str(error.value) == (
        "MLP.backward: x has been changed in place since MLP.forward, and the way back needs it as "
        "it was: call backward before the update, or give forward a copy"
    )
    assert net.backward(grad_y, tape, need="x").x.shape == x.shape  # x is not needed for its own
    x[...] = kept
    first = net.backward(grad_y, tape)
    fg.SGD(lr=0.1).step(params, first.params)
    for need in ("params", "x"):
        with pytest.raises(ValueError, match=r"^MLP.backward: params has been changed in place"):
            net.backward(grad_y, tape, need)
    params = np.array(tape.params)  # another array: the tape has its own
    _, tape = net.forward(params, x)
    params = params - 0.1
    net.backward(grad_y, tape)


@impls
def test_the_output_may_be_changed(impl: ModuleType) -> None:
    for activation in ("sigmoid", "gelu", None):
        net = network(impl, activations=("tanh", "tanh", activation))
        params, x, grad_y = data(net)
        y, tape = net.forward(params, x)
        first = net.backward(grad_y, tape)
        y[...] = np.nan
        for a, b in zip(first, net.backward(grad_y, tape), strict=True):
            assert same_bits(a, b)


@pytest.mark.parametrize("normalize, more", [(None, 0), ("layer", 7 + 3)])
@pytest.mark.parametrize("last, width", [(None, 0), ("tanh", 3), ("gelu", 3)])
def test_a_tape_grows_as_documented(last: Any, width: int, normalize: Any, more: int) -> None:
    """The hidden outputs, the slope of gelu, the last output where tanh needs it."""
    net = network(sizes=(5, 7, 3), activations=("gelu", last), normalize=normalize)
    params, x, _ = data(net, 11)
    _, tape = net.forward(params, x)
    assert tape.kept.size == 11 * (7 + 7 + width + more)
    assert tape.params.base is params or tape.params is params
    assert tape.x.base is x or tape.x is x


@impls
def test_a_tape_is_of_its_network(impl: ModuleType) -> None:
    net, other = network(impl), network(impl, activations=("tanh", "tanh", "sigmoid"))
    params, x, grad_y = data(net)
    _, tape = net.forward(params, x)
    with pytest.raises(ValueError, match=r"^MLP.backward: tape is that of MLP\(\(5, 7, 4, 3\)"):
        other.backward(grad_y, tape)
    with pytest.raises(TypeError) as error:
        net.backward(grad_y, (tape,))
    assert str(error.value) == "MLP.backward: tape is a tuple: give what MLP.forward returned"
    same = network(impl)  # of the same settings
    for a, b in zip(net.backward(grad_y, tape), same.backward(grad_y, tape), strict=True):
        assert same_bits(a, b)


@dtypes
def test_pickled_tapes_and_networks(dtype: str) -> None:
    net = network(dtype=dtype)
    params, x, grad_y = data(net)
    _, tape = net.forward(params, x)
    first = net.backward(grad_y, tape)
    again, other = pickle.loads(pickle.dumps((tape, net)))
    for a, b in zip(first, other.backward(grad_y, again), strict=True):
        assert same_bits(a, b)


DAMAGE: dict[str, Any] = {
    "kept": lambda a: a[:-1], "params": lambda a: a[:-1], "x": lambda a: a[:, :-1],
    "params_mark": lambda a: None, "x_mark": lambda a: 0.5,
}  # fmt: skip


@pytest.mark.parametrize("field", DAMAGE)
def test_a_damaged_tape_is_refused(field: str) -> None:
    """Kernels read where it points to."""
    net = network()
    params, x, grad_y = data(net)
    _, tape = net.forward(params, x)
    net.backward(grad_y, tape)
    damaged = tape._replace(**{field: DAMAGE[field](getattr(tape, field))})
    with pytest.raises(ValueError, match=r"^MLP.backward: "):
        net.backward(grad_y, damaged)
    converted = tape._replace(kept=tape.kept.astype(">f8")[:], x=np.asfortranarray(x))
    for a, b in zip(net.backward(grad_y, tape), net.backward(grad_y, converted), strict=True):
        assert same_bits(np.ascontiguousarray(a), np.ascontiguousarray(b))


# -- mistakes -------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Any, str]] = {
    "grad_y of another shape": (
        lambda net, g, tape: net.backward(g[:-1], tape),
        "MLP.backward: grad_y has shape (5, 3) but y has shape (6, 3): they need the same shape",
    ),
    "need": (
        lambda net, g, tape: net.backward(g, tape, need="w"),
        "MLP.backward: need is 'w': choose from 'params', 'x'",
    ),
    "out without fields": (
        lambda net, g, tape: net.backward(g, tape, out=np.zeros(net.size)),
        "MLP.backward: out is a ndarray: give a NetworkGrads, a mapping or an object with fields "
        "params, x",
    ),
    "out of another shape": (
        lambda net, g, tape: net.backward(g, tape, out={"params": np.zeros(3)}),
        "MLP.backward: out.params has shape (3,) and dtype float64: it needs shape (89,) and dtype "
        "float64",
    ),
    "out that is an input": (
        lambda net, g, tape: net.backward(g, tape, out={"params": tape.params}),
        "MLP.backward: out.params shares memory with params",
    ),
    "out that is on the tape": (
        lambda net, g, tape: net.backward(g, tape, out={"x": tape.kept[:30].reshape(6, 5)}),
        "MLP.backward: out.x shares memory with tape",
    ),
    "accumulate": (
        lambda net, g, tape: net.backward(g, tape, accumulate=np.ones(2)),
        "MLP.backward: accumulate is a ndarray: give True or False",
    ),
    "params": (
        lambda net, g, tape: net.forward(tape.params[1:], tape.x),
        "MLP.forward: params has shape (88,) but the network has 89 parameters: it needs shape "
        "(89,)",
    ),
    "x": (
        lambda net, g, tape: net.forward(tape.params, tape.x[:, 1:]),
        "MLP.forward: x has shape (6, 4) but the network has 5 inputs: it needs shape (n, 5) or "
        "(5,)",
    ),
}


@pytest.mark.parametrize("times", ["first", "later"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, times: str) -> None:
    call, text = MISTAKES[mistake]
    net = network()
    params, x, grad_y = data(net)
    _, tape = net.forward(params, x)
    if times == "later":
        net.backward(grad_y, tape)
    with pytest.raises((TypeError, ValueError)) as error:
        call(net, grad_y, tape)
    assert str(error.value) == text


def test_nothing_is_half_written() -> None:
    net = network()
    params, x, grad_y = data(net)
    _, tape = net.forward(params, x)
    out = fg.NetworkGrads(np.ones(net.size), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^MLP.backward: out.x has shape \(2, 2\)"):
        net.backward(grad_y, tape, out=out)
    assert (out.params == 1).all()
