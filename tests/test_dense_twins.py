"""The twins' dense layers agree, and their gradients with central differences and complex steps."""

import itertools

import numpy as np
import pytest
from twins import ATOL, IMPLS, NAMES, RTOL, assert_close, dtypes, impls, layouts, random

import fastgrad.reference

pytestmark = pytest.mark.filterwarnings("error")


def make_layer(samples, dtype, bias, n=3, d=4, k=5, seed=0):
    """Return x, w, b, grad_y; n = None is one sample as a vector."""
    x = random((d,) if n is None else (n, d), dtype, seed)
    w = random((d, k), dtype, seed + 1)
    b = random((k,), dtype, seed + 2)
    grad_y = random((k,) if n is None else (n, k), dtype, seed + 3)
    if samples == "columns":
        x, w, grad_y = x.T.copy(), w.T.copy(), grad_y.T.copy()
    if bias == "matrix":
        b = b.reshape(1, -1) if samples == "rows" else b.reshape(-1, 1)
    return x, w, None if bias is None else b, grad_y


@layouts
@dtypes
@pytest.mark.parametrize("bias", [None, "vector", "matrix"])
@pytest.mark.parametrize("n", [None, 1, 3])
@pytest.mark.parametrize("name", [None, *NAMES])
def test_dense_agrees_with_loops(samples, dtype, bias, n, name):
    x, w, b, grad_y = make_layer(samples, dtype, bias, n)
    results = []
    for impl in IMPLS:
        y, cache = impl.dense_forward(x, w, b, name, samples=samples)
        np.testing.assert_array_equal(y, impl.dense(x, w, b, name, samples=samples))
        grads = impl.dense_backward(grad_y, cache, need=("x", "w", "b", "z"))
        assert grads.x.shape == x.shape
        assert grads.w.shape == w.shape
        assert grads.z.shape == y.shape
        if b is None:
            assert grads.b is None
            grads = grads._replace(b=np.zeros(0, dtype))
        else:
            assert grads.b.shape == b.shape
        results.append((y, *grads))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(
            got, expected, rtol=RTOL[dtype], atol=20 * ATOL[dtype], strict=True
        )


@impls
@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_and_columns_are_only_another_layout(impl, name):
    x, w, b, grad_y = make_layer("rows", "float64", "vector", n=6)
    y, cache = impl.dense_forward(x, w, b, name)
    grads = impl.dense_backward(grad_y, cache, need="xwbz")

    y3, cache = impl.dense_forward(x.reshape(2, 3, 4), w, b, name)
    grads3 = impl.dense_backward(grad_y.reshape(2, 3, 5), cache, need="xwbz")
    np.testing.assert_allclose(y3.reshape(6, 5), y, rtol=1e-14)
    for got, expected in zip(grads3, grads, strict=True):
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-13)

    yc, cache = impl.dense_forward(x.T, w.T, b, name, samples="columns")
    gradsc = impl.dense_backward(grad_y.T, cache, need="xwbz")
    np.testing.assert_allclose(yc, y.T, rtol=1e-13, atol=1e-15)
    for got, expected in zip(gradsc, grads, strict=True):
        np.testing.assert_allclose(got, expected.T, rtol=1e-12, atol=1e-14)


@layouts
@pytest.mark.parametrize("name", NAMES)
def test_dense_gradients_by_central_differences(samples, name):
    x, w, b, grad_y = make_layer(samples, "float64", "matrix", n=2, d=3, k=3)
    impl = fastgrad.reference
    _, cache = impl.dense_forward(x, w, b, name, samples=samples)
    grads = impl.dense_backward(grad_y, cache)
    delta = 1e-5
    for array, grad in ((x, grads.x), (w, grads.w), (b, grads.b)):
        for index in np.ndindex(array.shape):
            keep = array[index]
            value = []
            for step in (delta, -delta):
                array[index] = keep + step
                value.append(np.sum(grad_y * impl.dense(x, w, b, name, samples=samples)))
            array[index] = keep
            slope = (value[0] - value[1]) / (2 * delta)
            assert grad[index] == pytest.approx(slope, rel=1e-7, abs=1e-9)


def test_dense_gradients_by_complex_step():
    # Where the forward formula works on complex numbers, the derivative comes without cancellation.
    x, w, b, grad_y = make_layer("rows", "float64", "vector")
    for name, formula in (
        ("tanh", np.tanh),
        ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
        ("silu", lambda z: z / (1 + np.exp(-z))),
        ("softplus", lambda z: np.log(1 + np.exp(z))),
        ("gelu_tanh", lambda z: z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3))) / 2),
        ("softmax", lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)),
    ):
        grads = fastgrad.reference.dense_backward(
            grad_y, fastgrad.reference.dense_forward(x, w, b, name)[1]
        )
        for which, grad in enumerate(grads[:3]):
            for index in np.ndindex(grad.shape):
                arrays = [a.astype(complex) for a in (x, w, b)]
                arrays[which][index] += 1e-30j
                loss = np.sum(grad_y * formula(arrays[0] @ arrays[1] + arrays[2]))
                assert grad[index] == pytest.approx(loss.imag / 1e-30, rel=1e-11, abs=1e-13)


