"""Every row of the table of activations: values, special values, derivatives, shapes, errors.

Values are held against mpmath within the row's ULP on a stratified sample; the exhaustive counts
are those of ``test_vector_math.py``. What softmax alone has is in ``test_softmax.py``.
"""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from conftest import DTYPES, FORMS, Array, rng_of, same_bits, ulp, ulp_distance
from tolerances import PRODUCT_SLOPE_U, PRODUCT_SLOPES, REFERENCE_EPS, SLOPE_U, U
from truth import DIGITS, ELEMENTWISE, TABLE, TRUTH, two_words

import fastgrad as fg
from fastgrad import reference
from fastgrad.activations import BUILT_IN

FROM_OUTPUT = [name for name in ELEMENTWISE if TABLE[name].from_output]
FROM_INPUT = [name for name, row in TABLE.items() if not row.from_output]

dtypes = pytest.mark.parametrize("dtype", DTYPES)

# -- values and derivatives against the truth ----------------------------------------------------


@functools.cache
def sample(dtype: str) -> Array:
    """Return a stratified sample: every binade of both signs, the dense middle, the edges."""
    info, rng = np.finfo(dtype), rng_of("sample", dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp, 7 if dtype == "float32" else 53)
    binades = np.ldexp(rng.uniform(1, 2, exponents.size), exponents)
    middle = np.concatenate(
        [rng.uniform(0, 2, 60), rng.uniform(0, 20, 120), rng.uniform(0, 120, 40)]
    )
    # Where sigmoid, tanh, exp, gelu end or turn subnormal, and where argument reductions turn.
    edges = [0.0, 0.25, 0.5, np.log(2) / 2, np.log(2), 1.0, 3.0, 5.5, 9.0, 14.0, 16.6, 17.3, 37.5,
             38.6, 40.0, 87.3, 88.0, 88.72, 89.0, 103.9, 104.5, 708.4, 709.78, 710.0, 744.4, 745.2,
             746.0]  # fmt: skip
    positive = np.concatenate([binades, middle, edges]).astype(dtype)
    around = np.nextafter(positive[-len(edges) :], np.array(np.inf, dtype))
    extremes = np.array([info.max, info.tiny, info.smallest_subnormal], dtype)
    half = np.concatenate([positive, around, extremes])
    return np.unique(np.concatenate([half, -half]))


@functools.cache
def truth(name: str, dtype: str, which: str) -> tuple[Array, Array]:
    """Return the exact ``"value"`` or ``"slope"`` on the sample, in two words."""
    exact = getattr(TRUTH[name], which)
    with mp.workdps(DIGITS):
        return two_words([exact(mp.mpf(z)) for z in sample(dtype).tolist()])


@dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_are_within_the_ulp_of_the_row(name: str, dtype: str) -> None:
    z, limit = sample(dtype), TABLE[name].ulp[DTYPES.index(dtype)]
    exact, rest = truth(name, dtype, "value")
    with np.errstate(over="ignore"):
        overflow = np.isinf(exact.astype(dtype))
    exact = np.where(overflow, np.copysign(np.inf, exact), exact)
    error = ulp_distance(TABLE[name](z), exact, rest)
    worst = int(error.argmax())
    assert error[worst] <= limit, f"{error[worst]:.3f} ULP at {z[worst]!r}"


@dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_are_true(name: str, dtype: str) -> None:
    """Products keep relative accuracy into the tails; sums that of their largest term."""
    z, u = sample(dtype), U[dtype]
    exact, rest = truth(name, dtype, "slope")
    got = TABLE[name].derivative(z).astype(np.float64)
    subnormal = float(np.finfo(dtype).smallest_subnormal)
    if name in PRODUCT_SLOPES:
        # 4 e / (1 + e)**2: tanh multiplies what rounding does to a subnormal e by 4.
        spacing = subnormal * (4 if name == "tanh" else 1)
        bound = PRODUCT_SLOPE_U * u * abs(exact) + spacing
    else:
        bound = SLOPE_U * u * np.maximum(1, abs(exact))
    with np.errstate(over="ignore", invalid="ignore"):
        infinite = np.isinf(exact.astype(dtype))
        error = np.where(infinite & (got == exact.astype(dtype)), 0, abs((got - exact) - rest))
    bad = ~(error <= np.where(infinite, 0, bound))
    assert not bad.any(), f"at {z[bad]}: {got[bad]}, not {exact[bad]}"


@dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_special_values(name: str, dtype: str) -> None:
    row = TABLE[name]
    z = np.array([np.inf, -np.inf, 0.0], dtype)
    slopes = np.array(TRUTH[name].limit_slopes, dtype)
    exact = np.array(TRUTH[name].limits)
    rounded = row.ulp[DTYPES.index(dtype)] if name == "softplus" else 0
    assert (ulp_distance(row(z), exact) <= rounded).all()
    np.testing.assert_array_equal(row.derivative(z), slopes)
    np.testing.assert_array_equal(row.derivative(-z[2:]), slopes[2:])
    for bad in (np.nan, -np.nan):
        z = np.full(3, bad, dtype)
        assert np.isnan(row(z)).all()
        if name != "identity":
            assert np.isnan(row.backward(np.ones(3, dtype), z)).all()
            assert np.isnan(row.derivative(z)).all()
    if TRUTH[name].keeps_sign_of_zero:
        zeros = np.array([0.0, -0.0], dtype)
        np.testing.assert_array_equal(np.signbit(row(zeros)), [False, True])


# -- derivatives against the reference -----------------------------------------------------------


@functools.cache
def grid(dtype: str) -> tuple[Array, Array]:
    """Return grad_y and z of a shape that no chunk or strip divides."""
    rng = rng_of("grid", dtype)
    return tuple((s * rng.standard_normal((9, 61))).astype(dtype) for s in (1, 3))  # type: ignore


@dtypes
@pytest.mark.parametrize("name", BUILT_IN)
def test_agrees_with_the_reference(name: str, dtype: str) -> None:
    """Both within the bounds of a value or slope, which the other tests measure exactly."""
    row, twin = TABLE[name], reference.ACTIVATIONS[name]
    g, z = grid(dtype)
    g64, z64 = g.astype(np.float64), z.astype(np.float64)
    u = U[dtype]
    y, y64 = row(z), twin(z64)
    ulps = row.ulp[DTYPES.index(dtype)]
    own = REFERENCE_EPS[name](abs(z64)) if dtype == "float64" else 0
    assert (abs(y - y64) <= 2 * u * (ulps + own) * abs(y64) * (1 + 8 * u)).all()
    scale = 1.0 if row.rowwise else np.maximum(1, abs(twin.backward(np.ones_like(z64), z64)))
    bound = 2 * SLOPE_U * u * scale * (abs(g64) + (abs(g64).max() if row.rowwise else 0))
    assert (abs(row.backward(g, z) - twin.backward(g64, z64)) <= bound).all()
    if not row.rowwise:
        slope = twin.derivative(z64)
        assert (abs(row.derivative(z) - slope) <= 2 * SLOPE_U * u * scale).all()
        assert same_bits(row.backward(np.ones_like(z), z), row.derivative(z))
    if row.from_output:
        from_output = twin.backward_from_output(g64, y.astype(np.float64))
        assert (abs(row.backward_from_output(g, y) - from_output) <= bound).all()


@dtypes
@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_slope_from_output(name: str, dtype: str) -> None:
    """grad_z of an exactly given y, against the formula in long double arithmetic."""
    g, z = grid(dtype)
    y = TABLE[name](z)
    formula = TRUTH[name].slope_of_y
    assert formula is not None
    wide = formula(y.astype(np.longdouble))
    got = TABLE[name].backward_from_output(g, y).astype(np.longdouble)
    # Roundings: the constant, a difference that is exact or rounds once, a product or two, g *.
    bound = 4 * U[dtype] * abs(g) * np.maximum(abs(wide), abs(y) if name != "exp" else 0)
    assert (abs(got - g * wide) <= bound + 4 * U[dtype] * abs(g) * abs(wide)).all()


