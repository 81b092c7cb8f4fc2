"""leaky_relu with any slope, elu with any alpha: values, gradients, layers, networks, mistakes."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, LAYOUTS, Array, rng_of, same_bits, start, turn
from tolerances import GRADIENT_RTOL, U

import fastgrad as fg
from fastgrad import loops, reference

pytestmark = pytest.mark.filterwarnings("error")
PACKAGES = [fg, reference, loops]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda m: m.__name__)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
# Of either sign, 0, above 1, no float32 number; extremes.
SLOPES = [0.2, 0.0, -0.5, 1.0, 3.7, 1e-30]
ALPHAS = [0.3, 0.0, -1.5, 2.0, 1e20]
CASES = [("leaky_relu", "slope", v) for v in SLOPES] + [("elu", "alpha", v) for v in ALPHAS]
cases = pytest.mark.parametrize("name, setting, value", CASES)


def made(package: Any, name: str, setting: str, value: float) -> Any:
    return getattr(package, name).with_(**{setting: value})


def truth(name: str, value: float, z: float) -> tuple[Any, Any]:
    """Return value and derivative of one number; at 0 the derivative from the left."""
    x, value = mp.mpf(z), mp.mpf(value)
    if x > 0:
        return x, mp.mpf(1)
    if name == "leaky_relu":
        return (value * x if value else mp.mpf(0)), value
    return value * mp.expm1(x), value * mp.exp(x)


def points(dtype: str) -> Array:
    """Return numbers of both signs, the kink from both sides, and more than a step of vectors."""
    rng = rng_of("activation settings", dtype)
    sizes = 10.0 ** rng.uniform(-12, 1.5, 300)
    special = [0.0, -0.0, 1e-30, -1e-30, 5e-5, -5e-5, 80.0, -80.0]
    return np.concatenate([sizes, -sizes, special]).astype(dtype)


@packages
@dtypes
@cases
def test_it_is_true(name: str, setting: str, value: float, dtype: str, package: Any) -> None:
    """Beside mpmath: the setting rounded to the dtype, expm1 (4 U) and a product; no cancelling."""
    act, z = made(package, name, setting, value), points(dtype)
    y, slope = act(z), act.derivative(z)
    assert y.dtype == slope.dtype == dtype
    grad_y = rng_of("grad", dtype).standard_normal(z.shape).astype(dtype)
    bound, least = 8 * U[dtype], float(np.finfo(dtype).tiny)
    with mp.workdps(40):
        exact = [truth(name, value, float(v)) for v in z]
        for i, (true_y, true_slope) in enumerate(exact):
            assert abs(mp.mpf(float(y[i])) - true_y) <= bound * abs(true_y) + least
            assert abs(mp.mpf(float(slope[i])) - true_slope) <= bound * abs(true_slope) + least
    expected = np.array([float(s) for _, s in exact])
    grad_z = act.backward(grad_y, z)
    np.testing.assert_allclose(grad_z, grad_y * expected, rtol=9 * U[dtype], atol=least * 8)
    if act.from_output:
        # y + alpha has the rounding errors of numbers of the size of alpha.
        size = abs(value) if name == "elu" else 0.0
        by_output = act.backward_from_output(grad_y, y)
        allowed = 10 * U[dtype] * abs(grad_y) * (abs(expected) + size) + 8 * least
        assert (abs(by_output - grad_y * expected) <= allowed).all()


@packages
@dtypes
@cases
def test_kink_limits_and_nan(
    name: str, setting: str, value: float, dtype: str, package: Any
) -> None:
    act = made(package, name, setting, value)
    z = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    held = float(np.dtype(dtype).type(value))
    below = -held if name == "elu" else (-math.copysign(np.inf, held) if held else 0.0)
    assert np.array_equal(act(z), [0, 0, np.inf, below, np.nan], equal_nan=True)
    at = 0.0 if name == "elu" else held
    slopes = [held, held, 1.0, at, np.nan]
    assert np.array_equal(act.derivative(z), slopes, equal_nan=True)
    if act.from_output:
        got = act.backward_from_output(np.ones_like(z), act(z))
        # The loops add alpha as a float64 number to a y that float32 has rounded.
        rounding = U[dtype] * abs(value) if package is loops and name == "elu" else 0.0
        np.testing.assert_allclose(got, slopes, rtol=0, atol=rounding)
    else:
        with pytest.raises(ValueError, match=r"backward_from_output: the derivative of .*\(.*=.*"):
            act.backward_from_output([1.0], [1.0])


@cases
def test_when_the_output_says_it_all(name: str, setting: str, value: float) -> None:
    expected = value > 0 if name == "leaky_relu" else value >= 0
    assert [made(p, name, setting, value).from_output for p in PACKAGES] == [expected] * 3


@dtypes
@pytest.mark.parametrize("samples", LAYOUTS)
@cases
def test_layers(name: str, setting: str, value: float, samples: str, dtype: str) -> None:
    """The layer's gradient is that of its parts, in all three packages and in `nn`."""
    rng = rng_of("layers with settings", samples)
    shapes = {"x": (37, 5), "w": (5, 9), "g": (37, 9)}
    x, w, g = (turn(rng.standard_normal(s).astype(dtype), samples) for s in shapes.values())
    act = made(fg, name, setting, value)
    y, cache = fg.dense_forward(x, w, None, act, samples=samples)
    grads = fg.dense_backward(g, cache, need=("x", "w", "z"))
    z = fg.dense(x, w, samples=samples)
    assert same_bits(y, act(z))
    grad_z = act.backward_from_output(g, y) if act.from_output else act.backward(g, z)
    assert same_bits(grads.z, grad_z)
    size = max(1.0, abs(value))
    for package in (reference, loops):
        _, theirs = package.dense_forward(x, w, None, act, samples=samples)
        expected = package.dense_backward(g, theirs, need=("x", "w", "z"))
        for key in "xwz":
            a, b = getattr(grads, key), getattr(expected, key)
            np.testing.assert_allclose(a, b, rtol=0, atol=500 * U[dtype] * size)
    layer = fg.nn.Dense(5, 9, act, bias=False, samples=samples, dtype=dtype)
    layer.w[...] = w
    assert same_bits(layer.forward(x), y)
    assert same_bits(layer.backward(g), grads.x)
    alone = fg.nn.Activation(act, samples=samples)
    assert same_bits(alone.forward(z), y)
    assert same_bits(alone.backward(g), grad_z)


