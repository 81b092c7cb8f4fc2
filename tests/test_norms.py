"""Layer and batch normalization: values and gradients, bits, running statistics, errors.

The oracles are a forward pass of this file in longdouble and in complex steps, PyTorch, and the
twins in `reference` and `loops`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import FORMS, Array, rng_of, same_bits

import fastgrad as fg
from fastgrad import loops, reference

PACKAGES = pytest.mark.parametrize("impl", [fg, reference, loops], ids=lambda m: m.__name__)
KINDS = pytest.mark.parametrize("kind", ["layer_norm", "batch_norm"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
# Ragged; one of each; one feature, one sample; more samples than a block; wider than a buffer.
SHAPES = [(7, 5), (1, 1), (9, 1), (1, 6), (600, 33), (3, 700)]
# Errors relative to the largest number of a result: a few roundings for y and grad_x; sums over
# 600 samples of numbers that may cancel.
RTOL = {"float32": 3e-6, "float64": 1e-12}


def data(kind: str, shape: tuple[int, ...], dtype: str = "float64") -> dict[str, Array]:
    """Return x, gain, bias and grad_y."""
    rng, d = rng_of(kind, shape), shape[-1]
    shapes = {"x": shape, "gain": (d,), "bias": (d,), "grad_y": shape}
    return {name: rng.standard_normal(s).astype(dtype) for name, s in shapes.items()}


def forward(impl: ModuleType, kind: str, a: dict[str, Any], **more: Any) -> Any:
    return getattr(impl, f"{kind}_forward")(a["x"], a["gain"], a["bias"], **more)


def backward(impl: ModuleType, kind: str, a: dict[str, Any], cache: Any, **more: Any) -> Any:
    return getattr(impl, f"{kind}_backward")(a["grad_y"], cache, **more)


def both(impl: ModuleType, kind: str, a: dict[str, Any], **more: Any) -> list[Array]:
    """Return y and the three gradients."""
    y, cache = forward(impl, kind, a, **more)
    return [y, *backward(impl, kind, a, cache)]


def formula(kind: str, a: dict[str, Any], eps: Any = 1e-5) -> Any:
    """Return y by the formula alone, in the dtype of the arrays; complex ones, too."""
    axis = 0 if kind == "batch_norm" else 1
    x = a["x"]
    for _ in range(2):  # a second time for what rounding left
        x = x - x.sum(axis, keepdims=True) / x.shape[axis]
    variance = (x * x).sum(axis, keepdims=True) / x.shape[axis]
    return x / np.sqrt(variance + eps) * a["gain"] + a["bias"]


def assert_close(got: Any, expected: Any, dtype: str) -> None:
    for one, other in zip(got, expected, strict=True):
        one, other = np.asarray(one, np.longdouble), np.asarray(other, np.longdouble)
        assert one.shape == other.shape
        if one.size:
            assert abs(one - other).max() <= RTOL[dtype] * max(abs(other).max(), 1.0)


# -- values and gradients ------------------------------------------------------------------------


@DTYPES
@KINDS
@pytest.mark.parametrize("shape", SHAPES)
def test_values(kind: str, dtype: str, shape: tuple[int, ...]) -> None:
    a = data(kind, shape, dtype)
    exact = {name: value.astype(np.longdouble) for name, value in a.items()}
    y, _ = forward(fg, kind, a)
    assert y.dtype == dtype
    assert_close([y], [formula(kind, exact, np.longdouble(1e-5))], dtype)


@KINDS
@pytest.mark.parametrize("shape", [(7, 5), (1, 6), (9, 1), (300, 3)])
def test_gradients_by_complex_steps(kind: str, shape: tuple[int, ...]) -> None:
    a = data(kind, shape)
    _, *grads = both(fg, kind, a)
    for name, grad in zip(("x", "gain", "bias"), grads, strict=True):
        places = rng_of(name).permutation(a[name].size)[:20]
        for place in places:
            step = a[name].astype(complex)
            step.flat[place] += 1e-30j
            y = formula(kind, {**a, name: step})
            truth = (y * a["grad_y"]).sum().imag / 1e-30
            assert abs(grad.flat[place] - truth) <= 1e-12 * max(1.0, abs(grad).max())


@KINDS
@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize("shape", [*SHAPES[:4], (2, 3, 4), (5,), (0, 4), (3, 0), (300, 7)])
def test_twins(kind: str, eps: float, shape: tuple[int, ...]) -> None:
    if eps == 0 and (shape == (5,) or 1 in shape):
        eps = 1e-2  # a variance of 0
    a = data(kind, shape)
    results = [both(impl, kind, a, eps=eps) for impl in (fg, reference, loops)]
    for other in results[1:]:
        assert_close(results[0], other, "float64")


@DTYPES
@KINDS
@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[4:])
def test_torch(torch: Any, kind: str, dtype: str, shape: tuple[int, ...]) -> None:
    a = data(kind, shape, dtype)
    t = {name: torch.tensor(value, requires_grad=name != "grad_y") for name, value in a.items()}
    if kind == "layer_norm":
        y = torch.nn.functional.layer_norm(t["x"], shape[-1:], t["gain"], t["bias"])
    else:
        y = torch.nn.functional.batch_norm(t["x"], None, None, t["gain"], t["bias"], True)
    y.backward(t["grad_y"])
    expected = [y.detach(), *(t[name].grad for name in ("x", "gain", "bias"))]
    # PyTorch sums float32 in float32.
    assert_close([v / 10 for v in both(fg, kind, a)], [v.numpy() / 10 for v in expected], dtype)


@DTYPES
@KINDS
@pytest.mark.parametrize("middle", [0.0, 1e2, 1e4, 1e6])
def test_a_large_mean_costs_no_digits(kind: str, middle: float, dtype: str) -> None:
    spread = max(1.0, middle * 2) * np.finfo(dtype).eps * 4 if middle else 1.0
    shape = (50, 33) if kind == "layer_norm" else (300, 5)
    x = (middle + spread * rng_of(kind, middle).standard_normal(shape)).astype(dtype)
    a = {"x": x, "gain": np.ones(shape[1], dtype), "bias": np.zeros(shape[1], dtype)}
    wide = {name: value.astype(np.longdouble) for name, value in a.items()}
    exact = formula(kind, wide, np.longdouble(1e-5))
    y, cache = forward(fg, kind, a)
    assert abs(y - exact).max() <= 2 * np.finfo(dtype).eps * abs(exact).max()
    grad = backward(fg, kind, {"grad_y": y}, cache, need="gain").gain
    truth = (exact * exact).sum(0)  # all terms are positive
    assert (abs(grad - truth) <= 16 * np.finfo(dtype).eps * np.maximum(truth, 1e-3)).all()


@PACKAGES
@KINDS
def test_no_variance(impl: ModuleType, kind: str) -> None:
    """With an eps everything is finite, without one 0 / 0."""
    a = data(kind, (4, 4))
    a["x"][...] = 0.1
    y, cache = forward(impl, kind, a)
    assert np.allclose(y, np.broadcast_to(a["bias"], (4, 4)), rtol=0, atol=1e-12)
    assert all(np.isfinite(grad).all() for grad in backward(impl, kind, a, cache))
    a["x"][...] = 0.5  # a power of two: the mean is exact
    results = both(impl, kind, a, eps=0.0)
    assert np.isnan(results[0]).all() and np.isnan(results[1]).all()


@PACKAGES
def test_a_negative_running_variance_gives_nan(impl: ModuleType) -> None:
    a = data("batch_norm", (4, 3))
    running = np.zeros(3), np.array([1.0, -1.0, 1.0])
    y, _ = forward(impl, "batch_norm", a, running=running, training=False)
    assert np.isnan(y).all(0).tolist() == [False, True, False]


# -- bits ----------------------------------------------------------------------------------------


@DTYPES
@KINDS
@pytest.mark.parametrize("shape", [(7, 5), (300, 9), (1, 4), (5, 1)])
def test_columns(kind: str, dtype: str, shape: tuple[int, ...]) -> None:
    a = data(kind, shape, dtype)
    turned = {n: v.T.copy() if v.ndim == 2 else v[:, None] for n, v in a.items()}
    rows, columns = both(fg, kind, a), both(fg, kind, turned, samples="columns")
    for one, other in zip(rows, columns, strict=True):
        assert other.shape == (one.T.shape if one.ndim == 2 else (*one.shape, 1))
        assert same_bits(one, np.ascontiguousarray(other.T).reshape(one.shape))
    for impl in (reference, loops):
        assert_close(both(impl, kind, turned, samples="columns"), columns, "float32")


@DTYPES
def test_samples_of_a_layer_norm_are_independent(dtype: str) -> None:
    a = data("layer_norm", (300, 17), dtype)
    y, cache = forward(fg, "layer_norm", a)
    grad = backward(fg, "layer_norm", a, cache).x
    for rows in (slice(0, 1), slice(7, 8), slice(255, 258), slice(100, 300)):
        part = {**a, "x": a["x"][rows], "grad_y": a["grad_y"][rows]}
        mine, of_part = forward(fg, "layer_norm", part)
        assert same_bits(mine, y[rows])
        assert same_bits(backward(fg, "layer_norm", part, of_part, need="x").x, grad[rows])
    one, cache = forward(fg, "layer_norm", {**a, "x": a["x"][7]})
    assert one.shape == (17,) and same_bits(one, y[7])


@DTYPES
def test_sums_of_a_layer_norm_are_those_of_a_bias(dtype: str) -> None:
    a = data("layer_norm", (600, 17), dtype)
    _, cache = forward(fg, "layer_norm", a)
    _, dense = fg.dense_forward(a["x"], np.eye(17, dtype=dtype), a["bias"])
    expected = fg.dense_backward(a["grad_y"], dense, need="b").b
    assert same_bits(backward(fg, "layer_norm", a, cache, need="bias").bias, expected)


@DTYPES
def test_sums_of_a_batch_norm_have_blocks(dtype: str) -> None:
    """Columns of integers sum exactly; others as float64 sums of 256 samples, added in order."""
    a = data("batch_norm", (600, 9), dtype)
    running = np.zeros(9), np.zeros(9)
    _, cache = forward(fg, "batch_norm", a, running=running, momentum=0.0)
    wide = a["grad_y"].astype(np.float64)
    total = np.zeros(9)
    for first in range(0, 600, 256):
        part = np.zeros(9)
        for row in wide[first : first + 256]:
            part = part + row
        total = total + part
    assert same_bits(backward(fg, "batch_norm", a, cache).bias, total.astype(dtype))
    means, variances = (f(a["x"], axis=0, dtype=np.float64) for f in (np.mean, np.var))
    assert np.allclose(running, (means, variances), rtol=1e-14, atol=1e-15)


@KINDS
@pytest.mark.parametrize("form", [name for name in FORMS if name != "scalar"])
def test_memory_layouts(kind: str, form: str) -> None:
    a = data(kind, (13, 11))
    laid_out = {name: FORMS[form](value) for name, value in a.items()}
    for one, other in zip(both(fg, kind, a), both(fg, kind, laid_out), strict=True):
        assert same_bits(one, other)


@KINDS
def test_a_nan_stays_where_it_belongs(kind: str) -> None:
    a = data(kind, (20, 6))
    clean, _ = forward(fg, kind, a)
    a["x"][3, 2] = np.nan
    y, _ = forward(fg, kind, a)
    lost = np.zeros((20, 6), bool)
    lost[(3, slice(None)) if kind == "layer_norm" else (slice(None), 2)] = True
    assert np.isnan(y[lost]).all() and same_bits(y[~lost], clean[~lost])


@KINDS
@pytest.mark.parametrize("strided", ["gain", "bias"])
def test_one_strided_vector(kind: str, strided: str) -> None:
    """All others are as the kernels take them."""
    a = data(kind, (13, 11))
    laid_out = {**a, strided: np.repeat(a[strided], 2)[::2]}
    for one, other in zip(both(fg, kind, a), both(fg, kind, laid_out), strict=True):
        assert same_bits(one, other)


# -- running statistics --------------------------------------------------------------------------


@PACKAGES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics_that_cannot_be_written_to(impl: ModuleType, dtype: str) -> None:
    a = {name: value.astype(dtype) for name, value in data("batch_norm", (4, 3)).items()}
    before = a["x"].copy()
    fixed = np.ones(3, dtype)
    fixed.flags.writeable = False
    for place in (0, 1):
        running = [np.zeros(3, dtype), np.zeros(3, dtype)]
        running[place] = fixed
        with pytest.raises(
            ValueError, match=rf"batch_norm_forward: running\[{place}\] .*read-only"
        ):
            forward(impl, "batch_norm", a, running=tuple(running))
        assert not running[1 - place].any()  # nothing is half-written
    for shared in (a["x"][1], a["gain"], a["bias"]):
        for running in ((shared, np.ones(3, dtype)), (np.zeros(3, dtype), shared)):
            with pytest.raises(ValueError, match="shares memory with"):
                forward(impl, "batch_norm", a, running=running)
    assert same_bits(a["x"], before)


@PACKAGES
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_running_statistics(impl: ModuleType, columns: bool, dtype: str) -> None:
    a = data("batch_norm", (40, 5))
    shape = (5, 1) if columns else (1, 5)
    running = np.zeros(shape, dtype), np.ones(shape, dtype)
    given = {**a, "x": a["x"].T if columns else a["x"]}
    more = {"samples": "columns" if columns else "rows"}
    mean, variance = np.zeros(5), np.ones(5)
    for _ in range(3):
        forward(impl, "batch_norm", given, running=running, momentum=0.75, **more)
        mean = 0.75 * mean + 0.25 * a["x"].mean(0)
        variance = 0.75 * variance + 0.25 * a["x"].var(0)
    tolerance = 4 * np.finfo(dtype).eps
    assert np.allclose(running[0].reshape(5), mean, rtol=0, atol=tolerance)
    assert np.allclose(running[1].reshape(5), variance, rtol=0, atol=tolerance)
    kept = [average.copy() for average in running]
    y, cache = forward(impl, "batch_norm", given, running=running, training=False, **more)
    exact = [average.astype(float).reshape(5) for average in kept]
    scale = a["gain"] / np.sqrt(exact[1] + 1e-5)
    expected = (a["x"] - exact[0]) * scale + a["bias"]
    assert np.allclose(y.T if columns else y, expected, rtol=0, atol=1e-13)
    assert all(same_bits(one, other) for one, other in zip(running, kept, strict=True))
    grad = {"grad_y": a["grad_y"].T if columns else a["grad_y"]}
    grads = backward(impl, "batch_norm", grad, cache)
    assert np.allclose(grads.x.T if columns else grads.x, a["grad_y"] * scale, atol=1e-13)
    h = (a["x"] - exact[0]) / np.sqrt(exact[1] + 1e-5)
    assert np.allclose(grads.gain, (a["grad_y"] * h).sum(0), atol=1e-12)
    assert np.allclose(grads.bias, a["grad_y"].sum(0), atol=1e-12)


def test_running_statistics_of_torch(torch: Any) -> None:
    """Its momentum is what is new, and its running variance that with n - 1."""
    a = data("batch_norm", (40, 5))
    theirs, mine = (np.zeros(5), np.ones(5)), (np.zeros(5), np.ones(5))
    t = {name: torch.tensor(value) for name, value in a.items()}
    torch.nn.functional.batch_norm(
        t["x"], *map(torch.from_numpy, theirs), t["gain"], t["bias"], True, momentum=0.1
    )
    forward(fg, "batch_norm", a, running=mine, momentum=0.9)
    assert np.allclose(mine[0], theirs[0], rtol=0, atol=1e-15)
    assert np.allclose(0.9 + (mine[1] - 0.9) * 40 / 39, theirs[1], rtol=0, atol=1e-14)
    y, _ = forward(fg, "batch_norm", a, running=theirs, training=False)
    other = torch.nn.functional.batch_norm(
        t["x"], *map(torch.from_numpy, theirs), t["gain"], t["bias"], False
    )
    assert np.allclose(y, other.numpy(), rtol=0, atol=1e-13)


@PACKAGES
def test_no_samples_leave_running_statistics(impl: ModuleType) -> None:
    running = np.full(3, 0.5), np.full(3, 2.0)
    empty = {"x": np.empty((0, 3)), "gain": np.ones(3), "bias": np.ones(3)}
    y, cache = forward(impl, "batch_norm", empty, running=running)
    grads = backward(impl, "batch_norm", {"grad_y": y}, cache)
    assert y.shape == (0, 3) and grads.gain.tolist() == grads.bias.tolist() == [0.0] * 3
    assert running[0].tolist() == [0.5] * 3 and running[1].tolist() == [2.0] * 3


# -- what goes in and out ------------------------------------------------------------------------


@PACKAGES
@KINDS
@pytest.mark.parametrize(
    "given, result", [("float16", "float16"), ("int8", "float64"), ("bool", "float64")]
)
def test_dtypes(impl: ModuleType, kind: str, given: str, result: str) -> None:
    a = {name: (4 * value).astype(given) for name, value in data(kind, (6, 4)).items()}
    work = np.float32 if given == "float16" else np.float64
    y, cache = forward(impl, kind, a, eps=0.5)
    expected, of_work = forward(impl, kind, {n: v.astype(work) for n, v in a.items()}, eps=0.5)
    assert y.dtype == result and same_bits(y, expected.astype(result))
    grads = backward(impl, kind, a, cache)
    wide = backward(impl, kind, {"grad_y": a["grad_y"].astype(work)}, of_work)
    for one, other in zip(grads, wide, strict=True):
        assert one.dtype == result and same_bits(one, other.astype(result))


@KINDS
def test_a_wider_gradient(kind: str) -> None:
    a = data(kind, (9, 5), "float32")
    _, cache = forward(fg, kind, a)
    wide = {"grad_y": a["grad_y"].astype(np.float64)}
    grads = backward(fg, kind, wide, cache)
    assert {g.dtype.name for g in grads} == {"float64"}
    assert_close(grads, backward(fg, kind, a, cache), "float32")


@PACKAGES
@KINDS
def test_need_out_and_accumulate(impl: ModuleType, kind: str) -> None:
    a = data(kind, (9, 5))
    y, cache = forward(impl, kind, a)
    whole = backward(impl, kind, a, cache)
    for name in ("x", "gain", "bias"):
        some = backward(impl, kind, a, cache, need=(name,))
        assert [n for n, g in some._asdict().items() if g is not None] == [name]
        assert same_bits(getattr(some, name), getattr(whole, name))
    out = fg.NormGrads(np.ones((5, 9)).T, np.ones(5), np.ones(10)[::2])
    made = backward(impl, kind, a, cache, out=out, accumulate=True)
    for one, given, alone in zip(made, out, whole, strict=True):
        assert one is given and same_bits(one, 1 + alone)
    backward(impl, kind, a, cache, out=out)
    assert all(same_bits(one, alone) for one, alone in zip(out, whole, strict=True))
    rows = np.empty((5, 9)).T
    assert forward(impl, kind, a, out=rows)[0] is rows and same_bits(rows, y)


@KINDS
def test_inputs_are_not_written(kind: str) -> None:
    a = data(kind, (300, 5))
    before = {name: value.copy() for name, value in a.items()}
    for value in a.values():
        value.flags.writeable = False
    both(fg, kind, a)
    assert all(same_bits(a[name], before[name]) for name in a)


ONES = np.ones(3)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"gain": np.ones(2)}, ValueError,
     "gain has shape (2,) but x has shape (2, 3): gain needs shape (3,) or (1, 3), one number"),
    ({"bias": np.ones((3, 1))}, ValueError, "bias needs shape (3,) or (1, 3)"),
    ({"x": 1.0}, ValueError, "x has shape (): samples='rows' take"),
    ({"x": np.ones((2, 3), complex)}, TypeError, "x has dtype complex128"),
    ({"eps": -1.0}, ValueError, "eps is -1.0: it must be finite and at least 0"),
    ({"eps": None}, TypeError, "eps is a NoneType: give a number"),
    ({"samples": "row"}, ValueError, "samples is 'row': choose from 'rows', 'columns'"),
    ({"out": np.ones(3)}, ValueError, "out has shape (3,) and dtype float64: it needs"),
]  # fmt: skip
BAD_BATCH: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"momentum": 1.5}, ValueError, "momentum is 1.5: it goes from 0 to 1"),
    ({"momentum": "0"}, TypeError, "momentum is a str: give a number"),
    ({"training": False}, ValueError, "running is None and training is False: give the mean"),
    ({"running": ONES}, TypeError, "running is a ndarray: give two arrays, (mean, variance)"),
    ({"running": (ONES, [1, 1, 1])}, TypeError, "running[1] is a list: give a NumPy array"),
    ({"running": (ONES, np.ones(2))}, ValueError, "running[1] has shape (2,) and dtype float64"),
    ({"running": (ONES.astype(int), ONES)}, ValueError, "running[0] has shape (3,) and dtype int"),
    ({"running": (ONES, ONES)}, ValueError, "running[1] shares memory with running[0]"),
]


@PACKAGES
@pytest.mark.parametrize(
    "kind, changes, error, text",
    [(k, *b) for k in ("layer_norm", "batch_norm") for b in BAD]
    + [("batch_norm", *b) for b in BAD_BATCH],
)
def test_what_is_refused(
    impl: ModuleType, kind: str, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments = {"x": np.ones((2, 3)), "gain": ONES.copy(), "bias": ONES.copy(), **changes}
    with pytest.raises(error) as raised:
        getattr(impl, f"{kind}_forward")(**arguments)
    assert str(raised.value).startswith(f"{kind}_forward: ") and text in str(raised.value)


@PACKAGES
@KINDS
def test_what_is_refused_on_the_way_back(impl: ModuleType, kind: str) -> None:
    a = data(kind, (4, 3))
    _, cache = forward(impl, kind, a)
    other = "batch_norm" if kind == "layer_norm" else "layer_norm"
    for grad, given, more, text in (
        (a["grad_y"][0], cache, {}, "grad_y has shape (3,) but y has shape (4, 3)"),
        (a["grad_y"], None, {}, f"cache is a NoneType: give what {kind}_forward returned"),
        (a["grad_y"], cache._replace(kind=other), {}, f"cache is a NormCache of {other}: give"),
        (a["grad_y"], cache, {"need": "w"}, "need is 'w': choose from 'x', 'gain', 'bias'"),
        (a["grad_y"], cache, {"out": {"x": np.ones(3)}}, "out.x has shape (3,)"),
        (a["grad_y"], cache, {"accumulate": ONES}, "accumulate is a ndarray: give True"),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            getattr(impl, f"{kind}_backward")(grad, given, **more)
        assert text in str(raised.value)
