"""`fastgrad.autograd`: autograd's own gradient checker, float32 kept."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, rng_of

import fastgrad as fg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own, at import
    autograd: Any = pytest.importorskip("autograd", exc_type=ImportError)
    from autograd import numpy as anp
    from autograd.test_util import check_grads

    from fastgrad.autograd import dense


def arrays(*shapes: tuple[int, ...], dtype: str = "float64") -> list[Any]:
    rng = rng_of("bridge", *shapes)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("name", [None, "tanh", "gelu", "softmax"])
def test_autograds_gradient_checker(name: str | None) -> None:
    for shape in [(3,), (5, 3), (2, 4, 3)]:
        x, w, b = arrays(shape, (3, 4), (4,))
        check_grads(lambda x, w, b: dense(x, w, b, name), modes=["rev"], order=1)(x, w, b)
        check_grads(lambda x, w: dense(x, w, None, name), modes=["rev"], order=1)(x, w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [None, *fg.activations.BUILT_IN])
def test_the_bits_of_fastgrad(dtype: str, name: str | None) -> None:
    x, w, b, grad_y = arrays((9, 5), (5, 4), (4,), (9, 4), dtype=dtype)
    expected, cache = fg.dense_forward(x, w, b, name)
    grads = fg.dense_backward(grad_y, cache)
    for argnum, wanted in enumerate((grads.x, grads.w, grads.b)):
        vjp, y = autograd.make_vjp(lambda x, w, b: dense(x, w, b, name), argnum)(x, w, b)
        made = vjp(grad_y)
        assert np.array_equal(y, expected) and y.dtype == dtype
        assert np.array_equal(made, wanted) and made.dtype == dtype


def test_a_network_beside_autograds_own_functions() -> None:
    x, w1, w2 = arrays((6, 3), (3, 5), (5, 2))

    def loss(layer: Any) -> Any:
        return lambda p: anp.mean((layer(anp.sin(layer(x, p[0])), p[1])) ** 2)

    mine = autograd.grad(loss(lambda x, w: dense(x, w, None, "tanh")))([w1, w2])
    theirs = autograd.grad(loss(lambda x, w: anp.tanh(anp.dot(x, w))))([w1, w2])
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_errors() -> None:
    x, w = arrays((4, 3), (3, 2))
    with pytest.raises(ValueError, match="w has shape"):
        autograd.grad(lambda w: anp.sum(dense(x, w)))(w.T)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        autograd.hessian(lambda w: anp.sum(dense(x, w, None, "tanh")))(w)
