"""`from_module`, `to_module`: stacks of linear layers to networks and back, number for number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from fastgrad.activations import ACTIVATIONS, Activation
from fastgrad.arguments import named_settings
from fastgrad.arrays import Array
from fastgrad.networks.mlp import MLP

__all__ = ["from_module", "to_module"]

# The module of each activation, and what tells it from others of its class.
_MODULES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "sigmoid": (nn.Sigmoid, {}),
    "tanh": (nn.Tanh, {}),
    "relu": (nn.ReLU, {}),
    "softmax": (lambda: nn.Softmax(dim=-1), {"dim": (-1, 1)}),
    "gelu": (nn.GELU, {"approximate": ("none",)}),
    "gelu_tanh": (lambda: nn.GELU(approximate="tanh"), {"approximate": ("tanh",)}),
    "silu": (nn.SiLU, {}),
    "elu": (nn.ELU, {}),
    "leaky_relu": (nn.LeakyReLU, {}),
    # PyTorch's own threshold of 20 leaves out exp(-20), 2e-9.
    "softplus": (lambda: nn.Softplus(threshold=100.0), {"beta": (1.0,)}),
    "softsign": (nn.Softsign, {}),
    "mish": (nn.Mish, {}),
}
# The settings that both have, and what PyTorch calls them.
_SETTINGS = {"elu": ("alpha", "alpha"), "leaky_relu": ("slope", "negative_slope")}


def from_module(
    module: nn.Module, loss: Any = "mse", reduction: str = "mean", samples: str = "rows"
) -> tuple[MLP, Array]:
    """Return the network that a stack of linear layers is, and its parameters.

    Parameters
    ----------
    module : torch.nn.Linear or torch.nn.Sequential
        Linear layers with at most one activation after each; `Sequential` may be nested, and
        `Identity` is skipped. All layers have a bias, or none.
    loss : str or loss, optional
        The network's loss: a module does not know its own.
    reduction : {"mean", "sum", "samples"}, optional
        As `MLP`'s.
    samples : {"rows", "columns"}, optional
        As `MLP`'s. A module's samples are rows.

    Returns
    -------
    net : MLP
        Of the module's dtype.
    params : ndarray, shape (net.size,)
        A copy of the weights, w of shape (d, k) being the transpose of ``linear.weight``.

    Raises
    ------
    TypeError
        For a module that no network of dense layers can be: it is named.
    ValueError
        If only some of the layers have a bias, the dtypes differ, or the widths do not fit.

    Examples
    --------
    >>> from torch import nn
    >>> from fastgrad.torch import from_module
    >>> net, params = from_module(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    >>> net.sizes, net.dtype, params.shape
    ((4, 8, 3), dtype('float32'), (67,))
    """
    linears: list[nn.Linear] = []
    activations: list[str | Activation | None] = []
    for name, part in _parts("", module):
        if isinstance(part, nn.Linear):
            linears.append(part)
            activations.append(None)
        elif not linears or activations[-1] is not None:
            raise TypeError(f"from_module: {name} comes without a Linear layer before it")
        else:
            activations[-1] = _activation_of(name, part)
    if not linears:
        raise TypeError(f"from_module: {type(module).__name__} has no Linear layer")
    _check_linears(linears)
    net = MLP(
        (linears[0].in_features, *(linear.out_features for linear in linears)),
        activations=activations,
        loss=loss,
        reduction=reduction,
        bias=linears[0].bias is not None,
        samples=samples,
        dtype=str(linears[0].weight.dtype).removeprefix("torch."),
    )
    columns = net.samples == "columns"
    layers = []
    for linear in linears:
        w = _array(linear.weight)
        b = _array(linear.bias) if net.bias else None
        layers.append((w if columns else w.T, b[:, None] if columns and b is not None else b))
    return net, net.pack(layers)


def to_module(net: MLP, params: Any) -> nn.Sequential:
    """Return a network as a `torch.nn.Sequential` of `Linear` layers and activations.

    Parameters
    ----------
    net : MLP
        A network without layer normalization and dropout, its activations being among PyTorch's.
    params : array_like, shape (net.size,)
        Its parameters. They are copied.

    Returns
    -------
    torch.nn.Sequential
        Its outputs are those of ``net.predict``, to rounding, for samples in rows.

    Raises
    ------
    TypeError
        For an activation that PyTorch has no module for: it is named.
    ValueError
        If params does not fit, or the network is normalized or has dropout.

    Examples
    --------
    >>> import fastgrad as fg
    >>> from fastgrad.torch import to_module
    >>> net = fg.MLP((4, 8, 3), activations=("tanh", None), loss="mse")
    >>> to_module(net, net.init(seed=0))
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=3, bias=True)
    )
    """
    if net.normalize is not None:
        raise ValueError("to_module: a Sequential of Linear layers has no normalize='layer'")
    if net.dropout:
        raise ValueError(f"to_module: net has dropout={net.dropout}: give a network without it")
    modules: list[nn.Module] = []
    for layer, activation in zip(net.layers(params), net.activations, strict=True):
        w = layer.w if net.samples == "columns" else layer.w.T
        out_features, in_features = w.shape
        dtype = torch.float64 if w.dtype == np.float64 else torch.float32
        linear = nn.Linear(in_features, out_features, bias=net.bias, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(w)))
            if layer.b is not None:
                linear.bias.copy_(torch.from_numpy(np.array(layer.b).reshape(-1)))
        modules.append(linear)
        name = activation.name if isinstance(activation, Activation) else activation
        family, settings = named_settings(activation)
        if family:
            modules.append(_MODULES[family][0](**{_SETTINGS[family][1]: settings[0]}))
        elif name not in (None, "identity"):
            if name not in _MODULES:
                raise TypeError(f"to_module: PyTorch has no module for activation {name!r}")
            modules.append(_MODULES[name][0]())
    return nn.Sequential(*modules)


def _parts(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Go through a nested Sequential in the order of its calls."""
    if type(module) is nn.Sequential:
        for key, part in module.named_children():
            yield from _parts(f"{name}.{key}" if name else key, part)
    elif not isinstance(module, nn.Identity):
        yield f"module {name} ({type(module).__name__})" if name else type(module).__name__, module


