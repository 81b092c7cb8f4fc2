"""`step` of optimizers on a script's own arrays: numbers, bits, what it refuses, what it keeps."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import DTYPES, Array, rng_of
from twins import NETWORK_RTOL, OPTIMIZERS, impls, optimizers

import fastgrad as fg
from fastgrad import loops, reference

SHAPES = {"W1": (7, 5), "b1": (5,), "W2": (5, 3), "b2": (1, 3), "scale": ()}
STEPS = 50


def made(dtype: str = "float64", seed: str = "params") -> dict[str, Array]:
    rng = rng_of("tree steps", seed)
    return {key: rng.standard_normal(shape).astype(dtype) for key, shape in SHAPES.items()}


def slopes(step: int, dtype: str = "float64") -> dict[str, Array]:
    """Return gradients of very different sizes, with zeros."""
    grads = made("float64", f"grads {step}")
    for key, grad in grads.items():
        grad *= 10.0 ** rng_of("sizes", key).integers(-4, 4, grad.shape)
        if step % 3 == 0 and grad.ndim:
            grad[..., 0] = 0
    return {key: np.asarray(grad, dtype) for key, grad in grads.items()}


def optimizer(case: str, package: ModuleType = fg) -> Any:
    """Return an optimizer whose weight decay is for every array, as in PyTorch."""
    name, settings = OPTIMIZERS[case]
    return getattr(package, name)(**settings)


def everywhere(params: dict[str, Array]) -> dict[str, Array]:
    """Return a tree whose arrays all have two axes, so that all of them decay."""
    return {key: np.atleast_2d(a) for key, a in params.items()}


@optimizers
def test_fifty_steps_by_torch(torch: Any, case: str) -> None:
    """PyTorch's formulas, defaults and order: `torch.optim`, one tensor at a time."""
    name, settings = OPTIMIZERS[case]
    params = everywhere(made())
    tensors = {key: torch.tensor(a.copy(), requires_grad=True) for key, a in params.items()}
    opt = optimizer(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, when it loads its optimizers
        peer = getattr(torch.optim, name)(tensors.values(), foreach=False, **settings)
        for step in range(STEPS):
            grads = everywhere(slopes(step))
            opt.step(params, grads)
            for key, tensor in tensors.items():
                tensor.grad = torch.tensor(grads[key])
            peer.step()
            for key, tensor in tensors.items():
                np.testing.assert_allclose(
                    params[key], tensor.detach().numpy(), rtol=1e-12, atol=1e-12
                )
    assert opt.state_dict()["steps"] == STEPS


@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@optimizers
@impls
def test_twins_agree(impl: ModuleType, case: str, dtype: str) -> None:
    params, twins = made(dtype), made(dtype)
    opt, twin = optimizer(case), optimizer(case, impl)
    for step in range(10):
        grads = slopes(step, dtype)
        opt.step(params, grads)
        twin.step(twins, {key: grad.copy() for key, grad in grads.items()})
    # Ten roundings to the eleven bits of float16, of which a step of the kernel has one.
    rtol = 10 * 2.0**-11 if dtype == "float16" else NETWORK_RTOL[dtype]
    for key, array in params.items():
        size = np.maximum(1, np.abs(array.astype("float64")).max())
        np.testing.assert_allclose(array, twins[key], rtol=rtol, atol=rtol * size, err_msg=key)
        assert array.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@optimizers
def test_a_step_is_that_of_fit(case: str, dtype: str) -> None:
    """The same kernels: layers move to the same bits, in fit without weight decay of biases."""
    name, settings = OPTIMIZERS[case]
    net = fg.MLP((4, 6, 3), ("tanh", None), "mse", dtype=dtype)
    rng = rng_of("step of fit")
    x, target = rng.standard_normal((20, 4)), rng.standard_normal((20, 3))
    x, target = x.astype(dtype), target.astype(dtype)
    p, opt = net.init(3), getattr(fg, name)(**settings)
    fitted = net.fit(p, x, target, opt, epochs=5, batch_size=20, shuffle=False)
    for _ in range(5):
        opt.step(net.layers(p), net.layers(net.value_and_grad(p, x, target)[1]))
    assert np.array_equal(p, fitted.params)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_are_divisions_to_the_bit(dtype: str) -> None:
    """The second moment's correction divides without a division: any number gives its quotient."""
    rng, kind = rng_of("quotients"), np.dtype(dtype).type
    grad = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-18, 18, 100_000)).astype(dtype)
    for beta2 in (0.999, 0.9, 0.5, 1 - 2.0**-50):
        p, opt = np.zeros(len(grad), dtype), fg.Adam(2.0**-10, (0.5, beta2))
        opt.step(p, grad)
        square = kind(1 - beta2) * (grad * grad)
        root = np.sqrt(square) / kind(math.sqrt(1 - beta2))
        expected = -(kind(2.0**-9) * (kind(0.5) * grad / (root + kind(1e-8))))
        assert np.array_equal(p, expected)