@pytest.mark.parametrize("samples", LAYOUTS)
@pytest.mark.parametrize("settings", [(0.2, 0.5), (-0.7, -2.0)])
def test_networks(settings: tuple[float, float], samples: str) -> None:
    """Beside complex steps: between kinks, a network is analytic."""
    slope, alpha = settings
    acts = (fg.leaky_relu.with_(slope=slope), fg.elu.with_(alpha=alpha), None)
    net = fg.MLP((3, 8, 7, 2), acts, "squared_l2", "sum", samples=samples, dtype="float64")
    rng = rng_of("settings", samples)
    params = net.init(seed=1) + 0.1 * rng.standard_normal(net.size)
    x = turn(rng.standard_normal((11, 3)), samples)

    def loss(vector: Array) -> Any:
        h, at = x.T if samples == "columns" else x, 0
        for d, k, i in ((3, 8, 0), (8, 7, 1), (7, 2, 2)):
            w = vector[at : at + d * k].reshape((k, d) if samples == "columns" else (d, k))
            at += d * k
            z = h @ (w.T if samples == "columns" else w) + vector[at : at + k]
            at += k
            low = (slope * z, alpha * (np.exp(z) - 1), z)[i]
            h = np.where(z.real > 0, z, low)
        return (h * h).sum()

    value, grad = net.value_and_grad(params, x)
    assert value == pytest.approx(loss(params), rel=1e-13)
    step = 1e-30
    expected = [loss(params + 1j * step * e).imag / step for e in np.eye(net.size)]
    np.testing.assert_allclose(grad, expected, rtol=GRADIENT_RTOL, atol=1e-13)
    for package in (reference, loops):
        theirs = package.MLP(net.sizes, acts, "squared_l2", "sum", samples=samples, dtype="float64")
        np.testing.assert_allclose(
            theirs.value_and_grad(params, x)[1], grad, rtol=1e-10, atol=1e-12
        )
    y, tape = net.forward(params, x)
    opened = net.backward(2 * y, tape)
    np.testing.assert_allclose(opened.params, grad, rtol=1e-13, atol=1e-14)
    again = pickle.loads(pickle.dumps(net))
    assert same_bits(again.value_and_grad(params, x)[1], grad)
    fitted = net.fit(params, x, epochs=3, optimizer=fg.SGD(lr=1e-4))
    assert fitted.losses[-1] < fitted.losses[0]


