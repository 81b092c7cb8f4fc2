"""The process of one peer: verifies and times it beside fastgrad, cell by cell.

It reads its task, a JSON object, from standard input, and writes a JSON object per cell, on a line
of its own, to standard output.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..timing import Pair, compare
from . import verify, workloads
from .implementations import Implementation, Unsupported, load
from .workloads import Array, Cell

__all__ = ["call_of", "measure", "run"]

Call = Callable[[], Any]
GRADS = ("grad_x", "grad_w", "grad_b")
NAMES = {"forward": ("y",), "backward": GRADS, "both": ("y", *GRADS)}


def run(
    peer: Implementation,
    cells: Iterable[Cell],
    seconds: float,
    threads: int = 1,
    from_numpy: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield a record per cell: what was measured, or why nothing was."""
    ours = load("fastgrad", threads)
    for cell in cells:
        record: dict[str, Any] = {"cell": asdict(cell)}
        try:
            pair = measure(cell, ours, peer, seconds, from_numpy)
        except Unsupported:
            record["status"] = "unsupported"
        except Disagreement as wrong:
            record |= {"status": "wrong", "reason": str(wrong)}
        except PeerFailed as failure:
            record |= {"status": "failed", "reason": str(failure)}
        else:
            record |= {"status": "timed", **pair._asdict()}
        yield record


class Disagreement(Exception):
    """Results that are not those of the reference: there is nothing to time."""


class PeerFailed(Exception):
    """The peer raised an error, as torch.compile does where there is no C++ compiler."""