@pytest.mark.parametrize("name", FROM_INPUT)
def test_from_output_refuses_where_y_does_not_say(name: str) -> None:
    with pytest.raises(ValueError) as error:
        TABLE[name].backward_from_output([1.0], [1.0])
    assert str(error.value) == (
        f"{name}.backward_from_output: the derivative of {name} is not a function of its output: "
        f"use {name}.backward(grad_y, z)"
    )


# -- shapes, forms, out= -----------------------------------------------------------------------

SHAPES = [
    (), (1,), (7,), (31,), (32,), (33,), (255,), (256,), (257,), (600,), (0,), (3, 4), (1, 1),
    (5, 0), (0, 5), (3, 257), (2, 3, 4), (2, 0, 3), (2, 3, 4, 5), (1, 1, 1, 1),
]  # fmt: skip


def calls(name: str) -> list[tuple[str, Callable[..., Array]]]:
    """Return the methods of an activation as functions of (g, z, out)."""
    row = TABLE[name]
    found: list[tuple[str, Callable[..., Array]]] = [
        ("value", lambda g, z, out=None: row(z, out=out)),
        ("backward", lambda g, z, out=None: row.backward(g, z, out=out)),
    ]
    if not row.rowwise:
        found.append(("derivative", lambda g, z, out=None: row.derivative(z, out=out)))
    if row.from_output:
        found.append(
            ("from_output", lambda g, z, out=None: row.backward_from_output(g, z, out=out))
        )
    return found


