"""`fastgrad.torch`: PyTorch's own gradient checkers, `torch.func`, and modules there and back."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import DTYPES, rng_of
from tolerances import TORCH_EPS, U, gamma

import fastgrad as fg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own, at import
    torch: Any = pytest.importorskip("torch", exc_type=ImportError)
    from torch import func, nn

    from fastgrad.torch import dense, from_module, second, to_module
    from fastgrad.torch.modules import _MODULES

NAMES = [None, *fg.activations.BUILT_IN]
# A sample, a batch, and axes of x's own in front.
SHAPES = [(3,), (5, 3), (2, 4, 3)]


def tensors(*shapes: tuple[int, ...], dtype: str = "float64", grad: bool = True) -> list[Any]:
    rng = rng_of("bridge", *shapes)
    made = [torch.tensor(rng.standard_normal(shape).astype(dtype)) for shape in shapes]
    return [tensor.requires_grad_(grad) for tensor in made]


def native(x: Any, w: Any, b: Any, name: str | None) -> Any:
    z = x @ w if b is None else x @ w + b
    return z if name is None else second.ACTIVATIONS[name](z)


def test_every_activation_has_its_second_derivative() -> None:
    assert set(second.ACTIVATIONS) == set(fg.activations.BUILT_IN), "fastgrad/torch/second.py"


@pytest.mark.parametrize("name", NAMES)
def test_pytorchs_gradient_checkers(name: str | None) -> None:
    for shape, bias in itertools.product(SHAPES, (True, False)):
        x, w, b = tensors(shape, (3, 4), (4,))
        args = (x, w, b) if bias else (x, w)

        def layer(*args: Any, bias: bool = bias) -> Any:
            return dense(*(args if bias else (*args, None)), name)

        assert torch.autograd.gradcheck(layer, args)
        assert torch.autograd.gradgradcheck(layer, args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_of_fastgrad(dtype: str, name: str | None) -> None:
    x, w, b = tensors((9, 5), (5, 4), (4,), dtype=dtype)
    y = dense(x, w, b, name)
    grad_y = tensors((9, 4), dtype=dtype, grad=False)[0]
    y.backward(grad_y)
    arrays = [t.detach().numpy() for t in (x, w, b)]
    expected, cache = fg.dense_forward(*arrays, name)
    grads = fg.dense_backward(grad_y.numpy(), cache)
    assert np.array_equal(y.detach().numpy(), expected) and y.detach().numpy().dtype == dtype
    for tensor, grad in zip((x, w, b), (grads.x, grads.w, grads.b), strict=True):
        assert np.array_equal(tensor.grad.numpy(), grad)


def test_only_what_is_needed() -> None:
    x, w, b = tensors((4, 3), (3, 2), (2,))
    for needed in itertools.product((False, True), repeat=3):
        args = [t.detach().requires_grad_(n) for t, n in zip((x, w, b), needed, strict=True)]
        y = dense(*args, "tanh")
        if any(needed):
            y.sum().backward()
        assert [t.grad is not None for t in args] == list(needed)


def test_strides_and_read_only_memory_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    base = rng_of("strided").standard_normal((6, 8))
    x, linear = torch.from_numpy(base)[:, ::2], nn.Linear(4, 3).double()
    w = linear.weight.T
    assert torch.allclose(dense(x, w, linear.bias), linear(x), rtol=0, atol=1e-14)
    seen: list[Any] = []
    monkeypatch.setattr(
        fg.torch.dense.__globals__["batched"],
        "forward",
        lambda x, w, *rest: seen.extend((x, w)) or (x @ w, x @ w),
    )
    dense(x, w)
    assert np.shares_memory(seen[0], base)
    assert np.shares_memory(seen[1], linear.weight.detach().numpy())


# -- torch.func ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "gelu", "softmax"])
def test_vmap(name: str) -> None:
    x, w, b = tensors((6, 5, 3), (6, 3, 4), (6, 4), grad=False)
    for axes in itertools.product((0, None), repeat=3):
        if axes == (None, None, None):
            continue
        args = [t if a == 0 else t[0] for t, a in zip((x, w, b), axes, strict=True)]
        got = func.vmap(lambda *args: dense(*args, name), axes)(*args)
        expected = func.vmap(lambda *args: native(*args, name), axes)(*args)
        assert torch.allclose(got, expected, rtol=1e-13, atol=1e-13)
        both = [
            func.vmap(func.grad(lambda *a, f=f: f(*a, name).square().sum(), (0, 1, 2)), axes)(*args)
            for f in (dense, native)
        ]
        for mine, theirs in zip(*both, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_vmap_of_vmap_and_of_another_axis() -> None:
    x, w = tensors((2, 3, 7, 5), (3, 5, 4), grad=False)
    got = func.vmap(func.vmap(lambda x, w: dense(x, w, None, "tanh"), (0, 0)), (0, None))(x, w)
    assert torch.allclose(got, torch.tanh(x @ w), rtol=0, atol=1e-14)
    middle = func.vmap(lambda x: dense(x, w[0], None, "tanh"), 1, 1)(x[0])
    assert torch.allclose(middle, torch.tanh(x[0] @ w[0]), rtol=0, atol=1e-14)


def test_second_derivatives_under_func() -> None:
    x, w, b = tensors((5, 3), (3, 4), (4,), grad=False)
    got, expected = (
        func.jacrev(func.jacrev(lambda w, f=f: f(x, w, b, "gelu").sum()))(w)
        for f in (dense, native)
    )
    assert torch.allclose(got, expected, rtol=1e-12, atol=1e-12)


# -- what is refused -----------------------------------------------------------------------------


def test_errors() -> None:
    x, w = tensors((4, 3), (3, 2))
    for args, error, text in [
        ((x.detach().numpy(), w), TypeError, "x must be a tensor, not ndarray"),
        ((x, w.float()), TypeError, "w has dtype torch.float32 but x has torch.float64"),
        ((x.half(), w.half()), TypeError, "float32 or float64 needed"),
        ((x.to("meta"), w), TypeError, "x is on meta"),
        ((x.detach().to_sparse(), w), TypeError, "pass a dense tensor"),
        ((x, w.T), ValueError, "w has shape"),
        ((x, w, None, "swish"), ValueError, "unknown activation 'swish'"),
    ]:
        with pytest.raises(error, match=text):
            dense(*args)


def test_no_second_derivative_of_a_users_activation() -> None:
    x, w = tensors((4, 3), (3, 2))
    (grad,) = torch.autograd.grad(dense(x, w, None, np.arctan).sum(), w, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative for"):
        grad.sum().backward()


# -- modules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", ["rows", "columns"])
@pytest.mark.parametrize("name", list(_MODULES))
def test_modules_there_and_back(name: str, samples: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Sequential(nn.Linear(4, 6), _MODULES[name][0]()), nn.Identity(), nn.Linear(6, 3)
    ).double()
    net, params = from_module(module, samples=samples)
    assert net.activations[0].name == name and net.dtype == "float64"
    x = rng_of("modules").standard_normal((7, 4))
    y = net.predict(params, x if samples == "rows" else x.T)
    expected = module(torch.from_numpy(x)).detach().numpy()
    allowed = 2 * U["float64"] * TORCH_EPS * np.maximum(1, np.abs(expected)) + 8 * gamma(
        10, U["float64"]
    )
    assert (np.abs((y if samples == "rows" else y.T) - expected) <= allowed).all()
    back = to_module(net, params)
    ours = [p.detach().numpy() for p in module.parameters()]
    assert all(
        np.array_equal(a, p.detach().numpy()) for a, p in zip(ours, back.parameters(), strict=True)
    )
    again, same = from_module(back, samples=samples)
    assert np.array_equal(same, params) and again.activations == net.activations


def test_a_module_is_given_its_loss() -> None:
    torch.manual_seed(0)
    module, rng = nn.Linear(4, 3).double(), rng_of("module's loss")
    x, target = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    net, params = from_module(module, "softmax_cross_entropy", "sum")
    value, grad = net.value_and_grad(params, x, target)
    theirs = nn.CrossEntropyLoss(reduction="sum")(
        module(torch.from_numpy(x)), torch.from_numpy(target)
    )
    theirs.backward()
    assert value == pytest.approx(theirs.item(), rel=64 * U["float64"], abs=0)
    expected = np.concatenate([module.weight.grad.T.reshape(-1), module.bias.grad])
    np.testing.assert_allclose(grad, expected, rtol=0, atol=256 * U["float64"])


SET = [
    ("leaky_relu", "slope", 0.2, nn.LeakyReLU),
    ("leaky_relu", "slope", 0.0, nn.LeakyReLU),
    ("leaky_relu", "slope", -0.5, nn.LeakyReLU),
    ("elu", "alpha", 2.0, nn.ELU),
    ("elu", "alpha", -0.3, nn.ELU),
]


@pytest.mark.parametrize("name, setting, value, module_of", SET)
def test_settings_there_and_back(name: str, setting: str, value: float, module_of: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), module_of(value), nn.Linear(6, 3)).double()
    net, params = from_module(module)
    assert net.activations[0] is getattr(fg, name).with_(**{setting: value})
    x = rng_of("settings").standard_normal((7, 4))
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(net.predict(params, x), expected, rtol=0, atol=1e-15 * 64)
    back = to_module(net, params)
    assert repr(back) == repr(module)
    assert np.array_equal(from_module(back)[1], params)


@pytest.mark.parametrize("name, setting, value, module_of", SET)
def test_second_derivatives_with_settings(
    name: str, setting: str, value: float, module_of: Any
) -> None:
    act = getattr(fg, name).with_(**{setting: value})
    x, w, b = tensors((5, 3), (3, 4), (4,))
    assert torch.autograd.gradgradcheck(lambda *args: dense(*args, act), (x, w, b))
    own = [torch.autograd.grad(dense(x, w, b, act).square().sum(), (x, w, b), create_graph=True)]
    own.append(
        torch.autograd.grad(
            module_of(value)(x @ w + b).square().sum(), (x, w, b), create_graph=True
        )
    )
    twice = [torch.autograd.grad(sum(g.square().sum() for g in made), (x, w, b)) for made in own]
    for mine, theirs in (*zip(*own, strict=True), *zip(*twice, strict=True)):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_modules_that_no_network_is() -> None:
    for module, error, text in [
        (nn.Sequential(nn.Linear(2, 3), nn.Conv1d(1, 1, 1)), TypeError, "module 1 .Conv1d."),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), TypeError, "without a Linear layer before"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh()), TypeError, "module 2 .Tanh."),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5)), ValueError, "gives 3 outputs"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5, bias=False)), ValueError, "without a bias"),
        (nn.Sequential(nn.Linear(2, 3), nn.Softplus(2.0)), TypeError, "only with its defaults"),
        (nn.Sequential(nn.Linear(2, 3), nn.ELU(math.nan)), ValueError, "alpha is nan: it must be"),
        (nn.Linear(2, 3).half(), ValueError, "one float dtype needed"),
        (nn.Sequential(), TypeError, "no Linear layer"),
    ]:
        with pytest.raises(error, match=text):
            from_module(module)


def test_networks_that_no_module_is() -> None:
    net = fg.MLP((2, 3, 1), activations=("exp", None), loss="mse")
    with pytest.raises(TypeError, match="no module for activation 'exp'"):
        to_module(net, net.init(seed=0))
    net = fg.MLP((2, 3, 1), activations=("tanh", None), loss="mse", normalize="layer")
    with pytest.raises(ValueError, match="normalize='layer'"):
        to_module(net, net.init(seed=0))
    net = fg.MLP((2, 3, 1), activations=("tanh", None), loss="mse", dropout=0.5)
    with pytest.raises(ValueError, match="net has dropout"):
        to_module(net, net.init(seed=0))