def test_squares_beyond_the_largest_number() -> None:
    """A second moment that is infinite moves nothing, as in PyTorch."""
    p, opt = np.ones(20, np.float32), fg.Adam(0.1)
    opt.step(p, np.full(20, 1e25, np.float32))
    assert p.tolist() == [1.0] * 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("package", [fg, reference, loops], ids=["fastgrad", "reference", "loops"])
@pytest.mark.parametrize(
    "name, settings",
    [
        ("SGD", {"momentum": 0.5}),
        ("SGD", {"momentum": 0.5, "nesterov": True}),
        ("Adam", {"betas": (0.5, 0.999)}),
        ("AdamW", {"betas": (0.5, 0.999)}),
        ("RMSprop", {"alpha": 0.5, "momentum": 0.5}),
        ("RMSprop", {"alpha": 0.5, "centered": True}),
    ],
)
def test_what_decays_is_zero_and_never_subnormal(
    name: str, settings: Any, package: ModuleType, dtype: str
) -> None:
    """A unit that is off for all samples has slopes of 0: its mean halves until it is no number."""
    if package is loops and "centered" in settings and dtype == "float32":
        pytest.skip("its squares of tiny means are float64, the means of squares 0 in float32")
    tiny = np.finfo(dtype).smallest_normal
    params, grads = np.ones(40, dtype), np.full(40, 64 * tiny, dtype)
    grads[3] = np.nan
    opt = getattr(package, name)(lr=0.25, **settings)
    for _ in range(48):  # 27 halvings from RMSprop's g / eps to g
        opt.step(params, grads)
        state = opt.state_dict()
        for key in {"mean", "velocity"} & state.keys():
            kept = np.delete(np.asarray(state[key]), 3)
            assert ((kept == 0) | (np.abs(kept) >= tiny)).all()
            assert np.isnan(np.asarray(state[key])[3])
        grads[np.isfinite(grads)] = 0
    ends = [np.delete(np.asarray(state[key]), 3) for key in {"mean", "velocity"} & state.keys()]
    assert ends and not np.any(ends)
    assert (np.delete(params, 3) == 1).all() or name == "AdamW"


@pytest.mark.parametrize("package", [fg, reference, loops], ids=["fastgrad", "reference", "loops"])
def test_a_variance_that_rounding_made_negative(package: ModuleType) -> None:
    """Its root is NaN, no exception: the mean square is less than the square of the mean."""
    opt = package.RMSprop(lr=0.1, alpha=0.5, eps=0.5, centered=True)
    params, grads = np.zeros(2), np.array([7.0, 7.0])
    opt.step(params, grads)
    state = opt.state_dict()
    state["square"][:], state["mean"][:] = (48.0, 50.0), 7.0
    opt.load_state_dict(state)
    opt.step(params, grads)
    assert np.isnan(params[0]) and np.isfinite(params[1])


def nested(params: dict[str, Array]) -> Any:
    W1, b1, W2, b2, scale = params.values()
    return {"layers": [(W1, b1), {"w": W2, "b": b2}], "rest": (None, scale, [])}


class Layer(NamedTuple):
    w: Any
    b: Any


TREES: dict[str, Callable[[dict[str, Array]], Any]] = {
    "dict": dict,
    "list": lambda params: list(params.values()),
    "tuple": lambda params: tuple(params.values()),
    "nested": nested,
    "named": lambda p: [Layer(p["W1"], p["b1"]), Layer(p["W2"], None), [p["b2"]], p["scale"]],
    "one": lambda params: {"W1": params["W1"]},
    "array": lambda params: params["W1"],
    "nothing": lambda params: {},
}


@pytest.mark.parametrize("kind", list(TREES))
def test_trees_give_the_same_bits(kind: str) -> None:
    params, arrays = made(), made()
    tree, opt, single = TREES[kind](params), fg.AdamW(0.1), {k: fg.AdamW(0.1) for k in params}
    given = [k for k in params if any(a is params[k] for a in leaves(tree))]
    for step in range(4):
        grads = slopes(step)
        opt.step(tree, TREES[kind](grads))
        for key in given:
            single[key].step([arrays[key]], [grads[key]])
    whole = kind == "array"  # an array alone decays whatever its axes
    for key in given:
        assert whole or np.array_equal(params[key], arrays[key]), key
    assert len(given) == {"array": 1, "one": 1, "nothing": 0}.get(kind, len(params))


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