@dtypes
@pytest.mark.parametrize(
    "name, shape",
    [(name, shape) for name in BUILT_IN for shape in SHAPES if shape or not TABLE[name].rowwise],
    ids=lambda v: v if isinstance(v, str) else "x".join(map(str, v)) or "scalar",
)
def test_shapes(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Each element (softmax: row) is what it is alone, in an array of the shape of z."""
    rng = rng_of(shape)
    g, z = (rng.uniform(0.1, 0.9, shape).astype(dtype) for _ in range(2))
    for _, call in calls(name):
        result = call(g, z)
        assert isinstance(result, np.ndarray)
        assert result.shape == shape
        assert result.dtype == dtype
        out = np.empty(shape, dtype)
        assert call(g, z, out=out) is out
        assert same_bits(out, result)
        if not TABLE[name].rowwise and z.size > 0:
            last = call(g.reshape(-1)[-1:], z.reshape(-1)[-1:])
            assert same_bits(last, result.reshape(-1)[-1:])


@dtypes
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "softmax", "identity"])
def test_forms(name: str, form: str, dtype: str) -> None:
    rng = rng_of(form)
    g, z = (rng.uniform(0.1, 0.9, (5, 37)).astype(dtype) for _ in range(2))
    make = FORMS[form]
    for _, call in calls(name):
        clean = call(g, z)
        for args in ((make(g), z), (g, make(z)), (make(g), make(z))):
            result = call(*args)
            assert type(result) is np.ndarray
            assert same_bits(result, clean)
        transposed = call(np.broadcast_to(g[:1], g.shape), z)
        assert same_bits(transposed, call(g[[0] * len(g)], z))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("name", ["tanh", "softmax"])
def test_axis_orders(name: str, order: tuple[int, ...]) -> None:
    rng = rng_of("orders")
    g, z = (rng.uniform(0.1, 0.9, (3, 4, 5)) for _ in range(2))
    for _, call in calls(name):
        expected = call(g.transpose(order).copy(), z.transpose(order).copy())
        assert same_bits(call(g.transpose(order), z.transpose(order)), expected)
        assert same_bits(call(g.transpose(order).copy(), z.transpose(order)), expected)


OUT_FORMS: dict[str, Callable[[Array], Array]] = {
    "fortran": np.asfortranarray,
    "sliced": FORMS["sliced"],
    "reversed": FORMS["reversed"],
    "unaligned": FORMS["unaligned"],
    "record_field": FORMS["record_field"],
}


@pytest.mark.parametrize("form", list(OUT_FORMS))
@pytest.mark.parametrize("name", ["tanh", "softmax", "silu"])
def test_out_of_any_form(name: str, form: str) -> None:
    rng = rng_of("out")
    g, z = (rng.uniform(0.1, 0.9, (5, 37)) for _ in range(2))
    for _, call in calls(name):
        out = OUT_FORMS[form](np.zeros((5, 37)))
        assert call(g, z, out=out) is out
        assert same_bits(out, call(g, z))


@pytest.mark.parametrize(
    "given, work, result",
    [
        ("float16", "float32", "float16"),
        ("int8", "float64", "float64"),
        ("uint64", "float64", "float64"),
        ("bool", "float64", "float64"),
        (">f4", "float32", "float32"),
        (">f8", "float64", "float64"),
        (">i4", "float64", "float64"),
        (">f2", "float32", "float16"),
    ],
)
@pytest.mark.parametrize("name", BUILT_IN)
def test_dtypes(name: str, given: str, work: str, result: str) -> None:
    z = np.array([[0, 1, 1], [1, 0, 1]]).astype(given)
    for what, call in calls(name):
        got = call(z, z)
        assert same_bits(got, call(z.astype(work), z.astype(work)).astype(result)), what
    mixed = TABLE[name].backward(np.ones((2, 3), np.float32), z)
    assert mixed.dtype == np.result_type(np.float32, given)


def test_python_numbers_and_lists() -> None:
    assert fg.relu(3).tolist() == 3.0
    assert fg.relu([-1, 2]).tolist() == [0.0, 2.0]
    assert fg.relu([[True]]).dtype == np.float64
    assert fg.tanh.backward(2.0, 0.0).shape == ()


def test_float16_overflows_without_a_warning() -> None:
    z = np.array([6e4, 12.0], np.float16)
    assert fg.exp(z).tolist() == [np.inf, np.inf]
    assert fg.exp.derivative(z).tolist() == [np.inf, np.inf]
    assert fg.identity.backward(z, z).tolist() == z.tolist()


@pytest.mark.parametrize("name", BUILT_IN)
def test_inputs_are_not_written(name: str) -> None:
    g, z = (a.copy() for a in grid("float32"))
    before = g.copy(), z.copy()
    for _, call in calls(name):
        result = call(g, z)
        assert not np.shares_memory(result, g)
        assert not np.shares_memory(result, z)
    assert same_bits(g, before[0])
    assert same_bits(z, before[1])


# -- the objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_rows_say_what_they_are(name: str) -> None:
    row = TABLE[name]
    assert getattr(fg, name) is getattr(fg.activations, name) is row
    assert pickle.loads(pickle.dumps(row)) is row
    assert row.formula in repr(row)
    assert row.formula in (row.__doc__ or "")
    assert isinstance(row, fg.Activation)


# -- the ruler -------------------------------------------------------------------------------------


def test_ulp_helpers() -> None:
    """One neighbour away is one ULP, at every size."""
    for dtype in DTYPES:
        info = np.finfo(dtype)
        for value in (1.0, 1.5, 2.0, float(info.tiny), float(info.smallest_subnormal), 1e30, 0.1):
            x = np.array([value], dtype)
            up = np.nextafter(x, np.array(np.inf, dtype))
            assert ulp_distance(up, x.astype(float))[0] == 1
            assert ulp(x.astype(float), dtype)[0] == np.spacing(x)[0]
    assert ulp_distance(np.array([np.inf]), np.array([1.0]))[0] == np.inf
    assert ulp_distance(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])).tolist() == [0, 0]