def measure(
    cell: Cell, ours: Implementation, peer: Implementation, seconds: float, from_numpy: bool
) -> Pair:
    """Verify both implementations, then time them."""
    make = _MAKERS[cell.workload]
    our_call, wrong = make(cell, ours, False)  # its arrays are NumPy's: nothing to convert
    if wrong:
        raise Disagreement(f"fastgrad: {wrong}")
    try:
        their_call, wrong = make(cell, peer, from_numpy)
    except Unsupported:
        raise
    except Exception as error:
        raise PeerFailed(
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    if wrong:
        raise Disagreement(f"the peer: {wrong}")
    return compare(our_call, their_call, seconds)


def call_of(cell: Cell, implementation: Implementation) -> Call:
    """Return the call that is timed, of the implementation's own arrays; its results are right."""
    call, wrong = _MAKERS[cell.workload](cell, implementation, False)
    if wrong:
        raise Disagreement(wrong)
    return call


def bound(
    implementation: Implementation, function: Call, arrays: Sequence[Array], differentiable: int,
    convert: bool,
) -> Call:  # fmt: skip
    """Return the call to time: of the implementation's own arrays, or from NumPy to NumPy."""
    array, numpy = implementation.array, implementation.numpy
    if convert:

        def call() -> list[Array]:
            native = [array(a, i < differentiable) for i, a in enumerate(arrays)]
            return [numpy(a) for a in _sequence(function(*native))]

        return call  # fmt: skip
    native = [array(a, i < differentiable) for i, a in enumerate(arrays)]
    return functools.partial(function, *native)


def _sequence(result: Any) -> Sequence[Any]:
    return result if isinstance(result, (tuple, list)) else (result,)


def _checked(
    call: Call, implementation: Implementation, names: Sequence[str], dtype: str,
    expected: verify.Expected,
) -> tuple[Call, str]:  # fmt: skip
    results = [implementation.numpy(a) for a in _sequence(call())]
    got = dict(zip(names, results, strict=True))
    for name, result in got.items():
        if result.dtype != dtype:
            return call, f"{name} is {result.dtype} instead of {dtype}"
    return call, verify.disagreement(got, expected)


# -- one maker per workload: the call, and what is wrong with its result ---------------------------


@functools.lru_cache(maxsize=1)
def _layer(name: str, shape: str, dtype: str) -> tuple[tuple[Array, ...], verify.Expected]:
    data = workloads.layer_data(Cell("layers", name, shape, dtype, ""))
    return data, verify.expected_layer(name, *data)


def _layer_call(cell: Cell, implementation: Implementation, convert: bool) -> tuple[Call, str]:
    (x, w, b, grad_y), expected = _layer(cell.name, cell.shape, cell.dtype)
    make = functools.partial(bound, implementation, convert=convert)
    if cell.mode == "forward":
        call = make(implementation.forward(cell.name), [x, w, b], 0)
    elif cell.mode == "backward":
        kept = [implementation.array(a, differentiable=True) for a in (x, w, b)]
        call = make(implementation.backward(cell.name, *kept), [grad_y], 0)
    else:
        call = make(implementation.both(cell.name), [x, w, b, grad_y], 3)
    return _checked(call, implementation, NAMES[cell.mode], cell.dtype, expected)


def _activation_call(cell: Cell, implementation: Implementation, convert: bool) -> tuple[Call, str]:
    z = workloads.activation_data(cell)
    call = bound(implementation, implementation.activation(cell.name), [z], 0, convert)
    return _checked(
        call, implementation, ("y",), cell.dtype, verify.expected_activation(cell.name, z)
    )


@functools.lru_cache(maxsize=1)
def _network(key: tuple[str, str]) -> tuple[Any, verify.Expected]:
    data = workloads.network_data(workloads.NETWORKS[key])
    return data, verify.expected_network(workloads.NETWORKS[key], *data)


def _network_call(cell: Cell, implementation: Implementation, convert: bool) -> tuple[Call, str]:
    network = workloads.NETWORKS[cell.name, cell.shape]
    (params, x, target), expected = _network((cell.name, cell.shape))
    function = implementation.value_and_grad(network)
    array, parameters = implementation.array, implementation.parameters
    if convert:

        def call() -> tuple[float, Array]:
            loss, grads = function(parameters(params), array(x), array(target))
            return float(implementation.numpy(loss)), implementation.flat(grads)
    else:
        call = functools.partial(function, parameters(params), array(x), array(target))  # fmt: skip
    return call, _compared(call(), implementation, network.dtype, "gradient", expected)


@functools.lru_cache(maxsize=1)
def _epoch(key: tuple[str, str]) -> verify.Expected:
    return verify.expected_epoch(workloads.TRAININGS[key])


def _epoch_call(cell: Cell, implementation: Implementation, convert: bool) -> tuple[Call, str]:
    training = workloads.TRAININGS[cell.name, cell.shape]
    exact = implementation.epoch(*verify.in_float64(training), verify.TINY_EPS)()
    expected = _epoch((cell.name, cell.shape))
    wrong = _compared(exact, implementation, "float64", "parameters", expected)
    call = implementation.epoch(training, *workloads.network_data(training.network), 1e-8)
    _, after = call()
    after = implementation.flat(after)
    if after.dtype != cell.dtype or not np.isfinite(after).all():
        wrong = wrong or f"parameters are not finite numbers of dtype {cell.dtype}"
    return call, wrong


def _compared(
    result: Any, implementation: Implementation, dtype: str, name: str, expected: verify.Expected
) -> str:
    """Return what is wrong with a loss and a vector."""
    loss, arrays = result
    vector = implementation.flat(arrays)
    if vector.dtype != dtype:
        return f"{name} is {vector.dtype} instead of {dtype}"
    return verify.disagreement({"loss": implementation.numpy(loss), name: vector}, expected)


_MAKERS = {
    "layers": _layer_call,
    "activations": _activation_call,
    "networks": _network_call,
    "training": _epoch_call,
}


def main() -> None:
    task = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is not a record
    peer = load(task["peer"], task["threads"])
    cells = [Cell(**cell) for cell in task["cells"]]
    for record in run(peer, cells, task["seconds"], task["threads"], task["from_numpy"]):
        print(json.dumps(record), file=out, flush=True)


if __name__ == "__main__":
    main()