def _activation_of(name: str, module: nn.Module) -> str | Activation:
    classes = {activation: type(make()) for activation, (make, _) in _MODULES.items()}
    same = [activation for activation, cls in classes.items() if type(module) is cls]
    if not same:
        raise TypeError(f"from_module: {name} is neither Linear nor an activation of fastgrad")
    for activation in same:
        settings = _MODULES[activation][1]
        if activation in _SETTINGS:
            ours, theirs = _SETTINGS[activation]
            try:
                return ACTIVATIONS[activation].with_(**{ours: getattr(module, theirs)})
            except (TypeError, ValueError) as error:
                raise type(error)(f"from_module: {name}: {error}") from None
        if all(getattr(module, key) in values for key, values in settings.items()):
            return activation
    settings = {key: getattr(module, key) for key in _MODULES[same[0]][1]}
    raise TypeError(f"from_module: {name} with {settings}: fastgrad has it only with its defaults")


def _check_linears(linears: list[nn.Linear]) -> None:
    biases = [linear.bias is not None for linear in linears]
    if any(biases) != all(biases):
        raise ValueError(f"from_module: layers with and without a bias: {biases}")
    dtypes = {linear.weight.dtype for linear in linears}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise ValueError(
            f"from_module: weights of {sorted(map(str, dtypes))}: one float dtype needed"
        )
    for before, after in itertools.pairwise(linears):
        if before.out_features != after.in_features:
            raise ValueError(
                f"from_module: {before} gives {before.out_features} outputs, but {after} follows"
            )


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