@impls
@layouts
def test_need_out_accumulate(impl, samples):
    x, w, b, grad_y = make_layer(samples, "float32", "matrix")
    y, cache = impl.dense_forward(x, w, b, "tanh", samples=samples)
    full = impl.dense_backward(grad_y, cache, need=("x", "w", "b", "z"))
    assert impl.dense_backward(grad_y, cache).z is None
    for need in itertools.chain.from_iterable(itertools.combinations("xwbz", r) for r in range(5)):
        some = impl.dense_backward(grad_y, cache, need=need)
        for field, got, expected in zip("xwbz", some, full, strict=True):
            if field in need:
                np.testing.assert_array_equal(got, expected)
            else:
                assert got is None
    with pytest.raises(ValueError, match="need"):
        impl.dense_backward(grad_y, cache, need=("W",))

    buffers = impl.DenseGrads(*(np.full_like(g, 7.0) for g in full))
    for out in (buffers, buffers._asdict()):
        got = impl.dense_backward(grad_y, cache, need="xwbz", out=out)
        for buffer, g, expected in zip(buffers, got, full, strict=True):
            assert g is buffer
            np.testing.assert_array_equal(g, expected)
    impl.dense_backward(grad_y, cache, need="xwbz", out=buffers, accumulate=True)
    for buffer, expected in zip(buffers, full, strict=True):
        np.testing.assert_array_equal(buffer, expected + expected)
    partial = impl.dense_backward(grad_y, cache, out={"w": buffers.w}, accumulate=False)
    assert partial.w is buffers.w
    assert partial.x is not None

    out = np.empty_like(y)
    result, _ = impl.dense_forward(x, w, b, "tanh", samples=samples, out=out)
    assert result is out
    np.testing.assert_array_equal(out, y)
    strided = np.empty((y.shape[0], 2 * y.shape[1]), y.dtype)[:, ::2]
    np.testing.assert_array_equal(impl.dense(x, w, b, "tanh", samples=samples, out=strided), y)


@impls
def test_bad_out(impl):
    x, w = np.ones((3, 3)), np.ones((3, 3))
    read_only = np.empty((3, 3))
    read_only.flags.writeable = False
    for out in (np.empty((3, 2)), np.empty((3, 3), "f4"), read_only, x, w[::-1]):
        with pytest.raises(ValueError, match="out"):
            impl.dense(x, w, out=out)
        with pytest.raises(ValueError, match="out"):
            impl.losses.mse.value_and_grad(x, w, out=out)
    _, cache = impl.dense_forward(x, w)
    with pytest.raises(ValueError, match="out"):
        impl.dense_backward(x, cache, out={"w": w})


@impls
def test_gradients_share_no_memory(impl):
    x, w, b, grad_y = make_layer("rows", "float64", "vector", n=1)
    _, cache = impl.dense_forward(x, w, b)
    arrays = [grad_y, x, w, b, *impl.dense_backward(grad_y, cache, need="xwbz")]
    for one, two in itertools.combinations(arrays, 2):
        assert not np.shares_memory(one, two)


@impls
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_callable_is_an_activation(impl, dtype):
    x, w, b, grad_y = make_layer("rows", dtype, "vector")
    expected, cache = impl.dense_forward(x, w, b, "tanh")
    expected_grads = impl.dense_backward(grad_y, cache, need="xwbz")
    y, cache = impl.dense_forward(x, w, b, lambda z: np.tanh(z))
    assert_close(y, expected, dtype)
    tolerance = {"rtol": max(1e-9, RTOL[dtype]), "atol": max(1e-9, ATOL[dtype])}
    for got, want in zip(
        impl.dense_backward(grad_y, cache, need="xwbz"), expected_grads, strict=True
    ):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, **tolerance)
    # A function that returns its argument, or a wider dtype, must do no harm.
    assert_close(impl.dense(x, w, b, lambda z: z), impl.dense(x, w, b), dtype)
    assert impl.dense(x, w, b, lambda z: z.astype(np.float64)).dtype == dtype


@impls
def test_activations_of_another_package_are_known_by_name(impl):
    x, w, b, _ = make_layer("rows", "float64", "vector")
    expected = impl.dense(x, w, b, "gelu")
    for other in IMPLS:
        act = impl.activations.resolve("dense", other.gelu)
        assert act is impl.gelu
        np.testing.assert_array_equal(impl.dense(x, w, b, other.gelu), expected)


@impls
@pytest.mark.parametrize("name", [None, *NAMES])
def test_no_warning_from_any_value(impl, name):
    values = np.array([0.0, -1.0, 1e38, -1e38, np.inf, -np.inf, np.nan, 1e-38])
    x = np.array(list(itertools.product(values, values)), dtype=np.float32)
    w, b = np.array([[1.0, -1e30], [1.0, 2.0]], np.float32), np.array([0.0, np.inf], np.float32)
    with np.errstate(all="warn", under="ignore"):
        y, cache = impl.dense_forward(x, w, b, name)
        impl.dense_backward(y, cache, need="xwbz")
        clean = impl.dense(x[:1], w, None, name)
    assert np.isfinite(clean).all()
    # A NaN stays in its sample.
    np.testing.assert_array_equal(y[0], impl.dense(x[:1], w, b, name)[0])
