"""The two baselines: the NumPy reference and the loops agree, and both agree with mathematics.

They share no code, so agreement means something. mpmath gives the true values of the reference's
functions; central differences and complex steps check its gradients.
"""

import itertools
import subprocess
import sys

import mpmath as mp
import numpy as np
import pytest

import fastgrad.loops
import fastgrad.reference
from fastgrad.loops import activations as loop_activations
from fastgrad.loops import losses as loop_losses
from fastgrad.reference import activations, losses

pytestmark = pytest.mark.filterwarnings("error")

IMPLS = [fastgrad.reference, fastgrad.loops]
NAMES = sorted(activations.ACTIVATIONS)
ELEMENTWISE = [name for name in NAMES if name != "softmax"]
FROM_OUTPUT = [name for name in NAMES if name not in ("gelu", "gelu_tanh", "silu")]
ONE_ARRAY = ("sum", "squared_l2")
LOSS_NAMES = sorted(losses.LOSSES)
DTYPES = ["float16", "float32", "float64"]
# Results of one dtype differ by rounding, by a few eps each way, and near 0 by a few eps absolute.
RTOL = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-12}
ATOL = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}

impls = pytest.mark.parametrize("impl", IMPLS, ids=lambda m: m.__name__.rsplit(".", 1)[-1])
dtypes = pytest.mark.parametrize("dtype", DTYPES)
layouts = pytest.mark.parametrize("samples", ["rows", "columns"])


def assert_close(got, expected, dtype):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=RTOL[dtype], atol=ATOL[dtype])


def random(shape, dtype="float64", seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal(shape)).astype(dtype)


# ---- what the packages are ---------------------------------------------------------------------


def test_same_public_names():
    assert fastgrad.reference.__all__ == fastgrad.loops.__all__
    assert list(activations.ACTIVATIONS) == list(loop_activations.ACTIVATIONS)
    assert list(losses.LOSSES) == list(loop_losses.LOSSES)
    for impl in IMPLS:
        assert all(hasattr(impl, name) for name in impl.__all__)
        assert all(getattr(impl, name) is act for name, act in impl.ACTIVATIONS.items())
        assert all(getattr(impl.losses, name) is loss for name, loss in impl.LOSSES.items())
        assert set(impl.ACTIVATIONS) <= set(dir(impl.activations))


