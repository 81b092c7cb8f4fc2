"""`clip_norm` and `clip_value`: trees of gradients, in place, against exact sums and PyTorch."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, Array, rng_of
from tolerances import U

import fastgrad as fg
from fastgrad import loops, reference

packages = pytest.mark.parametrize(
    "package", [fg, reference, loops], ids=["fastgrad", "reference", "loops"]
)


def gradients(dtype: str = "float64") -> dict[str, Array]:
    rng = rng_of("clip")
    shapes: dict[str, tuple[int, ...]] = {"W": (70, 65), "b": (65,), "scale": (), "none": (0, 3)}
    return {key: np.asarray(rng.standard_normal(shape), dtype) for key, shape in shapes.items()}


def exact(grads: dict[str, Array]) -> float:
    return math.sqrt(math.fsum(g * g for a in grads.values() for g in a.ravel().tolist()))


@pytest.mark.parametrize("dtype", DTYPES)
@packages
def test_norm(package: ModuleType, dtype: str) -> None:
    grads, before = gradients(dtype), gradients(dtype)
    norm = package.clip_norm(grads, 2.0)
    assert type(norm) is float
    assert norm == pytest.approx(exact(before), rel=1e-14)
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, before[key] * (2 / norm), rtol=3 * U[dtype])
    assert exact(grads) == pytest.approx(2.0, rel=2 * U[dtype])
    kept = {key: grad.copy() for key, grad in grads.items()}
    assert package.clip_norm(grads, 2.1) < 2.001
    assert all(np.array_equal(grads[key], kept[key]) for key in grads)  # to the bit


@packages
def test_torch_agrees(torch: Any, package: ModuleType) -> None:
    """But for the 1e-6 that PyTorch adds to the norm."""
    grads = gradients()
    tensors = [torch.zeros(a.shape, dtype=torch.float64) for a in grads.values()]
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(grad)
    norm = torch.nn.utils.clip_grad_norm_(tensors, 0.5)
    assert package.clip_norm(grads, 0.5) == pytest.approx(float(norm), rel=1e-12)
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        np.testing.assert_allclose(grad, tensor.grad, rtol=1e-6)


def strided(a: Array) -> Array:
    return np.repeat(a[..., None], 2, axis=-1)[..., 0]


def test_any_layout_gives_the_same_bits() -> None:
    expected = gradients("float32")
    norm = fg.clip_norm(expected, 1.0)
    forms = {
        "Fortran": lambda a: a.copy(order="F"),
        "strided": strided,
        "swapped": lambda a: a.astype(">f4"),
        "reversed": lambda a: a[::-1].copy()[::-1] if a.ndim else a.copy(),
    }
    for form in forms.values():
        grads = {key: form(a) for key, a in gradients("float32").items()}
        assert fg.clip_norm(grads, 1.0) == norm
        assert all(np.array_equal(grads[key], expected[key]) for key in grads)


def test_nested_and_mixed() -> None:
    grads = [(np.full((2, 2), 3.0), None), {"b": np.float32([4.0, 0.0])}, np.float16([0.0])]
    assert fg.clip_norm(grads, 1.0) == math.sqrt(36 + 16)
    fg.clip_value(grads, 0.25)
    assert grads[0][0].tolist() == [[0.25] * 2] * 2  # type: ignore[index]
    assert fg.clip_norm([], 1.0) == 0.0
    assert fg.clip_norm(np.zeros(3), 1.0) == 0.0
    assert fg.clip_norm(np.array([3.0, 4.0]), 0.0) == 5.0


@packages
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_squares_that_no_number_holds(package: ModuleType, scale: float) -> None:
    grads = [np.array([3.0, 0.0]) * scale, np.array([[4.0]]) * scale]
    assert package.clip_norm(grads, scale) == pytest.approx(5 * scale, rel=1e-14)
    np.testing.assert_allclose(grads[0], [0.6 * scale, 0.0], rtol=1e-14)


@packages
def test_what_is_not_finite(package: ModuleType) -> None:
    grads = [np.array([np.nan, 1e3])]
    assert math.isnan(package.clip_norm(grads, 1.0))
    assert grads[0][1] == 1e3
    package.clip_value(grads, 1.0)
    np.testing.assert_array_equal(grads[0], [np.nan, 1.0])
    grads = [np.array([-np.inf, 7.0])]
    assert package.clip_norm(grads, 1.0) == np.inf
    np.testing.assert_array_equal(grads[0], [np.nan, 0.0])


@packages
def test_values(package: ModuleType) -> None:
    for dtype in (*DTYPES, "float16"):
        grads, before = gradients(dtype), gradients(dtype)
        grads["W"] = strided(grads["W"])
        assert package.clip_value(grads, 0.5) is None
        for key, grad in grads.items():
            assert np.array_equal(grad, np.clip(before[key], -0.5, 0.5))


SHARED = np.ones(4)
REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    ([SHARED, SHARED], 1.0, ValueError, r"grads\[0\] and grads\[1\] share memory"),
    ([SHARED[:3], SHARED[2:]], 1.0, ValueError, r"grads\[0\] and grads\[1\] share memory"),
    ({"W": np.broadcast_to(1.0, 3)}, 1.0, ValueError, r"grads\['W'\] is read-only"),
    ({"W": np.ones(3, int)}, 1.0, TypeError, r"grads\['W'\] has dtype int64"),
    ({"W": [1.0]}, 1.0, TypeError, r"grads\['W'\]\[0\] is a float: give a NumPy array"),
    (1.0, 1.0, TypeError, "grads is a float: give a NumPy array"),
    (np.ones(3), -1.0, ValueError, "is -1.0: it must be finite and at least 0"),
    (np.ones(3), math.nan, ValueError, "is nan: it must be finite and at least 0"),
    (np.ones(3), "1", TypeError, "is a str: give a number"),
]


@packages
@pytest.mark.parametrize("function", ["clip_norm", "clip_value"])
@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case: int, function: str, package: ModuleType) -> None:
    grads, limit, error, text = REFUSED[case]
    if function == "clip_value" and case < 2 and package is fg:
        return  # clipped twice is clipped once: nothing to refuse
    with pytest.raises(error, match=text) as raised:
        getattr(package, function)(grads, limit)
    assert str(raised.value).startswith(function)
    assert SHARED.tolist() == [1.0] * 4


def test_large_arrays_and_integers_as_limits() -> None:
    grads = [np.ones((300, 300), np.float32), np.ones(5)]
    assert fg.clip_norm(grads, 1) == pytest.approx(math.sqrt(90005), rel=1e-14)
    fg.clip_value(grads, 0)
    assert not grads[0].any()
