"""Laws of the public API, for any shapes, dtypes, layouts and strides that Hypothesis thinks of.

The same examples on every run; ``-m exhaustive`` tries many new ones. A law is a function of
drawn arguments in `LAWS`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from adversarial import close, equal_bits, promoted
from conftest import DTYPES, LAYOUTS, Array, same_bits, turn
from hostile_arrays import HOSTILE
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tolerances import GRADIENT_RTOL, U
from truth import LOSS_TRUTH

import fastgrad as fg
from fastgrad import reference
from fastgrad.activations import ACTIVATIONS, BUILT_IN
from fastgrad.arguments import REDUCTIONS
from fastgrad.losses import LOSSES, ArrayLoss

LAWS: dict[str, Callable[[], None]] = {}
ALL = ("x", "w", "b", "z")


def law(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a law of drawn arguments."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        LAWS[check.__name__] = given(**strategies)(check)
        return check

    return register


def hold(name: str, examples: int, derandomize: bool) -> None:
    settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(LAWS[name])()


# -- what is drawn -----------------------------------------------------------------------------


class Dense(NamedTuple):
    """A layer and its data, in the row layout unless transposed."""

    x: Array
    w: Array
    b: Array
    g: Array
    name: str | None
    samples: str

    def transposed(self) -> tuple[Array, Array, Array, Array]:
        """Return x, w, b and grad_y in the layer's layout."""
        return (
            turn(self.x, self.samples), turn(self.w, self.samples), self.b,
            turn(self.g, self.samples),
        )  # fmt: skip

    def run(self, *arrays: Any) -> tuple[Array, fg.DenseGrads]:
        x, w, b, g = arrays or self.transposed()
        y, cache = fg.dense_forward(x, w, b, self.name, samples=self.samples)
        return y, fg.dense_backward(g, cache, need=ALL)


def grid(rng: np.random.Generator, *shape: int) -> Array:
    """Return multiples of 1/64 up to 1/4: see TAME_U."""
    return np.asarray(rng.integers(-16, 17, shape) / 64.0)


@st.composite
def layers(draw: Any, least: int = 0, names: Any = (None, *BUILT_IN)) -> Dense:
    size = st.integers(least, 34)
    n, d, k = draw(size), draw(size), draw(size)
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = [grid(rng, *shape).astype(dtype) for shape in ((n, d), (d, k), (k,), (n, k))]
    return Dense(*arrays, draw(st.sampled_from(names)), draw(st.sampled_from(LAYOUTS)))


@st.composite
def loss_calls(draw: Any, names: Any = tuple(LOSSES)) -> tuple[Any, list[Array], str, str]:
    """Return (loss, arrays in row layout, reduction, dtype)."""
    n, d = draw(st.integers(1, 34)), draw(st.integers(1, 34))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    loss: Any = LOSSES[draw(st.sampled_from(names))]
    dtype = draw(st.sampled_from(DTYPES))
    arrays = [LOSS_TRUTH[loss.name].domain((grid(rng, n, d) * 16).astype(dtype))]
    if not isinstance(loss, ArrayLoss):
        arrays.append(abs(grid(rng, n, d)).astype(dtype))
    return loss, arrays, draw(st.sampled_from(REDUCTIONS)), draw(st.sampled_from(LAYOUTS))


# -- layers ------------------------------------------------------------------------------------


@law(layer=layers())
def layers_are_those_of_the_reference(layer: Dense) -> None:
    x, w, b, g = layer.transposed()
    y, grads = layer.run()
    expected, cache = reference.dense_forward(x, w, b, layer.name, samples=layer.samples)
    truth = reference.dense_backward(g, cache, need=ALL)
    assert close(y, expected, x.dtype.name)
    for n in ALL:
        assert close(getattr(grads, n), getattr(truth, n), x.dtype.name), n


@law(layer=layers())
def columns_are_transposed_rows(layer: Dense) -> None:
    y, grads = layer._replace(samples="rows").run()
    y_t, grads_t = layer._replace(samples="columns").run()
    assert same_bits(y_t.T, y)
    assert same_bits(grads_t.b, grads.b)
    for n in ("x", "w", "z"):
        assert same_bits(getattr(grads_t, n).T, getattr(grads, n)), n


@law(layer=layers(least=1), data=st.data())
def a_sample_alone_has_the_same_bits(layer: Dense, data: Any) -> None:
    i = data.draw(st.integers(0, len(layer.x) - 1))
    y, grads = layer._replace(samples="rows").run()
    one, alone = layer._replace(x=layer.x[i : i + 1], g=layer.g[i : i + 1], samples="rows").run()
    assert same_bits(one[0], y[i])
    assert same_bits(alone.x[0], grads.x[i])
    vector, of_vector = layer._replace(x=layer.x[i], g=layer.g[i], samples="rows").run()
    assert same_bits(vector, y[i])
    assert same_bits(of_vector.x, grads.x[i])