@pytest.mark.parametrize("prefix", ["", "d", "grad_"])
def test_names_of_gradients(prefix: str) -> None:
    params, expected = made(), made()
    fg.SGD(0.1).step(expected, slopes(1))
    opt = fg.SGD(0.1)
    grads = {prefix + key: grad for key, grad in reversed(slopes(1).items())}
    opt.step(params, grads)
    assert all(np.array_equal(params[key], expected[key]) for key in params)
    # In the next step the quick way takes them, in any order.
    opt.step(dict(reversed(params.items())), dict(sorted(grads.items())))
    fg.SGD(0.1).step(expected, slopes(1))
    assert all(np.array_equal(params[key], expected[key]) for key in params)
    # And so does the checked way, for arrays of which one is new.
    params["W2"] = params["W2"].copy()
    opt.step(dict(reversed(params.items())), grads)
    fg.SGD(0.1).step(expected, slopes(1))
    assert all(np.array_equal(params[key], expected[key]) for key in params)


def strided(a: Array) -> Array:
    return np.repeat(a[..., None], 2, axis=-1)[..., 0]


def swapped(a: Array) -> Array:
    return a.astype(a.dtype.newbyteorder())


def unaligned(a: Array) -> Array:
    space = np.empty(a.nbytes + 1, np.uint8)
    view = space[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


FORMS: dict[str, Callable[[Array], Array]] = {
    "clean": np.copy,
    "Fortran": lambda a: a.copy(order="F"),
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1] if a.ndim else a.copy(),
    "swapped": swapped,
    "unaligned": unaligned,
    "transposed": lambda a: a.T.copy().T,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grads_form", list(FORMS))
@pytest.mark.parametrize("form", list(FORMS))
def test_any_layout_gives_the_same_bits(form: str, grads_form: str, dtype: str) -> None:
    params, expected = {k: FORMS[form](a) for k, a in made(dtype).items()}, made(dtype)
    opt, clean = fg.Adam(0.1, weight_decay=0.1), fg.Adam(0.1, weight_decay=0.1)
    for step in range(3):
        grads = slopes(step, dtype)
        opt.step(params, {k: FORMS[grads_form](np.asarray(g)) for k, g in grads.items()})
        clean.step(expected, grads)
    for key, array in params.items():
        assert np.array_equal(array, expected[key]), key


def test_dtypes_side_by_side() -> None:
    """Each array is updated in its own dtype, gradients of another are converted."""
    params = made()
    params |= {"W2": params["W2"].astype("float32"), "b2": params["b2"].astype("float16")}
    alone = {key: array.copy() for key, array in params.items()}
    opt, others = fg.Adam(0.1), {key: fg.Adam(0.1) for key in params}
    for step in range(4):
        grads = slopes(step)
        grads["b1"], grads["W2"] = np.ones(5, np.int64), grads["W2"].astype("float32")
        opt.step(params, grads)
        for key, array in alone.items():
            others[key].step([array], [grads[key].astype(array.dtype)])
    for key, array in params.items():
        assert array.dtype == alone[key].dtype
        if array.dtype != "float16":  # whose gradient is rounded to float32, not to float16
            assert np.array_equal(array, alone[key]), key
    assert not np.array_equal(params["b2"], made()["b2"].astype("float16"))


def test_views_are_updated_where_they_lie() -> None:
    net = fg.MLP((4, 6, 3), ("tanh", None), "mse", dtype="float64")
    p, flat = net.init(0), net.init(0)
    opt, whole = fg.SGD(0.5, 0.9), fg.SGD(0.5, 0.9)
    for seed in range(3):
        grad = net.init(seed + 1)
        opt.step(net.layers(p), net.layers(grad))
        whole.step(flat, grad)
    assert np.array_equal(p, flat)
    matrix = np.zeros((4, 6))
    halves = [matrix[:, ::2], matrix[:, 1::2]]  # they interleave and share no element
    fg.SGD(1.0).step(halves, [np.ones((4, 3)), np.full((4, 3), 2.0)])
    assert matrix.tolist() == [[-1.0, -2.0] * 3] * 4


def test_no_array_is_made_after_the_first_step() -> None:
    params, grads, opt = made("float32"), slopes(1, "float32"), fg.Adam()
    mixed = {"W1": strided(params["W1"]), "b1": params["b1"]}
    other = fg.Adam()
    for _ in range(3):
        opt.step(params, grads)
        other.step(mixed, {"W1": grads["W1"], "b1": grads["b1"]})
    made_by_numpy = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    tracemalloc.start()
    before = tracemalloc.take_snapshot().filter_traces(made_by_numpy)
    for _ in range(100):
        opt.step(params, grads)
    after = tracemalloc.take_snapshot().filter_traces(made_by_numpy)
    tracemalloc.stop()
    assert sum(stat.size_diff for stat in after.compare_to(before, "filename")) == 0


def test_weights_decay_and_biases_do_not() -> None:
    params = made()
    before = {key: array.copy() for key, array in params.items()}
    zeros = {key: np.zeros_like(array) for key, array in params.items()}
    for opt in (fg.AdamW(0.1, weight_decay=0.5), fg.SGD(0.1, weight_decay=0.5)):
        opt.step(params, zeros)
    for key, array in params.items():
        factor = 0.95**2 if array.ndim > 1 else 1.0
        np.testing.assert_allclose(array, before[key] * factor, rtol=1e-15)
    flat = np.ones(3)
    fg.SGD(0.1, weight_decay=0.5).step(flat, np.zeros(3))  # a vector alone is all there is
    assert flat.tolist() == [0.95] * 3


# -- what is refused, with nothing updated -----------------------------------------------------


def without(tree: dict[str, Array], key: str) -> dict[str, Array]:
    return {other: array for other, array in tree.items() if other != key}


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


P, G = made(), slopes(1)
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "missing": (P, without(G, "W2"), "grads has no 'W2' or 'dW2' or 'grad_W2': params has 'W2'"),
    "extra": (P, G | {"dZ": P["W1"]}, r"grads\['dZ'\] is the gradient of nothing in params"),
    "both": (P, G | {"dW1": P["W1"]}, r"grads\['dW1'\] is the gradient of nothing in params"),
    "shape": (P, G | {"b1": np.ones((1, 5))},
              r"grads\['b1'\] has shape \(1, 5\) but params\['b1'\] has shape \(5,\)"),
    "read-only": (P | {"b2": read_only(P["b2"].copy())}, G, r"params\['b2'\] is read-only"),
    "dtype": (P | {"b2": np.ones((1, 3), int)}, G, r"params\['b2'\] has dtype int64"),
    "complex": (P | {"b2": np.ones((1, 3), complex)}, G, r"params\['b2'\] has dtype complex128"),
    "grad dtype": (P, G | {"b2": np.ones((1, 3), complex)}, r"grads\['b2'\] has dtype complex128"),
    "number": (P | {"scale": 0.5}, G, r"params\['scale'\] is a float: give a NumPy array"),
    "twice": (P | {"W2": P["W1"]}, G | {"W2": G["W1"].copy()},
              r"params\['W1'\] and params\['W2'\] share memory"),
    "overlap": (P | {"b1": P["W1"][0]}, G, r"params\['W1'\] and params\['b1'\] share memory"),
    "gradient": (P, G | {"W1": P["W1"]}, r"params\['W1'\] and grads\['W1'\] share memory"),
    "broadcast": (P | {"b2": np.lib.stride_tricks.as_strided(np.ones(1), (1, 3), (0, 0))}, G,
                  r"params\['b2'\] has elements that share memory"),
    "kind": (P, list(G.values()), "grads is a list but params is a dict: give a dict"),
    "entries": ([[P["W1"], P["b1"]]], [[P["W1"]]], r"grads\[0\] has 1 entries but params\[0\] has"),
    "none": ([P["W1"], None], [G["W1"], G["b1"]], r"grads\[1\] is a ndarray but params\[1\] is No"),
    "array": ([P["W1"]], [None], r"grads\[0\] is a NoneType but params\[0\] is an array"),
    "masked": (P | {"b1": np.ma.ones(5)}, G, r"params\['b1'\] is a masked array"),
}  # fmt: skip


