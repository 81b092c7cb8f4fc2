"""The twins' optimizers: against `torch.optim`, each other, and a step by hand."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, Array, rng_of
from tolerances import GRADIENT_RTOL
from twins import NETWORK_RTOL, OPTIMIZERS, impls, optimizers

from fastgrad import loops, reference

dtypes = pytest.mark.parametrize("dtype", DTYPES)

STEPS = 20


def gradients(dtype: str) -> Array:
    """Return gradients of very different sizes, with zeros, one per step."""
    rng = rng_of("gradients")
    grads = rng.standard_normal((STEPS, 9)) * 10.0 ** np.arange(-5, 4)
    grads[::3, 4] = 0.0
    grads[:, 5] = 0.0
    return grads.astype(dtype)


def run(impl: ModuleType, case: str, dtype: str) -> Array:
    """Return the parameters after each step."""
    name, settings = OPTIMIZERS[case]
    params = np.linspace(-2, 2, 9).astype(dtype)
    step, path = getattr(impl, name)(**settings).start(params), []
    for grad in gradients(dtype):
        step(grad.copy())
        path.append(params.copy())
    return np.array(path)


@impls
@optimizers
def test_optimizers_by_torch(torch: Any, impl: ModuleType, case: str) -> None:
    name, settings = OPTIMIZERS[case]
    tensor = torch.tensor(np.linspace(-2, 2, 9), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, when it loads its optimizers
        peer = getattr(torch.optim, name)([tensor], **settings)
        path = []
        for grad in gradients("float64"):
            tensor.grad = torch.tensor(grad)
            peer.step()
            path.append(tensor.detach().numpy().copy())
    got = run(impl, case, "float64")
    assert np.abs(got[-1] - got[0]).max() > 1e-3  # it went somewhere
    np.testing.assert_allclose(got, path, rtol=GRADIENT_RTOL, atol=GRADIENT_RTOL)


@dtypes
@optimizers
def test_optimizers_of_loops_agree(case: str, dtype: str) -> None:
    path, other = run(reference, case, dtype), run(loops, case, dtype)
    assert path.dtype == other.dtype == dtype
    size = np.maximum(1, np.abs(other).max())  # what the steps' roundings are relative to
    np.testing.assert_allclose(
        path, other, rtol=NETWORK_RTOL[dtype], atol=NETWORK_RTOL[dtype] * size
    )


@impls
def test_one_step_by_hand(impl: ModuleType) -> None:
    p = np.array([1.0, -2.0])
    impl.SGD(0.5, 0.5, True, 1.0).start(p)(np.array([1.0, 4.0]))  # g = [2, 2], v = g
    assert p.tolist() == [1 - 0.5 * 3, -2 - 0.5 * 3]
    p = np.array([1.0, -2.0])
    impl.AdamW(0.25, weight_decay=2.0).start(p)(np.array([1e3, -1e-3]))  # lr times the sign
    np.testing.assert_allclose(p, [0.5 - 0.25, -1 + 0.25], rtol=1e-5)


@impls
def test_optimizers_are_settings(impl: ModuleType) -> None:
    assert repr(impl.SGD(0.1, momentum=0.9)) == (
        "SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)"
    )
    assert impl.Adam() == impl.Adam(1e-3, [0.9, 0.999], 1e-8, 0.0)
    assert impl.AdamW().weight_decay == 1e-2
    assert impl.Adam() != impl.AdamW(weight_decay=0.0)
    with pytest.raises(AttributeError):
        impl.Adam().lr = 1.0
