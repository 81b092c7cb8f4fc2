"""A layer called before is answered by compiled code at once: it notices itself what does not fit.

Arguments of other shapes, and caches whose arrays are no longer those of the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import LAYOUTS
from layers import forms_data, odd_layer

import fastgrad as fg

NAMES = fg.activations.BUILT_IN

layouts = pytest.mark.parametrize("samples", LAYOUTS)

# -- arguments -------------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("name", NAMES)
def test_a_known_layer_takes_no_grad_of_another_shape(name: str, samples: str) -> None:
    """Neither more nor fewer samples or outputs, on the direct path of compiled calls."""
    data = forms_data("float64", samples)
    y, cache = fg.dense_forward(data["x"], data["w"], data["b"], name, samples=samples)
    fg.dense_backward(data["g"], cache)
    n, k = y.shape
    for shape in ((n - 1, k), (n + 1, k), (n, k - 1), (n, k + 1), (k, n), (n * k,)):
        with pytest.raises(ValueError, match="grad_y has shape"):
            fg.dense_backward(np.zeros(shape), cache)


@layouts
def test_a_known_layer_takes_no_weights_of_another_shape(samples: str) -> None:
    """The direct path looks at w itself: nobody checked before it."""
    data = forms_data("float64", samples)
    fg.dense(data["x"], data["w"], data["b"], "tanh", samples=samples)
    features, outputs = data["w"].shape if samples == "rows" else data["w"].shape[::-1]
    for d in (features - 1, features + 1):
        w = np.zeros((d, outputs) if samples == "rows" else (outputs, d))
        with pytest.raises(ValueError, match="w has shape"):
            fg.dense(data["x"], w, data["b"], "tanh", samples=samples)
        with pytest.raises(ValueError, match="w has shape"):
            fg.dense_forward(data["x"], w, None, "tanh", samples=samples)


def test_shapes_are_refused_before_anything_is_converted() -> None:
    """A view of 2**40 bytes would be 2**43 as float64: the shape is wrong before that matters."""
    far = np.broadcast_to(np.int8(1), (2**40, 3))
    x, w, b = np.ones((2, 4)), np.ones((4, 3)), np.ones(3)
    _, cache = fg.dense_forward(np.ones((2, 3)), np.ones((3, 2)))
    net = fg.MLP((4, 3), (None,), "mse")
    params, y = net.init(), np.ones((2, 3), np.float32)
    calls: dict[str, Callable[[], Any]] = {
        "dense: w has shape": lambda: fg.dense(far, w, b),
        "dense_forward: w has shape": lambda: fg.dense_forward(x, far, b),
        "dense: b has shape": lambda: fg.dense(x, w, far[:, 0]),
        "dense_backward: grad_y has shape": lambda: fg.dense_backward(far, cache),
        "MLP.predict: params has shape": lambda: net.predict(far[:, 0], x),
        "MLP.predict: x has shape": lambda: net.predict(params, far),
        "MLP.value_and_grad: params has shape": lambda: net.value_and_grad(far[:, 0], x, y),
        "MLP.value_and_grad: target has shape": lambda: net.value_and_grad(params, x, far),
    }
    for _ in range(3):  # from the second on some go directly
        net.predict(params, x)
        net.value_and_grad(params, x, y)
        for text, call in calls.items():
            with pytest.raises(ValueError, match=text):
                call()


# -- the cache -------------------------------------------------------------------------------------

STALE: dict[str, tuple[dict[str, Any], str]] = {
    "w of other rows": (
        {"w": np.ones((2, 2))},
        "w has shape (2, 2) but x has shape (3, 4): w needs",
    ),
    "w of three axes": ({"w": np.ones((4, 2, 1))}, "w has shape (4, 2, 1): it needs two axes"),
    "shorter b": ({"b": np.ones(1)}, "b has shape (1,) but w has shape (4, 2)"),
    "fewer samples of y": ({"saved": np.ones((1, 2))}, "cache holds an output of shape (1, 2)"),
    "x of other samples": ({"x": np.ones((2, 4))}, "cache holds an output of shape (3, 2)"),
}


@pytest.mark.parametrize("direct", [True, False], ids=["direct call", "checked call"])
@pytest.mark.parametrize("case", list(STALE))
def test_a_cache_that_no_longer_fits(case: str, direct: bool) -> None:
    """The kernel would read or write beyond the arrays: it must refuse, and Python say why."""
    change, text = STALE[case]
    x, w, b, grad_y = np.ones((3, 4)), np.ones((4, 2)), np.ones(2), np.ones((3, 2))
    fg.dense_forward(x, w, b, "tanh")
    _, cache = fg.dense_forward(x, w, b, "tanh")
    with pytest.raises(ValueError) as error:
        fg.dense_backward(grad_y if direct else grad_y.tolist(), cache._replace(**change))
    assert str(error.value).startswith(f"dense_backward: {text}")


def test_a_matrix_reshaped_in_place_is_noticed() -> None:
    x, w = np.ones((5, 40)), np.ones((40, 3))
    _, cache = fg.dense_forward(x, w, None, "tanh")
    cache.saved.resize((3, 5), refcheck=False)
    with pytest.raises(ValueError, match="cache holds an output of shape"):
        fg.dense_backward(np.ones((5, 3)), cache)


@pytest.mark.parametrize("field", ["b", "saved"])
def test_a_cache_that_holds_something_else(field: str) -> None:
    a = odd_layer("float64", "rows")
    _, cache = fg.dense_forward(a["x"], a["w"], a["b"])
    broken = cache._replace(**{field: object()})
    for need in (("w",), ("x", "w", "b")):
        with pytest.raises(TypeError, match=f"cache.{field}"):
            fg.dense_backward(a["g"], broken, need=need, out={"w": np.empty((5, 3))})


@pytest.mark.parametrize("change", ["float32 w", "strided y"])
def test_a_cache_of_other_arrays_that_fit_is_converted(change: str) -> None:
    x, w, grad_y = np.full((5, 40), 0.01), np.ones((40, 3)), np.ones((5, 3))
    y, cache = fg.dense_forward(x, w, None, "tanh")
    expected = fg.dense_backward(grad_y, cache)
    other = (
        {"w": w.astype(np.float32)} if change == "float32 w" else {"saved": np.asfortranarray(y)}
    )
    grads = fg.dense_backward(grad_y, cache._replace(**other))
    assert (grads.x == expected.x).all()
    assert (grads.w == expected.w).all()