@pytest.mark.parametrize("package", [fg, reference, loops], ids=["fastgrad", "reference", "loops"])
@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("case", list(REFUSED))
def test_refused(case: str, warm: bool, package: ModuleType) -> None:
    params, grads, text = REFUSED[case]
    opt = package.Adam(0.1)
    if warm:
        if not isinstance(params, dict) or case == "twice":  # of another shape
            return
        opt.step(made(), slopes(1))
    before = opt.state_dict()
    kept = [np.array(a) for a in leaves(params)]
    with pytest.raises((ValueError, TypeError), match=text) as raised:
        opt.step(params, grads)
    assert str(raised.value).startswith("Adam.step: ")
    for array, old in zip(leaves(params), kept, strict=True):
        assert np.array_equal(np.array(array), old)
    assert opt.state_dict()["steps"] == before["steps"]


def test_a_list_that_holds_itself() -> None:
    params: list[Any] = []
    params.append(params)
    with pytest.raises(TypeError, match="holds itself, or is nested too deep"):
        fg.SGD(0.1).step(params, params)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p | {"W1": np.ones((7, 4))}, r"params\['W1'\] has shape \(7, 4\) but had shape"),
        (lambda p: p | {"b1": p["b1"].astype("float32")}, r"params\['b1'\] has dtype float32 but"),
        (lambda p: without(p, "b1"), r"params has no params\['b1'\] any more"),
        (lambda p: p | {"W3": np.ones(2)}, r"params has params\['W3'\], which is new"),
        (lambda p: list(p.values()), r"params has no params\['W1'\] any more"),
    ],
    ids=["shape", "dtype", "gone", "new", "kind"],
)
def test_one_optimizer_serves_one_tree(change: Any, text: str) -> None:
    opt, params = fg.Adam(), made()
    opt.step(params, slopes(1))
    with pytest.raises(ValueError, match=text + r".*: an optimizer serves one tree"):
        opt.step(change(made()), change(slopes(1)))
    opt.reset()
    opt.step(change(made()), change(slopes(1)))


