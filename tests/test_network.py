"""`fg.MLP` against the layers it is made of, bit for bit, and against its NumPy twin."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, size, turn
from tolerances import GRADIENT_RTOL
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import reference, threads
from fastgrad.activations import BUILT_IN
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES, ArrayLoss
from fastgrad.networks import job as network_job
from fastgrad.networks import passes as network_passes
from fastgrad.networks import training_run

HIDDEN = [name for name in BUILT_IN if name != "exp"]  # two exp in a row overflow


def make(
    sizes: tuple[int, ...],
    activations: tuple[Any, ...],
    loss: str = "mse",
    n: int = 5,
    **options: Any,
) -> tuple[fg.MLP, Array, Array, Any]:
    """Return a network, parameters, inputs and a target of its layout and dtype."""
    net = fg.MLP(sizes, activations, loss, **options)
    rng = rng_of(sizes, activations, loss, n)
    params = net.init(seed=1)
    params += (0.1 * rng.standard_normal(net.size)).astype(net.dtype)
    x = turn(rng.standard_normal((n, sizes[0])).astype(net.dtype), net.samples)
    target = None
    if not isinstance(net.loss, ArrayLoss):
        probabilities = rng.random((n, sizes[-1]))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        target = turn(probabilities.astype(net.dtype), net.samples)
    return net, params, x, target


def by_layers(net: fg.MLP, params: Array, x: Array, target: Any) -> tuple[float, Array, Array]:
    """Return value, gradient and prediction by one call per layer."""
    y, caches = x, []
    for layer, activation in zip(net.layers(params), net.activations, strict=True):
        y, cache = fg.dense_forward(y, layer.w, layer.b, activation, samples=net.samples)
        caches.append(cache)
    loss: Any = net.loss
    arguments = (y,) if target is None else (y, target)
    value, grad_y = loss.value_and_grad(*arguments, reduction=net.reduction, samples=net.samples)
    grad = np.empty_like(params)
    for cache, layer in zip(caches[::-1], net.layers(grad)[::-1], strict=True):
        grads = fg.dense_backward(grad_y, cache)
        layer.w[...] = grads.w
        if layer.b is not None:
            layer.b[...] = grads.b
        grad_y = grads.x
    return value, grad, y


def check(net: fg.MLP, params: Array, x: Array, target: Any) -> None:
    value, grad = net.value_and_grad(params, x, target)
    value, grad = net.value_and_grad(params, x, target)  # now by the direct way
    expected, expected_grad, y = by_layers(net, params, x, target)
    # Blocks of 256 samples are summed one by one: the value's last bits may differ.
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_array_equal(grad, expected_grad)
    np.testing.assert_array_equal(net.predict(params, x), y)


# -- the same bits as the layers -----------------------------------------------------------------


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_every_activation(activation: str, dtype: str, samples: str) -> None:
    check(*make((5, 7, 6, 3), (activation, "tanh", activation), samples=samples, dtype=dtype, n=9))


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss(loss: str, reduction: str, dtype: str, samples: str) -> None:
    options = {"reduction": reduction, "dtype": dtype, "samples": samples}
    check(*make((4, 6, 3), ("tanh", LOSS_TRUTH[loss].output), loss, n=300, **options))


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_its_numpy_twin(loss: str, reduction: str, samples: str) -> None:
    options: Any = {"reduction": reduction, "dtype": "float64", "samples": samples}
    acts = ("gelu", "tanh", LOSS_TRUTH[loss].output)
    net, params, x, target = make((4, 7, 6, 3), acts, loss, 300, **options)
    twin: Any = reference.MLP(net.sizes, acts, loss, **options)
    np.testing.assert_array_equal(net.init(7), twin.init(7))
    value, grad = net.value_and_grad(params, x, target)
    expected, expected_grad = twin.value_and_grad(params, x, target)
    np.testing.assert_allclose(value, expected, rtol=GRADIENT_RTOL)
    scale = np.abs(expected_grad).max()
    np.testing.assert_allclose(grad, expected_grad, rtol=GRADIENT_RTOL, atol=1e-15 * scale)
    np.testing.assert_allclose(
        net.predict(params, x), twin.predict(params, x), rtol=GRADIENT_RTOL, atol=1e-15
    )


EDGES = ["1", "NR-1", "NR", "NR+1", "2NR+3"]


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", EDGES)
@pytest.mark.parametrize("n", ["1", "MR+1", "BB-1", "BB", "BB+1", "3BB+5"])
def test_edges(n: str, width: str, dtype: str, samples: str) -> None:
    k, count = size(width, dtype), size(n, dtype)
    check(*make((3, k, k, 2), ("gelu", "sigmoid", None), n=count, dtype=dtype, samples=samples))


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_layers(dtype: str, samples: str) -> None:
    """Weights that are packed, and outputs of several forward blocks."""
    check(*make((100, 300, 150, 10), ("relu", "silu", None), n=520, dtype=dtype, samples=samples))


@pytest.mark.parametrize("samples", LAYOUTS)
def test_no_bias(samples: str) -> None:
    net, params, x, target = make((4, 6, 3), ("tanh", None), n=20, bias=False, samples=samples)
    assert net.size == 4 * 6 + 6 * 3
    assert all(layer.b is None for layer in net.layers(params))
    check(net, params, x, target)


def test_defined_activation(restored: None) -> None:
    cube = fg.define_activation("cube_of_network", lambda z: z**3, lambda z: 3 * z**2)
    check(*make((3, 4, 2), (cube, None), n=7))
    check(*make((3, 4, 2), ("cube_of_network", None), n=7, dtype="float64"))


# -- the same bits however it is called ------------------------------------------------------------


FORMS: dict[str, Callable[[Array], Array]] = {
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.astype(np.float64).tolist(),  # type: ignore[return-value]
    "unaligned": lambda a: np.frombuffer(
        b"\0" + a.tobytes(), a.dtype, a.size, offset=1
    ).reshape(a.shape) if a.flags.c_contiguous else a,
}  # fmt: skip


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("form", list(FORMS))
def test_forms_of_arrays(form: str, samples: str) -> None:
    net, params, x, target = make((5, 7, 3), ("tanh", None), n=300, samples=samples)
    value, grad = net.value_and_grad(params, x, target)
    for odd in ((FORMS[form](x), target), (x, FORMS[form](target))):
        again, same = net.value_and_grad(params, *odd)
        assert again == value
        np.testing.assert_array_equal(same, grad)
    np.testing.assert_array_equal(net.predict(params, FORMS[form](x)), net.predict(params, x))
    again, same = net.value_and_grad(params.tolist(), x, target)
    assert again == value
    np.testing.assert_array_equal(same, grad)


@pytest.mark.parametrize("samples", LAYOUTS)
def test_one_sample_as_a_vector(samples: str) -> None:
    net, params, x, target = make((5, 7, 3), ("tanh", None), n=1, samples=samples)
    value, grad = net.value_and_grad(params, x, target)
    for _ in range(2):
        again, same = net.value_and_grad(params, x.reshape(-1), target.reshape(-1))
        assert again == value
        np.testing.assert_array_equal(same, grad)
    y = net.predict(params, x.reshape(-1))
    np.testing.assert_array_equal(y, net.predict(params, x).reshape(-1))
    assert y.shape == (3,)


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "list"])
def test_classes(kind: str, samples: str) -> None:
    net, params, x, _ = make((5, 8, 4), ("relu", None), "softmax_cross_entropy", n=300,
                             samples=samples)  # fmt: skip
    labels = rng_of("classes").integers(0, 4, 300)
    one_hot = turn(np.eye(4, dtype=net.dtype)[labels], samples)
    given = labels.tolist() if kind == "list" else labels.astype(kind)
    for _ in range(2):
        value, grad = net.value_and_grad(params, x, given)
        expected, expected_grad, _ = by_layers(net, params, x, labels)
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        np.testing.assert_array_equal(grad, expected_grad)
    np.testing.assert_allclose(value, net.value_and_grad(params, x, one_hot)[0], rtol=1e-6)


def test_out_receives_the_gradient() -> None:
    net, params, x, target = make((5, 7, 3), ("tanh", None), n=300)
    value, grad = net.value_and_grad(params, x, target)
    out = np.full(net.size, np.nan, net.dtype)
    for _ in range(2):
        again, given = net.value_and_grad(params, x, target, out=out)
        assert again == value
        assert given is out
        np.testing.assert_array_equal(out, grad)
    strided = np.empty(2 * net.size, net.dtype)[::2]
    np.testing.assert_array_equal(net.value_and_grad(params, x, target, out=strided)[1], grad)
    y = np.empty((300, 3), net.dtype)
    assert net.predict(params, x, out=y) is y
    np.testing.assert_array_equal(y, net.predict(params, x))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("samples", LAYOUTS)
def test_out_receives_the_prediction(samples: str, order: Any) -> None:
    net, params, x, _ = make((6, 7, 6), ("tanh", None), n=10, samples=samples)
    y = net.predict(params, x)
    assert params.size > y.size == x.size  # so that an output may lie in either
    for _ in range(3):  # from the second on directly
        out = np.full(y.shape, np.nan, net.dtype, order)
        assert net.predict(params, x, out=out) is out
        np.testing.assert_array_equal(out, y)
        for shape in ((9, 6), (11, 6), (10, 5), (10, 7), y.shape[::-1], (60,)):
            with pytest.raises(ValueError, match=r"MLP\.predict: out has shape"):
                net.predict(params, x, out=np.empty(shape, net.dtype))
        for name, array in (("x", x.copy()), ("params", params.copy())):
            overlapping = array.reshape(-1)[: y.size].reshape(y.shape)
            with pytest.raises(ValueError, match=f"MLP.predict: out shares memory with {name}"):
                net.predict(**{"params": params, "x": x, name: array}, out=overlapping)


@pytest.mark.parametrize("single", [False, True])
def test_integers_are_converted_as_a_whole(single: bool) -> None:
    """Also integer probabilities, of one sample too, where classes are integers as well."""
    net, params, x, _ = make((4, 6, 3), ("tanh", None), "softmax_cross_entropy", n=3)
    inputs, target = np.rint(10 * x).astype(int), np.eye(3, dtype=int)[[2, 0, 1]]
    classes: Any = target.argmax(axis=1)
    if single:
        inputs, target, classes = inputs[0], target[0], classes[0]
    expected = net.value_and_grad(params, inputs.astype(net.dtype), target.astype(net.dtype))
    for _ in range(3):  # from the second on directly
        for given in (target, target.tolist(), classes, classes.tolist(), classes.astype("uint8")):
            value, grad = net.value_and_grad(params, inputs, given)
            assert value == expected[0]
            np.testing.assert_array_equal(grad, expected[1])


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_threads_change_no_bit(count: int, samples: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (20, 40, 30, 5)
    net, params, x, target = make(sizes, ("tanh", "gelu", None), n=1500, samples=samples)
    _, expected_grad, y = by_layers(net, params, x, target)
    value, grad = net.value_and_grad(params, x, target)
    optimizer = fg.Adam(lr=1e-2)
    serial = net.fit(params, x, target, optimizer, epochs=2, batch_size=600)
    monkeypatch.setattr(threads, "SHARE_FROM", 1 << 10)
    before = fg.get_num_threads()
    fg.set_num_threads(count)
    try:
        other = pickle.loads(pickle.dumps(net))
        again, same = other.value_and_grad(params, x, target)
        prediction = other.predict(params, x)
        shared = other.fit(params, x, target, optimizer, epochs=2, batch_size=600)
    finally:
        fg.set_num_threads(before)
    assert again == value
    np.testing.assert_array_equal(same, grad)
    np.testing.assert_array_equal(same, expected_grad)
    np.testing.assert_array_equal(prediction, y)
    np.testing.assert_array_equal(shared.params, serial.params)
    np.testing.assert_array_equal(shared.losses, serial.losses)


def test_many_python_threads_at_once() -> None:
    net, params, x, target = make((10, 30, 4), ("tanh", None), n=700)
    value, grad = net.value_and_grad(params, x, target)
    wrong: list[int] = []

    def work() -> None:
        for i in range(50):
            again, same = net.value_and_grad(params, x, target)
            if again != value or not np.array_equal(same, grad):
                wrong.append(i)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("shuffle", [False, True])
def test_foreign_dtypes_are_converted_in_windows(
    shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in a read-only file: the same numbers as their float copy, never converted whole."""
    for module in (network_passes, network_job):
        monkeypatch.setattr(module, "WINDOW", 1 << 14)
    monkeypatch.setattr(training_run, "CONVERTED", 1 << 14)
    net, params, _, target = make((6, 8, 3), ("tanh", None), n=1500)
    small = rng_of("bytes").integers(0, 4, (1500, 6)).astype(np.uint8)
    (tmp_path / "x").write_bytes(small.tobytes())
    x = np.memmap(tmp_path / "x", np.uint8, "r", shape=small.shape)
    value, grad = net.value_and_grad(params, x, target)
    again, same = net.value_and_grad(params, small.astype(net.dtype), target)
    assert value == again
    np.testing.assert_array_equal(grad, same)
    for batch in (32, 700):
        options: Any = {"epochs": 2, "batch_size": batch, "shuffle": shuffle}
        fitted = net.fit(params, x, target, **options)
        same_fit = net.fit(params, small.astype(net.dtype), target, **options)
        np.testing.assert_array_equal(fitted.params, same_fit.params)
        np.testing.assert_array_equal(fitted.losses, same_fit.losses)