@law(layer=layers(), seed=st.integers(0, 2**32 - 1))
def permuting_samples_permutes_outputs(layer: Dense, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(layer.x))
    y, grads = layer._replace(samples="rows").run()
    z, moved = layer._replace(x=layer.x[order], g=layer.g[order], samples="rows").run()
    assert same_bits(z, y[order])
    assert same_bits(moved.x, grads.x[order])
    assert same_bits(moved.z, grads.z[order])


@law(layer=layers(), power=st.integers(-20, 20))
def backward_is_linear_in_grad_y(layer: Dense, power: int) -> None:
    """Exactly so for powers of two, as nothing underflows."""
    factor = layer.g.dtype.type(2.0**power)
    _, grads = layer.run()
    _, scaled = layer._replace(g=layer.g * factor).run()
    tiny = np.finfo(layer.g.dtype).tiny * 2.0**70
    for n in ALL:
        a = getattr(grads, n)
        assume(not ((a != 0) & (abs(a) < tiny)).any())
        np.testing.assert_array_equal(getattr(scaled, n), a * factor)


@law(layer=layers())
def accumulating_adds(layer: Dense) -> None:
    """To zeros the same bits; a second time the sum, rounded once (x, z) or in the chain."""
    x, w, b, g = layer.transposed()
    _, cache = fg.dense_forward(x, w, b, layer.name, samples=layer.samples)
    grads = fg.dense_backward(g, cache, need=ALL)
    outs = {n: np.zeros_like(a) for n, a in grads._asdict().items()}
    fg.dense_backward(g, cache, need=ALL, out=outs, accumulate=True)
    for n in ALL:
        np.testing.assert_array_equal(outs[n], getattr(grads, n))
    fg.dense_backward(g, cache, need=ALL, out=outs, accumulate=True)
    for n in ("x", "z"):
        np.testing.assert_array_equal(outs[n], getattr(grads, n) + getattr(grads, n))
    for n in ("w", "b"):
        assert close(outs[n], 2 * getattr(grads, n).astype(np.float64), x.dtype.name)


@law(layer=layers(), data=st.data())
def need_changes_nothing_else(layer: Dense, data: Any) -> None:
    need = tuple(data.draw(st.lists(st.sampled_from(ALL), max_size=5)))
    x, w, b, g = layer.transposed()
    _, cache = fg.dense_forward(x, w, b, layer.name, samples=layer.samples)
    grads, some = fg.dense_backward(g, cache, need=ALL), fg.dense_backward(g, cache, need=need)
    for n in ALL:
        got = getattr(some, n)
        assert (got is None) == (n not in need)
        assert got is None or same_bits(got, getattr(grads, n))


FORMS_OF_MATRICES = [n for n in HOSTILE if n not in ("list", "nested lists", "scalar", "windows",
                                                     "broadcast", "all strides zero")]  # fmt: skip


@law(layer=layers(), data=st.data())
def memory_layout_and_out_change_nothing(layer: Dense, data: Any) -> None:
    y, grads = layer.run()
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    formed = [HOSTILE[data.draw(st.sampled_from(FORMS_OF_MATRICES))](rng, a)
              for a in layer.transposed()]  # fmt: skip
    z, others = layer.run(*formed)
    assert same_bits(z, y)
    for n in ALL:
        assert same_bits(getattr(others, n), getattr(grads, n)), n
    out = np.full_like(y, 7)
    x, w, b, _ = layer.transposed()
    assert fg.dense(x, w, b, layer.name, samples=layer.samples, out=out) is out
    assert same_bits(out, y)


@law(layer=layers())
def layers_are_activations_of_products(layer: Dense) -> None:
    x, w, b, g = layer.transposed()
    z, cache = fg.dense_forward(x, w, b, samples=layer.samples)
    y, grads = layer.run()
    if layer.name is None:
        assert same_bits(y, z)
        return
    act = ACTIVATIONS[layer.name]
    axis = {"axis": -1 if layer.samples == "rows" else 0} if act.rowwise else {}
    assert same_bits(act(z, **axis), y)
    back = act.backward_from_output(g, y, **axis) if act.from_output else act.backward(g, z)
    assert same_bits(back, grads.z)
    assert same_bits(fg.dense_backward(back, cache).w, grads.w)


