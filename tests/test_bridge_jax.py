"""`fastgrad.jax`: JAX's own gradient checker, under `jit`, `vmap` and both."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import rng_of

import fastgrad as fg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # JAX's own, at import
    jax: Any = pytest.importorskip("jax", exc_type=ImportError)
    from jax import numpy as jnp
    from jax.test_util import check_grads

    from fastgrad.jax import dense

NATIVE = {
    "tanh": jnp.tanh,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "softmax": jax.nn.softmax,
}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def arrays(*shapes: tuple[int, ...], dtype: str = "float64") -> list[Any]:
    rng = rng_of("bridge", *shapes)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def native(x: Any, w: Any, b: Any, name: str) -> Any:
    return NATIVE[name](x @ w + b)


@pytest.mark.parametrize("name", [None, "tanh", "gelu", "softmax"])
def test_jaxs_gradient_checker(name: str | None) -> None:
    for shape in [(3,), (5, 3), (2, 4, 3)]:
        x, w, b = arrays(shape, (3, 4), (4,))
        check_grads(lambda *args: dense(*args, name), (x, w, b), 1, modes=["rev"])
        check_grads(jax.jit(lambda x, w: dense(x, w, None, name)), (x, w), 1, modes=["rev"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [None, *fg.activations.BUILT_IN])
def test_the_bits_of_fastgrad(dtype: str, name: str | None) -> None:
    x, w, b, grad_y = arrays((9, 5), (5, 4), (4,), (9, 4), dtype=dtype)
    y, vjp = jax.vjp(lambda *args: dense(*args, name), x, w, b)
    expected, cache = fg.dense_forward(*map(np.asarray, (x, w, b)), name)
    grads = fg.dense_backward(np.asarray(grad_y), cache)
    assert y.dtype == dtype and np.array_equal(y, expected)
    for mine, theirs in zip(vjp(grad_y), (grads.x, grads.w, grads.b), strict=True):
        assert mine.dtype == dtype and np.array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softmax"])
def test_vmap(name: str) -> None:
    x, w, b = arrays((6, 5, 3), (6, 3, 4), (6, 4))
    for axes in itertools.product((0, None), repeat=3):
        if axes == (None, None, None):
            continue
        args = [a if axis == 0 else a[0] for a, axis in zip((x, w, b), axes, strict=True)]
        for transform in (lambda f: f, jax.jit):
            got = transform(jax.vmap(lambda *args: dense(*args, name), axes))(*args)
            expected = jax.vmap(lambda *args: native(*args, name), axes)(*args)
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)
        both = [
            jax.vmap(jax.grad(lambda *a, f=f: (f(*a, name) ** 2).sum(), (0, 1, 2)), axes)(*args)
            for f in (dense, native)
        ]
        for mine, theirs in zip(*both, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_vmap_of_vmap() -> None:
    x, w = arrays((2, 3, 7, 5), (3, 5, 4))
    f = jax.vmap(jax.vmap(lambda x, w: dense(x, w, None, "tanh")), (0, None))
    np.testing.assert_allclose(jax.jit(f)(x, w), jnp.tanh(x @ w), rtol=0, atol=1e-14)


def test_subnormals_are_flushed_as_documented() -> None:
    """If this changes, the docstring of `fastgrad.jax.dense` and docs/bridges.md change with it."""
    x, w = arrays((1, 1), (1, 1), dtype="float32")
    x, w = x * 0 + 1e-20, w * 0 + 1e-20
    assert fg.dense(np.asarray(x), np.asarray(w)) != 0
    assert dense(x, w) == 0


def test_errors() -> None:
    x, w = arrays((4, 3), (3, 2))
    for args, error, text in [
        ((x, w.astype("float32")), TypeError, "w has dtype float32 but x has float64"),
        ((jnp.arange(3), jnp.ones((3, 2), int)), TypeError, "float32 or float64 needed"),
        ((x, w.T), ValueError, "w has shape"),
        ((x, w, jnp.ones(3)), ValueError, "b has shape"),
        ((x, w, None, "swish"), ValueError, "unknown activation 'swish'"),
    ]:
        with pytest.raises(error, match=text):
            dense(*args)
        with pytest.raises(error, match=text):
            jax.jit(lambda args=args: dense(*args))()
