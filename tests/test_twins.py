"""The twins are two packages of the same names, without Numba, that take the same arguments."""

import subprocess
import sys

import numpy as np
import pytest
from twins import DTYPES, IMPLS, NAMES, impls, random

import fastgrad.loops
import fastgrad.reference
from fastgrad.loops import activations as loop_activations
from fastgrad.loops import losses as loop_losses
from fastgrad.reference import activations, losses

pytestmark = pytest.mark.filterwarnings("error")

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
    """Also when they are called, with all that has to be converted: nothing is compiled."""
    code = f"""
import sys, numpy as np, {package} as impl
half = np.ones((2, 2), np.float16)
y, cache = impl.dense_forward([[1, 2]], half, [1, 2], "softmax")
_, grad_y = impl.losses.mse.value_and_grad(y, [[0, 1]])
impl.dense_backward(grad_y, cache, out={{"w": np.ones((2, 2))}}, accumulate=True)
impl.losses.softmax_cross_entropy.value_and_grad(half, [0, 1], out=half.copy())
impl.MLP((2, 2), ["tanh"], "mse").fit(np.zeros(6), [[1, 2]], [[1, 2]], impl.Adam())
loaded = [m for m in sys.modules if m.startswith("fastgrad.kernels.calls")]
assert not loaded and not {{"numba", "llvmlite", "scipy"}} & set(sys.modules), loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
