"""Every gradient of a layer is the true one: by complex step, through every loss, as an adjoint.

float64 here; `test_gradients.py` has float32, and networks of several layers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from analytic import ANALYTIC, REDUCE, STEP, TERMS, complex_steps
from conftest import LAYOUTS, Array, rng_of, shape_of, turn
from tolerances import ADJOINT_RTOL, GRADIENT_RTOL
from truth import LOSS_TRUTH

import fastgrad as fg

NAMES = fg.activations.BUILT_IN
# Every activation before every loss, unless the loss takes the outputs of one only.
THROUGH = [
    (name, loss) for loss, row in LOSS_TRUTH.items() for name in NAMES if row.output in (None, name)
]

layouts = pytest.mark.parametrize("samples", LAYOUTS)

SMALL_LAYER_SEED = 0


@functools.cache
def small_layer() -> dict[str, Array]:
    """Return a layer of three samples, in row layout, and targets that are probabilities.

    The seed is one where no gradient is a small difference of large terms: those have no
    relative accuracy to lose.
    """
    rng = rng_of("small layer", SMALL_LAYER_SEED)
    data = {n: rng.standard_normal(s) for n, s in {"x": (3, 2), "w": (2, 4), "b": (4,)}.items()}
    t = rng.uniform(0.1, 1.0, (3, 4))
    return {**data, "t": t / t.sum(axis=1, keepdims=True), "g": rng.standard_normal((3, 4))}


def steps(function: Callable[[dict[str, Array]], Array], which: str) -> Array:
    """Return d function / d (x, w or b) of the small layer, by complex steps."""
    return complex_steps(function, {n: small_layer()[n] for n in "xwb"}, which)


@functools.cache
def true_jacobian(name: str, which: str) -> Array:
    """Return d y / d (x, w or b): (n * k, size), in row layout."""

    def layer(p: dict[str, Array]) -> Array:
        return ANALYTIC[name](p["x"] @ p["w"] + p["b"]).ravel()

    return steps(layer, which)


@pytest.mark.parametrize("which", ["x", "w", "b"])
@layouts
@pytest.mark.parametrize("name", NAMES)
def test_jacobian_of_every_layer(name: str, samples: str, which: str) -> None:
    """Each row of the Jacobian is a backward pass for one unit vector."""
    data = small_layer()
    x, w, b = turn(data["x"], samples), turn(data["w"], samples), data["b"]
    y, cache = fg.dense_forward(x, w, b, name, samples=samples)
    units = np.eye(y.size).reshape(-1, *data["g"].shape)
    rows = [getattr(fg.dense_backward(turn(e, samples), cache), which) for e in units]
    got = np.array([(turn(r, samples) if r.ndim == 2 else r).ravel() for r in rows])
    np.testing.assert_allclose(got, true_jacobian(name, which), rtol=GRADIENT_RTOL, atol=0)


@functools.cache
def true_gradient(name: str, loss: str, reduction: str, which: str) -> Array:
    """Return the gradient of a loss of a layer, by complex steps in row layout."""

    def total(p: dict[str, Array]) -> Array:
        y = ANALYTIC[name](p["x"] @ p["w"] + p["b"])
        return np.asarray(REDUCE[reduction](TERMS[loss](y, small_layer()["t"])))

    return steps(total, which).reshape(small_layer()[which].shape)


@pytest.mark.parametrize("reduction", list(REDUCE))
@layouts
@pytest.mark.parametrize("name, loss", THROUGH)
def test_gradients_through_every_loss(name: str, loss: str, samples: str, reduction: str) -> None:
    data = small_layer()
    x, w, t = (turn(data[n], samples) for n in "xwt")
    y, cache = fg.dense_forward(x, w, data["b"], name, samples=samples)
    row = fg.losses.LOSSES[loss]
    targets = () if isinstance(row, fg.losses.ArrayLoss) else (t,)
    _, grad_y = row.value_and_grad(y, *targets, reduction=reduction, samples=samples)
    grads = fg.dense_backward(grad_y, cache)
    # The sum of a softmax is constant: the true gradient is 0, its terms are of size 1.
    atol = 2 * np.finfo(float).eps * y.size if (name, loss) == ("softmax", "sum") else 0
    for which in ("x", "w", "b"):
        got = getattr(grads, which)
        np.testing.assert_allclose(
            turn(got, samples) if got.ndim == 2 else got,
            true_gradient(name, loss, reduction, which),
            rtol=GRADIENT_RTOL,
            atol=atol,
            err_msg=f"grad_{which}",
        )


@layouts
@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_adjoint_of_the_derivative(name: str, samples: str) -> None:
    """<J u, v> = <u, J^T v> for random directions, on a shape with blocks and ragged edges."""
    n, d, k = shape_of("BB+9 x 21 x 2NR+1", "float64")
    rng = rng_of("adjoint", name)
    x, w, b, v, dx, dw, db = (
        rng.standard_normal(s) for s in ((n, d), (d, k), (k,), (n, k), (n, d), (d, k), (k,))
    )
    w, dw = w / math.sqrt(d), dw / math.sqrt(d)
    z, dz = x @ w + b, dx @ w + x @ dw + db
    forward = np.imag(ANALYTIC[name](z + 1j * STEP * dz)) / STEP * v
    _, cache = fg.dense_forward(turn(x, samples), turn(w, samples), b, name, samples=samples)
    grads = fg.dense_backward(turn(v, samples), cache)
    backward = [turn(grads.x, samples) * dx, turn(grads.w, samples) * dw, grads.b * db]
    left, right = math.fsum(forward.flat), math.fsum(itertools.chain(*(a.flat for a in backward)))
    size = abs(forward).sum() + sum(abs(a).sum() for a in backward)
    assert abs(left - right) <= ADJOINT_RTOL * size