# -- what it costs ---------------------------------------------------------------------------------


def test_another_network_compiles_nothing() -> None:
    from fastgrad.kernels.toolchain.library import LIBRARY

    make_and_run = make((3, 5, 2), ("tanh", "sigmoid"), "mse")
    make_and_run[0].value_and_grad(*make_and_run[1:])
    before = list(LIBRARY.compiled)
    net, params, x, target = make((9, 31, 17, 4, 2), ("sigmoid", None, "tanh", "sigmoid"), "mse")
    net.value_and_grad(params, x, target)
    net.predict(params, x)
    assert LIBRARY.compiled == before


def test_nothing_is_allocated_with_out() -> None:
    net, params, x, target = make((16, 32, 8), ("tanh", None), n=64)
    out = np.empty(net.size, net.dtype)
    for _ in range(3):
        net.value_and_grad(params, x, target, out=out)
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            net.value_and_grad(params, x, target, out=out)
        assert tracemalloc.get_traced_memory()[0] - start <= 256  # not per call
    finally:
        tracemalloc.stop()


# -- the flat vector -------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", LAYOUTS)
def test_layers_are_views_and_pack_is_their_inverse(samples: str) -> None:
    net, params, _, _ = make((5, 7, 3), ("tanh", None), samples=samples)
    layers = net.layers(params)
    for layer, (d, k) in zip(layers, pairwise(net.sizes), strict=True):
        assert layer.w.shape == ((d, k) if samples == "rows" else (k, d))
        assert layer.b is not None
        assert layer.b.shape == ((k,) if samples == "rows" else (k, 1))
        assert np.shares_memory(layer.w, params) and np.shares_memory(layer.b, params)
    np.testing.assert_array_equal(net.pack(layers), params)
    layers[0].w[0, 0] = 42
    assert params[0] == 42