# -- what it keeps -----------------------------------------------------------------------------


def run(opt: Any, params: Any, first: int, last: int) -> Any:
    for step in range(first, last):
        opt.step(params, slopes(step))
    return params


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@optimizers
@pytest.mark.parametrize("way", ["state_dict", *WAYS])
def test_steps_go_on_to_the_bit(way: str, case: str) -> None:
    expected, other = run(optimizer(case), made(), 0, 6), made()
    opt = optimizer(case)
    params = run(opt, made(), 0, 3)
    if way == "state_dict":
        following = optimizer(case)
        following.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    else:
        following = WAYS[way](opt)
    assert following == opt
    assert repr(following) == repr(opt)
    run(opt, other, 3, 5)  # what the first one does now changes nothing for the second
    run(following, params, 3, 6)
    assert all(np.array_equal(params[key], expected[key]) for key in params)


@impls
def test_state_of_a_twin(impl: ModuleType) -> None:
    opt = impl.Adam(0.1)
    params = run(opt, made(), 0, 3)
    following = fg.Adam(0.1)
    following.load_state_dict(opt.state_dict())
    run(following, params, 3, 6)
    expected = run(fg.Adam(0.1), made(), 0, 6)
    for key, array in params.items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-12, atol=1e-12)


def test_states_that_are_refused() -> None:
    opt = fg.Adam()
    opt.step(made(), slopes(1))
    state = opt.state_dict()
    with pytest.raises(ValueError, match="state is of Adam: give that of AdamW"):
        fg.AdamW().load_state_dict(state)
    with pytest.raises(TypeError, match="state is a list: give a state_dict"):
        opt.load_state_dict([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="state has no 'square'"):
        opt.load_state_dict({k: v for k, v in state.items() if k != "square"})
    state["mean"]["W1"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"mean\['W1'\] has shape \(2, 2\), not \(7, 5\)"):
        opt.load_state_dict(state)
    fresh = fg.Adam()
    opt.load_state_dict(fresh.state_dict())
    assert opt.state_dict() == {"optimizer": "Adam", "steps": 0}


def test_arrays_may_be_others_of_the_same_shapes() -> None:
    """A script that binds new arrays goes on: the state is by place."""
    opt, again, params, same = fg.Adam(), fg.Adam(), made(), made()
    for step in range(4):
        params = {key: array.copy() for key, array in params.items()}
        opt.step(params, slopes(step))
        again.step(same, slopes(step))
    assert all(np.array_equal(params[key], same[key]) for key in params)


def test_steps_of_many_threads() -> None:
    """Each its own optimizer, or all the same one: then a step in another's is refused."""
    size, refused, wrong = 200_000, [], []
    shared, vector = fg.Adam(0.1), np.zeros(size)
    shared.step(vector, np.ones(size))

    def work() -> None:
        own, p, g = fg.Adam(0.1), np.zeros(size), np.ones(size)
        for _ in range(20):
            own.step(p, g)
            try:
                shared.step(vector, g)
            except RuntimeError as error:
                refused.append(str(error))
        expected, opt = np.zeros(1), fg.Adam(0.1)
        for _ in range(20):
            opt.step(expected, np.ones(1))
        if not np.all(p == expected):
            wrong.append(p)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(text.startswith("Adam.step: another thread is in a step") for text in refused)
    assert shared.state_dict()["steps"] == 81 - len(refused)