@pytest.mark.parametrize("package", ["fastgrad.reference", "fastgrad.loops"])
def test_imports_numpy_only(package):
    code = (
        f"import sys, {package}\nassert 'numba' not in sys.modules and 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- activations -------------------------------------------------------------------------------

GRID = np.concatenate([np.linspace(-9.0, 9.0, 37), [-1e-3, 1e-3, 0.5]])


@dtypes
@pytest.mark.parametrize("name", NAMES)
def test_activation_agrees_with_loops(name, dtype):
    ref, loop = activations.ACTIVATIONS[name], loop_activations.ACTIVATIONS[name]
    z = GRID.astype(dtype).reshape(4, 10)
    grad_y = random(z.shape, dtype)
    assert_close(ref(z), loop(z), dtype)
    assert_close(ref.backward(grad_y, z), loop.backward(grad_y, z), dtype)
    if name in ELEMENTWISE:
        assert_close(ref.derivative(z), loop.derivative(z), dtype)
    if name in FROM_OUTPUT:
        y = ref(z)
        assert_close(
            ref.backward_from_output(grad_y, y), loop.backward_from_output(grad_y, y), dtype
        )


@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_both_ways_backward_agree(name):
    act = activations.ACTIVATIONS[name]
    z = GRID.reshape(4, 10)
    grad_y = random(z.shape)
    from_output = act.backward_from_output(grad_y, act(z))
    # exp reaches 8000 here; the others lose digits where 1 - y**2 and its like cancel.
    np.testing.assert_allclose(from_output, act.backward(grad_y, z), rtol=1e-13, atol=1e-14)


@impls
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_backward_from_output_refuses(impl, name):
    with pytest.raises(ValueError, match="not a function of its output"):
        impl.ACTIVATIONS[name].backward_from_output([1.0], [1.0])


def _cdf(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2


TRUTH = {  # formula and derivative
    "identity": (lambda z: z, lambda z: 1),
    "sigmoid": (
        lambda z: 1 / (1 + mp.exp(-z)),
        lambda z: 1 / (1 + mp.exp(-z)) / (1 + mp.exp(z)),
    ),
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "relu": (lambda z: max(z, 0), lambda z: int(z > 0)),
    "gelu": (
        lambda z: z * _cdf(z),
        lambda z: _cdf(z) + z * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi),
    ),
    "gelu_tanh": (
        lambda z: z * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3))) / 2,
        None,
    ),
    "silu": (lambda z: z / (1 + mp.exp(-z)), None),
    "elu": (lambda z: z if z > 0 else mp.expm1(z), lambda z: 1 if z >= 0 else mp.exp(z)),
    "leaky_relu": (
        lambda z: z if z > 0 else mp.mpf(0.01) * z,
        lambda z: 1 if z > 0 else mp.mpf(0.01),
    ),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), lambda z: 1 / (1 + mp.exp(-z))),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "exp": (mp.exp, mp.exp),
}
POINTS = [
    0.0,
    1e-300,
    1e-8,
    1e-3,
    0.1,
    0.5,
    0.75,
    1.0,
    2.0,
    3.3,
    5.0,
    8.25,
    15.0,
    27.0,
    37.0,
    300.0,
]
POINTS = sorted({-z for z in POINTS} | set(POINTS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_is_true(name, dtype):
    act = activations.ACTIVATIONS[name]
    info = np.finfo(dtype)
    eps, smallest = float(info.eps), float(info.smallest_subnormal)
    formula, derivative = TRUTH[name]
    points = np.array(POINTS, dtype=dtype)
    with mp.workdps(500):
        exact = [mp.mpf(z) for z in points.tolist()]
        values = np.array([float(formula(z)) for z in exact])
        slopes = np.array(
            [float((derivative or (lambda z: mp.diff(formula, z)))(z)) for z in exact]
        )
    with np.errstate(over="ignore"):
        expect_inf = np.isinf(values.astype(dtype))
    # exp magnifies the rounding of its argument, which only gelu_tanh has to compute.
    size = np.abs(points.astype(np.float64))
    magnified = 1 + 1.6 * size * (1 + 0.045 * size**2) if name == "gelu_tanh" else 1.0
    for got, truth, slack in (
        (act(points), values, 2 * smallest),
        # Derivatives that change sign add up terms of size 1: no relative accuracy there.
        (
            act.derivative(points),
            slopes,
            4 * eps if "gelu" in name or name == "silu" else 4 * smallest,
        ),
    ):
        assert (np.isinf(got) == expect_inf).all() if name == "exp" else np.isfinite(got).all()
        error = np.abs(np.where(np.isinf(got), truth, got) - truth)
        bad = error > 6 * eps * magnified * np.abs(truth) + slack
        assert not bad.any(), (points[bad], got[bad], truth[bad])


def test_gelu_tail_keeps_its_digits():
    # 0.5 * z * (1 + erf(z / sqrt(2))) has no correct digit below z = -8.3.
    z = np.concatenate([-np.geomspace(1e-6, 37.4, 400), np.linspace(0, 12, 50)])
    with mp.workdps(40):
        for dtype in (np.float64, np.float32):
            points = z.astype(dtype)
            truth = np.array([float(v * _cdf(v)) for v in map(mp.mpf, points.tolist())])
            got = activations.gelu(points).astype(np.float64)
            tiny = np.finfo(dtype).tiny * 4
            error = np.abs(got - truth) / np.maximum(np.abs(truth), tiny)
            assert error.max() < 5 * np.finfo(dtype).eps


@impls
def test_kinks_belong_to_the_left(impl):
    assert impl.relu.derivative([0.0, -0.0]).tolist() == [0.0, 0.0]
    assert impl.relu.backward_from_output([1.0], [0.0]).tolist() == [0.0]
    assert impl.leaky_relu.derivative([0.0]).tolist() == [0.01]
    assert impl.leaky_relu.backward_from_output([1.0], [0.0]).tolist() == [0.01]
    assert impl.elu.derivative([0.0]).tolist() == [1.0]
    assert impl.elu.backward_from_output([1.0], [0.0]).tolist() == [1.0]


LIMITS = {  # name: (act(-inf), act(inf), act'(-inf), act'(inf))
    "identity": (-np.inf, np.inf, 1, 1),
    "sigmoid": (0, 1, 0, 0),
    "tanh": (-1, 1, 0, 0),
    "relu": (0, np.inf, 0, 1),
    "gelu": (0, np.inf, 0, 1),
    "gelu_tanh": (0, np.inf, 0, 1),
    "silu": (0, np.inf, 0, 1),
    "elu": (-1, np.inf, 0, 1),
    "leaky_relu": (-np.inf, np.inf, 0.01, 1),
    "softplus": (0, np.inf, 0, 1),
    "softsign": (-1, 1, 0, 0),
    "exp": (0, np.inf, 0, np.inf),
}


@impls
@dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_infinities_and_huge_values_give_the_limit(impl, name, dtype):
    act = impl.ACTIVATIONS[name]
    below, above, slope_below, slope_above = np.array(LIMITS[name]).astype(dtype)
    huge = np.finfo(dtype).max
    with np.errstate(all="raise"):
        assert act(np.array([-np.inf, np.inf], dtype)).tolist() == [below, above]
        slopes = act.derivative(np.array([-np.inf, -huge, huge, np.inf], dtype))
        finite = act(np.array([-huge, huge], dtype))
    expected = [slope_below, slope_below, slope_above, slope_above]
    np.testing.assert_allclose(slopes, expected, atol=1e-9)
    if np.isfinite(above):
        np.testing.assert_allclose(finite, [below, above], rtol=2e-3)
    assert not np.isnan(finite).any()


@impls
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_goes_through(impl, name):
    act = impl.ACTIVATIONS[name]
    z = np.array([1.0, np.nan])
    assert np.isnan(act(z)).tolist() == [False, True]
    if name != "identity":
        assert np.isnan(act.derivative(z)).tolist() == [False, True]
        if name in FROM_OUTPUT:
            assert np.isnan(act.backward_from_output([1.0, 1.0], z)).tolist() == [False, True]


@impls
def test_large_arguments_stay_finite(impl):
    assert impl.sigmoid([-1e4, 1e4]).tolist() == [0.0, 1.0]
    assert impl.softplus([1000.0, -1000.0]).tolist() == [1000.0, 0.0]
    assert impl.sigmoid(np.float32(-100.0)) == np.float32(np.exp(-100.0)) > 0  # subnormal


@impls
def test_softmax(impl):
    z = random((3, 4))
    np.testing.assert_allclose(impl.softmax(z).sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(impl.softmax(z.T, axis=0), impl.softmax(z).T, rtol=1e-15)
    grad_y = random(z.shape, seed=1)
    grad_z = impl.softmax.backward(grad_y, z)
    np.testing.assert_allclose(impl.softmax.backward(grad_y.T, z.T, axis=0), grad_z.T, rtol=1e-13)
    y = impl.softmax(z)
    np.testing.assert_allclose(impl.softmax.backward_from_output(grad_y, y), grad_z, rtol=1e-13)
    for i in range(3):
        jacobian = np.diag(y[i]) - np.outer(y[i], y[i])
        np.testing.assert_allclose(grad_z[i], grad_y[i] @ jacobian, atol=1e-15)
    with pytest.raises(ValueError, match="backward"):
        impl.softmax.derivative(z)


@impls
def test_softmax_special_rows(impl):
    inf, nan = np.inf, np.nan
    rows = np.array([[inf, 0.0], [-inf, -inf], [nan, 0.0], [-inf, 0.0], [1e308, -1e308]])
    y = impl.softmax(rows)
    assert np.isnan(y[:3]).all()
    assert y[3:].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert impl.softmax(np.empty((2, 0))).shape == (2, 0)


# ---- what goes in ------------------------------------------------------------------------------


@impls
def test_dtypes(impl):
    f16, f32, f64 = (np.dtype(t) for t in DTYPES)
    assert impl.tanh([1, 2]).dtype == f64
    assert impl.relu(np.array([True, False])).dtype == f64
    assert impl.tanh(np.ones(2, ">f4")).dtype == f32
    assert impl.tanh(np.ones(2, f16)).dtype == f16
    assert impl.tanh.backward(np.ones(2, f32), np.ones(2, f64)).dtype == f64
    x = np.ones((2, 3))
    for dx, dw, dy in [
        (f32, f32, f32), (f32, f64, f64), (f16, f16, f16), (f16, f32, f32), ("i4", f32, f64),
        ("i8", "i8", f64), ("?", "u1", f64), (">f8", ">f8", f64), (">f4", f32, f32),
    ]:  # fmt: skip
        y, cache = impl.dense_forward(x.astype(dx), x.T.astype(dw), activation="sigmoid")
        assert y.dtype == dy
        assert all(
            g.dtype == dy for g in impl.dense_backward(y, cache, need="xwz") if g is not None
        )
    y, cache = impl.dense_forward(x.astype(f32), x.T.astype(f32))
    assert impl.dense_backward(y.astype(f64), cache).x.dtype == f64
    for bad in (np.ones(2, complex), np.ones(2, np.longdouble), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError):
            impl.tanh(bad)
        with pytest.raises(TypeError):
            impl.dense(np.ones((1, 2)), bad)
        with pytest.raises(TypeError):
            impl.losses.mse(bad, bad)


@impls
@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_written_and_results_are_new(impl, name):
    z = random((3, 4))
    before = z.copy()
    act = impl.ACTIVATIONS[name]
    for result in (act(z), act.backward(z, z)):
        assert not np.shares_memory(result, z)
        result += 1.0
    for layout in (z[::-1, ::2], np.asfortranarray(z), z.T):
        layout.flags.writeable = False
        np.testing.assert_array_equal(act(layout), act(layout.copy()))
    np.testing.assert_array_equal(z, before)


@impls
def test_scalars_and_empty(impl):
    assert impl.tanh(0.0).shape == ()
    assert impl.gelu.derivative(np.float32(0.0)) == 0.5
    assert impl.tanh(np.empty((0, 3))).shape == (0, 3)
    y, cache = impl.dense_forward(np.empty((0, 3)), np.ones((3, 2)), np.ones(2), "softmax")
    grads = impl.dense_backward(y, cache)
    assert (y.shape, grads.x.shape) == ((0, 2), (0, 3))
    assert grads.w.tolist() == np.zeros((3, 2)).tolist()
    assert grads.b.tolist() == [0.0, 0.0]
    assert (
        impl.dense(np.empty((2, 0)), np.empty((0, 3)), [1.0, 2.0, 3.0]).tolist() == [[1, 2, 3]] * 2
    )


# ---- dense -------------------------------------------------------------------------------------


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
    for out in (buffers, buffers._asdict(), tuple(buffers)):
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
def test_bad_shapes_and_names(impl):
    x, w, b = np.ones((2, 3)), np.ones((3, 4)), np.ones(4)
    for bad in (
        lambda: impl.dense(x, w.T),
        lambda: impl.dense(x, w, np.ones(3)),
        lambda: impl.dense(x, w, np.ones(1)),
        lambda: impl.dense(x, w, b, "no such thing"),
        lambda: impl.dense(x, w, b, 3),
        lambda: impl.dense(x, w, b, samples="diagonals"),
        lambda: impl.dense(np.ones((3, 2, 2)), np.ones((4, 3)), samples="columns"),
        lambda: impl.dense_backward(np.ones((2, 3)), impl.dense_forward(x, w)[1]),
        lambda: impl.dense_backward(1.0, impl.dense_forward(x, w)[1]),
    ):
        with pytest.raises(ValueError):
            bad()


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
        act = impl.activations.resolve(other.gelu)
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


# ---- losses ------------------------------------------------------------------------------------

reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])


def loss_arguments(name, shape, dtype, samples="rows", target="probabilities"):
    pred = random(shape, dtype, scale=2.0)
    if name in ONE_ARRAY:
        return (pred,)
    if name == "softmax_cross_entropy":
        axis = 0 if samples == "columns" else -1
        t = activations.softmax(random(shape, seed=1), axis=axis)
        if target == "probabilities":
            return pred, t.astype(dtype)
        index = np.asarray(t.argmax(axis=axis))
        if target == "indices":
            return pred, index
        one_hot = np.moveaxis(np.eye(pred.shape[axis], dtype=int)[index], -1, axis)
        return pred, one_hot
    if name == "binary_cross_entropy_with_logits":
        return pred, activations.sigmoid(random(shape, dtype, seed=1))
    return pred, random(shape, dtype, seed=1)


@dtypes
@layouts
@reductions
@pytest.mark.parametrize("shape", [(3, 4), (1, 3), (5,), (2, 3, 4)])
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_agrees_with_loops(name, shape, reduction, samples, dtype):
    if samples == "columns" and len(shape) > 2:
        shape = (4, 6)  # columns are matrices only
    kinds = ("probabilities", "indices", "one_hot")
    for kind in kinds if name == "softmax_cross_entropy" else kinds[:1]:
        arguments = loss_arguments(name, shape, dtype, samples, kind)
        ref, loop = losses.LOSSES[name], loop_losses.LOSSES[name]
        value, grad = ref.value_and_grad(*arguments, reduction, samples)
        expected, expected_grad = loop.value_and_grad(*arguments, reduction, samples)
        assert type(value) is type(expected) is float
        assert value == pytest.approx(expected, rel=10 * RTOL[dtype])
        assert value == ref(*arguments, reduction, samples)
        assert expected == loop(*arguments, reduction, samples)
        assert_close(grad, expected_grad, dtype)


@pytest.mark.parametrize("name", LOSS_NAMES)
@layouts
def test_reductions(name, samples):
    shape = (3, 4)
    n = 3 if samples == "rows" else 4
    for impl in IMPLS:
        loss = impl.LOSSES[name]
        arguments = loss_arguments(name, shape, "float64", samples)
        total, grad = loss.value_and_grad(*arguments, "sum", samples)
        terms = n if name == "softmax_cross_entropy" else 12
        for reduction, count in (("mean", terms), ("samples", n)):
            value, scaled = loss.value_and_grad(*arguments, reduction, samples)
            assert value == pytest.approx(total / count)
            np.testing.assert_allclose(scaled, grad / count, rtol=1e-14)
        default = "sum" if name in ONE_ARRAY else "mean"
        assert loss(*arguments) == loss(*arguments, default, "rows")


@layouts
@reductions
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_gradient_by_central_differences(name, samples, reduction):
    loss = losses.LOSSES[name]
    kinds = ("probabilities", "indices") if name == "softmax_cross_entropy" else ("probabilities",)
    for kind in kinds:
        pred, *rest = loss_arguments(name, (2, 3), "float64", samples, kind)
        if name == "softmax_cross_entropy" and kind == "probabilities":
            rest[0] = rest[0] * 1.7  # the gradient must hold for weights that do not add up to 1
        _, grad = loss.value_and_grad(pred, *rest, reduction, samples)
        for index in np.ndindex(pred.shape):
            keep, values = pred[index], []
            for step in (1e-5, -1e-5):
                pred[index] = keep + step
                values.append(loss(pred, *rest, reduction, samples))
            pred[index] = keep
            slope = (values[0] - values[1]) / 2e-5
            assert grad[index] == pytest.approx(slope, rel=1e-7, abs=1e-9)


@impls
def test_loss_values(impl):
    pred, target = [[1.0, -2.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]
    assert impl.losses.mse(pred, target, "sum") == 5.25
    assert impl.losses.mae(pred, target, "sum") == 3.5
    assert impl.losses.huber(pred, target, "sum") == 0.5 + 1.5 + 0.125
    assert impl.losses.sum(pred) == -0.5
    assert impl.losses.squared_l2(pred) == 5.25
    assert impl.losses.sum.value_and_grad([1, 2])[1].tolist() == [1.0, 1.0]
    _, grad = impl.losses.mae.value_and_grad([0.0, 2.0], [0.0, 0.0], "sum")
    assert grad.tolist() == [0.0, 1.0]
    cross_entropy = impl.losses.softmax_cross_entropy
    assert cross_entropy([1000.0, 0.0], 1) == 1000.0
    assert cross_entropy([1000.0, 0.0], 0) == 0.0
    bce = impl.losses.binary_cross_entropy_with_logits
    assert bce([1000.0, -1000.0, 1000.0], [1, 0, 0], "sum") == 1000.0
    with mp.workdps(40):
        truth = float(mp.log1p(mp.exp(-30)))
    assert bce([30.0], [1.0]) == pytest.approx(truth, rel=1e-15)


@impls
def test_masked_classes(impl):
    # A logit of -inf takes a class out of the choice; the other classes keep a finite loss.
    loss = impl.losses.softmax_cross_entropy
    pred = [[-np.inf, 0.0, 0.0]]
    for target in ([1], [[0, 1, 0]]):
        value, grad = loss.value_and_grad(pred, target)
        assert value == pytest.approx(np.log(2))
        np.testing.assert_allclose(grad, [[0.0, -0.5, 0.5]], atol=1e-15)
    assert loss(pred, [0]) == np.inf
    assert np.isnan(loss([[np.inf, 0.0]], [0]))
    assert np.isnan(loss([[np.nan, 0.0]], [1]))


@impls
def test_loss_accumulates_in_float64(impl):
    y = np.full((5000, 1), 0.1, dtype=np.float32)
    assert impl.losses.sum(y) == pytest.approx(5000 * float(np.float32(0.1)), rel=1e-13)
    assert impl.losses.squared_l2(np.full(3, 1e30, np.float32)) == pytest.approx(3e60)


@impls
def test_loss_errors(impl):
    loss, mse = impl.losses.softmax_cross_entropy, impl.losses.mse
    z = np.zeros((2, 3))
    for bad in (
        lambda: mse(z, z[:, :1]),
        lambda: mse(z, z, "average"),
        lambda: mse(z, z, samples="diagonals"),
        lambda: mse(z[None], z[None], samples="columns"),
        lambda: loss(z, [0, 3]),
        lambda: loss(z, [0, -1]),
        lambda: loss(z, [0.0, 1.0]),
        lambda: loss(z, [0, 1, 2]),
        lambda: loss(z, z.T),
        lambda: loss(z, [0, 1], "average"),
    ):
        with pytest.raises(ValueError):
            bad()


@impls
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_loss_out_dtype_and_specials(impl, name):
    loss = impl.LOSSES[name]
    for dtype in DTYPES:
        arguments = loss_arguments(name, (3, 4), dtype)
        out = np.empty((3, 4), dtype)
        _, grad = loss.value_and_grad(*arguments, out=out)
        assert grad is out
        np.testing.assert_array_equal(grad, loss.value_and_grad(*arguments)[1])
    if name not in ONE_ARRAY:
        pred, target = loss_arguments(name, (3, 4), "float32")
        assert loss.value_and_grad(pred, target.astype(np.float64))[1].dtype == np.float32
    special = np.array([[np.nan, np.inf], [-np.inf, 3e38]], np.float32)
    arguments = (special,) if name in ONE_ARRAY else (special, np.ones_like(special))
    _, grad = loss.value_and_grad(*arguments)  # no warning, that is all
    assert grad.dtype == np.float32
    empty = np.empty((0, 2))
    arguments = (empty,) if name in ONE_ARRAY else (empty, empty)
    assert loss(*arguments, "sum") == 0.0
    assert np.isnan(loss(*arguments, "mean"))
    assert loss.value_and_grad(*arguments, "mean")[1].shape == (0, 2)