@law(layer=layers(least=1, names=BUILT_IN))
def modules_are_the_functions(layer: Dense) -> None:
    x, w, b, g = layer.transposed()
    first = fg.nn.Linear(w.shape[layer.samples == "columns"], len(b), True, layer.samples,
                         w.dtype.name)  # fmt: skip
    first.w, first.b = w, b if layer.samples == "rows" else b[:, None]
    net = fg.nn.Sequential([first, fg.nn.Activation(layer.name, layer.samples)])
    y, grads = layer.run()
    assert same_bits(net.forward(x), y)
    assert same_bits(net.backward(g), grads.x)
    assert same_bits(first.grad_w, grads.w)
    assert same_bits(first.grad_b.ravel(), grads.b)


@law(layer=layers(least=1), loss=st.sampled_from(sorted(LOSSES)))
def networks_are_their_layers(layer: Dense, loss: str) -> None:
    """Fewer samples than a block: the same chains, so the same bits."""
    x, w, b, g = layer.transposed()
    assume(loss != "nll" or layer.name in ("softmax", "sigmoid"))
    rowwise = layer.name == "softmax" or LOSSES[loss].rowwise
    assume(not rowwise or len(b) > 1)  # of one output: refused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.SettingsWarning)  # probabilities as logits
        net = fg.MLP(layer.w.shape, (layer.name,), loss, "sum",
                     samples=layer.samples, dtype=x.dtype.name)  # fmt: skip
    params = net.pack([(w, b)])
    y, cache = fg.dense_forward(x, w, b, layer.name, samples=layer.samples)
    assert same_bits(net.predict(params, x), y)
    target = [] if isinstance(LOSSES[loss], ArrayLoss) else [np.minimum(abs(g), 1)]
    value, grad_y = LOSSES[loss].value_and_grad(y, *target, reduction="sum", samples=layer.samples)
    got, grad = net.value_and_grad(params, x, *target)
    assert math.isclose(got, value, rel_tol=1e-13)
    grads = fg.dense_backward(grad_y, cache)
    assert same_bits(grad, net.pack([(grads.w, grads.b)]))


# -- activations and losses --------------------------------------------------------------------

FINITE = {
    dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
                      elements=st.floats(-50, 50, width=np.dtype(dtype).itemsize * 8))
    for dtype in DTYPES
}  # fmt: skip


@law(z=st.sampled_from(DTYPES).flatmap(FINITE.get), name=st.sampled_from(BUILT_IN))
def activations_act_on_each_element_alone(z: Array, name: str) -> None:
    act = ACTIVATIONS[name]
    if act.rowwise:
        assume(z.ndim and z.size)
        y, rows = act(z), act(z.reshape(-1, z.shape[-1]))
        assert same_bits(y.reshape(rows.shape), rows)
        # Each output is right to 6 eps, and they add up to 1.
        np.testing.assert_allclose(rows.sum(axis=1, dtype=np.float64), 1, 0, 12 * U[z.dtype.name])
        return
    y = act(z)
    assert y.shape == z.shape
    assert y.dtype == z.dtype
    assert same_bits(y.ravel(), act(z.ravel()))
    assert same_bits(y.T, act(z.T))
    for index in list(np.ndindex(z.shape))[:3]:
        assert same_bits(np.asarray(act(z[index])), np.asarray(y[index]))
    ones = np.ones_like(z)
    assert same_bits(act.backward(ones, z), act.derivative(z))


@law(call=loss_calls())
def reductions_differ_by_a_factor(call: Any) -> None:
    loss, arrays, _, samples = call
    n, d = arrays[0].shape
    arrays = [turn(a, samples) for a in arrays]
    total = loss(*arrays, "sum", samples)
    terms = n if loss.rowwise else n * d
    assert math.isclose(loss(*arrays, "mean", samples), total / terms, rel_tol=4 * U["float64"])
    assert math.isclose(loss(*arrays, "samples", samples), total / n, rel_tol=4 * U["float64"])


@law(call=loss_calls())
def losses_are_those_of_the_reference(call: Any) -> None:
    loss, arrays, reduction, samples = call
    arrays = [turn(a, samples) for a in arrays]
    value, grad = loss.value_and_grad(*arrays, reduction, samples)
    assert value == loss(*arrays, reduction, samples)
    twin = reference.losses.LOSSES[loss.name]
    expected, truth = twin.value_and_grad(*arrays, reduction, samples)
    assert close(value, expected, arrays[0].dtype.name)
    assert close(grad, truth, arrays[0].dtype.name)


