"""`fastgrad.dask`: the same bits from every scheduler, also while workers die."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rng_of
from tolerances import U, gamma

import fastgrad as fg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own, at import
    dask: Any = pytest.importorskip("dask", exc_type=ImportError)
    array: Any = pytest.importorskip("dask.array", exc_type=ImportError)
    distributed: Any = pytest.importorskip("distributed", exc_type=ImportError)

    from fastgrad.dask import fit, predict, serial, value_and_grad
    from fastgrad.dask.sums import FAN, Draw, Sums, add, total

# Clusters close sockets and event loops when Python collects them.
pytestmark = pytest.mark.filterwarnings("ignore")

N = 500
LOCAL = ("synchronous", "threads")


def data(outputs: int = 3) -> tuple[Any, Any]:
    rng = rng_of("dask", outputs)
    return rng.standard_normal((N, 6)), rng.integers(0, outputs, N)


def network(reduction: str = "mean", loss: str = "softmax_cross_entropy", **more: Any) -> fg.MLP:
    return fg.MLP((6, 8, 3), ("tanh", None), loss, reduction, **{"dtype": "float64"} | more)


def close(got: tuple[float, Any], expected: tuple[float, Any]) -> bool:
    """Return whether two sums of N terms agree but for the order of additions."""
    size = max(1.0, float(np.abs(expected[1]).max()), abs(expected[0]))
    bound = 2 * gamma(2 * N, U[got[1].dtype.name]) * size
    return abs(got[0] - expected[0]) <= bound and np.abs(got[1] - expected[1]).max() <= bound


def same(a: tuple[float, Any], b: tuple[float, Any]) -> bool:
    return a[0] == b[0] and np.array_equal(a[1], b[1])


@pytest.fixture
def cluster(same_environment: None) -> Iterator[Any]:
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made,
        distributed.Client(made) as client,
    ):
        yield client


# -- value_and_grad ------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mse"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_the_whole_call(reduction: str, loss: str, dtype: str) -> None:
    x, classes = data()
    target = classes if loss == "softmax_cross_entropy" else np.eye(3)[classes]
    net = network(reduction, loss, dtype=dtype, l2=0.1, l1=0.01)
    params = net.init(seed=1)
    # Uneven blocks, two of them empty, features cut too.
    blocks = array.from_array(x, chunks=((137, 0, 200, 1, 162, 0), (4, 2)))
    whole = net.value_and_grad(params, x, target)
    with dask.config.set(scheduler="synchronous"):
        got = value_and_grad(net, params, blocks, target)
    assert got[1].dtype == dtype
    assert close(got, whole)
    assert same(got, serial(net, params, blocks, target))


@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
@pytest.mark.parametrize("each", [False, True])
def test_weights(reduction: str, each: bool) -> None:
    x, classes = data()
    rng = rng_of("weights", each)
    weights = rng.random((N, 3) if each else N) * (rng.random((N, 3) if each else N) < 0.7)
    net, target = network(reduction, "mse"), np.eye(3)[classes]
    params, blocks = net.init(), array.from_array(x, chunks=(90, 6))
    got = value_and_grad(net, params, blocks, target, weights)
    assert close(got, net.value_and_grad(params, x, target, weights))
    lazy = array.from_array(weights, chunks=(70, 1) if each else 70)
    assert same(got, value_and_grad(net, params, blocks, array.from_array(target), lazy))


def test_columns_and_delayed_blocks() -> None:
    x, classes = data()
    net = network("samples", "mse", samples="columns")
    params, target = net.init(), np.eye(3)[classes].T
    whole = net.value_and_grad(params, x.T, target)
    blocks = array.from_array(x.T, chunks=(2, 130))
    got = value_and_grad(net, params, blocks, target)
    assert close(got, whole)
    cuts = [130, 260, 390]
    xs, targets = np.split(x.T, cuts, 1), np.split(target, cuts, 1)
    tasks = [dask.delayed(part) for part in xs], [dask.delayed(part) for part in targets]
    assert same(got, value_and_grad(net, params, *tasks))
    assert same(got, value_and_grad(net, params, xs, targets))
    assert same(got, serial(net, params, *tasks))


def test_no_target_and_unknown_sizes() -> None:
    x, _ = data()
    net = network("sum", "squared_l2")
    params, blocks = net.init(), array.from_array(x, chunks=(100, 6))
    assert close(value_and_grad(net, params, blocks), net.value_and_grad(params, x, None))
    some = blocks[blocks[:, 0] > 0]  # sizes are known when it is computed
    kept = x[x[:, 0] > 0]
    assert close(value_and_grad(net, params, some), net.value_and_grad(params, kept, None))


def test_the_same_bits_everywhere(cluster: Any) -> None:
    x, classes = data()
    net = network(dtype="float32")
    params, blocks = net.init(), array.from_array(x, chunks=(23, 6))  # 22 blocks: a tree of 2
    expected = serial(net, params, blocks, classes)
    assert same(value_and_grad(net, params, blocks, classes), expected)  # on the cluster
    for scheduler in LOCAL:
        with dask.config.set(scheduler=scheduler):
            assert same(value_and_grad(net, params, blocks, classes), expected)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert same(value_and_grad(net, params, blocks, classes), expected)


def test_scipy_minimizes_over_blocks() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, classes = data()
    net = network(l2=0.01)
    blocks = array.from_array(x, chunks=(200, 6))
    start = net.init().astype(float)
    over_blocks, whole = (
        optimize.minimize(f, start, jac=True, method="L-BFGS-B", options={"maxiter": 20})
        for f in (
            lambda p: serial(net, p, blocks, classes),
            lambda p: net.value_and_grad(p, x, classes),
        )
    )
    assert over_blocks.fun == pytest.approx(whole.fun, rel=1e-6, abs=0)


def test_the_tree_has_a_fixed_shape() -> None:
    asked: list[int] = []

    def count(*parts: Any) -> Any:
        asked.append(len(parts))
        return add(*parts)

    parts = [Sums(float(i), np.array([float(i)]), 1.0) for i in range(20)]
    whole = total(parts, count)
    assert asked == [FAN, FAN, 4, 3]
    assert whole.value == 190.0 and whole.grad[0] == 190.0 and whole.divisor == 20.0
    assert parts[0].grad is not None and parts[0].grad[0] == 0.0  # nothing was overwritten


# -- predict -------------------------------------------------------------------------------------


def test_predict_is_lazy_and_exact() -> None:
    x, _ = data()
    for net, given in ((network(), x), (network(samples="columns"), x.T)):
        params = net.init()
        blocks = array.from_array(given, chunks=(4, 4))
        lazy = predict(net, params, blocks)
        expected = net.predict(params, given)
        assert lazy.shape == expected.shape and lazy.dtype == expected.dtype
        assert np.array_equal(lazy.compute(scheduler="synchronous"), expected)


# -- fit -----------------------------------------------------------------------------------------


def test_every_sample_is_drawn_once_an_epoch() -> None:
    for count, parts, shuffle in itertools.product((0, 1, 7, 30), (1, 4, 9), (False, True)):
        drawn = [Draw(3, 1, 2, part, parts, shuffle).of(count) for part in range(parts)]
        assert sorted(np.concatenate(drawn).tolist()) == list(range(count))
        if not shuffle and parts == 1:
            assert drawn[0].tolist() == list(range(count))


def test_fit_of_one_batch_is_gradient_descent() -> None:
    x, classes = data()
    net = network(l2=0.1)
    blocks = array.from_array(x, chunks=(200, 6))
    result = fit(net, net.init(), blocks, classes, fg.SGD(lr=0.5), epochs=3, batch_size=N)
    params = net.init()
    for loss in result.losses:
        _value, grad = net.value_and_grad(params, x, classes)
        plain = network().value_and_grad(params, x, classes)[0]
        assert loss == pytest.approx(plain, rel=1e-12, abs=0)  # penalties are not counted
        params -= 0.5 * grad
    assert np.allclose(result.params, params, rtol=0, atol=1e-13)


@pytest.mark.parametrize("optimizer", [fg.SGD(lr=0.1, momentum=0.9), fg.AdamW(lr=0.01)])
def test_resume_to_the_bit(optimizer: Any) -> None:
    x, classes = data()
    net, args = network(), {"batch_size": 60, "seed": 5}
    blocks = array.from_array(x, chunks=(130, 6))
    with dask.config.set(scheduler="synchronous"):
        whole = fit(net, net.init(), blocks, classes, optimizer, epochs=5, **args)
        first = fit(net, net.init(), blocks, classes, optimizer, epochs=2, **args)
        last = fit(net, None, blocks, classes, epochs=3, resume=first, **args)
    assert np.array_equal(whole.params, last.params)
    assert np.array_equal(whole.losses, last.losses)
    assert whole.losses[-1] < whole.losses[0]


def test_weight_decay_is_for_weights() -> None:
    x, classes = data()
    for samples in ("rows", "columns"):
        net = network("mean", "mse", samples=samples)
        given, target = x * 0, np.eye(3)[classes] * 0
        if samples == "columns":
            given, target = given.T, target.T
        params = np.ones(net.size)
        rate = fg.SGD(lr=0.1, weight_decay=0.5)
        both = [
            fit(net, params, [given], [target], rate, epochs=1, batch_size=N).params,
            net.fit(params, given, target, rate, epochs=1, batch_size=N).params,
        ]
        assert np.allclose(*both, rtol=1e-13, atol=0)


def test_fit_on_a_cluster_whose_worker_dies(cluster: Any) -> None:
    x, classes = data()
    net = network(dtype="float32")
    blocks, args = array.from_array(x, chunks=(61, 6)), {"epochs": 4, "batch_size": 100}
    with dask.config.set(scheduler="synchronous"):
        expected = fit(net, net.init(), blocks, classes, **args)
    pids = cluster.run(os.getpid)

    def kill(state: Any) -> None:
        if state.epoch == 1:
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    result = fit(net, net.init(), blocks, classes, callback=kill, **args)
    assert set(cluster.run(os.getpid).values()) != set(pids.values())
    assert np.array_equal(result.params, expected.params)
    assert np.array_equal(result.losses, expected.losses)


def test_a_scheduler_and_workers_of_their_own(tmp_path: Path) -> None:
    """As on several machines: processes that were started by hand."""
    file = tmp_path / "scheduler.json"
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--scheduler-file",
        str(file),
    ]
    started = [subprocess.Popen([*command, "--port", "0", "--no-dashboard"], **options)]
    try:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1"]
        worker += ["--scheduler-file", str(file), "--no-dashboard", "--no-nanny"]
        started += [subprocess.Popen(worker, cwd=tmp_path, **options) for _ in range(2)]
        for _ in range(600):
            if file.exists() and file.stat().st_size:
                break
            time.sleep(0.05)
        x, classes = data()
        net = network()
        params, blocks = net.init(), array.from_array(x, chunks=(50, 6))
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            got = value_and_grad(net, params, blocks, classes)
        assert same(got, serial(net, params, blocks, classes))
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_callback_stops_and_divergence_returns_to_the_epoch_before() -> None:
    x, classes = data()
    net = network()
    blocks = [x]
    result = fit(
        net, net.init(), blocks, [classes], epochs=9, batch_size=N, callback=lambda s: s.epoch == 2
    )
    assert len(result.losses) == 3 and result.stopped == "callback"
    net = network("sum", "mse")
    with pytest.warns(fg.TrainingWarning, match="epoch"):
        result = fit(net, net.init(), [x * 1e150], [np.eye(3)[classes]], fg.SGD(lr=1e200), epochs=5)
    assert result.stopped == "diverged" and np.isfinite(result.params).all()


# -- what is refused -----------------------------------------------------------------------------


def test_errors() -> None:
    x, classes = data()
    net = network()
    p, blocks = net.init(), array.from_array(x, chunks=(200, 6))
    for call, error, text in [
        (lambda: value_and_grad(None, p, blocks, classes), TypeError, "net is a NoneType"),
        (lambda: value_and_grad(net, p[1:], blocks, classes), ValueError, "it needs shape"),
        (lambda: value_and_grad(net, p, x, classes), TypeError, "give a Dask array"),
        (lambda: value_and_grad(net, p, blocks[:, :5], classes), ValueError, "network needs"),
        (lambda: value_and_grad(net, p, blocks, classes[1:]), ValueError, "499 samples but x"),
        (lambda: value_and_grad(net, p, blocks, 3), TypeError, "target is a int"),
        (lambda: value_and_grad(net, p, [x], [classes] * 2), ValueError, "2 blocks but x has 1"),
        (lambda: value_and_grad(net, p, [], []), ValueError, "no blocks"),
        (lambda: value_and_grad(net, p, [x[:0]], [classes[:0]]), ValueError, "no samples"),
        (
            lambda: value_and_grad(net, p, [x], [classes], [np.zeros(N)]),
            ValueError,
            "weights are all 0",
        ),
        (lambda: value_and_grad(net, p, [x], [classes[1:]]), ValueError, "target has shape"),
        (lambda: predict(net, p, x), TypeError, "give a Dask array"),
        (lambda: fit(net, None, blocks, classes), TypeError, "params is None"),
        (lambda: fit(net, p, blocks, classes, "adam"), TypeError, "optimizer is a str"),
        (lambda: fit(net, p, blocks, classes, resume=3), TypeError, "resume is not"),
        (lambda: fit(net, p, blocks, classes, epochs=0), ValueError, "epochs"),
        (lambda: fit(network(dropout=0.5), p, blocks, classes), ValueError, "net has dropout=0.5"),
    ]:
        with dask.config.set(scheduler="synchronous"), pytest.raises(error, match=text):
            call()
