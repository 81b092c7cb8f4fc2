"""Second derivatives of a dense layer, by PyTorch's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from fastgrad.activations import Activation
from fastgrad.arguments import named_settings
from fastgrad.layers.compiled_layer import resolve

__all__ = ["ACTIVATIONS", "vjp_of_gradients"]

# What each built-in activation is called in PyTorch.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softmax": lambda z: torch.softmax(z, -1),
    "gelu": functional.gelu,
    "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "silu": functional.silu,
    "elu": functional.elu,
    "leaky_relu": functional.leaky_relu,
    "softplus": lambda z: functional.softplus(z, threshold=100.0),
    "softsign": functional.softsign,
    "exp": torch.exp,
    "mish": functional.mish,
}


def vjp_of_gradients(
    cotangents: tuple[torch.Tensor, ...],
    grad_y: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    activation: Any,
    need: tuple[str, ...],
    lead: int,
) -> tuple[Any, ...]:
    """Return the vjp of the layer's gradients with respect to grad_y, x, w and b."""
    act = _in_torch(activation)

    def gradients(*tensors: Any) -> tuple[torch.Tensor, ...]:
        grad_y, x, w, b = tensors if len(tensors) == 4 else (*tensors, None)
        one = x.ndim == lead + 1  # a vector is one sample
        if one:
            x, grad_y = x.unsqueeze(-2), grad_y.unsqueeze(-2)
        middle = x.ndim - lead - 2  # axes of x's own between the batch's and the last two
        wide = w.reshape(*w.shape[:lead], *(1,) * middle, *w.shape[lead:])
        z = x @ wide
        if b is not None:
            z = z + b.reshape(*b.shape[:lead], *(1,) * (middle + 1), b.shape[-1])
        (grad_z,) = torch.func.vjp(act, z)[1](grad_y)
        samples = tuple(range(lead, x.ndim - 1))
        made = {"x": grad_z @ wide.mT}
        if one:
            made["x"] = made["x"].squeeze(-2)
        made["w"] = (x.mT @ grad_z).sum(samples[:-1]) if middle else x.mT @ grad_z
        if b is not None:
            made["b"] = grad_z.sum(samples).reshape(*grad_z.shape[:lead], *b.shape[lead:])
        return tuple(made[name] for name in need)

    tensors = (grad_y, x, w) if b is None else (grad_y, x, w, b)
    made: tuple[Any, ...] = torch.func.vjp(gradients, *tensors)[1](cotangents)
    return made if b is not None else (*made, None)


def _in_torch(activation: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    act, callable_ = resolve("torch.dense", activation)
    if callable_ is None and isinstance(act, Activation):
        family, settings = named_settings(act)
        if family:  # each has one, the second argument of PyTorch's function
            of_two: Callable[..., torch.Tensor] = ACTIVATIONS[family]
            (setting,) = settings
            return lambda z: of_two(z, setting)
        if act.name in ACTIVATIONS:
            return ACTIVATIONS[act.name]
    raise NotImplementedError(
        f"torch.dense: no second derivative for {activation!r}: it has one for "
        + ", ".join(ACTIVATIONS)
    )
