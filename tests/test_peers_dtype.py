"""Peers of float32 compute in float32, on the way back, too: else we time something else.

What is recorded is every intermediate result that the peer's own machinery shows: the nodes of
autograd's tape and what flows back between them, the equations of a jaxpr, the operators that
PyTorch dispatches, the arrays that NumPy makes.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
# One of each activation and loss, as small as there is.
CELLS = ("32x16x16 float32 both", "notebook B 32/32", "classifier 784-100-10/64")
Seen = Counter[str]


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # the package sets them for good; undo that afterwards
    monkeypatch.syspath_prepend(ROOT)
    implementations = importlib.import_module("benchmarks.peers.implementations")

    def load(name: str) -> Any:
        pytest.importorskip(implementations.PEERS[name].module)
        return implementations.load(name, 1)

    return load


def cells() -> Iterator[Any]:
    workloads = importlib.import_module("benchmarks.peers.workloads")
    found = [c for match in CELLS for c in workloads.cells(match=match)]
    assert len(found) == 6 + 2
    yield from found


def calls(implementation: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield each cell with its call, whose results have been found right."""
    worker = importlib.import_module("benchmarks.peers.worker")
    for cell in cells():
        yield cell, worker.call_of(cell, implementation)


def note(seen: Seen, value: Any) -> None:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f":
        seen[str(value.dtype)] += 1


def test_autograd_works_in_float32(
    peer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    implementation, seen = peer("autograd"), Seen()
    core: Any = importlib.import_module("autograd.core")
    make_node, add = core.VJPNode.__init__, core.add_outgrads

    def node(self: Any, value: Any, *rest: Any) -> None:
        note(seen, value)
        make_node(self, value, *rest)

    def added(before: Any, gradient: Any) -> Any:
        note(seen, gradient)
        return add(before, gradient)

    monkeypatch.setattr(core.VJPNode, "__init__", node)
    monkeypatch.setattr(core, "add_outgrads", added)
    for cell, call in calls(implementation):
        seen.clear()
        call()
        assert seen.keys() == {"float32"}, f"{cell.label}: {dict(seen)}"
    maximum = importlib.import_module("autograd.numpy").maximum
    seen.clear()
    core.make_vjp(lambda z: maximum(2 * z, 0), np.ones(3, np.float32))[0](np.ones(3, np.float32))
    assert "float64" in seen, "autograd's maximum keeps float32 now: the peer may use it"


def test_jax_works_in_float32(peer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    implementation = peer("jax")
    workloads = importlib.import_module("benchmarks.peers.workloads")
    monkeypatch.setattr(implementation, "compiled", lambda function: function)
    for cell in cells():
        if cell.workload == "layers":
            data: Any = workloads.layer_data(cell)
            function = implementation.both(cell.name)
        else:
            network = workloads.NETWORKS[cell.name, cell.shape]
            data = workloads.network_data(network)
            function = implementation.value_and_grad(network)
        traced = implementation.jax.make_jaxpr(function)(*data)
        seen = Seen(map(str, dtypes_of(traced.jaxpr)))
        assert seen["float32"] > 5
        assert "float64" not in seen, f"{cell.label}: {traced}"


def dtypes_of(jaxpr: Any) -> Iterator[Any]:
    """Yield the dtype of every result in a jaxpr and those within it."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.dtype for variable in equation.outvars)
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", None)
            if inner is not None:
                yield from dtypes_of(getattr(inner, "jaxpr", inner))


def test_pytorch_works_in_float32(peer: Callable[[str], Any]) -> None:
    implementation, seen = peer("torch"), Seen()
    mode: Any = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode

    class Recorder(mode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            result = function(*args, **(kwargs or {}))
            for one in result if isinstance(result, (tuple, list)) else (result,):
                if getattr(one, "is_floating_point", lambda: False)():
                    seen[str(one.dtype)] += 1
            return result

    for cell, call in calls(implementation):
        seen.clear()
        with Recorder():
            call()
        assert seen.keys() == {"torch.float32"}, f"{cell.label}: {dict(seen)}"


def test_networks_in_numpy_work_in_float32(peer: Callable[[str], Any]) -> None:
    implementation, seen = peer("numpy"), Seen()
    workloads = importlib.import_module("benchmarks.peers.workloads")

    class Recorded(np.ndarray[Any, Any]):
        def __array_finalize__(self, _: Any) -> None:
            if self.ndim:  # not the mean's one number, which NumPy divides in float64
                note(seen, self)

    for cell in cells():
        if cell.workload == "networks":
            network = workloads.NETWORKS[cell.name, cell.shape]
            params, x, target = workloads.network_data(network)
            function = implementation.value_and_grad(network)
            seen.clear()
            function([p.view(Recorded) for p in params], x.view(Recorded), target)
            assert seen.keys() == {"float32"}, f"{cell.label}: {dict(seen)}"