@law(call=loss_calls())
def losses_of_columns_are_those_of_rows(call: Any) -> None:
    loss, arrays, reduction, _ = call
    value, grad = loss.value_and_grad(*arrays, reduction)
    other, grad_t = loss.value_and_grad(*(turn(a, "columns") for a in arrays), reduction, "columns")
    assert other == value
    assert same_bits(grad_t.T, grad)


@law(call=loss_calls(["softmax_cross_entropy"]), seed=st.integers(0, 2**32 - 1))
def classes_are_one_hot_rows(call: Any, seed: int) -> None:
    loss, (pred, _), reduction, samples = call
    labels = np.random.default_rng(seed).integers(0, pred.shape[1], len(pred))
    hot = np.eye(pred.shape[1], dtype=pred.dtype)[labels]
    value, grad = loss.value_and_grad(turn(pred, samples), labels, reduction, samples)
    other, grad_hot = loss.value_and_grad(
        turn(pred, samples), turn(hot, samples), reduction, samples
    )
    assert math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-6)
    assert close(grad, grad_hot, pred.dtype.name)


# -- differences -------------------------------------------------------------------------------

POINTS = hnp.arrays(
    "float64", hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    elements=st.floats(-4, 4),
)  # fmt: skip


@law(x=POINTS, a=st.floats(-8, 8), b=st.floats(-8, 8))
def differences_of_parabolas_are_exact_but_for_rounding(x: Array, a: float, b: float) -> None:
    """The central difference has no error term of second order."""

    def parabola(x: Array) -> Array:
        return a * x * x + b * x

    slope = 2 * a * x + b
    # f is up to 8 * 16 + 8 * 4 + h, rounded three times, over 2 h.
    atol = 3 * 200 * U["float64"] / 1e-3
    np.testing.assert_allclose(fg.deriv(parabola, x), slope, rtol=0, atol=atol)
    grad = fg.numerical_grad(lambda x: parabola(x).sum(), x, delta=1e-3)
    np.testing.assert_allclose(grad, slope, rtol=0, atol=30 * atol)
    exact = fg.numerical_grad(lambda x: parabola(x).sum(), x, method="complex")
    np.testing.assert_allclose(exact, slope, rtol=GRADIENT_RTOL, atol=64 * U["float64"] * 70)
    jacobian = fg.jacobian(parabola, x, delta=1e-3).reshape(x.size, x.size)
    np.testing.assert_allclose(jacobian, np.diag(slope.ravel()), rtol=0, atol=atol)
    assert fg.check_grad(lambda x: parabola(x).sum(), slope, x).ok


# -- the front door ----------------------------------------------------------------------------

ANY_DTYPE = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(endianness="?"), hnp.complex_number_dtypes(), hnp.datetime64_dtypes(),
    st.sampled_from(["S2", "U3", "O", "g", [("a", "f8"), ("b", "i1")]]).map(np.dtype),
)  # fmt: skip


@st.composite
def any_arrays(draw: Any) -> Any:
    """Return an array of any dtype, indexed and transposed in any way."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = draw(hnp.arrays(draw(ANY_DTYPE), shape))
    if array.ndim and draw(st.booleans()):
        array = array[draw(hnp.basic_indices(array.shape, allow_newaxis=True))]
    if isinstance(array, np.ndarray) and draw(st.booleans()):
        array = array.transpose(draw(st.permutations(range(array.ndim))))
    if draw(st.booleans()):
        array = np.broadcast_to(array, (2, *np.shape(array)))
    return array


@law(x=any_arrays(), w=any_arrays(), out=st.none() | any_arrays(), data=st.data())
def the_front_door_answers_or_refuses(x: Any, w: Any, out: Any, data: Any) -> None:
    """Whatever comes: the bits of clean copies, or an error that names function and argument."""
    samples = data.draw(st.sampled_from(LAYOUTS))
    if data.draw(st.booleans()) and np.ndim(x):  # else w hardly ever fits
        w = np.ones((np.shape(x)[-1], 3) if samples == "rows" else (3, np.shape(x)[0]), "f4")
    try:
        y = fg.dense(x, w, samples=samples, out=out)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(("dense: x ", "dense: w ", "dense: out ")), error
        return
    dtype = promoted(*(np.asarray(a).dtype for a in (x, w)))
    work = np.result_type(dtype, np.float32)
    with np.errstate(all="ignore"):
        clean = [np.array(np.asarray(a), work, order="C") for a in (x, w)]
        expected = np.asarray(fg.dense(*clean, samples=samples)).astype(dtype)
    assert equal_bits(y, expected)


@pytest.mark.parametrize("name", LAWS)
def test_law(name: str) -> None:
    hold(name, 60, derandomize=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", LAWS)
def test_law_on_new_examples(name: str) -> None:
    hold(name, 3000, derandomize=False)