@packages
def test_one_object_for_one_setting(package: Any) -> None:
    leaky = package.leaky_relu.with_(slope=0.2)
    assert leaky is package.leaky_relu.with_(slope=np.float64(0.2))
    assert leaky.settings == (0.2,) and leaky.settings.slope == 0.2
    assert leaky.name == "leaky_relu(slope=0.2)"
    assert repr(leaky).startswith("<activation leaky_relu(slope=0.2)")
    assert package.leaky_relu.with_(slope=0.01) is package.leaky_relu is leaky.with_(slope=0.01)
    assert package.elu.with_(alpha=1) is package.elu is package.elu.with_()
    assert package.leaky_relu.with_(slope=-0.0) is package.leaky_relu.with_(slope=0)
    assert leaky.with_() is leaky and leaky.with_(slope=0.3).settings.slope == 0.3
    # Tuples of two classes, equal as tuples; a setting that is the other's own.
    assert package.elu.with_(alpha=0.2).name == "elu(alpha=0.2)"
    assert package.elu.with_(alpha=0.01).name == "elu(alpha=0.01)"
    assert package.leaky_relu.with_(slope=1.0).name == "leaky_relu(slope=1.0)"
    assert leaky != package.leaky_relu and len({leaky, package.leaky_relu.with_(slope=0.2)}) == 1
    assert package.leaky_relu.settings.slope == 0.01 and package.elu.settings.alpha == 1.0
    assert package.tanh.settings == () == package.softmax.settings


def test_copies_and_pickles_are_the_object() -> None:
    for act in (fg.leaky_relu.with_(slope=0.2), fg.elu.with_(alpha=-1.5)):
        assert pickle.loads(pickle.dumps(act)) is act is copy.deepcopy(act) is copy.copy(act)


def test_a_fresh_process_reads_the_pickle() -> None:
    acts = fg.leaky_relu.with_(slope=0.2), fg.elu.with_(alpha=0.5)
    expected = [act([-1.0]).tolist() for act in acts]
    code = f"import pickle; print([a([-1.0]).tolist() for a in pickle.loads({pickle.dumps(acts)})])"
    process = start(code)
    out, error = process.communicate(timeout=120)
    assert out.strip() == str(expected), error


def test_nothing_but_a_small_unit_is_compiled() -> None:
    """A value that no cache holds: the layer and the network are those there are."""
    from fastgrad.kernels.toolchain.library import LIBRARY

    net = fg.MLP((3, 4, 1), ("leaky_relu", None), "mse", dtype="float64")
    net.value_and_grad(net.init(seed=0), np.ones((2, 3)), np.ones((2, 1)))
    fg.dense_backward([[1.0]], fg.dense_forward([[1.0]], [[1.0]], None, "leaky_relu")[1])
    before, value = len(LIBRARY.compiled), float(np.random.default_rng().uniform(0.1, 0.9))
    act = fg.leaky_relu.with_(slope=value)
    net = fg.MLP((3, 4, 1), (act, None), "mse", dtype="float64")
    net.value_and_grad(net.init(seed=0), np.ones((2, 3)), np.ones((2, 1)))
    fg.dense_backward([[1.0]], fg.dense_forward([[1.0]], [[1.0]], None, act)[1])
    act.backward([1.0], act([1.0]))
    (name,) = LIBRARY.compiled[before:]
    assert name.startswith("keeps_y.leaky_relu_") and name.endswith(":float64")


