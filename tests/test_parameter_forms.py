"""Parameters as scripts keep them: a dict ``W1, b1, ...`` or a list of pairs, instead of a vector.

Whatever the form, the numbers are those of the flat vector, to the bit; the gradient comes in kind.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from test_opened import impls, network

import fastgrad as fg
from fastgrad.networks.shared.forms import flat_of

layouts = pytest.mark.parametrize("samples", LAYOUTS)


def problem(impl: ModuleType = fg, **changes: Any) -> tuple[Any, Array, Array, Array]:
    settings = {"sizes": (3, 4, 2), "activations": ("tanh", None), "loss": "mse"} | changes
    net = network(impl, **settings)
    rng = np.random.default_rng(2)
    params = rng.standard_normal(net.size).astype(net.dtype)
    x, target = (turn(rng.standard_normal((6, k)).astype(net.dtype), net.samples) for k in (3, 2))
    return net, params, x, target


def owned(net: Any, params: Array) -> dict[str, Array]:
    return {key: array.copy() for key, array in net.named(params).items()}


def backwards(net: Any, params: Array) -> dict[str, Array]:
    return dict(reversed(owned(net, params).items()))


def two_axes(net: Any, params: Array) -> dict[str, Array]:
    return {k: a.reshape(1, -1) if a.ndim == 1 else a for k, a in owned(net, params).items()}


FORMS: dict[str, Callable[[Any, Array], Any]] = {
    "views": lambda net, p: net.named(p),
    "a dict of arrays": owned,
    "in another order": backwards,
    "small letters": lambda net, p: {k.lower(): a for k, a in owned(net, p).items()},
    "of Fortran order": lambda net, p: {k: np.asfortranarray(a) for k, a in owned(net, p).items()},
    "biases of two axes": two_axes,
    "nested lists": lambda net, p: {k: a.tolist() for k, a in owned(net, p).items()},
    "layers": lambda net, p: net.layers(p),
    "pairs": lambda net, p: [tuple(np.array(a) for a in pair) for pair in net.layers(p)],
    "a tuple of lists": lambda net, p: tuple([list(pair) for pair in net.layers(p)]),
}
forms = pytest.mark.parametrize("form", FORMS)


def like(given: Any) -> list[tuple[int, ...]]:
    values = given.values() if isinstance(given, dict) else [a for pair in given for a in pair]
    return [np.shape(a) for a in values]


@impls
@layouts
@forms
@pytest.mark.parametrize("normalize", [None, "layer"])
def test_every_form_gives_the_same_bits(
    normalize: Any, form: str, samples: str, impl: ModuleType
) -> None:
    net, params, x, target = problem(impl, samples=samples, normalize=normalize)
    given = FORMS[form](net, params)
    value, expected = net.value_and_grad(params, x, target)
    for _ in range(3):  # the first calls take other ways
        own, grad = net.value_and_grad(given, x, target)
        assert own == value
        assert same_bits(net.predict(given, x), net.predict(params, x))
        assert type(grad) is (dict if isinstance(given, dict) else list)
        if isinstance(given, dict):
            assert set(grad) == set(given)
            grad = {key: grad[key] for key in given}
        assert like(grad) == like(given)
        assert same_bits(net.pack(grad), expected)
    y, tape = net.forward(given, x)
    flat_y, flat_tape = net.forward(params, x)
    assert same_bits(y, flat_y)
    made, plain = net.backward(y, tape), net.backward(y, flat_tape)
    assert same_bits(net.pack(made.params), plain.params)
    assert same_bits(made.x, plain.x)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 4}
    fitted, usual = (net.fit(p, x, target, **settings) for p in (given, params))
    assert same_bits(fitted.params, usual.params)


@impls
@pytest.mark.parametrize("form", ["views", "a dict of arrays", "layers", "pairs"])
def test_gradients_are_views_of_one_vector_and_go_to_the_optimizer(
    form: str, impl: ModuleType
) -> None:
    net, params, x, target = problem(impl)
    given, optimizer = FORMS[form](net, params), impl.SGD(lr=0.5)
    _, expected = net.value_and_grad(params, x, target)
    before = net.pack(given)
    _, grads = net.value_and_grad(given, x, target)
    arrays = (
        list(grads.values()) if isinstance(grads, dict) else [a for pair in grads for a in pair]
    )
    assert all(a.base is arrays[0].base for a in arrays)
    optimizer.step(given, grads)
    np.testing.assert_allclose(net.pack(given), before - 0.5 * expected, rtol=1e-15, atol=1e-15)


@impls
def test_rebinding_is_seen(impl: ModuleType) -> None:
    net, params, x, target = problem(impl)
    given = net.named(params)
    for _ in range(3):
        net.value_and_grad(given, x, target)
        given["W1"] = given["W1"] - 0.25
        given["b2"] -= 0.25  # in place
        value, _ = net.value_and_grad(given, x, target)
        assert value == net.value_and_grad(net.pack(given), x, target)[0]
        assert same_bits(net.predict(given, x), net.predict(net.pack(given), x))
        y, tape = net.forward(given, x)
        first = net.backward(y, tape).params
        given["W2"] = given["W2"] + 1.0  # the tape has that of before
        again = net.backward(y, tape).params
        assert all(same_bits(first[key], again[key]) for key in first)


def test_views_of_one_vector_are_not_copied() -> None:
    net, params, _, _ = problem()
    wide = np.zeros(net.size + 7)
    wide[3:-4] = params
    for whole, start in ((params, 0), (wide, 24)):
        part = whole[3:-4] if start else whole
        for given in (net.named(part), net.layers(part)):
            flat, _ = flat_of(net._network, "f", given)
            assert flat.ctypes.data == part.ctypes.data
            assert np.shares_memory(flat, part)
            assert flat.shape == (net.size,)
    given = net.named(params) | {"b1": params[:4]}  # a view of another place
    flat, _ = flat_of(net._network, "f", given)
    assert not np.shares_memory(flat, params)
    assert same_bits(flat, net.pack(given))
    given = net.named(params) | {"W1": net.named(params)["W1"].T.copy().T}
    assert not np.shares_memory(flat_of(net._network, "f", given)[0], params)


@impls
def test_changed_views_are_refused_and_changed_copies_are_not_read(impl: ModuleType) -> None:
    net, params, x, _ = problem(impl)
    views, copies = net.named(params), owned(net, params)
    (y, seen), (_, apart) = net.forward(views, x), net.forward(copies, x)
    expected = net.backward(y, apart).params
    copies["W1"] += 1
    assert same_bits(net.backward(y, apart).params["W2"], expected["W2"])
    views["W1"] += 1
    with pytest.raises(ValueError, match=r"^MLP.backward: params has been changed in place"):
        net.backward(y, seen)


@impls
@layouts
@pytest.mark.parametrize("prefix", ["", "d", "grad_"])
def test_outputs_in_kind(prefix: str, samples: str, impl: ModuleType) -> None:
    net, params, x, target = problem(impl, samples=samples)
    for given in (net.named(params), owned(net, params)):
        out = {prefix + key: np.ones(a.shape) for key, a in given.items()}
        out[f"{prefix}W1"] = np.ones(given["W1"].shape[::-1]).T
        _, expected = net.value_and_grad(params, x, target)
        for _ in range(2):
            _, made = net.value_and_grad(given, x, target, out=out)
            assert made is out
            parts = {key: out[prefix + key] for key in given}
            assert same_bits(net.pack(parts), expected)
    flat = np.ones(net.size)
    views = net.named(flat)
    net.value_and_grad(net.named(params), x, target, out=views)
    assert same_bits(flat, expected)
    y, tape = net.forward(net.named(params), x)
    alone = net.pack(net.backward(y, tape).params)
    made = net.backward(y, tape, "params", {"params": views}, accumulate=True)
    assert made.params is views
    assert same_bits(flat, expected + alone)
    made = net.backward(y, tape, "params", {"params": parts}, accumulate=True)
    assert same_bits(net.pack(made.params), expected + alone)


@impls
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_is_float64_if_an_array_is(dtype: str, impl: ModuleType) -> None:
    net, params, x, target = problem(impl, dtype="float32")
    given = owned(net, params)
    given["b1"] = given["b1"].astype(dtype)
    _, grads = net.value_and_grad(given, x, target)
    assert {a.dtype.name for a in grads.values()} == {dtype}
    assert same_bits(net.pack(grads), net.value_and_grad(params, x, target)[1])


@impls
def test_networks_without_biases(impl: ModuleType) -> None:
    net, params, x, target = problem(impl, bias=False)
    _, expected = net.value_and_grad(params, x, target)
    assert list(net.named(params)) == ["W1", "W2"]
    for given in (
        net.named(params),
        net.layers(params),
        [(w, None) for w, _ in net.layers(params)],
    ):
        assert same_bits(net.pack(net.value_and_grad(given, x, target)[1]), expected)


def test_names_of_all_arrays() -> None:
    net = network(normalize="layer")
    keys = ["W1", "b1", "gain1", "shift1", "W2", "b2", "gain2", "shift2", "W3", "b3"]
    assert list(net.named(net.init())) == keys


W = np.zeros((3, 4))
KEYS = "W1, b1, W2, b2"
MISTAKES: dict[str, tuple[Callable[[Any, dict[str, Any]], Any], type[Exception], str]] = {
    "missing": (
        lambda net, p: {"W1": p["W1"]}, ValueError, f"params has no 'b1': give {KEYS}",
    ),
    "extra": (
        lambda net, p: {**p, "lr": 0.1}, ValueError,
        f"params has 'lr', which the network has not: give {KEYS} alone",
    ),
    "transposed": (
        lambda net, p: {**p, "W1": p["W1"].T}, ValueError,
        "params['W1'] has shape (4, 3): it needs (3, 4)",
    ),
    "transposed and copied": (
        lambda net, p: {**p, "W1": p["W1"].T.copy()}, ValueError,
        "params['W1'] has shape (4, 3): it needs (3, 4)",
    ),
    "complex": (
        lambda net, p: {**p, "b2": 1j * p["b2"]}, TypeError,
        "params['b2'] has dtype complex128: give float32, float64, float16, an integer type or "
        "bool",
    ),
    "one layer": (
        lambda net, p: [(p["W1"], p["b1"])], ValueError,
        "params holds 1 pairs but the network has 2 layers with parameters: give one pair for each",
    ),
    "no pair": (
        lambda net, p: [(p["W1"], p["b1"]), (p["W2"],)], ValueError,
        "params[1] is not a pair (w, b)",
    ),
    "no bias": (
        lambda net, p: [(p["W1"], p["b1"]), (p["W2"], None)], ValueError,
        "params[1][1]: b must be given",
    ),
    "another bias": (
        lambda net, p: [(p["W1"], p["b1"]), (p["W2"], p["b1"])], ValueError,
        "params[1][1] has shape (4,): it needs (2,)",
    ),
}  # fmt: skip


@impls
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, impl: ModuleType) -> None:
    change, kind, text = MISTAKES[mistake]
    net, params, x, target = problem(impl)
    given = change(net, owned(net, params))
    calls: dict[str, Callable[[], Any]] = {
        "predict": lambda: net.predict(given, x),
        "value_and_grad": lambda: net.value_and_grad(given, x, target),
        "forward": lambda: net.forward(given, x),
        "fit": lambda: net.fit(given, x, target),
    }
    for name, call in calls.items():
        for _ in range(2):
            with pytest.raises(kind) as error:
                call()
            assert str(error.value) == f"MLP.{name}: {text}"


@impls
def test_outputs_must_fit(impl: ModuleType) -> None:
    net, params, x, target = problem(impl)
    given = owned(net, params)
    good = {key: np.ones(a.shape) for key, a in given.items()}
    for change, text in (
        ({"W1": given["W1"]}, r"out\['W1'\] and params\['W1'\] share memory"),
        ({"W1": np.ones((4, 3))}, r"out\['W1'\] has shape \(4, 3\) but params\['W1'\] has shape"),
        ({"b1": np.ones(4, np.float32)}, r"out\['b1'\] has shape \(4,\) and dtype float32"),
        ({"b2": good["W1"][0, :2]}, r"out\['W1'\] and out\['b2'\] share memory"),
        ({"q": np.ones(3)}, r"out\['q'\] is the gradient of nothing in params"),
    ):
        with pytest.raises(ValueError, match=f"^MLP.value_and_grad: {text}"):
            net.value_and_grad(given, x, target, out=good | change)
        assert all((array == 1).all() for array in good.values())
    with pytest.raises(
        TypeError, match=r"^MLP.value_and_grad: out is a ndarray but params is a dict"
    ):
        net.value_and_grad(given, x, target, out=np.ones(net.size))


@impls
def test_named_needs_a_vector(impl: ModuleType) -> None:
    net, params, _, _ = problem(impl)
    with pytest.raises(TypeError) as error:
        net.named(params.tolist())
    assert str(error.value) == "MLP.named: params is a list: give a NumPy array"
    with pytest.raises(ValueError, match=r"^MLP.named: params has shape \(3,\)"):
        net.named(params[:3])


@impls
@forms
def test_weights_of_samples(form: str, impl: ModuleType) -> None:
    net, params, x, target = problem(impl)
    weights, given = np.arange(1.0, 7.0), FORMS[form](net, params)
    value, expected = net.value_and_grad(params, x, target, weights)
    own, grads = net.value_and_grad(given, x, target, weights)
    assert own == value
    assert same_bits(net.pack(grads), expected)


# -- a form that is known -------------------------------------------------------------------------


def known(net: Any, given: Any, x: Array, target: Array) -> None:
    """Make the form known, so that compiled code gathers its arrays."""
    for _ in range(3):
        net.value_and_grad(given, x, target)
    assert net._network.forms.known is not None


@layouts
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["views", "a dict of arrays", "layers", "pairs"])
def test_a_known_form_is_still_looked_at(form: str, dtype: str, samples: str) -> None:
    """Other arrays, shapes, dtypes and strides under the same keys."""
    net, params, x, target = problem(dtype=dtype, samples=samples, normalize="layer")
    given = FORMS[form](net, params)
    known(net, given, x, target)
    other = params + params.dtype.type(1)
    views = net.named(other)
    changes: list[Any] = [
        FORMS[form](net, other),
        views,
        {key: array[::-1][::-1] for key, array in views.items()},
        {key: np.asfortranarray(array) for key, array in views.items()},
        {key: array.reshape(1, -1) if array.ndim == 1 else array for key, array in views.items()},
        {key: array.astype(">f8") for key, array in views.items()},
        {key: memoryview(array) for key, array in views.items()},
        net.layers(np.concatenate([params, other])[net.size :]),
        {**net.named(params), **{key: views[key] for key in ("W1", "b1")}},
        {**views, "gain1": views["shift1"], "shift1": views["gain1"]},
    ]
    for changed in changes:
        flat = net.pack(
            {key: np.asarray(array) for key, array in changed.items()}
            if isinstance(changed, dict) else changed
        )  # fmt: skip
        expected = net.value_and_grad(flat, x, target)
        for _ in range(2):
            value, grads = net.value_and_grad(changed, x, target)
            assert value == expected[0]
            assert same_bits(net.pack(grads), expected[1])
            assert same_bits(net.predict(changed, x), net.predict(flat, x))


@pytest.mark.parametrize("form", ["views", "layers"])
def test_a_known_form_of_one_vector_is_that_vector(form: str) -> None:
    net, params, x, target = problem()
    given = FORMS[form](net, params)
    known(net, given, x, target)
    flat, _ = net._network.forms.flat_of(net._network, "f", given)
    assert flat is params
    _, grads = net.value_and_grad(given, x, target)
    arrays = (
        list(grads.values()) if isinstance(grads, dict) else [a for pair in grads for a in pair]
    )
    whole = arrays[0].base
    assert whole.shape == (net.size,)
    for array in arrays:
        assert array.base is whole
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert not array.flags.owndata
    assert same_bits(whole, net.value_and_grad(params, x, target)[1])
    del grads, whole
    assert same_bits(np.concatenate([a.reshape(-1) for a in arrays]), arrays[0].base)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_known_form(mistake: str) -> None:
    change, kind, text = MISTAKES[mistake]
    net, params, x, target = problem()
    given, pairs = change(net, owned(net, params)), [tuple(pair) for pair in net.layers(params)]
    for form in (owned(net, params), pairs):
        known(net, form, x, target)
        with pytest.raises(kind) as error:
            net.value_and_grad(given, x, target)
        assert str(error.value) == f"MLP.value_and_grad: {text}"
    uneven = [(*net.layers(params)[0], net.layers(params)[1].w), (net.layers(params)[1].b,)]
    with pytest.raises(ValueError, match=r"params\[0\] is not a pair \(w, b\)"):
        net.value_and_grad(uneven, x, target)


def test_outputs_of_a_known_form() -> None:
    net, params, x, target = problem()
    given, whole = net.named(params), np.ones(net.size)
    known(net, given, x, target)
    out = net.named(whole)
    for array in out.values():
        array.flags.writeable = False
    with pytest.raises(ValueError, match=r"out\['W1'\] is read-only"):
        net.value_and_grad(given, x, target, out=out)
    assert (whole == 1).all()
    for same in (given, net.named(params)):
        with pytest.raises(ValueError, match=r"out\['W1'\] and params\['W1'\] share memory"):
            net.value_and_grad(given, x, target, out=same)
    y, tape = net.forward(given, x)
    with pytest.raises(ValueError, match=r"out.params\['W1'\] and params share memory"):
        net.backward(y, tape, out=fg.NetworkGrads(given))
    out = net.named(whole)
    made = net.backward(y, tape, out=fg.NetworkGrads(out), accumulate=True)
    assert made.params is out
    assert same_bits(whole, 1 + net.pack(net.backward(y, tape).params))


def test_neighbours_in_memory_are_not_one_vector() -> None:
    """Arrays with owners of their own may lie side by side; the kernels write to one owner's."""
    net, params, x, target = problem()
    memory = bytearray(params.tobytes())
    given, end = {}, 0
    for key, array in net.named(params).items():
        given[key] = np.frombuffer(memory, count=array.size, offset=end).reshape(array.shape)
        end += array.nbytes
    known(net, net.named(params), x, target)
    for find in (flat_of, net._network.forms.flat_of):
        flat, _ = find(net._network, "f", given)
        assert same_bits(flat, params)
        assert not any(np.shares_memory(flat, array) for array in given.values())
