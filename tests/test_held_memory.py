"""What compiled code reads stays where and what it was when it was checked."""

from __future__ import annotations

import pickle
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES

import fastgrad as fg
from fastgrad.activations import Activation
from fastgrad.losses import Loss
from fastgrad.networks import plan as planned_network
from fastgrad.networks import training_run
from fastgrad.networks.shared.samples import checked_samples

Array = Any


# -- one plan per network ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_that_call_first_share_one_plan(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that a second thread's replaced was freed while the first thread's job read it."""
    made: list[Any] = []
    make_plan = planned_network.make_plan

    def slowly(*arguments: Any) -> Any:
        made.append(make_plan(*arguments))
        time.sleep(0.02)  # every other thread is here, or waits for this one
        return made[-1]

    monkeypatch.setattr(planned_network, "make_plan", slowly)
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((300, 5)).astype(dtype), rng.integers(0, 3, 300)

    def network() -> fg.MLP:
        return fg.MLP((5, 7, 3), ("tanh", None), "softmax_cross_entropy", dtype=dtype)

    expected = network().value_and_grad(network().init(), x, target)
    for _ in range(5):
        made.clear()
        net, results, start = network(), [], threading.Barrier(8)

        def call(net: fg.MLP, results: list[Any], start: threading.Barrier) -> None:
            params = net.init()
            start.wait()
            results.append(net.value_and_grad(params, x, target))
            results.append(net.value_and_grad(params, x, target))

        threads = [threading.Thread(target=call, args=(net, results, start)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
        assert net._network.plan() is made[0]
        assert len(results) == 16
        for value, grad in results:
            assert value == expected[0]
            np.testing.assert_array_equal(grad, expected[1])


def test_a_job_holds_what_its_words_point_to() -> None:
    from fastgrad.networks.job import Job

    net = fg.MLP((5, 3), (None,), "mse", dtype="float64")
    data = checked_samples(net._network, "test", np.ones((4, 5)), np.ones((4, 3)))
    job = Job(net._network, net.init(), np.empty(net.size), data, 4).begin()
    assert job.plan is net._network.plan()
    tasks: list[Any] = []
    run = job._take_blocks
    job._take_blocks = lambda *a: (tasks.append(a), run(*a))  # type: ignore[method-assign]
    job.run()
    ((space,),) = tasks
    assert isinstance(space, np.ndarray)  # a task holds the workspace, not its address


# -- headers are read once ---------------------------------------------------------------------


def reshape(array: Array) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, which would rather have no such setter
        array.shape = (1, array.size)


@pytest.mark.parametrize("given", ["float32", "float64", "float64 in windows"])
@pytest.mark.parametrize("labels", [False, True])
def test_a_callback_that_sets_a_shape_changes_nothing(
    given: str, labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _, windows = given.partition(" ")
    if windows:
        monkeypatch.setattr(training_run, "CONVERTED", 0)
    rng = np.random.default_rng(0)
    net = fg.MLP((6, 4, 3), ("tanh", None), "softmax_cross_entropy", dtype="float32")
    x = rng.standard_normal((500, 6)).astype(given)
    target = rng.integers(0, 3, 500) if labels else rng.random((500, 3)).astype(given)
    settings: Any = {"optimizer": fg.SGD(lr=0.1), "epochs": 4, "batch_size": 50}
    expected = net.fit(net.init(), x, target, **settings)

    def callback(state: fg.FitState) -> None:
        for array in (x, target):
            reshape(array)

    result = net.fit(net.init(), x, target, callback=callback, **settings)
    np.testing.assert_array_equal(result.params, expected.params)
    np.testing.assert_array_equal(result.losses, expected.losses)


def test_a_callback_cannot_move_the_parameters() -> None:
    """They are shown as a view: its shape is its own, and its memory can't be given back."""
    net = fg.MLP((6, 3), (None,), "mse", dtype="float64")
    x, target = np.ones((50, 6)), np.ones((50, 3))
    expected = net.fit(net.init(), x, target, epochs=3)

    def callback(state: fg.FitState) -> None:
        reshape(state.params)
        with pytest.raises(ValueError, match="own"):
            state.params.resize((1,), refcheck=False)

    result = net.fit(net.init(), x, target, epochs=3, callback=callback)
    np.testing.assert_array_equal(result.params, expected.params)


class Lying(np.ndarray):
    """Says it has a shape and a dtype that it has not."""

    said: tuple[Any, Any]

    @property
    def shape(self) -> Any:
        return self.said[0]

    @property
    def dtype(self) -> Any:
        return self.said[1]


def lying(shape: tuple[int, ...], dtype: str) -> Array:
    array = np.zeros(1, dtype).view(Lying)
    array.said = shape, np.dtype(dtype)
    return array


RECEIVERS: dict[str, Callable[[str], Any]] = {
    "dense": lambda d: fg.dense(x(d), w(d), out=lying((4, 3), d)),
    "dense_forward": lambda d: fg.dense_forward(x(d), w(d), None, "gelu", out=lying((4, 3), d)),
    "dense_backward": lambda d: fg.dense_backward(
        np.ones((4, 3), d), fg.dense_forward(x(d), w(d))[1], out={"w": lying((5, 3), d)}
    ),
    "activation": lambda d: fg.tanh(x(d), out=lying((4, 5), d)),
    "derivative": lambda d: fg.tanh.derivative(x(d), out=lying((4, 5), d)),
    "backward": lambda d: fg.gelu.backward(x(d), x(d), out=lying((4, 5), d)),
    "backward_from_output": lambda d: fg.tanh.backward_from_output(
        x(d), x(d), out=lying((4, 5), d)
    ),
    "loss": lambda d: fg.losses.mse.value_and_grad(x(d), x(d), out=lying((4, 5), d)),
    "array loss": lambda d: fg.losses.sum.value_and_grad(x(d), out=lying((4, 5), d)),
    "predict": lambda d: net(d).predict(net(d).init(), x(d), out=lying((4, 3), d)),
    "value_and_grad": lambda d: net(d).value_and_grad(
        net(d).init(), x(d), np.ones((4, 3), d), out=lying((18,), d)
    ),
}


def x(dtype: str) -> Array:
    return np.ones((4, 5), dtype)


def w(dtype: str) -> Array:
    return np.ones((5, 3), dtype)


def net(dtype: str) -> fg.MLP:
    return fg.MLP((5, 3), (None,), "mse", dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RECEIVERS)
def test_an_out_that_lies_about_its_shape_is_refused(name: str, dtype: str) -> None:
    with pytest.raises(ValueError, match=r"has shape \(1,\)"):
        RECEIVERS[name](dtype)


# -- what was made by hand -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "tanh", "mine"])
def test_activations_made_by_hand_are_refused(name: str) -> None:
    """An identity said to be rowwise was called at address 0."""
    mine = Activation(name, "z", rowwise=name == "identity")
    match = f"activation '{name}' has no kernels: make it by fg.define_activation"
    for call in (
        lambda: fg.dense(np.ones((4, 5)), np.ones((5, 3)), activation=mine),
        lambda: fg.MLP((5, 3), (mine,), "mse").predict(np.ones(18), np.ones((4, 5))),
        lambda: mine(np.ones(3)),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_losses_made_by_hand_are_refused() -> None:
    """An mse said to be rowwise read one class a sample as a row of targets."""
    mine = Loss("mse", "(pred - target)**2", rowwise=True)
    labels = np.zeros(4, np.int64)
    with pytest.raises(ValueError, match="loss 'mse' has no kernels"):
        mine(np.ones((4, 3)), labels)
    with pytest.raises(ValueError, match="loss 'mse' has no kernels"):
        fg.MLP((5, 3), (None,), mine).value_and_grad(np.ones(18), np.ones((4, 5)), labels)


def test_what_kernels_were_made_by_cannot_be_changed() -> None:
    for thing, name in ((fg.tanh, "from_output"), (fg.softmax, "rowwise"), (fg.gelu, "name")):
        with pytest.raises(AttributeError, match=f"{name} can't be changed"):
            setattr(thing, name, True)
    with pytest.raises(AttributeError, match="rowwise can't be changed"):
        fg.losses.mse.rowwise = True
    record = fg.tanh.record("float64")
    with pytest.raises(ValueError):
        record.flags.writeable = True
    with pytest.raises(ValueError):
        record[0] = 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cache_with_another_layer(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(dtype) for s in ((4, 5), (5, 3)))
    y, cache = fg.dense_forward(a, b, None, "tanh")
    expected = fg.dense_backward(y, cache)
    layer = cache.layer
    fields = ("forward", "backward", "columns", "keeps", "activation", "samples", "function")
    forged = SimpleNamespace(**{f: getattr(layer, f) for f in fields}, record=np.full(3, 123))
    for wrong in (forged, None, "layer", 7):
        with pytest.raises(TypeError, match=r"cache\.layer is a"):
            fg.dense_backward(y, cache._replace(layer=wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="record is not that of the activation"):
        replace(layer, record=np.full(3, 123))
    other = fg.dense_forward(
        *(v.astype("float64" if dtype == "float32" else "float32") for v in (a, b)), None, "tanh"
    )[1].layer
    grads = fg.dense_backward(y, cache._replace(layer=other))
    np.testing.assert_array_equal(grads.w, expected.w)


# -- what comes out of a pickle ------------------------------------------------------------------


def tampered(**changes: Any) -> Any:
    original = fg.MLP((5, 3), (None,), "softmax_cross_entropy", dtype="float64")
    state = original.__getstate__() | changes
    return pickle.loads(pickle.dumps(Restored(state)))


class Restored:
    """Pickles as an MLP of any state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return fg.MLP.__new__, (fg.MLP,), self.state


def test_an_unpickled_network_is_checked_like_a_new_one() -> None:
    assert tampered(size=10_000).size == 18  # follows from the sizes
    assert tampered(note="kept").note == "kept"
    for changes, error, match in (
        ({"sizes": (5, -3)}, ValueError, "sizes"),
        ({"sizes": "no"}, TypeError, "sizes"),
        ({"activations": (None, None)}, ValueError, "2 activations for 1 layers"),
        ({"activations": (Loss,)}, TypeError, "plain callable"),
        ({"loss": 3}, TypeError, "loss"),
        ({"dtype": "int8"}, ValueError, "dtype"),
        ({"reduction": "all"}, ValueError, "reduction"),
        ({"samples": None}, ValueError, "samples"),
    ):
        with pytest.raises(error, match=match):
            tampered(**changes)
    with pytest.raises(ValueError, match="lacks loss, dtype"):
        fg.MLP.__new__(fg.MLP).__setstate__(
            {"sizes": (5, 3), "activations": (None,), "reduction": "mean", "bias": True}
            | {"samples": "rows"}
        )