@packages
def test_what_is_refused(package: Any) -> None:
    leaky, elu = package.leaky_relu, package.elu
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (leaky, {"alpha": 0.2}, TypeError, "leaky_relu.with_: leaky_relu has no setting 'alpha'"),
        (elu, {"alhpa": 0.2}, TypeError, "has no setting 'alhpa': did you mean 'alpha'"),
        (leaky, {"slope": "0.2"}, TypeError, "leaky_relu.with_: slope is a str: give a number"),
        (leaky, {"slope": None}, TypeError, "slope is a NoneType: give a number"),
        (leaky, {"slope": True}, TypeError, "slope is a bool: give a number"),
        (leaky, {"slope": [0.2]}, TypeError, "slope is a list: give a number"),
        (
            leaky,
            {"slope": math.nan},
            ValueError,
            "leaky_relu.with_: slope is nan: it must be 0, or",
        ),
        (elu, {"alpha": -math.inf}, ValueError, "elu.with_: alpha is -inf: it must be 0, or of a"),
        (elu, {"alpha": 10**400}, ValueError, "elu.with_: alpha is too large"),
        (elu, {"alpha": 1e39}, ValueError, "from 1.18e-38 to 3.4e\\+38, which float32 holds"),
        (elu, {"alpha": 1e-39}, ValueError, "from 1.18e-38 to 3.4e\\+38, which float32 holds"),
        (leaky.with_(slope=0.2), {"alpha": 1.0}, TypeError, "^leaky_relu.with_: leaky_relu has no"),
        (package.tanh, {}, ValueError, "^tanh.with_: tanh has no settings$"),
        (package.softmax, {"axis": 0}, ValueError, "^softmax.with_: softmax has no settings$"),
    ]
    for act, given, error, text in wrong:
        with pytest.raises(error, match=text):
            act.with_(**given)
    with pytest.raises(TypeError, match="positional"):
        leaky.with_(0.2)
    with pytest.raises(AttributeError):
        leaky.with_(slope=0.2).settings.slope = 0.3
    with pytest.raises(ValueError, match="unknown activation"):
        package.dense([[1.0]], [[1.0]], activation="leaky_relu(slope=0.2)")


def test_a_defined_activation_has_none() -> None:
    act = fg.define_activation("squared", lambda z: z * z, lambda z: 2 * z)
    with pytest.raises(ValueError, match="squared has no settings"):
        act.with_(slope=1.0)
    fg.activations.ACTIVATIONS.pop("squared")


def test_diagnose_knows_how_it_is_written() -> None:
    """A forgotten derivative is found, and the line that mends it is one to paste."""
    net = fg.MLP((3, 6, 2), (fg.leaky_relu.with_(slope=0.2), None), "mse", dtype="float64")
    rng = rng_of("diagnose settings")
    params, x, target = net.init(seed=3), rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    (w1, b1), (w2, b2) = (tuple(layer) for layer in net.layers(params))
    _, grad = net.value_and_grad(params, x, target)
    z1 = x @ w1 + b1
    a1 = np.where(z1 > 0, z1, 0.2 * z1)
    dz2 = 2 * (a1 @ w2 + b2 - target) / target.size
    dz1 = dz2 @ w2.T  # times the derivative
    wrong = net.pack([(x.T @ dz1, dz1.sum(0)), (a1.T @ dz2, dz2.sum(0))])
    assert fg.diagnose(net, params, grad, x=x, target=target).ok
    report = fg.diagnose(net, params, wrong, x=x, target=target)
    assert "fg.leaky_relu.with_(slope=0.2).derivative(z1)" in str(report)