def test_both_layouts_start_as_the_same_network() -> None:
    rows, columns = (fg.MLP((4, 6, 2), ("relu", None), "mse", samples=s) for s in LAYOUTS)
    for a, b in zip(rows.layers(rows.init(3)), columns.layers(columns.init(3)), strict=True):
        np.testing.assert_array_equal(a.w, b.w.T)


class Named(fg.MLP):
    """A user's subclass, with an attribute of its own."""

    name = "none"


COPIES = [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_copies_are_the_same_network(copied: Callable[[Any], Any]) -> None:
    net = Named((4, 6, 2), ("relu", None), "mae", "samples", False, "columns", "float64")
    net.name = "mine"
    params, x = net.init(), rng_of("copies").standard_normal((4, 5))
    y = net.predict(params, x)
    other = copied(net)
    assert (type(other), other.name, repr(other)) == (Named, "mine", repr(net))
    assert other.dtype is net.dtype  # or every call takes the checked path: 30 us, not 1
    np.testing.assert_array_equal(other.predict(params, x), y)


def test_a_copy_keeps_an_activation_that_is_defined_again(restored: None) -> None:
    fg.define_activation("scaled", lambda z: z * 2.0, lambda z: 2.0)
    net = fg.MLP((2, 2), ("scaled",), "mse", dtype="float64")
    assert repr(pickle.loads(pickle.dumps(net))) == repr(net)
    params, x = net.init(), np.ones((3, 2))
    y = net.predict(params, x)
    fg.define_activation("scaled", lambda z: z * 5.0, lambda z: 5.0)
    for copied in (copy.copy, copy.deepcopy):
        np.testing.assert_array_equal(copied(net).predict(params, x), y)
    with pytest.raises(pickle.PicklingError, match="'scaled' has been defined again"):
        pickle.dumps(net)


def test_an_activation_that_is_not_defined_is_said_so() -> None:
    pickled = pickle.dumps(fg.tanh).replace(b"tanh", b"tash")
    with pytest.raises(ValueError, match=r"unknown activation 'tash': define it by fg\.define_"):
        pickle.loads(pickled)


def test_packing_overflows_without_a_warning() -> None:
    net = fg.MLP((1, 1), (None,), "mse")
    assert net.pack([([[1e300]], [-1e300])]).tolist() == [np.inf, -np.inf]


# -- errors ----------------------------------------------------------------------------------------


def errors() -> dict[str, tuple[Callable[[], Any], type[Exception], str]]:
    net, p, x, t = make((4, 5, 3), ("tanh", None), n=6)
    classes = fg.MLP((4, 3), (None,), "softmax_cross_entropy")
    q = classes.init()
    total = fg.MLP((4, 3), (None,), "sum")
    call, fit = net.value_and_grad, net.fit
    return {
        "params": (lambda: call(p[:3], x, t), ValueError, r"params has shape \(3,\)"),
        "x": (lambda: call(p, x[:, :2], t), ValueError, r"x has shape \(6, 2\) .* 4 inputs"),
        "x 3-d": (lambda: call(p, x[None], t), ValueError, r"x has shape \(1, 6, 4\)"),
        "target": (lambda: call(p, x, t[:2]), ValueError, r"target has shape \(2, 3\)"),
        "no target": (lambda: call(p, x), TypeError, "mse needs a target"),
        "needless target": (
            lambda: total.value_and_grad(q, x, t), TypeError, "sum takes no target"
        ),
        "complex": (lambda: call(p, x + 0j, t), TypeError, "x has dtype complex64"),
        "out shape": (lambda: call(p, x, t, out=p[:3].copy()), ValueError, "out has shape"),
        "out dtype": (lambda: call(p, x, t, out=np.empty(p.size)), ValueError, "dtype float64"),
        "out is params": (lambda: call(p, x, t, out=p), ValueError, "shares memory with params"),
        "class": (lambda: classes.value_and_grad(q, x, [0, 1, 2, 3, 0, 1]), ValueError,
                  "classes from 0 to 3 but the network has 3 outputs"),
        "class dtype": (lambda: classes.value_and_grad(q, x, np.zeros(6)), ValueError, "dtype"),
        "layers": (lambda: net.layers([1.0]), TypeError, "params is a list"),  # type: ignore[arg-type]
        "pack": (lambda: net.pack([(x, None)]), ValueError, r"1 things: give 2 pairs \(w, b\)"),
        "optimizer": (lambda: fit(p, x, t, "adam"), TypeError, "optimizer is a str"),  # type: ignore[arg-type]
        "epochs": (lambda: fit(p, x, t, epochs=0), ValueError, "epochs is 0"),
        "batch": (lambda: fit(p, x, t, batch_size=2.5), TypeError, "batch_size is a float"),  # type: ignore[arg-type]
        "empty": (lambda: fit(p, x[:0], t[:0]), ValueError, "there are no samples"),
        "init seed": (lambda: net.init(seed=-1), ValueError, r"MLP.init: seed is -1"),
        "fit seed": (lambda: fit(p, x, t, seed="a"), TypeError, r"MLP.fit: seed is 'a'"),  # type: ignore[arg-type]
        "patience": (lambda: fg.EarlyStopping(0), ValueError, "EarlyStopping: patience is 0"),
        "min_delta": (lambda: fg.EarlyStopping(min_delta=-1), ValueError, "min_delta is -1"),
        "lr": (lambda: fg.SGD(lr=0.0), ValueError, "SGD: lr is 0.0"),
        "lr too large": (lambda: fg.SGD(lr=10**400), ValueError, "SGD: lr is too large"),
        "momentum": (lambda: fg.SGD(lr=1.0, momentum=1.0), ValueError, "below 1"),
        "nesterov": (lambda: fg.SGD(lr=1.0, nesterov=True), ValueError, "needs a momentum"),
        "betas": (lambda: fg.Adam(betas=(0.9, 1.0)), ValueError, "betas"),
        "sizes": (lambda: fg.MLP((3,), (), "mse"), ValueError, "two positive widths"),
        "activations": (lambda: fg.MLP((3, 2), (), "mse"), ValueError, "0 activations for 1"),
        "callable": (lambda: fg.MLP((3, 2), (np.sin,), "mse"), TypeError, "define_activation"),
        "loss": (lambda: fg.MLP((3, 2), (None,), "l2"), ValueError, "unknown loss 'l2'"),
        "dtype": (lambda: fg.MLP((3, 2), (None,), "mse", dtype="float16"), ValueError, "dtype"),
    }  # fmt: skip


def test_the_direct_way_refuses_the_same() -> None:
    """What the entry point must not take: it would read or write where it should not."""
    net, p, x, labels = make((3, 4, 2), ("tanh", None), "softmax_cross_entropy", n=20)
    labels = np.zeros(20, np.int64)
    memory = np.zeros(net.size + 60, net.dtype)
    inside = memory[:60].reshape(20, 3)
    for _ in range(3):
        net.value_and_grad(p, x, labels)
    for wrong in (2, -1, 2**62):
        labels[7] = wrong
        with pytest.raises(ValueError, match="the network has 2 outputs"):
            net.value_and_grad(p, x, labels)
    labels[7] = 1
    for count in (0, 1, 19, 21):
        with pytest.raises(ValueError, match=rf"target has shape \({count},\)"):
            net.value_and_grad(p, x, np.zeros(count, np.int64))
    for start in (0, 10, 59):
        with pytest.raises(ValueError, match="out shares memory with x"):
            net.value_and_grad(p, inside, labels, out=memory[start : start + net.size])
    with pytest.raises(ValueError, match="out shares memory with params"):
        net.value_and_grad(memory[: net.size], x, labels, out=memory[5 : 5 + net.size])
    frozen = np.zeros(net.size, net.dtype)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        net.value_and_grad(p, x, labels, out=frozen)
    net.value_and_grad(p, inside, labels, out=memory[60:])  # beside x: allowed


@pytest.mark.parametrize("name", list(errors()))
def test_errors(name: str) -> None:
    call, kind, text = errors()[name]
    with pytest.raises(kind, match=text):
        call()


def test_no_samples() -> None:
    net, params, x, target = make((4, 5, 3), ("tanh", None), n=0)
    value, grad = net.value_and_grad(params, x, target)
    assert np.isnan(value)
    np.testing.assert_array_equal(grad, 0)
    assert net.predict(params, x).shape == (0, 3)
